use bytes::Bytes;

use super::{DecodeError, Packet};

/// Reads the messages of one session, over all its transports: a binary event's header may come by
/// polling and its attachments by WebSocket. Eight bytes while no attachment is due.
#[derive(Debug, Default)]
pub struct Decoder {
    pending: Option<Box<BinaryPacket>>,
}

/// What a message was.
#[derive(Debug)]
pub enum Decoded<'a> {
    /// A whole packet.
    Packet(Packet<'a>),
    /// The last attachment came in.
    Binary(Box<BinaryPacket>),
    /// More attachments are due.
    Incomplete,
    /// Legal and without effect: an event or an ack without payload, an ack without id.
    Ignored,
}

/// A binary event or ack with its attachments.
#[derive(Debug)]
pub struct BinaryPacket {
    text: String,
    expected: usize,
    attachments: Vec<Bytes>,
}

impl Decoder {
    /// Reads a text message (what follows the Engine.IO `4`).
    pub fn decode_text<'a>(&mut self, text: &'a str) -> Result<Decoded<'a>, DecodeError> {
        let _ = (text, &self.pending);
        todo!()
    }

    /// Reads a binary message.
    pub fn decode_binary(&mut self, data: &[u8]) -> Result<Decoded<'static>, DecodeError> {
        let _ = data;
        todo!()
    }
}

impl BinaryPacket {
    /// The packet, borrowed from here. It was checked when its header came in.
    pub fn packet(&self) -> Packet<'_> {
        let _ = (&self.text, self.expected, &self.attachments);
        todo!()
    }
}
