//! The end of a node.

use std::time::Duration;

use gateway::Server;

use crate::support::{TestGateway, config, request, until};

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
    assert_eq!(parked.polled().await.body, "1");
    stopping.await.unwrap();
}

#[tokio::test]
async fn a_stopping_node_is_not_ready_and_hands_out_what_waits() {
    let gateway = TestGateway::relay().await;
    let address = gateway.internal_address();
    assert_eq!(
        request(address, "GET /ready", "").await.body,
        r#"{"ready":true}"#
    );
    let mut client = gateway.polling().await;
    client.connect().await;
    gateway.gateway().of("/").emit("last words", ()).unwrap();
    let stopping = tokio::spawn(gateway.stop());
    until(async || request(address, "GET /ready", "").await.status == 503).await;
    let ready = request(address, "GET /ready", "").await;
    assert_eq!(ready.body, r#"{"ready":false,"reason":"stopping"}"#);
    assert_eq!(request(address, "GET /live", "").await.status, 200);
    assert_eq!(client.poll().await.body, r#"42["last words"]"#);
    assert_eq!(client.poll().await.body, "6\x1e1");
    stopping.await.unwrap();
}

#[tokio::test]
async fn sessions_are_closed_a_few_at_a_time() {
    let mut config = config();
    config.shutdown.drain = Duration::from_secs(600);
    let gateway = TestGateway::start(Server::new(config)).await;
    let handle = gateway.gateway().clone();
    let clients = gateway.clients(8).await;
    let stopping = tokio::spawn(gateway.stop());
    until(async || handle.connections() < 8).await;
    assert!(handle.connections() > 0);
    until(async || handle.connections() == 0).await;
    stopping.await.unwrap();
    drop(clients);
}
