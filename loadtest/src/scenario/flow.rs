//! Numbered messages that have to arrive while connections break: what `jitter`, `avalanche`, `rollout`, `kill` and
//! `recovery` share.
//!
//! Publishers send on a schedule, each message with an ack. Clients remember what they got, when they were away, and
//! what they were told when they came back. The [`verdict`] puts both together at the end: only what a server has
//! acknowledged can be lost, and a client that it calls recovered must have all of it.

pub(crate) mod findings;
pub(crate) mod layout;
pub(crate) mod member;
pub(crate) mod ticket;
pub(crate) mod track;
pub(crate) mod verdict;

use std::time::Duration;

use super::greeting::{Greeted, Greeting};
use super::load::Load;
use super::{Io, Phase, Scenario, Share};
use crate::clock;
use crate::payload::{self, Form, Stamp};
use crate::stats::{Count, Series};
use crate::timers::Timer;
use layout::{Layout, Role};
use member::Member;
use ticket::Welcome;

/// What to do.
#[derive(Clone, Debug)]
pub(crate) struct Work {
    /// Who is in which room, and who publishes.
    pub(crate) layout: Layout,
    /// Messages per second in each active room; nothing is published there without it.
    pub(crate) rate: Option<f64>,
    /// Messages per second to everyone.
    pub(crate) broadcast_rate: Option<f64>,
    /// Characters of the argument.
    pub(crate) size: usize,
    /// How it travels.
    pub(crate) form: Form,
    /// What this tool does to its own members.
    pub(crate) disturbance: Disturbance,
}

/// What breaks connections.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Disturbance {
    /// Each member is cut now and then, on a schedule of its own.
    Jitter {
        /// Mean time between two cuts of a member.
        every: Duration,
        /// How long it is away.
        away: Duration,
        /// Part of the cuts that the server does not see: the old connection stays open, without a word.
        half_open: f64,
    },
    /// All members are cut when the measured time begins.
    Avalanche {
        /// How long they are away; each waits half to one and a half of it.
        away: Duration,
        /// See [`Disturbance::Jitter`].
        half_open: f64,
    },
    /// Somebody else does it.
    Outside,
}

impl Work {
    fn rate_of(&self, stream: u32) -> Option<f64> {
        if stream == self.layout.everyone() {
            self.broadcast_rate
        } else {
            self.rate
        }
    }

    /// In words, for the summary.
    pub(crate) fn describe(&self) -> String {
        let Layout {
            rooms,
            members,
            active,
            ..
        } = self.layout;
        let mut text = format!("{rooms} rooms of {members}");
        if let Some(rate) = self.rate {
            text += &format!(", {rate}/s in each");
            if active < rooms {
                text += &format!(" of {active}");
            }
        }
        if let Some(rate) = self.broadcast_rate {
            text += &format!(", {rate}/s to everyone");
        }
        if self.form == Form::Binary {
            text += ", binary";
        }
        text
    }
}

/// One thread's publishers and members.
pub(crate) struct Flow {
    share: Share,
    work: Work,
    /// Payload of CONNECT, to which a session's key is added.
    auth: Vec<u8>,
    greeting: Greeting,
    clients: Vec<Member>,
    /// By stream: what this thread has published.
    published: Vec<Vec<Message>>,
}

/// A message of a stream; its number is its place.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Message {
    /// When it was sent.
    pub(crate) sent: u64,
    /// When the server has acknowledged it.
    pub(crate) acked: Option<u64>,
}

/// What is left of a thread.
#[derive(Debug)]
pub(crate) struct Part {
    /// By stream.
    pub(crate) published: Vec<Vec<Message>>,
    /// All that were to receive something, or to stay in a room.
    pub(crate) receivers: Vec<Receiver>,
}

/// A client with what it was to receive.
#[derive(Debug)]
pub(crate) struct Receiver {
    /// Its number.
    pub(crate) client: usize,
    /// By track of the member.
    pub(crate) streams: [Option<u32>; 2],
    /// Its memory.
    pub(crate) member: Member,
}

