//! What a connect takes, from the connection to the joined namespace: allocations, and mail for the shards.

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::num::NonZeroUsize;
use std::rc::Rc;
use std::sync::Arc;

use allocation_counter::measure;
use tokio::runtime::{Builder, LocalOptions};

use super::{Prepared, Server};
use crate::config::Config;
use crate::engine::mail::{Inbox, Letterbox};
use crate::engine::node::{Mount, Node};
use crate::engine::shard::Shard;
use crate::http;

/// How often a client connects; of these the connect with the fewest counts. Tables grow now and then.
const TIMES: usize = 50;

/// With eight headers, of which the session keeps most. One that waits for the runtime to tell of the request takes more.
const MOST: u64 = 31;

const REQUEST: &[u8] = b"GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: a\r\n\
    Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nUser-Agent: b\r\nOrigin: http://a\r\n\
    Accept-Language: en\r\n\r\n";

/// A masked frame with a packet that joins `/`.
const CONNECT: &[u8] = &[0x81, 0x82, 0, 0, 0, 0, b'4', b'0'];

/// A node whose shards do not run.
pub(in crate::server) fn node(shards: usize) -> (Arc<Node>, Vec<Letterbox>) {
    let config = Config {
        shards: NonZeroUsize::new(shards).unwrap(),
        ..Config::default()
    };
    let Server {
        config,
        application,
        ..
    } = Server::new(config);
    let config = config.check().unwrap();
    let prepared = Prepared::new(&config, application).unwrap();
    let mount = Mount {
        path: config.engine.path.to_string(),
        layer: Arc::new(prepared.layers.outermost),
    };
    let (inboxes, letterboxes) = (0..shards).map(|_| Inbox::new()).unzip();
    let node = Node::new(config, inboxes, vec![mount], prepared.assets, None);
    (Arc::new(node), letterboxes)
}

/// A connection, from both ends.
pub(in crate::server) fn connection(listener: &TcpListener) -> (TcpStream, TcpStream) {
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (server, _) = listener.accept().unwrap();
    for end in [&client, &server] {
        end.set_nonblocking(true).unwrap();
    }
    (client, server)
}

/// Lets the shard run until the client has got this.
async fn got(mut client: &TcpStream, expected: &[u8]) {
    let (mut bytes, mut count) = ([0; 1024], 0);
    while !bytes[..count]
        .windows(expected.len())
        .any(|it| it == expected)
    {
        match client.read(&mut bytes[count..]) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => tokio::task::yield_now().await,
            read => {
                let read = read.unwrap();
                assert!(read > 0, "{}", String::from_utf8_lossy(&bytes[..count]));
                count += read;
            }
        }
    }
}

#[test]
fn a_connect_takes_few_allocations() {
    let (node, letterboxes) = node(1);
    let mut builder = Builder::new_current_thread();
    let built = builder.enable_all().build_local(LocalOptions::default());
    let runtime = built.unwrap();
    let letterbox = letterboxes.into_iter().next().unwrap();
    let shard = runtime.block_on(async {
        let shard = Shard::new(node, 0, letterbox);
        tokio::task::spawn_local(Rc::clone(&shard).run());
        shard
    });
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let (mut clients, mut counts) = (Vec::new(), Vec::new());
    for _ in 0..TIMES {
        let (mut client, server) = connection(&listener);
        let address = client.local_addr().unwrap();
        client.write_all(REQUEST).unwrap();
        let opened = measure(|| {
            runtime.block_on(async {
                http::serve(&shard, server, address);
                got(&client, b"\"maxPayload\":1000000}").await;
            });
        });
        client.write_all(CONNECT).unwrap();
        let joined = measure(|| runtime.block_on(got(&client, b"40{\"sid\":\"")));
        counts.push(opened.count_total + joined.count_total);
        clients.push(client);
    }
    let fewest = counts.iter().copied().min().unwrap();
    assert!((1..=MOST).contains(&fewest), "{counts:?}");
    runtime.block_on(async { shard.end() });
}
