//! What a node has counted until now.

use std::array::from_fn;
use std::time::Duration;

use adapter::Histogram;

use crate::count::{PacketType, ShardCounters, ShardHistogram};

const BUCKETS: usize = Histogram::BUCKETS + 1;

/// Durations in buckets.
pub(super) type Durations = [u64; BUCKETS];

/// The counters of a node at one moment, or between two.
#[derive(Debug, Clone, Default)]
pub(crate) struct Totals {
    pub(crate) events_in: u64,
    pub(crate) events_out: u64,
    pub(crate) opened: u64,
    pub(crate) closed: u64,
    pub(crate) refused: u64,
    pub(crate) bytes_in: u64,
    pub(crate) bytes_out: u64,
    pub(crate) cpu: Duration,
    pub(super) heartbeats: Durations,
    pub(super) broadcasts: Durations,
    /// How much later than scheduled pings were sent.
    pub(super) lateness: Durations,
    /// Messages of the node to itself over the wire between nodes.
    pub(super) lag: Durations,
}

impl Totals {
    /// As they are now.
    pub(crate) fn of<'a>(
        shards: impl Iterator<Item = &'a ShardCounters>,
        lag: Option<&Histogram>,
    ) -> Self {
        let mut totals = Self {
            lag: lag.map_or([0; BUCKETS], |lag| lag.snapshot().counts),
            cpu: cpu(),
            ..Self::default()
        };
        for shard in shards {
            for event in [PacketType::Event, PacketType::BinaryEvent] {
                totals.events_in += shard.packets_received.of(event).value();
                totals.events_out += shard.packets_sent.of(event).value();
            }
            totals.opened += shard.opened.total();
            totals.closed += shard.closed.family().total();
            totals.refused += shard.refused.family().total();
            totals.bytes_in += shard.received_bytes.total();
            totals.bytes_out += shard.sent_bytes.total();
            add(&mut totals.heartbeats, &shard.heartbeat_rtt);
            add(&mut totals.broadcasts, &shard.broadcast_duration);
            add(&mut totals.lateness, &shard.heartbeat_lateness);
        }
        totals
    }

    /// Of 100 pings, 99 were sent at most so many milliseconds later than scheduled. `None` if there were none.
    pub(crate) fn late_p99_ms(&self) -> Option<f64> {
        quantile(&self.lateness, 0.99)
    }

    /// What was counted since.
    pub(super) fn since(&self, before: &Self) -> Self {
        let less = |of: fn(&Self) -> u64| of(self).saturating_sub(of(before));
        let durations = |of: fn(&Self) -> &Durations| -> Durations {
            from_fn(|bucket| of(self)[bucket].saturating_sub(of(before)[bucket]))
        };
        Self {
            events_in: less(|it| it.events_in),
            events_out: less(|it| it.events_out),
            opened: less(|it| it.opened),
            closed: less(|it| it.closed),
            refused: less(|it| it.refused),
            bytes_in: less(|it| it.bytes_in),
            bytes_out: less(|it| it.bytes_out),
            cpu: self.cpu.saturating_sub(before.cpu),
            heartbeats: durations(|it| &it.heartbeats),
            broadcasts: durations(|it| &it.broadcasts),
            lateness: durations(|it| &it.lateness),
            lag: durations(|it| &it.lag),
        }
    }
}

fn add(durations: &mut Durations, counted: &ShardHistogram) {
    for (sum, count) in durations.iter_mut().zip(counted.counts()) {
        *sum += count;
    }
}

/// What the process has spent on processors.
fn cpu() -> Duration {
    let used = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::from_secs(used.tv_sec.try_into().unwrap_or_default())
        + Duration::from_nanos(used.tv_nsec.try_into().unwrap_or_default())
}

/// The duration in milliseconds below which this share of them is, about: as if they lay evenly within
/// their bucket. `None` if there are none.
pub(super) fn quantile(durations: &Durations, share: f64) -> Option<f64> {
    let all: u64 = durations.iter().sum();
    let wanted = all as f64 * share;
    let limit = |bucket| Histogram::limit(bucket).as_secs_f64() * 1000.0;
    let mut below = 0.0;
    for (bucket, count) in durations
        .iter()
        .enumerate()
        .filter(|(_, count)| **count > 0)
    {
        let count = *count as f64;
        if below + count >= wanted {
            let from = bucket.checked_sub(1).map_or(0.0, limit);
            if bucket >= Histogram::BUCKETS {
                return Some(from);
            }
            return Some(from + (limit(bucket) - from) * (wanted - below) / count);
        }
        below += count;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_lie_within_their_bucket() {
        let mut durations = [0; BUCKETS];
        assert_eq!(quantile(&durations, 0.99), None);
        durations[0] = 50;
        durations[3] = 50;
        assert_eq!(quantile(&durations, 0.5), Some(0.1));
        let most = quantile(&durations, 0.99).unwrap();
        assert!((0.4..=0.8).contains(&most), "{most}");
        durations[BUCKETS - 1] = 1000;
        assert_eq!(quantile(&durations, 0.99), Some(3276.8));
    }
}
