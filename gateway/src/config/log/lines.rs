//! Lines that a thread of their own writes.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// Bytes of lines that wait to be written, each line's own bookkeeping among them. Beyond them
/// lines are lost.
const MAX_BYTES: usize = 1024 * 1024;

/// What a line takes up beside its bytes.
const LINE_BYTES: usize = 64;

/// How long the thread waits before it offers a line again that cannot be taken now.
const PAUSE: Duration = Duration::from_millis(10);

/// How often it is told at most that lines were lost.
const TELL_EVERY: Duration = Duration::from_secs(10);

/// Why a line was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Loss {
    /// The reader of the log does not keep up.
    Full,
    /// It cannot be written: nobody reads any more, or the disk is full.
    Failed,
}

impl Loss {
    pub(crate) const ALL: [Self; 2] = [Self::Full, Self::Failed];

    /// Its name as a metric label.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Failed => "failed",
        }
    }
}

static LOST: [AtomicU64; 2] = [AtomicU64::new(0), AtomicU64::new(0)];

/// Lines that this process has lost.
pub(crate) fn lost(why: Loss) -> u64 {
    LOST[why as usize].load(Ordering::Relaxed)
}

fn lose(why: Loss) {
    LOST[why as usize].fetch_add(1, Ordering::Relaxed);
}

/// Takes lines at once, and has a thread write them. Its clones share the thread.
#[derive(Clone)]
pub(super) struct Lines(Arc<Shared>);

#[derive(Default)]
struct Shared {
    queue: Mutex<Queue>,
    filled: Condvar,
    written: Condvar,
}

#[derive(Default)]
struct Queue {
    lines: VecDeque<Vec<u8>>,
    bytes: usize,
    /// The thread has taken a line and not finished with it.
    is_writing: bool,
}

impl Lines {
    /// Starts the thread, which runs as long as the process.
    pub(super) fn start(name: &str, to: impl Write + Send + 'static) -> io::Result<Self> {
        let shared = Arc::<Shared>::default();
        let of_thread = Arc::clone(&shared);
        thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || of_thread.write_all(to))?;
        Ok(Self(shared))
    }

    /// Waits until nothing is left to write, at most so long.
    pub(super) fn flush(&self, patience: Duration) {
        let busy = |queue: &mut Queue| queue.is_writing || !queue.lines.is_empty();
        let queue = self.0.lock();
        let waited = self.0.written.wait_timeout_while(queue, patience, busy);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }
}

/// Each call is a line; it never fails.
impl Write for Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut queue = self.0.lock();
        let bytes = LINE_BYTES + line.len();
        if queue.bytes + bytes > MAX_BYTES {
            lose(Loss::Full);
        } else {
            queue.bytes += bytes;
            queue.lines.push_back(line.to_owned());
            self.0.filled.notify_one();
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_all(&self, mut to: impl Write) {
        let mut told = LossReport {
            lost: 0,
            at: Instant::now(),
        };
        loop {
            let line = self.next();
            match patiently(&mut to, &line) {
                Ok(()) => told.tell(),
                Err(_) => lose(Loss::Failed),
            }
            let mut queue = self.lock();
            queue.bytes -= LINE_BYTES + line.len();
            queue.is_writing = false;
            if queue.lines.is_empty() {
                self.written.notify_all();
            }
        }
    }

    fn next(&self) -> Vec<u8> {
        let mut queue = self.lock();
        loop {
            if let Some(line) = queue.lines.pop_front() {
                queue.is_writing = true;
                return line;
            }
            let waited = self.filled.wait(queue);
            queue = waited.unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// What the log itself says of lines that were lost.
struct LossReport {
    lost: u64,
    at: Instant,
}

impl LossReport {
    /// Lines can be written again.
    fn tell(&mut self) {
        let lost = Loss::ALL.iter().map(|why| lost(*why)).sum();
        if lost > self.lost && self.at.elapsed() >= TELL_EVERY {
            let lines = lost - self.lost;
            tracing::warn!(target: "gateway::config::log::lines",
                lines,
                "log lines were lost: the output did not take them"
            );
            *self = Self {
                lost,
                at: Instant::now(),
            };
        }
    }
}

/// Writes all of a line. Somebody else may have made the file non-blocking: then what it does not
/// take now is offered again.
fn patiently(to: &mut impl Write, mut line: &[u8]) -> io::Result<()> {
    while !line.is_empty() {
        match to.write(line) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => line = &line[written..],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => thread::sleep(PAUSE),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    /// Hands on what is written, and does what it is told instead of every second write.
    struct Reader {
        heard: mpsc::Sender<Vec<u8>>,
        next: Option<io::ErrorKind>,
    }

    impl Write for Reader {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if let Some(kind) = self.next.take() {
                return Err(kind.into());
            }
            let taken = bytes.len().min(4);
            self.heard.send(bytes[..taken].to_owned()).unwrap();
            Ok(taken)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_file_that_takes_nothing_now_gets_the_whole_line_later() {
        let (heard, hear) = mpsc::channel();
        let next = Some(io::ErrorKind::WouldBlock);
        let mut lines = Lines::start("log", Reader { heard, next }).unwrap();
        lines.write_all(b"first line\n").unwrap();
        lines.write_all(b"second\n").unwrap();
        lines.flush(Duration::from_secs(60));
        let all: Vec<u8> = hear.try_iter().flatten().collect();
        assert_eq!(all, b"first line\nsecond\n");
    }

    #[test]
    fn a_line_that_cannot_be_written_is_lost_and_counted() {
        let (heard, hear) = mpsc::channel();
        let next = Some(io::ErrorKind::StorageFull);
        let before = lost(Loss::Failed);
        let mut lines = Lines::start("log", Reader { heard, next }).unwrap();
        lines.write_all(b"one\n").unwrap();
        lines.write_all(b"two\n").unwrap();
        lines.flush(Duration::from_secs(60));
        assert_eq!(hear.try_iter().flatten().collect::<Vec<_>>(), b"two\n");
        assert!(lost(Loss::Failed) > before);
    }

    #[test]
    fn who_logs_does_not_wait_for_a_reader_that_stands_still() {
        struct Stuck(mpsc::Receiver<()>);
        impl Write for Stuck {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                let _released = self.0.recv();
                Ok(bytes.len())
            }

            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let (release, released) = mpsc::channel();
        let before = lost(Loss::Full);
        let mut lines = Lines::start("log", Stuck(released)).unwrap();
        let line = [b'.'; 1000];
        for _ in 0..2 * MAX_BYTES / line.len() {
            lines.write_all(&line).unwrap();
        }
        assert!(lost(Loss::Full) - before >= (MAX_BYTES / line.len()) as u64 - 100);
        assert!(lines.0.lock().bytes <= MAX_BYTES);
        lines.flush(Duration::from_millis(1));
        drop(release);
    }
}
