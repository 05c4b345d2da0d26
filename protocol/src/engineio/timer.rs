use std::time::Instant;

/// What a session waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Timer {
    /// The next ping is due.
    Ping,
    /// The pong must have come.
    Pong,
    /// The upgrade must be done.
    Upgrade,
    /// A parked poll is let go, so that the client can pause polling.
    Noop,
    /// The last packets must have been fetched.
    Close,
}

impl Timer {
    const ALL: [Self; 5] = [
        Self::Ping,
        Self::Pong,
        Self::Upgrade,
        Self::Noop,
        Self::Close,
    ];
}

/// One row for each [`Timer`].
#[derive(Debug, Default)]
pub(super) struct Timers([Option<Instant>; Timer::ALL.len()]);

impl Timers {
    pub(super) fn set(&mut self, timer: Timer, at: Instant) {
        self.0[timer as usize] = Some(at);
    }

    pub(super) fn stop(&mut self, timer: Timer) {
        self.0[timer as usize] = None;
    }

    pub(super) fn stop_all(&mut self) {
        self.0 = Default::default();
    }

    pub(super) fn get(&self, timer: Timer) -> Option<Instant> {
        self.0[timer as usize]
    }

    pub(super) fn next(&self) -> Option<Instant> {
        self.0.iter().flatten().min().copied()
    }

    /// Takes the earliest timer that is due.
    pub(super) fn expire(&mut self, now: Instant) -> Option<(Timer, Instant)> {
        let (at, timer) = Timer::ALL
            .into_iter()
            .filter_map(|timer| self.get(timer).map(|at| (at, timer)))
            .filter(|(at, _)| *at <= now)
            .min_by_key(|(at, _)| *at)?;
        self.stop(timer);
        Some((timer, at))
    }
}
