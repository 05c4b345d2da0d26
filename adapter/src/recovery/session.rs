//! Sessions, written ahead: what another node needs to go on with a client.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use bytes::Bytes;

use super::{LogName, Offset, Pid, PidSecret, Position, Process};
use crate::Selection;

/// How many times a session was claimed. What an earlier owner still writes is refused by it.
pub type Generation = u64;

/// A client that connects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Open {
    /// The secret of its pid.
    pub secret: PidSecret,
    /// The id of its socket.
    pub sid: Arc<str>,
    /// The user, if its token names one.
    pub user: Option<Arc<str>>,
    /// What the application keeps with it.
    pub data: Option<Bytes>,
    /// The rooms that it is in, beside its own.
    pub rooms: Vec<Arc<str>>,
}

/// The owner of a session writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Write {
    /// Which session.
    pub secret: PidSecret,
    /// The writer's own.
    pub generation: Generation,
    /// In order.
    pub changes: Vec<Change>,
}

/// What changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// It is in these rooms.
    Join(Vec<Arc<str>>),
    /// It is in these rooms no more.
    Leave {
        /// Which.
        rooms: Vec<Arc<str>>,
        /// What the node had released by then: up to there the client was sent all of them.
        until: Position,
    },
    /// The application keeps this with it.
    Data(Option<Bytes>),
    /// Its client is away, and may come back.
    Away,
    /// It is over for good.
    End,
}

/// A client that comes back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// What it shows.
    pub pid: Pid,
    /// The last event that it got, if any.
    pub offset: Option<Offset>,
    /// The user that its token names now.
    pub user: Option<Arc<str>>,
}

/// A session that is the claimer's now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claimed {
    /// The id of its socket.
    pub sid: Arc<str>,
    /// What the application kept with it.
    pub data: Option<Bytes>,
    /// The rooms that it is and was in.
    pub stays: Vec<Stay>,
    /// With which the claimer writes.
    pub generation: Generation,
    /// Behind this place the replay begins.
    pub start: Position,
}

/// Why a session cannot be claimed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum NotClaimed {
    /// No such session: it never was, ended, or is long gone.
    Unknown,
    /// The client was away for too long.
    Expired,
    /// The log that it knew is gone.
    Epoch,
    /// Rooms that it left meanwhile are not remembered so far back.
    Trimmed,
    /// The session belongs to another user.
    WrongUser,
    /// It saw an event that was lost with the server that had it.
    Lost,
    /// Whether a server that took over lost something is not known yet: try again.
    Unsettled,
}

/// A time in a room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stay {
    /// Which.
    pub room: Arc<str>,
    /// What is behind this place is for the member,
    pub since: Position,
    /// and not behind this; `None` while it is a member.
    pub until: Option<Position>,
}

/// A session that another process claimed from this one, which drops its half without a word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taken {
    /// Where the claim stands in the order.
    pub at: Position,
    /// The socket.
    pub sid: Arc<str>,
    /// The one of the claim: what the process has by an earlier one is not its own any more.
    pub generation: Generation,
}

impl Claim {
    /// The offset, if it belongs to the session. A client that was not recovered keeps the one that it had, and
    /// shows it until it gets an event.
    pub(super) fn shown(&self) -> Option<Offset> {
        let is_of_session = |offset: &Offset| offset.epoch == self.pid.start.epoch;
        self.offset.filter(is_of_session)
    }
}

impl Stay {
    /// Whether it covers `position`.
    pub fn covers(&self, position: Position) -> bool {
        self.since < position && self.until.is_none_or(|until| position <= until)
    }
}

impl Claimed {
    /// The rooms that it is in.
    pub fn rooms(&self) -> impl Iterator<Item = &Arc<str>> {
        let stays = self.stays.iter().filter(|stay| stay.until.is_none());
        stays.map(|stay| &stay.room)
    }

    /// The logs that its replay is read from, each once.
    pub fn logs(&self) -> Vec<LogName> {
        let stays = self
            .stays
            .iter()
            .map(|stay| LogName::Room(stay.room.clone()));
        let own = [LogName::Everybody, LogName::Room(self.sid.clone())];
        let logs: BTreeSet<_> = own.into_iter().chain(stays).collect();
        logs.into_iter().collect()
    }

