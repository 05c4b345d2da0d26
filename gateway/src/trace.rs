//! Live traces: what happens to a user, a socket, a room or an address, told to somebody who looks.
//!
//! A trace has a place on each node, and each shard knows which of its sessions have to do with it: a
//! session has a bit for each place. The code that does something with a session looks at these bits. For a
//! session that nobody traces it does, allocates and locks nothing else. What is traced becomes a
//! [`Line`], which goes into a bounded queue; lines that find no room there are counted.
//!
//! This room knows subjects, lines, queues and places. The layers above say what happens, and
//! [`socketio`](crate::socketio) begins and ends traces on all nodes. It may use what is below the cluster.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use others::Others;

mod line;
mod others;
mod packet;
mod queue;
mod shard_traces;
mod words;

pub(crate) use line::{Line, What, cut};
pub(crate) use others::{Heard, Mark};
pub(crate) use packet::Sent;
pub(crate) use queue::{Lines, Pulled, Queue};
pub(crate) use shard_traces::ShardTraces;
pub(crate) use words::{Subject, Words};

/// Most traces at a time. Each has a place on every node.
pub(crate) const MAX_TRACES: usize = 16;

/// How long a node traces for another one that says nothing any more.
pub(crate) const LEASE: Duration = Duration::from_secs(10);

/// How often a node says that somebody still reads.
pub(crate) const RENEWAL: Duration = Duration::from_secs(3);

/// Who asked for a trace, and by which request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TraceId {
    /// The asking node's name on the wire; empty for this node itself.
    pub(crate) asker: String,
    pub(crate) request: String,
}

/// A trace on this node.
#[derive(Debug)]
pub(crate) struct Trace {
    place: usize,
    id: TraceId,
    pub(crate) words: Words,
    /// What lines say of where they are from.
    pub(crate) node: Box<str>,
    pub(crate) lines: Lines,
    /// When it ends unless somebody says that it goes on.
    until: Mutex<Instant>,
    /// Whether its reader's node wants to hear something, lines or not.
    is_asked: AtomicBool,
    /// What the others say, where its reader is.
    others: Mutex<Others>,
}

impl Trace {
    /// Its bit in the masks of sessions and shards.
    pub(crate) fn mask(&self) -> u16 {
        1 << self.place
    }

    /// It goes on for so long.
    pub(crate) fn renew(&self, lease: Duration) {
        *lock(&self.until) = Instant::now() + lease;
    }

    /// Its reader's node asks whether it goes on here.
    pub(crate) fn ask(&self) {
        self.is_asked.store(true, Ordering::Relaxed);
    }

    /// Whether its reader's node asked since the last time.
    pub(crate) fn take_asked(&self) -> bool {
        self.is_asked.swap(false, Ordering::Relaxed)
    }

    /// Another node says something of it.
    pub(crate) fn hear(&self, node: &str, mark: Option<Mark>) -> Heard {
        lock(&self.others).hear(node, mark)
    }

    /// These other nodes are told now that it goes on.
    pub(crate) fn expect(&self, members: impl Iterator<Item = String>) {
        lock(&self.others).expect(members);
    }

    /// The nodes that do not answer, each once.
    pub(crate) fn newly_silent(&self) -> Vec<String> {
        lock(&self.others).newly_silent()
    }

    /// Whether nobody reads it any more.
    pub(crate) fn is_over(&self) -> bool {
        *lock(&self.until) <= Instant::now()
    }
}

/// The places for traces of a node.
#[derive(Debug, Default)]
pub(crate) struct Traces {
    places: Mutex<[Option<Arc<Trace>>; MAX_TRACES]>,
}

impl Traces {
    /// Takes a place. `None` if there is none.
    pub(crate) fn open(
        &self,
        id: TraceId,
        words: Words,
        node: &str,
        lines: Lines,
    ) -> Option<Arc<Trace>> {
        let mut places = lock(&self.places);
        let place = places.iter().position(Option::is_none)?;
        let trace = Arc::new(Trace {
            place,
            id,
            words,
            node: node.into(),
            lines,
            until: Mutex::new(Instant::now() + LEASE),
            is_asked: AtomicBool::new(false),
            others: Mutex::default(),
        });
        places[place] = Some(Arc::clone(&trace));
        Some(trace)
    }

    pub(crate) fn find(&self, id: &TraceId) -> Option<Arc<Trace>> {
        let places = lock(&self.places);
        let mut open = places.iter().flatten();
        open.find(|trace| trace.id == *id).cloned()
    }

    /// Gives a place back, once no shard has anything to do with the trace any more.
    pub(crate) fn free(&self, trace: &Trace) {
        lock(&self.places)[trace.place] = None;
    }

    pub(crate) fn count(&self) -> usize {
        lock(&self.places).iter().flatten().count()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
