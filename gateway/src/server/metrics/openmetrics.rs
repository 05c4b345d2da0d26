//! The text format of OpenMetrics 1.0, for those who ask for it: the same families, with the traces of some values.

use std::fmt::{self, Write};

use hyper::HeaderMap;
use hyper::header::ACCEPT;
use prometheus::proto::{LabelPair, Metric, MetricFamily, MetricType};

use crate::otel::Exemplar;

/// Of this format.
const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// In which text a scrape wants the metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    Prometheus,
    OpenMetrics,
}

impl Format {
    /// OpenMetrics for those who name it and do not like the other one better.
    pub(crate) fn wanted(headers: &HeaderMap) -> Self {
        let (mut open, mut plain) = (0.0, 0.0_f64);
        let accepted = headers.get_all(ACCEPT).into_iter();
        let accepted = accepted.filter_map(|value| value.to_str().ok());
        for range in accepted.flat_map(|value| value.split(',')) {
            let mut parts = range.split(';').map(str::trim);
            let kind = parts.next().unwrap_or_default();
            let (mut quality, mut version) = (1.0, "1.0.0");
            for part in parts {
                match part.split_once('=') {
                    Some(("q", value)) => quality = value.parse().unwrap_or(0.0),
                    Some(("version", value)) => version = value,
                    Some(_) | None => {}
                }
            }
            match kind {
                "application/openmetrics-text" if version == "1.0.0" => open = quality,
                "text/plain" => plain = plain.max(quality),
                _ => {}
            }
        }
        match open > 0.0 && open >= plain {
            true => Self::OpenMetrics,
            false => Self::Prometheus,
        }
    }

    pub(crate) fn content_type(self) -> &'static str {
        match self {
            Self::Prometheus => prometheus::TEXT_FORMAT,
            Self::OpenMetrics => CONTENT_TYPE,
        }
    }
}

/// All families. `exemplar` has the last value of a histogram's bucket that has a trace.
pub(super) fn write(
    families: &[MetricFamily],
    exemplar: impl Fn(&str, usize) -> Option<Exemplar>,
) -> String {
    let mut text = String::with_capacity(32 * 1024);
    for family in families {
        // A String takes everything.
        let _ = write_family(&mut text, family, &exemplar);
    }
    text.push_str("# EOF\n");
    text
}

fn write_family(
    text: &mut String,
    family: &MetricFamily,
    exemplar: &impl Fn(&str, usize) -> Option<Exemplar>,
) -> fmt::Result {
    let kind = family.get_field_type();
    let name = match family.name().strip_suffix("_total") {
        Some(name) if kind == MetricType::COUNTER => name,
        Some(_) | None => family.name(),
    };
    let word = match kind {
        MetricType::COUNTER => "counter",
        MetricType::GAUGE => "gauge",
        MetricType::HISTOGRAM => "histogram",
        // This program has none of them.
        MetricType::SUMMARY | MetricType::UNTYPED => return Ok(()),
    };
    writeln!(text, "# TYPE {name} {word}")?;
    let unit = ["seconds", "bytes"].into_iter().find(|unit| {
        name.strip_suffix(unit)
            .is_some_and(|rest| rest.ends_with('_'))
    });
    if let Some(unit) = unit {
        writeln!(text, "# UNIT {name} {unit}")?;
    }
    writeln!(text, "# HELP {name} {}", escaped(family.help()))?;
    for metric in family.get_metric() {
        match kind {
            MetricType::COUNTER => {
                write!(text, "{name}_total")?;
                write_labels(text, metric.get_label(), None)?;
                writeln!(text, " {}", metric.get_counter().get_value())?;
            }
            MetricType::HISTOGRAM => write_histogram(text, name, metric, exemplar)?,
            MetricType::GAUGE | MetricType::SUMMARY | MetricType::UNTYPED => {
                text.push_str(name);
                write_labels(text, metric.get_label(), None)?;
                writeln!(text, " {}", metric.get_gauge().get_value())?;
            }
        }
    }
    Ok(())
}

