use bytes::Bytes;

use crate::engineio::old_payload::BINARY_MESSAGE;
use crate::engineio::{self, payload};
use crate::msgpack;
use crate::socketio::{Arguments, json};
use crate::websocket::frame::{OpCode, ServerFrame, frame_len, push_frame, push_head};

mod dialect;
mod old;
mod pieces;

pub use dialect::Dialect;
pub use old::OldPayload;

/// A packet encoded once: its WebSocket frames (a server's, unmasked) side by side in one shared
/// buffer, and within it the text and the attachments that polling needs.
///
/// Cloning shares the bytes. The frames tell by themselves where the text and the attachments are. A packet is made
/// in [`Dialect::Json`]; [`recode`](Self::recode) makes the others of it, for the sessions that want them.
///
/// ```
/// use protocol::Encoded;
/// use protocol::socketio::Arguments;
///
/// let arguments = Arguments::from_raw(r#""hello",1"#, &[]);
/// let event = Encoded::event("/chat", None, "message", arguments);
///
/// // The Engine.IO packet, for polling.
/// assert_eq!(event.text(), Some(r#"42/chat,["message","hello",1]"#));
/// // A frame of 29 bytes around it, for WebSocket.
/// assert_eq!(event.frames()[..2], [0x81, 29]);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encoded {
    frames: Bytes,
    /// Bytes of the position that recovery appended to the arguments, with its comma. Old clients do not get it.
    position: u8,
}

impl Encoded {
    /// `CONNECT` answered: `40/ns,{"sid":".."}`.
    pub fn connect(namespace: &str, socket_id: &str) -> Self {
        let [namespace, comma] = prefix(namespace);
        let socket_id = json::escaped(socket_id);
        Self::new(
            &[b"40", namespace, comma, b"{\"sid\":\"", &socket_id, b"\"}"],
            &[],
        )
    }

    /// `CONNECT` of a client that can come back: `40/ns,{"sid":"..","pid":".."}`.
    pub fn connect_recoverable(namespace: &str, socket_id: &str, pid: &str) -> Self {
        let [namespace, comma] = prefix(namespace);
        let (socket_id, pid) = (json::escaped(socket_id), json::escaped(pid));
        Self::new(
            &[
                b"40",
                namespace,
                comma,
                b"{\"sid\":\"",
                &socket_id,
                b"\",\"pid\":\"",
                &pid,
                b"\"}",
            ],
            &[],
        )
    }

    /// `CONNECT_ERROR`: `44/ns,{"message":"..","data":..}`; `data` is JSON that the caller vouches
    /// for.
    pub fn connect_error(namespace: &str, message: &str, data: Option<&str>) -> Self {
        let [namespace, comma] = prefix(namespace);
        let message = json::escaped(message);
        let (key, data) = match data {
            Some(data) => (",\"data\":", data),
            None => ("", ""),
        };
        Self::new(
            &[
                b"44",
                namespace,
                comma,
                b"{\"message\":\"",
                &message,
                b"\"",
                key.as_bytes(),
                data.as_bytes(),
                b"}",
            ],
            &[],
        )
    }

    /// `DISCONNECT`: `41/ns,`.
    pub fn disconnect(namespace: &str) -> Self {
        let [namespace, comma] = prefix(namespace);
        Self::new(&[b"41", namespace, comma], &[])
    }

    /// `CONNECT` answered to a client of Socket.IO 1 or 2, which knows its id by itself: `40/ns,`.
    pub fn connect_old(namespace: &str) -> Self {
        let [namespace, comma] = prefix(namespace);
        Self::new(&[b"40", namespace, comma], &[])
    }

    /// `CONNECT_ERROR` for a client of Socket.IO 1 or 2: `44/ns,` and the data if there are any, else the message. `data`
    /// is JSON that the caller vouches for.
    pub fn connect_error_old(namespace: &str, message: &str, data: Option<&str>) -> Self {
        let [namespace, comma] = prefix(namespace);
        match data {
            Some(data) => Self::new(&[b"44", namespace, comma, data.as_bytes()], &[]),
            None => {
                let message = json::escaped(message);
                Self::new(&[b"44", namespace, comma, b"\"", &message, b"\""], &[])
            }
        }
    }

    /// An event in a namespace with recovery: `position` is its last argument, a text without escapes.
    ///
    /// # Panics
    ///
    /// If `position` is longer than 250 bytes.
    pub fn event_at(namespace: &str, name: &str, arguments: Arguments<'_>, position: &str) -> Self {
        let tail = format!(",\"{position}\"");
        let encoded = Self::event_with(namespace, None, name, arguments, &tail);
        Self {
            position: tail.len().try_into().expect("a position is short"),
            ..encoded
        }
    }

    /// An event, binary when it has attachments; `id` asks for an acknowledgement.
    ///
    /// More attachments than [`MAX_ATTACHMENTS`](crate::socketio::MAX_ATTACHMENTS) make clients
    /// disconnect; the caller sees to that.
    pub fn event(namespace: &str, id: Option<u64>, name: &str, arguments: Arguments<'_>) -> Self {
        Self::event_with(namespace, id, name, arguments, "")
    }

