//! Keeps a node in step with the store that all nodes share.
//!
//! ```text
//!            the others are heard            all records are read
//!  Cut off ------------------------> Waiting ---------------------> In step --+
//!     ^ ^                               |                           |  ^      | it looks every two seconds;
//!     | +------- not heard -------------+                           |  +------+ what differs is read or restored
//!     +--------- not heard -----------------------------------------+
//! ```
//!
//! A node is not ready before it is in step. It subscribes first and reads then, so that it misses nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use adapter::{Records, RecordsError, RecordsMark};
use tracing::{debug, info, warn};

use crate::cluster::Cluster;
use crate::engine::node::Node;

/// How often the store is looked at.
const COMPARE: Duration = Duration::from_secs(2);

/// How long to wait after a failure.
const AGAIN: Duration = Duration::from_millis(500);

/// How long to wait after Redis refused.
const REFUSED: Duration = Duration::from_secs(30);

/// What was found at the last whole reading: the store, and what this node knew.
type Seen = (u64, usize, u64);

/// Why a node is not ready that does not hear the others.
pub(crate) const NOT_HEARD: &str = "who may not connect is still to be read from Redis";

/// What keeps a node in step.
pub(crate) struct InStep {
    cluster: Arc<Cluster>,
    /// None if the nodes keep nothing together.
    step: Option<Step>,
    node: Arc<Node>,
}

/// Reads at once if the others are heard already; else the node is not ready.
pub(crate) async fn begin(node: &Arc<Node>, cluster: &Arc<Cluster>) -> InStep {
    let step = cluster.adapter().records().map(|store| Step {
        node: Arc::clone(node),
        store,
        seen: None,
        differs: false,
        has_shards: false,
        has_complained: AtomicBool::new(false),
    });
    let mut begun = InStep {
        cluster: Arc::clone(cluster),
        step,
        node: Arc::clone(node),
    };
    if begun.step.is_some() {
        node.users().set_waits(Some(NOT_HEARD.to_owned()));
    }
    begun.look().await;
    begun
}

impl InStep {
    /// Keeps the node in step, for ever.
    pub(crate) async fn run(mut self) {
        let node = Arc::clone(&self.node);
        if let Some(step) = &mut self.step {
            step.has_shards = true;
        }
        let mut pause = COMPARE;
        loop {
            let _woken = tokio::time::timeout(pause, node.users().wake.notified()).await;
            pause = self.look().await;
        }
    }

    /// Looks at the store; how long to wait until the next look.
    async fn look(&mut self) -> Duration {
        let users = self.node.users();
        let Some(step) = &mut self.step else {
            users.set_waits(None);
            return COMPARE;
        };
        if users.waits().is_some() {
            step.seen = None;
        }
        if !self.cluster.adapter().is_up() {
            users.set_in_step(false);
            return COMPARE;
        }
        let taken = step.take().await;
        // After a reading that left a difference nothing is seen.
        users.set_in_step(taken.is_ok() && step.seen.is_some());
        match taken {
            Ok(()) => COMPARE,
            Err(error) => step.fail(&error),
        }
    }
}

struct Step {
    node: Arc<Node>,
    store: Arc<dyn Records>,
    seen: Option<Seen>,
    /// Whether the store was another at the last look. A message may be on its way.
    differs: bool,
    /// Whether the shards run. Before that nobody is connected, and nobody answers.
    has_shards: bool,
    /// Whether it was told that the store does not take back what it lost.
    has_complained: AtomicBool,
}

impl Step {
    /// Looks at the store, and reads it if it differs.
    async fn take(&mut self) -> Result<(), RecordsError> {
        let users = self.node.users();
        let over = users.forget();
        self.strike(over).await;
        let (known, _) = users.known();
        let mark = self.store.mark().await?;
        users.set_clock(mark.now);
        let seen = (mark.newest, mark.count, known);
        let is_same = users.known() == (mark.newest, mark.count) || self.seen == Some(seen);
        let is_in_step = self.seen.is_some();
        if is_in_step && is_same {
            self.differs = false;
            return self.note();
        }
        let differed = std::mem::replace(&mut self.differs, true);
        // What it lost has to come back at once.
        if is_in_step && !differed && mark.newest >= known {
            return Ok(());
        }
        let is_whole = self.read(known, mark).await?;
        self.differs = false;
        // What could not be brought back is tried again.
        let seen = (mark.newest, mark.count, users.known().0);
        self.seen = is_whole.then_some(seen);
        self.note()
    }

    /// Reads all records, and brings back what is gone. Whether the store has it all then: one that takes no
    /// writes keeps no node from being in step.
    async fn read(&self, known: u64, mark: RecordsMark) -> Result<bool, RecordsError> {
        let users = self.node.users();
        let records = self.store.read().await?;
        let compared = users.compare(&records, known, mark);
        let gone = self.node.shut_out(compared.denied);
        if self.has_shards {
            gone.await;
        }
        if compared.odd > 0 {
            warn!(target: "gateway::users", records = compared.odd, "records of users are of a later version, or no node wrote them; they are ignored");
        }
        self.strike(compared.over).await;
        let lost = compared.lost.len();
        debug!(target: "gateway::users", records = records.len(), lost, "records of users read");
        if lost == 0 {
            return Ok(true);
        }
        if let Err(error) = self.store.restore(compared.lost).await {
            if !self.has_complained.swap(true, Ordering::Relaxed) {
                warn!(target: "gateway::users", records = lost, %error, "Redis has lost records of users who may not connect, and does not take them again; they hold on the nodes that have them");
            }
            return Ok(false);
        }
        self.has_complained.store(false, Ordering::Relaxed);
        users.counters.restored.add(lost as u64);
        warn!(target: "gateway::users", records = lost, "Redis had lost records of users who may not connect; this node wrote them again");
        Ok(true)
    }

    /// Takes away what is over. What cannot be taken away now is found at the next whole reading.
    async fn strike(&self, names: Vec<String>) {
        if !names.is_empty()
            && let Err(error) = self.store.strike(names).await
        {
            debug!(target: "gateway::users", %error, "records that are over stay in Redis");
        }
    }

    /// The node is in step.
    fn note(&self) -> Result<(), RecordsError> {
        let users = self.node.users();
        users.set_refused(None);
        if users.waits().is_some() {
            let (_, records) = users.known();
            users.set_waits(None);
            info!(target: "gateway::users", records, "who may not connect is known");
        }
        Ok(())
    }

    /// Says what went wrong; how long to wait until the next look.
    fn fail(&self, error: &RecordsError) -> Duration {
        let users = self.node.users();
        match error {
            // It will not be otherwise soon, and a node that has no right to read is to serve clients.
            RecordsError::Refused(why) => {
                if users.set_refused(Some(why.clone())) {
                    warn!(target: "gateway::users", error = %why, "Redis refuses to tell who may not connect: blocks are not in force on this node; docs/redis.md has the permissions");
                }
                users.set_waits(None);
                REFUSED
            }
            RecordsError::Away(why) => {
                if users.waits().is_some() {
                    users.set_waits(Some(format!("{NOT_HEARD}: {why}")));
                }
                debug!(target: "gateway::users", error = %why, "cannot ask Redis who may not connect");
                AGAIN
            }
            RecordsError::Full => AGAIN,
        }
    }
}
