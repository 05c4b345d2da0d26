//! `avalanche`: all members are cut at the same moment and come back at once.

use std::time::Duration;

use anyhow::Result;

use super::Phase;
use super::flow::findings::Findings;
use super::flow::verdict::Verdict;
use super::flow::{Flow, Work};
use crate::crew::{Crew, Setup};
use crate::stats::Count;
use crate::summary::{Summary, seconds_between};

/// Runs the scenario; members have `within` to come back.
pub(crate) fn run(setup: Setup, work: &Work, within: Duration) -> Result<Summary> {
    let auth = setup.dialler.payload.clone();
    let mut crew = Crew::start(setup.clone(), |share| {
        Flow::new(share, work.clone(), auth.clone())
    })?;
    crew.connect()?;
    crew.enter(Phase::Warmup);
    crew.run_for(CALM)?;
    let begin = crew.mark()?;
    crew.enter(Phase::Measure);
    let members = work.layout.in_rooms() as u64;
    let clients = setup.dialler.clients as u64;
    let all_back = crew.wait(within, |totals| {
        totals.of_count(Count::Cuts) >= members && totals.of_count(Count::Ready) >= clients
    })?;
    let end = crew.mark()?;
    let flows = work.rate.is_some() || work.broadcast_rate.is_some();
    if flows {
        crew.run_for(CALM)?;
    }
    crew.enter(Phase::Drain);
    match all_back {
        true => crew.drain_with_all(within)?,
        false => crew.drain()?,
    }
    let last = crew.mark()?;
    crew.enter(Phase::Leave);
    let mut finished = crew.finish()?;

    let joined = end.totals.since(&begin.totals, Count::Joined) as f64;
    let text = format!("{}, {members} members cut at once", work.describe());
    let mut summary = Summary::new(setup.name, text);
    if all_back {
        summary.add("all_back", seconds_between(&begin, &end));
    }
    let mut findings = Findings::new(work.layout);
    let verdict = Verdict::of(&finished.parts, &mut findings);
    verdict.report(&mut summary, &begin, &last, &finished.times);
    summary.take_findings(findings);
    summary.add(
        "attempts",
        (end.totals.failed() - begin.totals.failed()) as f64,
    );
    summary.add("rate", joined / seconds_between(&begin, &end));
    summary.add_cost(&begin, &end, "connects_per_cpu_second", joined);
    if flows {
        summary.add_latencies(&finished.times);
    }
    summary.add_connections(&last.totals);
    summary.take_moments(&mut finished);
    Ok(summary)
}

/// Before the cut, and after the return when messages flow.
const CALM: Duration = Duration::from_secs(2);
