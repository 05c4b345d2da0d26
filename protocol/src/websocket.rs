//! WebSocket as RFC 6455 has it, without extensions: frames, and the reader of a server.
//!
//! - [`frame`]: opcodes, close codes and masks; what may be wrong with a frame; writing frames, as a server and as a
//!   client;
//! - [`reader`]: from the bytes of a client to whole messages.
//!
//! The handshake is HTTP and stands elsewhere.

pub mod frame;
pub mod reader;

mod begun;
mod message;
