//! What has to hold for any bytes that a peer sends. The fuzz targets call it, and so do the
//! protocol's tests, with the corpus and with generated input.

pub mod pieces;

mod frames;
mod reference;

use protocol::engineio::{self, Message};
use protocol::socketio::{
    self, Arguments, Decoded, Decoder, MAX_ATTACHMENTS, MAX_DEPTH, Packet, json,
};
use protocol::{Dialect, Encoded, OldPayload};
use serde::de::IgnoredAny;

/// One WebSocket text message.
pub fn packet(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    json(text);
    engine_packet(text);
    socket_packet(text);
    if let Ok(engineio::Packet::Message(Message::Text(text))) = engineio::Packet::decode(text) {
        socket_packet(text);
    }
}

/// One polling body.
pub fn payload(data: &[u8]) {
    let Ok(body) = std::str::from_utf8(data) else {
        return;
    };
    let mut again = Vec::new();
    let mut packets = Vec::new();
    let parts = body.split('\u{1e}');
    for (part, packet) in parts.zip(engineio::payload::decode(body)) {
        engine_packet(part);
        let Ok(packet) = packet else {
            break;
        };
        if !packets.is_empty() {
            again.push(engineio::payload::SEPARATOR);
        }
        encode_engine_packet(&packet).append_payload(&mut again);
        packets.push(packet);
    }

    let again = std::str::from_utf8(&again).expect("text and base64");
    let decoded = engineio::payload::decode(again).map_while(Result::ok);
    assert_eq!(decoded.collect::<Vec<_>>(), packets);
}

/// One polling body of revision 3, in both forms.
pub fn old_payload(data: &[u8]) {
    let mut binary = engineio::old_payload::Packets::of_binary(data);
    old_packets(&mut binary, |left| {
        engineio::old_payload::Packets::of_binary(&data[data.len() - left..])
    });
    if let Ok(text) = std::str::from_utf8(data) {
        let mut packets = engineio::old_payload::Packets::of_text(text);
        old_packets(&mut packets, |left| {
            engineio::old_payload::Packets::of_text(&text[text.len() - left..])
        });
    }
}

/// One binary message of a client with the msgpack parser.
pub fn msgpack(data: &[u8]) {
    const LIMIT: usize = 4096;
    let Ok(Decoded::Binary(binary)) = protocol::msgpack::decode(data, LIMIT) else {
        return;
    };
    let packet = binary.packet();
    if let Packet::Connect { auth, .. } = &packet {
        assert!(auth.is_none_or(|auth| auth.starts_with('{') && json::is_value(auth)));
        return;
    }
    let encoded = encode(&packet);
    if !matches!(packet, Packet::Disconnect { .. }) {
        assert!(arguments(&packet).are_legal());
        assert!(arguments(&packet).json().len() <= LIMIT);
    }
    // A client with JSON gets what the decoder takes, and one with msgpack the same packet again.
    encodes_again(&packet);
    let again = encoded
        .recode(Dialect::Msgpack)
        .expect("a packet of Socket.IO");
    let again = again.attachments().next().expect("one message");
    let Ok(Decoded::Binary(again)) = protocol::msgpack::decode(again, 16 * LIMIT) else {
        panic!("{packet:?} became {again:?}");
    };
    let (first, second) = (encode(&packet), encode(&again.packet()));
    let third = second
        .recode(Dialect::Msgpack)
        .expect("a packet of Socket.IO");
    let third = third.attachments().next().expect("one message");
    let Ok(Decoded::Binary(third)) = protocol::msgpack::decode(third, 16 * LIMIT) else {
        panic!("{first:?} became {third:?}");
    };
    assert_eq!(encode(&third.packet()), second, "{first:?}");
}

fn encode(packet: &Packet<'_>) -> Encoded {
    match packet {
        Packet::Connect { namespace, .. } | Packet::Disconnect { namespace } => {
            Encoded::disconnect(namespace)
        }
        Packet::Event {
            namespace,
            id,
            event,
        } => Encoded::event(namespace, *id, &event.name, event.arguments),
        Packet::Ack {
            namespace,
            id,
            arguments,
        } => Encoded::ack(namespace, *id, *arguments),
    }
}

