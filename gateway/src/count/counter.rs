//! Numbers that only grow, alone and one for each series of a metric.
//!
//! There are two kinds, told apart by who writes. What one shard counts is a [`ShardCounter`]: it is
//! written many times for each packet, and an addition that is safe between threads would cost some
//! ten times as much. Whatever several threads count is an [`adapter::Counter`].

use std::marker::PhantomData;
use std::sync::atomic::{AtomicU64, Ordering};

use adapter::Counter;

use super::{Labels, Series};

/// A number that one thread writes and every thread may read. Two writers would lose counts.
#[derive(Debug, Default)]
pub(crate) struct ShardCounter(AtomicU64);

impl ShardCounter {
    pub(crate) fn add(&self, count: u64) {
        self.0.store(
            self.0.load(Ordering::Relaxed).wrapping_add(count),
            Ordering::Relaxed,
        );
    }

    pub(crate) fn increment(&self) {
        self.add(1);
    }

    /// For what can become less again.
    pub(crate) fn subtract(&self, count: u64) {
        self.add(count.wrapping_neg());
    }

    pub(crate) fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Either kind of counter, to be read.
pub(crate) trait Count: Default {
    fn count(&self) -> u64;
}

impl Count for ShardCounter {
    fn count(&self) -> u64 {
        self.value()
    }
}

impl Count for Counter {
    fn count(&self) -> u64 {
        self.value()
    }
}

/// One counter for each series of a metric.
#[derive(Debug)]
pub(crate) struct Family<S, C = ShardCounter> {
    counters: Box<[C]>,
    series: PhantomData<S>,
}

impl<S: Series, C: Count> Default for Family<S, C> {
    fn default() -> Self {
        Self {
            counters: S::all().map(|_| C::default()).collect(),
            series: PhantomData,
        }
    }
}

impl<S: Series, C: Count> Family<S, C> {
    pub(crate) fn of(&self, series: S) -> &C {
        &self.counters[series.index()]
    }

    /// All counts together.
    pub(crate) fn total(&self) -> u64 {
        self.counters.iter().map(Count::count).sum()
    }

    /// All counts with their labels.
    pub(crate) fn values(&self) -> Vec<(Labels, u64)> {
        S::all()
            .map(|series| (series.labels(), self.of(series).count()))
            .collect()
    }
}
