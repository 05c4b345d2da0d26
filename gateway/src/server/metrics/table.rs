//! The tables of metrics: a row has a name, what is counted, and where that is read.

use adapter::Counters as AdapterCounters;
use adapter::Histogram;
use prometheus::proto::MetricFamily;

use super::Reading;
use crate::count::families::{self, NANOSECONDS};
use crate::count::{Labels, PacketType, ShardCounters, ShardHistogram};
use crate::socketio::SocketIo;

/// A row.
pub(super) struct Metric {
    name: &'static str,
    help: &'static str,
    read: Read,
}

/// How the values of a metric are read.
enum Read {
    /// A number that only grows.
    Counter(fn(&Reading<'_>) -> u64),
    /// Such numbers, each with its labels.
    Counters(fn(&Reading<'_>) -> Vec<(Labels, u64)>),
    /// A number as it is now.
    Gauge(fn(&Reading<'_>) -> u64),
    /// Such numbers, each with its labels.
    Gauges(fn(&Reading<'_>) -> Vec<(Labels, u64)>),
    /// Durations that any thread observes.
    Durations(for<'a> fn(&'a Reading<'_>) -> &'a Histogram),
    /// What each shard observes, and how many of its units make one of the metric's.
    Histogram(f64, fn(&ShardCounters) -> &ShardHistogram),
}

/// What every node has.
pub(super) const METRICS: &[Metric] = &[
    gauges(
        "gateway_connections",
        "Open Engine.IO sessions by their transport.",
        |it| it.sessions(),
    ),
    gauges(
        "gateway_sockets",
        "Sockets connected to a namespace; namespaces of a pattern are counted together.",
        |it| it.namespaces(|namespace| namespace.sockets),
    ),
    gauges(
        "gateway_rooms",
        "Rooms with members on each shard, private rooms of sockets left out.",
        |it| it.namespaces(|namespace| namespace.rooms),
    ),
    gauge(
        "gateway_outbox_bytes",
        "Bytes that wait to be sent to clients.",
        |it| it.census.outbox_bytes,
    ),
    gauge(
        "gateway_outbox_memory_bytes",
        "Memory that everything takes that waits to be sent to clients; a broadcast counts once.",
        |it| it.node.outbox_held() as u64,
    ),
    gauge(
        "gateway_outbox_memory_limit_bytes",
        "What gateway_outbox_memory_bytes may be: limits.outbox_total.",
        |it| it.node.outbox_memory().limit() as u64,
    ),
    gauge(
        "gateway_draining",
        "1 from the time at which the node began to drain.",
        |it| u64::from(it.node.drain().has_begun()),
    ),
    gauge(
        "gateway_drain_remaining_connections",
        "Open sessions that a draining node is still to close.",
        |it| it.remaining(),
    ),
    gauge(
        "gateway_rebalancing",
        "1 while the node lets go of connections that other nodes have too few of.",
        |it| u64::from(it.node.spreading().is_under_way()),
    ),
    gauge(
        "gateway_traces",
        "Live traces that this node takes part in.",
        |it| it.node.traces().count() as u64,
    ),
    gauge(
        "gateway_top_watched",
        "1 while the node counts its busiest rooms and users because somebody looks.",
        |it| u64::from(it.node.top().is_watched()),
    ),
    gauges(
        "gateway_build_info",
        "1, with the program's version and commit.",
        |_| build(),
    ),
    counters(
        "gateway_connections_opened_total",
        "Sessions opened.",
        |it| it.sums(|shard| &shard.opened),
    ),
    counters(
        "gateway_clients_total",
        "Clients of Socket.IO, by what they speak.",
        |it| it.sums(|shard| &shard.clients),
    ),
    counters(
        "gateway_connections_closed_total",
        "Sessions closed, by transport and reason.",
        |it| it.sums(|shard| shard.closed.family()),
    ),
    counters(
        "gateway_handshakes_rejected_total",
        "Requests refused on the clients' port, by reason.",
        |it| it.sums(|shard| shard.refused.family()),
    ),
    counters(
        "gateway_unknown_sid_total",
        "Requests for a session that nobody knows, by why.",
        |it| it.sums(|shard| &shard.unknown_sids),
    ),
    counters(
        "gateway_requests_forwarded_total",
        "Requests for sessions of other nodes, by what became of them.",
        |it| it.sums(|shard| &shard.forwarded),
    ),
    counter(
        "gateway_cluster_secret_mismatches_total",
        "Attempts of nodes to forward that failed because cluster.secret was not the same at both.",
        |it| it.node.counters().secret_mismatches.value(),
    ),
    gauge(
        "gateway_requests_forwarding",
        "Polls and posts of other nodes' sessions that wait at this node for the owner's answer.",
        |it| it.census.forwarding,
    ),
    gauge(
        "gateway_tunnels",
        "WebSockets of other nodes' sessions that go through this node.",
        |it| it.census.tunnels,
    ),
    counters(
        "gateway_upgrades_total",
        "Upgrades to WebSocket, by how they ended.",
        |it| it.sums(|shard| &shard.upgrades),
    ),
    counter("gateway_heartbeats_sent_total", "Pings sent.", |it| {
        it.sum(|shard| &shard.heartbeats_sent)
    }),
    counter(
        "gateway_heartbeats_answered_total",
        "Pings answered.",
        |it| it.sum(|shard| &shard.heartbeats_answered),
    ),
    counter(
        "gateway_heartbeat_timeouts_total",
        "Sessions closed because a ping was not answered.",
        |it| it.sum(|shard| &shard.heartbeat_timeouts),
    ),
    histogram(
        "gateway_heartbeat_rtt_seconds",
        "From a ping to its pong.",
        NANOSECONDS,
        |shard| &shard.heartbeat_rtt,
    ),
    histogram(
        "gateway_heartbeat_lateness_seconds",
        "How much later than scheduled pings were sent.",
        NANOSECONDS,
        |shard| &shard.heartbeat_lateness,
    ),
    counters(
        "gateway_packets_received_total",
        "Socket.IO packets received.",
        |it| it.sums(|shard| &shard.packets_received),
    ),
    counters(
        "gateway_packets_sent_total",
        "Socket.IO packets queued for clients, one for each recipient.",
        |it| it.sums(|shard| &shard.packets_sent),
    ),
    counters(
        "gateway_received_bytes_total",
        "Bytes received from clients.",
        |it| it.sums(|shard| &shard.received_bytes),
    ),
    counters("gateway_sent_bytes_total", "Bytes sent to clients.", |it| {
        it.sums(|shard| &shard.sent_bytes)
    }),
    counters(
        "gateway_writes_total",
        "Writes of packets to clients: calls to the kernel, and answers to polls.",
        |it| it.sums(|shard| &shard.writes),
    ),
    counters(
        "gateway_broadcasts_total",
        "Broadcasts handled by a shard, by where they came from.",
        |it| it.sums(|shard| &shard.broadcasts),
    ),
    histogram(
        "gateway_broadcast_recipients",
        "Recipients of a broadcast on one shard.",
        1.0,
        |shard| &shard.broadcast_recipients,
    ),
    histogram(
        "gateway_broadcast_duration_seconds",
        "Time to queue a broadcast for its recipients on one shard.",
        NANOSECONDS,
        |shard| &shard.broadcast_duration,
    ),
    histogram(
        "gateway_shard_turn_seconds",
        "How long a shard works in one go on its inbox, its timers and what it writes.",
        NANOSECONDS,
        |shard| &shard.turn,
    ),
    histogram(
        "gateway_shard_turn_recipients",
        "Sockets that broadcasts, joins, leaves and disconnects of many come to in one turn of a shard, if there are any.",
        1.0,
        |shard| &shard.turn_recipients,
    ),
    histogram(
        "gateway_shard_turn_writes",
        "WebSockets that a shard comes to in one turn to write what was queued, if there are any.",
        1.0,
        |shard| &shard.turn_writes,
    ),
    counter(
        "gateway_slow_consumers_total",
        "Sessions closed because their clients took what was sent too slowly.",
        |it| it.sum(|shard| &shard.slow_consumers),
    ),
    counters(
        "gateway_slow_consumer_causes_total",
        "The same by the limit that they passed.",
        |it| it.sums(|shard| &shard.slow_causes),
    ),
    counters(
        "gateway_tokens_total",
        "Tokens shown at connect, by what became of them.",
        |it| it.node.counters().tokens.values(),
    ),
    counters(
        "gateway_token_refreshes_total",
        "Tokens sent in place of older ones, by what became of them.",
        |it| it.node.counters().token_refreshes.values(),
    ),
    counters(
        "gateway_tokens_refused_total",
        "Tokens that were refused, at connect and later, by what was wrong with them.",
        |it| it.node.counters().token_faults.family().values(),
    ),
    counter(
        "gateway_tokens_expired_total",
        "Sockets closed because their token had expired.",
        |it| it.node.counters().tokens_expired.value(),
    ),
    counters(
        "gateway_users_refused_total",
        "Sockets that could not connect because of their user or its token, by what is wrong.",
        |it| it.node.users().counters.refused.family().values(),
    ),
    counters(
        "gateway_users_shut_out_total",
        "Sockets that were disconnected since their user was blocked or their token revoked.",
        |it| it.node.users().counters.shut_out.values(),
    ),
    gauge("gateway_users_blocked", "Users that are blocked.", |it| {
        it.node.users().counts().0
    }),
    gauge(
        "gateway_tokens_revoked",
        "Revocations of tokens that are in force.",
        |it| it.node.users().counts().1,
    ),
    gauge(
        "gateway_users_records",
        "Records of blocks and revocations that the node keeps, those that were lifted lately too.",
        |it| it.node.users().known().1 as u64,
    ),
    gauge(
        "gateway_users_in_step",
        "1 while the node knows all records of Redis, and Redis those of the node.",
        |it| u64::from(it.node.users().is_in_step()),
    ),
    counter(
        "gateway_users_restored_total",
        "Blocks and revocations that Redis had lost and that this node wrote again.",
        |it| it.node.users().counters.restored.value(),
    ),
    counter(
        "gateway_users_odd_total",
        "Blocks and revocations from Redis or another node that no node of this version can have written.",
        |it| it.node.users().counters.odd.value(),
    ),
    counters(
        "gateway_config_reloads_total",
        "Times that settings were read again while the node served, by what came of it.",
        |it| it.node.counters().reloads.results.values(),
    ),
    gauge(
        "gateway_config_last_reload_failed",
        "1 if the last reload was refused, since something was wrong; the settings before it stay.",
        |it| it.node.counters().reloads.last_failed(),
    ),
    gauge(
        "gateway_config_last_success_timestamp_seconds",
        "When the settings were read last and were right: at the start, or by a reload.",
        |it| it.node.counters().reloads.succeeded_at(),
    ),
    gauge(
        "gateway_config_restart_needed",
        "Settings that had other values in the files at the last reload, and need a restart.",
        |it| it.node.counters().reloads.waiting(),
    ),
    counters(
        "gateway_internal_refused_total",
        "Calls refused at the internal port, since a web page of somebody else may have sent them.",
        |it| it.node.counters().internal_refused.values(),
    ),
    counters(
        "gateway_api_requests_total",
        "Requests to the HTTP API that were authorized, by call.",
        |it| it.node.counters().api_requests.values(),
    ),
    counters(
        "gateway_api_errors_total",
        "Requests to the HTTP API that were refused, by code.",
        |it| it.node.counters().api_errors.values(),
    ),
    durations(
        "gateway_api_duration_seconds",
        "Time to answer a request to the HTTP API.",
        |it| &it.node.counters().api_duration,
    ),
    counter(
        "gateway_cluster_answers_refused_total",
        "Questions of other servers that got no answer.",
        |it| SocketIo::of(it.node).lists.refused.value(),
    ),
    counter(
        "gateway_acks_refused_total",
        "Acknowledgements of broadcasts that could not be kept until all were there.",
        |it| SocketIo::of(it.node).acks.refused.value(),
    ),
    counter(
        "gateway_volatile_dropped_total",
        "Volatile packets that a client was not ready for.",
        |it| it.sum(|shard| &shard.volatile_dropped),
    ),
    counter(
        "gateway_events_rate_limited_total",
        "Events dropped because their socket sent more than it may.",
        |it| it.sum(|shard| &shard.events_rate_limited),
    ),
];

/// The link between the nodes. A node that stands alone counts nothing, and exports it all the same.
pub(super) const CLUSTER: &[Metric] = &[
    gauge(
        "gateway_adapter_up",
        "1 while the node hears the other nodes, and for a node that stands alone.",
        |it| u64::from(it.is_up),
    ),
    counters(
        "gateway_adapter_messages_total",
        "Messages from and to other nodes, by what became of them.",
        |it| messages(it.adapter),
    ),
    durations(
        "gateway_adapter_publish_duration_seconds",
        "From publishing a message to its confirmation.",
        |it| &it.adapter.publish_duration,
    ),
    durations(
        "gateway_adapter_lag_seconds",
        "How long a message to oneself takes to come back.",
        |it| &it.adapter.lag,
    ),
    counter(
        "gateway_adapter_reconnects_total",
        "Connections made again after one was lost or given up.",
        |it| it.adapter.reconnects.value(),
    ),
    counter(
        "gateway_adapter_gaps_total",
        "Times that subscriptions were interrupted: messages may have been missed.",
        |it| it.adapter.gaps.value(),
    ),
    counter(
        "gateway_adapter_subscriptions_refused_total",
        "Channels and patterns that Redis refuses because of their names.",
        |it| it.adapter.subscriptions_refused.value(),
    ),
    gauge(
        "gateway_adapter_subscriptions",
        "Subscriptions in force.",
        |it| it.adapter.subscriptions.value(),
    ),
    gauge(
        "gateway_adapter_queued_messages",
        "Messages that await being sent or confirmed.",
        |it| it.adapter.queued.value(),
    ),
    gauge(
        "gateway_adapter_queued_bytes",
        "Bytes of the messages that await being sent.",
        |it| it.adapter.queued_bytes.value(),
    ),
    gauge(
        "gateway_cluster_nodes",
        "Live gateway nodes, this one among them.",
        |it| it.members as u64,
    ),
    counters(
        "gateway_cluster_requests_total",
        "Questions to the other nodes, by how they ended.",
        |it| it.requests.values(),
    ),
];

/// Clients that come back. A node without recovery counts nothing, and exports it all the same.
pub(super) const RECOVERY: &[Metric] = &[
    counters(
        "gateway_recovery_total",
        "Clients that came back, by whether they were recovered, or why not.",
        |it| it.recoveries(),
    ),
    durations(
        "gateway_recovery_duration_seconds",
        "From what a client shows to the last event that it missed.",
        |it| &it.recovery.duration,
    ),
    counter(
        "gateway_recovery_replayed_events_total",
        "Events sent again to clients that came back.",
        |it| it.recovery.replayed.value(),
    ),
    counter(
        "gateway_recovery_published_total",
        "Events that this node published and that were put in order.",
        |it| it.recovery.published.value(),
    ),
    durations(
        "gateway_recovery_publish_duration_seconds",
        "From publishing an event to its place in the order.",
        |it| &it.recovery.publish_duration,
    ),
    counter(
        "gateway_recovery_refused_events_total",
        "Events refused, since too much waits to be put in order.",
        |it| it.recovery.refused.value(),
    ),
    counter(
        "gateway_recovery_unlogged_events_total",
        "Events of Node servers and emitters, which are in no log.",
        |it| it.recovery.unlogged.value(),
    ),
    counter(
        "gateway_recovery_session_writes_total",
        "Changes of sessions that were written.",
        |it| it.recovery.session_writes.value(),
    ),
    counter(
        "gateway_recovery_fills_total",
        "Parts of logs read because this node did not hear them.",
        |it| it.recovery.fills.value(),
    ),
    counter(
        "gateway_recovery_history_events_total",
        "Events of the past that were read for joins.",
        |it| it.recovery.rewound.value(),
    ),
    counter(
        "gateway_recovery_filled_events_total",
        "Events that came by that.",
        |it| it.recovery.filled.value(),
    ),
    counter(
        "gateway_recovery_given_up_total",
        "Connections closed because what their node missed cannot be had.",
        |it| it.recovery.given_up.value(),
    ),
    counter(
        "gateway_recovery_renewals_total",
        "Times that a log was another one than before: Redis lost what it had.",
        |it| it.recovery.renewed.value(),
    ),
    counter(
        "gateway_recovery_store_refused_total",
        "Answers of Redis by which it refused something of recovery.",
        |it| it.adapter.store_refused.value(),
    ),
    counter(
        "gateway_recovery_store_breaks_total",
        "Times that the way to the store of a namespace broke.",
        |it| it.adapter.store_breaks.value(),
    ),
    gauge(
        "gateway_recovery_waiting",
        "Events and changes of sessions that wait to be written.",
        |it| it.recovery.waiting.value(),
    ),
    gauge(
        "gateway_recovery_logs",
        "Logs of rooms in all namespaces, the same at every node.",
        |it| it.recovery.logs.value(),
    ),
    gauge(
        "gateway_recovery_log_entries",
        "Events in these logs, as counted some seconds ago.",
        |it| it.recovery.entries.value(),
    ),
    gauge(
        "gateway_recovery_log_bytes",
        "Bytes of these events.",
        |it| it.recovery.bytes.value(),
    ),
];

/// The same under the names of npm's `socket.io-prometheus-metrics`, without its labels: an event's
/// name is the client's to choose.
pub(super) const ALIASES: &[Metric] = &[
    gauge("socket_io_connected", "Sockets that are connected.", |it| {
        it.census
            .namespaces
            .iter()
            .map(|namespace| namespace.sockets)
            .sum()
    }),
    counter("socket_io_connect_total", "Sockets that connected.", |it| {
        it.sum(|shard| shard.packets_sent.of(PacketType::Connect))
    }),
    counter(
        "socket_io_disconnect_total",
        "Sockets that disconnected.",
        |it| it.sum(|shard| &shard.disconnects),
    ),
    counter(
        "socket_io_events_received_total",
        "Events received from clients.",
        |it| it.events(|shard| &shard.packets_received),
    ),
    counter(
        "socket_io_events_sent_total",
        "Events queued for clients, one for each recipient.",
        |it| it.events(|shard| &shard.packets_sent),
    ),
];

impl Metric {
    /// Its values as they are now.
    pub(super) fn family(&self, reading: &Reading<'_>) -> MetricFamily {
        let Self { name, help, read } = self;
        match read {
            Read::Counter(read) => families::counter(name, help, read(reading)),
            Read::Counters(read) => families::counters(name, help, &read(reading)),
            Read::Gauge(read) => families::gauge(name, help, read(reading)),
            Read::Gauges(read) => families::gauges(name, help, &read(reading)),
            Read::Durations(read) => families::durations(name, help, read(reading)),
            Read::Histogram(unit, read) => {
                let shards = reading.shards.iter().map(|shard| read(shard));
                families::histogram(name, help, *unit, shards)
            }
        }
    }

    const fn new(name: &'static str, help: &'static str, read: Read) -> Self {
        Self { name, help, read }
    }
}

const fn counter(name: &'static str, help: &'static str, read: fn(&Reading<'_>) -> u64) -> Metric {
    Metric::new(name, help, Read::Counter(read))
}

const fn counters(
    name: &'static str,
    help: &'static str,
    read: fn(&Reading<'_>) -> Vec<(Labels, u64)>,
) -> Metric {
    Metric::new(name, help, Read::Counters(read))
}

const fn gauge(name: &'static str, help: &'static str, read: fn(&Reading<'_>) -> u64) -> Metric {
    Metric::new(name, help, Read::Gauge(read))
}

const fn gauges(
    name: &'static str,
    help: &'static str,
    read: fn(&Reading<'_>) -> Vec<(Labels, u64)>,
) -> Metric {
    Metric::new(name, help, Read::Gauges(read))
}

const fn durations(
    name: &'static str,
    help: &'static str,
    read: for<'a> fn(&'a Reading<'_>) -> &'a Histogram,
) -> Metric {
    Metric::new(name, help, Read::Durations(read))
}

const fn histogram(
    name: &'static str,
    help: &'static str,
    unit: f64,
    read: fn(&ShardCounters) -> &ShardHistogram,
) -> Metric {
    Metric::new(name, help, Read::Histogram(unit, read))
}

fn build() -> Vec<(Labels, u64)> {
    let commit = option_env!("GATEWAY_COMMIT").filter(|it| !it.is_empty());
    let commit = commit.unwrap_or("unknown");
    let labels = [("version", env!("CARGO_PKG_VERSION")), ("commit", commit)];
    vec![(
        labels.map(|(name, value)| (name, value.to_owned())).into(),
        1,
    )]
}

fn messages(adapter: &AdapterCounters) -> Vec<(Labels, u64)> {
    [
        ("in", "ok", &adapter.in_ok),
        ("in", "undecodable", &adapter.in_undecodable),
        ("in", "duplicate", &adapter.in_duplicate),
        ("in", "own", &adapter.in_own),
        ("in", "ignored", &adapter.in_ignored),
        ("out", "ok", &adapter.out_ok),
        ("out", "dropped", &adapter.out_dropped),
        ("out", "unconfirmed", &adapter.out_unconfirmed),
        ("out", "refused", &adapter.out_refused),
    ]
    .map(|(direction, result, counter)| {
        let labels = [("direction", direction), ("result", result)];
        let labels = labels.map(|(name, value)| (name, value.to_owned()));
        (labels.into(), counter.value())
    })
    .into()
}
