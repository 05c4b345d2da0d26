//! Redis servers that a test starts on free ports and stops when it ends.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use testkit::ports::free_port;
use testkit::program::Program;
use testkit::wait::{PATIENCE, until};

/// One server. Dropping it kills it.
pub(crate) struct Redis {
    pub(crate) port: u16,
    directory: PathBuf,
    arguments: Vec<String>,
    program: Option<Program>,
}

impl Redis {
    pub(crate) fn start() -> Self {
        Self::start_with(&[])
    }

    pub(crate) fn start_with(arguments: &[&str]) -> Self {
        let port = free_port();
        let directory = temporary_directory("redis");
        let mut redis = Self {
            port,
            directory,
            arguments: arguments.iter().map(|&it| it.to_owned()).collect(),
            program: None,
        };
        redis.restart();
        redis
    }

    /// A sentinel that watches the master at `port` as `mymaster`.
    pub(crate) fn start_sentinel(port: u16) -> Self {
        let directory = temporary_directory("sentinel");
        let file = directory.join("sentinel.conf");
        let lines = format!(
            "sentinel monitor mymaster 127.0.0.1 {port} 2\n\
             sentinel down-after-milliseconds mymaster 1000\n\
             sentinel failover-timeout mymaster 3000\n"
        );
        std::fs::write(&file, lines).unwrap();
        let mut sentinel = Self {
            port: free_port(),
            directory,
            arguments: vec![file.to_str().unwrap().to_owned(), "--sentinel".to_owned()],
            program: None,
        };
        sentinel.restart();
        sentinel
    }

    /// Starts it again, empty, on the same port.
    pub(crate) fn restart(&mut self) {
        self.launch();
        until("redis-server answers", || {
            self.try_call(&["PING"]).is_some()
        });
    }

    /// Starts it without waiting until it answers.
    pub(crate) fn launch(&mut self) {
        let port = self.port.to_string();
        let log = std::fs::File::create(self.directory.join("log")).unwrap();
        // A configuration file comes first, and with it a sentinel, which stores nothing.
        let is_sentinel = self.arguments.last().is_some_and(|it| it == "--sentinel");
        let (first, rest) = self.arguments.split_at(usize::from(is_sentinel));
        let storage: &[&str] = match is_sentinel {
            true => &[],
            false => &["--save", "", "--appendonly", "no"],
        };
        let mut command = Command::new("redis-server");
        command
            .args(first)
            .args(["--port", &port, "--bind", "127.0.0.1", "--daemonize", "no"])
            .args(storage)
            .args(rest)
            .current_dir(&self.directory)
            .stdin(Stdio::null())
            .stdout(log);
        self.program = Some(Program::start(&mut command));
    }

    /// Kills it as `kill -9` does.
    pub(crate) fn kill(&mut self) {
        self.program = None;
    }

    /// Stops its process without ending it: connections stay and nothing answers.
    pub(crate) fn freeze(&self) {
        self.program.as_ref().unwrap().freeze();
    }

    pub(crate) fn thaw(&self) {
        self.program.as_ref().unwrap().thaw();
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Runs a command; the reply as it came, without the last line break.
    pub(crate) fn call(&self, command: &[&str]) -> String {
        self.try_call(command).expect("Redis answers")
    }

    fn try_call(&self, command: &[&str]) -> Option<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).ok()?;
        let parts = command
            .iter()
            .map(|it| format!("${}\r\n{it}\r\n", it.len()));
        let parts: String = parts.collect();
        let request = format!("*{}\r\n{parts}", command.len());
        // The reply ends where that to the second command begins.
        let end = "*2\r\n$4\r\nPING\r\n$3\r\nEND\r\n";
        stream.write_all((request + end).as_bytes()).ok()?;
        let mut reply = Vec::new();
        let mut buffer = [0; 4096];
        while !reply.ends_with(b"$3\r\nEND\r\n") {
            let count = stream.read(&mut buffer).ok().filter(|count| *count > 0)?;
            reply.extend_from_slice(&buffer[..count]);
            if reply.starts_with(b"-LOADING") {
                // Neither command is answered before the data is there.
                return None;
            }
        }
        reply.truncate(reply.len() - b"$3\r\nEND\r\n".len());
        let reply = String::from_utf8_lossy(&reply);
        Some(reply.trim_end().to_owned())
    }

    /// How many subscribe to `channel` exactly.
    pub(crate) fn subscribers(&self, channel: &str) -> u64 {
        let reply = self.call(&["PUBSUB", "NUMSUB", channel]);
        let count = reply.rsplit(':').next().unwrap();
        count.parse().unwrap()
    }

    /// How often `command` was called.
    pub(crate) fn calls(&self, command: &str) -> u64 {
        let stats = self.call(&["INFO", "commandstats"]);
        let name = format!("cmdstat_{command}:calls=");
        let line = stats.lines().find_map(|it| it.strip_prefix(&name));
        line.map_or(0, |line| line.split(',').next().unwrap().parse().unwrap())
    }

    /// Waits until every node has counted its peers since now, and so knows whom to wait for after
    /// an outage.
    pub(crate) fn wait_until_counted(&self) {
        let calls = || self.calls("pubsub|numsub") + self.calls("pubsub|shardnumsub");
        let before = calls();
        until("counted", || calls() > before + 10);
    }

    /// The exact subscriptions in force, sorted.
    pub(crate) fn channels(&self) -> Vec<String> {
        let reply = self.call(&["PUBSUB", "CHANNELS"]);
        let lines = reply.lines().skip(1);
        let names = lines.filter(|line| !line.starts_with('$'));
        let mut names: Vec<_> = names.map(str::to_owned).collect();
        names.sort();
        names
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.kill();
        // What is left behind is a temporary file.
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

fn temporary_directory(name: &str) -> PathBuf {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let name = format!("adapter-redis-{name}-{}-{number}", std::process::id());
    let directory = std::env::temp_dir().join(name);
    std::fs::create_dir_all(&directory).unwrap();
    directory
}
