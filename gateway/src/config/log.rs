//! Where log lines go.
//!
//! No thread that logs waits for the reader of the log. A thread of its own writes the lines
//! (`lines`), and drops and counts those that it cannot write.

use std::io::{Write, stderr, stdout};
use std::sync::OnceLock;
use std::time::Duration;

use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry, fmt, reload};

use super::name::Level;
use super::section::{Log, LogFormat};

mod lines;

pub(crate) use lines::{Loss, lost};

use lines::Lines;

/// How long the end of the process waits for the last lines to be written.
const LAST_LINES: Duration = Duration::from_secs(1);

static LOG: OnceLock<Lines> = OnceLock::new();

/// Gives the log another filter.
static FILTER: OnceLock<reload::Handle<Targets, Registry>> = OnceLock::new();

/// Sends the log of this process to standard error from now on. A second call changes nothing.
///
/// The program calls [`flush`] before it ends.
pub fn init(log: &Log) {
    let Ok(lines) = Lines::start("log", stderr()) else {
        // Without a log there is nobody to tell.
        return;
    };
    let writer = lines.clone();
    let lines_of_events = fmt::layer()
        .log_internal_errors(false)
        .with_writer(move || writer.clone());
    let lines_of_events = match log.format {
        // No part of the program has colours.
        LogFormat::Text => lines_of_events.with_ansi(false).boxed(),
        LogFormat::Json => lines_of_events.json().flatten_event(true).boxed(),
    };
    let (filter, handle) = reload::Layer::new(log.level.targets().clone());
    let filtered = lines_of_events.with_filter(filter);
    let first = tracing_subscriber::registry().with(filtered).try_init();
    if first.is_ok() {
        let _is_first = FILTER.set(handle);
    }
    if first.is_err() || LOG.set(lines).is_err() {
        tracing::debug!(target: "gateway::config::log", "the log is already set up; these settings have no effect");
    }
}

/// Has the log have other levels from now on, if [`init`] made it.
pub(crate) fn set_level(level: &Level) {
    if let Some(filter) = FILTER.get() {
        let _is_there = filter.reload(level.targets().clone());
    }
}

/// Writes lines to standard output. It does not wait, and lines that cannot be written are lost.
pub fn print(text: &str) {
    static OUTPUT: OnceLock<Option<Lines>> = OnceLock::new();
    let output = OUTPUT.get_or_init(|| Lines::start("stdout", stdout()).ok());
    if let Some(mut lines) = output.clone() {
        let _never_fails = lines.write_all(text.as_bytes());
    }
}

/// Waits until the lines that were logged by now are written, for one second at most.
pub fn flush() {
    if let Some(lines) = LOG.get() {
        lines.flush(LAST_LINES);
    }
}
