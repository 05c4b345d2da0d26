//! The properties of the fuzz targets, with input generated near what is legal.

#[path = "../fuzz/src/lib.rs"]
pub mod properties;

use std::borrow::Cow;

use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;
use protocol::engineio;
use protocol::socketio::{Arguments, Event, Packet, is_reserved};
use serde_json::{Value, json};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn bytes_never_panic(data in vec(any::<u8>(), 0..200)) {
        properties::packet(&data);
        properties::payload(&data);
        properties::old_payload(&data);
        properties::msgpack(&data);
        properties::attachments(&data);
    }

    #[test]
    fn near_msgpack_comes_back(kind in 0..6u8, id in vec(any::<u8>(), 0..2), data in near_msgpack()) {
        let head = [&b"\x84\xa3nsp\xa2/n\xa4type"[..], &[kind], b"\xa2id"].concat();
        let id = if id.is_empty() { vec![0xd4, 0, 0] } else { id };
        properties::msgpack(&[head, id, b"\xa4data\x92\xa1a".to_vec(), data].concat());
    }

    #[test]
    fn near_old_payloads_come_back(parts in vec(near_old_packet(), 0..20)) {
        properties::old_payload(&parts.concat());
    }

    #[test]
    fn near_packets_are_judged_as_by_the_reference(head in near_head(), json in near_json()) {
        let packet = head + &json;
        properties::packet(packet.as_bytes());
        properties::packet(format!("4{packet}").as_bytes());
    }

    #[test]
    fn near_placeholders_are_judged_as_by_the_reference(json in near_placeholders()) {
        for packet in [format!("52-[\"a\",{json}]"), format!("62-1[{json}]")] {
            properties::packet(packet.as_bytes());
        }
    }

    #[test]
    fn json_is_judged_as_by_serde_json(json in near_json()) {
        properties::json(&json);
    }

    #[test]
    fn json_that_is_cut_or_changed_is_judged_as_by_serde_json(
        value in tree(),
        at in any::<prop::sample::Index>(),
        instead in token(),
    ) {
        let json = value.to_string();
        let at = json.floor_char_boundary(at.index(json.len() + 1));
        let next = json.ceil_char_boundary((at + 1).min(json.len()));
        properties::json(&json);
        properties::json(&json[..at]);
        properties::json(&json[at..]);
        properties::json(&format!("{}{}", &json[..at], &json[next..]));
        properties::json(&format!("{}{instead}{}", &json[..at], &json[at..]));
        properties::json(&format!("{}{instead}{}", &json[..at], &json[next..]));
    }

    #[test]
    fn base64_is_read_as_by_node(text in "b([A-Za-z0-9+/_=\\-]|[ \r\n!é€]){0,40}={0,3}") {
        properties::packet(text.as_bytes());
    }

    #[test]
    fn payloads_come_back(packets in vec(engine_packet(), 1..12)) {
        let mut body = Vec::new();
        for packet in packets {
            if !body.is_empty() {
                body.push(engineio::payload::SEPARATOR);
            }
            body.extend_from_slice(packet.as_bytes());
        }
        properties::payload(&body);
    }

    #[test]
    fn packets_come_back(packet in socket_packet()) {
        properties::encodes_again(&packet.borrowed());
    }

    #[test]
    fn sessions_keep_count_of_their_attachments(lines in vec(session_line(), 0..20)) {
        properties::attachments(lines.concat().as_bytes());
    }
}

/// An event or an ack that holds what its [`Packet`] borrows.
#[derive(Debug)]
struct Owned {
    namespace: String,
    id: Option<u64>,
    /// `None`: an ack.
    name: Option<String>,
    json: String,
    attachments: Vec<Bytes>,
}

impl Owned {
    fn borrowed(&self) -> Packet<'_> {
        let namespace = &self.namespace;
        let arguments = Arguments::from_raw(&self.json, &self.attachments);
        match &self.name {
            Some(name) => Packet::Event {
                namespace,
                id: self.id,
                event: Event {
                    name: Cow::Borrowed(name),
                    name_is_string: true,
                    arguments,
                },
            },
            None => Packet::Ack {
                namespace,
                id: self.id.unwrap_or_default(),
                arguments,
            },
        }
    }
}

