//! Who is let in, and at which address a client counts.

use std::net::{IpAddr, SocketAddr};
use std::num::{NonZeroU32, NonZeroUsize};
use std::time::Duration;

use gateway::handlers::Namespace;
use gateway::{Config, Server};
use tokio::net::{TcpSocket, TcpStream};

use crate::support::{Connection, Polling, TestGateway, WebSocket, config, request, soon, until};

#[tokio::test]
async fn an_address_opens_no_more_sessions_than_it_may() {
    let mut config = trusting("\"127.0.0.1\"");
    config.limits.connections_per_ip = NonZeroUsize::new(2);
    let gateway = TestGateway::start(Server::new(config)).await;
    let ann = "X-Forwarded-For: 192.0.2.1\r\n";
    let bob = "X-Forwarded-For: 192.0.2.2\r\n";
    let mut first = Polling::open_with(gateway.address(), ann).await;
    let second = Polling::open_with(gateway.address(), ann).await;
    let refused = Polling::handshake_with(gateway.address(), ann).await;
    assert_eq!(refused.status, 429);
    assert_eq!(refused.header("retry-after"), Some("5"));
    assert_eq!(
        refused.body,
        r#"{"code":4,"message":"Too many connections from this address"}"#
    );
    let counted = r#"gateway_handshakes_rejected_total{reason="address_limit"}"#;
    assert_eq!(gateway.metric(counted).await, 1.0);
    Polling::open_with(gateway.address(), bob).await;

    first.send("1").await;
    Polling::open_with(gateway.address(), ann).await;
    let refused = Polling::handshake_with(gateway.address(), ann).await;
    assert_eq!(refused.status, 429);
    drop(second);
}

#[tokio::test]
async fn a_place_comes_back_however_a_session_ends() {
    let mut config = config();
    config.limits.connections_per_ip = NonZeroUsize::new(1);
    config.engine.connect_timeout = Duration::from_millis(200);
    let gateway = TestGateway::start(Server::new(config)).await;
    for round in 0..6 {
        let mut opened = None;
        until(async || {
            match WebSocket::handshake(gateway.address(), "").await {
                Ok(client) => opened = Some(client),
                Err(refused) => assert_eq!(refused.status, 429),
            }
            opened.is_some()
        })
        .await;
        let mut client = opened.unwrap();
        client.next().await;
        match round % 3 {
            0 => client.vanish(),
            1 => client.send("4nonsense").await,
            _ => client.expect_close().await,
        }
    }
    until(async || gateway.gateway().connections() == 0).await;
}

#[tokio::test]
async fn no_more_handshakes_in_a_second_than_the_node_takes() {
    let mut config = config();
    config.limits.handshakes_per_second = NonZeroU32::new(1);
    let gateway = TestGateway::start(Server::new(config)).await;
    let mut open = Vec::new();
    let mut refused = 0;
    while refused < 3 {
        let handshake = Polling::handshake(gateway.address()).await;
        if handshake.status == 200 {
            open.push(handshake);
            continue;
        }
        assert_eq!(handshake.status, 503);
        assert_eq!(handshake.header("retry-after"), Some("1"));
        assert_eq!(
            handshake.body,
            r#"{"code":4,"message":"Too many handshakes"}"#
        );
        refused += 1;
    }
    let counted = r#"gateway_handshakes_rejected_total{reason="handshake_rate"}"#;
    assert_eq!(gateway.metric(counted).await, 3.0);
    until(async || Polling::handshake(gateway.address()).await.status == 200).await;
}

