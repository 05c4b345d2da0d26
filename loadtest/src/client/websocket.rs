//! The WebSocket transport: the handshake by hand, masked frames out, a scan of the frames that come in.

use super::Target;
use super::engine::{self, Event, Failure, Reply};

/// One session over a WebSocket.
#[derive(Debug)]
pub(crate) struct Session {
    upgraded: bool,
    /// Bytes of a frame, or of the response's head, that is not complete yet.
    partial: Vec<u8>,
    /// `40` and the payload of CONNECT.
    connect: Box<[u8]>,
}

impl Session {
    /// Writes the upgrade request.
    pub(crate) fn open(target: &Target, connect: &[u8], out: &mut Vec<u8>) -> Self {
        out.extend_from_slice(&target.upgrade_request);
        Self {
            upgraded: false,
            partial: Vec::new(),
            connect: [b"40", connect].concat().into(),
        }
    }

    /// Takes received bytes, split anywhere.
    pub(crate) fn handle_bytes(
        &mut self,
        bytes: &[u8],
        out: &mut Vec<u8>,
        on: &mut impl FnMut(Event<'_>),
    ) -> Result<(), Failure> {
        if self.partial.is_empty() {
            let used = self.scan(bytes, out, on)?;
            self.partial.extend_from_slice(&bytes[used..]);
            return Ok(());
        }
        let mut joined = std::mem::take(&mut self.partial);
        joined.extend_from_slice(bytes);
        let used = self.scan(&joined, out, on)?;
        if used < joined.len() {
            joined.drain(..used);
            self.partial = joined;
        }
        Ok(())
    }

    /// Sends one packet in one frame.
    pub(crate) fn send(&mut self, packet: &[u8], out: &mut Vec<u8>) {
        write_frame(TEXT, packet, out);
    }

    /// Takes all complete frames and says how many bytes that was.
    fn scan(
        &mut self,
        bytes: &[u8],
        out: &mut Vec<u8>,
        on: &mut impl FnMut(Event<'_>),
    ) -> Result<usize, Failure> {
        let mut at = 0;
        if !self.upgraded {
            let Some(end) = head_end(bytes) else {
                return Ok(0);
            };
            if !bytes.starts_with(b"HTTP/1.1 101") {
                return Err(Failure::Status);
            }
            self.upgraded = true;
            at = end;
        }
        while let Some(frame) = Frame::read(&bytes[at..])? {
            at += frame.len;
            match frame.opcode {
                TEXT => match engine::handle_packet(frame.payload, on)? {
                    Reply::Nothing => {}
                    Reply::Pong => write_frame(TEXT, b"3", out),
                    Reply::Connect => write_frame(TEXT, &self.connect, out),
                },
                CLOSE => return Err(Failure::Closed),
                PING => write_frame(PONG, frame.payload, out),
                BINARY | PONG => {}
                _ => return Err(Failure::Protocol),
            }
        }
        Ok(at)
    }
}

const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

/// Any mask is legal; it is not zero, so that the server has to work as for a real client.
const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// Appends one masked frame.
pub(crate) fn write_frame(opcode: u8, payload: &[u8], out: &mut Vec<u8>) {
    out.push(0x80 | opcode);
    let len = payload.len();
    match len {
        0..126 => out.push(0x80 | len as u8),
        126..0x1_0000 => {
            out.push(0x80 | 126);
            out.extend_from_slice(&(len as u16).to_be_bytes());
        }
        _ => {
            out.push(0x80 | 127);
            out.extend_from_slice(&(len as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(&MASK);
    let masked = payload.iter().zip(MASK.iter().cycle());
    out.extend(masked.map(|(byte, mask)| byte ^ mask));
}

struct Frame<'a> {
    opcode: u8,
    payload: &'a [u8],
    len: usize,
}

impl<'a> Frame<'a> {
    /// The frame at the beginning of `bytes`, or `None` while it is not complete. Servers do not split their messages.
    fn read(bytes: &'a [u8]) -> Result<Option<Self>, Failure> {
        let (head, len) = match *bytes {
            [first, ..] if first & 0xf0 != 0x80 => return Err(Failure::Protocol),
            [_, second, ..] if second < 126 => (2, usize::from(second)),
            [_, 126, high, low, ..] => (4, usize::from(u16::from_be_bytes([high, low]))),
            [_, 127, a, b, c, d, e, f, g, h, ..] => {
                let len = u64::from_be_bytes([a, b, c, d, e, f, g, h]);
                if len > MAX_FRAME {
                    return Err(Failure::Protocol);
                }
                (10, len as usize)
            }
            [_, second, ..] if second > 127 => return Err(Failure::Protocol),
            _ => return Ok(None),
        };
        Ok(bytes.get(head..head + len).map(|payload| Self {
            opcode: bytes[0] & 0x0f,
            payload,
            len: head + len,
        }))
    }
}

/// No server under test has a reason to send more at once.
const MAX_FRAME: u64 = 64 << 20;

fn head_end(bytes: &[u8]) -> Option<usize> {
    let at = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
    Some(at + 4)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session(out: &mut Vec<u8>) -> Session {
        let target = Target::parse("http://127.0.0.1:1", "/socket.io/").unwrap();
        Session::open(&target, br#"{"token":"t"}"#, out)
    }

    fn server_frame(payload: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0x81];
        match payload.len() {
            len @ 0..126 => bytes.push(len as u8),
            len @ 126..0x1_0000 => {
                bytes.push(126);
                bytes.extend((len as u16).to_be_bytes());
            }
            len => {
                bytes.push(127);
                bytes.extend((len as u64).to_be_bytes());
            }
        }
        bytes.extend(payload);
        bytes
    }

    fn unmask(frame: &[u8]) -> Vec<u8> {
        assert_eq!(frame[1] & 0x80, 0x80);
        let mask = &frame[2..6];
        let payload = frame[6..].iter().zip(mask.iter().cycle());
        payload.map(|(byte, mask)| byte ^ mask).collect()
    }

    fn conversation() -> Vec<u8> {
        let mut bytes = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n".to_vec();
        bytes.extend(server_frame(br#"0{"sid":"s","pingInterval":25000}"#));
        bytes.extend(server_frame(br#"40{"sid":"x"}"#));
        let long = format!(r#"42["m","{}"]"#, "x".repeat(300));
        bytes.extend(server_frame(long.as_bytes()));
        let huge = format!(r#"42["m","{}"]"#, "y".repeat(70_000));
        bytes.extend(server_frame(huge.as_bytes()));
        bytes.extend(server_frame(b"2"));
        bytes
    }

    fn take(session: &mut Session, bytes: &[u8], out: &mut Vec<u8>) -> Vec<String> {
        let mut events = Vec::new();
        let taken =
            session.handle_bytes(bytes, out, &mut |event| events.push(format!("{event:?}")));
        assert_eq!(taken, Ok(()));
        events
    }

    #[test]
    fn the_result_does_not_depend_on_how_bytes_were_split() {
        let bytes = conversation();
        let mut whole_out = Vec::new();
        let whole = take(&mut session(&mut whole_out), &bytes, &mut whole_out);
        assert_eq!(whole.len(), 5);
        for size in [1, 2, 3, 7, 64, 1000, 65_537] {
            let mut out = Vec::new();
            let mut client = session(&mut out);
            let mut events = Vec::new();
            for chunk in bytes.chunks(size) {
                events.extend(take(&mut client, chunk, &mut out));
            }
            assert_eq!(events, whole, "chunks of {size}");
            assert_eq!(out, whole_out, "chunks of {size}");
        }
    }

    #[test]
    fn the_handshake_is_answered_with_connect_and_a_heartbeat_with_a_pong() {
        let mut out = Vec::new();
        let mut client = session(&mut out);
        assert!(out.starts_with(b"GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\n"));
        out.clear();
        take(
            &mut client,
            b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
            &mut out,
        );
        take(
            &mut client,
            &server_frame(br#"0{"sid":"s","pingInterval":1}"#),
            &mut out,
        );
        assert_eq!(unmask(&out), br#"40{"token":"t"}"#);
        out.clear();
        take(&mut client, &server_frame(b"2"), &mut out);
        assert_eq!(unmask(&out), b"3");
    }

    #[test]
    fn another_status_than_101_is_a_failure() {
        let mut out = Vec::new();
        let taken = session(&mut out).handle_bytes(
            b"HTTP/1.1 400 Bad Request\r\n\r\n",
            &mut out,
            &mut |_| {},
        );
        assert_eq!(taken, Err(Failure::Status));
    }

    #[test]
    fn a_close_frame_and_rubbish_end_the_session() {
        for (bytes, failure) in [
            (&[0x88, 0][..], Failure::Closed),
            (&[0x01, 1, b'4'][..], Failure::Protocol),
            (&[0x81, 0xff, 0, 0][..], Failure::Protocol),
            (
                &[0x81, 127, 255, 0, 0, 0, 0, 0, 0, 0][..],
                Failure::Protocol,
            ),
        ] {
            let mut out = Vec::new();
            let mut client = session(&mut out);
            take(
                &mut client,
                b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
                &mut out,
            );
            assert_eq!(
                client.handle_bytes(bytes, &mut out, &mut |_| {}),
                Err(failure)
            );
        }
    }
}
