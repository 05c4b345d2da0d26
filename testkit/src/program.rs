//! A program that a test starts, and that ends with it.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, ExitStatus};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use crate::wait::until;

/// A running program. Dropped, it is killed.
pub struct Program {
    child: Child,
    log: Log,
}

impl Program {
    /// Starts it. What it writes to a piped standard error is kept.
    ///
    /// # Panics
    ///
    /// If it cannot be started.
    pub fn start(command: &mut Command) -> Self {
        let name = command.get_program().to_owned();
        let child = command.spawn();
        let mut child = child.unwrap_or_else(|error| panic!("{}: {error}", name.display()));
        let log = Log::keep(child.stderr.take().map(BufReader::new));
        Self { child, log }
    }

    /// Its process, with what is left of its standard streams.
    pub fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    /// Whether it has not ended.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// What it wrote to standard error by now.
    pub fn log(&self) -> String {
        self.log.text.lock().unwrap().clone()
    }

    /// All that it wrote to standard error until its end, for which it waits.
    pub fn log_to_the_end(mut self) -> String {
        self.ended();
        if let Some(reader) = self.log.reader.take() {
            reader.join().unwrap();
        }
        self.log()
    }

    /// Sends it a signal: `TERM`, `STOP` ..
    pub fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        let status = Command::new("kill")
            .args([&format!("-{name}"), &id])
            .status();
        assert!(status.unwrap().success(), "kill -{name}");
    }

    /// Stops the process without ending it: its connections stay, and nothing answers.
    pub fn freeze(&self) {
        self.signal("STOP");
    }

    /// Lets a frozen process go on.
    pub fn thaw(&self) {
        self.signal("CONT");
    }

    /// Waits until it has ended.
    pub fn ended(&mut self) -> ExitStatus {
        let mut status = None;
        until("the program ends", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap()
    }

    /// Ends it as `kill -9` does.
    pub fn kill(&mut self) {
        // It may have ended before.
        let _gone = self.child.kill();
        self.child.wait().unwrap();
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.kill();
        // The output of a test stands in the message of its failure.
        if std::thread::panicking() {
            eprint!("{}", self.log());
        }
    }
}

/// What was written so far.
struct Log {
    text: Arc<Mutex<String>>,
    reader: Option<JoinHandle<()>>,
}

impl Log {
    fn keep(from: Option<impl BufRead + Send + 'static>) -> Self {
        let text = Arc::<Mutex<String>>::default();
        let kept = Arc::clone(&text);
        let reader = from.map(|from| {
            std::thread::spawn(move || {
                for line in from.lines() {
                    *kept.lock().unwrap() += &(line.unwrap() + "\n");
                }
            })
        });
        Self { text, reader }
    }
}
