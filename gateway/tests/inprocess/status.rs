//! The page at `/` of the internal port, and its figures.

use std::collections::HashSet;
use std::num::NonZeroUsize;
use std::time::Duration;

use adapter::NodeId;
use futures_util::future::join_all;
use gateway::config::InternalPage;
use gateway::{Config, Server};
use serde_json::{Value, json};

use crate::support::{Backend, Response, TestGateway, config, request, request_with, until};
use crate::traces::{KEY, ask, nodes, user};
use crate::users::{claims, done, shows};

const FIGURES: &str = "GET /status.json";

/// A room that somebody hopes will run.
const HOSTILE: &str = "</script><script>alert(1)</script><img src=x onerror=alert(2)>";

async fn get(gateway: &TestGateway, head: &str) -> Response {
    request(gateway.internal_address(), head, "").await
}

async fn figures(gateway: &TestGateway) -> Value {
    let answer = get(gateway, FIGURES).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    serde_json::from_str(&answer.body).unwrap()
}

fn names(figures: &Value) -> Vec<&Value> {
    let nodes = figures["nodes"].as_array().unwrap();
    nodes.iter().map(|node| &node["id"]).collect()
}

/// The entry of a list for this reason.
fn reason<'a>(figures: &'a Value, list: &str, reason: &str) -> &'a Value {
    let mut all = figures[list].as_array().unwrap().iter();
    let found = all.find(|it| it["reason"] == reason);
    found.unwrap_or_else(|| panic!("no {reason} in {}", figures[list]))
}

#[tokio::test]
async fn the_page_comes_with_a_strict_policy_and_is_kept_nowhere() {
    let gateway = TestGateway::relay().await;
    let page = get(&gateway, "GET /").await;
    assert_eq!(page.status, 200);
    assert!(page.body.starts_with("<!doctype html>"));
    let policy = page.header("content-security-policy").unwrap();
    for part in [
        "default-src 'none'",
        "script-src 'sha256-",
        "style-src 'sha256-",
    ] {
        assert!(policy.contains(part), "{policy}");
    }
    let figures = get(&gateway, FIGURES).await;
    for (answer, kind) in [
        (&page, "text/html; charset=utf-8"),
        (&figures, "application/json"),
    ] {
        for (name, value) in [
            ("content-type", kind),
            ("cache-control", "no-store"),
            ("x-content-type-options", "nosniff"),
            ("referrer-policy", "no-referrer"),
            ("cross-origin-resource-policy", "same-origin"),
        ] {
            assert_eq!(answer.header(name), Some(value), "{name}");
        }
    }
    assert_eq!(get(&gateway, "GET /?x=1").await.status, 200);
    assert_eq!(get(&gateway, "GET /status").await.status, 404);
}

#[tokio::test]
async fn it_is_to_be_read_only() {
    let gateway = TestGateway::relay().await;
    for path in ["/", "/status.json"] {
        for method in ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"] {
            let answer = get(&gateway, &format!("{method} {path}")).await;
            assert_eq!(answer.status, 405, "{method} {path}");
            assert_eq!(answer.header("allow"), Some("GET, HEAD"), "{method} {path}");
        }
        let mut connection = crate::support::Connection::open(gateway.internal_address()).await;
        connection.send(&format!("HEAD {path}"), "").await;
        let head = connection.head().await;
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        assert!(!head.contains("content-length: 0"), "{head}");
    }
    for (path, allowed) in [("/metrics", "GET, HEAD"), ("/drain", "POST, DELETE")] {
        let answer = get(&gateway, &format!("PUT {path}")).await;
        assert_eq!(
            (answer.status, answer.header("allow")),
            (405, Some(allowed))
        );
    }
}

