//! What a shard counts. Only its own thread writes, so that counting costs a few nanoseconds;
//! whoever is asked for metrics adds the shards up.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use protocol::engineio::{CloseReason, ProbeFailure, Transport};

use super::{Kind, Outcome, Unknown};

/// Counts one thing.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, count: u64) {
        self.0.store(
            self.0.load(Ordering::Relaxed).wrapping_add(count),
            Ordering::Relaxed,
        );
    }

    pub(crate) fn increment(&self) {
        self.add(1);
    }

    /// For what can become less again.
    pub(crate) fn subtract(&self, count: u64) {
        self.add(count.wrapping_neg());
    }

    pub(crate) fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// How often values fell into which bucket.
#[derive(Debug)]
pub(crate) struct Distribution {
    bounds: &'static [u64],
    buckets: [Counter; Self::MOST_BOUNDS + 1],
    sum: Counter,
}

/// 0.1 ms to 3.3 s, each twice the one before, in nanoseconds.
pub(crate) const DURATIONS: [u64; 16] = {
    let mut bounds = [100_000; 16];
    let mut index = 1;
    while index < bounds.len() {
        bounds[index] = bounds[index - 1] * 2;
        index += 1;
    }
    bounds
};

/// 1 to 262,144 recipients, each four times the one before.
pub(crate) const RECIPIENTS: [u64; 10] = [1, 4, 16, 64, 256, 1024, 4096, 16_384, 65_536, 262_144];

impl Distribution {
    const MOST_BOUNDS: usize = 16;

    fn new(bounds: &'static [u64]) -> Self {
        Self {
            bounds,
            buckets: Default::default(),
            sum: Counter::default(),
        }
    }

    pub(crate) fn observe(&self, value: u64) {
        let bucket = self.bounds.partition_point(|bound| *bound < value);
        self.buckets[bucket].increment();
        self.sum.add(value);
    }

    pub(crate) fn bounds(&self) -> &'static [u64] {
        self.bounds
    }

    /// The count of each bucket, the last one for what is above all bounds.
    pub(crate) fn counts(&self) -> impl Iterator<Item = u64> {
        self.buckets[..=self.bounds.len()]
            .iter()
            .map(Counter::value)
    }

    pub(crate) fn sum(&self) -> u64 {
        self.sum.value()
    }
}

/// A closed set of label values, each with a counter of its own.
pub(crate) trait Label: Copy + 'static {
    const ALL: &'static [Self];

    fn index(self) -> usize;
    fn label(self) -> &'static str;
}

/// One counter for each value of a label.
#[derive(Debug)]
pub(crate) struct Family<L> {
    counters: Box<[Counter]>,
    label: std::marker::PhantomData<L>,
}

impl<L: Label> Default for Family<L> {
    fn default() -> Self {
        Self {
            counters: L::ALL.iter().map(|_| Counter::default()).collect(),
            label: std::marker::PhantomData,
        }
    }
}

impl<L: Label> Family<L> {
    pub(crate) fn of(&self, label: L) -> &Counter {
        &self.counters[label.index()]
    }
}

/// A packet type of Socket.IO, as a metric label.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PacketType {
    Connect,
    Disconnect,
    Event,
    Ack,
    ConnectError,
    BinaryEvent,
    BinaryAck,
}

/// Why a request was refused, as a metric label.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    UnknownTransport,
    UnknownSid,
    BadMethod,
    BadRequest,
    Forbidden,
    UnsupportedVersion,
    Overlap,
    BodyTooLarge,
    BodyTimeout,
    OctetStream,
    ConnectionLimit,
    AddressLimit,
    HandshakeRate,
    Draining,
    UpgradeDraining,
    ProxyProtocol,
    Tls,
    Http,
    Silent,
}

/// How an upgrade ended, as a metric label.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Upgraded {
    Completed,
    Refused,
    Failed(ProbeFailure),
}

/// Where a broadcast came from, as a metric label.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    Local,
    Cluster,
}

/// By which limit a client was too slow, as a metric label.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SlowCause {
    /// It took nothing for `limits.outbox_patience`.
    Stalled,
    /// It was behind by more than `limits.outbox_bytes`.
    Behind,
    /// All outboxes together passed `limits.outbox_total`, and it was furthest behind.
    Memory,
}

impl PacketType {
    /// An event, with attachments or without.
    pub(crate) fn event(binary: bool) -> Self {
        if binary {
            Self::BinaryEvent
        } else {
            Self::Event
        }
    }

