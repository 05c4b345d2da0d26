//! What one client remembers: what it got, when it was away, and the key to its session.

use std::time::Duration;

use crate::client::engine::string_of;

/// One client of a flow.
#[derive(Debug, Default)]
pub(crate) struct Member {
    /// It is connected and in its room.
    pub(crate) ready: bool,
    /// Attempts that failed since it was last ready.
    pub(crate) failed_attempts: u32,
    /// When its connection is to be cut next.
    pub(crate) next_cut: u64,
    /// Deliveries that it had already.
    pub(crate) duplicated: u64,
    /// Deliveries that came behind a later one.
    pub(crate) out_of_order: u64,
    /// When it was away, from and until.
    pub(crate) absences: Vec<(u64, u64)>,
    received: Vec<u64>,
    expected: u32,
    left: Option<u64>,
    /// The key with which a server resumes the session, where it can.
    pid: Option<Box<[u8]>>,
    /// The last string argument of the last event: its place in the server's log.
    offset: Option<Box<[u8]>>,
}

impl Member {
    /// Notes a delivery; whether it is a new one.
    pub(crate) fn delivered(&mut self, sequence: u32, message: &[u8]) -> bool {
        if self.pid.is_some() {
            self.offset = last_string(message).map(Box::from);
        }
        let (word, bit) = (sequence as usize / 64, 1 << (sequence % 64));
        if self.received.len() <= word {
            self.received.resize(word + 1, 0);
        }
        if self.received[word] & bit != 0 {
            self.duplicated += 1;
            return false;
        }
        self.received[word] |= bit;
        if sequence < self.expected {
            self.out_of_order += 1;
        } else {
            self.expected = sequence + 1;
        }
        true
    }

    /// Whether it has got a message.
    pub(crate) fn has(&self, sequence: usize) -> bool {
        let word = self
            .received
            .get(sequence / 64)
            .copied()
            .unwrap_or_default();
        word & (1 << (sequence % 64)) != 0
    }

    /// It is away from now on.
    pub(crate) fn leave(&mut self, now: u64) {
        self.left.get_or_insert(now);
    }

    /// It is back; for how long it was away.
    pub(crate) fn back(&mut self, now: u64) -> Option<u64> {
        let left = self.left.take()?;
        self.absences.push((left, now));
        Some(now - left)
    }

    /// Whether it is away and has not come back.
    pub(crate) fn is_away(&self) -> bool {
        self.left.is_some()
    }

    /// Whether it was away at a time, or so soon after it that the message was still under way.
    pub(crate) fn missed(&self, at: u64) -> bool {
        let until_now = self.left.map(|left| (left, u64::MAX));
        let mut absences = self.absences.iter().copied().chain(until_now);
        absences.any(|(from, until)| from <= at.saturating_add(UNDER_WAY) && at <= until)
    }

    /// The server has answered CONNECT; whether it has resumed the session.
    pub(crate) fn resumed(&mut self, reply: &[u8]) -> bool {
        let pid = string_of(reply, b"\"pid\":\"").map(Box::from);
        let resumed = pid.is_some() && pid == self.pid;
        if !resumed {
            self.offset = None;
        }
        self.pid = pid;
        resumed
    }

    /// The payload of a CONNECT that resumes the session, when there is one.
    pub(crate) fn resume_with(&self, auth: &[u8]) -> Option<Box<[u8]>> {
        let pid = self.pid.as_deref()?;
        let mut payload = match auth.trim_ascii().strip_suffix(b"}") {
            Some(auth) if auth.contains(&b':') => [auth, b","].concat(),
            _ => b"{".to_vec(),
        };
        payload.extend_from_slice(b"\"pid\":\"");
        payload.extend_from_slice(pid);
        if let Some(offset) = &self.offset {
            payload.extend_from_slice(b"\",\"offset\":\"");
            payload.extend_from_slice(offset);
        }
        payload.extend_from_slice(b"\"}");
        Some(payload.into())
    }

    /// How long to wait before the next attempt, as the official client does: one second doubling to five, by half more
    /// or less.
    pub(crate) fn back_off(&mut self, random: f64) -> Duration {
        let seconds = f64::from(1 << self.failed_attempts.min(3)).min(5.0);
        self.failed_attempts += 1;
        Duration::from_secs_f64(seconds * (0.5 + random))
    }
}

/// A message that was sent less than this before the connection broke may have been in a buffer that broke with it.
const UNDER_WAY: u64 = 100_000_000;

/// The last argument of an event, when it is a string without escapes.
fn last_string(message: &[u8]) -> Option<&[u8]> {
    let rest = message.strip_suffix(b"\"]")?;
    let begin = rest.iter().rposition(|&byte| byte == b'"')?;
    Some(&rest[begin + 1..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deliveries_are_told_apart() {
        let mut member = Member::default();
        let news: Vec<bool> = [0, 2, 2, 1, 70]
            .map(|sequence| member.delivered(sequence, b""))
            .to_vec();
        assert_eq!(news, [true, true, false, true, true]);
        assert_eq!((member.duplicated, member.out_of_order), (1, 1));
        assert!(member.has(70));
        assert!(!member.has(69));
        assert!(!member.has(700));
    }

    #[test]
    fn absences_cover_what_was_under_way() {
        const SECOND: u64 = 1_000_000_000;
        let mut member = Member::default();
        member.leave(10 * SECOND);
        member.leave(11 * SECOND);
        assert_eq!(member.back(12 * SECOND), Some(2 * SECOND));
        assert!(!member.missed(9 * SECOND));
        assert!(member.missed(10 * SECOND - 1));
        assert!(member.missed(12 * SECOND));
        assert!(!member.missed(12 * SECOND + 1));
        member.leave(20 * SECOND);
        assert!(member.missed(30 * SECOND));
    }

    #[test]
    fn a_session_is_resumed_with_its_key_and_the_last_offset() {
        let mut member = Member::default();
        assert!(!member.resumed(br#"{"sid":"a","pid":"P"}"#));
        assert_eq!(
            member.resume_with(b"").as_deref(),
            Some(&br#"{"pid":"P"}"#[..])
        );
        member.delivered(0, br#"2["m","stamp","off"]"#);
        let payload = member.resume_with(br#"{"token":"t"}"#);
        assert_eq!(
            payload.as_deref(),
            Some(&br#"{"token":"t","pid":"P","offset":"off"}"#[..])
        );
        assert!(member.resumed(br#"{"sid":"a","pid":"P"}"#));
        assert!(!member.resumed(br#"{"sid":"b","pid":"Q"}"#));
        assert!(!member.resumed(br#"{"sid":"b"}"#));
        assert_eq!(member.resume_with(b""), None);
    }

    #[test]
    fn waiting_doubles_up_to_five_seconds() {
        let mut member = Member::default();
        let waits: Vec<f64> = (0..5).map(|_| member.back_off(0.5).as_secs_f64()).collect();
        assert_eq!(waits, [1.0, 2.0, 4.0, 5.0, 5.0]);
    }
}
