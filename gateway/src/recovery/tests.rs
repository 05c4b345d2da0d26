//! The bounds of a node's orders, and clients that leave while they come back.

use std::sync::mpsc;

use adapter::Selection;
use adapter::recovery::{Heard, LogName, Ordered};
use bytes::Bytes;

use super::*;

/// What a keeper told the shards.
#[derive(Debug)]
enum Outcome {
    Opened(Seat, Pid),
    Welcome(Seat),
    Closed(Whom),
}

struct Outcomes(Mutex<mpsc::Sender<Outcome>>);

impl Outcomes {
    fn note(&self, outcome: Outcome) {
        let _nobody = self.0.lock().unwrap().send(outcome);
    }
}

impl Outlet for Outcomes {
    fn release(&self, _: &Arc<Order>, _: Epoch, _: &Arc<Entry>) {}
    fn marked(&self, _: &Arc<Order>, _: Offset) {}
    fn opened(&self, seat: Seat, pid: Pid) {
        self.note(Outcome::Opened(seat, pid));
    }
    fn welcome(&self, seat: Seat, _: Vec<Arc<Entry>>, _: Position) {
        self.note(Outcome::Welcome(seat));
    }
    fn joined(&self, _: Seat, _: Arc<[Arc<str>]>, _: Position) {}
    fn rewound(&self, _: Seat, _: u64, _: Rewound) {}
    fn close(&self, _: &Arc<str>, whom: Whom, _: &'static str) {
        self.note(Outcome::Closed(whom));
    }
}

/// A node without Redis whose keepers run when the test wants it.
pub(super) struct Node {
    recovery: Recovery,
    keepers: Arc<Mutex<Vec<Task>>>,
    outcomes: mpsc::Receiver<Outcome>,
}

impl Node {
    pub(super) fn new() -> Self {
        Self::that_waits(COMEBACK)
    }

    /// So long for clients that come back.
    fn that_waits(comeback: Duration) -> Self {
        let text = "recovery.window = \"2m\"\nrecovery.namespaces = [\"/\", \"/chat-*\"]";
        let mut recovery = Recovery::new(&config::Config::from_toml(text).unwrap()).unwrap();
        recovery.comeback = comeback;
        let keepers: Arc<Mutex<Vec<Task>>> = Arc::default();
        let (sender, outcomes) = mpsc::channel();
        let kept = Arc::clone(&keepers);
        let begun = Begun {
            node: NodeId::new("n").unwrap(),
            shards: 1,
            adapter: None,
            outlet: Arc::new(Outcomes(Mutex::new(sender))),
            spawn: Box::new(move |task| kept.lock().unwrap().push(task)),
        };
        assert!(recovery.begin(begun, ["/"].into_iter()));
        Self {
            recovery,
            keepers,
            outcomes,
        }
    }

    /// An order that ends at once when nobody uses it. Its keeper is to be run.
    pub(super) fn open_unused(&self, namespace: &str) -> (Arc<Order>, Keeper) {
        let begun = self.recovery.begun.get().unwrap();
        let (order, mut keeper) = self.recovery.open(namespace, begun);
        keeper.end_when_unused(Duration::ZERO);
        let orders = &self.recovery.orders;
        let before = orders
            .lock()
            .unwrap()
            .insert(namespace.into(), Arc::clone(&order));
        drop(before);
        (order, keeper)
    }

    pub(super) fn has_order(&self, namespace: &str) -> bool {
        self.recovery.lock().contains_key(namespace)
    }

    fn run(&self) {
        for keeper in self.keepers.lock().unwrap().drain(..) {
            tokio::spawn(keeper);
        }
    }

    /// What a client was told of its session; what keepers told before is forgotten.
    pub(super) async fn pid_of(&self, client: Seat) -> Pid {
        loop {
            if let Outcome::Opened(seat, pid) = self.outcome().await
                && seat == client
            {
                return pid;
            }
        }
    }

    async fn outcome(&self) -> Outcome {
        loop {
            if let Ok(outcome) = self.outcomes.try_recv() {
                return outcome;
            }
            tokio::task::yield_now().await;
        }
    }
}

fn arrival(sid: &str) -> Arrival {
    Arrival {
        sid: sid.into(),
        user: None,
        data: None,
        rooms: vec!["r".into()],
    }
}

#[test]
fn a_node_puts_so_many_namespaces_in_order_and_no_more() {
    let node = Node::new();
    for number in 1..MAX_ORDERS {
        assert!(!node.recovery.is_full("/chat-last"));
        assert!(node.recovery.order(&format!("/chat-{number}")).is_some());
    }
    assert!(node.recovery.is_full("/chat-last"));
    assert!(node.recovery.order("/chat-last").is_none());
    assert!(
        !node.recovery.is_full("/chat-1"),
        "that one is in order already"
    );
    assert!(node.recovery.order("/chat-1").is_some());
    assert!(!node.recovery.is_full("/other"), "that one has no recovery");
    assert!(node.recovery.order("/").is_some());
}

