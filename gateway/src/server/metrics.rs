//! What Prometheus scrapes: counters added up over the shards, gauges counted when asked.

use std::rc::Rc;
use std::sync::Arc;

use adapter::Counters as AdapterCounters;
use prometheus::proto::MetricFamily;
use prometheus::{Encoder, TextEncoder};
use protocol::engineio::Transport;

use crate::cluster::RequestCounters;
use crate::config::log::{Loss, lost};
use crate::count::families::counters;
use crate::count::{
    Export, Family, Label, Labels, PacketType, Series, ShardCounter, ShardCounters,
};
use crate::engine::node::Node;
use crate::engine::session::Session;
use crate::engine::shard::Shard;
use crate::engine::turns::{Backwards, Turns};
use crate::recovery::RecoveryCounters;
use crate::socketio::SocketIo;

mod openmetrics;
mod process;
mod table;

pub(crate) use openmetrics::Format;
use table::{ALIASES, CLUSTER, METRICS, RECOVERY};

/// What the rows of the tables read.
struct Reading<'a> {
    node: &'a Node,
    shards: Vec<&'a ShardCounters>,
    census: Census,
    /// Whether the node hears the others.
    is_up: bool,
    /// Live nodes, this one among them.
    members: usize,
    adapter: &'a AdapterCounters,
    requests: &'a RequestCounters,
    recovery: &'a RecoveryCounters,
}

/// What a node that stands alone, or recovers nobody, counts of that.
#[derive(Default)]
struct Nothing {
    adapter: AdapterCounters,
    requests: RequestCounters,
    recovery: RecoveryCounters,
}

/// What only the registries of a shard know.
#[derive(Default)]
struct Census {
    sessions: [u64; Transport::ALL.len()],
    outbox_bytes: u64,
    tunnels: u64,
    forwarding: u64,
    /// By the label that they are counted under, in the order of the labels.
    namespaces: Vec<NamespaceCensus>,
}

/// The namespaces of one label.
#[derive(Clone, Default)]
struct NamespaceCensus {
    sockets: u64,
    rooms: u64,
}

/// Everything, as text.
pub(crate) async fn gather(
    node: &Arc<Node>,
    exports: &[Arc<dyn Export>],
    format: Format,
) -> Vec<u8> {
    let census = node
        .query_in_turns(Census::of)
        .await
        .into_iter()
        .fold(Census::default(), Census::join);
    let nothing = Nothing::default();
    let reading = Reading::new(node, census, &nothing);
    let mut tables = vec![METRICS, CLUSTER, RECOVERY];
    if node.config().metrics.socket_io_aliases {
        tables.push(ALIASES);
    }
    let rows = tables.into_iter().flatten();
    let mut families: Vec<_> = rows.map(|metric| metric.family(&reading)).collect();
    families.extend(exports.iter().flat_map(|export| export.families()));
    families.extend(process::families());
    families.push(losses());
    families.sort_by(|a, b| a.name().cmp(b.name()));
    if format == Format::OpenMetrics {
        let exemplar = |name: &str, bucket| node.otel()?.exemplar(name, bucket);
        return openmetrics::write(&families, exemplar).into_bytes();
    }
    let mut text = Vec::with_capacity(16 * 1024);
    if let Err(error) = TextEncoder::new().encode(&families, &mut text) {
        tracing::warn!(target: "gateway::metrics", %error, "cannot write the metrics");
    }
    text
}

impl<'a> Reading<'a> {
    fn new(node: &'a Node, census: Census, nothing: &'a Nothing) -> Self {
        let recovery = SocketIo::of(node).recovery.as_ref();
        let cluster = node.cluster();
        let adapter = cluster.map(|cluster| cluster.adapter());
        Self {
            node,
            shards: node.shards().iter().map(|shard| &*shard.counters).collect(),
            census,
            is_up: adapter.is_none_or(|adapter| adapter.is_up()),
            members: adapter.map_or(1, |adapter| adapter.members().len()),
            adapter: adapter.map_or(&nothing.adapter, |adapter| adapter.counters()),
            requests: cluster.map_or(&nothing.requests, |cluster| cluster.counters()),
            recovery: recovery.map_or(&nothing.recovery, |it| it.counters()),
        }
    }

