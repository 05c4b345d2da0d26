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
mod reach;
mod shard_show;

pub(crate) use call::Call;
pub(crate) use gate::{Gate, MAX_NAMESPACES, Verdict};
pub(crate) use line::{Binary, Line, args, data, date};
pub(crate) use reach::Reach;
pub(crate) use shard_show::ShardShow;

/// The namespace of admin pages.
pub(crate) const NAMESPACE: &str = "/admin";

/// How long another node's page is believed to be open after its node said so last.
pub(crate) const LEASE: Duration = Duration::from_secs(10);

/// Most nodes of which it is known how far the lists of their pages go; with more, everything is told.
const MAX_REACHES: usize = 64;

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
    /// How far the lists of these pages go, if not to the end.
    reach: Option<Reach>,
    /// Until when pages elsewhere want numbers, and details.
    elsewhere: [Option<Instant>; 2],
    /// How far their lists go.
    reaches: Vec<Elsewhere>,
}

/// Pages that another node told of.
#[derive(Debug)]
struct Elsewhere {
    node: String,
    foreign: bool,
    reach: Option<Reach>,
    /// Until when it is to be believed.
    until: Instant,
}

/// Who wants something now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// Pages of this node.
    pub(crate) here: usize,
    /// Pages of others, if only numbers.
    pub(crate) elsewhere: bool,
    /// Pages of others that show sockets, rooms and events.
    pub(crate) details_elsewhere: bool,
    /// Whether this node tells details to anybody.
    pub(crate) details: bool,
    /// Up to which socket, if not of all.
    pub(crate) reach: Option<Reach>,
}