/// Reads to the first error; what is left after each packet can be read alone, and the messages come back.
fn old_packets<'a>(
    packets: &mut engineio::old_payload::Packets<'a>,
    rest: impl Fn(usize) -> engineio::old_payload::Packets<'a>,
) {
    let mut messages = Vec::new();
    loop {
        let before = packets.remaining();
        let Some(packet) = packets.next() else {
            break;
        };
        let alone = rest(before).next();
        assert_eq!(alone.as_ref(), Some(&packet));
        let Ok(packet) = packet else {
            break;
        };
        assert!(packets.remaining() < before);
        if let engineio::Packet::Message(_) = &packet {
            messages.push(packet);
        }
    }
    for (dialect, binary) in [(Dialect::Old, true), (Dialect::OldBase64, false)] {
        let queued: Vec<_> = messages
            .iter()
            .map(|packet| {
                let encoded = encode_engine_packet(packet);
                encoded.recode(dialect).unwrap_or(encoded)
            })
            .collect();
        let mut left = queued.as_slice();
        let mut again = messages.as_slice();
        while !left.is_empty() {
            let payload = OldPayload::take(left.iter());
            let count = payload.packets();
            assert!((1..=engineio::old_payload::MAX_PACKETS).contains(&count));
            let mut body = Vec::new();
            payload.write(&mut body, false);
            assert!(binary || !payload.is_binary());
            let text = String::from_utf8_lossy(&body);
            let read: Result<Vec<_>, _> = match payload.is_binary() {
                true => engineio::old_payload::Packets::of_binary(&body).collect(),
                false => engineio::old_payload::Packets::of_text(&text).collect(),
            };
            assert_eq!(read.as_deref(), Ok(&again[..count]));
            (left, again) = (&left[count..], &again[count..]);
        }
    }
}

/// The messages of one session, a line each: binary behind a `b`, text without.
pub fn attachments(data: &[u8]) {
    let mut decoder = Decoder::default();
    let mut due = 0;
    let mut received: Vec<&[u8]> = Vec::new();
    for line in data.split(|byte| *byte == b'\n') {
        let decoded = match line.strip_prefix(b"b") {
            Some(message) => {
                received.push(message);
                decoder.decode_binary(message)
            }
            None => match std::str::from_utf8(line) {
                Ok(text) if due > 0 => decoder.decode_text(text),
                Ok(text) => {
                    received.clear();
                    let decoded = decoder.decode_text(text);
                    assert_eq!(decoded.is_ok(), reference::accepts(text), "{text:?}");
                    decoded
                }
                Err(_) => return,
            },
        };

        match decoded {
            Ok(Decoded::Incomplete) if due > 0 => due -= 1,
            Ok(Decoded::Incomplete) => due = announced(line),
            Ok(Decoded::Binary(binary)) => {
                assert_eq!(due, 1);
                due = 0;
                let packet = binary.packet();
                assert_eq!(arguments(&packet).attachments(), received);
                encodes_again(&packet);
            }
            Ok(Decoded::Ignored) => {
                assert!(due <= 1);
                due = 0;
            }
            Ok(Decoded::Packet(packet)) => {
                assert_eq!(due, 0);
                encodes_again(&packet);
            }
            // The session closes.
            Err(error) => {
                let amid = error == socketio::DecodeError::PacketAmidAttachments;
                let unexpected = error == socketio::DecodeError::UnexpectedBinary;
                assert_eq!(amid, due > 0);
                assert_eq!(unexpected, due == 0 && line.starts_with(b"b"));
                return;
            }
        }
    }
}

/// A limit, sizes of pieces, and the bytes of a WebSocket client.
pub fn frames(data: &[u8]) {
    pieces::check(data);
}

