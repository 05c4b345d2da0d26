//! A client that comes back.

use std::collections::VecDeque;
use std::sync::Arc;

use super::replay::Incomplete;
use super::{
    BadOffset, BadPid, Claim, Claimed, Done, Entry, Epoch, LogName, LogReader, NotClaimed, Offset,
    Part, Pid, Position, Span,
};

/// One client that comes back, from what it shows to what it is sent.
///
/// ```text
///             claimed             interests in force, beat sent           its mark is released
///  Claiming ──────────► Opening ───────────────────────────────► Marking ──────────────────────► Reading
///     │                    │                                        │       live is held from here  │
///     │ not claimed        │ taken by another, in vain for too long │                              │ all read
///     ▼                    ▼                                        ▼                              ▼
///  refused ◄────────────────────────────────────────────────────────┴── trimmed, too large ──── welcome
/// ```
///
/// A mark that this node hears stands behind everything that was published before it. Up to the mark the logs
/// have everything that was for the client; behind it everything comes live. So nothing is missing between the
/// two, and nothing is in both.
#[derive(Debug)]
pub struct Comeback {
    claim: Claim,
    state: State,
    replay_bytes: usize,
}

#[derive(Debug)]
enum State {
    Claiming,
    Opening(Claimed),
    Marking {
        claimed: Claimed,
        number: u64,
    },
    Reading {
        claimed: Claimed,
        reader: LogReader,
        mark: Position,
        held: VecDeque<Arc<Entry>>,
        bytes: usize,
    },
    Over,
}

/// What to do next.
#[derive(Debug)]
pub enum Next {
    /// Open interests in these logs, add the socket to its rooms, and when they are in force send a beat.
    Open(Vec<LogName>),
    /// Read these.
    Read(Vec<Span>),
    /// Nothing, until more comes.
    Wait,
    /// It is recovered.
    Welcome(Box<Welcome>),
    /// It is not: it gets a new session. If it was claimed, what it had is to be ended.
    Refuse(NotRecovered),
}

/// A client that is recovered.
#[derive(Debug)]
pub struct Welcome {
    /// Its session.
    pub claimed: Claimed,
    /// What it is sent behind its `CONNECT`, in order, before anything else.
    pub events: Vec<Arc<Entry>>,
    /// Up to where that goes. It is sent nothing else that is not behind it.
    pub through: Position,
}

/// Why a client is not recovered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum NotRecovered {
    /// What it shows is no pid, or no offset.
    Malformed,
    /// Its session cannot be claimed.
    NotClaimed(NotClaimed),
    /// Events that it has not got are not kept any more.
    Trimmed,
    /// What it has not got is too much.
    TooLarge,
    /// Another node claimed it meanwhile.
    Superseded,
    /// The log became another one meanwhile.
    Renewed,
    /// It took too long.
    Unreachable,
}

impl NotRecovered {
    /// The label of a metric.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::NotClaimed(NotClaimed::Unknown) => "unknown",
            Self::NotClaimed(NotClaimed::Expired) => "expired",
            Self::NotClaimed(NotClaimed::Epoch) | Self::Renewed => "epoch",
            Self::NotClaimed(NotClaimed::Trimmed) | Self::Trimmed => "trimmed",
            Self::NotClaimed(NotClaimed::WrongUser) => "wrong_user",
            Self::NotClaimed(NotClaimed::Lost) => "lost",
            Self::NotClaimed(NotClaimed::Unsettled) => "unsettled",
            Self::TooLarge => "too_large",
            Self::Superseded => "superseded",
            Self::Unreachable => "unreachable",
        }
    }
}

impl From<BadPid> for NotRecovered {
    fn from(_: BadPid) -> Self {
        Self::Malformed
    }
}

impl From<BadOffset> for NotRecovered {
    fn from(_: BadOffset) -> Self {
        Self::Malformed
    }
}

impl From<Incomplete> for NotRecovered {
    fn from(incomplete: Incomplete) -> Self {
        match incomplete {
            Incomplete::Trimmed => Self::Trimmed,
            Incomplete::TooLarge => Self::TooLarge,
        }
    }
}

impl Comeback {
    /// A client shows a pid and perhaps an offset. It is sent again at most `replay_bytes`.
    ///
    /// # Errors
    ///
    /// What it shows is malformed.
    pub fn new(
        pid: &str,
        offset: Option<&str>,
        user: Option<Arc<str>>,
        replay_bytes: usize,
    ) -> Result<Self, NotRecovered> {
        let claim = Claim {
            pid: Pid::parse(pid)?,
            offset: offset.map(Offset::parse).transpose()?,
            user,
        };
        Ok(Self {
            claim,
            state: State::Claiming,
            replay_bytes,
        })
    }

    /// What to ask of the store first.
    pub fn claim(&self) -> &Claim {
        &self.claim
    }

