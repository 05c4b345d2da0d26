//! What is busiest: the rates of a node, and the rooms and users with most events, for somebody who looks.
//!
//! What nobody looks at costs nothing: the shards count rooms and users only for [`LEASE`] after somebody
//! asked last ([`NodeTop`]). Then a shard counts in two [`Sketch`]es of bounded size ([`ShardTop`]), and
//! the rates of the node come from its counters at two moments ([`Totals`]).
//!
//! This room counts. [`socketio`](crate::socketio) says what is counted, and asks the shards and the other
//! nodes. It may use what is below the cluster.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::Deserialize;
use tokio::sync::mpsc;

mod rates;
mod shard_top;
mod sketch;
mod status;
mod totals;

pub(crate) use rates::{NodeRates, Report, RoomRates, UserRates, merged};
pub(crate) use shard_top::{Piece, ShardTop};
pub(crate) use status::{
    Counted, Found, Look, MAX_LARGEST, MAX_TOLD_ROOMS, NodeStatus, RoomMembers, largest, summed,
};
pub(crate) use totals::Totals;

/// How long a node counts after somebody asked last.
pub(crate) const LEASE: Duration = Duration::from_secs(10);

/// The shortest time that rates are of: the first answer of a while comes so late.
pub(crate) const WINDOW: Duration = Duration::from_secs(1);

/// The longest time that rates of a node are of, if somebody asks often.
const HORIZON: Duration = Duration::from_secs(5);

/// How long what was found in the registries of the shards is for everybody who asks: nodes may ask each other.
pub(crate) const FRESH: Duration = Duration::from_secs(1);

/// Most moments of which the counters are remembered.
const MAX_SEEN: usize = 8;

/// Most questions to the other nodes at a time.
const MAX_ASKED: usize = 16;

/// Most rooms, and most users, of an answer.
pub(crate) const MAX_BUSIEST: usize = 50;

/// Most answers of other nodes that wait to be read.
const MAX_ANSWERS: usize = 1024;

/// What somebody wants to know of nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// What is busiest.
    Rates,
    /// Also how they are.
    Status,
    /// How many members these rooms have.
    Rooms(Vec<RoomName>),
}

/// A namespace, and a room there.
pub(crate) type RoomName = (String, String);

/// Most bytes of a question without names of rooms.
const MAX_QUESTION: usize = 40;

/// Most bytes of one with names.
const MAX_LONG_QUESTION: usize = 64 * 1024;

impl Wanted {
    /// How nodes ask each other. Those that do not understand it say so, or answer with what they know.
    pub(crate) fn question(&self) -> String {
        match self {
            Self::Rates => r#"{"top":{}}"#.to_owned(),
            Self::Status => r#"{"top":{"status":true}}"#.to_owned(),
            Self::Rooms(rooms) => serde_json::json!({"top": {"rooms": rooms}}).to_string(),
        }
    }

    /// What another node asks, if it asks this.
    pub(crate) fn read(words: &str) -> Option<Self> {
        #[derive(Deserialize)]
        struct Question {
            top: Details,
        }
        #[derive(Deserialize)]
        struct Details {
            #[serde(default)]
            status: bool,
            rooms: Option<Vec<RoomName>>,
        }
        let most = match words.starts_with(r#"{"top":{"rooms":"#) {
            true => MAX_LONG_QUESTION,
            false => MAX_QUESTION,
        };
        if words.len() > most {
            return None;
        }
        let question: Question = serde_json::from_str(words).ok()?;
        match question.top.rooms {
            Some(rooms) => (rooms.len() <= MAX_LARGEST).then_some(Self::Rooms(rooms)),
            None if question.top.status => Some(Self::Status),
            None => Some(Self::Rates),
        }
    }
}

/// What a node knows of who looks.
#[derive(Debug, Default)]
pub(crate) struct NodeTop {
    watch: Mutex<Option<Watch>>,
    /// What was found in the registries of the shards, for all who ask within a while.
    pub(crate) found: tokio::sync::Mutex<Option<(Instant, Arc<Found>)>>,
    /// Who waits for answers of other nodes, by the request.
    asked: Mutex<HashMap<String, mpsc::Sender<(String, String)>>>,
}

/// Somebody looks.
#[derive(Debug)]
struct Watch {
    began: Instant,
    until: Instant,
    /// The counters earlier on, the oldest first.
    seen: VecDeque<(Instant, Totals)>,
}

/// A question to the other nodes.
pub(crate) struct Asking<'a> {
    top: &'a NodeTop,
    request: String,
    /// Nodes, and what they answer.
    pub(crate) answers: mpsc::Receiver<(String, String)>,
}

impl NodeTop {
    /// Somebody asks. Begins with `begin` if nobody has lately, and says when rates are there.
    pub(crate) fn look(&self, now: Instant, totals: Totals, begin: impl FnOnce()) -> Instant {
        let mut watch = lock(&self.watch);
        if let Some(watch) = &mut *watch {
            watch.until = now + LEASE;
            return watch.began + WINDOW;
        }
        begin();
        *watch = Some(Watch {
            began: now,
            until: now + LEASE,
            seen: VecDeque::from([(now, totals)]),
        });
        now + WINDOW
    }

