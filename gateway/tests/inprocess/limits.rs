//! What passes a limit is refused with a reason, and counted.

use std::num::NonZeroUsize;
use std::time::Duration;

use gateway::Server;
use gateway::handlers::Handlers;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use crate::support::{Polling, TestGateway, WebSocket, config, request, until};

#[tokio::test]
async fn a_full_node_refuses_and_says_when_to_come_back() {
    let mut config = config();
    config.limits.connections = NonZeroUsize::new(2);
    let gateway = TestGateway::start(Server::new(config)).await;
    let polling = gateway.polling().await;
    let websocket = gateway.websocket().await;
    let refused = Polling::handshake(gateway.address()).await;
    assert_eq!(refused.status, 503);
    assert_eq!(refused.header("retry-after"), Some("5"));
    assert_eq!(
        refused.body,
        r#"{"code":4,"message":"Too many connections"}"#
    );
    let refused = WebSocket::handshake(gateway.address(), "").await;
    let refused = refused.err().expect("a refusal");
    assert_eq!(refused.status, 503);
    assert_eq!(refused.header("retry-after"), Some("5"));
    let counted = r#"gateway_handshakes_rejected_total{reason="connection_limit"}"#;
    assert_eq!(gateway.metric(counted).await, 2.0);
    websocket.vanish();
    until(async || gateway.gateway().connections() == 1).await;
    gateway.websocket().await;
    drop(polling);
}

