//! The program, and requests to it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long something may take that is expected to happen.
const PATIENCE: Duration = Duration::from_secs(60);

/// The program on ports of the system's choice; killed when it is dropped.
pub(crate) struct Process {
    pub(crate) child: Child,
    pub(crate) clients: SocketAddr,
    pub(crate) internal: SocketAddr,
    log: JoinHandle<String>,
}

impl Process {
    pub(crate) fn start(flags: &[&str]) -> Self {
        Self::start_as(Command::new(env!("CARGO_BIN_EXE_gateway")), flags)
    }

    /// With so many descriptors at most.
    pub(crate) fn with_descriptors(most: usize, flags: &[&str]) -> Self {
        let mut shell = Command::new("/bin/sh");
        let limited = format!("ulimit -n {most} && exec \"$0\" \"$@\"");
        shell.args(["-c", &limited, env!("CARGO_BIN_EXE_gateway")]);
        Self::start_as(shell, flags)
    }

    fn start_as(mut program: Command, flags: &[&str]) -> Self {
        let mut child = program
            .args(["serve", "--listen=127.0.0.1:0"])
            .args(["--internal-listen=127.0.0.1:0", "--demo=false"])
            .args(flags)
            .env_clear()
            .current_dir(env!("CARGO_TARGET_TMPDIR"))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut log = child.stderr.take().unwrap();
        let log = std::thread::spawn(move || {
            let mut text = String::new();
            log.read_to_string(&mut text).unwrap();
            text
        });
        let said = BufReader::new(child.stdout.take().unwrap());
        let mut addresses = said.lines().map_while(Result::ok).filter_map(|line| {
            let (_, address) = line.split_once("://")?;
            address.parse().ok()
        });
        let (clients, internal) = (addresses.next().unwrap(), addresses.next().unwrap());
        Self {
            child,
            clients,
            internal,
            log,
        }
    }

    /// All that it logged until its end.
    pub(crate) fn log_text(mut self) -> String {
        let log = std::mem::replace(&mut self.log, std::thread::spawn(String::new));
        self.ended();
        log.join().unwrap()
    }

    pub(crate) fn log(self) -> Vec<serde_json::Value> {
        let text = self.log_text();
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    pub(crate) fn signal(&self, name: &str) {
        let kill = format!("kill -{name} {}", self.child.id());
        let status = Command::new("sh").args(["-c", &kill]).status().unwrap();
        assert!(status.success());
    }

    pub(crate) fn until_not_ready(&self) {
        self.until(|gateway| {
            request(gateway.internal, "GET /ready HTTP/1.1").starts_with("HTTP/1.1 503 ")
        });
    }

    pub(crate) fn until(&self, holds: impl Fn(&Self) -> bool) {
        let began = Instant::now();
        while !holds(self) {
            assert!(began.elapsed() < PATIENCE, "it did not happen");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    pub(crate) fn ended(mut self) -> ExitStatus {
        let began = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(began.elapsed() < PATIENCE, "it did not end");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ended_before = self.child.kill();
        let _status = self.child.wait();
    }
}

/// The whole answer to a request without a body.
pub(crate) fn request(address: SocketAddr, line: &str) -> String {
    exchange(address, line, "")
}

pub(crate) fn post(address: SocketAddr, target: &str, body: &str) -> String {
    exchange(address, &format!("POST {target} HTTP/1.1"), body)
}

fn exchange(address: SocketAddr, line: &str, body: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    let length = body.len();
    let request = format!(
        "{line}\r\nHost: gateway\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
    );
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}
