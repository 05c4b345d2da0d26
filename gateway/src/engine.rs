//! Engine.IO: nodes, their shards and sessions, and the transports by which bytes reach a session.
//!
//! A shard is a thread that owns its sessions. A session is driven by its shard, by the requests of its
//! client, or by the task of its WebSocket. This room may use [`peers`](crate::peers) and what is below.
//! It still knows the room above it, [`socketio`](crate::socketio): a session and a shard hold what
//! Socket.IO keeps with them. `make check` counts those arrows, and refuses further ones.

mod connection;
pub(crate) mod drain;
pub(crate) mod gate;
pub mod handshake;
pub(crate) mod held;
mod lateness;
pub(crate) mod node;
pub(crate) mod outbox;
pub(crate) mod session;
pub(crate) mod shard;
pub(crate) mod strangers;
pub mod websocket;

pub use connection::{Connection, SeparatorInText};
