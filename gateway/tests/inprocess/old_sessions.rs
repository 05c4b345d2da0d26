//! Whole sessions of clients of Socket.IO 1 and 2, as they went over the wire to a Node server: the gateway answers each
//! packet as that server did.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use gateway::Socket;
use gateway::application::Refusal;
use gateway::event::Binary;
use gateway::handlers::{Handlers, Namespace};
use protocol::engineio::{Message, Packet, old_payload};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::support::{Connection, Frame, Response, TestGateway, WebSocket, config, soon, until};

const FLOWS: &str = include_str!("../../../protocol/tests/vectors/eio3-flows.json");
const UPGRADE: &str = "Connection: Upgrade\r\nUpgrade: websocket\r\n\
                       Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
const ASKED_WITHIN: Duration = Duration::from_secs(60);

#[tokio::test]
async fn javascript_2_over_polling() {
    replay("/javascript_polling").await;
}

#[tokio::test]
async fn javascript_2_over_websocket() {
    replay("/javascript_websocket").await;
}

#[tokio::test]
async fn javascript_2_with_an_upgrade() {
    replay("/javascript_upgrade").await;
}

#[tokio::test]
async fn javascript_1_over_polling() {
    replay("/javascript1_polling").await;
}

#[tokio::test]
async fn python_4_over_polling() {
    replay("/python_polling").await;
}

#[tokio::test]
async fn python_4_over_websocket() {
    replay("/python_websocket").await;
}

#[tokio::test]
async fn python_4_with_an_upgrade() {
    replay("/python_upgrade").await;
}

#[tokio::test]
async fn a_browser_over_polling() {
    replay("/browser/xhr2 same host, cors with credentials").await;
}

#[tokio::test]
async fn a_browser_with_an_upgrade() {
    replay("/browser/upgrade").await;
}

/// A body of so many packets takes several turns of its shard.
#[tokio::test]
async fn a_post_of_many_packets_is_handled_whole_and_in_order() {
    const EVENTS: usize = 10_000;
    for is_binary in [false, true] {
        let gateway = node(&Seen::default()).await;
        let path = "/socket.io/?EIO=3&transport=polling&b64=1";
        let opened = exchange(gateway.address(), "GET", path, "", b"").await;
        let session = format!("{path}&sid={}", open_sid(&opened.body));
        let mut body = Vec::new();
        for number in 0..EVENTS {
            let packet = format!("42{number}[\"echo\",\"é😀\"]");
            match is_binary {
                false => {
                    let units = packet.encode_utf16().count();
                    body.extend_from_slice(format!("{units}:{packet}").as_bytes());
                }
                true => {
                    body.push(0);
                    body.extend(packet.len().to_string().bytes().map(|digit| digit - b'0'));
                    body.push(255);
                    body.extend_from_slice(packet.as_bytes());
                }
            }
        }
        let kind = match is_binary {
            false => "text/plain;charset=UTF-8",
            true => "application/octet-stream",
        };
        let headers = format!("Content-Type: {kind}\r\n");
        let posted = exchange(gateway.address(), "POST", &session, &headers, &body).await;
        assert_eq!(posted.body, "ok");
        let mut answers = 0;
        while answers < EVENTS {
            let response = exchange(gateway.address(), "GET", &session, "", b"").await;
            let packets = packets(&response.bytes, false);
            assert!(packets.len() <= 16);
            for packet in packets.iter().filter(|packet| packet.starts_with("43")) {
                assert_eq!(unescaped(packet), format!("43{answers}[\"é😀\"]"));
                answers += 1;
            }
        }
    }
}

/// What the server's application saw.
type Seen = Arc<Mutex<Vec<Value>>>;

/// Sends what the client sent, and compares what the gateway answers, and what its application sees.
async fn replay(pointer: &str) {
    let flows: Value = serde_json::from_str(FLOWS).unwrap();
    let found = flows.pointer(pointer).unwrap();
    let steps = found.get("flow").unwrap_or(found).as_array().unwrap();
    let seen = Seen::default();
    let gateway = node(&seen).await;
    let mut replay = Replay::new(gateway.address(), steps);
    for (at, step) in steps.iter().enumerate() {
        match step["dir"].as_str() {
            Some("c>s") => replay.send(at).await,
            Some("s>c") => replay.compare(at).await,
            Some(_) | None => {}
        }
    }
    assert!(replay.compared > 10, "{} packets", replay.compared);
    let Some(server) = found.get("server") else {
        return;
    };
    let mut expected = told(server);
    if pointer == "/python_polling" {
        // In one body it leaves both namespaces and closes. Node reads the close first; the gateway keeps their order.
        for it in expected.iter_mut().filter(|it| it[0] == "disconnect") {
            it[2] = json!("client namespace disconnect");
        }
    }
    expected.sort_by_key(Value::to_string);
    until(async || seen.lock().unwrap().len() >= expected.len()).await;
    let mut seen = seen.lock().unwrap().clone();
    seen.sort_by_key(Value::to_string);
    assert_eq!(seen, expected);
}

