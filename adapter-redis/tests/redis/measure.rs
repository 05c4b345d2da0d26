//! Figures for docs/redis.md, not tests: `cargo test --release -p adapter-redis --test redis
//! measure -- --ignored --nocapture --test-threads 1`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use adapter::{Adapter, ArgumentsBuf, Interest, Selection};
use adapter_redis::RedisAdapter;
use adapter_redis::wire::{Channels, Format, Kind, Uid, Wire};
use testkit::wait::until;

use crate::gateway::{Gateway, config, rooms};
use crate::outage::Proxy;
use crate::peer::Peer;
use crate::server::Redis;

#[test]
#[ignore = "a measurement"]
fn throughput() {
    for receivers in [1, 2] {
        let redis = Redis::start();
        let sender = Gateway::start(&redis.url(), "sender");
        let receivers: Vec<_> = (0..receivers)
            .map(|number| {
                let config = config(&redis.url(), &format!("{number}-receiver"), |_| {});
                let adapter = RedisAdapter::start(config, Arc::new(|_| {})).unwrap();
                let open = adapter.open_namespace("/");
                until("up", || adapter.is_up());
                (adapter, open)
            })
            .collect();
        let count = 400_000;
        let arguments = ArgumentsBuf::from_json(format!("\"{}\"", "x".repeat(130)));
        let message = crate::gateway::broadcast(Selection::everybody(), "hello", arguments);
        let before = cpu();
        let started = Instant::now();
        let mut calls = Duration::ZERO;
        for number in 0..count {
            let call = Instant::now();
            sender.adapter.publish("/", &message);
            calls += call.elapsed();
            // No faster than the queue is emptied.
            while number % 1000 == 0 && sender.adapter.counters().queued.value() > 50_000 {
                std::thread::yield_now();
            }
        }
        for (receiver, _) in &receivers {
            until("received", || receiver.counters().in_ok.value() == count);
        }
        let elapsed = started.elapsed();
        let after = cpu();
        let spent = |thread: &str| after(thread) - before(thread);
        eprintln!(
            "{} receivers: {:.0} messages/s; a call of publish {:?}; CPU per message: sending bus {:.2} us, receiving bus {:.2} us",
            receivers.len(),
            count as f64 / elapsed.as_secs_f64(),
            calls / count as u32,
            spent("redis-sender") / count as f64 * 1e6,
            spent("redis-0-receive") / count as f64 * 1e6,
        );
    }
}

#[test]
#[ignore = "a measurement"]
fn codec() {
    let format = Format::Classic {
        specific_responses: false,
    };
    let wire = Wire {
        format,
        namespace: "/".into(),
        channels: Channels::new("socket.io", "/"),
        uid: Uid::new(format, 1, "/"),
        node: adapter::NodeId::new("gw-a").unwrap(),
        max_message: 1 << 20,
    };
    let text = "x".repeat(100);
    let json = format!(r#"{{"id":12345,"text":"{text}","tags":["a","b"],"at":1700000000000}}"#);
    let arguments = ArgumentsBuf::from_json(json);
    let message = crate::gateway::broadcast(rooms(&["room1"]), "hello", arguments);
    let payload = wire.encode(&message, None).unwrap().payload;
    let count = 1_000_000;
    let spent = |before: f64| (cpu()("measure::codec") - before) / f64::from(count) * 1e6;
    let before = cpu()("measure::codec");
    for _ in 0..count {
        std::hint::black_box(wire.encode(std::hint::black_box(&message), None).unwrap());
    }
    let encoding = spent(before);
    let before = cpu()("measure::codec");
    let mut text = String::new();
    for _ in 0..count {
        let payload = std::hint::black_box(&payload);
        let envelope = format.open(Kind::Broadcast, payload, &mut text).unwrap();
        std::hint::black_box(envelope.content().unwrap());
    }
    let decoding = spent(before);
    eprintln!(
        "{} bytes: encoding {encoding:.2} us, decoding {decoding:.2} us CPU",
        payload.len()
    );
}

#[test]
#[ignore = "a measurement"]
fn latency() {
    let redis = Redis::start();
    let [a, b] = ["gw-a", "gw-b"].map(|id| Gateway::start(&redis.url(), id));
    let epoch = Instant::now();
    let mut latencies = Vec::new();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for number in 0..5000u64 {
                let due = epoch + Duration::from_millis(number);
                std::thread::sleep(due.saturating_duration_since(Instant::now()));
                let nanos = epoch.elapsed().as_nanos().to_string();
                a.emit(Selection::everybody(), "t", &nanos);
            }
        });
        for _ in 0..5000 {
            let sent: u64 = b.next_event().2.json.parse().unwrap();
            latencies.push(epoch.elapsed() - Duration::from_nanos(sent));
        }
    });
    latencies.sort();
    let at = |part: f64| latencies[(latencies.len() as f64 * part) as usize];
    eprintln!(
        "latency at 1000/s: p50 {:?}, p99 {:?}, p99.9 {:?}",
        at(0.5),
        at(0.99),
        at(0.999)
    );
}

