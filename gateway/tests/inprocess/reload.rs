//! Settings that are read again while the node serves: all that can change does, or nothing.

use std::path::PathBuf;

use gateway::config::{ChangesBy, SETTINGS, Sources};
use gateway::{Config, ReloadError, Running, Server};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::{
    Collector, Polling, Response, TestGateway, WebSocket, config, request, request_with, token,
    until,
};

mod files;
mod layers;

const KEY: &str = "a key that only tests know";

/// A node, and the file with its settings.
struct Reloadable {
    gateway: TestGateway,
    file: PathBuf,
}

impl Reloadable {
    /// Each test has a name of its own for its file.
    async fn start(name: &str, settings: &str) -> Self {
        Self::with(name, settings, Sources::default()).await
    }

    async fn with(name: &str, settings: &str, sources: Sources) -> Self {
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
        let file = folder.join(format!("reload-{name}.toml"));
        write(&file, settings);
        let sources = Sources {
            file: Some(file.clone()),
            ..sources
        };
        let config = Config::load(&sources).unwrap();
        let server = Server::new(config).sources(sources);
        let gateway = TestGateway::start(server).await;
        Self { gateway, file }
    }

    fn running(&self) -> &Running {
        self.gateway.running()
    }

    /// Has the node read these settings. Returns those that changed, and those that need a restart.
    async fn reload(&self, settings: &str) -> (Vec<&'static str>, Vec<&'static str>) {
        write(&self.file, settings);
        let reloaded = self.running().reload().await.unwrap();
        (reloaded.changed, reloaded.needs_restart)
    }

    async fn changes(&self, settings: &str, changed: &[&str]) {
        assert_eq!(self.reload(settings).await, (changed.to_vec(), vec![]));
    }

    async fn refuses(&self, settings: &str) -> String {
        write(&self.file, settings);
        match self.running().reload().await {
            Err(ReloadError::Wrong(why)) => why,
            other => panic!("{settings}: {other:?}"),
        }
    }

    async fn call(&self, head: &str, key: &str, body: &Value) -> Response {
        let key = format!("Authorization: Bearer {key}\r\n");
        let address = self.gateway.internal_address();
        request_with(address, head, &key, &body.to_string()).await
    }

    async fn refused(&self, reason: &str) -> f64 {
        let series = format!("gateway_handshakes_rejected_total{{reason=\"{reason}\"}}");
        self.gateway.metric(&series).await
    }
}

#[tokio::test]
async fn how_many_traces_are_sampled_changes_and_what_counts_as_slow() {
    let collector = Collector::start().await;
    let settings = |more: &str| format!("otel.endpoint = \"{}\"\n{more}", collector.url());
    let node = Reloadable::start("otel", &settings("otel.sample = 0")).await;
    let told = "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00\r\n";
    // What ended before is sent by then: the exporter takes spans in their order.
    let connect = async || {
        let mut client = WebSocket::open_with(node.gateway.address(), "", told).await;
        client.connect().await;
        client
    };
    let _unseen = connect().await;
    node.changes(&settings("otel.sample = 1"), &["otel.sample"])
        .await;
    let _seen = connect().await;
    assert_eq!(collector.named("connect", 1).await.len(), 1);
    // Its client says that its trace is not sampled, and is trusted now.
    let trusting = settings("otel.sample = 1\notel.trust_parent = true");
    node.changes(&trusting, &["otel.trust_parent"]).await;
    let _unseen = connect().await;
    let slow = settings("otel.sample = 1\notel.trust_parent = true\notel.slow = \"1ms\"");
    node.changes(&slow, &["otel.slow"]).await;
    node.changes(
        &settings("otel.sample = 1"),
        &["otel.slow", "otel.trust_parent"],
    )
    .await;
    let _seen = connect().await;
    assert_eq!(collector.named("connect", 2).await.len(), 2);
    let elsewhere = "otel.endpoint = \"http://127.0.0.1:9\"\notel.sample = 1";
    assert_eq!(
        node.reload(elsewhere).await,
        (vec![], vec!["otel.endpoint"])
    );
}

