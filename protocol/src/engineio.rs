//! Engine.IO v4: packets, polling payloads and the session.

mod packet;
pub mod payload;

pub use packet::{DecodeError, Message, Packet};
pub(crate) use packet::{base64_packet_len, push_base64_packet};
