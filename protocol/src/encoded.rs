use std::ops::Range;

use bytes::Bytes;

use crate::socketio::Arguments;

/// A packet encoded once: its WebSocket frames (a server's, unmasked) side by side in one shared
/// buffer, and within it the text and the attachments that polling needs.
///
/// Cloning shares the bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encoded {
    frames: Bytes,
    text: Range<u32>,
    attachments: Box<[Range<u32>]>,
}

impl Encoded {
    /// `CONNECT` answered: `40/ns,{"sid":".."}`.
    pub fn connect(namespace: &str, socket_id: &str) -> Self {
        let _ = (namespace, socket_id);
        todo!()
    }

    /// `CONNECT_ERROR`: `44/ns,{"message":"..","data":..}`; `data` is JSON that the caller vouches
    /// for.
    pub fn connect_error(namespace: &str, message: &str, data: Option<&str>) -> Self {
        let _ = (namespace, message, data);
        todo!()
    }

    /// `DISCONNECT`: `41/ns,`.
    pub fn disconnect(namespace: &str) -> Self {
        let _ = namespace;
        todo!()
    }

    /// An event, binary when it has attachments; `id` asks for an acknowledgement.
    pub fn event(namespace: &str, id: Option<u64>, name: &str, arguments: Arguments<'_>) -> Self {
        let _ = (namespace, id, name, arguments);
        todo!()
    }

    /// An acknowledgement, binary when it has attachments.
    pub fn ack(namespace: &str, id: u64, arguments: Arguments<'_>) -> Self {
        let _ = (namespace, id, arguments);
        todo!()
    }

    /// A text packet of Engine.IO, its type digit first. For a text message that is `4` and the
    /// text; it must not contain the payload separator.
    pub fn engine_text(packet: &str) -> Self {
        let _ = packet;
        todo!()
    }

    /// A binary message of Engine.IO, without any Socket.IO around it.
    pub fn engine_binary(data: &[u8]) -> Self {
        let _ = data;
        todo!()
    }

    /// The WebSocket frames, in order, ready to be written.
    pub fn frames(&self) -> &Bytes {
        &self.frames
    }

    /// The Engine.IO text packet (with its type digit); `None` for
    /// [`engine_binary`](Self::engine_binary).
    pub fn text(&self) -> Option<&str> {
        let _ = &self.text;
        todo!()
    }

    /// The binary messages that follow the text.
    pub fn attachments(&self) -> impl Iterator<Item = &[u8]> {
        self.attachments
            .iter()
            .map(|range| &self.frames[range.start as usize..range.end as usize])
    }

    /// Appends the packets in their polling form, joined by the separator; none before the first.
    pub fn append_payload(&self, body: &mut Vec<u8>) {
        let _ = body;
        todo!()
    }

    /// The frames for a client that asked for base64 (`b64=1`): binary as `b` text frames. Shares
    /// [`frames`](Self::frames) when there is no binary.
    pub fn base64_frames(&self) -> Bytes {
        todo!()
    }
}
