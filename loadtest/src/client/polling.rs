//! The long-polling transport: at most one GET and one POST in flight, each on a kept connection of its own.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use super::engine::{self, Event, Failure, Reply};
use super::http::Responses;
use super::packet::{Decoder, Encoded};
use super::{Lane, Outputs, Target};

/// One session over long-polling.
#[derive(Debug)]
pub(crate) struct Session {
    /// Learned from the handshake.
    sid: String,
    responses: [Responses; 2],
    /// Packets for the next POST.
    waiting: Vec<u8>,
    posting: bool,
    decoder: Decoder,
    /// CONNECT.
    connect: Box<[u8]>,
}

impl Session {
    /// Writes the handshake request.
    pub(crate) fn open(target: &Target, connect: &[u8], outs: &mut Outputs) -> Self {
        let session = Self {
            sid: String::new(),
            responses: Default::default(),
            waiting: Vec::new(),
            posting: false,
            decoder: Decoder::default(),
            connect: target.namespace.connect(connect),
        };
        session.get(target, outs);
        session
    }

    /// Takes received bytes, split anywhere.
    pub(crate) fn handle_bytes(
        &mut self,
        lane: Lane,
        bytes: &[u8],
        target: &Target,
        outs: &mut Outputs,
        on: &mut impl FnMut(Event<'_>),
    ) -> Result<(), Failure> {
        let Some(response) = self.responses[lane.index()].handle_bytes(bytes)? else {
            return Ok(());
        };
        if response.status != 200 {
            return Err(Failure::Status);
        }
        match lane {
            Lane::Post => {
                self.posting = false;
                self.post(target, outs);
            }
            Lane::Main => {
                for packet in response.body.split(|&byte| byte == SEPARATOR) {
                    self.handle_packet(packet, target, on)?;
                }
                self.get(target, outs);
                self.post(target, outs);
            }
        }
        Ok(())
    }

    /// Servers close kept connections that rest; only the POST's rests.
    pub(crate) fn spares(&self, lane: Lane) -> bool {
        lane == Lane::Post && !self.posting
    }

    /// Sends one packet and its attachment, with others in one POST when one is still in flight.
    pub(crate) fn send(&mut self, packet: &[u8], target: &Target, outs: &mut Outputs) {
        match target.namespace.encode(packet) {
            Encoded::AsItIs(text) => self.push(text),
            Encoded::Text(text) => self.push(&text),
            Encoded::Binary(text, content) => {
                self.push(&text);
                self.push(format!("b{}", BASE64_STANDARD.encode(content)).as_bytes());
            }
        }
        self.post(target, outs);
    }

    fn handle_packet(
        &mut self,
        packet: &[u8],
        target: &Target,
        on: &mut impl FnMut(Event<'_>),
    ) -> Result<(), Failure> {
        if let [b'b', content @ ..] = packet {
            let content = BASE64_STANDARD.decode(content);
            let content = content.map_err(|_| Failure::Protocol)?;
            return self.decoder.handle_binary(&content, on);
        }
        if let [b'0', open @ ..] = packet {
            let sid = engine::string_of(open, b"\"sid\":\"").ok_or(Failure::Protocol)?;
            self.sid = String::from_utf8(sid.to_vec()).map_err(|_| Failure::Protocol)?;
        }
        match self.decoder.handle_text(packet, &target.namespace, on)? {
            Reply::Nothing => {}
            Reply::Pong => self.push(b"3"),
            Reply::Connect => {
                let connect = std::mem::take(&mut self.connect);
                self.push(&connect);
            }
        }
        Ok(())
    }

    fn push(&mut self, packet: &[u8]) {
        if !self.waiting.is_empty() {
            self.waiting.push(SEPARATOR);
        }
        self.waiting.extend_from_slice(packet);
    }

    fn get(&self, target: &Target, outs: &mut Outputs) {
        let Target { path, host, .. } = target;
        let [out, _] = outs;
        out.extend_from_slice(format!("GET {path}?EIO=4&transport=polling").as_bytes());
        if !self.sid.is_empty() {
            out.extend_from_slice(format!("&sid={}", self.sid).as_bytes());
        }
        out.extend_from_slice(format!(" HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes());
    }

    fn post(&mut self, target: &Target, outs: &mut Outputs) {
        if self.posting || self.waiting.is_empty() {
            return;
        }
        let Target { path, host, .. } = target;
        let [_, out] = outs;
        let head = format!(
            "POST {path}?EIO=4&transport=polling&sid={} HTTP/1.1\r\n\
             Host: {host}\r\n\
             Content-Type: text/plain;charset=UTF-8\r\n\
             Content-Length: {}\r\n\r\n",
            self.sid,
            self.waiting.len()
        );
        out.extend_from_slice(head.as_bytes());
        out.append(&mut self.waiting);
        self.posting = true;
    }
}

/// Between the packets of one payload.
const SEPARATOR: u8 = 0x1e;

#[cfg(test)]
mod tests {
    use super::*;

    struct Pair {
        target: Target,
        outs: Outputs,
        client: Session,
        events: Vec<String>,
    }

    impl Pair {
        fn new() -> Self {
            let target = Target::parse("http://127.0.0.1:1", "/socket.io/").unwrap();
            let mut outs = Outputs::default();
            let client = Session::open(&target, b"", &mut outs);
            let events = Vec::new();
            Self {
                target,
                outs,
                client,
                events,
            }
        }

        fn respond(&mut self, lane: Lane, body: &str) -> Result<(), Failure> {
            let response = format!(
                "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            );
            let events = &mut self.events;
            let mut on = |event: Event<'_>| events.push(format!("{event:?}"));
            self.client.handle_bytes(
                lane,
                response.as_bytes(),
                &self.target,
                &mut self.outs,
                &mut on,
            )
        }

        fn requested(&mut self, lane: Lane) -> String {
            String::from_utf8(std::mem::take(&mut self.outs[lane.index()])).unwrap()
        }

        fn joined() -> Self {
            let mut pair = Self::new();
            pair.respond(
                Lane::Main,
                r#"0{"sid":"abc","pingInterval":25000,"pingTimeout":20000}"#,
            )
            .unwrap();
            pair.respond(Lane::Post, "ok").unwrap();
            pair.respond(Lane::Main, r#"40{"sid":"x"}"#).unwrap();
            pair.outs = Outputs::default();
            pair.events.clear();
            pair
        }
    }

    #[test]
    fn the_handshake_is_followed_by_connect_and_a_poll() {
        let mut pair = Pair::new();
        let first = pair.requested(Lane::Main);
        assert!(first.starts_with("GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\n"));
        pair.respond(
            Lane::Main,
            r#"0{"sid":"abc","pingInterval":25000,"pingTimeout":20000}"#,
        )
        .unwrap();
        assert!(
            pair.requested(Lane::Post)
                .ends_with("Content-Length: 2\r\n\r\n40")
        );
        assert!(pair.requested(Lane::Main).contains("&sid=abc "));
    }

    #[test]
    fn packets_wait_for_the_post_in_flight_and_then_go_together() {
        let mut pair = Pair::joined();
        for packet in [r#"42["a"]"#, r#"42["b"]"#, r#"42["c"]"#] {
            pair.client
                .send(packet.as_bytes(), &pair.target, &mut pair.outs);
        }
        assert!(pair.requested(Lane::Post).ends_with("\r\n\r\n42[\"a\"]"));
        pair.respond(Lane::Post, "ok").unwrap();
        assert!(
            pair.requested(Lane::Post)
                .ends_with("\r\n\r\n42[\"b\"]\x1e42[\"c\"]")
        );
        pair.respond(Lane::Post, "ok").unwrap();
        assert_eq!(pair.requested(Lane::Post), "");
    }

    #[test]
    fn a_payload_holds_several_packets_and_heartbeats_are_answered() {
        let mut pair = Pair::joined();
        pair.respond(Lane::Main, "42[\"a\"]\x1e2\x1e6").unwrap();
        assert_eq!(pair.events.len(), 2);
        assert!(pair.requested(Lane::Post).ends_with("\r\n\r\n3"));
        assert!(pair.requested(Lane::Main).starts_with("GET "));
    }

    #[test]
    fn binary_arguments_travel_as_base64() {
        let mut pair = Pair::joined();
        pair.client
            .send(b"42[\"m\",\x02ab\x03]", &pair.target, &mut pair.outs);
        let requested = pair.requested(Lane::Post);
        let body = "451-[\"m\",{\"_placeholder\":true,\"num\":0}]\x1ebYWI=";
        assert!(
            requested.ends_with(&format!("\r\n\r\n{body}")),
            "{requested}"
        );
        pair.respond(Lane::Main, body).unwrap();
        let message = Event::Message(b"2[\"m\",\x02ab\x03]");
        assert_eq!(pair.events, [format!("{message:?}")]);
        assert_eq!(pair.respond(Lane::Main, "b?"), Err(Failure::Protocol));
    }

    #[test]
    fn a_close_packet_ends_the_session() {
        let mut pair = Pair::joined();
        assert_eq!(pair.respond(Lane::Main, "6\x1e1"), Err(Failure::Closed));
    }
}
