//! Engine.IO packets as a client sees them, whatever the transport.

/// What a session reports while it takes bytes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Event<'a> {
    /// The server's handshake; its heartbeat in milliseconds.
    Opened {
        /// `pingInterval` of the handshake.
        ping_interval: u64,
        /// `pingTimeout` of the handshake.
        ping_timeout: u64,
    },
    /// The namespace is joined; the JSON of the CONNECT reply.
    Joined(&'a [u8]),
    /// CONNECT was answered with an error; its JSON.
    Refused(&'a [u8]),
    /// A Socket.IO packet as scenarios see it (see [`super::packet`]), without the Engine.IO digit: `2["event",..]` or
    /// `3id[..]`.
    Message(&'a [u8]),
    /// A heartbeat, which the session has answered.
    Ping,
}

/// Why a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Failure {
    /// TCP refused or reset.
    Transport,
    /// TLS failed.
    Tls,
    /// The server ended the connection in an orderly way.
    Closed,
    /// An HTTP status other than the expected one.
    Status,
    /// CONNECT was answered with an error.
    Refused,
    /// The server has sent DISCONNECT. The official client does not come back by itself after that.
    Dismissed,
    /// Not answered in time.
    Timeout,
    /// No heartbeat in time.
    Silent,
    /// Bytes that make no sense.
    Protocol,
}

impl Failure {
    /// All of them, in the order of their index.
    pub(crate) const ALL: [Self; 9] = [
        Self::Transport,
        Self::Tls,
        Self::Closed,
        Self::Status,
        Self::Refused,
        Self::Dismissed,
        Self::Timeout,
        Self::Silent,
        Self::Protocol,
    ];

    /// Word for summaries.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Transport => "transport error",
            Self::Tls => "TLS error",
            Self::Closed => "closed by the server",
            Self::Status => "unexpected HTTP status",
            Self::Refused => "refused with connect_error, or at join",
            Self::Dismissed => "dismissed with disconnect",
            Self::Timeout => "timeout",
            Self::Silent => "no heartbeat in time",
            Self::Protocol => "protocol error",
        }
    }
}

/// What a session has to do after a packet.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Reply {
    /// Nothing.
    Nothing,
    /// Answer a heartbeat.
    Pong,
    /// Send CONNECT.
    Connect,
}

/// Takes one text packet that is no message: [`super::packet`] takes those.
pub(crate) fn handle_packet(
    packet: &[u8],
    on: &mut impl FnMut(Event<'_>),
) -> Result<Reply, Failure> {
    match packet {
        [b'1'] => return Err(Failure::Closed),
        [b'2', ..] => {
            on(Event::Ping);
            return Ok(Reply::Pong);
        }
        [b'0', open @ ..] => {
            let ping_interval = number_of(open, b"\"pingInterval\":").ok_or(Failure::Protocol)?;
            let ping_timeout = number_of(open, b"\"pingTimeout\":").ok_or(Failure::Protocol)?;
            on(Event::Opened {
                ping_interval,
                ping_timeout,
            });
            return Ok(Reply::Connect);
        }
        [b'6'] => {}
        _ => return Err(Failure::Protocol),
    }
    Ok(Reply::Nothing)
}

/// The string behind `"key":"` in a JSON object that is known to be simple.
pub(crate) fn string_of<'a>(json: &'a [u8], key: &[u8]) -> Option<&'a [u8]> {
    let rest = after(json, key)?;
    let end = rest.iter().position(|&byte| byte == b'"')?;
    Some(&rest[..end])
}

fn number_of(json: &[u8], key: &[u8]) -> Option<u64> {
    let rest = after(json, key)?;
    let end = rest.iter().position(|byte| !byte.is_ascii_digit())?;
    std::str::from_utf8(&rest[..end]).ok()?.parse().ok()
}

fn after<'a>(bytes: &'a [u8], key: &[u8]) -> Option<&'a [u8]> {
    let at = bytes.windows(key.len()).position(|window| window == key)?;
    Some(&bytes[at + key.len()..])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn handle(packet: &str) -> (Result<Reply, Failure>, Vec<String>) {
        let mut events = Vec::new();
        let reply = handle_packet(packet.as_bytes(), &mut |event| {
            events.push(format!("{event:?}"))
        });
        (reply, events)
    }

    #[test]
    fn the_handshake_asks_for_connect() {
        let (reply, events) =
            handle(r#"0{"sid":"a","upgrades":[],"pingInterval":25000,"pingTimeout":1}"#);
        assert_eq!(reply, Ok(Reply::Connect));
        assert_eq!(events, ["Opened { ping_interval: 25000, ping_timeout: 1 }"]);
    }

    #[test]
    fn a_heartbeat_asks_for_an_answer() {
        let (reply, events) = handle("2");
        assert_eq!(reply, Ok(Reply::Pong));
        assert_eq!(events, ["Ping"]);
    }

    #[test]
    fn a_goodbye_and_rubbish_end_the_session() {
        assert_eq!(handle("1").0, Err(Failure::Closed));
        assert_eq!(handle("").0, Err(Failure::Protocol));
        assert_eq!(handle("x").0, Err(Failure::Protocol));
        assert_eq!(handle("0{}").0, Err(Failure::Protocol));
        assert_eq!(
            handle(r#"0{"pingInterval":1,"a":2}"#).0,
            Err(Failure::Protocol)
        );
    }

    #[test]
    fn strings_are_found_by_key() {
        let json = br#"{"sid":"abc","pid":"def"}"#;
        assert_eq!(string_of(json, b"\"pid\":\""), Some(&b"def"[..]));
        assert_eq!(string_of(json, b"\"no\":\""), None);
    }
}
