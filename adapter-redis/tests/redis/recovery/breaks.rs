//! What breaks, with the pure parts of a node behind the link: nothing is missed, and nothing comes twice.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use adapter::recovery::{
    Act, Bounds, Call, Change, Claim, Done, Effect, Epoch, GaveUp, Heard, Link, NotClaimed, Open,
    Pid, PidSecret, Position, Process, Receiver, Reply, Request, State, Told, Write, Writer,
    WriterLimits,
};
use adapter::{Adapter, Incoming, Interest, Selection};
use testkit::wait::PATIENCE;

use super::wire::{SETTINGS, publication};
use crate::clusters::{Cluster, Sentinels};
use crate::gateway::{Gateway, rooms};
use crate::server::Redis;

#[test]
#[ignore = "needs Redis: make test"]
fn nothing_is_missed_while_connections_are_killed() {
    let redis = Redis::start();
    let mut pair = Pair::start(&redis.url());
    for round in 0..12 {
        pair.publish_for(Duration::from_millis(250));
        let kind = ["pubsub", "normal"][round % 2];
        redis.call(&["CLIENT", "KILL", "TYPE", kind, "SKIPME", "yes"]);
    }
    pair.settle();
    pair.check_all_released();
    assert!(pair.drivers.iter().all(|it| it.breaks > 0 && it.downs > 0));
}

#[test]
#[ignore = "needs Redis: make test"]
fn nothing_is_missed_when_redis_throws_messages_away() {
    let redis = Redis::start();
    let mut pair = Pair::start(&redis.url());
    // A subscriber that reads nothing for a moment is over the limit.
    redis.call(&[
        "CONFIG",
        "SET",
        "client-output-buffer-limit",
        "pubsub 40kb 40kb 1",
    ]);
    let text = format!("\"{}\"", "x".repeat(20_000));
    for _ in 0..4 {
        for _ in 0..40 {
            pair.publish(publication(Selection::everybody(), "large", &text));
        }
        pair.publish_for(Duration::from_millis(200));
    }
    pair.settle();
    pair.check_all_released();
}

#[test]
#[ignore = "needs Redis: make test"]
fn a_redis_that_stands_still_loses_nothing() {
    let redis = Redis::start();
    let mut pair = Pair::start(&redis.url());
    pair.publish_for(Duration::from_millis(200));
    redis.freeze();
    // Longer than a silent connection is kept.
    pair.publish_for(Duration::from_secs(4));
    redis.thaw();
    pair.settle();
    pair.check_all_released();
}

#[test]
#[ignore = "needs Redis: make test"]
fn a_restart_with_the_data_is_another_era_and_one_without_another_epoch() {
    let storage = ["--appendonly", "yes", "--appendfsync", "always"];
    let mut redis = Redis::start_with(&storage);
    let mut pair = Pair::start(&redis.url());
    pair.publish_for(Duration::from_millis(300));
    let before = pair.drivers.each_ref().map(Driver::known);
    redis.kill();
    pair.publish_for(Duration::from_millis(300));
    redis.restart();
    pair.settle();
    pair.check_all_released();
    let after = pair.drivers.each_ref().map(Driver::known);
    assert_eq!(before[0].0, after[0].0, "one epoch");
    assert!(after[0].1 > before[0].1, "another era");

    let pid = pair.open(1);
    redis.call(&["FLUSHALL"]);
    redis.call(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]);
    pair.until("renewed", |it| {
        it.drivers.iter().all(|it| !it.renewed.is_empty())
    });
    let claim = Claim {
        pid,
        offset: None,
        user: None,
    };
    let done = pair.done(0, Act::Claim(claim));
    assert_eq!(done, Done::NotClaimed(NotClaimed::Epoch));
    pair.settle();
    let released = pair.drivers.each_ref().map(|it| it.released.len());
    pair.publish_for(Duration::from_millis(300));
    pair.settle();
    for (driver, before) in pair.drivers.iter().zip(released) {
        assert!(driver.released.len() > before, "it goes on");
    }
}

