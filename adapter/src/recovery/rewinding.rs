//! A join with history: the past of its rooms up to a mark, and what comes live behind it.
//!
//! ```text
//!   Marking ──a mark is released──► Reading: one room after the other, up to the mark ──► Rewound
//! ```
//!
//! The join is written and its interests are in force before the mark, and what comes for the socket is held from
//! before the join until then. So what is behind the mark comes live, and what is not behind it is in the log.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::{Entry, LogName, Mark, Offset, Past, PastPage, Position, Rewind};

/// A join with history that is under way.
#[derive(Debug)]
pub struct Rewinding {
    wants: Rewind,
    /// Those that are not read yet; the first one is being read.
    rooms: VecDeque<Arc<str>>,
    limits: RewindLimits,
    stage: Stage,
}

/// What bounds a rewind.
#[derive(Debug, Clone, Copy)]
pub struct RewindLimits {
    /// Events of one room.
    pub events: usize,
    /// Bytes of all.
    pub bytes: usize,
}

/// What is to be done for a rewind.
#[derive(Debug, PartialEq)]
pub enum RewindNext {
    /// Nothing now.
    Wait,
    /// This is to be asked of a log. [`Rewinding::handle_page`] follows.
    Ask(LogName, Past),
    /// Everything is read.
    Done(Rewound),
    /// The log is another one: the socket is about to be closed.
    GiveUp,
}

/// What was read for a join.
#[derive(Debug, Clone, PartialEq)]
pub struct Rewound {
    /// What is behind it comes live.
    pub mark: Offset,
    /// The past, in order.
    pub events: BTreeMap<Position, Arc<Entry>>,
    /// For each room the first place of what is here of its past.
    pub from: Vec<(Arc<str>, Position)>,
    /// The last place of what was too much.
    pub left_out: Position,
    /// Whether nothing is missing of what was asked for.
    pub is_whole: bool,
}

/// An event that came for a socket while the past was read.
#[derive(Debug, Clone)]
pub struct Held<T> {
    /// Its place, or the one up to which its offset says that the client has everything.
    pub position: Position,
    /// `None` if it is in no log.
    pub entry: Option<Arc<Entry>>,
    /// What the client is sent.
    pub packet: T,
}

/// An event that a socket gets at the end of its join.
#[derive(Debug)]
pub enum Passed<T> {
    /// It was read.
    Past(Arc<Entry>),
    /// It was held.
    Held(Held<T>),
}

/// The rooms of a join.
#[derive(Debug, Clone, Default)]
pub struct RewoundRooms {
    /// All of them.
    pub all: Vec<Arc<str>>,
    /// Those that the socket was not in before.
    pub new: Vec<Arc<str>>,
}

#[derive(Debug)]
enum Stage {
    /// No heartbeat was made for it yet, or this one.
    Marking(Option<u64>),
    Reading(Box<Reading>),
}

#[derive(Debug)]
struct Reading {
    rewound: Rewound,
    bytes: usize,
    /// Of the room that is being read: where its first event is, how many there are, and whether its log lost some.
    first: Option<Position>,
    count: usize,
    is_cut: bool,
    /// What the last question was about.
    asked: Past,
}

impl Rewinding {
    /// One whose join is in force.
    pub fn new(
        wants: Rewind,
        rooms: impl IntoIterator<Item = Arc<str>>,
        limits: RewindLimits,
    ) -> Self {
        Self {
            wants,
            rooms: rooms.into_iter().collect(),
            limits,
            stage: Stage::Marking(None),
        }
    }

    /// The next heartbeat has this number. Whether it has to be made now for this one.
    pub fn wants_beat(&mut self, next: u64) -> bool {
        let Stage::Marking(beat @ None) = &mut self.stage else {
            return false;
        };
        *beat = Some(next);
        true
    }

    /// Whether it waits for its mark.
    pub fn is_marking(&self) -> bool {
        matches!(self.stage, Stage::Marking(_))
    }

    /// Whether something was read for it.
    pub fn has_begun(&self) -> bool {
        match &self.stage {
            Stage::Reading(reading) => reading.count > 0 || !reading.rewound.from.is_empty(),
            Stage::Marking(_) => false,
        }
    }

    /// Everything up to a mark is released: its rooms are read up to there.
    pub fn handle_mark(&mut self, mark: &Mark) -> RewindNext {
        match self.stage {
            Stage::Marking(Some(beat)) if beat <= mark.number => {}
            Stage::Marking(_) | Stage::Reading(_) => return RewindNext::Wait,
        }
        let mark = Offset {
            epoch: mark.known.epoch,
            position: mark.known.position,
        };
        let is_of_this_log = match &self.wants {
            Rewind::Last(_) => true,
            Rewind::After(offset) => offset.epoch == mark.epoch,
        };
        if !is_of_this_log {
            // Of that life of the log nothing is left. What there is comes all the same.
            self.wants = Rewind::After(Offset {
                position: Position::ZERO,
                ..mark
            });
        }
        self.stage = Stage::Reading(Box::new(Reading {
            rewound: Rewound {
                mark,
                events: BTreeMap::new(),
                from: Vec::new(),
                left_out: Position::ZERO,
                is_whole: is_of_this_log,
            },
            bytes: 0,
            first: None,
            count: 0,
            is_cut: false,
            asked: self.wants.past(mark.position, self.limits.events),
        }));
        self.ask()
    }

