//! The socketioxide peer, speaking the relay events that every server under test speaks.
//!
//!     loadtest-peer-socketioxide PORT
//!
//! Port 0 takes any; the one taken is printed.
//!
//! Tuned: TCP_NODELAY, mimalloc, no tracing, and a packet buffer that does not drop what a window of 100 brings.

use axum::serve::ListenerExt;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use socketioxide::SocketIo;
use socketioxide::extract::{AckSender, Data, SocketRef};
use tokio::net::{TcpListener, TcpSocket};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Serialize)]
struct Done {
    ok: bool,
}

const DONE: Done = Done { ok: true };

#[derive(Deserialize)]
#[serde(untagged)]
enum Rooms {
    One(String),
    Many(Vec<String>),
}

impl Rooms {
    fn into_vec(self) -> Vec<String> {
        match self {
            Self::One(room) => vec![room],
            Self::Many(rooms) => rooms,
        }
    }
}

fn relay(socket: SocketRef) {
    socket.on(
        "join",
        async |socket: SocketRef, Data::<Rooms>(rooms), ack: AckSender| {
            socket.join(rooms.into_vec());
            ack.send(&DONE).ok();
        },
    );
    socket.on(
        "leave",
        async |socket: SocketRef, Data::<Rooms>(rooms), ack: AckSender| {
            socket.leave(rooms.into_vec());
            ack.send(&DONE).ok();
        },
    );
    socket.on(
        "publish",
        async |socket: SocketRef,
               Data::<(Rooms, String, Value)>((rooms, event, arg)),
               ack: AckSender| {
            let _ = socket.to(rooms.into_vec()).emit(event, &arg).await;
            ack.send(&DONE).ok();
        },
    );
    socket.on(
        "broadcast",
        async |socket: SocketRef, Data::<(String, Value)>((event, arg)), ack: AckSender| {
            let _ = socket.broadcast().emit(event, &arg).await;
            ack.send(&DONE).ok();
        },
    );
    socket.on("echo", async |Data::<Value>(arg), ack: AckSender| {
        ack.send(&arg).ok();
    });
}

fn listen(port: u16) -> std::io::Result<TcpListener> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(([127, 0, 0, 1], port).into())?;
    socket.listen(4096)
}

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let port = std::env::args().nth(1).and_then(|port| port.parse().ok());
    let port = port.ok_or_else(|| std::io::Error::other("the argument is a port"))?;
    let (layer, io) = SocketIo::builder()
        .max_buffer_size(4096)
        .max_payload(1_000_000)
        .build_layer();
    io.ns("/", async |socket: SocketRef| relay(socket));
    let app = axum::Router::new().layer(layer);
    let listener = listen(port)?;
    println!("listening {}", listener.local_addr()?.port());
    let listener = listener.tap_io(|tcp| {
        let _ = tcp.set_nodelay(true);
    });
    axum::serve(listener, app).await
}
