//! Lines on their way to who reads them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use tokio::sync::mpsc;
use tokio::time::Instant;

/// Most lines of a trace that wait on a node. One has at most [`MAX_LINE`] bytes.
const MAX_WAITING: usize = 1024;

/// Most bytes of a line.
pub(crate) const MAX_LINE: usize = 8 * 1024;

/// Most lines of a trace that a node writes within a second.
const MAX_LINES_PER_SECOND: u64 = 1000;

/// The end of a queue that lines are put in.
#[derive(Debug, Clone)]
pub(crate) struct Lines {
    sender: mpsc::Sender<String>,
    state: Arc<State>,
}

#[derive(Debug)]
struct State {
    /// Lines that found no room, and that nobody was told of yet.
    lost: AtomicU64,
    /// From which seconds are counted.
    began: Instant,
    /// The second, and how many lines were written in it: its upper and lower half.
    written: AtomicU64,
}

/// The end of a queue that lines are taken from.
#[derive(Debug)]
pub(crate) struct Queue {
    receiver: mpsc::Receiver<String>,
    state: Arc<State>,
}

/// What came out of a queue.
pub(crate) enum Pulled {
    Line(String),
    /// So many lines should have been there.
    Lost(u64),
}

impl Queue {
    pub(crate) fn new() -> (Lines, Self) {
        let (sender, receiver) = mpsc::channel(MAX_WAITING);
        let state = Arc::new(State {
            lost: AtomicU64::new(0),
            began: Instant::now(),
            written: AtomicU64::new(0),
        });
        let lines = Lines {
            sender,
            state: Arc::clone(&state),
        };
        (lines, Self { receiver, state })
    }

    /// What is there now: the lines, and behind the last one how many were lost.
    pub(crate) fn pull(&mut self, context: &mut Context<'_>) -> Poll<Option<Pulled>> {
        match self.receiver.poll_recv(context) {
            Poll::Ready(Some(line)) => Poll::Ready(Some(Pulled::Line(line))),
            Poll::Ready(None) => Poll::Ready(None),
            Poll::Pending => match self.state.lost.swap(0, Ordering::Relaxed) {
                0 => Poll::Pending,
                lost => Poll::Ready(Some(Pulled::Lost(lost))),
            },
        }
    }

    /// The same without waiting.
    pub(crate) fn try_pull(&mut self) -> Option<Pulled> {
        if let Ok(line) = self.receiver.try_recv() {
            return Some(Pulled::Line(line));
        }
        match self.state.lost.swap(0, Ordering::Relaxed) {
            0 => None,
            lost => Some(Pulled::Lost(lost)),
        }
    }
}

impl Lines {
    /// A line of this node.
    pub(crate) fn put(&self, line: String) {
        if self.state.may_write(self.state.began.elapsed().as_secs()) {
            self.pass(line);
        } else {
            self.lose(1);
        }
    }

    /// A line that there is only one of.
    pub(crate) fn pass(&self, line: String) {
        self.pass_for(line, 1);
    }

    /// A line that tells of so many.
    pub(crate) fn pass_for(&self, line: String, lines: u64) {
        if line.len() > MAX_LINE || self.sender.try_send(line).is_err() {
            self.lose(lines);
        }
    }

    pub(crate) fn lose(&self, lines: u64) {
        self.state.lost.fetch_add(lines, Ordering::Relaxed);
    }
}

impl State {
    /// Whether a line more may be written within this second of the trace.
    fn may_write(&self, second: u64) -> bool {
        let second = second << 32;
        let count = |before: u64| {
            let next = before.max(second);
            (next & u64::from(u32::MAX) < MAX_LINES_PER_SECOND).then_some(next + 1)
        };
        let written = &self.written;
        let counted = written.fetch_update(Ordering::Relaxed, Ordering::Relaxed, count);
        counted.is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drain(queue: &mut Queue) -> (u64, u64) {
        let (mut lines, mut lost) = (0, 0);
        while let Some(pulled) = queue.try_pull() {
            match pulled {
                Pulled::Line(_) => lines += 1,
                Pulled::Lost(count) => lost += count,
            }
        }
        (lines, lost)
    }

    #[test]
    fn what_finds_no_room_is_counted() {
        let (lines, mut queue) = Queue::new();
        lines.pass("x".repeat(MAX_LINE));
        lines.pass("x".repeat(MAX_LINE + 1));
        assert_eq!(drain(&mut queue), (1, 1));
        for _ in 0..MAX_WAITING + 7 {
            lines.pass("x".to_owned());
        }
        assert_eq!(drain(&mut queue), (MAX_WAITING as u64, 7));
        assert_eq!(drain(&mut queue), (0, 0));
    }

    #[test]
    fn a_second_has_so_many_lines_and_the_next_one_as_many() {
        let (lines, _queue) = Queue::new();
        for second in [0, 1, 5] {
            for _ in 0..MAX_LINES_PER_SECOND {
                assert!(lines.state.may_write(second));
            }
            assert!(!lines.state.may_write(second));
        }
        // A shard that looked at the time a moment earlier takes from the same second.
        assert!(!lines.state.may_write(4));
    }
}
