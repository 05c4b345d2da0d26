//! A join that somebody is told of is in force: nothing is missed that any node emits from then on.

use std::time::Duration;

use adapter::memory::Cluster;
use gateway::handlers::{Handlers, Namespace};
use gateway::{Config, Server};
use serde_json::{Value, json};

use crate::support::{
    Backend, TestGateway, WebSocket, config, far, request_with, sid, token, until,
};

/// How long a subscription takes on a node that is far from the others.
const DELAY: Duration = Duration::from_millis(300);

/// What is not given is not waited for much longer than this.
const SHORT: Duration = Duration::from_millis(100);

const SECRET: &str = "a secret that only tests know";
const KEY: &str = "a key that only tests know";

/// A node in the midst of the cluster, and one whose subscriptions take time.
async fn pair(far: Server) -> TestGateway {
    TestGateway::start(far).await
}

async fn near(cluster: &Cluster, name: &str) -> TestGateway {
    let toml = format!("[api]\nkey = \"{KEY}\"");
    let mut config = config();
    config.api = Config::from_toml(&toml).unwrap().api;
    config.cluster.request_timeout = Duration::from_secs(20);
    TestGateway::start(far(cluster, name, Some(Duration::ZERO), config)).await
}

async fn post(gateway: &TestGateway, name: &str, body: Value) -> Value {
    let head = format!("POST /api/v1/{name}");
    let key = format!("Authorization: Bearer {KEY}\r\n");
    let address = gateway.internal_address();
    let response = request_with(address, &head, &key, &body.to_string()).await;
    assert_eq!(response.status, 200, "{}", response.body);
    serde_json::from_str(&response.body).unwrap()
}

