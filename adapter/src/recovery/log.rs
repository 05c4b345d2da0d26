//! What was published to a room, for as long as somebody may come back for it.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;

use super::Position;
use crate::Selection;

/// Which log: that of a room, or that of the whole namespace.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum LogName {
    /// What is for everybody.
    Everybody,
    /// What is for a room.
    Room(Arc<str>),
}

/// One event in the log of each of its rooms, at the same place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its place.
    pub position: Position,
    /// Its recipients.
    pub selection: Selection,
    /// The event, encoded, without the offset.
    pub body: Bytes,
}

/// How much of a log is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keep {
    /// Entries.
    pub messages: usize,
    /// Their bytes.
    pub bytes: usize,
    /// How far back, in microseconds.
    pub back: u64,
}

/// A part of a log that is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// Of which log.
    pub log: LogName,
    /// What is behind this place,
    pub after: Position,
    /// and not behind this.
    pub until: Position,
}

/// A part of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// Of which log.
    pub log: LogName,
    /// Behind which place it begins.
    pub after: Position,
    /// In order.
    pub entries: Vec<Arc<Entry>>,
    /// Up to where it is complete: less than was asked for if that would be too much.
    pub through: Position,
    /// The newest place whose entry is not kept any more: of what is behind `after`, nothing is missing exactly
    /// if this is not behind it.
    pub trimmed: Position,
}

#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Log {
    entries: VecDeque<Arc<Entry>>,
    bytes: usize,
    last: Position,
    trimmed: Position,
}

/// What an entry takes beside its body, about.
const OVERHEAD: usize = 96;

/// Which part more may be in a log than is kept.
const SLACK: u64 = 8;

impl LogName {
    /// The logs of what is for `selection`, each once.
    pub fn of(selection: &Selection) -> Vec<Self> {
        if selection.rooms.is_empty() {
            return vec![Self::Everybody];
        }
        let mut logs: Vec<_> = selection.rooms.iter().map(|it| Self::room(it)).collect();
        logs.sort_unstable();
        logs.dedup();
        logs
    }

    /// Bytes of its name.
    pub(super) fn name_length(&self) -> usize {
        match self {
            Self::Everybody => 0,
            Self::Room(room) => room.len(),
        }
    }

    /// The log of a room.
    pub fn room(room: &str) -> Self {
        Self::Room(room.into())
    }
}

impl Entry {
    /// Bytes held, about.
    pub fn size(&self) -> usize {
        Self::size_of(&self.selection, &self.body)
    }

    /// The same of what is to become one.
    pub fn size_of(selection: &Selection, body: &[u8]) -> usize {
        let names = selection.rooms.iter().chain(&selection.except);
        OVERHEAD + body.len() + names.map(String::len).sum::<usize>()
    }
}

impl Log {
    /// A log of which nothing is known that is not behind `trimmed`.
    pub(super) fn new(trimmed: Position) -> Self {
        Self {
            trimmed,
            ..Self::default()
        }
    }

    /// The place of the last entry, kept or not.
    pub(super) fn last(&self) -> Position {
        self.last
    }

    /// Up to where entries are gone.
    pub(super) fn trimmed(&self) -> Position {
        self.trimmed
    }