#[test]
#[ignore = "a measurement"]
fn bytes_by_interest() {
    let redis = Redis::start();
    let proxies: Vec<_> = (0..4).map(|_| Proxy::start(redis.port)).collect();
    let url = |proxy: &Proxy| format!("redis://127.0.0.1:{}", proxy.port);
    let nodes: Vec<_> = ["gw-a", "gw-b", "gw-c"]
        .iter()
        .zip(&proxies)
        .map(|(id, proxy)| Gateway::start(&url(proxy), id))
        .collect();
    let settings =
        serde_json::json!({"client": "redis", "url": url(&proxies[3]), "mode": "classic"});
    let mut peer = Peer::start(&settings);
    let open: Vec<Interest> = (0..1000)
        .map(|number| {
            nodes[number % 3]
                .adapter
                .open_room("/", &format!("room{number}"))
        })
        .collect();
    until("in force", || open.iter().all(Interest::is_in_force));
    let sender = Gateway::start(&redis.url(), "sender");
    let before: Vec<u64> = proxies.iter().map(Proxy::received).collect();
    let started = Instant::now();
    let json = format!("\"{}\"", "x".repeat(130));
    for number in 0..10_000u64 {
        let due = started + Duration::from_micros(number * 500);
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        sender.emit(rooms(&[&format!("room{}", number % 1000)]), "hello", &json);
    }
    until("received", || {
        nodes
            .iter()
            .map(|it| it.adapter.counters().in_ok.value())
            .sum::<u64>()
            == 10_000
    });
    let elapsed = started.elapsed().as_secs_f64();
    peer.eval("return 1");
    for (index, (proxy, before)) in proxies.iter().zip(before).enumerate() {
        let rate = (proxy.received() - before) as f64 / elapsed;
        let name = if index == 3 { "Node" } else { "ours" };
        eprintln!(
            "{name}: {:.0} kB/s from Redis at {:.0} broadcasts/s",
            rate / 1e3,
            10_000.0 / elapsed
        );
    }
}

#[test]
#[ignore = "a measurement"]
fn subscribing() {
    let mut redis = Redis::start();
    let gateway = Gateway::start(&redis.url(), "gw-a");
    let names: Vec<String> = (0..100_000).map(|number| format!("room{number}")).collect();
    let started = Instant::now();
    let open: Vec<Interest> = names
        .iter()
        .map(|it| gateway.adapter.open_room("/", it))
        .collect();
    until("in force", || open.iter().all(Interest::is_in_force));
    eprintln!("100,000 rooms in force after {:?}", started.elapsed());
    redis.kill();
    gateway.wait_until("down", || !gateway.adapter.is_up());
    redis.restart();
    let started = Instant::now();
    gateway.wait_until_up();
    eprintln!(
        "up again {:?} after the restart, with 100,000 rooms",
        started.elapsed()
    );
}

/// CPU seconds spent so far, by name of thread.
fn cpu() -> impl Fn(&str) -> f64 {
    let mut threads = Vec::new();
    for task in std::fs::read_dir("/proc/self/task").unwrap() {
        let path = task.unwrap().path();
        let Ok(stat) = std::fs::read_to_string(path.join("stat")) else {
            continue;
        };
        let (name, rest) = stat.split_once('(').unwrap().1.rsplit_once(')').unwrap();
        let fields: Vec<&str> = rest.split_whitespace().collect();
        let ticks = fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap();
        threads.push((name.to_owned(), ticks / 100.0));
    }
    move |name| {
        let threads = threads.iter().filter(|it| name.starts_with(&it.0));
        threads.map(|it| it.1).sum()
    }
}
