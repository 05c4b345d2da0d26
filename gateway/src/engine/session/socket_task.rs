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
    /// It is on one of the shard's lists of clients that can wait for others.
    waits: Cell<bool>,
    /// The shard's round in which it was written last.
    round: Cell<u16>,
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
///                                         |  ^------ the task returns -----------------+
///                                         |  |
///   Resting -- an event for many, or ---> Held: the shard writes in a later turn, at the end of its round
///              while they gather           ^
///                                          v  something to read, and the task returns
///      Task -- an event for many ------> TaskHeld -- a packet that does not wait --> Task
/// ```
///
/// A packet that does not wait makes `Held` `Listed`. When the shard comes to it, `Held` becomes `Resting`, and
/// `TaskHeld` `Task`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Writer {
    /// The task.
    #[default]
    Task,
    /// The task, since the shard could not write all.
    TaskBehind,
    /// The task; the shard was about to write when it woke.
    TaskListed,
    /// The task, once the shard comes to it or it runs for another reason: what is queued can wait.
    TaskHeld,
    /// The shard, once something is queued.
    Resting,
    /// The shard, at the end of its turn.
    Listed,
    /// The shard, when it comes to it.
    Held,
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

/// How soon a packet that was queued is to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Haste {
    /// At the end of the turn.
    Turn,
    /// With many others.
    Crowd,
    /// At the end of this round, unless it is the first one of that for its client: then as it would be without.
    Round(u16, bool),
}

