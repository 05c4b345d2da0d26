//! Who comes and goes, as a backend hears it, and as `GET presence` says it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use adapter::NodeId;
use adapter::memory::Cluster;
use gateway::{Config, Server};
use serde_json::{Value, json};

use crate::support::{Backend, TestGateway, WebSocket, request_with, token, until};
use crate::traces::{KEY, settings};

const SECRET: &str = "a secret that only tests know";

const ROUTES: &str = "routes = [\"/* connect nowhere\", \"/* disconnect nowhere\", \"/* join relay\", \"/* leave relay\"]";

fn config(backend: &Backend, more: &str) -> Config {
    let mut config = settings();
    let url = backend.url();
    let toml = format!(
        "[backend]\nurl = \"{url}\"\nsecret = \"{SECRET}\"\nretries = 0\n{ROUTES}\n[presence]\n{more}\n"
    );
    let read = Config::from_toml(&toml).unwrap();
    (config.backend, config.presence) = (read.backend, read.presence);
    config.namespaces = Config::from_toml("namespaces = [\"/*\"]")
        .unwrap()
        .namespaces;
    config
}

async fn hearing() -> Backend {
    Backend::start(|_| (200, Value::Null)).await
}

async fn user(gateway: &TestGateway, user: &str, namespace: &str) -> WebSocket {
    let claims = json!({"sub": user, "exp": 4_000_000_000_u64});
    let auth = json!({"token": token(SECRET, &claims)});
    let mut client = gateway.websocket().await;
    let part = if namespace == "/" {
        String::new()
    } else {
        format!("{namespace},")
    };
    client.send(&format!("40{part}{auth}")).await;
    let answer = client.answer().await;
    assert!(answer.starts_with(&format!("40{part}{{")), "{answer}");
    client
}

/// What a backend was told, each of it once.
fn told(backend: &Backend) -> Vec<Value> {
    let mut events = Vec::new();
    for call in backend.calls() {
        assert_eq!(
            (&call["type"], &call["version"]),
            (&json!("presence"), &json!(1))
        );
        assert!(call["node"].is_string());
        assert_eq!(call["id"], call["events"][0]["id"]);
        for event in call["events"].as_array().unwrap() {
            if !events.contains(event) {
                events.push(event.clone());
            }
        }
    }
    events
}

/// Events by their names, and of whom.
fn names(backend: &Backend) -> Vec<String> {
    let events = told(backend);
    let text = |it: &Value| it.as_str().unwrap_or_default().to_owned();
    let line = |it: &Value| {
        let parts = ["event", "namespace", "user", "room"].map(|name| text(&it[name]));
        parts.join(" ").trim().to_owned()
    };
    events.iter().map(line).collect()
}

async fn hears(backend: &Backend, expected: &[&str]) {
    until(async || names(backend).len() >= expected.len()).await;
    assert_eq!(names(backend), expected);
}

async fn presence(gateway: &TestGateway, query: &str) -> Value {
    let headers = format!("Authorization: Bearer {KEY}\r\n");
    let head = format!("GET /api/v1/presence{query}");
    let answer = request_with(gateway.internal_address(), &head, &headers, "").await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    serde_json::from_str(&answer.body).unwrap()
}

#[tokio::test]
async fn a_backend_hears_of_first_and_last_connections_in_each_namespace() {
    let backend = hearing().await;
    let config = config(&backend, "users = true\ngrace = \"0s\"");
    let gateway = TestGateway::start(Server::new(config)).await;
    let first = user(&gateway, "ann", "/").await;
    let second = user(&gateway, "ann", "/").await;
    hears(&backend, &["reset", "user_online / ann"]).await;
    let elsewhere = user(&gateway, "ann", "/a").await;
    let bob = user(&gateway, "bob", "/").await;
    hears(
        &backend,
        &[
            "reset",
            "user_online / ann",
            "user_online /a ann",
            "user_online / bob",
        ],
    )
    .await;
    until(async || presence(&gateway, "").await["socket_count"] == 3).await;
    let page = presence(&gateway, "").await;
    let users = json!([{"user": "ann", "sockets": 2}, {"user": "bob", "sockets": 1}]);
    assert_eq!((&page["users"], &page["user_count"]), (&users, &json!(2)));
    assert_eq!(
        (&page["anonymous"], &page["next"]),
        (&json!(0), &Value::Null)
    );
    let page = presence(&gateway, "?limit=1").await;
    assert_eq!(
        (page["users"][0]["user"].clone(), page["next"].clone()),
        (json!("ann"), json!("ann"))
    );
    let page = presence(&gateway, "?limit=1&cursor=ann").await;
    assert_eq!(
        (page["users"][0]["user"].clone(), page["next"].clone()),
        (json!("bob"), Value::Null)
    );
    let page = presence(&gateway, "?counts=true&namespace=/a").await;
    assert_eq!(
        (page["users"].clone(), page["user_count"].clone()),
        (json!([]), json!(1))
    );
    drop((first, bob));
    hears(
        &backend,
        &[
            "reset",
            "user_online / ann",
            "user_online /a ann",
            "user_online / bob",
            "user_offline / bob",
        ],
    )
    .await;
    until(async || presence(&gateway, "").await["users"][0]["sockets"] == 1).await;
    drop((second, elsewhere));
    until(async || names(&backend).len() == 7).await;
    let numbers = told(&backend)
        .iter()
        .map(|it| it["number"].as_u64().unwrap())
        .collect::<Vec<_>>();
    assert_eq!(numbers, [1, 2, 3, 4, 5, 6, 7]);
    gateway
        .until_metric("gateway_presence_subjects{kind=\"user\"}", 0.0)
        .await;
    gateway
        .until_metric("gateway_presence_events_total{event=\"user_offline\"}", 3.0)
        .await;
    gateway
        .until_metric("gateway_presence_told_total{to=\"webhook\"}", 7.0)
        .await;
}

