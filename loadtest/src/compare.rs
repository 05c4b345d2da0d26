//! `compare`: the gateway and what users would pick instead, on the same work, in alternating runs.

mod build;
mod server;
mod table;
mod work;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::units;
use server::{Kind, Launcher};
use table::{Cell, Table};
use work::Work;

/// What to compare, and how thoroughly.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Only this work; may be given again or separated by commas
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Work>,
    /// Only these servers, separated by commas
    #[arg(long, value_enum, value_delimiter = ',')]
    servers: Vec<Kind>,
    /// Runs of each server on each work; the table shows their median
    #[arg(long, default_value_t = 5)]
    runs: usize,
    /// Measured time of each run
    #[arg(long, default_value = "5s", value_parser = units::duration)]
    duration: Duration,
    /// Time under load before it
    #[arg(long, default_value = "3s", value_parser = units::duration)]
    warmup: Duration,
    /// Connections of the work `idle`
    #[arg(long, default_value_t = 10_000)]
    idle_clients: usize,
    /// The gateway's binary; beside this one, when not given
    #[arg(long)]
    gateway_bin: Option<PathBuf>,
    /// Where the peers' sources are
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/peers"))]
    peers: PathBuf,
    /// Redis for the work that needs one; `redis-server` is started when not given
    #[arg(long)]
    redis: Option<String>,
    /// The processors that servers may use, such as 0-3, where the machine has enough; keep this tool off them with
    /// `taskset`
    #[arg(long)]
    server_cpus: Option<String>,
    /// Write every run's figures to this file, as JSON
    #[arg(long)]
    json: Option<PathBuf>,
    /// Exit code 1 when the gateway misses a target
    #[arg(long)]
    require_targets: bool,
}

/// Builds what is missing, runs everything, prints the table.
pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    if options.runs == 0 {
        bail!("--runs has to be at least 1");
    }
    // The servers inherit it.
    rlimit::increase_nofile_limit(u64::MAX).context("raising the limit of open files")?;
    let works = chosen(&options.only, &Work::ALL);
    let mut launcher = Launcher::new(options.redis.clone(), options.server_cpus.clone());
    for kind in chosen(&options.servers, &Kind::ALL) {
        if works.iter().any(|work| work.servers().contains(&kind)) {
            prepare(&mut launcher, kind, options);
        }
    }
    println(&table::head(&launcher));
    let mut tables = Vec::new();
    for work in works {
        let table = measure(work, &launcher, options);
        println(&table.text());
        tables.push(table);
    }
    println(&table::reach(&tables));
    println(&table::targets(&tables));
    if let Some(path) = &options.json {
        let json = serde_json::to_vec_pretty(&tables)?;
        std::fs::write(path, json).with_context(|| format!("writing {}", path.display()))?;
    }
    let missed = tables.iter().any(Table::misses_target);
    let code = u8::from(options.require_targets && missed);
    Ok(ExitCode::from(code))
}

fn chosen<T: Copy>(given: &[T], all: &[T]) -> Vec<T> {
    if given.is_empty() { all } else { given }.to_vec()
}

/// A server that cannot be had is said so, once and plainly, and left out.
fn prepare(launcher: &mut Launcher, kind: Kind, options: &Options) {
    let built = match kind {
        Kind::Floor | Kind::FloorOne | Kind::FloorJoined => build::floor(),
        Kind::Node => build::node(&options.peers),
        Kind::NodeRedis => build::node(&options.peers).and_then(|node| {
            launcher.need_redis()?;
            Ok(node)
        }),
        Kind::Socketioxide => build::socketioxide(&options.peers),
        Kind::BunRaw => build::bun(&options.peers, "raw.js"),
        Kind::BunSocketio => build::bun(&options.peers, "socketio.js"),
        Kind::Gateway => build::gateway(options.gateway_bin.as_deref()),
    };
    match built {
        Ok(program) => launcher.add(kind, program),
        Err(error) => eprintln!("Left out: {}: {error:#}", kind.name()),
    }
}

fn measure(work: Work, launcher: &Launcher, options: &Options) -> Table {
    let kinds: Vec<Kind> = work
        .servers()
        .iter()
        .copied()
        .filter(|kind| launcher.has(*kind))
        .collect();
    let mut table = Table::new(work, &kinds);
    for run in 0..options.runs {
        for turn in 0..kinds.len() {
            // Each run begins with another server, so that none has the best place.
            let place = (run + turn) % kinds.len();
            let kind = kinds[place];
            let done = launch_and_measure(work, kind, launcher, options);
            let shown = match &done {
                Ok(cell) => work.show(cell.value),
                Err(error) => format!("failed: {error:#}"),
            };
            eprintln!(
                "{} {}/{} {}: {shown}",
                work.name(),
                run + 1,
                options.runs,
                kind.name()
            );
            table.add(kind, done);
        }
    }
    table
}

fn launch_and_measure(
    work: Work,
    kind: Kind,
    launcher: &Launcher,
    options: &Options,
) -> Result<Cell> {
    let servers = launcher.start(kind, work.nodes())?;
    let times = work::Times {
        warmup: options.warmup,
        duration: options.duration,
        idle_clients: options.idle_clients,
    };
    work.run(&servers, times)
}

fn println(text: &str) {
    use std::io::Write;
    // Whoever has closed stdout does not want the table.
    let _ = writeln!(std::io::stdout(), "{text}");
}
