//! Who is there: the scripts do what the ledger does, whatever comes, and with the least rights.

use std::sync::Arc;

use adapter::Adapter;
use adapter::presence::{
    Ledger, Lookup, Mode, PresenceStore, Receipt, Reception, Sink, Statement, Subject, SubjectKind,
    Take,
};
use testkit::wait::until;

use crate::clusters::{Cluster, Sentinels};
use crate::gateway::Gateway;
use crate::security::{CLASSIC, COMMON, redis_user};
use crate::server::Redis;

/// What the recipe of docs/redis.md has for presence.
const PRESENCE: &str = "+script|load +evalsha +time +hget +hset +hdel +hincrby +zadd +zrem +zscore +zcard +zpopmin \
                        +zrangebyscore +zrangebylex +zlexcount +rpush +llen +lindex +lrange +ltrim +del +pexpire";

const LEASE: u64 = 2_000;
const GRACE: u64 = 1_000;

/// The store that a node sees, and what waits for it.
struct Scripts {
    runtime: tokio::runtime::Runtime,
    store: Arc<dyn PresenceStore>,
    _gateway: Gateway,
}

impl Scripts {
    fn of(url: &str) -> Self {
        let gateway = Gateway::start_with(url, "gw-a", |it| it.private_patterns = 0);
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        Self {
            runtime: runtime.enable_all().build().unwrap(),
            store: gateway.adapter.presence().unwrap(),
            _gateway: gateway,
        }
    }

    fn call(&self, call: Statement) -> Receipt {
        self.runtime.block_on(self.store.call(call)).unwrap()
    }

    /// Whether a call is taken now.
    fn takes(&self, call: Statement) -> bool {
        self.runtime.block_on(self.store.call(call)).is_ok()
    }
}

/// Calls at random to both; what they answer, what they would tell, and who is there, is the same.
fn agree(url: &str, steps: u32) {
    let scripts = Scripts::of(url);
    let mut ledger = Ledger::default();
    let mut random = fastrand::Rng::with_seed(7);
    let mut now = 1_764_417_600_000;
    let mut versions = [0_u64; 3];
    let (mut epoch, mut turn, mut dead) = (String::new(), 0_u64, Vec::new());
    let mut receptions = Vec::new();
    for step in 0..steps {
        now += random.u64(0..200);
        // Now and then nobody says anything for long.
        if random.u32(0..50) == 0 {
            now += random.u64(0..2 * LEASE);
        }
        let node = random.usize(0..3);
        versions[node] += random.u64(0..3);
        let kinds = [
            SubjectKind::User,
            SubjectKind::Room,
            SubjectKind::Sockets,
            SubjectKind::Anonymous,
        ];
        let counts = (0..random.usize(0..6)).map(|_| {
            let kind = kinds[random.usize(0..4)];
            let namespace = ["/", "/chat"][random.usize(0..2)];
            let name = format!("é{}", random.u32(0..5));
            let count = random.u64(0..4).saturating_sub(1);
            (Subject::new(kind, namespace, &name), count)
        });
        let mut counts: Vec<_> = counts.collect();
        counts.sort_unstable();
        counts.dedup_by(|one, other| one.0 == other.0);
        let call = Statement {
            node: format!("n{node}:x"),
            version: versions[node],
            mode: [Mode::Goes, Mode::Goes, Mode::Goes, Mode::New, Mode::Leaves][random.usize(0..5)],
            seen: turn.saturating_sub(random.u64(0..2)) + u64::from(random.u32(0..60) == 0) * 5,
            epoch: match random.u32(0..10) {
                0 => String::new(),
                1 => "another".to_owned(),
                _ => epoch.clone(),
            },
            candidate: format!("e{step}"),
            lease: LEASE,
            grace: GRACE,
            most: 30,
            sinks: Sink::ALL[..random.usize(0..3)].to_vec(),
            dead: std::mem::take(&mut dead),
            counts,
            clock: Some(now),
        };
        let expected = ledger.call(&call, 0);
        let reply = scripts.call(call.clone());
        assert_eq!(reply, expected, "{step}: {call:?}");
        (epoch, turn, dead) = (reply.epoch, reply.turn, reply.dead);
        receptions.push(reply.reception);

        let sink = Sink::ALL[random.usize(0..2)];
        let look = Take {
            sink,
            teller: ["a", "b"][random.usize(0..2)].to_owned(),
            lease: [0, 500, 500][random.usize(0..3)],
            first: String::new(),
            told: 0,
            most: random.usize(0..40),
            clock: Some(now),
        };
        let expected = ledger.take(&look, 0);
        let taken = scripts.runtime.block_on(scripts.store.take(look.clone()));
        let taken = taken.unwrap();
        assert_eq!(taken, expected, "{step}: {look:?}");
        if let Some(first) = taken.as_ref().and_then(|it| it.events.first()) {
            let told = Take {
                first: first.clone(),
                told: random.usize(0..10),
                ..look
            };
            let expected = ledger.take(&told, 0);
            let taken = scripts.runtime.block_on(scripts.store.take(told));
            assert_eq!(taken.unwrap(), expected, "{step}");
        }
        let page = Lookup {
            kind: [SubjectKind::User, SubjectKind::Room][random.usize(0..2)],
            namespace: ["/", "/chat"][random.usize(0..2)].to_owned(),
            after: [None, Some("é2".to_owned())][random.usize(0..2)].clone(),
            limit: random.usize(0..4),
        };
        let expected = ledger.page(&page);
        let paged = scripts.runtime.block_on(scripts.store.page(page));
        assert_eq!(paged.unwrap(), expected, "{step}");
    }
    for reception in [Reception::Known, Reception::Unknown, Reception::Stale] {
        assert!(receptions.contains(&reception), "{reception:?}");
    }
}

