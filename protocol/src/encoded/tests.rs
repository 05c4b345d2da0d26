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