#[tokio::test]
async fn events_above_the_rate_are_dropped_and_the_relay_says_so() {
    let mut config = config();
    config.limits.events_per_second = NonZeroU32::new(5);
    let gateway = TestGateway::start(Server::new(config)).await;
    let (mut client, _) = gateway.client().await;
    let (mut other, _) = gateway.client().await;
    let mut answers = Vec::new();
    for id in 0..50 {
        client.send(&format!(r#"42{id}["echo",1]"#)).await;
    }
    for id in 0..50 {
        let answer = client.answer().await;
        let (_, answer) = answer.split_once(&format!("43{id}")).unwrap();
        answers.push(answer.to_owned());
    }
    let refused = r#"[{"error":{"code":"rate_limited","message":"the socket sends more events than it may"},"ok":false}]"#;
    assert!(answers[..5].iter().all(|answer| answer == "[1]"));
    let dropped = answers.iter().filter(|answer| **answer == refused).count();
    let passed = answers.iter().filter(|answer| **answer == "[1]").count();
    assert_eq!(dropped + passed, 50);
    assert!(dropped > 0, "{answers:?}");
    assert_eq!(
        gateway.metric("gateway_events_rate_limited_total").await,
        dropped as f64
    );
    other.send(r#"421["echo",2]"#).await;
    other.expect("431[2]").await;
}

#[tokio::test]
async fn an_application_may_answer_an_event_above_the_rate_or_not() {
    let mut config = config();
    config.limits.events_per_second = NonZeroU32::new(1);
    let gateway = TestGateway::configured(config, |main| {
        main.on("count", |_, event| {
            event.ack(("counted",)).ok();
        })
    })
    .await;
    let (mut client, _) = gateway.client().await;
    for id in 0..20 {
        client.send(&format!(r#"42{id}["count"]"#)).await;
    }
    until(async || gateway.metric("gateway_events_rate_limited_total").await > 0.0).await;
    assert_eq!(client.answer().await, r#"430["counted"]"#);
    assert_eq!(gateway.gateway().connections(), 1);
}

#[tokio::test]
async fn a_trusted_proxy_names_the_client_and_nobody_else() {
    let gateway = TestGateway::configured(trusting("\"127.0.0.2\", \"10.0.0.0/8\""), tell).await;
    let forwarded = "X-Forwarded-For: 1.1.1.1, 192.0.2.7, 10.0.0.9\r\n";

    let mut direct = Polling::open_with(gateway.address(), forwarded).await;
    direct.connect().await;
    let seen = address_of_polling(&mut direct).await;
    assert!(seen.starts_with("127.0.0.1:"), "{seen}");

    let mut connection = Connection::of(from("127.0.0.2", gateway.address()).await);
    let head = "GET /socket.io/?EIO=4&transport=polling";
    connection.send_with(head, forwarded, "").await;
    let opened = connection.response().await;
    let target = format!(
        "/socket.io/?EIO=4&transport=polling&sid={}",
        crate::support::sid(&opened.body)
    );
    // What another request of the session says changes nothing.
    let address = gateway.address();
    let packets = "40\x1e420[\"address\"]";
    assert_eq!(
        request(address, &format!("POST {target}"), packets)
            .await
            .body,
        "ok"
    );
    let polled = request(address, &format!("GET {target}"), "").await.body;
    assert!(polled.ends_with(r#"430["192.0.2.7:0"]"#), "{polled}");
}

#[tokio::test]
async fn a_proxy_names_the_client_before_it_speaks_http() {
    let mut config = trusting("\"127.0.0.2\"");
    config.proxy.protocol = true;
    let gateway = TestGateway::configured(config, tell).await;
    let mut binary = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0c".to_vec();
    binary.extend([192, 0, 2, 8, 127, 0, 0, 1, 0x12, 0x34, 0, 80]);
    for (header, expected) in [
        (
            &b"PROXY TCP4 192.0.2.7 127.0.0.1 4711 80\r\n"[..],
            "192.0.2.7:4711",
        ),
        (&binary, "192.0.2.8:4660"),
        (b"PROXY UNKNOWN\r\n", "127.0.0.2:"),
    ] {
        let stream = from("127.0.0.2", gateway.address()).await;
        write(&stream, header).await;
        let mut client = WebSocket::open_on(stream).await;
        client.connect().await;
        let seen = address(&mut client).await;
        assert!(seen.starts_with(expected), "{seen} for {expected}");
    }
    let (mut stranger, _) = gateway.client().await;
    let seen = address(&mut stranger).await;
    assert!(seen.starts_with("127.0.0.1:"), "{seen}");

    let mut liar = Connection::open(gateway.address()).await;
    liar.write(b"PROXY TCP4 192.0.2.7 127.0.0.1 4711 80\r\nGET / HTTP/1.1\r\n\r\n")
        .await;
    assert_eq!(liar.response().await.status, 400);
}

#[tokio::test]
async fn who_has_to_announce_a_client_and_does_not_is_closed() {
    let mut config = config();
    config.proxy.protocol = true;
    config.limits.header_timeout = Duration::from_millis(100);
    let gateway = TestGateway::start(Server::new(config)).await;
    let refused = r#"gateway_handshakes_rejected_total{reason="proxy_protocol"}"#;
    for (count, bytes) in [
        &b"GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: a\r\n\r\n"[..],
        b"PROXY TCP4 nonsense\r\n",
        b"PROXY TCP4 192.0.2.7",
        b"",
    ]
    .into_iter()
    .enumerate()
    {
        let mut connection = Connection::open(gateway.address()).await;
        connection.write(bytes).await;
        assert!(!connection.fill().await, "there was an answer");
        gateway.until_metric(refused, count as f64 + 1.0).await;
    }
}

fn trusting(networks: &str) -> Config {
    let toml = format!("proxy.trusted = [{networks}]");
    let mut config = config();
    config.proxy = Config::from_toml(&toml).unwrap().proxy;
    config
}

/// Tells a client its address.
fn tell(main: Namespace) -> Namespace {
    main.on("address", |socket, event| {
        let address = socket.handshake().address().to_string();
        event.ack((address,)).ok();
    })
}

async fn address(client: &mut WebSocket) -> String {
    client.send(r#"420["address"]"#).await;
    inner(&client.answer().await)
}

async fn address_of_polling(client: &mut Polling) -> String {
    client.send(r#"420["address"]"#).await;
    inner(&client.next().await)
}

fn inner(ack: &str) -> String {
    let ack = ack
        .strip_prefix("430[\"")
        .and_then(|ack| ack.strip_suffix("\"]"));
    ack.unwrap().to_owned()
}

/// A connection that comes from an address of this machine.
async fn from(source: &str, to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    let source: IpAddr = source.parse().unwrap();
    socket.bind((source, 0).into()).unwrap();
    socket.connect(to).await.unwrap()
}

async fn write(stream: &TcpStream, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        soon(stream.writable()).await.unwrap();
        if let Ok(count) = stream.try_write(bytes) {
            bytes = &bytes[count..];
        }
    }
}
