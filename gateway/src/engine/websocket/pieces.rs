//! What the reader promises of any stream: it never panics, keeps no more than it was given, and
//! yields the same however the stream is cut. Shared with the fuzz target `frames`.

use super::reader::{FrameError, Reader, Received};

/// More than the reader keeps besides the bytes of a message: its own fields, and a control frame
/// whose bytes arrive one by one.
const FIXED: usize = 512;

/// All that came out of a stream.
pub(crate) type Outcome = (Vec<Received<'static>>, Option<FrameError>);

/// Takes a fuzzer's bytes as limit, sizes of pieces, and stream, and holds the reader to its word.
pub(crate) fn check(data: &[u8]) {
    let Some(([limit, first, second, third], stream)) = data.split_first_chunk() else {
        return;
    };
    let limit = 8 * usize::from(*limit);
    let sizes = [first, second, third].map(|size| usize::from(*size) + 1);
    let whole = read(stream, &[stream.len().max(1)], limit);
    assert_eq!(read(stream, &sizes, limit), whole);
    assert_eq!(read(stream, &[1], limit), whole);
}

/// Reads a stream in pieces of these sizes, over and over.
pub(crate) fn read(stream: &[u8], sizes: &[usize], limit: usize) -> Outcome {
    let mut reader = Reader::new();
    let mut received = Vec::new();
    let mut scratch = stream.to_vec();
    let mut unread = &mut scratch[..];
    for size in sizes.iter().cycle() {
        if unread.is_empty() {
            break;
        }
        let (mut input, rest) = unread.split_at_mut((*size).min(unread.len()));
        unread = rest;
        loop {
            match reader.next(&mut input, limit) {
                Ok(Some(it)) => received.push(into_owned(it)),
                Ok(None) => break,
                Err(error) => {
                    assert!(input.is_empty() && reader.held() == 0);
                    return (received, Some(error));
                }
            }
        }
        assert!(input.is_empty());
        let given = stream.len() - unread.len();
        assert!(reader.held() <= FIXED + (2 * given).min(limit));
    }
    (received, None)
}

fn into_owned(received: Received<'_>) -> Received<'static> {
    match received {
        Received::Text(text) => Received::Text(text.into_owned().into()),
        Received::Binary(bytes) => Received::Binary(bytes.into_owned().into()),
        Received::Ping(payload) => Received::Ping(payload.into_owned().into()),
        Received::Pong => Received::Pong,
        Received::Close(code) => Received::Close(code),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use proptest::collection::vec;
    use proptest::prelude::*;
    use proptest::sample::Index;

    use super::*;

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

    #[test]
    fn what_the_fuzzer_found_interesting_is_read() -> std::io::Result<()> {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/frames");
        let mut files = 0;
        for file in fs::read_dir(corpus)? {
            check(&fs::read(file?.path())?);
            files += 1;
        }
        assert!(files > 0);
        Ok(())
    }

    fn message() -> impl Strategy<Value = Received<'static>> {
        prop_oneof![
            any::<String>().prop_map(|text| Received::Text(text.into())),
            vec(any::<u8>(), 0..1000).prop_map(|bytes| Received::Binary(bytes.into())),
            vec(any::<u8>(), 0..=125).prop_map(|payload| Received::Ping(payload.into())),
            Just(Received::Pong),
            (3000..5000_u16).prop_map(|code| Received::Close(Some(code))),
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
                return encode(0x88, &code.to_be_bytes(), 0, mask, stream);
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
}