impl Flow {
    /// Nothing has happened yet.
    pub(crate) fn new(share: Share, work: Work, auth: Vec<u8>) -> Self {
        let clients = share.count(work.layout.clients());
        Self {
            share,
            auth,
            greeting: Greeting::new(clients),
            clients: (0..clients).map(|_| Member::default()).collect(),
            published: vec![Vec::new(); work.layout.rooms + 1],
            work,
        }
    }

    fn all(&self) -> impl Iterator<Item = u32> + use<> {
        0..self.clients.len() as u32
    }

    fn role(&self, client: u32) -> Role {
        self.work.layout.role(self.share.global(client))
    }

    fn is_member(&self, client: u32) -> bool {
        matches!(self.role(client), Role::Member(_))
    }

    fn members(&self) -> Vec<u32> {
        self.all()
            .filter(|&client| self.is_member(client))
            .collect()
    }

    fn publisher(&self, stream: u32) -> Option<u32> {
        self.share.local(self.work.layout.publisher(stream))
    }

    fn begin(&mut self, io: &mut Io) {
        // From now on nobody coordinates the clients any more.
        io.hurry = true;
        for stream in self.work.layout.streams() {
            if let Some(rate) = self.work.rate_of(stream)
                && self.publisher(stream).is_some()
            {
                let offset = io.random() * Load::period(rate) as f64;
                io.timers.set(io.now + offset as u64, Timer::Send(stream));
            }
        }
        for client in self.members() {
            self.plan_cut(client, io.random(), io);
        }
    }

    fn publish(&mut self, stream: u32, at: u64, io: &mut Io) {
        let Some(publisher) = self.publisher(stream) else {
            return;
        };
        if !self.clients[publisher as usize].ready {
            return io.count(Count::Skipped, 1);
        }
        let messages = &mut self.published[stream as usize];
        let sequence = messages.len() as u32;
        let sent = clock::now();
        messages.push(Message { sent, acked: None });
        let stamp = Stamp {
            sent: at,
            sequence,
            room: stream,
        };
        let (size, form) = (self.work.size, self.work.form);
        let everyone = self.work.layout.everyone();
        io.send(publisher, |packet| {
            let id = sequence + 1;
            let head = if stream == everyone {
                format!("42{id}[\"broadcast\",\"m\",")
            } else {
                format!("42{id}[\"publish\",\"r{stream}\",\"m\",")
            };
            packet.extend_from_slice(head.as_bytes());
            form.write_last(packet, |packet| {
                payload::write_with_time(stamp, sent, size, packet);
            });
        });
        io.count(Count::Sent, 1);
        io.count(Count::Due, self.work.layout.receivers(stream) as u64);
    }

    fn acknowledged(&mut self, client: u32, message: &[u8], io: &mut Io) {
        let stream = self.work.layout.published_by(self.share.global(client));
        let answered = stream.zip(Answer::read(message));
        let Some((stream, Answer { number, accepted })) = answered else {
            return io.count(Count::Strays, 1);
        };
        match self.published[stream as usize].get_mut(number) {
            Some(message) if accepted => message.acked = Some(io.now),
            Some(_) => io.count(Count::PublishesRefused, 1),
            None => io.count(Count::Strays, 1),
        }
    }

    /// Takes an event without ack id: `2["name",..]`.
    fn delivered(&mut self, client: u32, event: &[u8], io: &mut Io) {
        let streams = self.work.layout.received_by(self.share.global(client));
        let member = &mut self.clients[client as usize];
        member.ticket.remember(event);
        let argument = event.strip_prefix(b"2[\"m\",");
        let content = argument.and_then(|argument| self.work.form.read(argument));
        let stamped = content.and_then(payload::read_with_time);
        let place = stamped.and_then(|(stamp, _)| {
            let place = streams.iter().position(|&one| one == Some(stamp.room));
            place.filter(|_| stamp.sequence < MOST_MESSAGES)
        });
        let (Some((stamp, sent)), Some(track)) = (stamped, place) else {
            return io.count(Count::Strays, 1);
        };
        let delivery = member.deliver(track, stamp.sequence, sent, io.now);
        io.count(Count::Replayed, u64::from(delivery.is_replayed));
        if delivery.is_new {
            io.count(Count::Delivered, 1);
            io.record(Series::Latency, io.now.saturating_sub(stamp.sent));
        }
    }

