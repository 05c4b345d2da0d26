//! How what is queued for a session goes out by a stream.

use std::io;
use std::rc::Rc;
use std::task::Poll;

use protocol::Dialect;
use protocol::engineio::Transport;
use tracing::level_filters::LevelFilter;

use super::Session;
use super::socket_task::{Haste, Next, SocketTask};
use crate::count::PacketType;
use crate::engine::outbox::{Advanced, ENTRY, Outbox, Parcel};
use crate::net::stream::Stream;

/// How writing came to its end.
#[derive(Debug)]
pub(crate) enum Drained {
    /// Nothing is left.
    Empty,
    /// What is left is to go out later, in a write of its own.
    Pause,
    /// The socket takes no more now.
    Full,
    /// The connection is broken.
    Failed(io::Error),
}

impl Session {
    /// Writes what is queued by `write`, which takes as much as it can of what comes first, and tells how
    /// many bytes went.
    pub(crate) fn drain(
        &self,
        task: &SocketTask,
        mut write: impl FnMut(&Outbox) -> Poll<io::Result<usize>>,
    ) -> (usize, Drained) {
        let mut outbox = self.outbox.borrow_mut();
        let (mut bytes, mut gone, mut writes) = (0, 0, 0);
        let end = loop {
            if outbox.is_empty() {
                break Drained::Empty;
            }
            let written = match write(&outbox) {
                Poll::Pending => break Drained::Full,
                Poll::Ready(Ok(0)) => break Drained::Failed(io::ErrorKind::WriteZero.into()),
                Poll::Ready(Ok(written)) => written,
                Poll::Ready(Err(error)) => break Drained::Failed(error),
            };
            bytes += written;
            writes += 1;
            let Advanced { packets, pause } = outbox.advance(written);
            gone += packets;
            if pause && !outbox.is_empty() {
                break Drained::Pause;
            }
        };
        if bytes > 0 {
            task.cut.set(outbox.is_cut());
            self.let_go(gone);
            let (counters, transport) = (self.shard.counters(), self.transport());
            counters.sent_bytes.of(transport).add(bytes as u64);
            counters.writes.of(transport).add(writes);
        }
        (bytes, end)
    }

    /// Queues several packets of Socket.IO as one; `false` if they have to be queued one by one. It is for what takes
    /// broadcasts further.
    pub(crate) fn push_run(self: &Rc<Self>, run: &Rc<Parcel>, kind: PacketType) -> bool {
        let is_plain = {
            let engine = self.engine.borrow();
            engine.is_open() && engine.transport() == Transport::WebSocket
        };
        let is_watched = self.is_traced() || LevelFilter::current() >= LevelFilter::TRACE;
        if !is_plain || is_watched || self.is_leaving() || self.dialect() != Dialect::Json {
            return false;
        }
        let limit = self.shard.limits().outbox_bytes;
        if self.outbox.borrow_mut().push_run(run, limit).is_err() {
            return false;
        }
        let counters = self.shard.counters();
        counters.outbox_held.add(ENTRY as u64);
        counters.packets_sent.of(kind).add(u64::from(run.count()));
        self.write_soon(kind.is_event());
        true
    }

    /// Has what was queued be written: by the task, or by the shard if the task rests. `waits`: together with what
    /// comes next, if the shard is busy.
    pub(super) fn write_soon(self: &Rc<Self>, waits: bool) {
        let in_crowd = self.shard.is_in_crowd();
        let haste = match self.shard.gathering() {
            _ if !waits => Haste::Turn,
            Some(round) => Haste::Round(round, in_crowd),
            None if in_crowd => Haste::Crowd,
            None => Haste::Turn,
        };
        if let Some(task) = &*self.task.borrow() {
            self.list(task.handle_queued(haste));
        }
    }

    /// Has the shard write what a task leaves that goes to rest.
    pub(crate) fn leave_to_shard(self: &Rc<Self>) {
        if !self.outbox.borrow().is_empty()
            && let Some(task) = &*self.task.borrow()
        {
            self.list(task.handle_left());
        }
    }

    fn list(self: &Rc<Self>, next: Next) {
        match next {
            Next::List => self.shard.write_later(self),
            Next::Queue => self.shard.write_with_others(self),
            Next::Gather => self.shard.let_gather(self),
            Next::Wait => {}
        }
    }

    /// Writes for a task that rests, in `round`. What the socket does not take at once is left to the task.
    pub(crate) fn write_resting(&self, round: u16) {
        let task = self.task.borrow();
        if let Some(task) = task.as_ref().filter(|it| it.handle_shards_turn(round)) {
            self.write_for(task);
        }
    }

    /// Writes what could wait, in `round`, for a task that rests. Returns how many packets that were.
    pub(crate) fn write_held(&self, round: u16) -> Option<usize> {
        let task = self.task.borrow();
        let task = task.as_ref().filter(|it| it.handle_round(round))?;
        let packets = self.outbox.borrow().packets();
        self.write_for(task);
        Some(packets)
    }

    fn write_for(&self, task: &SocketTask) {
        let (bytes, _) = self.offer(task);
        if !self.outbox.borrow().is_empty() {
            task.fall_behind();
            self.waits(bytes > 0);
        }
    }

    /// Writes now what would be written soon, before it is judged how far the client is behind. What
    /// TLS or a pause holds back stays.
    pub(super) fn write_now(&self) {
        let taken = match &*self.task.borrow() {
            Some(task) if self.transport() == Transport::WebSocket => self.offer(task).0,
            Some(_) | None => 0,
        };
        if taken > 0 {
            self.waits(true);
            self.wake_task();
        }
    }

    /// Offers the outbox to the kernel, if nothing stands between.
    fn offer(&self, task: &SocketTask) -> (usize, Drained) {
        let stream = task.stream.borrow();
        let Some(Stream::Plain(stream)) = &*stream else {
            return (0, Drained::Full);
        };
        let mut is_first = true;
        self.drain(task, |outbox| {
            // What it took in part only it is full of.
            let is_full = !is_first && outbox.is_cut();
            is_first = false;
            if is_full || outbox.is_parted() {
                return Poll::Pending;
            }
            match outbox.write_to(stream) {
                Ok(written @ 1..) => Poll::Ready(Ok(written)),
                Ok(0) | Err(_) => Poll::Pending,
            }
        })
    }

    /// Packets have left the outbox.
    pub(super) fn let_go(&self, packets: usize) {
        let held = &self.shard.counters().outbox_held;
        held.subtract((packets * ENTRY) as u64);
    }
}
