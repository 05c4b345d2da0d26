//! Every operation in both directions, with Node on either of its client libraries.

use std::time::Duration;

use adapter::{
    Adapter, Answer, ArgumentsBuf, ClusterMessage, EventBuf, Flags, Incoming, Question, Selection,
};
use bytes::Bytes;
use serde_json::json;
use testkit::wait::until;

use crate::gateway::{Gateway, SPECIFIC, broadcast, reply_to, rooms, socket};
use crate::peer::Peer;
use crate::server::Redis;

#[test]
#[ignore = "needs Redis: make test"]
fn node_and_we_count_each_other() {
    with_each_client(|redis, peer, gateway| {
        let second = Gateway::start(&redis.url(), "gw-b");
        let count = peer.eval("return io.of('/').adapter.serverCount()");
        assert_eq!(count, 3);
        until("known", || gateway.adapter.members().len() == 2);
        let peers = gateway.peers();
        assert_eq!(peers.nodes, [second.adapter.node().clone()]);
        assert_eq!((peers.absent.len(), peers.others), (0, 1));
        assert_eq!(peers.server_count(), 3);
    });
}

#[test]
#[ignore = "needs Redis: make test"]
fn what_node_emits_arrives() {
    with_each_client(|_, peer, gateway| {
        let _rooms = [gateway.join("room1"), gateway.join("42")];
        let table = [
            (
                "io.emit('hello', 'world')",
                Selection::everybody(),
                r#""world""#,
            ),
            ("io.emit('hello')", Selection::everybody(), ""),
            (
                "io.to('room1').emit('hello', {a: 1})",
                rooms(&["room1"]),
                r#"{"a":1}"#,
            ),
            (
                "io.to(['room1','x']).emit('hello', 1)",
                rooms(&["room1", "x"]),
                "1",
            ),
            ("io.to(42).emit('hello', 1.5)", rooms(&["42"]), "1.5"),
            (
                "io.to('room1').except('room2').emit('hello', null, undefined)",
                Selection {
                    except: vec!["room2".to_owned()],
                    ..rooms(&["room1"])
                },
                "null,null",
            ),
            (
                "io.volatile.compress(true).emit('hello', [])",
                Selection {
                    flags: Flags {
                        volatile: true,
                        compress: Some(true),
                        ..Flags::default()
                    },
                    ..Selection::default()
                },
                "[]",
            ),
            (
                "io.emit('hello', new Date(1700000000123), -0, 1e-7, 2**53, NaN, 'é\\u0001\"')",
                Selection::everybody(),
                r#""2023-11-14T22:13:20.123Z",0,1e-7,9007199254740992,null,"é\u0001\"""#,
            ),
        ];
        for (js, selection, json) in table {
            peer.eval(js);
            let expected = (selection, "hello".to_owned(), ArgumentsBuf::from_json(json));
            assert_eq!(gateway.next_event(), expected, "{js}");
        }
        peer.eval("io.emit('bin', {x: Buffer.from('abc'), y: [new Uint8Array([9])]}, 'tail')");
        let (_, _, arguments) = gateway.next_event();
        assert_eq!(
            arguments.json,
            r#"{"x":{"_placeholder":true,"num":0},"y":[{"_placeholder":true,"num":1}]},"tail""#
        );
        assert_eq!(arguments.attachments, [&b"abc"[..], b"\x09"]);
    });
}

