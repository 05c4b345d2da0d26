//! Users that are blocked, tokens that are revoked, and how many connections a user may have.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use adapter::NodeId;
use adapter::memory::Cluster;
use gateway::handlers::Handlers;
use gateway::{Config, Server};
use serde_json::{Value, json};
use tokio::sync::Notify;

use crate::support::{
    Backend, Frame, TestGateway, WebSocket, request, request_with, sid, token, until,
};
use crate::traces::{KEY, nodes, settings};

const SECRET: &str = "a secret that only tests know";

/// Of one node among others.
fn node(cluster: &Cluster, name: &str, config: Config) -> Server {
    let (cluster, id) = (cluster.clone(), NodeId::new(name).unwrap());
    Server::new(config).adapter(move |tag, inbox| Arc::new(cluster.join(id, tag, inbox)))
}

/// What a call of the API is answered: the status, and what it says.
async fn call(gateway: &TestGateway, path: &str, body: Value) -> (u16, Value) {
    let headers = format!("Authorization: Bearer {KEY}\r\nContent-Type: application/json\r\n");
    let head = format!("POST /api/v1/{path}");
    let address = gateway.internal_address();
    let answer = request_with(address, &head, &headers, &body.to_string()).await;
    (answer.status, serde_json::from_str(&answer.body).unwrap())
}

/// A call that does it.
pub(crate) async fn done(gateway: &TestGateway, path: &str, body: Value) -> Value {
    let (status, answer) = call(gateway, path, body).await;
    assert_eq!((status, &answer["ok"]), (200, &json!(true)), "{answer}");
    answer
}

async fn listed(gateway: &TestGateway, path: &str) -> Value {
    let headers = format!("Authorization: Bearer {KEY}\r\n");
    let head = format!("GET /api/v1/{path}");
    let answer = request_with(gateway.internal_address(), &head, &headers, "").await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    serde_json::from_str(&answer.body).unwrap()
}

pub(crate) fn claims(user: &str, more: Value) -> String {
    let mut claims = json!({"sub": user, "exp": 4_000_000_000_u64});
    let more = more.as_object().unwrap().clone();
    claims.as_object_mut().unwrap().extend(more);
    token(SECRET, &claims)
}

/// A client that shows a token, and what it is answered.
pub(crate) async fn shows(gateway: &TestGateway, token: &str) -> (WebSocket, String) {
    let mut client = gateway.websocket().await;
    client.send(&format!("40{}", json!({"token": token}))).await;
    let answer = client.answer().await;
    (client, answer)
}

async fn user(gateway: &TestGateway, user: &str) -> WebSocket {
    let (client, answer) = shows(gateway, &claims(user, json!({}))).await;
    assert!(answer.starts_with("40{"), "{answer}");
    client
}

/// What a client of this user is answered that may not connect.
async fn refusal(gateway: &TestGateway, user: &str) -> Value {
    let (_, answer) = shows(gateway, &claims(user, json!({}))).await;
    let error = answer
        .strip_prefix("44")
        .unwrap_or_else(|| panic!("{answer}"));
    serde_json::from_str(error).unwrap()
}

async fn may_connect(gateway: &TestGateway, name: &str) -> bool {
    let (_, answer) = shows(gateway, &claims(name, json!({}))).await;
    answer.starts_with("40{")
}

/// It is told that it is disconnected, and its session is closed.
async fn is_gone(mut client: WebSocket) {
    assert_eq!(client.answer().await, "41");
    assert_eq!(client.frame().await, Frame::Close(None));
}

async fn is_there(client: &mut WebSocket) {
    client.send("429[\"echo\"]").await;
    assert_eq!(client.answer().await, "439[]");
}

