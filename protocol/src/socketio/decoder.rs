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
mod tests {
    use super::super::{MAX_DEPTH, MAX_NAMESPACE};
    use super::DecodeError::*;
    use super::*;

    fn decode(text: &str) -> Result<Decoded<'_>, DecodeError> {
        Decoder::default().decode_text(text)
    }

    fn connect<'a>(namespace: &'a str, auth: Option<&'a str>) -> Packet<'a> {
        Packet::Connect { namespace, auth }
    }

    fn event<'a>(namespace: &'a str, id: Option<u64>, name: &'a str, json: &'a str) -> Packet<'a> {
        Packet::Event {
            namespace,
            id,
            event: Event {
                name: Cow::Borrowed(name),
                name_is_string: true,
                arguments: Arguments::from_raw(json, &[]),
            },
        }
    }

    fn ack<'a>(namespace: &'a str, id: u64, json: &'a str) -> Packet<'a> {
        Packet::Ack {
            namespace,
            id,
            arguments: Arguments::from_raw(json, &[]),
        }
    }

    #[test]
    fn text_packets_decode() {
        let disconnect = |namespace| Packet::Disconnect { namespace };
        let table = [
            ("0", connect("/", None)),
            ("0/", connect("/", None)),
            ("0/,", connect("/", None)),
            ("0{}", connect("/", Some("{}"))),
            ("0 {\"a\": 1} ", connect("/", Some("{\"a\": 1}"))),
            ("0/custom", connect("/custom", None)),
            ("0/custom,", connect("/custom", None)),
            ("0/custom,{\"a\":1}", connect("/custom", Some("{\"a\":1}"))),
            ("0/custom{\"a\":1}", connect("/custom{\"a\":1}", None)),
            ("0/custom?a=b,", connect("/custom?a=b", None)),
            ("012{}", connect("/", Some("{}"))),
            ("1", disconnect("/")),
            ("1/custom", disconnect("/custom")),
            ("1/custom,", disconnect("/custom")),
            ("2[\"a\"]", event("/", None, "a", "")),
            ("2/,[\"a\"]", event("/", None, "a", "")),
            ("2[\"a\",1]", event("/", None, "a", "1")),
            ("20[\"a\"]", event("/", Some(0), "a", "")),
            ("2007[\"a\"]", event("/", Some(7), "a", "")),
            (
                "2/n,12[\"a\",{\"b\":[]}]",
                event("/n", Some(12), "a", "{\"b\":[]}"),
            ),
            ("2/é€,[\"é\",\"€\"]", event("/é€", None, "é", "\"€\"")),
            (
                "218446744073709551615[\"a\"]",
                event("/", Some(u64::MAX), "a", ""),
            ),
            ("2 [ \"a\" , 1 , 2 ] ", event("/", None, "a", "1 , 2")),
            ("2[\"\"]", event("/", None, "", "")),
            ("2[\"a\\n\\u0041\"]", event("/", None, "a\nA", "")),
            ("2[\"error\"]", event("/", None, "error", "")),
            ("2[\"connection\"]", event("/", None, "connection", "")),
            (
                "2[\"\\\\u0063onnect\"]",
                event("/", None, "\\u0063onnect", ""),
            ),
            // In a text packet a placeholder is ordinary data.
            (
                "2[\"a\",{\"_placeholder\":true,\"num\":9}]",
                event("/", None, "a", "{\"_placeholder\":true,\"num\":9}"),
            ),
            ("31[]", ack("/", 1, "")),
            ("3/n,1[ ]", ack("/n", 1, "")),
            ("31[{\"a\":1},null]", ack("/", 1, "{\"a\":1},null")),
        ];
        for (text, packet) in table {
            assert_eq!(decode(text), Ok(Decoded::Packet(packet)), "{text:?}");
        }
    }

    #[test]
    fn a_number_names_an_event_by_its_digits() {
        for name in ["1", "-1.5e3", "1E999"] {
            let text = format!("2[{name},\"x\"]");
            let Ok(Decoded::Packet(Packet::Event { event, .. })) = decode(&text) else {
                panic!("{text}");
            };
            assert_eq!(event.name, name);
            assert!(!event.name_is_string);
            assert_eq!(event.arguments.json(), "\"x\"");
        }
    }

    #[test]
    fn packets_without_effect_are_ignored() {
        for text in ["2", "21", "2/n", "2/n,", "2/n,1", "3", "31", "3[]", "3[1]"] {
            assert_eq!(decode(text), Ok(Decoded::Ignored), "{text:?}");
        }
    }

    #[test]
    fn violations_are_refused() {
        let table = [
            ("", UnknownType),
            (" ", UnknownType),
            ("7", UnknownType),
            ("x[\"a\"]", UnknownType),
            ("-1", UnknownType),
            ("4", UnexpectedConnectError),
            ("4{\"message\":\"x\"}", UnexpectedConnectError),
            ("0[]", InvalidPayload),
            ("0\"a\"", InvalidPayload),
            ("0null", InvalidPayload),
            ("0{", InvalidJson),
            ("0{}x", InvalidJson),
            ("0nope", InvalidJson),
            ("1{}", InvalidPayload),
            ("1[]", InvalidPayload),
            ("1/n, ", InvalidPayload),
            ("2{}", InvalidPayload),
            ("2\"a\"", InvalidPayload),
            ("2null", InvalidPayload),
            ("2[]", InvalidEventName),
            ("2[null]", InvalidEventName),
            ("2[true,\"a\"]", InvalidEventName),
            ("2[[\"a\"]]", InvalidEventName),
            ("2[{}]", InvalidEventName),
            ("2[\"connect\"]", InvalidEventName),
            ("2[\"connect_error\"]", InvalidEventName),
            ("2[\"disconnect\"]", InvalidEventName),
            ("2[\"disconnecting\"]", InvalidEventName),
            ("2[\"newListener\"]", InvalidEventName),
            ("2[\"removeListener\"]", InvalidEventName),
            ("2[\"\\u0063onnect\"]", InvalidEventName),
            ("2[", InvalidJson),
            ("2[\"a\"", InvalidJson),
            ("2[\"a\",]", InvalidJson),
            ("2[\"a\"1]", InvalidJson),
            ("2[\"a\"}", InvalidJson),
            ("2[\"a\"]]", InvalidJson),
            ("2[\"a]", InvalidJson),
            ("2[01]", InvalidJson),
            ("2[nope]", InvalidJson),
            ("2 ", InvalidJson),
            ("2-1[\"a\"]", InvalidJson),
            ("3{}", InvalidPayload),
            ("31null", InvalidPayload),
            ("31[", InvalidJson),
            ("31[1,]", InvalidJson),
            ("218446744073709551616[\"a\"]", BadAckId),
            ("399999999999999999999[]", BadAckId),
            ("5", BadAttachmentCount),
            ("5-[\"a\"]", BadAttachmentCount),
            ("50-[\"a\"]", BadAttachmentCount),
            ("500-[\"a\"]", BadAttachmentCount),
            ("51[\"a\"]", BadAttachmentCount),
            ("5/n,[\"a\"]", BadAttachmentCount),
            ("51.5-[\"a\"]", BadAttachmentCount),
            ("5-1-[\"a\"]", BadAttachmentCount),
            ("511-[\"a\"]", TooManyAttachments),
            ("699999999999999999999-[]", TooManyAttachments),
            ("51-[]", InvalidEventName),
            ("51-[\"connect\"]", InvalidEventName),
            ("51-[\"a\"", InvalidJson),
            ("61-1{}", InvalidPayload),
            (
                "51-[\"a\",{\"_placeholder\":true,\"num\":1}]",
                IllegalAttachments,
            ),
            (
                "51-[\"a\",{\"\\u005fplaceholder\":true}]",
                IllegalAttachments,
            ),
            (
                "61-1[{\"_placeholder\":true,\"num\":-1}]",
                IllegalAttachments,
            ),
            ("61-[{\"_placeholder\":true,\"num\":1}]", IllegalAttachments),
        ];
        for (text, error) in table {
            assert_eq!(decode(text), Err(error), "{text:?}");
        }
    }

    #[test]
    fn namespaces_are_bounded() {
        let longest = format!("/{}", "n".repeat(MAX_NAMESPACE - 1));
        let text = format!("0{longest},");
        assert_eq!(decode(&text), Ok(Decoded::Packet(connect(&longest, None))));
        assert_eq!(decode(&format!("0{longest}n")), Err(NamespaceTooLong));
        assert_eq!(
            decode(&format!("2{longest}n,[\"a\"]")),
            Err(NamespaceTooLong)
        );
    }

    #[test]
    fn the_depth_of_a_packet_counts_its_own_array() {
        let text = |depth| format!("2[\"a\",{}{}]", "[".repeat(depth), "]".repeat(depth));
        assert!(decode(&text(MAX_DEPTH - 1)).is_ok());
        assert_eq!(decode(&text(MAX_DEPTH)), Err(InvalidJson));
    }

    #[test]
    fn attachments_complete_a_binary_event() {
        let mut decoder = Decoder::default();
        let json = "{\"_placeholder\":true,\"num\":1},[{\"num\":0,\"_placeholder\":true}]";
        let text = format!("52-/n,7[\"a\\u0062\",{json}]");

        assert_eq!(decoder.decode_text(&text), Ok(Decoded::Incomplete));
        assert_eq!(decoder.decode_binary(b"first"), Ok(Decoded::Incomplete));
        let Ok(Decoded::Binary(binary)) = decoder.decode_binary(b"") else {
            panic!("no packet");
        };

        let attachments = [Bytes::from_static(b"first"), Bytes::new()];
        assert_eq!(
            binary.packet(),
            Packet::Event {
                namespace: "/n",
                id: Some(7),
                event: Event {
                    name: Cow::Borrowed("ab"),
                    name_is_string: true,
                    arguments: Arguments::from_raw(json, &attachments),
                },
            }
        );
        assert_eq!(
            decoder.decode_text("2[\"a\"]"),
            Ok(Decoded::Packet(event("/", None, "a", "")))
        );
    }

    #[test]
    fn attachments_complete_a_binary_ack() {
        let mut decoder = Decoder::default();
        let json = "{\"_placeholder\":true,\"num\":0}";
        let text = format!("601-12[{json}]");

        assert_eq!(decoder.decode_text(&text), Ok(Decoded::Incomplete));
        let Ok(Decoded::Binary(binary)) = decoder.decode_binary(&[0, 255]) else {
            panic!("no packet");
        };

        let attachments = [Bytes::from_static(&[0, 255])];
        assert_eq!(
            binary.packet(),
            Packet::Ack {
                namespace: "/",
                id: 12,
                arguments: Arguments::from_raw(json, &attachments),
            }
        );
    }

    #[test]
    fn attachments_of_an_ignored_packet_are_taken() {
        for text in ["52-", "52-/n,3", "62-[1]", "62-5"] {
            let mut decoder = Decoder::default();
            assert_eq!(
                decoder.decode_text(text),
                Ok(Decoded::Incomplete),
                "{text:?}"
            );
            assert_eq!(decoder.decode_binary(b"a"), Ok(Decoded::Incomplete));
            assert_eq!(decoder.decode_binary(b"b"), Ok(Decoded::Ignored));
            assert_eq!(decoder.decode_binary(b"c"), Err(UnexpectedBinary));
        }
    }

    #[test]
    fn text_is_refused_until_the_last_attachment() {
        let mut decoder = Decoder::default();
        decoder.decode_text("52-[\"a\"]").unwrap();
        decoder.decode_binary(b"a").unwrap();
        assert_eq!(decoder.decode_text("2[\"b\"]"), Err(PacketAmidAttachments));
    }

    #[test]
    fn binary_without_a_header_is_refused() {
        let mut decoder = Decoder::default();
        assert_eq!(decoder.decode_binary(b"a"), Err(UnexpectedBinary));
        decoder.decode_text("2[\"a\"]").unwrap();
        assert_eq!(decoder.decode_binary(b"a"), Err(UnexpectedBinary));
    }

    #[test]
    fn an_idle_decoder_is_a_pointer() {
        assert_eq!(size_of::<Decoder>(), size_of::<usize>());
    }
}
