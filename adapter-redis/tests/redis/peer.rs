//! A Node process: server, client and emitter.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{ChildStdin, ChildStdout, Command, Stdio};

use serde_json::{Value, json};
use testkit::program::Program;

use crate::server::Redis;

/// A running `peer.js`. Dropping it kills it.
pub(crate) struct Peer {
    _program: Program,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    next: u64,
}

impl Peer {
    /// Starts Node with the client library `client`, in the classic format.
    pub(crate) fn classic(redis: &Redis, client: &str) -> Self {
        Self::start(&json!({"client": client, "url": redis.url(), "mode": "classic"}))
    }

    pub(crate) fn start(settings: &Value) -> Self {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/node");
        assert!(
            directory.join("node_modules").exists(),
            "Node's packages are needed: npm ci in adapter-redis/tests/node"
        );
        let mut command = Command::new("node");
        command
            .arg("peer.js")
            .arg(settings.to_string())
            .current_dir(directory)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut program = Program::start(&mut command);
        let child = program.child();
        let mut peer = Self {
            input: child.stdin.take().unwrap(),
            output: BufReader::new(child.stdout.take().unwrap()),
            _program: program,
            next: 0,
        };
        assert_eq!(peer.answer(), json!({"id": 0, "value": "ready"}));
        peer
    }

    /// Runs the body of an async function and returns its value.
    pub(crate) fn eval(&mut self, js: &str) -> Value {
        self.begin(js);
        self.finish(js)
    }

    /// Begins to run it.
    pub(crate) fn begin(&mut self, js: &str) {
        self.next += 1;
        let line = json!({"id": self.next, "js": js});
        writeln!(self.input, "{line}").unwrap();
    }

    /// Waits for what was begun last.
    pub(crate) fn finish(&mut self, js: &str) -> Value {
        let mut answer = self.answer();
        assert_eq!(answer["id"], self.next);
        assert!(answer.get("error").is_none(), "{js}: {}", answer["error"]);
        answer["value"].take()
    }

    /// The next `count` events that its clients receive.
    pub(crate) fn received(&mut self, count: usize) -> Value {
        self.eval(&format!(
            "await until(() => received.length >= {count}); return received.splice(0);"
        ))
    }

    fn answer(&mut self) -> Value {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        assert!(!line.is_empty(), "the Node process has died");
        serde_json::from_str(&line).unwrap()
    }
}
