//! `echo`: every client keeps acknowledged messages in flight, or sends them on a schedule.

use std::time::Duration;

use anyhow::Result;

use super::greeting::{Greeted, Greeting};
use super::load::Load;
use super::{Io, Phase, Scenario, Share};
use crate::clock;
use crate::crew::{Crew, Setup};
use crate::payload::{self, Form, Stamp};
use crate::stats::{Count, Series};
use crate::summary::{Summary, seconds_between};
use crate::timers::Timer;

/// What to do.
#[derive(Clone, Debug)]
pub(crate) struct Work {
    /// In flight per client, or messages per second of each client.
    pub(crate) load: Load,
    /// Characters of the argument.
    pub(crate) size: usize,
    /// How it travels.
    pub(crate) form: Form,
    /// Not measured.
    pub(crate) warmup: Duration,
    /// Measured.
    pub(crate) duration: Duration,
}

/// Runs the scenario.
pub(crate) fn run(setup: Setup, work: &Work) -> Result<Summary> {
    let clients = setup.dialler.clients;
    let mut crew = Crew::start(setup.clone(), |share| {
        Echo::new(share, clients, work.clone())
    })?;
    crew.connect()?;
    let (begin, end) = crew.measure(work.warmup, work.duration)?;
    crew.wait(Duration::from_secs(2), |totals| {
        totals.of_count(Count::Acked) >= totals.of_count(Count::Due)
    })?;
    let totals = crew.totals();
    let mut finished = crew.finish()?;

    let acks = end.totals.since(&begin.totals, Count::Acked) as f64;
    let text = format!(
        "{clients} clients, {}, {}",
        work.load.describe("client"),
        work.form.describe(work.size)
    );
    let mut summary = Summary::new(setup.name, text);
    summary.add("rate", acks / seconds_between(&begin, &end));
    summary.add_latencies(&finished.times);
    summary.add_cost(&begin, &end, "acks_per_cpu_second", acks);
    summary.add("sent", end.totals.since(&begin.totals, Count::Sent) as f64);
    summary.add("received", acks);
    let due = totals.of_count(Count::Due);
    summary.add("due", due as f64);
    summary.add(
        "lost",
        due.saturating_sub(totals.of_count(Count::Acked)) as f64,
    );
    summary.add("strays", totals.of_count(Count::Strays) as f64);
    summary.add_connections(&totals);
    summary.take_moments(&mut finished);
    Ok(summary)
}

struct Echo {
    share: Share,
    work: Work,
    greeting: Greeting,
    clients: Vec<Client>,
}

#[derive(Clone, Copy, Default)]
struct Client {
    ready: bool,
    sent: u32,
}

impl Echo {
    fn new(share: Share, clients: usize, work: Work) -> Self {
        let count = share.count(clients);
        Self {
            share,
            work,
            greeting: Greeting::new(count),
            clients: vec![Client::default(); count],
        }
    }

    fn send(&mut self, client: u32, sent: u64, io: &mut Io) {
        let state = &mut self.clients[client as usize];
        let sequence = state.sent;
        state.sent += 1;
        let room = self.share.global(client) as u32;
        let stamp = Stamp {
            sent,
            sequence,
            room,
        };
        let (size, form) = (self.work.size, self.work.form);
        io.send(client, |packet| {
            packet.extend_from_slice(format!("42{}[\"echo\",", sequence + 1).as_bytes());
            form.write_last(packet, |packet| payload::write(stamp, size, packet));
        });
        io.count(Count::Sent, 1);
        io.count(Count::Due, 1);
    }

    fn begin(&mut self, io: &mut Io) {
        for client in 0..self.clients.len() as u32 {
            if !self.clients[client as usize].ready {
                continue;
            }
            match self.work.load {
                Load::Window(window) => {
                    for _ in 0..window {
                        self.send(client, clock::now(), io);
                    }
                }
                Load::Rate(rate) => {
                    let offset = io.random() * Load::period(rate) as f64;
                    io.timers.set(io.now + offset as u64, Timer::Send(client));
                }
            }
        }
    }
}

impl Scenario for Echo {
    type Part = ();

    fn node(&self, client: u32) -> usize {
        self.share.global(client)
    }

    fn handle_phase(&mut self, phase: Phase, io: &mut Io) {
        match phase {
            Phase::Connect => (0..self.clients.len() as u32).for_each(|client| io.connect(client)),
            Phase::Warmup => self.begin(io),
            Phase::Measure | Phase::Drain | Phase::Leave => {}
        }
    }

    fn handle_joined(&mut self, client: u32, _reply: &[u8], io: &mut Io) {
        self.greeting
            .begin(client, io, |packet| packet.extend_from_slice(GREETING));
    }

