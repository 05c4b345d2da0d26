//! One generator thread: an event loop that owns its clients' connections and calls the scenario.

mod connection;
mod dial;
mod stream;

use std::collections::VecDeque;
use std::io;
use std::sync::mpsc::{Receiver, Sender};
use std::time::Duration;

use mio::{Events, Poll, Token};

use crate::client::{Event, Failure, Lane, Session, Transport};
use crate::clock;
use crate::scenario::{Command, Io, Mail, Scenario, Share};
use crate::stats::{Count, Series, Times};
use crate::timers::Timer;
use connection::Connection;
pub(crate) use dial::{Dialler, Faults, Ramp, Sources, reach};
use stream::{Received, Scratch, Stream};

/// Everything one thread owns.
pub(crate) struct Driver<S> {
    poll: Poll,
    scenario: S,
    share: Share,
    io: Io,
    connections: Vec<Connection>,
    dialler: Dialler,
    ramp: Ramp,
    waiting_to_dial: VecDeque<u32>,
    /// Attempts that have not joined yet.
    dialling: usize,
    next_dial: u64,
    mail: Receiver<Mail>,
    samples: Sender<Times>,
    /// Clients with bytes to write.
    unflushed: Vec<u32>,
    scratch: Scratch,
    stopping: bool,
}

impl<S: Scenario> Driver<S> {
    /// Ready to run; nothing is connected yet.
    pub(crate) fn new(
        poll: Poll,
        scenario: S,
        share: Share,
        io: Io,
        (dialler, ramp): (Dialler, Ramp),
        (mail, samples): (Receiver<Mail>, Sender<Times>),
    ) -> Self {
        let count = share.count(dialler.clients);
        Self {
            poll,
            scenario,
            share,
            io,
            connections: (0..count).map(|_| Connection::default()).collect(),
            dialler,
            ramp,
            waiting_to_dial: VecDeque::new(),
            dialling: 0,
            next_dial: 0,
            mail,
            samples,
            unflushed: Vec::new(),
            scratch: Scratch::new(),
            stopping: false,
        }
    }

    /// Runs until told to stop.
    pub(crate) fn run(mut self) -> io::Result<S::Part> {
        let mut events = Events::with_capacity(1024);
        let mut next_sample = 0;
        while !self.stopping {
            self.poll_events(&mut events)?;
            for event in &events {
                let Some((client, lane)) = client_of(event.token()) else {
                    continue;
                };
                if event.is_writable() {
                    self.handle_writable(client, lane);
                }
                let is_ended = event.is_read_closed() || event.is_error();
                if event.is_readable() || is_ended {
                    self.handle_readable(client, lane, is_ended);
                }
                self.settle();
            }
            self.io.now = clock::now();
            self.handle_mail();
            self.handle_timers();
            self.dial_waiting();
            if self.io.now >= next_sample {
                next_sample = self.io.now + clock::nanos(SAMPLE_EVERY);
                self.send_sample();
            }
        }
        self.send_sample();
        Ok(self.scenario.finish())
    }