#[tokio::test]
async fn a_blocked_user_goes_on_every_node_before_the_answer_and_cannot_come_back() {
    let (_cluster, [a, b]) = nodes().await;
    let (here, there) = (user(&a, "ann").await, user(&b, "ann").await);
    let mut bob = user(&b, "bob").await;
    let answer = done(&a, "block", json!({"user": "ann", "reason": "spam"})).await;
    assert_eq!(answer["until"], Value::Null);
    for gateway in [&a, &b] {
        assert_eq!(
            gateway
                .metric("gateway_users_shut_out_total{reason=\"blocked\"}")
                .await,
            1.0
        );
        let refusal = refusal(gateway, "ann").await;
        assert_eq!(refusal["message"], "the user is blocked");
        assert_eq!(
            refusal["data"],
            json!({"code": "user_blocked", "reason": "spam"})
        );
        assert_eq!(
            gateway
                .metric("gateway_users_refused_total{reason=\"blocked\"}")
                .await,
            1.0
        );
        assert_eq!(gateway.metric("gateway_users_blocked").await, 1.0);
    }
    is_gone(here).await;
    is_gone(there).await;
    is_there(&mut bob).await;
    let series = "gateway_connections_closed_total{reason=\"blocked\",transport=\"websocket\"}";
    assert_eq!(b.metric(series).await, 1.0);
    done(&b, "unblock", json!({"user": "ann"})).await;
    for gateway in [&a, &b] {
        assert!(may_connect(gateway, "ann").await);
        assert_eq!(gateway.metric("gateway_users_blocked").await, 0.0);
    }
}

#[tokio::test]
async fn a_block_ends_by_itself_when_its_time_is_over() {
    let (_cluster, [a, b]) = nodes().await;
    let answer = done(&a, "block", json!({"user": 7, "for": "1s"})).await;
    assert!(answer["until"].as_str().unwrap().ends_with('Z'), "{answer}");
    until(async || may_connect(&b, "7").await).await;
    until(async || may_connect(&a, "7").await).await;
    assert_eq!(listed(&b, "blocks").await["blocks"], json!([]));
}

#[tokio::test]
async fn a_token_is_revoked_by_its_name() {
    let (_cluster, [a, b]) = nodes().await;
    let one = claims("ann", json!({"jti": "one"}));
    let two = claims("ann", json!({"jti": "two"}));
    let (first, _) = shows(&b, &one).await;
    let (mut second, _) = shows(&b, &two).await;
    done(&a, "revoke", json!({"jti": "one", "for": "1h"})).await;
    is_gone(first).await;
    is_there(&mut second).await;
    let (_, answer) = shows(&b, &one).await;
    assert!(answer.contains("\"code\":\"token_revoked\""), "{answer}");
    // It does not take the place of another one either.
    second.send(&format!("421{}", json!(["token", one]))).await;
    let answer = second.answer().await;
    assert!(answer.contains("token_revoked"), "{answer}");
    is_there(&mut second).await;
    assert_eq!(
        b.metric("gateway_tokens_refused_total{reason=\"revoked\"}")
            .await,
        1.0
    );
    let revocations = listed(&b, "revocations").await;
    assert_eq!(revocations["revocations"][0]["jti"], "one");
    done(&b, "unrevoke", json!({"jti": "one"})).await;
    assert!(shows(&a, &one).await.1.starts_with("40{"));
}

#[tokio::test]
async fn tokens_of_a_user_are_revoked_by_when_they_were_issued() {
    let (_cluster, [a, b]) = nodes().await;
    let issued = |at: u64| claims("ann", json!({"iat": at}));
    let (old, _) = shows(&b, &issued(1000)).await;
    let (mut new, _) = shows(&b, &issued(1001)).await;
    let (silent, _) = shows(&b, &claims("ann", json!({}))).await;
    let mut bob = user(&b, "bob").await;
    done(&a, "revoke", json!({"user": "ann", "issued_until": 1000})).await;
    is_gone(old).await;
    is_gone(silent).await;
    is_there(&mut new).await;
    is_there(&mut bob).await;
    // Without a time: all until now.
    done(&b, "revoke", json!({"user": "ann"})).await;
    is_gone(new).await;
    let (_, answer) = shows(&a, &issued(1001)).await;
    assert!(answer.contains("token_revoked"), "{answer}");
    assert!(shows(&a, &issued(4_000_000_000)).await.1.starts_with("40{"));
}

