//! A Redis that loses what a Redis may lose.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use adapter::recovery::{
    Act, Call, Change, Claimed, Done, Handled, Heard, LogName, PidSecret, Process, Reply, Request,
    ServerId, Settings, Store, Write,
};

use crate::net::{End, Ends, Line, Net, Payload};
use crate::plan::{LEASE, Planted, SECOND};

/// The servers that there were; the last one is the master.
pub struct FakeRedis {
    servers: Vec<Server>,
    empty: Store,
    is_away: bool,
    /// How far ahead its clock is.
    skew: u64,
}

struct Server {
    id: ServerId,
    store: Store,
    /// What a replica, or the file, has not got yet.
    tail: VecDeque<(Call, ServerId, u64)>,
    copy: Store,
    subscribers: BTreeMap<Line, BTreeSet<LogName>>,
}

/// Where time begins: 2026, in microseconds.
const EPOCH: u64 = 1_790_000_000_000_000;

/// For how long it may take until what a server lacks is noticed, once it can be called.
pub const UNSETTLED: u64 = 2 * LEASE + 12 * SECOND;

/// Most calls that a replica is behind.
const BEHIND: usize = 60;

impl FakeRedis {
    /// An empty one.
    pub fn new(settings: Settings, planted: Option<Planted>) -> Self {
        let mut empty = Store::new(settings);
        if planted == Some(Planted::LivedByClock) {
            empty.let_silent_act();
        }
        let mut redis = Self {
            servers: Vec::new(),
            empty: empty.clone(),
            is_away: false,
            skew: 100_000_000,
        };
        redis.take_over(empty);
        redis
    }

    /// The server to connect to, unless it is away.
    pub fn master(&self) -> Option<usize> {
        (!self.is_away).then(|| self.servers.len() - 1)
    }

    /// What the master has.
    pub fn store(&self) -> &Store {
        &self.servers[self.servers.len() - 1].store
    }

    /// Forgets a session, as if it had not been written yet.
    pub fn forget(&mut self, secret: PidSecret) {
        let write = Write {
            secret,
            generation: 0,
            changes: vec![Change::End],
        };
        if let Some(server) = self.servers.last_mut() {
            server.store.write_unfenced(&write, 0);
        }
    }

    /// Away, or back.
    pub fn set_away(&mut self, is_away: bool) {
        self.is_away = is_away;
    }

    /// Lets the clock jump.
    pub fn jump(&mut self, microseconds: i64) {
        self.skew = self.skew.saturating_add_signed(microseconds);
    }

    /// Another server takes over; with a `loss` without the last that was confirmed.
    pub fn fail_over(&mut self, net: &mut Net, loss: bool) {
        let server = self.servers.last_mut().expect("there is always one");
        let lost = match loss {
            true => net.rng.usize(..=server.tail.len()),
            false => 0,
        };
        self.lose_last(lost, net);
    }

    /// Another server takes over without the very last calls.
    pub fn lose_last(&mut self, calls: usize, net: &mut Net) {
        net.model.unsettled = net.now + UNSETTLED;
        let server = self.servers.last_mut().expect("there is always one");
        while server.tail.len() > calls {
            replicate(server, net);
        }
        let store = server.copy.clone();
        self.take_over(store);
    }

    /// Another server takes over without anything that a process which is new told this one. Whether there was no more.
    pub fn lose_new(&mut self, node: usize, net: &mut Net) -> bool {
        let server = self.servers.last_mut().expect("there is always one");
        let seed = net.model.seed_of(node);
        let is_of =
            |process: &Process| process.node.as_str() == node_name(node) && process.seed == seed;
        let first = server.tail.iter().position(|it| is_of(&it.0.process));
        let Some(first) =
            first.filter(|it| server.copy.number(&server.tail[*it].0.process).is_none())
        else {
            return false;
        };
        let calls = server.tail.len() - first;
        self.lose_last(calls, net);
        true
    }

