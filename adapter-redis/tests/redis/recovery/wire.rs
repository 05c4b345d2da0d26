//! Links to the store, and what the subscription brings, beside Node servers.

use std::sync::Arc;

use adapter::recovery::{
    Act, Beat, Call, Done, Heard, Keep, Known, Link, LogName, Mark, Offset, Ordered, Position,
    Process, Publication, Reply, Request, Settings, Span, Told,
};
use adapter::{Adapter, ArgumentsBuf, EventBuf, Incoming, Selection};
use serde_json::json;
use testkit::wait::PATIENCE;

use crate::gateway::{Gateway, rooms};
use crate::peer::Peer;
use crate::server::Redis;

pub(super) const SETTINGS: Settings = Settings {
    keep: Keep {
        messages: 1000,
        bytes: 4 << 20,
        back: 180_000_000,
    },
    window: 120_000_000,
    lease: 5_000_000,
    settle: 5_000_000,
    read_bytes: 1 << 20,
    stays: 100,
    sweep: 50,
    departed: 100,
};

#[test]
#[ignore = "needs Redis: make test"]
fn events_come_in_order_to_all_also_to_who_published_them() {
    let redis = Redis::start();
    let [mut a, mut b] = ["gw-a", "gw-b"].map(|id| Node::start(&redis.url(), id));
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

/// A node with the store of `/` open, driven by hand.
pub(super) struct Node {
    pub(super) gateway: Gateway,
    pub(super) link: Box<dyn Link>,
    pub(super) process: Process,
    pub(super) connection: u64,
    pub(super) number: u64,
    beats: u64,
    pub(super) known: Option<Known>,
}

impl Node {
    /// One that listens, and whose first heartbeat came back.
    pub(super) fn start(url: &str, id: &str) -> Self {
        Self::start_with(url, id, |_| {})
    }

    pub(super) fn start_with(
        url: &str,
        id: &str,
        change: impl FnOnce(&mut adapter_redis::Config),
    ) -> Self {
        let gateway = Gateway::start_with(url, id, change);
        let mut node = Self {
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
        };
        node.wait_until_whole();
        node
    }

    /// Waits until it is connected and listens, and its heartbeat comes back.
    pub(super) fn wait_until_whole(&mut self) {
        self.connection = self.wait(|told| match told {
            Told::Connected(connection) => Some(*connection),
            _ => None,
        });
        self.wait_until_listening(true);
        self.beat();
        self.mark();
    }

    pub(super) fn wait_until_listening(&self, is_listening: bool) {
        self.wait(|told| (*told == Told::Listening(is_listening)).then_some(()));
    }

    /// The first that is told and that `read` makes something of.
    pub(super) fn wait<T>(&self, read: impl Fn(&Told) -> Option<T>) -> T {
        let told = |incoming: &Incoming| match incoming {
            Incoming::Store { told, .. } => read(told),
            _ => None,
        };
        let found = self.gateway.take(PATIENCE, |it| told(it).is_some());
        told(&found.expect("told")).unwrap()
    }

    pub(super) fn call(&self, request: Request) {
        let call = Call {
            process: self.process.clone(),
            request,
            random: 0x1234_5678_9abc,
        };
        self.link.call(self.connection, &call);
    }

    pub(super) fn reply(&self) -> Reply {
        self.wait(|told| match told {
            Told::Reply(reply) => Some(reply.clone()),
            _ => None,
        })
    }

    pub(super) fn beat(&mut self) -> Known {
        self.beats += 1;
        self.call(Request::Beat(Beat {
            number: self.beats,
            acknowledged: self.number,
            known: self.known,
            floor: Position::ZERO,
            heads: vec![LogName::room("room1")],
            seen: Position::ZERO,
        }));
        let Reply::Beaten { number, known, .. } = self.reply() else {
            panic!("no answer to a heartbeat");
        };
        assert_eq!(number, self.beats);
        self.known = Some(known);
        known
    }

    /// The next mark.
    pub(super) fn mark(&self) -> Arc<Mark> {
        let (process, mark) = self.wait(|told| match told {
            Told::Heard(Heard::Mark(process, mark)) => Some((process.clone(), mark.clone())),
            _ => None,
        });
        assert_eq!(process, self.process);
        mark
    }

    pub(super) fn acts(&mut self, acts: Vec<Act>) -> Arc<[Done]> {
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

    pub(super) fn publish(&mut self, acts: Vec<Act>) -> Vec<Position> {
        let done = self.acts(acts);
        let places = done.iter().map(|done| match done {
            Done::Published(position) => *position,
            done => panic!("{done:?}"),
        });
        places.collect()
    }

    pub(super) fn ordered(&self) -> Arc<Ordered> {
        self.wait(|told| match told {
            Told::Heard(Heard::Ordered(ordered)) => Some(ordered.clone()),
            _ => None,
        })
    }

    fn read(&self, logs: &[LogName]) -> Vec<Vec<Arc<adapter::recovery::Entry>>> {
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

pub(super) fn publication(selection: Selection, name: &str, json: &str) -> Act {
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