    fn event_with(
        namespace: &str,
        id: Option<u64>,
        name: &str,
        arguments: Arguments<'_>,
        tail: &str,
    ) -> Self {
        let [namespace, comma] = prefix(namespace);
        let attachments = arguments.attachments();
        let (kind, dash) = match attachments.len() {
            0 => ("42", ""),
            _ => ("45", "-"),
        };
        let count = Decimal::new((!attachments.is_empty()).then_some(attachments.len() as u64));
        let id = Decimal::new(id);
        let name = json::escaped(name);
        let separator = if arguments.json().is_empty() { "" } else { "," };
        Self::new(
            &[
                kind.as_bytes(),
                count.digits(),
                dash.as_bytes(),
                namespace,
                comma,
                id.digits(),
                b"[\"",
                &name,
                b"\"",
                separator.as_bytes(),
                arguments.json().as_bytes(),
                tail.as_bytes(),
                b"]",
            ],
            attachments,
        )
    }

    /// An acknowledgement, binary when it has attachments (as many as [`event`](Self::event)).
    pub fn ack(namespace: &str, id: u64, arguments: Arguments<'_>) -> Self {
        let [namespace, comma] = prefix(namespace);
        let attachments = arguments.attachments();
        let (kind, dash) = match attachments.len() {
            0 => ("43", ""),
            _ => ("46", "-"),
        };
        let count = Decimal::new((!attachments.is_empty()).then_some(attachments.len() as u64));
        let id = Decimal::new(Some(id));
        Self::new(
            &[
                kind.as_bytes(),
                count.digits(),
                dash.as_bytes(),
                namespace,
                comma,
                id.digits(),
                b"[",
                arguments.json().as_bytes(),
                b"]",
            ],
            attachments,
        )
    }

    /// A text packet of Engine.IO, its type digit first. For a text message that is `4` and the
    /// text; it must not contain the payload separator.
    pub fn engine_text(packet: &str) -> Self {
        Self::new(&[packet.as_bytes()], &[])
    }

    /// A binary message of Engine.IO, without any Socket.IO around it.
    pub fn engine_binary(data: &[u8]) -> Self {
        let mut frames = Vec::with_capacity(frame_len(data.len()));
        push_frame(&mut frames, OpCode::Binary, &[data]);
        Self::of_frames(frames.into())
    }

    /// A control frame of WebSocket (a pong), for a session that is on one: it has no polling form.
    pub fn control_frame(frame: Bytes) -> Self {
        Self::of_frames(frame)
    }

    /// The frames of several packets one behind the other, for a client on WebSocket. Only [`frames`](Self::frames) are
    /// of use then: to polling it would be the first packet.
    ///
    /// ```
    /// use protocol::Encoded;
    ///
    /// let both = Encoded::side_by_side(&[&Encoded::engine_text("4a"), &Encoded::engine_text("4b")]);
    /// assert_eq!(both.frames()[..], *b"\x81\x024a\x81\x024b");
    /// ```
    pub fn side_by_side(packets: &[&Self]) -> Self {
        let bytes = packets.iter().map(|packet| packet.frames.len()).sum();
        let mut frames = Vec::with_capacity(bytes);
        for packet in packets {
            frames.extend_from_slice(&packet.frames);
        }
        Self::of_frames(frames.into())
    }

    fn of_frames(frames: Bytes) -> Self {
        let position = 0;
        Self { frames, position }
    }

    /// The WebSocket frames, in order, ready to be written.
    pub fn frames(&self) -> &Bytes {
        &self.frames
    }

    /// The Engine.IO text packet (with its type digit); `None` for
    /// [`engine_binary`](Self::engine_binary).
    pub fn text(&self) -> Option<&str> {
        match Frames(&self.frames).next()? {
            (OpCode::Text, text) => std::str::from_utf8(text).ok(),
            _ => None,
        }
    }

    /// The binary messages: those that follow the text, or the only one of
    /// [`engine_binary`](Self::engine_binary).
    pub fn attachments(&self) -> impl Iterator<Item = &[u8]> {
        Frames(&self.frames).filter_map(|(opcode, data)| (opcode == OpCode::Binary).then_some(data))
    }

    /// How many packets of Engine.IO it is: its text and its attachments.
    pub fn packets(&self) -> usize {
        Frames(&self.frames).count()
    }

    /// Appends the packets in their polling form, joined by the separator; none before the first,
    /// which is the caller's if `body` has packets already.
    pub fn append_payload(&self, body: &mut Vec<u8>) {
        for (index, (opcode, data)) in Frames(&self.frames).enumerate() {
            if index > 0 {
                body.push(payload::SEPARATOR);
            }
            if opcode == OpCode::Binary {
                engineio::push_base64_packet(body, data);
            } else {
                body.extend_from_slice(data);
            }
        }
    }

