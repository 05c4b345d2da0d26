//! What a run found: named figures for people, for `--json` and for `--expect`.

use std::fmt::Write as _;
use std::time::Duration;

use serde::Serialize;

use crate::crew::{Finished, Mark, describe_failures};
use crate::scenario::flow::findings::{Finding, Findings};
use crate::stats::{Count, Series, Times, Totals};
use crate::timeline::Moment;
use crate::units::{show_number, show_seconds};

/// What a figure counts in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Unit {
    /// A plain number.
    Number,
    /// Seconds.
    Seconds,
    /// Bytes.
    Bytes,
    /// A part of one.
    Part,
}

/// One result.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Figure {
    /// Its name, as in `--expect`.
    pub(crate) name: &'static str,
    /// Its value.
    pub(crate) value: f64,
    /// What it counts in.
    pub(crate) unit: Unit,
    /// What it means.
    pub(crate) meaning: &'static str,
}

/// All results of a run.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Summary {
    /// The scenario.
    pub(crate) scenario: &'static str,
    /// What was asked for, in words.
    pub(crate) work: String,
    /// The results, the important ones first.
    pub(crate) figures: Vec<Figure>,
    /// What else is worth a sentence.
    pub(crate) notes: Vec<String>,
    /// Messages that went wrong, the first thousand.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) findings: Vec<Finding>,
    /// The distribution of latencies: quantile and seconds.
    pub(crate) latencies: Vec<(f64, f64)>,
    /// The run second by second.
    pub(crate) moments: Vec<Moment>,
}

impl Summary {
    /// Nothing found yet.
    pub(crate) fn new(scenario: &'static str, work: String) -> Self {
        Self {
            scenario,
            work,
            figures: Vec::new(),
            notes: Vec::new(),
            findings: Vec::new(),
            latencies: Vec::new(),
            moments: Vec::new(),
        }
    }

    /// Adds a figure by its name; [`figures`] knows the rest.
    pub(crate) fn add(&mut self, name: &'static str, value: f64) {
        let known = figures().find(|(known, ..)| *known == name);
        let (name, unit, meaning) = known.expect("every name stands in the table of figures");
        self.figures.push(Figure {
            name,
            value,
            unit,
            meaning,
        });
    }

    /// The value of a figure, when the run gave it.
    pub(crate) fn value(&self, name: &str) -> Option<f64> {
        let figure = self.figures.iter().find(|figure| figure.name == name)?;
        Some(figure.value)
    }

    /// The latency percentiles.
    pub(crate) fn add_latencies(&mut self, times: &Times) {
        let Some(latency) = times.series(Series::Latency) else {
            return;
        };
        let seconds = |micros: u64| micros as f64 / 1e6;
        for (name, quantile) in [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p999", 0.999)] {
            self.add(name, seconds(latency.value_at_quantile(quantile)));
        }
        self.add("max", seconds(latency.max()));
        self.add("mean", latency.mean() / 1e6);
        let steps = latency.iter_quantiles(4);
        let below_one = steps.filter(|step| step.quantile() < 1.0);
        self.latencies = below_one
            .map(|step| (step.quantile(), seconds(step.value_iterated_to())))
            .collect();
    }

    /// The servers' and this tool's cost of the measured time; `work` were done in it, each named by `name`.
    pub(crate) fn add_cost(&mut self, begin: &Mark, end: &Mark, name: &'static str, work: f64) {
        let seconds = (end.at - begin.at) as f64 / 1e9;
        if let Some((before, after)) = begin.server.zip(end.server) {
            let used = after.cpu_since(&before).as_secs_f64();
            if used > 0.0 {
                self.add(name, work / used);
            }
            self.add("server_cores", used / seconds);
            self.add("server_resident", after.resident as f64);
        }
        let own_cores = end.own.cpu_since(&begin.own).as_secs_f64() / seconds;
        self.add("own_cores", own_cores);
        if own_cores > end.threads as f64 * BUSY {
            let note = "This tool was at its own limit: rates and latencies are its, not the server's. \
                        Give it --threads, or less to do.";
            self.notes.push(note.to_owned());
        }
    }

    /// How many connections there were and what became of them.
    pub(crate) fn add_connections(&mut self, totals: &Totals) {
        self.add("connected", totals.of_count(Count::Connected) as f64);
        self.add("failures", totals.failed() as f64);
        if totals.failed() > 0 {
            self.notes.push(describe_failures(totals));
        }
    }

