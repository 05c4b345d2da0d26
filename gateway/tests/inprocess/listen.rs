//! Clients that connect by a socket in the file system.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use gateway::{Config, Server};
use serde_json::json;
use tokio::net::TcpStream;

use crate::support::{Connection, Response, TestGateway, WebSocket, config};

/// A node that clients reach by a socket in the file system, and its path.
async fn node(name: &str, change: impl FnOnce(&mut Config)) -> (TestGateway, PathBuf) {
    let name = format!("gateway-{}-{name}", std::process::id());
    let path = std::env::temp_dir().join(name);
    let mut config = config();
    config.listen = format!("unix:{}", path.display()).parse().unwrap();
    change(&mut config);
    let handlers = gateway::handlers::Handlers::new().namespace("/", |main| {
        main.on("who", |socket, event| {
            let address = socket.handshake().address().ip().to_string();
            event.ack((address,)).ok();
        })
        .on("echo", |_, event| {
            let (text,): (String,) = event.parse().unwrap();
            event.ack((text,)).ok();
        })
    });
    let node = TestGateway::start(Server::new(config).application(handlers)).await;
    (node, path)
}

/// The test's clients take connections of TCP; for what reads and writes they are the same.
fn connect(path: &PathBuf) -> TcpStream {
    let stream = UnixStream::connect(path).unwrap();
    stream.set_nonblocking(true).unwrap();
    TcpStream::from_std(OwnedFd::from(stream).into()).unwrap()
}

async fn answer(client: &mut WebSocket, event: &serde_json::Value) -> String {
    client.send(&format!("421{event}")).await;
    client.next().await
}

async fn opened(path: &PathBuf, headers: &str) -> Response {
    let mut connection = Connection::of(connect(path));
    let head = "GET /socket.io/?EIO=4&transport=polling";
    connection.send_with(head, headers, "").await;
    connection.response().await
}

#[tokio::test]
async fn a_websocket_passes_messages_of_every_size() {
    let (_node, path) = node("sizes", |_| ()).await;
    let mut client = WebSocket::open_on(connect(&path)).await;
    client.connect().await;
    for size in [1, 1000, 500_000] {
        let text = "x".repeat(size);
        let said = answer(&mut client, &json!(["echo", text])).await;
        assert_eq!(said, format!("431{}", json!([text])));
    }
    let said = answer(&mut client, &json!(["who"])).await;
    assert_eq!(said, "431[\"0.0.0.0\"]");
}

#[tokio::test]
async fn a_proxy_is_believed_there_only_if_it_is_trusted() {
    for (trusted, expected) in [
        ("", "0.0.0.0"),
        ("127.0.0.1", "0.0.0.0"),
        ("unix", "203.0.113.7"),
    ] {
        let change = |config: &mut Config| {
            let text = format!("proxy.trusted = [{trusted:?}]");
            let text = text.replace("\"\"", "");
            config.proxy = Config::from_toml(&text).unwrap().proxy;
        };
        let (_node, path) = node("trusted", change).await;
        let headers = "X-Forwarded-For: 6.6.6.6, 203.0.113.7\r\n";
        let mut client = WebSocket::open_on_with(connect(&path), headers).await;
        client.connect().await;
        let said = answer(&mut client, &json!(["who"])).await;
        assert_eq!(said, format!("431[\"{expected}\"]"), "{trusted}");
    }
}

#[tokio::test]
async fn clients_without_an_address_are_counted_as_one() {
    let (_node, path) = node("counted", |config| {
        config.limits.connections_per_ip = std::num::NonZeroUsize::new(1);
    })
    .await;
    assert_eq!(opened(&path, "").await.status, 200);
    assert_eq!(opened(&path, "").await.status, 429);
}
