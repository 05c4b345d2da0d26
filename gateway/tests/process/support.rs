//! The program, and requests to it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long something may take that is expected to happen.
const PATIENCE: Duration = Duration::from_secs(60);

/// The program on ports of the system's choice; killed when it is dropped.
pub(crate) struct Process {
    pub(crate) child: Child,
    pub(crate) clients: SocketAddr,
    pub(crate) internal: SocketAddr,
    reader: JoinHandle<()>,
    log: Arc<Mutex<String>>,
}

impl Process {
    pub(crate) fn start(flags: &[&str]) -> Self {
        Self::start_as(gateway(), flags)
    }

    /// With so many descriptors at most.
    pub(crate) fn with_descriptors(most: usize, flags: &[&str]) -> Self {
        let mut shell = Command::new("/bin/sh");
        let limited = format!("ulimit -n {most} && exec \"$0\" \"$@\"");
        shell.args(["-c", &limited, env!("CARGO_BIN_EXE_gateway")]);
        Self::start_as(shell, flags)
    }

    fn start_as(program: Command, flags: &[&str]) -> Self {
        let mut program = serving(program, flags);
        let mut child = program.stderr(Stdio::piped()).spawn().unwrap();
        let log = child.stderr.take();
        Self::greeted(child, log)
    }

    /// With a standard error that goes elsewhere.
    pub(crate) fn with_log(flags: &[&str], to: impl Into<Stdio>) -> Self {
        let child = serving(gateway(), flags).stderr(to).spawn().unwrap();
        Self::greeted(child, None)
    }

    /// With a standard output that goes elsewhere: the log says where it listens.
    pub(crate) fn with_output(flags: &[&str], to: impl Into<Stdio>) -> Self {
        let mut program = serving(gateway(), flags);
        let child = program.stdout(to).stderr(Stdio::piped()).spawn();
        let mut child = child.unwrap();
        let log = child.stderr.take();
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut process = Self::new(child, log, (nowhere, nowhere));
        let mut addresses = Vec::new();
        process.until(|process| {
            let log = process.log.lock().unwrap();
            let line = log.lines().find(|line| line.contains("listening"));
            let words = line.unwrap_or_default().split([' ', '=', '"', ',']);
            addresses = words.filter_map(|word| word.parse().ok()).collect();
            addresses.len() == 2
        });
        (process.clients, process.internal) = (addresses[0], addresses[1]);
        process
    }

    fn greeted(mut child: Child, log: Option<ChildStderr>) -> Self {
        let said = BufReader::new(child.stdout.take().unwrap());
        let mut addresses = said.lines().map_while(Result::ok).filter_map(|line| {
            let (_, address) = line.split_once("://")?;
            address.parse().ok()
        });
        let addresses = (addresses.next().unwrap(), addresses.next().unwrap());
        Self::new(child, log, addresses)
    }

    fn new(child: Child, from: Option<ChildStderr>, addresses: (SocketAddr, SocketAddr)) -> Self {
        let log = Arc::<Mutex<String>>::default();
        let reader = std::thread::spawn({
            let log = Arc::clone(&log);
            move || {
                let lines = from.map(|from| BufReader::new(from).lines());
                for line in lines.into_iter().flatten() {
                    *log.lock().unwrap() += &(line.unwrap() + "\n");
                }
            }
        });
        let (clients, internal) = addresses;
        Self {
            child,
            clients,
            internal,
            reader,
            log,
        }
    }

    /// What it has logged by now.
    pub(crate) fn said(&self, part: &str) -> bool {
        self.log.lock().unwrap().contains(part)
    }

    /// All that it logged until its end.
    pub(crate) fn log_text(mut self) -> String {
        let reader = std::mem::replace(&mut self.reader, std::thread::spawn(|| {}));
        let log = Arc::clone(&self.log);
        self.ended();
        reader.join().unwrap();
        std::mem::take(&mut log.lock().unwrap())
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

    pub(crate) fn until(&self, mut holds: impl FnMut(&Self) -> bool) {
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

fn gateway() -> Command {
    Command::new(env!("CARGO_BIN_EXE_gateway"))
}

fn serving(mut program: Command, flags: &[&str]) -> Command {
    program
        .args(["serve", "--listen=127.0.0.1:0"])
        .args(["--internal-listen=127.0.0.1:0", "--demo=false"])
        .args(flags)
        .env_clear()
        .current_dir(env!("CARGO_TARGET_TMPDIR"))
        .stdout(Stdio::piped());
    program
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
