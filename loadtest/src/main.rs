//! Load generator for Socket.IO servers.
//!
//! The major parts are [`client`] (one client, no I/O), [`driver`] (one thread's event loop), [`scenario`] (what
//! clients do), [`crew`] (the threads together, the phases of a run) and [`summary`] (what was found).

mod cli;
mod client;
mod clock;
mod crew;
mod descriptors;
mod driver;
mod expect;
mod payload;
mod proc;
mod progress;
mod scenario;
mod stats;
mod summary;
mod timeline;
mod timers;
mod units;

use std::io::Write;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;

use cli::{Cli, Common};
use summary::Summary;

fn main() -> ExitCode {
    match run() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("loadtest: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn run() -> Result<ExitCode> {
    let cli = Cli::parse();
    let summary = cli.command.run()?;
    std::io::stdout().write_all(summary.text().as_bytes())?;
    write_files(&summary, cli.command.common())?;
    Ok(judge(&summary, cli.command.common()))
}

fn write_files(summary: &Summary, common: &Common) -> Result<()> {
    if let Some(path) = &common.json {
        let json = serde_json::to_vec_pretty(summary)?;
        std::fs::write(path, json).with_context(|| format!("writing {}", path.display()))?;
    }
    Ok(())
}

fn judge(summary: &Summary, common: &Common) -> ExitCode {
    let expectations = common
        .expect
        .iter()
        .flat_map(|expectations| &expectations.0);
    let failures: Vec<String> = expectations
        .filter_map(|one| one.check(summary).err())
        .collect();
    for failure in &failures {
        eprintln!("expected {failure}");
    }
    if failures.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(1)
    }
}
