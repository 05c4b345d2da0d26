//! WebTransport: sessions that open by it or come to it, what is refused, and how they end.

use std::path::Path;
use std::time::Duration;

use gateway::{Config, Server};

use crate::support::{
    Polling, TestGateway, WebTransport, WebTransportFrame as Frame, config, until,
};

const CERTIFICATES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/certificates");

pub(crate) fn configured(toml: &str) -> Config {
    configured_with(
        toml,
        &format!("{CERTIFICATES}/one.crt"),
        &format!("{CERTIFICATES}/one.key"),
    )
}

fn configured_with(toml: &str, cert: &str, key: &str) -> Config {
    let read = Config::from_toml(&format!(
        "webtransport.listen = \"127.0.0.1:0\"\nwebtransport.cert = \"{cert}\"\nwebtransport.key = \"{key}\"\n{toml}"
    ));
    let own = config();
    Config {
        listen: own.listen,
        internal_listen: own.internal_listen,
        shards: own.shards,
        demo: own.demo,
        shutdown: own.shutdown,
        ..read.unwrap()
    }
}

async fn relay(toml: &str) -> TestGateway {
    TestGateway::start(Server::new(configured(toml))).await
}

fn closed(reason: &str) -> String {
    format!(r#"gateway_connections_closed_total{{reason="{reason}",transport="webtransport"}}"#)
}

fn refused(reason: &str) -> String {
    format!(r#"gateway_handshakes_rejected_total{{reason="{reason}"}}"#)
}

const OPEN: &str = r#"gateway_connections{transport="webtransport"}"#;
const REFUSED_UPGRADES: &str = r#"gateway_upgrades_total{result="refused"}"#;

#[tokio::test]
async fn a_session_opens_and_speaks() {
    let gateway = relay("").await;
    let mut client = WebTransport::open(gateway.webtransport_address()).await;
    client.connect().await;
    assert_eq!(gateway.metric(OPEN).await, 1.0);
    client.send(r#"421["echo","é😀"]"#).await;
    client.expect(r#"431["é😀"]"#).await;
    client
        .send(r#"452-2["echo",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]"#)
        .await;
    client.send_binary(&[1, 2, 3]).await;
    client.send_binary(&[]).await;
    let header = r#"462-2[{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]"#;
    client.expect(header).await;
    assert_eq!(client.frame().await, Frame::Binary(vec![1, 2, 3]));
    // Clients refuse an empty frame, and read this as an empty binary.
    client.expect("b").await;
    for length in [60_000, 70_000, 900_000] {
        let text = "x".repeat(length);
        client.send(&format!(r#"423["echo","{text}"]"#)).await;
        assert!(client.next().await == format!(r#"433["{text}"]"#));
    }
    let received = r#"gateway_received_bytes_total{transport="webtransport"}"#;
    assert!(gateway.metric(received).await > 1_000_000.0);
    let sent = r#"gateway_sent_bytes_total{transport="webtransport"}"#;
    assert!(gateway.metric(sent).await > 1_000_000.0);
    client.send("41").await;
    client.close();
    gateway.until_metric(OPEN, 0.0).await;
    gateway.until_metric(&closed("transport_close"), 1.0).await;
}

#[tokio::test]
async fn an_application_knows_what_its_client_is() {
    let gateway = TestGateway::configured(configured(""), |main| {
        main.on("who", |socket, event| {
            let handshake = socket.handshake();
            let host = handshake.header("host").map(String::from_utf8_lossy);
            let host = host.unwrap_or_default().into_owned();
            let address = handshake.address().ip().to_string();
            event
                .ack((handshake.url(), handshake.secure(), host, address))
                .ok();
        })
    })
    .await;
    let port = gateway.webtransport_address().port();
    let mut client = WebTransport::open(gateway.webtransport_address()).await;
    client.connect().await;
    client.send(r#"421["who"]"#).await;
    let expected = format!(r#"431["/socket.io/",true,"127.0.0.1:{port}","127.0.0.1"]"#);
    client.expect(&expected).await;
}

#[tokio::test]
async fn a_broadcast_reaches_all_transports_in_order() {
    let gateway = relay("").await;
    let mut clients = Vec::new();
    for _ in 0..4 {
        let mut client = WebTransport::open(gateway.webtransport_address()).await;
        client.connect().await;
        client.send(r#"421["join","room"]"#).await;
        client.expect(r#"431[{"ok":true}]"#).await;
        clients.push(client);
    }
    let (mut websocket, _) = gateway.client().await;
    for number in 0..200 {
        websocket
            .send(&format!(r#"42["publish","room","tick",{number}]"#))
            .await;
    }
    for client in &mut clients {
        for number in 0..200 {
            client.expect(&format!(r#"42["tick",{number}]"#)).await;
        }
    }
}

#[tokio::test]
async fn polling_becomes_webtransport() {
    let gateway = relay("").await;
    let mut clients = Vec::new();
    // Half of them come to another shard than the session that they are for.
    for _ in 0..8 {
        let open = Polling::handshake(gateway.address()).await;
        assert!(
            open.body
                .contains(r#""upgrades":["websocket","webtransport"]"#)
        );
        let mut polling = gateway.polling().await;
        polling.connect().await;
        let mut upgraded = WebTransport::probe(gateway.webtransport_address(), &polling.sid).await;
        upgraded.expect("3probe").await;
        polling.send(r#"421["echo","still by polling"]"#).await;
        polling.expect(r#"431["still by polling"]"#).await;
        upgraded.send("5").await;
        upgraded.send(r#"422["echo","by the stream"]"#).await;
        upgraded.expect(r#"432["by the stream"]"#).await;
        assert_eq!(polling.poll().await.status, 400);
        clients.push(upgraded);
    }
    let completed = r#"gateway_upgrades_total{result="completed"}"#;
    assert_eq!(gateway.metric(completed).await, 8.0);
    assert_eq!(gateway.metric(OPEN).await, 8.0);
}

#[tokio::test]
async fn a_probe_that_fails_leaves_the_session_on_polling() {
    let gateway = relay("").await;
    let mut polling = gateway.polling().await;
    polling.connect().await;
    let mut first = WebTransport::probe(gateway.webtransport_address(), &polling.sid).await;
    first.expect("3probe").await;
    let mut second = WebTransport::probe(gateway.webtransport_address(), &polling.sid).await;
    second.expect_end().await;
    assert_eq!(gateway.metric(REFUSED_UPGRADES).await, 1.0);
    first.send("40").await;
    first.expect_end().await;
    polling.send(r#"421["echo",1]"#).await;
    polling.expect("431[1]").await;
    let mut third = WebTransport::probe(gateway.webtransport_address(), &polling.sid).await;
    third.expect("3probe").await;
    third.close();
    let disconnected = r#"gateway_upgrades_total{result="disconnected"}"#;
    gateway.until_metric(disconnected, 1.0).await;
    let mut websocket = polling.probe().await;
    websocket.send("5").await;
    websocket.send(r#"422["echo",2]"#).await;
    websocket.expect("432[2]").await;
}

#[tokio::test]
async fn a_session_of_another_node_stays_on_its_transport() {
    let (gateway, other) = (relay("").await, relay("").await);
    let mut polling = other.polling().await;
    polling.connect().await;
    let mut upgrade = WebTransport::probe(gateway.webtransport_address(), &polling.sid).await;
    upgrade.expect_end().await;
    assert_eq!(gateway.metric(REFUSED_UPGRADES).await, 1.0);
    polling.send(r#"421["echo",1]"#).await;
    polling.expect("431[1]").await;
}

#[tokio::test]
async fn what_opens_no_session_is_closed_and_counted() {
    let gateway = relay("engine.upgrade_timeout = \"300ms\"").await;
    let address = gateway.webtransport_address();
    for (first, reason) in [
        (&b"\x012"[..], "bad_request"),
        (b"\x040xyz", "bad_request"),
        (b"\x080{\"a\":1}", "bad_request"),
        (b"\x120{\"sid\":\"unknown\"}", "unknown_sid"),
        (b"\x810", "bad_request"),
        (b"\x00", "bad_request"),
        (b"\x7f\0\0\0\0\0\0\x04\x01", "bad_request"),
        (b"\x7e\x04", "silent"),
    ] {
        let before = gateway.metric(&refused(reason)).await;
        let mut client = WebTransport::stream(address).await;
        client.write(first).await;
        client.expect_end().await;
        gateway.until_metric(&refused(reason), before + 1.0).await;
    }
    let before = gateway.metric(&refused("silent")).await;
    let (_endpoint, connection) = WebTransport::dial(address, "/socket.io/", None)
        .await
        .unwrap();
    connection.closed().await;
    gateway.until_metric(&refused("silent"), before + 1.0).await;
    assert!(
        WebTransport::dial(address, "/elsewhere/", None)
            .await
            .is_err()
    );
    assert_eq!(gateway.metric(OPEN).await, 0.0);
}

#[tokio::test]
async fn a_frame_may_be_as_large_as_the_limit_and_no_larger() {
    let gateway = relay("engine.max_payload = \"1KiB\"").await;
    let mut client = WebTransport::open(gateway.webtransport_address()).await;
    client.connect().await;
    let text = "x".repeat(1024 - r#"421["echo",""]"#.len());
    client.send(&format!(r#"421["echo","{text}"]"#)).await;
    client.expect(&format!(r#"431["{text}"]"#)).await;
    // The head alone is enough.
    client.write(b"\x7e\x04\x01").await;
    client.expect_end().await;
    assert_eq!(gateway.metric(&closed("parse_error")).await, 1.0);
}

#[tokio::test]
async fn heartbeats_keep_a_session_and_silence_ends_it() {
    let gateway = relay("engine = { ping_interval = \"100ms\", ping_timeout = \"300ms\" }").await;
    let mut client = WebTransport::open(gateway.webtransport_address()).await;
    client.connect().await;
    for _ in 0..5 {
        assert_eq!(client.frame().await, Frame::Text("2".to_owned()));
        client.send("3").await;
    }
    let answered = "gateway_heartbeats_answered_total";
    gateway.until_metric(answered, 5.0).await;
    assert_eq!(client.frame().await, Frame::Text("2".to_owned()));
    client.expect_end().await;
    assert_eq!(gateway.metric(&closed("ping_timeout")).await, 1.0);
}

#[tokio::test]
async fn a_session_ends_with_its_stream_its_close_packet_or_what_is_no_packet() {
    let gateway = relay("").await;
    let address = gateway.webtransport_address();
    let mut client = WebTransport::open(address).await;
    client.finish().await;
    client.expect_end().await;
    gateway.until_metric(&closed("transport_close"), 1.0).await;
    let mut client = WebTransport::open(address).await;
    client.send("1").await;
    client.expect_end().await;
    gateway.until_metric(&closed("transport_close"), 2.0).await;
    let mut client = WebTransport::open(address).await;
    client.send("9").await;
    client.expect_end().await;
    gateway.until_metric(&closed("parse_error"), 1.0).await;
    let mut client = WebTransport::open(address).await;
    client.send("2").await;
    client.expect_end().await;
    gateway.until_metric(&closed("transport_error"), 1.0).await;
}

#[tokio::test]
async fn the_last_packets_come_before_the_close() {
    let gateway = TestGateway::configured(configured(""), |main| {
        main.on("leave", |socket, _| {
            socket.emit("last words", ("x".repeat(500_000),)).ok();
            socket.disconnect(true);
        })
    })
    .await;
    let mut client = WebTransport::open(gateway.webtransport_address()).await;
    client.connect().await;
    client.send(r#"42["leave"]"#).await;
    assert_eq!(
        client.next().await.len(),
        r#"42["last words",""]"#.len() + 500_000
    );
    client.expect("41").await;
    client.expect_end().await;
    assert_eq!(gateway.metric(OPEN).await, 0.0);
}

#[tokio::test]
async fn a_draining_node_closes_its_sessions_and_refuses_others() {
    let mut config = configured("");
    config.shutdown.drain = Duration::from_millis(600);
    let gateway = TestGateway::start(Server::new(config)).await;
    let (address, clients_port) = (gateway.webtransport_address(), gateway.address());
    let mut clients = Vec::new();
    for _ in 0..3 {
        let mut client = WebTransport::open(address).await;
        client.connect().await;
        clients.push(client);
    }
    let mut polling = gateway.polling().await;
    polling.connect().await;
    let stopping = tokio::spawn(gateway.stop());
    until(async || {
        !Polling::handshake(clients_port)
            .await
            .body
            .contains("webtransport")
    })
    .await;
    let mut upgrade = WebTransport::probe(address, &polling.sid).await;
    upgrade.expect_end().await;
    for client in &mut clients {
        while client.frame().await != Frame::End {}
    }
    stopping.await.unwrap();
    for client in clients {
        client.connection.closed().await;
    }
}

#[tokio::test]
async fn a_node_that_stops_at_once_tells_its_clients() {
    let gateway = relay("").await;
    let mut client = WebTransport::open(gateway.webtransport_address()).await;
    client.connect().await;
    let newcomer = WebTransport::stream(gateway.webtransport_address()).await;
    gateway.stop_at_once().await;
    client.expect_end().await;
    newcomer.connection.closed().await;
}

#[tokio::test]
async fn pages_of_other_origins_are_refused() {
    let gateway = relay("cors.origins = [\"https://app.example.com\"]").await;
    let address = gateway.webtransport_address();
    let own = format!("https://127.0.0.1:{}", address.port());
    for (origin, passes) in [
        (&*own, true),
        ("https://app.example.com", true),
        ("https://evil.example.com", false),
        ("null", false),
    ] {
        let dialled = WebTransport::dial(address, "/socket.io/", Some(origin)).await;
        assert_eq!(dialled.is_ok(), passes, "{origin}");
    }
    assert_eq!(gateway.metric(&refused("forbidden")).await, 2.0);
}

#[tokio::test]
async fn limits_bound_connections() {
    let gateway = relay("webtransport.connections = 2\nlimits.connections = 3").await;
    let address = gateway.webtransport_address();
    let one = WebTransport::open(address).await;
    let _two = WebTransport::open(address).await;
    assert!(
        WebTransport::dial(address, "/socket.io/", None)
            .await
            .is_err()
    );
    assert_eq!(gateway.metric(&refused("connection_limit")).await, 1.0);
    one.close();
    gateway.until_metric(OPEN, 1.0).await;
    let mut again = None;
    until(async || {
        again = WebTransport::dial(address, "/socket.io/", None).await.ok();
        again.is_some()
    })
    .await;
    drop(again);
    let _websockets = (gateway.websocket().await, gateway.websocket().await);
    let mut full = WebTransport::stream(address).await;
    full.send("0").await;
    full.expect_end().await;
    gateway
        .until_metric(&refused("connection_limit"), 2.0)
        .await;
}

#[tokio::test]
async fn a_client_that_takes_nothing_is_closed_as_slow() {
    // By what waits for it, and by how long it took nothing.
    for (limits, events) in [
        (r#"outbox_bytes = "1MiB", outbox_patience = "1h""#, 15),
        (r#"outbox_bytes = "64MiB", outbox_patience = "300ms""#, 150),
    ] {
        let gateway = relay(&format!("limits = {{ {limits} }}")).await;
        let mut client = WebTransport::open(gateway.webtransport_address()).await;
        client.connect().await;
        let text = "x".repeat(100_000);
        for _ in 0..events {
            gateway.gateway().of("/").emit("much", (&text,)).unwrap();
        }
        gateway.until_metric(&closed("slow_consumer"), 1.0).await;
    }
}

#[tokio::test]
async fn a_new_certificate_is_taken_while_clients_are_connected() {
    let scratch = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let (cert, key) = (scratch.join("quic.crt"), scratch.join("quic.key"));
    let put = |name: &str| {
        std::fs::copy(format!("{CERTIFICATES}/{name}.crt"), &cert).unwrap();
        std::fs::copy(format!("{CERTIFICATES}/{name}.key"), &key).unwrap();
    };
    put("one");
    let config = configured_with("", cert.to_str().unwrap(), key.to_str().unwrap());
    let gateway = TestGateway::start(Server::new(config)).await;
    let address = gateway.webtransport_address();
    let shown = async || {
        let client = WebTransport::open(address).await;
        let chain = client.connection.peer_identity().unwrap();
        chain.as_slice()[0].der().to_vec()
    };
    let mut old = WebTransport::open(address).await;
    old.connect().await;
    let before = shown().await;
    put("two");
    gateway.running().reload().await.unwrap();
    assert_ne!(shown().await, before);
    old.send(r#"421["echo",1]"#).await;
    old.expect("431[1]").await;
    put("one");
    gateway.running().reload().await.unwrap();
    assert_eq!(shown().await, before);
}

#[tokio::test]
async fn the_certificate_of_tls_serves_both_and_what_cannot_be_used_is_told() {
    let mut config = configured("");
    config.tls = config.webtransport.as_mut().unwrap().tls.take();
    let gateway = TestGateway::start(Server::new(config)).await;
    WebTransport::open(gateway.webtransport_address()).await;

    let key = format!("{CERTIFICATES}/two.key");
    let config = configured_with("", &format!("{CERTIFICATES}/one.crt"), &key);
    let failed = Server::new(config).start().await.err();
    let said = failed.expect("it started").to_string();
    let expected =
        "the certificate of webtransport.cert cannot be used with the key of webtransport.key: ";
    assert!(said.starts_with(expected), "{said}");

    let mut config = configured("");
    config.webtransport.as_mut().unwrap().tls = None;
    let said = config.check().unwrap_err().to_string();
    assert!(
        said.starts_with(
            "webtransport.listen: has no effect without tls.cert or webtransport.cert"
        ),
        "{said}"
    );
}

#[tokio::test]
async fn an_address_that_is_taken_is_told() {
    let gateway = relay("").await;
    let mut config = configured("");
    config.webtransport.as_mut().unwrap().listen = gateway.webtransport_address();
    let failed = Server::new(config).start().await.err();
    let said = failed.expect("it started").to_string();
    assert!(said.contains("(webtransport.listen)"), "{said}");
}
