//! What a client shows when it comes back, by the rules of the official client: the `pid` of its session, and the
//! offset of the last event that it got.

use crate::client::engine::string_of;

/// A client's key to its session.
#[derive(Debug, Default)]
pub(crate) struct Ticket {
    pid: Option<Box<[u8]>>,
    /// The socket's id.
    sid: Option<Box<[u8]>>,
    /// Empty as long as no event carried one.
    offset: Vec<u8>,
}

/// How the server has answered CONNECT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Welcome {
    /// With the session that was asked for.
    Recovered,
    /// The same, but the socket has another id: other clients reach it no more.
    Renamed,
    /// With another one: the client is told that it is not recovered.
    Anew,
    /// The client asked for no session, since no server had offered it one.
    Plain,
}

impl Ticket {
    /// Takes the answer to CONNECT. The offset outlives a session that is not recovered, as in the official client.
    pub(crate) fn answered(&mut self, reply: &[u8]) -> Welcome {
        let shown = self.pid.take();
        self.pid = string_of(reply, b"\"pid\":\"").map(Box::from);
        let sid = string_of(reply, b"\"sid\":\"").map(Box::from);
        let renamed = sid != self.sid;
        self.sid = sid;
        match shown {
            None => Welcome::Plain,
            Some(_) if shown == self.pid && renamed => Welcome::Renamed,
            Some(_) if shown == self.pid => Welcome::Recovered,
            Some(_) => Welcome::Anew,
        }
    }

    /// The socket's id, which is public.
    pub(crate) fn socket(&self) -> String {
        let sid = self.sid.as_deref().unwrap_or_default();
        String::from_utf8_lossy(sid).into_owned()
    }

    /// Whether the server offers to recover the session.
    pub(crate) fn is_offered(&self) -> bool {
        self.pid.is_some()
    }

    /// Takes an event without ack id: `2["name",..]`. Its last argument is the offset, if that is a string.
    pub(crate) fn remember(&mut self, event: &[u8]) {
        if self.pid.is_none() {
            return;
        }
        if let Some(offset) = last_string(event) {
            self.offset.clear();
            self.offset.extend_from_slice(offset);
        }
    }

    /// The payload of a CONNECT that asks for the session, when there is one to ask for.
    pub(crate) fn payload(&self, auth: &[u8]) -> Option<Box<[u8]>> {
        let pid = self.pid.as_deref()?;
        let mut payload = [b"{\"pid\":\"", pid, b"\""].concat();
        if !self.offset.is_empty() {
            payload.extend_from_slice(b",\"offset\":\"");
            payload.extend_from_slice(&self.offset);
            payload.push(b'"');
        }
        match auth.trim_ascii().strip_prefix(b"{") {
            Some(auth) if auth.contains(&b':') => {
                payload.push(b',');
                payload.extend_from_slice(auth);
            }
            _ => payload.push(b'}'),
        }
        Some(payload.into())
    }
}

/// The last element of an event, when it is a string without escapes.
fn last_string(event: &[u8]) -> Option<&[u8]> {
    let rest = event.strip_suffix(b"\"]")?;
    let begin = rest.iter().rposition(|&byte| byte == b'"')?;
    Some(&rest[begin + 1..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_asked_for_with_its_pid_and_the_last_offset() {
        let mut ticket = Ticket::default();
        assert_eq!(ticket.payload(b""), None);
        assert_eq!(ticket.answered(br#"{"sid":"a","pid":"P"}"#), Welcome::Plain);
        assert_eq!(ticket.payload(b"").as_deref(), Some(&br#"{"pid":"P"}"#[..]));
        ticket.remember(br#"2["m","stamp","off"]"#);
        assert_eq!(
            ticket.payload(br#" {"token":"t"}"#).as_deref(),
            Some(&br#"{"pid":"P","offset":"off","token":"t"}"#[..])
        );
        assert_eq!(
            ticket.payload(b"{}").as_deref(),
            Some(&br#"{"pid":"P","offset":"off"}"#[..])
        );
        assert_eq!(
            ticket.answered(br#"{"sid":"a","pid":"P"}"#),
            Welcome::Recovered
        );
        assert_eq!(
            ticket.answered(br#"{"sid":"b","pid":"P"}"#),
            Welcome::Renamed
        );
    }

    #[test]
    fn an_event_that_ends_with_no_string_leaves_the_offset() {
        let mut ticket = Ticket::default();
        ticket.remember(br#"2["m","before"]"#);
        ticket.answered(br#"{"pid":"P"}"#);
        assert_eq!(ticket.payload(b"").as_deref(), Some(&br#"{"pid":"P"}"#[..]));
        ticket.remember(br#"2["m","off"]"#);
        ticket.remember(br#"2["m","text",7]"#);
        assert_eq!(
            ticket.payload(b"").as_deref(),
            Some(&br#"{"pid":"P","offset":"off"}"#[..])
        );
    }

    #[test]
    fn another_pid_is_another_session_and_the_offset_stays() {
        let mut ticket = Ticket::default();
        ticket.answered(br#"{"pid":"P"}"#);
        ticket.remember(br#"2["m","off"]"#);
        assert_eq!(ticket.answered(br#"{"pid":"Q"}"#), Welcome::Anew);
        assert_eq!(
            ticket.payload(b"").as_deref(),
            Some(&br#"{"pid":"Q","offset":"off"}"#[..])
        );
        assert_eq!(ticket.answered(br#"{"sid":"b"}"#), Welcome::Anew);
        assert_eq!(ticket.payload(b""), None);
        assert_eq!(ticket.answered(br#"{"sid":"c"}"#), Welcome::Plain);
    }
}
