use std::time::Duration;

use adapter::{NodeId, NodeTag};

use crate::link::servers::Servers;
use crate::wire::Format;

/// How a node takes part in the cluster. [`Config::new`] has the defaults.
#[non_exhaustive]
#[derive(Debug, Clone)]
pub struct Config {
    /// Where Redis is.
    pub servers: Servers,
    /// What all channels and keys begin with; Node's `key` or `channelPrefix`.
    pub prefix: String,
    /// Which of Node's formats is spoken; all nodes have to agree.
    pub format: Format,
    /// This node.
    pub node: NodeId,
    /// What the ids of its sockets begin with.
    pub tag: NodeTag,
    /// Where other nodes reach it.
    pub address: String,
    /// The version of its program.
    pub version: String,
    /// Which rooms are heard of. In the sharded format, which has no patterns, it is always those with
    /// members.
    pub interest: RoomInterest,
    /// In how many namespaces one pattern covers the private rooms of this node's sockets. In others,
    /// and with 0 in all, each private room is a subscription of its own. Every pattern of every
    /// node costs Redis time with each publish; `PSUBSCRIBE` also needs a user that may use all
    /// channels.
    pub private_patterns: usize,
    /// What may be held at most.
    pub limits: Limits,
    /// How long things may take.
    pub timing: Timing,
}

/// Which rooms a node hears of in the classic format.
#[expect(clippy::exhaustive_enums, reason = "a setting has these values")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RoomInterest {
    /// Those that have members here: a subscription for each.
    Members,
    /// All, by one pattern for each namespace, as Node's adapter does. What is emitted to a room right
    /// behind a message that made its first member join is heard.
    All,
}

/// What is held at most.
#[non_exhaustive]
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Bytes of messages that await being sent. What exceeds them is dropped and counted.
    pub queue_bytes: usize,
    /// Bytes of one message, in either direction.
    pub message_bytes: usize,
    /// Subscriptions that nobody wants any more and that are kept for [`Timing::linger`].
    pub lingering: usize,
    /// Members that are looked at.
    pub members: usize,
}

/// How long things may take.
#[non_exhaustive]
#[derive(Debug, Clone, Copy)]
pub struct Timing {
    /// To connect and log in.
    pub connect: Duration,
    /// Longest pause between two attempts to connect; the first is a tenth of a second.
    pub backoff: Duration,
    /// How often a message to oneself is published, and silent connections are asked for a sign.
    pub probe: Duration,
    /// A connection that was silent for so long is given up. More than the five seconds that a script
    /// may keep Redis from answering before it answers `BUSY`.
    pub silence: Duration,
    /// After Redis was away, how long to wait for peers to be back before publishing what queued up.
    pub settle: Duration,
    /// How long a subscription is kept that nobody wants any more.
    pub linger: Duration,
    /// How often this node tells that it lives.
    pub heartbeat: Duration,
    /// A node that did not tell for so long has left.
    pub member_ttl: Duration,
    /// How often the slots of a cluster are asked for; the master of sentinels half as often.
    pub topology: Duration,
}

impl Config {
    /// The defaults of a node with this id and tag.
    pub fn new(servers: Servers, node: NodeId, tag: NodeTag) -> Self {
        Self {
            servers,
            prefix: "socket.io".to_owned(),
            format: Format::Classic {
                specific_responses: false,
            },
            node,
            tag,
            address: String::new(),
            version: String::new(),
            interest: RoomInterest::Members,
            private_patterns: 4,
            limits: Limits::default(),
            timing: Timing::default(),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            queue_bytes: 64 << 20,
            message_bytes: 16 << 20,
            lingering: 10_000,
            members: 1000,
        }
    }
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(2),
            backoff: Duration::from_secs(2),
            probe: Duration::from_secs(1),
            silence: Duration::from_secs(6),
            settle: Duration::from_secs(3),
            linger: Duration::from_secs(1),
            heartbeat: Duration::from_secs(1),
            member_ttl: Duration::from_secs(4),
            topology: Duration::from_secs(5),
        }
    }
}
