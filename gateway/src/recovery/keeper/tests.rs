//! How a keeper ends, and what it tells because of others.

use std::sync::Mutex;

use adapter::NodeId;
use adapter::recovery::{Done, Known, Mark, NotClaimed, Pid};
use tokio::sync::oneshot;

use super::super::seats::Stage;
use super::super::tests::Node;
use super::super::{Arrival, RETIRE, SETTLE, Shown};
use super::*;

impl Keeper {
    /// After which time without use it ends.
    pub(in crate::recovery) fn end_when_unused(&mut self, unused: Duration) {
        self.unused = unused;
    }

    /// What it asks of the store from now on.
    fn record(&mut self) -> Arc<Mutex<Vec<Request>>> {
        let asked = Arc::default();
        let nothing = Recorded {
            link: None,
            asked: Arc::clone(&asked),
        };
        let link = std::mem::replace(&mut self.link, Box::new(nothing));
        self.link = Box::new(Recorded {
            link: Some(link),
            asked: Arc::clone(&asked),
        });
        asked
    }

    /// Handles what it is told, until there is nothing more.
    fn settle(&mut self) {
        self.pump();
        while let Ok(ask) = self.asks.try_recv() {
            self.handle(ask);
            self.pump();
        }
    }
}

fn arrival(sid: &str, rooms: &[&str]) -> Arrival {
    Arrival {
        sid: sid.into(),
        user: None,
        data: None,
        rooms: rooms.iter().map(|&room| room.into()).collect(),
    }
}

fn shown(pid: Pid) -> Shown {
    Shown {
        pid: pid.expose(),
        offset: None,
    }
}

#[derive(Debug)]
struct Recorded {
    link: Option<Box<dyn Link>>,
    asked: Arc<Mutex<Vec<Request>>>,
}

impl Link for Recorded {
    fn call(&self, connection: u64, call: &Call) {
        self.asked.lock().unwrap().push(call.request.clone());
        if let Some(link) = &self.link {
            link.call(connection, call);
        }
    }
}

#[tokio::test]
async fn an_order_of_a_pattern_ends_when_nobody_uses_it() {
    let node = Node::new();
    let (used, keeper) = node.open_unused("/chat-used");
    let used_keeper = tokio::spawn(keeper.run());
    let (unused, mut keeper) = node.open_unused("/chat-unused");
    let asked = keeper.record();
    drop(unused);
    keeper.run().await;
    assert!(!node.has_order("/chat-unused"));
    // Nodes that are new to the namespace do not wait for this one.
    let is_retired = |request: &Request| matches!(request, Request::Acts { acts, .. } if acts.as_slice() == [Act::Retire]);
    assert!(asked.lock().unwrap().iter().any(is_retired));
    // Somebody has the other one.
    assert!(node.has_order("/chat-used"));
    assert!(!used_keeper.is_finished());
    drop(used);
    used_keeper.await.unwrap();
    assert!(!node.has_order("/chat-used"));
    // That of a name that stands in the configuration stays.
    let (kept, mut keeper) = node.open_unused("/");
    kept.keep();
    drop(kept);
    assert!(!keeper.is_over());
}

#[tokio::test]
async fn an_order_without_a_connection_stays_until_it_told_that_it_ends() {
    let node = Node::new();
    let (order, mut keeper) = node.open_unused("/chat-cut-off");
    let asked = keeper.record();
    keeper.settle();
    keeper.handle_told(Told::Broken);
    drop(order);
    assert!(!keeper.is_over());
    assert!(!keeper.is_over(), "it waits for a connection");
    keeper.handle_told(Told::Connected(2));
    keeper.run().await;
    let is_retired = |request: &Request| matches!(request, Request::Acts { acts, .. } if acts.as_slice() == [Act::Retire]);
    let retired = asked.lock().unwrap();
    assert_eq!(retired.iter().filter(|it| is_retired(it)).count(), 1);
    assert!(!node.has_order("/chat-cut-off"));
    // Of one that never had a connection nobody knows.
    let (order, mut keeper) = node.open_unused("/chat-unknown");
    drop(order);
    assert!(keeper.is_over());
}

#[tokio::test]
async fn a_node_tells_the_store_that_it_knows_of_a_new_one() {
    let node = Node::new();
    let (_order, mut keeper) = node.open_unused("/chat-new");
    let asked = keeper.record();
    keeper.settle();
    let known = keeper.receiver.released().unwrap();
    let told_after_mark_at = |keeper: &mut Keeper, position| {
        asked.lock().unwrap().clear();
        let mark = Mark {
            number: 1,
            known: Known { position, ..known },
            previous: known.position,
            heads: Vec::new(),
        };
        let new = Process {
            node: NodeId::new("new").unwrap(),
            seed: 1,
        };
        keeper.handle_told(Told::Heard(Heard::Mark(new, Arc::new(mark))));
        keeper.settle();
        let asked = asked.lock().unwrap();
        let told = asked.iter().map(|it| match it {
            Request::Beat(beat) => beat.known.unwrap().position,
            Request::Acts { .. } | Request::Read(_) | Request::History { .. } => panic!("{it:?}"),
        });
        told.collect::<Vec<_>>()
    };
    let position = known.position.after(0);
    let told = told_after_mark_at(&mut keeper, position);
    assert!(matches!(told[..], [_, it] if it >= position), "{told:?}");
    // Any program that may publish can make a mark up.
    let position = known.position.after(u64::MAX / 4096);
    let told = told_after_mark_at(&mut keeper, position);
    assert!(
        told.len() == 2 && *told.iter().max().unwrap() < position,
        "{told:?}"
    );
    assert_eq!(keeper.receiver.released().unwrap().epoch, known.epoch);
}

