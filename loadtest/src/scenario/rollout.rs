//! `rollout`: the nodes are restarted in turn while numbered messages flow. `kill` is the same without a goodbye.

use std::time::Duration;

use anyhow::Result;

use super::Phase;
use super::flow::findings::Findings;
use super::flow::verdict::Verdict;
use super::flow::{Flow, Work};
use super::nodes::{self, End, Nodes};
use crate::crew::{Crew, Setup};
use crate::stats::Count;
use crate::summary::Summary;

/// What is done to the nodes.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// How they end and begin again.
    pub(crate) nodes: nodes::Plan,
    /// How a node that this tool has started ends.
    pub(crate) end: End,
    /// How many times one ends, in turn.
    pub(crate) times: usize,
    /// Before the first, between two, and after the last.
    pub(crate) pause: Duration,
    /// By how much of itself a pause may be longer or shorter.
    pub(crate) spread: f64,
    /// Figure that says how many times it was done.
    pub(crate) figure: &'static str,
}

/// Runs the scenario.
pub(crate) fn run(setup: Setup, work: &Work, plan: &Plan) -> Result<Summary> {
    let auth = setup.dialler.payload.clone();
    let mut nodes = Nodes::start(plan.nodes.clone(), &setup.dialler.targets)?;
    let mut crew = Crew::start(setup.clone(), |share| {
        Flow::new(share, work.clone(), auth.clone())
    })?;
    crew.connect()?;
    crew.enter(Phase::Warmup);
    let begin = crew.mark()?;
    crew.enter(Phase::Measure);
    for time in 0..plan.times {
        crew.run_for(plan.next_pause())?;
        nodes.restart(time % plan.nodes.len(), plan.end, &mut crew)?;
    }
    crew.run_for(plan.pause)?;
    nodes.check()?;
    let all_back = crew.wait_for_all(setup.ready_within)?;
    crew.enter(Phase::Drain);
    match all_back {
        true => crew.drain_with_all(setup.ready_within)?,
        false => crew.drain()?,
    }
    let end = crew.mark()?;
    crew.enter(Phase::Leave);
    let mut finished = crew.finish()?;

    let text = format!("{}, {} {}", work.describe(), plan.times, plan.figure);
    let mut summary = Summary::new(setup.name, text);
    let mut findings = Findings::new(work.layout);
    let verdict = Verdict::of(&finished.parts, &mut findings);
    verdict.report(&mut summary, &begin, &end, &finished.times);
    summary.take_findings(findings);
    summary.add(plan.figure, plan.times as f64);
    summary.add_latencies(&finished.times);
    summary.add("sent", end.totals.since(&begin.totals, Count::Sent) as f64);
    summary.add_connections(&end.totals);
    summary.take_moments(&mut finished);
    Ok(summary)
}

impl Plan {
    fn next_pause(&self) -> Duration {
        use std::hash::{BuildHasher, RandomState};
        let random = RandomState::new().hash_one(()) as f64 / u64::MAX as f64;
        self.pause.mul_f64(1.0 + self.spread * (2.0 * random - 1.0))
    }
}
