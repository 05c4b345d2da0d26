//! Redis away, frozen, restarted: what is promised then.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use adapter::{Adapter, Away, Incoming, Publish, Question, Selection};
use testkit::proxy::{self, Pass, Way};
use testkit::wait::until;

use crate::gateway::{Gateway, broadcast, rooms};
use crate::peer::Peer;
use crate::server::Redis;

#[test]
#[ignore = "needs Redis: make test"]
fn a_node_that_starts_without_redis_comes_up_when_redis_does() {
    let mut redis = Redis::start();
    redis.kill();
    let gateway = Gateway::launch(&redis.url(), "gw-a", |_| {});
    let room = gateway.adapter.open_room("/", "room1");
    assert_eq!(gateway.peers_for(Question::Rooms), Err(Away));
    assert!(!gateway.adapter.is_up() && !room.is_in_force());
    redis.restart();
    gateway.wait_until_up();
    assert!(room.is_in_force());
}

#[test]
#[ignore = "needs Redis: make test"]
fn after_a_restart_everything_is_there_again() {
    let mut redis = Redis::start();
    let [a, b] = ["gw-a", "gw-b"].map(|id| Gateway::start(&redis.url(), id));
    let names: Vec<String> = (0..5000).map(|number| format!("room{number}")).collect();
    let rooms_of_a: Vec<_> = names
        .iter()
        .map(|it| a.adapter.open_room("/", it))
        .collect();
    a.wait_until("in force", || {
        rooms_of_a.iter().all(adapter::Interest::is_in_force)
    });
    let subscriptions = a.adapter.counters().subscriptions.value();
    redis.kill();
    for node in [&a, &b] {
        node.wait_until("down", || !node.adapter.is_up());
    }
    assert!(rooms_of_a.iter().all(|it| !it.is_in_force()));
    assert!(a.drain().contains(&Incoming::Up(false)));
    let started = Instant::now();
    redis.restart();
    a.wait_until_up();
    b.wait_until_up();
    eprintln!(
        "up {:?} after the start, with 5000 rooms",
        started.elapsed()
    );
    assert_eq!(a.adapter.counters().subscriptions.value(), subscriptions);
    assert!(a.adapter.counters().gaps.value() >= 1);
    for name in names.iter().step_by(100) {
        b.emit(rooms(&[name]), name, "");
        assert_eq!(a.next_event().1, *name);
    }
}

#[test]
#[ignore = "needs Redis: make test"]
fn what_is_published_meanwhile_arrives_afterwards_in_order() {
    let mut redis = Redis::start();
    let [a, b] = ["gw-a", "gw-b"].map(|id| Gateway::start(&redis.url(), id));
    let mut peer = Peer::classic(&redis, "redis");
    redis.wait_until_counted();
    redis.kill();
    a.wait_until("down", || !a.adapter.is_up() && !b.adapter.is_up());
    for number in 0..1000 {
        a.emit(Selection::everybody(), "n", &number.to_string());
    }
    redis.restart();
    for number in 0..1000 {
        assert_eq!(b.next_event().2.json, number.to_string());
    }
    let received = peer.received(1000);
    let numbers: Vec<_> = received
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it[1].as_u64())
        .collect();
    assert_eq!(numbers, (0..1000).map(Some).collect::<Vec<_>>());
}

#[test]
#[ignore = "needs Redis: make test"]
fn what_does_not_fit_the_queue_is_dropped_and_counted() {
    let mut redis = Redis::start();
    let a = Gateway::start_with(&redis.url(), "gw-a", |it| it.limits.queue_bytes = 40_000);
    let b = Gateway::start(&redis.url(), "gw-b");
    redis.wait_until_counted();
    redis.kill();
    a.wait_until("down", || !a.adapter.is_up() && !b.adapter.is_up());
    let event = broadcast(Selection::everybody(), "n", Default::default());
    let published = (0..1000).map(|_| a.adapter.publish("/", &event));
    let queued = published.filter(|it| *it == Publish::Queued).count();
    let counters = a.adapter.counters();
    assert!((50..500).contains(&queued), "{queued}");
    assert_eq!(counters.out_dropped.value(), 1000 - queued as u64);
    assert_eq!(counters.queued.value(), queued as u64);
    assert!(counters.queued_bytes.value() <= 40_000);
    redis.restart();
    for _ in 0..queued {
        b.next_event();
    }
    a.wait_until("confirmed", || counters.out_ok.value() == queued as u64);
    // Messages to oneself are queued, too, from time to time.
    a.wait_until("empty", || {
        (counters.queued.value(), counters.queued_bytes.value()) == (0, 0)
    });
}

