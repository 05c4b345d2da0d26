//! The two applications that Socket.IO's own conformance suites want to talk to: an Engine.IO echo
//! at `/engine.io/`, and a Socket.IO server at `/socket.io/`. `PORT` says where to listen, and `EIO3=1` lets clients of
//! Engine.IO 3 in.

use std::time::Duration;

use gateway::application::EngineApplication;
use gateway::engine::Connection;
use gateway::handlers::{Handlers, Namespace};
use gateway::{Config, Server};
use protocol::engineio::Message;

struct Echo;

impl EngineApplication for Echo {
    fn message(&self, connection: &Connection, message: Message<'_>) {
        match message {
            Message::Text(text) => drop(connection.send_text(text)),
            Message::Binary(data) => connection.send_binary(&data),
        }
    }
}

fn greet(namespace: Namespace) -> Namespace {
    namespace.connected(|socket| {
        if let Ok(auth) = socket.auth::<Box<serde_json::value::RawValue>>() {
            socket.emit("auth", (auth,)).ok();
        }
    })
}

#[allow(clippy::print_stdout, reason = "it says where it listens")]
#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let port: u16 = std::env::var("PORT")?.parse()?;
    let mut config = Config {
        demo: Some(false),
        ..Config::default()
    };
    config.listen = ([127, 0, 0, 1], port).into();
    config.internal_listen = ([127, 0, 0, 1], 0).into();
    config.engine.ping_interval = Duration::from_millis(300);
    config.engine.ping_timeout = Duration::from_millis(200);
    config.engine.connect_timeout = Duration::from_secs(1);
    config.engine.allow_eio3 = std::env::var_os("EIO3").is_some();
    let handlers = Handlers::new()
        .namespace("/", |main| {
            greet(main)
                .on("message", |socket, event| {
                    drop(socket.emit("message-back", event.arguments()))
                })
                .on("message-with-ack", |_, event| {
                    let arguments = event.arguments();
                    event.ack(arguments).ok();
                })
        })
        .namespace("/custom", greet);
    let running = Server::new(config)
        .application(handlers)
        .engine("/engine.io/", Echo)
        .start()
        .await?;
    println!("listening on {}", running.address());
    tokio::signal::ctrl_c().await?;
    running.stop().await;
    Ok(())
}
