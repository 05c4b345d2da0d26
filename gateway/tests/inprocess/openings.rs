//! The request that opens a session by WebSocket is the same whether it comes in one piece, which is
//! read without an HTTP server, or in several.

use gateway::application::{Admission, Application, Connect, EngineApplication, Flow};
use gateway::engine::Connection as EngineConnection;
use gateway::event::Event;
use gateway::handshake::Handshake;
use gateway::socket::Socket;
use gateway::{Config, Server};
use protocol::engineio::Message;

use crate::support::{Connection, Frame, Response, TestGateway, WebSocket, config, request};

const HANDSHAKE: &str = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

fn opening(target: &str, more: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: gateway\r\n{HANDSHAKE}{more}\r\n")
}

/// The answer's head, without what a proxy may add and with the session's id left out.
async fn answer(gateway: &TestGateway, parts: &[&str]) -> (u16, Vec<(String, String)>, String) {
    let mut connection = Connection::open(gateway.address()).await;
    for part in parts {
        connection.write(part.as_bytes()).await;
        // The node has read this part when it has answered a request that came later.
        for _ in 0..4 {
            request(gateway.address(), "GET /nowhere", "").await;
        }
    }
    let Response {
        status,
        mut headers,
        body,
        bytes: _,
    } = connection.response().await;
    // When the protocol is switched it may be left out.
    assert!(status == 101 || headers.iter().any(|(name, _)| name == "date"));
    headers.retain(|(name, _)| name != "date");
    for (name, value) in &mut headers {
        if name == "set-cookie" {
            value.replace_range(3..23, "");
        }
    }
    headers.sort();
    (status, headers, body)
}

/// In one piece, and cut.
async fn both(gateway: &TestGateway, request: &str) -> (u16, Vec<(String, String)>, String) {
    let whole = answer(gateway, &[request]).await;
    for cut in [1, 30, request.len() - 2] {
        let (start, end) = request.split_at(cut);
        assert_eq!(answer(gateway, &[start, end]).await, whole, "cut at {cut}");
    }
    whole
}

struct Picky;

impl Application for Picky {
    fn has_namespace(&self, _: &str) -> bool {
        true
    }

    fn admit(&self, handshake: &Handshake) -> Admission {
        match handshake.query_value("name").as_deref() {
            None => Admission::Admit,
            Some("eve") => Admission::Forbid("not eve".to_owned()),
            Some(name) => {
                let refused = format!("not {name}, after a while");
                Admission::Pending(Box::pin(async move { Err(refused) }))
            }
        }
    }

    fn connect(&self, _: &Socket) -> Connect {
        Connect::Accept
    }

    fn event(&self, _: &Socket, _: Event<'_>) -> Flow {
        Flow::Done
    }
}

async fn gateway(change: impl FnOnce(&mut Config)) -> TestGateway {
    let mut config = config();
    change(&mut config);
    TestGateway::start(Server::new(config).application(Picky)).await
}

#[tokio::test]
async fn an_answer_does_not_depend_on_the_way() {
    let settings = Config::from_toml(
        "cors.origins = [\"http://a\"]\ncors.credentials = true\nengine.cookie = \"io\"",
    )
    .unwrap();
    let gateway = gateway(|config| {
        config.cors = settings.cors;
        config.engine.cookie = settings.engine.cookie;
    })
    .await;
    let target = "/socket.io/?EIO=4&transport=websocket";
    let more = "Origin: http://a\r\nSec-WebSocket-Protocol: a, b\r\nX-Empty:\r\nX-Twice: 1\r\nX-Twice: 2\r\n";
    let (status, headers, _) = both(&gateway, &opening(target, more)).await;
    assert_eq!(status, 101);
    let names: Vec<_> = headers.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(
        names,
        [
            "access-control-allow-credentials",
            "access-control-allow-origin",
            "connection",
            "sec-websocket-accept",
            "sec-websocket-protocol",
            "set-cookie",
            "upgrade",
            "vary"
        ]
    );
    for (name, expected) in [("eve", "not eve"), ("bob", "not bob, after a while")] {
        let target = format!("{target}&name={name}");
        let (status, headers, body) = both(&gateway, &opening(&target, "")).await;
        assert_eq!((status, &*body), (403, expected));
        assert!(headers.contains(&("connection".to_owned(), "close".to_owned())));
    }
    for (target, more, status) in [
        ("/socket.io/?EIO=3&transport=websocket", "", 400),
        ("/socket.io/?EIO=4&transport=websocket&sid=x", "", 400),
        (
            "/socket.io/?EIO=4&transport=websocket",
            "Origin: \x01\r\n",
            400,
        ),
        ("/elsewhere/?EIO=4&transport=websocket", "", 404),
    ] {
        let answered = both(&gateway, &opening(target, more)).await;
        assert_eq!(answered.0, status, "{target} {more}");
    }
}

