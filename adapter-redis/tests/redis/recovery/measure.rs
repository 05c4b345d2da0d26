//! Figures for docs/redis.md, not tests: `cargo test -p adapter-redis --test redis recovery::measure -- --ignored
//! --nocapture --test-threads 1`.

use std::io::{Read, Write as _};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use adapter::recovery::{
    Act, Beat, Call, Change, Claim, Done, Known, LogName, Open, Pid, PidSecret, Position, Process,
    Reply, Request, ServerId, Settings, Span, Write,
};
use adapter::{ClusterMessage, NodeId, Selection};
use adapter_redis::recovery::{EncodedCall, Script};
use adapter_redis::wire::{Channels, Format, Uid, Wire};
use testkit::wait::until;

use super::wire::{SETTINGS, publication};
use crate::gateway::{broadcast, rooms};
use crate::server::Redis;

const FORMAT: Format = Format::Classic {
    specific_responses: false,
};

#[test]
#[ignore = "a measurement"]
fn publishes() {
    let redis = Redis::start();
    let mut subscriber = TcpStream::connect(("127.0.0.1", redis.port)).unwrap();
    let channels: String = (0..100)
        .map(|room| format!("$16\r\nsocket.io#/#r{room:02}#\r\n"))
        .collect();
    let command = format!("*101\r\n$9\r\nSUBSCRIBE\r\n{channels}");
    subscriber.write_all(command.as_bytes()).unwrap();
    std::thread::spawn(move || {
        let mut buffer = vec![0; 1 << 20];
        while subscriber.read(&mut buffer).is_ok_and(|count| count > 0) {}
    });
    until("subscribed", || redis.subscribers("socket.io#/#r99#") == 1);
    let wire = wire();
    let json = format!("\"{}\"", "x".repeat(126));
    let count = 204_800;
    let plain = Plain {
        wire: &wire,
        json: &json,
    };
    let tell_plain = |at_once: usize, count: usize| {
        let before = cpu(&redis);
        plain.run(&redis, at_once, count);
        let spent = (cpu(&redis) - before) / count as f64 * 1e6;
        eprintln!("PUBLISH, {at_once} in a write: {spent:.2} us of Redis' CPU");
    };
    for (batch, kept) in [(1, 1000), (16, 1000), (64, 1000), (256, 1000), (256, 20)] {
        let mut settings = SETTINGS;
        settings.keep.messages = kept;
        let mut store = Calls::new(&redis, &wire, &settings);
        store.publish(256, 128_000, &json);
        let count = if batch == 1 { 20_000 } else { count };
        // What it costs without a write for each is what the goal means; that of a write is the same for both.
        tell_plain(batch, count);
        let before = cpu(&redis);
        store.publish(batch, count, &json);
        let spent = (cpu(&redis) - before) / count as f64 * 1e6;
        eprintln!("recoverable, {batch} in a call, {kept} kept: {spent:.2} us of Redis' CPU");
    }
    let memory = redis.call(&["INFO", "memory"]);
    let stats = redis.call(&["INFO", "commandstats"]);
    let lines = memory.lines().filter(|it| it.starts_with("used_memory:"));
    for line in lines.chain(stats.lines().filter(|it| it.starts_with("cmdstat"))) {
        eprintln!("{line}");
    }
}

#[test]
#[ignore = "a measurement"]
fn memory() {
    let redis = Redis::start();
    let wire = wire();
    let json = format!("\"{}\"", "x".repeat(126));
    let count = 20_000;
    let run = |what: &str, act: &dyn Fn(usize) -> Act| {
        let mut settings = SETTINGS;
        settings.keep.messages = 2 * count;
        settings.keep.bytes = 1 << 30;
        let mut calls = Calls::new(&redis, &wire, &settings);
        let before = memory_of(&redis);
        for from in (0..count).step_by(100) {
            calls.acts((from..from + 100).map(act).collect());
        }
        let spent = (memory_of(&redis) - before) / count as u64;
        eprintln!("{what}: {spent} bytes");
    };
    run("an entry", &|_| {
        publication(rooms(&["room1"]), "hello", &json)
    });
    run("a room with one entry", &|number| {
        publication(rooms(&[&format!("room{number}")]), "hello", &json)
    });
    run("a session in three rooms", &|number| {
        let mut secret = [0; PidSecret::LENGTH];
        for (index, byte) in secret.iter_mut().enumerate() {
            *byte = u8::try_from(number >> (6 * (index % 3)) & 63).unwrap();
        }
        Act::Open(Open {
            secret: PidSecret::new(secret),
            sid: format!("J2ul0LkVwDBp{number:08}").into(),
            user: Some("someone".into()),
            data: Some(bytes::Bytes::from_static(b"{\"name\":\"Some One\"}")),
            rooms: ["lobby", "news", "game-12345"].map(Into::into).into(),
        })
    });
}

