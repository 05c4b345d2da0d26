//! Socket.IO: sockets, namespaces and rooms, events and acknowledgements, emitting to one and to many,
//! and what comes from the other nodes.
//!
//! What decides about connects and events is an [`application`]. This room may use
//! [`engine`](crate::engine) and what is below. Applications and HTTP use it.

pub(crate) mod acks;
pub mod application;
mod arguments;
pub(crate) mod blocks;
mod broadcast;
pub(crate) mod change;
pub(crate) mod claims;
mod client;
pub mod emitter;
pub mod event;
mod gateway;
pub(crate) mod incoming;
mod layer;
pub(crate) mod list;
mod names;
pub(crate) mod namespace;
mod namespaces;
pub(crate) mod offset;
pub(crate) mod ordered;
mod reason;
mod shown;
pub mod socket;
pub(crate) mod spans;
pub(crate) mod top;
pub(crate) mod traced;
mod walk;

pub use gateway::Gateway;
pub(crate) use layer::SocketIo;
