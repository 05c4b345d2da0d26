//! How the run is going, on stderr: one line that is kept up to date on a terminal, a line now and then elsewhere.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use crate::scenario::Phase;
use crate::stats::{Count, Totals};
use crate::timeline::Timeline;
use crate::units::{show_number, show_seconds};

/// Writes progress.
pub(crate) struct Progress {
    name: &'static str,
    clients: usize,
    phase: Phase,
    style: Style,
    next: Instant,
    begin: Instant,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Style {
    Silent,
    Lines,
    Terminal,
}

impl Style {
    fn interval(self) -> Duration {
        match self {
            Self::Silent | Self::Lines => Duration::from_secs(5),
            Self::Terminal => Duration::from_millis(200),
        }
    }
}

impl Progress {
    /// Shows nothing yet.
    pub(crate) fn new(name: &'static str, clients: usize, shown: bool) -> Self {
        let style = match shown {
            false => Style::Silent,
            true if std::io::stderr().is_terminal() => Style::Terminal,
            true => Style::Lines,
        };
        let begin = Instant::now();
        Self {
            name,
            clients,
            phase: Phase::Connect,
            style,
            next: begin + Duration::from_secs(1).min(style.interval()),
            begin,
        }
    }

    /// Another phase begins.
    pub(crate) fn enter(&mut self, phase: Phase) {
        self.phase = phase;
    }

    /// Shows where the run is, when it is time to.
    pub(crate) fn show(&mut self, timeline: &Timeline, totals: &Totals) {
        if self.style == Style::Silent || Instant::now() < self.next {
            return;
        }
        self.next = Instant::now() + self.style.interval();
        let line = self.line(timeline, totals);
        // Progress that cannot be shown is no reason to end a run.
        let _ = match self.style {
            Style::Silent => Ok(()),
            Style::Lines => writeln!(std::io::stderr(), "{line}"),
            Style::Terminal => {
                // A line that is too long is cut off, not wrapped.
                write!(std::io::stderr(), "\r\x1b[2K\x1b[?7l{line}\x1b[?7h")
            }
        };
    }

    /// Leaves the terminal clean.
    pub(crate) fn finish(&mut self) {
        if self.style == Style::Terminal {
            let _ = write!(std::io::stderr(), "\r\x1b[2K");
        }
    }

    fn line(&self, timeline: &Timeline, totals: &Totals) -> String {
        let connected = totals.of_count(Count::Connected);
        let mut line = format!(
            "{:>5.0}s {} {:<8} {} {}/{} connected",
            self.begin.elapsed().as_secs_f64(),
            self.name,
            self.phase.name(),
            bar(connected as f64 / self.clients.max(1) as f64),
            show_number(connected as f64),
            show_number(self.clients as f64),
        );
        let Some(last) = timeline.moments.last() else {
            return line;
        };
        let rate = if self.phase == Phase::Connect {
            last.joins_per_second
        } else {
            last.received_per_second
        };
        line += &format!("  {}/s", show_number(rate.round()));
        if let (Some(p50), Some(p99)) = (last.p50, last.p99) {
            line += &format!("  p50 {}  p99 {}", show_seconds(p50), show_seconds(p99));
        }
        if let Some(cores) = last.server_cores {
            line += &format!("  server {cores:.2} cores");
        }
        if totals.failed() > 0 {
            line += &format!("  {} failed", show_number(totals.failed() as f64));
        }
        line
    }
}

fn bar(part: f64) -> String {
    const WIDTH: usize = 20;
    let full = (part.clamp(0.0, 1.0) * WIDTH as f64).round() as usize;
    format!("[{}{}]", "#".repeat(full), "-".repeat(WIDTH - full))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bar_stays_within_its_brackets() {
        assert_eq!(bar(0.0), format!("[{}]", "-".repeat(20)));
        assert_eq!(bar(2.0), format!("[{}]", "#".repeat(20)));
    }
}
