//! Acknowledgements of broadcasts: who waits for them, and what a node may hold for them.

use std::time::Duration;

use adapter::Counter;
use protocol::socketio::Arguments;
use tokio::sync::mpsc;

use crate::net::budget::{Budget, Share};
use crate::socketio::arguments::OwnedArguments;

/// Most acknowledgements of broadcasts that a node awaits; each broadcast counts as [`ROUND`] more.
const MAX_AWAITED: usize = 1_000_000;

/// What a broadcast itself costs, in awaited acknowledgements.
const ROUND: usize = 64;

/// Bytes of acknowledgements that came and wait until their broadcast has them all.
const MAX_BYTES: usize = 64 * 1024 * 1024;

/// What a node holds for the acknowledgements of broadcasts.
#[derive(Debug)]
pub(crate) struct Acks {
    awaited: Budget,
    bytes: Budget,
    /// Acknowledgements that came when too many bytes of them were held already.
    pub(crate) refused: Counter,
}

/// What a broadcast needs so that its recipients' acknowledgements come together.
pub(crate) struct AckRequest {
    pub(crate) id: u64,
    pub(crate) timeout: Duration,
    pub(crate) answers: mpsc::UnboundedSender<Tally>,
}

/// What shards report of a broadcast with acknowledgements.
pub(crate) enum Tally {
    /// A shard's number of recipients.
    Recipients(usize),
    /// One recipient's answer.
    Ack(OwnedArguments, Share),
    /// One recipient will not answer: it is gone, or what it said could not be kept.
    Gone,
}

/// One acknowledgement that a broadcast awaits. Dropped, it tells that none will come.
pub(crate) struct Awaited {
    answers: Option<mpsc::UnboundedSender<Tally>>,
    _place: Share,
}

/// How far a broadcast is with its acknowledgements.
#[derive(Debug)]
pub(crate) struct Progress {
    shards: usize,
    reports: usize,
    pub(crate) recipients: usize,
    settled: usize,
}

impl Default for Acks {
    fn default() -> Self {
        Self {
            awaited: Budget::new(MAX_AWAITED),
            bytes: Budget::new(MAX_BYTES),
            refused: Counter::default(),
        }
    }
}

impl Acks {
    /// A place for a broadcast; `None` if there are too many.
    pub(crate) fn begin(&self) -> Option<Share> {
        self.awaited.take(ROUND)
    }

    /// A place for one recipient's acknowledgement of it; `None` if too many are awaited.
    pub(crate) fn wait(&self, answers: &mpsc::UnboundedSender<Tally>) -> Option<Awaited> {
        self.awaited.take(1).map(|place| Awaited {
            answers: Some(answers.clone()),
            _place: place,
        })
    }

    /// Passes on what a recipient acknowledged.
    pub(crate) fn answer(&self, mut awaited: Awaited, arguments: Arguments<'_>) {
        let answer = OwnedArguments::from(arguments);
        let Some(share) = self.bytes.take(answer.size()) else {
            return self.refused.increment();
        };
        if let Some(answers) = awaited.answers.take() {
            let _gone = answers.send(Tally::Ack(answer, share));
        }
    }
}

impl Drop for Awaited {
    fn drop(&mut self) {
        if let Some(answers) = self.answers.take() {
            let _gone = answers.send(Tally::Gone);
        }
    }
}

impl Progress {
    pub(crate) fn new(shards: usize) -> Self {
        Self {
            shards,
            reports: 0,
            recipients: 0,
            settled: 0,
        }
    }

    /// Notes what a shard reported.
    pub(crate) fn note(&mut self, told: &Tally) {
        match told {
            Tally::Recipients(recipients) => {
                self.reports += 1;
                self.recipients += recipients;
            }
            Tally::Ack(..) | Tally::Gone => self.settled += 1,
        }
    }

    /// Whether all shards told how many recipients they have.
    pub(crate) fn is_counted(&self) -> bool {
        self.reports >= self.shards
    }

    /// Whether nothing more will come.
    pub(crate) fn is_over(&self) -> bool {
        self.is_counted() && self.settled >= self.recipients
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_goes_is_not_waited_for() {
        let acks = Acks::default();
        let (answers, mut told) = mpsc::unbounded_channel();
        let mut progress = Progress::new(1);
        let gone = acks.wait(&answers).unwrap();
        let answered = acks.wait(&answers).unwrap();
        progress.note(&Tally::Recipients(2));
        acks.answer(answered, Arguments::from_raw("1", &[]));
        progress.note(&told.try_recv().unwrap());
        assert!(progress.is_counted() && !progress.is_over());
        drop(gone);
        progress.note(&told.try_recv().unwrap());
        assert!(progress.is_over());
        assert!(told.try_recv().is_err());
    }

    #[test]
    fn what_is_awaited_and_what_came_is_bounded() {
        let acks = Acks {
            awaited: Budget::new(ROUND + 1),
            bytes: Budget::new(10),
            refused: Counter::default(),
        };
        let (answers, mut told) = mpsc::unbounded_channel();
        let round = acks.begin().unwrap();
        assert!(acks.begin().is_none());
        let large = acks.wait(&answers).unwrap();
        assert!(acks.wait(&answers).is_none());
        acks.answer(large, Arguments::from_raw("\"0123456789\"", &[]));
        assert!(matches!(told.try_recv(), Ok(Tally::Gone)));
        assert_eq!(acks.refused.value(), 1);
        let small = acks.wait(&answers).unwrap();
        acks.answer(small, Arguments::from_raw("\"01234567\"", &[]));
        assert!(matches!(told.try_recv(), Ok(Tally::Ack(..))));
        drop(round);
    }
}
