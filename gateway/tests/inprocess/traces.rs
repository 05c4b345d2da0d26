//! Live traces: what a reader of the API is told, on which nodes, and when that ends.

use std::sync::Arc;
use std::time::{Duration, Instant};

use adapter::NodeId;
use adapter::memory::Cluster;
use gateway::{Config, Server};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpSocket, TcpStream};

use crate::support::{
    Backend, TestGateway, WebSocket, config, request_with, sid, soon, token, until,
};

pub(crate) const KEY: &str = "a key that only tests know";

const SECRET: &str = "a secret that only tests know";

pub(crate) fn settings() -> Config {
    let mut config = config();
    let toml = format!("[auth]\njwt_secret = \"{SECRET}\"\n[api]\nkey = \"{KEY}\"\n");
    let read = Config::from_toml(&toml).unwrap();
    config.api = read.api;
    config.auth = read.auth;
    config
}

pub(crate) async fn nodes() -> (Cluster, [TestGateway; 2]) {
    let cluster = Cluster::default();
    let start = |name| {
        let (cluster, id) = (cluster.clone(), NodeId::new(name).unwrap());
        let join = move |tag, inbox| Arc::new(cluster.join(id, tag, inbox)) as _;
        TestGateway::start(Server::new(settings()).adapter(join))
    };
    let nodes = [start("a").await, start("b").await];
    (cluster, nodes)
}

/// Who reads a trace.
pub(crate) struct Reader(BufReader<TcpStream>);

impl Reader {
    /// Waits until so many nodes trace.
    pub(crate) async fn open(gateway: &TestGateway, query: &str, nodes: usize) -> Self {
        let stream = TcpStream::connect(gateway.internal_address())
            .await
            .unwrap();
        let mut reader = Self::on(stream, query).await;
        for _ in 0..nodes {
            let line = reader.next().await;
            assert_eq!(line["what"], "tracing", "{line}");
        }
        reader
    }

    async fn on(mut stream: TcpStream, query: &str) -> Self {
        let request = format!(
            "GET /api/v1/trace?{query} HTTP/1.0\r\nHost: gateway\r\nAuthorization: Bearer {KEY}\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut reader = Self(BufReader::new(stream));
        assert!(reader.line().await.starts_with("HTTP/1.0 200 "));
        while !reader.line().await.is_empty() {}
        reader
    }

    async fn line(&mut self) -> String {
        let mut line = String::new();
        soon(self.0.read_line(&mut line)).await.unwrap();
        line.trim_end().to_owned()
    }

    async fn next(&mut self) -> Value {
        let line = self.line().await;
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{line:?}: {error}"))
    }

    /// All lines up to one of this kind.
    pub(crate) async fn up_to(&mut self, what: &str) -> Vec<Value> {
        let mut lines = Vec::new();
        while lines.last().is_none_or(|last: &Value| last["what"] != what) {
            lines.push(self.next().await);
        }
        lines
    }
}

pub(crate) async fn user(gateway: &TestGateway, user: &str) -> (WebSocket, String) {
    let claims = json!({"sub": user, "exp": 4_000_000_000_u64});
    let mut client = gateway.websocket().await;
    let token = json!({"token": token(SECRET, &claims)});
    client.send(&format!("40{token}")).await;
    let id = sid(&client.answer().await);
    (client, id)
}

/// Has the relay do something, and says what it answered.
pub(crate) async fn ask(client: &mut WebSocket, id: u32, event: &Value) -> String {
    client.send(&format!("42{id}{event}")).await;
    loop {
        let packet = client.next().await;
        if packet.starts_with(&format!("43{id}[")) {
            return packet;
        }
    }
}

fn column<'a>(lines: &'a [Value], what: &str, key: &str) -> Vec<&'a Value> {
    let of = lines.iter().filter(|line| line["what"] == what);
    of.map(|line| &line[key]).collect()
}

