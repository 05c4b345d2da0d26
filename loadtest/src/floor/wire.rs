//! The little of the protocol that the floor has to speak, with no care for anything else.

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

/// Takes a client's bytes.
#[derive(Debug, Default)]
pub(crate) struct Unmasker {
    upgraded: bool,
    partial: Vec<u8>,
}

impl Unmasker {
    /// All requests that are complete now; `None` ends the connection.
    pub(crate) fn take(&mut self, bytes: &[u8]) -> Option<Vec<Request>> {
        self.partial.extend_from_slice(bytes);
        let mut requests = Vec::new();
        if !self.upgraded {
            let Some(end) = find(&self.partial, b"\r\n\r\n") else {
                return Some(requests);
            };
            // The accept key that belongs to the one key that this tool's clients send.
            let mut reply = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                              Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
                .to_vec();
            let open = br#"0{"sid":"floor","upgrades":[],"pingInterval":25000,"pingTimeout":20000,"maxPayload":1000000}"#;
            reply.extend(frame(&[open]));
            requests.push(Request::Reply(reply));
            self.partial.drain(..end + 4);
            self.upgraded = true;
        }
        while let Some((payload, len)) = unmask(&self.partial)? {
            self.partial.drain(..len);
            requests.extend(request(&payload));
        }
        Some(requests)
    }
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
    let payload = parts.concat();
    let mut frame = vec![0x81];
    match payload.len() {
        len @ 0..126 => frame.push(len as u8),
        len @ 126..0x1_0000 => {
            frame.push(126);
            frame.extend_from_slice(&(len as u16).to_be_bytes());
        }
        len => {
            frame.push(127);
            frame.extend_from_slice(&(len as u64).to_be_bytes());
        }
    }
    frame.extend(payload);
    frame
}

/// The first frame's payload and length, if it is complete. Anything but masked text is refused.
fn unmask(bytes: &[u8]) -> Option<Option<(Vec<u8>, usize)>> {
    let (head, len) = match *bytes {
        [0x81, second, ..] if (128..254).contains(&second) => (2, usize::from(second - 128)),
        [0x81, 254, high, low, ..] => (4, usize::from(u16::from_be_bytes([high, low]))),
        [] | [0x81] | [0x81, 254, ..] => return Some(None),
        _ => return None,
    };
    let Some(mask) = bytes.get(head..head + 4) else {
        return Some(None);
    };
    let body = bytes.get(head + 4..head + 4 + len);
    Some(body.map(|body| {
        let payload = body
            .iter()
            .zip(mask.iter().cycle())
            .map(|(byte, mask)| byte ^ mask);
        (payload.collect(), head + 4 + len)
    }))
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::websocket::write_frame;

    fn upgraded() -> Unmasker {
        let mut unmasker = Unmasker::default();
        let requests = unmasker.take(b"GET / HTTP/1.1\r\n\r\n").unwrap();
        assert_eq!(requests.len(), 1);
        unmasker
    }

    #[test]
    fn events_become_ready_frames() {
        let mut bytes = Vec::new();
        write_frame(1, br#"420["join","r1"]"#, &mut bytes);
        write_frame(1, br#"42["publish","r1","m","xyz"]"#, &mut bytes);
        write_frame(1, br#"427["echo","abc"]"#, &mut bytes);
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
            let mut unmasker = upgraded();
            let requests: Vec<_> = bytes
                .chunks(size)
                .flat_map(|chunk| unmasker.take(chunk).unwrap())
                .collect();
            assert_eq!(requests, expected);
        }
    }

    #[test]
    fn an_unmasked_frame_ends_the_connection() {
        assert_eq!(upgraded().take(&[0x81, 1, b'4']), None);
    }
}
