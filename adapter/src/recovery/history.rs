//! The past of a room, for those who ask for it.

use std::sync::Arc;

use super::log::Log;
use super::{Entry, Epoch, LogName, Offset, Position, Span};

/// What of the past is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Past {
    /// The last events.
    Last {
        /// How many.
        count: usize,
        /// None behind this place.
        until: Position,
    },
    /// The events behind a place.
    After {
        /// The place.
        after: Position,
        /// How many at most.
        count: usize,
        /// None behind this place.
        until: Position,
    },
}

/// What a client that joins a room wants of its past, before what is to come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rewind {
    /// The last so many events.
    Last(usize),
    /// Everything behind an event that it has.
    After(Offset),
}

/// A part of the past.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PastPage {
    /// The life of the log.
    pub epoch: Epoch,
    /// In order.
    pub entries: Vec<Arc<Entry>>,
    /// Up to where it is complete: the next page begins behind it.
    pub through: Position,
    /// The place of the newest entry in the log.
    pub newest: Position,
    /// Whether entries between the place that was named and the first one are gone.
    pub is_cut: bool,
    /// Whether it is known that the server lacks nothing that was confirmed.
    pub is_settled: bool,
}

impl Rewind {
    /// What to ask for, once the room is joined: behind `mark` everything comes live.
    pub fn past(&self, mark: Position, most: usize) -> Past {
        match self {
            Self::Last(count) => Past::Last {
                count: (*count).min(most),
                until: mark,
            },
            Self::After(offset) => Past::After {
                after: offset.position,
                count: most,
                until: mark,
            },
        }
    }

    /// Whether a page shows no gap to what it asked for. If it does, the client is told so.
    pub fn is_whole(&self, page: &PastPage, mark: Position) -> bool {
        let is_whole = page.is_settled && page.through >= mark;
        match self {
            Self::Last(_) => is_whole,
            Self::After(offset) => is_whole && offset.epoch == page.epoch && !page.is_cut,
        }
    }
}

impl PastPage {
    pub(super) fn read(log: &Log, epoch: Epoch, past: &Past, mut budget: usize) -> Self {
        let (after, until, count) = match *past {
            Past::Last { count, until } => (log.tail(until, count), until, count),
            Past::After {
                after,
                count,
                until,
            } => (after, until, count),
        };
        let span = Span {
            log: LogName::Everybody,
            after,
            until,
        };
        let mut piece = log.read(&span, &mut budget);
        if piece.entries.len() > count {
            piece.entries.truncate(count);
            piece.through = piece.entries.last().map_or(after, |it| it.position);
        }
        Self {
            epoch,
            entries: piece.entries,
            through: piece.through,
            newest: log.last(),
            is_cut: log.trimmed() > after,
            is_settled: true,
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::super::Keep;
    use super::*;
    use crate::Selection;

    #[test]
    fn the_last_events_come_in_order() {
        let log = log();
        let last = |count, until| {
            let until = Position::new(until);
            places(&PastPage::read(
                &log,
                Epoch::new(1),
                &Past::Last { count, until },
                10_000,
            ))
        };
        assert_eq!(last(2, 99), [40, 50]);
        assert_eq!(last(2, 45), [30, 40]);
        assert_eq!(last(9, 99), [30, 40, 50]);
        assert_eq!(last(0, 99), [0; 0]);
    }

    #[test]
    fn pages_follow_each_other_and_say_what_is_gone() {
        let log = log();
        let read = |after: Position| {
            let until = Position::new(99);
            let past = Past::After {
                after,
                count: 2,
                until,
            };
            PastPage::read(&log, Epoch::new(1), &past, 10_000)
        };
        let first = read(Position::new(5));
        assert_eq!((places(&first), first.is_cut), (vec![30, 40], true));
        let second = read(first.through);
        assert_eq!((places(&second), second.is_cut), (vec![50], false));
        assert_eq!(second.through, Position::new(99));
        assert_eq!(second.newest, Position::new(50));
    }

    #[test]
    fn a_rewind_is_whole_if_nothing_is_cut_up_to_the_mark() {
        let log = log();
        let mark = Position::new(60);
        let epoch = Epoch::new(1);
        let offset = |position| Offset {
            epoch,
            position: Position::new(position),
        };
        for (rewind, found, whole) in [
            (Rewind::Last(2), vec![40, 50], true),
            (Rewind::After(offset(30)), vec![40, 50], true),
            (Rewind::After(offset(10)), vec![30, 40, 50], false),
        ] {
            let page = PastPage::read(&log, epoch, &rewind.past(mark, 100), 10_000);
            assert_eq!(
                (places(&page), rewind.is_whole(&page, mark)),
                (found, whole)
            );
        }
        let elsewhere = Offset {
            epoch: Epoch::new(2),
            ..offset(30)
        };
        let page = PastPage::read(
            &log,
            epoch,
            &Past::Last {
                count: 1,
                until: mark,
            },
            10_000,
        );
        assert!(!Rewind::After(elsewhere).is_whole(&page, mark));
    }

    /// With 30, 40 and 50, of which 10 and 20 are gone.
    fn log() -> Log {
        let keep = Keep {
            messages: 3,
            bytes: 10_000,
            back: 1000,
        };
        let mut log = Log::default();
        for position in [10, 20, 30, 40, 50] {
            let entry = Entry {
                position: Position::new(position),
                selection: Selection::everybody(),
                body: Bytes::new(),
            };
            log.append(Arc::new(entry));
            log.relieve(keep);
        }
        log
    }

    fn places(page: &PastPage) -> Vec<u64> {
        page.entries.iter().map(|it| it.position.number()).collect()
    }
}