    fn ready(&mut self, client: u32, io: &mut Io) {
        io.count(Count::Ready, 1);
        // What is published from this moment on is for the member, so the moment has to be the true one.
        if let Some(away) = self.clients[client as usize].back(clock::now()) {
            io.times.record(Series::Recovery, away);
        }
        if io.phase.is_loaded() && self.is_member(client) {
            self.plan_cut(client, 0.5 + io.random(), io);
        }
    }

    /// Plans the next cut of a member; only the last plan counts.
    fn plan_cut(&mut self, client: u32, part: f64, io: &mut Io) {
        if let Disturbance::Jitter { every, .. } = self.work.disturbance {
            let at = io.now + (clock::nanos(every) as f64 * part) as u64;
            self.clients[client as usize].next_cut = at;
            io.timers.set(at, Timer::Cut(client));
        }
    }

    fn cut(&mut self, client: u32, away: Duration, half_open: f64, io: &mut Io) {
        if !self.clients[client as usize].ready {
            return;
        }
        io.count(Count::Cuts, 1);
        if io.random() < half_open {
            io.abandon(client);
        } else {
            io.cut(client);
        }
        self.left(client, io);
        io.timers
            .set(io.now + clock::nanos(away), Timer::Connect(client));
    }

    fn left(&mut self, client: u32, io: &mut Io) {
        self.greeting.forget(client);
        if self.clients[client as usize].leave(io.now) {
            io.tally.subtract(Count::Ready, 1);
        }
        self.record_replay(client, io);
    }

    fn record_replay(&mut self, client: u32, io: &mut Io) {
        if let Some(replay) = self.clients[client as usize].take_replay() {
            io.times.record(Series::Replay, replay.took());
        }
    }

    fn greet(&self, client: u32) -> impl FnOnce(&mut Vec<u8>) + use<> {
        let role = self.role(client);
        move |packet| match role {
            Role::Member(room) => {
                packet.extend_from_slice(format!("420[\"join\",\"r{room}\"]").as_bytes());
            }
            Role::Publisher(_) | Role::Broadcaster => {
                packet.extend_from_slice(br#"420["echo",1]"#);
            }
        }
    }
}

impl Scenario for Flow {
    type Part = Part;

    fn node(&self, client: u32) -> usize {
        self.work.layout.node(self.share.global(client))
    }

    fn handle_phase(&mut self, phase: Phase, io: &mut Io) {
        match phase {
            Phase::Connect => self.all().for_each(|client| io.connect(client)),
            Phase::Warmup => self.begin(io),
            Phase::Measure => {
                if let Disturbance::Avalanche { away, half_open } = self.work.disturbance {
                    for client in self.members() {
                        let away = away.mul_f64(0.5 + io.random());
                        self.cut(client, away, half_open, io);
                    }
                }
            }
            Phase::Drain => {}
            Phase::Leave => self.all().for_each(|client| self.record_replay(client, io)),
        }
    }

    fn handle_opened(&mut self, client: u32, io: &mut Io) {
        self.clients[client as usize].ask(io.now);
    }

