//! `fanout`: each room has a publisher that is not in it; what it publishes goes to every member.
//!
//! In a closed loop a publisher keeps a window of messages in flight, and a message is done when the last member of the
//! room has got it. Paced, it publishes on a schedule, and latency counts from the schedule's time.

pub(crate) mod rooms;

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, ensure};

use super::greeting::{Greeted, Greeting};
use super::load::Load;
use super::{Io, Mail, Phase, Scenario, Share};
use crate::clock;
use crate::crew::{Crew, Setup};
use crate::payload::{self, Form, Stamp};
use crate::stats::{Count, Series};
use crate::summary::{Summary, seconds_between};
use crate::timers::Timer;
use rooms::{Completions, Layout, Rooms};

/// What to do.
#[derive(Clone, Debug)]
pub(crate) struct Work {
    /// Rooms, each with a publisher of its own.
    pub(crate) rooms: usize,
    /// Members of each room, the publisher not among them.
    pub(crate) members: usize,
    /// In flight per room, or messages per second in each room.
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

impl Work {
    /// Clients that it takes: all members and all publishers.
    pub(crate) fn clients(&self) -> usize {
        self.rooms * (self.members + 1)
    }
}

/// Runs the scenario.
pub(crate) fn run(setup: Setup, work: &Work) -> Result<Summary> {
    ensure!(
        setup.dialler.clients == work.clients(),
        "members and publishers are all clients"
    );
    let layout = Layout {
        rooms: work.rooms,
        members: work.members,
    };
    let window = match work.load {
        Load::Window(window) => window as usize,
        Load::Rate(_) => 0,
    };
    let completions = Arc::new(Completions::new(layout, window));
    let mut crew = Crew::start(setup.clone(), |share| {
        Fanout::new(share, layout, work.clone(), Arc::clone(&completions))
    })?;
    crew.connect()?;
    let (begin, end) = crew.measure(work.warmup, work.duration)?;
    crew.drain()?;
    let totals = crew.totals();
    let mut finished = crew.finish()?;

    let deliveries = end.totals.since(&begin.totals, Count::Delivered) as f64;
    let text = format!(
        "{} rooms of {}, {}, {}",
        work.rooms,
        work.members,
        work.load.describe("room"),
        work.form.describe(work.size)
    );
    let mut summary = Summary::new(setup.name, text);
    summary.add("rate", deliveries / seconds_between(&begin, &end));
    summary.add_latencies(&finished.times);
    summary.add_cost(&begin, &end, "deliveries_per_cpu_second", deliveries);
    summary.add("sent", end.totals.since(&begin.totals, Count::Sent) as f64);
    summary.add("received", deliveries);
    let out_of_order: u64 = finished.parts.iter().sum();
    let due = totals.of_count(Count::Due);
    let lost = due.saturating_sub(totals.of_count(Count::Delivered)) as f64;
    summary.add("due", due as f64);
    summary.add("lost", lost);
    summary.add("lost_part", lost / (due as f64).max(1.0));
    summary.add("out_of_order", out_of_order as f64);
    summary.add("strays", totals.of_count(Count::Strays) as f64);
    summary.add_connections(&totals);
    if let Load::Rate(rate) = work.load {
        note_shortfall(
            &mut summary,
            rate * work.rooms as f64 * seconds_between(&begin, &end),
        );
    }
    summary.take_moments(&mut finished);
    Ok(summary)
}

/// A schedule that the generator could not keep is worth a sentence.
fn note_shortfall(summary: &mut Summary, wanted: f64) {
    let sent = summary.value("sent").unwrap_or_default();
    if sent < wanted * 0.98 - 1.0 {
        let part = sent / wanted * 100.0;
        summary.notes.push(format!(
            "Only {part:.0} % of the schedule was sent in the measured time."
        ));
    }
}

struct Fanout {
    share: Share,
    layout: Layout,
    work: Work,
    greeting: Greeting,
    ready: Vec<bool>,
    /// The next sequence number of each member.
    expected: Vec<u32>,
    rooms: Rooms,
    completions: Arc<Completions>,
    out_of_order: u64,
}

impl Fanout {
    fn new(share: Share, layout: Layout, work: Work, completions: Arc<Completions>) -> Self {
        let clients = share.count(layout.clients());
        let rooms = Rooms::new(layout, share, &completions);
        Self {
            share,
            layout,
            work,
            greeting: Greeting::new(clients),
            ready: vec![false; clients],
            expected: vec![0; clients],
            rooms,
            completions,
            out_of_order: 0,
        }
    }