/// The client was told that it is connected; what `from` emits to `room` now arrives.
async fn expect_from(from: &TestGateway, room: &str, client: &mut WebSocket) {
    from.gateway().of("/").to(room).emit("hi", (room,)).unwrap();
    client.expect(&format!(r#"42["hi","{room}"]"#)).await;
}

#[tokio::test]
async fn a_tokens_user_is_reached_as_soon_as_its_client_is_told_that_it_is_connected() {
    let cluster = Cluster::default();
    let here = near(&cluster, "here").await;
    let mut config = config();
    let toml = format!("[auth]\njwt_secret = \"{SECRET}\"");
    config.auth = Config::from_toml(&toml).unwrap().auth;
    let there = pair(far(&cluster, "there", Some(DELAY), config)).await;
    let claims = json!({"sub": "ann", "exp": 4_000_000_000_u64});
    let token = token(SECRET, &claims);
    let mut client = there.websocket().await;
    client.send(&format!("40{}", json!({"token": token}))).await;
    sid(&client.answer().await);
    expect_from(&here, "$user:ann", &mut client).await;
}

#[tokio::test]
async fn a_backends_user_and_rooms_are_in_force_as_soon_as_the_client_is_told() {
    let cluster = Cluster::default();
    let here = near(&cluster, "here").await;
    let backend = Backend::start(|_| {
        let actions = json!([{"join": ["lobby", "news"]}]);
        (200, json!({"user": "ann", "actions": actions}))
    })
    .await;
    let mut config = config();
    let url = backend.url();
    let toml = format!("[backend]\nurl = \"{url}\"\nsecret = \"{SECRET}\"");
    config.backend = Config::from_toml(&toml).unwrap().backend;
    let there = pair(far(&cluster, "there", Some(DELAY), config)).await;
    let (mut client, id) = there.client().await;
    for room in ["$user:ann", "lobby", "news", &id] {
        expect_from(&here, room, &mut client).await;
    }
}

#[tokio::test]
async fn a_join_of_a_reply_that_is_not_in_force_is_not_acknowledged() {
    let cluster = Cluster::default();
    let backend = Backend::start(|call| match call["type"].as_str() {
        Some("event") => {
            let actions = json!([{"join": ["a"]}, {"join": ["b"]}]);
            (200, json!({"ack": [{"ok": true}], "actions": actions}))
        }
        _ => (200, json!({})),
    })
    .await;
    let mut config = config();
    let url = backend.url();
    let toml = format!("[backend]\nurl = \"{url}\"\nsecret = \"{SECRET}\"");
    config.backend = Config::from_toml(&toml).unwrap().backend;
    let there = pair(far(&cluster, "there", None, config)).await;
    let (mut client, _) = there.client().await;
    client.send(r#"421["enter"]"#).await;
    let answer = client.next().await;
    assert!(
        answer.starts_with(r#"431[{"error":{"code":"unavailable""#),
        "{answer}"
    );
}

fn handlers(cluster: &Cluster, define: impl FnOnce(Namespace) -> Namespace) -> Server {
    let handlers = Handlers::new().namespace("/", define);
    far(cluster, "there", Some(DELAY), config()).application(handlers)
}

#[tokio::test]
async fn rooms_that_handlers_join_at_the_connect_are_in_force_as_soon_as_the_client_is_told() {
    let cluster = Cluster::default();
    let here = near(&cluster, "here").await;
    let there = pair(handlers(&cluster, |main| {
        main.middleware(|socket| {
            socket.join(["before"]);
            Ok(())
        })
        .connected(|socket| {
            socket.emit("welcome", (1,)).unwrap();
            socket.join(["after"]);
        })
    }))
    .await;
    let (mut client, _) = there.client().await;
    client.expect(r#"42["welcome",1]"#).await;
    for room in ["before", "after"] {
        expect_from(&here, room, &mut client).await;
    }
}

#[tokio::test]
async fn a_client_that_is_disconnected_before_it_is_told_is_told_both() {
    let cluster = Cluster::default();
    let there = pair(handlers(&cluster, |main| {
        main.connected(|socket| {
            socket.emit("bye", ()).unwrap();
            socket.disconnect(false);
        })
    }))
    .await;
    let (mut client, _) = there.client().await;
    client.expect(r#"42["bye"]"#).await;
    client.expect("41").await;
    assert_eq!(there.metric(r#"gateway_sockets{namespace="/"}"#).await, 0.0);
}

#[tokio::test]
async fn a_join_by_the_api_is_answered_when_it_is_in_force_on_the_members_nodes() {
    let cluster = Cluster::default();
    let (here, other) = (near(&cluster, "here").await, near(&cluster, "other").await);
    let there = pair(far(&cluster, "there", Some(DELAY), config())).await;
    let (mut client, id) = there.client().await;
    let select = json!({"sockets": [id]});
    let joined = post(&here, "join", json!({"select": select, "rooms": ["r"]})).await;
    assert_eq!(joined, json!({"ok": true}));
    expect_from(&other, "r", &mut client).await;

    let calls = json!([
        {"call": "join", "select": select, "rooms": ["s"]},
        {"call": "emit", "rooms": ["s"], "event": "first"},
        {"call": "join", "select": select, "rooms": ["t"]},
        {"call": "leave", "select": select, "rooms": ["r"]},
    ]);
    let done = json!({"ok": true});
    let batch = post(&here, "batch", json!({"calls": calls})).await;
    let results = json!([done, {"ok": true}, done, done]);
    assert_eq!(batch, json!({"results": results}));
    client.expect(r#"42["first"]"#).await;
    other.gateway().of("/").to("r").emit("left", ()).unwrap();
    for room in ["s", "t"] {
        expect_from(&other, room, &mut client).await;
    }
    let gone = post(&here, "disconnect", json!({"select": select})).await;
    assert_eq!(gone, json!({"ok": true}));
    let sockets = there.gateway().of("/").local().fetch_sockets().await.found;
    assert_eq!(sockets.len(), 0);
}

#[tokio::test]
async fn a_join_that_does_not_come_into_force_names_the_node() {
    let cluster = Cluster::default();
    let mut quick = config();
    quick.cluster.request_timeout = SHORT;
    let toml = format!("[api]\nkey = \"{KEY}\"");
    quick.api = Config::from_toml(&toml).unwrap().api;
    let here = pair(far(&cluster, "here", None, quick.clone())).await;
    let there = pair(far(&cluster, "there", None, quick)).await;
    let (_client, id) = there.client().await;
    let body = json!({"select": {"sockets": [id]}, "rooms": ["r"]});
    let joined = post(&here, "join", body.clone()).await;
    assert_eq!(joined, json!({"ok": true, "missing_nodes": ["there"]}));
    // Where the members are is where it is missed: also on the node that is asked.
    assert_eq!(post(&there, "join", body).await, joined);
    // Nobody joins: nobody is missed.
    let nobody = json!({"select": {"user": "nobody"}, "rooms": ["r"]});
    let joined = post(&here, "join", nobody).await;
    assert_eq!(joined, json!({"ok": true}));
    let changes = r#"gateway_cluster_requests_total{result="partial",type="change"}"#;
    until(async || here.metric(changes).await == 1.0).await;
}
