//! Values counted in buckets.
//!
//! There are two kinds, as there are of counters. What one shard observes goes into a
//! [`ShardHistogram`], whose buckets are chosen where it is made. Durations that several threads
//! observe go into an [`adapter::Histogram`].

use super::counter::ShardCounter;

/// 0.1 ms to 3.3 s, each twice the one before, in nanoseconds: the buckets of [`adapter::Histogram`].
pub(crate) const DURATIONS: [u64; 16] = {
    let mut bounds = [100_000; 16];
    let mut index = 1;
    while index < bounds.len() {
        bounds[index] = bounds[index - 1] * 2;
        index += 1;
    }
    bounds
};

/// 1 to 262,144 recipients, each four times the one before.
pub(crate) const RECIPIENTS: [u64; 10] = [1, 4, 16, 64, 256, 1024, 4096, 16_384, 65_536, 262_144];

/// How often values fell into which bucket. One thread writes; every thread may read.
#[derive(Debug)]
pub(crate) struct ShardHistogram {
    bounds: &'static [u64],
    buckets: [ShardCounter; Self::MOST_BOUNDS + 1],
    sum: ShardCounter,
}

impl ShardHistogram {
    const MOST_BOUNDS: usize = 16;

    pub(super) fn new(bounds: &'static [u64]) -> Self {
        Self {
            bounds,
            buckets: Default::default(),
            sum: ShardCounter::default(),
        }
    }

    pub(crate) fn observe(&self, value: u64) {
        let bucket = self.bounds.partition_point(|bound| *bound < value);
        self.buckets[bucket].increment();
        self.sum.add(value);
    }

    pub(super) fn bounds(&self) -> &'static [u64] {
        self.bounds
    }

    /// The count of each bucket, the last one for what is above all bounds.
    pub(crate) fn counts(&self) -> impl Iterator<Item = u64> {
        self.buckets[..=self.bounds.len()]
            .iter()
            .map(ShardCounter::value)
    }

    pub(super) fn sum(&self) -> u64 {
        self.sum.value()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_falls_into_the_bucket_that_it_does_not_exceed() {
        let histogram = ShardHistogram::new(&RECIPIENTS);
        for value in [0, 1, 2, 4, 1_000_000] {
            histogram.observe(value);
        }
        let counts: Vec<_> = histogram.counts().collect();
        assert_eq!(counts, [2, 2, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
        assert_eq!(histogram.sum(), 1_000_007);
    }

    #[test]
    fn both_kinds_of_histogram_have_the_same_buckets_for_durations() {
        for (index, bound) in DURATIONS.iter().enumerate() {
            let limit = adapter::Histogram::limit(index).as_nanos();
            assert_eq!(u128::from(*bound), limit);
        }
        assert_eq!(DURATIONS.len(), adapter::Histogram::BUCKETS);
    }
}