#[tokio::test]
async fn a_trace_of_a_user_has_what_his_client_saw_and_nothing_of_others() {
    let (_cluster, [a, b]) = nodes().await;
    let mut reader = Reader::open(&a, "user=ann", 2).await;
    let (mut ann, id) = user(&b, "ann").await;
    let (mut bob, _) = user(&a, "bob").await;
    let (mut eve, _) = user(&b, "eve").await;
    for client in [&mut ann, &mut bob, &mut eve] {
        ask(client, 1, &json!(["join", "chat"])).await;
    }
    let mut seen = Vec::new();
    for round in 0..20 {
        for (client, name) in [(&mut bob, "of bob"), (&mut eve, "of eve")] {
            let event = json!(["publish", "chat", name, round, "é"]);
            ask(client, 2, &event).await;
        }
        for _ in 0..2 {
            seen.push(ann.next().await);
        }
    }
    ask(&mut ann, 3, &json!(["publish", "chat", "mine", 1])).await;
    ann.send("41").await;
    let lines = reader.up_to("disconnected").await;
    let sent = column(&lines, "sent", "event");
    let recorded: Vec<Value> = seen
        .iter()
        .map(|packet| serde_json::from_str(packet.strip_prefix("42").unwrap()).unwrap())
        .collect();
    assert_eq!(sent.len(), 40);
    for (line, packet) in lines
        .iter()
        .filter(|it| it["what"] == "sent")
        .zip(&recorded)
    {
        assert_eq!(line["event"], packet[0]);
        let arguments = format!("{},\"é\"", packet[1]);
        assert_eq!(line["bytes"], arguments.len(), "{line}");
        assert_eq!(line["arguments"], Value::Null);
    }
    assert_eq!(column(&lines, "received", "event"), ["join", "publish"]);
    assert_eq!(column(&lines, "ack_sent", "ack"), [&json!(1), &json!(3)]);
    assert_eq!(column(&lines, "joined", "room"), ["chat"]);
    assert_eq!(column(&lines, "connected", "socket"), [&json!(id)]);
    let reason = column(&lines, "disconnected", "reason");
    assert_eq!(reason, ["client namespace disconnect"]);
    for line in &lines {
        assert_eq!(line["node"], "b", "{line}");
        assert!(line["at"].as_str().is_some_and(|it| it.ends_with('Z')));
        let of = [&line["user"], &line["socket"]];
        assert!(of[0] == "ann" && of[1] == &json!(id), "{line}");
        assert!(!line.to_string().contains(&ann.sid), "a sid: {line}");
    }
}

