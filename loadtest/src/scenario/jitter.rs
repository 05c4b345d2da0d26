//! `jitter`: every member's TCP connection is cut now and then, while numbered messages flow. `recovery` is a small one.

use std::time::Duration;

use anyhow::Result;

use super::Phase;
use super::flow::findings::Findings;
use super::flow::verdict::Verdict;
use super::flow::{Disturbance, Flow, Work};
use crate::crew::{Crew, Setup};
use crate::stats::Count;
use crate::summary::{Summary, seconds_between};

/// Runs the scenario.
pub(crate) fn run(setup: Setup, work: &Work, duration: Duration) -> Result<Summary> {
    let auth = setup.dialler.payload.clone();
    let mut crew = Crew::start(setup.clone(), |share| {
        Flow::new(share, work.clone(), auth.clone())
    })?;
    crew.connect()?;
    let (begin, end) = crew.measure(Duration::ZERO, duration)?;
    crew.drain_with_all(setup.ready_within)?;
    let last = crew.mark()?;
    crew.enter(Phase::Leave);
    let mut finished = crew.finish()?;

    let deliveries = end.totals.since(&begin.totals, Count::Delivered) as f64;
    let mut summary = Summary::new(setup.name, describe(work, duration));
    let mut findings = Findings::new(work.layout);
    let verdict = Verdict::of(&finished.parts, &mut findings);
    verdict.report(&mut summary, &begin, &last, &finished.times);
    summary.take_findings(findings);
    summary.add("cuts", last.totals.of_count(Count::Cuts) as f64);
    summary.add("rate", deliveries / seconds_between(&begin, &end));
    summary.add_latencies(&finished.times);
    summary.add_cost(&begin, &end, "deliveries_per_cpu_second", deliveries);
    summary.add("sent", last.totals.of_count(Count::Sent) as f64);
    summary.add_connections(&last.totals);
    summary.take_moments(&mut finished);
    Ok(summary)
}

fn describe(work: &Work, duration: Duration) -> String {
    let (every, away) = match work.disturbance {
        Disturbance::Jitter { every, away, .. } => (every, away),
        Disturbance::Avalanche { .. } | Disturbance::Outside => Default::default(),
    };
    format!(
        "{}, every member cut about every {every:?} for {away:?}, {duration:?}",
        work.describe()
    )
}
