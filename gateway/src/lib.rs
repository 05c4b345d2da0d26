//! A horizontally scaled Socket.IO gateway.
//!
//! A [`Server`] is one node. It serves unmodified Socket.IO clients over WebSocket and HTTP
//! long-polling, with the relay application (clients join rooms and publish to them, no code), or
//! with an [`Application`](application::Application) of its own.
//!
//! The major parts are:
//!
//! - [`config`]: every setting; a node checks them before it starts;
//! - [`application`]: what decides about connects and events, with [`relay`] as the one that needs
//!   no code, and [`handlers`] as the one made of Rust closures;
//! - [`socket`] and [`emitter`]: emitting to one client and to many;
//! - [`Gathered`] and [`Page`]: what the nodes of a cluster answer together;
//! - [`websocket`]: frames, read on demand.
//!
//! ```no_run
//! use gateway::handlers::Handlers;
//! use gateway::{Config, Server};
//!
//! # async fn serve() -> Result<(), Box<dyn std::error::Error>> {
//! let chat = Handlers::new().namespace("/", |main| {
//!     main.connected(|socket| socket.join(["lobby"]))
//!         .on("say", |socket, event| {
//!             if let Ok((text,)) = event.parse::<(String,)>() {
//!                 let sent = socket.to("lobby").emit("said", (text,));
//!                 event.ack((sent.is_ok(),)).ok();
//!             }
//!         })
//! });
//! let running = Server::new(Config::default()).application(chat).start().await?;
//! println!("clients connect to http://{}", running.address());
//! # Ok(())
//! # }
//! ```
//!
//! Three servers to read and to start are `gateway/examples/chat.rs` (rooms and acknowledgements),
//! `gateway/examples/tokens.rs` (tokens and namespaces) and `gateway/examples/cluster.rs` (a node among others
//! over Redis).
//!
//! Inside, the source is in rooms, and each room uses only those below it:
//!
//! ```text
//! server -> backend -> apps -> http -> forward -> socketio -> engine -> peers -> recovery -> trace -> top -> presence -> users -> show -> cluster -> otel -> net -> count -> config
//! ```
//!
//! The page at the top of each room says what it is for.

mod apps;
mod backend;
mod cluster;
pub mod config;
mod count;
pub mod engine;
mod forward;
mod http;
mod net;
mod otel;
mod peers;
mod presence;
mod recovery;
mod server;
mod show;
mod socketio;
mod top;
mod trace;
mod users;

pub use adapter::Selection;
pub use apps::{auth, handlers, relay};
pub use cluster::Gathered;
pub use config::Config;
pub use engine::handshake;
pub use engine::reloads::{ReloadError, Reloaded};
pub use net::listener::{Address, Listener};
pub use net::outbound::OutboundError;
pub use net::tls::TlsError;
pub use net::{assets, encoding, ids, trust};
pub use protocol::websocket;
pub use recovery::Unpublished;
pub use server::{Pulse, ReloadHandle, Running, Server, StartError};
pub use socketio::Gateway;
pub use socketio::list::Page;
pub use socketio::socket::{Socket, SocketInfo};
pub use socketio::{application, emitter, event, socket};

/// The programs that pages show: `cargo test` compiles them.
#[cfg(doctest)]
mod pages {
    #[doc = include_str!("../../README.md")]
    struct Readme;
    #[doc = include_str!("../../docs/getting-started.md")]
    struct GettingStarted;
}
