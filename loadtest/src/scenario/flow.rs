//! Numbered messages that have to arrive while connections break: what `jitter`, `avalanche` and `rollout` share.
//!
//! Publishers send on a schedule, each message with an ack. Members remember what they got and when they were away. The
//! [`verdict`] puts both together at the end: only what a server has acknowledged can be lost.

pub(crate) mod member;
pub(crate) mod verdict;

use std::time::Duration;

use super::fanout::rooms::Layout;
use super::greeting::{Greeted, Greeting};
use super::load::Load;
use super::{Io, Phase, Scenario, Share};
use crate::clock;
use crate::payload::{self, Stamp};
use crate::stats::{Count, Series};
use crate::timers::Timer;
use member::Member;

/// What to do.
#[derive(Clone, Debug)]
pub(crate) struct Work {
    /// Rooms, each with a publisher of its own.
    pub(crate) rooms: usize,
    /// Members of each room, the publisher not among them.
    pub(crate) members: usize,
    /// Messages per second in each room; nothing is published without it.
    pub(crate) rate: Option<f64>,
    /// Characters of the argument.
    pub(crate) size: usize,
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
    },
    /// All members are cut when the measured time begins.
    Avalanche {
        /// How long they are away; each waits half to one and a half of it.
        away: Duration,
    },
    /// Somebody else does it.
    Outside,
}

impl Work {
    /// How members and publishers are spread.
    pub(crate) fn layout(&self) -> Layout {
        Layout {
            rooms: self.rooms,
            members: self.members,
        }
    }
}

/// One thread's publishers and members.
pub(crate) struct Flow {
    share: Share,
    layout: Layout,
    work: Work,
    /// Payload of CONNECT, to which a resumed session's key is added.
    auth: Vec<u8>,
    greeting: Greeting,
    clients: Vec<Member>,
    published: Vec<Published>,
}

/// What a publisher has sent, by number.
#[derive(Debug, Default)]
pub(crate) struct Published {
    /// Which room.
    pub(crate) room: u32,
    /// When it should have been sent, and whether the server has acknowledged it.
    pub(crate) messages: Vec<(u64, bool)>,
}

/// What is left of a thread.
#[derive(Debug)]
pub(crate) struct Part {
    /// By publisher.
    pub(crate) published: Vec<Published>,
    /// All members, with their room.
    pub(crate) members: Vec<(u32, Member)>,
}

impl Flow {
    /// Nothing has happened yet.
    pub(crate) fn new(share: Share, work: Work, auth: Vec<u8>) -> Self {
        let layout = work.layout();
        let clients = share.count(layout.clients());
        Self {
            share,
            layout,
            work,
            auth,
            greeting: Greeting::new(clients),
            clients: (0..clients).map(|_| Member::default()).collect(),
            published: (0..layout.rooms as u32)
                .map(|room| Published {
                    room,
                    messages: Vec::new(),
                })
                .collect(),
        }
    }

    fn all(&self) -> impl Iterator<Item = u32> + use<> {
        0..self.clients.len() as u32
    }

    fn room_of(&self, client: u32) -> Option<u32> {
        self.layout.room_of(self.share.global(client))
    }

    fn members(&self) -> Vec<u32> {
        let member = |client: &u32| self.room_of(*client).is_some();
        self.all().filter(member).collect()
    }

    fn begin(&mut self, io: &mut Io) {
        // From now on nobody coordinates the clients any more.
        io.hurry = true;
        if let Some(rate) = self.work.rate {
            for room in 0..self.layout.rooms as u32 {
                if self.share.local(self.layout.publisher(room)).is_some() {
                    let offset = io.random() * Load::period(rate) as f64;
                    io.timers.set(io.now + offset as u64, Timer::Send(room));
                }
            }
        }
        for client in self.members() {
            self.plan_cut(client, io.random(), io);
        }
    }

    fn publish(&mut self, room: u32, at: u64, io: &mut Io) {
        let Some(publisher) = self.share.local(self.layout.publisher(room)) else {
            return;
        };
        if !self.clients[publisher as usize].ready {
            return io.count(Count::Skipped, 1);
        }
        let messages = &mut self.published[room as usize].messages;
        let sequence = messages.len() as u32;
        messages.push((at, false));
        let stamp = Stamp {
            sent: at,
            sequence,
            room,
        };
        let size = self.work.size;
        io.send(publisher, |packet| {
            packet.extend_from_slice(
                format!("42{}[\"publish\",\"r{room}\",\"m\",\"", sequence + 1).as_bytes(),
            );
            payload::write(stamp, size, packet);
            packet.extend_from_slice(b"\"]");
        });
        io.count(Count::Sent, 1);
        io.count(Count::Due, self.work.members as u64);
    }

    fn acknowledged(&mut self, client: u32, message: &[u8], io: &mut Io) {
        let publisher_of = self
            .share
            .global(client)
            .checked_sub(self.layout.rooms * self.layout.members);
        let room = publisher_of.and_then(|room| self.published.get_mut(room));
        let message = room.and_then(|room| room.messages.get_mut(accepted(message)?));
        match message {
            Some((_, acked)) => *acked = true,
            None => io.count(Count::Strays, 1),
        }
    }

