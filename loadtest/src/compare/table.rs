//! Medians, ratios, and whether they are what was aimed at.

use std::fmt::Write as _;

use anyhow::Result;
use serde::Serialize;

use super::server::{Kind, Launcher};
use super::work::{Goal, Work};
use crate::summary::Summary;
use crate::units::{show_number, show_seconds};

/// One run.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Cell {
    /// The figure that is compared.
    pub(crate) value: f64,
    /// Everything else.
    pub(crate) summary: Summary,
}

/// All runs of one work.
#[derive(Debug, Serialize)]
pub(crate) struct Table {
    work: Work,
    rows: Vec<Row>,
}

#[derive(Debug, Serialize)]
struct Row {
    server: Kind,
    /// One for each round, in which all servers take their turns; none where the run failed.
    cells: Vec<Option<Cell>>,
    failures: Vec<String>,
}

impl Row {
    fn values(&self) -> Vec<f64> {
        sorted(self.cells.iter().flatten().map(|cell| cell.value))
    }

    fn median(&self) -> Option<f64> {
        median(&self.values())
    }

    /// Its figure in each round as a multiple of the other's: what slows one round slows both.
    fn ratios(&self, other: &Self) -> Vec<f64> {
        self.ratios_of(other, |cell| Some(cell.value))
    }

    fn ratios_of(&self, other: &Self, figure: impl Fn(&Cell) -> Option<f64>) -> Vec<f64> {
        let rounds = self.cells.iter().zip(&other.cells);
        sorted(rounds.filter_map(|(own, other)| {
            let (own, other) = (figure(own.as_ref()?)?, figure(other.as_ref()?)?);
            (other > 0.0).then(|| own / other)
        }))
    }

    fn median_of(&self, figure: &str) -> Option<f64> {
        let cells = self.cells.iter().flatten();
        let found = cells.filter_map(|cell| cell.summary.value(figure));
        median(&sorted(found))
    }
}

fn sorted(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_unstable_by(f64::total_cmp);
    values
}

fn median(sorted: &[f64]) -> Option<f64> {
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => None,
        len if len % 2 == 1 => Some(sorted[middle]),
        _ => Some((sorted[middle - 1] + sorted[middle]) / 2.0),
    }
}

impl Table {
    /// Nothing measured yet.
    pub(crate) fn new(work: Work, kinds: &[Kind]) -> Self {
        let rows = kinds.iter().map(|&server| Row {
            server,
            cells: Vec::new(),
            failures: Vec::new(),
        });
        Self {
            work,
            rows: rows.collect(),
        }
    }

    /// Adds a run.
    pub(crate) fn add(&mut self, kind: Kind, run: Result<Cell>) {
        let Some(row) = self.rows.iter_mut().find(|row| row.server == kind) else {
            return;
        };
        match run {
            Ok(cell) => row.cells.push(Some(cell)),
            Err(error) => {
                row.cells.push(None);
                row.failures.push(format!("{error:#}"));
            }
        }
    }

    fn row(&self, kind: Kind) -> Option<&Row> {
        self.rows.iter().find(|row| row.server == kind)
    }

    /// For people.
    pub(crate) fn text(&self) -> String {
        let mut text = format!("{}: {}\n", self.work.name(), self.work.counted());
        let _ = writeln!(
            text,
            "  {:<22} {:>11} {:>11} {:>11}  {:>8} {:>8} {:>8} {:>8} {:>9} {:>9} {:>9} {:>9} {:>10}",
            "",
            "median",
            "min",
            "max",
            "x bare",
            "x oxide",
            "x Node",
            "x Bun",
            "p50",
            "p99",
            "p99.9",
            "lost",
            "misordered"
        );
        for row in &self.rows {
            text += &self.line(row);
        }
        text
    }