fn socket_packet() -> impl Strategy<Value = Owned> {
    let namespace = prop_oneof![Just("/".to_owned()), "/[a-z€?=\"{}0-9 ]{0,20}"];
    let name = prop_oneof![any::<String>(), "[a-z ]{0,20}"]
        .prop_filter("reserved", |name| !is_reserved(name));
    let attachment = prop_oneof![
        20 => vec(any::<u8>(), 0..10),
        2 => Just(vec![7; 126]),
        1 => Just(vec![7; 70_000])
    ];
    (
        namespace,
        any::<Option<u64>>(),
        proptest::option::of(name),
        vec(tree(), 0..5),
        vec(attachment, 0..=10),
    )
        .prop_map(|(namespace, id, name, mut values, attachments)| {
            for num in 0..attachments.len() {
                values.push(json!([{"_placeholder": true, "num": num}]));
            }
            let values: Vec<_> = values.iter().map(Value::to_string).collect();
            Owned {
                namespace,
                id,
                name,
                json: values.join(","),
                attachments: attachments.into_iter().map(Bytes::from).collect(),
            }
        })
}

fn engine_packet() -> impl Strategy<Value = String> {
    let binary = vec(any::<u8>(), 0..30).prop_map(|data| {
        let mut body = Vec::new();
        protocol::Encoded::engine_binary(&data).append_payload(&mut body);
        String::from_utf8(body).expect("base64 is text")
    });
    let any_text = "[0-6b7]?[^\u{1e}]{0,30}";
    prop_oneof![binary, any_text, Just("2probe".to_owned())]
}

fn tree() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 40, 6, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..6).prop_map(Value::from),
            proptest::collection::hash_map(any::<String>(), inner, 0..6)
                .prop_map(|members| members.into_iter().collect()),
        ]
    })
}

fn near_head() -> impl Strategy<Value = String> {
    let kind = vec!["0", "1", "2", "2", "3", "4", "5", "6", "7", ""];
    let count = vec!["", "", "0-", "1-", "2-", "10-", "11-", "-", "1"];
    let namespace = vec!["", "", "/,", "/n,", "/n", "/é,"];
    let id = vec![
        "",
        "",
        "0",
        "17",
        "18446744073709551615",
        "18446744073709551616",
    ];
    let parts = [kind, count, namespace, id].map(prop::sample::select);
    parts.prop_map(|parts| parts.concat())
}

/// Pieces of JSON, strung together at random or within one array.
fn near_json() -> impl Strategy<Value = String> {
    let pieces = vec(token(), 0..16).prop_map(|tokens| tokens.concat());
    let list = vec(token(), 0..6).prop_map(|tokens| format!("[{}]", tokens.join(",")));
    let string = vec(token(), 0..6).prop_map(|tokens| format!("\"{}\"", tokens.concat()));
    prop_oneof![pieces, list, string]
}

fn token() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        "\"",
        "\\",
        "\\\"",
        "\\\\",
        "\\n",
        "\\u",
        "\\u0041",
        "\\ud83d",
        "\\ude00",
        "00e9",
        "0",
        "1",
        "-",
        "+",
        ".",
        "e",
        "E",
        "12",
        "0.5e-3",
        "true",
        "false",
        "null",
        "nul",
        " ",
        "\n",
        "\t",
        "\r",
        "\u{1}",
        "\u{1f}",
        "\u{7f}",
        "é",
        "€",
        "😀",
        "\u{a0}",
        "[]",
        "{}",
        "\"a\"",
        "\"connect\"",
        "\"conn\\u0065ct\"",
        "{\"a\":1}",
        "\"12345678\"",
        "abcdefgh",
    ])
}