    fn poll_events(&mut self, events: &mut Events) -> io::Result<()> {
        let mut until = self.io.timers.next().unwrap_or(u64::MAX);
        if !self.waiting_to_dial.is_empty() && self.may_dial() {
            until = until.min(self.next_dial);
        }
        let wait = Duration::from_nanos(until.saturating_sub(clock::now()));
        match self.poll.poll(events, Some(wait.min(SAMPLE_EVERY))) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(()),
            polled => polled,
        }
    }

    fn handle_mail(&mut self) {
        while let Ok(mail) = self.mail.try_recv() {
            match mail {
                Mail::Phase(phase) => {
                    self.send_sample();
                    self.io.phase = phase;
                    self.scenario.handle_phase(phase, &mut self.io);
                }
                Mail::Completion(room) => self.scenario.handle_completion(room, &mut self.io),
                Mail::Stop => self.stopping = true,
            }
            self.settle();
        }
    }

    fn handle_timers(&mut self) {
        while let Some((at, timer)) = self.io.timers.poll(self.io.now) {
            match timer {
                Timer::Attempt { client, attempt } => {
                    let connection = &self.connections[client as usize];
                    if connection.attempt == attempt && connection.dialling() {
                        self.close(client, Some(Failure::Timeout));
                    }
                }
                Timer::Heartbeat { client, attempt } => {
                    let connection = &self.connections[client as usize];
                    let dead_at = connection.pace.dead_at();
                    if connection.attempt != attempt || connection.session.is_none() {
                        continue;
                    }
                    if dead_at > self.io.now {
                        self.io
                            .timers
                            .set(dead_at, Timer::Heartbeat { client, attempt });
                        continue;
                    }
                    self.close(client, Some(Failure::Silent));
                }
                Timer::Greeting { .. } | Timer::Connect(_) | Timer::Cut(_) | Timer::Send(_) => {
                    self.scenario.handle_timer(at, timer, &mut self.io);
                }
            }
            self.settle();
        }
    }

    fn handle_writable(&mut self, client: u32, lane: Lane) {
        let connection = &mut self.connections[client as usize];
        if let Err(failure) = connection.handle_writable(lane) {
            self.close(client, Some(failure));
        }
    }

    fn handle_readable(&mut self, client: u32, lane: Lane, is_ended: bool) {
        loop {
            let connection = &mut self.connections[client as usize];
            let (read, is_all) = match connection.receive(lane, &mut self.scratch) {
                Ok(Received::Bytes { count, is_all }) => (count, is_all),
                Ok(Received::Nothing | Received::End) => return,
                Err(failure) => return self.close(client, Some(failure)),
            };
            self.io.now = clock::now();
            self.io.count(Count::BytesIn, read as u64);
            if let Err(failure) = self.handle_bytes(client, lane, read) {
                return self.close(client, Some(failure));
            }
            self.settle();
            // An end that came together with the last bytes is no other event.
            if is_all && !is_ended {
                return;
            }
        }
    }

    fn handle_bytes(&mut self, client: u32, lane: Lane, read: usize) -> Result<(), Failure> {
        let connection = &mut self.connections[client as usize];
        let Connection {
            session,
            outs,
            pace,
            target,
            attempt,
            ..
        } = connection;
        let Some(session) = session else {
            return Ok(());
        };
        let target = &self.dialler.targets[*target];
        let (scenario, io, dialling) = (&mut self.scenario, &mut self.io, &mut self.dialling);
        let faults = &self.dialler.faults;
        let taken = session.handle_bytes(
            lane,
            &self.scratch.bytes[..read],
            target,
            outs,
            &mut |event| match event {
                Event::Message(message) => scenario.handle_message(client, message, io),
                Event::Opened {
                    ping_interval,
                    ping_timeout,
                } => {
                    pace.handle_opened(ping_interval, ping_timeout, io.now);
                    let attempt = *attempt;
                    io.timers
                        .set(pace.dead_at(), Timer::Heartbeat { client, attempt });
                    scenario.handle_opened(client, io);
                }
                Event::Joined(reply) => {
                    if let Some(dialled) = pace.handle_joined() {
                        *dialling -= 1;
                        io.times.record(Series::Connect, io.now - dialled);
                        io.count(Count::Connected, 1);
                        io.count(Count::Joined, 1);
                        scenario.handle_joined(client, reply, io);
                    }
                }
                Event::Refused(reason) => faults.note(&String::from_utf8_lossy(reason)),
                Event::Ping => {
                    io.times.record(Series::Lateness, pace.handle_ping(io.now));
                    io.count(Count::Heartbeats, 1);
                }
            },
        );
        if !outs[0].is_empty() || !outs[1].is_empty() {
            self.unflushed.push(client);
        }
        taken
    }

    /// Carries out what the scenario has ordered, and writes what is to be written.
    fn settle(&mut self) {
        while !self.io.commands.is_empty() || !self.unflushed.is_empty() {
            let mut commands = std::mem::take(&mut self.io.commands);
            let mut packets = std::mem::take(&mut self.io.packets);
            let mut begin = 0;
            for command in commands.drain(..) {
                match command {
                    Command::Send { client, end } => {
                        self.send(client, &packets[begin..end]);
                        begin = end;
                    }
                    Command::Connect { client, payload } => {
                        self.connections[client as usize].payload = payload;
                        self.waiting_to_dial.push_back(client);
                    }
                    Command::Cut(client) => self.close(client, None),
                    Command::Abandon(client) => self.abandon(client),
                }
            }
            packets.clear();
            // Closing may have made the scenario order more.
            if self.io.commands.is_empty() {
                self.io.commands = commands;
                self.io.packets = packets;
            }
            self.flush();
        }
    }

    fn send(&mut self, client: u32, packet: &[u8]) {
        let connection = &mut self.connections[client as usize];
        if let Some(session) = &mut connection.session {
            session.send(
                packet,
                &self.dialler.targets[connection.target],
                &mut connection.outs,
            );
            self.unflushed.push(client);
        }
    }

    fn flush(&mut self) {
        while let Some(client) = self.unflushed.pop() {
            for lane in Lane::ALL {
                if let Err(failure) = self.flush_lane(client, lane) {
                    self.close(client, Some(failure));
                }
            }
        }
    }

    fn flush_lane(&mut self, client: u32, lane: Lane) -> Result<(), Failure> {
        let connection = &mut self.connections[client as usize];
        if connection.needs_stream(lane) {
            let global = self.share.global(client);
            let token = token_of(client, lane);
            let target = &self.dialler.targets[connection.target];
            let place = (global, lane, connection.attempt);
            let tls = self.dialler.begin_tls(target)?;
            let stream = self
                .dialler
                .open(self.poll.registry(), token, target, place);
            let tcp = stream.map_err(|_| Failure::Transport)?;
            connection.set_stream(lane, Stream::new(tcp, tls, &self.dialler.faults));
        }
        connection.flush(lane)
    }

    fn dial_waiting(&mut self) {
        while self.may_dial() && self.io.now >= self.next_dial {
            let Some(client) = self.waiting_to_dial.pop_front() else {
                return;
            };
            if let (Some(interval), false) = (self.ramp.interval, self.io.hurry) {
                let behind =
                    self.io.now - clock::nanos(interval.min(Duration::from_nanos(self.io.now)));
                self.next_dial = self.next_dial.max(behind) + clock::nanos(interval);
            }
            self.dial(client);
            self.settle();
        }
    }

    fn may_dial(&self) -> bool {
        self.io.hurry || self.dialling < self.ramp.concurrency
    }

    fn dial(&mut self, client: u32) {
        if self.connections[client as usize].session.is_some() {
            return;
        }
        let global = self.share.global(client);
        let transport = self.dialler.transport(global);
        let connection = &mut self.connections[client as usize];
        let attempt = connection.begin(self.io.now);
        let targets = self.dialler.targets.len();
        connection.target = if attempt == 1 {
            self.scenario.node(client) % targets
        } else if targets > 1 {
            // Another one than before, and not the same for all who were there.
            let step = (self.io.random() * (targets - 1) as f64) as usize;
            (connection.target + 1 + step) % targets
        } else {
            0
        };
        let target = &self.dialler.targets[connection.target];
        let payload = connection
            .payload
            .as_deref()
            .unwrap_or(&self.dialler.payload);
        connection.session = Some(Session::open(
            transport,
            target,
            payload,
            &mut connection.outs,
        ));
        self.dialling += 1;
        let at = self.io.now + clock::nanos(self.ramp.attempt_timeout);
        self.io.timers.set(at, Timer::Attempt { client, attempt });
        self.unflushed.push(client);
    }

    /// Ends a session on this side only.
    fn abandon(&mut self, client: u32) {
        let connection = &mut self.connections[client as usize];
        connection.park(self.poll.registry());
        self.close(client, None);
    }

    /// Ends a session. Without a failure it was the scenario's wish, and nobody needs to be told.
    fn close(&mut self, client: u32, failure: Option<Failure>) {
        let connection = &mut self.connections[client as usize];
        if connection.session.is_none() {
            return;
        }
        if connection.dialling() {
            self.dialling -= 1;
        } else {
            self.io.tally.subtract(Count::Connected, 1);
        }
        connection.end();
        if let Some(failure) = failure {
            self.io.tally.failed(failure);
            self.scenario.handle_closed(client, &mut self.io);
        }
    }

    fn send_sample(&mut self) {
        if !self.io.times.is_empty() {
            // Nobody listens any more only when the run is over.
            let _ = self.samples.send(std::mem::take(&mut self.io.times));
        }
    }
}

/// How often histograms go to the reporting thread; also the longest wait.
const SAMPLE_EVERY: Duration = Duration::from_millis(200);

fn token_of(client: u32, lane: Lane) -> Token {
    Token(client as usize * 2 + lane.index())
}

fn client_of(token: Token) -> Option<(u32, Lane)> {
    let lane = Lane::ALL[token.0 % 2];
    (token != WAKER).then_some(((token.0 / 2) as u32, lane))
}

/// Token of the thread's own waker.
pub(crate) const WAKER: Token = Token(usize::MAX);

impl Dialler {
    fn transport(&self, global: usize) -> Transport {
        // Spread evenly, so that each node and room has its part of both.
        let before = (global as f64 * self.polling_share).floor();
        let after = ((global + 1) as f64 * self.polling_share).floor();
        if after > before {
            Transport::Polling
        } else {
            Transport::WebSocket
        }
    }
}
