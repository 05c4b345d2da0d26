//! A run: everything until it calms down, and what has to be true then.

use std::collections::BTreeMap;

use adapter::recovery::{Done, Keep, Reply, Settings};

use crate::client::Client;
use crate::model::{Finding, Rule};
use crate::net::{Due, End, Ends, Mailbox, Net, Payload};
use crate::node::Node;
use crate::plan::{BACK, Chaos, HEARTBEAT, HOLDING, LEASE, Plan, Planted, ROUNDS, SECOND, WINDOW};
use crate::redis::{FakeRedis, UNSETTLED};

/// What came of a run.
#[derive(Debug)]
pub struct Report {
    /// The first promise that was not kept.
    pub finding: Option<Finding>,
    /// What happened, counted.
    pub counts: BTreeMap<String, u64>,
    /// Microseconds that passed in it.
    pub time: u64,
}

struct World {
    net: Net,
    redis: FakeRedis,
    nodes: Vec<Place>,
    clients: Vec<Client>,
    /// Until when the server is away.
    away_until: u64,
    /// Since when its machine is about to fail.
    doomed: Option<u64>,
    /// The same with a node that is new, in that life.
    doomed_new: Option<(usize, u64)>,
    is_calm: bool,
}

/// Where a node runs.
#[derive(Default)]
struct Place {
    node: Option<Node>,
    life: u64,
    /// What waits while it stands still.
    frozen: Option<Mailbox>,
}

/// How often a node looks at its clocks.
const TICK: u64 = SECOND / 4;

/// Runs a plan.
pub fn run(plan: &Plan) -> Report {
    let mut world = World::new(plan);
    let mut steps = 0;
    while steps < plan.steps && world.net.model.finding.is_none() {
        steps += 1;
        if !world.step() {
            break;
        }
    }
    if world.net.model.finding.is_none() {
        world.calm_down();
    }
    Report {
        finding: world.net.model.finding.take(),
        counts: std::mem::take(&mut world.net.model.counts),
        time: world.net.now,
    }
}

impl World {
    fn new(plan: &Plan) -> Self {
        let net = Net::new(plan);
        let is_ample = net.knobs.messages >= 1000;
        let settings = Settings {
            keep: Keep {
                messages: net.knobs.messages,
                bytes: net.knobs.log_bytes(),
                back: BACK,
            },
            window: WINDOW,
            lease: LEASE,
            rounds: match net.is_planted(Planted::LivedByClock) {
                true => 0,
                false => ROUNDS,
            },
            settle: 2 * LEASE,
            read_bytes: net.knobs.read_bytes,
            stays: if is_ample { 1000 } else { 3 },
            sweep: 50,
            departed: 20,
            retire: 2,
        };
        let mut world = Self {
            redis: FakeRedis::new(settings, plan.planted),
            nodes: Vec::new(),
            clients: Vec::new(),
            away_until: 0,
            doomed: None,
            doomed_new: None,
            is_calm: false,
            net,
        };
        for node in 0..world.net.knobs.nodes {
            world.nodes.push(Place::default());
            world.net.after(0, Due::Start(node));
        }
        for client in 0..world.net.knobs.clients {
            let client = Client::new(client, &mut world.net);
            world.clients.push(client);
        }
        world.net.after(3 * SECOND, Due::Trouble);
        world
    }