impl Wanted {
    /// Whether anybody wants the numbers of this node.
    pub(crate) fn numbers(&self) -> bool {
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
        if is_last {
            state.reach = None;
        }
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

    /// A list goes so far, to the end if that is `None`. Returns whether all pages of this node have to get it, and
    /// not one alone.
    pub(crate) fn list_reaches(&self, reach: Option<Reach>, is_for_all: bool) -> bool {
        let mut state = self.state();
        let has_others = state.pages.len() > 1;
        let before = state.reach.take();
        // Others may show sockets behind it that came later.
        let is_for_all = is_for_all || (has_others && before.is_none() && reach.is_some());
        state.reach = match (before, reach) {
            (Some(before), Some(reach)) if has_others && !is_for_all => Some(reach.max(before)),
            (_, reach) => reach,
        };
        drop(state);
        self.changed.notify_one();
        is_for_all
    }

    /// Whether a list was cut, and many of its sockets have gone.
    pub(crate) fn has_room(&self) -> bool {
        let state = self.state();
        let sockets = state.bounds.map_or(0, |bounds| bounds.sockets);
        let is_cut = state.reach.is_some();
        drop(state);
        is_cut && self.gate().open() < sockets - sockets / 4
    }

    /// What this node tells the others of its pages.
    pub(crate) fn call(&self) -> Call {
        Call {
            details: self.tells_pages(),
            reach: self.state().reach.clone(),
            foreign: false,
        }
    }

    /// Another node says that pages are open.
    pub(crate) fn handle_call(&self, call: Call, node: &str, now: Instant) {
        if !self.is_configured() {
            return;
        }
        let mut state = self.state();
        let was_wanted = state.wanted(now);
        let kind = usize::from(call.details);
        state.elsewhere[kind] = Some(now + LEASE);
        if call.details {
            state.reaches_elsewhere(call, node, now);
        }
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
        let details = tells && (here > 0 || details_elsewhere);
        Wanted {
            here,
            elsewhere,
            details_elsewhere,
            details,
            reach: details.then(|| self.reach_of_all(now)).flatten(),
        }
    }

    /// The lists of another node go so far.
    fn reaches_elsewhere(&mut self, call: Call, node: &str, now: Instant) {
        let is_same = |it: &Elsewhere| it.node == node && it.foreign == call.foreign;
        self.reaches.retain(|it| it.until > now && !is_same(it));
        let mut told = Elsewhere {
            node: node.to_owned(),
            foreign: call.foreign,
            reach: call.reach,
            until: now + LEASE,
        };
        if self.reaches.len() >= MAX_REACHES {
            self.reaches.clear();
            told.reach = None;
        }
        self.reaches.push(told);
    }

    /// The last socket that any page shows; `None` if one shows everything.
    fn reach_of_all(&self, now: Instant) -> Option<Reach> {
        let here = (!self.pages.is_empty()).then_some(&self.reach);
        let valid = self.reaches.iter().filter(|it| it.until > now);
        let all = valid.map(|it| &it.reach).chain(here);
        let all: Option<Vec<&Reach>> = all.map(Option::as_ref).collect();
        all?.into_iter().max().cloned()
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

    fn everything() -> Call {
        up_to(None)
    }

    fn up_to(id: Option<&str>) -> Call {
        Call {
            details: true,
            reach: id.map(|id| Reach::new("/", id)),
            foreign: false,
        }
    }

    fn reach(show: &NodeShow, now: Instant) -> Option<Reach> {
        show.wanted(now).reach
    }

    #[test]
    fn what_is_told_goes_as_far_as_the_page_that_shows_most() {
        let (show, mut now) = (NodeShow::default(), Instant::now());
        show.configure(BOUNDS);
        let up_to_id = |id| up_to(Some(id)).reach;
        show.handle_call(everything(), "one", now);
        assert_eq!(reach(&show, now), None);
        show.handle_call(up_to(Some("c")), "one", now);
        assert_eq!(reach(&show, now), up_to_id("c"));
        show.handle_call(up_to(Some("b")), "two", now);
        assert_eq!(reach(&show, now), up_to_id("c"));
        // A page without a list is to be told everything.
        show.came("a");
        assert_eq!(reach(&show, now), None);
        assert!(!show.list_reaches(up_to_id("d"), false));
        assert_eq!(reach(&show, now), up_to_id("d"));
        assert_eq!(show.call(), up_to(Some("d")));
        show.went("a");
        // A page of a Node server, of which the node tells that has pages itself.
        let foreign = Call {
            foreign: true,
            ..everything()
        };
        show.handle_call(foreign, "one", now);
        assert_eq!(reach(&show, now), None);
        now += LEASE / 2;
        show.handle_call(up_to(Some("b")), "one", now);
        assert_eq!(reach(&show, now), None);
        now += LEASE / 2;
        assert_eq!(reach(&show, now), up_to_id("b"));
        for number in 0..=MAX_REACHES {
            show.handle_call(up_to(Some("b")), &number.to_string(), now);
            assert!(show.state().reaches.len() <= MAX_REACHES);
        }
        assert_eq!(reach(&show, now), None);
    }

    #[test]
    fn all_pages_of_a_node_get_a_list_that_is_cut_for_the_first_time() {
        let show = NodeShow::default();
        show.configure(BOUNDS);
        let up_to_id = |id| up_to(Some(id)).reach;
        show.came("a");
        assert!(!show.list_reaches(None, false));
        show.came("b");
        // The first may show sockets behind it.
        assert!(show.list_reaches(up_to_id("m"), false));
        assert!(!show.list_reaches(up_to_id("k"), false));
        assert_eq!(show.call().reach, up_to_id("m"));
        assert!(show.list_reaches(up_to_id("k"), true));
        assert_eq!(show.call().reach, up_to_id("k"));
        assert!(!show.list_reaches(None, false));
        assert_eq!(show.call().reach, None);
    }

    #[test]
    fn nothing_is_wanted_before_somebody_looks() {
        let (show, now) = (NodeShow::default(), Instant::now());
        show.handle_call(everything(), "b", now);
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
            show.handle_call(everything(), "b", now);
            now += LEASE / 2;
            assert!(show.wanted(now).details && show.wanted(now).details_elsewhere);
        }
        now += LEASE / 2;
        assert_eq!(show.wanted(now), Wanted::default());
        show.handle_call(Call::default(), "b", now);
        assert!(show.wanted(now).numbers() && !show.wanted(now).details);
    }
}