#[tokio::test]
async fn limits_refuse_it_and_say_when_to_come_again() {
    let gateway =
        gateway(|config| config.limits.connections = std::num::NonZeroUsize::new(1)).await;
    let _first = WebSocket::open(gateway.address()).await;
    let target = "/socket.io/?EIO=4&transport=websocket";
    let (status, headers, body) = both(&gateway, &opening(target, "")).await;
    assert_eq!((status, &*body), (503, "Too many connections"));
    assert!(headers.contains(&("retry-after".to_owned(), "5".to_owned())));
    let refused = "gateway_handshakes_rejected_total{reason=\"connection_limit\"}";
    assert_eq!(gateway.metric(refused).await, 4.0);
}

#[tokio::test]
async fn a_head_that_is_too_large_is_refused() {
    let gateway = gateway(|config| config.limits.request_headers = 8192).await;
    let target = "/socket.io/?EIO=4&transport=websocket";
    let large = format!("X-Large: {}\r\n", "x".repeat(10_000));
    assert_eq!(answer(&gateway, &[&opening(target, &large)]).await.0, 431);
}

#[tokio::test]
async fn frames_may_come_right_behind_it() {
    let gateway = TestGateway::relay().await;
    let mut websocket =
        WebSocket::open_with_frames(gateway.address(), &["40", "421[\"echo\",1]"]).await;
    let connected = websocket.answer().await;
    assert!(connected.starts_with("40{\"sid\""), "{connected}");
    websocket.expect("431[1]").await;
}

/// Greets who comes.
struct Greeting;

impl EngineApplication for Greeting {
    fn open(&self, connection: &EngineConnection) {
        connection.send_text("welcome").ok();
    }

    fn message(&self, connection: &EngineConnection, message: Message<'_>) {
        if let Message::Text(text) = message {
            connection.send_text(text).ok();
        }
    }
}

/// The open packet goes out with the answer to the request. The answer to `CONNECT` is the other write.
#[tokio::test]
async fn a_connect_takes_two_writes() {
    const CLIENTS: usize = 20;
    let gateway = TestGateway::relay().await;
    let _clients = gateway.clients(CLIENTS).await;
    let writes = gateway.metric(r#"gateway_writes_total{transport="websocket"}"#);
    assert_eq!(writes.await, 2.0 * CLIENTS as f64);
}

#[tokio::test]
async fn an_application_above_engineio_learns_of_every_session() {
    let server = Server::new(config()).engine("/engine.io/", Greeting);
    let gateway = TestGateway::start(server).await;
    let target = "/engine.io/?EIO=4&transport=websocket";
    for cut in [0, 40] {
        let request = opening(target, "");
        let mut connection = Connection::open(gateway.address()).await;
        let (start, end) = request.split_at(cut);
        connection.write(start.as_bytes()).await;
        for _ in 0..4 {
            crate::support::request(gateway.address(), "GET /nowhere", "").await;
        }
        connection.write(end.as_bytes()).await;
        assert_eq!(connection.response().await.status, 101);
        let mut websocket = WebSocket::on(connection);
        assert!(matches!(websocket.frame().await, Frame::Text(open) if open.starts_with("0{")));
        websocket.expect("4welcome").await;
    }
    let polling = "/engine.io/?EIO=4&transport=polling";
    let opened = request(gateway.address(), &format!("GET {polling}"), "").await;
    let sid = crate::support::sid(&opened.body);
    let poll = request(gateway.address(), &format!("GET {polling}&sid={sid}"), "").await;
    assert_eq!(poll.body, "4welcome");
}