/// The JSON scanner agrees with `serde_json`.
pub fn json(text: &str) {
    let accepted = json::is_value(text);
    let expected = serde_json::from_str::<IgnoredAny>(text).is_ok();
    if accepted {
        assert!(expected, "{text:?} is no JSON");
        assert!(depth(text) <= MAX_DEPTH, "{text:?} is too deep");
    } else {
        assert!(!expected || depth(text) > MAX_DEPTH, "{text:?} is JSON");
    }

    let string = json::as_string(text);
    match serde_json::from_str::<String>(text) {
        Ok(expected) => assert_eq!(string.as_deref(), Some(expected.as_str())),
        // Lone surrogates fail there.
        Err(_) => assert!(string.is_none() || text.contains("\\u")),
    }

    let mut quoted = Vec::new();
    json::push_string(&mut quoted, text);
    let quoted = std::str::from_utf8(&quoted).expect("escaping keeps UTF-8");
    assert!(json::is_value(quoted));
    assert_eq!(json::as_string(quoted).as_deref(), Some(text));
    assert_eq!(
        serde_json::from_str::<String>(quoted).ok().as_deref(),
        Some(text)
    );
}

/// Decodes an Engine.IO text packet and the same again from what it encodes to.
fn engine_packet(text: &str) {
    let Ok(packet) = engineio::Packet::decode(text) else {
        assert!(!text.starts_with(['0', '1', '2', '3', '4', '5', '6', 'b']));
        return;
    };
    if let engineio::Packet::Message(Message::Binary(data)) = &packet {
        assert_eq!(**data, reference::base64(&text[1..]), "{text:?}");
    }
    let encoded = encode_engine_packet(&packet);
    let frames = frames::parse(&encoded.base64_frames());
    let [frames::Frame::Text(text)] = frames.as_slice() else {
        panic!("{frames:?}");
    };
    assert_eq!(engineio::Packet::decode(text), Ok(packet));
}

/// Decodes the text of a Socket.IO packet, with as many attachments as it announces.
fn socket_packet(text: &str) {
    let mut decoder = Decoder::default();
    let mut decoded = decoder.decode_text(text);
    assert_eq!(
        decoded.is_ok(),
        reference::accepts(text),
        "{text:?} {decoded:?}"
    );

    let mut sent = Vec::new();
    while let Ok(Decoded::Incomplete) = decoded {
        let data = vec![b'x'; sent.len()];
        decoded = decoder.decode_binary(&data);
        sent.push(data);
    }
    assert!(sent.len() <= MAX_ATTACHMENTS);
    match decoded {
        Ok(Decoded::Packet(packet)) => encodes_again(&packet),
        Ok(Decoded::Binary(binary)) => {
            let packet = binary.packet();
            assert_eq!(arguments(&packet).attachments(), sent);
            encodes_again(&packet);
        }
        Ok(Decoded::Incomplete | Decoded::Ignored) => {}
        Err(_) => assert!(sent.is_empty()),
    }
}

/// Encodes what a client sent as if to send it on, and decodes that again in all forms.
pub fn encodes_again(packet: &Packet<'_>) {
    let encoded = match packet {
        Packet::Connect { auth, .. } => {
            assert!(auth.is_none_or(|auth| auth.starts_with('{') && json::is_value(auth)));
            return;
        }
        Packet::Disconnect { namespace } => Encoded::disconnect(namespace),
        Packet::Event {
            namespace,
            id,
            event,
        } => {
            arguments_split(event.arguments);
            Encoded::event(namespace, *id, &event.name, event.arguments)
        }
        Packet::Ack {
            namespace,
            id,
            arguments,
        } => {
            arguments_split(*arguments);
            Encoded::ack(namespace, *id, *arguments)
        }
    };

    let messages = frames::parse(encoded.frames());
    let by_accessor = encoded
        .text()
        .map(|text| frames::Frame::Text(text.to_owned()));
    let binary = encoded
        .attachments()
        .map(|data| frames::Frame::Binary(data.to_vec()));
    assert_eq!(
        messages,
        by_accessor.into_iter().chain(binary).collect::<Vec<_>>()
    );
    assert_eq!(messages.len(), 1 + arguments(packet).attachments().len());

    let mut packets = Vec::new();
    for message in &messages {
        packets.push(match message {
            frames::Frame::Text(text) => engineio::Packet::decode(text).expect("our own packet"),
            frames::Frame::Binary(data) => {
                engineio::Packet::Message(Message::Binary(data.as_slice().into()))
            }
        });
    }
    let same = same_packet(&packets, packet);
    assert!(same, "{packet:?} became {encoded:?}");

    let base64 = frames::parse(&encoded.base64_frames());
    let base64 = base64.iter().map(|frame| match frame {
        frames::Frame::Text(text) => engineio::Packet::decode(text),
        frames::Frame::Binary(data) => panic!("{data:?} is not base64"),
    });
    assert_eq!(base64.collect::<Result<Vec<_>, _>>().as_ref(), Ok(&packets));

    // Over polling a namespace cannot have come with a separator in it.
    if !encoded.text().is_some_and(|text| text.contains('\u{1e}')) {
        let mut body = Vec::new();
        encoded.append_payload(&mut body);
        let body = std::str::from_utf8(&body).expect("text and base64");
        let polled = engineio::payload::decode(body).collect::<Result<Vec<_>, _>>();
        assert_eq!(polled, Ok(packets));
    }
}

