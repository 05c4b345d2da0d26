//! Runs the simulator: `cargo run --release -p simulator -- --seed 42 --steps 100000`.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::process::ExitCode;

use clap::Parser;
use simulator::{Chaos, Plan, Planted, run, shrink};

/// A cluster with recovery, in one thread, with faults, all drawn from a seed.
#[derive(Debug, Parser)]
struct Options {
    /// The first seed.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many seeds, one after the other.
    #[arg(long, default_value_t = 1)]
    seeds: u64,
    /// Events of each run, before it calms down.
    #[arg(long, default_value_t = 20_000)]
    steps: u64,
    /// What does not go wrong, by name.
    #[arg(long, value_delimiter = ',')]
    without: Vec<String>,
    /// A rule to break on purpose, by name.
    #[arg(long)]
    planted: Option<String>,
    /// Do not look for a shorter run that fails.
    #[arg(long)]
    no_shrink: bool,
    /// Tell what happens, on standard error.
    #[arg(long)]
    trace: bool,
}

fn main() -> anyhow::Result<ExitCode> {
    let options = Options::parse();
    let mut out = std::io::stdout().lock();
    let without = options.without.iter().map(|name| {
        let found = Chaos::ALL.into_iter().find(|it| format!("{it:?}") == *name);
        found.ok_or_else(|| anyhow::anyhow!("no such trouble: {name}; there are {:?}", Chaos::ALL))
    });
    let without: BTreeSet<_> = without.collect::<Result<_, _>>()?;
    let planted = options.planted.as_ref().map(|name| {
        let found = Planted::ALL
            .into_iter()
            .find(|it| format!("{it:?}") == *name);
        found.ok_or_else(|| anyhow::anyhow!("no such rule: {name}; there are {:?}", Planted::ALL))
    });
    let planted = planted.transpose()?;
    let mut counts: BTreeMap<String, u64> = BTreeMap::new();
    let mut findings = 0;
    for seed in options.seed..options.seed + options.seeds {
        let plan = Plan {
            seed,
            steps: options.steps,
            without: without.clone(),
            planted,
            trace: options.trace,
        };
        let report = run(&plan);
        for (what, count) in report.counts {
            *counts.entry(what).or_default() += count;
        }
        let Some(finding) = report.finding else {
            continue;
        };
        findings += 1;
        writeln!(out, "seed {seed}: {finding}")?;
        if !options.no_shrink && !options.trace {
            let (smaller, finding) = shrink::shrink(&plan, finding);
            let names: Vec<_> = smaller.without.iter().map(|it| format!("{it:?}")).collect();
            writeln!(
                out,
                "  smaller: --seed {seed} --steps {} --without {}",
                smaller.steps,
                names.join(",")
            )?;
            writeln!(out, "  {finding}")?;
        }
    }
    for (what, count) in counts {
        writeln!(out, "{count:>10}  {what}")?;
    }
    writeln!(out, "{} runs, {findings} with a finding", options.seeds)?;
    Ok(if findings == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