#[test]
#[ignore = "needs Redis: make test"]
fn sessions_are_claimed_by_another_node_and_the_old_owner_is_told() {
    let redis = Redis::start();
    let mut pair = Pair::start(&redis.url());
    let pid = pair.open(1);
    let claim = Claim {
        pid,
        offset: None,
        user: None,
    };
    let Done::Claimed(claimed) = pair.done(1, Act::Claim(claim)) else {
        panic!("not claimed");
    };
    assert_eq!((&*claimed.sid, claimed.generation), ("sid1", 2));
    pair.until("told", |it| it.drivers[0].taken.contains("sid1"));
    let write = Write {
        secret: *pid.secret(),
        generation: 1,
        changes: vec![Change::Away],
    };
    assert_eq!(pair.done(0, Act::Write(write)), Done::NotOwned);
}

#[test]
#[ignore = "needs Redis: make test"]
fn sentinels_tell_the_new_master_of_the_store() {
    let mut setup = Sentinels::start();
    let mut pair = Pair::start(&setup.url());
    pair.publish_for(Duration::from_millis(500));
    pair.settle();
    pair.check_all_released();
    setup.master.kill();
    pair.publish_for(Duration::from_secs(5));
    pair.settle();
    pair.check_unless_renewed();
}

#[test]
#[ignore = "needs Redis: make test"]
fn in_a_cluster_all_is_at_one_master_and_follows_it() {
    let mut cluster = Cluster::start();
    let mut pair = Pair::start(&cluster.url());
    pair.publish_for(Duration::from_millis(500));
    pair.settle();
    pair.check_all_released();
    let marks = |redis: &Redis| {
        redis
            .call(&["PUBSUB", "CHANNELS", "*#mark#*"])
            .lines()
            .count()
    };
    let homes: Vec<_> = (0..6)
        .filter(|index| marks(&cluster.servers[*index]) > 1)
        .collect();
    assert_eq!(homes.len(), 1, "the subscriptions are at {homes:?}");
    cluster.servers[homes[0]].kill();
    pair.publish_for(Duration::from_secs(5));
    pair.settle();
    pair.check_unless_renewed();
}

/// Two nodes, of which the first publishes, and both hear all.
struct Pair {
    drivers: [Driver; 2],
    published: Vec<Position>,
}

impl Pair {
    fn start(url: &str) -> Self {
        let drivers = ["gw-a", "gw-b"].map(|id| Driver::start(url, id));
        let mut pair = Self {
            drivers,
            published: Vec::new(),
        };
        pair.settle();
        pair
    }

    fn turn(&mut self) {
        for driver in &mut self.drivers {
            driver.turn();
        }
        self.published.append(&mut self.drivers[0].published);
    }

    fn until(&mut self, what: &str, is_so: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + 2 * PATIENCE;
        while !is_so(self) {
            assert!(Instant::now() < deadline, "not {what}: {:#?}", self.drivers);
            self.turn();
        }
    }

    fn publish(&mut self, act: Act) {
        // What is too much waits for its turn.
        while self.drivers[0].writer.push(act.clone()).is_err() {
            self.turn();
        }
    }

    fn publish_for(&mut self, duration: Duration) {
        let end = Instant::now() + duration;
        let mut number = 0;
        while Instant::now() < end {
            number += 1;
            let selection = match number % 3 {
                0 => Selection::everybody(),
                1 => rooms(&["room1"]),
                _ => rooms(&["room1", "room2"]),
            };
            if self.drivers[0].writer.bytes() < 100_000 {
                self.publish(publication(selection, "n", &number.to_string()));
            }
            self.turn();
        }
    }

