//! A chat: clients enter a room with a name, and what they say goes to the others of the room.
//!
//! ```console
//! $ cargo run --example chat
//! chat on http://127.0.0.1:3000
//! ```
//!
//! ```js
//! const socket = io("http://localhost:3000");
//! socket.on("said", (name, text) => console.log(`${name}: ${text}`));
//! await socket.emitWithAck("enter", "ann", "lobby"); // { ok: true }
//! await socket.emitWithAck("say", "hello");          // true
//! ```
//!
//! Every setting of the gateway is read from the environment: `GATEWAY_LISTEN=127.0.0.1:8080`, say.

use gateway::application::DisconnectReason;
use gateway::config::Sources;
use gateway::event::Event;
use gateway::handlers::Handlers;
use gateway::{Config, Server, Socket};
use serde_json::json;

/// What the server keeps with each socket that has entered.
#[derive(serde::Serialize)]
struct Guest {
    name: String,
    room: String,
}

#[allow(clippy::print_stdout, reason = "it says where it listens")]
#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let config = Config::load(&Sources {
        environment: std::env::vars_os().collect(),
        ..Sources::default()
    })?;

    // One handler for each event of the main namespace. Handlers run on the thread of the socket's
    // shard, in the order in which the client emitted.
    let chat = Handlers::new().namespace("/", |main| {
        main.on("enter", enter)
            .on("say", say)
            .on("typing", typing)
            .disconnecting(left)
    });

    let running = Server::new(config).application(chat).start().await?;
    println!("chat on http://{}", running.address());
    tokio::signal::ctrl_c().await?;
    running.stop().await;
    Ok(())
}

/// `enter, name, room`: the client joins a room..
fn enter(socket: &Socket, event: &mut Event<'_>) {
    let answer = match event.parse::<(String, String)>() {
        Ok((name, room)) => match admit(socket, name, room) {
            Ok(()) => json!({"ok": true}),
            Err(why) => json!({"ok": false, "error": why}),
        },
        Err(_) => json!({"ok": false, "error": "send a name and a room"}),
    };
    // An acknowledgement goes nowhere if the client wants none, or has gone. Both are fine here.
    event.ack((answer,)).ok();
}

fn admit(socket: &Socket, name: String, room: String) -> Result<(), &'static str> {
    // What clients send is never trusted: names are bounded, and rooms have a prefix of their own.
    if name.is_empty() || name.len() > 40 || room.is_empty() || room.len() > 40 {
        return Err("a name and a room have 1 to 40 bytes");
    }
    if socket.data::<Guest>().is_some() {
        return Err("you are in a room already");
    }
    let room = format!("chat:{room}");
    socket.join([&room]);
    // `to` leaves the socket itself out.
    let told = socket.to(&room).emit("entered", (&name,));
    told.map_err(|_| "try again")?;
    socket.set_data(Guest { name, room });
    Ok(())
}

/// `say, text`: the others of the room hear `said, name, text`.
fn say(socket: &Socket, event: &mut Event<'_>) {
    let (Some(guest), Ok((text,))) = (socket.data::<Guest>(), event.parse::<(String,)>()) else {
        event.ack((false,)).ok();
        return;
    };
    let sent = socket.to(&guest.room).emit("said", (&guest.name, text));
    event.ack((sent.is_ok(),)).ok();
}

/// `typing`: a volatile event, which clients that are slow just miss.
fn typing(socket: &Socket, _event: &mut Event<'_>) {
    if let Some(guest) = socket.data::<Guest>() {
        let to = socket.to(&guest.room).volatile();
        to.emit("typing", (&guest.name,)).ok();
    }
}

/// The socket goes, and is still in its rooms.
fn left(socket: &Socket, reason: DisconnectReason) {
    if let Some(guest) = socket.data::<Guest>() {
        let to = socket.to(&guest.room);
        to.emit("left", (&guest.name, reason.as_node())).ok();
    }
}
