//! What recovery counts.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use adapter::{Counter, Histogram};

/// What recovery counts on a node.
#[derive(Default)]
pub(crate) struct RecoveryCounters {
    /// Clients that showed a pid, by what became of them: `recovered`, or why not.
    results: Mutex<BTreeMap<&'static str, u64>>,
    /// Events that were sent again.
    pub(crate) replayed: Counter,
    /// Events of the past that were read for joins.
    pub(crate) rewound: Counter,
    /// From what a client shows to the events that it missed.
    pub(crate) duration: Histogram,
    /// Events that were published and confirmed.
    pub(crate) published: Counter,
    /// Events that were refused, since too much waits.
    pub(crate) refused: Counter,
    /// From a publish to its confirmation.
    pub(crate) publish_duration: Histogram,
    /// Changes of sessions that were written.
    pub(crate) session_writes: Counter,
    /// Events of others that are in no log.
    pub(crate) unlogged: Counter,
    /// Times that a node read from the logs what it had not heard.
    pub(crate) fills: Counter,
    /// Events that came by that.
    pub(crate) filled: Counter,
    /// Connections that were closed since what they lack cannot be had.
    pub(crate) given_up: Counter,
    /// Times that a log became another one.
    pub(crate) renewed: Counter,
    /// Acts that wait now.
    pub(crate) waiting: Counter,
}

/// Every value of the label `result`.
pub(crate) const RESULTS: &[&str] = &[
    "recovered",
    "epoch",
    "expired",
    "lost",
    "malformed",
    "superseded",
    "too_large",
    "trimmed",
    "unknown",
    "unreachable",
    "unsettled",
    "wrong_user",
];

impl RecoveryCounters {
    pub(super) fn note(&self, result: &'static str) {
        let mut results = self.results.lock().unwrap_or_else(PoisonError::into_inner);
        *results.entry(result).or_default() += 1;
    }

    /// How many clients showed a pid, by what became of them.
    pub(crate) fn results(&self) -> Vec<(&'static str, u64)> {
        let results = self.results.lock().unwrap_or_else(PoisonError::into_inner);
        let count = |result: &&'static str| (*result, results.get(result).copied().unwrap_or(0));
        RESULTS.iter().map(count).collect()
    }
}
