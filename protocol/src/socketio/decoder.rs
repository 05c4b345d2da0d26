use std::borrow::Cow;

use bytes::Bytes;

use super::header::{Header, Kind};
use super::scanner::Scanner;
use super::{Arguments, DecodeError, Event, Packet, is_reserved, json, placeholders};
use crate::engineio::Revision;

/// Reads the messages of one session, over all its transports: a binary event's header may come by
/// polling and its attachments by WebSocket. Eight bytes while no attachment is due.
///
/// What it holds needs no bound of its own: a header and at most
/// [`MAX_ATTACHMENTS`](super::MAX_ATTACHMENTS) binary messages, each bounded by the session's
/// `max_payload`.
#[derive(Debug, Default)]
pub struct Decoder {
    pending: Option<Box<Pending>>,
}

/// What a message was.
#[expect(
    clippy::exhaustive_enums,
    reason = "who drives the machine does something for each"
)]
#[derive(Debug, PartialEq)]
pub enum Decoded<'a> {
    /// A whole packet.
    Packet(Packet<'a>),
    /// The last attachment came in, or the packet came as msgpack.
    Binary(Box<BinaryPacket>),
    /// More attachments are due.
    Incomplete,
    /// Legal and without effect: an event or an ack without payload, an ack without id.
    Ignored,
}

/// A packet that is kept apart from its messages: a binary event or ack with its attachments, and any that came as
/// msgpack.
#[derive(Debug, PartialEq)]
pub struct BinaryPacket {
    namespace: Box<str>,
    content: Content,
    /// The arguments, placeholders checked.
    json: Box<str>,
    attachments: Vec<Bytes>,
}

/// What a [`BinaryPacket`] is.
#[derive(Debug, PartialEq)]
pub(crate) enum Content {
    Connect(Option<Box<str>>),
    Disconnect,
    Event {
        id: Option<u64>,
        name: Box<str>,
        name_is_string: bool,
    },
    Ack {
        id: u64,
    },
}

#[derive(Debug)]
struct Pending {
    /// Attachments still to come, one at least.
    due: usize,
    /// `None`: to be ignored once they have come.
    packet: Option<Box<BinaryPacket>>,
}

impl Decoder {
    /// Reads a text message (what follows the Engine.IO `4`) of a client of Engine.IO 4.
    ///
    /// # Errors
    ///
    /// If `text` is no packet that a client may send, or if an attachment is due. The session has to be closed.
    pub fn decode_text<'a>(&mut self, text: &'a str) -> Result<Decoded<'a>, DecodeError> {
        self.decode_text_of(Revision::Four, text)
    }

    /// The same of a client of this revision. The namespace in a packet of revision 3 may have a query behind it:
    /// see [`Packet::split_query`].
    ///
    /// # Errors
    ///
    /// As [`decode_text`](Self::decode_text).
    pub fn decode_text_of<'a>(
        &mut self,
        revision: Revision,
        text: &'a str,
    ) -> Result<Decoded<'a>, DecodeError> {
        if self.pending.is_some() {
            return Err(DecodeError::PacketAmidAttachments);
        }
        let mut header = Header::decode(text, revision)?;
        if revision == Revision::Three && header.kind == Kind::Connect {
            // It has no payload, and what Node finds in its place has no effect.
            header.payload = "";
        }
        let packet = packet(&header)?;
        if header.attachments == 0 {
            return Ok(packet.map_or(Decoded::Ignored, Decoded::Packet));
        }
        if !placeholders::are_legal(header.payload, header.attachments) {
            return Err(DecodeError::IllegalAttachments);
        }
        self.pending = Some(Box::new(Pending {
            due: header.attachments,
            packet: packet.and_then(BinaryPacket::new).map(Box::new),
        }));
        Ok(Decoded::Incomplete)
    }

    /// Reads a binary message.
    ///
    /// # Errors
    ///
    /// If no attachment is due. The session has to be closed.
    pub fn decode_binary(&mut self, data: &[u8]) -> Result<Decoded<'static>, DecodeError> {
        let mut pending = self.pending.take().ok_or(DecodeError::UnexpectedBinary)?;
        if let Some(packet) = &mut pending.packet {
            packet.attachments.push(Bytes::copy_from_slice(data));
        }
        pending.due -= 1;
        if pending.due > 0 {
            self.pending = Some(pending);
            return Ok(Decoded::Incomplete);
        }
        Ok(pending.packet.map_or(Decoded::Ignored, Decoded::Binary))
    }
}

