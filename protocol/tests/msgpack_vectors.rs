//! Packets of clients with `socket.io-msgpack-parser` against what was captured of Node's and Python's.

#![allow(clippy::unwrap_used, reason = "the helpers of tests are tests, too")]

use std::fmt::Write;

use bytes::Bytes;
use protocol::msgpack::{self, BinaryForm, Unpacker};
use protocol::socketio::{Arguments, Decoded, Packet};
use protocol::{Dialect, Encoded};
use serde_json::{Map, Value, json};

const VECTORS: &str = include_str!("vectors/msgpack-vectors.json");
const LIMIT: usize = 1_000_000;

fn vectors(name: &str) -> Vec<Value> {
    let all: Value = serde_json::from_str(VECTORS).unwrap();
    all[name].as_array().unwrap().clone()
}

fn bytes(of: &Value) -> Vec<u8> {
    let digits = of["hex"].as_str().unwrap().as_bytes().chunks(2);
    let byte = |pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.map(byte).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut hex, byte| {
        write!(hex, "{byte:02x}").unwrap();
        hex
    })
}

/// What a value of the vectors is in JSON: undefined is dropped or null, a date is text, and bytes are all alike.
fn in_json(value: &Value) -> Option<Value> {
    match value {
        Value::Array(items) => {
            let items = items
                .iter()
                .map(|item| in_json(item).unwrap_or(Value::Null));
            Some(items.collect())
        }
        Value::Object(map) if map.contains_key("$undefined") => None,
        Value::Object(map) if map.contains_key("$date") => Some(map["$date"].clone()),
        Value::Object(map) if map.contains_key("$ext0") => Some(json!({"$bin": map["$ext0"]})),
        Value::Object(map) if map.contains_key("$number") => Some(Value::Null),
        Value::Object(map) => {
            let entries = map.iter();
            let entries = entries.filter_map(|(key, value)| Some((key.clone(), in_json(value)?)));
            Some(Value::Object(entries.collect::<Map<_, _>>()))
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Some(value.clone()),
    }
}

/// JSON with placeholders, with the bytes in their places.
fn with_bytes(value: Value, attachments: &[Bytes]) -> Value {
    match value {
        Value::Array(items) => {
            let items = items.into_iter().map(|item| with_bytes(item, attachments));
            items.collect()
        }
        Value::Object(map) if map.get("_placeholder") == Some(&Value::Bool(true)) => {
            let at = map["num"].as_u64().unwrap() as usize;
            json!({"$bin": hex(&attachments[at])})
        }
        Value::Object(map) => {
            let entries = map.into_iter();
            let entries = entries.map(|(key, value)| (key, with_bytes(value, attachments)));
            Value::Object(entries.collect::<Map<_, _>>())
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value,
    }
}

fn arguments(of: Arguments<'_>) -> Vec<Value> {
    let list: Vec<Value> = serde_json::from_str(&format!("[{}]", of.json())).unwrap();
    let list = list
        .into_iter()
        .map(|item| with_bytes(item, of.attachments()));
    list.collect()
}

/// Numbers as JavaScript holds them.
fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a.as_f64() == b.as_f64(),
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b))
        }
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len()
                && a.iter()
                    .all(|(key, a)| b.get(key).is_some_and(|b| same(a, b)))
        }
        (a, b) => a == b,
    }
}

#[track_caller]
fn is_read_as(vector: &Value, expected: &Value) {
    let decoded = msgpack::decode(&bytes(vector), LIMIT);
    let Ok(Decoded::Binary(packet)) = decoded else {
        panic!("{vector}: {decoded:?}");
    };
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let data = in_json(&expected["data"]);
    match packet.packet() {
        Packet::Connect { namespace, auth } => {
            assert_eq!(
                (&expected["type"], namespace),
                (&json!(0), &*text(&expected["nsp"]))
            );
            let auth = auth.map(|auth| serde_json::from_str(auth).unwrap());
            assert_eq!(auth, data, "{vector}");
        }
        Packet::Disconnect { namespace } => {
            assert_eq!(
                (&expected["type"], namespace),
                (&json!(1), &*text(&expected["nsp"]))
            );
        }
        Packet::Event {
            namespace,
            id,
            event,
        } => {
            assert_eq!(
                (&expected["type"], namespace),
                (&json!(2), &*text(&expected["nsp"]))
            );
            assert_eq!(id, expected["id"].as_u64(), "{vector}");
            let mut all = vec![Value::from(&*event.name)];
            all.extend(arguments(event.arguments));
            assert!(
                same(&Value::from(all.clone()), &data.unwrap()),
                "{vector}: {all:?}"
            );
        }
        Packet::Ack {
            namespace,
            id,
            arguments: answer,
        } => {
            assert_eq!(
                (&expected["type"], namespace),
                (&json!(3), &*text(&expected["nsp"]))
            );
            assert_eq!(Some(id), expected["id"].as_u64());
            assert!(same(&arguments(answer).into(), &data.unwrap()), "{vector}");
        }
    }
}

#[test]
fn packets_of_clients_are_read_as_captured() {
    let mut read = 0;
    for vector in vectors("packets")
        .iter()
        .filter(|it| it["from"] == "client")
    {
        is_read_as(vector, &vector["decoded"]);
        read += 1;
    }
    for vector in vectors("python_client") {
        is_read_as(&vector, &vector["decoded"]);
        read += 1;
    }
    assert_eq!(read, 19 + 5);
}

