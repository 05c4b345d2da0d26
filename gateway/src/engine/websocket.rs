//! WebSocket, as the gateway speaks it: no extensions, no subprotocols, server side only.
//!
//! fastwebsockets makes the handshake and gives opcodes, close codes and unmasking. Reading is our
//! own: its reader keeps 8 KiB per connection, joins fragments without a limit, and must not be
//! cancelled. The parts are:
//!
//! - [`frame`]: the head of one frame, what may be wrong with it, and the control frames that we
//!   send;
//! - [`reader`]: from the bytes of a connection to whole messages.

pub mod frame;
pub mod reader;

pub(crate) mod driver;

mod begun;
mod message;
#[cfg(test)]
mod pieces;
