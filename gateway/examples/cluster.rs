//! A node of a cluster: rooms, questions and answers reach the clients of every node.
//!
//! Start it as often as you like, on one Redis:
//!
//! ```console
//! $ export GATEWAY_REDIS_URL=redis://localhost:6379
//! $ GATEWAY_LISTEN=127.0.0.1:3000 GATEWAY_INTERNAL_LISTEN=127.0.0.1:3001 cargo run --example cluster
//! listening on http://127.0.0.1:3000
//! $ GATEWAY_LISTEN=127.0.0.1:4000 GATEWAY_INTERNAL_LISTEN=127.0.0.1:4001 cargo run --example cluster
//! ```
//!
//! ```js
//! const socket = io("http://localhost:4000");
//! socket.on("vote?", (question, answer) => answer(question.length > 3));
//! await socket.emitWithAck("enter", "lobby");        // true
//! await socket.emitWithAck("say", "lobby", "hello"); // true
//! await socket.emitWithAck("who", "lobby");          // { sockets: [{ id, node }], missing: [] }
//! await socket.emitWithAck("vote", "lobby", "tea?"); // { yes: 2, no: 1, missing: 0 }
//! ```

use std::time::Duration;

use gateway::config::Sources;
use gateway::handlers::{Handlers, OwnedEvent};
use gateway::{Config, Server, Socket};
use serde_json::{Value, json};

/// How long a client may think about a vote.
const VOTE: Duration = Duration::from_secs(2);

#[allow(clippy::print_stdout, reason = "it says where it listens")]
#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let config = Config::load(&Sources {
        environment: std::env::vars_os().collect(),
        ..Sources::default()
    })?;
    anyhow::ensure!(config.redis.is_some(), "set GATEWAY_REDIS_URL");
    // What goes wrong between the nodes stands in the log.
    gateway::config::log::init(&config.log);

    let handlers = Handlers::new().namespace("/", |main| {
        main.on_async("enter", enter)
            .on("say", |socket, event| {
                let sent = event.parse::<(String, String)>().map(|(room, text)| {
                    let to = socket.to(room);
                    to.emit("said", (socket.id().as_str(), text))
                });
                event.ack((matches!(sent, Ok(Ok(()))),)).ok();
            })
            .on_async("who", who)
            .on_async("vote", vote)
    });
    let running = Server::new(config).application(handlers).start().await?;
    println!("listening on http://{}", running.address());
    tokio::signal::ctrl_c().await?;
    running.stop().await;
    gateway::config::log::flush();
    Ok(())
}

/// `enter, room`: answered once no message to the room is missed any more, from whichever node.
async fn enter(socket: Socket, mut event: OwnedEvent) {
    let Ok((room,)) = event.parse::<(String,)>() else {
        return answer(&mut event, json!(false));
    };
    socket.join_everywhere([room]).await;
    answer(&mut event, json!(true));
}

/// `who, room`: the sockets of a room on all nodes, and the nodes that did not answer.
async fn who(socket: Socket, mut event: OwnedEvent) {
    let Ok((room,)) = event.parse::<(String,)>() else {
        return answer(&mut event, json!(null));
    };
    let all = socket.gateway().of("/").to(room).fetch_sockets().await;
    let found = all.found.iter();
    let sockets: Vec<Value> = found
        .map(|it| json!({"id": it.id, "node": it.node}))
        .collect();
    answer(
        &mut event,
        json!({"sockets": sockets, "missing": all.missing_nodes}),
    );
}

/// `vote, room, question`: all clients of the room are asked, and their answers are counted.
async fn vote(socket: Socket, mut event: OwnedEvent) {
    let Ok((room, question)) = event.parse::<(String, String)>() else {
        return answer(&mut event, json!(null));
    };
    let room = socket.gateway().of("/").to(room);
    let Ok(asked) = room.emit_with_ack("vote?", (question,), VOTE) else {
        return answer(&mut event, json!(null));
    };
    let (answers, expected) = match asked.await {
        Ok(answers) => (answers, None),
        // Some did not answer in time. What came is there all the same.
        Err(some) => (some.answers, Some(some.expected)),
    };
    let given = answers.len();
    let missing = expected.unwrap_or(given) - given;
    let yes = answers
        .iter()
        .filter(|it| matches!(it.parse::<(bool,)>(), Ok((true,))))
        .count();
    answer(
        &mut event,
        json!({"yes": yes, "no": given - yes, "missing": missing}),
    );
}

fn answer(event: &mut OwnedEvent, value: Value) {
    if let Some(ack) = event.take_ack() {
        ack.send((value,)).ok();
    }
}