/// The settings of every node here, and these.
fn write(file: &PathBuf, settings: &str) {
    let text = format!(
        "listen = \"127.0.0.1:0\"\ninternal_listen = \"127.0.0.1:0\"\nshards = 2\ndemo = false\n\
         shutdown.drain = \"0\"\n{settings}"
    );
    std::fs::write(file, text).unwrap();
}

#[tokio::test]
async fn a_limit_that_grows_lets_more_in_and_one_that_shrinks_sends_nobody_away() {
    let node = Reloadable::start("connections", "limits.connections = 2").await;
    let mut clients = node.gateway.clients(2).await;
    let address = node.gateway.address();
    assert_eq!(Polling::handshake(address).await.status, 503);

    node.changes("limits.connections = 4", &["limits.connections"])
        .await;
    clients.push(node.gateway.client().await.0);
    clients.push(node.gateway.client().await.0);

    node.changes("limits.connections = 1", &["limits.connections"])
        .await;
    assert_eq!(Polling::handshake(address).await.status, 503);
    for client in &mut clients {
        client.send(r#"421["echo",1]"#).await;
        client.expect("431[1]").await;
    }
    node.changes("", &["limits.connections"]).await;
    clients.push(node.gateway.client().await.0);
}

#[tokio::test]
async fn sessions_count_for_their_address_when_the_limit_comes_later() {
    let node = Reloadable::start("address", "").await;
    let clients = node.gateway.clients(3).await;
    let address = node.gateway.address();
    let limit = "limits.connections_per_ip = 4";
    node.changes(limit, &["limits.connections_per_ip"]).await;
    let fourth = node.gateway.client().await.0;
    assert_eq!(Polling::handshake(address).await.status, 429);
    assert_eq!(node.refused("address_limit").await, 1.0);
    clients.into_iter().for_each(WebSocket::vanish);
    until(async || node.gateway.gateway().connections() == 1).await;
    let mut more = Vec::new();
    for _ in 0..3 {
        more.push(node.gateway.client().await.0);
    }
    assert_eq!(Polling::handshake(address).await.status, 429);
    // Whoever was counted once is no longer counted when he is gone, limit or not.
    node.changes("", &["limits.connections_per_ip"]).await;
    let other = node.gateway.client().await.0;
    node.changes(
        "limits.connections_per_ip = 5",
        &["limits.connections_per_ip"],
    )
    .await;
    assert_eq!(Polling::handshake(address).await.status, 429);
    drop((fourth, more, other));
    until(async || node.gateway.gateway().connections() == 0).await;
    node.gateway.clients(5).await;
}

#[tokio::test]
async fn users_have_as_many_connections_as_are_in_force() {
    let secret = "a secret that only tests know";
    let auth = json!({"token": token(secret, &json!({"sub": "ann", "exp": 4_000_000_000_u64}))});
    let settings = |limit: &str| format!("{limit}\nauth.jwt_secret = \"{secret}\"");
    let one = settings("limits.connections_per_user = 1");
    let node = Reloadable::start("users", &one).await;
    let connect = async || {
        let mut client = node.gateway.websocket().await;
        client.send(&format!("40{auth}")).await;
        let answer = client.answer().await;
        answer.starts_with("40{").then_some(client)
    };
    let _first = connect().await.unwrap();
    assert!(connect().await.is_none());
    let two = settings("limits.connections_per_user = 2");
    node.changes(&two, &["limits.connections_per_user"]).await;
    let _second = connect().await.unwrap();
    assert!(connect().await.is_none());
    // Those of the time without it would not count.
    let (changed, waits) = node.reload(&settings("")).await;
    assert!(changed.is_empty(), "{changed:?}");
    assert_eq!(waits, ["limits.connections_per_user"]);
    assert!(connect().await.is_none());
}

#[tokio::test]
async fn handshakes_have_the_rate_that_is_in_force() {
    let slow = "limits.handshakes_per_second = 1";
    let node = Reloadable::start("rate", slow).await;
    let address = node.gateway.address();
    node.gateway.client().await;
    assert_eq!(Polling::handshake(address).await.status, 503);
    node.changes("", &["limits.handshakes_per_second"]).await;
    node.gateway.clients(10).await;
    node.changes(slow, &["limits.handshakes_per_second"]).await;
    until(async || Polling::handshake(address).await.status == 503).await;
}

#[tokio::test]
async fn sockets_that_are_there_have_the_new_limits() {
    let narrow = "limits = { events_per_second = 3, rooms_per_socket = 1 }";
    let node = Reloadable::start("sockets", "").await;
    let (mut client, _) = node.gateway.client().await;
    let all = ["limits.events_per_second", "limits.rooms_per_socket"];
    node.changes(narrow, &all).await;
    client.send(r#"421["join",["a","b"]]"#).await;
    let refused = client.answer().await;
    assert!(refused.contains("too_many_rooms"), "{refused}");
    for expected in [true, true, false] {
        client.send(r#"421["echo",1]"#).await;
        let answered = client.answer().await;
        assert_eq!(answered == "431[1]", expected, "{answered}");
    }
    node.changes("limits.rooms_per_socket = 2", &all).await;
    client.send(r#"421["join",["a","b"]]"#).await;
    client.expect(r#"431[{"ok":true}]"#).await;
    for _ in 0..20 {
        client.send(r#"421["echo",1]"#).await;
        client.expect("431[1]").await;
    }
    let one = "limits = { rooms_per_socket = 2, namespaces_per_session = 1 }\nnamespaces = [\"/\", \"/b\"]";
    let (changed, waiting) = node.reload(one).await;
    assert_eq!(changed, ["limits.namespaces_per_session"]);
    assert_eq!(waiting, ["namespaces"]);
}

#[tokio::test]
async fn what_waits_for_clients_is_bounded_by_the_new_limits() {
    let node = Reloadable::start("outbox", "").await;
    let all = [
        "limits.outbox_bytes",
        "limits.outbox_patience",
        "limits.outbox_total",
    ];
    let small =
        "limits = { outbox_bytes = \"4KiB\", outbox_patience = \"1h\", outbox_total = \"1GiB\" }";
    node.changes(small, &all).await;
    let limit = node
        .gateway
        .metric("gateway_outbox_memory_limit_bytes")
        .await;
    assert_eq!(limit, 1_073_741_824.0);
    let mut polling = node.gateway.polling().await;
    polling.connect().await;
    let text = "x".repeat(3000);
    for _ in 0..3 {
        let sent = node.gateway.gateway().of("/").emit("e", (&text,));
        sent.unwrap();
    }
    until(async || node.gateway.gateway().connections() == 0).await;

    let mut polling = node.gateway.polling().await;
    polling.connect().await;
    let short = "limits = { outbox_patience = \"50ms\", outbox_total = \"1GiB\" }";
    node.changes(short, &["limits.outbox_bytes", "limits.outbox_patience"])
        .await;
    node.gateway.gateway().of("/").emit("e", (1,)).unwrap();
    until(async || node.gateway.gateway().connections() == 0).await;
}

#[tokio::test]
async fn pages_of_other_origins_are_let_in_and_shut_out() {
    let node = Reloadable::start("cors", "cors.enforce = true").await;
    let page = "Origin: https://a.example\r\n";
    let address = node.gateway.address();
    let handshake = "GET /socket.io/?EIO=4&transport=polling";
    let refused = request_with(address, handshake, page, "").await;
    assert_eq!(refused.status, 403);
    let listed = "cors = { enforce = true, origins = [\"https://a.example\"], credentials = true }";
    node.changes(listed, &["cors.origins", "cors.credentials"])
        .await;
    for _ in 0..4 {
        let taken = request_with(address, handshake, page, "").await;
        assert_eq!(taken.status, 200);
        let origin = taken.header("access-control-allow-origin");
        assert_eq!(origin, Some("https://a.example"));
        assert_eq!(
            taken.header("access-control-allow-credentials"),
            Some("true")
        );
    }
    node.changes("", &["cors.origins", "cors.enforce", "cors.credentials"])
        .await;
    let taken = request_with(address, handshake, page, "").await;
    assert_eq!(taken.status, 200);
    assert_eq!(taken.header("access-control-allow-origin"), None);
}

#[tokio::test]
async fn a_proxy_is_believed_as_long_as_it_is_trusted() {
    let key = format!("api.key = \"{KEY}\"\n");
    let node = Reloadable::start("proxy", &key).await;
    let address = async || {
        let forwarded = "X-Forwarded-For: 192.0.2.9\r\n";
        let mut client = Polling::open_with(node.gateway.address(), forwarded).await;
        client.connect().await;
        let answer = node.call("GET /api/v1/sockets", KEY, &Value::Null).await;
        let answer: Value = serde_json::from_str(&answer.body).unwrap();
        let sockets = answer["sockets"].as_array().unwrap();
        let is_of_proxy = |it: &&Value| it["address"] == "192.0.2.9";
        sockets.iter().filter(is_of_proxy).count()
    };
    assert_eq!(address().await, 0);
    let trusting = format!("{key}proxy.trusted = [\"127.0.0.1\"]\n");
    node.changes(&trusting, &["proxy.trusted"]).await;
    assert_eq!(address().await, 1);
    node.changes(&key, &["proxy.trusted"]).await;
    assert_eq!(address().await, 1);
}

#[tokio::test]
async fn the_api_goes_on_and_off_and_changes_its_keys() {
    let node = Reloadable::start("key", "").await;
    let status = async |key: &str| {
        node.call("GET /api/v1/nodes", key, &Value::Null)
            .await
            .status
    };
    assert_eq!(status(KEY).await, 404);
    node.changes(&format!("api.key = \"{KEY}\""), &["api.key"])
        .await;
    assert_eq!(status(KEY).await, 200);
    let other = "another key that only tests know";
    node.changes(&format!("api.key = \"{other}\""), &["api.key"])
        .await;
    assert_eq!((status(KEY).await, status(other).await), (401, 200));
    let small = format!("api = {{ key = \"{other}\", max_body = \"1KiB\" }}");
    node.changes(&small, &["api.max_body"]).await;
    let large = json!({"event": "e", "args": ["x".repeat(2000)]});
    assert_eq!(
        node.call("POST /api/v1/emit", other, &large).await.status,
        413
    );
    node.changes("", &["api.key", "api.max_body"]).await;
    assert_eq!(status(other).await, 404);
}

#[tokio::test]
async fn the_api_reloads_and_says_what_changed_and_what_needs_a_restart() {
    let key = format!("api.key = \"{KEY}\"\n");
    let node = Reloadable::start("api", &key).await;
    let reload = async |body: Value| {
        let answer = node.call("POST /api/v1/reload", KEY, &body).await;
        let said: Value = serde_json::from_str(&answer.body).unwrap();
        (answer.status, said)
    };
    let changed = format!("{key}limits.connections = 1\nengine.ping_interval = \"7s\"\n");
    write(&node.file, &changed);
    let unauthorized = request(node.gateway.internal_address(), "POST /api/v1/reload", "{}");
    assert_eq!(unauthorized.await.status, 401);
    for (body, connections) in [(json!({"dry_run": true}), 0.0), (json!({}), 1.0)] {
        let (status, said) = reload(body).await;
        assert_eq!(status, 200, "{said}");
        assert_eq!(said["changed"], json!(["limits.connections"]));
        assert_eq!(said["needs_restart"], json!(["engine.ping_interval"]));
        let applied = r#"gateway_config_reloads_total{result="applied"}"#;
        assert_eq!(node.gateway.metric(applied).await, connections);
    }
    assert_eq!(
        node.gateway.metric("gateway_config_restart_needed").await,
        1.0
    );

    write(&node.file, &format!("{key}limits.conections = 1\n"));
    let (status, said) = reload(json!({})).await;
    assert_eq!(
        (status, &said["error"]["code"]),
        (409, &json!("bad_configuration"))
    );
    let why = said["error"]["message"].as_str().unwrap();
    assert!(
        why.contains("limits.conections") && why.contains("line 7"),
        "{why}"
    );
    assert_eq!(
        node.gateway
            .metric("gateway_config_last_reload_failed")
            .await,
        1.0
    );
    node.changes(&key, &["limits.connections"]).await;
    assert_eq!(
        node.gateway
            .metric("gateway_config_last_reload_failed")
            .await,
        0.0
    );
    assert_eq!(
        node.gateway.metric("gateway_config_restart_needed").await,
        0.0
    );
}

#[tokio::test]
async fn what_is_wrong_anywhere_changes_nothing_anywhere() {
    let node = Reloadable::start("wrong", "limits.connections = 1").await;
    let client = node.gateway.client().await;
    for (wrong, said) in [
        ("limits.connections = 0", "limits.connections"),
        (
            "limits.connections = 9\nlimits.outbox_patience = \"1w\"",
            "limits.outbox_patience",
        ),
        ("limits.connections = 9\ncolour = \"red\"", "colour"),
        ("limits.connections = 9\n[limits", "line"),
        (
            "limits.connections = 9\nclient_dir = \"/nowhere\"",
            "client_dir",
        ),
        (
            "limits.connections = 9\nauth.jwt_public_key = \"/nowhere\"",
            "auth.jwt_public_key",
        ),
        ("limits.connections = 9\napi.key = \"hunter2\"", "api.key"),
        (
            "limits.connections = 9\nlisten_health = \"/socket.io/x\"",
            "listen_health",
        ),
        // Right by itself, but not with the origins that a page may come from.
        (
            "limits.connections = 9\ncors = { origins = [\"*\"], credentials = true }",
            "cors.credentials",
        ),
    ] {
        let why = node.refuses(wrong).await;
        assert!(why.contains(said), "{wrong}: {why}");
        assert!(!why.contains("hunter2"), "{why}");
        let refused = Polling::handshake(node.gateway.address()).await;
        assert_eq!(refused.status, 503, "{wrong}");
    }
    std::fs::remove_file(&node.file).unwrap();
    let gone = node.running().reload().await;
    assert!(matches!(gone, Err(ReloadError::Wrong(_))), "{gone:?}");
    let refused = r#"gateway_config_reloads_total{result="refused"}"#;
    assert_eq!(node.gateway.metric(refused).await, 10.0);
    node.changes("", &["limits.connections"]).await;
    drop(client);
}

/// What a connection gets that says this and no more, until it is closed or the answer ends.
async fn said_to(node: &Reloadable, words: &str) -> String {
    let mut stream = TcpStream::connect(node.gateway.address()).await.unwrap();
    stream.write_all(words.as_bytes()).await.unwrap();
    let mut said = Vec::new();
    let _reset = stream.read_to_end(&mut said).await;
    String::from_utf8(said).unwrap()
}

#[tokio::test]
async fn new_requests_have_the_new_bounds() {
    let node = Reloadable::start("requests", "").await;
    let handshake =
        "GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: a\r\nConnection: close\r\n";
    let large = format!("{handshake}X-Large: {}\r\n\r\n", "x".repeat(12_000));
    assert!(said_to(&node, &large).await.starts_with("HTTP/1.1 200 "));
    let small = "limits = { request_headers = \"8KiB\", header_timeout = \"50ms\", body_timeout = \"50ms\" }";
    let all = [
        "limits.request_headers",
        "limits.header_timeout",
        "limits.body_timeout",
    ];
    node.changes(small, &all).await;
    assert!(said_to(&node, &large).await.starts_with("HTTP/1.1 431 "));
    // They would stand for 10 and 30 seconds.
    assert_eq!(said_to(&node, "GET /socket").await, "");
    let mut session = node.gateway.polling().await;
    session.connect().await;
    let target = session.target();
    let unfinished = format!("POST {target} HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n40");
    said_to(&node, &unfinished).await;

    let announced = format!("PROXY TCP4 192.0.2.7 127.0.0.1 1 2\r\n{handshake}\r\n");
    assert!(
        !said_to(&node, &announced)
            .await
            .starts_with("HTTP/1.1 200 ")
    );
    let (changed, _) = node.reload("proxy.protocol = true").await;
    assert!(changed.contains(&"proxy.protocol"), "{changed:?}");
    assert!(
        said_to(&node, &announced)
            .await
            .starts_with("HTTP/1.1 200 ")
    );
}

#[test]
fn every_setting_that_a_reload_changes_has_a_test_here() {
    let tests = concat!(
        include_str!("reload.rs"),
        include_str!("reload/layers.rs"),
        include_str!("../cluster/rebalance.test.mjs")
    );
    let of_program = include_str!("../process/signals.rs");
    for setting in SETTINGS
        .iter()
        .filter(|it| it.changes_by == ChangesBy::Reload)
    {
        let is_named = |text: &str| text.contains(&format!("\"{}\"", setting.name));
        let is_put = of_program.contains(&format!("{} = ", setting.name));
        assert!(is_named(tests) || is_put, "{}", setting.name);
    }
}

#[tokio::test]
async fn flags_and_the_environment_count_more_than_a_file_that_changed() {
    let sources = Sources {
        environment: vec![("GATEWAY_LIMITS_CONNECTIONS".into(), "1".into())],
        ..Sources::default()
    };
    let node = Reloadable::with("environment", "", sources).await;
    let client = node.gateway.client().await;
    let file = "limits = { connections = 5, rooms_per_socket = 5 }";
    node.changes(file, &["limits.rooms_per_socket"]).await;
    assert_eq!(Polling::handshake(node.gateway.address()).await.status, 503);
    drop(client);
}

#[tokio::test]
async fn a_secret_is_read_again_from_the_file_that_holds_it() {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    let secret = folder.join("reload-secret");
    std::fs::write(&secret, KEY).unwrap();
    let settings = format!("api.key_file = {:?}", secret.display().to_string());
    let node = Reloadable::start("secret", &settings).await;
    let new = "a new key that only tests know";
    std::fs::write(&secret, new).unwrap();
    let answer = node.call("POST /api/v1/reload", KEY, &json!({})).await;
    assert_eq!(answer.status, 200);
    assert!(answer.body.contains("api.key") && !answer.body.contains("tests know"));
    let status = async |key: &str| {
        node.call("GET /api/v1/nodes", key, &Value::Null)
            .await
            .status
    };
    assert_eq!((status(KEY).await, status(new).await), (401, 200));
}

#[tokio::test]
async fn reloads_at_the_same_time_are_done_one_after_the_other() {
    let node = Reloadable::start("together", "").await;
    write(&node.file, "limits.connections = 5");
    let reloads = node.running().reloads();
    let asked = (0..50).map(|_| {
        let reloads = reloads.clone();
        async move { reloads.reload().await.unwrap() }
    });
    let asked: Vec<_> = asked.map(tokio::spawn).collect();
    let mut changes = 0;
    for reload in asked {
        changes += usize::from(!reload.await.unwrap().changed.is_empty());
    }
    // Those that waited together share one answer.
    assert!(changes >= 1);
    let applied = r#"gateway_config_reloads_total{result="applied"}"#;
    assert_eq!(node.gateway.metric(applied).await, 1.0);
}

#[tokio::test]
async fn a_draining_node_reloads() {
    let node = Reloadable::start("drain", "").await;
    let (client, _) = node.gateway.client().await;
    let settings = "limits.rooms_per_socket = 0";
    node.changes(settings, &["limits.rooms_per_socket"]).await;
    let drained = request(node.gateway.internal_address(), "POST /drain", "").await;
    assert_eq!(drained.status, 202);
    node.changes("", &["limits.rooms_per_socket"]).await;
    drop(client);
}

#[tokio::test]
async fn a_node_without_sources_says_so() {
    let gateway = TestGateway::start(Server::new(config())).await;
    let outcome = gateway.running().reload().await;
    assert_eq!(outcome, Err(ReloadError::NoSources));
}
