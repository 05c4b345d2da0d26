//! A node of a cluster whose clients may do what a server can do: emit to anybody on any node with or
//! without acknowledgement, ask which sockets and rooms there are, move and disconnect sockets, and
//! emit to the other servers. A tool to look into a cluster, not to be left open to strangers.
//!
//! `GATEWAY_REDIS_URL` and all other settings are read as by `gateway` itself:
//!
//! ```console
//! $ GATEWAY_REDIS_URL=redis://localhost:6379 cargo run --example cluster_node
//! ```
//!
//! ```js
//! const socket = io("http://localhost:3000");
//! await socket.emitWithAck("emit", { rooms: ["lobby"] }, "news", "hello");
//! await socket.emitWithAck("fetch_sockets", { rooms: ["lobby"] });
//! ```

use std::time::Duration;

use gateway::config::Sources;
use gateway::emitter::Emitter;
use gateway::event::OwnedArguments;
use gateway::handlers::{Handlers, Namespace};
use gateway::{Config, Gateway, Gathered, Server, SocketInfo};
use protocol::socketio::Arguments;
use serde::Deserialize;
use serde_json::{Value, json};

/// Whom something concerns; everybody if it names nobody.
#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Whom {
    rooms: Vec<String>,
    except: Vec<String>,
    volatile: bool,
    local: bool,
    /// How long acknowledgements may take, in milliseconds.
    timeout: u64,
}

impl Default for Whom {
    fn default() -> Self {
        Self {
            rooms: Vec::new(),
            except: Vec::new(),
            volatile: false,
            local: false,
            timeout: 5_000,
        }
    }
}

impl Whom {
    fn of(&self, gateway: &Gateway, namespace: &str) -> Emitter {
        let all = gateway.of(namespace);
        let to = self.rooms.iter().fold(all, |to, room| to.to(room));
        let mut to = self.except.iter().fold(to, |to, room| to.except(room));
        if self.volatile {
            to = to.volatile();
        }
        if self.local {
            to = to.local();
        }
        to
    }
}

/// The arguments behind the first `count`.
fn behind(arguments: Arguments<'_>, count: usize) -> OwnedArguments {
    let behind = (0..count).try_fold(arguments, |rest, _| Some(rest.split_first()?.1));
    behind.map(OwnedArguments::from).unwrap_or_default()
}

/// What was gathered from all nodes, as JSON with `found` in the place of what it holds.
fn gathered<T>(of: &Gathered<T>, found: Value) -> Value {
    json!({
        "found": found,
        "missing_nodes": of.missing_nodes,
        "missing_others": of.missing_others,
    })
}

fn socket(info: &SocketInfo) -> Value {
    json!({
        "id": info.id,
        "rooms": info.rooms,
        "node": info.node,
        "data": info.data.as_deref().and_then(|data| serde_json::from_str::<Value>(data).ok()),
    })
}

/// Acknowledgements as JSON: of each the first value. Binary has no form in JSON.
fn values(answers: &[OwnedArguments]) -> Value {
    let first = |it: &OwnedArguments| it.parse::<(Value,)>().map_or(Value::Null, |it| it.0);
    answers.iter().map(first).collect()
}

