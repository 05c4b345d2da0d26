//! Families of metrics, as Prometheus' library wants them.

use prometheus::proto::{
    Bucket, Counter as CounterValue, Gauge, Histogram, LabelPair, Metric, MetricFamily, MetricType,
};
use protocol::engineio::Transport;

use super::{Counters, DURATIONS, Distribution, Durations, Family, Kind, Label, Outcome, Tallies};

/// Nanoseconds in a second. What is divided by it prints as it is written: 1.6384, where a product
/// with a billionth prints as 1.6383999999999999.
pub(crate) const NANOSECONDS: f64 = 1e9;

/// What has metrics of its own, and perhaps something to tell besides.
pub(crate) trait Export: Send + Sync {
    /// Its metrics as they are now.
    fn families(&self) -> Vec<MetricFamily>;

    /// What is wrong with it, although the node is ready.
    fn concern(&self) -> Option<String> {
        None
    }
}

pub(crate) type Labels = Vec<(&'static str, String)>;

fn labelled(labels: &[(&'static str, String)]) -> Metric {
    let mut metric = Metric::default();
    metric.set_label(
        labels
            .iter()
            .map(|(name, value)| {
                let mut pair = LabelPair::default();
                pair.set_name((*name).to_owned());
                pair.set_value(value.clone());
                pair
            })
            .collect(),
    );
    metric
}

pub(crate) fn metric_family(
    name: &str,
    help: &str,
    kind: MetricType,
    metrics: Vec<Metric>,
) -> MetricFamily {
    let mut family = MetricFamily::default();
    family.set_name(name.to_owned());
    family.set_help(help.to_owned());
    family.set_field_type(kind);
    family.set_metric(metrics);
    family
}

pub(crate) fn gauges(name: &str, help: &str, values: &[(Labels, f64)]) -> MetricFamily {
    let metrics = values.iter().map(|(labels, value)| {
        let mut gauge = Gauge::default();
        gauge.set_value(*value);
        let mut metric = labelled(labels);
        metric.set_gauge(gauge);
        metric
    });
    metric_family(name, help, MetricType::GAUGE, metrics.collect())
}

pub(crate) fn gauge(name: &str, help: &str, value: f64) -> MetricFamily {
    gauges(name, help, &[(Vec::new(), value)])
}

pub(crate) fn count(labels: &[(&'static str, String)], value: u64) -> Metric {
    let mut counter = CounterValue::default();
    counter.set_value(value as f64);
    let mut metric = labelled(labels);
    metric.set_counter(counter);
    metric
}

pub(crate) fn counter(name: &str, help: &str, value: u64) -> MetricFamily {
    metric_family(name, help, MetricType::COUNTER, vec![count(&[], value)])
}

pub(crate) fn family<L: Label>(
    shards: &[&Counters],
    name: &str,
    help: &str,
    label: &'static str,
    of: impl Fn(&Counters) -> &Family<L>,
) -> MetricFamily {
    let metrics = L::ALL.iter().map(|value| {
        let sum = shards
            .iter()
            .map(|shard| of(shard).of(*value).value())
            .sum();
        count(&[(label, value.label().to_owned())], sum)
    });
    metric_family(name, help, MetricType::COUNTER, metrics.collect())
}

pub(crate) fn durations(name: &str, help: &str, of: &Durations) -> MetricFamily {
    let counts: Vec<_> = of.counts().collect();
    filled(name, help, &DURATIONS, NANOSECONDS, &counts, of.sum())
}

pub(crate) fn tallies<L: Label>(
    name: &str,
    help: &str,
    label: &'static str,
    of: &Tallies<L>,
) -> MetricFamily {
    let metrics = L::ALL.iter().map(|value| {
        let count_of = of.of(*value).value();
        count(&[(label, value.label().to_owned())], count_of)
    });
    metric_family(name, help, MetricType::COUNTER, metrics.collect())
}

pub(crate) fn closed(shards: &[&Counters]) -> MetricFamily {
    let metrics = <(Transport, _) as Label>::ALL.iter().map(|value| {
        let sum = shards
            .iter()
            .map(|shard| shard.closed.of(*value).value())
            .sum();
        let (transport, reason) = value;
        count(
            &[
                ("reason", reason.label().to_owned()),
                ("transport", transport.name().to_owned()),
            ],
            sum,
        )
    });
    metric_family(
        "gateway_connections_closed_total",
        "Sessions closed, by transport and reason.",
        MetricType::COUNTER,
        metrics.collect(),
    )
}

pub(crate) fn forwarded(shards: &[&Counters]) -> MetricFamily {
    let metrics = <(Kind, Outcome) as Label>::ALL.iter().map(|value| {
        let sum = shards
            .iter()
            .map(|shard| shard.forwarded.of(*value).value())
            .sum();
        let (kind, outcome) = value;
        count(
            &[
                ("kind", kind.label().to_owned()),
                ("result", outcome.label().to_owned()),
            ],
            sum,
        )
    });
    metric_family(
        "gateway_requests_forwarded_total",
        "Requests for sessions of other nodes, by what became of them.",
        MetricType::COUNTER,
        metrics.collect(),
    )
}

pub(crate) fn histogram(
    shards: &[&Counters],
    name: &str,
    help: &str,
    unit: f64,
    of: impl Fn(&Counters) -> &Distribution,
) -> MetricFamily {
    let first = of(shards[0]);
    let mut counts = vec![0; first.bounds().len() + 1];
    let mut sum = 0;
    for shard in shards {
        for (total, count) in counts.iter_mut().zip(of(shard).counts()) {
            *total += count;
        }
        sum += of(shard).sum();
    }
    filled(name, help, first.bounds(), unit, &counts, sum)
}

fn filled(
    name: &str,
    help: &str,
    bounds: &[u64],
    unit: f64,
    counts: &[u64],
    sum: u64,
) -> MetricFamily {
    let mut histogram = Histogram::default();
    let mut cumulative = 0;
    let buckets = bounds.iter().zip(counts).map(|(bound, count)| {
        cumulative += count;
        let mut bucket = Bucket::default();
        bucket.set_upper_bound(*bound as f64 / unit);
        bucket.set_cumulative_count(cumulative);
        bucket
    });
    histogram.set_bucket(buckets.collect());
    histogram.set_sample_count(counts.iter().sum());
    histogram.set_sample_sum(sum as f64 / unit);
    let mut metric = Metric::default();
    metric.set_histogram(histogram);
    metric_family(name, help, MetricType::HISTOGRAM, vec![metric])
}
