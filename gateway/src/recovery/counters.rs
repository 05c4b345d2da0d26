//! What recovery counts.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use adapter::recovery::Sizes;
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
    /// Acts that wait now, of all namespaces.
    pub(crate) waiting: Counter,
    /// Logs of all namespaces, as heartbeats told last.
    pub(crate) logs: Counter,
    /// Their entries.
    pub(crate) entries: Counter,
    /// The bytes of these.
    pub(crate) bytes: Counter,
}

/// What one namespace adds to numbers that are those of all. Dropping it takes that back.
pub(super) struct Share {
    counters: Arc<RecoveryCounters>,
    waiting: u64,
    sizes: Sizes,
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

impl Share {
    pub(super) fn new(counters: Arc<RecoveryCounters>) -> Self {
        Self {
            counters,
            waiting: 0,
            sizes: Sizes::default(),
        }
    }

    pub(super) fn set_waiting(&mut self, waiting: usize) {
        let waiting = waiting as u64;
        replace(&self.counters.waiting, &mut self.waiting, waiting);
    }

    pub(super) fn set_sizes(&mut self, sizes: Sizes) {
        let Sizes {
            logs,
            entries,
            bytes,
        } = sizes;
        replace(&self.counters.logs, &mut self.sizes.logs, logs);
        replace(&self.counters.entries, &mut self.sizes.entries, entries);
        replace(&self.counters.bytes, &mut self.sizes.bytes, bytes);
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.set_waiting(0);
        self.set_sizes(Sizes::default());
    }
}

/// The sum stays one of what all put in last.
fn replace(sum: &Counter, part: &mut u64, new: u64) {
    sum.add(new.wrapping_sub(std::mem::replace(part, new)));
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_namespaces_add_goes_with_them() {
        let counters = Arc::new(RecoveryCounters::default());
        let [mut first, mut second] = [(); 2].map(|()| Share::new(Arc::clone(&counters)));
        let sizes = |entries| Sizes {
            logs: 1,
            entries,
            bytes: 100 * entries,
        };
        first.set_waiting(5);
        second.set_waiting(7);
        first.set_waiting(2);
        first.set_sizes(sizes(3));
        second.set_sizes(sizes(4));
        let values = |it: &RecoveryCounters| {
            [&it.waiting, &it.logs, &it.entries, &it.bytes].map(Counter::value)
        };
        assert_eq!(values(&counters), [9, 2, 7, 700]);
        drop(second);
        assert_eq!(values(&counters), [2, 1, 3, 300]);
        drop(first);
        assert_eq!(values(&counters), [0; 4]);
    }
}
