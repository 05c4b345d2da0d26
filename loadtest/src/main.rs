//! Load generator for Socket.IO servers.
//!
//! One client, without I/O, is in [`client`], and one thread's event loop in [`driver`]. [`scenario`] has what clients
//! do, and [`crew`] the threads together and the phases of a run. [`summary`] and [`report`] tell what was found;
//! [`compare`] does the same work on several servers.

mod about;
mod cli;
mod client;
mod clock;
mod compare;
mod crew;
mod descriptors;
mod driver;
mod expect;
mod floor;
mod payload;
mod proc;
mod progress;
mod report;
mod scenario;
mod stats;
mod summary;
mod timeline;
mod timers;
mod tls;
mod units;

use std::io::Write;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;

use cli::{Cli, Command, Common, Scenario};
use expect::Expectation;
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
    match Cli::parse().command {
        Command::Idle(scenario) => run_scenario(&scenario),
        Command::Connect(scenario) => run_scenario(&scenario),
        Command::Fanout(scenario) => run_scenario(&scenario),
        Command::Echo(scenario) => run_scenario(&scenario),
        Command::Polling(scenario) => run_scenario(&scenario),
        Command::Jitter(scenario) => run_scenario(&scenario),
        Command::Avalanche(scenario) => run_scenario(&scenario),
        Command::Rollout(scenario) => run_scenario(&scenario),
        Command::Kill(scenario) => run_scenario(&scenario),
        Command::Recovery(scenario) => run_scenario(&scenario),
        Command::Compare(options) => compare::run(&options),
        Command::Floor {
            listen,
            threads,
            join,
        } => {
            floor::serve(listen, threads, join).context("serving the floor")?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn run_scenario(scenario: &impl Scenario) -> Result<ExitCode> {
    let mut summary = scenario.run()?;
    summary.notes.extend(about::notes());
    let meets_all = judge(&mut summary, &scenario.expectations());
    std::io::stdout().write_all(summary.text().as_bytes())?;
    write_files(&summary, scenario.common())?;
    Ok(if meets_all {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(1)
    })
}

fn write_files(summary: &Summary, common: &Common) -> Result<()> {
    if let Some(path) = &common.json {
        let json = serde_json::to_vec_pretty(summary)?;
        std::fs::write(path, json).with_context(|| format!("writing {}", path.display()))?;
    }
    if let Some(path) = &common.report {
        let page = report::page(summary)?;
        std::fs::write(path, page).with_context(|| format!("writing {}", path.display()))?;
    }
    Ok(())
}

/// Compares the run with what was expected of it. What holds and what does not becomes a note of the summary, which
/// stands in the text and in the reports; what does not is said on stderr, too.
fn judge(summary: &mut Summary, expectations: &[Expectation]) -> bool {
    let mut meets_all = true;
    let checked: Vec<_> = expectations.iter().map(|it| it.check(summary)).collect();
    for found in checked {
        summary.notes.push(match found {
            Ok(held) => format!("as expected: {held}"),
            Err(failed) => {
                meets_all = false;
                eprintln!("expected {failed}");
                format!("NOT as expected: {failed}")
            }
        });
    }
    meets_all
}