    /// Handles what is due next.
    fn step(&mut self) -> bool {
        let Some(due) = self.net.take_next() else {
            return false;
        };
        match due {
            Due::Arrive(line, payload) => {
                if let Some(ends) = self.net.ends(line) {
                    self.arrive(ends, line, payload);
                }
            }
            Due::Closed(line, ends, end) => {
                self.net.forget(line);
                match (ends, end) {
                    (Ends::Client(client, _), End::Near) => {
                        self.clients[client].handle_closed(line, &mut self.net);
                    }
                    (Ends::Client(_, node), End::Far)
                    | (Ends::Commands(node, _) | Ends::Subscription(node, _), End::Near) => {
                        self.give(node, Due::Closed(line, ends, end));
                    }
                    (Ends::Commands(..) | Ends::Subscription(..), End::Far) => {}
                }
            }
            Due::NodeTick(node, life) => {
                if self.nodes[node].life == life && self.nodes[node].node.is_some() {
                    self.net.after(TICK, Due::NodeTick(node, life));
                    self.give(node, Due::NodeTick(node, life));
                }
            }
            Due::Thaw(node, life) if self.nodes[node].life == life => self.thaw(node),
            Due::Thaw(..) => {}
            Due::Start(node) => self.start(node),
            Due::StartDoomed(node, life) if self.nodes[node].life == life => match self.is_calm {
                true => self.start(node),
                false => self.start_doomed(node),
            },
            Due::StartDoomed(..) => {}
            Due::EndDrain(node, life) => {
                if self.nodes[node].life == life {
                    self.remove(node, true);
                    let pause = self.net.between(SECOND, 5 * SECOND);
                    self.net.after(pause, Due::Start(node));
                }
            }
            Due::ClientTick(client) => {
                let nodes = self.nodes.iter().enumerate().filter(|(_, place)| {
                    place.frozen.is_none() && place.node.as_ref().is_some_and(Node::is_ready)
                });
                let nodes: Vec<_> = nodes.map(|it| it.0).collect();
                self.clients[client].tick(&nodes, &mut self.net);
            }
            Due::ClientAct(client) => self.clients[client].act(&mut self.net),
            Due::Trouble => self.trouble(),
            Due::Faster(line) => self.net.set_latency(line, 1_000),
            Due::RedisBack => {
                if self.net.now >= self.away_until {
                    self.redis.set_away(false);
                }
            }
            Due::Heal(server) => self.cut_server(|it| it == server, true),
            Due::Doom => (self.doomed, self.doomed_new) = (None, None),
        }
        self.blame();
        true
    }

    fn arrive(&mut self, ends: Ends, line: u64, payload: Payload) {
        match (ends, payload) {
            (Ends::Client(client, _), Payload::Down(down)) => {
                self.clients[client].handle(line, down, &mut self.net);
            }
            (
                Ends::Commands(_, server) | Ends::Subscription(_, server),
                payload @ (Payload::ToRedis(_) | Payload::Subscribe(_) | Payload::Unsubscribe(_)),
            ) => self.redis.handle(line, server, payload, &mut self.net),
            (
                Ends::Client(_, node) | Ends::Commands(node, _) | Ends::Subscription(node, _),
                payload,
            ) => {
                let is_new = self.doomed_new == Some((node, self.nodes[node].life));
                let is_end = (is_new || self.is_doomed(node)) && is_of_publish(&payload);
                self.give(node, Due::Arrive(line, payload));
                if is_end {
                    self.lose_machine(node, is_new);
                }
            }
        }
    }

    /// Gives something to a node, or keeps it while the node stands still.
    fn give(&mut self, node: usize, due: Due) {
        let place = &mut self.nodes[node];
        if let Some(mailbox) = &mut place.frozen {
            mailbox.push_back(due);
            return;
        }
        let Some(node) = &mut place.node else {
            return;
        };
        match due {
            Due::Arrive(line, payload) => node.handle(line, payload, &mut self.net),
            Due::Closed(line, ..) => node.handle_closed(line, &mut self.net),
            Due::NodeTick(..)
            | Due::Thaw(..)
            | Due::Start(_)
            | Due::StartDoomed(..)
            | Due::EndDrain(..)
            | Due::ClientTick(_)
            | Due::ClientAct(_)
            | Due::Trouble
            | Due::Faster(_)
            | Due::RedisBack
            | Due::Heal(_)
            | Due::Doom => node.tick(self.redis.master(), &mut self.net),
        }
    }

    /// Clients that were not recovered: with a cause?
    fn blame(&mut self) {
        for refused in std::mem::take(&mut self.net.refused) {
            let away = self.net.now - self.clients[refused.0].away();
            self.net
                .say(|| format!("refused: {refused:?}, away {away}"));
            let (now, knobs) = (self.net.now, self.net.knobs.clone());
            self.net.model.refuse(refused, away, &knobs, now);
        }
        let (entries, bytes) = self.redis.store().largest();
        let most = |kept: usize| kept + kept / 8;
        if entries > most(self.net.knobs.messages) || bytes > most(self.net.knobs.log_bytes()) {
            let what = format!("a log has {entries} entries, {bytes} bytes");
            self.net.model.find(Rule::Bound, self.net.now, what);
        }
    }