#[tokio::test]
async fn connections_without_a_session_make_room_for_others() {
    let mut config = config();
    config.limits.connections = NonZeroUsize::new(4);
    config.limits.header_timeout = Duration::from_secs(600);
    let gateway = TestGateway::start(Server::new(config)).await;
    let mut polling = gateway.polling().await;
    polling.connect().await;
    let mut websocket = gateway.websocket().await;
    websocket.connect().await;
    let sent_away = r#"gateway_handshakes_rejected_total{reason="silent"}"#;
    let mut silent = Vec::new();
    for _ in 0..60 {
        silent.push(TcpStream::connect(gateway.address()).await.unwrap());
    }
    // Each of the two shards keeps 8 of its 30.
    until(async || gateway.metric(sent_away).await >= 44.0).await;
    for oldest in silent.iter_mut().take(40) {
        assert_eq!(oldest.read(&mut [0]).await.unwrap(), 0);
    }
    assert!(
        silent
            .iter()
            .rev()
            .take(10)
            .all(|it| it.try_read(&mut [0]).is_err())
    );
    polling.send(r#"421["echo",1]"#).await;
    polling.expect("431[1]").await;
    websocket.sync().await;
    gateway.websocket().await.connect().await;
}

#[tokio::test]
async fn idle_connections_to_the_internal_port_keep_nobody_out() {
    let gateway = TestGateway::relay().await;
    let mut idle = Vec::new();
    for _ in 0..300 {
        idle.push(
            TcpStream::connect(gateway.internal_address())
                .await
                .unwrap(),
        );
    }
    let live = request(gateway.internal_address(), "GET /live", "");
    // They would be closed for being idle after 30 s.
    let live = tokio::time::timeout(Duration::from_secs(20), live).await;
    assert_eq!(live.unwrap().status, 200);
    assert_eq!(idle[0].read(&mut [0]).await.unwrap(), 0);
    assert!(idle[299].try_read(&mut [0]).is_err());
}

#[tokio::test]
async fn a_socket_joins_no_more_rooms_than_it_may() {
    let mut config = config();
    config.limits.rooms_per_socket = 2;
    let gateway = TestGateway::start(Server::new(config)).await;
    let (mut client, _) = gateway.client().await;
    let ok = r#"431[{"ok":true}]"#;
    let refused = r#"431[{"error":{"code":"too_many_rooms","message":"the socket is in as many rooms as it may be"},"ok":false}]"#;
    for (event, answer) in [
        (r#"["join",["a","b","c"]]"#, refused),
        (r#"["join",["a","b","a"]]"#, ok),
        (r#"["join","c"]"#, refused),
        (r#"["join","b"]"#, ok),
        (r#"["leave","b"]"#, ok),
        (r#"["join","c"]"#, ok),
    ] {
        client.send(&format!("421{event}")).await;
        assert_eq!(client.next().await, answer, "{event}");
    }
}

#[tokio::test]
async fn a_session_joins_no_more_namespaces_than_it_may() {
    let mut config = config();
    config.namespaces = vec!["/*".parse_pattern()];
    config.limits.namespaces_per_session = NonZeroUsize::new(2).unwrap();
    let gateway = TestGateway::start(Server::new(config)).await;
    let mut client = gateway.websocket().await;
    for name in ["/a,", "/b,"] {
        client.send(&format!("40{name}")).await;
        let reply = client.next().await;
        assert!(reply.starts_with(&format!("40{name}")), "{reply}");
    }
    let refusal = r#"44/c,{"message":"Too many namespaces"}"#;
    client.send("40/c,").await;
    client.expect(refusal).await;
    client.send("41/a,").await;
    client.send("40/c,").await;
    assert!(client.next().await.starts_with("40/c,"));
}

/// Has a client in `/` ask for 40 echoes with one post, before it polls for any.
async fn asked_40(gateway: &TestGateway) -> Polling {
    let mut client = gateway.polling().await;
    client.connect().await;
    let echoes: Vec<_> = (0..40).map(|it| format!("42{it}[\"echo\"]")).collect();
    client.send(&echoes.join("\x1e")).await;
    client
}

fn answers(of: std::ops::Range<usize>) -> Vec<String> {
    of.map(|it| format!("43{it}[]")).collect()
}

#[tokio::test]
async fn a_poll_has_no_more_packets_than_it_may_and_the_next_ones_the_rest() {
    for (most, polls) in [
        (None, &[0..16, 16..32, 32..40][..]),
        (Some(15), &[0..15, 15..30, 30..40]),
        (Some(1), &[0..1, 1..2, 2..3]),
        (Some(39), &[0..39, 39..40]),
        (Some(1000), std::slice::from_ref(&(0..40))),
    ] {
        let mut config = config();
        if let Some(most) = most {
            config.engine.poll_packets = NonZeroUsize::new(most).unwrap();
        }
        let gateway = TestGateway::start(Server::new(config)).await;
        let mut client = asked_40(&gateway).await;
        for expected in polls {
            let response = client.poll().await;
            assert_eq!(response.body, answers(expected.clone()).join("\x1e"));
        }
    }
}

#[tokio::test]
async fn what_a_poll_left_goes_on_by_websocket_after_an_upgrade() {
    let gateway = TestGateway::relay().await;
    let mut client = asked_40(&gateway).await;
    assert_eq!(client.poll().await.body, answers(0..16).join("\x1e"));
    let mut websocket = client.probe().await;
    assert_eq!(client.poll().await.body, answers(16..32).join("\x1e"));
    websocket.send("5").await;
    for answer in answers(32..40) {
        websocket.expect(&answer).await;
    }
}

#[tokio::test]
async fn what_polls_left_is_still_fetched_from_a_session_that_the_server_ends() {
    let gateway = TestGateway::relay().await;
    let mut client = asked_40(&gateway).await;
    gateway.gateway().of("/").disconnect(true);
    for expected in [0..16, 16..32] {
        assert_eq!(client.poll().await.body, answers(expected).join("\x1e"));
    }
    let rest = client.poll().await.body;
    assert_eq!(rest, format!("{}\x1e41", answers(32..40).join("\x1e")));
    assert_eq!(client.poll().await.body, "6\x1e1");
}

/// In msgpack, and for a backend, the bytes stand wherever they are named.
#[tokio::test]
async fn an_attachment_is_named_no_more_often_than_there_may_be_attachments() {
    let gateway = TestGateway::relay().await;
    let named = |times| vec![r#"{"_placeholder":true,"num":0}"#; times].join(",");
    let (mut client, _) = gateway.client().await;
    client.send(&format!("451-1[\"echo\",{}]", named(10))).await;
    client.send_binary(&[1, 2, 3]).await;
    client.expect(&format!("461-1[{}]", named(10))).await;
    client.expect_binary(&[1, 2, 3]).await;
    client.send(&format!("451-2[\"echo\",{}]", named(11))).await;
    client.expect_close().await;
}

trait ParsePattern {
    fn parse_pattern(&self) -> gateway::config::Pattern;
}

impl ParsePattern for str {
    fn parse_pattern(&self) -> gateway::config::Pattern {
        let toml = format!("namespaces = [\"{self}\"]");
        gateway::Config::from_toml(&toml)
            .unwrap()
            .namespaces
            .remove(0)
    }
}

#[tokio::test]
async fn a_session_without_a_namespace_is_closed() {
    let mut config = config();
    config.engine.connect_timeout = Duration::from_millis(50);
    let gateway = TestGateway::start(Server::new(config)).await;
    let mut client = gateway.websocket().await;
    client.send("40/nowhere,").await;
    client
        .expect(r#"44/nowhere,{"message":"Invalid namespace"}"#)
        .await;
    client.expect_close().await;
    let closed =
        r#"gateway_connections_closed_total{reason="connect_timeout",transport="websocket"}"#;
    assert_eq!(gateway.metric(closed).await, 1.0);
    let mut client = gateway.polling().await;
    assert!(["1", "6\x1e1"].contains(&client.poll().await.body.as_str()));
}

/// Bytes of a message that a narrow reader cannot take at once.
const LARGE: usize = 64 * 1024;

/// A node whose outboxes hold four large messages, and a client in `/` that can take in little.
async fn with_a_narrow_reader() -> (TestGateway, WebSocket) {
    let mut config = config();
    config.limits.outbox_bytes = 4 * LARGE;
    let gateway = TestGateway::start(Server::new(config)).await;
    let mut slow = WebSocket::open_narrow(gateway.address()).await;
    slow.connect().await;
    (gateway, slow)
}

#[tokio::test]
async fn a_reader_that_stalls_is_disconnected_and_nobody_else() {
    let (gateway, slow) = with_a_narrow_reader().await;
    let mut others = gateway.clients(2).await;
    let emitter = gateway.gateway().of("/");
    let text = "x".repeat(LARGE);
    let expected = format!(r#"42["large","{text}"]"#);
    for _ in 0..2_000 {
        emitter.emit("large", (&text,)).unwrap();
        for other in &mut others {
            assert!(other.next().await == expected, "something else came");
        }
        if gateway.gateway().connections() == 2 {
            break;
        }
    }
    assert_eq!(gateway.metric("gateway_slow_consumers_total").await, 1.0);
    let closed =
        r#"gateway_connections_closed_total{reason="slow_consumer",transport="websocket"}"#;
    assert_eq!(gateway.metric(closed).await, 1.0);
    gateway.until_metric("gateway_outbox_bytes", 0.0).await;
    emitter.emit("after", ()).unwrap();
    for other in &mut others {
        other.expect(r#"42["after"]"#).await;
    }
    drop(slow);
}

#[tokio::test]
async fn nothing_follows_a_frame_that_was_cut() {
    let (gateway, mut slow) = with_a_narrow_reader().await;
    let emitter = gateway.gateway().of("/");
    let text = "x".repeat(LARGE);
    until(async || {
        emitter.emit("large", (&text,)).unwrap();
        gateway.gateway().connections() == 0
    })
    .await;
    let rest = slow.rest().await;
    assert!(rest.ends_with(b"xx"), "{:?}", &rest[rest.len() - 16..]);
}

#[tokio::test]
async fn a_polling_client_that_does_not_poll_is_disconnected_by_its_outbox() {
    let mut config = config();
    config.limits.outbox_bytes = 1024;
    let gateway = TestGateway::start(Server::new(config)).await;
    let mut client = gateway.polling().await;
    client.connect().await;
    let emitter = gateway.gateway().of("/");
    for _ in 0..3 {
        emitter.emit("x", ("y".repeat(600),)).unwrap();
    }
    until(async || gateway.gateway().connections() == 0).await;
    let unknown = client.poll().await;
    assert_eq!(unknown.status, 400);
    assert_eq!(unknown.body, r#"{"code":1,"message":"Session ID unknown"}"#);
}

#[tokio::test]
async fn a_client_that_takes_nothing_goes_after_its_patience() {
    let mut config = config();
    config.limits.outbox_patience = Duration::from_secs(2);
    let gateway = TestGateway::start(Server::new(config)).await;
    let mut slow = WebSocket::open_narrow(gateway.address()).await;
    slow.connect().await;
    let mut away = gateway.polling().await;
    away.connect().await;
    let mut fetching = gateway.polling().await;
    fetching.connect().await;
    let emitter = gateway.gateway().of("/");
    for _ in 0..40 {
        emitter.emit("large", ("x".repeat(LARGE),)).unwrap();
    }
    // As far as the gateway can know, a proxy still brings it what it was given.
    assert!(fetching.poll().await.body.len() > 10 * LARGE);
    until(async || gateway.gateway().connections() == 1).await;
    let stalled = r#"gateway_slow_consumer_causes_total{cause="stalled"}"#;
    assert_eq!(gateway.metric(stalled).await, 2.0);
    for _ in 0..2 {
        assert_eq!(fetching.poll().await.status, 200);
    }
    let memory = "gateway_outbox_memory_bytes";
    gateway.until_metric(memory, 0.0).await;
}

#[tokio::test]
async fn a_heartbeat_alone_does_not_try_the_patience_of_an_absent_poller() {
    let mut config = config();
    config.limits.outbox_patience = Duration::from_millis(50);
    config.engine.ping_interval = Duration::from_millis(50);
    config.engine.ping_timeout = Duration::from_secs(1);
    let gateway = TestGateway::start(Server::new(config)).await;
    let mut client = gateway.polling().await;
    client.connect().await;
    until(async || gateway.gateway().connections() == 0).await;
    let timed_out =
        r#"gateway_connections_closed_total{reason="ping_timeout",transport="polling"}"#;
    assert_eq!(gateway.metric(timed_out).await, 1.0);
}

/// Handlers that send a history to whoever comes.
fn with_history(messages: usize, size: usize) -> Handlers {
    Handlers::new().namespace("/", move |main| {
        main.connected(move |socket| {
            let text = "x".repeat(size);
            for number in 0..messages {
                socket.emit("old", (number, &text)).unwrap();
            }
        })
    })
}

#[tokio::test]
async fn a_history_that_is_sent_on_connect_arrives_whole_on_each_transport() {
    const MESSAGES: usize = 50;
    let handlers = with_history(MESSAGES, 100_000);
    let gateway = TestGateway::start(Server::new(config()).application(handlers)).await;
    let mut polling = gateway.polling().await;
    polling.connect().await;
    let mut narrow = WebSocket::open_narrow(gateway.address()).await;
    narrow.connect().await;
    for number in 0..MESSAGES {
        let begin = format!(r#"42["old",{number},"#);
        assert!(polling.next().await.starts_with(&begin), "{number}");
        assert!(narrow.next().await.starts_with(&begin), "{number}");
    }
    gateway
        .until_metric("gateway_outbox_memory_bytes", 0.0)
        .await;
}

#[tokio::test]
async fn when_memory_ends_those_furthest_behind_go_first() {
    let mut config = config();
    config.limits.outbox_total = 2 << 20;
    let handlers = Handlers::new().namespace("/", |main| {
        main.on("give", |socket, event| {
            let (size,): (usize,) = event.parse().unwrap();
            socket.emit("given", ("x".repeat(size),)).unwrap();
        })
    });
    let gateway = TestGateway::start(Server::new(config).application(handlers)).await;
    let mut little = gateway.polling().await;
    little.connect().await;
    little.send(r#"42["give",1000]"#).await;
    let mut much = Vec::new();
    for _ in 0..4 {
        let mut client = gateway.polling().await;
        client.connect().await;
        client.send(r#"42["give",700000]"#).await;
        much.push(client);
    }
    let memory = r#"gateway_slow_consumer_causes_total{cause="memory"}"#;
    gateway.until_metric(memory, 2.0).await;
    assert!(little.next().await.starts_with(r#"42["given","#));
    let held = gateway.metric("gateway_outbox_memory_bytes").await;
    assert!(held <= f64::from(2 << 20), "{held}");
}

#[tokio::test]
async fn a_broadcast_takes_its_memory_once() {
    const CLIENTS: usize = 20;
    let gateway = TestGateway::start(Server::new(config())).await;
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        let mut client = gateway.polling().await;
        client.connect().await;
        clients.push(client);
    }
    let emitter = gateway.gateway().of("/");
    emitter.emit("large", ("x".repeat(LARGE),)).unwrap();
    let each = (CLIENTS * LARGE) as f64;
    until(async || gateway.metric("gateway_outbox_bytes").await >= each).await;
    let held = gateway.metric("gateway_outbox_memory_bytes").await;
    assert!((LARGE as f64..1.1 * LARGE as f64).contains(&held), "{held}");
    for client in &mut clients {
        assert!(client.next().await.starts_with(r#"42["large","#));
    }
    gateway
        .until_metric("gateway_outbox_memory_bytes", 0.0)
        .await;
}

#[tokio::test]
async fn a_post_of_many_packets_is_handled_whole_and_in_order() {
    let gateway = TestGateway::start(Server::new(config())).await;
    let mut client = gateway.polling().await;
    client.connect().await;
    const EVENTS: usize = 20_000;
    let body: Vec<String> = (0..EVENTS)
        .map(|number| format!(r#"42{number}["echo"]"#))
        .collect();
    client.send(&body.join("\x1e")).await;
    for number in 0..EVENTS {
        client.expect(&format!("43{number}[]")).await;
    }
}
