//! A packet as frames of [`webtransport`](crate::webtransport).

use bytes::Bytes;

use super::{Encoded, Frames};
use crate::websocket::frame::OpCode;

/// An empty binary message. Clients take a frame of it for a fault, and this text for the same.
const EMPTY_BINARY: &[u8] = b"\x01b";

/// The bit of a binary frame, in its first byte.
const BINARY: u8 = 0x80;

impl Encoded {
    /// Hands out the packet's frames for a stream of WebTransport, in order. They share the packet's bytes, but for
    /// the heads of binary frames.
    ///
    /// Such a frame is a server's WebSocket frame without its first byte, and with a bit of its own if it is binary.
    /// A [control frame](Self::control_frame) has no such form and is left out.
    ///
    /// ```
    /// use protocol::Encoded;
    ///
    /// let mut pieces = Vec::new();
    /// Encoded::engine_text("2").pieces(|piece| pieces.push(piece));
    /// assert_eq!(pieces, [&b"\x012"[..]]);
    /// ```
    pub fn pieces(&self, mut each: impl FnMut(Bytes)) {
        let mut start = 0;
        for (opcode, payload) in Frames(&self.frames) {
            let end = offset_of(&self.frames, payload) + payload.len();
            let head = start + 1..end - payload.len();
            match opcode {
                OpCode::Text => each(self.frames.slice(head.start..end)),
                OpCode::Binary if payload.is_empty() => each(Bytes::from_static(EMPTY_BINARY)),
                OpCode::Binary => {
                    let mut head = self.frames[head].to_vec();
                    head[0] |= BINARY;
                    each(head.into());
                    each(self.frames.slice_ref(payload));
                }
                OpCode::Continuation | OpCode::Close | OpCode::Ping | OpCode::Pong => {}
            }
            start = end;
        }
    }
}

/// Where `part` begins in `whole`, of which it is a part.
fn offset_of(whole: &Bytes, part: &[u8]) -> usize {
    part.as_ptr() as usize - whole.as_ptr() as usize
}
