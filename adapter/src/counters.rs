use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// What an adapter counts, as plain values; an exporter reads them at any time.
#[non_exhaustive]
#[derive(Debug, Default)]
pub struct Counters {
    /// Messages that came in and were handed over.
    pub in_ok: Counter,
    /// Messages that came in and could not be read.
    pub in_undecodable: Counter,
    /// Messages that came in a second time because two subscriptions match their channel.
    pub in_duplicate: Counter,
    /// This node's own messages, coming back.
    pub in_own: Counter,
    /// Messages that are legal and not for this node: another namespace, an unknown kind.
    pub in_ignored: Counter,
    /// Messages that the other side confirmed to have passed on.
    pub out_ok: Counter,
    /// Messages given up before they were sent: the buffer was full.
    pub out_dropped: Counter,
    /// Messages that were sent on a connection that broke before they were confirmed. They may have
    /// arrived; sending them again could deliver them twice.
    pub out_unconfirmed: Counter,
    /// Messages that the other side refused, such as for want of a permission.
    pub out_refused: Counter,
    /// Connections made again after one was lost or given up.
    pub reconnects: Counter,
    /// Times that the subscriptions were interrupted: something may have been missed.
    pub gaps: Counter,
    /// Subscriptions that the other side refused because of their names; each is counted once.
    pub subscriptions_refused: Counter,
    /// Subscriptions in force now.
    pub subscriptions: Counter,
    /// Messages that await being sent or confirmed now.
    pub queued: Counter,
    /// The bytes of those messages.
    pub queued_bytes: Counter,
    /// What a store refused: calls, whose connection is made anew, and messages of events that are in a log.
    pub store_refused: Counter,
    /// Connections to stores that were lost or given up.
    pub store_breaks: Counter,
    /// Time from publishing a message to its confirmation.
    pub publish_duration: Histogram,
    /// Time that a message to oneself takes, from being published to coming in.
    pub lag: Histogram,
}

/// A number that several threads count.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

/// Durations counted in 16 buckets, the first up to 100 microseconds, each next twice as long, and
/// one more for all that are longer.
#[derive(Debug, Default)]
pub struct Histogram {
    buckets: [AtomicU64; Self::BUCKETS + 1],
    nanoseconds: AtomicU64,
}

/// A [`Histogram`] at one moment.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HistogramSnapshot {
    /// Durations per bucket, not cumulative; the last has no upper limit.
    pub counts: [u64; Histogram::BUCKETS + 1],
    /// All durations together.
    pub sum: Duration,
}

impl Counter {
    /// Counts `n` more.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// Counts one more.
    pub fn increment(&self) {
        self.add(1);
    }

    /// Counts one more, and says whether it is the first.
    pub fn is_first(&self) -> bool {
        self.0.fetch_add(1, Ordering::Relaxed) == 0
    }

    /// Replaces the number.
    pub fn set(&self, n: u64) {
        self.0.store(n, Ordering::Relaxed);
    }

    /// The number.
    pub fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Histogram {
    /// Buckets with an upper limit.
    pub const BUCKETS: usize = 16;

    /// The upper limit of bucket `index`, counted from 0.
    pub fn limit(index: usize) -> Duration {
        Duration::from_micros(100 << index.min(Self::BUCKETS))
    }

    /// Counts `duration`.
    pub fn observe(&self, duration: Duration) {
        let index = (0..Self::BUCKETS).find(|&index| duration <= Self::limit(index));
        self.buckets[index.unwrap_or(Self::BUCKETS)].fetch_add(1, Ordering::Relaxed);
        let nanoseconds = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        self.nanoseconds.fetch_add(nanoseconds, Ordering::Relaxed);
    }

    /// What was counted so far.
    pub fn snapshot(&self) -> HistogramSnapshot {
        HistogramSnapshot {
            counts: std::array::from_fn(|index| self.buckets[index].load(Ordering::Relaxed)),
            sum: Duration::from_nanos(self.nanoseconds.load(Ordering::Relaxed)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_fall_into_the_first_bucket_that_holds_them() {
        let histogram = Histogram::default();
        for micros in [0, 100, 101, 200, 3_276_800, 3_276_801, 60_000_000] {
            histogram.observe(Duration::from_micros(micros));
        }
        let snapshot = histogram.snapshot();
        assert_eq!(snapshot.counts[0], 2);
        assert_eq!(snapshot.counts[1], 2);
        assert_eq!(snapshot.counts[15], 1);
        assert_eq!(snapshot.counts[16], 2);
        assert_eq!(snapshot.counts.iter().sum::<u64>(), 7);
        assert_eq!(snapshot.sum, Duration::from_micros(66_554_002));
    }
}
