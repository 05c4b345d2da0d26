//! The last values of histograms that have a trace, for Prometheus.

use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use adapter::{Histogram, TraceContext};

/// Which histogram a value is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Latency {
    Deliver,
    Webhook,
    Api,
}

impl Latency {
    const ALL: [Self; 3] = [Self::Deliver, Self::Webhook, Self::Api];

    /// As the histogram is called.
    fn metric(self) -> &'static str {
        match self {
            Self::Deliver => "gateway_broadcast_duration_seconds",
            Self::Webhook => "gateway_backend_duration_seconds",
            Self::Api => "gateway_api_duration_seconds",
        }
    }
}

/// A value that has a trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Exemplar {
    pub(crate) trace: [u8; 16],
    pub(crate) span: [u8; 8],
    pub(crate) nanoseconds: u64,
    /// From 1970 on.
    pub(crate) at: Duration,
}

/// As OpenMetrics has it behind a bucket.
impl fmt::Display for Exemplar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("{trace_id=\"")?;
        self.trace.iter().try_for_each(|it| write!(f, "{it:02x}"))?;
        f.write_str("\",span_id=\"")?;
        self.span.iter().try_for_each(|it| write!(f, "{it:02x}"))?;
        let at = self.at;
        let seconds = self.nanoseconds as f64 / 1e9;
        write!(
            f,
            "\"}} {seconds:?} {}.{:03}",
            at.as_secs(),
            at.subsec_millis()
        )
    }
}

type Buckets = [Option<Exemplar>; Histogram::BUCKETS + 1];

/// Those of a node, of each bucket the last.
#[derive(Default)]
pub(super) struct Exemplars([Mutex<Buckets>; Latency::ALL.len()]);

impl Exemplars {
    pub(super) fn note(&self, of: Latency, took: Duration, context: &TraceContext) {
        let index = (0..Histogram::BUCKETS).find(|&index| took <= Histogram::limit(index));
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let exemplar = Exemplar {
            trace: context.trace,
            span: context.span,
            nanoseconds: u64::try_from(took.as_nanos()).unwrap_or(u64::MAX),
            at: now.unwrap_or_default(),
        };
        let mut buckets = self.buckets(of);
        buckets[index.unwrap_or(Histogram::BUCKETS)] = Some(exemplar);
    }

    pub(super) fn find(&self, metric: &str, bucket: usize) -> Option<Exemplar> {
        let of = Latency::ALL.into_iter().find(|it| it.metric() == metric)?;
        *self.buckets(of).get(bucket)?
    }

    fn buckets(&self, of: Latency) -> std::sync::MutexGuard<'_, Buckets> {
        let buckets = self.0[of as usize].lock();
        buckets.unwrap_or_else(PoisonError::into_inner)
    }
}