    /// Whether an event at `position` for `selection` was for it.
    pub fn is_for(&self, selection: &Selection, position: Position) -> bool {
        let is_in = |room: &String| {
            **room == *self.sid
                || self
                    .stays
                    .iter()
                    .any(|it| *it.room == **room && it.covers(position))
        };
        let is_selected = selection.rooms.is_empty() || selection.rooms.iter().any(is_in);
        is_selected && !selection.except.iter().any(is_in)
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Record {
    sid: Arc<str>,
    user: Option<Arc<str>>,
    data: Option<Bytes>,
    stays: Vec<Stay>,
    /// Stays that ended before this place are forgotten.
    forgotten: Position,
    owner: Process,
    generation: Generation,
    /// Behind this place a replay begins at the earliest.
    start: Position,
    /// When it was opened or claimed last: only what its owner knows from then on says how far it is whole.
    attached: Position,
    /// Since when it is away, in microseconds.
    away: Option<u64>,
}

/// What the store knows of the owner when a session is claimed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Owner {
    /// Up to where all clients are whole that it has had for long enough.
    pub(super) floor: Position,
    /// Since when it is dead, in microseconds.
    pub(super) dead: Option<u64>,
}

/// The sessions of a namespace.
#[derive(Debug, Clone, Default)]
pub(super) struct Sessions {
    records: HashMap<PidSecret, Record>,
    by_owner: BTreeMap<Process, BTreeSet<PidSecret>>,
    away: BTreeSet<(u64, PidSecret)>,
}

impl Sessions {
    pub(super) fn len(&self) -> usize {
        self.records.len()
    }

    pub(super) fn generation(&self, secret: &PidSecret) -> Option<Generation> {
        self.records.get(secret).map(|record| record.generation)
    }

    pub(super) fn owner(&self, secret: &PidSecret) -> Option<&Process> {
        self.records.get(secret).map(|record| &record.owner)
    }

