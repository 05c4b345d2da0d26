//! Socket.IO v5: packets, and the decoder that joins binary packets with their attachments.

mod arguments;
mod decoder;
pub mod json;
mod packet;

pub use arguments::Arguments;
pub use decoder::{BinaryPacket, Decoded, Decoder};
pub use packet::{DecodeError, Event, Packet, RESERVED_EVENTS, is_reserved};

/// Most attachments that one packet may carry, as in `socket.io-parser` 4.2.
pub const MAX_ATTACHMENTS: usize = 10;

/// Deepest nesting of arrays and objects in a packet's JSON.
pub const MAX_DEPTH: usize = 256;
