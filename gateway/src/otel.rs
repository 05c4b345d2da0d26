//! OpenTelemetry: spans of what the node does, and where they go.
//!
//! A span that is under way is a few numbers on the stack ([`Begun`]). When it ends, it becomes bytes of
//! protobuf if its trace is sampled, if it failed, or if it was slow:
//!
//! ```text
//!   begin ---> under way ---> finish ---> sampled, failed, slow ---> a batch of the thread ---> export
//!                                   \
//!                                    +--> anything else: nothing is left of it
//! ```
//!
//! Which span calls made meanwhile are a part of is known by the thread ([`current`]).
//!
//! This room knows spans, their bytes, and the collector. The layers above say what happens. It may use what is
//! below the cluster.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use adapter::TraceContext;
use prometheus::proto::MetricFamily;

use crate::config;
use crate::count::families::{counters, gauge};
use crate::count::{Export, Series};

mod context;
mod exemplars;
mod export;
mod protobuf;
mod queue;
mod random;
mod span;

pub(crate) use context::{current, in_context, within};
pub(crate) use exemplars::{Exemplar, Latency};
pub(crate) use export::export;
pub(crate) use queue::use_place;
pub(crate) use span::{Kind, SpanBytes};

use exemplars::Exemplars;
use queue::{Queue, SpanResult};
use span::Times;

/// What a node with `otel.endpoint` has.
pub(crate) struct Otel {
    /// Those of the start.
    settings: config::Otel,
    /// How many traces are sampled: the bits of a number from 0 to 1.
    sample: AtomicU64,
    /// Above so many nanoseconds a span is slow.
    slow: AtomicU64,
    trust_parent: AtomicBool,
    queue: Queue,
    exemplars: Exemplars,
}

/// A span that is under way.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Begun {
    pub(crate) context: TraceContext,
    /// The span that it is a part of.
    parent: Option<[u8; 8]>,
    began: Instant,
}

/// How a span ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended<'a> {
    Well,
    /// It takes as long as somebody else likes, so that it cannot be slow.
    Patiently,
    /// For this reason, which is a word of a closed set.
    Badly(&'a str),
}

impl Otel {
    pub(crate) fn new(settings: &config::Otel, shards: usize) -> Self {
        let otel = Self {
            sample: AtomicU64::default(),
            slow: AtomicU64::default(),
            trust_parent: AtomicBool::default(),
            queue: Queue::new(shards),
            exemplars: Exemplars::default(),
            settings: settings.clone(),
        };
        otel.take_over(settings);
        otel
    }

    /// Decides by other settings from now on.
    pub(crate) fn take_over(&self, settings: &config::Otel) {
        let slow = u64::try_from(settings.slow.as_nanos()).unwrap_or(u64::MAX);
        self.sample
            .store(settings.sample.get().to_bits(), Ordering::Relaxed);
        self.slow.store(slow, Ordering::Relaxed);
        self.trust_parent
            .store(settings.trust_parent, Ordering::Relaxed);
    }

    /// A span of a trace of its own, or a part of another one.
    #[inline]
    pub(crate) fn begin(&self, parent: Option<TraceContext>) -> Begun {
        self.begin_at(parent, Instant::now())
    }

    /// The same of one that began before.
    pub(crate) fn begin_at(&self, parent: Option<TraceContext>, began: Instant) -> Begun {
        let context = match parent {
            Some(parent) => TraceContext {
                span: random::id(),
                ..parent
            },
            None => TraceContext {
                trace: random::id(),
                span: random::id(),
                is_sampled: self.samples(),
            },
        };
        Begun {
            context,
            parent: parent.map(|it| it.span),
            began,
        }
    }

    /// The same with an id that the caller knows again later.
    pub(crate) fn begin_as(&self, context: TraceContext, parent: TraceContext) -> Begun {
        Begun {
            context,
            parent: Some(parent.span),
            began: Instant::now(),
        }
    }

    /// What a client says that its request is a part of. Whether it is sampled is for this node to decide, unless the
    /// settings trust clients.
    pub(crate) fn told_by_client(&self, traceparent: Option<&[u8]>) -> Option<TraceContext> {
        let told = TraceContext::parse(traceparent?)?;
        Some(TraceContext {
            is_sampled: match self.trust_parent.load(Ordering::Relaxed) {
                true => told.is_sampled,
                false => self.samples(),
            },
            ..told
        })
    }

    /// Whether the next trace is sampled.
    fn samples(&self) -> bool {
        random::is_below(f64::from_bits(self.sample.load(Ordering::Relaxed)))
    }

