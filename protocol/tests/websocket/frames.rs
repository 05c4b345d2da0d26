//! The promise of the fuzz target, with input generated near what is legal.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use protocol::websocket::frame::CloseCode;
use protocol::websocket::reader::Received;

use super::properties::pieces::{check, read};

proptest! {
    #[test]
    fn messages_come_out_as_they_went_in(
        messages in vec((message(), vec(any::<Index>(), 0..4), any::<[u8; 4]>()), 0..8),
        sizes in vec(1..300_usize, 1..5),
    ) {
        let mut stream = Vec::new();
        let mut sent = Vec::new();
        for (message, cuts, mask) in messages {
            encode_message(&message, &cuts, mask, &mut stream, &mut sent);
            sent.push(message);
        }
        prop_assert_eq!(read(&stream, &sizes, 1000), (sent, None));
    }

    #[test]
    fn pieces_change_nothing(
        frames in vec(frame(), 0..12),
        end in any::<Index>(),
        sizes in vec(1..300_usize, 1..5),
        limit in 0..400_usize,
    ) {
        let stream = frames.concat();
        let stream = &stream[..end.index(stream.len() + 1)];
        let whole = read(stream, &[stream.len().max(1)], limit);
        prop_assert_eq!(read(stream, &sizes, limit), whole.clone());
        prop_assert_eq!(read(stream, &[1], limit), whole);
    }

    #[test]
    fn any_bytes_are_read(data in vec(any::<u8>(), 0..600)) {
        check(&data);
    }
}

fn message() -> impl Strategy<Value = Received<'static>> {
    prop_oneof![
        any::<String>().prop_map(|text| Received::Text(text.into())),
        vec(any::<u8>(), 0..1000).prop_map(|bytes| Received::Binary(bytes.into())),
        vec(any::<u8>(), 0..=125).prop_map(|payload| Received::Ping(payload.into())),
        Just(Received::Pong),
        (3000..5000_u16).prop_map(|code| Received::Close(CloseCode::new(code))),
        Just(Received::Close(None)),
    ]
}

/// A frame, rarely a faulty one.
fn frame() -> impl Strategy<Value = Vec<u8>> {
    let first = prop_oneof![
        20 => prop::sample::select(vec![0x81, 0x82, 0x01, 0x00, 0x00, 0x80, 0x80, 0x89, 0x8a]),
        1 => any::<u8>(),
    ];
    let payload = prop_oneof![
        6 => "\\PC{0,40}".prop_map(String::into_bytes),
        1 => prop::sample::select(vec![&b"\xe2\x82"[..], b"\xac", b"\xf0\x9f", b"\x98\x80"])
            .prop_map(<[u8]>::to_vec),
        1 => vec(any::<u8>(), 0..200),
    ];
    let least = prop_oneof![20 => Just(0), 1 => Just(2), 1 => Just(8)];
    (first, payload, least, any::<[u8; 4]>()).prop_map(|(first, payload, least, mask)| {
        let mut frame = Vec::new();
        encode(first, &payload, least, mask, &mut frame);
        frame
    })
}

/// Writes a message; one of data in fragments, with a ping after each but the last.
fn encode_message(
    message: &Received<'_>,
    cuts: &[Index],
    mask: [u8; 4],
    stream: &mut Vec<u8>,
    sent: &mut Vec<Received<'static>>,
) {
    let (opcode, payload) = match message {
        Received::Text(text) => (0x1, text.as_bytes()),
        Received::Binary(bytes) => (0x2, &bytes[..]),
        Received::Ping(payload) => return encode(0x89, payload, 0, mask, stream),
        Received::Pong => return encode(0x8a, b"", 0, mask, stream),
        Received::Close(Some(code)) => {
            return encode(0x88, &u16::from(*code).to_be_bytes(), 0, mask, stream);
        }
        Received::Close(None) => return encode(0x88, b"", 0, mask, stream),
    };
    let mut cuts: Vec<_> = cuts.iter().map(|it| it.index(payload.len() + 1)).collect();
    cuts.sort_unstable();
    let mut start = 0;
    for (index, end) in cuts.iter().enumerate() {
        let opcode = if index == 0 { opcode } else { 0 };
        encode(opcode, &payload[start..*end], 0, mask, stream);
        encode(0x89, &[index as u8], 0, mask, stream);
        sent.push(Received::Ping(vec![index as u8].into()));
        start = *end;
    }
    let opcode = if cuts.is_empty() { opcode } else { 0 };
    encode(0x80 | opcode, &payload[start..], 0, mask, stream);
}

/// Writes a frame whose long length has at least `least` bytes.
fn encode(first: u8, payload: &[u8], least: usize, mask: [u8; 4], stream: &mut Vec<u8>) {
    stream.push(first);
    let length = payload.len();
    if length < 126 && least == 0 {
        stream.push(0x80 | length as u8);
    } else if length <= usize::from(u16::MAX) && least <= 2 {
        stream.push(0x80 | 126);
        stream.extend((length as u16).to_be_bytes());
    } else {
        stream.push(0x80 | 127);
        stream.extend((length as u64).to_be_bytes());
    }
    stream.extend(mask);
    stream.extend(payload.iter().zip(mask.iter().cycle()).map(|(a, b)| a ^ b));
}
