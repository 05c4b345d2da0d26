//! The task of a session's stream, as its session and the task itself know it.

use std::cell::{Cell, RefCell};
use std::task::Waker;

use crate::net::stream::Stream;

/// How the session and the task of its stream talk.
#[derive(Default)]
pub(crate) struct SocketTask {
    waker: RefCell<Option<Waker>>,
    pub(crate) order: Cell<Order>,
    /// The WebSocket that the task reads from and writes to. While the task rests the shard may write. A task of
    /// WebTransport keeps its stream to itself.
    pub(crate) stream: RefCell<Option<Stream>>,
    writer: Cell<Writer>,
    /// The last write ended within a frame, so that nothing else can follow it.
    pub(crate) cut: Cell<bool>,
    /// Its request asked for no binary frames.
    pub(crate) base64: Cell<bool>,
}

/// Who writes what is queued.
///
/// ```text
///               +--- all is written ----> Task <--- the shard comes to it --- TaskListed
///               |                         |  ^                                ^        |
///   TaskBehind -+       the task returns, |  | there is something to read,    |        |
///        ^              nothing left to   |  | or an order                    |        |
///        |              write             v  |                                |        |
///        |                               Resting                              |        |
///        |        a packet is queued      |  ^                                |        |
///        |                                v  | all is written                 |        |
///        +---- the socket takes no more - Listed --- something to read -------+        |
///                                            ^------ the task returns -----------------+
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Writer {
    /// The task.
    #[default]
    Task,
    /// The task, since the shard could not write all.
    TaskBehind,
    /// The task; the shard was about to write when it woke.
    TaskListed,
    /// The shard, once something is queued.
    Resting,
    /// The shard, at the end of its turn.
    Listed,
}

/// What the task has to do, besides reading and writing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Order {
    #[default]
    None,
    /// Answer the probe.
    AnswerProbe,
    /// Write the outbox, then say so.
    Flush,
    /// Close now.
    Close,
}

/// What is to be done for a packet that was queued.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// The session goes on the shard's list of those to be written.
    List,
    /// Nothing: it will be written.
    Wait,
}

impl SocketTask {
    /// The task runs and needs no waking.
    pub(crate) fn begin_turn(&self) {
        self.take_over();
        self.waker.take();
    }

    /// The task waits; if it rests, nothing is left for it to write.
    pub(crate) fn end_turn(&self, waker: &Waker, rests: bool) {
        self.waker.replace(Some(waker.clone()));
        self.writer.set(match self.writer.get() {
            Writer::Task if rests => Writer::Resting,
            Writer::TaskListed if rests => Writer::Listed,
            same @ (Writer::Task
            | Writer::TaskBehind
            | Writer::TaskListed
            | Writer::Resting
            | Writer::Listed) => same,
        });
    }

    /// Whether the shard may write for it.
    pub(crate) fn may_rest(&self) -> bool {
        self.order.get() == Order::None
            && self.writer.get() != Writer::TaskBehind
            && matches!(&*self.stream.borrow(), Some(Stream::Plain(_)))
    }

    /// Has the task run, and write.
    pub(super) fn rouse(&self) {
        self.take_over();
        self.wake();
    }

    pub(super) fn give(&self, order: Order) {
        self.order.set(order);
        self.rouse();
    }

    /// A packet was queued.
    pub(super) fn handle_queued(&self) -> Next {
        match self.writer.get() {
            Writer::Task | Writer::TaskBehind | Writer::TaskListed => {
                self.wake();
                Next::Wait
            }
            Writer::Resting => {
                self.writer.set(Writer::Listed);
                Next::List
            }
            Writer::Listed => Next::Wait,
        }
    }

    /// The shard comes to it in its list; `true` if it is to write.
    pub(super) fn handle_shards_turn(&self) -> bool {
        let (writer, writes) = match self.writer.get() {
            Writer::Listed => (Writer::Resting, true),
            Writer::TaskListed => (Writer::Task, false),
            same @ (Writer::Task | Writer::TaskBehind | Writer::Resting) => (same, false),
        };
        self.writer.set(writer);
        writes
    }

    /// The socket takes no more from the shard: the task waits until it does, and writes.
    pub(super) fn fall_behind(&self) {
        self.writer.set(Writer::TaskBehind);
        self.wake();
    }

    /// The task has written all.
    pub(crate) fn catch_up(&self) {
        if self.writer.get() == Writer::TaskBehind {
            self.writer.set(Writer::Task);
        }
    }

    fn take_over(&self) {
        self.writer.set(match self.writer.get() {
            Writer::Resting => Writer::Task,
            Writer::Listed => Writer::TaskListed,
            same @ (Writer::Task | Writer::TaskBehind | Writer::TaskListed) => same,
        });
    }

    /// Wakes the task, once until it has run.
    fn wake(&self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resting() -> SocketTask {
        let task = SocketTask::default();
        task.begin_turn();
        task.end_turn(Waker::noop(), true);
        task
    }

    #[test]
    fn a_task_that_rests_is_listed_once() {
        let task = resting();
        assert_eq!(task.handle_queued(), Next::List);
        assert_eq!(task.handle_queued(), Next::Wait);
        assert!(task.handle_shards_turn());
        assert_eq!(task.handle_queued(), Next::List);
    }

    #[test]
    fn a_task_that_woke_meanwhile_writes_itself_and_is_not_listed_twice() {
        let task = resting();
        task.handle_queued();
        task.begin_turn();
        assert_eq!(task.handle_queued(), Next::Wait);
        task.end_turn(Waker::noop(), true);
        assert_eq!(task.handle_queued(), Next::Wait);
        assert!(task.handle_shards_turn());

        task.handle_queued();
        task.begin_turn();
        assert!(!task.handle_shards_turn());
        task.end_turn(Waker::noop(), true);
        assert_eq!(task.handle_queued(), Next::List);
    }

    #[test]
    fn what_the_shard_could_not_write_the_task_does() {
        let task = resting();
        task.handle_queued();
        assert!(task.handle_shards_turn());
        task.fall_behind();
        task.begin_turn();
        task.end_turn(Waker::noop(), false);
        assert!(!task.handle_shards_turn());
        assert_eq!(task.writer.get(), Writer::TaskBehind);
        task.catch_up();
        task.end_turn(Waker::noop(), true);
        assert_eq!(task.handle_queued(), Next::List);
    }
}