    fn handle_message(&mut self, client: u32, message: &[u8], io: &mut Io) {
        let Some(stamp) = stamp_of(message, self.work.form) else {
            match self.greeting.handle_message(client, message, io) {
                Greeted::Now => {
                    self.clients[client as usize].ready = true;
                    io.count(Count::Ready, 1);
                }
                // The run makes no sense without it.
                Greeted::Refused => {
                    self.greeting.forget(client);
                    io.cut(client);
                }
                Greeted::No => {}
            }
            return;
        };
        if stamp.room as usize != self.share.global(client) {
            io.count(Count::Strays, 1);
            return;
        }
        io.count(Count::Acked, 1);
        io.record(Series::Latency, io.now.saturating_sub(stamp.sent));
        if matches!(self.work.load, Load::Window(_)) && io.phase.is_loaded() {
            self.send(client, clock::now(), io);
        }
    }

    fn handle_closed(&mut self, client: u32, io: &mut Io) {
        self.greeting.forget(client);
        if io.phase == Phase::Connect {
            super::reconnect_soon(client, io);
        }
        if std::mem::take(&mut self.clients[client as usize].ready) {
            io.tally.subtract(Count::Ready, 1);
        }
    }

    fn handle_timer(&mut self, at: u64, timer: Timer, io: &mut Io) {
        match timer {
            Timer::Connect(client) => io.connect(client),
            Timer::Send(client) if io.phase.is_loaded() => {
                if self.clients[client as usize].ready {
                    self.send(client, at, io);
                } else {
                    // It lost its connection, and cannot get what was due.
                    io.count(Count::Due, 1);
                }
                if let Load::Rate(rate) = self.work.load {
                    io.timers.set(at + Load::period(rate), Timer::Send(client));
                }
            }
            Timer::Greeting { .. } => {
                self.greeting
                    .handle_timer(timer, io, |packet| packet.extend_from_slice(GREETING));
            }
            Timer::Send(_) | Timer::Cut(_) | Timer::Attempt { .. } | Timer::Heartbeat { .. } => {}
        }
    }

    fn finish(self) {}
}

const GREETING: &[u8] = br#"420["echo",1]"#;

/// The stamp in `3<id>["<stamp>.."]`.
fn stamp_of(message: &[u8], form: Form) -> Option<Stamp> {
    let rest = message.strip_prefix(b"3")?;
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    payload::read(form.read(rest[digits..].strip_prefix(b"[")?)?)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn a_stall_is_in_the_latency_of_every_message_that_was_due_meanwhile() {
        const SECOND: u64 = 1_000_000_000;
        let work = Work {
            load: Load::Rate(1.0),
            size: 40,
            form: Form::Text,
            warmup: Duration::ZERO,
            duration: Duration::from_secs(1),
        };
        let share = Share {
            thread: 0,
            threads: 1,
        };
        let mut echo = Echo::new(share, 1, work);
        echo.clients[0].ready = true;
        let mut io = Io::new(Arc::default(), Arc::new([]), 1);
        io.phase = Phase::Measure;
        io.timers.set(SECOND, Timer::Send(0));
        // Nothing ran for four seconds; then all that was due is sent and answered at once.
        io.now = 5 * SECOND;
        while let Some((at, timer)) = io.timers.poll(io.now) {
            echo.handle_timer(at, timer, &mut io);
        }
        let packets = String::from_utf8(std::mem::take(&mut io.packets)).unwrap();
        let payloads: Vec<&str> = packets.split('"').filter(|part| part.len() == 40).collect();
        assert_eq!(payloads.len(), 5);
        for payload in payloads {
            echo.handle_message(0, format!("31[\"{payload}\"]").as_bytes(), &mut io);
        }
        let latency = io.times.series(Series::Latency).unwrap();
        let found: Vec<u64> = latency
            .iter_recorded()
            .map(|step| step.value_iterated_to() / 1_000_000)
            .collect();
        assert_eq!(latency.len(), 5);
        assert_eq!(found, [0, 1, 2, 3, 4]);
    }

    #[test]
    fn the_stamp_is_found_behind_the_ack_id() {
        let stamp = Stamp {
            sent: 7,
            sequence: 8,
            room: 9,
        };
        let mut message = b"3123[\"".to_vec();
        payload::write(stamp, 40, &mut message);
        message.extend_from_slice(b"\"]");
        assert_eq!(stamp_of(&message, Form::Text), Some(stamp));
        assert_eq!(stamp_of(&message, Form::Binary), None);
        assert_eq!(stamp_of(br#"30[]"#, Form::Text), None);
        assert_eq!(stamp_of(br#"2["m"]"#, Form::Text), None);
    }
}
