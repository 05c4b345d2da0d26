//! Whether a node drains: it says that it is not ready, goes on serving, and closes its sessions evenly.
//!
//! ```text
//!              POST /drain
//!   Serving --------------------> Asked: until somebody ends the process, or takes it back
//!    |   ^                          |   |
//!    |   +------ DELETE /drain -----+   | SIGTERM, Running::stop
//!    |                                  v
//!    +--- SIGTERM, Running::stop --> Last: the node ends with it
//! ```
//!
//! What was closed stays closed when a drain is taken back: those clients are elsewhere.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How often a draining shard closes a few more of its sessions.
pub(crate) const STEP: Duration = Duration::from_millis(50);

/// Whether a node drains, and since when.
#[derive(Debug, Default)]
pub(crate) struct Drain {
    /// Looked at for every request.
    has_begun: AtomicBool,
    stage: Mutex<Stage>,
}

#[derive(Debug, Clone, Copy, Default)]
enum Stage {
    #[default]
    Serving,
    Asked(Period),
    Last(Period),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Period {
    pub(crate) began: Instant,
    over: Duration,
}

/// What a drain is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Somebody asked for it, and may take it back.
    Asked,
    /// The node ends.
    End,
}

/// The node ends: its drain cannot be taken back.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Ending;

impl Period {
    pub(crate) fn end(self) -> Instant {
        self.began + self.over
    }

    /// Until then new sessions are let in: a balancer needs time to learn that the node is not
    /// ready.
    fn closing_time(self) -> Instant {
        self.began + self.over / 2
    }
}

impl Stage {
    fn period(self) -> Option<Period> {
        match self {
            Self::Serving => None,
            Self::Asked(period) | Self::Last(period) => Some(period),
        }
    }
}

impl Drain {
    pub(crate) fn has_begun(&self) -> bool {
        self.has_begun.load(Ordering::Relaxed)
    }

    /// Whether new sessions are refused.
    pub(crate) fn refuses(&self) -> bool {
        self.has_begun() && {
            let period = self.stage().period();
            period.is_some_and(|period| Instant::now() >= period.closing_time())
        }
    }

    /// Whether every session was told to close.
    pub(crate) fn is_over(&self) -> bool {
        let period = self.stage().period();
        period.is_some_and(|period| Instant::now() >= period.end() + STEP)
    }

    fn stage(&self) -> MutexGuard<'_, Stage> {
        self.stage.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The period that begins, if none was under way.
    pub(crate) fn begin(&self, over: Duration, purpose: Purpose) -> Option<Period> {
        let mut stage = self.stage();
        let before = stage.period();
        let period = before.unwrap_or_else(|| Period {
            began: Instant::now(),
            over,
        });
        *stage = match (*stage, purpose) {
            (Stage::Serving | Stage::Asked(_), Purpose::Asked) => Stage::Asked(period),
            (Stage::Last(_), _) | (_, Purpose::End) => Stage::Last(period),
        };
        self.has_begun.store(true, Ordering::Relaxed);
        before.is_none().then_some(period)
    }

    /// Whether there was one to take back.
    pub(crate) fn cancel(&self) -> Result<bool, Ending> {
        let mut stage = self.stage();
        match *stage {
            Stage::Serving => Ok(false),
            Stage::Asked(_) => {
                *stage = Stage::Serving;
                self.has_begun.store(false, Ordering::Relaxed);
                Ok(true)
            }
            Stage::Last(_) => Err(Ending),
        }
    }

    /// The period that is under way, or was the last, and what it is for.
    pub(crate) fn under_way(&self) -> Option<(Period, Purpose)> {
        match *self.stage() {
            Stage::Serving => None,
            Stage::Asked(period) => Some((period, Purpose::Asked)),
            Stage::Last(period) => Some((period, Purpose::End)),
        }
    }

    pub(crate) fn is_within(&self, period: Period) -> bool {
        self.stage().period() == Some(period)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_asked_for_can_be_taken_back_and_the_end_cannot() {
        let drain = Drain::default();
        let over = Duration::from_secs(60);
        assert_eq!(drain.cancel(), Ok(false));
        let first = drain.begin(over, Purpose::Asked).unwrap();
        assert_eq!(drain.begin(over, Purpose::Asked), None);
        assert!(drain.has_begun() && drain.is_within(first));
        assert_eq!(drain.cancel(), Ok(true));
        assert!(!drain.has_begun() && !drain.refuses() && !drain.is_within(first));

        let second = drain.begin(over, Purpose::Asked).unwrap();
        assert_eq!(drain.begin(Duration::ZERO, Purpose::End), None);
        assert_eq!(drain.cancel(), Err(Ending));
        assert_eq!(drain.begin(over, Purpose::Asked), None);
        assert!(drain.is_within(second), "the end does not begin anew");
        assert_eq!(drain.cancel(), Err(Ending));
    }
}
