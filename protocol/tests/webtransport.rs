//! Frames of WebTransport against what was captured of Node's server and its client.

#![allow(clippy::unwrap_used, reason = "the helpers of tests are tests, too")]

use bytes::Bytes;
use proptest::prelude::*;
use protocol::Encoded;
use protocol::socketio::Arguments;
use protocol::webtransport::{StreamError, StreamFrame, StreamReader};
use serde_json::Value;

const VECTORS: &str = include_str!("vectors/webtransport-vectors.json");
const LIMIT: usize = 1_000_000;

fn vectors(name: &str) -> Vec<Value> {
    let all: Value = serde_json::from_str(VECTORS).unwrap();
    all[name].as_array().unwrap().clone()
}

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<_> = hex.bytes().filter(u8::is_ascii_hexdigit).collect();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.chunks(2).map(byte).collect()
}

/// The packet of a vector, as the gateway queues it; `None` if there is no such packet.
fn encoded(vector: &Value) -> Option<Encoded> {
    let digit = match vector["type"].as_str()? {
        "open" => "0",
        "ping" => "2",
        "pong" => "3",
        "message" => "4",
        "upgrade" => "5",
        other => panic!("{other}"),
    };
    if let Some(count) = vector["bytes"].as_u64() {
        let data = match vector["what"].as_str()? {
            "binary 3 bytes" => vec![1, 2, 3],
            _ => vec![7; usize::try_from(count).unwrap()],
        };
        return Some(Encoded::engine_binary(&data));
    }
    let text = vector["text"].as_str().unwrap_or_default();
    let text = match text.strip_prefix('(').and_then(|it| it.split_once(' ')) {
        Some((count, _)) => "x".repeat(count.parse().unwrap()),
        None => text.to_owned(),
    };
    Some(Encoded::engine_text(&format!("{digit}{text}")))
}

fn written(packet: &Encoded) -> Vec<u8> {
    let mut all = Vec::new();
    packet.pieces(|piece| all.extend_from_slice(&piece));
    all
}

/// What comes of these pieces, one read after the other.
fn read<'a>(
    pieces: impl IntoIterator<Item = &'a [u8]>,
    limit: usize,
) -> (Vec<StreamFrame<'static>>, Result<(), StreamError>) {
    let (mut reader, mut all, mut given) = (StreamReader::new(), Vec::new(), 0);
    for mut piece in pieces {
        given += piece.len();
        loop {
            match reader.next(&mut piece, limit) {
                Ok(Some(StreamFrame::Text(text))) => {
                    all.push(StreamFrame::Text(text.into_owned().into()));
                }
                Ok(Some(StreamFrame::Binary(data))) => {
                    all.push(StreamFrame::Binary(data.into_owned().into()));
                }
                Ok(None) => break,
                Err(error) => {
                    assert!(piece.is_empty());
                    assert_eq!(reader.held(), 0);
                    return (all, Err(error));
                }
            }
        }
        assert!(piece.is_empty());
        assert!(
            reader.held() <= 64 + 2 * given,
            "{} of {given}",
            reader.held()
        );
    }
    (all, Ok(()))
}

fn text(text: &str) -> StreamFrame<'static> {
    StreamFrame::Text(text.to_owned().into())
}

#[test]
fn frames_are_those_of_node() {
    for vector in vectors("frames") {
        let what = vector["what"].as_str().unwrap();
        let expected = bytes(vector["hex"].as_str().unwrap());
        let Some(packet) = encoded(&vector) else {
            continue;
        };
        let written = written(&packet);
        match what {
            // Both peers refuse it.
            "empty binary as the library writes it (both peers refuse it)" => {
                assert_eq!(written, b"\x01b");
            }
            _ if what.contains("header only") => assert!(written.starts_with(&expected), "{what}"),
            _ => assert_eq!(written, expected, "{what}"),
        }
        let (all, end) = read([&written[..]], LIMIT);
        assert_eq!((all.len(), end), (1, Ok(())), "{what}");
    }
}