    fn line(&self, row: &Row) -> String {
        let name = row.server.name();
        let values = row.values();
        let (Some(middle), Some(min), Some(max)) = (row.median(), values.first(), values.last())
        else {
            let reason = row.failures.first().map_or("no run", String::as_str);
            return format!("  {name:<22} {reason}\n");
        };
        let ratio = |kind| {
            let ratio = self.row(kind).and_then(|other| median(&row.ratios(other)));
            ratio.map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.2}"))
        };
        let or_dash = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
        let mut line = format!(
            "  {name:<22} {:>11} {:>11} {:>11}  {:>8} {:>8} {:>8} {:>8} {:>9} {:>9} {:>9} {:>9} {:>10}\n",
            self.work.show(middle),
            self.work.show(*min),
            self.work.show(*max),
            ratio(Kind::Floor),
            ratio(Kind::Socketioxide),
            ratio(Kind::Node),
            ratio(Kind::BunRaw),
            or_dash(row.median_of("p50").map(show_seconds)),
            or_dash(row.median_of("p99").map(show_seconds)),
            or_dash(row.median_of("p999").map(show_seconds)),
            or_dash(row.median_of("lost").map(show_number)),
            or_dash(row.median_of("out_of_order").map(show_number)),
        );
        for failure in &row.failures {
            let _ = writeln!(line, "  {:<22} one run failed: {failure}", "");
        }
        line
    }

    /// Whether a target that could be judged was missed.
    pub(crate) fn misses_target(&self) -> bool {
        self.work
            .targets()
            .iter()
            .any(|goal| self.judge(*goal).is_some_and(|(_, met)| !met))
    }

    /// The gateway's figure against a target, in words, and whether it is met.
    fn judge(&self, goal: Goal) -> Option<(String, bool)> {
        let own = self.row(Kind::Gateway)?;
        match goal {
            Goal::AtLeast(other, times) => {
                let (ratio, range) = spread(&own.ratios(self.row(other)?))?;
                let name = other.name();
                let said = format!("{ratio:.2}x {name}, {range} (at least {times}x)");
                Some((said, ratio >= times))
            }
            Goal::CostAtMost(other, times) => {
                let (ratio, range) = spread(&self.row(other)?.ratios(own))?;
                let name = other.name();
                let said = format!("{ratio:.2}x the cost of {name}, {range} (at most {times}x)");
                Some((said, ratio <= times))
            }
            Goal::TailAtMost(other, times) => {
                let ratios = own.ratios_of(self.row(other)?, |cell| cell.summary.value("p99"));
                let (ratio, range) = spread(&ratios)?;
                let name = other.name();
                let said = format!("p99 {ratio:.2}x that of {name}, {range} (at most {times}x)");
                Some((said, ratio <= times))
            }
            Goal::AtMost(limit) => {
                let own = own.median()?;
                let said = format!(
                    "{} (at most {})",
                    self.work.show(own),
                    self.work.show(limit)
                );
                Some((said, own <= limit))
            }
        }
    }
}

/// The median of ratios, and the least and the most in words.
fn spread(ratios: &[f64]) -> Option<(f64, String)> {
    let (least, most) = (ratios.first()?, ratios.last()?);
    Some((median(ratios)?, format!("{least:.2} to {most:.2}")))
}

/// Who takes part, and on what.
pub(crate) fn head(launcher: &Launcher) -> String {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let mut text = format!(
        "{cores} cores, loopback; server CPU is user and system time of the measured time only\n"
    );
    for (kind, version) in launcher.versions() {
        let _ = writeln!(text, "  {:<22} {version}", kind.name());
    }
    text
}

/// How many messages per second a server delivers in time, of the rates that were tried.
const IN_TIME: f64 = 0.050;

/// The highest rate of open loops at which each server is in time.
pub(crate) fn reach(tables: &[Table]) -> String {
    let mut text = String::new();
    let mut shapes = Vec::new();
    for table in tables {
        if let Some(open) = table.work.open_loop()
            && !shapes.contains(&(open.rooms, open.members))
        {
            shapes.push((open.rooms, open.members));
        }
    }
    for (rooms, members) in shapes {
        let of_shape = tables.iter().filter_map(|table| {
            let open = table.work.open_loop()?;
            (open.rooms == rooms && open.members == members).then_some((open.rate, table))
        });
        let of_shape: Vec<_> = of_shape.collect();
        let _ = writeln!(
            text,
            "rooms: {rooms}, members: {members}, highest rate with a p99 below 50 ms and nothing lost"
        );
        for kind in Kind::ALL {
            let rows = of_shape
                .iter()
                .filter_map(|(rate, table)| Some((*rate, table.row(kind)?)));
            let rows: Vec<_> = rows.collect();
            if rows.is_empty() {
                continue;
            }
            let in_time = rows.iter().filter(|(_, row)| {
                let tail = row.median_of("p99").is_some_and(|p99| p99 < IN_TIME);
                tail && row.median_of("lost") == Some(0.0)
            });
            let highest = in_time.map(|(rate, _)| *rate).max_by(f64::total_cmp);
            let said = highest.map_or_else(
                || "none of those tried".to_owned(),
                |rate| format!("{rate}/s in each room"),
            );
            let _ = writeln!(text, "  {:<22} {said}", kind.name());
        }
    }
    text
}

