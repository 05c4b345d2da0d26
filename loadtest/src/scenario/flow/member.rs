//! What one client remembers: what it got, when it was away, and what it was told when it came back.

use std::time::Duration;

use super::ticket::{Ticket, Welcome};
use super::track::Track;

/// One client of a flow.
#[derive(Debug, Default)]
pub(crate) struct Member {
    /// It is connected and in its room.
    pub(crate) ready: bool,
    /// When its connection is to be cut next.
    pub(crate) next_cut: u64,
    /// The key to its session.
    pub(crate) ticket: Ticket,
    /// Events that came before the answer to CONNECT. The official client, too, hands them on behind it.
    pub(crate) early: Vec<Box<[u8]>>,
    /// What it got: from its room, and of what goes to everyone.
    pub(crate) tracks: [Track; 2],
    /// Times that it was told to have lost its session.
    pub(crate) gaps: Vec<Gap>,
    /// When it was away, from and until.
    pub(crate) absences: Vec<(u64, u64)>,
    connection: Connection,
    /// Whether the session that it has now is in the room.
    in_room: bool,
    left: Option<u64>,
    replay: Option<Replay>,
    failed_attempts: u32,
}

#[derive(Clone, Copy, Debug, Default)]
enum Connection {
    #[default]
    Away,
    /// CONNECT was sent, then.
    Asking(u64),
    Joined,
}

/// A client was told that it is not recovered, and began anew.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Gap {
    /// By track: the number behind the highest that it had got until then.
    pub(crate) next: [u32; 2],
    /// When it was in its room again.
    pub(crate) until: Option<u64>,
}

/// What a recovered client was sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Replay {
    /// When CONNECT was sent.
    from: u64,
    /// When the last missed event came; or the answer to CONNECT, if there was none.
    until: u64,
}

/// What a message is to its receiver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Delivery {
    /// It has not had it before.
    pub(crate) is_new: bool,
    /// It was published before the receiver asked for its session, and comes after that.
    pub(crate) is_replayed: bool,
}

impl Replay {
    /// How long it took.
    pub(crate) fn took(&self) -> u64 {
        self.until.saturating_sub(self.from)
    }
}

impl Member {
    /// CONNECT is sent.
    pub(crate) fn ask(&mut self, now: u64) {
        self.connection = Connection::Asking(now);
    }

    /// The server has answered CONNECT. What came early is delivered next.
    pub(crate) fn answered(&mut self, reply: &[u8], now: u64) -> Welcome {
        let from = match self.connection {
            Connection::Asking(from) => from,
            Connection::Away | Connection::Joined => now,
        };
        self.connection = Connection::Joined;
        let welcome = self.ticket.answered(reply);
        match welcome {
            Welcome::Recovered | Welcome::Renamed => {
                self.replay = Some(Replay { from, until: now });
            }
            Welcome::Anew => {
                self.in_room = false;
                self.gaps.push(Gap {
                    next: [0, 1].map(|track: usize| self.tracks[track].next()),
                    until: None,
                });
            }
            Welcome::Plain => self.in_room = false,
        }
        welcome
    }

    /// Whether its CONNECT is answered.
    pub(crate) fn is_joined(&self) -> bool {
        matches!(self.connection, Connection::Joined)
    }

    /// Whether the session that it has now has ever been in its room.
    pub(crate) fn is_in_room(&self) -> bool {
        self.in_room
    }

    /// Notes a message that was published at a time.
    pub(crate) fn deliver(&mut self, track: usize, sequence: u32, sent: u64, now: u64) -> Delivery {
        let replay = self.replay.as_mut();
        let replay = replay.filter(|replay| sent < replay.from);
        let is_replayed = replay.is_some();
        if let Some(replay) = replay {
            replay.until = now;
        }
        Delivery {
            is_new: self.tracks[track].deliver(sequence),
            is_replayed,
        }
    }

    /// Its connection is gone; whether it was in its room until now.
    pub(crate) fn leave(&mut self, now: u64) -> bool {
        self.connection = Connection::Away;
        let was_ready = std::mem::take(&mut self.ready);
        if was_ready {
            self.left.get_or_insert(now);
        }
        was_ready
    }

    /// The replay of its last return, once.
    pub(crate) fn take_replay(&mut self) -> Option<Replay> {
        self.replay.take()
    }