    fn start(&mut self, node: usize) {
        let place = &mut self.nodes[node];
        if place.node.is_none() {
            place.life += 1;
            let life = place.life;
            place.node = Some(Node::new(node, life, &mut self.net));
            self.net.after(0, Due::NodeTick(node, life));
        }
    }

    /// A node is gone; its clients are told, or not.
    fn remove(&mut self, node: usize, is_told: bool) {
        let place = &mut self.nodes[node];
        place.frozen = None;
        place.life += 1;
        let Some(gone) = place.node.take() else {
            return;
        };
        if self.net.is_planted(Planted::WrittenAtTheEnd) && !gone.is_draining {
            gone.secrets().for_each(|secret| self.redis.forget(secret));
        }
        for line in self.net.find(|ends| ends.is_of(node)) {
            match self.net.ends(line) {
                Some(Ends::Client(..)) if is_told => self.net.cut(line, &[End::Near]),
                Some(Ends::Client(..)) => self.net.make_dumb(line),
                Some(Ends::Commands(..) | Ends::Subscription(..)) | None => self.net.cut(line, &[]),
            }
        }
    }

    fn thaw(&mut self, node: usize) {
        let mailbox = self.nodes[node].frozen.take();
        for due in mailbox.into_iter().flatten() {
            // What its connection brought before it broke was received by its system.
            self.give(node, due);
        }
    }

    fn trouble(&mut self) {
        if self.is_calm {
            return;
        }
        let (clients, now) = (&self.clients, self.net.now);
        let is_connected = |client: usize| clients[client].is_connected();
        self.net.model.look_back(is_connected, now);
        let calm = self.net.knobs.calm;
        let pause = self.net.between(calm / 10, calm * 2);
        self.net.after(pause, Due::Trouble);
        let without = &self.net.plan.without;
        let kinds: Vec<_> = Chaos::ALL
            .into_iter()
            .filter(|it| !without.contains(it))
            .collect();
        let total: u32 = kinds.iter().map(|it| it.weight()).sum();
        if total == 0 {
            return;
        }
        let mut drawn = self.net.rng.u32(..total);
        for kind in kinds {
            if drawn < kind.weight() {
                self.net.model.count(format!("chaos: {kind:?}"));
                return self.happen(kind);
            }
            drawn -= kind.weight();
        }
    }