/// A node with the application that the captured server had.
async fn node(seen: &Seen) -> TestGateway {
    let mut config = config();
    config.engine.allow_eio3 = true;
    let refuse = |with: Refusal| |it: Namespace| it.middleware(move |_| Err(with.clone()));
    let handlers = Handlers::new()
        .namespace("/", |main| application(main, seen))
        .namespace("/chat", |chat| application(chat, seen))
        .namespace("/str", refuse(Refusal::new("plain refusal")))
        .namespace(
            "/obj",
            refuse(Refusal::new("an object").with_data(&json!({"code": 42, "why": "obj"}))),
        )
        .namespace("/num", refuse(Refusal::new("a number").with_data(&7)));
    let server = gateway::Server::new(config).application(handlers);
    TestGateway::start(server).await
}

fn application(namespace: Namespace, seen: &Seen) -> Namespace {
    let (connected, gone, asked, asked_binary) =
        (seen.clone(), seen.clone(), seen.clone(), seen.clone());
    let log = |seen: &Seen, what: Value| seen.lock().unwrap().push(what);
    namespace
        .connected(move |socket| {
            let auth: Value = serde_json::from_str(&socket.auth_json()).unwrap();
            let token = socket.handshake().query_value("token");
            log(
                &connected,
                json!(["connection", socket.namespace(), auth, token]),
            );
        })
        .disconnect(move |socket, reason| {
            log(
                &gone,
                json!(["disconnect", socket.namespace(), reason.as_node()]),
            );
        })
        .on("echo", |socket, event| {
            socket.emit("echo", event.arguments()).unwrap();
            if event.wants_ack() {
                event.ack(event.arguments()).unwrap();
            }
        })
        .on("two", |socket, _| {
            socket.emit("a", (1,)).unwrap();
            socket.emit("b", ("é€😀",)).unwrap();
        })
        .on("twobin", |socket, _| {
            let binary = Binary(Bytes::from_static(&[0, 1, 254, 255]));
            socket.emit("a", (1,)).unwrap();
            socket.emit("bin", (binary,)).unwrap();
            socket.emit("b", ("é€😀",)).unwrap();
        })
        .on("askme", move |socket, _| {
            let answer = socket
                .emit_with_ack("question", (1,), ASKED_WITHIN)
                .unwrap();
            let asked = asked.clone();
            tokio::task::spawn_local(async move {
                let (name, value): (String, Value) = answer.await.unwrap().parse().unwrap();
                log(&asked, json!(["answer", name, value]));
            });
        })
        .on("askbin", move |socket: &Socket, _| {
            let binary = Binary(Bytes::from_static(&[9]));
            let answer = socket.emit_with_ack("question", (binary,), ASKED_WITHIN);
            let (answer, asked) = (answer.unwrap(), asked_binary.clone());
            tokio::task::spawn_local(async move {
                let (name, Binary(value)): (String, Binary) =
                    answer.await.unwrap().parse().unwrap();
                let value = json!({"type": "Buffer", "data": value.to_vec()});
                log(&asked, json!(["answer", name, value]));
            });
        })
        .on("bye", |socket, _| socket.disconnect(false))
}

/// The captured server's own list, in the words of [`application`]: ids are ours to choose.
fn told(server: &Value) -> Vec<Value> {
    let list = server.as_array().unwrap().iter();
    let json = |text: &Value| serde_json::from_str::<Value>(text.as_str().unwrap()).unwrap();
    list.map(|it| match it[0].as_str().unwrap() {
        "connection" => json!(["connection", it[1], json(&it[3]), json(&it[4])["token"]]),
        "disconnect" => json!(["disconnect", it[1], it[3]]),
        _ => it.clone(),
    })
    .collect()
}

/// A session that is on polling.
struct Polls {
    sid: String,
    packets: mpsc::UnboundedReceiver<String>,
    sender: Option<mpsc::UnboundedSender<String>>,
    enough: Arc<AtomicBool>,
    task: Option<JoinHandle<()>>,
}

struct Replay<'a> {
    address: SocketAddr,
    steps: &'a [Value],
    /// By the sid of the capture.
    sessions: HashMap<String, Polls>,
    /// By the connection of the capture.
    websockets: HashMap<u64, WebSocket>,
    /// The session that a connection polls or posts for, by its sid in the capture.
    serves: HashMap<u64, String>,
    compared: usize,
}