    /// It is connected and in its room; for how long it was not, if it was before.
    pub(crate) fn back(&mut self, now: u64) -> Option<u64> {
        self.ready = true;
        self.in_room = true;
        self.failed_attempts = 0;
        for gap in &mut self.gaps {
            gap.until.get_or_insert(now);
        }
        let left = self.left.take()?;
        self.absences.push((left, now));
        Some(now.saturating_sub(left))
    }

    /// Whether it was in its room and has not come back.
    pub(crate) fn is_away(&self) -> bool {
        self.left.is_some()
    }

    /// Whether it was away at a time, or so soon after it that the message was still under way.
    pub(crate) fn missed(&self, at: u64) -> bool {
        let until_now = self.left.map(|left| (left, u64::MAX));
        let mut absences = self.absences.iter().copied().chain(until_now);
        absences.any(|(from, until)| from <= at.saturating_add(UNDER_WAY) && at <= until)
    }

    /// How long to wait before the next attempt, as the official client does: one second, doubling, by half more or
    /// less, five at most.
    pub(crate) fn back_off(&mut self, random: f64) -> Duration {
        let seconds = f64::from(1 << self.failed_attempts.min(4)) * (0.5 + random);
        self.failed_attempts += 1;
        Duration::from_secs_f64(seconds.min(5.0))
    }
}

/// A message that was sent less than this before the connection broke may have been in a buffer that broke with it.
const UNDER_WAY: u64 = 100_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn absences_cover_what_was_under_way() {
        let mut member = Member::default();
        member.back(0);
        assert!(member.leave(10 * SECOND));
        assert!(!member.leave(11 * SECOND));
        assert_eq!(member.back(12 * SECOND), Some(2 * SECOND));
        assert!(!member.missed(9 * SECOND));
        assert!(member.missed(10 * SECOND - 1));
        assert!(member.missed(12 * SECOND));
        assert!(!member.missed(12 * SECOND + 1));
        member.leave(20 * SECOND);
        assert!(member.missed(30 * SECOND));
    }

    #[test]
    fn a_replay_ends_with_the_last_event_that_was_published_before_connect() {
        let mut member = Member::default();
        member.answered(br#"{"pid":"P"}"#, 1);
        member.back(2);
        member.leave(3);
        member.ask(10);
        assert_eq!(member.answered(br#"{"pid":"P"}"#, 12), Welcome::Recovered);
        let replayed = [(0, 0, 5, 15), (1, 0, 9, 17), (0, 1, 11, 30)]
            .map(|(track, sequence, sent, now)| member.deliver(track, sequence, sent, now))
            .map(|delivery| delivery.is_replayed);
        assert_eq!(replayed, [true, true, false]);
        let replay = member.take_replay().unwrap();
        assert_eq!(replay.took(), 7);
        assert_eq!(member.take_replay(), None);
    }

    #[test]
    fn a_replay_of_nothing_ends_with_the_answer() {
        let mut member = Member::default();
        member.answered(br#"{"pid":"P"}"#, 1);
        member.leave(3);
        member.ask(10);
        member.answered(br#"{"pid":"P"}"#, 12);
        member.deliver(0, 0, 11, 30);
        let replay = member.take_replay().unwrap();
        assert_eq!(replay.took(), 2);
    }

    #[test]
    fn a_session_that_never_reached_its_room_has_to_join_when_it_is_recovered() {
        let mut member = Member::default();
        member.answered(br#"{"pid":"P"}"#, 1);
        member.back(2);
        member.leave(3);
        member.answered(br#"{"pid":"Q"}"#, 4);
        member.leave(5);
        assert_eq!(member.answered(br#"{"pid":"Q"}"#, 6), Welcome::Recovered);
        assert!(!member.is_in_room());
        assert_eq!(member.gaps[0].until, None);
        assert_eq!(member.back(7), Some(4));
        assert_eq!(member.gaps[0].until, Some(7));
        member.leave(8);
        member.answered(br#"{"pid":"Q"}"#, 9);
        assert!(member.is_in_room());
    }

    #[test]
    fn waiting_doubles_up_to_five_seconds() {
        let waits = |random: f64| {
            let mut member = Member::default();
            [0; 5].map(|_| member.back_off(random).as_secs_f64())
        };
        assert_eq!(waits(0.0), [0.5, 1.0, 2.0, 4.0, 5.0]);
        assert_eq!(waits(0.5), [1.0, 2.0, 4.0, 5.0, 5.0]);
    }
}