    fn happen(&mut self, kind: Chaos) {
        let node = self.net.rng.usize(..self.nodes.len());
        self.net.say(|| format!("{kind:?}, perhaps of node {node}"));
        match kind {
            Chaos::CutClient => self.with_one(|ends| matches!(ends, Ends::Client(..)), cut_both),
            Chaos::CutAll => {
                for line in self.net.find(|ends| matches!(ends, Ends::Client(..))) {
                    cut_both(&mut self.net, line);
                }
            }
            Chaos::HalfOpenClient => {
                self.with_one(|ends| matches!(ends, Ends::Client(..)), Net::make_dumb);
            }
            Chaos::CutCommands => {
                self.with_one(|ends| matches!(ends, Ends::Commands(..)), cut_both);
            }
            Chaos::CutSubscription => {
                self.with_one(|ends| matches!(ends, Ends::Subscription(..)), cut_both);
            }
            Chaos::StallCommands => {
                self.with_one(|ends| matches!(ends, Ends::Commands(..)), Net::make_dumb);
            }
            Chaos::StallSubscription => {
                self.with_one(
                    |ends| matches!(ends, Ends::Subscription(..)),
                    Net::make_dumb,
                );
            }
            Chaos::SlowSubscription => {
                let latency = self.net.between(100_000, 2 * SECOND);
                let pause = self.net.between(SECOND, 6 * SECOND);
                self.with_one(
                    |ends| matches!(ends, Ends::Subscription(..)),
                    |net, line| {
                        net.set_latency(line, latency);
                        net.after(pause, Due::Faster(line));
                    },
                );
            }
            Chaos::Freeze => {
                let place = &mut self.nodes[node];
                if place.node.is_some() && place.frozen.is_none() {
                    place.frozen = Some(Mailbox::new());
                    let pause = self.net.between(SECOND / 2, 12 * SECOND);
                    self.net
                        .after(pause, Due::Thaw(node, self.nodes[node].life));
                }
            }
            Chaos::Kill | Chaos::Vanish => {
                self.remove(node, kind == Chaos::Kill);
                let pause = self.net.between(SECOND, 8 * SECOND);
                self.net.after(pause, Due::Start(node));
            }
            Chaos::Drain => {
                let place = &mut self.nodes[node];
                if let Some(node) = place.node.as_mut().filter(|_| place.frozen.is_none())
                    && !node.is_draining
                {
                    node.drain(&mut self.net);
                    let due = Due::EndDrain(node.index, node.life);
                    self.net.after(2 * SECOND, due);
                }
            }
            Chaos::Failover | Chaos::LossyFailover | Chaos::LossyRestart => {
                let is_lossy = kind != Chaos::Failover;
                self.redis.fail_over(&mut self.net, is_lossy);
                self.cut_server(|_| true, true);
                let longest = if kind == Chaos::LossyRestart { 8 } else { 2 };
                self.leave_for(longest * SECOND);
            }
            Chaos::EmptyRestart => {
                self.redis.empty();
                self.net.model.excuse(self.net.now);
                self.cut_server(|_| true, true);
                self.leave_for(2 * SECOND);
            }
            Chaos::SplitBrain => {
                if let Some(old) = self.redis.master() {
                    self.redis.fail_over(&mut self.net, true);
                    // Some talk to the new one from now on.
                    let cut = self.net.find(|ends| ends.server() == Some(old));
                    for line in cut {
                        if self.net.chance(50) {
                            cut_both(&mut self.net, line);
                        }
                    }
                    let pause = self.net.between(SECOND, 6 * SECOND);
                    self.net.model.divided = self.net.now + pause + 2 * HOLDING;
                    self.net.after(pause, Due::Heal(old));
                }
            }
            Chaos::Away => {
                self.cut_server(|_| true, true);
                self.leave_for(15 * SECOND);
            }
            Chaos::ClockJump => {
                let jump = self.net.between(0, 20 * SECOND) as i64 - 10 * SECOND as i64;
                self.redis.jump(jump);
            }
            Chaos::MachineLost => {
                let jump = self.net.between(LEASE, LEASE + 2 * SECOND);
                self.redis.jump(jump as i64);
                for line in self.net.find(|ends| matches!(ends, Ends::Subscription(..))) {
                    let latency = self.net.between(100_000, SECOND);
                    self.net.set_latency(line, latency);
                    self.net.after(2 * SECOND, Due::Faster(line));
                }
                self.doomed = Some(self.net.now);
                self.net.after(2 * HEARTBEAT, Due::Doom);
            }
            Chaos::NewMachineLost => {
                self.remove(node, true);
                // The life before is not awaited any more by then.
                let pause = (ROUNDS + 3) * HEARTBEAT;
                self.net
                    .after(pause, Due::StartDoomed(node, self.nodes[node].life));
            }
        }
    }

    /// A node starts, and the others hear of nothing.
    fn start_doomed(&mut self, node: usize) {
        let is_of_other = |ends: Ends| ends.server().is_some() && !ends.is_of(node);
        for line in self.net.find(is_of_other) {
            // Not so long that connections are given up.
            let latency = self.net.between(SECOND, 3 * SECOND / 2);
            self.net.set_latency(line, latency);
            self.net.after(2 * SECOND, Due::Faster(line));
        }
        // Some come to it.
        for line in self.net.find(|ends| matches!(ends, Ends::Client(..))) {
            if self.net.chance(40) {
                cut_both(&mut self.net, line);
            }
        }
        self.start(node);
        self.doomed_new = Some((node, self.nodes[node].life));
        self.net.after(2 * HEARTBEAT, Due::Doom);
    }

    /// Whether the server's machine is about to fail with a node, and another made a heartbeat meanwhile.
    fn is_doomed(&self, node: usize) -> bool {
        let Some(since) = self.doomed else {
            return false;
        };
        let has_beaten = |place: &Place| place.node.as_ref().is_some_and(|it| it.beaten() > since);
        !has_beaten(&self.nodes[node]) && self.nodes.iter().any(has_beaten)
    }

