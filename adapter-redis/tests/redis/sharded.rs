//! The sharded format, beside Node's sharded adapter, on one server.

use std::time::Duration;

use adapter::{
    Adapter, Answer, ArgumentsBuf, ClusterMessage, EventBuf, Flags, Incoming, Question, Selection,
};
use adapter_redis::wire::{Format, SubscriptionMode};
use bytes::Bytes;
use serde_json::json;

use crate::gateway::{Gateway, broadcast, rooms, socket};
use crate::peer::Peer;
use crate::server::Redis;

#[test]
#[ignore = "needs Redis: make test"]
fn node_and_we_count_each_other() {
    with_each_client(SubscriptionMode::Dynamic, |redis, peer, gateway| {
        let second = start(redis, "gw-b", SubscriptionMode::Dynamic);
        assert_eq!(peer.eval("return io.of('/').adapter.serverCount()"), 3);
        gateway.wait_until("known", || gateway.adapter.members().len() == 2);
        let peers = gateway.peers();
        assert_eq!(peers.nodes, [second.adapter.node().clone()]);
        assert_eq!((peers.absent.len(), peers.others), (0, 1));
        assert_eq!(gateway.peers_for(Question::Rooms).unwrap().others, 0);
        let asked = gateway.ask(&ClusterMessage::AllRooms);
        let response = asked.next();
        assert_eq!(response.node.as_ref(), Some(second.adapter.node()));
        assert_eq!(response.answer, Answer::Rooms(vec!["gw-b-room".to_owned()]));
    });
}

#[test]
#[ignore = "needs Redis: make test"]
fn broadcasts_pass_in_every_mode() {
    for mode in MODES {
        with_each_client(mode, |_, peer, gateway| {
            let id = socket("gw-a").id;
            let public = "p".repeat(20);
            let names = ["room1", "42", "a#b", &id, &public];
            let open: Vec<_> = names.map(|it| gateway.join(it)).into_iter().collect();
            for name in names {
                let js = format!("io.to({name:?}).emit('hello', {name:?})");
                peer.eval(&js);
                let (selection, event, arguments) = gateway.next_event();
                assert_eq!((selection, event.as_str()), (rooms(&[name]), "hello"));
                assert_eq!(arguments.json, format!("{name:?}"));
            }
            peer.eval("io.except('x').volatile.emit('hello', {a: [1, null]}, new Date(0))");
            let (selection, _, arguments) = gateway.next_event();
            assert!(selection.flags.volatile && selection.except == ["x"]);
            assert_eq!(
                arguments.json,
                r#"{"a":[1,null]},"1970-01-01T00:00:00.000Z""#
            );
            peer.eval("io.to('room1').emit('bin', {x: Buffer.from('abc')}, new Date(0))");
            let (_, _, arguments) = gateway.next_event();
            assert_eq!(
                arguments.json,
                r#"{"x":{"_placeholder":true,"num":0}},"1970-01-01T00:00:00.000Z""#
            );
            assert_eq!(arguments.attachments, [&b"abc"[..]]);
            peer.eval("io.to('nobody').emit('nobody'); io.emit('end')");
            let next = gateway.next_event().1;
            let hears_all = mode == SubscriptionMode::Static;
            assert_eq!(next, if hears_all { "nobody" } else { "end" });
            drop(open);

            peer.eval("client.emit('join', 'room1', () => {}); await until(() => io.of('/').adapter.rooms.has('room1'))");
            peer.eval(
                "await until(() => received.some((it) => it[0] === 'end')); received.splice(0)",
            );
            let id = peer.eval("return client.id");
            gateway.emit(Selection::everybody(), "all", "1,\"é\"");
            gateway.emit(rooms(&["room1"]), "room", "");
            gateway.emit(rooms(&[id.as_str().unwrap()]), "private", "");
            let arguments = ArgumentsBuf {
                json: r#"[{"_placeholder":true,"num":0}]"#.to_owned(),
                attachments: vec![Bytes::from_static(b"\x07")],
            };
            gateway.emit_event(rooms(&["room1"]), "bin", arguments);
            let mut received = peer.received(4);
            let received = received.as_array_mut().unwrap();
            received.sort_by_key(|it| it[0].as_str().unwrap().to_owned());
            let expected =
                json!([["all", 1, "é"], ["bin", [{"$bin": "07"}]], ["private"], ["room"]]);
            assert_eq!(json!(received), expected);
        });
    }
}

