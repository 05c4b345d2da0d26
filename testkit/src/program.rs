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

#[cfg(test)]
mod tests {
    use std::process::Stdio;

    use super::*;

    fn shell(script: &str) -> Program {
        Program::start(
            Command::new("sh")
                .args(["-c", script])
                .stderr(Stdio::piped()),
        )
    }

    #[test]
    fn its_log_is_kept_to_the_end() {
        let program = shell("echo one >&2; echo two >&2");
        assert_eq!(program.log_to_the_end(), "one\ntwo\n");
    }

    #[test]
    fn a_signal_ends_it_and_a_frozen_one_goes_on() {
        let mut program = shell("sleep 1000 & trap 'kill $!; exit 3' TERM; echo ready >&2; wait");
        until("it is ready", || program.log().contains("ready"));
        program.freeze();
        program.signal("TERM");
        assert!(program.is_running());
        program.thaw();
        assert_eq!(program.ended().code(), Some(3));
    }

    #[test]
    fn it_is_gone_when_it_is_dropped() {
        let mut program = shell("exec sleep 1000");
        let id = program.child().id();
        drop(program);
        assert!(!std::path::Path::new(&format!("/proc/{id}")).exists());
    }
}
