//! Engine.IO v4: packets, polling payloads and the session.

mod close;
mod packet;
pub mod payload;
mod session;
mod timer;

pub use close::CloseReason;
pub use packet::{DecodeError, Message, Packet};
pub(crate) use packet::{base64_packet_len, push_base64_packet};
pub use session::{Answer, Attach, Output, Poll, Post, ProbeFailure, Session, Timing, Transport};