    /// An acknowledgement, with attachments or without.
    pub(crate) fn ack(binary: bool) -> Self {
        if binary { Self::BinaryAck } else { Self::Ack }
    }
}

impl Label for PacketType {
    const ALL: &'static [Self] = &[
        Self::Connect,
        Self::Disconnect,
        Self::Event,
        Self::Ack,
        Self::ConnectError,
        Self::BinaryEvent,
        Self::BinaryAck,
    ];

    fn index(self) -> usize {
        self as usize
    }

    fn label(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Disconnect => "disconnect",
            Self::Event => "event",
            Self::Ack => "ack",
            Self::ConnectError => "connect_error",
            Self::BinaryEvent => "binary_event",
            Self::BinaryAck => "binary_ack",
        }
    }
}

impl Label for Refused {
    const ALL: &'static [Self] = &[
        Self::UnknownTransport,
        Self::UnknownSid,
        Self::BadMethod,
        Self::BadRequest,
        Self::Forbidden,
        Self::UnsupportedVersion,
        Self::Overlap,
        Self::BodyTooLarge,
        Self::BodyTimeout,
        Self::OctetStream,
        Self::ConnectionLimit,
        Self::AddressLimit,
        Self::HandshakeRate,
        Self::Draining,
        Self::UpgradeDraining,
        Self::ProxyProtocol,
        Self::Tls,
        Self::Http,
        Self::Silent,
    ];

    fn index(self) -> usize {
        self as usize
    }

    fn label(self) -> &'static str {
        match self {
            Self::UnknownTransport => "unknown_transport",
            Self::UnknownSid => "unknown_sid",
            Self::BadMethod => "bad_method",
            Self::BadRequest => "bad_request",
            Self::Forbidden => "forbidden",
            Self::UnsupportedVersion => "unsupported_version",
            Self::Overlap => "overlap",
            Self::BodyTooLarge => "body_too_large",
            Self::BodyTimeout => "body_timeout",
            Self::OctetStream => "octet_stream",
            Self::ConnectionLimit => "connection_limit",
            Self::AddressLimit => "address_limit",
            Self::HandshakeRate => "handshake_rate",
            Self::Draining => "draining",
            Self::UpgradeDraining => "upgrade_draining",
            Self::ProxyProtocol => "proxy_protocol",
            Self::Tls => "tls",
            Self::Http => "http",
            Self::Silent => "silent",
        }
    }
}

impl Label for Upgraded {
    const ALL: &'static [Self] = &[
        Self::Completed,
        Self::Refused,
        Self::Failed(ProbeFailure::Timeout),
        Self::Failed(ProbeFailure::UnexpectedPacket),
        Self::Failed(ProbeFailure::Disconnected),
        Self::Failed(ProbeFailure::SessionClosed),
    ];

    fn index(self) -> usize {
        match self {
            Self::Completed => 0,
            Self::Refused => 1,
            Self::Failed(failure) => 2 + failure as usize,
        }
    }

    fn label(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::Refused => "refused",
            Self::Failed(ProbeFailure::Timeout) => "timeout",
            Self::Failed(ProbeFailure::UnexpectedPacket) => "unexpected_packet",
            Self::Failed(ProbeFailure::Disconnected) => "disconnected",
            Self::Failed(ProbeFailure::SessionClosed) => "session_closed",
        }
    }
}

impl Label for Origin {
    const ALL: &'static [Self] = &[Self::Local, Self::Cluster];

    fn index(self) -> usize {
        self as usize
    }

    fn label(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Cluster => "cluster",
        }
    }
}

impl Label for SlowCause {
    const ALL: &'static [Self] = &[Self::Stalled, Self::Behind, Self::Memory];

    fn index(self) -> usize {
        self as usize
    }

    fn label(self) -> &'static str {
        match self {
            Self::Stalled => "stalled",
            Self::Behind => "behind",
            Self::Memory => "memory",
        }
    }
}

impl Label for Transport {
    const ALL: &'static [Self] = &Self::ALL;

    fn index(self) -> usize {
        self as usize
    }

    fn label(self) -> &'static str {
        self.name()
    }
}

impl Label for (Transport, CloseReason) {
    const ALL: &'static [Self] = &{
        const COUNT: usize = Transport::ALL.len() * CloseReason::ALL.len();
        let mut all = [(Transport::Polling, CloseReason::TransportError); COUNT];
        let mut index = 0;
        while index < all.len() {
            all[index] = (
                Transport::ALL[index / CloseReason::ALL.len()],
                CloseReason::ALL[index % CloseReason::ALL.len()],
            );
            index += 1;
        }
        all
    };

    fn index(self) -> usize {
        self.0 as usize * CloseReason::ALL.len() + self.1 as usize
    }

    fn label(self) -> &'static str {
        self.1.label()
    }
}

