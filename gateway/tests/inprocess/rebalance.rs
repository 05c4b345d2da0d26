//! Connections that a node lets go since others have too few: which ones, how it is told, and when it ends.

use gateway::Server;
use serde_json::Value;

use crate::support::{TestGateway, WebSocket, request_with, until};
use crate::traces::{KEY, nodes};

async fn ask(gateway: &TestGateway, method: &str, path: &str) -> Value {
    let headers = format!("Authorization: Bearer {KEY}\r\nContent-Type: application/json\r\n");
    let head = format!("{method} /api/v1/{path}");
    let body = if method == "POST" { "{}" } else { "" };
    let answer = request_with(gateway.internal_address(), &head, &headers, body).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    serde_json::from_str(&answer.body).unwrap()
}

async fn clients(gateway: &TestGateway, count: usize) -> Vec<WebSocket> {
    let mut clients = Vec::new();
    for _ in 0..count {
        clients.push(WebSocket::open(gateway.address()).await);
    }
    clients
}

#[tokio::test]
async fn who_has_too_many_lets_go_of_some_when_anybody_is_asked() {
    let (_cluster, [a, b]) = nodes().await;
    let _here = clients(&a, 60).await;
    let counted = async || {
        let nodes = ask(&b, "GET", "nodes").await;
        let nodes = nodes["nodes"].as_array().unwrap();
        nodes
            .iter()
            .any(|it| it["id"] == "a" && it["connections"] == 60)
    };
    until(counted).await;
    let asked = ask(&b, "POST", "rebalance").await;
    assert_eq!(asked["above"], serde_json::json!(["a"]), "{asked}");
    assert_eq!(asked["mean"], 30);
    assert_eq!(asked["draining"], serde_json::json!([]));
    // They do not come back, so that the rest is at most ten above the half.
    until(async || a.gateway().connections() <= 40).await;
    until(async || a.metric("gateway_rebalancing").await == 0.0).await;
    let left = a.gateway().connections();
    assert!(left >= 30, "{left}");
    let closed = "gateway_connections_closed_total{reason=\"rebalanced\",transport=\"websocket\"}";
    assert_eq!(a.metric(closed).await, (60 - left) as f64);
    // It counts once.
    let more = clients(&a, 60 - left).await;
    assert_eq!(a.gateway().connections(), 60);
    drop(more);
}

#[tokio::test]
async fn a_node_that_drains_is_told_of() {
    let (_cluster, [a, b]) = nodes().await;
    let _here = clients(&a, 30).await;
    let drained = request_with(b.internal_address(), "POST /drain", "", "").await;
    assert!(drained.status < 300, "{}", drained.status);
    let drains = async || {
        let nodes = ask(&a, "GET", "nodes").await;
        let nodes = nodes["nodes"].as_array().unwrap();
        nodes
            .iter()
            .any(|it| it["id"] == "b" && it["draining"] == true)
    };
    until(drains).await;
    let asked = ask(&a, "POST", "rebalance").await;
    assert_eq!(asked["draining"], serde_json::json!(["b"]));
}

#[tokio::test]
async fn a_node_that_is_alone_says_so() {
    let gateway = TestGateway::start(Server::new(crate::traces::settings())).await;
    let headers = format!("Authorization: Bearer {KEY}\r\nContent-Type: application/json\r\n");
    let address = gateway.internal_address();
    let answer = request_with(address, "POST /api/v1/rebalance", &headers, "{}").await;
    assert_eq!(answer.status, 404, "{}", answer.body);
    assert!(answer.body.contains("redis.url"), "{}", answer.body);
}
