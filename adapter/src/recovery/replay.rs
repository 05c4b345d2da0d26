//! Parts of several logs, put together.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Entry, LogName, Part, Position, Span};

/// Reads logs up to one place, each from a place of its own, and puts together what comes: in order, and what is
/// in several of them once.
#[derive(Debug)]
pub struct LogReader {
    until: Position,
    limit: usize,
    /// Up to where each log is read.
    cursors: BTreeMap<LogName, Position>,
    entries: BTreeMap<Position, Arc<Entry>>,
    bytes: usize,
}

/// Why logs cannot be put together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Incomplete {
    /// Some of it is not kept any more.
    Trimmed,
    /// It is more than may be held.
    TooLarge,
}

impl LogReader {
    /// Reads `logs`, each behind its place, up to `until`; holds at most `limit` bytes.
    pub fn new(
        logs: impl IntoIterator<Item = (LogName, Position)>,
        until: Position,
        limit: usize,
    ) -> Self {
        Self {
            until,
            limit,
            cursors: logs.into_iter().filter(|it| it.1 < until).collect(),
            entries: BTreeMap::new(),
            bytes: 0,
        }
    }

    /// What is still to be read.
    pub fn wanted(&self) -> Vec<Span> {
        let span = |(log, after): (&LogName, &Position)| Span {
            log: log.clone(),
            after: *after,
            until: self.until,
        };
        self.cursors.iter().map(span).collect()
    }

    /// What is still to be read of one log.
    pub fn wanted_of(&self, log: &LogName) -> Option<Span> {
        self.cursors.get(log).map(|after| Span {
            log: log.clone(),
            after: *after,
            until: self.until,
        })
    }

    /// Takes what was read. Of that it keeps what `is_for` wants.
    ///
    /// # Errors
    ///
    /// Something is missing, or it is too much.
    pub fn handle(
        &mut self,
        piece: &Part,
        is_for: impl Fn(&Entry) -> bool,
    ) -> Result<(), Incomplete> {
        let Some(cursor) = self.cursors.get_mut(&piece.log) else {
            return Ok(());
        };
        let after = *cursor;
        if piece.after > after {
            return Ok(());
        }
        if piece.trimmed > after {
            return Err(Incomplete::Trimmed);
        }
        *cursor = after.max(piece.through);
        if *cursor >= self.until {
            self.cursors.remove(&piece.log);
        }
        let entries = piece.entries.iter();
        for entry in entries.filter(|it| it.position > after && it.position <= self.until) {
            if is_for(entry) && !self.entries.contains_key(&entry.position) {
                self.bytes += entry.size();
                self.entries.insert(entry.position, entry.clone());
            }
        }
        match self.bytes > self.limit {
            true => Err(Incomplete::TooLarge),
            false => Ok(()),
        }
    }

    /// Reads a log no further.
    pub fn give_up(&mut self, log: &LogName) {
        self.cursors.remove(log);
    }

    /// Whether everything is read.
    pub fn is_complete(&self) -> bool {
        self.cursors.is_empty()
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// What was read, in order.
    pub fn into_entries(self) -> impl Iterator<Item = Arc<Entry>> {
        self.entries.into_values()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Selection;

    #[test]
    fn entries_of_several_logs_come_in_order_and_once() {
        let mut reader = reader(10_000);
        reader.handle(&piece("a", 0, &[10, 30], 50), all).unwrap();
        assert!(!reader.is_complete());
        reader.handle(&piece("b", 0, &[20, 30], 30), all).unwrap();
        let wanted = reader.wanted_of(&LogName::room("b")).unwrap();
        assert_eq!(wanted.after, Position::new(30));
        reader.handle(&piece("b", 30, &[40, 60], 70), all).unwrap();
        assert!(reader.is_complete());
        let places = reader.into_entries().map(|it| it.position.number());
        assert_eq!(places.collect::<Vec<_>>(), [10, 20, 30, 40]);
    }

    #[test]
    fn what_is_trimmed_or_too_large_is_told() {
        let mut trimmed = piece("a", 0, &[10], 50);
        trimmed.trimmed = Position::new(1);
        let result = reader(10_000).handle(&trimmed, all);
        assert_eq!(result, Err(Incomplete::Trimmed));
        let result = reader(10).handle(&piece("a", 0, &[10], 50), all);
        assert_eq!(result, Err(Incomplete::TooLarge));
        let result = reader(10).handle(&piece("a", 0, &[10], 50), |_| false);
        assert_eq!(result, Ok(()));
    }

    fn all(_: &Entry) -> bool {
        true
    }

    fn reader(limit: usize) -> LogReader {
        let logs = ["a", "b"].map(|log| (LogName::room(log), Position::ZERO));
        LogReader::new(logs, Position::new(50), limit)
    }

    fn piece(log: &str, after: u64, places: &[u64], through: u64) -> Part {
        let entry = |place: &u64| {
            Arc::new(Entry {
                position: Position::new(*place),
                selection: Selection::room(log),
                body: bytes::Bytes::new(),
            })
        };
        Part {
            log: LogName::room(log),
            after: Position::new(after),
            entries: places.iter().map(entry).collect(),
            through: Position::new(through),
            trimmed: Position::ZERO,
        }
    }
}
