//! Socket.IO v5: packets, and the decoder that joins binary packets with their attachments.

mod arguments;
mod decoder;
mod header;
pub mod json;
mod packet;
mod placeholders;
mod scanner;

pub use arguments::Arguments;
pub use decoder::{BinaryPacket, Decoded, Decoder};
pub use packet::{DecodeError, Event, Packet, RESERVED_EVENTS, is_reserved};

/// Most attachments that one packet may carry, as in `socket.io-parser` 4.2.
pub const MAX_ATTACHMENTS: usize = 10;

/// Deepest nesting of arrays and objects in a packet's JSON. The array of the packet's name and
/// arguments is one, so that an argument may be nested one less.
pub const MAX_DEPTH: usize = 256;

/// Most arrays and objects around a packet's JSON in a message between nodes.
pub const ENVELOPE_DEPTH: usize = 64;

/// Longest name of a namespace in bytes, its slash included.
pub const MAX_NAMESPACE: usize = 512;
