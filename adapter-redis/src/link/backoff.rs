use std::time::Duration;

/// Pauses between attempts: they double up to a limit, and no two nodes make the same.
pub(crate) struct Backoff {
    next: Duration,
    limit: Duration,
}

impl Backoff {
    const FIRST: Duration = Duration::from_millis(100);

    pub(crate) fn new(limit: Duration) -> Self {
        Self {
            next: Self::FIRST.min(limit),
            limit,
        }
    }

    /// The next pause: half to all of its length.
    pub(crate) fn pause(&mut self) -> Duration {
        let pause = self
            .next
            .mul_f64(0.5 + f64::from(random()) / f64::from(u32::MAX) / 2.0);
        self.next = (self.next * 2).min(self.limit);
        pause
    }
}

/// A random number that only spreads load.
pub(super) fn random() -> u32 {
    getrandom::u32().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_up_to_a_limit() {
        let limit = Duration::from_secs(2);
        let mut backoff = Backoff::new(limit);
        let mut expected = Duration::from_millis(100);
        for _ in 0..20 {
            let pause = backoff.pause();
            assert!(pause >= expected / 2 && pause <= expected, "{pause:?}");
            expected = (expected * 2).min(limit);
        }
    }
}