impl<'a> Replay<'a> {
    fn new(address: SocketAddr, steps: &'a [Value]) -> Self {
        Self {
            address,
            steps,
            sessions: HashMap::new(),
            websockets: HashMap::new(),
            serves: HashMap::new(),
            compared: 0,
        }
    }

    /// Sends what the client sent.
    async fn send(&mut self, at: usize) {
        let step = &self.steps[at];
        let connection = step["conn"].as_u64().unwrap();
        if let Some(request) = step["request"].as_str() {
            let [method, path] = request.split(' ').take(2).collect::<Vec<_>>()[..] else {
                panic!("{request}");
            };
            match method {
                "OPTIONS" => {}
                _ if path.contains("transport=websocket") => self.open(connection, path).await,
                "POST" => self.post(connection, path, step).await,
                _ if sid(path).is_some() => self.poll(connection, path),
                _ => self.handshake(at, path).await,
            }
            return;
        }
        if step["text"] == "5" {
            self.end_polls(connection).await;
        }
        let Some(websocket) = self.websockets.get_mut(&connection) else {
            return;
        };
        if let Some(text) = step["text"].as_str() {
            websocket.send(text).await;
        } else if let Some(data) = step["binary_hex"].as_str() {
            websocket.send_binary(&bytes(data)).await;
        } else {
            websocket.send_close().await;
            self.websockets.remove(&connection);
        }
    }

    /// Compares what the captured server sent.
    async fn compare(&mut self, at: usize) {
        let step = &self.steps[at];
        let connection = step["conn"].as_u64().unwrap();
        let expected = if let Some(text) = step["text"].as_str() {
            vec![text.to_owned()]
        } else if let Some(data) = step["binary_hex"].as_str() {
            vec![format!("b{}", &data[2..])]
        } else if step["body"] == "ok" {
            return;
        } else {
            let body = step["body"].as_str().map(|body| body.as_bytes().to_vec());
            let Some(body) = body.or_else(|| step["body_hex"].as_str().map(bytes)) else {
                return;
            };
            packets(&body, step["body_hex"].is_string())
        };
        for expected in expected.into_iter().filter(|it| it != "6") {
            if expected.starts_with("0{") {
                continue;
            }
            let actual = match self.websockets.get_mut(&connection) {
                Some(websocket) => soon(frame(websocket)).await,
                None => {
                    let session = self
                        .serves
                        .get(&connection)
                        .expect("a connection that polls");
                    let session = self.sessions.get_mut(session).unwrap();
                    soon(session.packets.recv()).await.expect("a packet")
                }
            };
            assert_eq!(unescaped(&actual), expected, "step {at}");
            self.compared += 1;
        }
    }

    /// The handshake of a session on polling; its sid in the capture stands in the answer there.
    async fn handshake(&mut self, at: usize, path: &str) {
        let connection = &self.steps[at]["conn"];
        let mut later = self.steps[at..].iter();
        let answer = later.find(|it| it["dir"] == "s>c" && it["conn"] == *connection);
        let captured = open_sid(answer.unwrap()["body"].as_str().unwrap());
        let response = exchange(self.address, "GET", path, "", b"").await;
        assert_eq!(response.status, 200, "{response:?}");
        let (sender, packets) = mpsc::unbounded_channel();
        let polls = Polls {
            sid: open_sid(&response.body),
            packets,
            sender: Some(sender),
            enough: Arc::default(),
            task: None,
        };
        self.sessions.insert(captured, polls);
    }

    /// From its first poll on a client polls by itself.
    fn poll(&mut self, connection: u64, path: &str) {
        let captured = sid(path).unwrap().to_owned();
        let session = self.sessions.get_mut(&captured).unwrap();
        let path = path.replace(&captured, &session.sid);
        self.serves.insert(connection, captured);
        let Some(sender) = session.sender.take() else {
            return;
        };
        let (address, enough) = (self.address, Arc::clone(&session.enough));
        session.task = Some(tokio::spawn(async move {
            while !enough.load(Ordering::Relaxed) {
                let response = exchange(address, "GET", &path, "", b"").await;
                if response.status != 200 {
                    break;
                }
                let is_binary = response.header("content-type") == Some("application/octet-stream");
                for packet in packets(&response.bytes, is_binary) {
                    if packet != "6" {
                        sender.send(packet).ok();
                    }
                }
            }
        }));
    }

