//! Clients that prove who they are: a token for every connect, and a namespace for administrators.
//!
//! ```console
//! $ export GATEWAY_AUTH_JWT_SECRET="a secret of sixteen bytes or more"
//! $ cargo run --example tokens
//! listening on http://127.0.0.1:3000
//! ```
//!
//! Whoever logs people in signs their tokens with the same secret, by a library such as `jsonwebtoken`:
//!
//! ```js
//! const token = jwt.sign({ sub: "ann" }, secret, { expiresIn: "1h" });
//! const adminToken = jwt.sign({ sub: "root", role: "admin" }, secret, { expiresIn: "1h" });
//! ```
//!
//! A client shows it with each connect:
//!
//! ```js
//! const socket = io("http://localhost:3000", { auth: { token } });
//! await socket.emitWithAck("whoami"); // "ann"
//! const admin = io("http://localhost:3000/admin", { auth: { token: adminToken } });
//! await admin.emitWithAck("announce", "closing at five"); // true
//! await admin.emitWithAck("kick", "ann");                 // true
//! ```

use gateway::application::Refusal;
use gateway::config::Sources;
use gateway::event::Event;
use gateway::handlers::Handlers;
use gateway::{Config, Server, Socket};
use serde::Deserialize;

/// Claims of our own; the gateway itself has checked signature, expiry and the rest of the token.
#[derive(Deserialize)]
struct Own {
    role: Option<String>,
}

#[allow(clippy::print_stdout, reason = "it says where it listens")]
#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let config = Config::load(&Sources {
        environment: std::env::vars_os().collect(),
        ..Sources::default()
    })?;
    // Without a key the gateway would let everybody in.
    anyhow::ensure!(
        config.auth.jwt_secret.is_some(),
        "set GATEWAY_AUTH_JWT_SECRET"
    );

    let handlers = Handlers::new()
        .namespace("/", |main| {
            main.connected(enter).on("whoami", |socket, event| {
                event.ack((socket.user(),)).ok();
            })
        })
        // A socket of its own over the same connection, which the middleware lets in or refuses.
        .namespace("/admin", |admin| {
            admin
                .middleware(only_administrators)
                .on("announce", announce)
                .on("kick", kick)
        });

    let running = Server::new(config).application(handlers).start().await?;
    println!("listening on http://{}", running.address());
    tokio::signal::ctrl_c().await?;
    running.stop().await;
    Ok(())
}

/// The room of all sockets of a user, wherever they are connected.
fn room_of(user: &str) -> String {
    format!("of:{user}")
}

fn enter(socket: &Socket) {
    if let Some(user) = socket.user() {
        socket.join([room_of(&user)]);
    }
}

/// The client gets the refusal as `connect_error`, with `data.code`.
fn only_administrators(socket: &Socket) -> Result<(), Refusal> {
    let claims = socket.claims();
    let text = claims.as_ref().and_then(|claims| claims.text());
    let own = text.and_then(|text| serde_json::from_str::<Own>(text.get()).ok());
    match own.and_then(|own| own.role).as_deref() {
        Some("admin") => Ok(()),
        _ => Err(Refusal::new("for administrators only")
            .with_data(&serde_json::json!({"code": "not_admin"}))),
    }
}

/// `announce, text`: everybody in the main namespace hears it.
fn announce(socket: &Socket, event: &mut Event<'_>) {
    let Ok((text,)) = event.parse::<(String,)>() else {
        event.ack((false,)).ok();
        return;
    };
    let all = socket.gateway().of("/");
    let sent = all.emit("announcement", (text,));
    event.ack((sent.is_ok(),)).ok();
}

/// `kick, user`: the sockets of a user in the main namespace are disconnected.
fn kick(socket: &Socket, event: &mut Event<'_>) {
    let Ok((user,)) = event.parse::<(String,)>() else {
        event.ack((false,)).ok();
        return;
    };
    socket
        .gateway()
        .of("/")
        .to(room_of(&user))
        .disconnect(false);
    event.ack((true,)).ok();
}
