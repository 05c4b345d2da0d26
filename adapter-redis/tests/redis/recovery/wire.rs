//! Links to the store, and what the subscription brings, beside Node servers.

use std::sync::Arc;

use adapter::recovery::{
    Act, Beat, Call, Done, Heard, Keep, Known, Link, LogName, Mark, Offset, Ordered, Position,
    Process, Publication, Reply, Request, Settings, Span, Told,
};
use adapter::{Adapter, ArgumentsBuf, EventBuf, Incoming, Selection};
use adapter_redis::recovery::Script;
use serde_json::json;
use testkit::wait::{PATIENCE, until};

use crate::gateway::{Gateway, rooms};
use crate::peer::Peer;
use crate::server::Redis;

pub(crate) const SETTINGS: Settings = Settings {
    keep: Keep {
        messages: 1000,
        bytes: 4 << 20,
        back: 180_000_000,
    },
    window: 120_000_000,
    lease: 5_000_000,
    rounds: 5,
    settle: 5_000_000,
    read_bytes: 1 << 20,
    stays: 100,
    sweep: 50,
    departed: 100,
    retire: 1000,
};

#[test]
#[ignore = "needs Redis: make test"]
fn events_come_in_order_to_all_also_to_who_published_them() {
    let redis = Redis::start();
    let [mut a, mut b] = ["gw-a", "gw-b"].map(|id| Node::start(&redis.url(), id));
    b.meet(&mut a);
    let _rooms = [a.gateway.join("room1"), b.gateway.join("room1")];
    let _other = b.gateway.join("room2");
    let first = a.publish(vec![
        publication(rooms(&["room1"]), "one", "1"),
        publication(Selection::everybody(), "two", r#"{"a":1.50},"x""#),
    ]);
    let second = b.publish(vec![
        publication(rooms(&["room1", "room2"]), "three", ""),
        publication(rooms(&["room2"]), "four", "4"),
    ]);
    assert!(first.iter().chain(&second).is_sorted());
    let heard = |node: &mut Node, count| (0..count).map(|_| node.ordered()).collect::<Vec<_>>();
    let (of_a, of_b) = (heard(&mut a, 3), heard(&mut b, 4));
    assert_eq!(of_a[..], of_b[..3], "the same, whoever hears it");
    let places: Vec<_> = of_b.iter().map(|it| it.entry.position).collect();
    assert_eq!(places, [&first[..], &second[..]].concat());
    let event = EventBuf::from_body(&of_b[1].entry.body).unwrap();
    assert_eq!(
        (&*event.name, &*event.arguments.json),
        ("two", r#"{"a":1.50},"x""#)
    );
    let before = |index: usize, log: &str| {
        let before = of_b[index].before.iter();
        before
            .clone()
            .find(|it| it.0 == LogName::room(log))
            .unwrap()
            .1
    };
    assert_eq!(before(2, "room1"), first[0]);
    assert_eq!(before(2, "room2"), Position::ZERO);
    assert_eq!(before(3, "room2"), second[0]);
    assert_eq!(of_b[1].before, [(LogName::Everybody, Position::ZERO)]);
    a.hears_nothing_but_its_mark();
    b.hears_nothing_but_its_mark();
    let pieces = a.read(&[LogName::room("room1"), LogName::Everybody]);
    let found: Vec<_> = pieces.iter().flat_map(|it| it.iter().cloned()).collect();
    assert_eq!(
        found,
        [&of_b[0], &of_b[2], &of_b[1]].map(|it| it.entry.clone())
    );
}

#[test]
#[ignore = "needs Redis: make test"]
fn nodes_clients_get_the_event_with_its_offset_as_the_last_argument() {
    for client in ["redis", "ioredis"] {
        let redis = Redis::start();
        let mut node = Node::start(&redis.url(), "gw-a");
        let mut peer = Peer::classic(&redis, client);
        peer.eval("client.emit('join', 'room1', () => {}); await until(() => io.of('/').adapter.rooms.has('room1'))");
        let _room = node.gateway.join("room1");
        let mut unlogged = publication(Selection::everybody(), "plain", "[],1E2");
        if let Act::Publish(publication) = &mut unlogged {
            publication.is_logged = false;
        }
        let mut binary = publication(rooms(&["room1", "x"]), "binary", "");
        if let Act::Publish(publication) = &mut binary {
            publication.body = EventBuf {
                name: "binary".to_owned(),
                arguments: ArgumentsBuf {
                    json: r#"{"_placeholder":true,"num":0}"#.to_owned(),
                    attachments: vec![vec![1, 255].into()],
                },
            }
            .to_body();
        }
        let places = node.publish(vec![
            publication(rooms(&["room1"]), "hi", "1"),
            unlogged,
            binary,
        ]);
        let epoch = node.known.unwrap().epoch;
        let offsets: Vec<_> = places
            .iter()
            .map(|position| {
                Offset {
                    epoch,
                    position: *position,
                }
                .to_string()
            })
            .collect();
        assert_eq!(
            peer.received(3),
            json!([
                ["hi", 1, offsets[0]],
                ["plain", [], 100, offsets[1]],
                ["binary", {"$bin": "01ff"}, offsets[2]],
            ])
        );
        // What Node's servers and emitters publish is not in the order, and comes as it always does.
        peer.eval("io.to('room1').emit('hello', 1); emitter.emit('hello', 2)");
        assert_eq!(node.gateway.next_event().2.json, "1");
        assert_eq!(node.gateway.next_event().2.json, "2");
        assert_eq!(
            [(); 3].map(|()| node.ordered().entry.position).to_vec(),
            places
        );
    }
}

#[test]
#[ignore = "needs Redis: make test"]
fn what_redis_evicts_is_noticed() {
    let redis = Redis::start();
    let mut node = Node::start(&redis.url(), "gw-a");
    let publish =
        |node: &mut Node| node.publish(vec![publication(rooms(&["room1"]), "hi", "1")])[0];
    let lost = publish(&mut node);
    let epoch = node.known.unwrap().epoch;
    let key = |end: &str| format!("{}#1#/#{epoch}{end}", Script::tag("socket.io"));
    let room = LogName::room("room1");
    let pieces = |node: &Node| {
        node.call(Request::Read(vec![Span {
            log: room.clone(),
            after: Position::ZERO,
            until: Position::MAX,
        }]));
        match node.reply() {
            Reply::Pieces { epoch, pieces } => (epoch, pieces[0].trimmed, pieces[0].entries.len()),
            reply => panic!("{reply:?}"),
        }
    };
    assert_eq!(redis.call(&["DEL", &key("#l#rroom1")]), ":1");
    assert_eq!(pieces(&node), (epoch, lost, 0));
    let lost_next = publish(&mut node);
    assert_eq!(pieces(&node), (epoch, lost, 1));
    assert_eq!(redis.call(&["DEL", &key("#l#rroom1")]), ":1");
    let three = [(); 3].map(|()| publication(rooms(&["room1"]), "hi", "1"));
    node.publish(three.into());
    assert_eq!(pieces(&node), (epoch, lost_next, 3));
    assert_eq!(redis.call(&["DEL", &key("#logs")]), ":1");
    let (other, ..) = pieces(&node);
    assert_ne!(other, epoch, "nobody is told that he is whole");
}

#[test]
#[ignore = "needs Redis: make test"]
fn logs_of_another_format_are_left_alone() {
    let redis = Redis::start();
    let mut node = Node::start(&redis.url(), "gw-a");
    node.beat();
    node.mark();
    let key = format!("{}#1#/#", Script::tag("socket.io"));
    redis.call(&["HSET", &key, "format", "2"]);
    let before = redis.call(&["HGETALL", &key]);
    node.send_beat();
    let is_broken = |it: &Incoming| {
        matches!(
            it,
            Incoming::Store {
                told: Told::Broken,
                ..
            }
        )
    };
    assert!(node.gateway.take(PATIENCE, is_broken).is_some());
    assert_eq!(redis.call(&["HGETALL", &key]), before);
    redis.call(&["HSET", &key, "format", "1"]);
    let is_connected = |it: &Incoming| {
        matches!(
            it,
            Incoming::Store {
                told: Told::Connected(2),
                ..
            }
        )
    };
    assert!(node.gateway.take(PATIENCE, is_connected).is_some());
}

#[test]
#[ignore = "needs Redis: make test"]
fn all_namespaces_share_a_connection_and_one_that_is_refused_disturbs_no_other() {
    let redis = Redis::start();
    let mut node = Node::start(&redis.url(), "gw-a");
    let names: Vec<String> = (0..50).map(|number| format!("/chat-{number}")).collect();
    let adapter = node.gateway.adapter.clone();
    let open = names.iter().map(|name| {
        let link = adapter.open_store(name, &SETTINGS).unwrap();
        (adapter.open_namespace(name), link)
    });
    let open: Vec<_> = open.collect();
    let told = |node: &Node, name: &str, wanted: Told| {
        let is_it = |it: &Incoming| matches!(it, Incoming::Store { namespace, told } if **namespace == *name && *told == wanted);
        assert!(
            node.gateway.take(PATIENCE, is_it).is_some(),
            "{wanted:?} of {name}"
        );
    };
    for name in &names {
        told(&node, name, Told::Connected(1));
        told(&node, name, Told::Listening(true));
    }
    let clients = redis.call(&["CLIENT", "LIST"]);
    assert_eq!(clients.matches("name=gateway-gw-a-store").count(), 1);

    let key = format!("{}#7#/chat-3#", Script::tag("socket.io"));
    redis.call(&["SET", &key, "of somebody else"]);
    let call = Call {
        process: node.process.clone(),
        request: Request::Read(Vec::new()),
        random: 1,
    };
    open[3].1.call(1, &call);
    told(&node, &names[3], Told::Broken);
    node.beat();
    node.mark();
    told(&node, &names[3], Told::Connected(2));
    redis.call(&["DEL", &key]);
    open[3].1.call(2, &call);
    let epochless = |it: &Incoming| matches!(it, Incoming::Store { namespace, told: Told::Reply(Reply::Pieces { .. }) } if **namespace == *names[3]);
    assert!(node.gateway.take(PATIENCE, epochless).is_some());
    drop(open);
    node.gateway.drain();
    node.beat();
    node.mark();
}

#[test]
#[ignore = "needs Redis: make test"]
fn what_waits_for_a_redis_that_stands_still_is_bounded() {
    let redis = Redis::start();
    let mut node = Node::start_with(&redis.url(), "gw-a", |it| {
        it.limits.queue_bytes = 100_000;
        // The connection is not given up meanwhile.
        it.timing.silence = PATIENCE;
    });
    redis.freeze();
    for _ in 0..3000 {
        node.call(Request::Read(Vec::new()));
    }
    node.wait(|told| (*told == Told::Broken).then_some(()));
    redis.thaw();
    node.connect();
    node.beat();
    node.mark();
}

#[test]
#[ignore = "needs Redis: make test"]
fn a_script_that_redis_forgot_is_given_again() {
    let redis = Redis::start();
    let mut node = Node::start(&redis.url(), "gw-a");
    let first = node.connection;
    redis.call(&["SCRIPT", "FLUSH"]);
    node.send_beat();
    node.wait(|told| (*told == Told::Broken).then_some(()));
    node.connect();
    assert!(node.connection > first);
    // A call for the old connection is dropped.
    node.connection = first;
    node.send_beat();
    node.connection = first + 1;
    node.beat();
    node.mark();
}

#[test]
#[ignore = "needs Redis: make test"]
fn a_server_that_is_a_replica_is_no_server() {
    let [redis, other] = [Redis::start(), Redis::start()];
    let mut node = Node::start(&redis.url(), "gw-a");
    let epoch = node.known.unwrap().epoch;
    redis.call(&["REPLICAOF", "127.0.0.1", &other.port.to_string()]);
    node.send_beat();
    node.wait(|told| (*told == Told::Broken).then_some(()));
    node.wait_until_listening(false);
    until("tried", || {
        let info = redis.call(&["INFO", "replication"]);
        info.contains("master_link_status:up")
    });
    assert_eq!(redis.call(&["REPLICAOF", "NO", "ONE"]), "+OK");
    node.gateway.drain();
    node.wait_until_whole();
    assert_ne!(
        node.known.unwrap().epoch,
        epoch,
        "it got the other's data, which is none"
    );
}

/// A node with the store of `/` open, driven by hand.
pub(crate) struct Node {
    pub(crate) gateway: Gateway,
    pub(crate) link: Box<dyn Link>,
    pub(crate) process: Process,
    pub(crate) connection: u64,
    pub(crate) number: u64,
    beats: u64,
    pub(crate) known: Option<Known>,
    may_act: bool,
}

impl Node {
    /// One that listens, and whose first heartbeat came back.
    pub(crate) fn start(url: &str, id: &str) -> Self {
        Self::start_with(url, id, |_| {})
    }

    pub(crate) fn start_with(
        url: &str,
        id: &str,
        change: impl FnOnce(&mut adapter_redis::Config),
    ) -> Self {
        let mut node = Self::open(Gateway::start_with(url, id, change));
        node.wait_until_whole();
        node
    }

    /// One that is perhaps not connected yet.
    pub(crate) fn open(gateway: Gateway) -> Self {
        Self {
            link: gateway.adapter.open_store("/", &SETTINGS).unwrap(),
            process: Process {
                node: gateway.adapter.node().clone(),
                seed: 7,
            },
            gateway,
            connection: 0,
            number: 0,
            beats: 0,
            known: None,
            may_act: false,
        }
    }

    /// Waits until it is connected and listens, and its heartbeat comes back.
    pub(crate) fn wait_until_whole(&mut self) {
        self.connect();
        self.wait_until_listening(true);
        self.beat();
        self.mark();
    }

    /// Waits for the next connection.
    pub(crate) fn connect(&mut self) {
        self.connection = self.wait(|told| match told {
            Told::Connected(connection) => Some(*connection),
            _ => None,
        });
    }

    pub(crate) fn wait_until_listening(&self, is_listening: bool) {
        self.wait(|told| (*told == Told::Listening(is_listening)).then_some(()));
    }

    /// The first that is told and that `read` makes something of.
    pub(crate) fn wait<T>(&self, read: impl Fn(&Told) -> Option<T>) -> T {
        let told = |incoming: &Incoming| match incoming {
            Incoming::Store { told, .. } => read(told),
            _ => None,
        };
        let found = self.gateway.take(PATIENCE, |it| told(it).is_some());
        told(&found.expect("told")).unwrap()
    }

    pub(crate) fn call(&self, request: Request) {
        let call = Call {
            process: self.process.clone(),
            request,
            random: fastrand::u64(..),
        };
        self.link.call(self.connection, &call);
    }

    pub(crate) fn reply(&self) -> Reply {
        self.wait(|told| match told {
            Told::Reply(reply) => Some(reply.clone()),
            _ => None,
        })
    }

    pub(crate) fn beat(&mut self) -> Known {
        self.send_beat();
        let Reply::Beaten {
            number,
            known,
            may_act,
            ..
        } = self.reply()
        else {
            panic!("no answer to a heartbeat");
        };
        assert_eq!(number, self.beats);
        (self.known, self.may_act) = (Some(known), may_act);
        known
    }

    pub(crate) fn send_beat(&mut self) {
        self.beats += 1;
        self.call(Request::Beat(Beat {
            number: self.beats,
            acknowledged: self.number,
            known: self.known,
            floor: Position::ZERO,
            heads: vec![LogName::room("room1")],
            sweeps: true,
            seen: Position::ZERO,
        }));
    }

    /// The next mark.
    pub(crate) fn mark(&self) -> Arc<Mark> {
        self.wait(|told| match told {
            Told::Heard(Heard::Mark(process, mark)) => {
                (*process == self.process).then(|| mark.clone())
            }
            _ => None,
        })
    }

    /// The mark of another one, to which this one is new, or that is new to this one.
    fn mark_of(&self, other: &Self) -> Arc<Mark> {
        self.wait(|told| match told {
            Told::Heard(Heard::Mark(process, mark)) => {
                (*process == other.process).then(|| mark.clone())
            }
            _ => None,
        })
    }

    /// Waits until it may act, since `other` knows of it.
    fn meet(&mut self, other: &mut Self) {
        assert!(!self.may_act, "nobody knows of it");
        let mark = other.mark_of(self);
        other.beat();
        other.beat();
        assert!(other.known.unwrap().position > mark.known.position);
        self.mark_of(other);
        self.beat();
        assert!(self.may_act);
        self.gateway.drain();
        other.gateway.drain();
    }

    pub(crate) fn acts(&mut self, acts: Vec<Act>) -> Arc<[Done]> {
        self.number += 1;
        let number = self.number;
        let seen = Position::ZERO;
        self.call(Request::Acts { number, acts, seen });
        match self.reply() {
            Reply::Done { done, known, .. } => {
                self.known = Some(known);
                done
            }
            reply => panic!("{reply:?}"),
        }
    }

    pub(crate) fn publish(&mut self, acts: Vec<Act>) -> Vec<Position> {
        let done = self.acts(acts);
        let places = done.iter().map(|done| match done {
            Done::Published(position) => *position,
            done => panic!("{done:?}"),
        });
        places.collect()
    }

    pub(crate) fn ordered(&self) -> Arc<Ordered> {
        self.wait(|told| match told {
            Told::Heard(Heard::Ordered(ordered)) => Some(ordered.clone()),
            _ => None,
        })
    }

    pub(crate) fn read(&self, logs: &[LogName]) -> Vec<Vec<Arc<adapter::recovery::Entry>>> {
        let spans = logs.iter().map(|log| Span {
            log: log.clone(),
            after: Position::ZERO,
            until: Position::MAX,
        });
        self.call(Request::Read(spans.collect()));
        let Reply::Pieces { pieces, .. } = self.reply() else {
            panic!("no pieces");
        };
        pieces.into_iter().map(|it| it.entries).collect()
    }

    /// What comes before its next mark is nothing.
    fn hears_nothing_but_its_mark(&mut self) {
        self.gateway.drain();
        self.beat();
        self.mark();
        for incoming in self.gateway.drain() {
            let is_heard = matches!(
                &incoming,
                Incoming::Store {
                    told: Told::Heard(_),
                    ..
                }
            );
            assert!(
                !is_heard && !matches!(incoming, Incoming::Message { .. }),
                "{incoming:?}"
            );
        }
    }
}

pub(crate) fn publication(selection: Selection, name: &str, json: &str) -> Act {
    let event = EventBuf {
        name: name.to_owned(),
        arguments: ArgumentsBuf::from_json(json),
    };
    Act::Publish(Publication {
        selection,
        body: event.to_body(),
        is_logged: true,
        sender: None,
    })
}