    fn publish(&mut self, room: u32, sent: u64, io: &mut Io) {
        let Some(publisher) = self.share.local(self.layout.publisher(room)) else {
            return;
        };
        io.count(Count::Due, self.work.members as u64);
        if !self.ready[publisher as usize] {
            // It lost its connection, and with it the room loses what it should have got.
            return io.count(Count::Skipped, 1);
        }
        let sequence = self.rooms.next_sequence(room);
        let stamp = Stamp {
            sent,
            sequence,
            room,
        };
        let (size, form) = (self.work.size, self.work.form);
        io.send(publisher, |packet| {
            packet.extend_from_slice(format!("42[\"publish\",\"r{room}\",\"m\",").as_bytes());
            form.write_last(packet, |packet| payload::write(stamp, size, packet));
        });
        io.count(Count::Sent, 1);
    }

    fn begin(&mut self, io: &mut Io) {
        for room in self.rooms.published_here() {
            match self.work.load {
                Load::Window(window) => {
                    for _ in 0..window {
                        self.publish(room, clock::now(), io);
                    }
                }
                Load::Rate(rate) => {
                    let offset = io.random() * Load::period(rate) as f64;
                    io.timers.set(io.now + offset as u64, Timer::Send(room));
                }
            }
        }
    }

    fn delivered(&mut self, client: u32, stamp: Stamp, io: &mut Io) {
        let expected = &mut self.expected[client as usize];
        if stamp.sequence < *expected {
            self.out_of_order += 1;
        } else {
            *expected = stamp.sequence + 1;
        }
        io.count(Count::Delivered, 1);
        io.record(Series::Latency, io.now.saturating_sub(stamp.sent));
        if !self.rooms.delivered(stamp.room, stamp.sequence) {
            return;
        }
        if self.completions.part_done(stamp.room, stamp.sequence) {
            let thread = self.layout.publisher(stamp.room) % self.share.threads;
            if thread == self.share.thread {
                self.handle_completion(stamp.room, io);
            } else {
                io.mailboxes[thread].post(Mail::Completion(stamp.room));
            }
        }
    }

    fn greet(&self, client: u32) -> impl FnOnce(&mut Vec<u8>) + use<> {
        let room = self.layout.room_of(self.share.global(client));
        move |packet| match room {
            Some(room) => packet.extend_from_slice(format!("420[\"join\",\"r{room}\"]").as_bytes()),
            None => packet.extend_from_slice(br#"420["echo",1]"#),
        }
    }
}

impl Scenario for Fanout {
    type Part = u64;

    fn node(&self, client: u32) -> usize {
        self.layout.node(self.share.global(client))
    }

    fn handle_phase(&mut self, phase: Phase, io: &mut Io) {
        match phase {
            Phase::Connect => (0..self.ready.len() as u32).for_each(|client| io.connect(client)),
            Phase::Warmup => self.begin(io),
            Phase::Measure | Phase::Drain | Phase::Leave => {}
        }
    }

    fn handle_joined(&mut self, client: u32, _reply: &[u8], io: &mut Io) {
        let greet = self.greet(client);
        self.greeting.begin(client, io, greet);
    }

    fn handle_message(&mut self, client: u32, message: &[u8], io: &mut Io) {
        let argument = message.strip_prefix(b"2[\"m\",");
        let content = argument.and_then(|argument| self.work.form.read(argument));
        let stamp = content.and_then(payload::read);
        let Some(stamp) = stamp else {
            match self.greeting.handle_message(client, message, io) {
                Greeted::Now => {
                    self.ready[client as usize] = true;
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
        if self.layout.room_of(self.share.global(client)) == Some(stamp.room) {
            self.delivered(client, stamp, io);
        } else {
            io.count(Count::Strays, 1);
        }
    }

    fn handle_closed(&mut self, client: u32, io: &mut Io) {
        self.greeting.forget(client);
        if std::mem::take(&mut self.ready[client as usize]) {
            io.tally.subtract(Count::Ready, 1);
        }
        if io.phase == Phase::Connect {
            super::reconnect_soon(client, io);
        }
    }

    fn handle_timer(&mut self, at: u64, timer: Timer, io: &mut Io) {
        match timer {
            Timer::Connect(client) => io.connect(client),
            Timer::Send(room) if io.phase.is_loaded() => {
                self.publish(room, at, io);
                if let Load::Rate(rate) = self.work.load {
                    io.timers.set(at + Load::period(rate), Timer::Send(room));
                }
            }
            Timer::Greeting { client, .. } => {
                let greet = self.greet(client);
                self.greeting.handle_timer(timer, io, greet);
            }
            Timer::Send(_) | Timer::Cut(_) | Timer::Attempt { .. } | Timer::Heartbeat { .. } => {}
        }
    }

    fn handle_completion(&mut self, room: u32, io: &mut Io) {
        if io.phase.is_loaded() {
            self.publish(room, clock::now(), io);
        }
    }

    fn finish(self) -> u64 {
        self.out_of_order
    }
}