    /// Ends with `end` if nobody has asked lately. Says when to look again if somebody has.
    pub(crate) fn end_if_over(&self, now: Instant, end: impl FnOnce()) -> Option<Instant> {
        let mut watch = lock(&self.watch);
        let until = watch.as_ref()?.until;
        if until > now {
            return Some(until);
        }
        *watch = None;
        end();
        None
    }

    /// What was counted lately, and within how many seconds; `None` if nobody looks.
    pub(crate) fn lately(&self, now: Instant, totals: &Totals) -> Option<(f64, Totals)> {
        let mut watch = lock(&self.watch);
        let seen = &mut watch.as_mut()?.seen;
        while seen.len() > 1 && (seen[1].0 + HORIZON <= now || seen.len() >= MAX_SEEN) {
            seen.pop_front();
        }
        let (at, before) = seen.front()?;
        let lately = ((now - *at).as_secs_f64(), totals.since(before));
        if seen.back().is_some_and(|(last, _)| *last + WINDOW <= now) {
            seen.push_back((now, totals.clone()));
        }
        Some(lately)
    }

    /// Asks the other nodes by this request. `None` if too many questions await answers.
    pub(crate) fn ask(&self, request: &str) -> Option<Asking<'_>> {
        let (sender, answers) = mpsc::channel(MAX_ANSWERS);
        let mut asked = lock(&self.asked);
        if asked.len() >= MAX_ASKED {
            return None;
        }
        asked.insert(request.to_owned(), sender);
        Some(Asking {
            top: self,
            request: request.to_owned(),
            answers,
        })
    }

    /// Another node answers.
    pub(crate) fn handle_answer(&self, request: &str, node: &str, answer: String) {
        if let Some(asking) = lock(&self.asked).get(request) {
            let _full = asking.try_send((node.to_owned(), answer));
        }
    }

    /// Whether this node counts.
    pub(crate) fn is_watched(&self) -> bool {
        lock(&self.watch).is_some()
    }
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        lock(&self.top.asked).remove(&self.request);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_counts_as_long_as_somebody_asks() {
        let top = NodeTop::default();
        let (mut now, mut begun) = (Instant::now(), 0);
        for _ in 0..3 {
            top.look(now, Totals::default(), || begun += 1);
            now += LEASE / 2;
            let next = top.end_if_over(now, || panic!("somebody asked"));
            assert_eq!(next, Some(now + LEASE / 2));
        }
        now += LEASE / 2;
        let mut ended = 0;
        assert!(top.end_if_over(now, || ended += 1).is_none());
        assert_eq!((begun, ended, top.is_watched()), (1, 1, false));
        assert!(top.lately(now, &Totals::default()).is_none());
    }

    #[test]
    fn rates_are_of_the_last_seconds() {
        let top = NodeTop::default();
        let totals = |events_in| Totals {
            events_in,
            ..Totals::default()
        };
        let mut now = Instant::now();
        top.look(now, totals(100), || ());
        let mut last = (0.0, 0);
        for second in 1..=60 {
            now += WINDOW;
            top.look(now, Totals::default(), || panic!("it is on"));
            let (seconds, lately) = top.lately(now, &totals(100 + 10 * second)).unwrap();
            last = (seconds, lately.events_in);
            assert_eq!(lately.events_in as f64, seconds * 10.0);
        }
        assert_eq!(last, (5.0, 50));
        for _ in 0..100 {
            top.lately(now, &totals(700));
        }
        assert!(lock(&top.watch).as_ref().unwrap().seen.len() <= MAX_SEEN);
    }

    #[test]
    fn so_many_questions_wait_and_each_gets_its_own_answers() {
        let top = NodeTop::default();
        let mut asking: Vec<_> = (0..MAX_ASKED)
            .map(|number| top.ask(&number.to_string()).unwrap())
            .collect();
        assert!(top.ask("one more").is_none());
        top.handle_answer("3", "b", "three".to_owned());
        top.handle_answer("unknown", "b", "nothing".to_owned());
        let answer = asking[3].answers.try_recv().unwrap();
        assert_eq!(answer, ("b".to_owned(), "three".to_owned()));
        asking.truncate(1);
        assert!(top.ask("one more").is_some());
    }

    #[test]
    fn only_the_question_is_the_question() {
        let rooms = |count| vec![("/".to_owned(), "\"".repeat(1000)); count];
        for wanted in [
            Wanted::Rates,
            Wanted::Status,
            Wanted::Rooms(rooms(MAX_LARGEST)),
        ] {
            assert_eq!(Wanted::read(&wanted.question()), Some(wanted));
        }
        let many = Wanted::Rooms(rooms(MAX_LARGEST + 1));
        assert_eq!(Wanted::read(&many.question()), None);
        for words in ["", "{}", r#"{"of":{"user":"top"},"lease":1}"#, "[]"] {
            assert_eq!(Wanted::read(words), None, "{words}");
        }
        let long = format!(r#"{{"top":{{"x":"{}"}}}}"#, "x".repeat(100));
        assert_eq!(Wanted::read(&long), None);
    }
}