/// What clients cost that come, are cut off, and come back to another node all at once.
#[test]
#[ignore = "a measurement"]
fn returns() {
    const COUNT: usize = 15_000;
    const BATCH: usize = 250;
    let redis = Redis::start();
    let wire = wire();
    let mut former = Calls::new(&redis, &wire, &SETTINGS);
    let mut latter = Calls {
        stream: TcpStream::connect(("127.0.0.1", redis.port)).unwrap(),
        process: process("gw-b"),
        number: 0,
        hash: former.hash.clone(),
        script: Script::new(Arc::new(wire.clone()), "socket.io", 2, &SETTINGS),
        known: None,
        beaten: Instant::now(),
    };
    // A process acts once another one knows of it.
    latter.beat();
    former.known = latter.known;
    former.beat();
    latter.beat();
    let secret = |number: usize| {
        let digit = |index: usize| u8::try_from((number * 7919) >> (6 * (index % 3)) & 63).unwrap();
        PidSecret::new(std::array::from_fn(digit))
    };
    let mut pids: Vec<Pid> = Vec::new();
    let tell = |what: &str, act: &mut dyn FnMut(std::ops::Range<usize>)| {
        let before = cpu(&redis);
        for from in (0..COUNT).step_by(BATCH) {
            act(from..from + BATCH);
        }
        let spent = (cpu(&redis) - before) / COUNT as f64 * 1e6;
        eprintln!("{what}: {spent:.2} us of Redis' CPU");
    };
    tell("a client comes and joins a room", &mut |numbers| {
        let acts = numbers.flat_map(|number| {
            let open = Act::Open(Open {
                secret: secret(number),
                sid: format!("J2ul0LkVwDBp{number:08}").into(),
                user: None,
                data: None,
                rooms: [].into(),
            });
            let room = format!("room{}", number % 500).into();
            [open, write(secret(number), Change::Join(vec![room]))]
        });
        let acts = acts.collect();
        pids.extend(former.acts(acts).iter().filter_map(|it| match it {
            Done::Opened(pid) => Some(*pid),
            _ => None,
        }));
    });
    tell("it is away", &mut |numbers| {
        let acts = numbers.map(|number| write(secret(number), Change::Away));
        former.acts(acts.collect());
    });
    tell("it is claimed", &mut |numbers| {
        let claims = numbers.map(|number| {
            Act::Claim(Claim {
                pid: pids[number],
                offset: None,
                user: None,
            })
        });
        let done = latter.acts(claims.collect());
        assert!(done.iter().all(|it| matches!(it, Done::Claimed(_))));
    });
    tell("its own log is read", &mut |numbers| {
        let spans = numbers.map(|number| Span {
            log: LogName::room(&format!("J2ul0LkVwDBp{number:08}")),
            after: Position::ZERO,
            until: latter.known.unwrap().position,
        });
        latter.call(Request::Read(spans.collect()));
    });
}

fn write(secret: PidSecret, change: Change) -> Act {
    Act::Write(Write {
        secret,
        generation: 1,
        changes: vec![change],
    })
}

fn process(node: &str) -> Process {
    Process {
        node: NodeId::new(node).unwrap(),
        seed: 1,
    }
}

fn memory_of(redis: &Redis) -> u64 {
    let info = redis.call(&["INFO", "memory"]);
    let line = info
        .lines()
        .find_map(|it| it.strip_prefix("used_memory_dataset:"));
    line.unwrap().parse().unwrap()
}

fn wire() -> Wire {
    Wire {
        format: FORMAT,
        namespace: "/".into(),
        channels: Channels::new("socket.io", "/"),
        uid: Uid::new(FORMAT, 1, "/"),
        node: NodeId::new("gw-a").unwrap(),
        max_message: 1 << 20,
    }
}

struct Plain<'a> {
    wire: &'a Wire,
    json: &'a str,
}