#[test]
#[ignore = "needs Redis: make test"]
fn the_scripts_do_what_the_ledger_does_with_the_rights_of_the_recipe() {
    let redis = Redis::start();
    let url = redis_user(&redis, "secret", &[COMMON, CLASSIC, PRESENCE]);
    agree(&url, 3_000);
    let log = redis.call(&["ACL", "LOG"]);
    assert_eq!(log, "*0", "{log}");
}

#[test]
#[ignore = "needs Redis: make test"]
fn in_a_cluster_they_do_so_too() {
    let cluster = Cluster::start();
    agree(&cluster.url(), 300);
}

#[test]
#[ignore = "needs Redis: make test"]
fn without_a_clock_of_a_test_the_time_is_that_of_redis() {
    let redis = Redis::start();
    let scripts = Scripts::of(&format!("redis://127.0.0.1:{}", redis.port));
    assert_eq!(scripts.call(first_of("a:x")).reception, Reception::Known);
    let time = redis.call(&["TIME"]);
    let seconds: u64 = time.split_whitespace().nth(2).unwrap().parse().unwrap();
    let take = Take {
        sink: Sink::Stream,
        teller: "a".to_owned(),
        lease: 500,
        first: String::new(),
        told: 0,
        most: 10,
        clock: None,
    };
    let taken = scripts.runtime.block_on(scripts.store.take(take));
    let events = taken.unwrap().unwrap().events;
    let at = adapter::presence::Notice::parse(&events[1]).unwrap().at;
    assert!(at.abs_diff(seconds * 1000) < 60_000, "{at} {time}");
}

#[test]
#[ignore = "needs Redis: make test"]
fn a_server_gets_a_script_once_and_again_when_it_forgot_it() {
    let mut redis = Redis::start();
    let scripts = Scripts::of(&redis.url());
    let calls = |redis: &Redis| {
        let names = ["eval", "script|load"];
        names.map(|name| redis.calls(name))
    };
    for number in 0..10 {
        scripts.call(first_of(&format!("a:{number}")));
    }
    assert_eq!(calls(&redis), [0, 1]);
    assert!(redis.calls("evalsha") >= 10);
    redis.call(&["SCRIPT", "FLUSH"]);
    for number in 10..20 {
        scripts.call(first_of(&format!("a:{number}")));
    }
    assert_eq!(calls(&redis), [0, 2]);
    redis.kill();
    redis.restart();
    until("it is called again", || scripts.takes(first_of("b:x")));
    scripts.call(first_of("c:x"));
    assert_eq!(calls(&redis), [0, 1]);
}

#[test]
#[ignore = "needs Redis: make test"]
fn a_replica_that_takes_over_is_given_the_scripts() {
    let mut setup = Sentinels::start();
    let scripts = Scripts::of(&setup.url());
    scripts.call(first_of("a:x"));
    setup.master.kill();
    until("it is called again", || scripts.takes(first_of("b:x")));
    scripts.call(first_of("c:x"));
    let names = ["eval", "script|load"];
    assert_eq!(names.map(|name| setup.replica.calls(name)), [0, 1]);
}

/// The first call of a node.
fn first_of(node: &str) -> Statement {
    Statement {
        node: node.to_owned(),
        version: 1,
        seen: 0,
        mode: Mode::New,
        epoch: String::new(),
        candidate: "e".to_owned(),
        lease: LEASE,
        grace: GRACE,
        most: 30,
        sinks: vec![Sink::Stream],
        dead: Vec::new(),
        counts: vec![(Subject::new(SubjectKind::User, "/", "ann"), 1)],
        clock: None,
    }
}
