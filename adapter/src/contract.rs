use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use crate::presence;
use crate::recovery::{Link, Settings, Told};
use crate::{
    Answer, ClusterMessage, Counters, Interest, NodeId, Question, Records, ReplyTo, RequestId,
    Response,
};

/// The wire between the nodes of a cluster: it moves messages, and nothing else. No method waits
/// for the network.
///
/// Messages of one thread arrive everywhere in the order in which it published them. If the wire has
/// several ways, this holds for each way; a way carries the namespace, or one room. A node's own
/// messages never come back to it.
pub trait Adapter: fmt::Debug + Send + Sync {
    /// This node.
    fn node(&self) -> &NodeId;

    /// Lets this node take part in `namespace`, while the interest is kept. To be called before
    /// rooms of it are opened.
    fn open_namespace(&self, namespace: &str) -> Interest;

    /// Lets broadcasts to `room` reach this node, while the interest is kept. Interests in the same
    /// room are counted, so that each shard may keep its own. The room of a socket's own id is a
    /// room like any other here.
    fn open_room(&self, namespace: &str, room: &str) -> Interest;

    /// Sends `message` to the other nodes. With [`Flags::local`](crate::Flags::local) it does
    /// nothing. A broadcast to one room may reach only the nodes that have an interest in that room.
    fn publish(&self, namespace: &str, message: &ClusterMessage) -> Publish;

    /// The same, by the way that every node of the namespace hears: for a broadcast to a room in which
    /// nodes are only about to have an interest. A wire whose broadcasts reach every node anyway has but one way.
    fn publish_to_namespace(&self, namespace: &str, message: &ClusterMessage) -> Publish {
        self.publish(namespace, message)
    }

    /// Sends `message` as a request, whose answers come in as [`Incoming::Response`].
    fn request(&self, namespace: &str, request: &RequestId, message: &ClusterMessage) -> Publish;

    /// Sends `message` as a request to servers that are no gateway nodes, beside a request of another
    /// kind to those. Where there are none it does nothing.
    fn request_others(
        &self,
        _namespace: &str,
        _request: &RequestId,
        _message: &ClusterMessage,
    ) -> Publish {
        Publish::Queued
    }

    /// Nobody waits for answers to `request` any more: it need not be sent, if it still waits. For
    /// requests that ask and change nothing. What is not sent is counted as dropped.
    fn withdraw(&self, _namespace: &str, _request: &RequestId) {}

    /// An id for a request, in the form that suits the wire.
    fn new_request(&self) -> RequestId;

    /// Answers a request.
    fn respond(&self, namespace: &str, to: &ReplyTo, answer: &Answer) -> Publish;

    /// Who will answer `question` in `namespace`.
    fn peers(&self, namespace: &str, question: Question) -> PeersFuture;

    /// The live gateway nodes, this one among them.
    fn members(&self) -> Arc<[Member]>;

    /// Tells the other nodes how this one is, with its next heartbeat.
    fn set_state(&self, state: NodeState);

    /// Whether this node hears its peers: connected, every subscription confirmed, and a message to
    /// itself came back.
    fn is_up(&self) -> bool;

    /// Why it is not up, in words for operators; `None` while it is.
    fn trouble(&self) -> Option<String>;

    /// Whether its threads and tasks run: one that panicked does not come back by itself.
    fn is_alive(&self) -> bool {
        true
    }

    /// What is wrong although it is up, in words for operators.
    fn concern(&self) -> Option<String> {
        None
    }

    /// Opens the way to the store of `namespace`, beside an interest in the namespace. `None`: this wire has none.
    fn open_store(&self, _namespace: &str, _settings: &Settings) -> Option<Box<dyn Link>> {
        None
    }

    /// Runs a task beside the wire until it closes: where what the task asks of the wire, and what it is told, wakes
    /// no other thread. A wire without such a place gives the task back.
    ///
    /// # Errors
    ///
    /// There is no such place: the task is to run elsewhere.
    fn spawn(&self, task: Task) -> Result<(), Task> {
        Err(task)
    }

