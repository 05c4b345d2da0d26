//! The run second by second, for the plots.

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::proc::{self, Usage};
use crate::scenario::Phase;
use crate::stats::{Count, Series, Times, Totals};

/// One point of the plots: what happened since the last one.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Moment {
    /// Seconds since the run began.
    pub(crate) at: f64,
    /// Phase at the end of the interval.
    pub(crate) phase: &'static str,
    /// Sessions in the namespace.
    pub(crate) connected: u64,
    /// Sessions that joined, per second.
    pub(crate) joins_per_second: f64,
    /// Messages sent, per second.
    pub(crate) sent_per_second: f64,
    /// Deliveries and acks, per second.
    pub(crate) received_per_second: f64,
    /// Latency percentiles in seconds, when anything arrived.
    pub(crate) p50: Option<f64>,
    /// See `p50`.
    pub(crate) p99: Option<f64>,
    /// The worst.
    pub(crate) max: Option<f64>,
    /// Resident bytes of the servers.
    pub(crate) server_resident: Option<u64>,
    /// Cores that the servers used.
    pub(crate) server_cores: Option<f64>,
    /// Cores that this tool used.
    pub(crate) own_cores: f64,
}

/// Gathers histograms and points.
pub(crate) struct Timeline {
    /// All histograms so far.
    pub(crate) times: Times,
    /// All points so far.
    pub(crate) moments: Vec<Moment>,
    begin: u64,
    pids: Vec<u32>,
    interval: Times,
    last: Option<Reading>,
}

struct Reading {
    at: u64,
    totals: Totals,
    server: Option<Usage>,
    own: Usage,
}

impl Timeline {
    /// Nothing seen yet.
    pub(crate) fn new(begin: u64, pids: Vec<u32>) -> Self {
        Self {
            times: Times::default(),
            moments: Vec::new(),
            begin,
            pids,
            interval: Times::default(),
            last: None,
        }
    }

    /// Takes a thread's histograms of its last interval.
    pub(crate) fn add(&mut self, times: &Times) {
        self.times.add(times);
        self.interval.add(times);
    }

    /// Looks; makes a point when a second has passed.
    pub(crate) fn observe(&mut self, now: u64, phase: Phase, totals: &Totals) {
        if self
            .last
            .as_ref()
            .is_some_and(|last| now < last.at + INTERVAL)
        {
            return;
        }
        let reading = Reading {
            at: now,
            totals: totals.clone(),
            // A server that is being restarted has no figures for a while.
            server: if self.pids.is_empty() {
                None
            } else {
                Usage::read(&self.pids).ok()
            },
            own: Usage::read(&[proc::own_pid()]).unwrap_or_default(),
        };
        if let Some(last) = self.last.take() {
            let interval = std::mem::take(&mut self.interval);
            self.moments
                .push(moment(self.begin, phase, &last, &reading, &interval));
        }
        self.last = Some(reading);
    }
}

/// A point per second.
const INTERVAL: u64 = 1_000_000_000;

fn moment(begin: u64, phase: Phase, last: &Reading, now: &Reading, times: &Times) -> Moment {
    let seconds = (now.at - last.at) as f64 / 1e9;
    let per_second = |count| now.totals.since(&last.totals, count) as f64 / seconds;
    let latency = times.series(Series::Latency);
    let micros = |value: u64| value as f64 / 1e6;
    let quantile = |q: f64| latency.map(|latency| micros(latency.value_at_quantile(q)));
    let cores = |now: &Usage, last: &Usage| now.cpu_since(last).as_secs_f64() / seconds;
    let server = now.server.as_ref().zip(last.server.as_ref());
    Moment {
        at: (now.at - begin) as f64 / 1e9,
        phase: phase.name(),
        connected: now.totals.of_count(Count::Connected),
        joins_per_second: per_second(Count::Joined),
        sent_per_second: per_second(Count::Sent),
        received_per_second: per_second(Count::Delivered) + per_second(Count::Acked),
        p50: quantile(0.5),
        p99: quantile(0.99),
        max: latency.map(Histogram::max).map(micros),
        server_resident: now.server.map(|server| server.resident),
        server_cores: server.map(|(now, last)| cores(now, last)),
        own_cores: cores(&now.own, &last.own),
    }
}

impl Phase {
    /// Word for plots and progress.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Warmup => "warm-up",
            Self::Measure => "measure",
            Self::Drain => "drain",
            Self::Leave => "leave",
        }
    }
}