#[tokio::test]
async fn pages_of_others_get_no_figures() {
    let gateway = TestGateway::relay().await;
    let address = gateway.internal_address();
    for (headers, code) in [
        ("Sec-Fetch-Site: cross-site\r\n", "foreign_origin"),
        ("Origin: https://evil.example\r\n", "foreign_origin"),
    ] {
        let answer = request_with(address, FIGURES, headers, "").await;
        assert_eq!(answer.status, 403, "{headers}");
        assert!(answer.body.contains(code), "{}", answer.body);
    }
    // A link from elsewhere may lead to the page.
    let link = request_with(address, "GET /", "Sec-Fetch-Site: cross-site\r\n", "").await;
    assert_eq!(link.status, 200);
    for path in ["/", "/status.json"] {
        let mut connection = crate::support::Connection::open(address).await;
        let rebound = format!("GET {path} HTTP/1.1\r\nHost: evil.example:3001\r\n\r\n");
        connection.write(rebound.as_bytes()).await;
        let answer = connection.response().await;
        assert_eq!(answer.status, 403, "{path}");
        assert!(answer.body.contains("internal_hosts"), "{}", answer.body);
    }
}

#[tokio::test]
async fn it_tells_of_all_nodes_their_connections_rooms_and_reasons() {
    let (_cluster, [a, b]) = nodes().await;
    let (mut ann, ann_id) = user(&a, "ann").await;
    let (mut bob, _) = user(&b, "bob").await;
    let (mut eve, _) = user(&b, "eve").await;
    for client in [&mut ann, &mut bob, &mut eve] {
        ask(client, 1, &json!(["join", [HOSTILE, "chat"]])).await;
    }
    ask(&mut eve, 2, &json!(["join", "alone"])).await;
    let mut polling = b.polling().await;
    polling.send(r#"40{"token":"no token"}"#).await;
    assert!(polling.next().await.starts_with("44"), "it is refused");
    let refused = request(b.address(), "GET /socket.io/?EIO=9&transport=polling", "").await;
    assert_eq!(refused.status, 400);
    let sids = [ann.sid.clone(), bob.sid.clone(), polling.sid.clone()];
    eve.vanish();
    until(async || b.gateway().connections() == 2).await;

    let answer = get(&a, FIGURES).await;
    for secret in sids
        .iter()
        .map(|it| &**it)
        .chain([KEY, &ann_id, r#""ann""#, "127.0.0.1"])
    {
        assert!(!answer.body.contains(secret), "{secret} in {}", answer.body);
    }
    let figures: Value = serde_json::from_str(&answer.body).unwrap();
    assert_eq!(names(&figures), ["a", "b"]);
    let [of_a, of_b] = [0, 1].map(|node| &figures["nodes"][node]);
    assert_eq!(of_a["self"], true);
    assert_eq!(of_b["self"], false);
    assert_eq!(
        of_a["transports"],
        json!({"polling": 0, "websocket": 1, "webtransport": 0})
    );
    assert_eq!(
        of_b["transports"],
        json!({"polling": 1, "websocket": 1, "webtransport": 0})
    );
    assert_eq!(of_b["connections"], 2);
    let rooms = json!([
        {"namespace": "/", "name": HOSTILE, "members": 2},
        {"namespace": "/", "name": "chat", "members": 2},
    ]);
    assert_eq!(figures["largest_rooms"], rooms);
    let closed = reason(&figures, "closed", "transport_close");
    assert_eq!(closed["count"], 1);
    assert!(closed["ago_ms"].as_u64().unwrap() < 60_000);
    for (list, name) in [
        ("refused", "unsupported_version"),
        ("tokens_refused", "malformed"),
    ] {
        let entry = reason(&figures, list, name);
        assert_eq!(entry["count"], 1, "{list}");
        assert!(entry["remedy"].as_str().unwrap().len() > 20, "{entry}");
    }
    assert_eq!(figures["ready"], json!({"ready": true}));
    assert_eq!(figures["redis"]["up"], true);
    assert_eq!(figures["rebalance"]["mean"], 1.5);
    for off in ["backends", "stream", "recovery", "drain"] {
        assert_eq!(figures[off], Value::Null, "{off}");
    }
}

#[tokio::test]
async fn nodes_that_do_not_answer_are_told_with_their_last_heartbeat() {
    let (cluster, [a, b]) = nodes().await;
    let (_ann, _) = user(&b, "ann").await;
    let id = NodeId::new("b").unwrap();
    until(async || figures(&a).await["nodes"][1]["connections"] == 1).await;
    cluster.kill(&id);
    until(async || figures(&a).await["nodes"][1]["answers"] == false).await;
    let silent = &figures(&a).await["nodes"][1];
    assert_eq!(silent["id"], "b");
    assert_eq!(silent["connections"], 1);
    cluster.forget(&id);
    until(async || names(&figures(&a).await) == ["a"]).await;
}

#[tokio::test]
async fn a_node_alone_says_what_is_off() {
    let gateway = TestGateway::relay().await;
    let figures = figures(&gateway).await;
    for off in [
        "redis",
        "backends",
        "stream",
        "recovery",
        "drain",
        "rebalance",
    ] {
        assert_eq!(figures[off], Value::Null, "{off}");
    }
    assert_eq!(figures["nodes"].as_array().unwrap().len(), 1);
    assert_eq!(figures["nodes"][0]["up"], true);
}

#[tokio::test]
async fn names_of_rooms_can_be_left_out_and_the_page_be_off() {
    let with = async |page| {
        let mut config = config();
        config.internal_page = page;
        TestGateway::start(Server::new(config)).await
    };
    let gateway = with(InternalPage::NoRooms).await;
    let (mut client, _) = gateway.client().await;
    ask(&mut client, 1, &json!(["join", "private matters"])).await;
    let answer = get(&gateway, FIGURES).await;
    assert_eq!(answer.status, 200);
    assert!(!answer.body.contains("private matters"), "{}", answer.body);
    let gateway = with(InternalPage::Off).await;
    for path in ["/", "/status.json"] {
        assert_eq!(get(&gateway, &format!("GET {path}")).await.status, 404);
    }
}

#[tokio::test]
async fn a_backend_and_a_drain_are_told_of() {
    let secret = "a secret that only tests know";
    let backend = Backend::start(|call| match call["event"].as_str() {
        Some("break") => (500, Value::Null),
        _ => (200, Value::Null),
    })
    .await;
    let mut config = config();
    let url = backend.url();
    let toml = format!(
        "[backend]\nurl = \"{url}?key=hidden\"\nsecret = \"{secret}\"\nretries = 0\n\
         breaker_failures = 1\n[recovery]\nwindow = \"1m\"\n"
    );
    let read = Config::from_toml(&toml).unwrap();
    (config.backend, config.recovery) = (read.backend, read.recovery);
    config.shutdown.drain = Duration::from_secs(600);
    let gateway = TestGateway::start(Server::new(config)).await;
    let (mut client, _) = gateway.client().await;
    let of_backend = async || figures(&gateway).await["backends"]["all"][0].clone();
    until(async || of_backend().await["answered_in_ms"].is_number()).await;
    assert_eq!(of_backend().await["breaker"], "closed");
    client.send(r#"421["break"]"#).await;
    until(async || of_backend().await["breaker"] == "open").await;
    let told = of_backend().await;
    assert_eq!(told["failure"], "the answer is 500 Internal Server Error");
    let text = figures(&gateway).await.to_string();
    for hidden in [secret, "hidden"] {
        assert!(!text.contains(hidden), "{hidden}: {text}");
    }
    assert!(figures(&gateway).await["recovery"]["results"].is_array());

    assert_eq!(get(&gateway, "POST /drain").await.status, 202);
    until(async || figures(&gateway).await["drain"]["remaining"].is_number()).await;
    let told = figures(&gateway).await;
    assert_eq!(told["drain"]["ends"], false);
    assert_eq!(told["nodes"][0]["draining"], true);
    assert_eq!(told["ready"]["reason"], "draining");
}

#[tokio::test]
async fn pages_that_are_open_share_the_figures_of_a_second() {
    let gateway = TestGateway::relay().await;
    assert_eq!(gateway.metric("gateway_top_watched").await, 0.0);
    get(&gateway, "GET /").await;
    assert_eq!(
        gateway.metric("gateway_top_watched").await,
        0.0,
        "only figures cost"
    );
    let asked = (0..100).map(|_| figures(&gateway));
    let answers: HashSet<String> = join_all(asked).await.iter().map(Value::to_string).collect();
    // The first is made for a second, and the next not before a second after.
    assert!(answers.len() <= 3, "{}", answers.len());
    assert_eq!(gateway.metric("gateway_top_watched").await, 1.0);
    gateway.until_metric("gateway_top_watched", 0.0).await;
}

#[tokio::test]
async fn users_and_tokens_that_are_kept_out_are_among_the_reasons() {
    let (_cluster, [a, b]) = nodes().await;
    done(&a, "block", json!({"user": "ann"})).await;
    done(&a, "revoke", json!({"jti": "one"})).await;
    for (user, token) in [("ann", "two"), ("bob", "one"), ("bob", "one")] {
        let claims = claims(user, json!({"jti": token}));
        let (_, answer) = shows(&b, &claims).await;
        assert!(answer.starts_with("44"), "{answer}");
    }
    let figures = figures(&a).await;
    for (name, count, remedy) in [
        ("blocked", 1, "/api/v1/blocks"),
        ("revoked", 2, "fresh token"),
    ] {
        let entry = reason(&figures, "users_refused", name);
        assert_eq!(entry["count"], count, "{entry}");
        assert!(entry["ago_ms"].as_u64().unwrap() < 60_000, "{entry}");
        assert!(
            entry["remedy"].as_str().unwrap().contains(remedy),
            "{entry}"
        );
    }
}

#[tokio::test]
async fn the_members_of_a_room_are_those_on_all_nodes() {
    let (_cluster, [a, b]) = nodes().await;
    let rooms: Vec<_> = (0..60).map(|number| format!("of b {number:02}")).collect();
    let mut clients = Vec::new();
    for name in ["ann", "bob", "eve"] {
        let (mut client, _) = user(&a, name).await;
        ask(&mut client, 1, &json!(["join", "everywhere"])).await;
        clients.push(client);
    }
    for name in ["joe", "sue"] {
        let (mut client, _) = user(&b, name).await;
        ask(&mut client, 1, &json!(["join", rooms])).await;
        clients.push(client);
    }
    // On b there are more than enough rooms that have more members.
    ask(&mut clients[4], 2, &json!(["join", "everywhere"])).await;
    for node in [&a, &b] {
        let figures = figures(node).await;
        let first = json!({"namespace": "/", "name": "everywhere", "members": 4});
        assert_eq!(figures["largest_rooms"][0], first);
        assert_eq!(figures["largest_rooms"].as_array().unwrap().len(), 20);
    }
}

#[tokio::test]
async fn a_shard_with_very_many_rooms_looks_at_some_in_each_turn() {
    const CLIENTS: usize = 101;
    const ROOMS: usize = 1000;
    let mut config = config();
    config.shards = NonZeroUsize::new(1).unwrap();
    let gateway = TestGateway::start(Server::new(config)).await;
    let mut clients = Vec::new();
    for number in 0..CLIENTS {
        let (mut client, _) = gateway.client().await;
        let rooms: Vec<_> = (1..ROOMS).map(|room| format!("{number} {room}")).collect();
        ask(&mut client, 1, &json!(["join", rooms])).await;
        ask(&mut client, 2, &json!(["join", "large"])).await;
        clients.push(client);
    }
    let all = CLIENTS * (ROOMS - 1) + 1;
    assert!(all > 100_000);
    let figures = figures(&gateway).await;
    let large = json!({"namespace": "/", "name": "large", "members": CLIENTS});
    assert_eq!(figures["largest_rooms"][0], large);
    let look = &figures["nodes"][0]["look"];
    let figure = |name: &str| look[name].as_u64().unwrap() as usize;
    assert_eq!(figure("rooms"), all);
    assert!(figure("longest") <= 1000, "{look}");
    assert!(figure("turns") > 100, "{look}");
    // Each room, each session and the namespace once; the table of sessions has some empty places.
    assert!(figure("looks") < all + 3 * CLIENTS, "{look}");
}