#[tokio::test]
async fn who_told_that_it_ends_makes_no_heartbeat_until_it_acts_again() {
    let node = Node::new();
    let (order, mut keeper) = node.open_unused("/chat-ended");
    let asked = keeper.record();
    keeper.settle();
    let ended = order.retire();
    keeper.settle();
    ended.await.unwrap();
    asked.lock().unwrap().clear();
    keeper.beat();
    assert_eq!(asked.lock().unwrap().as_slice(), []);
    keeper.push(Act::Retire, Pending::Retire);
    keeper.settle();
    let beats = |request: &Request| matches!(request, Request::Beat(_));
    assert!(asked.lock().unwrap().iter().any(beats), "it is new again");
    assert!(keeper.is_retired);
}

#[tokio::test]
async fn a_node_that_ends_puts_so_many_sessions_away_by_one_call() {
    let node = Node::new();
    let (order, mut keeper) = node.open_unused("/chat-many");
    let asked = keeper.record();
    keeper.settle();
    for number in 0..=RETIRE {
        order.open(order.seat(0), arrival(&format!("sid-{number}"), &[]));
    }
    keeper.settle();
    asked.lock().unwrap().clear();
    let ended = order.retire();
    keeper.settle();
    ended.await.unwrap();
    let is_retired = |request: &&Request| matches!(request, Request::Acts { acts, .. } if acts.as_slice() == [Act::Retire]);
    assert_eq!(asked.lock().unwrap().iter().filter(is_retired).count(), 2);
    assert!(keeper.is_retired);
}

#[tokio::test]
async fn who_is_gone_leaves_nothing_behind() {
    let node = Node::new();
    let (order, mut keeper) = node.open_unused("/chat-gone");
    keeper.settle();
    let first = order.seat(0);
    order.open(first, arrival("a-sid", &["r"]));
    let other = order.seat(0);
    order.open(other, arrival("another-sid", &["r"]));
    keeper.settle();
    let pid = node.pid_of(first).await;
    // Its old connection is still there.
    let second = order.seat(0);
    let returned = order.claim(second, shown(pid), None);
    keeper.settle();
    let returned = returned.await.unwrap().unwrap();
    assert_eq!((&*returned.sid, returned.generation), ("a-sid", 2));
    let seats = |keeper: &Keeper| keeper.seats.keys().copied().collect::<BTreeSet<_>>();
    assert_eq!(seats(&keeper), [other, second].into());
    // The application has not decided yet.
    order.gone(second, false);
    keeper.settle();
    assert_eq!(seats(&keeper), [other].into());
    assert_eq!(keeper.by_sid, [("another-sid".into(), other)].into());
    assert!(keeper.returning.is_empty() && keeper.returning_to.is_empty());
    assert!(keeper.marking.is_empty() && keeper.reads.is_empty());
    assert!(keeper.waiting.is_empty() && keeper.tickets.is_empty());
    assert_eq!(
        keeper.wanted.len(),
        3,
        "everybody, and the rooms of the other one"
    );
}

#[tokio::test]
async fn a_claim_that_waited_for_the_store_waits_on_until_that_is_settled() {
    let node = Node::new();
    let (order, mut keeper) = node.open_unused("/chat-waits");
    keeper.settle();
    let first = order.seat(0);
    order.open(first, arrival("a-sid", &[]));
    keeper.settle();
    let pid = node.pid_of(first).await;
    let seat = order.seat(0);
    let (answer, mut returned) = oneshot::channel();
    keeper.claim(seat, &shown(pid), None, answer);
    // Redis was away meanwhile, and comes back as another server.
    let Stage::Claiming(claimant) = &mut keeper.seats.get_mut(&seat).unwrap().stage else {
        panic!("it is not claimed yet");
    };
    claimant.since -= SETTLE * 2;
    let unsettled = Done::NotClaimed(NotClaimed::Unsettled);
    keeper.handle_claim(seat, *pid.secret(), &unsettled);
    assert_eq!(keeper.unsettled, [seat].into());
    assert!(returned.try_recv().is_err(), "nothing is said yet");
    keeper.settle();
    assert!(returned.await.unwrap().is_ok());
}