#[tokio::test]
async fn a_node_that_does_not_confirm_is_named_and_the_answer_is_no_ok() {
    let cluster = Cluster::default();
    let mut config = settings();
    config.cluster.request_timeout = Duration::from_millis(300);
    let a = TestGateway::start(node(&cluster, "a", config.clone())).await;
    let b = TestGateway::start(node(&cluster, "b", config)).await;
    let id = NodeId::new("b").unwrap();
    cluster.drop_answers(&id, true);
    let (status, answer) = call(&a, "block", json!({"user": "ann"})).await;
    assert_eq!(
        (status, &answer["error"]["code"]),
        (503, &json!("not_everywhere"))
    );
    let message = answer["error"]["message"].as_str().unwrap();
    assert!(message.contains(": b;"), "{message}");
    // What holds, holds.
    assert_eq!(refusal(&a, "ann").await["data"]["code"], "user_blocked");
    cluster.drop_answers(&id, false);
    done(&a, "block", json!({"user": "ann"})).await;
    // One that hears nothing follows when it hears the others again.
    cluster.kill(&id);
    let (status, _) = call(&a, "block", json!({"user": "bob"})).await;
    assert_eq!(status, 503);
    drop(b);
}

#[tokio::test]
async fn without_the_store_nothing_is_changed_and_the_answer_says_so() {
    let (cluster, [a, b]) = nodes().await;
    cluster.set_records_away(true);
    let (status, answer) = call(&a, "block", json!({"user": "ann"})).await;
    assert_eq!(
        (status, &answer["error"]["code"]),
        (503, &json!("unavailable")),
        "{answer}"
    );
    assert!(may_connect(&a, "ann").await && may_connect(&b, "ann").await);
    cluster.set_records_away(false);
    done(&a, "block", json!({"user": "ann"})).await;
    assert!(!may_connect(&b, "ann").await);
}

#[tokio::test]
async fn a_node_that_comes_later_is_not_ready_before_it_knows_who_is_blocked() {
    let (cluster, [a, _b]) = nodes().await;
    done(&a, "block", json!({"user": "ann"})).await;
    cluster.set_records_away(true);
    let late = TestGateway::start(node(&cluster, "c", settings())).await;
    let ready = async || request(late.internal_address(), "GET /ready", "").await;
    let answer = ready().await;
    assert_eq!(answer.status, 503);
    assert!(
        answer.body.contains("\"reason\":\"users\""),
        "{}",
        answer.body
    );
    let in_step = "gateway_users_in_step";
    assert_eq!(late.metric(in_step).await, 0.0);
    a.until_metric(in_step, 0.0).await;
    // It is there, and its clients go when the node learns of it.
    let early = user(&late, "ann").await;
    cluster.set_records_away(false);
    is_gone(early).await;
    until(async || ready().await.status == 200).await;
    assert!(!may_connect(&late, "ann").await);
    for node in [&a, &late] {
        node.until_metric(in_step, 1.0).await;
        assert_eq!(node.metric("gateway_users_records").await, 1.0);
    }
}

#[tokio::test]
async fn what_the_store_loses_is_written_again() {
    let (cluster, [a, b]) = nodes().await;
    done(&a, "block", json!({"user": "ann"})).await;
    done(&a, "revoke", json!({"jti": "one"})).await;
    cluster.clear_records();
    until(async || {
        let restored = "gateway_users_restored_total";
        a.metric(restored).await + b.metric(restored).await >= 2.0
    })
    .await;
    drop((a, b));
    let late = TestGateway::start(node(&cluster, "c", settings())).await;
    assert!(!may_connect(&late, "ann").await);
    assert_eq!(late.metric("gateway_tokens_revoked").await, 1.0);
}

