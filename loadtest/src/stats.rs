//! Counters and histograms: one set per thread, written by that thread alone, read by the one that reports.

use std::sync::atomic::{AtomicU64, Ordering};

use hdrhistogram::Histogram;

use crate::client::Failure;

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Count {
    /// Sessions that have joined the namespace now.
    Connected,
    /// Clients that have done what the scenario needs before it begins.
    Ready,
    /// Times a session joined the namespace.
    Joined,
    /// Messages sent.
    Sent,
    /// Acks received.
    Acked,
    /// Messages delivered to this tool's clients.
    Delivered,
    /// Deliveries that are due for what was sent.
    Due,
    /// Heartbeats answered.
    Heartbeats,
    /// Bytes read from the server.
    BytesIn,
    /// Deliveries that nobody was waiting for.
    Strays,
    /// Publishes that were due in a paced run while the publisher had no connection.
    Skipped,
    /// Connections that the scenario has cut.
    Cuts,
    /// Answers to CONNECT with which the server offers recovery.
    Offers,
    /// Clients that came back, and whose CONNECT was answered.
    Returns,
    /// Of these, those that got their session back.
    Recovered,
    /// Of these, those whose socket has another id.
    Renamed,
    /// Events that a recovered client got, and that had been published before it asked.
    Replayed,
    /// Publishes that the server has refused.
    PublishesRefused,
}

const COUNTS: usize = Count::PublishesRefused as usize + 1;

/// One thread's counters.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct Tally {
    counts: [AtomicU64; COUNTS],
    failures: [AtomicU64; FAILURES],
}

const FAILURES: usize = Failure::ALL.len();

impl Tally {
    /// Adds to a count. One thread writes, so this needs no locked instruction.
    pub(crate) fn add(&self, count: Count, amount: u64) {
        add(&self.counts[count as usize], amount);
    }

    /// Takes back from a count that goes up and down.
    pub(crate) fn subtract(&self, count: Count, amount: u64) {
        let cell = &self.counts[count as usize];
        cell.store(
            cell.load(Ordering::Relaxed).saturating_sub(amount),
            Ordering::Relaxed,
        );
    }

    /// Counts the end of a session that was not asked for.
    pub(crate) fn failed(&self, failure: Failure) {
        add(&self.failures[failure as usize], 1);
    }
}

fn add(cell: &AtomicU64, amount: u64) {
    cell.store(cell.load(Ordering::Relaxed) + amount, Ordering::Relaxed);
}

/// The counters of all threads at one moment.
#[derive(Clone, Debug, Default)]
pub(crate) struct Totals {
    counts: [u64; COUNTS],
    /// By [`Failure`].
    pub(crate) failures: [u64; FAILURES],
}

impl Totals {
    /// Adds up.
    pub(crate) fn of<'a>(tallies: impl Iterator<Item = &'a Tally>) -> Self {
        let mut totals = Self::default();
        for tally in tallies {
            for (sum, cell) in totals.counts.iter_mut().zip(&tally.counts) {
                *sum += cell.load(Ordering::Relaxed);
            }
            for (sum, cell) in totals.failures.iter_mut().zip(&tally.failures) {
                *sum += cell.load(Ordering::Relaxed);
            }
        }
        totals
    }

    /// One count.
    pub(crate) fn of_count(&self, count: Count) -> u64 {
        self.counts[count as usize]
    }

    /// How much a count has grown since `earlier`.
    pub(crate) fn since(&self, earlier: &Self, count: Count) -> u64 {
        self.of_count(count).saturating_sub(earlier.of_count(count))
    }

    /// Sessions that ended without being asked to, for whatever reason.
    pub(crate) fn failed(&self) -> u64 {
        self.failures.iter().sum()
    }

    /// Clients that were told to stay away: the official client does not come back by itself.
    pub(crate) fn refused(&self) -> u64 {
        self.failures[Failure::Refused as usize] + self.failures[Failure::Dismissed as usize]
    }

    /// Attempts that ended with an HTTP status; the client tries again.
    pub(crate) fn turned_away(&self) -> u64 {
        self.failures[Failure::Status as usize]
    }
}

/// What is measured in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Series {
    /// From the intended send time to the delivery, or to the ack.
    Latency,
    /// From opening TCP to the joined namespace.
    Connect,
    /// How late a heartbeat came, against the server's own interval.
    Lateness,
    /// How long a client was away, from the cut to being in its room again.
    Recovery,
    /// From CONNECT sent to the last missed event, or to the answer if there was none.
    Replay,
}

const SERIES: usize = Series::Replay as usize + 1;

/// One histogram per [`Series`], in microseconds with three digits; made when first used.
#[derive(Clone, Debug, Default)]
pub(crate) struct Times {
    histograms: [Option<Histogram<u64>>; SERIES],
}

impl Times {
    /// Records a time in nanoseconds.
    pub(crate) fn record(&mut self, series: Series, nanoseconds: u64) {
        let histogram = self.histograms[series as usize].get_or_insert_with(histogram);
        histogram.saturating_record((nanoseconds / 1000).max(1));
    }

    /// Adds another set.
    pub(crate) fn add(&mut self, other: &Self) {
        for (mine, theirs) in self.histograms.iter_mut().zip(&other.histograms) {
            let Some(theirs) = theirs else { continue };
            let mine = mine.get_or_insert_with(histogram);
            mine.add(theirs).expect("both have the same bounds");
        }
    }

    /// The histogram, when anything was recorded.
    pub(crate) fn series(&self, series: Series) -> Option<&Histogram<u64>> {
        let histogram = self.histograms[series as usize].as_ref()?;
        (!histogram.is_empty()).then_some(histogram)
    }

    /// Whether nothing was recorded at all.
    pub(crate) fn is_empty(&self) -> bool {
        self.histograms.iter().flatten().all(Histogram::is_empty)
    }
}

fn histogram() -> Histogram<u64> {
    const HOUR: u64 = 3_600_000_000;
    Histogram::new_with_bounds(1, HOUR, 3).expect("the bounds are constants that fit")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_add_the_threads_up() {
        let tallies = [Tally::default(), Tally::default()];
        tallies[0].add(Count::Delivered, 5);
        tallies[1].add(Count::Delivered, 7);
        tallies[1].add(Count::Connected, 2);
        tallies[1].subtract(Count::Connected, 1);
        tallies[0].failed(Failure::Timeout);
        let totals = Totals::of(tallies.iter());
        assert_eq!(totals.of_count(Count::Delivered), 12);
        assert_eq!(totals.of_count(Count::Connected), 1);
        assert_eq!(totals.failed(), 1);
        assert_eq!(totals.since(&Totals::default(), Count::Delivered), 12);
    }

    #[test]
    fn percentiles_are_taken_from_all_samples_together() {
        let mut fast = Times::default();
        let mut slow = Times::default();
        for _ in 0..99 {
            fast.record(Series::Latency, 1_000_000);
        }
        slow.record(Series::Latency, 500_000_000);
        fast.add(&slow);
        let all = fast.series(Series::Latency).unwrap();
        assert_eq!(all.len(), 100);
        assert_eq!(all.value_at_quantile(0.5), 1000);
        assert!(all.max() >= 500_000);
        assert!(fast.series(Series::Connect).is_none());
    }
}
