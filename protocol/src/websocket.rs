//! WebSocket as RFC 6455 has it, without extensions: frames, and the reader of a server.
//!
//! - [`frame`]: opcodes, close codes and masks; what may be wrong with a frame; writing frames, as a server and as a
//!   client;
//! - [`reader`]: from the bytes of a client to whole messages.
//!
//! The handshake is HTTP and stands elsewhere.
//!
//! ```
//! use protocol::websocket::frame::{FrameError, OpCode, push_masked_frame};
//! use protocol::websocket::reader::{Reader, Received};
//!
//! // What a client sends, cut somewhere.
//! let mut bytes = Vec::new();
//! push_masked_frame(&mut bytes, OpCode::Text, b"hello", [1, 2, 3, 4]);
//! let (mut first, mut second) = bytes.split_at_mut(3);
//!
//! let mut reader = Reader::new();
//! let limit = 1_000_000;
//! assert_eq!(reader.next(&mut first, limit)?, None);
//! let received = reader.next(&mut second, limit)?;
//! assert_eq!(received, Some(Received::Text("hello".into())));
//! # Ok::<(), FrameError>(())
//! ```

pub mod frame;
pub mod reader;

pub(crate) mod begun;
mod message;