#[tokio::test]
async fn a_node_alone_keeps_users_out_too() {
    let gateway = TestGateway::start(Server::new(settings())).await;
    let ann = user(&gateway, "ann").await;
    done(&gateway, "block", json!({"user": "ann", "for": "1h"})).await;
    is_gone(ann).await;
    let refusal = refusal(&gateway, "ann").await;
    assert!(refusal["data"]["until"].is_string(), "{refusal}");
    assert_eq!(gateway.metric("gateway_users_in_step").await, 1.0);
    // What is lifted is remembered.
    done(&gateway, "unblock", json!({"user": "ann"})).await;
    for (series, value) in [
        ("gateway_users_blocked", 0.0),
        ("gateway_users_records", 1.0),
    ] {
        assert_eq!(gateway.metric(series).await, value, "{series}");
    }
}

#[tokio::test]
async fn lists_come_in_pages_and_odd_calls_are_refused() {
    let gateway = TestGateway::start(Server::new(settings())).await;
    for name in ["ann", "bob", "eve"] {
        done(&gateway, "block", json!({"user": name})).await;
    }
    let page = listed(&gateway, "blocks?limit=2").await;
    assert_eq!(page["blocks"][1]["user"], "bob");
    let next = page["next"].as_str().unwrap();
    let page = listed(&gateway, &format!("blocks?limit=2&cursor={next}")).await;
    assert_eq!(page["blocks"][0]["user"], "eve");
    assert_eq!(page["next"], Value::Null);
    for (path, body) in [
        ("block", json!({})),
        ("block", json!({"user": ""})),
        ("block", json!({"user": "ann", "for": "0s"})),
        ("block", json!({"user": "ann", "for": "4000d"})),
        ("block", json!({"user": "ann", "reason": "x".repeat(201)})),
        ("unblock", json!({"user": "ann", "for": "1s"})),
        ("revoke", json!({})),
        ("revoke", json!({"jti": "a", "user": "b"})),
        ("revoke", json!({"jti": "a", "issued_until": 1})),
        ("revoke", json!({"user": "a", "issued_until": -1})),
        ("revoke", json!({"jti": "x".repeat(257)})),
        ("unrevoke", json!({})),
    ] {
        let (status, answer) = call(&gateway, path, body.clone()).await;
        assert_eq!(status, 400, "{path} {body}: {answer}");
    }
}

/// With webhooks and without tokens.
async fn with_backend(backend: &Backend, more: &str) -> TestGateway {
    let mut config = settings();
    let toml = format!(
        "{more}\n[backend]\nurl = \"{}\"\nsecret = \"{SECRET}\"",
        backend.url()
    );
    let read = Config::from_toml(&toml).unwrap();
    config.auth = Config::default().auth;
    (config.backend, config.limits) = (read.backend, read.limits);
    TestGateway::start(Server::new(config)).await
}

