//! Telling those who are silent from those who could not be heard, because this process stood still.

use std::pin::pin;
use std::time::{Duration, Instant};

use tokio::time::timeout;

/// Watches a connection. It gets its time in ticks, between which the connection is read: what
/// counts is how often there was a chance to hear something, and not what the clock says. A tick
/// that comes late counts as one, since it was this process that stood still, frozen or congested.
#[derive(Debug)]
pub(crate) struct Watchdog {
    silence: Duration,
    tick: Duration,
    ticked: Instant,
    quiet: Duration,
}

impl Watchdog {
    /// Expires after `silence`, if it gets a tick every `tick`.
    pub(crate) fn new(silence: Duration, tick: Duration, now: Instant) -> Self {
        Self {
            silence,
            tick,
            ticked: now,
            quiet: Duration::ZERO,
        }
    }

    /// Something moved.
    pub(crate) fn handle_life(&mut self) {
        self.quiet = Duration::ZERO;
    }

    /// Time has passed.
    pub(crate) fn handle_tick(&mut self, now: Instant) {
        self.quiet += now.saturating_duration_since(self.ticked).min(self.tick);
        self.ticked = now;
    }

    /// Whether something moved since the last tick.
    pub(crate) fn has_moved(&self) -> bool {
        self.quiet.is_zero()
    }

    /// Whether there was silence for too long; `allowance` is time that the other side may take
    /// beyond, since much is on its way.
    pub(crate) fn has_expired(&self, allowance: Duration) -> bool {
        self.quiet >= self.silence + allowance
    }
}

/// The time was up.
#[derive(Debug)]
pub(crate) struct Late;

/// Parts into which a limit is cut.
const SLICES: u32 = 8;

/// Waits for `future`, at most `limit`. If this process stands still meanwhile, that counts as an
/// eighth of the limit at most: what came in until then is looked at before the time is up.
pub(crate) async fn within<T>(limit: Duration, future: impl Future<Output = T>) -> Result<T, Late> {
    let mut future = pin!(future);
    for _ in 0..SLICES {
        if let Ok(value) = timeout(limit / SLICES, future.as_mut()).await {
            return Ok(value);
        }
    }
    Err(Late)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TICK: Duration = Duration::from_secs(1);
    const SILENCE: Duration = Duration::from_secs(6);

    #[test]
    fn silence_is_counted_in_ticks() {
        let start = Instant::now();
        let mut watchdog = Watchdog::new(SILENCE, TICK, start);
        for second in 1..6 {
            watchdog.handle_tick(start + TICK * second);
            assert!(!watchdog.has_expired(Duration::ZERO), "{second}");
        }
        watchdog.handle_tick(start + SILENCE);
        assert!(watchdog.has_expired(Duration::ZERO));
        assert!(!watchdog.has_expired(TICK));
        watchdog.handle_life();
        assert!(!watchdog.has_expired(Duration::ZERO));
    }

    #[test]
    fn who_stood_still_has_heard_nothing_and_knows_it() {
        let start = Instant::now();
        let mut watchdog = Watchdog::new(SILENCE, TICK, start);
        for minutes in 1..6 {
            watchdog.handle_tick(start + TICK * 60 * minutes);
            assert!(!watchdog.has_expired(Duration::ZERO), "{minutes}");
        }
    }

    #[tokio::test]
    async fn a_limit_outlasts_a_standstill() {
        const LIMIT: Duration = Duration::from_millis(800);
        let steps = async {
            tokio::time::sleep(Duration::from_millis(10)).await;
            // The whole process stands still, and has something left to do when it goes on.
            std::thread::sleep(LIMIT * 2);
            tokio::time::sleep(Duration::from_millis(10)).await;
            7
        };
        assert_eq!(within(LIMIT, steps).await.unwrap(), 7);
        let started = Instant::now();
        let never = std::future::pending::<()>();
        assert!(within(LIMIT, never).await.is_err());
        assert!(started.elapsed() >= LIMIT);
    }
}