    fn ready(&mut self, client: u32, io: &mut Io) {
        let member = &mut self.clients[client as usize];
        member.ready = true;
        member.failed_attempts = 0;
        io.count(Count::Ready, 1);
        if let Some(away) = member.back(io.now) {
            io.times.record(Series::Recovery, away);
        }
        if io.phase.is_loaded() && self.room_of(client).is_some() {
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

    fn cut(&mut self, client: u32, away: Duration, io: &mut Io) {
        if !self.clients[client as usize].ready {
            return;
        }
        io.count(Count::Cuts, 1);
        io.cut(client);
        self.left(client, io);
        io.timers
            .set(io.now + clock::nanos(away), Timer::Connect(client));
    }

    fn left(&mut self, client: u32, io: &mut Io) {
        let member = &mut self.clients[client as usize];
        self.greeting.forget(client);
        if std::mem::take(&mut member.ready) {
            io.tally.subtract(Count::Ready, 1);
            member.leave(io.now);
        }
    }

    fn greet(&self, client: u32) -> impl FnOnce(&mut Vec<u8>) + use<> {
        let room = self.room_of(client);
        move |packet| match room {
            Some(room) => packet.extend_from_slice(format!("420[\"join\",\"r{room}\"]").as_bytes()),
            None => packet.extend_from_slice(br#"420["echo",1]"#),
        }
    }
}

impl Scenario for Flow {
    type Part = Part;

    fn node(&self, client: u32) -> usize {
        self.layout.node(self.share.global(client))
    }

    fn handle_phase(&mut self, phase: Phase, io: &mut Io) {
        match phase {
            Phase::Connect => self.all().for_each(|client| io.connect(client)),
            Phase::Warmup => self.begin(io),
            Phase::Measure => {
                if let Disturbance::Avalanche { away } = self.work.disturbance {
                    for client in self.members() {
                        let away = away.mul_f64(0.5 + io.random());
                        self.cut(client, away, io);
                    }
                }
            }
            Phase::Drain | Phase::Leave => {}
        }
    }

    fn handle_joined(&mut self, client: u32, reply: &[u8], io: &mut Io) {
        if self.clients[client as usize].resumed(reply) {
            io.count(Count::Recovered, 1);
            self.ready(client, io);
        } else {
            let greet = self.greet(client);
            self.greeting.begin(client, io, greet);
        }
    }

    fn handle_message(&mut self, client: u32, message: &[u8], io: &mut Io) {
        if let Some(stamp) = message.strip_prefix(b"2[\"m\",\"").and_then(payload::read) {
            if self.room_of(client) != Some(stamp.room) {
                return io.count(Count::Strays, 1);
            }
            if self.clients[client as usize].delivered(stamp.sequence, message) {
                io.count(Count::Delivered, 1);
                io.record(Series::Latency, io.now.saturating_sub(stamp.sent));
            }
        } else if self.greeting.handle_message(client, message, io) == Greeted::Now {
            self.ready(client, io);
        } else {
            self.acknowledged(client, message, io);
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
            Timer::Connect(client) => match self.clients[client as usize].resume_with(&self.auth) {
                Some(payload) => io.connect_with(client, payload),
                None => io.connect(client),
            },
            Timer::Cut(client)
                if self.clients[client as usize].next_cut == at && io.phase.is_loaded() =>
            {
                if let Disturbance::Jitter { away, .. } = self.work.disturbance {
                    self.cut(client, away, io);
                }
            }
            Timer::Send(room) if io.phase.is_loaded() => {
                self.publish(room, at, io);
                if let Some(rate) = self.work.rate {
                    io.timers.set(at + Load::period(rate), Timer::Send(room));
                }
            }
            Timer::Greeting { client, .. } => {
                let greet = self.greet(client);
                self.greeting.handle_timer(timer, io, greet);
            }
            Timer::Cut(_) | Timer::Send(_) | Timer::Attempt { .. } => {}
        }
    }

    fn finish(mut self) -> Part {
        let rooms: Vec<_> = self.all().map(|client| self.room_of(client)).collect();
        let members = rooms.into_iter().zip(std::mem::take(&mut self.clients));
        Part {
            published: self.published,
            members: members
                .filter_map(|(room, member)| Some((room?, member)))
                .collect(),
        }
    }
}

/// The number of the message that `3<id>[{"ok":true}]` acknowledges. A refusal acknowledges nothing.
fn accepted(message: &[u8]) -> Option<usize> {
    let rest = message.strip_prefix(b"3")?;
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if rest[digits..].starts_with(br#"[{"ok":false"#) {
        return None;
    }
    let id: usize = std::str::from_utf8(&rest[..digits]).ok()?.parse().ok()?;
    id.checked_sub(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_ack_that_says_ok_counts() {
        assert_eq!(accepted(br#"38[{"ok":true}]"#), Some(7));
        assert_eq!(accepted(br#"38[]"#), Some(7));
        assert_eq!(accepted(br#"38[{"ok":false,"error":{}}]"#), None);
        assert_eq!(accepted(br#"30[1]"#), None);
    }
}
