//! Busy shards, where events gather for a moment.

use std::time::Duration;

use gateway::Server;

use crate::support::{TestGateway, WebSocket, config, until};

/// Enough clients that writing for all of them takes a shard a while.
const CLIENTS: usize = 200;

/// Packets that were queued for clients and writes that took them.
async fn packets_and_writes(gateway: &TestGateway) -> (f64, f64) {
    let packets = gateway.metric(r#"gateway_packets_sent_total{type="event"}"#);
    let writes = gateway.metric(r#"gateway_writes_total{transport="websocket"}"#);
    (packets.await, writes.await)
}

/// A node, a client that asks, and others.
async fn busy() -> (TestGateway, WebSocket, Vec<WebSocket>) {
    let mut config = config();
    config.websocket.coalesce = Duration::from_secs(1);
    let gateway = TestGateway::start(Server::new(config)).await;
    let (asking, _) = gateway.client().await;
    let others = gateway.clients(CLIENTS).await;
    (gateway, asking, others)
}

/// Emits with `emit`, one event after the other, until many went by a write that took others too. Each follows an
/// acknowledgement, so that it is handled in a turn of its own. Returns how many there were.
async fn emit_until_some_gather(
    gateway: &TestGateway,
    asking: &mut WebSocket,
    emit: impl Fn(usize),
) -> usize {
    let mut emitted = 0;
    until(async || {
        let before = packets_and_writes(gateway).await;
        for _ in 0..20 {
            emit(emitted);
            asking.send(r#"421["echo"]"#).await;
            while asking.next().await != "431[]" {}
            emitted += 1;
        }
        let after = packets_and_writes(gateway).await;
        (after.1 - before.1) < 0.7 * (after.0 - before.0)
    })
    .await;
    emitted
}

#[tokio::test]
async fn what_gathers_comes_whole_and_in_order() {
    let (gateway, mut asking, mut others) = busy().await;
    let all = gateway.gateway().of("/");
    let emit = |number| all.clone().emit("tick", (number,)).unwrap();
    let emitted = emit_until_some_gather(&gateway, &mut asking, emit).await;
    for client in &mut others {
        for number in 0..emitted {
            assert_eq!(client.next().await, format!(r#"42["tick",{number}]"#));
        }
    }
}

#[tokio::test]
async fn an_acknowledgement_takes_along_what_gathered_before_it() {
    let (gateway, mut asking, mut others) = busy().await;
    let all = gateway.gateway().of("/");
    let emit = |number| all.clone().emit("tick", (number,)).unwrap();
    let emitted = emit_until_some_gather(&gateway, &mut asking, emit).await;
    let mut received = vec![0; others.len()];
    for last in emitted..emitted + 20 {
        emit(last);
        for (client, received) in others.iter_mut().zip(&mut received).take(10) {
            client.send(r#"421["echo"]"#).await;
            loop {
                match client.next().await {
                    ack if ack == "431[]" => break,
                    tick => assert_eq!(tick, format!(r#"42["tick",{received}]"#)),
                }
                *received += 1;
            }
            assert_eq!(*received, last + 1);
        }
    }
}

#[tokio::test]
async fn a_volatile_event_joins_what_gathers() {
    let (gateway, mut asking, mut others) = busy().await;
    let all = gateway.gateway().of("/");
    let emit = |number| all.clone().volatile().emit("tick", (number,)).unwrap();
    let emitted = emit_until_some_gather(&gateway, &mut asking, emit).await;
    all.emit("end", ()).unwrap();
    let mut complete = 0;
    for client in &mut others {
        let mut received = 0;
        while client.next().await != r#"42["end"]"# {
            received += 1;
        }
        complete += usize::from(received == emitted);
    }
    // Those of the shard that answered each time. The other one may have dropped some that came to it in one turn.
    assert!(complete > CLIENTS / 4, "{complete}");
}