#[test]
#[ignore = "needs Redis: make test"]
fn what_the_emitter_emits_arrives() {
    with_each_client(|_, peer, gateway| {
        let _room = gateway.join("room1");
        let table = [
            ("emitter.emit('hello', 1)", Selection::everybody()),
            ("emitter.to('room1').emit('hello', 1)", rooms(&["room1"])),
            (
                "emitter.to(['room1', 7]).except('r').volatile.compress(false).emit('hello', 1)",
                Selection {
                    rooms: vec!["room1".to_owned(), "7".to_owned()],
                    except: vec!["r".to_owned()],
                    flags: Flags {
                        volatile: true,
                        compress: Some(false),
                        ..Flags::default()
                    },
                },
            ),
        ];
        for (js, selection) in table {
            peer.eval(js);
            let expected = (selection, "hello".to_owned(), ArgumentsBuf::from_json("1"));
            assert_eq!(gateway.next_event(), expected, "{js}");
        }
        peer.eval("emitter.of('/chat').emit('hello', 2); emitter.emit('hello', 3)");
        assert_eq!(gateway.next_event().2.json, "3");
        let _chat = gateway.adapter.open_namespace("/chat");
        until("in force", || _chat.is_in_force());
        peer.eval("emitter.of('chat').emit('hello', 4)");
        let incoming = gateway.next();
        let Incoming::Message { namespace, .. } = &incoming else {
            panic!("{incoming:?}");
        };
        assert_eq!(&**namespace, "/chat");

        peer.eval("emitter.in('room1').socketsJoin(['a', 'b'])");
        let selection = rooms(&["room1"]);
        let names = vec!["a".to_owned(), "b".to_owned()];
        expect(
            gateway,
            &ClusterMessage::Join {
                selection,
                rooms: names,
            },
        );
        peer.eval("emitter.socketsLeave('a')");
        let selection = Selection::everybody();
        let names = vec!["a".to_owned()];
        expect(
            gateway,
            &ClusterMessage::Leave {
                selection,
                rooms: names,
            },
        );
        peer.eval("emitter.in('nobody').disconnectSockets(true)");
        let selection = rooms(&["nobody"]);
        let close = true;
        expect(gateway, &ClusterMessage::Disconnect { selection, close });
        peer.eval("emitter.serverSideEmit('sse', 'x', 1)");
        expect(
            gateway,
            &ClusterMessage::ServerSideEmit(event("sse", r#""x",1"#)),
        );
    });
}

#[test]
#[ignore = "needs Redis: make test"]
fn what_we_emit_arrives_at_nodes_clients() {
    with_each_client(|_, peer, gateway| {
        peer.eval("client.emit('join', 'room1', () => {}); await until(() => io.of('/').adapter.rooms.has('room1'))");
        peer.eval("client.emit('join', '*[]?\\\\#', () => {}); await until(() => io.of('/').adapter.rooms.size >= 3)");
        gateway.emit(
            Selection::everybody(),
            "all",
            r#"{"a":[1,2.5,null,true]},"é""#,
        );
        assert_eq!(
            peer.received(1),
            json!([["all", {"a": [1, 2.5, null, true]}, "é"]])
        );
        gateway.emit(rooms(&["room1"]), "room", "1e2,1.0,-0");
        gateway.emit(rooms(&["room1", "other"]), "rooms", "");
        gateway.emit(rooms(&["nobody"]), "nobody", "");
        // Node drops volatile packets while others are being written.
        assert_eq!(peer.received(2), json!([["room", 100, 1, 0], ["rooms"]]));
        gateway.emit(
            Selection {
                except: vec!["room1".to_owned()],
                ..Selection::default()
            },
            "except",
            "",
        );
        gateway.emit(
            Selection {
                flags: Flags {
                    volatile: true,
                    compress: Some(false),
                    timeout: Some(Duration::from_secs(1)),
                    ..Flags::default()
                },
                ..rooms(&["*[]?\\#"])
            },
            "flags",
            "",
        );
        let arguments = ArgumentsBuf {
            json: r#"{"x":{"_placeholder":true,"num":1}},[{"num":0,"_placeholder":true}]"#
                .to_owned(),
            attachments: vec![Bytes::from_static(b"\x01\xff"), Bytes::new()],
        };
        gateway.emit_event(Selection::everybody(), "bin", arguments);
        assert_eq!(
            peer.received(2),
            json!([
                ["flags"],
                ["bin", {"x": {"$bin": ""}}, [{"$bin": "01ff"}]],
            ])
        );
    });
}

#[test]
#[ignore = "needs Redis: make test"]
fn nodes_client_stays_connected_whatever_we_send() {
    with_each_client(|_, peer, gateway| {
        for json in [
            "",
            "null",
            "[]",
            r#"{"__proto__":{"x":1}}"#,
            r#"{"a":{"b":"\ud800"}}"#,
            "1e999",
        ] {
            gateway.emit(Selection::everybody(), "odd", json);
        }
        gateway.emit(Selection::everybody(), "last", "");
        let received = peer.eval(
            "await until(() => received.some((it) => it[0] === 'last')); return received.splice(0)",
        );
        let names: Vec<_> = received
            .as_array()
            .unwrap()
            .iter()
            .map(|it| it[0].clone())
            .collect();
        assert_eq!(names[..6], vec![json!("odd"); 6]);
        assert_eq!(names[6..], [json!("last")]);
    });
}

#[test]
#[ignore = "needs Redis: make test"]
fn acknowledgements_are_gathered_across_nodes() {
    with_each_client(|_, peer, gateway| {
        let acks = peer.eval("return (await io.timeout(2000).emitWithAck('q', 1)).sort()");
        assert_eq!(acks, json!(["gw-a-ack", "node-ack"]));
        gateway.drain();
        let acks =
            peer.eval("return await io.timeout(2000).emitWithAck('binary', Buffer.from([1, 2]))");
        let acks: Vec<_> = acks.as_array().unwrap().clone();
        assert!(acks.contains(&json!({"$bin": "0102"})), "{acks:?}");

        let selection = Selection {
            flags: Flags {
                timeout: Some(Duration::from_secs(2)),
                ..Flags::default()
            },
            ..Selection::default()
        };
        let asked = gateway.ask(&broadcast(selection, "q", ArgumentsBuf::from_json("1")));
        let (count, ack) = (asked.next(), asked.next());
        assert_eq!((count.node, count.answer), (None, Answer::ClientCount(1)));
        let expected = Answer::Ack(ArgumentsBuf::from_json("\"node-ack\""));
        assert_eq!((ack.node, ack.answer), (None, expected));
    });
}

#[test]
#[ignore = "needs Redis: make test"]
fn sockets_and_rooms_are_fetched() {
    with_each_client(|redis, peer, gateway| {
        let second = Gateway::start(&redis.url(), "gw-b");
        let sockets = peer.eval("return (await io.fetchSockets()).map((it) => ({id: it.id, rooms: it.rooms, data: it.data, address: it.handshake.address}))");
        let sockets = sockets.as_array().unwrap();
        assert_eq!(sockets.len(), 3);
        let ours = socket("gw-a");
        let ours =
            json!({"id": ours.id, "rooms": ours.rooms, "data": {"user": "gw-a"}, "address": "::1"});
        assert!(sockets.contains(&ours), "{sockets:?}");
        let all = peer.eval("return [...await io.of('/').adapter.allRooms()]");
        for room in ["gw-a-room", "gw-b-room"] {
            assert!(all.as_array().unwrap().contains(&json!(room)), "{all}");
        }

        let selection = Selection::everybody();
        let asked = gateway.ask(&ClusterMessage::FetchSockets { selection });
        let mut answers = [asked.next(), asked.next()];
        answers.sort_by_key(|it| it.node.is_some());
        let [Answer::Sockets(of_node), Answer::Sockets(of_ours)] =
            answers.each_ref().map(|it| it.answer.clone())
        else {
            panic!("{answers:?}");
        };
        assert_eq!(of_node.len(), 1);
        assert_eq!(of_node[0].data, r#"{"user":"node-user"}"#);
        assert!(of_node[0].handshake.contains("\"address\""));
        assert_eq!(of_ours, [socket("gw-b")]);
        assert_eq!(answers[1].node.as_ref(), Some(second.adapter.node()));

        let asked = gateway.ask(&ClusterMessage::AllRooms);
        let mut answers = [asked.next(), asked.next()];
        answers.sort_by_key(|it| it.node.is_some());
        assert!(matches!(&answers[0].answer, Answer::Rooms(rooms) if rooms.len() == 1));
        let rooms = vec!["gw-b-room".to_owned()];
        assert_eq!(answers[1].answer, Answer::Rooms(rooms));
    });
}

#[test]
#[ignore = "needs Redis: make test"]
fn sockets_join_leave_and_disconnect_elsewhere() {
    with_each_client(|_, peer, gateway| {
        let names = || vec!["r1".to_owned(), "r2".to_owned()];
        let selection = Selection::everybody();
        gateway.adapter.publish(
            "/",
            &ClusterMessage::Join {
                selection,
                rooms: names(),
            },
        );
        peer.eval(
            "await until(() => ['r1', 'r2'].every((it) => io.of('/').adapter.rooms.has(it)))",
        );
        let selection = rooms(&["r2"]);
        let leave = ClusterMessage::Leave {
            selection,
            rooms: vec!["r1".to_owned()],
        };
        gateway.adapter.publish("/", &leave);
        peer.eval("await until(() => !io.of('/').adapter.rooms.has('r1'))");

        peer.eval("io.in('room1').socketsJoin(['r1', 'r2'])");
        let selection = rooms(&["room1"]);
        expect(
            gateway,
            &ClusterMessage::Join {
                selection,
                rooms: names(),
            },
        );
        peer.eval("io.except('x').socketsLeave('r1')");
        let selection = Selection {
            except: vec!["x".to_owned()],
            ..Selection::default()
        };
        expect(
            gateway,
            &ClusterMessage::Leave {
                selection,
                rooms: vec!["r1".to_owned()],
            },
        );
        peer.eval("io.in('room1').disconnectSockets(true)");
        let (selection, close) = (rooms(&["room1"]), true);
        expect(gateway, &ClusterMessage::Disconnect { selection, close });

        let (selection, close) = (rooms(&["r2"]), true);
        gateway
            .adapter
            .publish("/", &ClusterMessage::Disconnect { selection, close });
        let received = peer.received(1);
        assert_eq!(received[0][0], "disconnected");
    });
}

#[test]
#[ignore = "needs Redis: make test"]
fn remote_sockets_of_node_act_on_ours() {
    with_each_client(|_, peer, gateway| {
        let id = socket("gw-a").id;
        peer.eval(&format!("globalThis.remote = (await io.in('{id}').fetchSockets()).find((it) => it.id === '{id}')"));
        gateway.drain();
        peer.eval("remote.join('r1')");
        let names = vec!["r1".to_owned()];
        expect(
            gateway,
            &ClusterMessage::Join {
                selection: rooms(&[&id]),
                rooms: names,
            },
        );
        peer.eval("remote.emit('direct', 1)");
        let (selection, name, _) = gateway.next_event();
        assert_eq!((selection.rooms, name.as_str()), (vec![id], "direct"));
        assert!(selection.flags.expect_single_response);
        let ack = peer.eval("return await remote.timeout(2000).emitWithAck('q')");
        assert_eq!(ack, "gw-a-ack");
    });
}

#[test]
#[ignore = "needs Redis: make test"]
fn nodes_emit_to_each_other() {
    with_each_client(|_, peer, gateway| {
        peer.eval("io.serverSideEmit('sse', 'x', {y: 1})");
        expect(
            gateway,
            &ClusterMessage::ServerSideEmit(event("sse", r#""x",{"y":1}"#)),
        );
        let answers = peer.eval("return await io.serverSideEmitWithAck('sse', 2)");
        assert_eq!(answers, json!([{"from": "gw-a"}]));
        gateway.drain();

        gateway
            .adapter
            .publish("/", &ClusterMessage::ServerSideEmit(event("sse", "1,[2]")));
        let asked = gateway.ask(&ClusterMessage::ServerSideEmit(event("sse", "3")));
        let response = asked.next();
        let value = ArgumentsBuf::from_json(r#"{"from":"node"}"#);
        assert_eq!(
            (response.node, response.answer),
            (None, Answer::ServerSide(value))
        );
        let binary = EventBuf {
            name: "sse".to_owned(),
            arguments: ArgumentsBuf {
                json: r#"{"_placeholder":true,"num":0}"#.to_owned(),
                attachments: vec![Bytes::from_static(b"\x07")],
            },
        };
        gateway.ask(&ClusterMessage::ServerSideEmit(binary)).next();
        let received = peer.eval("return serverSide.splice(0)");
        assert_eq!(received, json!([[1, [2]], [3], [{"$bin": "07"}]]));
    });
}

#[test]
#[ignore = "needs Redis: make test"]
fn responses_go_to_specific_channels_where_that_is_wanted() {
    let redis = Redis::start();
    let mut peer = Peer::start(&json!({
        "client": "redis", "url": redis.url(), "mode": "classic",
        "options": {"publishOnSpecificResponseChannel": true},
    }));
    let gateway = Gateway::start_with(&redis.url(), "gw-a", |it| it.format = SPECIFIC);
    let sockets = peer.eval("return (await io.fetchSockets()).length");
    assert_eq!(sockets, 2);
    assert_eq!(
        peer.eval("return (await io.serverSideEmitWithAck('sse', 2)).length"),
        1
    );
    let acks = peer.eval("return (await io.timeout(2000).emitWithAck('q')).sort()");
    assert_eq!(acks, json!(["gw-a-ack", "node-ack"]));
    let selection = Selection::everybody();
    let asked = gateway.ask(&ClusterMessage::FetchSockets { selection });
    assert!(matches!(asked.next().answer, Answer::Sockets(it) if it.len() == 1));
    let asked = gateway.ask(&ClusterMessage::ServerSideEmit(event("sse", "3")));
    assert!(matches!(asked.next().answer, Answer::ServerSide(_)));
}

#[test]
#[ignore = "needs Redis: make test"]
fn our_nodes_do_all_this_among_themselves() {
    let redis = Redis::start();
    let [a, b, c] = ["gw-a", "gw-b", "gw-c"].map(|id| Gateway::start(&redis.url(), id));
    a.wait_until("known", || a.adapter.members().len() == 3);
    assert_eq!(a.peers_for(Question::Rooms).unwrap().nodes.len(), 2);
    let _room = b.join("room1");
    a.emit(rooms(&["room1"]), "room", "1");
    a.emit(Selection::everybody(), "all", "2");
    assert_eq!(b.next_event().1, "room");
    assert_eq!(b.next_event().1, "all");
    assert_eq!(c.next_event().1, "all");
    let arguments = ArgumentsBuf {
        json: r#"{"_placeholder":true,"num":0}"#.to_owned(),
        attachments: vec![Bytes::from_static(b"\x07")],
    };
    let asked = a.ask(&broadcast(
        Selection::everybody(),
        "binary",
        arguments.clone(),
    ));
    let answers: Vec<_> = (0..4).map(|_| asked.next()).collect();
    for node in [&b, &c] {
        let node = Some(node.adapter.node());
        let of_node: Vec<_> = answers
            .iter()
            .filter(|it| it.node.as_ref() == node)
            .collect();
        assert_eq!(of_node[0].answer, Answer::ClientCount(1));
        assert_eq!(of_node[1].answer, Answer::Ack(arguments.clone()));
    }
    assert_eq!(
        a.drain().iter().filter(|it| reply_to(it).is_some()).count(),
        0
    );
}

/// Runs `test` with a Redis, a Node peer and a node of ours, once for each client library.
fn with_each_client(test: impl Fn(&Redis, &mut Peer, &Gateway)) {
    for client in ["redis", "ioredis"] {
        let redis = Redis::start();
        let gateway = Gateway::start(&redis.url(), "gw-a");
        let mut peer = Peer::classic(&redis, client);
        test(&redis, &mut peer, &gateway);
    }
}

/// Answers to others, which everybody hears, may come in between.
fn expect(gateway: &Gateway, expected: &ClusterMessage) {
    let mut incoming = gateway.next();
    while matches!(incoming, Incoming::Response { .. }) {
        incoming = gateway.next();
    }
    let Incoming::Message { message, .. } = &incoming else {
        panic!("{incoming:?}");
    };
    assert_eq!(message, expected);
}

fn event(name: &str, json: &str) -> EventBuf {
    EventBuf {
        name: name.to_owned(),
        arguments: ArgumentsBuf::from_json(json),
    }
}