    /// The server restarts empty.
    pub fn empty(&mut self) {
        self.take_over(self.empty.clone());
    }

    fn take_over(&mut self, store: Store) {
        self.servers.push(Server {
            id: ServerId(self.servers.len() as u64 + 1),
            copy: store.clone(),
            store,
            tail: VecDeque::new(),
            subscribers: BTreeMap::new(),
        });
    }

    /// Handles what arrives.
    pub fn handle(&mut self, line: Line, server: usize, payload: Payload, net: &mut Net) {
        match payload {
            Payload::ToRedis(call) => self.call(line, server, call, net),
            Payload::Subscribe(log) => {
                let logs = self.servers[server].subscribers.entry(line).or_default();
                logs.insert(log.clone());
                net.send(line, End::Far, Payload::Subscribed(log));
            }
            Payload::Unsubscribe(log) => {
                if let Some(logs) = self.servers[server].subscribers.get_mut(&line) {
                    logs.remove(&log);
                }
            }
            Payload::Reply(_)
            | Payload::Subscribed(_)
            | Payload::Heard(_)
            | Payload::Up(_)
            | Payload::Down(_) => {}
        }
    }

    fn call(&mut self, line: Line, index: usize, mut call: Call, net: &mut Net) {
        let now = EPOCH + self.skew + net.now;
        let server = &mut self.servers[index];
        let asked = match &call.request {
            Request::Acts { number, .. } => *number,
            Request::Beat(_) | Request::Read(_) | Request::History { .. } => 0,
        };
        break_rules_of_call(server, &mut call, now, net);
        let epoch = server.store.epoch();
        let mut handled = server.store.handle(&call, server.id, now);
        break_rules_of_reply(server, &call, asked, &mut handled, net);
        if epoch.is_some() && server.store.epoch() != epoch {
            net.model.excuse(net.now);
            net.say(|| {
                format!(
                    "server {index}: epoch {epoch:?} -> {:?}: {call:?}",
                    server.store.epoch()
                )
            });
        }
        if !matches!(call.request, Request::Beat(_)) {
            net.say(|| {
                format!(
                    "server {index}: {:?} {:?} -> {:?}",
                    call.process, call.request, handled.reply
                )
            });
        }
        if !matches!(call.request, Request::Read(_)) {
            server.tail.push_back((call, server.id, now));
            while server.tail.len() > BEHIND || net.chance(20) && !server.tail.is_empty() {
                replicate(server, net);
            }
        }
        net.send(line, End::Far, Payload::Reply(handled.reply));
        for heard in handled.heard {
            publish(server, &heard, &handled.nudged, net);
        }
    }
}

fn replicate(server: &mut Server, net: &Net) {
    if let Some((call, id, now)) = server.tail.pop_front() {
        server.copy.handle(&call, id, now);
        if matches!(call.request, Request::Beat(_)) && net.is_planted(Planted::NewActsAtOnce) {
            server.copy.let_act(&call.process);
        }
    }
}

/// Sends to those that subscribe: to one room by its channel, otherwise by that of the namespace.
fn publish(server: &mut Server, heard: &Heard, nudged: &[Process], net: &mut Net) {
    server
        .subscribers
        .retain(|line, _| net.ends(*line).is_some());
    for (line, logs) in &server.subscribers {
        let is_heard = match heard {
            Heard::Ordered(message) => match message.before.as_slice() {
                [(log, _)] => logs.contains(log),
                _ => logs.contains(&LogName::Everybody),
            },
            Heard::Mark(process, _) => match net.ends(*line) {
                Some(Ends::Subscription(node, _)) => {
                    let (name, seed) = (node_name(node), net.model.seed_of(node));
                    let is_there = |it: &Process| it.node.as_str() == name && it.seed == seed;
                    is_there(process) || nudged.iter().any(is_there)
                }
                Some(Ends::Client(..) | Ends::Commands(..)) | None => false,
            },
        };
        if is_heard {
            net.send(*line, End::Far, Payload::Heard(heard.clone()));
        }
    }
}