/// Whether the messages decode to `expected`. A number that names an event has become a string.
fn same_packet(messages: &[engineio::Packet<'_>], expected: &Packet<'_>) -> bool {
    let mut expected = expected.clone();
    if let Packet::Event { event, .. } = &mut expected {
        event.name_is_string = true;
    }
    let mut decoder = Decoder::default();
    let mut last = None;
    for packet in messages {
        assert!(matches!(last, None | Some(Decoded::Incomplete)));
        let engineio::Packet::Message(message) = packet else {
            panic!("{packet:?} is no message");
        };
        let decoded = match message {
            Message::Text(text) => decoder.decode_text(text),
            Message::Binary(data) => decoder.decode_binary(data),
        };
        last = Some(decoded.expect("our own packet"));
    }
    match last {
        Some(Decoded::Packet(packet)) => packet == expected,
        Some(Decoded::Binary(binary)) => binary.packet() == expected,
        _ => false,
    }
}

fn arguments_split(arguments: Arguments<'_>) {
    let list = format!("[{}]", arguments.json());
    assert!(json::is_value(&list));
    let expected: Vec<&serde_json::value::RawValue> =
        serde_json::from_str(&list).expect("checked JSON");
    let expected: Vec<_> = expected.iter().map(|value| value.get()).collect();
    assert_eq!(arguments.iter().collect::<Vec<_>>(), expected);
}

fn arguments<'a>(packet: &Packet<'a>) -> Arguments<'a> {
    match packet {
        Packet::Event { event, .. } => event.arguments,
        Packet::Ack { arguments, .. } => *arguments,
        Packet::Connect { .. } | Packet::Disconnect { .. } => Arguments::default(),
    }
}

/// How many attachments a header announces that was accepted.
fn announced(header: &[u8]) -> usize {
    let digits = header[1..].iter().take_while(|byte| byte.is_ascii_digit());
    digits.fold(0, |count, digit| count * 10 + usize::from(digit - b'0'))
}

fn encode_engine_packet(packet: &engineio::Packet<'_>) -> Encoded {
    match packet {
        engineio::Packet::Open(data) => Encoded::engine_text(&format!("0{data}")),
        engineio::Packet::Close => Encoded::engine_text("1"),
        engineio::Packet::Ping(data) => Encoded::engine_text(&format!("2{data}")),
        engineio::Packet::Pong(data) => Encoded::engine_text(&format!("3{data}")),
        engineio::Packet::Message(Message::Text(data)) => Encoded::engine_text(&format!("4{data}")),
        engineio::Packet::Message(Message::Binary(data)) => Encoded::engine_binary(data),
        engineio::Packet::Upgrade => Encoded::engine_text("5"),
        engineio::Packet::Noop => Encoded::engine_text("6"),
    }
}

/// How deep brackets are nested outside strings.
fn depth(text: &str) -> usize {
    let (mut depth, mut deepest) = (0usize, 0);
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth = depth.saturating_sub(1),
            b'"' => {
                while let Some(byte) = bytes.next() {
                    match byte {
                        b'"' => break,
                        b'\\' => drop(bytes.next()),
                        _ => {}
                    }
                }
            }
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    deepest
}
