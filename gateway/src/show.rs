//! What admin pages are shown: who looks, what they want, and how much of it they get.
//!
//! An admin page is a socket in the namespace `/admin`. What happens to sockets and rooms becomes an event of that
//! namespace ([`Line`]), as `@socket.io/admin-ui` has it, and goes to the pages of all nodes. What nobody looks at
//! costs nothing: shards tell lines only while a page is open somewhere ([`ShardShow`]). A node with a page tells the
//! others so every few seconds ([`Call`]).
//!
//! ```text
//! shard --lines, so many a second--> task of the admin layer --> pages of this node, as its gate admits
//!                                                          \--> other nodes --gate--> their pages
//! ```
//!
//! This room decides. [`socketio`](crate::socketio) says what is told, and the admin layer of
//! [`apps`](crate::apps) asks, sends and counts. It may use what is below the cluster.

use std::collections::HashSet;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use adapter::Counter;
use tokio::sync::{Notify, mpsc};

mod call;
mod gate;
mod line;
mod shard_show;

pub(crate) use call::Call;
pub(crate) use gate::{Gate, MAX_NAMESPACES, Verdict};
pub(crate) use line::{Binary, Line, args, data, date};
pub(crate) use shard_show::ShardShow;

/// The namespace of admin pages.
pub(crate) const NAMESPACE: &str = "/admin";

/// How long another node's page is believed to be open after its node said so last.
pub(crate) const LEASE: Duration = Duration::from_secs(10);

/// Most lines that wait for the task that sends them.
pub(crate) const MAX_LINES: usize = 1024;

/// What pages may be shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bounds {
    /// Whether sockets, rooms and events, and not numbers alone.
    pub(crate) details: bool,
    /// Most sockets of a page.
    pub(crate) sockets: usize,
    /// Most events of all nodes together in a second.
    pub(crate) events_per_second: NonZeroU32,
}

/// What is counted of it.
#[derive(Debug, Default)]
pub(crate) struct ShowCounters {
    /// Lines that went to the pages of this node.
    pub(crate) shown: Counter,
    /// Lines that this node did not tell, since they were too many.
    pub(crate) not_told: Counter,
    /// Lines that were too many for the pages of this node.
    pub(crate) left_out: Counter,
    /// Lines about sockets that the pages of this node have no room for.
    pub(crate) beyond: Counter,
}

/// What a node knows of who looks. Without an admin layer it stays as it begins.
#[derive(Debug, Default)]
pub(crate) struct NodeShow {
    is_configured: AtomicBool,
    lines: OnceLock<mpsc::Sender<Line>>,
    state: Mutex<State>,
    gate: Mutex<Gate>,
    changed: Notify,
    counters: Arc<ShowCounters>,
}

#[derive(Debug, Default)]
struct State {
    bounds: Option<Bounds>,
    /// The sockets of the pages of this node.
    pages: HashSet<Box<str>>,
    /// Until when pages elsewhere want numbers, and details.
    elsewhere: [Option<Instant>; 2],
}

/// Who wants something now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// Pages of this node.
    pub(crate) here: usize,
    /// Pages of others, if only numbers.
    pub(crate) elsewhere: bool,
    /// Pages of others that show sockets, rooms and events.
    pub(crate) details_elsewhere: bool,
    /// Whether this node tells details to anybody.
    pub(crate) details: bool,
}

impl Wanted {
    /// Whether anybody wants the numbers of this node.
    pub(crate) fn numbers(self) -> bool {
        self.here > 0 || self.elsewhere || self.details_elsewhere
    }
}

impl NodeShow {
    /// There is an admin layer, with these bounds from now on.
    pub(crate) fn configure(&self, bounds: Bounds) {
        self.state().bounds = Some(bounds);
        self.gate().set_bounds(bounds);
        self.is_configured.store(true, Ordering::Relaxed);
        self.changed.notify_one();
    }

    /// Whether there is an admin layer.
    pub(crate) fn is_configured(&self) -> bool {
        self.is_configured.load(Ordering::Relaxed)
    }

    pub(crate) fn bounds(&self) -> Option<Bounds> {
        self.state().bounds
    }

    /// Whether pages of others may want to know of sockets here.
    pub(crate) fn tells_pages(&self) -> bool {
        self.is_configured() && self.bounds().is_some_and(|bounds| bounds.details)
    }

    /// Where shards put lines; the task that sends them gets them. To be called once.
    pub(crate) fn open(&self) -> Option<mpsc::Receiver<Line>> {
        let (lines, received) = mpsc::channel(MAX_LINES);
        self.lines.set(lines).ok().map(|()| received)
    }