#[test]
#[ignore = "needs Redis: make test"]
fn requests_are_answered_both_ways() {
    with_each_client(SubscriptionMode::Dynamic, |_, peer, gateway| {
        let sockets =
            peer.eval("return (await io.fetchSockets()).map((it) => it.data.user).sort()");
        assert_eq!(sockets, json!(["gw-a", "node-user"]));
        let acks = peer.eval("return (await io.timeout(2000).emitWithAck('q', 1)).sort()");
        assert_eq!(acks, json!(["gw-a-ack", "node-ack"]));
        let acks =
            peer.eval("return await io.timeout(2000).emitWithAck('binary', Buffer.from([1]))");
        assert!(
            acks.as_array().unwrap().contains(&json!({"$bin": "01"})),
            "{acks}"
        );
        let answers = peer.eval("return await io.serverSideEmitWithAck('sse', 2)");
        assert_eq!(answers, json!([{"from": "gw-a"}]));
        gateway.drain();

        let selection = Selection::everybody();
        let asked = gateway.ask(&ClusterMessage::FetchSockets { selection });
        assert!(matches!(asked.next().answer, Answer::Sockets(it) if it.len() == 1));
        let selection = Selection {
            flags: Flags {
                timeout: Some(Duration::from_secs(2)),
                ..Flags::default()
            },
            ..Selection::default()
        };
        let asked = gateway.ask(&broadcast(selection, "q", ArgumentsBuf::default()));
        let answers = [asked.next().answer, asked.next().answer];
        let ack = Answer::Ack(ArgumentsBuf::from_json("\"node-ack\""));
        assert_eq!(answers, [Answer::ClientCount(1), ack]);
        let event = |json: &str, attachments| EventBuf {
            name: "sse".to_owned(),
            arguments: ArgumentsBuf {
                json: json.to_owned(),
                attachments,
            },
        };
        let asked = gateway.ask(&ClusterMessage::ServerSideEmit(event("3", vec![])));
        let value = ArgumentsBuf::from_json(r#"{"from":"node"}"#);
        assert_eq!(asked.next().answer, Answer::ServerSide(value));
        let binary = event(
            r#"{"_placeholder":true,"num":0}"#,
            vec![Bytes::from_static(b"\x07")],
        );
        gateway
            .adapter
            .publish("/", &ClusterMessage::ServerSideEmit(binary));
        peer.eval("await until(() => serverSide.length === 2)");
        let received = peer.eval("return serverSide.splice(0)");
        assert_eq!(received, json!([[3], [{"$bin": "07"}]]));
    });
}

#[test]
#[ignore = "needs Redis: make test"]
fn sockets_join_leave_and_disconnect_elsewhere() {
    with_each_client(SubscriptionMode::Dynamic, |_, peer, gateway| {
        let names = || vec!["r1".to_owned(), "r2".to_owned()];
        let selection = Selection::everybody();
        let join = ClusterMessage::Join {
            selection,
            rooms: names(),
        };
        gateway.adapter.publish("/", &join);
        peer.eval(
            "await until(() => ['r1', 'r2'].every((it) => io.of('/').adapter.rooms.has(it)))",
        );
        let leave = ClusterMessage::Leave {
            selection: rooms(&["r2"]),
            rooms: vec!["r1".to_owned()],
        };
        gateway.adapter.publish("/", &leave);
        peer.eval("await until(() => !io.of('/').adapter.rooms.has('r1'))");
        peer.eval("io.socketsJoin(['r1', 'r2'])");
        expect(gateway, &join);
        peer.eval("io.in('r2').socketsLeave('r1')");
        expect(gateway, &leave);
        let (selection, close) = (rooms(&["r2"]), true);
        let disconnect = ClusterMessage::Disconnect { selection, close };
        peer.eval("io.in('r2').disconnectSockets(true)");
        expect(gateway, &disconnect);
        assert_eq!(peer.received(1)[0][0], "disconnected");
    });
}

const MODES: [SubscriptionMode; 3] = [
    SubscriptionMode::Dynamic,
    SubscriptionMode::Static,
    SubscriptionMode::DynamicPrivate,
];

fn with_each_client(mode: SubscriptionMode, test: impl Fn(&Redis, &mut Peer, &Gateway)) {
    for client in ["redis", "ioredis"] {
        let redis = Redis::start();
        let gateway = start(&redis, "gw-a", mode);
        let name = match mode {
            SubscriptionMode::Static => "static",
            SubscriptionMode::Dynamic => "dynamic",
            SubscriptionMode::DynamicPrivate => "dynamic-private",
        };
        let mut peer = Peer::start(&json!({
            "client": client, "url": redis.url(), "mode": "sharded",
            "options": {"subscriptionMode": name},
        }));
        test(&redis, &mut peer, &gateway);
    }
}

fn start(redis: &Redis, id: &str, mode: SubscriptionMode) -> Gateway {
    Gateway::start_with(&redis.url(), id, |it| it.format = Format::Sharded(mode))
}

fn expect(gateway: &Gateway, expected: &ClusterMessage) {
    let incoming = gateway.next();
    let Incoming::Message { message, .. } = &incoming else {
        panic!("{incoming:?}");
    };
    assert_eq!(message, expected);
}
