//! The servers under comparison: started for each run, ended after it.

use std::collections::HashMap;
use std::fs::File;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use serde::Serialize;

/// Who takes part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Kind {
    /// Bare sends
    Floor,
    /// The same with one thread
    FloorOne,
    /// Bare sends that wait for each other as the gateway's do
    FloorJoined,
    /// Node's socket.io
    Node,
    /// The same with its Redis adapter
    NodeRedis,
    /// socketioxide on axum
    Socketioxide,
    /// Bun's own WebSockets, with hardly any protocol
    BunRaw,
    /// socket.io on Bun's engine
    BunSocketio,
    /// This project's
    Gateway,
}

impl Kind {
    /// All of them, in the table's order.
    pub(crate) const ALL: [Self; 9] = [
        Self::Floor,
        Self::FloorOne,
        Self::FloorJoined,
        Self::Node,
        Self::NodeRedis,
        Self::Socketioxide,
        Self::BunRaw,
        Self::BunSocketio,
        Self::Gateway,
    ];

    /// For the table.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Floor => "bare sends",
            Self::FloorOne => "bare sends, 1 thread",
            Self::FloorJoined => "bare sends, joined",
            Self::Node => "Node socket.io",
            Self::NodeRedis => "Node + Redis adapter",
            Self::Socketioxide => "socketioxide",
            Self::BunRaw => "Bun raw",
            Self::BunSocketio => "Bun socket.io",
            Self::Gateway => "gateway",
        }
    }
}

/// What the gateway has for `websocket.coalesce` unless it is set.
const GATEWAY_COALESCE: &str = "10ms";

/// How a server is started.
#[derive(Clone, Debug)]
pub(crate) struct Program {
    /// The executable.
    pub(crate) path: PathBuf,
    /// Arguments in front of those that [`Launcher`] adds.
    pub(crate) arguments: Vec<String>,
    /// For the table's head.
    pub(crate) version: String,
}

/// Starts servers.
pub(crate) struct Launcher {
    programs: HashMap<Kind, Program>,
    redis_url: Option<String>,
    redis: Option<Process>,
    /// The processors that servers may use, as `taskset` takes them.
    cpus: Option<String>,
}

impl Launcher {
    /// Knows nobody yet; `redis` is the address of one that runs already.
    pub(crate) fn new(redis: Option<String>, cpus: Option<String>) -> Self {
        Self {
            programs: HashMap::new(),
            redis_url: redis,
            redis: None,
            cpus,
        }
    }

    /// How a server is started: on the processors that it may use.
    fn command(&self, program: &Program) -> Command {
        let Some(cpus) = &self.cpus else {
            return Command::new(&program.path);
        };
        // It takes the place of itself, so that the process is the server's.
        let mut command = Command::new("taskset");
        command.args(["--cpu-list", cpus]).arg(&program.path);
        command
    }

    /// Adds a server.
    pub(crate) fn add(&mut self, kind: Kind, program: Program) {
        if kind == Kind::Gateway {
            // Only its cluster needs one; if there is none, that work says so.
            let _ = self.need_redis();
        }
        self.programs.insert(kind, program);
    }

    /// Whether a server can take part.
    pub(crate) fn has(&self, kind: Kind) -> bool {
        self.programs.contains_key(&kind)
    }

    /// What takes part, in the table's order.
    pub(crate) fn versions(&self) -> impl Iterator<Item = (Kind, &str)> {
        let known = |kind| Some((kind, self.programs.get(&kind)?.version.as_str()));
        Kind::ALL.into_iter().filter_map(known)
    }

    /// Starts a Redis, unless one was given.
    pub(crate) fn need_redis(&mut self) -> Result<()> {
        if self.redis_url.is_some() {
            return Ok(());
        }
        let address = free_address()?;
        let mut command = Command::new("redis-server");
        let port = address.port().to_string();
        command.args(["--bind", "127.0.0.1", "--port", &port]);
        command.args(["--save", "", "--appendonly", "no"]);
        let mut redis = Process::spawn(command, "redis")
            .context("starting redis-server; install it or give --redis")?;
        redis.wait_for(address)?;
        self.redis_url = Some(format!("redis://{address}"));
        self.redis = Some(redis);
        Ok(())
    }