/// Everything that one shard counts.
#[derive(Debug)]
pub(crate) struct Counters {
    /// Sessions in the shard's registry now.
    pub(crate) sessions: AtomicUsize,
    /// What goes through the shard to sessions of other nodes: WebSockets, and requests under way.
    pub(crate) passing: AtomicUsize,
    /// Bytes and messages posted to the shard and not yet handled.
    pub(crate) inbox_bytes: AtomicUsize,
    /// The shard handles broadcasts much later than they were posted.
    pub(crate) late: AtomicBool,
    pub(crate) opened: Family<Transport>,
    pub(crate) closed: Family<(Transport, CloseReason)>,
    pub(crate) refused: Family<Refused>,
    pub(crate) unknown_sids: Family<Unknown>,
    pub(crate) forwarded: Family<(Kind, Outcome)>,
    pub(crate) upgrades: Family<Upgraded>,
    pub(crate) heartbeats_sent: Counter,
    pub(crate) heartbeats_answered: Counter,
    pub(crate) heartbeat_timeouts: Counter,
    pub(crate) heartbeat_rtt: Distribution,
    pub(crate) heartbeat_lateness: Distribution,
    pub(crate) packets_received: Family<PacketType>,
    pub(crate) packets_sent: Family<PacketType>,
    pub(crate) received_bytes: Family<Transport>,
    pub(crate) sent_bytes: Family<Transport>,
    pub(crate) broadcasts: Family<Origin>,
    pub(crate) broadcast_recipients: Distribution,
    pub(crate) broadcast_duration: Distribution,
    pub(crate) disconnects: Counter,
    pub(crate) slow_consumers: Counter,
    pub(crate) slow_causes: Family<SlowCause>,
    /// Bytes of memory that outboxes take which no other shard has to do with.
    pub(crate) outbox_held: Counter,
    pub(crate) volatile_dropped: Counter,
    pub(crate) events_rate_limited: Counter,
}

impl Counters {
    pub(crate) fn new() -> Self {
        Self {
            sessions: AtomicUsize::new(0),
            passing: AtomicUsize::new(0),
            inbox_bytes: AtomicUsize::new(0),
            late: AtomicBool::new(false),
            opened: Family::default(),
            closed: Family::default(),
            refused: Family::default(),
            unknown_sids: Family::default(),
            forwarded: Family::default(),
            upgrades: Family::default(),
            heartbeats_sent: Counter::default(),
            heartbeats_answered: Counter::default(),
            heartbeat_timeouts: Counter::default(),
            heartbeat_rtt: Distribution::new(&DURATIONS),
            heartbeat_lateness: Distribution::new(&DURATIONS),
            packets_received: Family::default(),
            packets_sent: Family::default(),
            received_bytes: Family::default(),
            sent_bytes: Family::default(),
            broadcasts: Family::default(),
            broadcast_recipients: Distribution::new(&RECIPIENTS),
            broadcast_duration: Distribution::new(&DURATIONS),
            disconnects: Counter::default(),
            slow_consumers: Counter::default(),
            slow_causes: Family::default(),
            outbox_held: Counter::default(),
            volatile_dropped: Counter::default(),
            events_rate_limited: Counter::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn indexes_are_positions<L: Label>() {
        for (position, label) in L::ALL.iter().enumerate() {
            assert_eq!(label.index(), position);
        }
    }

    #[test]
    fn every_label_has_its_own_counter() {
        indexes_are_positions::<PacketType>();
        indexes_are_positions::<Refused>();
        indexes_are_positions::<Upgraded>();
        indexes_are_positions::<Origin>();
        indexes_are_positions::<SlowCause>();
        indexes_are_positions::<Transport>();
        indexes_are_positions::<(Transport, CloseReason)>();
    }

    #[test]
    fn a_value_falls_into_the_bucket_that_it_does_not_exceed() {
        let distribution = Distribution::new(&RECIPIENTS);
        for value in [0, 1, 2, 4, 1_000_000] {
            distribution.observe(value);
        }
        let counts: Vec<_> = distribution.counts().collect();
        assert_eq!(counts, [2, 2, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
        assert_eq!(distribution.sum(), 1_000_007);
    }
}