impl Plain<'_> {
    fn run(&self, redis: &Redis, at_once: usize, count: usize) {
        let mut stream = TcpStream::connect(("127.0.0.1", redis.port)).unwrap();
        for from in (0..count).step_by(at_once) {
            let mut out = Vec::new();
            for index in from..from + at_once {
                let arguments = adapter::ArgumentsBuf::from_json(self.json);
                let room = format!("r{:02}", index % 100);
                let message: ClusterMessage = broadcast(rooms(&[&room]), "hello", arguments);
                let outgoing = self.wire.encode(&message, None).unwrap();
                let parts = [b"PUBLISH", outgoing.channel.as_bytes(), &outgoing.payload];
                out.extend_from_slice(b"*3\r\n");
                for part in parts {
                    out.extend_from_slice(format!("${}\r\n", part.len()).as_bytes());
                    out.extend_from_slice(part);
                    out.extend_from_slice(b"\r\n");
                }
            }
            stream.write_all(&out).unwrap();
            let mut replies = vec![0; 4 * at_once];
            stream.read_exact(&mut replies).unwrap();
        }
    }
}

struct Calls {
    script: Script,
    hash: String,
    stream: TcpStream,
    process: Process,
    number: u64,
    known: Option<Known>,
    beaten: Instant,
}

/// A process that was silent for ten seconds may not act.
const BEAT: Duration = Duration::from_secs(3);

impl Calls {
    fn new(redis: &Redis, wire: &Wire, settings: &Settings) -> Self {
        redis.call(&["FLUSHALL"]);
        let hash = redis.call(&["SCRIPT", "LOAD", Script::SOURCE]);
        let hash = hash.lines().nth(1).unwrap().to_owned();
        let stream = TcpStream::connect(("127.0.0.1", redis.port)).unwrap();
        let mut calls = Self {
            script: Script::new(Arc::new(wire.clone()), "socket.io", 1, settings),
            hash,
            stream,
            process: process("gw-a"),
            number: 0,
            known: None,
            beaten: Instant::now(),
        };
        calls.beat();
        calls
    }

    fn beat(&mut self) {
        let beat = Request::Beat(Beat {
            number: 1,
            acknowledged: 0,
            known: self.known,
            floor: Position::ZERO,
            heads: Vec::new(),
            sweeps: true,
            seen: Position::ZERO,
        });
        if let Reply::Beaten { known, .. } = self.call(beat) {
            self.known = Some(known);
        }
        self.beaten = Instant::now();
    }

    fn publish(&mut self, batch: usize, count: usize, json: &str) {
        for from in (0..count).step_by(batch) {
            let acts = (from..from + batch).map(|index| {
                let selection: Selection = rooms(&[&format!("r{:02}", index % 100)]);
                publication(selection, "hello", json)
            });
            let acts = acts.collect();
            self.acts(acts);
        }
    }

    fn acts(&mut self, acts: Vec<Act>) -> Arc<[Done]> {
        if self.beaten.elapsed() > BEAT {
            self.beat();
        }
        self.number += 1;
        let reply = self.call(Request::Acts {
            number: self.number,
            acts,
            seen: Position::ZERO,
        });
        let Reply::Done { known, done, .. } = reply else {
            panic!("{reply:?}");
        };
        self.known = Some(known);
        done
    }

    fn call(&mut self, request: Request) -> Reply {
        let call = Call {
            process: self.process.clone(),
            request,
            random: 1,
        };
        let encoded: EncodedCall = self.script.encode(&call);
        let mut out = Vec::new();
        self.script
            .push(&mut out, &encoded, &self.hash, ServerId(1), None);
        self.stream.write_all(&out).unwrap();
        let mut reply = Vec::new();
        let mut buffer = [0; 65536];
        loop {
            if let Ok((reply, _)) = self.script.read(&encoded.asked, &reply) {
                return reply.reply;
            }
            let count = self.stream.read(&mut buffer).unwrap();
            reply.extend_from_slice(&buffer[..count]);
            assert!(!reply.starts_with(b"-"), "{}", reply.escape_ascii());
        }
    }
}

/// Seconds of CPU of Redis.
fn cpu(redis: &Redis) -> f64 {
    let info = redis.call(&["INFO", "cpu"]);
    let lines = info.lines().filter_map(|line| {
        let (name, value) = line.split_once(':')?;
        let is_its = ["used_cpu_user", "used_cpu_sys"].contains(&name);
        is_its.then(|| value.parse::<f64>().unwrap())
    });
    lines.sum()
}
