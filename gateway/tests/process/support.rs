//! The program, and requests to it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, ExitStatus, Stdio};

use testkit::program::Program;
use testkit::wait::until;

/// The program on ports of the system's choice; killed when it is dropped.
pub(crate) struct Process {
    program: Program,
    pub(crate) clients: SocketAddr,
    pub(crate) internal: SocketAddr,
}

impl Process {
    pub(crate) fn start(flags: &[&str]) -> Self {
        Self::start_as(gateway(), flags)
    }

    /// With a variable in its environment.
    pub(crate) fn with_variables(variables: &[(&str, &str)], flags: &[&str]) -> Self {
        let mut command = serving(gateway(), flags);
        command.envs(variables.iter().copied());
        Self::greeted(command.stderr(Stdio::piped()))
    }

    /// With so many descriptors at most.
    pub(crate) fn with_descriptors(most: usize, flags: &[&str]) -> Self {
        let mut shell = Command::new("/bin/sh");
        let limited = format!("ulimit -n {most} && exec \"$0\" \"$@\"");
        shell.args(["-c", &limited, env!("CARGO_BIN_EXE_gateway")]);
        Self::start_as(shell, flags)
    }

    fn start_as(program: Command, flags: &[&str]) -> Self {
        Self::greeted(serving(program, flags).stderr(Stdio::piped()))
    }

    /// With a standard error that goes elsewhere.
    pub(crate) fn with_log(flags: &[&str], to: impl Into<Stdio>) -> Self {
        Self::greeted(serving(gateway(), flags).stderr(to))
    }

    /// With a standard output that goes elsewhere: the log says where it listens.
    pub(crate) fn with_output(flags: &[&str], to: impl Into<Stdio>) -> Self {
        let mut command = serving(gateway(), flags);
        let program = Program::start(command.stdout(to).stderr(Stdio::piped()));
        let mut addresses = Vec::new();
        until("it says where it listens", || {
            let log = program.log();
            let line = log.lines().find(|line| line.contains("listening"));
            let words = line.unwrap_or_default().split([' ', '=', '"', ',']);
            addresses = words.filter_map(|word| word.parse().ok()).collect();
            addresses.len() == 2
        });
        Self {
            program,
            clients: addresses[0],
            internal: addresses[1],
        }
    }

    fn greeted(command: &mut Command) -> Self {
        let mut program = Program::start(command);
        let said = BufReader::new(program.child().stdout.take().unwrap());
        let mut addresses = said.lines().map_while(Result::ok).filter_map(|line| {
            let (_, address) = line.split_once("://")?;
            address.parse().ok()
        });
        Self {
            clients: addresses.next().unwrap(),
            internal: addresses.next().unwrap(),
            program,
        }
    }

    /// Whether it has logged this by now.
    pub(crate) fn said(&self, part: &str) -> bool {
        self.program.log().contains(part)
    }

    /// All that it logged until its end.
    pub(crate) fn log_text(self) -> String {
        self.program.log_to_the_end()
    }

    pub(crate) fn log(self) -> Vec<serde_json::Value> {
        let text = self.log_text();
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    pub(crate) fn signal(&self, name: &str) {
        self.program.signal(name);
    }

    pub(crate) fn until_not_ready(&self) {
        self.until(|gateway| {
            request(gateway.internal, "GET /ready HTTP/1.1").starts_with("HTTP/1.1 503 ")
        });
    }

    pub(crate) fn until(&self, mut holds: impl FnMut(&Self) -> bool) {
        until("a condition", || holds(self));
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.program.is_running()
    }

    pub(crate) fn kill(&mut self) {
        self.program.kill();
    }

    pub(crate) fn ended(mut self) -> ExitStatus {
        self.program.ended()
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
    exchange_on(TcpStream::connect(address).unwrap(), line, body)
}

pub(crate) fn exchange_on(mut stream: impl Read + Write, line: &str, body: &str) -> String {
    let length = body.len();
    let request = format!(
        "{line}\r\nHost: gateway\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
    );
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}