#[tokio::test]
async fn a_backend_hears_of_rooms_that_a_pattern_names() {
    let backend = hearing().await;
    let config = config(&backend, "rooms = [\"chat:*\"]\ngrace = \"0s\"");
    let gateway = TestGateway::start(Server::new(config)).await;
    let mut ann = user(&gateway, "ann", "/").await;
    let mut bob = user(&gateway, "bob", "/").await;
    ann.send(r#"420["join",["chat:1","other"]]"#).await;
    ann.expect(r#"430[{"ok":true}]"#).await;
    hears(&backend, &["reset", "room_occupied /  chat:1"]).await;
    bob.send(r#"420["join","chat:1"]"#).await;
    bob.expect(r#"430[{"ok":true}]"#).await;
    ann.send(r#"421["leave","chat:1"]"#).await;
    ann.expect(r#"431[{"ok":true}]"#).await;
    gateway
        .until_metric("gateway_presence_subjects{kind=\"room\"}", 1.0)
        .await;
    drop(bob);
    hears(
        &backend,
        &["reset", "room_occupied /  chat:1", "room_vacated /  chat:1"],
    )
    .await;
    // Without `presence.users` the nodes are asked.
    assert_eq!(
        presence(&gateway, "").await["users"],
        json!([{"user": "ann", "sockets": 1}])
    );
}

#[tokio::test]
async fn who_comes_back_within_the_grace_was_never_away() {
    let backend = hearing().await;
    let config = config(&backend, "users = true\ngrace = \"1h\"");
    let gateway = TestGateway::start(Server::new(config)).await;
    let first = user(&gateway, "ann", "/").await;
    hears(&backend, &["reset", "user_online / ann"]).await;
    drop(first);
    until(async || presence(&gateway, "").await["users"][0]["sockets"] == 0).await;
    let _again = user(&gateway, "ann", "/").await;
    until(async || presence(&gateway, "").await["users"][0]["sockets"] == 1).await;
    let _marker = user(&gateway, "bob", "/").await;
    hears(
        &backend,
        &["reset", "user_online / ann", "user_online / bob"],
    )
    .await;
}

#[tokio::test]
async fn two_nodes_tell_together_and_one_that_ends_leaves_nobody_behind() {
    let backend = hearing().await;
    let cluster = Cluster::default();
    let start = async |name: &str| {
        let (cluster, id) = (cluster.clone(), NodeId::new(name).unwrap());
        let server = Server::new(config(&backend, "users = true\ngrace = \"0s\""));
        let join = move |tag, inbox| Arc::new(cluster.join(id, tag, inbox)) as _;
        TestGateway::start(server.adapter(join)).await
    };
    let (a, b) = (start("a").await, start("b").await);
    let (_one, _other) = (user(&a, "ann", "/").await, user(&b, "ann", "/").await);
    let _bob = user(&a, "bob", "/").await;
    until(async || presence(&b, "").await["socket_count"] == 3).await;
    a.stop_at_once().await;
    hears(
        &backend,
        &[
            "reset",
            "user_online / ann",
            "user_online / bob",
            "user_offline / bob",
        ],
    )
    .await;
    assert_eq!(
        presence(&b, "").await["users"],
        json!([{"user": "ann", "sockets": 1}])
    );
    // What the nodes kept together is lost.
    cluster.clear_presence();
    b.until_metric("gateway_presence_restarts_total", 1.0).await;
    until(async || presence(&b, "").await["socket_count"] == 1).await;
}

#[tokio::test]
async fn what_a_backend_refuses_is_counted_and_what_it_cannot_take_comes_again() {
    let status = Arc::new(AtomicU64::new(400));
    let answers = Arc::clone(&status);
    let backend =
        Backend::start(move |_| (answers.load(Ordering::Relaxed) as u16, Value::Null)).await;
    let config = config(&backend, "users = true\ngrace = \"0s\"");
    let gateway = TestGateway::start(Server::new(config)).await;
    gateway
        .until_metric("gateway_presence_refused_total", 1.0)
        .await;
    status.store(500, Ordering::Relaxed);
    let _ann = user(&gateway, "ann", "/").await;
    gateway
        .until_metric("gateway_presence_waiting{to=\"webhook\"}", 1.0)
        .await;
    status.store(200, Ordering::Relaxed);
    gateway
        .until_metric("gateway_presence_told_total{to=\"webhook\"}", 1.0)
        .await;
    hears(&backend, &["reset", "user_online / ann"]).await;
    gateway
        .until_metric("gateway_presence_waiting{to=\"webhook\"}", 0.0)
        .await;
}

#[tokio::test]
async fn a_node_without_presence_has_none_of_it() {
    let gateway = TestGateway::start(Server::new(settings())).await;
    assert!(!gateway.metrics().await.contains("gateway_presence"));
    let _ann = user(&gateway, "ann", "/").await;
    assert_eq!(
        presence(&gateway, "").await["users"],
        json!([{"user": "ann", "sockets": 1}])
    );
}
