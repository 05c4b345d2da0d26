//! Whether a shard is so late that clients are read no further, and for how long at most.

use std::time::{Duration, Instant};

/// If a broadcast waited longer than this for its shard, all shards stop reading clients. They read
/// again when the inbox is empty, or a broadcast has waited for a quarter of it.
const LATE: Duration = Duration::from_millis(20);

/// How long shards stop reading clients at most, and then read them at least. The broadcasts may come
/// from other nodes, and clients must be able to answer pings and to leave all the same.
const LONGEST_PAUSE: Duration = Duration::from_millis(100);

/// Time is an argument.
///
/// ```text
///          a broadcast waited too long             for too long
///   OnTime ---------------------------> Late ------------------------> Excused
///     ^ ^                                |                               |
///     | +---- the inbox is empty, -------+                               |
///     |       or waits are short                                         |
///     +------------------------- after as long again --------------------+
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Lateness {
    #[default]
    OnTime,
    Late {
        since: Instant,
    },
    Excused {
        until: Instant,
    },
}

impl Lateness {
    /// A broadcast is handled that has `waited` so long.
    pub(crate) fn handle_broadcast(self, now: Instant, waited: Duration) -> Self {
        match self.handle_time(now) {
            Self::OnTime if waited > LATE => Self::Late { since: now },
            Self::Late { .. } if waited < LATE / 4 => Self::OnTime,
            same @ (Self::OnTime | Self::Late { .. } | Self::Excused { .. }) => same,
        }
    }

    /// Time has passed.
    pub(crate) fn handle_time(self, now: Instant) -> Self {
        match self {
            Self::Late { since } if now >= since + LONGEST_PAUSE => Self::Excused {
                until: now + LONGEST_PAUSE,
            },
            Self::Excused { until } if now >= until => Self::OnTime,
            same @ (Self::OnTime | Self::Late { .. } | Self::Excused { .. }) => same,
        }
    }

    /// Whether clients are to wait.
    pub(crate) fn is_late(self) -> bool {
        matches!(self, Self::Late { .. })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_wait_while_broadcasts_do() {
        let now = Instant::now();
        let state = Lateness::default().handle_broadcast(now, LATE);
        assert!(!state.is_late());
        let state = state.handle_broadcast(now, LATE * 2);
        assert!(state.is_late());
        assert!(state.handle_broadcast(now, LATE / 2).is_late());
        assert!(!state.handle_broadcast(now, LATE / 5).is_late());
    }

    #[test]
    fn whatever_comes_they_are_read_half_of_the_time() {
        let began = Instant::now();
        let step = Duration::from_millis(1);
        let (mut state, mut waited) = (Lateness::default(), 0);
        for number in 0..1000 {
            state = state.handle_broadcast(began + step * number, Duration::from_secs(10));
            waited += u32::from(state.is_late());
        }
        assert!((450..=550).contains(&waited), "{waited}");
    }

    #[test]
    fn a_pause_ends_without_another_broadcast() {
        let now = Instant::now();
        let state = Lateness::default().handle_broadcast(now, LATE * 2);
        assert!(state.handle_time(now + LONGEST_PAUSE / 2).is_late());
        assert!(!state.handle_time(now + LONGEST_PAUSE).is_late());
    }
}
