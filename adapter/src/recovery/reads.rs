//! Reads of logs, which many share: when many clients come back at once they want the same.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

use super::{LogName, Part, Position, Span};

/// Who waits for parts of logs. One read of a log is under way at a time. It begins at the first place that
/// somebody wants, and all the others take from it what they want.
#[derive(Debug)]
pub struct Reads<W> {
    waiting: BTreeMap<LogName, Vec<(W, Span)>>,
    under_way: BTreeSet<LogName>,
    /// The log that was asked for last, so that each gets its turn.
    last: Option<LogName>,
}

impl<W> Default for Reads<W> {
    fn default() -> Self {
        Self {
            waiting: BTreeMap::new(),
            under_way: BTreeSet::new(),
            last: None,
        }
    }
}

impl<W: Clone + PartialEq> Reads<W> {
    /// `waiter` wants a part of a log.
    pub fn want(&mut self, waiter: W, span: Span) {
        let waiting = self.waiting.entry(span.log.clone()).or_default();
        waiting.push((waiter, span));
    }

    /// What to ask for next: at most `count` logs in one call, each in turn.
    pub fn next(&mut self, count: usize) -> Vec<Span> {
        let turn = self.last.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
        let first = self.waiting.range((turn, Bound::Unbounded));
        let last = self.last.as_ref().map(|last| self.waiting.range(..=last));
        let logs = first.chain(last.into_iter().flatten());
        let logs = logs.filter(|(log, _)| !self.under_way.contains(log));
        let spans = logs.take(count).filter_map(|(log, waiting)| {
            let spans = waiting.iter().map(|(_, span)| span);
            let after = spans.clone().map(|it| it.after).min()?;
            let until = spans.map(|it| it.until).max()?;
            let log = log.clone();
            Some(Span { log, after, until })
        });
        let spans: Vec<_> = spans.collect();
        self.under_way.extend(spans.iter().map(|it| it.log.clone()));
        self.last = spans.last().map(|it| it.log.clone()).or(self.last.take());
        spans
    }

    /// A part of a log has come: for these. Who wants more says so again.
    pub fn handle(&mut self, piece: Part) -> Vec<(W, Arc<Part>)> {
        self.under_way.remove(&piece.log);
        let Some(waiting) = self.waiting.remove(&piece.log) else {
            return Vec::new();
        };
        let is_served = |span: &Span| {
            let is_new = piece.through > span.after || piece.through >= span.until;
            span.after >= piece.after && is_new
        };
        let (served, left): (Vec<_>, Vec<_>) =
            waiting.into_iter().partition(|(_, span)| is_served(span));
        if !left.is_empty() {
            self.waiting.insert(piece.log.clone(), left);
        }
        let piece = Arc::new(piece);
        let served = served
            .into_iter()
            .map(|(waiter, _)| (waiter, piece.clone()));
        served.collect()
    }

    /// A call got no answer: what it asked for is asked for again.
    pub fn handle_failed(&mut self, spans: &[Span]) {
        for span in spans {
            self.under_way.remove(&span.log);
        }
    }

    /// `waiter` wants nothing of these logs any more.
    pub fn forget_of<'a>(&mut self, waiter: &W, logs: impl IntoIterator<Item = &'a LogName>) {
        for log in logs {
            if let Some(waiting) = self.waiting.get_mut(log) {
                waiting.retain(|(it, _)| it != waiter);
                if waiting.is_empty() {
                    self.waiting.remove(log);
                }
            }
        }
    }

    /// `waiter` wants nothing any more. This looks at everybody who waits.
    pub fn forget(&mut self, waiter: &W) {
        self.waiting.retain(|_, waiting| {
            waiting.retain(|(it, _)| it != waiter);
            !waiting.is_empty()
        });
    }

    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// From where the log is wanted, for tests.
    pub fn wanted_from(&self, log: &LogName) -> Option<Position> {
        let waiting = self.waiting.get(log)?;
        waiting.iter().map(|(_, span)| span.after).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_share_one_read() {
        let mut reads = Reads::default();
        reads.want(1, span("a", 10, 50));
        reads.want(2, span("a", 20, 60));
        reads.want(3, span("b", 5, 50));
        assert_eq!(reads.next(9), [span("a", 10, 60), span("b", 5, 50)]);
        assert_eq!(reads.next(9), []);
        reads.want(4, span("a", 0, 60));
        let served = reads.handle(piece("a", 10, 60));
        let who: Vec<_> = served.iter().map(|it| it.0).collect();
        assert_eq!(who, [1, 2], "the fourth wants what is before it");
        assert_eq!(reads.next(9), [span("a", 0, 60)]);
    }

    #[test]
    fn what_failed_is_asked_for_again_and_what_is_not_wanted_is_not() {
        let mut reads = Reads::default();
        reads.want(1, span("a", 10, 50));
        let asked = reads.next(1);
        reads.handle_failed(&asked);
        assert_eq!(reads.next(1), asked);
        reads.handle_failed(&asked);
        reads.forget(&1);
        assert!(reads.is_empty() && reads.next(1).is_empty());
    }

    #[test]
    fn logs_are_asked_for_in_turn_and_none_for_those_who_left() {
        let mut reads = Reads::default();
        for log in ["a", "b", "c", "d"] {
            reads.want(1, span(log, 10, 50));
        }
        reads.want(2, span("a", 20, 50));
        let names = |spans: &[Span]| spans.iter().map(|it| it.log.clone()).collect::<Vec<_>>();
        let asked = reads.next(3);
        assert_eq!(names(&asked), ["a", "b", "c"].map(LogName::room));
        reads.handle_failed(&asked[..1]);
        assert_eq!(names(&reads.next(3)), ["d", "a"].map(LogName::room));
        reads.handle_failed(&asked);
        reads.forget_of(&1, ["a", "b", "d", "of others"].map(LogName::room).iter());
        let left = reads.next(3);
        assert_eq!(names(&left), ["c", "a"].map(LogName::room));
        assert_eq!(left[1].after, Position::new(20));
        assert!(reads.next(3).is_empty());
    }

    #[test]
    fn who_is_behind_a_part_waits_on() {
        let mut reads = Reads::default();
        reads.want(1, span("a", 10, 50));
        reads.want(2, span("a", 40, 50));
        reads.next(1);
        let served = reads.handle(piece("a", 10, 30));
        assert_eq!(served.len(), 1);
        assert_eq!(
            reads.wanted_from(&LogName::room("a")),
            Some(Position::new(40))
        );
    }

    fn span(log: &str, after: u64, until: u64) -> Span {
        Span {
            log: LogName::room(log),
            after: Position::new(after),
            until: Position::new(until),
        }
    }

    fn piece(log: &str, after: u64, through: u64) -> Part {
        Part {
            log: LogName::room(log),
            after: Position::new(after),
            entries: Vec::new(),
            through: Position::new(through),
            trimmed: Position::ZERO,
        }
    }
}