impl BinaryPacket {
    /// The packet, borrowed from here. It was checked when its header came in.
    pub fn packet(&self) -> Packet<'_> {
        let namespace = &self.namespace;
        let arguments = Arguments::from_raw(&self.json, &self.attachments);
        match &self.content {
            Content::Event {
                id,
                name,
                name_is_string,
            } => Packet::Event {
                namespace,
                id: *id,
                event: Event {
                    name: Cow::Borrowed(name),
                    name_is_string: *name_is_string,
                    arguments,
                },
            },
            Content::Ack { id } => Packet::Ack {
                namespace,
                id: *id,
                arguments,
            },
            Content::Connect(auth) => Packet::Connect {
                namespace,
                auth: auth.as_deref(),
            },
            Content::Disconnect => Packet::Disconnect { namespace },
        }
    }

    /// One that was checked, with all that it has.
    pub(crate) fn new_whole(
        namespace: String,
        content: Content,
        json: String,
        attachments: Vec<Bytes>,
    ) -> Self {
        Self {
            namespace: namespace.into(),
            content,
            json: json.into(),
            attachments,
        }
    }

    /// `packet`, still without its attachments; `None` if its type has none.
    fn new(packet: Packet<'_>) -> Option<Self> {
        let (namespace, content, arguments) = match packet {
            Packet::Connect { .. } | Packet::Disconnect { .. } => return None,
            Packet::Event {
                namespace,
                id,
                event,
            } => {
                let content = Content::Event {
                    id,
                    name: event.name.into(),
                    name_is_string: event.name_is_string,
                };
                (namespace, content, event.arguments)
            }
            Packet::Ack {
                namespace,
                id,
                arguments,
            } => (namespace, Content::Ack { id }, arguments),
        };
        Some(Self {
            namespace: namespace.into(),
            content,
            json: arguments.json().into(),
            attachments: Vec::new(),
        })
    }
}

/// The packet that `header` heads, `None` if it is without effect.
fn packet<'a>(header: &Header<'a>) -> Result<Option<Packet<'a>>, DecodeError> {
    let &Header {
        namespace,
        id,
        payload,
        ..
    } = header;
    Ok(match header.kind {
        Kind::Connect if payload.is_empty() => Some(Packet::Connect {
            namespace,
            auth: None,
        }),
        Kind::Connect => Some(Packet::Connect {
            namespace,
            auth: Some(object(payload)?),
        }),
        Kind::Disconnect if payload.is_empty() => Some(Packet::Disconnect { namespace }),
        Kind::Disconnect => return Err(DecodeError::InvalidPayload),
        Kind::Event | Kind::Ack if payload.is_empty() => None,
        Kind::Event => Some(Packet::Event {
            namespace,
            id,
            event: event(payload)?,
        }),
        Kind::Ack => {
            let arguments = Arguments::from_raw(list(payload)?, &[]);
            id.map(|id| Packet::Ack {
                namespace,
                id,
                arguments,
            })
        }
    })
}

fn object(payload: &str) -> Result<&str, DecodeError> {
    if !json::is_value(payload) {
        return Err(DecodeError::InvalidJson);
    }
    let object = json::trim(payload);
    if !object.starts_with('{') {
        return Err(DecodeError::InvalidPayload);
    }
    Ok(object)
}

/// The values of an array, without its brackets.
fn list(payload: &str) -> Result<&str, DecodeError> {
    if !json::is_value(payload) {
        return Err(DecodeError::InvalidJson);
    }
    let values = json::trim(payload)
        .strip_prefix('[')
        .and_then(|payload| payload.strip_suffix(']'))
        .ok_or(DecodeError::InvalidPayload)?;
    Ok(json::trim(values))
}

fn event(payload: &str) -> Result<Event<'_>, DecodeError> {
    let mut scanner = Scanner::new(payload);
    scanner.skip_whitespace();
    if scanner.take(b'[').is_none() {
        return Err(wrong(payload, DecodeError::InvalidPayload));
    }
    scanner.skip_whitespace();

    let start = scanner.position();
    let name_is_string = scanner.peek() == Some(b'"');
    let escaped = if name_is_string {
        scanner.string()
    } else {
        scanner.number().map(|()| false)
    };
    let Some(escaped) = escaped else {
        return Err(wrong(payload, DecodeError::InvalidEventName));
    };
    let end = scanner.position();
    scanner.rest_of_array().ok_or(DecodeError::InvalidJson)?;
    let close = scanner.position() - 1;
    scanner.end().ok_or(DecodeError::InvalidJson)?;

    let name = match (name_is_string, escaped) {
        (true, true) => Cow::Owned(json::unescape(&payload[start + 1..end - 1])),
        (true, false) => Cow::Borrowed(&payload[start + 1..end - 1]),
        (false, _) => Cow::Borrowed(&payload[start..end]),
    };
    if name_is_string && is_reserved(&name) {
        return Err(DecodeError::InvalidEventName);
    }
    let rest = json::trim(&payload[end..close]);
    let arguments = json::trim(rest.strip_prefix(',').unwrap_or(rest));
    Ok(Event {
        name,
        name_is_string,
        arguments: Arguments::from_raw(arguments, &[]),
    })
}

/// What is wrong with a payload that is of the wrong shape as far as it was read.
fn wrong(payload: &str, shape: DecodeError) -> DecodeError {
    if json::is_value(payload) {
        shape
    } else {
        DecodeError::InvalidJson
    }
}

#[cfg(test)]
mod tests;