    /// The server's machine is gone, and a node with it.
    fn lose_machine(&mut self, node: usize, is_new: bool) {
        (self.doomed, self.doomed_new) = (None, None);
        self.net
            .say(|| format!("the machine of node {node} is lost"));
        self.net.model.count("machines lost");
        if is_new && self.redis.lose_new(node, &mut self.net) {
            self.net.model.count("machines lost with a new node");
        } else {
            let calls = self.net.rng.usize(1..=2);
            self.redis.lose_last(calls, &mut self.net);
        }
        self.remove(node, false);
        let pause = self.net.between(SECOND, 8 * SECOND);
        self.net.after(pause, Due::Start(node));
        self.cut_server(|_| true, true);
        self.leave_for(2 * SECOND);
    }

    fn with_one(&mut self, filter: impl Fn(Ends) -> bool, act: impl Fn(&mut Net, u64)) {
        let found = self.net.find(filter);
        if !found.is_empty() {
            let line = found[self.net.rng.usize(..found.len())];
            act(&mut self.net, line);
        }
    }

    fn cut_server(&mut self, filter: impl Fn(usize) -> bool, is_told: bool) {
        let told: &[End] = if is_told { &[End::Near] } else { &[] };
        for line in self.net.find(|ends| ends.server().is_some_and(&filter)) {
            self.net.cut(line, told);
        }
    }

    /// The server is away for at most so long.
    fn leave_for(&mut self, longest: u64) {
        let pause = self.net.between(0, longest);
        self.redis.set_away(true);
        self.away_until = self.away_until.max(self.net.now + pause);
        let pause = self.away_until - self.net.now;
        let model = &mut self.net.model;
        model.absent = model.absent.max(self.away_until);
        if self.net.now < model.unsettled {
            model.unsettled = model.unsettled.max(self.away_until + UNSETTLED);
        }
        self.net.after(pause, Due::RedisBack);
    }

    fn run_for(&mut self, time: u64) {
        let end = self.net.now + time;
        while self.net.model.finding.is_none() && self.net.next_time().is_some_and(|it| it <= end) {
            self.step();
        }
    }

    /// Nothing goes wrong any more: what was promised has to be kept, and nothing may be left at the end.
    fn calm_down(&mut self) {
        self.is_calm = true;
        (self.doomed, self.doomed_new) = (None, None);
        self.run_for(60 * SECOND);
        for client in &mut self.clients {
            client.rest();
        }
        self.run_for(45 * SECOND);
        let now = self.net.now;
        self.net.model.settle(now);
        if let Some(stuck) = self.clients.iter().position(|it| !it.is_connected()) {
            let what = format!("client {stuck} is not connected");
            self.net.model.find(Rule::Stuck, now, what);
        }
        for client in &mut self.clients {
            client.leave(&mut self.net);
        }
        self.run_for(WINDOW + BACK + 2 * LEASE + 10 * SECOND);
        let (sessions, logs, entries, bytes) = self.redis.store().sizes();
        if (sessions, logs, entries, bytes) != (0, 0, 0, 0) {
            let what =
                format!("{sessions} sessions, {logs} logs, {entries} entries, {bytes} bytes");
            self.net.model.find(Rule::Left, self.net.now, what);
        }
        let left = self
            .nodes
            .iter()
            .filter_map(|place| place.node.as_ref()?.left());
        if let Some(what) = left.collect::<Vec<_>>().first() {
            self.net.model.find(Rule::Left, self.net.now, what.clone());
        }
    }
}

impl Ends {
    fn is_of(self, index: usize) -> bool {
        let (Self::Client(_, node) | Self::Commands(node, _) | Self::Subscription(node, _)) = self;
        node == index
    }

    fn server(self) -> Option<usize> {
        match self {
            Self::Client(..) => None,
            Self::Commands(_, server) | Self::Subscription(_, server) => Some(server),
        }
    }
}

/// Whether a node is told that something is in the log.
fn is_of_publish(payload: &Payload) -> bool {
    match payload {
        Payload::Reply(Reply::Done { done, .. }) => {
            done.iter().any(|it| matches!(it, Done::Published(_)))
        }
        Payload::Reply(_)
        | Payload::ToRedis(_)
        | Payload::Subscribe(_)
        | Payload::Unsubscribe(_)
        | Payload::Subscribed(_)
        | Payload::Heard(_)
        | Payload::Up(_)
        | Payload::Down(_) => false,
    }
}

fn cut_both(net: &mut Net, line: u64) {
    net.cut(line, &[End::Near, End::Far]);
}
