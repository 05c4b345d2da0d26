//! Engine.IO 3 against what was captured of Node's servers and of clients of Socket.IO 1 and 2.

#![allow(clippy::unwrap_used, reason = "the helpers of tests are tests, too")]

use std::borrow::Cow;

use bytes::Bytes;
use protocol::engineio::{Message, Packet, Revision, old_payload};
use protocol::socketio::{Arguments, Decoder};
use protocol::{Dialect, Encoded, OldPayload};
use serde_json::Value;

const VECTORS: &str = include_str!("vectors/eio3-vectors.json");
const FLOWS: &str = include_str!("vectors/eio3-flows.json");

fn vectors(name: &str) -> Vec<Value> {
    let all: Value = serde_json::from_str(VECTORS).unwrap();
    all[name].as_array().unwrap().clone()
}

fn bytes(hex: &str) -> Vec<u8> {
    let digits = hex.as_bytes().chunks(2);
    let byte = |pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.map(byte).collect()
}

/// A packet of the vectors: its type and its data, text or `{hex}`.
fn packet(of: &Value) -> Packet<'static> {
    let text = of[1].as_str().unwrap_or_default().to_owned();
    let text: &'static str = text.leak();
    match of[0].as_str().unwrap() {
        "close" => Packet::Close,
        "ping" => Packet::Ping(text),
        "pong" => Packet::Pong(text),
        "noop" => Packet::Noop,
        "message" => Packet::Message(match of[1]["hex"].as_str() {
            Some(hex) => Message::Binary(Cow::Owned(bytes(hex))),
            None => Message::Text(text),
        }),
        other => panic!("{other}"),
    }
}

/// The same as the gateway queues it.
fn encoded(packet: &Packet<'_>, dialect: Dialect) -> Encoded {
    let encoded = match packet {
        Packet::Message(Message::Binary(data)) => Encoded::engine_binary(data),
        Packet::Message(Message::Text(text)) => Encoded::engine_text(&format!("4{text}")),
        Packet::Close => Encoded::engine_text("1"),
        Packet::Ping(data) => Encoded::engine_text(&format!("2{data}")),
        Packet::Pong(data) => Encoded::engine_text(&format!("3{data}")),
        Packet::Open(_) | Packet::Upgrade | Packet::Noop => Encoded::engine_text("6"),
    };
    encoded.recode(dialect).unwrap_or(encoded)
}

fn dialect(vector: &Value) -> Dialect {
    Dialect::of(
        Revision::Three,
        !vector["supports_binary"].as_bool().unwrap(),
    )
}

#[test]
fn payloads_are_written_and_read_as_captured() {
    let all = vectors("payloads");
    assert_eq!(all.len(), 38);
    for vector in all {
        let name = &vector["name"];
        let packets: Vec<_> = vector["packets"]
            .as_array()
            .unwrap()
            .iter()
            .map(packet)
            .collect();
        let is_binary = vector["content_type"] == "application/octet-stream";
        let captured = match vector["text"].as_str() {
            Some(text) => text.as_bytes().to_vec(),
            None => bytes(vector["hex"].as_str().unwrap()),
        };

        let queued: Vec<_> = packets
            .iter()
            .map(|it| encoded(it, dialect(&vector)))
            .collect();
        let payload = OldPayload::take(queued.iter());
        assert_eq!(
            (payload.packets(), payload.is_binary()),
            (queued.len(), is_binary),
            "{name}"
        );
        let mut body = Vec::new();
        payload.write(&mut body, false);
        match packets.is_empty() {
            // The gateway answers no poll with nothing.
            true => assert!(body.is_empty()),
            false => assert_eq!(body, captured, "{name}"),
        }

        let text = String::from_utf8_lossy(&captured);
        let read: Result<Vec<_>, _> = match is_binary {
            true => old_payload::Packets::of_binary(&captured).collect(),
            false => old_payload::Packets::of_text(&text).collect(),
        };
        let expected = match packets.is_empty() {
            true => vec![Packet::Noop],
            false => packets,
        };
        assert_eq!(read, Ok(expected), "{name}");
    }
}

