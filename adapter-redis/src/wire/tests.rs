use std::time::Duration;

use adapter::recovery::{LogName, Position};
use adapter::{
    ArgumentsBuf, Broadcast, Entries, EventBuf, Flags, List, ListRequest, Piece, Selection,
    SocketDetails, TraceContext,
};
use bytes::Bytes;
use proptest::prelude::*;
use protocol::socketio::{Decoded, Decoder, Packet};

use super::*;

const CLASSIC: Format = Format::Classic {
    specific_responses: false,
};
const SHARDED: Format = Format::Sharded(SubscriptionMode::Dynamic);

#[test]
fn odd_broadcasts_are_tolerated() {
    let table: [(&[u8], Selection); 9] = [
        (
            b"\x93\xa1u\x82\xa4type\x02\xa4data\x91\xa1e\x80",
            Selection::everybody(),
        ),
        (
            b"\x93\xa1u\x82\xa4type\x02\xa4data\x91\xa1e\x81\xa5rooms\xc0",
            Selection::everybody(),
        ),
        (
            b"\x93\xa1u\x81\xa4data\x91\xa1e\x81\xa5rooms\x91\xd0\x2a",
            Selection::room("42"),
        ),
        (
            b"\x93\xa1u\x81\xa4data\x91\xa1e\x81\xa5rooms\x91\xcb\x3f\xf8\0\0\0\0\0\0",
            Selection::room("1.5"),
        ),
        (
            b"\x93\xa1u\x81\xa4data\x91\xa1e\x81\xa5rooms\x91\xc0",
            Selection::room("null"),
        ),
        (
            b"\x93\xa1u\x81\xa4data\x91\xa1e\x82\xa5rooms\xa1r\xa5other\x01",
            Selection::room("r"),
        ),
        (
            b"\x94\xc4\x01u\x81\xa4data\x91\xa1e\x81\xa5flags\x82\xa8volatile\x01\xa4what\x02\x05",
            Selection {
                flags: Flags {
                    volatile: true,
                    ..Flags::default()
                },
                ..Selection::default()
            },
        ),
        // What is no trace context is none, and does no harm.
        (
            b"\x93\xa1u\x81\xa4data\x91\xa1e\x82\xabtraceparent\xa5wrong\xa5rooms\xa1r",
            Selection::room("r"),
        ),
        (
            b"\x93\xa1u\x81\xa4data\x91\xa1e\x82\xabtraceparent\x07\xa5rooms\xa1r",
            Selection::room("r"),
        ),
    ];
    for (payload, selection) in table {
        let Ok(Content::Message(ClusterMessage::Broadcast(broadcast), None)) =
            read(CLASSIC, Kind::Broadcast, payload)
        else {
            panic!("{}", payload.escape_ascii());
        };
        assert_eq!(broadcast.selection, selection, "{}", payload.escape_ascii());
        assert_eq!(broadcast.event.name, "e");
    }
}

