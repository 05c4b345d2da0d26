//! What is exported of the link between the nodes.

use adapter::{Counters as AdapterCounters, Histogram as Durations};

use prometheus::proto::{Bucket, Histogram, Metric, MetricFamily, MetricType};

use crate::cluster::{RequestCounters, RequestKind, RequestResult};
use crate::count::families::{NANOSECONDS, count, counter, gauge, metric_family};
use crate::engine::node::Node;

/// A node that stands alone counts nothing, and exports it all the same.
pub(super) fn families(node: &Node) -> Vec<MetricFamily> {
    match node.cluster() {
        Some(cluster) => {
            let adapter = cluster.adapter();
            let nodes = adapter.members().len();
            let up = adapter.is_up();
            of(up, nodes, adapter.counters(), cluster.counters())
        }
        None => of(
            true,
            1,
            &AdapterCounters::default(),
            &RequestCounters::default(),
        ),
    }
}

fn of(
    up: bool,
    nodes: usize,
    adapter: &AdapterCounters,
    requests: &RequestCounters,
) -> Vec<MetricFamily> {
    let messages = [
        ("in", "ok", &adapter.in_ok),
        ("in", "undecodable", &adapter.in_undecodable),
        ("in", "duplicate", &adapter.in_duplicate),
        ("in", "own", &adapter.in_own),
        ("in", "ignored", &adapter.in_ignored),
        ("out", "ok", &adapter.out_ok),
        ("out", "dropped", &adapter.out_dropped),
        ("out", "unconfirmed", &adapter.out_unconfirmed),
        ("out", "refused", &adapter.out_refused),
    ];
    let messages = messages.into_iter().map(|(direction, result, counter)| {
        let labels = [
            ("direction", direction.to_owned()),
            ("result", result.to_owned()),
        ];
        count(&labels, counter.value())
    });
    let asked = RequestKind::ALL.into_iter().flat_map(|kind| {
        RequestResult::ALL.into_iter().map(move |result| {
            let labels = [
                ("result", result.label().to_owned()),
                ("type", kind.label().to_owned()),
            ];
            count(&labels, requests.of(kind, result).value())
        })
    });
    vec![
        gauge(
            "gateway_adapter_up",
            "1 while the node hears the other nodes, and for a node that stands alone.",
            f64::from(u8::from(up)),
        ),
        metric_family(
            "gateway_adapter_messages_total",
            "Messages from and to other nodes, by what became of them.",
            MetricType::COUNTER,
            messages.collect(),
        ),
        durations(
            "gateway_adapter_publish_duration_seconds",
            "From publishing a message to its confirmation.",
            &adapter.publish_duration,
        ),
        durations(
            "gateway_adapter_lag_seconds",
            "How long a message to oneself takes to come back.",
            &adapter.lag,
        ),
        counter(
            "gateway_adapter_reconnects_total",
            "Connections made again after one was lost or given up.",
            adapter.reconnects.value(),
        ),
        counter(
            "gateway_adapter_gaps_total",
            "Times that subscriptions were interrupted: messages may have been missed.",
            adapter.gaps.value(),
        ),
        counter(
            "gateway_adapter_subscriptions_refused_total",
            "Channels and patterns that Redis refuses because of their names.",
            adapter.subscriptions_refused.value(),
        ),
        gauge(
            "gateway_adapter_subscriptions",
            "Subscriptions in force.",
            adapter.subscriptions.value() as f64,
        ),
        gauge(
            "gateway_adapter_queued_messages",
            "Messages that await being sent or confirmed.",
            adapter.queued.value() as f64,
        ),
        gauge(
            "gateway_adapter_queued_bytes",
            "Bytes of the messages that await being sent.",
            adapter.queued_bytes.value() as f64,
        ),
        gauge(
            "gateway_cluster_nodes",
            "Live gateway nodes, this one among them.",
            nodes as f64,
        ),
        metric_family(
            "gateway_cluster_requests_total",
            "Questions to the other nodes, by how they ended.",
            MetricType::COUNTER,
            asked.collect(),
        ),
    ]
}

fn durations(name: &str, help: &str, durations: &Durations) -> MetricFamily {
    let snapshot = durations.snapshot();
    let mut cumulative = 0;
    let buckets = (0..Durations::BUCKETS).map(|index| {
        cumulative += snapshot.counts[index];
        let mut bucket = Bucket::default();
        bucket.set_upper_bound(Durations::limit(index).as_nanos() as f64 / NANOSECONDS);
        bucket.set_cumulative_count(cumulative);
        bucket
    });
    let mut histogram = Histogram::default();
    histogram.set_bucket(buckets.collect());
    histogram.set_sample_count(snapshot.counts.iter().sum());
    histogram.set_sample_sum(snapshot.sum.as_secs_f64());
    let mut metric = Metric::default();
    metric.set_histogram(histogram);
    metric_family(name, help, MetricType::HISTOGRAM, vec![metric])
}
