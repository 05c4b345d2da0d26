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
mod tests {
    use super::*;

    fn text(encoded: &Encoded) -> &str {
        encoded.text().unwrap()
    }

    fn payload(encoded: &Encoded) -> String {
        let mut body = b"before".to_vec();
        encoded.append_payload(&mut body);
        String::from_utf8(body.split_off(6)).unwrap()
    }

    #[test]
    fn connect_and_disconnect_have_their_texts() {
        let error = Encoded::connect_error;
        let table = [
            (Encoded::connect("/", "abc"), r#"40{"sid":"abc"}"#),
            (Encoded::connect("/n", "a\"c"), r#"40/n,{"sid":"a\"c"}"#),
            (error("/", "no", None), r#"44{"message":"no"}"#),
            (
                error("/n", "\"no\"", Some(r#"{"code":1}"#)),
                r#"44/n,{"message":"\"no\"","data":{"code":1}}"#,
            ),
            (Encoded::disconnect("/"), "41"),
            (Encoded::disconnect("/n"), "41/n,"),
        ];
        for (encoded, expected) in table {
            assert_eq!(text(&encoded), expected);
            assert_eq!(payload(&encoded), expected);
            assert_eq!(encoded.attachments().count(), 0);
        }
    }

    #[test]
    fn events_and_acks_have_their_texts() {
        let event = |namespace, id, name, json| {
            Encoded::event(namespace, id, name, Arguments::from_raw(json, &[]))
        };
        let ack = |namespace, id, json| Encoded::ack(namespace, id, Arguments::from_raw(json, &[]));
        let table = [
            (event("/", None, "a", ""), r#"42["a"]"#),
            (event("/", Some(0), "a", "1,{}"), r#"420["a",1,{}]"#),
            (event("/n", Some(12), "a", "[]"), r#"42/n,12["a",[]]"#),
            (
                event("/", Some(u64::MAX), "é", "\"€\""),
                r#"4218446744073709551615["é","€"]"#,
            ),
            (event("/", None, "\"\\\u{1e}", ""), r#"42["\"\\\u001e"]"#),
            (ack("/", 0, ""), "430[]"),
            (ack("/n", 907, "1,2"), "43/n,907[1,2]"),
        ];
        for (encoded, expected) in table {
            assert_eq!(text(&encoded), expected);
            assert_eq!(payload(&encoded), expected);
            assert_eq!(encoded.attachments().count(), 0);
        }
    }

    #[test]
    fn attachments_follow_the_text() {
        let attachments = [Bytes::from_static(&[1, 2, 3, 4]), Bytes::new()];
        let json = r#"{"_placeholder":true,"num":1},{"_placeholder":true,"num":0}"#;
        let arguments = Arguments::from_raw(json, &attachments);

        let event = Encoded::event("/n", Some(5), "a", arguments);
        let ack = Encoded::ack("/", 5, arguments);

        assert_eq!(text(&event), format!("452-/n,5[\"a\",{json}]"));
        assert_eq!(text(&ack), format!("462-5[{json}]"));
        for encoded in [event, ack] {
            let found: Vec<_> = encoded.attachments().collect();
            assert_eq!(found, attachments);
            let expected = format!("{}\u{1e}bAQIDBA==\u{1e}b", text(&encoded));
            assert_eq!(payload(&encoded), expected);
        }
    }

    #[test]
    fn frames_are_a_servers() {
        let attachments = [Bytes::from_static(&[1, 2, 3, 4]), Bytes::new()];
        let encoded = Encoded::event("/", None, "a", Arguments::from_raw("", &attachments));
        assert_eq!(
            encoded.frames(),
            &b"\x81\x09452-[\"a\"]\x82\x04\x01\x02\x03\x04\x82\x00"[..]
        );
        assert_eq!(
            encoded.base64_frames(),
            &b"\x81\x09452-[\"a\"]\x81\x09bAQIDBA==\x81\x01b"[..]
        );
    }

    #[test]
    fn engine_packets_stand_alone() {
        let ping = Encoded::engine_text("2");
        assert_eq!(ping.frames(), &b"\x81\x012"[..]);
        assert_eq!(ping.text(), Some("2"));
        assert_eq!(payload(&ping), "2");

        let binary = Encoded::engine_binary(&[1, 2, 3]);
        assert_eq!(binary.frames(), &b"\x82\x03\x01\x02\x03"[..]);
        assert_eq!(binary.text(), None);
        assert_eq!(binary.attachments().collect::<Vec<_>>(), [[1, 2, 3]]);
        assert_eq!(binary.base64_frames(), &b"\x81\x05bAQID"[..]);
        assert_eq!(payload(&binary), "bAQID");
    }

    #[test]
    fn an_old_client_gets_the_same_in_the_form_of_its_revision() {
        let attachments = [Bytes::from_static(&[1, 2, 3, 4]), Bytes::new()];
        let arguments = Arguments::from_raw("", &attachments);
        let binary = Encoded::event_at("/", "a", arguments, "p.1");
        assert_eq!(text(&binary), "452-[\"a\",\"p.1\"]");
        assert_eq!(
            binary.recode(Dialect::Old).unwrap().frames(),
            &b"\x81\x09452-[\"a\"]\x82\x05\x04\x01\x02\x03\x04\x82\x01\x04"[..]
        );
        assert_eq!(
            binary.recode(Dialect::OldBase64).unwrap().frames(),
            &b"\x81\x09452-[\"a\"]\x81\x0ab4AQIDBA==\x81\x02b4"[..]
        );
        assert_eq!(
            binary.recode(Dialect::JsonBase64).unwrap().frames(),
            &b"\x81\x0f452-[\"a\",\"p.1\"]\x81\x09bAQIDBA==\x81\x01b"[..]
        );

        let event = Encoded::event("/", None, "a", Arguments::from_raw("1", &[]));
        for dialect in [Dialect::JsonBase64, Dialect::Old, Dialect::OldBase64] {
            assert_eq!(event.recode(dialect), None, "{dialect:?}");
        }
        let event = Encoded::event_at("/n", "a", Arguments::from_raw("1", &[]), "p.1");
        assert_eq!(text(&event), "42/n,[\"a\",1,\"p.1\"]");
        let old = event.recode(Dialect::Old).unwrap();
        assert_eq!(text(&old), "42/n,[\"a\",1]");
        assert_eq!(event.recode(Dialect::JsonBase64), None);
    }

    #[test]
    fn old_clients_are_answered_in_their_words() {
        let error = Encoded::connect_error_old;
        for (encoded, expected) in [
            (Encoded::connect_old("/"), "40"),
            (Encoded::connect_old("/n"), "40/n,"),
            (error("/n", "\"no\"", None), r#"44/n,"\"no\"""#),
            (error("/", "no", Some("{\"code\":1}")), r#"44{"code":1}"#),
        ] {
            assert_eq!(text(&encoded), expected);
        }
    }

    #[test]
    fn lengths_take_seven_sixteen_or_sixty_four_bits() {
        let table: [(usize, &[u8]); 6] = [
            (0, &[0]),
            (125, &[125]),
            (126, &[126, 0, 126]),
            (65_535, &[126, 0xff, 0xff]),
            (65_536, &[127, 0, 0, 0, 0, 0, 1, 0, 0]),
            (1_000_000, &[127, 0, 0, 0, 0, 0, 0x0f, 0x42, 0x40]),
        ];
        for (len, header) in table {
            let data = vec![b'4'; len];
            let binary = Encoded::engine_binary(&data);
            assert_eq!(binary.frames(), &[&[0x82], header, &data].concat());
            assert_eq!(binary.attachments().collect::<Vec<_>>(), [&data]);

            let text = Encoded::engine_text(std::str::from_utf8(&data).unwrap());
            assert_eq!(text.frames(), &[&[0x81], header, &data].concat());
            assert_eq!(text.text().map(str::len), Some(len));
        }
    }

    #[test]
    fn the_buffer_is_made_to_measure() {
        let measured = |encoded: Encoded| {
            for frames in [encoded.base64_frames(), encoded.frames] {
                let len = frames.len();
                assert_eq!(Vec::from(frames).capacity(), len);
            }
        };
        let attachments = [vec![7; 200].into(), vec![7; 70_000].into()];
        let arguments = Arguments::from_raw("1", &attachments);
        measured(Encoded::event("/n", Some(1), "é\n", arguments));
        measured(Encoded::connect("/", "abc"));
        for len in [0, 1, 2, 3, 125, 126, 65_535, 65_536] {
            measured(Encoded::engine_binary(&vec![7; len]));
            measured(Encoded::engine_text(&"7".repeat(len)));
        }
    }

    #[test]
    fn text_alone_shares_its_frames_with_base64_clients() {
        let encoded = Encoded::engine_text("4a");
        assert_eq!(encoded.base64_frames().as_ptr(), encoded.frames().as_ptr());
    }
}
