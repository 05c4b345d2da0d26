//! Requests that come to another node than their session's: they are answered as if they had come
//! to the right one.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use adapter::NodeId;
use adapter::memory::Cluster;
use gateway::handlers::Handlers;
use gateway::{Config, Server};
use testkit::ports::free_address;
use testkit::proxy::{Pass, Proxy, Way};
use tokio::net::TcpStream;

use crate::support::{
    Connection, Frame, Response, TestGateway, WebSocket, config, request, sid, until,
};

const POLLING: &str = "/socket.io/?EIO=4&transport=polling";

/// Nodes that find each other.
struct Nodes {
    cluster: Cluster,
    nodes: Vec<TestGateway>,
}

impl Nodes {
    async fn start(count: usize) -> Self {
        Self::configured(count, |_| config()).await
    }

    async fn configured(count: usize, config: impl Fn(usize) -> Config) -> Self {
        let mut started = Self {
            cluster: Cluster::default(),
            nodes: Vec::new(),
        };
        for index in 0..count {
            started.add(Server::new(config(index))).await;
        }
        started
    }

    async fn add(&mut self, server: Server) {
        let id = self.id(self.nodes.len());
        let (cluster, joining) = (self.cluster.clone(), id.clone());
        let server = server.adapter(move |tag, inbox| Arc::new(cluster.join(joining, tag, inbox)));
        let node = TestGateway::start(server).await;
        let address = node.internal_address().to_string();
        self.cluster.set_address(&id, address);
        self.nodes.push(node);
    }

    fn id(&self, index: usize) -> NodeId {
        NodeId::new(&format!("node-{index}")).unwrap()
    }

    fn at(&self, index: usize) -> SocketAddr {
        self.nodes[index].address()
    }

    async fn metric(&self, index: usize, series: &str) -> f64 {
        self.nodes[index].metric(series).await
    }

    async fn forwarded(&self, index: usize, kind: &str, result: &str) -> f64 {
        let series =
            format!("gateway_requests_forwarded_total{{kind=\"{kind}\",result=\"{result}\"}}");
        self.metric(index, &series).await
    }

    async fn unknown(&self, index: usize, cause: &str) -> f64 {
        self.metric(
            index,
            &format!("gateway_unknown_sid_total{{cause=\"{cause}\"}}"),
        )
        .await
    }
}

/// A polling client that sends each request where it is told, on a connection of its own.
struct Wanderer {
    sid: String,
}

impl Wanderer {
    async fn open(at: SocketAddr) -> Self {
        let opened = request(at, &format!("GET {POLLING}"), "").await;
        Self {
            sid: sid(&opened.body),
        }
    }

    /// With a socket in `/`.
    async fn connected(post_at: SocketAddr, poll_at: SocketAddr, home: SocketAddr) -> Self {
        let client = Self::open(home).await;
        client.send(post_at, "40").await;
        assert!(client.poll(poll_at).await.body.starts_with("40{\"sid\""));
        client
    }

    fn target(&self) -> String {
        format!("{POLLING}&sid={}", self.sid)
    }

    async fn poll(&self, at: SocketAddr) -> Response {
        request(at, &format!("GET {}", self.target()), "").await
    }

    async fn post(&self, at: SocketAddr, body: &str) -> Response {
        request(at, &format!("POST {}", self.target()), body).await
    }

    async fn send(&self, at: SocketAddr, body: &str) {
        let answer = self.post(at, body).await;
        assert_eq!((answer.status, &*answer.body), (200, "ok"));
    }

    async fn echo(&self, post_at: SocketAddr, poll_at: SocketAddr, text: &str) {
        self.send(post_at, &format!("421[\"echo\",\"{text}\"]"))
            .await;
        assert_eq!(self.poll(poll_at).await.body, format!("431[\"{text}\"]"));
    }
}

