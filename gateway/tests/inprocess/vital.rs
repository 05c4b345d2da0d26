//! What a node cannot be without.

use gateway::handlers::Handlers;
use gateway::{Running, Server};

use crate::support::{WebSocket, config, soon};

/// What an application keeps with a socket, and what panics when it is let go. Where that happens
/// no handler of the application runs, so nothing guards it.
#[derive(serde::Serialize)]
struct Heirloom;

impl Drop for Heirloom {
    fn drop(&mut self) {
        panic!("as the test wants it");
    }
}

async fn start() -> Running {
    let handlers = Handlers::new().namespace("/", |main| {
        main.on("keep", |socket, _| socket.set_data(Heirloom))
            .on("echo", |_, event| event.ack(event.arguments()).unwrap())
    });
    let server = Server::new(config()).application(handlers);
    server.start().await.unwrap()
}

#[tokio::test]
async fn a_shard_that_panics_is_a_failure_of_the_node() {
    let running = start().await;
    let failure = running.failure();
    let mut client = WebSocket::open(running.address()).await;
    let id = client.connect().await;
    client.send(r#"42["keep"]"#).await;
    client.sync().await;
    running.gateway().of("/").to(&id).disconnect(true);
    let part = soon(failure).await;
    assert!(part.starts_with("shard "), "{part}");
}

#[tokio::test]
async fn a_node_lives_if_all_its_shards_answer() {
    let (release, held) = std::sync::mpsc::channel::<()>();
    let held = std::sync::Mutex::new(held);
    let handlers = Handlers::new().namespace("/", |main| {
        main.on("stand", move |_, _| {
            let _released = held.lock().unwrap().recv();
        })
    });
    let server = Server::new(config()).application(handlers);
    let running = server.start().await.unwrap();
    let pulse = running.pulse();
    assert!(soon(pulse.beats()).await);
    let mut client = WebSocket::open(running.address()).await;
    client.connect().await;
    client.send(r#"42["stand"]"#).await;
    let beat = async || {
        let beat = tokio::time::timeout(std::time::Duration::from_millis(50), pulse.beats());
        beat.await.is_ok()
    };
    crate::support::until(async || !beat().await).await;
    release.send(()).unwrap();
    crate::support::until(async || beat().await).await;
    running.stop_at_once().await;
    assert!(!soon(pulse.beats()).await);
}

#[tokio::test]
async fn a_node_that_stops_does_not_fail() {
    for at_once in [true, false] {
        let running = start().await;
        let failure = running.failure();
        let mut client = WebSocket::open(running.address()).await;
        client.connect().await;
        if at_once {
            running.stop_at_once().await;
        } else {
            running.stop().await;
        }
        let failed = tokio::time::timeout(std::time::Duration::from_millis(50), failure);
        assert!(failed.await.is_err());
    }
}
