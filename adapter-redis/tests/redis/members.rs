//! Who lives, and who is missing.

use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use adapter::{Adapter, Incoming, NodeState, Selection};
use adapter_redis::Problem;
use testkit::program::Program;
use testkit::proxy::{Pass, Proxy, Way};
use testkit::wait::{PATIENCE, until};

use crate::gateway::Gateway;
use crate::peer::Peer;
use crate::server::Redis;

#[test]
#[ignore = "needs Redis: make test"]
fn nodes_know_each_other() {
    let redis = Redis::start();
    let [a, b] = ["gw-a", "gw-b"].map(|id| Gateway::start(&redis.url(), id));
    let state = NodeState {
        connections: 17,
        is_draining: true,
        spread: 5,
    };
    b.adapter.set_state(state);
    a.wait_until("told", || {
        a.adapter.members().iter().any(|it| it.state == state)
    });
    let members = a.adapter.members();
    assert_eq!(members.len(), 2);
    assert_eq!(members[0].id, *a.adapter.node());
    let other = &members[1];
    assert_eq!(other.id, *b.adapter.node());
    assert_eq!(
        (other.tag.as_str(), other.address.as_str()),
        ("gw-b", "gw-b:3001")
    );
    assert_eq!(other.version, "0.1.0");
    b.close();
    a.wait_until("gone", || a.adapter.members().len() == 1);
    let told = a.drain().into_iter().filter_map(|it| match it {
        Incoming::Members(members) => Some(members.len()),
        Incoming::Message { .. }
        | Incoming::Response { .. }
        | Incoming::Up(_)
        | Incoming::Store { .. } => None,
    });
    let told: Vec<_> = told.collect();
    assert_eq!(told.last(), Some(&1));
    assert!(told.contains(&2), "{told:?}");
    let left = redis.call(&["KEYS", "*"]);
    assert!(!left.contains("gw-b"), "{left}");
}

#[test]
#[ignore = "needs Redis: make test"]
fn a_killed_node_is_missing_at_once_and_then_gone() {
    let redis = Redis::start();
    let mut peer = Peer::classic(&redis, "redis");
    let a = Gateway::start(&redis.url(), "gw-a");
    let mut other = other_process(&redis, "gw-b");
    a.wait_until("known", || a.adapter.members().len() == 2);
    a.wait_until("listening", || a.peers().nodes.len() == 1);
    assert_eq!(a.peers().others, 1);

    other.kill();
    let killed = Instant::now();
    a.wait_until("missing", || a.peers().absent.len() == 1);
    let noticed = killed.elapsed();
    let peers = a.peers();
    assert_eq!((peers.nodes.len(), peers.others), (0, 1));
    assert_eq!(peers.absent[0].as_str(), "gw-b");
    a.wait_until("gone", || a.adapter.members().len() == 1);
    assert_eq!(a.peers().absent, []);
    eprintln!(
        "missing after {noticed:?}, gone after {:?}",
        killed.elapsed()
    );
    assert!(noticed < Duration::from_millis(500));
    assert_eq!(peer.eval("return io.of('/').adapter.serverCount()"), 2);
}

#[test]
#[ignore = "needs Redis: make test"]
fn a_tag_belongs_to_one_node() {
    let redis = Redis::start();
    let first = Gateway::start(&redis.url(), "gw-a");
    let tag = first.adapter.members()[0].tag.clone();
    let second = Gateway::launch(&redis.url(), "gw-b", |it| {
        it.tag = adapter::NodeTag::new(&tag).unwrap();
    });
    let taken = Some(Problem::TagTaken("gw-a".to_owned()));
    second.wait_until("refused", || second.adapter.problem() == taken);
    assert!(!second.adapter.is_up());
    assert!(first.adapter.is_up());
    first.close();
    second.wait_until_up();
}

#[test]
#[ignore = "needs Redis: make test"]
fn an_id_belongs_to_one_process() {
    let redis = Redis::start();
    let first = Gateway::start(&redis.url(), "gw-a");
    let second = Gateway::launch(&redis.url(), "gw-a", |it| {
        it.tag = adapter::NodeTag::new("none").unwrap();
        it.address = "elsewhere".to_owned();
    });
    let taken = Some(Problem::IdTaken);
    second.wait_until("refused", || second.adapter.problem() == taken);
    assert!(!second.adapter.is_up());
    assert!(first.adapter.is_up());
    assert_eq!(first.adapter.members()[0].address, "gw-a:3001");
    first.close();
    second.wait_until_up();
}

#[test]
#[ignore = "needs Redis: make test"]
fn members_are_kept_while_redis_is_away() {
    let mut redis = Redis::start();
    let [a, b] = ["gw-a", "gw-b"].map(|id| Gateway::start(&redis.url(), id));
    a.wait_until("known", || a.adapter.members().len() == 2);
    a.drain();
    redis.kill();
    a.wait_until("down", || !a.adapter.is_up() && !b.adapter.is_up());
    redis.restart();
    a.wait_until_up();
    b.wait_until_up();
    let told = a.take(Duration::from_secs(2), |it| {
        matches!(it, Incoming::Members(_))
    });
    assert_eq!(told, None, "nobody left");
    assert_eq!(a.adapter.members().len(), 2);
}

