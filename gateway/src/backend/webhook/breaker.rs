//! A circuit breaker: who fails too often is left alone for a while.
//!
//! ```text
//!            failures in a row           pause over: one request tries
//!   Closed -------------------> Open -----------------------------------> Trying
//!     ^                          ^                                          |
//!     |                          +------------ failed: twice the pause -----+
//!     +--------------------------------------- answered --------------------+
//! ```

use std::time::{Duration, Instant};

/// How often the pause is doubled at most.
const MAX_DOUBLINGS: u32 = 4;

/// A breaker. Time is an argument.
#[derive(Debug)]
pub(crate) struct Breaker {
    state: State,
    /// Failures in a row that open it.
    threshold: u32,
    pause: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Closed { failures: u32 },
    Open { until: Instant, doublings: u32 },
    Trying { doublings: u32 },
}

impl Breaker {
    pub(crate) fn new(threshold: u32, pause: Duration) -> Self {
        Self {
            state: State::Closed { failures: 0 },
            threshold,
            pause,
        }
    }

    /// Whether a request may be made now. Who is let in has to tell how it went.
    pub(crate) fn admit(&mut self, now: Instant) -> bool {
        match self.state {
            State::Closed { .. } => true,
            State::Open { until, doublings } if now >= until => {
                self.state = State::Trying { doublings };
                true
            }
            State::Open { .. } | State::Trying { .. } => false,
        }
    }

    /// A request was answered; `true` if none was for a while, until now.
    pub(crate) fn succeeded(&mut self) -> bool {
        let was_open = self.is_open();
        self.state = State::Closed { failures: 0 };
        was_open
    }

    /// A request failed; `true` if that opened it.
    pub(crate) fn failed(&mut self, now: Instant) -> bool {
        let was_open = self.is_open();
        self.state = match self.state {
            State::Closed { failures } if failures + 1 < self.threshold => State::Closed {
                failures: failures + 1,
            },
            State::Closed { .. } => self.opened(now, 0),
            State::Trying { doublings } => self.opened(now, (doublings + 1).min(MAX_DOUBLINGS)),
            // A request of before it opened.
            open @ State::Open { .. } => open,
        };
        !was_open && self.is_open()
    }

    /// Whether requests are refused.
    pub(crate) fn is_open(&self) -> bool {
        !matches!(self.state, State::Closed { .. })
    }

    /// The name of its state.
    pub(crate) fn state(&self) -> &'static str {
        match self.state {
            State::Closed { .. } => "closed",
            State::Open { .. } => "open",
            State::Trying { .. } => "trying",
        }
    }

    fn opened(&self, now: Instant, doublings: u32) -> State {
        State::Open {
            until: now + self.pause * 2_u32.pow(doublings),
            doublings,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAUSE: Duration = Duration::from_secs(1);

    #[test]
    fn it_opens_after_failures_in_a_row() {
        let now = Instant::now();
        let mut breaker = Breaker::new(3, PAUSE);
        for _ in 0..2 {
            breaker.failed(now);
        }
        breaker.succeeded();
        for _ in 0..2 {
            breaker.failed(now);
            assert!(breaker.admit(now) && !breaker.is_open());
        }
        breaker.failed(now);
        assert!(breaker.is_open() && !breaker.admit(now));
        assert_eq!(breaker.state(), "open");
    }

    #[test]
    fn one_request_tries_after_the_pause() {
        let now = Instant::now();
        let mut breaker = Breaker::new(1, PAUSE);
        breaker.failed(now);
        assert!(!breaker.admit(now + PAUSE / 2));
        assert!(breaker.admit(now + PAUSE) && !breaker.admit(now + PAUSE));
        breaker.succeeded();
        assert!(breaker.admit(now + PAUSE) && !breaker.is_open());
    }

    #[test]
    fn the_pause_doubles_up_to_sixteen_times() {
        let mut now = Instant::now();
        let mut breaker = Breaker::new(1, PAUSE);
        breaker.failed(now);
        for factor in [1, 2, 4, 8, 16, 16] {
            let end = now + PAUSE * factor;
            assert!(!breaker.admit(end - Duration::from_millis(1)), "{factor}");
            assert!(breaker.admit(end), "{factor}");
            breaker.failed(end);
            now = end;
        }
    }

    #[test]
    fn a_late_failure_does_not_lengthen_the_pause() {
        let now = Instant::now();
        let mut breaker = Breaker::new(1, PAUSE);
        breaker.failed(now);
        breaker.failed(now + PAUSE / 2);
        assert!(breaker.admit(now + PAUSE));
    }
}