#[test]
fn what_a_store_put_in_order_is_read_back_and_nothing_else() {
    let namespace = "/";
    let wire = Wire {
        format: CLASSIC,
        namespace: namespace.into(),
        channels: Channels::new("socket.io", namespace),
        uid: Uid::new(CLASSIC, 1, namespace),
        node: NodeId::new("gw-1").unwrap(),
        max_message: 1 << 20,
    };
    let event = EventBuf {
        name: "hi".to_owned(),
        arguments: ArgumentsBuf::from_json("1.50,[null]"),
    };
    let mut selection = Selection::room("b").to("a").except("c");
    selection.flags.trace =
        TraceContext::parse(&[&b"00-"[..], &[b'a'; 32], b"-", &[b'b'; 16], b"-01"].concat());
    assert!(selection.flags.trace.is_some());
    let prepared = wire.encode_ordered(&selection, &event, 2).unwrap();
    assert_eq!(prepared.channel, "socket.io#/#");
    let place = |number: u64| format!("{number:016}");
    let message = |offset: &str, order: &str| {
        let parts = [&prepared.before, offset.as_bytes(), &prepared.behind];
        [&parts.concat(), order.as_bytes()].concat()
    };
    let order = [7, 8, 9].map(place).concat();
    let offset = format!("AAAAAAAA.{}", place(10));
    let whole = message(&offset, &order);
    let ordered = |payload: &[u8]| {
        let mut text = String::new();
        let envelope = CLASSIC.open(Kind::Broadcast, payload, &mut text).ok()?;
        envelope.ordered()
    };
    let read = ordered(&whole).unwrap().unwrap();
    assert_eq!(read.era.number(), 7);
    assert_eq!(read.entry.position.number(), 10);
    assert_eq!(read.entry.selection, selection);
    assert_eq!(read.entry.body, event.to_body());
    let before = [("a", 8), ("b", 9)].map(|(room, at)| (LogName::room(room), Position::new(at)));
    assert_eq!(read.before, before);
    // Servers that know nothing of it find the offset as the last argument.
    let Ok(Content::Message(ClusterMessage::Broadcast(plain), None)) =
        self::read(CLASSIC, Kind::Broadcast, &whole)
    else {
        panic!("no broadcast");
    };
    assert_eq!(plain.event.name, "hi");

    let bad = [
        message(&offset.replace('.', "-"), &order),
        message(&offset.replace('1', "x"), &order),
        message(&offset, &order.replace('7', "x")),
        message(&offset, &"9".repeat(48)),
    ];
    for payload in bad {
        let read = ordered(&payload).unwrap();
        assert_eq!(
            read,
            Err(DecodeError::WrongShape),
            "{}",
            payload.escape_ascii()
        );
    }
    for index in 0..whole.len() {
        for byte in [0, 0x90, 0xc0, 0xff] {
            let mut changed = whole.clone();
            changed[index] = byte;
            // Whatever it is now, it is read without a panic.
            let _ = ordered(&changed);
            let _ = ordered(&whole[..index]);
        }
    }
    let mut text = String::new();
    let plain = b"\x93\xa1u\x81\xa4data\x91\xa1e\x80";
    let plain = CLASSIC.open(Kind::Broadcast, plain, &mut text).unwrap();
    assert_eq!(plain.ordered(), None);
}

#[test]
fn a_namespace_left_out_is_the_main_one() {
    let mut text = String::new();
    let payload = b"\x93\xa1u\x81\xa4data\x91\xa1e\x80";
    let envelope = CLASSIC.open(Kind::Broadcast, payload, &mut text).unwrap();
    assert_eq!(envelope.namespace.as_deref(), Some("/"));
    assert_eq!(envelope.uid, "u");
}

#[test]
fn what_would_make_clients_disconnect_is_refused() {
    let table: [(&[u8], DecodeError); 6] = [
        (
            b"\x93\xa1u\x81\xa4data\x91\xa7connect\x80",
            DecodeError::BadEvent,
        ),
        (b"\x93\xa1u\x81\xa4data\x90\x80", DecodeError::BadEvent),
        (b"\x93\xa1u\x81\xa4data\x91\xc0\x80", DecodeError::BadEvent),
        (b"\x93\xa1u\x80\x80", DecodeError::WrongShape),
        (
            b"\x93\xa1u\x82\xa4type\x01\xa4data\x91\xa1e\x80",
            DecodeError::WrongShape,
        ),
        (
            b"\x93\xa1u\x81\xa4data\x93\xa1e\xc4\x00\x81\xac_placeholder\xc3\x80",
            DecodeError::IllegalPlaceholder,
        ),
    ];
    for (payload, error) in table {
        let result = read(CLASSIC, Kind::Broadcast, payload);
        assert_eq!(result, Err(error), "{}", payload.escape_ascii());
    }
}

#[test]
fn what_cannot_be_understood_never_selects_more() {
    for opts in ["\"x\"", "[]", "{\"rooms\":{}}", "{\"rooms\":true}"] {
        let payload = format!("{{\"uid\":\"u\",\"type\":4,\"opts\":{opts},\"close\":true}}");
        assert_eq!(
            read(CLASSIC, Kind::Request, payload.as_bytes()),
            Err(DecodeError::WrongShape),
            "{opts}"
        );
    }
    for kind in [2, 3, 4, 5, 7] {
        let payload = format!("{{\"uid\":\"u\",\"type\":{kind},\"rooms\":[\"r\"]}}");
        assert_eq!(
            read(CLASSIC, Kind::Request, payload.as_bytes()),
            Err(DecodeError::WrongShape),
            "{kind}"
        );
    }
}