    /// Keeps a span that has ended, if there is a reason to.
    #[inline]
    pub(crate) fn finish(
        &self,
        begun: Begun,
        ended: Ended<'_>,
        name: impl fmt::Display,
        kind: Kind,
        describe: impl FnOnce(&mut SpanBytes),
    ) {
        let now = Instant::now();
        let took = now.saturating_duration_since(begun.began);
        let is_kept = begun.context.is_sampled
            || match ended {
                Ended::Well => took > self.slow(),
                Ended::Patiently => false,
                Ended::Badly(_) => true,
            };
        if is_kept {
            self.keep(&begun, took, ended, (&name, kind), describe);
        }
    }

    #[cold]
    fn keep(
        &self,
        begun: &Begun,
        took: Duration,
        ended: Ended<'_>,
        (name, kind): (&dyn fmt::Display, Kind),
        describe: impl FnOnce(&mut SpanBytes),
    ) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let times = Times {
            took,
            end: now.unwrap_or_default(),
        };
        self.queue.put(|bytes| {
            let failure = match ended {
                Ended::Well | Ended::Patiently => None,
                Ended::Badly(reason) => Some(reason),
            };
            let mut span = SpanBytes::begin(bytes, &begun.context, begun.parent, times);
            span.named(name, kind, failure);
            describe(&mut span);
            span.end();
        });
    }

    /// From which time on a span is kept because it was slow.
    pub(crate) fn slow(&self) -> Duration {
        Duration::from_nanos(self.slow.load(Ordering::Relaxed))
    }

    /// A histogram has counted something that is a part of a trace.
    pub(crate) fn exemplify(&self, of: Latency, took: Duration, context: &TraceContext) {
        if context.is_sampled {
            self.exemplars.note(of, took, context);
        }
    }

    /// The last value of a histogram's bucket that has a trace.
    pub(crate) fn exemplar(&self, metric: &str, bucket: usize) -> Option<Exemplar> {
        self.exemplars.find(metric, bucket)
    }

    /// Waits until the collector has everything, at most `patience`; says how many spans it has not.
    pub(crate) async fn flushed(&self, patience: Duration) -> usize {
        self.queue.flushed(patience).await
    }
}

/// Calls with the context of a span that is under way, if one is.
#[inline]
pub(crate) fn during<T>(begun: Option<&Begun>, call: impl FnOnce() -> T) -> T {
    match begun {
        Some(begun) => within(Some(begun.context), call),
        None => call(),
    }
}

impl Export for Otel {
    fn families(&self) -> Vec<MetricFamily> {
        let results = SpanResult::all().map(|it| (it.labels(), self.queue.count(it)));
        vec![
            counters(
                "gateway_otel_spans_total",
                "Spans that were kept, by what became of them.",
                &results.collect::<Vec<_>>(),
            ),
            gauge(
                "gateway_otel_waiting",
                "Spans that wait for the collector.",
                self.queue.waiting() as u64,
            ),
            gauge(
                "gateway_otel_waiting_bytes",
                "Bytes of spans that wait for the collector.",
                self.queue.waiting_bytes() as u64,
            ),
        ]
    }

    fn concern(&self) -> Option<String> {
        let trouble = self.queue.trouble()?;
        Some(format!("spans cannot be sent to the collector: {trouble}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Config;

    fn settings(sample: &str) -> config::Otel {
        let text = format!("[otel]\nendpoint = \"http://127.0.0.1:9\"\nsample = {sample}\n");
        Config::from_toml(&text).unwrap().otel.unwrap()
    }

    #[test]
    fn a_span_that_is_not_kept_allocates_nothing() {
        let otel = Otel::new(&settings("0"), 1);
        let told = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let spans = || {
            for _ in 0..100 {
                let told = otel.told_by_client(Some(told.as_bytes()));
                for parent in [None, told, otel.told_by_client(Some(b"nonsense"))] {
                    let begun = otel.begin(parent);
                    otel.exemplify(Latency::Deliver, Duration::ZERO, &begun.context);
                    for ended in [Ended::Well, Ended::Patiently] {
                        during(Some(&begun), || {
                            otel.finish(begun, ended, "event", Kind::Server, |span| {
                                span.text("gateway.event", "said");
                            });
                        });
                    }
                }
            }
        };
        // What a thread has once.
        spans();
        assert_eq!(allocation_counter::measure(spans).count_total, 0);
        otel.take_over(&settings("1"));
        assert!(allocation_counter::measure(spans).count_total > 0);
    }
}