/// What a server's captured packet says, ours says as well, without what is undefined and with bytes as bytes.
#[test]
fn packets_of_a_server_are_written_as_captured() {
    let mut written = 0;
    for vector in vectors("packets")
        .iter()
        .filter(|it| it["from"] == "server")
    {
        let captured = bytes(vector);
        let said = as_json(&captured);
        let (packet, attachments) = (&said.packet, said.attachments);
        let namespace = packet["nsp"].as_str().unwrap();
        let id = packet["id"].as_u64();
        let data = &packet["data"];
        let list = |from: usize| {
            let items = data.as_array().unwrap()[from..]
                .iter()
                .map(Value::to_string);
            items.collect::<Vec<_>>().join(",")
        };
        let encoded = match packet["type"].as_u64().unwrap() {
            0 => match data["pid"].as_str() {
                Some(pid) => {
                    Encoded::connect_recoverable(namespace, data["sid"].as_str().unwrap(), pid)
                }
                None => Encoded::connect(namespace, data["sid"].as_str().unwrap()),
            },
            1 => Encoded::disconnect(namespace),
            2 => {
                let (name, rest) = (data[0].as_str().unwrap(), list(1));
                Encoded::event(
                    namespace,
                    id,
                    name,
                    Arguments::from_raw(&rest, &attachments),
                )
            }
            3 => Encoded::ack(
                namespace,
                id.unwrap(),
                Arguments::from_raw(&list(0), &attachments),
            ),
            _ => {
                let reason = data.get("data").map(Value::to_string);
                let message = data["message"].as_str().unwrap();
                Encoded::connect_error(namespace, message, reason.as_deref())
            }
        };
        let ours = encoded.recode(Dialect::Msgpack).unwrap();
        assert_eq!(ours.text(), None);
        let ours: Vec<_> = ours.attachments().collect();
        assert_eq!(ours.len(), 1, "one message");
        let again = as_json(ours[0]);
        assert!(same(&again.packet, packet), "{vector}: {}", again.packet);
        assert_eq!(again.attachments, attachments);
        written += 1;
    }
    assert_eq!(written, 25);
}

struct Said {
    packet: Value,
    attachments: Vec<Bytes>,
}

fn as_json(bytes: &[u8]) -> Said {
    assert!(Unpacker::new(bytes).is_one_value());
    let (mut out, mut attachments) = (Vec::new(), Vec::new());
    msgpack::append_json(bytes, &mut out, &mut BinaryForm::Attach(&mut attachments)).unwrap();
    Said {
        packet: serde_json::from_slice(&out).unwrap(),
        attachments,
    }
}

/// Node refuses these, and so do we, but for what Python sends and means well.
#[test]
fn what_node_refuses_is_refused() {
    let all = vectors("rejected_by_node");
    assert_eq!(all.len(), 16);
    for vector in all {
        let decoded = msgpack::decode(&bytes(&vector), LIMIT);
        let is_meant_well = vector["what"] == "CONNECT, data nil";
        assert_eq!(decoded.is_ok(), is_meant_well, "{vector}: {decoded:?}");
    }
}

/// Node accepts these. We do, but for an id below zero, an event without a name, and one that belongs to the library.
#[test]
fn what_node_accepts_is_accepted() {
    let all = vectors("accepted_by_node");
    assert_eq!(all.len(), 14);
    for vector in all {
        let decoded = msgpack::decode(&bytes(&vector), LIMIT);
        let what = vector["what"].as_str().unwrap();
        let strict = ["id -1", "empty data array", "reserved name"];
        let is_refused = strict.iter().any(|it| what.starts_with(it));
        assert_eq!(decoded.is_err(), is_refused, "{what}: {decoded:?}");
    }
}

#[test]
fn what_is_deep_or_claims_to_be_long_is_refused() {
    let event =
        |data: &[u8]| [&b"\x83\xa4type\x02\xa3nsp\xa1/\xa4data\x92\xa1a"[..], data].concat();
    let nested = |depth: usize| event(&[vec![0x91; depth], vec![1]].concat());
    assert!(msgpack::decode(&nested(250), LIMIT).is_ok());
    for depth in [256, 300, 5000, 100_000] {
        assert!(msgpack::decode(&nested(depth), LIMIT).is_err(), "{depth}");
    }
    for data in [
        &[0xdd, 255, 255, 255, 255][..],
        &[0xdf, 255, 255, 255, 255],
        &[0xc6, 255, 255, 255, 255],
        &[0xdb, 255, 255, 255, 255],
        &[0xc9, 255, 255, 255, 255, 0],
    ] {
        assert!(msgpack::decode(&event(data), LIMIT).is_err());
    }
    let eleven = [&[0x9b][..], &[0xc4, 0].repeat(11)].concat();
    assert!(msgpack::decode(&event(&eleven), LIMIT).is_err());
}

#[test]
fn packets_of_engine_io_stay_text() {
    for text in ["2", "3", "3probe", "1", "6", "0{}"] {
        assert_eq!(Encoded::engine_text(text).recode(Dialect::Msgpack), None);
    }
    let event = Encoded::event_at("/n", "a", Arguments::from_raw("1", &[]), "p.1");
    let base64 = event.recode(Dialect::MsgpackBase64).unwrap();
    assert!(base64.text().unwrap().starts_with("bg6R0eXBl"));
    let said = event.recode(Dialect::Msgpack).unwrap();
    let said = as_json(said.attachments().next().unwrap());
    assert_eq!(
        said.packet,
        json!({"type": 2, "data": ["a", 1, "p.1"], "nsp": "/n"})
    );
}