    fn handle_joined(&mut self, client: u32, reply: &[u8], io: &mut Io) {
        let member = &mut self.clients[client as usize];
        let welcome = member.answered(reply, io.now);
        io.count(Count::Offers, u64::from(member.ticket.is_offered()));
        if member.is_away() {
            io.count(Count::Returns, 1);
            let recovered = matches!(welcome, Welcome::Recovered | Welcome::Renamed);
            io.count(Count::Recovered, u64::from(recovered));
            io.count(Count::Renamed, u64::from(welcome == Welcome::Renamed));
        }
        for event in std::mem::take(&mut member.early) {
            self.delivered(client, &event, io);
        }
        if self.clients[client as usize].is_in_room() {
            self.ready(client, io);
        } else {
            let greet = self.greet(client);
            self.greeting.begin(client, io, greet);
        }
    }

    fn handle_message(&mut self, client: u32, message: &[u8], io: &mut Io) {
        if message.starts_with(b"2[") {
            let member = &mut self.clients[client as usize];
            if member.is_joined() {
                self.delivered(client, message, io);
            } else {
                member.early.push(message.into());
            }
            return;
        }
        match self.greeting.handle_message(client, message, io) {
            Greeted::Now => self.ready(client, io),
            // It asks again.
            Greeted::Refused => {}
            Greeted::No => self.acknowledged(client, message, io),
        }
    }

    fn handle_closed(&mut self, client: u32, io: &mut Io) {
        self.left(client, io);
        let delay = self.clients[client as usize].back_off(io.random());
        io.timers
            .set(io.now + clock::nanos(delay), Timer::Connect(client));
    }

    fn handle_timer(&mut self, at: u64, timer: Timer, io: &mut Io) {
        match timer {
            Timer::Connect(client) => {
                match self.clients[client as usize].ticket.payload(&self.auth) {
                    Some(payload) => io.connect_with(client, payload),
                    None => io.connect(client),
                }
            }
            Timer::Cut(client)
                if self.clients[client as usize].next_cut == at && io.phase.is_loaded() =>
            {
                if let Disturbance::Jitter {
                    away, half_open, ..
                } = self.work.disturbance
                {
                    self.cut(client, away, half_open, io);
                }
            }
            Timer::Send(stream) if io.phase.is_loaded() => {
                self.publish(stream, at, io);
                if let Some(rate) = self.work.rate_of(stream) {
                    io.timers.set(at + Load::period(rate), Timer::Send(stream));
                }
            }
            Timer::Greeting { client, .. } => {
                let greet = self.greet(client);
                self.greeting.handle_timer(timer, io, greet);
            }
            Timer::Cut(_) | Timer::Send(_) | Timer::Attempt { .. } | Timer::Heartbeat { .. } => {}
        }
    }

    fn finish(mut self) -> Part {
        let layout = self.work.layout;
        let clients = std::mem::take(&mut self.clients);
        let receiver = |(client, member)| {
            let client = self.share.global(client);
            let streams = layout.received_by(client);
            Receiver {
                client,
                streams,
                member,
            }
        };
        Part {
            receivers: (0..).zip(clients).map(receiver).collect(),
            published: self.published,
        }
    }
}

/// More than any run sends in one stream; a larger number is not one of ours.
const MOST_MESSAGES: u32 = 1 << 24;

/// What `3<id>[{"ok":true}]` says of a message. A refusal acknowledges nothing.
#[derive(Debug, PartialEq, Eq)]
struct Answer {
    number: usize,
    accepted: bool,
}

impl Answer {
    fn read(message: &[u8]) -> Option<Self> {
        let rest = message.strip_prefix(b"3")?;
        let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let id: usize = std::str::from_utf8(&rest[..digits]).ok()?.parse().ok()?;
        Some(Self {
            number: id.checked_sub(1)?,
            accepted: !rest[digits..].starts_with(br#"[{"ok":false"#),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_ack_that_says_ok_counts() {
        let read = |message| Answer::read(message).map(|answer| (answer.number, answer.accepted));
        assert_eq!(read(br#"38[{"ok":true}]"#), Some((7, true)));
        assert_eq!(read(br#"38[]"#), Some((7, true)));
        assert_eq!(read(br#"38[{"ok":false,"error":{}}]"#), Some((7, false)));
        assert_eq!(read(br#"30[1]"#), None);
    }
}