#[test]
fn packets_are_written_and_read_as_captured() {
    let all = vectors("packets");
    assert_eq!(all.len(), 8);
    for vector in all {
        let packet = packet(&serde_json::json!([vector["type"], vector["data"]]));
        let encoded = encoded(&packet, dialect(&vector));
        if let Some(text) = vector["text_frame"].as_str() {
            assert_eq!(encoded.text(), Some(text));
            assert_eq!(Packet::decode_old(text), Ok(packet));
        } else {
            let frame = bytes(vector["binary_frame_hex"].as_str().unwrap());
            assert_eq!(encoded.attachments().collect::<Vec<_>>(), [&frame]);
            assert_eq!(Packet::decode_old_binary(frame.into()), Ok(packet));
        }
    }
}

/// All that the clients sent in whole sessions is read to its end, by Engine.IO and by Socket.IO.
#[test]
fn what_clients_sent_is_read() {
    let flows: Value = serde_json::from_str(FLOWS).unwrap();
    let mut packets = 0;
    for (client, steps) in sessions(&flows) {
        let mut decoder = Decoder::default();
        for step in steps.iter().filter(|step| step["dir"] == "c>s") {
            let body = step["body"].as_str().map(|text| text.as_bytes().to_vec());
            let body = body.or_else(|| step["body_hex"].as_str().map(bytes));
            let is_binary = step["content_type"] == "application/octet-stream";
            let text = step["text"].as_str().map(Packet::decode_old);
            let binary = step["binary_hex"].as_str().map(bytes);
            let frame = text.or_else(|| binary.map(|data| Packet::decode_old_binary(data.into())));
            if let Some(frame) = frame {
                packets += read(&mut decoder, &frame.unwrap(), client);
            } else if let Some(body) = body {
                let text = String::from_utf8_lossy(&body).into_owned();
                let all: Result<Vec<_>, _> = match is_binary {
                    true => old_payload::Packets::of_binary(&body).collect(),
                    false => old_payload::Packets::of_text(&text).collect(),
                };
                for packet in all.unwrap_or_else(|error| panic!("{client}: {error}: {step}")) {
                    packets += read(&mut decoder, &packet, client);
                }
            }
        }
    }
    assert!(packets > 100, "{packets} packets");
}

/// Each session with what went over its connections, in order.
fn sessions(flows: &Value) -> Vec<(&str, &Vec<Value>)> {
    let mut found = Vec::new();
    for (client, value) in flows.as_object().unwrap() {
        // JSONP is not served.
        let all = value.as_object().into_iter().flatten();
        for (_, steps) in all.filter(|(name, _)| *name != "jsonp") {
            found.extend(steps.as_array().map(|steps| (client.as_str(), steps)));
        }
    }
    assert!(found.len() > 6);
    found
}

fn read(decoder: &mut Decoder, packet: &Packet<'_>, client: &str) -> usize {
    let decoded = match packet {
        Packet::Message(Message::Text(text)) => decoder
            .decode_text_of(Revision::Three, text)
            .map(|_| text.len()),
        Packet::Message(Message::Binary(data)) => decoder.decode_binary(data).map(|_| data.len()),
        Packet::Open(_)
        | Packet::Close
        | Packet::Ping(_)
        | Packet::Pong(_)
        | Packet::Upgrade
        | Packet::Noop => Ok(0),
    };
    decoded.unwrap_or_else(|error| panic!("{client}: {packet:?}: {error}"));
    1
}

/// A client that counts in another way reads the escaped text as well: bytes, units and characters are as many.
#[test]
fn escaped_text_has_one_length() {
    let attachments = [Bytes::from_static(b"x")];
    let json = r#""é€😀",{"_placeholder":true,"num":0}"#;
    let event = Encoded::event("/", None, "😀", Arguments::from_raw(json, &attachments));
    let event = event.recode(Dialect::OldBase64).unwrap();
    let mut body = Vec::new();
    OldPayload::take([&event].into_iter()).write(&mut body, true);
    assert!(body.is_ascii());
    let text = String::from_utf8(body).unwrap();
    let read: Result<Vec<_>, _> = old_payload::Packets::of_text(&text).collect();
    let Packet::Message(Message::Text(header)) = &read.unwrap()[0] else {
        panic!("{text}");
    };
    let array: Value = serde_json::from_str(header.split_once('-').unwrap().1).unwrap();
    assert_eq!(array[0], "😀");
    assert_eq!(array[1], "é€😀");
}
