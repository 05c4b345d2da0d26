//! The WebSocket transport: the handshake by hand, masked frames out, a scan of the frames that come in.

use protocol::websocket::frame::{OpCode, ServerFrame, push_masked_frame};

use super::Target;
use super::engine::{Event, Failure, Reply};
use super::packet::{Decoder, Encoded};

/// One session over a WebSocket.
#[derive(Debug)]
pub(crate) struct Session {
    upgraded: bool,
    /// Bytes of a frame, or of the response's head, that is not complete yet.
    partial: Vec<u8>,
    decoder: Decoder,
    /// CONNECT.
    connect: Box<[u8]>,
}

impl Session {
    /// Writes the upgrade request.
    pub(crate) fn open(target: &Target, connect: &[u8], out: &mut Vec<u8>) -> Self {
        out.extend_from_slice(&target.upgrade_request);
        Self {
            upgraded: false,
            partial: Vec::new(),
            decoder: Decoder::default(),
            connect: target.namespace.connect(connect),
        }
    }

    /// Takes received bytes, split anywhere.
    pub(crate) fn handle_bytes(
        &mut self,
        bytes: &[u8],
        target: &Target,
        out: &mut Vec<u8>,
        on: &mut impl FnMut(Event<'_>),
    ) -> Result<(), Failure> {
        if self.partial.is_empty() {
            let used = self.scan(bytes, target, out, on)?;
            self.partial.extend_from_slice(&bytes[used..]);
            return Ok(());
        }
        let mut joined = std::mem::take(&mut self.partial);
        joined.extend_from_slice(bytes);
        let used = self.scan(&joined, target, out, on)?;
        if used < joined.len() {
            joined.drain(..used);
            self.partial = joined;
        }
        Ok(())
    }

    /// Sends one packet in one frame, and its attachment in another.
    pub(crate) fn send(&mut self, packet: &[u8], target: &Target, out: &mut Vec<u8>) {
        match target.namespace.encode(packet) {
            Encoded::AsItIs(text) => write_frame(OpCode::Text, text, out),
            Encoded::Text(text) => write_frame(OpCode::Text, &text, out),
            Encoded::Binary(text, content) => {
                write_frame(OpCode::Text, &text, out);
                write_frame(OpCode::Binary, content, out);
            }
        }
    }

    /// Takes all complete frames and says how many bytes that was.
    fn scan(
        &mut self,
        bytes: &[u8],
        target: &Target,
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
        let mut unread = &bytes[at..];
        while let Some((frame, rest)) =
            ServerFrame::decode(unread, MAX_FRAME).map_err(|_| Failure::Protocol)?
        {
            unread = rest;
            match frame.opcode {
                OpCode::Text => {
                    let namespace = &target.namespace;
                    match self.decoder.handle_text(frame.payload, namespace, on)? {
                        Reply::Nothing => {}
                        Reply::Pong => write_frame(OpCode::Text, b"3", out),
                        Reply::Connect => write_frame(OpCode::Text, &self.connect, out),
                    }
                }
                OpCode::Binary => self.decoder.handle_binary(frame.payload, on)?,
                OpCode::Close => return Err(Failure::Closed),
                OpCode::Ping => write_frame(OpCode::Pong, frame.payload, out),
                OpCode::Pong => {}
                OpCode::Continuation => return Err(Failure::Protocol),
            }
        }
        Ok(bytes.len() - unread.len())
    }
}

/// Any mask is legal; it is not zero, so that the server has to work as for a real client.
const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// Appends one masked frame.
pub(crate) fn write_frame(opcode: OpCode, payload: &[u8], out: &mut Vec<u8>) {
    push_masked_frame(out, opcode, payload, MASK);
}

/// No server under test has a reason to send more at once.
const MAX_FRAME: usize = 64 << 20;

fn head_end(bytes: &[u8]) -> Option<usize> {
    let at = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
    Some(at + 4)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target() -> Target {
        Target::parse("http://127.0.0.1:1", "/socket.io/").unwrap()
    }

    fn session(out: &mut Vec<u8>) -> Session {
        Session::open(&target(), br#"{"token":"t"}"#, out)
    }

    fn server_frame(payload: &[u8]) -> Vec<u8> {
        frame_of(0x81, payload)
    }

    fn frame_of(first: u8, payload: &[u8]) -> Vec<u8> {
        let mut bytes = vec![first];
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
        bytes.extend(server_frame(
            br#"0{"sid":"s","pingInterval":25000,"pingTimeout":20000}"#,
        ));
        bytes.extend(server_frame(br#"40{"sid":"x"}"#));
        let long = format!(r#"42["m","{}"]"#, "x".repeat(300));
        bytes.extend(server_frame(long.as_bytes()));
        let huge = format!(r#"42["m","{}"]"#, "y".repeat(70_000));
        bytes.extend(server_frame(huge.as_bytes()));
        bytes.extend(server_frame(br#"451-["m",{"_placeholder":true,"num":0}]"#));
        bytes.extend(frame_of(0x82, &[b'z'; 200]));
        bytes.extend(server_frame(b"2"));
        bytes
    }

    fn take(session: &mut Session, bytes: &[u8], out: &mut Vec<u8>) -> Vec<String> {
        let mut events = Vec::new();
        let on = &mut |event: Event<'_>| events.push(format!("{event:?}"));
        let taken = session.handle_bytes(bytes, &target(), out, on);
        assert_eq!(taken, Ok(()));
        events
    }

    #[test]
    fn the_result_does_not_depend_on_how_bytes_were_split() {
        let bytes = conversation();
        let mut whole_out = Vec::new();
        let whole = take(&mut session(&mut whole_out), &bytes, &mut whole_out);
        assert_eq!(whole.len(), 6);
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
            &server_frame(br#"0{"sid":"s","pingInterval":1,"pingTimeout":1}"#),
            &mut out,
        );
        assert_eq!(unmask(&out), br#"40{"token":"t"}"#);
        out.clear();
        take(&mut client, &server_frame(b"2"), &mut out);
        assert_eq!(unmask(&out), b"3");
    }

    #[test]
    fn a_binary_argument_travels_in_a_frame_of_its_own() {
        let mut out = Vec::new();
        let mut client = session(&mut out);
        out.clear();
        client.send(b"42[\"m\",\x02abc\x03]", &target(), &mut out);
        let text = br#"451-["m",{"_placeholder":true,"num":0}]"#;
        let (first, second) = out.split_at(6 + text.len());
        assert_eq!((first[0], second[0]), (0x81, 0x82));
        assert_eq!(unmask(first), text);
        assert_eq!(unmask(second), b"abc");
    }

    #[test]
    fn another_status_than_101_is_a_failure() {
        let mut out = Vec::new();
        let taken = session(&mut out).handle_bytes(
            b"HTTP/1.1 400 Bad Request\r\n\r\n",
            &target(),
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
                client.handle_bytes(bytes, &target(), &mut out, &mut |_| {}),
                Err(failure)
            );
        }
    }
}