    pub(super) fn owns_any(&self, process: &Process) -> bool {
        self.by_owner.contains_key(process)
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    pub(super) fn open(&mut self, open: &Open, owner: &Process, position: Position) {
        let stay = |room: &Arc<str>| Stay {
            room: room.clone(),
            since: position,
            until: None,
        };
        let record = Record {
            sid: open.sid.clone(),
            user: open.user.clone(),
            data: open.data.clone(),
            stays: open.rooms.iter().map(stay).collect(),
            forgotten: Position::ZERO,
            owner: owner.clone(),
            generation: 1,
            start: position,
            attached: position,
            away: None,
        };
        self.remove(&open.secret);
        self.records.insert(open.secret, record);
        let owned = self.by_owner.entry(owner.clone()).or_default();
        owned.insert(open.secret);
    }

    /// Whether the writer still owns the session.
    pub(super) fn write(
        &mut self,
        write: &Write,
        writer: &Process,
        (position, now): (Position, u64),
        (floor, remembered): (Position, usize),
    ) -> bool {
        let Some(record) = self.records.get_mut(&write.secret) else {
            return false;
        };
        if record.owner != *writer || record.generation != write.generation {
            return false;
        }
        for change in &write.changes {
            match change {
                Change::Join(rooms) => record.join(rooms, position),
                Change::Leave { rooms, until } => record.leave(rooms, *until, remembered),
                Change::Data(data) => record.data = data.clone(),
                Change::Away => {
                    record.start = record.whole(floor);
                    let since = *record.away.get_or_insert(now);
                    self.away.insert((since, write.secret));
                }
                Change::End => {
                    self.remove(&write.secret);
                    break;
                }
            }
        }
        true
    }

    /// Gives the session to `claimer`. The former owner comes with it.
    pub(super) fn claim(
        &mut self,
        claim: &Claim,
        claimer: &Process,
        (position, now, window): (Position, u64, u64),
        owner: impl FnOnce(&Process) -> Owner,
    ) -> Result<(Claimed, Process), NotClaimed> {
        let secret = claim.pid.secret();
        let record = self.records.get_mut(secret).ok_or(NotClaimed::Unknown)?;
        if record.user != claim.user {
            return Err(NotClaimed::WrongUser);
        }
        let owner = owner(&record.owner);
        let since = record.away.or(owner.dead);
        if since.is_some_and(|since| now.saturating_sub(since) > window) {
            return Err(NotClaimed::Expired);
        }
        let shown = claim.shown().map_or(Position::ZERO, |it| it.position);
        let start = match record.away {
            Some(_) => record.start,
            None => record.whole(owner.floor),
        };
        let start = start.max(shown);
        if start < record.forgotten {
            return Err(NotClaimed::Trimmed);
        }
        record.start = start;
        record.attached = position;
        record.generation += 1;
        if let Some(since) = record.away.take() {
            self.away.remove(&(since, *secret));
        }
        let former = std::mem::replace(&mut record.owner, claimer.clone());
        let claimed = Claimed {
            sid: record.sid.clone(),
            data: record.data.clone(),
            stays: record.stays.clone(),
            generation: record.generation,
            start,
        };
        self.disown(&former, secret);
        let owned = self.by_owner.entry(claimer.clone()).or_default();
        owned.insert(*secret);
        Ok((claimed, former))
    }

    /// At most `count` sessions of `owner` are away from now on. Returns whether those are all that it has.
    pub(super) fn retire(
        &mut self,
        owner: &Process,
        now: u64,
        floor: Position,
        count: usize,
    ) -> bool {
        let mut left = count;
        for secret in self.by_owner.get(owner).into_iter().flatten() {
            if let Some(record) = self.records.get_mut(secret)
                && record.away.is_none()
            {
                if left == 0 {
                    return false;
                }
                left -= 1;
                record.start = record.whole(floor);
                record.away = Some(now);
                self.away.insert((now, *secret));
            }
        }
        true
    }

    /// Drops at most `count` sessions that are away since before `since`.
    pub(super) fn sweep_away(&mut self, since: u64, count: usize) {
        for _ in 0..count {
            match self.away.first().copied() {
                Some((at, secret)) if at < since => self.remove(&secret),
                Some(_) | None => return,
            }
        }
    }

    /// Drops at most `count` sessions of `owner`.
    pub(super) fn sweep_owner(&mut self, owner: &Process, count: usize) {
        let secrets = self.by_owner.get(owner).into_iter().flatten();
        let secrets: Vec<_> = secrets.take(count).copied().collect();
        for secret in secrets {
            self.remove(&secret);
        }
    }

    fn remove(&mut self, secret: &PidSecret) {
        let Some(record) = self.records.remove(secret) else {
            return;
        };
        if let Some(since) = record.away {
            self.away.remove(&(since, *secret));
        }
        self.disown(&record.owner, secret);
    }

    fn disown(&mut self, owner: &Process, secret: &PidSecret) {
        if let Some(owned) = self.by_owner.get_mut(owner) {
            owned.remove(secret);
            if owned.is_empty() {
                self.by_owner.remove(owner);
            }
        }
    }
}

impl Record {
    fn join(&mut self, rooms: &[Arc<str>], since: Position) {
        for room in rooms {
            let mut stays = self.stays.iter();
            if stays.any(|stay| stay.room == *room && stay.until.is_none()) {
                continue;
            }
            self.stays.push(Stay {
                room: room.clone(),
                since,
                until: None,
            });
        }
    }

    fn leave(&mut self, rooms: &[Arc<str>], until: Position, remembered: usize) {
        let stays = self.stays.iter_mut().filter(|stay| stay.until.is_none());
        for stay in stays.filter(|stay| rooms.contains(&stay.room)) {
            stay.until = Some(until);
        }
        // What ended before it began covers nothing.
        let is_empty = |stay: &Stay| stay.until.is_some_and(|until| until <= stay.since);
        self.stays.retain(|stay| !is_empty(stay));
        let ended = |stay: &&Stay| stay.until.is_some();
        while self.stays.iter().filter(ended).count() > remembered {
            let Some(oldest) = self.stays.iter().position(|stay| stay.until.is_some()) else {
                return;
            };
            let stay = self.stays.remove(oldest);
            self.forgotten = self.forgotten.max(stay.until.unwrap_or_default());
        }
    }

    /// Up to where its client is whole, when that is said of all clients of its owner up to `floor`. It was not
    /// said of this one, if that is before it was attached: its replay may still be on its way.
    fn whole(&self, floor: Position) -> Position {
        match floor >= self.attached {
            true => self.start.max(floor),
            false => self.start,
        }
    }
}
