//! What a process and the store tell each other. With Redis these are the arguments and the answers of a script.

use std::sync::Arc;

use bytes::Bytes;

use super::{
    Claim, Claimed, Entry, Epoch, Generation, LogName, NotClaimed, Open, Part, Past, PastPage, Pid,
    Position, Span, Taken, Write,
};
use crate::{NodeId, Selection};

/// One life of a node: what restarts is another process.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Process {
    /// The node.
    pub node: NodeId,
    /// Random.
    pub seed: u64,
}

/// One life of a server: what restarts, or takes over, is another (`run_id` of Redis).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ServerId(pub u64);

/// What a process asks of the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// Who asks.
    pub process: Process,
    /// What.
    pub request: Request,
    /// Random, for an epoch.
    pub random: u64,
}

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// The process lives. Comes back by the subscription as well, behind everything before it.
    Beat(Beat),
    /// Acts, in order, once: with the number of the last call the same is answered again.
    Acts {
        /// One more than that of the call before.
        number: u64,
        /// In order.
        acts: Vec<Act>,
        /// Up to which place the process has seen what was taken from it.
        seen: Position,
    },
    /// Parts of logs.
    Read(Vec<Span>),
    /// Something of the past of a room.
    History {
        /// Which log.
        log: LogName,
        /// What of it.
        past: Past,
    },
}

/// What a process tells with a heartbeat.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Beat {
    /// Counts heartbeats.
    pub number: u64,
    /// The number of the last call that was answered.
    pub acknowledged: u64,
    /// The last place that it knows of.
    pub known: Option<Known>,
    /// Up to where all clients are whole that it has had for long enough ([`Floors`](super::Floors)).
    pub floor: Position,
    /// Logs whose last place it wants to know.
    pub heads: Vec<LogName>,
    /// Whether some of what nobody can come back for is cleared away, which costs more than all else. One that is made
    /// early, for its mark, does not.
    pub sweeps: bool,
    /// Up to which place it has seen what was taken from it.
    pub seen: Position,
}

/// A place that something confirmed came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Known {
    /// The life of the log.
    pub epoch: Epoch,
    /// Where the era begins.
    pub era: Position,
    /// The place.
    pub position: Position,
}

/// One thing to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Act {
    /// Publish an event.
    Publish(Publication),
    /// Write a new session.
    Open(Open),
    /// Change a session.
    Write(Write),
    /// Take a session over.
    Claim(Claim),
    /// The process is about to end: its sessions are away from now on.
    Retire,
}

/// An event to publish.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Publication {
    /// Its recipients.
    pub selection: Selection,
    /// Encoded, without the offset.
    pub body: Bytes,
    /// Whether it comes back in a replay. Acknowledged and volatile events do not.
    pub is_logged: bool,
    /// The socket that sent it, if one did. After it was claimed by another node nothing of it comes late.
    pub sender: Option<(Arc<str>, Generation)>,
}

/// What came of an [`Act`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Done {
    /// It is in order, and in the log if it belongs there.
    Published(Position),
    /// The session is written: this is its client's pid.
    Opened(Pid),
    /// The change is written. A member is one for what is behind the place.
    Written(Position),
    /// The session is somebody else's, or none.
    NotOwned,
    /// It is the caller's now.
    Claimed(Claimed),
    /// It is not.
    NotClaimed(NotClaimed),
    /// The sessions are away.
    Retired,
    /// Some of the sessions are away. The others are to be asked for again.
    Retiring,
}

/// How much is in the logs of a namespace. Heartbeats look at a few logs each, so entries and bytes are those of when
/// they had looked at all of them last.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sizes {
    /// Logs.
    pub logs: u64,
    /// Entries in all of them.
    pub entries: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// What is answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// To a heartbeat.
    Beaten {
        /// Its number.
        number: u64,
        /// Where it stands in the order.
        known: Known,
        /// What was taken from the process.
        taken: Vec<Taken>,
        /// Whether it may act. A process that is new waits until another one knows of it.
        may_act: bool,
        /// How much is in the logs.
        sizes: Sizes,
    },
    /// To acts.
    Done {
        /// The number of the call.
        number: u64,
        /// A place behind all of them.
        known: Known,
        /// One for each.
        done: Arc<[Done]>,
        /// What was taken from the process.
        taken: Vec<Taken>,
    },
    /// The server does not know what the process knows, or whether others know of the process: a heartbeat has to come
    /// first.
    BeatFirst,
    /// The call is an old one: another was answered since.
    Outdated,
    /// To a read: one for each span.
    Pieces {
        /// The life of the log.
        epoch: Epoch,
        /// In the order of the spans.
        pieces: Vec<Part>,
    },
    /// To a question about the past.
    Page(PastPage),
}

/// What a call brings about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Handled {
    /// For the caller.
    pub reply: Reply,
    /// For those who listen, in order.
    pub heard: Vec<Heard>,
    /// Processes that hear the mark as well, although it is another's. They make a heartbeat: it tells that they know of
    /// a new one, or a new one is told by it that others know of it.
    pub nudged: Vec<Process>,
}

/// What is heard by a subscription.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    /// An event, for all that listen to one of its logs.
    Ordered(Arc<Ordered>),
    /// A heartbeat, for the process that made it, and for those that are [nudged](Handled::nudged).
    Mark(Process, Arc<Mark>),
}

/// An event in the order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ordered {
    /// The life of the log.
    pub epoch: Epoch,
    /// Where the era begins.
    pub era: Position,
    /// The event.
    pub entry: Arc<Entry>,
    /// Its logs, each with the place of the entry before it.
    pub before: Vec<(LogName, Position)>,
}

/// A heartbeat that comes back behind everything that was published before it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    /// That of the heartbeat.
    pub number: u64,
    /// Its place.
    pub known: Known,
    /// The place before it in the whole namespace.
    pub previous: Position,
    /// The last places of the logs that were asked for.
    pub heads: Vec<(LogName, Position)>,
}
