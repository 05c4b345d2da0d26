//! `avalanche`: all members are cut at the same moment and come back at once.

use std::time::Duration;

use anyhow::Result;

use super::Phase;
use super::flow::verdict::Verdict;
use super::flow::{Flow, Work};
use crate::crew::{Crew, Setup};
use crate::stats::{Count, Series};
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
    let members = (work.rooms * work.members) as u64;
    let clients = setup.dialler.clients as u64;
    let all_back = crew.wait(within, |totals| {
        totals.of_count(Count::Cuts) >= members && totals.of_count(Count::Ready) >= clients
    })?;
    let end = crew.mark()?;
    if work.rate.is_some() {
        crew.run_for(CALM)?;
    }
    crew.enter(Phase::Drain);
    crew.drain()?;
    let totals = crew.totals();
    crew.enter(Phase::Leave);
    let mut finished = crew.finish()?;

    let verdict = Verdict::of(&finished.parts);
    let joined = end.totals.since(&begin.totals, Count::Joined) as f64;
    let mut summary = Summary::new(
        setup.name,
        format!("{members} members of {} rooms cut at once", work.rooms),
    );
    summary.add(
        "brought_back",
        1.0 - verdict.missing as f64 / members.max(1) as f64,
    );
    if all_back {
        summary.add("all_back", seconds_between(&begin, &end));
    }
    let names = ["recovery_p50", "recovery_p99", "recovery_max"];
    summary.add_series(&finished.times, Series::Recovery, names);
    summary.add(
        "attempts",
        (end.totals.failed() - begin.totals.failed()) as f64,
    );
    summary.add("recovered", totals.of_count(Count::Recovered) as f64);
    summary.add("rate", joined / seconds_between(&begin, &end));
    summary.add_cost(&begin, &end, "connects_per_cpu_second", joined);
    if work.rate.is_some() {
        verdict.report(&mut summary);
        summary.add_latencies(&finished.times);
    }
    summary.add_connections(&totals);
    summary.take_moments(&mut finished);
    Ok(summary)
}

/// Before the cut, and after the return when messages flow.
const CALM: Duration = Duration::from_secs(2);