    /// The session, once it is claimed.
    pub fn claimed(&self) -> Option<&Claimed> {
        match &self.state {
            State::Opening(claimed)
            | State::Marking { claimed, .. }
            | State::Reading { claimed, .. } => Some(claimed),
            State::Claiming | State::Over => None,
        }
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        match &self.state {
            State::Reading { reader, bytes, .. } => reader.bytes() + bytes,
            State::Claiming | State::Opening(_) | State::Marking { .. } | State::Over => 0,
        }
    }

    /// The store answered the claim. While it is not settled the claim may be made again.
    pub fn handle_claim(&mut self, done: &Done) -> Next {
        match (&self.state, done) {
            (State::Claiming, Done::Claimed(claimed)) => {
                let logs = claimed.logs();
                self.state = State::Opening(claimed.clone());
                Next::Open(logs)
            }
            (State::Claiming, Done::NotClaimed(reason)) => {
                self.refuse(NotRecovered::NotClaimed(*reason))
            }
            (_, _) => Next::Wait,
        }
    }

    /// All its interests are in force, and the receiver follows its logs. The heartbeat of this number is made
    /// behind that.
    pub fn handle_in_force(&mut self, number: u64) {
        if let State::Opening(claimed) = &self.state {
            let claimed = claimed.clone();
            self.state = State::Marking { claimed, number };
        }
    }

    /// The receiver releases a mark.
    pub fn handle_mark(&mut self, number: u64, epoch: Epoch, position: Position) -> Next {
        let State::Marking {
            claimed,
            number: awaited,
        } = &self.state
        else {
            return Next::Wait;
        };
        if number < *awaited {
            return Next::Wait;
        }
        if epoch != self.claim.pid.start.epoch {
            return self.refuse(NotRecovered::Renewed);
        }
        let claimed = claimed.clone();
        let reader = LogReader::new(logs_to_read(&claimed), position, self.replay_bytes);
        let wanted = reader.wanted();
        self.state = State::Reading {
            claimed,
            reader,
            mark: position,
            held: VecDeque::new(),
            bytes: 0,
        };
        match wanted.is_empty() {
            true => self.finish(),
            false => Next::Read(wanted),
        }
    }

    /// A part of a log was read.
    pub fn handle_piece(&mut self, epoch: Epoch, piece: &Part) -> Next {
        let State::Reading {
            claimed, reader, ..
        } = &mut self.state
        else {
            return Next::Wait;
        };
        if epoch != self.claim.pid.start.epoch {
            return self.refuse(NotRecovered::Renewed);
        }
        let is_for = |entry: &Entry| claimed.is_for(&entry.selection, entry.position);
        if let Err(incomplete) = reader.handle(piece, is_for) {
            return self.refuse(incomplete.into());
        }
        match reader.wanted_of(&piece.log) {
            Some(span) => Next::Read(vec![span]),
            None if reader.is_complete() => self.finish(),
            None => Next::Wait,
        }
    }

    /// The receiver releases an event that is for the socket.
    pub fn hold(&mut self, entry: &Arc<Entry>) -> Next {
        let State::Reading {
            mark, held, bytes, ..
        } = &mut self.state
        else {
            // It is in the logs, up to the mark.
            return Next::Wait;
        };
        if entry.position <= *mark {
            return Next::Wait;
        }
        *bytes += entry.size();
        held.push_back(entry.clone());
        match *bytes > self.replay_bytes {
            true => self.refuse(NotRecovered::TooLarge),
            false => Next::Wait,
        }
    }

    /// It cannot go on.
    pub fn refuse(&mut self, refusal: NotRecovered) -> Next {
        self.state = State::Over;
        Next::Refuse(refusal)
    }

    fn finish(&mut self) -> Next {
        let State::Reading {
            claimed,
            reader,
            mark,
            held,
            ..
        } = std::mem::replace(&mut self.state, State::Over)
        else {
            return Next::Wait;
        };
        let through = held.back().map_or(mark, |entry| entry.position);
        let events = reader.into_entries().chain(held).collect();
        Next::Welcome(Box::new(Welcome {
            claimed,
            events,
            through,
        }))
    }
}

