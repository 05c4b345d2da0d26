//! `jitter`: every member's TCP connection is cut now and then, while numbered messages flow.

use std::time::Duration;

use anyhow::Result;

use super::Phase;
use super::flow::verdict::Verdict;
use super::flow::{Disturbance, Flow, Work};
use crate::crew::{Crew, Setup};
use crate::stats::{Count, Series};
use crate::summary::{Summary, seconds_between};

/// Runs the scenario.
pub(crate) fn run(setup: Setup, work: &Work, duration: Duration) -> Result<Summary> {
    let auth = setup.dialler.payload.clone();
    let mut crew = Crew::start(setup.clone(), |share| {
        Flow::new(share, work.clone(), auth.clone())
    })?;
    crew.connect()?;
    let (begin, end) = crew.measure(Duration::ZERO, duration)?;
    let clients = setup.dialler.clients as u64;
    let back = crew.wait(setup.ready_within, |totals| {
        totals.of_count(Count::Ready) >= clients
    })?;
    crew.drain()?;
    let totals = crew.totals();
    crew.enter(Phase::Leave);
    let mut finished = crew.finish()?;

    let deliveries = end.totals.since(&begin.totals, Count::Delivered) as f64;
    let mut summary = Summary::new(setup.name, describe(work, duration));
    Verdict::of(&finished.parts).report(&mut summary);
    summary.add("cuts", totals.of_count(Count::Cuts) as f64);
    summary.add("recovered", totals.of_count(Count::Recovered) as f64);
    let names = ["recovery_p50", "recovery_p99", "recovery_max"];
    summary.add_series(&finished.times, Series::Recovery, names);
    summary.add("rate", deliveries / seconds_between(&begin, &end));
    summary.add_latencies(&finished.times);
    summary.add_cost(&begin, &end, "deliveries_per_cpu_second", deliveries);
    summary.add("sent", totals.of_count(Count::Sent) as f64);
    summary.add("strays", totals.of_count(Count::Strays) as f64);
    summary.add_connections(&totals);
    if !back {
        summary
            .notes
            .push("Not all clients were back at the end.".to_owned());
    }
    summary.take_moments(&mut finished);
    Ok(summary)
}

fn describe(work: &Work, duration: Duration) -> String {
    let Work {
        rooms,
        members,
        rate,
        ..
    } = work;
    let (every, away) = match work.disturbance {
        Disturbance::Jitter { every, away } => (every, away),
        Disturbance::Avalanche { .. } | Disturbance::Outside => Default::default(),
    };
    let rate = rate.unwrap_or_default();
    format!(
        "{rooms} rooms of {members}, {rate}/s each, every member cut about every {every:?} for {away:?}, {duration:?}"
    )
}
