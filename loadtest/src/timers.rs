//! One table of deadlines per thread.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// What is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Timer {
    /// A client's connection attempt has taken too long; the attempt's number tells whether it still matters.
    Attempt {
        /// Which client.
        client: u32,
        /// Which of its attempts.
        attempt: u32,
    },
    /// The server's heartbeat may be overdue.
    Heartbeat {
        /// Which client.
        client: u32,
        /// Which of its attempts.
        attempt: u32,
    },
    /// The client's first event was not answered; sent again while that attempt lives.
    Greeting {
        /// Which client.
        client: u32,
        /// Which of its attempts.
        attempt: u32,
    },
    /// A client comes back.
    Connect(u32),
    /// A client's connection is cut.
    Cut(u32),
    /// The next message of a room's publisher, or of a client.
    Send(u32),
}

/// Deadlines in the order in which they come.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    heap: BinaryHeap<Reverse<(u64, Timer)>>,
}

impl Timers {
    /// Adds a deadline.
    pub(crate) fn set(&mut self, at: u64, timer: Timer) {
        self.heap.push(Reverse((at, timer)));
    }

    /// The next one that is due.
    pub(crate) fn poll(&mut self, now: u64) -> Option<(u64, Timer)> {
        let Reverse((at, _)) = self.heap.peek()?;
        if *at > now {
            return None;
        }
        self.heap.pop().map(|Reverse(due)| due)
    }

    /// When to look again.
    pub(crate) fn next(&self) -> Option<u64> {
        self.heap.peek().map(|Reverse((at, _))| *at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deadlines_come_in_their_order_and_not_early() {
        let mut timers = Timers::default();
        timers.set(20, Timer::Send(1));
        timers.set(10, Timer::Cut(2));
        assert_eq!(timers.next(), Some(10));
        assert_eq!(timers.poll(9), None);
        assert_eq!(timers.poll(30), Some((10, Timer::Cut(2))));
        assert_eq!(timers.poll(30), Some((20, Timer::Send(1))));
        assert_eq!(timers.poll(30), None);
    }
}