#[tokio::test]
async fn what_is_there_already_is_told_and_arguments_only_on_demand_without_tokens() {
    let gateway = TestGateway::start(Server::new(settings())).await;
    let (mut ann, id) = user(&gateway, "ann").await;
    let query = format!("socket={id}&arguments=true");
    let mut reader = Reader::open(&gateway, &query, 1).await;
    let present = reader.next().await;
    assert_eq!(
        (&present["what"], &present["user"]),
        (&json!("present"), &json!("ann"))
    );
    ask(&mut ann, 1, &json!(["echo", "hello"])).await;
    let lines = reader.up_to("ack_sent").await;
    assert_eq!(column(&lines, "received", "arguments"), [r#""hello""#]);
    assert_eq!(column(&lines, "ack_sent", "arguments"), [r#""hello""#]);
    let again = token(SECRET, &json!({"sub": "ann", "exp": 4_000_000_000_u64}));
    ask(&mut ann, 2, &json!(["token", again])).await;
    ask(&mut ann, 3, &json!(["echo", {"bearer": again}])).await;
    ann.send_close().await;
    let lines = reader.up_to("closed").await;
    assert_eq!(column(&lines, "received", "event"), ["token", "echo"]);
    let shown = column(&lines, "received", "arguments");
    assert_eq!(shown, ["(token)", r#"{"bearer":"(token)"}"#]);
    assert_eq!(column(&lines, "closed", "transport"), ["websocket"]);
}

#[tokio::test]
async fn refusals_are_told_to_a_trace_of_the_address() {
    let (_cluster, [a, b]) = nodes().await;
    let mut reader = Reader::open(&a, "address=127.0.0.1", 2).await;
    let mut elsewhere = Reader::open(&a, "address=127.0.0.2", 2).await;
    let mut client = b.websocket().await;
    client
        .send(r#"40{"token":"eyJhbGciOiJIUzI1NiJ9.e30.x"}"#)
        .await;
    client.answer().await;
    client.send_close().await;
    let lines = reader.up_to("closed").await;
    let whats: Vec<_> = lines.iter().map(|line| &line["what"]).collect();
    assert_eq!(whats, ["opened", "connect_refused", "closed"]);
    let reason = lines[1]["reason"].as_str().unwrap();
    assert!(reason.starts_with("token_invalid: "), "{reason}");
    assert!(!lines[1].to_string().contains("eyJ"));
    for (query, expected) in [
        ("EIO=4&transport=carrier-pigeon", "unknown_transport: "),
        (
            "EIO=4&transport=polling&sid=AAAAAAAAAAAAAAAAAAAA",
            "unknown_sid: ",
        ),
    ] {
        let head = format!("GET /socket.io/?{query}");
        let refused = crate::support::request(b.address(), &head, "").await;
        assert_eq!(refused.status, 400);
        let line = reader.next().await;
        assert_eq!(line["what"], "refused");
        let reason = line["reason"].as_str().unwrap();
        assert!(reason.starts_with(expected), "{reason}");
    }
    // Nothing of it was for the other address.
    let ended = tokio::time::timeout(Duration::from_millis(200), elsewhere.line()).await;
    assert!(ended.is_err(), "{ended:?}");
}

#[tokio::test]
async fn a_trace_of_a_room_tells_who_comes_and_goes_and_what_is_for_it() {
    let (_cluster, [a, b]) = nodes().await;
    let mut reader = Reader::open(&a, "room=chat", 2).await;
    let (mut ann, id) = user(&b, "ann").await;
    let (mut bob, _) = user(&a, "bob").await;
    ask(&mut ann, 1, &json!(["join", ["chat", "other"]])).await;
    let joined = reader.next().await;
    assert_eq!(
        (&joined["what"], &joined["socket"]),
        (&json!("joined"), &json!(id))
    );
    ask(&mut bob, 1, &json!(["publish", "other", "not this", 1])).await;
    ask(&mut bob, 2, &json!(["publish", "chat", "this", 1])).await;
    let line = reader.next().await;
    let expected = json!(["broadcast", "b", "this", 1, 1]);
    let told = json!([
        line["what"],
        line["node"],
        line["event"],
        line["sockets"],
        line["bytes"]
    ]);
    assert_eq!(told, expected);
    ann.send_close().await;
    let left = reader.next().await;
    assert_eq!(
        (&left["what"], &left["user"]),
        (&json!("left"), &json!("ann"))
    );
}

#[tokio::test]
async fn a_slow_reader_is_told_how_many_lines_it_lost() {
    let gateway = TestGateway::start(Server::new(settings())).await;
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let stream = socket.connect(gateway.internal_address()).await.unwrap();
    let mut reader = Reader::on(stream, "user=ann").await;
    assert_eq!(reader.next().await["what"], "tracing");
    let (mut ann, _) = user(&gateway, "ann").await;
    // Two lines for each, which is more than what sockets and queues hold.
    const EVENTS: u64 = 20_000;
    const AT_A_TIME: u64 = 100;
    for first in (0..EVENTS).step_by(AT_A_TIME as usize) {
        for number in first..first + AT_A_TIME {
            ann.send(&format!(r#"42{number}["echo",1]"#)).await;
        }
        for _ in 0..AT_A_TIME {
            ann.next().await;
        }
    }
    ann.send_close().await;
    let (mut came, mut lost) = (0, 0);
    // It connected, what it sent and was sent, and it went.
    while came + lost < 2 * EVENTS + 3 {
        let line = reader.next().await;
        match line["what"].as_str().unwrap() {
            "lost" => lost += line["lines"].as_u64().unwrap(),
            _ => came += 1,
        }
    }
    assert!(lost > 0);
    assert_eq!(came + lost, 2 * EVENTS + 3);
}

#[tokio::test]
async fn the_end_of_the_reader_ends_the_trace_everywhere() {
    let (_cluster, [a, b]) = nodes().await;
    let reader = Reader::open(&a, "user=ann", 2).await;
    for node in [&a, &b] {
        assert_eq!(node.metric("gateway_traces").await, 1.0);
    }
    drop(reader);
    for node in [&a, &b] {
        node.until_metric("gateway_traces", 0.0).await;
    }
    let mut reader = Reader::open(&a, "user=ann&for=50ms", 2).await;
    assert_eq!(reader.up_to("ended").await.len(), 1);
    let mut rest = Vec::new();
    assert_eq!(soon(reader.0.read_to_end(&mut rest)).await.unwrap(), 0);
    for node in [&a, &b] {
        node.until_metric("gateway_traces", 0.0).await;
    }
}

#[tokio::test]
async fn the_death_of_the_readers_node_ends_the_trace_on_the_others() {
    let (cluster, [a, b]) = nodes().await;
    let (mut ann, _) = user(&b, "ann").await;
    let _reader = Reader::open(&a, "user=ann", 2).await;
    cluster.kill(&NodeId::new("a").unwrap());
    b.until_metric("gateway_traces", 0.0).await;
    ask(&mut ann, 1, &json!(["echo", 1])).await;
}

#[tokio::test]
async fn a_node_that_does_not_answer_is_named() {
    let (cluster, [a, _b]) = nodes().await;
    cluster.kill(&NodeId::new("b").unwrap());
    let mut reader = Reader::open(&a, "user=ann", 1).await;
    let line = reader.next().await;
    assert_eq!(
        (&line["what"], &line["node"]),
        (&json!("not_tracing"), &json!("b"))
    );
}

/// What `b` could not tell `a`.
const DROPPED: &str = r#"gateway_adapter_messages_total{direction="out",result="dropped"}"#;

#[tokio::test]
async fn lines_that_are_lost_between_nodes_are_counted() {
    let (cluster, [a, b]) = nodes().await;
    let (mut ann, _) = user(&b, "ann").await;
    let mut reader = Reader::open(&a, "user=ann", 2).await;
    assert_eq!(reader.next().await["what"], "present");
    let id = NodeId::new("b").unwrap();
    cluster.drop_answers(&id, true);
    for number in 0..5 {
        ask(&mut ann, number, &json!(["echo", 1])).await;
    }
    let dropped = b.metric(DROPPED).await;
    until(async || b.metric(DROPPED).await > dropped).await;
    cluster.drop_answers(&id, false);
    ask(&mut ann, 5, &json!(["echo", 1])).await;
    let lines = reader.up_to("ack_sent").await;
    let lost = lines.iter().find(|line| line["what"] == "lost").unwrap();
    let told = json!([lost["node"], lost["lines"], lost["reason"]]);
    assert_eq!(told, json!(["b", 10, "between nodes"]));
    assert_eq!(column(&lines, "received", "ack"), [5]);
}

#[tokio::test]
async fn a_node_that_falls_silent_is_named_and_so_is_its_return() {
    let (cluster, [a, _b]) = nodes().await;
    let mut reader = Reader::open(&a, "user=ann", 2).await;
    let id = NodeId::new("b").unwrap();
    cluster.drop_answers(&id, true);
    let mut next = async || {
        let line = reader.next().await;
        json!([line["what"], line["node"], line["reason"]])
    };
    let silent = json!(["not_tracing", "b", "it does not answer"]);
    assert_eq!(next().await, silent);
    cluster.drop_answers(&id, false);
    assert_eq!(next().await, json!(["tracing", "b", "it answers again"]));
    cluster.forget(&id);
    let gone = json!(["not_tracing", "b", "it left the cluster"]);
    assert_eq!(next().await, gone);
}

#[tokio::test]
async fn a_webhook_call_is_told_with_its_time() {
    let asked = Arc::new(tokio::sync::Semaphore::new(0));
    let answered = Arc::clone(&asked);
    let backend = Backend::serve(([127, 0, 0, 1], 0).into(), move |_, body| {
        let call: Value = serde_json::from_slice(&body).unwrap();
        let answered = Arc::clone(&answered);
        Box::pin(async move {
            if call["type"] == "connect" {
                return (200, json!({"user": "ann"}));
            }
            answered.acquire().await.unwrap().forget();
            (200, Value::Null)
        })
    })
    .await;
    let mut config = config();
    let url = backend.url();
    let toml =
        format!("[backend]\nurl = \"{url}\"\nsecret = \"{SECRET}\"\n[api]\nkey = \"{KEY}\"\n");
    let read = Config::from_toml(&toml).unwrap();
    (config.api, config.backend) = (read.api, read.backend);
    let gateway = TestGateway::start(Server::new(config)).await;
    let mut reader = Reader::open(&gateway, "user=ann", 1).await;
    let (mut ann, _) = gateway.client().await;
    let began = Instant::now();
    ann.send(r#"421["order",1]"#).await;
    until(async || backend.calls().len() == 2).await;
    let came = Instant::now();
    gateway.metrics().await;
    let least = came.elapsed();
    asked.add_permits(1);
    let lines = reader.up_to("ack_sent").await;
    let most = began.elapsed();
    assert_eq!(column(&lines, "webhook", "event"), ["connect", "order"]);
    assert_eq!(column(&lines, "webhook", "reason"), ["ok", "ok"]);
    let took = column(&lines, "webhook", "milliseconds")[1]
        .as_f64()
        .unwrap();
    let within = least.as_secs_f64() * 1000.0..most.as_secs_f64() * 1000.0;
    assert!(within.contains(&took), "{took} {within:?}");
}

#[tokio::test]
async fn there_are_so_many_traces_and_no_more_and_each_is_of_one_thing() {
    let gateway = TestGateway::start(Server::new(settings())).await;
    let get = async |query: &str| {
        let key = format!("Authorization: Bearer {KEY}\r\n");
        let head = format!("GET /api/v1/trace?{query}");
        request_with(gateway.internal_address(), &head, &key, "").await
    };
    for query in [
        "",
        "user=ann&room=chat",
        "user=",
        "socket=AAAAAAAAAAAAAAAAAAAA",
        "address=localhost",
        "user=ann&for=2h",
        "user=ann&for=0s",
        "user=ann&arguments=1",
        "user=ann&namespace=/",
    ] {
        assert_eq!(get(query).await.status, 400, "{query}");
    }
    let unknown = request_with(
        gateway.internal_address(),
        "GET /api/v1/trace?user=ann",
        "",
        "",
    );
    assert_eq!(unknown.await.status, 401);
    let mut readers = Vec::new();
    for _ in 0..16 {
        readers.push(Reader::open(&gateway, "user=ann", 1).await);
    }
    assert_eq!(get("user=ann").await.status, 429);
    let (mut ann, _) = user(&gateway, "ann").await;
    ask(&mut ann, 1, &json!(["echo", 1])).await;
    for reader in &mut readers {
        let lines = reader.up_to("ack_sent").await;
        let whats: Vec<_> = lines.iter().map(|line| &line["what"]).collect();
        assert_eq!(whats, ["connected", "received", "ack_sent"]);
    }
    readers.truncate(15);
    until(async || gateway.metric("gateway_traces").await == 15.0).await;
    Reader::open(&gateway, "room=chat", 1).await;
}

/// Runs the program, and says its status, and what it printed and complained of.
pub(crate) async fn run(arguments: Vec<String>) -> (Option<i32>, String, String) {
    let run = move || {
        let mut program = std::process::Command::new(env!("CARGO_BIN_EXE_gateway"));
        program.args(arguments).env_clear().output().unwrap()
    };
    let output = tokio::task::spawn_blocking(run).await.unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (
        output.status.code(),
        text(output.stdout),
        text(output.stderr),
    )
}

#[tokio::test]
async fn the_command_prints_a_trace_until_its_time_is_over() {
    let (_cluster, [a, b]) = nodes().await;
    let folder = std::path::Path::new(env!("CARGO_TARGET_TMPDIR"));
    let (key, wrong) = (folder.join("traces.key"), folder.join("traces.wrong"));
    std::fs::write(&key, format!("{KEY}\n")).unwrap();
    std::fs::write(&wrong, "another key\n").unwrap();
    let url = format!("--url=http://{}", a.internal_address());
    let arguments = |key: &std::path::Path, more: &[&str]| {
        let key = format!("--key-file={}", key.display());
        let mut all = vec![
            "trace".to_owned(),
            "--user=ann".to_owned(),
            url.clone(),
            key,
        ];
        all.extend(more.iter().map(|it| (*it).to_owned()));
        all
    };
    let (status, printed, said) = run(arguments(&wrong, &[])).await;
    assert_eq!((status, printed.as_str()), (Some(1), ""), "{said}");
    assert!(said.contains("key"), "{said}");
    let readable = tokio::spawn(run(arguments(&key, &["--for=5s"])));
    let json = tokio::spawn(run(arguments(&key, &["--for=5s", "--json"])));
    b.until_metric("gateway_traces", 2.0).await;
    let (mut ann, id) = user(&b, "ann").await;
    ask(&mut ann, 7, &json!(["echo", "hello"])).await;
    let (status, printed, said) = readable.await.unwrap();
    assert_eq!((status, said.as_str()), (Some(0), ""));
    for part in [
        " b connected ",
        " b received ack=7 bytes=7 event=echo namespace=/ ",
        " b ack_sent ack=7 bytes=7 namespace=/ ",
        " a ended reason=time\n",
        &format!(" socket={id} "),
    ] {
        assert!(printed.contains(part), "{part}: {printed}");
    }
    let (status, printed, _) = json.await.unwrap();
    assert_eq!(status, Some(0));
    let lines = printed.lines().map(serde_json::from_str);
    let lines: Vec<Value> = lines.collect::<Result<_, _>>().unwrap();
    assert_eq!(column(&lines, "received", "ack"), [7]);
    assert_eq!(lines.last().unwrap()["what"], "ended");
}

#[cfg(feature = "webtransport")]
#[tokio::test]
async fn sessions_of_webtransport_are_traced_as_others_are() {
    let config = crate::webtransport::configured(&format!("api.key = \"{KEY}\""));
    let gateway = TestGateway::start(Server::new(config)).await;
    let mut reader = Reader::open(&gateway, "address=127.0.0.1", 1).await;
    let address = gateway.webtransport_address();
    let mut client = crate::support::WebTransport::open(address).await;
    client.connect().await;
    client.close();
    let lines = reader.up_to("closed").await;
    assert_eq!(column(&lines, "opened", "transport"), ["webtransport"]);
    assert_eq!(column(&lines, "closed", "transport"), ["webtransport"]);
    assert_eq!(column(&lines, "closed", "reason"), ["transport_close"]);
    let mut wrong = crate::support::WebTransport::stream(address).await;
    wrong.send("2").await;
    let lines = reader.up_to("refused").await;
    assert_eq!(column(&lines, "refused", "reason").len(), 1);
}