/// Each log, and behind which place something in it may be for the client.
fn logs_to_read(claimed: &Claimed) -> Vec<(LogName, Position)> {
    let begin = |log: &LogName| {
        let LogName::Room(room) = log else {
            return Some(claimed.start);
        };
        if *room == claimed.sid {
            return Some(claimed.start);
        }
        let stays = claimed.stays.iter().filter(|stay| stay.room == *room);
        let stays = stays.filter(|stay| stay.until.is_none_or(|it| it > claimed.start));
        stays.map(|stay| stay.since.max(claimed.start)).min()
    };
    let logs = claimed.logs().into_iter();
    logs.filter_map(|log| Some((log.clone(), begin(&log)?)))
        .collect()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::super::{PidSecret, Stay};
    use super::*;
    use crate::Selection;

    #[test]
    fn what_was_missed_comes_before_what_is_live_and_nothing_twice() {
        let mut comeback = reading(10_000);
        assert!(matches!(comeback.hold(&entry("r", 290)), Next::Wait));
        comeback.hold(&entry("r", 310));
        for room in ["sid", "r", "left"] {
            let places: &[u64] = if room == "sid" {
                &[150]
            } else {
                &[120, 160, 240]
            };
            let next = comeback.handle_piece(epoch(), &piece(room, places));
            assert!(matches!(next, Next::Wait));
        }
        let everybody = Part {
            log: LogName::Everybody,
            ..piece("", &[])
        };
        let Next::Welcome(welcome) = comeback.handle_piece(epoch(), &everybody) else {
            panic!("not welcome");
        };
        let places: Vec<_> = welcome
            .events
            .iter()
            .map(|it| it.position.number())
            .collect();
        // In r from 130 on, in left up to 130.
        assert_eq!(places, [120, 150, 160, 240, 310]);
        assert_eq!(welcome.through, Position::new(310));
    }

    #[test]
    fn logs_are_read_from_where_something_may_be_for_the_client() {
        let mut comeback = claimed(10_000);
        comeback.handle_in_force(7);
        assert!(matches!(
            comeback.handle_mark(6, epoch(), Position::new(250)),
            Next::Wait
        ));
        let Next::Read(spans) = comeback.handle_mark(7, epoch(), Position::new(300)) else {
            panic!("nothing to read");
        };
        let spans: Vec<_> = spans
            .iter()
            .map(|it| (&it.log, it.after.number()))
            .collect();
        let room = LogName::room;
        let expected = [
            (&LogName::Everybody, 100),
            (&room("left"), 100),
            (&room("r"), 130),
            (&room("sid"), 100),
        ];
        assert_eq!(spans, expected, "what was left before 100 is not read");
    }

    #[test]
    fn it_is_all_or_nothing() {
        let trimmed = Part {
            trimmed: Position::new(140),
            ..piece("r", &[160])
        };
        let next = reading(10_000).handle_piece(epoch(), &trimmed);
        assert!(matches!(next, Next::Refuse(NotRecovered::Trimmed)));
        let next = reading(50).handle_piece(epoch(), &piece("r", &[160]));
        assert!(matches!(next, Next::Refuse(NotRecovered::TooLarge)));
        let next = reading(50).hold(&entry("r", 310));
        assert!(matches!(next, Next::Refuse(NotRecovered::TooLarge)));
        let next = reading(10_000).handle_piece(Epoch::new(2), &piece("r", &[]));
        assert!(matches!(next, Next::Refuse(NotRecovered::Renewed)));
        let refused = Comeback::new("J2ul0LkVwDBp18O-AAAB", None, None, 1);
        assert_eq!(refused.unwrap_err(), NotRecovered::Malformed);
        let refused = Comeback::new(&pid().expose(), Some("loc"), None, 1);
        assert_eq!(refused.unwrap_err(), NotRecovered::Malformed);
    }

    #[test]
    fn who_is_excepted_gets_nothing() {
        let claimed = session();
        let mut selection = Selection::room("r");
        assert!(claimed.is_for(&selection, Position::new(160)));
        assert!(!claimed.is_for(&selection, Position::new(130)));
        selection.except = vec!["left".to_owned()];
        assert!(claimed.is_for(&selection, Position::new(160)));
        selection.rooms.clear();
        assert!(!claimed.is_for(&selection, Position::new(125)));
        selection.except = vec!["sid".to_owned()];
        assert!(!claimed.is_for(&selection, Position::new(160)));
    }

    fn claimed(limit: usize) -> Comeback {
        let mut comeback = Comeback::new(&pid().expose(), None, None, limit).unwrap();
        let next = comeback.handle_claim(&Done::Claimed(session()));
        assert!(matches!(next, Next::Open(logs) if logs.len() == 5));
        comeback
    }

    fn reading(limit: usize) -> Comeback {
        let mut comeback = claimed(limit);
        comeback.handle_in_force(1);
        comeback.handle_mark(1, epoch(), Position::new(300));
        comeback
    }

    fn session() -> Claimed {
        let stay = |room: &str, since, until: Option<u64>| Stay {
            room: room.into(),
            since: Position::new(since),
            until: until.map(Position::new),
        };
        Claimed {
            sid: "sid".into(),
            data: None,
            stays: vec![
                stay("r", 130, None),
                stay("left", 50, Some(130)),
                stay("long-left", 20, Some(90)),
            ],
            generation: 2,
            start: Position::new(100),
        }
    }

    fn pid() -> Pid {
        let start = Offset {
            epoch: epoch(),
            position: Position::new(100),
        };
        Pid::new(PidSecret::new([3; PidSecret::LENGTH]), start)
    }

    fn epoch() -> Epoch {
        Epoch::new(1)
    }

    fn entry(room: &str, position: u64) -> Arc<Entry> {
        Arc::new(Entry {
            position: Position::new(position),
            selection: Selection::room(room),
            body: Bytes::new(),
        })
    }

    fn piece(room: &str, places: &[u64]) -> Part {
        Part {
            log: LogName::room(room),
            after: Position::new(100),
            entries: places.iter().map(|it| entry(room, *it)).collect(),
            through: Position::new(300),
            trimmed: Position::ZERO,
        }
    }
}