    /// Waits until all that was published is done, and both are live behind it.
    fn settle(&mut self) {
        self.until("settled", |pair| {
            let newest = pair.published.last().copied().unwrap_or_default();
            let is_there = |it: &Driver| it.released_up_to() >= newest || !it.renewed.is_empty();
            pair.drivers
                .iter()
                .all(|it| it.writer.is_idle() && it.is_live() && is_there(it))
        });
    }

    fn check_all_released(&self) {
        assert!(!self.published.is_empty());
        for driver in &self.drivers {
            assert_eq!(driver.renewed, [], "{}", driver.process.node);
            assert_eq!(driver.gave_up, [], "{}", driver.process.node);
            assert_eq!(driver.released, self.published, "{}", driver.process.node);
        }
    }

    /// Redis may have lost what it had confirmed. Then this was noticed.
    fn check_unless_renewed(&self) {
        if self.drivers.iter().all(|it| it.renewed.is_empty()) {
            return self.check_all_released();
        }
        for driver in &self.drivers {
            assert!(!driver.renewed.is_empty(), "{}", driver.process.node);
            assert!(driver.released.is_sorted());
        }
    }

    /// Opens a session on the first node.
    fn open(&mut self, number: u8) -> Pid {
        let open = Open {
            secret: PidSecret::new([number; PidSecret::LENGTH]),
            sid: format!("sid{number}").into(),
            user: None,
            data: None,
            rooms: vec!["room1".into()],
        };
        match self.done(0, Act::Open(open)) {
            Done::Opened(pid) => pid,
            done => panic!("{done:?}"),
        }
    }

    fn done(&mut self, index: usize, act: Act) -> Done {
        self.drivers[index].done.clear();
        self.drivers[index].writer.push(act).unwrap();
        self.until("done", |it| !it.drivers[index].done.is_empty());
        self.drivers[index].done.remove(0)
    }
}

/// The pure parts of a node, and its link.
struct Driver {
    gateway: Gateway,
    link: Box<dyn Link>,
    process: Process,
    connection: Option<u64>,
    writer: Writer,
    receiver: Receiver,
    beaten: Instant,
    released: Vec<Position>,
    published: Vec<Position>,
    /// What came of other acts.
    done: Vec<Done>,
    renewed: Vec<Epoch>,
    gave_up: Vec<GaveUp>,
    taken: BTreeSet<String>,
    breaks: u32,
    downs: u32,
    _rooms: Vec<Interest>,
}

const BEAT: Duration = Duration::from_millis(200);

impl Driver {
    fn start(url: &str, id: &str) -> Self {
        let gateway = Gateway::launch(url, id, |it| {
            it.timing.topology = Duration::from_millis(500);
        });
        gateway.wait_until_up();
        let names = ["room1", "room2"];
        let opened = names.map(|room| gateway.join(room)).into();
        let mut settings = SETTINGS;
        settings.keep.messages = 100_000;
        settings.keep.bytes = 64 << 20;
        settings.settle = 3_000_000;
        settings.lease = 3_000_000;
        let link = gateway.adapter.open_store("/", &settings).unwrap();
        let process = Process {
            node: gateway.adapter.node().clone(),
            seed: 1,
        };
        let limits = WriterLimits {
            queue_bytes: 4 << 20,
            call_bytes: 64 << 10,
            call_acts: 64,
        };
        let bounds = Bounds {
            held_bytes: 8 << 20,
            fill_bytes: 64 << 20,
        };
        let mut receiver = Receiver::new(bounds);
        receiver.open(adapter::recovery::LogName::Everybody, 0);
        for room in names {
            receiver.open(adapter::recovery::LogName::room(room), 0);
        }
        Self {
            link,
            writer: Writer::new(process.clone(), limits),
            receiver,
            process,
            connection: None,
            beaten: Instant::now(),
            released: Vec::new(),
            published: Vec::new(),
            done: Vec::new(),
            renewed: Vec::new(),
            gave_up: Vec::new(),
            taken: BTreeSet::new(),
            breaks: 0,
            downs: 0,
            gateway,
            _rooms: opened,
        }
    }

