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
