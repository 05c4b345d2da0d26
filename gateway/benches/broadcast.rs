//! What a broadcast costs on its way into the outboxes of a room: encoding, selecting, queueing. The recipients poll and have no poll
//! parked, so nothing is written to a connection while the time is taken.

#![expect(missing_docs, reason = "criterion_group! writes a public function")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use gateway::handlers::Handlers;
use gateway::{Config, Running, Server};
use tokio::runtime::Builder;

/// Broadcasts between two readings of the clock; what they queue is fetched by the clients afterwards.
const ROUND: u64 = 500;

const TEXT: &str = "Have you seen the \"new\" build? It looks fine to me. 128 characters are what a line of a chat has, more or less, so here they are.";

/// A client that polls.
struct Client {
    connection: TcpStream,
    target: String,
}

impl Client {
    /// In `/`, which puts it into the room.
    fn connect(address: SocketAddr) -> Self {
        let mut client = Self {
            connection: TcpStream::connect(address).expect("the gateway listens"),
            target: "/socket.io/?EIO=4&transport=polling".to_owned(),
        };
        let opened = client.request("GET", "");
        let sid = opened.split('"').nth(3).expect("the open packet has a sid");
        client.target = format!("{}&sid={sid}", client.target);
        client.request("POST", "40");
        client.request("GET", "");
        client
    }

    fn request(&mut self, method: &str, body: &str) -> String {
        let length = body.len();
        let target = &self.target;
        let head =
            format!("{method} {target} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n");
        let sent = self.connection.write_all((head + body).as_bytes());
        sent.expect("the gateway reads");
        let mut answer = Vec::new();
        let mut buffer = [0; 64 * 1024];
        loop {
            let count = self
                .connection
                .read(&mut buffer)
                .expect("the gateway answers");
            assert!(count > 0, "the gateway closed the connection");
            answer.extend_from_slice(&buffer[..count]);
            let text = String::from_utf8_lossy(&answer);
            let Some((head, body)) = text.split_once("\r\n\r\n") else {
                continue;
            };
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length: "));
            let length: usize = length.and_then(|it| it.parse().ok()).expect("a length");
            if body.len() >= length {
                return body.to_owned();
            }
        }
    }
}

/// A node of one shard, whose sockets all are in one room.
async fn start() -> Running {
    let mut config = Config {
        demo: Some(false),
        ..Config::default()
    };
    config.listen = ([127, 0, 0, 1], 0).into();
    config.internal_listen = ([127, 0, 0, 1], 0).into();
    config.shards = NonZeroUsize::MIN;
    config.limits.outbox_bytes = 1 << 30;
    config.engine.ping_interval = Duration::from_secs(3600);
    let handlers =
        Handlers::new().namespace("/", |main| main.connected(|socket| socket.join(["room"])));
    let server = Server::new(config).application(handlers);
    server.start().await.expect("there are free ports")
}

fn broadcast(criterion: &mut Criterion) {
    let runtime = Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime can be had");
    let mut group = criterion.benchmark_group("broadcast");
    group.sample_size(10);
    for members in [1, 100, 1_000] {
        let running = runtime.block_on(start());
        let mut clients: Vec<_> = (0..members)
            .map(|_| Client::connect(running.address()))
            .collect();
        let room = running.gateway().of("/").to("room");
        let nobody = running.gateway().of("/").to("nobody");
        group.throughput(Throughput::Elements(members));
        group.bench_function(format!("to {members}"), |bencher| {
            bencher.iter_custom(|iterations| {
                let mut spent = Duration::ZERO;
                let mut left = iterations;
                while left > 0 {
                    let round = left.min(ROUND);
                    left -= round;
                    let began = Instant::now();
                    for number in 0..round {
                        room.emit("message", (number, TEXT))
                            .expect("the shard keeps up");
                    }
                    // It is answered when the shard has come so far.
                    runtime.block_on(nobody.fetch_sockets());
                    spent += began.elapsed();
                    for client in &mut clients {
                        client.request("GET", "");
                    }
                }
                spent
            });
        });
        drop(clients);
        runtime.block_on(running.stop_at_once());
    }
    group.finish();
}

criterion_group!(benches, broadcast);
criterion_main!(benches);
