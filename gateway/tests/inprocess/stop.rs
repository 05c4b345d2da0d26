//! The end of a node.

use std::time::Duration;

use gateway::Server;

use crate::support::{
    Polling, Response, TestGateway, WebSocket, config, request, request_with, until,
};

fn assert_over(answer: &Response) {
    assert_eq!(answer.status, 400, "{answer:?}");
    assert_eq!(answer.body, r#"{"code":1,"message":"Session ID unknown"}"#);
}

#[tokio::test]
async fn clients_see_the_transport_close() {
    let gateway = TestGateway::relay().await;
    let mut websockets = gateway.clients(2).await;
    let mut parked = gateway.polling().await;
    parked.connect().await;
    parked.park().await;
    let stopping = tokio::spawn(gateway.stop());
    for websocket in &mut websockets {
        websocket.expect_close().await;
    }
    // Clients for Python and Rust would take a close packet for the end.
    assert_over(&parked.polled().await);
    stopping.await.unwrap();
}

#[tokio::test]
async fn a_stopping_node_is_not_ready() {
    let gateway = draining_over(Duration::from_secs(600)).await;
    let _client = gateway.websocket().await;
    let address = gateway.internal_address();
    assert_eq!(
        request(address, "GET /ready", "").await.body,
        r#"{"ready":true}"#
    );
    let stopping = tokio::spawn(gateway.stop());
    until(async || request(address, "GET /ready", "").await.status == 503).await;
    let ready = request(address, "GET /ready", "").await;
    assert_eq!(ready.body, r#"{"ready":false,"reason":"draining"}"#);
    assert_eq!(request(address, "GET /live", "").await.status, 200);
    stopping.abort();
}

#[tokio::test]
async fn a_stopping_node_hands_out_what_waits() {
    let gateway = TestGateway::relay().await;
    let mut client = gateway.polling().await;
    client.connect().await;
    gateway.gateway().of("/").emit("last words", ()).unwrap();
    let stopping = tokio::spawn(gateway.stop());
    assert_eq!(client.poll().await.body, r#"42["last words"]"#);
    assert_over(&client.poll().await);
    stopping.await.unwrap();
}

#[tokio::test]
async fn a_draining_node_serves_and_lets_in_and_says_that_it_is_not_ready() {
    let gateway = draining_over(Duration::from_secs(600)).await;
    let internal = gateway.internal_address();
    let mut old = gateway.clients(2).await;
    assert_eq!(gateway.metric("gateway_draining").await, 0.0);
    for _ in 0..2 {
        let drained = request(internal, "POST /drain", "").await;
        assert_eq!(drained.status, 202);
        assert_eq!(drained.body, r#"{"draining":true,"remaining":2}"#);
    }
    let ready = request(internal, "GET /ready", "").await;
    assert_eq!(ready.status, 503);
    assert_eq!(ready.body, r#"{"ready":false,"reason":"draining"}"#);
    assert_eq!(request(internal, "GET /live", "").await.status, 200);
    assert_eq!(request(internal, "GET /drain", "").await.status, 405);
    assert_eq!(gateway.metric("gateway_draining").await, 1.0);

    for client in &mut old {
        client.send(r#"421["echo",1]"#).await;
        client.expect("431[1]").await;
    }
    let handshake = Polling::handshake(gateway.address()).await;
    assert_eq!(handshake.status, 200);
    assert_eq!(handshake.header("connection"), Some("close"));
    gateway.websocket().await;
    let remaining = "gateway_drain_remaining_connections";
    assert!(gateway.metric(remaining).await >= 3.0);
    gateway.stop_at_once().await;
    for client in &mut old {
        client.expect_close().await;
    }
}

#[tokio::test]
async fn after_the_first_half_new_sessions_are_refused() {
    let gateway = draining_over(Duration::from_millis(200)).await;
    let mut client = gateway.websocket().await;
    let internal = gateway.internal_address();
    request(internal, "POST /drain", "").await;
    client.expect_close().await;
    until(async || gateway.gateway().connections() == 0).await;
    until(async || Polling::handshake(gateway.address()).await.status == 503).await;
    let refused = Polling::handshake(gateway.address()).await;
    assert_eq!(refused.body, r#"{"code":4,"message":"Draining"}"#);
    assert_eq!(refused.header("retry-after"), Some("1"));
    let refused = WebSocket::handshake(gateway.address(), "").await;
    assert_eq!(refused.err().expect("a refusal").status, 503);
    let counted = r#"gateway_handshakes_rejected_total{reason="draining"}"#;
    assert!(gateway.metric(counted).await >= 3.0);
    assert_eq!(request(internal, "GET /live", "").await.status, 200);
    gateway.stop().await;
}

#[tokio::test]
async fn sessions_are_closed_one_after_the_other() {
    let gateway = draining_over(Duration::from_secs(60)).await;
    let handle = gateway.gateway();
    let clients = gateway.clients(100).await;
    request(gateway.internal_address(), "POST /drain", "").await;
    until(async || handle.connections() < 100).await;
    assert!(handle.connections() > 0);
    gateway.stop_at_once().await;
    assert_eq!(handle.connections(), 0);
    drop(clients);
}

#[tokio::test]
async fn a_drain_that_was_asked_for_can_be_taken_back() {
    let gateway = draining_over(Duration::from_millis(200)).await;
    let internal = gateway.internal_address();
    let serving = r#"{"draining":false,"remaining":"#;
    let back = request(internal, "DELETE /drain", "").await;
    assert!(
        back.status == 200 && back.body.starts_with(serving),
        "{back:?}"
    );
    for _ in 0..2 {
        let mut client = gateway.websocket().await;
        request(internal, "POST /drain", "").await;
        client.expect_close().await;
        until(async || Polling::handshake(gateway.address()).await.status == 503).await;
        let back = request(internal, "DELETE /drain", "").await;
        assert!(
            back.status == 200 && back.body.starts_with(serving),
            "{back:?}"
        );
        assert_eq!(gateway.metric("gateway_draining").await, 0.0);
        assert_eq!(request(internal, "GET /ready", "").await.status, 200);
        let handshake = Polling::handshake(gateway.address()).await;
        assert_eq!(handshake.status, 200);
        assert_eq!(handshake.header("connection"), None);
        assert!(handshake.body.contains("websocket"), "{handshake:?}");
    }
    // Longer than the drain that was taken back would have let it live.
    let mut client = gateway.websocket().await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    client.connect().await;
    client.sync().await;
    gateway.stop_at_once().await;
}

#[tokio::test]
async fn a_draining_node_refuses_upgrades_and_offers_none() {
    let gateway = draining_over(Duration::from_secs(600)).await;
    let mut client = gateway.polling().await;
    client.connect().await;
    request(gateway.internal_address(), "POST /drain", "").await;
    let query = format!("&sid={}", client.sid);
    let refused = WebSocket::handshake(gateway.address(), &query).await;
    let refused = refused.err().expect("a refusal");
    assert_eq!((refused.status, &*refused.body), (503, "Draining"));
    client.send(r#"421["echo",1]"#).await;
    assert_eq!(client.next().await, "431[1]");
    let counted = r#"gateway_handshakes_rejected_total{reason="upgrade_draining"}"#;
    assert_eq!(gateway.metric(counted).await, 1.0);
    let handshake = Polling::handshake(gateway.address()).await;
    assert!(handshake.body.contains(r#""upgrades":[]"#), "{handshake:?}");
    gateway.stop_at_once().await;
}

#[tokio::test]
async fn web_pages_cannot_change_anything_at_the_internal_port() {
    let mut config = config();
    config.shutdown.drain = Duration::from_secs(600);
    config.api = gateway::Config::from_toml("api.key = \"0123456789abcdef\"")
        .unwrap()
        .api;
    let gateway = TestGateway::start(Server::new(config)).await;
    let internal = gateway.internal_address();
    let origin = "Origin: https://evil.example\r\n";
    let bearer = "Authorization: Bearer 0123456789abcdef\r\n";
    for (call, headers) in [
        ("POST /drain", origin.to_owned()),
        ("DELETE /drain", origin.to_owned()),
        ("POST /api/v1/emit", format!("{origin}{bearer}")),
        ("POST /drain", "Sec-Fetch-Site: cross-site\r\n".to_owned()),
    ] {
        let answer = request_with(internal, call, &headers, "").await;
        assert_eq!(answer.status, 403, "{call} {answer:?}");
        assert!(answer.body.contains("foreign_origin"), "{answer:?}");
    }
    let mut connection = crate::support::Connection::open(internal).await;
    let rebound = "POST /drain HTTP/1.1\r\nHost: evil.example:3001\r\nContent-Length: 0\r\n\r\n";
    connection.write(rebound.as_bytes()).await;
    let answer = connection.response().await;
    assert_eq!(answer.status, 403, "{answer:?}");
    assert!(answer.body.contains("foreign_host"), "{answer:?}");
    assert_eq!(gateway.metric("gateway_draining").await, 0.0);
    let counted = |reason: &str| format!("gateway_internal_refused_total{{reason=\"{reason}\"}}");
    assert_eq!(gateway.metric(&counted("foreign_origin")).await, 4.0);
    assert_eq!(gateway.metric(&counted("foreign_host")).await, 1.0);
    // Reading is free.
    let live = request_with(internal, "GET /live", origin, "").await;
    assert_eq!(live.status, 200);
    let emitted = r#"{"event":"x"}"#;
    let emit = request_with(internal, "POST /api/v1/emit", bearer, emitted).await;
    assert_eq!(emit.status, 200, "{emit:?}");
    gateway.stop_at_once().await;
}

async fn draining_over(time: Duration) -> TestGateway {
    let mut config = config();
    config.shutdown.drain = time;
    TestGateway::start(Server::new(config)).await
}
