//! An event for a room is mail for the shards that have members of it, and for no others.

use crate::support::{TestGateway, WebSocket};

const HANDLED: &str = r#"gateway_broadcasts_total{origin="local"}"#;

/// Clients of two shards in turn, with the ids of their sockets.
async fn clients(gateway: &TestGateway) -> Vec<(WebSocket, String)> {
    let mut clients = Vec::new();
    for _ in 0..4 {
        clients.push(gateway.client().await);
    }
    let shard = |place: usize| clients[place].1.as_bytes()[4];
    assert!(shard(0) == shard(2) && shard(1) == shard(3) && shard(0) != shard(1));
    clients
}

async fn ask(client: &mut WebSocket, event: &str, arguments: &str) {
    client.send(&format!(r#"421["{event}",{arguments}]"#)).await;
    client.expect(r#"431[{"ok":true}]"#).await;
}

#[tokio::test]
async fn a_shard_without_members_of_a_room_is_left_alone() {
    let gateway = TestGateway::relay().await;
    let mut clients = clients(&gateway).await;
    let far = clients[1].1.clone();
    let handled = async || gateway.metric(HANDLED).await;
    for place in [0, 2] {
        ask(&mut clients[place].0, "join", r#""room""#).await;
    }
    ask(&mut clients[0].0, "publish", r#""room","one""#).await;
    clients[2].0.expect(r#"42["one"]"#).await;
    assert_eq!(handled().await, 1.0);

    ask(&mut clients[1].0, "join", r#""room""#).await;
    ask(&mut clients[0].0, "publish", r#""room","two""#).await;
    for place in [1, 2] {
        clients[place].0.expect(r#"42["two"]"#).await;
    }
    gateway.until_metric(HANDLED, 3.0).await;

    ask(&mut clients[1].0, "leave", r#""room""#).await;
    ask(&mut clients[0].0, "publish", r#""room","three""#).await;
    clients[2].0.expect(r#"42["three"]"#).await;
    assert_eq!(handled().await, 4.0);

    // Its own room is where the socket is, and nobody joined it.
    ask(&mut clients[0].0, "publish", &format!(r#""{far}","four""#)).await;
    clients[1].0.expect(r#"42["four"]"#).await;
    gateway.until_metric(HANDLED, 6.0).await;

    // From outside of all shards.
    let all = gateway.gateway().of("/");
    all.clone().to("room").emit("five", ()).unwrap();
    for place in [0, 2] {
        clients[place].0.expect(r#"42["five"]"#).await;
    }
    assert_eq!(handled().await, 7.0);
    all.clone().to("nowhere").emit("nothing", ()).unwrap();
    all.emit("six", ()).unwrap();
    for (client, _) in &mut clients {
        client.expect(r#"42["six"]"#).await;
    }
    // It came behind everything else.
    assert_eq!(handled().await, 9.0);
}

#[tokio::test]
async fn who_was_made_to_join_gets_what_is_emitted_right_then() {
    let gateway = TestGateway::relay().await;
    let mut clients = clients(&gateway).await;
    let all = gateway.gateway().of("/");
    for round in 0..50 {
        let room = format!("room {round}");
        all.join([room.as_str()]);
        all.clone().to(room).emit("said", (round,)).unwrap();
    }
    for (client, _) in &mut clients {
        for round in 0..50 {
            client.expect(&format!(r#"42["said",{round}]"#)).await;
        }
    }
    // What is done by then is known: the shards are left alone again.
    let before = gateway.metric(HANDLED).await;
    all.clone().to("nowhere").emit("nothing", ()).unwrap();
    all.emit("end", ()).unwrap();
    for (client, _) in &mut clients {
        client.expect(r#"42["end"]"#).await;
    }
    assert_eq!(gateway.metric(HANDLED).await, before + 2.0);
}
