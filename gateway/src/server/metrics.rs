//! What Prometheus scrapes: counters added up over the shards, gauges counted when asked.

use std::sync::Arc;

use prometheus::proto::{Counter as CounterValue, Metric, MetricFamily, MetricType};
use prometheus::{Encoder, TextEncoder};
use protocol::engineio::Transport;

use crate::config::log::{Loss, lost};
use crate::count::families::{
    NANOSECONDS, closed, count, counter, durations, family, forwarded, gauges, histogram,
    metric_family, tallies,
};
use crate::count::{Counter, Counters, Export, Family, Label, PacketType};
use crate::engine::node::Node;
use crate::engine::shard::Shard;
use crate::socketio::SocketIo;

mod cluster;

/// The name that every library of Prometheus has for it.
const CPU_SECONDS: &str = "process_cpu_seconds_total";

/// Of the text format.
pub(crate) const CONTENT_TYPE: &str = prometheus::TEXT_FORMAT;

/// What only the registries of a shard know.
#[derive(Default)]
struct Census {
    sessions: [u64; 2],
    outbox_bytes: u64,
    tunnels: u64,
    forwarding: u64,
    /// Name, sockets and rooms of each namespace.
    namespaces: Vec<(String, u64, u64)>,
}

/// Everything in the text format.
pub(crate) async fn gather(node: &Arc<Node>, exports: &[Arc<dyn Export>]) -> Vec<u8> {
    let census = node
        .query(Census::of)
        .await
        .into_iter()
        .fold(Census::default(), Census::join);
    let mut families = families(node, &census);
    families.extend(cluster::families(node));
    if node.config().metrics.socket_io_aliases {
        families.extend(aliases(node, &census));
    }
    families.extend(exports.iter().flat_map(|export| export.families()));
    families.extend(process_families());
    families.sort_by(|a, b| a.name().cmp(b.name()));
    let mut text = Vec::with_capacity(16 * 1024);
    if let Err(error) = TextEncoder::new().encode(&families, &mut text) {
        tracing::warn!(target: "gateway::metrics", %error, "metrics cannot be written");
    }
    text
}

impl Census {
    fn of(shard: &Shard) -> Self {
        let mut census = Self::default();
        for session in shard.sessions() {
            census.sessions[session.transport().index()] += u64::from(session.is_open());
            census.outbox_bytes += session.outbox_bytes() as u64;
        }
        census.tunnels = shard.links().tunnel_count() as u64;
        census.forwarding = shard.links().passage_count() as u64;
        shard.for_each_namespace(|namespace| {
            let rooms = namespace.room_count() as u64;
            census
                .namespaces
                .push((namespace.name().to_owned(), namespace.len() as u64, rooms));
        });
        census
    }

    fn join(mut self, other: Self) -> Self {
        self.outbox_bytes += other.outbox_bytes;
        self.tunnels += other.tunnels;
        self.forwarding += other.forwarding;
        for (sum, value) in self.sessions.iter_mut().zip(other.sessions) {
            *sum += value;
        }
        self.namespaces.extend(other.namespaces);
        self
    }
}

