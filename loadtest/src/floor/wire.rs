//! The little of the protocol that the floor has to speak, with no care for anything else.

use std::mem;

use protocol::websocket::frame::{OpCode, push_frame};
use protocol::websocket::reader::{Reader, Received};

/// What a client wants.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Request {
    /// Send these bytes back.
    Reply(Vec<u8>),
    /// Be in a room; then send the ack.
    Join {
        /// Its name.
        room: Vec<u8>,
        /// A ready frame.
        ack: Vec<u8>,
    },
    /// Send a frame to a room.
    Publish {
        /// Its name.
        room: Vec<u8>,
        /// A ready frame.
        frame: Vec<u8>,
    },
}

/// The longest message of a client.
const MAX_MESSAGE: usize = 65_535;

/// What a client's bytes are: the head of its one request, then frames.
#[derive(Debug)]
pub(crate) enum Requests {
    /// The head as far as it is there.
    Head(Vec<u8>),
    Frames(Reader),
}

impl Requests {
    /// At the start of a connection.
    pub(crate) const fn new() -> Self {
        Self::Head(Vec::new())
    }

    /// All requests that are complete now; `None` ends the connection.
    pub(crate) fn take(&mut self, bytes: &mut [u8]) -> Option<Vec<Request>> {
        match self {
            Self::Head(head) => {
                head.extend_from_slice(bytes);
                let Some(end) = find(head, b"\r\n\r\n") else {
                    return Some(Vec::new());
                };
                let mut read = mem::take(head);
                let mut reader = Reader::new();
                let mut requests = vec![Request::Reply(greeting())];
                take_frames(&mut reader, &mut read[end + 4..], &mut requests)?;
                *self = Self::Frames(reader);
                Some(requests)
            }
            Self::Frames(reader) => {
                let mut requests = Vec::new();
                take_frames(reader, bytes, &mut requests)?;
                Some(requests)
            }
        }
    }
}

/// The handshake's answer, and the packet that opens the session.
fn greeting() -> Vec<u8> {
    // The accept key that belongs to the one key that this tool's clients send.
    let mut reply =
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                      Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
            .to_vec();
    let open = br#"0{"sid":"floor","upgrades":[],"pingInterval":25000,"pingTimeout":20000,"maxPayload":1000000}"#;
    push_frame(&mut reply, OpCode::Text, &[open]);
    reply
}

/// Anything but text is refused.
fn take_frames(
    reader: &mut Reader,
    mut bytes: &mut [u8],
    requests: &mut Vec<Request>,
) -> Option<()> {
    while let Some(received) = reader.next(&mut bytes, MAX_MESSAGE).ok()? {
        match received {
            Received::Text(packet) => requests.extend(request(packet.as_bytes())),
            Received::Binary(_) | Received::Ping(_) | Received::Pong | Received::Close(_) => {
                return None;
            }
        }
    }
    Some(())
}

fn request(packet: &[u8]) -> Option<Request> {
    if packet.starts_with(b"40") {
        return Some(Request::Reply(frame(&[br#"40{"sid":"floor"}"#])));
    }
    let event = packet.strip_prefix(b"42")?;
    let (id, event) = event.split_at(find(event, b"[")?);
    if let Some(rest) = event.strip_prefix(b"[\"publish\",\"") {
        let (room, rest) = rest.split_at(find(rest, b"\",")?);
        return Some(Request::Publish {
            room: room.to_vec(),
            frame: frame(&[b"42[", &rest[2..]]),
        });
    }
    if let Some(room) = event.strip_prefix(b"[\"join\",\"") {
        let room = room.strip_suffix(b"\"]")?.to_vec();
        let ack = frame(&[b"43", id, br#"[{"ok":true}]"#]);
        return Some(Request::Join { room, ack });
    }
    let args = event.strip_prefix(b"[\"echo\",")?;
    Some(Request::Reply(frame(&[b"43", id, b"[", args])))
}

fn frame(parts: &[&[u8]]) -> Vec<u8> {
    let mut frame = Vec::new();
    push_frame(&mut frame, OpCode::Text, parts);
    frame
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::websocket::write_frame;

    fn upgraded() -> Requests {
        let mut client = Requests::new();
        let requests = client.take(&mut b"GET / HTTP/1.1\r\n\r\n".to_vec());
        assert_eq!(requests.map(|it| it.len()), Some(1));
        client
    }

    #[test]
    fn events_become_ready_frames() {
        let mut bytes = Vec::new();
        write_frame(OpCode::Text, br#"420["join","r1"]"#, &mut bytes);
        write_frame(OpCode::Text, br#"42["publish","r1","m","xyz"]"#, &mut bytes);
        write_frame(OpCode::Text, br#"427["echo","abc"]"#, &mut bytes);
        let expected = [
            Request::Join {
                room: b"r1".to_vec(),
                ack: frame(&[br#"430[{"ok":true}]"#]),
            },
            Request::Publish {
                room: b"r1".to_vec(),
                frame: frame(&[br#"42["m","xyz"]"#]),
            },
            Request::Reply(frame(&[br#"437["abc"]"#])),
        ];
        for size in [1, 5, 1000] {
            let mut client = upgraded();
            let requests: Vec<_> = bytes
                .chunks(size)
                .flat_map(|chunk| client.take(&mut chunk.to_vec()).unwrap())
                .collect();
            assert_eq!(requests, expected);
        }
    }

    #[test]
    fn frames_may_come_with_the_request() {
        let mut bytes = b"GET / HTTP/1.1\r\n\r\n".to_vec();
        write_frame(OpCode::Text, br#"427["echo","abc"]"#, &mut bytes);
        let requests = Requests::new().take(&mut bytes).unwrap();
        assert_eq!(requests.len(), 2);
        assert_eq!(requests[1], Request::Reply(frame(&[br#"437["abc"]"#])));
    }

    #[test]
    fn what_is_no_masked_text_ends_the_connection() {
        assert_eq!(upgraded().take(&mut [0x81, 1, b'4']), None);
        assert_eq!(upgraded().take(&mut [0x89, 0x80, 0, 0, 0, 0]), None);
    }
}