/// The name of a node.
pub fn node_name(node: usize) -> String {
    format!("node-{node}")
}

fn break_rules_of_call(server: &mut Server, call: &mut Call, now: u64, net: &Net) {
    let number = server.store.number(&call.process).unwrap_or(0);
    match &mut call.request {
        Request::Beat(beat) => {
            if net.is_planted(Planted::FailoverUnnoticed) {
                beat.known = None;
            }
            if net.is_planted(Planted::FloorTooHigh)
                && let Some(known) = beat.known
            {
                beat.floor = known.position;
            }
        }
        Request::Acts {
            number: asked,
            acts,
            ..
        } => {
            if net.is_planted(Planted::BatchNotIdempotent) {
                *asked = number + 1;
            }
            for act in acts {
                if let Act::Write(write) = act
                    && net.is_planted(Planted::FetchInsteadOfClaim)
                    && server.store.owner(&write.secret) != Some(&call.process)
                {
                    server.store.write_unfenced(write, now);
                }
            }
        }
        Request::Read(_) | Request::History { .. } => {}
    }
}

fn break_rules_of_reply(
    server: &mut Server,
    call: &Call,
    asked: u64,
    handled: &mut Handled,
    net: &Net,
) {
    match &mut handled.reply {
        Reply::Done {
            number,
            done,
            taken,
            ..
        } => {
            if net.is_planted(Planted::FetchInsteadOfClaim) {
                taken.clear();
            }
            if net.is_planted(Planted::BatchNotIdempotent) {
                *number = asked;
            }
            if !done.iter().any(|it| matches!(it, Done::Claimed(_))) {
                return;
            }
            let mut changed = done.to_vec();
            for (index, done) in changed.iter_mut().enumerate() {
                if let Done::Claimed(claimed) = done {
                    break_rules_of_claim(claimed, net);
                    let shown = match &call.request {
                        Request::Acts { acts, .. } => acts.get(index),
                        Request::Beat(_) | Request::Read(_) | Request::History { .. } => None,
                    };
                    if net.is_planted(Planted::CompareByExistence)
                        && let Some(Act::Claim(claim)) = shown
                        && !claim
                            .offset
                            .is_some_and(|it| server.store.has_entry(it.position))
                    {
                        *done = Done::NotClaimed(adapter::recovery::NotClaimed::Unknown);
                    }
                }
            }
            *done = changed.into();
        }
        Reply::Beaten { taken, may_act, .. } => {
            if net.is_planted(Planted::FetchInsteadOfClaim) {
                taken.clear();
            }
            if net.is_planted(Planted::NewActsAtOnce) {
                *may_act = true;
                server.store.let_act(&call.process);
            }
        }
        Reply::Pieces { pieces, .. } => {
            for piece in pieces {
                if net.is_planted(Planted::TrimmingIgnored) {
                    piece.trimmed = adapter::recovery::Position::ZERO;
                }
                if net.is_planted(Planted::ExceptIgnored) {
                    for entry in &mut piece.entries {
                        std::sync::Arc::make_mut(entry).selection.except.clear();
                    }
                }
            }
        }
        Reply::Page(page) => {
            if net.is_planted(Planted::PastTrimmingIgnored) {
                page.is_cut = false;
            }
            if net.is_planted(Planted::PastUnsettled) {
                page.is_settled = true;
            }
        }
        Reply::BeatFirst | Reply::Outdated => {}
    }
}

fn break_rules_of_claim(claimed: &mut Claimed, net: &Net) {
    for stay in &mut claimed.stays {
        if net.is_planted(Planted::MembershipStartIgnored) {
            stay.since = adapter::recovery::Position::ZERO;
        }
        if net.is_planted(Planted::MembershipEndIgnored) && stay.until.is_some() {
            stay.until = Some(adapter::recovery::Position::MAX);
        }
    }
}
