//! Socket.IO v5: packets, and the decoder that joins binary packets with their attachments.
//!
//! ```
//! use protocol::socketio::{Decoded, Decoder, Packet};
//!
//! let mut decoder = Decoder::default();
//! let decoded = decoder.decode_text(r#"2/chat,7["message","hello",{"to":3}]"#)?;
//! let Decoded::Packet(Packet::Event { namespace, id, event }) = decoded else {
//!     panic!("it is an event without attachments");
//! };
//! assert_eq!((namespace, id, &*event.name), ("/chat", Some(7), "message"));
//! let arguments: Vec<&str> = event.arguments.iter().collect();
//! assert_eq!(arguments, [r#""hello""#, r#"{"to":3}"#]);
//!
//! // The header of a binary event comes first, and then its attachments.
//! let header = r#"51-["upload",{"_placeholder":true,"num":0}]"#;
//! assert_eq!(decoder.decode_text(header)?, Decoded::Incomplete);
//! let Decoded::Binary(binary) = decoder.decode_binary(&[1, 2, 3])? else {
//!     panic!("it was the last attachment");
//! };
//! assert!(matches!(binary.packet(), Packet::Event { id: None, .. }));
//! # Ok::<(), protocol::socketio::DecodeError>(())
//! ```

mod arguments;
mod decoder;
mod header;
pub mod json;
mod packet;
mod placeholders;
mod scanner;

pub use arguments::Arguments;
pub(crate) use decoder::Content;
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