#[tokio::test]
async fn who_is_blocked_while_the_backend_decides_is_refused() {
    let (asked, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (tells, waits) = (Arc::clone(&asked), Arc::clone(&go));
    let backend = Backend::serve(([127, 0, 0, 1], 0).into(), move |_, _| {
        let (tells, waits) = (Arc::clone(&tells), Arc::clone(&waits));
        Box::pin(async move {
            tells.notify_one();
            waits.notified().await;
            (200, json!({"user": "ann"}))
        })
    })
    .await;
    let gateway = with_backend(&backend, "").await;
    let mut client = gateway.websocket().await;
    client.send("40").await;
    asked.notified().await;
    done(&gateway, "block", json!({"user": "ann"})).await;
    go.notify_one();
    let answer = client.answer().await;
    assert!(
        answer.starts_with("44{\"message\":\"the user is blocked\""),
        "{answer}"
    );
}

#[tokio::test]
async fn no_backend_is_asked_about_a_blocked_user() {
    let backend = Backend::start(|_| (200, Value::Null)).await;
    let mut config = settings();
    let toml = format!(
        "[backend]\nurl = \"{}\"\nsecret = \"{SECRET}\"",
        backend.url()
    );
    config.backend = Config::from_toml(&toml).unwrap().backend;
    let gateway = TestGateway::start(Server::new(config)).await;
    done(&gateway, "block", json!({"user": "ann"})).await;
    assert_eq!(
        refusal(&gateway, "ann").await["data"]["code"],
        "user_blocked"
    );
    user(&gateway, "bob").await;
    let calls = backend.calls();
    assert_eq!(
        calls
            .iter()
            .filter(|call| call["type"] == "connect")
            .count(),
        1
    );
}

#[tokio::test]
async fn whoever_says_that_it_is_a_blocked_user_goes() {
    let is_slow = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&is_slow);
    let handlers = Handlers::new().namespace("/", move |main| {
        main.on("login", move |socket, _| {
            socket.set_user("ann");
            seen.store(socket.is_connected(), Ordering::Relaxed);
        })
    });
    let mut config = settings();
    config.auth = Config::default().auth;
    let gateway = TestGateway::start(Server::new(config).application(handlers)).await;
    done(&gateway, "block", json!({"user": "ann"})).await;
    let mut client = gateway.websocket().await;
    client.connect().await;
    client.send("42[\"login\"]").await;
    is_gone(client).await;
    assert!(!is_slow.load(Ordering::Relaxed));
}

#[tokio::test]
async fn a_user_has_as_many_connections_as_it_may() {
    let mut config = settings();
    config.namespaces = Config::from_toml("namespaces = [\"/\", \"/more\"]")
        .unwrap()
        .namespaces;
    config.limits = Config::from_toml("limits.connections_per_user = 2")
        .unwrap()
        .limits;
    let gateway = TestGateway::start(Server::new(config)).await;
    let mut first = user(&gateway, "ann").await;
    let second = user(&gateway, "ann").await;
    // Another namespace of a connection is no other connection.
    let auth = json!({"token": claims("ann", json!({}))});
    first.send(&format!("40/more,{auth}")).await;
    assert!(first.answer().await.starts_with("40/more,"));
    let refused = refusal(&gateway, "ann").await;
    assert_eq!(refused["data"]["code"], "too_many_connections");
    let series = "gateway_users_refused_total{reason=\"too_many_connections\"}";
    assert_eq!(gateway.metric(series).await, 1.0);
    assert!(may_connect(&gateway, "bob").await);
    // One that ends makes room, whatever way it ends.
    second.vanish();
    until(async || may_connect(&gateway, "ann").await).await;
    // One namespace of two is left: it counts still.
    until(async || gateway.gateway().connections() == 1).await;
    first.send("41").await;
    let third = user(&gateway, "ann").await;
    assert!(!may_connect(&gateway, "ann").await);
    done(&gateway, "block", json!({"user": "ann"})).await;
    until(async || gateway.gateway().connections() == 0).await;
    done(&gateway, "unblock", json!({"user": "ann"})).await;
    drop(third);
    let _again = [user(&gateway, "ann").await, user(&gateway, "ann").await];
}

#[tokio::test]
async fn the_limit_holds_for_users_that_a_backend_names() {
    let backend = Backend::start(|call| match call["type"].as_str() {
        Some("connect") => (200, json!({"user": "ann"})),
        _ => (200, Value::Null),
    })
    .await;
    let gateway = with_backend(&backend, "limits.connections_per_user = 1").await;
    let mut first = gateway.websocket().await;
    first.send("40").await;
    sid(&first.answer().await);
    let mut second = gateway.websocket().await;
    second.send("40").await;
    let answer = second.answer().await;
    assert!(answer.contains("too_many_connections"), "{answer}");
}
