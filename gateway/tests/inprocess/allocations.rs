//! What is allocated on the way of an event to a room: little, and nothing more for spans that are not kept.

use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex};

use gateway::{Config, Server};

use crate::support::{TestGateway, WebSocket, config};

/// How often the event is emitted; of these the one with the fewest counts. Queues grow now and then.
const TIMES: usize = 50;

/// Of an event that a socket emits to a room, on a node alone: who is selected, the event as it goes out, and what
/// outboxes and shards share of it.
const MOST: u64 = 15;

/// The fewest allocations of an emit to a room, on the shard that publishes it and has all members.
async fn of_an_emit(settings: &str, members: usize) -> u64 {
    let mut config = config();
    config.shards = NonZeroUsize::new(1).unwrap();
    config.otel = Config::from_toml(settings).unwrap().otel;
    let counts = Arc::<Mutex<Vec<u64>>>::default();
    let counted = Arc::clone(&counts);
    let handlers = gateway::handlers::Handlers::new().namespace("/", move |main| {
        let counted = Arc::clone(&counted);
        main.connected(|socket| socket.join(["room"]))
            .on("measure", move |socket, event| {
                let emit = || socket.to("room").emit("said", ("hello",)).unwrap();
                let found = allocation_counter::measure(emit);
                counted.lock().unwrap().push(found.count_total);
                event.ack(()).ok();
            })
    });
    let gateway = TestGateway::start(Server::new(config).application(handlers)).await;
    let mut clients = Vec::new();
    for _ in 0..=members {
        clients.push(gateway.client().await.0);
    }
    for _ in 0..TIMES {
        clients[0].send(r#"421["measure"]"#).await;
        while clients[0].answer().await != "431[]" {}
        for client in &mut clients[1..] {
            said(client).await;
        }
    }
    let counts = counts.lock().unwrap();
    assert_eq!(counts.len(), TIMES);
    counts.iter().copied().min().unwrap()
}

/// Takes the event.
async fn said(client: &mut WebSocket) {
    while client.answer().await != r#"42["said","hello"]"# {}
}

#[tokio::test]
async fn a_span_that_is_not_kept_allocates_nothing() {
    let otel =
        |sample: &str| format!("[otel]\nendpoint = \"http://127.0.0.1:9\"\nsample = {sample}\n");
    let without = of_an_emit("", 10).await;
    assert!(without > 0, "nothing was counted");
    assert_eq!(of_an_emit(&otel("0"), 10).await, without);
    assert!(
        of_an_emit(&otel("1"), 10).await > without,
        "the counter sees what spans take"
    );
}

#[tokio::test]
async fn a_small_room_takes_few_allocations_and_members_take_none() {
    let one = of_an_emit("", 1).await;
    assert!((1..=MOST).contains(&one), "{one} allocations");
    assert_eq!(of_an_emit("", 10).await, one);
}
