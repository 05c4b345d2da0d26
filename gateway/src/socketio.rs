//! Socket.IO: sockets, namespaces and rooms, events and acknowledgements, emitting to one and to many,
//! and what comes from the other nodes.
//!
//! What decides about connects and events is an [`application`]. This room may use
//! [`engine`](crate::engine) and what is below. Applications and HTTP use it.

pub(crate) mod acks;
pub mod application;
pub(crate) mod change;
pub(crate) mod claims;
pub mod emitter;
pub mod event;
pub(crate) mod incoming;
pub(crate) mod list;
pub(crate) mod namespace;
pub mod socket;