    async fn post(&mut self, connection: u64, path: &str, step: &Value) {
        let captured = sid(path).unwrap();
        let path = path.replace(captured, &self.sessions[captured].sid);
        let kind = step["content_type"].as_str().unwrap();
        let body = match step["body"].as_str() {
            Some(body) => body.as_bytes().to_vec(),
            None => bytes(step["body_hex"].as_str().unwrap()),
        };
        self.serves.insert(connection, captured.to_owned());
        let headers = format!("Content-Type: {kind}\r\n");
        let response = exchange(self.address, "POST", &path, &headers, &body).await;
        assert_eq!((response.status, &*response.body), (200, "ok"));
    }

    /// A WebSocket, for a session that is there or for one of its own.
    async fn open(&mut self, connection: u64, path: &str) {
        let ours = match sid(path) {
            Some(captured) => {
                self.serves.insert(connection, captured.to_owned());
                path.replace(captured, &self.sessions[captured].sid)
            }
            None => path.to_owned(),
        };
        let mut opened = Connection::open(self.address).await;
        let request = format!("GET {ours} HTTP/1.1\r\nHost: gateway\r\n{UPGRADE}\r\n");
        opened.write(request.as_bytes()).await;
        assert_eq!(opened.response().await.status, 101);
        let mut websocket = WebSocket::on(opened);
        if sid(path).is_none() {
            assert!(websocket.next().await.starts_with("0{"));
        }
        self.websockets.insert(connection, websocket);
    }

    /// A client that upgrades polls no more.
    async fn end_polls(&mut self, connection: u64) {
        let session = &self.serves[&connection];
        let session = self.sessions.get_mut(session).unwrap();
        session.enough.store(true, Ordering::Relaxed);
        if let Some(task) = session.task.take() {
            soon(task).await.unwrap();
        }
    }
}

/// The sid in a request's query.
fn sid(path: &str) -> Option<&str> {
    let (_, after) = path.split_once("&sid=")?;
    after.split('&').next()
}

/// The sid in the body that answers a handshake.
fn open_sid(body: &str) -> String {
    let (_, open) = body.split_once(":0").unwrap();
    let open: Value = serde_json::from_str(open).unwrap();
    open["sid"].as_str().unwrap().to_owned()
}

fn bytes(hex: &str) -> Vec<u8> {
    let digits = hex.as_bytes().chunks(2);
    let byte = |pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.map(byte).collect()
}

fn hex(data: &[u8]) -> String {
    data.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// One request on a connection of its own, as behind a balancer.
async fn exchange(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &str,
    body: &[u8],
) -> Response {
    let mut connection = Connection::open(address).await;
    let length = body.len();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: gateway\r\n{headers}Content-Length: {length}\r\n\r\n"
    );
    connection.write(&[head.as_bytes(), body].concat()).await;
    connection.response().await
}

/// The packets of a polling body; binary data as `b` and hexadecimal digits.
fn packets(body: &[u8], is_binary: bool) -> Vec<String> {
    let text = String::from_utf8_lossy(body);
    let packets: Result<Vec<_>, _> = match is_binary {
        true => old_payload::Packets::of_binary(body).collect(),
        false => old_payload::Packets::of_text(&text).collect(),
    };
    let told = |packet| match packet {
        Packet::Message(Message::Text(text)) => format!("4{text}"),
        Packet::Message(Message::Binary(data)) => format!("b{}", hex(&data)),
        Packet::Pong(data) => format!("3{data}"),
        Packet::Close => "1".to_owned(),
        Packet::Noop => "6".to_owned(),
        Packet::Open(open) => format!("0{open}"),
        other @ (Packet::Ping(_) | Packet::Upgrade) => panic!("a server sent {other:?}"),
    };
    packets.unwrap().into_iter().map(told).collect()
}

/// The next packet of a WebSocket, as [`packets`] has it.
async fn frame(websocket: &mut WebSocket) -> String {
    match websocket.frame().await {
        Frame::Text(text) => text,
        Frame::Binary(data) => {
            assert_eq!(data[0], 4);
            format!("b{}", hex(&data[1..]))
        }
        other @ (Frame::Close(_) | Frame::End) => panic!("{other:?} in place of a packet"),
    }
}

/// A packet without the escapes that the gateway writes in polling text, where Node writes what they stand for.
fn unescaped(packet: &str) -> String {
    let mut parts = packet.split("\\u");
    let mut units: Vec<u16> = parts.next().unwrap_or_default().encode_utf16().collect();
    for part in parts {
        let (digits, rest) = part.split_at(4);
        units.push(u16::from_str_radix(digits, 16).unwrap());
        units.extend(rest.encode_utf16());
    }
    String::from_utf16(&units).unwrap()
}
