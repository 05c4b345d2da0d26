//! `rollout`: the nodes are restarted in turn, by commands that the user gives, while numbered messages flow.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::Phase;
use super::flow::verdict::Verdict;
use super::flow::{Flow, Part, Work};
use crate::crew::{Crew, Setup};
use crate::stats::{Count, Series};
use crate::summary::Summary;

/// What is done to the nodes.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// Shell commands, each of which restarts a node and ends when that is done.
    pub(crate) restarts: Vec<String>,
    /// Before the first, between two, and after the last.
    pub(crate) pause: Duration,
}

/// Runs the scenario.
pub(crate) fn run(setup: Setup, work: &Work, plan: &Plan) -> Result<Summary> {
    let auth = setup.dialler.payload.clone();
    let mut crew = Crew::start(setup.clone(), |share| {
        Flow::new(share, work.clone(), auth.clone())
    })?;
    crew.connect()?;
    crew.enter(Phase::Warmup);
    let begin = crew.mark()?;
    crew.enter(Phase::Measure);
    crew.run_for(plan.pause)?;
    for command in &plan.restarts {
        restart(&mut crew, command)?;
        crew.run_for(plan.pause)?;
    }
    let clients = setup.dialler.clients as u64;
    let back = crew.wait(setup.ready_within, |totals| {
        totals.of_count(Count::Ready) >= clients
    })?;
    crew.enter(Phase::Drain);
    crew.drain()?;
    let end = crew.mark()?;
    crew.enter(Phase::Leave);
    let mut finished = crew.finish()?;

    let Work {
        rooms,
        members,
        rate,
        ..
    } = work;
    let text = format!(
        "{rooms} rooms of {members}, {}/s each, {} restarts",
        rate.unwrap_or_default(),
        plan.restarts.len()
    );
    let verdict = Verdict::of(&finished.parts);
    let mut summary = Summary::new(setup.name, text);
    verdict.report(&mut summary);
    summary.add("restarts", plan.restarts.len() as f64);
    summary.add(
        "brought_back",
        1.0 - verdict.missing as f64 / (rooms * members).max(1) as f64,
    );
    summary.add("recovered", end.totals.of_count(Count::Recovered) as f64);
    let names = ["recovery_p50", "recovery_p99", "recovery_max"];
    summary.add_series(&finished.times, Series::Recovery, names);
    summary.add_latencies(&finished.times);
    summary.add("sent", end.totals.since(&begin.totals, Count::Sent) as f64);
    summary.add("strays", end.totals.of_count(Count::Strays) as f64);
    summary.add_connections(&end.totals);
    if !back {
        summary
            .notes
            .push("Not all clients were back at the end.".to_owned());
    }
    let skipped = end.totals.of_count(Count::Skipped);
    if skipped > 0 {
        summary.notes.push(format!(
            "{skipped} messages were not sent, since their publisher was away."
        ));
    }
    summary.take_moments(&mut finished);
    Ok(summary)
}

fn restart(crew: &mut Crew<Part>, command: &str) -> Result<()> {
    let mut child: Child = Command::new("sh")
        .args(["-c", command])
        .stdin(Stdio::null())
        .spawn()
        .with_context(|| format!("starting `{command}`"))?;
    loop {
        if let Some(status) = child.try_wait()? {
            if status.success() {
                return Ok(());
            }
            bail!("`{command}` ended with {status}");
        }
        crew.run_for(Duration::from_millis(100))?;
    }
}
