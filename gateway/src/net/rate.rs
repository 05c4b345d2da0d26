//! How many per second.

use std::num::NonZeroU32;
use std::time::{Duration, Instant};

/// Lets so many things happen in a second, and as many at once.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rate {
    since: Instant,
    interval: u64,
}

/// When the next thing would be due if they came evenly, in nanoseconds of its [`Rate`]. It begins
/// at zero.
pub(crate) type Due = u64;

/// What may happen before it is due, in nanoseconds.
const BURST: u64 = Duration::from_secs(1).as_nanos() as u64;

impl Rate {
    /// One whose times go on from those of another that began then.
    pub(crate) fn begun(since: Instant, per_second: NonZeroU32) -> Self {
        Self {
            since,
            interval: BURST / u64::from(per_second.get()),
        }
    }

    pub(crate) fn now(&self) -> u64 {
        self.since.elapsed().as_nanos() as u64
    }

    /// Whether one thing more may happen now; if so, when the one after it is due.
    pub(crate) fn take(&self, due: Due, now: u64) -> Option<Due> {
        let next = due.max(now) + self.interval;
        (next <= now + BURST).then_some(next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MILLISECOND: u64 = 1_000_000;

    fn begun(per_second: NonZeroU32) -> Rate {
        Rate::begun(Instant::now(), per_second)
    }

    /// How many of `tries` at that time may happen.
    fn taken(rate: &Rate, due: &mut Due, now: u64, tries: usize) -> usize {
        let take = |_: &usize| rate.take(*due, now).map(|next| *due = next).is_some();
        (0..tries).filter(take).count()
    }

    #[test]
    fn a_seconds_worth_at_once_and_then_one_by_one() {
        let rate = begun(NonZeroU32::new(10).unwrap());
        let mut due = 0;
        assert_eq!(taken(&rate, &mut due, 0, 50), 10);
        assert_eq!(taken(&rate, &mut due, 99 * MILLISECOND, 50), 0);
        assert_eq!(taken(&rate, &mut due, 100 * MILLISECOND, 50), 1);
        assert_eq!(taken(&rate, &mut due, 350 * MILLISECOND, 50), 2);
        assert_eq!(taken(&rate, &mut due, 60_000 * MILLISECOND, 50), 10);
    }

    #[test]
    fn over_a_long_time_as_many_as_allowed() {
        for per_second in [1, 3, 1000] {
            let rate = begun(NonZeroU32::new(per_second).unwrap());
            let mut due = 0;
            let seconds = 100;
            let all: usize = (0..seconds * 10_000)
                .map(|step| taken(&rate, &mut due, step * MILLISECOND / 10, 1))
                .sum();
            let expected = (seconds as usize + 1) * per_second as usize;
            assert!(all.abs_diff(expected) <= 1, "{all} at {per_second}");
        }
    }
}
