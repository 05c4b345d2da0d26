//! What a shard counts. Only its own thread writes; a scrape adds the shards up.

use std::sync::atomic::{AtomicBool, AtomicUsize};

use protocol::engineio::{CloseReason, Transport};

use super::counter::{Family, ShardCounter};
use super::histogram::{DURATIONS, RECIPIENTS, ShardHistogram};
use super::{
    Kind, Origin, Outcome, PacketType, ParserName, Refused, RevisionName, SlowCause, Timed,
    Unknown, Upgraded,
};

/// Everything that one shard counts.
#[derive(Debug)]
pub(crate) struct ShardCounters {
    /// Sessions in the shard's registry now.
    pub(crate) sessions: AtomicUsize,
    /// What goes through the shard to sessions of other nodes: WebSockets, and requests under way.
    pub(crate) passing: AtomicUsize,
    /// Bytes and messages posted to the shard and not yet handled.
    pub(crate) inbox_bytes: AtomicUsize,
    /// The shard handles broadcasts much later than they were posted.
    pub(crate) late: AtomicBool,
    pub(crate) opened: Family<Transport>,
    /// What clients speak.
    pub(crate) clients: Family<(ParserName, RevisionName, Transport)>,
    pub(crate) closed: Timed<(Transport, CloseReason)>,
    pub(crate) refused: Timed<Refused>,
    pub(crate) unknown_sids: Family<Unknown>,
    pub(crate) forwarded: Family<(Kind, Outcome)>,
    pub(crate) upgrades: Family<Upgraded>,
    pub(crate) heartbeats_sent: ShardCounter,
    pub(crate) heartbeats_answered: ShardCounter,
    pub(crate) heartbeat_timeouts: ShardCounter,
    pub(crate) heartbeat_rtt: ShardHistogram,
    pub(crate) heartbeat_lateness: ShardHistogram,
    pub(crate) packets_received: Family<PacketType>,
    pub(crate) packets_sent: Family<PacketType>,
    pub(crate) received_bytes: Family<Transport>,
    pub(crate) sent_bytes: Family<Transport>,
    pub(crate) writes: Family<Transport>,
    pub(crate) broadcasts: Family<Origin>,
    pub(crate) broadcast_recipients: ShardHistogram,
    pub(crate) broadcast_duration: ShardHistogram,
    /// How long its turns take, how many sockets broadcasts reach in each, and how many clients it writes to, if any.
    pub(crate) turn: ShardHistogram,
    pub(crate) turn_recipients: ShardHistogram,
    pub(crate) turn_writes: ShardHistogram,
    pub(crate) disconnects: ShardCounter,
    pub(crate) slow_consumers: ShardCounter,
    pub(crate) slow_causes: Family<SlowCause>,
    /// Bytes of memory that outboxes take which no other shard has to do with.
    pub(crate) outbox_held: ShardCounter,
    pub(crate) volatile_dropped: ShardCounter,
    pub(crate) events_rate_limited: ShardCounter,
}

impl ShardCounters {
    pub(crate) fn new() -> Self {
        Self {
            sessions: AtomicUsize::new(0),
            passing: AtomicUsize::new(0),
            inbox_bytes: AtomicUsize::new(0),
            late: AtomicBool::new(false),
            opened: Family::default(),
            clients: Family::default(),
            closed: Timed::default(),
            refused: Timed::default(),
            unknown_sids: Family::default(),
            forwarded: Family::default(),
            upgrades: Family::default(),
            heartbeats_sent: ShardCounter::default(),
            heartbeats_answered: ShardCounter::default(),
            heartbeat_timeouts: ShardCounter::default(),
            heartbeat_rtt: ShardHistogram::new(&DURATIONS),
            heartbeat_lateness: ShardHistogram::new(&DURATIONS),
            packets_received: Family::default(),
            packets_sent: Family::default(),
            received_bytes: Family::default(),
            sent_bytes: Family::default(),
            writes: Family::default(),
            broadcasts: Family::default(),
            broadcast_recipients: ShardHistogram::new(&RECIPIENTS),
            broadcast_duration: ShardHistogram::new(&DURATIONS),
            turn: ShardHistogram::new(&DURATIONS),
            turn_recipients: ShardHistogram::new(&RECIPIENTS),
            turn_writes: ShardHistogram::new(&RECIPIENTS),
            disconnects: ShardCounter::default(),
            slow_consumers: ShardCounter::default(),
            slow_causes: Family::default(),
            outbox_held: ShardCounter::default(),
            volatile_dropped: ShardCounter::default(),
            events_rate_limited: ShardCounter::default(),
        }
    }
}