#[test]
fn requests_of_old_nodes_select_one_socket() {
    let payload = br#"{"type":2,"sid":"abc","room":"r","requestId":"q"}"#;
    let Ok(Content::Message(message, Some(reply_to))) = read(CLASSIC, Kind::Request, payload)
    else {
        panic!("not read");
    };
    let (selection, rooms) = (Selection::room("abc"), vec!["r".to_owned()]);
    assert_eq!(message, ClusterMessage::Join { selection, rooms });
    let answer = wire(CLASSIC)
        .encode_answer(&reply_to, &Answer::Done)
        .unwrap();
    assert_eq!(answer.payload, br#"{"requestId":"q","node":"gw-1"}"#);

    let payload = br#"{"type":0,"uid":"u","rooms":["r"],"requestId":"q"}"#;
    let Ok(Content::Message(message, Some(_))) = read(CLASSIC, Kind::Request, payload) else {
        panic!("not read");
    };
    let selection = Selection::room("r");
    assert_eq!(message, ClusterMessage::SocketIds { selection });
}

#[test]
fn unknown_kinds_are_ignored() {
    let table = [
        (CLASSIC, Kind::Request, r#"{"uid":"u","type":77}"#),
        (CLASSIC, Kind::Response, r#"{"requestId":"q","type":77}"#),
        (
            SHARDED,
            Kind::Broadcast,
            r#"{"type":1,"uid":"u","nsp":"/"}"#,
        ),
        (
            SHARDED,
            Kind::Broadcast,
            r#"{"type":99,"data":{},"uid":"u","nsp":"/"}"#,
        ),
    ];
    for (format, kind, payload) in table {
        assert_eq!(read(format, kind, payload.as_bytes()), Ok(Content::Ignored));
    }
}

#[test]
fn invalid_utf8_in_json_is_replaced() {
    let payload = b"{\"uid\":\"u\",\"type\":6,\"data\":[\"e\",\"\xff\"]}";
    let Ok(Content::Message(ClusterMessage::ServerSideEmit(event), None)) =
        read(CLASSIC, Kind::Request, payload)
    else {
        panic!("not read");
    };
    assert_eq!(event.arguments.json, "\"\u{fffd}\"");
}

#[test]
fn answers_to_gateway_nodes_go_to_their_own_channel() {
    let mut to = ReplyTo {
        request: RequestId::new("q"),
        uid: "CpMBke".to_owned(),
        node: None,
    };
    let answer = Answer::Rooms(vec![]);
    let channel = |format, to: &ReplyTo| wire(format).encode_answer(to, &answer).unwrap().channel;
    assert_eq!(channel(CLASSIC, &to), "socket.io-response#/#");
    let specific_responses = true;
    let specific = Format::Classic { specific_responses };
    assert_eq!(channel(specific, &to), "socket.io-response#/#CpMBke#");
    to.node = NodeId::new("gw-2").ok();
    assert_eq!(channel(CLASSIC, &to), "socket.io-response#/#CpMBke#");
    assert_eq!(channel(SHARDED, &to), "socket.io#/#CpMBke#");
}

#[test]
fn lists_and_their_pieces_come_back_as_they_were() {
    let socket = SocketDetails {
        id: "a".to_owned(),
        handshake: "{}".to_owned(),
        rooms: vec!["a".to_owned(), "r".to_owned()],
        data: "{}".to_owned(),
        extra: Some("{\"node\":\"n\"}".to_owned()),
    };
    let counts = vec![(String::new(), 3), ("\"ö".to_owned(), 1 << 40)];
    let pieces = [
        (Entries::Sockets(vec![socket]), true),
        (Entries::Counts(counts), false),
    ];
    for (format, answered) in [(CLASSIC, Kind::Response), (SHARDED, Kind::Broadcast)] {
        let (asking, request) = (wire(format), RequestId::new("q"));
        let asked = if format == CLASSIC {
            Kind::Request
        } else {
            Kind::Broadcast
        };
        for name in ["sockets", "handshakes", "rooms", "all_rooms", "users"] {
            let message = ClusterMessage::List(ListRequest {
                list: List::from_name(name).unwrap(),
                selection: Selection::room("r").except("x"),
                after: Some("\"".to_owned()).filter(|_| name != "rooms"),
                limit: 7,
                bytes: 1 << 33,
            });
            let sent = asking.encode(&message, Some(&request)).unwrap();
            let read = read(format, asked, &sent.payload).unwrap();
            let Content::Message(came, Some(reply_to)) = read else {
                panic!("{read:?}");
            };
            assert_eq!((came, &reply_to.request), (message, &request));
        }
        let to = ReplyTo {
            request: request.clone(),
            uid: "u".to_owned(),
            node: None,
        };
        for (entries, more) in pieces.clone() {
            let cut = !more;
            let answer = Answer::Piece(Piece { entries, more, cut });
            let sent = asking.encode_answer(&to, &answer).unwrap();
            let read = read(format, answered, &sent.payload).unwrap();
            let Content::Response(came) = read else {
                panic!("{read:?}");
            };
            assert_eq!(came.answer, answer);
        }
    }
}

#[test]
fn a_trace_and_its_lines_are_read_back() {
    let words = r#"{"user":"ann \"x\""}"#;
    let message = ClusterMessage::Trace(words.to_owned());
    let answer = Answer::Lines(vec![r#"{"what":"sent"}"#.to_owned(), String::new()]);
    for (format, asked, answered) in [
        (CLASSIC, Kind::Request, Kind::Response),
        (SHARDED, Kind::Broadcast, Kind::Broadcast),
    ] {
        let asking = wire(format);
        let sent = asking.encode(&message, Some(&RequestId::new("r1".to_owned())));
        let came = read(format, asked, &sent.unwrap().payload).unwrap();
        let Content::Message(read_back, Some(to)) = came else {
            panic!("{came:?}");
        };
        assert_eq!(read_back, message);
        let sent = asking.encode_answer(&to, &answer).unwrap();
        let Content::Response(came) = read(format, answered, &sent.payload).unwrap() else {
            panic!("no response");
        };
        assert_eq!(
            (came.answer, came.node.unwrap().as_str()),
            (answer.clone(), "gw-1")
        );
    }
}

#[test]
fn a_request_for_others_is_left_to_them() {
    let selection = Selection::room("r");
    let message = ClusterMessage::FetchSockets { selection };
    for (format, kind) in [(CLASSIC, Kind::Request), (SHARDED, Kind::Broadcast)] {
        let wire = wire(format);
        let sent = wire
            .encode_for_others(&message, &RequestId::new("q"))
            .unwrap();
        assert_eq!(read(format, kind, &sent.payload), Ok(Content::Ignored));
        let shown: serde_json::Value = serde_json::from_slice(&sent.payload).unwrap();
        assert_eq!(shown["others"], true);
    }
}

#[test]
fn too_large_messages_are_not_sent() {
    let mut wire = wire(CLASSIC);
    wire.max_message = 100;
    let event = |length| {
        ClusterMessage::ServerSideEmit(EventBuf {
            name: "e".to_owned(),
            arguments: ArgumentsBuf::from_json(format!("\"{}\"", "x".repeat(length))),
        })
    };
    assert!(wire.encode(&event(20), None).is_ok());
    assert_eq!(wire.encode(&event(200), None), Err(EncodeError::TooLarge));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        for format in [CLASSIC, SHARDED] {
            for kind in [Kind::Broadcast, Kind::Request, Kind::Response] {
                let _ = read(format, kind, &bytes);
            }
        }
    }

    #[test]
    fn changed_messages_never_panic(
        message in message(),
        position in any::<prop::sample::Index>(),
        byte in any::<u8>(),
        is_sharded in any::<bool>(),
    ) {
        let format = if is_sharded { SHARDED } else { CLASSIC };
        let outgoing = wire(format).encode(&message, None).unwrap();
        let mut payload = outgoing.payload;
        let position = position.index(payload.len());
        payload[position] = byte;
        for kind in [Kind::Broadcast, Kind::Request, Kind::Response] {
            let _ = read(format, kind, &payload);
            let _ = read(format, kind, &payload[..position]);
        }
    }

    #[test]
    fn messages_come_back_as_they_were(
        message in message(),
        wants_answer in any::<bool>(),
        is_sharded in any::<bool>(),
    ) {
        let format = if is_sharded { SHARDED } else { CLASSIC };
        let wire = wire(format);
        let request = wants_answer.then(|| RequestId::new("q"));
        let outgoing = wire.encode(&message, request.as_ref()).unwrap();
        let kind = match outgoing.channel.starts_with("socket.io-request#") {
            true => Kind::Request,
            false => Kind::Broadcast,
        };
        let mut text = String::new();
        let envelope = format.open(kind, &outgoing.payload, &mut text).unwrap();
        prop_assert_eq!(&envelope.uid, wire.uid.as_str());
        let content = envelope.content().unwrap();
        let Content::Message(read, reply_to) = content else {
            panic!("{content:?}");
        };
        prop_assert_eq!(read, message);
        prop_assert_eq!(reply_to.is_some(), wants_answer);
    }

    #[test]
    fn what_a_client_sent_reaches_other_nodes_as_it_was_written(
        (arguments, attachments) in written(),
        is_sharded in any::<bool>(),
    ) {
        let count = attachments.len();
        let head = if count > 0 { format!("5{count}-") } else { "2".to_owned() };
        let packet = format!("{head}[\"e\",{arguments}]");
        let mut decoder = Decoder::default();
        let mut decoded = decoder.decode_text(&packet);
        for attachment in &attachments {
            if let Ok(Decoded::Incomplete) = decoded {
                decoded = decoder.decode_binary(attachment);
            }
        }
        let packet;
        let event = match &decoded {
            Ok(Decoded::Packet(Packet::Event { event, .. })) => event,
            Ok(Decoded::Binary(binary)) => {
                packet = binary.packet();
                let Packet::Event { event, .. } = &packet else { panic!("{packet:?}") };
                event
            }
            Ok(_) | Err(_) => return Err(TestCaseError::reject("not accepted")),
        };
        let event = EventBuf { name: event.name.to_string(), arguments: event.arguments.into() };
        prop_assert!(event.arguments.as_arguments().are_legal());
        let format = if is_sharded { SHARDED } else { CLASSIC };
        for (request, message) in [
            (None, ClusterMessage::Broadcast(Broadcast {
                selection: Selection::room("r"),
                event: event.clone(),
            })),
            (Some(RequestId::new("q")), ClusterMessage::Broadcast(Broadcast {
                selection: Selection::everybody(),
                event: event.clone(),
            })),
            (Some(RequestId::new("q")), ClusterMessage::ServerSideEmit(event.clone())),
        ] {
            let outgoing = wire(format).encode(&message, request.as_ref()).unwrap();
            let kind = match outgoing.channel.starts_with("socket.io-request#") {
                true => Kind::Request,
                false => Kind::Broadcast,
            };
            let content = read(format, kind, &outgoing.payload);
            let Ok(Content::Message(read, _)) = content else { panic!("{content:?}") };
            prop_assert_eq!(read, message);
        }
        let to = ReplyTo { request: RequestId::new("q"), uid: "u".to_owned(), node: None };
        let json = event.arguments.as_arguments().iter().next().unwrap_or_default().to_owned();
        let answer = Answer::Ack(ArgumentsBuf { json, ..event.arguments });
        let outgoing = wire(format).encode_answer(&to, &answer).unwrap();
        let content = read(format, Kind::Response, &outgoing.payload);
        let Ok(Content::Response(response)) = content else { panic!("{content:?}") };
        prop_assert_eq!(response.answer, answer);
    }

    #[test]
    fn answers_come_back_as_they_were(answer in answer(), is_sharded in any::<bool>()) {
        let format = if is_sharded { SHARDED } else { CLASSIC };
        let to = ReplyTo { request: RequestId::new("q"), uid: "u".to_owned(), node: None };
        let outgoing = wire(format).encode_answer(&to, &answer).unwrap();
        let content = read(format, Kind::Response, &outgoing.payload).unwrap();
        let Content::Response(response) = content else {
            panic!("{content:?}");
        };
        prop_assert_eq!(response.answer, answer);
        prop_assert_eq!(response.node, NodeId::new("gw-1").ok());
    }
}

#[test]
fn a_broadcast_to_a_room_goes_by_the_way_that_is_asked_for() {
    let event = EventBuf {
        name: "e".to_owned(),
        arguments: ArgumentsBuf::from_json("1"),
    };
    let selection = Selection::room("r");
    let message = ClusterMessage::Broadcast(Broadcast { selection, event });
    for format in [CLASSIC, SHARDED] {
        let narrow = wire(format).encode(&message, None).unwrap();
        let wide = wire(format).encode_to_namespace(&message).unwrap();
        assert_eq!(narrow.channel, "socket.io#/#r#");
        assert_eq!(wide.channel, "socket.io#/#");
        assert_eq!(narrow.payload, wide.payload);
    }
}

fn wire(format: Format) -> Wire {
    Wire {
        format,
        namespace: "/".into(),
        channels: Channels::new("socket.io", "/"),
        uid: Uid::new(format, 1, "/"),
        node: NodeId::new("gw-1").unwrap(),
        max_message: 1 << 20,
    }
}

fn read(format: Format, kind: Kind, payload: &[u8]) -> Result<Content, DecodeError> {
    let mut text = String::new();
    format.open(kind, payload, &mut text)?.content()
}

fn message() -> impl Strategy<Value = ClusterMessage> {
    let rooms = || prop::collection::vec(".*", 0..4);
    prop_oneof![
        (selection(), event()).prop_map(|(selection, event)| {
            ClusterMessage::Broadcast(Broadcast { selection, event })
        }),
        event().prop_map(ClusterMessage::ServerSideEmit),
        (plain_selection(), rooms())
            .prop_map(|(selection, rooms)| ClusterMessage::Join { selection, rooms }),
        (plain_selection(), rooms())
            .prop_map(|(selection, rooms)| ClusterMessage::Leave { selection, rooms }),
        (plain_selection(), any::<bool>())
            .prop_map(|(selection, close)| ClusterMessage::Disconnect { selection, close }),
        plain_selection().prop_map(|selection| ClusterMessage::FetchSockets { selection }),
        Just(ClusterMessage::AllRooms),
    ]
}

fn answer() -> impl Strategy<Value = Answer> {
    let socket = (".*", value(), prop::collection::vec(".*", 0..3), value()).prop_map(
        |(id, handshake, rooms, data)| SocketDetails {
            id,
            handshake: handshake.json,
            rooms,
            data: data.json,
            extra: Some("{\"user\":\"ann\"}".to_owned()),
        },
    );
    prop_oneof![
        (0..1u64 << 50).prop_map(Answer::ClientCount),
        prop_oneof![value(), binary_value(), Just(ArgumentsBuf::default())].prop_map(Answer::Ack),
        prop_oneof![value(), binary_value(), Just(ArgumentsBuf::default())]
            .prop_map(Answer::ServerSide),
        prop::collection::vec(socket, 0..3).prop_map(Answer::Sockets),
        prop::collection::vec(".*", 0..4).prop_map(Answer::Rooms),
    ]
}

fn plain_selection() -> impl Strategy<Value = Selection> {
    let names = || prop::collection::vec(".*", 0..3);
    (names(), names()).prop_map(|(rooms, except)| Selection {
        rooms,
        except,
        flags: Flags::default(),
    })
}

fn selection() -> impl Strategy<Value = Selection> {
    let flags = (
        any::<bool>(),
        any::<Option<bool>>(),
        prop::option::of(0..1u64 << 40),
        any::<bool>(),
        prop::option::of((1..u128::MAX, 1..u64::MAX, any::<bool>())),
    );
    (plain_selection(), flags).prop_map(|(selection, flags)| {
        let (volatile, compress, timeout, single, trace) = flags;
        Selection {
            flags: Flags {
                volatile,
                local: false,
                compress,
                timeout: timeout.map(Duration::from_millis),
                expect_single_response: single,
                trace: trace.map(|(trace, span, is_sampled)| TraceContext {
                    trace: trace.to_be_bytes(),
                    span: span.to_be_bytes(),
                    is_sampled,
                }),
            },
            ..selection
        }
    })
}

fn event() -> impl Strategy<Value = EventBuf> {
    let arguments = prop_oneof![value(), binary_value(), Just(ArgumentsBuf::default())];
    ("[a-z]{1,5} \\PC*", arguments).prop_map(|(name, arguments)| EventBuf { name, arguments })
}

/// JSON as our writer would write it, so that it can be compared as text.
fn value() -> impl Strategy<Value = ArgumentsBuf> {
    let scalar = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(serde_json::Value::from),
        any::<i64>().prop_map(serde_json::Value::from),
        any::<u64>().prop_map(serde_json::Value::from),
        (-1e6..1e6).prop_filter_map("whole", |it: f64| (it.fract() != 0.0).then(|| it.into())),
        "\\PC*".prop_map(serde_json::Value::from),
    ];
    let value = scalar.prop_recursive(4, 40, 20, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..20).prop_map(serde_json::Value::from),
            prop::collection::btree_map("[a-z]{0,8}", inner, 0..20)
                .prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
        ]
    });
    value.prop_map(|value| ArgumentsBuf::from_json(value.to_string()))
}