/// A node in a process of its own, which can be killed.
fn other_process(redis: &Redis, id: &str) -> Program {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--ignored", "--exact", "members::in_another_process"])
        .env("ADAPTER_REDIS_URL", redis.url())
        .env("ADAPTER_REDIS_ID", id)
        .stdout(Stdio::null());
    Program::start(&mut command)
}

/// Not a test: what [`other_process`] runs, until it is killed.
#[test]
#[ignore = "is a process of another test"]
fn in_another_process() {
    let (Ok(url), Ok(id)) = (
        std::env::var("ADAPTER_REDIS_URL"),
        std::env::var("ADAPTER_REDIS_ID"),
    ) else {
        return;
    };
    let _node = Gateway::start(&url, &id);
    // Longer than the test that kills it has patience.
    std::thread::sleep(PATIENCE * 2);
}

/// Two ways to one Redis. The first tells when `a` asks for subscribers and when it hears that there are
/// two, and the second can be cut.
struct Ways {
    redis: Redis,
    of_a: Proxy,
    of_b: Proxy,
    asked: Arc<AtomicU64>,
    has_counted_b: Arc<AtomicBool>,
    is_b_cut: Arc<AtomicBool>,
}

impl Ways {
    fn new() -> Self {
        let redis = Redis::start();
        let to = ([127, 0, 0, 1], redis.port).into();
        let asked = Arc::new(AtomicU64::new(0));
        let has_counted_b = Arc::new(AtomicBool::new(false));
        let seen = (asked.clone(), has_counted_b.clone());
        let of_a = Proxy::start(to, move || {
            let (asked, has_counted_b) = seen.clone();
            move |way, bytes: &[u8]| {
                let contains = |part: &[u8]| bytes.windows(part.len()).any(|it| it == part);
                match way {
                    Way::Up if contains(b"NUMSUB") => {
                        asked.fetch_add(1, Ordering::Relaxed);
                    }
                    Way::Down if contains(b"socket.io-request#/#\r\n:2\r\n") => {
                        has_counted_b.store(true, Ordering::Relaxed);
                    }
                    Way::Up | Way::Down => {}
                }
                Pass::On
            }
        });
        let is_b_cut = Arc::new(AtomicBool::new(false));
        let flag = is_b_cut.clone();
        let of_b = Proxy::start(to, move || {
            let flag = flag.clone();
            move |_, _: &[u8]| match flag.load(Ordering::Relaxed) {
                true => Pass::Cut,
                false => Pass::On,
            }
        });
        Self {
            redis,
            of_a,
            of_b,
            asked,
            has_counted_b,
            is_b_cut,
        }
    }

    /// A node that waits for its peers as long as a test lasts.
    fn start_a(&self, heartbeat: Duration) -> Gateway {
        let url = format!("redis://{}", self.of_a.address());
        Gateway::start_with(&url, "gw-a", |it| {
            it.timing.settle = Duration::from_secs(600);
            it.timing.member_ttl = Duration::from_secs(1200);
            it.timing.heartbeat = heartbeat;
        })
    }

    fn start_b(&self) -> Gateway {
        Gateway::start(&format!("redis://{}", self.of_b.address()), "gw-b")
    }

    fn wait_until_a_has_counted(&self) {
        let before = self.asked.load(Ordering::Relaxed);
        until("a has counted", || {
            self.asked.load(Ordering::Relaxed) >= before + 3
        });
    }

    fn cut_b(&self) {
        self.is_b_cut.store(true, Ordering::Relaxed);
        self.of_b.cut();
        until("b is not heard any more", || {
            let counted = ["PUBSUB", "NUMSUB", "socket.io-request#/#"];
            self.redis.call(&counted).ends_with(":1")
        });
    }

    /// `a` connects anew while `b` is cut off, and `b` gets what `a` published meanwhile.
    fn assert_b_is_waited_for(&self, a: &Gateway, b: &Gateway) {
        let reconnects = a.adapter.counters().reconnects.value();
        self.of_a.cut();
        until("a connects anew", || {
            a.adapter.counters().reconnects.value() > reconnects
        });
        for number in 0..100 {
            a.emit(Selection::everybody(), "n", &number.to_string());
        }
        a.wait_until_up();
        self.wait_until_a_has_counted();
        self.is_b_cut.store(false, Ordering::Relaxed);
        for number in 0..100 {
            assert_eq!(b.next_event().2.json, number.to_string());
        }
    }
}

#[test]
#[ignore = "needs Redis: make test"]
fn who_was_cut_off_before_the_publisher_is_waited_for() {
    let ways = Ways::new();
    let (a, b) = (ways.start_a(Duration::from_secs(1)), ways.start_b());
    ways.wait_until_a_has_counted();
    ways.cut_b();
    ways.wait_until_a_has_counted();
    ways.assert_b_is_waited_for(&a, &b);
}

#[test]
#[ignore = "needs Redis: make test"]
fn who_is_new_is_waited_for() {
    let ways = Ways::new();
    let a = ways.start_a(Duration::from_secs(600));
    let b = ways.start_b();
    until("a has counted b", || {
        ways.has_counted_b.load(Ordering::Relaxed)
    });
    ways.cut_b();
    ways.assert_b_is_waited_for(&a, &b);
}