    /// The frames for a client that asked for base64 (`b64=1`): binary as `b` text frames. Shares
    /// [`frames`](Self::frames) when there is no binary.
    pub fn base64_frames(&self) -> Bytes {
        if self.attachments().next().is_none() {
            return self.frames.clone();
        }
        let len = |(opcode, data): (OpCode, &[u8])| {
            let payload = if opcode == OpCode::Binary {
                engineio::base64_packet_len(data)
            } else {
                data.len()
            };
            frame_len(payload)
        };
        let mut frames = Vec::with_capacity(Frames(&self.frames).map(len).sum());
        for (opcode, data) in Frames(&self.frames) {
            if opcode == OpCode::Binary {
                push_head(&mut frames, OpCode::Text, engineio::base64_packet_len(data));
                engineio::push_base64_packet(&mut frames, data);
            } else {
                push_frame(&mut frames, opcode, &[data]);
            }
        }
        frames.into()
    }

    /// The same in another dialect; `None` if that does not differ.
    pub fn recode(&self, dialect: Dialect) -> Option<Self> {
        let has_binary = self.attachments().next().is_some();
        match dialect {
            Dialect::Json => None,
            Dialect::JsonBase64 => has_binary.then(|| Self::of_frames(self.base64_frames())),
            Dialect::Old | Dialect::OldBase64 => {
                let differs = has_binary || self.position > 0;
                differs.then(|| Self::of_frames(self.old_frames(dialect == Dialect::OldBase64)))
            }
            Dialect::Msgpack => self.to_msgpack(),
            Dialect::MsgpackBase64 => {
                let packet = self.to_msgpack()?;
                Some(Self::of_frames(packet.base64_frames()))
            }
        }
    }

    /// The same as one binary message, if it is a packet of Socket.IO.
    fn to_msgpack(&self) -> Option<Self> {
        let attachments = self.attachments().map(|data| self.frames.slice_ref(data));
        let attachments: Vec<_> = attachments.collect();
        let packet = msgpack::encode(self.text()?, &attachments)?;
        Some(Self::engine_binary(&packet))
    }

    /// The frames for a client of revision 3: without the position, and with the type of a message before binary data.
    fn old_frames(&self, base64: bool) -> Bytes {
        let mut frames = Vec::with_capacity(self.frames.len() + self.frames.len() / 4);
        for (opcode, data) in Frames(&self.frames) {
            match opcode {
                OpCode::Text if self.position > 0 => {
                    let end = data.len() - usize::from(self.position) - 1;
                    push_frame(&mut frames, OpCode::Text, &[&data[..end], b"]"]);
                }
                OpCode::Binary if base64 => {
                    push_head(&mut frames, OpCode::Text, 2 + engineio::base64_len(data));
                    frames.extend_from_slice(b"b4");
                    engineio::push_base64(&mut frames, data);
                }
                OpCode::Binary => push_frame(&mut frames, opcode, &[&[BINARY_MESSAGE], data]),
                OpCode::Text
                | OpCode::Continuation
                | OpCode::Close
                | OpCode::Ping
                | OpCode::Pong => push_frame(&mut frames, opcode, &[data]),
            }
        }
        frames.into()
    }

    /// A text packet from its `parts` and the binary messages after it. The buffer is made exactly
    /// as large as it has to be: what is larger costs `Bytes` an allocation more.
    fn new(parts: &[&[u8]], attachments: &[Bytes]) -> Self {
        let text = parts.iter().map(|part| part.len()).sum();
        let binary = attachments.iter().map(|data| frame_len(data.len()));
        let mut frames = Vec::with_capacity(frame_len(text) + binary.sum::<usize>());
        push_frame(&mut frames, OpCode::Text, parts);
        for data in attachments {
            push_frame(&mut frames, OpCode::Binary, &[data]);
        }
        Self::of_frames(frames.into())
    }
}

/// A namespace and its comma; nothing for `/`.
fn prefix(namespace: &str) -> [&[u8]; 2] {
    match namespace {
        "/" => [b"", b""],
        _ => [namespace.as_bytes(), b","],
    }
}

/// A number's digits, if there is a number.
struct Decimal {
    buffer: [u8; 20],
    start: usize,
}

impl Decimal {
    fn new(number: Option<u64>) -> Self {
        let mut decimal = Self {
            buffer: [0; 20],
            start: 20,
        };
        let Some(mut rest) = number else {
            return decimal;
        };
        for (index, digit) in decimal.buffer.iter_mut().enumerate().rev() {
            *digit = b'0' + (rest % 10) as u8;
            decimal.start = index;
            rest /= 10;
            if rest == 0 {
                break;
            }
        }
        decimal
    }

    fn digits(&self) -> &[u8] {
        &self.buffer[self.start..]
    }
}

/// The frames of a buffer that [`push_frame`] wrote: opcode and payload.
struct Frames<'a>(&'a [u8]);

impl<'a> Iterator for Frames<'a> {
    type Item = (OpCode, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let (frame, rest) = ServerFrame::decode(self.0, usize::MAX).ok()??;
        self.0 = rest;
        Some((frame.opcode, frame.payload))
    }
}

#[cfg(test)]
mod tests;
