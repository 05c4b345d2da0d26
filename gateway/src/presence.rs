//! Who is there: which users and rooms have sockets on this node, and what all nodes make of it together.
//!
//! ```text
//!  shards ──► Watch ──► Reporter ──► the store of all nodes ──► events ──► backends, a stream
//!                                              │
//!                                              └──► GET presence
//! ```
//!
//! The machines are in [`adapter::presence`]: what a node tells, and what becomes of it. This room has what they need
//! to run: the hooks of namespaces, the task that calls the store, and what is counted. A node that is to know
//! nobody's presence has none of it.
//!
//! It may use what is below it. [`socketio`](crate::socketio) tells it of sockets, backends take events from it, and
//! the API asks it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use adapter::RecordsError;
use adapter::memory::MemoryPresence;
use adapter::presence::{
    Found, Lookup, Notices, PresenceStore, Receipt, Reception, Reporter, ReporterSettings, Sink,
    SubjectKind, Take,
};
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};
use tracing::{debug, info, warn};

use crate::config::{Pattern, Presence as Wanted};
use crate::net::ids::random_characters;

mod counters;
mod watch;

pub(crate) use counters::PresenceCounters;
use counters::PresenceEvent;
pub(crate) use watch::Watch;

/// The least time between two calls, unless more is to be told than one may tell.
const BETWEEN: Duration = Duration::from_millis(50);

/// The longest time between two calls, unless a quarter of the lease is less.
const HEARTBEAT: Duration = Duration::from_secs(1);

/// How long to wait after a failure.
const AGAIN: Duration = Duration::from_millis(500);

/// The longest time to wait after the store refused, unless a quarter of the lease is less. What was odd once may be well
/// the next time, and nobody is to count as gone meanwhile.
const REFUSED: Duration = Duration::from_secs(30);

/// Names with more bytes than this are not told.
const MAX_NAME: usize = 2048;

/// What a node knows and tells of who is there.
pub(crate) struct Presence {
    users: bool,
    rooms: Vec<Pattern>,
    heartbeat: Duration,
    /// How long it waits after a refusal.
    refused: Duration,
    reporter: Mutex<Reporter>,
    store: Arc<dyn PresenceStore>,
    changed: Notify,
    /// Tells those who tell events that there are some.
    happened: Notify,
    /// Why the store cannot be asked.
    trouble: Mutex<Option<String>>,
    counters: PresenceCounters,
}

impl Presence {
    /// That of a node of this name, if the settings want any. Without a `store` the node stands alone.
    pub(crate) fn new(
        wanted: &Wanted,
        node: &str,
        sinks: Vec<Sink>,
        store: Option<Arc<dyn PresenceStore>>,
    ) -> Option<Arc<Self>> {
        if !wanted.is_on() {
            return None;
        }
        let settings = ReporterSettings {
            lease: millis(wanted.lease),
            grace: millis(wanted.grace),
            sinks,
        };
        Some(Arc::new(Self {
            users: wanted.users,
            rooms: wanted.rooms.clone(),
            heartbeat: HEARTBEAT.min(wanted.lease / 4),
            refused: REFUSED.min(wanted.lease / 4),
            reporter: Mutex::new(Reporter::new(node, &fresh(), settings)),
            store: store.unwrap_or_else(|| Arc::new(MemoryPresence::default())),
            changed: Notify::new(),
            happened: Notify::new(),
            trouble: Mutex::default(),
            counters: PresenceCounters::default(),
        }))
    }

    /// Whether users are looked at.
    pub(crate) fn has_users(&self) -> bool {
        self.users
    }

    /// Whether a room is looked at.
    pub(crate) fn has_room(&self, room: &str) -> bool {
        self.rooms.iter().any(|it| it.matches(room))
    }

    /// Looks at a namespace.
    pub(crate) fn watch(self: &Arc<Self>, namespace: &str) -> Watch {
        Watch::new(Arc::clone(self), namespace)
    }

    /// Changes how many sockets there are of subjects.
    fn change(&self, change: impl FnOnce(&mut Reporter) -> bool) {
        let is_first = change(&mut self.reporter());
        if is_first {
            self.changed.notify_one();
        }
    }

    /// Tells the store what changes, for ever.
    pub(crate) async fn run(self: Arc<Self>) {
        loop {
            match self.step().await {
                Ok(true) => {
                    tokio::task::yield_now().await;
                    continue;
                }
                Ok(false) => sleep(BETWEEN).await,
                Err(pause) => {
                    sleep(pause).await;
                    continue;
                }
            }
            if !self.reporter().is_changed() {
                let _elapsed = timeout(self.heartbeat, self.changed.notified()).await;
            }
        }
    }

    /// One call. Whether another should follow at once, or how long to wait after a failure.
    async fn step(&self) -> Result<bool, Duration> {
        let call = self.reporter().call(&fresh());
        let replied = self.store.call(call.clone()).await;
        let (is_again, is_busy) = {
            let mut reporter = self.reporter();
            let is_again = reporter.answered(call, replied.as_ref().ok(), &fresh());
            (is_again, reporter.is_busy() || is_again)
        };
        match replied {
            Ok(reply) => {
                self.note(&reply);
                if is_again {
                    self.counters.restarts.increment();
                    info!(target: "gateway::presence", "the store of who is there does not know this node any more; it tells everything again");
                }
                Ok(is_busy)
            }
            Err(error) => Err(self.fail(&error)),
        }
    }