fn families(node: &Node, census: &Census) -> Vec<MetricFamily> {
    let shards: Vec<&Counters> = node.shards().iter().map(|shard| &*shard.counters).collect();
    let sum =
        |of: &dyn Fn(&Counters) -> &Counter| shards.iter().map(|shard| of(shard).value()).sum();
    let transports = Transport::ALL.map(|transport| {
        (
            vec![("transport", transport.name().to_owned())],
            census.sessions[transport.index()] as f64,
        )
    });
    let remaining = if node.drain().has_begun() {
        census.sessions.iter().sum()
    } else {
        0
    };
    let namespaces = |value: &dyn Fn(&(String, u64, u64)) -> u64| {
        let mut values: Vec<(Vec<(&'static str, String)>, f64)> = Vec::new();
        for label in node.namespace_labels() {
            let found = census
                .namespaces
                .iter()
                .filter(|entry| node.namespace_label(&entry.0) == label);
            let total: u64 = found.map(value).sum();
            values.push((vec![("namespace", label.to_owned())], total as f64));
        }
        values
    };
    vec![
        gauges(
            "gateway_connections",
            "Open Engine.IO sessions by their transport.",
            &transports,
        ),
        gauges(
            "gateway_sockets",
            "Sockets connected to a namespace; namespaces of a pattern are counted together.",
            &namespaces(&|entry| entry.1),
        ),
        gauges(
            "gateway_rooms",
            "Rooms with members on each shard, private rooms of sockets left out.",
            &namespaces(&|entry| entry.2),
        ),
        gauges(
            "gateway_outbox_bytes",
            "Bytes that wait to be sent to clients.",
            &[(Vec::new(), census.outbox_bytes as f64)],
        ),
        gauges(
            "gateway_outbox_memory_bytes",
            "Memory that everything takes that waits to be sent to clients; a broadcast counts once.",
            &[(Vec::new(), node.outbox_held() as f64)],
        ),
        gauges(
            "gateway_outbox_memory_limit_bytes",
            "What gateway_outbox_memory_bytes may be: limits.outbox_total.",
            &[(Vec::new(), node.outbox_memory().limit as f64)],
        ),
        gauges(
            "gateway_draining",
            "1 from the time at which the node began to drain.",
            &[(Vec::new(), f64::from(u8::from(node.drain().has_begun())))],
        ),
        gauges(
            "gateway_drain_remaining_connections",
            "Open sessions that a draining node is still to close.",
            &[(Vec::new(), remaining as f64)],
        ),
        gauges(
            "gateway_build_info",
            "1, with the program's version and commit.",
            &[(
                vec![
                    ("version", env!("CARGO_PKG_VERSION").to_owned()),
                    (
                        "commit",
                        option_env!("GATEWAY_COMMIT")
                            .unwrap_or("unknown")
                            .to_owned(),
                    ),
                ],
                1.0,
            )],
        ),
        family(
            &shards,
            "gateway_connections_opened_total",
            "Sessions opened.",
            "transport",
            |it| &it.opened,
        ),
        closed(&shards),
        family(
            &shards,
            "gateway_handshakes_rejected_total",
            "Requests refused on the clients' port, by reason.",
            "reason",
            |it| &it.refused,
        ),
        family(
            &shards,
            "gateway_unknown_sid_total",
            "Requests for a session that nobody knows, by why.",
            "cause",
            |it| &it.unknown_sids,
        ),
        forwarded(&shards),
        counter(
            "gateway_cluster_secret_mismatches_total",
            "Attempts of nodes to forward that failed because cluster.secret was not the same at both.",
            node.tallies().secret_mismatches.value(),
        ),
        gauges(
            "gateway_requests_forwarding",
            "Polls and posts of other nodes' sessions that wait at this node for the owner's answer.",
            &[(Vec::new(), census.forwarding as f64)],
        ),
        gauges(
            "gateway_tunnels",
            "WebSockets of other nodes' sessions that go through this node.",
            &[(Vec::new(), census.tunnels as f64)],
        ),
        family(
            &shards,
            "gateway_upgrades_total",
            "Upgrades to WebSocket, by how they ended.",
            "result",
            |it| &it.upgrades,
        ),
        counter(
            "gateway_heartbeats_sent_total",
            "Pings sent.",
            sum(&|it| &it.heartbeats_sent),
        ),
        counter(
            "gateway_heartbeats_answered_total",
            "Pings answered.",
            sum(&|it| &it.heartbeats_answered),
        ),
        counter(
            "gateway_heartbeat_timeouts_total",
            "Sessions closed because a ping was not answered.",
            sum(&|it| &it.heartbeat_timeouts),
        ),
        histogram(
            &shards,
            "gateway_heartbeat_rtt_seconds",
            "From a ping to its pong.",
            NANOSECONDS,
            |it| &it.heartbeat_rtt,
        ),
        histogram(
            &shards,
            "gateway_heartbeat_lateness_seconds",
            "How much later than scheduled pings were sent.",
            NANOSECONDS,
            |it| &it.heartbeat_lateness,
        ),
        family(
            &shards,
            "gateway_packets_received_total",
            "Socket.IO packets received.",
            "type",
            |it| &it.packets_received,
        ),
        family(
            &shards,
            "gateway_packets_sent_total",
            "Socket.IO packets queued for clients, one for each recipient.",
            "type",
            |it| &it.packets_sent,
        ),
        family(
            &shards,
            "gateway_received_bytes_total",
            "Bytes received from clients.",
            "transport",
            |it| &it.received_bytes,
        ),
        family(
            &shards,
            "gateway_sent_bytes_total",
            "Bytes sent to clients.",
            "transport",
            |it| &it.sent_bytes,
        ),
        family(
            &shards,
            "gateway_broadcasts_total",
            "Broadcasts handled by a shard, by where they came from.",
            "origin",
            |it| &it.broadcasts,
        ),
        histogram(
            &shards,
            "gateway_broadcast_recipients",
            "Recipients of a broadcast on one shard.",
            1.0,
            |it| &it.broadcast_recipients,
        ),
        histogram(
            &shards,
            "gateway_broadcast_duration_seconds",
            "Time to queue a broadcast for its recipients on one shard.",
            NANOSECONDS,
            |it| &it.broadcast_duration,
        ),
        counter(
            "gateway_slow_consumers_total",
            "Sessions closed because their clients took what was sent too slowly.",
            sum(&|it| &it.slow_consumers),
        ),
        family(
            &shards,
            "gateway_slow_consumer_causes_total",
            "The same by the limit that they passed.",
            "cause",
            |it| &it.slow_causes,
        ),
        tallies(
            "gateway_tokens_total",
            "Tokens shown at connect, by what became of them.",
            "result",
            &node.tallies().tokens,
        ),
        tallies(
            "gateway_token_refreshes_total",
            "Tokens sent in place of older ones, by what became of them.",
            "result",
            &node.tallies().token_refreshes,
        ),
        tallies(
            "gateway_tokens_refused_total",
            "Tokens that were refused, at connect and later, by what was wrong with them.",
            "reason",
            &node.tallies().token_faults,
        ),
        counter(
            "gateway_tokens_expired_total",
            "Sockets closed because their token had expired.",
            node.tallies().tokens_expired.value(),
        ),
        tallies(
            "gateway_internal_refused_total",
            "Changing calls refused at the internal port, since a web page may have sent them.",
            "reason",
            &node.tallies().internal_refused,
        ),
        tallies(
            "gateway_api_requests_total",
            "Requests to the HTTP API that were authorized, by call.",
            "call",
            &node.tallies().api_requests,
        ),
        tallies(
            "gateway_api_errors_total",
            "Requests to the HTTP API that were refused, by code.",
            "code",
            &node.tallies().api_errors,
        ),
        durations(
            "gateway_api_duration_seconds",
            "Time to answer a request to the HTTP API.",
            &node.tallies().api_duration,
        ),
        counter(
            "gateway_cluster_answers_refused_total",
            "Questions of other servers that got no answer.",
            SocketIo::of(node).lists.refused.value(),
        ),
        counter(
            "gateway_acks_refused_total",
            "Acknowledgements of broadcasts that could not be kept until all were there.",
            SocketIo::of(node).acks.refused.value(),
        ),
        counter(
            "gateway_volatile_dropped_total",
            "Volatile packets that a client was not ready for.",
            sum(&|it| &it.volatile_dropped),
        ),
        counter(
            "gateway_events_rate_limited_total",
            "Events dropped because their socket sent more than it may.",
            sum(&|it| &it.events_rate_limited),
        ),
    ]
}

/// The same under the names of npm's `socket.io-prometheus-metrics`, without its labels: an event's
/// name is the client's to choose.
fn aliases(node: &Node, census: &Census) -> [MetricFamily; 5] {
    let sum = |of: &dyn Fn(&Counters) -> u64| {
        let shards = node.shards().iter();
        shards.map(|shard| of(&shard.counters)).sum()
    };
    let events = |of: &Family<PacketType>| {
        of.of(PacketType::Event).value() + of.of(PacketType::BinaryEvent).value()
    };
    let connected: u64 = census.namespaces.iter().map(|entry| entry.1).sum();
    [
        gauges(
            "socket_io_connected",
            "Sockets that are connected.",
            &[(Vec::new(), connected as f64)],
        ),
        counter(
            "socket_io_connect_total",
            "Sockets that connected.",
            sum(&|it| it.packets_sent.of(PacketType::Connect).value()),
        ),
        counter(
            "socket_io_disconnect_total",
            "Sockets that disconnected.",
            sum(&|it| it.disconnects.value()),
        ),
        counter(
            "socket_io_events_received_total",
            "Events received from clients.",
            sum(&|it| events(&it.packets_received)),
        ),
        counter(
            "socket_io_events_sent_total",
            "Events queued for clients, one for each recipient.",
            sum(&|it| events(&it.packets_sent)),
        ),
    ]
}

/// Of the process.
fn process_families() -> Vec<MetricFamily> {
    let collector = prometheus::process_collector::ProcessCollector::for_self();
    let mut families = prometheus::core::Collector::collect(&collector);
    // The library counts it in whole seconds, which makes steps of every rate.
    families.retain(|family| family.name() != CPU_SECONDS);
    let used = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    let mut cpu = CounterValue::default();
    cpu.set_value(used.tv_sec as f64 + used.tv_nsec as f64 / NANOSECONDS);
    let mut metric = Metric::default();
    metric.set_counter(cpu);
    let help = "Time that the process has spent on processors.";
    families.push(metric_family(
        CPU_SECONDS,
        help,
        MetricType::COUNTER,
        vec![metric],
    ));
    let losses = Loss::ALL.map(|why| count(&[("reason", why.label().to_owned())], lost(why)));
    families.push(metric_family(
        "gateway_log_lines_lost_total",
        "Lines of the log, and of standard output, that could not be written, by why.",
        MetricType::COUNTER,
        losses.into(),
    ));
    families
}