    fn turn(&mut self) {
        let is_told = |it: &Incoming| matches!(it, Incoming::Store { .. });
        let mut patience = Duration::from_millis(2);
        while let Some(Incoming::Store { told, .. }) = self.gateway.take(patience, is_told) {
            patience = Duration::ZERO;
            self.handle(told);
        }
        if self.connection.is_some() && self.beaten.elapsed() > BEAT {
            self.beat();
        }
        if let Some(connection) = self.connection
            && let Some(call) = self.writer.next_call(random())
        {
            self.link.call(connection, &call);
        }
    }

    fn handle(&mut self, told: Told) {
        match told {
            Told::Connected(connection) => {
                assert_eq!(self.connection, None);
                self.connection = Some(connection);
                self.beat();
            }
            Told::Broken => {
                assert!(self.connection.is_some());
                self.breaks += 1;
                self.connection = None;
                self.writer.handle_broken();
            }
            Told::Reply(reply) => self.handle_reply(&reply),
            Told::Heard(heard) => match &heard {
                Heard::Mark(process, mark) if *process != self.process => {
                    self.writer.note(mark.known);
                    self.beat();
                }
                _ => self.receiver.handle(heard),
            },
            Told::Listening(true) => self.receiver.handle_up(),
            Told::Listening(false) => {
                self.downs += 1;
                self.receiver.handle_down();
            }
        }
        while let Some(effect) = self.receiver.poll() {
            match effect {
                Effect::Release(entry) => self.released.push(entry.position),
                Effect::Marked(mark) => self.writer.note(mark.known),
                Effect::Beat => self.beat(),
                Effect::Read(span) => self.call(Request::Read(vec![span])),
                Effect::GiveUp(gave_up) => self.gave_up.push(gave_up),
                Effect::Renewed(epoch) => self.renewed.push(epoch),
            }
        }
    }

    fn handle_reply(&mut self, reply: &Reply) {
        if let Reply::Pieces { epoch, pieces } = reply {
            pieces
                .iter()
                .for_each(|it| self.receiver.handle_piece(*epoch, it));
            return;
        }
        if let Reply::Beaten { known, .. } = reply {
            self.receiver.begin(*known);
        }
        let resolved = self.writer.handle(reply);
        self.taken
            .extend(resolved.taken.iter().map(|it| it.sid.to_string()));
        for (_, done) in resolved.done {
            match done {
                Done::Published(position) => self.published.push(position),
                done => self.done.push(done),
            }
        }
        if self.writer.must_beat() {
            self.beat();
        }
    }

    fn beat(&mut self) {
        self.beaten = Instant::now();
        if let Some(connection) = self.connection {
            let heads = Some(self.receiver.heads(10));
            let call = self.writer.beat(Position::ZERO, heads, random());
            self.link.call(connection, &call);
        }
    }

    fn call(&self, request: Request) {
        let call = Call {
            process: self.process.clone(),
            request,
            random: random(),
        };
        if let Some(connection) = self.connection {
            self.link.call(connection, &call);
        }
    }

    fn is_live(&self) -> bool {
        matches!(self.receiver.state(), State::Live)
    }

    fn released_up_to(&self) -> Position {
        self.released.last().copied().unwrap_or_default()
    }

    /// The epoch and the era.
    fn known(&self) -> (Epoch, Position) {
        let known = self.receiver.released().unwrap();
        (known.epoch, known.era)
    }
}

impl std::fmt::Debug for Driver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Driver")
            .field("process", &self.process)
            .field("connection", &self.connection)
            .field("state", &self.receiver.state())
            .field("is_idle", &self.writer.is_idle())
            .field("must_beat", &self.writer.must_beat())
            .field("released", &self.released.len())
            .field("breaks", &self.breaks)
            .field("downs", &self.downs)
            .field("renewed", &self.renewed)
            .finish_non_exhaustive()
    }
}

fn random() -> u64 {
    fastrand::u64(..)
}
