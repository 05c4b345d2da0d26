//! What a node subscribes to, and what it is spared.

use std::time::Duration;

use adapter::{Adapter, ArgumentsBuf, Selection};

use crate::gateway::{Gateway, rooms, socket};
use crate::peer::Peer;
use crate::server::Redis;

#[test]
#[ignore = "needs Redis: make test"]
fn only_what_is_wanted_is_subscribed() {
    let redis = Redis::start();
    let gateway = Gateway::start(&redis.url(), "gw-a");
    let _room = gateway.join("room1");
    let channels = redis.channels();
    let of_node: Vec<_> = channels
        .iter()
        .filter(|it| !it.contains("-gateway#"))
        .collect();
    assert_eq!(of_node.len(), 5, "{of_node:?}");
    for channel in [
        "socket.io#/#",
        "socket.io#/#room1#",
        "socket.io-request#/#",
        "socket.io-response#/#",
    ] {
        assert!(of_node.iter().any(|it| *it == channel), "{channel}");
    }
    assert_eq!(redis.call(&["PUBSUB", "NUMPAT"]), ":1");
    assert_eq!(redis.subscribers("socket.io-request#/#"), 1);
}

#[test]
#[ignore = "needs Redis: make test"]
fn messages_for_other_rooms_do_not_come() {
    let redis = Redis::start();
    let mut peer = Peer::classic(&redis, "redis");
    let gateway = Gateway::start(&redis.url(), "gw-a");
    let _room = gateway.join("mine");
    let before = gateway.adapter.counters().in_ok.value();
    peer.eval(
        "for (let i = 0; i < 100; i++) io.to('other' + i).emit('x'); io.to('mine').emit('mine')",
    );
    assert_eq!(gateway.next_event().1, "mine");
    assert_eq!(gateway.adapter.counters().in_ok.value(), before + 1);
    assert_eq!(gateway.adapter.counters().in_ignored.value(), 0);
}

#[test]
#[ignore = "needs Redis: make test"]
fn private_rooms_are_covered_by_one_pattern() {
    let redis = Redis::start();
    let mut peer = Peer::classic(&redis, "ioredis");
    let gateway = Gateway::start(&redis.url(), "gw-a");
    let id = socket("gw-a").id;
    let before = redis.channels();
    let private = gateway.adapter.open_room("/", &id);
    assert!(private.is_in_force());
    peer.eval(&format!("io.to('{id}').emit('direct', 1)"));
    let (selection, name, _) = gateway.next_event();
    assert_eq!((selection, name.as_str()), (rooms(&[&id]), "direct"));
    assert_eq!(redis.channels(), before);
    assert_eq!(gateway.try_next(Duration::from_millis(100)), None);
}

#[test]
#[ignore = "needs Redis: make test"]
fn without_patterns_private_rooms_are_subscribed() {
    let redis = Redis::start();
    let mut peer = Peer::classic(&redis, "redis");
    let gateway = Gateway::start_with(&redis.url(), "gw-a", |it| it.private_patterns = 0);
    let id = socket("gw-a").id;
    let private = gateway.adapter.open_room("/", &id);
    gateway.wait_until("in force", || private.is_in_force());
    peer.eval(&format!("io.to('{id}').emit('direct', 1)"));
    assert_eq!(gateway.next_event().1, "direct");
    assert_eq!(redis.subscribers(&format!("socket.io#/#{id}#")), 1);
}

#[test]
#[ignore = "needs Redis: make test"]
fn what_matches_twice_is_delivered_once() {
    let redis = Redis::start();
    let mut peer = Peer::classic(&redis, "redis");
    let gateway = Gateway::launch(&redis.url(), "gw-a", |_| {});
    // Subscribed exactly, since there was no pattern when it was opened.
    let early = gateway.adapter.open_room("/late", "gw-a-room");
    let late = gateway.adapter.open_namespace("/late");
    gateway.wait_until("in force", || early.is_in_force() && late.is_in_force());
    peer.eval("emitter.of('/late').to('gw-a-room').emit('once'); emitter.of('/late').emit('end')");
    assert_eq!(gateway.next_event().1, "once");
    assert_eq!(gateway.next_event().1, "end");
    assert_eq!(gateway.adapter.counters().in_duplicate.value(), 1);
}

#[test]
#[ignore = "needs Redis: make test"]
fn own_messages_do_not_come_back() {
    let redis = Redis::start();
    let [a, b] = ["gw-a", "gw-b"].map(|id| Gateway::start(&redis.url(), id));
    let _rooms = [a.join("room1"), b.join("room1")];
    a.emit(rooms(&["room1"]), "room", "");
    a.emit(rooms(&[&socket("gw-a").id]), "private", "");
    a.emit(Selection::everybody(), "all", "");
    b.emit(Selection::everybody(), "end", "");
    assert_eq!(a.next_event().1, "end");
    let names = [b.next_event().1, b.next_event().1];
    assert_eq!(names, ["room", "all"]);
    a.wait_until("back", || a.adapter.counters().in_own.value() == 3);
}