#[tokio::test]
async fn what_was_heard_and_is_not_handled_stops_the_reader() {
    let node = Node::new();
    let order = node.recovery.order("/").unwrap();
    let entry = Arc::new(Entry {
        position: Position::new(1),
        selection: Selection::room("r"),
        body: Bytes::from(vec![0; MAX_HEARD / 4]),
    });
    let ordered = Arc::new(Ordered {
        epoch: Epoch::new(1),
        era: Position::ZERO,
        entry,
        before: vec![(LogName::room("r"), Position::ZERO)],
    });
    for _ in 0..4 {
        assert!(!node.recovery.is_behind());
        node.recovery
            .tell("/", Told::Heard(Heard::Ordered(Arc::clone(&ordered))));
    }
    assert!(node.recovery.is_behind());
    // What is told of a namespace that is in no order here is nothing to wait for.
    node.recovery
        .tell("/chat-1", Told::Heard(Heard::Ordered(ordered)));
    node.run();
    while node.recovery.is_behind() {
        tokio::task::yield_now().await;
    }
    drop(order);
}

#[tokio::test]
async fn a_client_that_leaves_while_it_comes_back_can_come_back_again() {
    let node = Node::new();
    let order = node.recovery.order("/").unwrap();
    node.run();
    let first = order.seat(0);
    order.open(first, arrival("a-sid"));
    let Outcome::Opened(seat, pid) = node.outcome().await else {
        panic!("not opened");
    };
    assert_eq!(seat, first);
    order.gone(first, false);

    let shown = || Shown {
        pid: pid.expose(),
        offset: None,
    };
    // It is gone before its claim is answered: the claim counts, and nobody is left who has the session.
    let second = order.seat(0);
    let vain = order.claim(second, shown(), None);
    order.gone(second, false);
    assert!(vain.await.is_err(), "nobody is told");

    // So it is when it is gone before the application accepts it.
    let third = order.seat(0);
    let returned = order.claim(third, shown(), None).await.unwrap().unwrap();
    assert_eq!((&*returned.sid, returned.generation), ("a-sid", 3));
    order.gone(third, false);

    let fourth = order.seat(0);
    let returned = order.claim(fourth, shown(), None).await.unwrap().unwrap();
    assert_eq!((returned.generation, returned.rooms.len()), (4, 1));
    order.enter(fourth);
    let Outcome::Welcome(seat) = node.outcome().await else {
        panic!("not welcome");
    };
    assert_eq!(seat, fourth);
}

#[tokio::test]
async fn a_client_that_is_not_let_in_for_too_long_is_closed_and_can_come_back_again() {
    // Long enough for a claim. The application never decides.
    let node = Node::that_waits(Duration::from_secs(3));
    let order = node.recovery.order("/").unwrap();
    node.run();
    let first = order.seat(0);
    order.open(first, arrival("a-sid"));
    let Outcome::Opened(_, pid) = node.outcome().await else {
        panic!("not opened");
    };
    order.gone(first, false);
    let shown = || Shown {
        pid: pid.expose(),
        offset: None,
    };
    let slow = order.seat(0);
    let returned = order.claim(slow, shown(), None).await.unwrap().unwrap();
    assert_eq!(returned.generation, 2);
    // The application does not decide.
    let Outcome::Closed(Whom::Seat(closed)) = node.outcome().await else {
        panic!("not closed");
    };
    assert_eq!(closed, slow);
    order.enter(slow);
    let next = order.claim(order.seat(0), shown(), None);
    assert_eq!(next.await.unwrap().unwrap().generation, 3);
    let Outcome::Closed(_) = node.outcome().await else {
        panic!("the one that was closed is let in");
    };
}

#[tokio::test]
async fn a_client_that_comes_back_after_it_ended_is_told_so() {
    let node = Node::new();
    let order = node.recovery.order("/").unwrap();
    node.run();
    let seat = order.seat(0);
    order.open(seat, arrival("a-sid"));
    let Outcome::Opened(_, pid) = node.outcome().await else {
        panic!("not opened");
    };
    order.gone(seat, true);
    let shown = Shown {
        pid: pid.expose(),
        offset: None,
    };
    let refused = order.claim(order.seat(0), shown, None).await.unwrap();
    assert_eq!(refused.unwrap_err().as_str(), "unknown");
}