/// All targets, and whether the gateway meets them.
pub(crate) fn targets(tables: &[Table]) -> String {
    let mut text = "gateway against its targets\n".to_owned();
    for table in tables {
        for goal in table.work.targets() {
            let (said, verdict) = match table.judge(*goal) {
                Some((said, true)) => (said, "met"),
                Some((said, false)) => (said, "MISSED"),
                None => ("not measured".to_owned(), "-"),
            };
            let _ = writeln!(text, "  {:<48} {said:<62} {verdict}", table.work.name());
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(work: Work, gateway: &[f64], other: (Kind, &[f64])) -> Table {
        let mut table = Table::new(work, &Kind::ALL);
        let summary = Summary::new("test", String::new());
        for (kind, values) in [(Kind::Gateway, gateway), other] {
            for &value in values {
                let summary = summary.clone();
                table.add(kind, Ok(Cell { value, summary }));
            }
        }
        table
    }

    #[test]
    fn the_median_is_robust_against_one_bad_run() {
        assert_eq!(median(&[1.0, 2.0, 100.0]), Some(2.0));
        assert_eq!(median(&[1.0, 2.0]), Some(1.5));
        assert_eq!(median(&[]), None);
    }

    #[test]
    fn targets_are_judged_by_the_median_of_the_rounds() {
        let three = (Kind::Socketioxide, &[100.0, 100.0, 100.0][..]);
        assert!(!table(Work::Echo, &[140.0, 150.0, 900.0], three).misses_target());
        assert!(table(Work::Echo, &[140.0, 149.0, 900.0], three).misses_target());
        let drifting = (Kind::Socketioxide, &[100.0, 10.0, 50.0][..]);
        assert!(!table(Work::Echo, &[150.0, 15.0, 75.0], drifting).misses_target());
        let floor = (Kind::Floor, &[100.0][..]);
        assert!(!table(Work::Paced, &[80.0], floor).misses_target());
        assert!(table(Work::Paced, &[79.0], floor).misses_target());
        assert!(table(Work::Idle, &[2501.0], floor).misses_target());
    }

    #[test]
    fn the_highest_rate_is_one_that_is_in_time_and_loses_nothing() {
        let run = |p99: f64, lost: f64| {
            let mut summary = Summary::new("test", String::new());
            summary.add("p99", p99);
            summary.add("lost", lost);
            Ok(Cell {
                value: 1.0,
                summary,
            })
        };
        let works = [Work::Paced, Work::Paced200, Work::Paced500];
        let mut tables = works.map(|work| Table::new(work, &[Kind::Gateway, Kind::BunRaw]));
        for (table, (own, bun)) in tables.iter_mut().zip([
            (run(0.01, 0.0), run(0.06, 0.0)),
            (run(0.049, 0.0), run(0.05, 0.0)),
            (run(0.01, 1.0), run(0.05, 0.0)),
        ]) {
            table.add(Kind::Gateway, own);
            table.add(Kind::BunRaw, bun);
        }
        let text = reach(&tables);
        let line = |name: &str| text.lines().find(|line| line.contains(name)).unwrap();
        assert!(line("gateway").ends_with("200/s in each room"), "{text}");
        assert!(line("Bun raw").ends_with("none of those tried"), "{text}");
    }

    #[test]
    fn a_tail_is_judged_against_the_others_in_the_same_round() {
        let run = |p99: f64| {
            let mut summary = Summary::new("test", String::new());
            summary.add("p99", p99);
            Ok(Cell {
                value: 2.0,
                summary,
            })
        };
        let judged = |own: f64| {
            let mut table = Table::new(Work::Paced200, &[Kind::Gateway, Kind::BunRaw]);
            table.add(Kind::Gateway, run(own));
            table.add(Kind::BunRaw, run(0.02));
            table.judge(Goal::TailAtMost(Kind::BunRaw, 1.0)).unwrap().1
        };
        assert!(judged(0.02));
        assert!(!judged(0.021));
    }

    #[test]
    fn a_failed_run_leaves_its_round_out() {
        let mut table = table(Work::Echo, &[200.0], (Kind::Socketioxide, &[100.0, 500.0]));
        table.add(Kind::Gateway, Err(anyhow::anyhow!("it fell over")));
        assert!(!table.misses_target());
    }

    #[test]
    fn a_failed_run_is_shown() {
        let mut table = Table::new(Work::Echo, &[Kind::Node]);
        table.add(Kind::Node, Err(anyhow::anyhow!("it fell over")));
        assert!(table.text().contains("it fell over"));
        assert!(!table.misses_target());
    }
}