    pub(crate) fn lines(&self) -> Option<mpsc::Sender<Line>> {
        self.lines.get().cloned()
    }

    pub(crate) fn counters(&self) -> &Arc<ShowCounters> {
        &self.counters
    }

    /// A page was opened on this node.
    pub(crate) fn came(&self, socket: &str) {
        self.state().pages.insert(socket.into());
        self.changed.notify_one();
    }

    /// A page was closed. Behind the last one nothing is remembered.
    pub(crate) fn went(&self, socket: &str) {
        let mut state = self.state();
        let was_there = state.pages.remove(socket);
        let is_last = was_there && state.pages.is_empty();
        drop(state);
        if is_last {
            self.gate().forget();
        }
        self.changed.notify_one();
    }

    /// Pages of this node.
    pub(crate) fn pages(&self) -> usize {
        self.state().pages.len()
    }

    /// Another node says that pages are open.
    pub(crate) fn handle_call(&self, call: Call, now: Instant) {
        if !self.is_configured() {
            return;
        }
        let mut state = self.state();
        let was_wanted = state.wanted(now);
        let kind = usize::from(call.details);
        state.elsewhere[kind] = Some(now + LEASE);
        let is_news = state.wanted(now) != was_wanted;
        drop(state);
        if is_news {
            self.changed.notify_one();
        }
    }

    pub(crate) fn wanted(&self, now: Instant) -> Wanted {
        self.state().wanted(now)
    }

    /// Resolves when somebody came, went, or called.
    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// What the pages of this node may be shown.
    pub(crate) fn gate(&self) -> MutexGuard<'_, Gate> {
        lock(&self.gate)
    }

    /// Whether an event may go to the pages of this node; counts it.
    pub(crate) fn admits(&self, event: &str, arguments: &str) -> bool {
        if self.pages() == 0 {
            return false;
        }
        match self.gate().admit(event, arguments) {
            Verdict::Shown => self.counters.shown.increment(),
            Verdict::Beyond => {
                self.counters.beyond.increment();
                return false;
            }
            Verdict::TooMany => {
                self.counters.left_out.increment();
                return false;
            }
            Verdict::Odd => return false,
        }
        true
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

impl State {
    fn wanted(&self, now: Instant) -> Wanted {
        let lasts = |until: Option<Instant>| until.is_some_and(|until| now < until);
        let [elsewhere, details_elsewhere] = self.elsewhere.map(lasts);
        let here = self.pages.len();
        let tells = self.bounds.is_some_and(|bounds| bounds.details);
        Wanted {
            here,
            elsewhere,
            details_elsewhere,
            details: tells && (here > 0 || details_elsewhere),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds {
        details: true,
        sockets: 10,
        events_per_second: NonZeroU32::MIN,
    };

    #[test]
    fn nothing_is_wanted_before_somebody_looks() {
        let (show, now) = (NodeShow::default(), Instant::now());
        show.handle_call(Call { details: true }, now);
        assert_eq!(show.wanted(now), Wanted::default());
        show.configure(BOUNDS);
        assert!(!show.wanted(now).numbers() && !show.wanted(now).details);
        assert!(!show.admits("socket_disconnected", r#""/","a","x","d""#));
    }

    #[test]
    fn a_page_of_this_node_wants_everything_until_it_goes() {
        let (show, now) = (NodeShow::default(), Instant::now());
        show.configure(BOUNDS);
        show.came("a");
        assert!(show.wanted(now).numbers() && show.wanted(now).details);
        show.went("a");
        show.went("a");
        assert_eq!(show.wanted(now), Wanted::default());
        show.configure(Bounds {
            details: false,
            ..BOUNDS
        });
        show.came("a");
        assert!(show.wanted(now).numbers() && !show.wanted(now).details);
    }

    #[test]
    fn a_page_elsewhere_is_believed_in_as_long_as_its_node_says_so() {
        let (show, mut now) = (NodeShow::default(), Instant::now());
        show.configure(BOUNDS);
        for _ in 0..3 {
            show.handle_call(Call { details: true }, now);
            now += LEASE / 2;
            assert!(show.wanted(now).details && show.wanted(now).details_elsewhere);
        }
        now += LEASE / 2;
        assert_eq!(show.wanted(now), Wanted::default());
        show.handle_call(Call { details: false }, now);
        assert!(show.wanted(now).numbers() && !show.wanted(now).details);
    }
}