fn write_histogram(
    text: &mut String,
    name: &str,
    metric: &Metric,
    exemplar: &impl Fn(&str, usize) -> Option<Exemplar>,
) -> fmt::Result {
    let (labels, histogram) = (metric.get_label(), metric.get_histogram());
    let buckets = histogram.get_bucket().iter();
    let buckets = buckets.map(|it| (Some(it.upper_bound()), it.cumulative_count()));
    let all = [(None, histogram.get_sample_count())];
    for (index, (bound, count)) in buckets.chain(all).enumerate() {
        // A bound is a number with a point.
        let bound = bound.map_or("+Inf".to_owned(), |bound| format!("{bound:?}"));
        write!(text, "{name}_bucket")?;
        write_labels(text, labels, Some(&bound))?;
        write!(text, " {count}")?;
        if let Some(exemplar) = exemplar(name, index) {
            write!(text, " # {exemplar}")?;
        }
        text.push('\n');
    }
    for (of, value) in [
        ("sum", histogram.get_sample_sum().to_string()),
        ("count", histogram.get_sample_count().to_string()),
    ] {
        write!(text, "{name}_{of}")?;
        write_labels(text, labels, None)?;
        writeln!(text, " {value}")?;
    }
    Ok(())
}

fn write_labels(text: &mut String, labels: &[LabelPair], bound: Option<&str>) -> fmt::Result {
    let labels = labels.iter().map(|pair| (pair.name(), pair.value()));
    let mut before = '{';
    for (name, value) in labels.chain(bound.map(|bound| ("le", bound))) {
        write!(text, "{before}{name}=\"{}\"", escaped(value))?;
        before = ',';
    }
    if before == ',' {
        text.push('}');
    }
    Ok(())
}

fn escaped(text: &str) -> String {
    let text = text.replace('\\', "\\\\");
    text.replace('\n', "\\n").replace('"', "\\\"")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::count::families::{counters, gauge, metric_family};
    use prometheus::proto::{Bucket, Histogram};

    fn wanted(accept: &[&str]) -> Format {
        let mut headers = HeaderMap::new();
        for value in accept {
            headers.append(ACCEPT, value.parse().unwrap());
        }
        Format::wanted(&headers)
    }

    #[test]
    fn who_asks_for_openmetrics_gets_it() {
        let open = "application/openmetrics-text";
        // Prometheus 2 and 3, and VictoriaMetrics.
        let prometheus = "application/openmetrics-text;version=1.0.0;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
        let escaping = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
        for accept in [
            &[open][..],
            &[prometheus],
            &[escaping],
            &["text/plain;q=0.1", open],
        ] {
            assert_eq!(wanted(accept), Format::OpenMetrics, "{accept:?}");
        }
        for accept in [
            &[][..],
            &["*/*"],
            &["text/plain"],
            &["text/plain;version=0.0.4,application/openmetrics-text;version=1.0.0;q=0.5"],
            &["application/openmetrics-text;version=0.0.1"],
            &["application/openmetrics-text;q=0"],
            &["application/openmetrics-text;q=x"],
        ] {
            assert_eq!(wanted(accept), Format::Prometheus, "{accept:?}");
        }
    }

    #[test]
    fn families_are_written_as_the_specification_has_them() {
        let labels = |value: &str| vec![("result", value.to_owned())];
        let mut histogram = Histogram::default();
        let bucket = |bound, count| {
            let mut bucket = Bucket::default();
            bucket.set_upper_bound(bound);
            bucket.set_cumulative_count(count);
            bucket
        };
        histogram.set_bucket(vec![bucket(0.5, 1), bucket(1.0, 1)]);
        histogram.set_sample_count(2);
        histogram.set_sample_sum(2.25);
        let mut metric = Metric::default();
        metric.set_histogram(histogram);
        let families = [
            counters(
                "a_total",
                "A \"b\"\\\n",
                &[(labels("x"), 1), (labels("y\"\n\\"), 2)],
            ),
            gauge("b_bytes", "B.", 3),
            metric_family("c_seconds", "C.", MetricType::HISTOGRAM, vec![metric]),
        ];
        let text = write(&families, |name, bucket| {
            (name == "c_seconds" && bucket == 2).then(|| Exemplar {
                trace: [0xab; 16],
                span: [1; 8],
                nanoseconds: 1_750_000_000,
                at: std::time::Duration::from_millis(1_700_000_000_125),
            })
        });
        let expected = r#"# TYPE a counter
# HELP a A \"b\"\\\n
a_total{result="x"} 1
a_total{result="y\"\n\\"} 2
# TYPE b_bytes gauge
# UNIT b_bytes bytes
# HELP b_bytes B.
b_bytes 3
# TYPE c_seconds histogram
# UNIT c_seconds seconds
# HELP c_seconds C.
c_seconds_bucket{le="0.5"} 1
c_seconds_bucket{le="1.0"} 1
c_seconds_bucket{le="+Inf"} 2 # {trace_id="abababababababababababababababab",span_id="0101010101010101"} 1.75 1700000000.125
c_seconds_sum 2.25
c_seconds_count 2
# EOF
"#;
        assert_eq!(text, expected);
    }
}