    /// Clients that came back, by what became of them.
    fn recoveries(&self) -> Vec<(Labels, u64)> {
        let results = self.recovery.results().into_iter();
        results
            .map(|(result, count)| (vec![("result", result.to_owned())], count))
            .collect()
    }

    /// A counter of all shards.
    fn sum(&self, of: impl Fn(&ShardCounters) -> &ShardCounter) -> u64 {
        self.shards.iter().map(|shard| of(shard).value()).sum()
    }

    /// The counters of all shards by their labels.
    fn sums<S: Series>(&self, of: impl Fn(&ShardCounters) -> &Family<S>) -> Vec<(Labels, u64)> {
        let sum = |series| self.sum(|shard| of(shard).of(series));
        S::all().map(|it| (it.labels(), sum(it))).collect()
    }

    /// The events among packets, with attachments or without.
    fn events(&self, of: impl Fn(&ShardCounters) -> &Family<PacketType>) -> u64 {
        let kinds = [PacketType::Event, PacketType::BinaryEvent];
        let sum = |kind| self.sum(|shard| of(shard).of(kind));
        kinds.into_iter().map(sum).sum()
    }

    /// Open sessions by their transport.
    fn sessions(&self) -> Vec<(Labels, u64)> {
        Transport::ALL
            .map(|it| (it.labels(), self.census.sessions[Label::index(it)]))
            .into()
    }

    /// Open sessions that a draining node is still to close.
    fn remaining(&self) -> u64 {
        match self.node.drain().has_begun() {
            true => self.census.sessions.iter().sum(),
            false => 0,
        }
    }

    /// What there is of something by the label of its namespace.
    fn namespaces(&self, of: impl Fn(&NamespaceCensus) -> u64) -> Vec<(Labels, u64)> {
        let labels = self.node.namespace_labels().enumerate();
        let total = |place| self.census.namespaces.get(place).map_or(0, &of);
        labels
            .map(|(place, label)| (vec![("namespace", label.to_owned())], total(place)))
            .collect()
    }
}

impl Census {
    async fn of(shard: Rc<Shard>) -> Self {
        let (mut census, mut turns) = (Self::default(), Turns::default());
        let count = |session: &Session| {
            census.sessions[Label::index(session.transport())] += u64::from(session.is_open());
            census.outbox_bytes += session.outbox_bytes() as u64;
        };
        shard.visit_sessions(&mut turns, count).await;
        census.tunnels = shard.links().tunnel_count() as u64;
        census.forwarding = shard.links().passage_count() as u64;
        let node = shard.node();
        census.namespaces = vec![NamespaceCensus::default(); node.namespace_labels().count()];
        let mut walk = Backwards::default();
        while let Some(namespace) = shard.next_namespace(&mut walk) {
            let label = node.namespace_label(namespace.name());
            let place = node.namespace_labels().position(|it| it == label);
            if let Some(sum) = place.and_then(|place| census.namespaces.get_mut(place)) {
                sum.sockets += namespace.len() as u64;
                sum.rooms += namespace.room_count() as u64;
            }
            turns.took(1).await;
        }
        census
    }

    fn join(mut self, other: Self) -> Self {
        self.outbox_bytes += other.outbox_bytes;
        self.tunnels += other.tunnels;
        self.forwarding += other.forwarding;
        for (sum, value) in self.sessions.iter_mut().zip(other.sessions) {
            *sum += value;
        }
        self.namespaces
            .resize_with(other.namespaces.len(), NamespaceCensus::default);
        for (sum, value) in self.namespaces.iter_mut().zip(other.namespaces) {
            sum.sockets += value.sockets;
            sum.rooms += value.rooms;
        }
        self
    }
}

/// Lines that were lost, by why.
fn losses() -> MetricFamily {
    let losses = Loss::ALL.map(|why| (vec![("reason", why.label().to_owned())], lost(why)));
    counters(
        "gateway_log_lines_lost_total",
        "Lines of the log, and of standard output, that could not be written, by why.",
        &losses,
    )
}