    /// Starts so many nodes of a server and waits until they serve.
    pub(crate) fn start(&self, kind: Kind, nodes: usize) -> Result<Servers> {
        let program = self
            .programs
            .get(&kind)
            .context("the server was left out")?;
        let mut servers = Servers {
            urls: Vec::new(),
            processes: Vec::new(),
        };
        for _ in 0..nodes {
            let address = free_address()?;
            let internal = free_address()?;
            let mut command = self.command(program);
            command.args(&program.arguments);
            self.add_arguments(&mut command, kind, nodes, address, internal)?;
            let mut process = Process::spawn(command, kind.name())?;
            process.wait_for(address)?;
            if kind == Kind::Gateway {
                process.wait_until_ready(internal)?;
            }
            servers.urls.push(format!("http://{address}"));
            servers.processes.push(process);
        }
        Ok(servers)
    }

    fn add_arguments(
        &self,
        command: &mut Command,
        kind: Kind,
        nodes: usize,
        address: SocketAddr,
        internal: SocketAddr,
    ) -> Result<()> {
        let redis = || {
            self.redis_url
                .as_deref()
                .context("this work needs Redis: install redis-server or give --redis")
        };
        match kind {
            Kind::Floor | Kind::FloorOne | Kind::FloorJoined => {
                // As many as the servers have that it is the measure of.
                let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
                let threads = if kind == Kind::FloorOne { 1 } else { cores };
                command.args(["--listen", &address.to_string()]);
                command.args(["--threads", &threads.to_string()]);
                if kind == Kind::FloorJoined {
                    command.args(["--join", GATEWAY_COALESCE]);
                }
            }
            Kind::Node | Kind::Socketioxide | Kind::BunRaw | Kind::BunSocketio => {
                command.arg(address.port().to_string());
            }
            Kind::NodeRedis => {
                command.args([&address.port().to_string(), redis()?]);
            }
            Kind::Gateway => {
                command.args(["serve", "--listen", &address.to_string()]);
                command.args([
                    "--internal-listen",
                    &internal.to_string(),
                    "--demo",
                    "false",
                ]);
                if nodes > 1 {
                    command.args(["--redis-url", redis()?]);
                }
            }
        }
        Ok(())
    }
}

/// The nodes of one server; they end when this is dropped.
pub(crate) struct Servers {
    /// Where they serve.
    pub(crate) urls: Vec<String>,
    processes: Vec<Process>,
}

impl Servers {
    /// Their processes.
    pub(crate) fn pids(&self) -> Vec<u32> {
        self.processes
            .iter()
            .map(|process| process.child.id())
            .collect()
    }
}

struct Process {
    child: Child,
    log: PathBuf,
    name: String,
}

impl Process {
    fn spawn(mut command: Command, name: &str) -> Result<Self> {
        let file = format!(
            "loadtest-{}-{}.log",
            std::process::id(),
            name.replace([' ', '+'], "")
        );
        let log = std::env::temp_dir().join(file);
        let output = File::create(&log).with_context(|| format!("creating {}", log.display()))?;
        let errors = output.try_clone()?;
        let child = command
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors)
            .spawn()
            .with_context(|| format!("starting {}", command.get_program().to_string_lossy()))?;
        let name = name.to_owned();
        Ok(Self { child, log, name })
    }

    /// Waits until something listens there.
    fn wait_for(&mut self, address: SocketAddr) -> Result<()> {
        self.wait(|| TcpStream::connect_timeout(&address, PATIENCE).is_ok())
    }

    /// Waits until `GET /ready` says so.
    fn wait_until_ready(&mut self, internal: SocketAddr) -> Result<()> {
        self.wait(|| ready(internal).unwrap_or(false))
    }

    fn wait(&mut self, until: impl Fn() -> bool) -> Result<()> {
        let end = Instant::now() + START_WITHIN;
        while !until() {
            if let Some(status) = self.child.try_wait()? {
                bail!("{} ended with {status}: {}", self.name, self.last_words());
            }
            if Instant::now() > end {
                bail!(
                    "{} does not serve after {START_WITHIN:?}: {}",
                    self.name,
                    self.last_words()
                );
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    fn last_words(&self) -> String {
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<_> = log.lines().rev().take(5).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join(" | ")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail only when it has ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_file(&self.log);
    }
}

/// A server that takes longer to start has a fault.
const START_WITHIN: Duration = Duration::from_secs(20);

/// For one question to a server on the same machine.
const PATIENCE: Duration = Duration::from_secs(1);

fn ready(internal: SocketAddr) -> std::io::Result<bool> {
    let mut stream = TcpStream::connect_timeout(&internal, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(b"GET /ready HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut status = [0; 12];
    stream.read_exact(&mut status)?;
    Ok(&status == b"HTTP/1.1 200")
}

/// A port that nobody has now.
fn free_address() -> Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    Ok(listener.local_addr()?)
}
