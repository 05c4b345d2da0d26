//! What is allocated on the way of an event to a room: nothing more for spans that are not kept.

use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex};

use gateway::{Config, Server};

use crate::support::{TestGateway, WebSocket, config};

/// How often the event is emitted; of these the one with the fewest counts. Queues grow now and then.
const TIMES: usize = 50;

const MEMBERS: usize = 10;

/// The fewest allocations of an emit to a room, on the shard that publishes it and has all members.
async fn of_an_emit(settings: &str) -> u64 {
    let mut config = config();
    config.shards = NonZeroUsize::new(1).unwrap();
    config.otel = Config::from_toml(settings).unwrap().otel;
    let counts = Arc::<Mutex<Vec<u64>>>::default();
    let counted = Arc::clone(&counts);
    let handlers = gateway::handlers::Handlers::new().namespace("/", move |main| {
        let counted = Arc::clone(&counted);
        main.connected(|socket| socket.join(["room"]))
            .on("measure", move |socket, event| {
                let room = socket.gateway().of("/").to("room");
                let emit = || room.clone().emit("said", ("hello",)).unwrap();
                let found = allocation_counter::measure(emit);
                counted.lock().unwrap().push(found.count_total);
                event.ack(()).ok();
            })
    });
    let gateway = TestGateway::start(Server::new(config).application(handlers)).await;
    let mut clients = Vec::new();
    for _ in 0..MEMBERS {
        clients.push(gateway.client().await.0);
    }
    for _ in 0..TIMES {
        clients[0].send(r#"421["measure"]"#).await;
        for client in &mut clients {
            said(client).await;
        }
    }
    let counts = counts.lock().unwrap();
    assert_eq!(counts.len(), TIMES);
    counts.iter().copied().min().unwrap()
}

/// Takes the event, and the acknowledgement if it comes.
async fn said(client: &mut WebSocket) {
    while client.answer().await != r#"42["said","hello"]"# {}
}

#[tokio::test]
async fn a_span_that_is_not_kept_allocates_nothing() {
    let otel =
        |sample: &str| format!("[otel]\nendpoint = \"http://127.0.0.1:9\"\nsample = {sample}\n");
    let without = of_an_emit("").await;
    assert!(without > 0, "nothing was counted");
    assert_eq!(of_an_emit(&otel("0")).await, without);
    assert!(
        of_an_emit(&otel("1")).await > without,
        "the counter sees what spans take"
    );
}