    /// The node ends: what it has is gone, after the grace.
    pub(crate) async fn leave(&self, patience: Duration) {
        let leaving = async {
            loop {
                let call = self.reporter().leave(&fresh());
                match self.store.call(call).await {
                    Ok(reply) if reply.reception == Reception::Known && reply.left > 0 => {}
                    Ok(_) => return true,
                    Err(_) => return false,
                }
            }
        };
        if !timeout(patience, leaving).await.unwrap_or(false) {
            warn!(target: "gateway::presence", "the node ended before the store of who is there knew it; the others notice when its lease is over");
        }
    }

    /// Asks for events to tell, on behalf of this node.
    pub(crate) async fn take(&self, take: Take) -> Result<Option<Notices>, RecordsError> {
        let waiting = self.counters.waiting.of(take.sink.into());
        let taken = self.store.take(take).await?;
        waiting.set(taken.as_ref().map_or(0, |it| it.waiting));
        Ok(taken)
    }

    /// Waits until something may have happened, at most so long.
    pub(crate) async fn happened(&self, patience: Duration) {
        let _elapsed = timeout(patience, self.happened.notified()).await;
    }

    /// Who is there on any node.
    pub(crate) async fn page(&self, page: Lookup) -> Result<Found, RecordsError> {
        self.store.page(page).await
    }

    /// What is counted.
    pub(crate) fn counters(&self) -> &PresenceCounters {
        &self.counters
    }

    /// How many users and rooms have sockets here.
    fn held(&self) -> (u64, u64) {
        let (mut users, mut rooms) = (0, 0);
        for subject in self.reporter().subjects() {
            match subject.kind() {
                SubjectKind::User => users += 1,
                SubjectKind::Room => rooms += 1,
                SubjectKind::Sockets | SubjectKind::Anonymous => {}
            }
        }
        (users, rooms)
    }

    fn note(&self, reply: &Receipt) {
        for (event, count) in PresenceEvent::STORED.into_iter().zip(reply.events) {
            self.counters.events.of(event).add(count);
        }
        let resets = self.counters.events.of(PresenceEvent::Reset);
        resets.add(reply.resets);
        self.counters.leases_expired.add(reply.buried);
        self.counters.dropped.add(reply.dropped);
        if reply.buried > 0 {
            info!(target: "gateway::presence", nodes = reply.buried, "nodes said nothing for a lease: their users and rooms are gone");
        }
        if reply.dropped > 0 {
            warn!(target: "gateway::presence", events = reply.dropped, "too many events wait for a backend; they give way to a reset");
        }
        if reply.events.iter().sum::<u64>() + reply.resets > 0 {
            // Of those who wait each looks.
            self.happened.notify_waiters();
        }
        if lock(&self.trouble).take().is_some() {
            info!(target: "gateway::presence", "who is there is told again");
        }
    }

    /// Says what went wrong; how long to wait.
    fn fail(&self, error: &RecordsError) -> Duration {
        self.counters.failures.increment();
        let is_new = lock(&self.trouble).replace(error.to_string()).is_none();
        if is_new {
            warn!(target: "gateway::presence", %error, "who is there cannot be told to Redis; after the lease the users of this node count as gone");
        } else {
            debug!(target: "gateway::presence", %error, "who is there cannot be told to Redis");
        }
        match error {
            RecordsError::Refused(_) => self.refused,
            RecordsError::Away(_) | RecordsError::Full => AGAIN,
        }
    }

    fn reporter(&self) -> MutexGuard<'_, Reporter> {
        lock(&self.reporter)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// A name that nothing had before.
pub(crate) fn fresh() -> String {
    let characters: [u8; 12] = random_characters();
    characters.into_iter().map(char::from).collect()
}

#[cfg(test)]
mod tests {
    use adapter::RecordsFuture;
    use adapter::presence::Statement;

    use super::*;

    /// A store whose answer nobody can read.
    #[derive(Debug)]
    struct Odd;

    fn odd<T>() -> RecordsFuture<T> {
        Box::pin(async { Err(RecordsError::Refused("odd".to_owned())) })
    }

    impl PresenceStore for Odd {
        fn call(&self, _: Statement) -> RecordsFuture<Receipt> {
            odd()
        }

        fn take(&self, _: Take) -> RecordsFuture<Option<Notices>> {
            odd()
        }

        fn page(&self, _: Lookup) -> RecordsFuture<Found> {
            odd()
        }
    }

    #[tokio::test]
    async fn a_node_calls_again_within_its_lease_after_two_refusals() {
        for seconds in [2, 15, 60, 600] {
            let lease = Duration::from_secs(seconds);
            let wanted = Wanted {
                users: true,
                rooms: Vec::new(),
                grace: Duration::ZERO,
                lease,
            };
            let store: Arc<dyn PresenceStore> = Arc::new(Odd);
            let presence = Presence::new(&wanted, "a", Vec::new(), Some(store)).unwrap();
            let pause = presence.step().await.unwrap_err();
            assert!(
                presence.heartbeat + BETWEEN + 2 * pause < lease,
                "{pause:?}"
            );
            assert!(
                pause <= REFUSED && pause > AGAIN.min(lease / 5),
                "{pause:?}"
            );
        }
    }
}