/// What stands beyond frames in the verdicts, the gateway's own tests check.
#[test]
fn verdicts_on_frames_are_those_of_node() {
    for vector in vectors("server_verdicts") {
        let what = vector["what"].as_str().unwrap();
        let sent = bytes(vector["hex"].as_str().unwrap());
        let (all, end) = read([&sent[..]], LIMIT);
        let expected = match what {
            "zero length" => (vec![], Err(StreamError::Empty)),
            "length above maxHttpBufferSize" | "length above 2^53" => {
                (vec![], Err(StreamError::TooBig))
            }
            "longer form than needed (126 for 1 byte)"
            | "header and payload in separate chunks" => (vec![text("0")], Ok(())),
            "several frames in one chunk" => (vec![text("0"), text("40")], Ok(())),
            _ => continue,
        };
        assert_eq!((all, end), expected, "{what}");
    }
}

#[test]
fn a_frame_of_exactly_the_limit_is_read_and_a_longer_one_refused_by_its_head() {
    let (all, end) = read([&b"\x034ab"[..]], 3);
    assert_eq!((all, end), (vec![text("4ab")], Ok(())));
    for head in [
        &b"\x04"[..],
        b"\x84",
        b"\x7e\x00\x04",
        b"\x7f\0\0\0\0\0\0\0\x04",
        b"\xff\xff\xff\xff\xff\xff\xff\xff\xff",
    ] {
        assert_eq!(read([head], 3), (vec![], Err(StreamError::TooBig)));
    }
}

#[test]
fn an_empty_binary_frame_is_an_empty_message_and_an_empty_text_none() {
    let (all, end) = read([&b"\x80\x80"[..]], LIMIT);
    let empty = StreamFrame::Binary(Vec::new().into());
    assert_eq!((all, end), (vec![empty.clone(), empty], Ok(())));
    assert_eq!(read([&b"\x00"[..]], LIMIT).1, Err(StreamError::Empty));
}

#[test]
fn text_is_utf8() {
    for pieces in [
        vec![&b"\x034\xc3\x28"[..]],
        vec![&b"\x034\xc3"[..], b"\x28"],
    ] {
        assert_eq!(read(pieces, LIMIT).1, Err(StreamError::InvalidUtf8));
    }
}

#[test]
fn a_claim_takes_no_memory() {
    let mut reader = StreamReader::new();
    let mut piece = &b"\xff\0\0\0\0\x3f\xff\xff\xff\x07"[..];
    assert_eq!(reader.next(&mut piece, usize::MAX), Ok(None));
    assert!(reader.held() <= 64 + 2);
}

#[test]
fn attachments_follow_their_text() {
    let attachments = [Bytes::from_static(b"\x07"), Bytes::new()];
    let event = Encoded::event("/", None, "e", Arguments::from_raw("", &attachments));
    assert_eq!(written(&event), b"\x09452-[\"e\"]\x81\x07\x01b");
}

proptest! {
    #[test]
    fn frames_come_back_however_they_are_cut(
        packets in proptest::collection::vec(
            prop_oneof![
                "[a-zé😀]{0,200}".prop_map(|text| Encoded::engine_text(&format!("4{text}"))),
                proptest::collection::vec(any::<u8>(), 1..200).prop_map(|data| Encoded::engine_binary(&data)),
            ],
            0..6,
        ),
        cuts in proptest::collection::vec(1_usize..50, 1..40),
    ) {
        let mut stream = Vec::new();
        for packet in &packets {
            packet.pieces(|piece| stream.extend_from_slice(&piece));
        }
        let whole = read([&stream[..]], LIMIT);
        prop_assert_eq!(whole.0.len(), packets.len());
        let (mut rest, mut pieces) = (&stream[..], Vec::new());
        for cut in cuts.into_iter().cycle() {
            let (piece, after) = rest.split_at(cut.min(rest.len()));
            pieces.push(piece);
            rest = after;
            if rest.is_empty() {
                break;
            }
        }
        prop_assert_eq!(read(pieces, LIMIT), whole);
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300), limit in 0_usize..400) {
        let whole = read([&bytes[..]], limit);
        prop_assert_eq!(read(bytes.chunks(1), limit), whole);
    }
}