    /// Percentiles of another series, when it has any.
    pub(crate) fn add_series(&mut self, times: &Times, series: Series, names: [&'static str; 3]) {
        let Some(histogram) = times.series(series) else {
            return;
        };
        let [p50, p99, max] = names;
        self.add(p50, histogram.value_at_quantile(0.5) as f64 / 1e6);
        self.add(p99, histogram.value_at_quantile(0.99) as f64 / 1e6);
        self.add(max, histogram.max() as f64 / 1e6);
    }

    /// Takes the messages that went wrong, and names the first of them.
    pub(crate) fn take_findings(&mut self, findings: Findings) {
        self.findings = findings.into_found();
        let first = self.findings.iter().take(NAMED).map(Finding::to_string);
        self.notes.extend(first);
    }

    /// Takes the plots' points, and what went wrong first.
    pub(crate) fn take_moments<P>(&mut self, finished: &mut Finished<P>) {
        self.moments = std::mem::take(&mut finished.moments);
        self.notes.extend(finished.fault.take());
    }

    /// For people.
    pub(crate) fn text(&self) -> String {
        let mut text = format!("{}: {}\n", self.scenario, self.work);
        for figure in &self.figures {
            let value = show(figure.value, figure.unit);
            let _ = writeln!(
                text,
                "  {:<34} {:>14}  {}",
                figure.name, value, figure.meaning
            );
        }
        for note in &self.notes {
            let _ = writeln!(text, "  {note}");
        }
        text
    }
}

/// Messages that went wrong and are named in the text; the others stand in the JSON.
const NAMED: usize = 3;

/// Part of its threads' time above which the tool itself is what slows a run down.
const BUSY: f64 = 0.95;

/// A value with its unit, for people.
pub(crate) fn show(value: f64, unit: Unit) -> String {
    match unit {
        Unit::Number => show_number(value),
        Unit::Seconds => show_seconds(value),
        Unit::Bytes if value.abs() >= 10e6 => format!("{:.1} MB", value / 1e6),
        Unit::Bytes => format!("{} B", show_number(value.round())),
        Unit::Part => format!("{:.3} %", value * 100.0),
    }
}

/// Seconds between two marks.
pub(crate) fn seconds_between(begin: &Mark, end: &Mark) -> f64 {
    Duration::from_nanos(end.at - begin.at).as_secs_f64()
}

/// Every figure that a scenario may give.
pub(crate) fn figures() -> impl Iterator<Item = (&'static str, Unit, &'static str)> {
    FIGURES.iter().copied()
}

const FIGURES: &[(&str, Unit, &str)] = &[
    (
        "rate",
        Unit::Number,
        "deliveries, acks or connects per second",
    ),
    (
        "deliveries_per_cpu_second",
        Unit::Number,
        "deliveries per second of server CPU",
    ),
    (
        "acks_per_cpu_second",
        Unit::Number,
        "acks per second of server CPU",
    ),
    (
        "connects_per_cpu_second",
        Unit::Number,
        "TCP to joined namespace, per second of server CPU",
    ),
    (
        "heartbeats_per_cpu_second",
        Unit::Number,
        "heartbeats per second of server CPU",
    ),
    ("sent", Unit::Number, "messages sent in the measured time"),
    (
        "received",
        Unit::Number,
        "deliveries or acks in the measured time",
    ),
    ("due", Unit::Number, "deliveries due in the whole run"),
    (
        "lost",
        Unit::Number,
        "deliveries due and never seen, whole run",
    ),
    (
        "lost_part",
        Unit::Part,
        "part of the deliveries due that was lost",
    ),
    (
        "lost_connected",
        Unit::Number,
        "of these, sent while their receiver was connected",
    ),
    (
        "lost_away",
        Unit::Number,
        "of these, sent while their receiver was away",
    ),
    (
        "missed",
        Unit::Number,
        "deliveries due and never seen, but their receiver was told: not recovered",
    ),
    (
        "duplicated",
        Unit::Number,
        "deliveries seen again, whole run",
    ),
    (
        "out_of_order",
        Unit::Number,
        "deliveries behind a later one, whole run",
    ),
    (
        "out_of_order_unsure",
        Unit::Number,
        "of these, messages that were never acknowledged",
    ),
    (
        "strays",
        Unit::Number,
        "messages that nobody was waiting for",
    ),
    (
        "unsure",
        Unit::Number,
        "messages without an ack that says ok: they may arrive or not",
    ),
    ("p50", Unit::Seconds, "latency, median"),
    ("p90", Unit::Seconds, "latency"),
    ("p99", Unit::Seconds, "latency"),
    ("p999", Unit::Seconds, "latency"),
    ("max", Unit::Seconds, "latency, worst"),
    ("mean", Unit::Seconds, "latency"),
    (
        "connect_p50",
        Unit::Seconds,
        "TCP to joined namespace, median",
    ),
    ("connect_p99", Unit::Seconds, "TCP to joined namespace"),
    (
        "connect_max",
        Unit::Seconds,
        "TCP to joined namespace, worst",
    ),
    (
        "recovery_p50",
        Unit::Seconds,
        "cut to in its room again, median",
    ),
    ("recovery_p99", Unit::Seconds, "cut to in its room again"),
    (
        "recovery_max",
        Unit::Seconds,
        "cut to in its room again, worst",
    ),
    ("all_back", Unit::Seconds, "until the last client was back"),
    (
        "brought_back",
        Unit::Part,
        "part of the clients that came back",
    ),
    (
        "attempts",
        Unit::Number,
        "connection attempts that failed meanwhile",
    ),
    ("cuts", Unit::Number, "connections cut"),
    (
        "returns",
        Unit::Number,
        "clients that came back, and whose CONNECT was answered",
    ),
    (
        "recovered",
        Unit::Part,
        "part of the returns that got their session back",
    ),
    (
        "not_recovered",
        Unit::Number,
        "returns with a new session; the client is told so",
    ),
    (
        "renamed",
        Unit::Number,
        "recovered with another socket id, which no server should do",
    ),
    (
        "replayed",
        Unit::Number,
        "missed events that recovered clients got on their return",
    ),
    (
        "replay_p50",
        Unit::Seconds,
        "CONNECT to the last missed event, median",
    ),
    (
        "replay_p99",
        Unit::Seconds,
        "CONNECT to the last missed event",
    ),
    (
        "replay_max",
        Unit::Seconds,
        "CONNECT to the last missed event, worst",
    ),
    (
        "refused",
        Unit::Number,
        "refused by connect_error, disconnect or at join: told to stay away",
    ),
    (
        "turned_away",
        Unit::Number,
        "attempts answered with an HTTP error: told to try again",
    ),
    (
        "publishes_refused",
        Unit::Number,
        "messages whose ack says that they were not taken",
    ),
    ("kills", Unit::Number, "nodes killed and started again"),
    ("restarts", Unit::Number, "nodes restarted"),
    (
        "heartbeats",
        Unit::Number,
        "heartbeats answered in the held time",
    ),
    (
        "lateness_p50",
        Unit::Seconds,
        "heartbeat against its interval, median",
    ),
    (
        "lateness_p99",
        Unit::Seconds,
        "heartbeat against its interval",
    ),
    (
        "lateness_max",
        Unit::Seconds,
        "heartbeat against its interval, worst",
    ),
    (
        "resident_before",
        Unit::Bytes,
        "servers, before the first client",
    ),
    (
        "resident_fresh",
        Unit::Bytes,
        "servers, all connected, no message yet",
    ),
    (
        "resident_used",
        Unit::Bytes,
        "servers, after the messages and the held time",
    ),
    (
        "resident_after",
        Unit::Bytes,
        "servers, after all have left",
    ),
    (
        "resident_per_fresh_connection",
        Unit::Bytes,
        "growth per connection, no message yet",
    ),
    (
        "resident_per_connection",
        Unit::Bytes,
        "growth per connection, after the messages and the held time",
    ),
    (
        "kernel_per_connection",
        Unit::Bytes,
        "kernel slab per connection, both ends together",
    ),
    (
        "server_cores",
        Unit::Number,
        "cores that the servers used in the measured time",
    ),
    (
        "server_resident",
        Unit::Bytes,
        "servers, at the end of the measured time",
    ),
    (
        "own_cores",
        Unit::Number,
        "cores that this tool used in the measured time",
    ),
    ("connected", Unit::Number, "clients connected at the end"),
    (
        "failures",
        Unit::Number,
        "connections that failed or ended unasked",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_figures_are_unique() {
        let mut names: Vec<_> = figures().map(|(name, ..)| name).collect();
        names.sort_unstable();
        let count = names.len();
        names.dedup();
        assert_eq!(names.len(), count);
    }

    #[test]
    fn values_carry_units() {
        assert_eq!(show(0.0123, Unit::Seconds), "12.30 ms");
        assert_eq!(show(2500.0, Unit::Bytes), "2,500 B");
        assert_eq!(show(0.5, Unit::Part), "50.000 %");
    }
}
