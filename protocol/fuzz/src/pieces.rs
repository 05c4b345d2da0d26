//! What the reader promises of any stream: it never panics, keeps no more than it was given, and
//! yields the same however the stream is cut.

use protocol::websocket::frame::FrameError;
use protocol::websocket::reader::{Reader, Received};

/// More than the reader keeps besides the bytes of a message: its own fields, and a control frame
/// whose bytes arrive one by one.
const FIXED: usize = 512;

/// All that came out of a stream.
pub type Outcome = (Vec<Received<'static>>, Option<FrameError>);

/// Takes a fuzzer's bytes as limit, sizes of pieces, and stream, and holds the reader to its word.
pub fn check(data: &[u8]) {
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
pub fn read(stream: &[u8], sizes: &[usize], limit: usize) -> Outcome {
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
