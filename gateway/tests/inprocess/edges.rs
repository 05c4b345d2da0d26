//! What stands between clients and the protocol: paths, methods, headers, origins, addresses, lists of names.

use std::time::{Duration, Instant};

use gateway::{Config, Server};

use crate::support::{Connection, TestGateway, WebSocket, config, request};

async fn configured(toml: &str) -> TestGateway {
    let mut config = config();
    let parsed = Config::from_toml(toml).unwrap();
    (config.engine, config.cors, config.proxy) = (parsed.engine, parsed.cors, parsed.proxy);
    TestGateway::start(Server::new(config)).await
}

#[tokio::test]
async fn an_event_names_so_many_rooms_and_no_more() {
    let gateway = TestGateway::relay().await;
    let (mut client, _) = gateway.client().await;
    let named = |count: usize| {
        let names: Vec<_> = (0..count).map(|number| format!("\"{number}\"")).collect();
        format!("[{}]", names.join(","))
    };
    let refused = r#"[{"error":{"code":"too_many_rooms","message":"an event names at most 1000 rooms"},"ok":false}]"#;
    let began = Instant::now();
    for (number, event) in ["join", "leave", "publish"].iter().enumerate() {
        let rest = if *event == "publish" { ",\"x\"" } else { "" };
        let many = named(100_000);
        client
            .send(&format!(r#"42{number}["{event}",{many}{rest}]"#))
            .await;
        client.expect(&format!("43{number}{refused}")).await;
        let most = named(1000);
        client
            .send(&format!(r#"421{number}["{event}",{most}{rest}]"#))
            .await;
        client
            .expect(&format!(r#"431{number}[{{"ok":true}}]"#))
            .await;
    }
    // A room that is named many times counts as often as it is named, and is joined once.
    let same = vec!["\"r\""; 1000].join(",");
    client.send(&format!(r#"429["join",[{same}]]"#)).await;
    client.expect(r#"439[{"ok":true}]"#).await;
    assert_eq!(gateway.metric(r#"gateway_rooms{namespace="/"}"#).await, 1.0);
    assert!(began.elapsed() < Duration::from_secs(60));
}

#[tokio::test]
async fn the_path_is_served_without_its_last_slash() {
    let gateway = TestGateway::relay().await;
    let opened = request(
        gateway.address(),
        "GET /socket.io?EIO=4&transport=polling",
        "",
    )
    .await;
    assert_eq!(opened.status, 200);
    assert!(opened.body.starts_with("0{"), "{}", opened.body);
    let mut connection = Connection::open(gateway.address()).await;
    let head = "GET /socket.io?EIO=4&transport=websocket";
    let upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    connection.send_with(head, upgrade, "").await;
    assert_eq!(connection.response().await.status, 101);
    for path in ["/socket.iox", "/socket.io2/", "/socket.i"] {
        let head = format!("GET {path}?EIO=4&transport=polling");
        let elsewhere = request(gateway.address(), &head, "").await;
        assert_eq!(elsewhere.status, 404, "{path}");
    }
}

#[tokio::test]
async fn probes_may_ask_by_head() {
    let gateway = TestGateway::relay().await;
    for path in ["/live", "/ready", "/metrics"] {
        let mut connection = Connection::open(gateway.internal_address()).await;
        connection.send_with(&format!("HEAD {path}"), "", "").await;
        let head = connection.head().await;
        assert!(head.starts_with("HTTP/1.1 200 "), "{path}: {head}");
    }
}

#[tokio::test]
async fn many_headers_are_taken_as_long_as_they_are_short() {
    let gateway = TestGateway::relay().await;
    let headers: String = (0..1500).map(|number| format!("x{number}: \r\n")).collect();
    let opened = crate::support::Polling::handshake_with(gateway.address(), &headers).await;
    assert_eq!(opened.status, 200);
    WebSocket::open_with(gateway.address(), "", &headers).await;
}

#[tokio::test]
async fn origins_are_enforced_if_that_is_wanted() {
    let allowed = "cors.origins = [\"https://*.example.com\"]\n";
    for (toml, status) in [
        (String::new(), 101),
        (format!("{allowed}cors.enforce = true"), 403),
    ] {
        let gateway = configured(&toml).await;
        for (origin, expected) in [
            ("Origin: https://evil.example\r\n", status),
            ("Origin: https://chat.example.com\r\n", 101),
            ("Origin: http://gateway\r\n", 101),
            (
                "Origin: https://own.example\r\nX-Forwarded-Host: own.example\r\n",
                101,
            ),
            ("", 101),
        ] {
            let mut connection = Connection::open(gateway.address()).await;
            let head = "GET /socket.io/?EIO=4&transport=websocket";
            let upgrade = format!(
                "{origin}Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                 Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
            );
            connection.send_with(head, &upgrade, "").await;
            let answer = connection.response().await;
            assert_eq!(answer.status, expected, "{origin} {toml}");
        }
    }
}

#[tokio::test]
async fn the_cookie_goes_to_the_pages_that_it_is_meant_for() {
    for (toml, end) in [
        ("", "SameSite=Lax"),
        ("cookie_secure = true\n", "SameSite=Lax; Secure"),
        (
            "cookie_secure = true\ncookie_same_site = \"none\"\n",
            "SameSite=None; Secure",
        ),
        ("cookie_same_site = \"strict\"\n", "SameSite=Strict"),
    ] {
        let gateway = configured(&format!("[engine]\ncookie = \"io\"\n{toml}")).await;
        let opened = crate::support::Polling::handshake(gateway.address()).await;
        let cookie = opened.header("set-cookie").unwrap();
        assert!(cookie.ends_with(end), "{cookie}");
    }
    assert!(Config::from_toml("engine.cookie_same_site = \"none\"").is_err());
}

#[tokio::test]
async fn whom_a_proxy_protocol_announces_cannot_forge_its_address() {
    let toml = "proxy.trusted = [\"127.0.0.0/8\", \"10.0.0.0/8\"]\nproxy.protocol = true\n";
    let mut limited = config();
    limited.proxy = Config::from_toml(toml).unwrap().proxy;
    limited.limits.connections_per_ip = std::num::NonZeroUsize::new(1);
    let gateway = TestGateway::start(Server::new(limited)).await;
    // Once from an address that it tells, once from one that it does not: that is the proxy's own.
    let told = "PROXY TCP4 10.1.2.3 127.0.0.1 5000 3000\r\n";
    let untold = "PROXY UNKNOWN\r\n";
    for (number, header, status) in [
        (1, told, 200),
        (2, told, 429),
        (3, untold, 200),
        (4, untold, 429),
    ] {
        let mut connection = Connection::open(gateway.address()).await;
        connection.write(header.as_bytes()).await;
        let forged = format!("X-Forwarded-For: 203.0.113.{number}\r\n");
        let head = "GET /socket.io/?EIO=4&transport=polling";
        connection.send_with(head, &forged, "").await;
        assert_eq!(connection.response().await.status, status);
    }
}

#[tokio::test]
async fn the_demo_page_is_off_where_it_cannot_work() {
    const BACKEND: &str =
        "backend = { url = \"http://127.0.0.1:9/\", secret = \"of sixteen bytes and more\" }";
    const TOKENS: &str = "auth.jwt_secret = \"a secret of thirty-two bytes or more\"";
    for (toml, served) in [
        ("", true),
        (TOKENS, false),
        (BACKEND, false),
        ("namespaces = [\"/chat\"]", false),
        ("namespaces = [\"*\"]", true),
        (&format!("demo = true\n{TOKENS}"), true),
        ("demo = false", false),
    ] {
        let parsed = Config::from_toml(toml).unwrap();
        let mut config = config();
        config.demo = parsed.demo;
        config.namespaces = parsed.namespaces;
        (config.auth, config.backend) = (parsed.auth, parsed.backend);
        let gateway = TestGateway::start(Server::new(config)).await;
        let page = request(gateway.address(), "GET /", "").await;
        assert_eq!(page.status, if served { 200 } else { 404 }, "{toml}");
        // Pages of other origins load the client from here all the same.
        let client = request(gateway.address(), "GET /socket.io/socket.io.js", "").await;
        assert_eq!(client.status, 200, "{toml}");
    }
    let mut config = config();
    config.demo = None;
    let handlers = TestGateway::configured(config, |main| main).await;
    let page = request(handlers.address(), "GET /", "").await;
    assert_eq!(page.status, 404);
}
