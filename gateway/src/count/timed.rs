//! A family of counters that knows when each was counted last.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use super::counter::Count;
use super::{Family, Series, ShardCounter};

/// One counter for each series, and the time at which it was counted last. It takes 8 bytes more for each
/// series than a [`Family`], and one look at the clock more for each count: for what is no packet.
#[derive(Debug)]
pub(crate) struct Timed<S, C = ShardCounter> {
    counters: Family<S, C>,
    /// In milliseconds since 1970; 0 if never.
    last: Box<[AtomicU64]>,
}

impl<S: Series, C: Count> Default for Timed<S, C> {
    fn default() -> Self {
        Self {
            counters: Family::default(),
            last: S::all().map(|_| AtomicU64::new(0)).collect(),
        }
    }
}

impl<S: Series, C: Count> Timed<S, C> {
    /// The counter, which is to be counted now.
    pub(crate) fn now(&self, series: S) -> &C {
        self.last[series.index()].store(now_millis(), Ordering::Relaxed);
        self.counters.of(series)
    }

    /// All counters, to be read.
    pub(crate) fn family(&self) -> &Family<S, C> {
        &self.counters
    }

    /// When it was counted last, in milliseconds since 1970; 0 if it never was.
    pub(crate) fn last(&self, series: S) -> u64 {
        self.last[series.index()].load(Ordering::Relaxed)
    }
}

/// Now, in milliseconds since 1970.
pub(crate) fn now_millis() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    u64::try_from(now.unwrap_or_default().as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::count::Refused;

    #[test]
    fn each_series_has_a_time_of_its_own() {
        let timed = Timed::<Refused>::default();
        let before = now_millis();
        timed.now(Refused::Draining).increment();
        timed.now(Refused::Draining).increment();
        assert_eq!(timed.family().of(Refused::Draining).value(), 2);
        assert!((before..=now_millis()).contains(&timed.last(Refused::Draining)));
        assert_eq!(timed.family().total(), 2);
        assert_eq!(timed.last(Refused::Tls), 0);
    }
}
