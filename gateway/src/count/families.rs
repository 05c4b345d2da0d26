//! Families of metrics, as Prometheus' library wants them.

use adapter::{Histogram, HistogramSnapshot};
use prometheus::proto::{
    Bucket, Counter as CounterValue, Gauge, Histogram as HistogramValue, LabelPair, Metric,
    MetricFamily, MetricType,
};

use super::Labels;
use super::histogram::{DURATIONS, ShardHistogram};

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

    /// How it is, for the page of the internal port: the page's name of it, and what there is to say. No secret
    /// is in it.
    fn status(&self) -> Option<(&'static str, serde_json::Value)> {
        None
    }
}

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

pub(crate) fn gauges(name: &str, help: &str, values: &[(Labels, u64)]) -> MetricFamily {
    let metrics = values.iter().map(|(labels, value)| {
        let mut gauge = Gauge::default();
        gauge.set_value(*value as f64);
        let mut metric = labelled(labels);
        metric.set_gauge(gauge);
        metric
    });
    metric_family(name, help, MetricType::GAUGE, metrics.collect())
}

pub(crate) fn gauge(name: &str, help: &str, value: u64) -> MetricFamily {
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

pub(crate) fn counters(name: &str, help: &str, values: &[(Labels, u64)]) -> MetricFamily {
    let metrics = values.iter().map(|(labels, value)| count(labels, *value));
    metric_family(name, help, MetricType::COUNTER, metrics.collect())
}

pub(crate) fn durations(name: &str, help: &str, of: &Histogram) -> MetricFamily {
    let HistogramSnapshot { counts, sum, .. } = of.snapshot();
    let sum = u64::try_from(sum.as_nanos()).unwrap_or(u64::MAX);
    filled(name, help, &DURATIONS, NANOSECONDS, &counts, sum)
}

/// The sum of what the shards observed; `unit` is what one of the metric's unit is in theirs.
pub(crate) fn histogram<'a>(
    name: &str,
    help: &str,
    unit: f64,
    shards: impl Iterator<Item = &'a ShardHistogram>,
) -> MetricFamily {
    let mut bounds: &[u64] = &[];
    let (mut counts, mut sum) = (Vec::new(), 0);
    for shard in shards {
        bounds = shard.bounds();
        counts.resize(bounds.len() + 1, 0);
        for (total, count) in counts.iter_mut().zip(shard.counts()) {
            *total += count;
        }
        sum += shard.sum();
    }
    filled(name, help, bounds, unit, &counts, sum)
}

fn filled(
    name: &str,
    help: &str,
    bounds: &[u64],
    unit: f64,
    counts: &[u64],
    sum: u64,
) -> MetricFamily {
    let mut histogram = HistogramValue::default();
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