#[test]
#[ignore = "needs Redis: make test"]
fn any_name_is_a_room() {
    let redis = Redis::start();
    let mut peer = Peer::classic(&redis, "redis");
    let gateway = Gateway::start(&redis.url(), "gw-a");
    let names = [
        "*",
        "?",
        "[a]",
        "\\",
        "#",
        "a#b",
        "##",
        " ",
        "é✓😀",
        "a\r\nb",
        "'\"`$",
        "",
        "__proto__",
    ];
    for name in names {
        let _room = gateway.join(name);
        let name = serde_json::to_string(name).unwrap();
        peer.eval(&format!(
            "for (const other of ['a', 'x', '[b]', 'xx']) io.to(other).emit('other'); io.to({name}).emit('room')"
        ));
        let (selection, event, _) = gateway.next_event();
        let expected: String = serde_json::from_str(&name).unwrap();
        assert_eq!((selection, event.as_str()), (rooms(&[&expected]), "room"));
    }
}

#[test]
#[ignore = "needs Redis: make test"]
fn namespaces_whose_channels_look_alike_are_kept_apart() {
    let redis = Redis::start();
    let mut peer = Peer::classic(&redis, "redis");
    let gateway = Gateway::start(&redis.url(), "gw-a");
    // `socket.io#/#gw-a#x#` is a room of both `/` and `/#gw-a`, and matches a pattern.
    let odd = gateway.adapter.open_namespace("/#gw-a");
    let room = gateway.adapter.open_room("/#gw-a", "x");
    gateway.wait_until("in force", || odd.is_in_force() && room.is_in_force());
    peer.eval("emitter.of('/#gw-a').to('x').emit('odd'); emitter.to('gw-a#x').emit('main')");
    assert_eq!(
        [gateway.next_event().1, gateway.next_event().1],
        ["odd", "main"]
    );
    assert_eq!(gateway.try_next(Duration::from_millis(100)), None);
}

#[test]
#[ignore = "needs Redis: make test"]
fn nothing_is_missed_once_an_interest_is_in_force() {
    let redis = Redis::start();
    let [a, b] = ["gw-a", "gw-b"].map(|id| Gateway::start(&redis.url(), id));
    for number in 0..1000 {
        let name = format!("room{number}");
        let room = a.adapter.open_room("/", &name);
        crate::gateway::block_on(room.in_force());
        b.emit(rooms(&[&name]), &name, "");
        assert_eq!(a.next_event().1, name);
    }
}

#[test]
#[ignore = "needs Redis: make test"]
fn churn_does_not_reach_redis() {
    let redis = Redis::start();
    let gateway = Gateway::start_with(&redis.url(), "gw-a", |it| {
        it.timing.linger = Duration::from_secs(60);
    });
    let calls = || (redis.calls("subscribe"), redis.calls("unsubscribe"));
    drop(gateway.join("room1"));
    let before = calls();
    for _ in 0..1000 {
        drop(gateway.join("room1"));
    }
    assert_eq!(calls(), before);
}

#[test]
#[ignore = "needs Redis: make test"]
fn what_nobody_wants_is_left_after_a_while() {
    let redis = Redis::start();
    let gateway = Gateway::start(&redis.url(), "gw-a");
    let subscriptions = || gateway.adapter.counters().subscriptions.value();
    let before = subscriptions();
    let room = gateway.join("room1");
    let again = gateway.adapter.open_room("/", "room1");
    assert_eq!(subscriptions(), before + 1);
    drop(room);
    drop(again);
    gateway.wait_until("left", || subscriptions() == before);
    assert_eq!(redis.subscribers("socket.io#/#room1#"), 0);
    let Gateway { adapter, main, .. } = gateway;
    drop(main);
    testkit::wait::until("closed", || redis.call(&["PUBSUB", "NUMPAT"]) == ":0");
    drop(adapter);
}

#[test]
#[ignore = "needs Redis: make test"]
fn large_messages_pass_and_larger_ones_are_skipped() {
    let redis = Redis::start();
    let mut peer = Peer::classic(&redis, "redis");
    let gateway = Gateway::start_with(&redis.url(), "gw-a", |it| {
        it.limits.message_bytes = 1 << 20;
    });
    peer.eval("io.emit('large', 'x'.repeat(1000000)); io.emit('huge', 'x'.repeat(5000000)); io.emit('end')");
    let (_, name, arguments) = gateway.next_event();
    assert_eq!((name.as_str(), arguments.json.len()), ("large", 1_000_002));
    assert_eq!(gateway.next_event().1, "end");
    assert_eq!(gateway.adapter.counters().in_undecodable.value(), 1);

    gateway.emit_event(
        Selection::everybody(),
        "huge",
        ArgumentsBuf::from_json(format!("\"{}\"", "x".repeat(2_000_000))),
    );
    assert_eq!(gateway.adapter.counters().out_dropped.value(), 1);
}

#[test]
#[ignore = "needs Redis: make test"]
fn garbage_does_no_harm() {
    let redis = Redis::start();
    let gateway = Gateway::start(&redis.url(), "gw-a");
    let channels = [
        "socket.io#/#",
        "socket.io-request#/#",
        "socket.io-response#/#",
    ];
    let garbage = [
        "",
        "{",
        "{}",
        "[]",
        "\x7f",
        "x",
        "{\"type\":5,\"requestId\":\"q\"}",
        "{\"type\":7}",
    ];
    for channel in channels {
        for payload in garbage {
            redis.call(&["PUBLISH", channel, payload]);
        }
    }
    let counters = gateway.adapter.counters();
    let unread = || counters.in_undecodable.value() + counters.in_ignored.value();
    let expected = (channels.len() * garbage.len()) as u64;
    gateway.wait_until("all counted", || unread() == expected);
    assert!(gateway.adapter.is_up());
    assert_eq!(
        gateway
            .drain()
            .into_iter()
            .filter(|it| crate::gateway::reply_to(it).is_some())
            .count(),
        0
    );
}
