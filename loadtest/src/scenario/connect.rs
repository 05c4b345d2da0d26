//! `connect`: how many connections the server can take per second, from TCP to the joined namespace.

use std::time::Duration;

use anyhow::Result;

use super::{Io, Phase, Scenario, Share};
use crate::crew::{Crew, Setup};
use crate::stats::{Count, Series};
use crate::summary::{Summary, seconds_between};
use crate::timers::Timer;

/// What to do.
#[derive(Clone, Debug)]
pub(crate) struct Work {
    /// Clients, the first in order, that connect before the measured time begins; they stay.
    pub(crate) warmup_clients: usize,
    /// Cut each connection once it has joined and connect again, for that long.
    pub(crate) churn: Option<Duration>,
}

/// Runs the scenario.
pub(crate) fn run(setup: Setup, work: &Work) -> Result<Summary> {
    let clients = setup.dialler.clients;
    let mut crew = Crew::start(setup.clone(), |share| {
        Connect::new(share, clients, work.clone())
    })?;
    crew.enter(Phase::Connect);
    crew.wait_for_ready(work.warmup_clients)?;
    let begin = crew.mark()?;
    crew.enter(Phase::Measure);
    match work.churn {
        Some(duration) => crew.run_for(duration)?,
        None => crew.wait_for_ready(clients)?,
    }
    let end = crew.mark()?;
    crew.enter(Phase::Leave);
    let mut finished = crew.finish()?;

    let joined = end.totals.since(&begin.totals, Count::Joined) as f64;
    let mut summary = Summary::new(setup.name, describe(&setup, work));
    summary.add("rate", joined / seconds_between(&begin, &end));
    summary.add_cost(&begin, &end, "connects_per_cpu_second", joined);
    summary.add("received", joined);
    let names = ["connect_p50", "connect_p99", "connect_max"];
    summary.add_series(&finished.times, Series::Connect, names);
    summary.add_connections(&end.totals);
    summary.take_moments(&mut finished);
    Ok(summary)
}

fn describe(setup: &Setup, work: &Work) -> String {
    let clients = setup.dialler.clients;
    let concurrency = setup.ramp.concurrency;
    let pace = match setup.ramp.interval {
        Some(interval) => format!("{:.0} per second", 1.0 / interval.as_secs_f64()),
        None => format!("as fast as {concurrency} at a time go"),
    };
    match work.churn {
        Some(duration) => {
            format!("{clients} clients, each connecting again and again for {duration:?}, {pace}")
        }
        None => format!(
            "{} clients after {}, {pace}",
            clients - work.warmup_clients,
            work.warmup_clients
        ),
    }
}

struct Connect {
    share: Share,
    clients: usize,
    work: Work,
}

impl Connect {
    fn new(share: Share, clients: usize, work: Work) -> Self {
        Self {
            share,
            clients,
            work,
        }
    }

    fn connect(&self, io: &mut Io, warmup: bool) {
        for client in 0..self.share.count(self.clients) as u32 {
            if (self.share.global(client) < self.work.warmup_clients) == warmup {
                io.connect(client);
            }
        }
    }
}

impl Scenario for Connect {
    type Part = ();

    fn node(&self, client: u32) -> usize {
        self.share.global(client)
    }

    fn handle_phase(&mut self, phase: Phase, io: &mut Io) {
        match phase {
            Phase::Connect => self.connect(io, true),
            Phase::Measure => self.connect(io, false),
            Phase::Warmup | Phase::Drain | Phase::Leave => {}
        }
    }

    fn handle_joined(&mut self, client: u32, _reply: &[u8], io: &mut Io) {
        io.count(Count::Ready, 1);
        if self.work.churn.is_some() && io.phase == Phase::Measure {
            io.cut(client);
            io.connect(client);
        }
    }

    fn handle_message(&mut self, _client: u32, _message: &[u8], io: &mut Io) {
        io.count(Count::Strays, 1);
    }

    fn handle_closed(&mut self, client: u32, io: &mut Io) {
        if io.phase != Phase::Leave {
            super::reconnect_soon(client, io);
        }
    }

    fn handle_timer(&mut self, _at: u64, timer: Timer, io: &mut Io) {
        if let Timer::Connect(client) = timer {
            io.connect(client);
        }
    }

    fn finish(self) {}
}