/// Arguments as clients may write them: odd numbers, escapes, white space, placeholders that are
/// none, named twice, or not at all, nested as deep as it gets.
fn written() -> impl Strategy<Value = (String, Vec<Vec<u8>>)> {
    let scalar = prop::sample::select(vec![
        "null",
        "true",
        "0",
        "-0",
        "1.0",
        "1E400",
        "-1e-400",
        "0.1",
        "1.50",
        "0.0000001",
        "1e21",
        "9007199254740993",
        "18446744073709551616",
        "123456789012345678901234567890",
        "3.141592653589793238462643",
        r#""""#,
        r#""a""#,
        r#""\u0061\/\ud83d\ude00""#,
        r#""\ud800""#,
        r#""é\n""#,
        "{}",
        r#"{"_placeholder":false}"#,
        r#"{"_placeholder":false,"num":0}"#,
        r#"{"_placeholder":true,"num":0}"#,
        r#"{"_placeholder":true,"num":1}"#,
        r#"{ "num" : 1, "_placeholder":true }"#,
        r#"{"x":{"_placeholder":true,"num":1},"_placeholder":true,"num":0}"#,
        r#"{"_placeholder":true,"num":0,"num":1}"#,
        r#"{"a":1,"a":2,"":3,"__proto__":4}"#,
        r#"{"num":18446744073709551616}"#,
    ]);
    let value = scalar
        .prop_map(str::to_owned)
        .prop_recursive(3, 12, 4, |inner| {
            let space = prop::sample::select(vec!["", " ", "\n\t"]);
            prop_oneof![
                (prop::collection::vec(inner.clone(), 0..4), space)
                    .prop_map(|(values, space)| format!("[{space}{}{space}]", values.join(","))),
                (prop::collection::vec(inner.clone(), 0..4)).prop_map(|values| {
                    let entries = values.iter().map(|value| format!("\"k\": {value}"));
                    format!("{{{}}}", entries.collect::<Vec<_>>().join(" ,"))
                }),
                (inner, 0..=255_usize)
                    .prop_map(|(value, deep)| "[".repeat(deep) + &value + &"]".repeat(deep)),
            ]
        });
    let values = prop::collection::vec(value, 1..4);
    let attachments = prop::collection::vec(prop::collection::vec(any::<u8>(), 0..4), 0..3);
    (values, prop::sample::select(vec![",", " , "]), attachments)
        .prop_map(|(values, comma, attachments)| (values.join(comma), attachments))
}

fn binary_value() -> impl Strategy<Value = ArgumentsBuf> {
    let attachments = prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 1..10);
    attachments.prop_map(|attachments| {
        let places = (0..attachments.len())
            .map(|num| format!("{{\"a\":[{{\"_placeholder\":true,\"num\":{num}}}]}}"));
        ArgumentsBuf {
            json: format!("[{}]", places.collect::<Vec<_>>().join(",")),
            attachments: attachments.into_iter().map(Bytes::from).collect(),
        }
    })
}
