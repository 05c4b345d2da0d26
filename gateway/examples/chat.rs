//! A chat server: rooms, names, who is typing.
//!
//! `cargo run --example chat`, then connect a client to port 3000 and emit `enter` with a name and
//! a room, `say` with a text, `typing`.

use gateway::application::DisconnectReason;
use gateway::handlers::Handlers;
use gateway::{Config, Server, Socket};

/// Who a client said that it is.
#[derive(serde::Serialize)]
struct Guest {
    name: String,
    room: String,
}

fn enter(socket: &Socket, name: String, room: String) -> Result<usize, &'static str> {
    if name.is_empty() || name.len() > 40 || room.is_empty() || room.len() > 40 {
        return Err("a name and a room have 1 to 40 bytes");
    }
    if socket.data::<Guest>().is_some() {
        return Err("you are in a room already");
    }
    let in_chat = format!("chat:{room}");
    socket.join([&in_chat]);
    socket
        .to(&in_chat)
        .emit("entered", (&name,))
        .map_err(|_| "try again")?;
    socket.set_data(Guest {
        name,
        room: in_chat,
    });
    Ok(socket.room_count())
}

fn left(socket: &Socket, reason: DisconnectReason) {
    if let Some(guest) = socket.data::<Guest>() {
        socket
            .to(&guest.room)
            .emit("left", (&guest.name, reason.as_node()))
            .ok();
    }
}

#[allow(clippy::print_stdout, reason = "it says where it listens")]
#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let chat = Handlers::new().namespace("/", |main| {
        main.on("enter", |socket, event| {
            let entered = match event.parse::<(String, String)>() {
                Ok((name, room)) => enter(socket, name, room),
                Err(_) => Err("send a name and a room"),
            };
            let answer = match entered {
                Ok(_) => serde_json::json!({"ok": true}),
                Err(why) => serde_json::json!({"ok": false, "error": why}),
            };
            event.ack((answer,)).ok();
        })
        .on("say", |socket, event| {
            if let (Some(guest), Ok((text,))) = (socket.data::<Guest>(), event.parse::<(String,)>())
            {
                socket
                    .to(&guest.room)
                    .emit("said", (&guest.name, text))
                    .ok();
                event.ack((true,)).ok();
            }
        })
        .on("typing", |socket, _| {
            if let Some(guest) = socket.data::<Guest>() {
                socket
                    .to(&guest.room)
                    .volatile()
                    .emit("typing", (&guest.name,))
                    .ok();
            }
        })
        .disconnecting(left)
    });
    let running = Server::new(Config::default())
        .application(chat)
        .start()
        .await?;
    println!("chat on http://{}", running.address());
    tokio::signal::ctrl_c().await?;
    running.stop().await;
    Ok(())
}
