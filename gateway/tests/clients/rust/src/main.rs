//! A client of `rust_socketio` that comes back by itself: `comeback URL TRANSPORT[,TRANSPORT] blocking|async`.
//! It joins `room` whenever it is connected, and says what happens, until its input ends.

use std::io::Read;
use std::time::Duration;

use futures_util::FutureExt;
use rust_socketio::{Event, Payload, RawClient, TransportType, asynchronous};
use serde_json::json;

const AGAIN_AFTER_MS: u64 = 200;
const ACK_WITHIN: Duration = Duration::from_secs(10);

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [url, transports, kind] = arguments.as_slice() else {
        panic!("comeback URL TRANSPORT[,TRANSPORT] blocking|async");
    };
    let transport = match transports.as_str() {
        "polling" => TransportType::Polling,
        "websocket" => TransportType::Websocket,
        "polling,websocket" => TransportType::WebsocketUpgrade,
        other => panic!("there is no transport {other}"),
    };
    match kind.as_str() {
        "blocking" => blocking(url, transport),
        "async" => asynchronous(url, transport),
        other => panic!("there is no client {other}"),
    }
}

fn blocking(url: &str, transport: TransportType) {
    let client = rust_socketio::ClientBuilder::new(url)
        .transport_type(transport)
        .reconnect(true)
        .reconnect_on_disconnect(true)
        .reconnect_delay(AGAIN_AFTER_MS, AGAIN_AFTER_MS)
        .on(Event::Connect, |_, client: RawClient| {
            println!("connected");
            let joined = |answer: Payload, _: RawClient| println!("joined: {}", told(answer));
            let asked = client.emit_with_ack("join", json!("room"), ACK_WITHIN, joined);
            asked.unwrap_or_else(|error| println!("cannot join: {error}"));
        })
        .on(Event::Close, |_, _| println!("away"))
        .on(Event::Error, |error, _| println!("error: {}", told(error)))
        .on("news", |news, _| println!("heard: {}", told(news)))
        .connect()
        .expect("a node is there at first");
    std::io::stdin().read_to_end(&mut Vec::new()).ok();
    client.disconnect().ok();
}

#[tokio::main]
async fn asynchronous(url: &str, transport: TransportType) {
    let client = asynchronous::ClientBuilder::new(url)
        .transport_type(transport)
        .reconnect(true)
        .reconnect_on_disconnect(true)
        .reconnect_delay(AGAIN_AFTER_MS, AGAIN_AFTER_MS)
        .on(Event::Connect, |_, client: asynchronous::Client| {
            async move {
                println!("connected");
                let joined = |answer: Payload, _: asynchronous::Client| {
                    async move { println!("joined: {}", told(answer)) }.boxed()
                };
                let asked = client.emit_with_ack("join", json!("room"), ACK_WITHIN, joined);
                let asked = asked.await;
                asked.unwrap_or_else(|error| println!("cannot join: {error}"));
            }
            .boxed()
        })
        .on(Event::Close, |_, _| async { println!("away") }.boxed())
        .on(Event::Error, |error, _| {
            async move { println!("error: {}", told(error)) }.boxed()
        })
        .on("news", |news, _| {
            async move { println!("heard: {}", told(news)) }.boxed()
        })
        .connect()
        .await
        .expect("a node is there at first");
    tokio::io::AsyncReadExt::read_to_end(&mut tokio::io::stdin(), &mut Vec::new())
        .await
        .ok();
    client.disconnect().await.ok();
}

fn told(payload: Payload) -> String {
    match payload {
        Payload::Text(values) => json!(values).to_string(),
        Payload::Binary(data) => format!("{} bytes", data.len()),
        #[allow(deprecated, reason = "a variant all the same")]
        Payload::String(text) => text,
    }
}
