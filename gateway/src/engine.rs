//! Engine.IO: nodes, their shards and sessions, and the transports by which bytes reach a session.
//!
//! A shard is a thread that owns its sessions. A session is driven by its shard, by the requests of its
//! client, or by the task of its WebSocket or WebTransport. This room may use `peers` and what is below.
//! What stands
//! above Engine.IO is a layer: Socket.IO, or an application that speaks Engine.IO alone.

pub(crate) mod admission;
pub(crate) mod application;
pub(crate) mod attached;
mod connection;
pub(crate) mod drain;
pub(crate) mod gate;
pub(crate) mod guard;
pub mod handshake;
pub(crate) mod held;
mod lateness;
pub(crate) mod layer;
pub(crate) mod mail;
pub(crate) mod node;
pub(crate) mod outbox;
pub(crate) mod reloads;
pub(crate) mod session;
pub(crate) mod shard;
pub(crate) mod spreading;
pub(crate) mod strangers;
pub(crate) mod turns;
pub(crate) mod websocket;
#[cfg(feature = "webtransport")]
pub(crate) mod webtransport;
pub(crate) mod whereabouts;

pub use connection::{Connection, SeparatorInText};
pub use protocol::engineio::{CloseReason, Message, Transport};