fn operations(namespace: Namespace) -> Namespace {
    namespace
        .connected(|socket| socket.set_data(json!({"from": "cluster_node"})))
        .on("enter", |socket, event| {
            if let Ok((rooms,)) = event.parse::<(Vec<String>,)>() {
                let joined = socket.join_everywhere(rooms);
                let ack = event.take_ack();
                tokio::task::spawn_local(async move {
                    joined.await;
                    ack.map(|ack| ack.send((true,)));
                });
            }
        })
        .on("emit", |socket, event| {
            if let Ok((whom, name)) = event.parse::<(Whom, String)>() {
                let to = whom.of(&socket.gateway(), socket.namespace());
                let emitted = to.emit(&name, behind(event.arguments(), 2));
                event.ack((emitted.is_ok(),)).ok();
            }
        })
        .on("emit_with_ack", |socket, event| {
            let Ok((whom, name)) = event.parse::<(Whom, String)>() else {
                return;
            };
            let to = whom.of(&socket.gateway(), socket.namespace());
            let timeout = Duration::from_millis(whom.timeout);
            let asked = to.emit_with_ack(&name, behind(event.arguments(), 2), timeout);
            if let (Ok(asked), Some(ack)) = (asked, event.take_ack()) {
                tokio::task::spawn_local(async move {
                    let answer = match asked.await {
                        Ok(answers) => json!({"answers": values(&answers), "complete": true}),
                        Err(missing) => json!({
                            "answers": values(&missing.answers),
                            "complete": false,
                            "expected": missing.expected,
                            "missing_nodes": missing.missing_nodes,
                        }),
                    };
                    ack.send((answer,)).ok();
                });
            }
        })
        .on_async("fetch_sockets", |gateway_socket, mut event| async move {
            if let Ok((whom,)) = event.parse::<(Whom,)>() {
                let to = whom.of(&gateway_socket.gateway(), gateway_socket.namespace());
                let all = to.with_handshakes().fetch_sockets().await;
                let found = all.found.iter().map(socket).collect();
                let answer = gathered(&all, found);
                event.take_ack().map(|ack| ack.send((answer,)));
            }
        })
        .on_async("all_rooms", |socket, mut event| async move {
            let all = socket.gateway().of(socket.namespace()).rooms().await;
            let answer = gathered(&all, json!(all.found));
            event.take_ack().map(|ack| ack.send((answer,)));
        })
        .on("sockets_join", |socket, event| {
            if let Ok((whom, rooms)) = event.parse::<(Whom, Vec<String>)>() {
                whom.of(&socket.gateway(), socket.namespace()).join(rooms);
                event.ack((true,)).ok();
            }
        })
        .on("sockets_leave", |socket, event| {
            if let Ok((whom, rooms)) = event.parse::<(Whom, Vec<String>)>() {
                whom.of(&socket.gateway(), socket.namespace()).leave(rooms);
                event.ack((true,)).ok();
            }
        })
        .on("disconnect_sockets", |socket, event| {
            if let Ok((whom, close)) = event.parse::<(Whom, bool)>() {
                let to = whom.of(&socket.gateway(), socket.namespace());
                to.disconnect(close);
                event.ack((true,)).ok();
            }
        })
        .on("server_side_emit", |socket, event| {
            if let Ok((name,)) = event.parse::<(String,)>() {
                let servers = socket.gateway().of(socket.namespace());
                let emitted = servers.server_side_emit(&name, behind(event.arguments(), 1));
                event.ack((emitted.is_ok(),)).ok();
            }
        })
        .on_async(
            "server_side_emit_with_ack",
            |socket, mut event| async move {
                let Ok((name,)) = event.parse::<(String,)>() else {
                    return;
                };
                let servers = socket.gateway().of(socket.namespace());
                let arguments = behind(event.arguments().as_ref(), 1);
                if let Ok(asked) = servers.server_side_emit_with_ack(&name, arguments) {
                    let all = asked.await;
                    let answer = gathered(&all, values(&all.found));
                    event.take_ack().map(|ack| ack.send((answer,)));
                }
            },
        )
        // What other servers emit to this one is told to its own clients, and answered with the
        // number of arguments.
        .on_server_side("hello", |gateway, event| {
            let told = event.arguments();
            let all = gateway.of(event.namespace()).local();
            all.emit("server_side", told).ok();
            let count = told.iter().count();
            event.take_ack().map(|ack| ack.send((count,)));
        })
}

#[allow(clippy::print_stdout, reason = "it says where it listens")]
#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let config = Config::load(&Sources {
        environment: std::env::vars_os().collect(),
        ..Sources::default()
    })?;
    gateway::config::log::init(&config.log);
    let handlers = Handlers::new().namespace("*", operations);
    let running = Server::new(config).application(handlers).start().await?;
    println!("listening on {}", running.address());
    tokio::signal::ctrl_c().await?;
    running.stop().await;
    gateway::config::log::flush();
    Ok(())
}
