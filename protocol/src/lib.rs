//! Engine.IO v3 and v4 and Socket.IO v4 and v5, without I/O, clock or randomness.
//!
//! Bytes and time go in, values come out. The major parts are:
//!
//! - [`engineio`]: packets, polling payloads, and the [`engineio::Session`] state machine that
//!   survives an upgrade from long-polling to WebSocket or WebTransport;
//! - [`socketio`]: packets and the [`socketio::Decoder`] that joins a binary event with its
//!   attachments;
//! - [`websocket`]: frames, and the [`websocket::reader::Reader`] that makes messages of a client's bytes;
//! - [`webtransport`]: the frames of Engine.IO on a stream of WebTransport;
//! - [`Encoded`]: a packet encoded once for all transports and all recipients of one [`Dialect`].

pub mod engineio;
pub mod msgpack;
pub mod socketio;
pub mod websocket;
pub mod webtransport;

mod encoded;

pub use encoded::{Dialect, Encoded, OldPayload};