#[test]
#[ignore = "needs Redis: make test"]
fn counts_add_up_when_redis_is_killed_under_load() {
    let mut redis = Redis::start();
    let [a, b] = ["gw-a", "gw-b"].map(|id| Gateway::start(&redis.url(), id));
    let is_over = AtomicBool::new(false);
    let published = std::thread::scope(|scope| {
        let load = scope.spawn(|| {
            let mut published = 0u64;
            while !is_over.load(Ordering::Relaxed) {
                a.emit(Selection::everybody(), "n", &published.to_string());
                published += 1;
                if published.is_multiple_of(10) {
                    std::thread::sleep(Duration::from_millis(1));
                }
            }
            published
        });
        for _ in 0..3 {
            let before = a.adapter.counters().out_ok.value();
            until("flowing", || {
                a.adapter.counters().out_ok.value() > before + 500
            });
            redis.kill();
            until("down", || !a.adapter.is_up() && !b.adapter.is_up());
            redis.restart();
            until("up", || a.adapter.is_up() && b.adapter.is_up());
        }
        is_over.store(true, Ordering::Relaxed);
        load.join().unwrap()
    });
    a.emit(Selection::everybody(), "end", "");
    let mut numbers = Vec::new();
    loop {
        let (_, name, arguments) = b.next_event();
        if name == "end" {
            break;
        }
        numbers.push(arguments.json.parse::<u64>().unwrap());
    }
    let counters = a.adapter.counters();
    a.wait_until("confirmed", || counters.queued.value() == 0);
    let (ok, lost) = (
        counters.out_ok.value() - 1,
        counters.out_unconfirmed.value(),
    );
    assert_eq!(ok + lost + counters.out_dropped.value(), published);
    assert!(numbers.is_sorted_by(|a, b| a < b), "in order, none twice");
    let received = numbers.len() as u64;
    eprintln!("{published} published, {ok} confirmed, {lost} unconfirmed, {received} received");
    // What Redis confirmed it may have lost with its output buffers when it was killed.
    assert!(received <= ok + lost);
    assert!(received + 3 * 1000 >= ok, "{received} of {ok}");
}

#[test]
#[ignore = "needs Redis: make test"]
fn a_frozen_redis_is_noticed_and_survived() {
    let redis = Redis::start();
    let [a, b] = ["gw-a", "gw-b"].map(|id| Gateway::start(&redis.url(), id));
    redis.freeze();
    let started = Instant::now();
    for number in 0..100 {
        a.emit(Selection::everybody(), "n", &number.to_string());
    }
    assert!(
        started.elapsed() < Duration::from_secs(1),
        "publishing waits"
    );
    a.wait_until("down", || !a.adapter.is_up() && !b.adapter.is_up());
    redis.thaw();
    a.wait_until_up();
    b.wait_until_up();
    a.emit(Selection::everybody(), "end", "");
    let mut last = None;
    loop {
        let (_, name, arguments) = b.next_event();
        if name == "end" {
            break;
        }
        let number: u32 = arguments.json.parse().unwrap();
        assert!(
            last.is_none_or(|last| number > last),
            "{number} after {last:?}"
        );
        last = Some(number);
    }
}

#[test]
#[ignore = "needs Redis: make test"]
fn a_subscriber_that_redis_throws_out_is_back_at_once() {
    let redis = Redis::start();
    let [a, b] = ["gw-a", "gw-b"].map(|id| Gateway::start(&redis.url(), id));
    let room = a.join("room1");
    for round in 1..=5 {
        redis.call(&["CLIENT", "KILL", "TYPE", "pubsub"]);
        a.wait_until("gap", || a.adapter.counters().gaps.value() == round);
        a.wait_until_up();
        b.wait_until_up();
        assert!(room.is_in_force());
        b.emit(rooms(&["room1"]), "again", "");
        assert_eq!(a.next_event().1, "again");
    }
}

#[test]
#[ignore = "needs Redis: make test"]
fn half_open_connections_are_replaced() {
    let redis = Redis::start();
    let proxy = Proxy::start(redis.port);
    let a = Gateway::start(&format!("redis://127.0.0.1:{}", proxy.port), "gw-a");
    let b = Gateway::start(&redis.url(), "gw-b");
    let _room = a.join("room1");
    proxy.swallow.store(true, Ordering::Relaxed);
    a.wait_until("down", || !a.adapter.is_up());
    proxy.swallow.store(false, Ordering::Relaxed);
    a.wait_until_up();
    b.emit(rooms(&["room1"]), "again", "");
    assert_eq!(a.next_event().1, "again");
    a.emit(Selection::everybody(), "back", "");
    assert_eq!(b.next_event().1, "back");
}

/// A proxy that can swallow what passes, on the connections that it has then, for good.
pub(crate) struct Proxy {
    pub(crate) port: u16,
    swallow: Arc<AtomicBool>,
    /// Bytes that came from the server.
    received: Arc<AtomicU64>,
}

impl Proxy {
    pub(crate) fn start(to: u16) -> Self {
        let swallow = Arc::new(AtomicBool::new(false));
        let received = Arc::new(AtomicU64::new(0));
        let (flag, counter) = (swallow.clone(), received.clone());
        let proxy = proxy::Proxy::start(([127, 0, 0, 1], to).into(), move || {
            let (flag, counter) = (flag.clone(), counter.clone());
            let mut is_dead = false;
            move |way, bytes: &[u8]| {
                if way == Way::Down {
                    counter.fetch_add(bytes.len() as u64, Ordering::Relaxed);
                }
                is_dead |= flag.load(Ordering::Relaxed);
                if is_dead { Pass::Lost } else { Pass::On }
            }
        });
        Self {
            port: proxy.address().port(),
            swallow,
            received,
        }
    }

    pub(crate) fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }
}