/// What is to be done for a packet that was queued.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// The session goes on the shard's list of those to be written.
    List,
    /// The session goes behind the others of a crowd.
    Queue,
    /// The session goes on the shard's list of clients that events gather for.
    Gather,
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
            Writer::TaskHeld if rests => Writer::Held,
            // It writes by itself.
            Writer::TaskHeld => Writer::Task,
            same @ (Writer::Task
            | Writer::TaskBehind
            | Writer::TaskListed
            | Writer::Resting
            | Writer::Listed
            | Writer::Held) => same,
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
    pub(super) fn handle_queued(&self, haste: Haste) -> Next {
        let place = match haste {
            Haste::Turn => None,
            Haste::Crowd => Some(Next::Queue),
            Haste::Round(round, _) if round == self.round.get() => Some(Next::Gather),
            Haste::Round(_, in_crowd) => in_crowd.then_some(Next::Queue),
        };
        match (self.writer.get(), place) {
            (Writer::TaskHeld | Writer::Held, Some(_)) | (Writer::Listed, _) => Next::Wait,
            (Writer::Resting, Some(place)) => self.hold(Writer::Held, place),
            (Writer::Task, Some(Next::Queue)) => self.hold(Writer::TaskHeld, Next::Queue),
            (Writer::Task | Writer::TaskBehind | Writer::TaskListed, _)
            | (Writer::TaskHeld, None) => {
                if self.writer.get() == Writer::TaskHeld {
                    self.writer.set(Writer::Task);
                }
                self.wake();
                Next::Wait
            }
            (Writer::Resting | Writer::Held, None) => {
                self.writer.set(Writer::Listed);
                Next::List
            }
        }
    }

    fn hold(&self, writer: Writer, place: Next) -> Next {
        self.writer.set(writer);
        match self.waits.replace(true) {
            true => Next::Wait,
            false => place,
        }
    }

    /// The task went to rest and left something.
    pub(super) fn handle_left(&self) -> Next {
        if self.writer.get() == Writer::Held {
            return Next::Wait;
        }
        self.handle_queued(Haste::Turn)
    }

    /// The shard comes to it in its list; `true` if it is to write, in `round`.
    pub(super) fn handle_shards_turn(&self, round: u16) -> bool {
        let (writer, writes) = match self.writer.get() {
            Writer::Listed => (Writer::Resting, true),
            Writer::TaskListed => (Writer::Task, false),
            same @ (Writer::Task
            | Writer::TaskBehind
            | Writer::TaskHeld
            | Writer::Resting
            | Writer::Held) => (same, false),
        };
        self.writer.set(writer);
        if writes {
            self.round.set(round);
        }
        writes
    }

    /// The shard comes to it among those that could wait; `true` if it is to write, in `round`.
    pub(super) fn handle_round(&self, round: u16) -> bool {
        self.waits.set(false);
        let (writer, writes) = match self.writer.get() {
            Writer::Held => (Writer::Resting, true),
            Writer::TaskHeld => {
                self.wake();
                (Writer::Task, false)
            }
            // Written meanwhile, or about to be.
            same @ (Writer::Task
            | Writer::TaskBehind
            | Writer::TaskListed
            | Writer::Resting
            | Writer::Listed) => (same, false),
        };
        self.writer.set(writer);
        if writes {
            self.round.set(round);
        }
        writes
    }

    /// Whether all that waits does so because the shard has it wait, so that a volatile one may join.
    pub(super) fn gathers(&self) -> bool {
        matches!(self.writer.get(), Writer::Held | Writer::TaskHeld)
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
            Writer::Held => Writer::TaskHeld,
            same @ (Writer::Task | Writer::TaskBehind | Writer::TaskListed | Writer::TaskHeld) => {
                same
            }
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
        assert_eq!(task.handle_queued(Haste::Turn), Next::List);
        assert_eq!(task.handle_queued(Haste::Turn), Next::Wait);
        assert!(task.handle_shards_turn(1));
        assert_eq!(task.handle_queued(Haste::Turn), Next::List);
    }

    #[test]
    fn a_task_that_woke_meanwhile_writes_itself_and_is_not_listed_twice() {
        let task = resting();
        task.handle_queued(Haste::Turn);
        task.begin_turn();
        assert_eq!(task.handle_queued(Haste::Turn), Next::Wait);
        task.end_turn(Waker::noop(), true);
        assert_eq!(task.handle_queued(Haste::Turn), Next::Wait);
        assert!(task.handle_shards_turn(1));

        task.handle_queued(Haste::Turn);
        task.begin_turn();
        assert!(!task.handle_shards_turn(1));
        task.end_turn(Waker::noop(), true);
        assert_eq!(task.handle_queued(Haste::Turn), Next::List);
    }

    #[test]
    fn what_the_shard_could_not_write_the_task_does() {
        let task = resting();
        task.handle_queued(Haste::Turn);
        assert!(task.handle_shards_turn(1));
        task.fall_behind();
        task.begin_turn();
        task.end_turn(Waker::noop(), false);
        assert!(!task.handle_shards_turn(1));
        assert_eq!(task.writer.get(), Writer::TaskBehind);
        task.catch_up();
        task.end_turn(Waker::noop(), true);
        assert_eq!(task.handle_queued(Haste::Turn), Next::List);
    }

    #[test]
    fn the_first_event_of_a_round_goes_at_once_and_others_gather() {
        let task = resting();
        assert_eq!(task.handle_queued(Haste::Round(7, false)), Next::List);
        assert!(task.handle_shards_turn(7));
        assert_eq!(task.handle_queued(Haste::Round(7, false)), Next::Gather);
        assert_eq!(task.handle_queued(Haste::Round(7, false)), Next::Wait);
        assert!(!task.handle_shards_turn(7));
        assert!(task.handle_round(8));
        assert_eq!(task.handle_queued(Haste::Round(8, false)), Next::Gather);
    }

    #[test]
    fn what_does_not_wait_takes_along_what_gathered() {
        let task = resting();
        task.round.set(7);
        assert_eq!(task.handle_queued(Haste::Round(7, false)), Next::Gather);
        assert_eq!(task.handle_queued(Haste::Turn), Next::List);
        assert!(task.handle_shards_turn(7));
        // It is in the list once, however often it is written in between.
        assert_eq!(task.handle_queued(Haste::Round(7, false)), Next::Wait);
        assert!(task.gathers());
        assert!(task.handle_round(8));
        assert!(!task.handle_round(8));
    }

    #[test]
    fn a_task_that_reads_meanwhile_lets_events_gather() {
        let task = resting();
        task.round.set(7);
        task.handle_queued(Haste::Round(7, false));
        task.begin_turn();
        assert_eq!(task.handle_queued(Haste::Round(7, false)), Next::Wait);
        task.end_turn(Waker::noop(), true);
        assert_eq!(task.handle_left(), Next::Wait);
        assert!(task.gathers());
        // Unless it queues what does not wait.
        task.begin_turn();
        task.handle_queued(Haste::Turn);
        task.end_turn(Waker::noop(), true);
        assert_eq!(task.handle_left(), Next::List);
        assert!(!task.handle_round(8));
        assert!(task.handle_shards_turn(8));
    }

    #[test]
    fn a_round_that_comes_while_the_task_runs_leaves_the_writing_to_it() {
        let task = resting();
        task.round.set(7);
        task.handle_queued(Haste::Round(7, false));
        task.begin_turn();
        assert!(!task.handle_round(8));
        task.end_turn(Waker::noop(), true);
        assert_eq!(task.handle_left(), Next::List);
        assert!(task.handle_shards_turn(8));
    }

    #[test]
    fn who_waits_among_a_crowd_is_queued_once_and_does_not_hold_up_an_answer() {
        let task = resting();
        assert_eq!(task.handle_queued(Haste::Crowd), Next::Queue);
        assert_eq!(task.handle_queued(Haste::Crowd), Next::Wait);
        assert!(task.gathers());
        // An answer is written at the end of the turn, with what waited.
        assert_eq!(task.handle_queued(Haste::Turn), Next::List);
        assert!(task.handle_shards_turn(3));
        // What waits then does so at the place that it has.
        assert_eq!(task.handle_queued(Haste::Crowd), Next::Wait);
        assert!(task.handle_round(3));
        assert_eq!(task.handle_queued(Haste::Crowd), Next::Queue);
    }

    #[test]
    fn the_first_event_of_a_round_for_a_crowd_waits_for_the_crowd_and_no_longer() {
        let task = resting();
        assert_eq!(task.handle_queued(Haste::Round(7, true)), Next::Queue);
        assert_eq!(task.handle_queued(Haste::Round(7, true)), Next::Wait);
        assert!(task.handle_round(7));
        assert_eq!(task.handle_queued(Haste::Round(7, true)), Next::Gather);
    }
}