/// Objects out of members that make placeholders, and arrays of them.
fn near_placeholders() -> impl Strategy<Value = String> {
    let key = prop::sample::select(vec![
        "\"_placeholder\"",
        "\"\\u005fplaceholder\"",
        "\"num\"",
        "\"n\\u0075m\"",
        "\"_placeholder \"",
        "\"\\ud800\"",
        "\"x\"",
    ]);
    let scalar = prop::sample::select(vec![
        "true",
        "false",
        "null",
        "0",
        "1",
        "2",
        "-0",
        "-1",
        "0.5",
        "1.0",
        "1e0",
        "00",
        "\"true\"",
        "\"0\"",
        "18446744073709551616",
        "{}",
        "[]",
        "[0]",
        " 0 ",
    ])
    .prop_map(str::to_owned);
    scalar.prop_recursive(4, 30, 5, move |inner| {
        let member = (key.clone(), inner.clone()).prop_map(|(key, value)| format!("{key}:{value}"));
        prop_oneof![
            vec(member, 0..5).prop_map(|members| format!("{{{}}}", members.join(","))),
            vec(inner, 0..3).prop_map(|values| format!("[{}]", values.join(" , "))),
        ]
    })
}

fn session_line() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "51-[\"a\",{\"_placeholder\":true,\"num\":0}]\n",
        "51-[\"a\",{\"_placeholder\":true,\"num\":0}]\nbfirst\n",
        "52-/n,[\"a\",{\"_placeholder\":true,\"num\":1}]\nbfirst\nb\n",
        "62-1[]\nb1\nb2\n",
        "61-[]\nb1\n",
        "51-\nb\n",
        "2[\"a\"]\n",
        "31[]\n",
        "2\n",
        "0\n",
        "0/n,{\"token\":\"x\"}\n",
        "1/n,\n",
        "b\n",
        "b\u{1e}\n",
    ])
}

/// A packet of a payload of revision 3, text or binary, with a length that is seldom wrong.
fn near_old_packet() -> impl Strategy<Value = Vec<u8>> {
    let text = ("[0-9b]{0,1}[4é€😀a]{0,12}", 0..3usize).prop_map(|(packet, wrong)| {
        let length = packet.encode_utf16().count() + wrong / 2;
        format!("{length}:{packet}").into_bytes()
    });
    let binary = (0..3u8, vec(any::<u8>(), 0..30), 0..3usize).prop_map(|(kind, data, wrong)| {
        let length = (data.len() + wrong / 2).to_string();
        let digits = length.bytes().map(|digit| digit - b'0');
        let head = [kind].into_iter().chain(digits).chain([255]);
        head.chain(data).collect()
    });
    prop_oneof![text, binary]
}

/// A value in msgpack, seldom an illegal one.
fn near_msgpack() -> impl Strategy<Value = Vec<u8>> {
    let leaf = prop_oneof![
        Just(vec![0xc0]),
        Just(vec![0xd4, 0, 0]),
        (0..=255u8, vec(any::<u8>(), 0..9)).prop_map(|(head, rest)| [vec![head], rest].concat()),
        any::<f64>().prop_map(|number| [&[0xcb][..], &number.to_be_bytes()].concat()),
        any::<i64>().prop_map(|number| [&[0xd3][..], &number.to_be_bytes()].concat()),
        "[a-z\u{e9}\u{1e}\"]{0,9}"
            .prop_map(|text| { [&[0xd9, text.len() as u8][..], text.as_bytes()].concat() }),
        vec(any::<u8>(), 0..9).prop_map(|data| [vec![0xc4, data.len() as u8], data].concat()),
        Just(b"\x82\xac_placeholder\xc3\xa3num\x00".to_vec()),
    ];
    leaf.prop_recursive(4, 40, 6, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..6).prop_map(|items| [
                vec![0x90 | items.len() as u8],
                items.concat()
            ]
            .concat()),
            vec(inner, 0..6).prop_map(|items| {
                let count = 0x80 | items.len() as u8;
                let entries = items.into_iter().enumerate();
                let entries = entries.map(|(key, value)| [vec![key as u8], value].concat());
                [vec![count], entries.collect::<Vec<_>>().concat()].concat()
            }),
        ]
    })
}
