//! `idle`: what a connection costs that does nothing but answer heartbeats, fresh and after some messages.

use std::time::Duration;

use anyhow::Result;

use super::{Io, Phase, Scenario, Share};
use crate::crew::{Crew, Setup};
use crate::payload::Form;
use crate::proc;
use crate::stats::{Count, Series};
use crate::summary::{Summary, seconds_between};
use crate::timers::Timer;

/// What to do.
#[derive(Clone, Debug)]
pub(crate) struct Work {
    /// Echoed messages of each client before the held time.
    pub(crate) messages: u32,
    /// Characters of their argument.
    pub(crate) size: usize,
    /// How it travels.
    pub(crate) form: Form,
    /// How long all are held.
    pub(crate) hold: Duration,
    /// How long after they have left the servers' memory is read again.
    pub(crate) after: Duration,
}

/// Runs the scenario.
pub(crate) fn run(setup: Setup, work: &Work) -> Result<Summary> {
    let clients = setup.dialler.clients;
    let mut crew = Crew::start(setup.clone(), |share| {
        Idle::new(share, clients, work.clone())
    })?;
    let before = crew.resident()?;
    let slab_before = proc::kernel_slab()?;
    crew.connect()?;
    crew.run_for(SETTLE)?;
    let fresh = crew.resident()?;
    crew.enter(Phase::Warmup);
    let due = clients as u64 * u64::from(work.messages);
    let answered = crew.wait(setup.ready_within, |totals| {
        totals.of_count(Count::Acked) >= due
    })?;
    crew.enter(Phase::Measure);
    let begin = crew.mark()?;
    crew.run_for(work.hold)?;
    let end = crew.mark()?;
    let used = crew.resident()?;
    let slab_used = proc::kernel_slab()?;
    crew.enter(Phase::Leave);
    crew.run_for(work.after)?;
    let after = crew.resident()?;
    let mut finished = crew.finish()?;

    let per_connection = |bytes: u64, before: u64| (bytes as f64 - before as f64) / clients as f64;
    let heartbeats = end.totals.since(&begin.totals, Count::Heartbeats) as f64;
    let text = format!(
        "{clients} clients, {} messages of {} each, held for {:?}",
        work.messages,
        work.form.describe(work.size),
        work.hold
    );
    let mut summary = Summary::new(setup.name, text);
    if let (Some(before), Some(fresh), Some(used), Some(after)) = (before, fresh, used, after) {
        summary.add("resident_per_connection", per_connection(used, before));
        summary.add(
            "resident_per_fresh_connection",
            per_connection(fresh, before),
        );
        summary.add("resident_before", before as f64);
        summary.add("resident_fresh", fresh as f64);
        summary.add("resident_used", used as f64);
        summary.add("resident_after", after as f64);
    }
    summary.add(
        "kernel_per_connection",
        per_connection(slab_used, slab_before),
    );
    summary.add("heartbeats", heartbeats);
    let names = ["lateness_p50", "lateness_p99", "lateness_max"];
    summary.add_series(&finished.times, Series::Lateness, names);
    summary.add("rate", heartbeats / seconds_between(&begin, &end));
    summary.add_cost(&begin, &end, "heartbeats_per_cpu_second", heartbeats);
    let names = ["connect_p50", "connect_p99", "connect_max"];
    summary.add_series(&finished.times, Series::Connect, names);
    summary.add("due", due as f64);
    summary.add(
        "lost",
        due.saturating_sub(end.totals.of_count(Count::Acked)) as f64,
    );
    summary.add_connections(&end.totals);
    if !answered {
        summary
            .notes
            .push("Not every message was answered; the figures are of fewer messages.".to_owned());
    }
    summary.take_moments(&mut finished);
    Ok(summary)
}

/// Between the last join and the reading of fresh memory.
const SETTLE: Duration = Duration::from_secs(1);

struct Idle {
    share: Share,
    work: Work,
    clients: Vec<Client>,
}

#[derive(Clone, Copy, Default)]
struct Client {
    joined: bool,
    answered: u32,
}

impl Idle {
    fn new(share: Share, clients: usize, work: Work) -> Self {
        let clients = vec![Client::default(); share.count(clients)];
        Self {
            share,
            work,
            clients,
        }
    }

    /// The next message, if any is left. Its number is the ack id, so a message that is sent again counts once.
    fn send(&self, client: u32, io: &mut Io) {
        let attempt = self.clients[client as usize].answered;
        if attempt >= self.work.messages {
            return;
        }
        let (size, form) = (self.work.size, self.work.form);
        io.send(client, |packet| {
            packet.extend_from_slice(format!("42{attempt}[\"echo\",").as_bytes());
            form.write_last(packet, |packet| packet.resize(packet.len() + size, b'.'));
        });
        io.count(Count::Sent, 1);
        // Servers whose handlers are late lose the first message.
        if attempt == 0 {
            io.timers
                .set(io.now + AGAIN_AFTER, Timer::Greeting { client, attempt });
        }
    }

    fn all(&self) -> impl Iterator<Item = u32> + use<> {
        0..self.clients.len() as u32
    }
}

const AGAIN_AFTER: u64 = 5_000_000_000;

impl Scenario for Idle {
    type Part = ();

    fn node(&self, client: u32) -> usize {
        self.share.global(client)
    }

    fn handle_phase(&mut self, phase: Phase, io: &mut Io) {
        match phase {
            Phase::Connect => self.all().for_each(|client| io.connect(client)),
            Phase::Warmup => self.all().for_each(|client| self.send(client, io)),
            Phase::Measure | Phase::Drain => {}
            Phase::Leave => self.all().for_each(|client| io.cut(client)),
        }
    }

    fn handle_joined(&mut self, client: u32, _reply: &[u8], io: &mut Io) {
        self.clients[client as usize].joined = true;
        io.count(Count::Ready, 1);
    }

    fn handle_message(&mut self, client: u32, message: &[u8], io: &mut Io) {
        let state = &mut self.clients[client as usize];
        let expected = format!("3{}[", state.answered);
        let argument = message.strip_prefix(expected.as_bytes());
        let content = argument.and_then(|argument| self.work.form.read(argument));
        if content.is_none() {
            io.count(Count::Strays, 1);
            return;
        }
        state.answered += 1;
        io.count(Count::Acked, 1);
        self.send(client, io);
    }

    fn handle_closed(&mut self, client: u32, io: &mut Io) {
        if std::mem::take(&mut self.clients[client as usize].joined) {
            io.tally.subtract(Count::Ready, 1);
        }
        if io.phase == Phase::Connect {
            super::reconnect_soon(client, io);
        }
    }

    fn handle_timer(&mut self, _at: u64, timer: Timer, io: &mut Io) {
        match timer {
            Timer::Connect(client) => io.connect(client),
            Timer::Greeting { client, attempt }
                if self.clients[client as usize].answered == attempt =>
            {
                self.send(client, io);
            }
            Timer::Greeting { .. }
            | Timer::Heartbeat { .. }
            | Timer::Attempt { .. }
            | Timer::Cut(_)
            | Timer::Send(_) => {}
        }
    }

    fn finish(self) {}
}