fn assert_unknown(answer: &Response) {
    assert_eq!(answer.status, 400, "{answer:?}");
    assert_eq!(answer.body, r#"{"code":1,"message":"Session ID unknown"}"#);
}

#[tokio::test]
async fn every_node_serves_every_session() {
    let nodes = Nodes::start(3).await;
    for home in 0..3 {
        for first in 0..3 {
            for second in 0..3 {
                let (home, first, second) = (nodes.at(home), nodes.at(first), nodes.at(second));
                let client = Wanderer::connected(first, second, home).await;
                client.echo(second, first, "a").await;
                client.echo(first, home, "b").await;
                client.echo(home, second, "ö\\\"").await;
            }
        }
    }
    assert!(nodes.forwarded(0, "poll", "answered").await >= 18.0);
    assert!(nodes.forwarded(0, "post", "answered").await >= 18.0);
}

#[tokio::test]
async fn clients_that_wander_at_the_same_time_lose_nothing() {
    let nodes = Nodes::start(3).await;
    let at = [nodes.at(0), nodes.at(1), nodes.at(2)];
    let wandering = (0..24).map(async |number: usize| {
        let client = Wanderer::connected(at[number % 3], at[number / 3 % 3], at[number / 9]).await;
        for turn in 0..20 {
            let (post_at, poll_at) = (at[(number + turn) % 3], at[(number * turn) % 3]);
            client
                .echo(post_at, poll_at, &format!("{number}-{turn}"))
                .await;
        }
    });
    futures_util::future::join_all(wandering).await;
}

#[tokio::test]
async fn a_parked_poll_is_answered_through_another_node() {
    let nodes = Nodes::start(2).await;
    let client = Wanderer::connected(nodes.at(1), nodes.at(1), nodes.at(0)).await;
    let mut parked = Connection::open(nodes.at(1)).await;
    parked.send(&format!("GET {}", client.target()), "").await;
    nodes.nodes[0].gateway().of("/").emit("late", (1,)).unwrap();
    assert_eq!(parked.response().await.body, r#"42["late",1]"#);
}

#[tokio::test]
async fn binary_travels_by_polling_through_another_node() {
    let nodes = Nodes::start(2).await;
    let client = Wanderer::connected(nodes.at(1), nodes.at(1), nodes.at(0)).await;
    let event = "451-1[\"echo\",{\"_placeholder\":true,\"num\":0}]\x1ebAQID";
    client.send(nodes.at(1), event).await;
    assert_eq!(
        client.poll(nodes.at(1)).await.body,
        "461-1[{\"_placeholder\":true,\"num\":0}]\x1ebAQID"
    );
}

#[tokio::test]
async fn an_upgrade_lands_on_another_node() {
    let nodes = Nodes::start(2).await;
    let client = Wanderer::connected(nodes.at(1), nodes.at(0), nodes.at(0)).await;
    let query = format!("&sid={}", client.sid);
    let mut websocket = WebSocket::handshake(nodes.at(1), &query).await.unwrap();
    websocket.send("2probe").await;
    websocket.expect("3probe").await;
    websocket.send("5").await;
    websocket.send(r#"421["echo",1]"#).await;
    websocket.expect("431[1]").await;

    let large = "x".repeat(900_000);
    websocket.send(&format!("422[\"echo\",\"{large}\"]")).await;
    websocket.expect(&format!("432[\"{large}\"]")).await;
    websocket
        .send(r#"451-3["echo",{"_placeholder":true,"num":0}]"#)
        .await;
    websocket.send_binary(b"\x01\x02").await;
    websocket
        .expect(r#"461-3[{"_placeholder":true,"num":0}]"#)
        .await;
    websocket.expect_binary(b"\x01\x02").await;

    let transports = "gateway_connections{transport=\"websocket\"}";
    assert_eq!(nodes.metric(0, transports).await, 1.0);
    assert_eq!(nodes.metric(1, transports).await, 0.0);
    assert_eq!(nodes.forwarded(1, "upgrade", "answered").await, 1.0);
    websocket.send_close().await;
    assert_eq!(websocket.frame().await, Frame::Close(None));
    assert_eq!(websocket.frame().await, Frame::End);
    nodes.nodes[0].until_metric(transports, 0.0).await;
}

#[tokio::test]
async fn a_websocket_that_vanishes_from_another_node_closes_its_session() {
    let nodes = Nodes::start(2).await;
    let client = Wanderer::connected(nodes.at(1), nodes.at(0), nodes.at(0)).await;
    let query = format!("&sid={}", client.sid);
    let mut websocket = WebSocket::handshake(nodes.at(1), &query).await.unwrap();
    websocket.send("2probe").await;
    websocket.expect("3probe").await;
    websocket.send("5").await;
    websocket.sync().await;
    websocket.vanish();
    let closed =
        "gateway_connections_closed_total{reason=\"transport_close\",transport=\"websocket\"}";
    nodes.nodes[0].until_metric(closed, 1.0).await;
}

#[tokio::test]
async fn the_session_of_a_websocket_through_another_node_is_closed_by_its_owner() {
    let nodes = Nodes::start(2).await;
    let client = Wanderer::connected(nodes.at(1), nodes.at(0), nodes.at(0)).await;
    let query = format!("&sid={}", client.sid);
    let mut websocket = WebSocket::handshake(nodes.at(1), &query).await.unwrap();
    websocket.send("2probe").await;
    websocket.expect("3probe").await;
    websocket.send("5").await;
    websocket.sync().await;
    nodes.nodes[0].gateway().of("/").disconnect(true);
    websocket.expect("41").await;
    websocket.expect_close().await;
}

#[tokio::test]
async fn a_node_that_stops_closes_the_websockets_of_others_too() {
    let mut nodes = Nodes::start(2).await;
    let client = Wanderer::connected(nodes.at(1), nodes.at(0), nodes.at(0)).await;
    let query = format!("&sid={}", client.sid);
    let mut websocket = WebSocket::handshake(nodes.at(1), &query).await.unwrap();
    websocket.send("2probe").await;
    websocket.expect("3probe").await;
    websocket.send("5").await;
    websocket.sync().await;
    assert_eq!(nodes.metric(1, "gateway_tunnels").await, 1.0);
    assert_eq!(nodes.metric(0, "gateway_tunnels").await, 0.0);
    nodes.nodes.remove(1).stop().await;
    assert_eq!(websocket.frame().await, Frame::End);
    let closed =
        "gateway_connections_closed_total{reason=\"transport_close\",transport=\"websocket\"}";
    nodes.nodes[0].until_metric(closed, 1.0).await;
}

#[tokio::test]
async fn a_drain_closes_the_websockets_of_others_evenly_to_its_end() {
    let over = std::time::Duration::from_secs(3);
    let mut nodes = Nodes::configured(2, |index| {
        let mut config = config();
        config.shutdown.drain = [std::time::Duration::ZERO, over][index];
        config
    })
    .await;
    let mut websockets = Vec::new();
    for _ in 0..20 {
        let client = Wanderer::connected(nodes.at(1), nodes.at(0), nodes.at(0)).await;
        let query = format!("&sid={}", client.sid);
        let mut websocket = WebSocket::handshake(nodes.at(1), &query).await.unwrap();
        websocket.send("2probe").await;
        websocket.expect("3probe").await;
        websocket.send("5").await;
        websocket.sync().await;
        websockets.push(websocket);
    }
    let began = std::time::Instant::now();
    let stopping = nodes.nodes.remove(1);
    let stopping = tokio::spawn(stopping.stop());
    let ends = websockets.into_iter().map(|mut websocket| {
        tokio::spawn(async move {
            assert_eq!(websocket.frame().await, Frame::End);
            began.elapsed()
        })
    });
    let ends: Vec<_> = ends.collect();
    let mut late = 0;
    for end in ends {
        late += usize::from(end.await.unwrap() > over * 11 / 20);
    }
    // Nine of them are due in the last nine twentieths.
    assert!(late >= 5, "{late} of 20 lived beyond the half");
    stopping.await.unwrap();
}

#[tokio::test]
async fn a_draining_node_lets_no_websocket_of_others_through() {
    let nodes = Nodes::configured(2, |_| {
        let mut config = config();
        config.shutdown.drain = std::time::Duration::from_secs(600);
        config
    })
    .await;
    let drained = nodes.nodes[1].internal_address();
    request(drained, "POST /drain", "").await;
    for (through, home) in [(1, 0), (0, 1)] {
        let client =
            Wanderer::connected(nodes.at(through), nodes.at(through), nodes.at(home)).await;
        let query = format!("&sid={}", client.sid);
        let refused = WebSocket::handshake(nodes.at(through), &query).await;
        assert_eq!(refused.err().expect("a refusal").status, 503);
        client.echo(nodes.at(through), nodes.at(home), "on").await;
    }
    for node in nodes.nodes {
        node.stop_at_once().await;
    }
}

#[tokio::test]
async fn a_node_that_stops_lets_go_of_the_polls_of_others() {
    let mut nodes = Nodes::start(2).await;
    let (owner, other) = (nodes.at(0), nodes.at(1));
    let mut clients = Vec::new();
    for _ in 0..20 {
        clients.push(Wanderer::connected(other, owner, owner).await);
    }
    let targets: Vec<_> = clients.iter().map(Wanderer::target).collect();
    let parked = targets.into_iter().map(|target| {
        tokio::spawn(async move { request(other, &format!("GET {target}"), "").await })
    });
    let parked: Vec<_> = parked.collect();
    nodes.nodes[1]
        .until_metric("gateway_requests_forwarding", 20.0)
        .await;
    nodes.nodes.remove(1).stop().await;
    for poll in parked {
        let answer = poll.await.unwrap();
        assert_eq!((answer.status, &*answer.body), (200, "6"));
    }
    for client in &clients {
        client.echo(owner, owner, "still there").await;
    }
}

/// Head without what differs from time to time, and body.
async fn answer_of(at: SocketAddr, head: &str, headers: &str, body: &str) -> String {
    let mut connection = Connection::open(at).await;
    connection.send_with(head, headers, body).await;
    let mut answer = connection.response().await;
    answer.headers.retain(|(name, _)| name != "date");
    answer.headers.sort_unstable();
    format!("{answer:?}")
}

#[tokio::test]
async fn answers_are_the_same_from_everywhere() {
    let open = || {
        let mut config = config();
        config.engine.max_payload = 2000;
        config.cors =
            Config::from_toml("[cors]\norigins = [\"http://a.example\"]\ncredentials = true")
                .unwrap()
                .cors;
        config.engine.cookie = Config::from_toml("[engine]\ncookie = \"io\"")
            .unwrap()
            .engine
            .cookie;
        config
    };
    let nodes = Nodes::configured(2, |_| open()).await;
    let long = "a".repeat(1900);
    let too_long = "a".repeat(2001);
    let echo = format!("421[\"echo\",\"{long}\"]");
    let gzip = "Accept-Encoding: gzip\r\n";
    let origin = "Origin: http://a.example\r\n";
    let octets = "Content-Type: application/octet-stream\r\n";
    let websocket = "Connection: Upgrade\r\nUpgrade: websocket\r\n\
                     Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let old = "Connection: Upgrade\r\nUpgrade: websocket\r\n\
               Sec-WebSocket-Version: 8\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    type Step<'a> = (&'a str, &'a str, &'a str, &'a str);
    let cases: &[&[Step<'_>]] = &[
        &[("POST", "", "", &echo), ("GET", "", gzip, "")],
        &[("POST", "", origin, &echo), ("GET", "", origin, "")],
        &[
            ("POST", "", "", &too_long),
            ("POST", "", "", "2"),
            ("GET", "", "", ""),
        ],
        &[("POST", "", octets, "2"), ("GET", "", origin, "")],
        &[("POST", "", "", "x"), ("GET", "", "", "")],
        &[("PUT", "", origin, "x")],
        &[("HEAD", "", "", "")],
        &[("OPTIONS", "", origin, "")],
        &[("GET", "&EIO=3", "", "")],
        &[("GET", "&transport=websocket", "", "")],
        &[("GET", "&transport=carrier", "", "")],
        &[("GET", "", websocket, "")],
        &[("GET", "&transport=websocket", old, "")],
        &[
            ("POST", "", "", "1"),
            ("GET", "", "", ""),
            ("GET", "", origin, ""),
        ],
    ];
    for (number, case) in cases.iter().enumerate() {
        let mut answers = [Vec::new(), Vec::new()];
        for (at, answers) in answers.iter_mut().enumerate() {
            let client = Wanderer::connected(nodes.at(0), nodes.at(0), nodes.at(0)).await;
            for (method, query, headers, body) in *case {
                let head = format!("{method} {}{query}", client.target());
                answers.push(answer_of(nodes.at(at), &head, headers, body).await);
            }
        }
        let [direct, forwarded] = answers;
        assert_eq!(direct, forwarded, "case {number}");
    }
}

#[tokio::test]
async fn a_second_poll_closes_the_session_wherever_it_comes() {
    let nodes = Nodes::start(3).await;
    let client = Wanderer::connected(nodes.at(1), nodes.at(1), nodes.at(0)).await;
    let get = format!("GET {}", client.target());
    // Which of the two comes first is not known; one waits and the other is refused, and both end.
    let (mut one, mut two) = (
        Connection::open(nodes.at(1)).await,
        Connection::open(nodes.at(2)).await,
    );
    one.send(&get, "").await;
    two.send(&get, "").await;
    let (one, two) = (one.response().await, two.response().await);
    let mut statuses = [one.status, two.status];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 400], "{one:?} {two:?}");
    assert_unknown(&client.poll(nodes.at(1)).await);
    assert_eq!(nodes.unknown(0, "closed").await, 1.0);
    assert_eq!(nodes.unknown(1, "closed").await, 0.0);
}

#[tokio::test]
async fn an_abandoned_poll_closes_the_session_on_its_node() {
    let nodes = Nodes::start(2).await;
    let client = Wanderer::connected(nodes.at(1), nodes.at(1), nodes.at(0)).await;
    let closed =
        "gateway_connections_closed_total{reason=\"transport_error\",transport=\"polling\"}";
    // One that had not arrived when it was given up says nothing, and another follows.
    until(async || {
        let mut poll = Connection::open(nodes.at(1)).await;
        poll.send(&format!("GET {}", client.target()), "").await;
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        drop(poll);
        nodes.metric(0, closed).await == 1.0
    })
    .await;
    until(async || nodes.forwarded(1, "poll", "given_up").await >= 1.0).await;
    assert_unknown(&client.poll(nodes.at(1)).await);
}

#[tokio::test]
async fn an_abandoned_post_closes_the_session_on_its_node() {
    let nodes = Nodes::start(2).await;
    let client = Wanderer::connected(nodes.at(1), nodes.at(1), nodes.at(0)).await;
    let open = "gateway_connections{transport=\"polling\"}";
    until(async || {
        let mut post = Connection::open(nodes.at(1)).await;
        let head = format!(
            "POST {} HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n42",
            client.target()
        );
        post.write(head.as_bytes()).await;
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        drop(post);
        nodes.metric(0, open).await == 0.0
    })
    .await;
}

#[tokio::test]
async fn a_node_that_is_gone_is_told_from_one_that_never_was() {
    let mut nodes = Nodes::start(3).await;
    let client = Wanderer::connected(nodes.at(1), nodes.at(1), nodes.at(2)).await;
    drop(nodes.nodes.remove(2));
    nodes.cluster.forget(&nodes.id(2));
    assert_unknown(&client.poll(nodes.at(0)).await);
    assert_unknown(&client.post(nodes.at(1), "2").await);
    let query = format!("&sid={}", client.sid);
    let refused = WebSocket::handshake(nodes.at(1), &query)
        .await
        .err()
        .unwrap();
    assert_eq!(
        (refused.status, &*refused.body),
        (400, "Session ID unknown")
    );
    assert_eq!(nodes.unknown(0, "gone").await, 1.0);
    assert_eq!(nodes.unknown(1, "gone").await, 2.0);

    for made_up in ["AAAAAAAAAAAAAAAAAAAA", "short"] {
        let client = Wanderer {
            sid: made_up.to_owned(),
        };
        assert_unknown(&client.poll(nodes.at(0)).await);
    }
    assert_eq!(nodes.unknown(0, "never_issued").await, 2.0);
    assert_eq!(nodes.forwarded(0, "poll", "unreachable").await, 0.0);
}

/// An id that begins like those of the sessions of `client`'s node, of which the rest is made up.
fn made_up(client: &Wanderer, shard: char) -> Wanderer {
    let tag = &client.sid[..4];
    Wanderer {
        sid: format!("{tag}{shard}AAAAAAAAAAAAAAA"),
    }
}

#[tokio::test]
async fn ids_that_were_made_up_do_not_stop_forwarding_to_a_node() {
    let nodes = Nodes::configured(2, |_| with_secret("the secret of us all")).await;
    let client = Wanderer::connected(nodes.at(0), nodes.at(0), nodes.at(0)).await;
    let mut cases = vec![
        ('B', "closed"),
        ('_', "never_issued"),
        ('C', "never_issued"),
    ];
    cases.push(('-', "never_issued"));
    // Several of each: connections go to the shards in turn.
    for (shard, cause) in cases.into_iter().flat_map(|case| [case; 4]) {
        let stranger = made_up(&client, shard);
        let owner = usize::from(cause == "never_issued");
        let before = nodes.unknown(owner, cause).await;
        assert_unknown(&stranger.post(nodes.at(1), "2").await);
        assert_eq!(nodes.unknown(owner, cause).await, before + 1.0, "{shard}");
        assert_unknown(&stranger.poll(nodes.at(1)).await);
        let query = format!("&sid={}", stranger.sid);
        assert!(WebSocket::handshake(nodes.at(1), &query).await.is_err());
        client.echo(nodes.at(1), nodes.at(1), "still").await;
    }
    for result in ["unreachable", "gone", "limit", "lost"] {
        for kind in ["poll", "post", "upgrade"] {
            assert_eq!(
                nodes.forwarded(1, kind, result).await,
                0.0,
                "{kind} {result}"
            );
        }
    }
    // The node said how many shards it has, and each shard of this one asked at most once.
    let asked = nodes.forwarded(1, "post", "answered").await
        + nodes.forwarded(1, "poll", "answered").await
        + nodes.forwarded(1, "upgrade", "answered").await;
    assert!(asked <= 16.0 * 2.0 + 4.0 * 3.0 + 2.0, "{asked}");
}

#[tokio::test]
async fn idle_connections_to_the_owners_internal_port_keep_no_node_out() {
    let nodes = Nodes::start(2).await;
    let client = Wanderer::connected(nodes.at(0), nodes.at(0), nodes.at(0)).await;
    let mut idle = Vec::new();
    for _ in 0..300 {
        let address = nodes.nodes[0].internal_address();
        idle.push(TcpStream::connect(address).await.unwrap());
    }
    client.echo(nodes.at(1), nodes.at(1), "through").await;
}

#[tokio::test]
async fn a_node_that_is_a_member_and_does_not_answer_is_unreachable() {
    let nodes = Nodes::start(2).await;
    let client = Wanderer::connected(nodes.at(0), nodes.at(0), nodes.at(0)).await;
    let nobody = free_address().to_string();
    nodes.cluster.set_address(&nodes.id(0), nobody);
    assert_unknown(&client.poll(nodes.at(1)).await);
    assert_eq!(nodes.unknown(1, "unreachable").await, 1.0);
    assert_eq!(nodes.forwarded(1, "poll", "unreachable").await, 1.0);

    let home = nodes.nodes[0].internal_address().to_string();
    nodes.cluster.set_address(&nodes.id(0), home);
    until(async || client.post(nodes.at(1), "3").await.status == 200).await;
}

#[tokio::test]
async fn another_life_of_the_owner_at_its_address_is_not_it() {
    let nodes = Nodes::start(3).await;
    let client = Wanderer::connected(nodes.at(0), nodes.at(0), nodes.at(0)).await;
    let elsewhere = nodes.nodes[2].internal_address().to_string();
    nodes.cluster.set_address(&nodes.id(0), elsewhere);
    assert_unknown(&client.poll(nodes.at(1)).await);
    assert_eq!(nodes.unknown(1, "gone").await, 1.0);
    assert_eq!(nodes.forwarded(1, "poll", "gone").await, 1.0);
}

fn with_secret(secret: &str) -> Config {
    let toml = format!("[redis]\nurl = \"redis://127.0.0.1\"\n[cluster]\nsecret = \"{secret}\"\n");
    let mut config = config();
    config.cluster.secret = Config::from_toml(&toml).unwrap().cluster.secret;
    config
}

#[tokio::test]
async fn nodes_that_share_a_secret_forward() {
    let nodes = Nodes::configured(2, |_| with_secret("the secret of us all")).await;
    let client = Wanderer::connected(nodes.at(1), nodes.at(1), nodes.at(0)).await;
    client.echo(nodes.at(1), nodes.at(1), "x").await;
}

#[tokio::test]
async fn nodes_whose_secrets_differ_do_not() {
    let secrets = ["the secret of us all", "the secret of others"];
    let nodes = Nodes::configured(3, |index| match secrets.get(index) {
        Some(secret) => with_secret(secret),
        None => config(),
    })
    .await;
    for (home, from) in [(0, 1), (1, 2), (2, 0)] {
        let client = Wanderer::open(nodes.at(home)).await;
        assert_unknown(&client.poll(nodes.at(from)).await);
        assert_eq!(nodes.unknown(from, "unreachable").await, 1.0);
        client.send(nodes.at(home), "40").await;
    }
    // At the door of a node without a secret, only the other one notices; who asks without one is
    // told that there is one.
    for (index, met) in [(0, 2.0), (1, 1.0), (2, 1.0)] {
        let mismatches = nodes.metric(index, "gateway_cluster_secret_mismatches_total");
        assert_eq!(mismatches.await, met, "node {index}");
    }
}

/// Asks a node's internal port to serve forwarded requests.
async fn ask(at: SocketAddr, tag: &str, further: &str) -> (Connection, Response) {
    let mut connection = Connection::open(at).await;
    let headers = format!(
        "Connection: Upgrade\r\nUpgrade: gateway-forward/1\r\nGateway-Tag: {tag}\r\n\
         Gateway-Shard: 0\r\nGateway-Nonce: abc\r\n{further}"
    );
    connection
        .send_with("GET /cluster/v1/forward", &headers, "")
        .await;
    let answer = connection.response().await;
    (connection, answer)
}

#[tokio::test]
async fn nobody_forwards_without_the_secret() {
    let nodes = Nodes::configured(2, |_| with_secret("the secret of us all")).await;
    let client = Wanderer::open(nodes.at(0)).await;
    let tag = &client.sid[..4];
    let internal = nodes.nodes[0].internal_address();
    let (mut connection, answer) = ask(internal, tag, "").await;
    assert_eq!(answer.status, 401);
    assert!(answer.header("gateway-challenge").is_some());
    connection
        .send(&format!("GET {}", client.target()), "")
        .await;
    assert_eq!(connection.response().await.status, 404);
    let guess = "Gateway-Proof: AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\r\n";
    assert_eq!(ask(internal, tag, guess).await.1.status, 403);
    assert_eq!(ask(internal, "AAAA", "").await.1.status, 421);
}

#[tokio::test]
async fn what_nodes_may_say_to_each_other_is_bounded() {
    let nodes = Nodes::start(2).await;
    let (home, foreign) = (
        Wanderer::open(nodes.at(0)).await,
        Wanderer::open(nodes.at(1)).await,
    );
    let internal = nodes.nodes[0].internal_address();
    let (mut connection, answer) = ask(internal, &home.sid[..4], "").await;
    assert_eq!(answer.status, 101);
    let client = "Gateway-Client: 192.0.2.1:7\r\nGateway-Secure: 0\r\n";

    connection
        .send(&format!("POST {}", home.target()), "40")
        .await;
    assert_eq!(
        connection.response().await.status,
        400,
        "whose it is was not said"
    );
    connection
        .send_with(&format!("GET {POLLING}"), client, "")
        .await;
    assert_eq!(
        connection.response().await.status,
        400,
        "sessions are not opened so"
    );
    connection
        .send_with(&format!("POST {}", foreign.target()), client, "40")
        .await;
    assert_unknown(&connection.response().await);
    connection
        .send_with(&format!("POST {}", home.target()), client, "40")
        .await;
    assert_eq!(connection.response().await.body, "ok");
    assert_eq!(nodes.forwarded(0, "post", "answered").await, 0.0);
}

#[tokio::test]
async fn a_client_cannot_forge_its_address() {
    let mut nodes = Nodes::start(0).await;
    let handlers = Handlers::new().namespace("/", |main| {
        main.connected(|socket| {
            let address = socket.handshake().address().ip().to_string();
            socket.emit("address", (address,)).unwrap();
        })
    });
    nodes.add(Server::new(config()).application(handlers)).await;
    let mut connection = Connection::open(nodes.at(0)).await;
    let forged = "Gateway-Client: 192.0.2.1:7\r\nGateway-Secure: 1\r\n";
    connection
        .send_with(&format!("GET {POLLING}"), forged, "")
        .await;
    let client = Wanderer {
        sid: sid(&connection.response().await.body),
    };
    client.send(nodes.at(0), "40").await;
    let got = client.poll(nodes.at(0)).await.body;
    assert!(got.ends_with(r#"42["address","127.0.0.1"]"#), "{got}");
}

/// Stands between two nodes. While `swallows` is set, it cuts connections when the owner answers
/// something else than 101.
fn between(owner: SocketAddr, swallows: &Arc<AtomicBool>) -> Proxy {
    let swallows = Arc::clone(swallows);
    Proxy::start(owner, move || {
        let swallows = Arc::clone(&swallows);
        move |way, bytes: &[u8]| {
            let is_answer = way == Way::Down && !bytes.starts_with(b"HTTP/1.1 101");
            if is_answer && swallows.load(Ordering::Relaxed) {
                Pass::Cut
            } else {
                Pass::On
            }
        }
    })
}

#[tokio::test]
async fn a_connection_that_died_while_idle_is_replaced() {
    let nodes = Nodes::start(2).await;
    let between = between(nodes.nodes[0].internal_address(), &Arc::default());
    nodes
        .cluster
        .set_address(&nodes.id(0), between.address().to_string());
    let client = Wanderer::connected(nodes.at(1), nodes.at(1), nodes.at(0)).await;
    for turn in 0..10 {
        between.cut();
        let echoed = client.post(nodes.at(1), "421[\"echo\"]").await;
        // A request that was just being written is lost, not repeated.
        if echoed.status == 200 {
            assert_eq!(client.poll(nodes.at(1)).await.body, "431[]", "turn {turn}");
        } else {
            assert_unknown(&echoed);
        }
    }
    assert!(nodes.forwarded(1, "post", "answered").await >= 2.0);
}

#[tokio::test]
async fn a_request_that_the_owner_may_have_read_is_not_repeated() {
    let nodes = Nodes::start(2).await;
    let swallows = Arc::new(AtomicBool::new(false));
    let between = between(nodes.nodes[0].internal_address(), &swallows);
    nodes
        .cluster
        .set_address(&nodes.id(0), between.address().to_string());
    let client = Wanderer::connected(nodes.at(1), nodes.at(1), nodes.at(0)).await;
    swallows.store(true, Ordering::Relaxed);
    assert_unknown(&client.post(nodes.at(1), "421[\"echo\",\"once\"]").await);
    assert_eq!(nodes.forwarded(1, "post", "lost").await, 1.0);
    assert_eq!(nodes.unknown(1, "unreachable").await, 1.0);
    assert_eq!(client.poll(nodes.at(0)).await.body, "431[\"once\"]");
    client.echo(nodes.at(0), nodes.at(0), "then").await;
}

#[tokio::test]
async fn a_node_that_drains_answers_what_is_forwarded() {
    let mut nodes = Nodes::configured(2, |_| {
        let mut config = config();
        config.shutdown.drain = std::time::Duration::from_secs(1);
        config
    })
    .await;
    let client = Wanderer::connected(nodes.at(1), nodes.at(1), nodes.at(0)).await;
    let stopping = tokio::spawn(nodes.nodes.remove(0).stop());
    let last = client.poll(nodes.at(0)).await;
    assert_unknown(&last);
    stopping.await.unwrap();
    assert_unknown(&client.poll(nodes.at(0)).await);
    assert_eq!(nodes.unknown(0, "gone").await, 1.0);
}