    fn ask(&self) -> RewindNext {
        match (&self.stage, self.rooms.front()) {
            (Stage::Reading(reading), Some(room)) => {
                RewindNext::Ask(LogName::Room(Arc::clone(room)), reading.asked)
            }
            (Stage::Reading(reading), None) => RewindNext::Done(reading.rewound.clone()),
            (Stage::Marking(_), _) => RewindNext::Wait,
        }
    }

    /// A page of the room that is being read.
    pub fn handle_page(&mut self, page: &PastPage) -> RewindNext {
        let (Stage::Reading(reading), Some(room)) = (&mut self.stage, self.rooms.front()) else {
            return RewindNext::GiveUp;
        };
        let (mark, limits) = (reading.rewound.mark, self.limits);
        if page.epoch != mark.epoch {
            return RewindNext::GiveUp;
        }
        if page.is_cut {
            // The log lost what comes before the page: that is no past without a hole.
            reading.rewound.is_whole = false;
            reading.forget(room);
        }
        for entry in &page.entries {
            reading.first.get_or_insert(entry.position);
            reading.count += 1;
            let events = &mut reading.rewound.events;
            let known = events.insert(entry.position, Arc::clone(entry));
            if known.is_none() {
                reading.bytes += entry.size();
            }
        }
        // What Redis lost may not be noticed yet.
        reading.rewound.is_whole &= page.is_settled;
        reading.keep_within(limits.bytes);
        let is_stuck = page.entries.is_empty();
        if page.through < mark.position && !is_stuck {
            reading.asked = Past::After {
                after: page.through,
                count: limits.events,
                until: mark.position,
            };
            return self.ask();
        }
        reading.rewound.is_whole &= page.through >= mark.position;
        let from = match &self.wants {
            Rewind::After(offset) if !reading.is_cut => Position::new(offset.position.number() + 1),
            // What is before the first one that the log has would come with a hole behind it.
            Rewind::After(_) | Rewind::Last(_) => reading.first.unwrap_or(Position::MAX),
        };
        reading.rewound.from.push((Arc::clone(room), from));
        (reading.first, reading.count, reading.is_cut) = (None, 0, false);
        reading.asked = self.wants.past(mark.position, limits.events);
        self.rooms.pop_front();
        self.ask()
    }
}

impl Reading {
    /// Of too much the newest stay, so that nothing is missing between them and what comes live.
    fn keep_within(&mut self, bytes: usize) {
        while self.bytes > bytes
            && let Some((_, entry)) = self.rewound.events.pop_first()
        {
            self.bytes -= entry.size();
            self.rewound.left_out = entry.position;
            self.rewound.is_whole = false;
        }
    }

    /// Forgets what was read of a room.
    fn forget(&mut self, room: &str) {
        let bytes = &mut self.bytes;
        self.rewound.events.retain(|_, entry| {
            let stays = !entry.selection.rooms.iter().any(|it| it == room);
            if !stays {
                *bytes -= entry.size();
            }
            stays
        });
        (self.first, self.count, self.is_cut) = (None, 0, true);
    }
}

impl Rewound {
    /// What a socket gets at the end of its join, in order: the past, and what was held for it meanwhile. `is_in` tells
    /// which rooms it is in.
    pub fn merge<T>(
        self,
        held: Vec<Held<T>>,
        rooms: &RewoundRooms,
        is_in: impl Fn(&str) -> bool,
    ) -> Vec<Passed<T>> {
        let has = |rooms: &[Arc<str>], room: &str| rooms.iter().any(|it| **it == *room);
        let mut past = self.events;
        past.retain(|_, entry| {
            let selection = &entry.selection;
            let is_of = |room: &String| has(&rooms.all, room) && is_in(room);
            selection.rooms.iter().any(is_of) && !selection.except.iter().any(|it| is_in(it))
        });
        let is_wanted = |room: &str, position: Position| {
            let from = self.from.iter().find(|it| *it.0 == *room);
            from.is_some_and(|it| position >= it.1) && position > self.left_out
        };
        let mut all = Vec::new();
        for held in held {
            if let Some(entry) = &held.entry
                && !entry.selection.flags.volatile
            {
                let names = entry.selection.rooms.iter();
                let mut names = names.filter(|it| is_in(it));
                // Before the mark what is only of new rooms comes as far as their past goes.
                let comes = held.position > self.mark.position
                    || entry.selection.rooms.is_empty()
                    || names.any(|room| !has(&rooms.new, room) || is_wanted(room, held.position));
                if !comes {
                    continue;
                }
            }
            if held.entry.is_some() {
                past.remove(&held.position);
            }
            all.push((held.position, Passed::Held(held)));
        }
        let mut merged: Vec<_> = past
            .into_iter()
            .map(|(position, entry)| (position, Passed::Past(entry)))
            .collect();
        merged.append(&mut all);
        merged.sort_by_key(|it| it.0);
        merged.into_iter().map(|it| it.1).collect()
    }
}

#[cfg(test)]
mod tests;
