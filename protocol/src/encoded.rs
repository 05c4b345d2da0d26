use bytes::Bytes;

use crate::engineio::{self, payload};
use crate::socketio::{Arguments, json};

/// A packet encoded once: its WebSocket frames (a server's, unmasked) side by side in one shared
/// buffer, and within it the text and the attachments that polling needs.
///
/// Cloning shares the bytes and never allocates more than the counter of the first clone. The
/// frames tell by themselves where the text and the attachments are, so an `Encoded` is no larger than its
/// `Bytes`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encoded {
    frames: Bytes,
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

    /// An event, binary when it has attachments; `id` asks for an acknowledgement.
    ///
    /// More attachments than [`MAX_ATTACHMENTS`](crate::socketio::MAX_ATTACHMENTS) make clients
    /// disconnect; the caller sees to that.
    pub fn event(namespace: &str, id: Option<u64>, name: &str, arguments: Arguments<'_>) -> Self {
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
        push_frame(&mut frames, BINARY, &[data]);
        Self {
            frames: frames.into(),
        }
    }

    /// A control frame of WebSocket (a pong), for a session that is on one: it has no polling form.
    pub fn control_frame(frame: Bytes) -> Self {
        Self { frames: frame }
    }

    /// The WebSocket frames, in order, ready to be written.
    pub fn frames(&self) -> &Bytes {
        &self.frames
    }

    /// The Engine.IO text packet (with its type digit); `None` for
    /// [`engine_binary`](Self::engine_binary).
    pub fn text(&self) -> Option<&str> {
        match Frames(&self.frames).next()? {
            (TEXT, text) => std::str::from_utf8(text).ok(),
            _ => None,
        }
    }

    /// The binary messages: those that follow the text, or the only one of
    /// [`engine_binary`](Self::engine_binary).
    pub fn attachments(&self) -> impl Iterator<Item = &[u8]> {
        Frames(&self.frames).filter_map(|(opcode, data)| (opcode == BINARY).then_some(data))
    }

    /// Appends the packets in their polling form, joined by the separator; none before the first,
    /// which is the caller's if `body` has packets already.
    pub fn append_payload(&self, body: &mut Vec<u8>) {
        for (index, (opcode, data)) in Frames(&self.frames).enumerate() {
            if index > 0 {
                body.push(payload::SEPARATOR);
            }
            match opcode {
                BINARY => engineio::push_base64_packet(body, data),
                _ => body.extend_from_slice(data),
            }
        }
    }

    /// The frames for a client that asked for base64 (`b64=1`): binary as `b` text frames. Shares
    /// [`frames`](Self::frames) when there is no binary.
    pub fn base64_frames(&self) -> Bytes {
        if self.attachments().next().is_none() {
            return self.frames.clone();
        }
        let len = |(opcode, data): (u8, &[u8])| match opcode {
            BINARY => frame_len(engineio::base64_packet_len(data)),
            _ => frame_len(data.len()),
        };
        let mut frames = Vec::with_capacity(Frames(&self.frames).map(len).sum());
        for (opcode, data) in Frames(&self.frames) {
            match opcode {
                BINARY => {
                    push_header(&mut frames, TEXT, engineio::base64_packet_len(data));
                    engineio::push_base64_packet(&mut frames, data);
                }
                _ => push_frame(&mut frames, opcode, &[data]),
            }
        }
        frames.into()
    }

    /// The same for a client that asked for base64 (`b64=1`): see [`base64_frames`](Self::base64_frames).
    /// Its polling form stays what it was.
    pub fn to_base64(&self) -> Self {
        Self { frames: self.base64_frames() }
    }

    /// A text packet from its `parts` and the binary messages after it. The buffer is made exactly
    /// as large as it has to be: what is larger costs `Bytes` an allocation more.
    fn new(parts: &[&[u8]], attachments: &[Bytes]) -> Self {
        let text = parts.iter().map(|part| part.len()).sum();
        let binary = attachments.iter().map(|data| frame_len(data.len()));
        let mut frames = Vec::with_capacity(frame_len(text) + binary.sum::<usize>());
        push_frame(&mut frames, TEXT, parts);
        for data in attachments {
            push_frame(&mut frames, BINARY, &[data]);
        }
        Self {
            frames: frames.into(),
        }
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

/// The first byte of a WebSocket frame that is a whole text message.
const TEXT: u8 = 0x81;
/// The same for a binary message.
const BINARY: u8 = 0x82;

fn frame_len(payload: usize) -> usize {
    let header = match payload {
        ..126 => 2,
        126..=0xffff => 4,
        _ => 10,
    };
    header + payload
}

fn push_frame(frames: &mut Vec<u8>, opcode: u8, parts: &[&[u8]]) {
    push_header(frames, opcode, parts.iter().map(|part| part.len()).sum());
    for part in parts {
        frames.extend_from_slice(part);
    }
}

fn push_header(frames: &mut Vec<u8>, opcode: u8, payload: usize) {
    frames.push(opcode);
    match payload {
        ..126 => frames.push(payload as u8),
        126..=0xffff => {
            frames.push(126);
            frames.extend_from_slice(&(payload as u16).to_be_bytes());
        }
        _ => {
            frames.push(127);
            frames.extend_from_slice(&(payload as u64).to_be_bytes());
        }
    }
}

/// The frames of a buffer that [`push_frame`] wrote: first byte and payload.
struct Frames<'a>(&'a [u8]);

impl<'a> Iterator for Frames<'a> {
    type Item = (u8, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let (&[opcode, short], rest) = self.0.split_first_chunk()?;
        let (len, rest) = match short {
            126 => {
                let (len, rest) = rest.split_first_chunk()?;
                (usize::from(u16::from_be_bytes(*len)), rest)
            }
            127 => {
                let (len, rest) = rest.split_first_chunk()?;
                (usize::try_from(u64::from_be_bytes(*len)).ok()?, rest)
            }
            len => (usize::from(len), rest),
        };
        let (payload, rest) = rest.split_at_checked(len)?;
        self.0 = rest;
        Some((opcode, payload))
    }
}