    pub(super) fn has(&self, position: Position) -> bool {
        let found = self
            .entries
            .binary_search_by_key(&position, |it| it.position);
        found.is_ok()
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn append(&mut self, entry: Arc<Entry>) {
        self.last = entry.position;
        self.bytes += entry.size();
        self.entries.push_back(entry);
    }

    /// Trims it if an eighth more is in it than is kept: to drop many at once costs less than one each time.
    pub(super) fn relieve(&mut self, keep: Keep) {
        let horizon = self.last.back(keep.back.saturating_add(keep.back / SLACK));
        let is_much = self.entries.len() > keep.messages + keep.messages / SLACK as usize
            || self.bytes > keep.bytes + keep.bytes / SLACK as usize
            || self.entries.front().is_some_and(|it| it.position < horizon);
        if is_much {
            self.trim(self.last, keep);
        }
    }

    /// Drops what is too much, or too far behind `now`.
    pub(super) fn trim(&mut self, now: Position, keep: Keep) {
        let horizon = now.back(keep.back);
        while let Some(first) = self.entries.front() {
            let is_too_much = self.entries.len() > keep.messages || self.bytes > keep.bytes;
            if !is_too_much && first.position >= horizon {
                break;
            }
            self.trimmed = first.position;
            self.bytes -= first.size();
            self.entries.pop_front();
        }
    }

    /// What is behind `after` and not behind `until`: the first of it, as many bytes as `budget` allows, which
    /// goes down. The first entry is always in it, so that every read gets on.
    pub(super) fn read(&self, span: &Span, budget: &mut usize) -> Part {
        let from = self.entries.partition_point(|it| it.position <= span.after);
        let mut entries = Vec::new();
        let mut through = span.until;
        for entry in self.entries.range(from..) {
            if entry.position > span.until {
                break;
            }
            let size = entry.size();
            if size > *budget && !entries.is_empty() || *budget == 0 {
                through = entries
                    .last()
                    .map_or(span.after, |it: &Arc<Entry>| it.position);
                break;
            }
            *budget = budget.saturating_sub(size);
            entries.push(entry.clone());
        }
        Part {
            log: span.log.clone(),
            after: span.after,
            entries,
            through,
            trimmed: self.trimmed,
        }
    }

    /// The last `count` entries that are not behind `until`.
    pub(super) fn tail(&self, until: Position, count: usize) -> Position {
        let end = self.entries.partition_point(|it| it.position <= until);
        match end.checked_sub(count + 1) {
            Some(before) => self.entries[before].position,
            None => self.trimmed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEEP: Keep = Keep {
        messages: 3,
        bytes: 10_000,
        back: 1000,
    };

    #[test]
    fn a_log_knows_up_to_where_it_is_trimmed() {
        let mut log = Log::default();
        let append = |log: &mut Log, position, bytes| {
            log.append(entry(position, bytes));
            log.relieve(KEEP);
        };
        for position in [10, 20, 30] {
            append(&mut log, position, 1);
        }
        assert_eq!((log.len(), log.trimmed), (3, Position::ZERO));
        append(&mut log, 40, 1);
        assert_eq!((log.len(), log.trimmed), (3, Position::new(10)));
        append(&mut log, 50, KEEP.bytes);
        assert_eq!((log.len(), log.trimmed), (0, Position::new(50)));
        assert_eq!((log.bytes, log.last), (0, Position::new(50)));
        append(&mut log, 60, 1);
        log.trim(Position::new(2000), KEEP);
        assert_eq!((log.len(), log.trimmed), (0, Position::new(60)));
    }

    #[test]
    fn an_eighth_more_stays_until_it_is_dropped_at_once() {
        let keep = Keep {
            messages: 16,
            ..KEEP
        };
        let mut log = Log::default();
        let lengths = (1..=20).map(|position| {
            log.append(entry(position, 1));
            log.relieve(keep);
            log.len()
        });
        let lengths: Vec<_> = lengths.collect();
        assert_eq!(lengths[15..], [16, 17, 18, 16, 17]);
        log.append(entry(1100, 1));
        log.relieve(keep);
        assert_eq!(log.len(), 18, "not much too old");
        log.append(entry(1200, 1));
        log.relieve(keep);
        assert_eq!((log.len(), log.trimmed), (2, Position::new(20)));
    }

    #[test]
    fn a_read_takes_what_its_budget_allows_and_says_how_far_it_came() {
        let mut log = Log::default();
        for position in [10, 20, 30] {
            log.append(entry(position, 100));
        }
        let size = entry(0, 100).size();
        let read = |after, until, mut budget: usize| {
            let piece = log.read(&span(after, until), &mut budget);
            let places = piece.entries.iter().map(|it| it.position.number());
            (places.collect::<Vec<_>>(), piece.through.number())
        };
        assert_eq!(read(0, 99, 3 * size), (vec![10, 20, 30], 99));
        assert_eq!(read(10, 29, 3 * size), (vec![20], 29));
        assert_eq!(read(10, 99, size), (vec![20], 20));
        assert_eq!(read(10, 99, 1), (vec![20], 20));
        assert_eq!(read(10, 99, 0), (vec![], 10));
        assert_eq!(read(30, 99, 0), (vec![], 99));
        assert_eq!(log.tail(Position::MAX, 2), Position::new(10));
        assert_eq!(log.tail(Position::new(29), 2), Position::ZERO);
    }

    fn entry(position: u64, bytes: usize) -> Arc<Entry> {
        Arc::new(Entry {
            position: Position::new(position),
            selection: Selection::everybody(),
            body: Bytes::from(vec![0; bytes]),
        })
    }

    fn span(after: u64, until: u64) -> Span {
        Span {
            log: LogName::Everybody,
            after: Position::new(after),
            until: Position::new(until),
        }
    }
}