    /// Where the nodes keep records together. `None`: this wire has no such place.
    fn records(&self) -> Option<Arc<dyn Records>> {
        None
    }

    /// Where the nodes keep together who is there. `None`: this wire has no such place.
    fn presence(&self) -> Option<Arc<dyn presence::PresenceStore>> {
        None
    }

    /// What was counted.
    fn counters(&self) -> &Counters;

    /// Leaves the cluster: sends what still waits and tells the others. Blocks until that is done,
    /// for few seconds at most. Nothing can be published afterwards.
    fn close(&self);
}

/// A task of a node.
pub type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

/// What [`Adapter::peers`] returns.
pub type PeersFuture = Pin<Box<dyn Future<Output = Result<Peers, Away>> + Send>>;

/// Receives what an adapter brings, on a thread of the adapter: it must neither block nor panic.
pub trait Inbox: Send + Sync {
    /// Takes it.
    fn handle(&self, incoming: Incoming);

    /// Whether it is behind: the adapter then reads no further until that is over, and what comes
    /// waits on the other side.
    fn is_full(&self) -> bool {
        false
    }
}

/// What an adapter brings.
#[expect(clippy::exhaustive_enums, reason = "nodes and adapters handle each")]
#[derive(Debug, Clone, PartialEq)]
pub enum Incoming {
    /// Another node, or an emitter, says something.
    Message {
        /// The namespace that it concerns.
        namespace: Arc<str>,
        /// The event with its arguments.
        message: ClusterMessage,
        /// Where answers go; `None` if none are wanted.
        reply_to: Option<ReplyTo>,
    },
    /// Another node answers.
    Response {
        /// The namespace of the request.
        namespace: Arc<str>,
        /// The answer.
        response: Response,
    },
    /// Nodes came or went.
    Members(Arc<[Member]>),
    /// [`Adapter::is_up`] changed.
    Up(bool),
    /// From the store of a namespace, in order.
    Store {
        /// The namespace.
        namespace: Arc<str>,
        /// What it tells.
        told: Told,
    },
}

/// Whether a message is on its way.
#[expect(clippy::exhaustive_enums, reason = "nodes and adapters handle each")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Publish {
    /// It waits for its turn.
    Queued,
    /// It was given up, and counted.
    Dropped,
}

/// A live gateway node, as it describes itself.
#[expect(
    clippy::exhaustive_structs,
    reason = "its users make it, field by field"
)]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Its id.
    pub id: NodeId,
    /// The tag that the ids of its sockets begin with.
    pub tag: String,
    /// Where other nodes reach it.
    pub address: String,
    /// The version of its program.
    pub version: String,
    /// How it was at the last heartbeat.
    pub state: NodeState,
}

/// What a node tells of itself with each heartbeat.
#[expect(
    clippy::exhaustive_structs,
    reason = "its users make it, field by field"
)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct NodeState {
    /// Its connections.
    pub connections: u64,
    /// Whether it drains, so that clients go elsewhere.
    pub is_draining: bool,
    /// A number for the last time that somebody asked it to have connections spread evenly; 0 if nobody did.
    pub spread: u64,
}

/// Who will answer a request.
#[expect(
    clippy::exhaustive_structs,
    reason = "its users make it, field by field"
)]
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Peers {
    /// Gateway nodes that listen now, without this one.
    pub nodes: Vec<NodeId>,
    /// Gateway nodes that are members and do not listen now.
    pub absent: Vec<NodeId>,
    /// How many other nodes listen, whose names nobody knows.
    pub others: usize,
}

/// The adapter has no connection.
#[expect(
    clippy::exhaustive_structs,
    reason = "it says one thing, and adapters make it"
)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no connection to the other nodes")]
pub struct Away;

impl Peers {
    /// How many nodes take part in the namespace, this one among them.
    pub fn server_count(&self) -> usize {
        self.nodes.len() + self.others + 1
    }
}

impl<F: Fn(Incoming) + Send + Sync> Inbox for F {
    fn handle(&self, incoming: Incoming) {
        self(incoming);
    }
}

const _: fn(&dyn Adapter, &dyn Inbox) = |_, _| {};
