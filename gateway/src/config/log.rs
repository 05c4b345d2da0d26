//! Where log lines go.

use std::io::{IsTerminal, stderr};

use tracing_subscriber::EnvFilter;

use super::section::{Log, LogFormat};

/// Sends the log of this process to standard error from now on. Whoever comes second changes
/// nothing.
pub fn init(log: &Log) {
    let filter = EnvFilter::new(log.level.as_str());
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(stderr);
    let first = match log.format {
        LogFormat::Text => lines.with_ansi(stderr().is_terminal()).try_init(),
        LogFormat::Json => lines.json().flatten_event(true).try_init(),
    };
    if first.is_err() {
        tracing::debug!("the log was set up before");
    }
}
