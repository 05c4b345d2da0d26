//! The application that the tests of the JavaScript client expect. `PORT` says where to listen.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use gateway::application::{Admission, Refusal};
use gateway::event::{Binary, Event};
use gateway::handlers::{Handlers, Namespace};
use gateway::{Config, Server, Socket};
use serde_json::{Value, json};

const UTF8: [&str; 5] = [
    "てすと",
    "Я Б Г Д Ж Й",
    "Ä ä Ü ü ß",
    "utf8 — string",
    "utf8 — string",
];

/// Clients with no timeout at all must be able to give up first.
const HANDSHAKE_DELAY: Duration = Duration::from_millis(10);

/// What `abuff1` brought, for `abuff2`.
#[derive(serde::Serialize)]
struct FirstWasBinary;

fn bytes() -> Binary {
    Binary(Bytes::from_static(b"asdfasdf"))
}

/// The time as `Date.prototype.toISOString` writes it, to the second.
fn iso_date() -> String {
    let seconds = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs() as i64;
    let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let (mut year, mut day) = (1970, days);
    let length = |year: i64| {
        if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) {
            366
        } else {
            365
        }
    };
    while day >= length(year) {
        day -= length(year);
        year += 1;
    }
    let months = [
        31,
        length(year) - 337,
        31,
        30,
        31,
        30,
        31,
        31,
        30,
        31,
        30,
        31,
    ];
    let mut month = 0;
    while day >= months[month] {
        day -= months[month];
        month += 1;
    }
    let (hour, minute) = (second / 3600, second / 60 % 60);
    format!(
        "{year}-{:02}-{:02}T{hour:02}:{minute:02}:{:02}.000Z",
        month + 1,
        day + 1,
        second % 60
    )
}

fn handshake(socket: &Socket) -> Value {
    socket.handshake().to_json(Some(&socket.auth_json()))
}

fn main_namespace(namespace: Namespace) -> Namespace {
    namespace
        .middleware(|socket| match socket.handshake().query_value("fail") {
            Some(fail) if !fail.is_empty() => Err(Refusal::new("Auth failed (main namespace)")),
            _ => Ok(()),
        })
        .on("hi", |socket, _| drop(socket.emit("hi", ())))
        .on("echo", |_, event| {
            let first = event.arguments().take(1);
            event.ack(first).ok();
        })
        .on("ack", |socket, _| {
            let Ok(answer) = socket.emit_with_ack("ack", (), Duration::from_secs(5)) else {
                return;
            };
            let socket = socket.clone();
            tokio::task::spawn_local(async move {
                let Ok(answer) = answer.await else {
                    return;
                };
                if let Ok((5, object)) = answer.parse::<(i64, Value)>()
                    && object["test"] != Value::Null
                    && object["test"] != false
                {
                    socket.emit("got it", ()).ok();
                }
            });
        })
        .on("getAckDate", |_, event| drop(event.ack((iso_date(),))))
        .on("getDate", |socket, _| {
            drop(socket.emit("takeDate", (iso_date(),)))
        })
        .on("getDateObj", |socket, _| {
            drop(socket.emit("takeDateObj", (json!({"date": iso_date()}),)))
        })
        .on("getUtf8", |socket, _| {
            UTF8.iter()
                .for_each(|text| drop(socket.emit("takeUtf8", (text,))))
        })
        .on("false", |socket, _| drop(socket.emit("false", (false,))))
        .on("doge", |socket, _| drop(socket.emit("doge", (bytes(),))))
        .on("getbin", |socket, _| {
            drop(socket.emit("takebin", (bytes(),)))
        })
        .on("buffa", |socket, event| {
            if event.parse::<(Binary,)>().is_ok() {
                socket.emit("buffack", ()).ok();
            }
        })
        .on("jsonbuff", |socket, event| {
            if is_jsonbuff(event) {
                socket.emit("jsonbuff-ack", ()).ok();
            }
        })
        .on("abuff1", |socket, event| {
            if event.parse::<(Binary,)>().is_ok() {
                socket.set_data(FirstWasBinary);
            }
        })
        .on("abuff2", |socket, event| {
            if socket.data::<FirstWasBinary>().is_some() && event.parse::<(String,)>().is_ok() {
                socket.emit("abuff2-ack", ()).ok();
            }
        })
        .on("getHandshake", |socket, event| {
            drop(event.ack((handshake(socket),)))
        })
        .on("getId", |socket, event| {
            drop(event.ack((socket.id().as_str(),)))
        })
}

fn is_jsonbuff(event: &Event<'_>) -> bool {
    #[derive(serde::Deserialize)]
    struct JsonBuff {
        hello: String,
        #[serde(rename = "message")]
        _message: Binary,
        goodbye: String,
    }
    event
        .parse::<(JsonBuff,)>()
        .is_ok_and(|(object,)| object.hello == "lol" && object.goodbye == "gotcha")
}

#[allow(clippy::print_stdout, reason = "it says where it listens")]
#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let port: u16 = std::env::var("PORT")?.parse()?;
    let mut config = Config {
        demo: Some(false),
        ..Config::default()
    };
    config.listen = ([127, 0, 0, 1], port).into();
    config.internal_listen = ([127, 0, 0, 1], 0).into();
    config.engine.ping_interval = Duration::from_secs(2);
    let nothing = |namespace: Namespace| namespace;
    let handlers = Handlers::new()
        .admit(|_| {
            Admission::Pending(Box::pin(async {
                tokio::time::sleep(HANDSHAKE_DELAY).await;
                Ok(())
            }))
        })
        .namespace("/", main_namespace)
        .namespace("/no", |no| {
            no.middleware(|_| Err(Refusal::new("Auth failed (custom namespace)")))
        })
        .namespace("/foo", |namespace| {
            namespace.on("getId", |socket, event| {
                drop(event.ack((socket.id().as_str(),)))
            })
        })
        .namespace("/timeout_socket", nothing)
        .namespace("/valid", nothing)
        .namespace("/asd", nothing)
        .namespace("/abc", |abc| {
            abc.connected(|socket| drop(socket.emit("handshake", (handshake(socket),))))
        });
    let running = Server::new(config).application(handlers).start().await?;
    println!("listening on {}", running.address());
    tokio::signal::ctrl_c().await?;
    running.stop().await;
    Ok(())
}
