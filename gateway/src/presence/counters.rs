use std::sync::atomic::{AtomicU64, Ordering};

use adapter::Counter;
use adapter::presence::Sink;
use prometheus::proto::MetricFamily;

use super::{Presence, lock};
use crate::count::families::{counter, counters, gauges};
use crate::count::{Export, Family, Label, label};

label! {
    /// What is told.
    pub(crate) enum PresenceEvent: "event" {
        UserOnline = "user_online",
        UserOffline = "user_offline",
        RoomOccupied = "room_occupied",
        RoomVacated = "room_vacated",
        /// What was told before is void.
        Reset = "reset",
    }
}

impl PresenceEvent {
    /// Those that a store counts, in its order.
    pub(super) const STORED: [Self; 4] = [
        Self::UserOnline,
        Self::UserOffline,
        Self::RoomOccupied,
        Self::RoomVacated,
    ];
}

label! {
    /// Who is told.
    pub(crate) enum SinkName: "to" {
        Webhook = "webhook",
        Stream = "stream",
    }
}

impl From<Sink> for SinkName {
    fn from(sink: Sink) -> Self {
        match sink {
            Sink::Webhook => Self::Webhook,
            Sink::Stream => Self::Stream,
        }
    }
}

/// A number that goes up and down.
#[derive(Debug, Default)]
pub(crate) struct Level(AtomicU64);

impl Level {
    pub(super) fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }
}

/// What a node counts of who is there.
#[derive(Debug, Default)]
pub(crate) struct PresenceCounters {
    /// Events that calls of this node led to.
    pub(super) events: Family<PresenceEvent, Counter>,
    /// Dead nodes that this node buried.
    pub(super) leases_expired: Counter,
    /// Events that were given up since too many waited.
    pub(super) dropped: Counter,
    /// How often it told everything again.
    pub(super) restarts: Counter,
    /// Calls of the store that failed.
    pub(super) failures: Counter,
    /// Events that this node told.
    pub(crate) told: Family<SinkName, Counter>,
    /// Events that a backend refused.
    pub(crate) refused: Counter,
    /// Events that wait, as far as this node tells them.
    pub(super) waiting: Levels,
}

/// One for each sink.
#[derive(Debug, Default)]
pub(super) struct Levels([Level; SinkName::ALL.len()]);

impl Levels {
    pub(super) fn of(&self, sink: SinkName) -> &Level {
        &self.0[Label::index(sink)]
    }
}

impl Export for Presence {
    fn families(&self) -> Vec<MetricFamily> {
        let of = self.counters();
        let (users, rooms) = self.held();
        let kind = |kind: &str, count| (vec![("kind", kind.to_owned())], count);
        let waiting = SinkName::ALL.iter().map(|sink| {
            let value = of.waiting.of(*sink).0.load(Ordering::Relaxed);
            (vec![(SinkName::NAME, sink.label().to_owned())], value)
        });
        vec![
            gauges(
                "gateway_presence_subjects",
                "Users and rooms with sockets on this node whose coming and going is told.",
                &[kind("user", users), kind("room", rooms)],
            ),
            counters(
                "gateway_presence_events_total",
                "Events of users and rooms that came and went, on the node whose call led to them.",
                &of.events.values(),
            ),
            counter(
                "gateway_presence_leases_expired_total",
                "Nodes that said nothing for a lease and that this node buried.",
                of.leases_expired.value(),
            ),
            counters(
                "gateway_presence_told_total",
                "Events that this node told, to the webhook and to the stream.",
                &of.told.values(),
            ),
            counter(
                "gateway_presence_refused_total",
                "Events that a backend refused; they are not told again.",
                of.refused.value(),
            ),
            gauges(
                "gateway_presence_waiting",
                "Events that are to be told, on the node that tells them.",
                &waiting.collect::<Vec<_>>(),
            ),
            counter(
                "gateway_presence_dropped_total",
                "Events that gave way to a reset, since too many waited.",
                of.dropped.value(),
            ),
            counter(
                "gateway_presence_restarts_total",
                "Times that the node told everything again, since it had been taken for dead or the store had lost it.",
                of.restarts.value(),
            ),
            counter(
                "gateway_presence_failures_total",
                "Calls of the store that failed.",
                of.failures.value(),
            ),
        ]
    }

    fn concern(&self) -> Option<String> {
        let trouble = lock(&self.trouble).clone()?;
        Some(format!("who is there cannot be told to Redis: {trouble}"))
    }
}
