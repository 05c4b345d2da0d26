use bytes::Bytes;
use protocol::socketio::Arguments;

use crate::{ListRequest, NodeId, RequestId, Selection};

/// What a node tells or asks all other nodes of a namespace.
#[expect(clippy::exhaustive_enums, reason = "nodes and adapters handle each")]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClusterMessage {
    /// Emit an event. As a request: [`Answer::ClientCount`](crate::Answer::ClientCount) at once,
    /// then one [`Answer::Ack`](crate::Answer::Ack) for each socket that acknowledges.
    Broadcast(Broadcast),
    /// Make the selected sockets join rooms. As a request, like the next two:
    /// [`Answer::Done`](crate::Answer::Done).
    Join {
        /// Who joins.
        selection: Selection,
        /// What they join.
        rooms: Vec<String>,
    },
    /// Make the selected sockets leave rooms.
    Leave {
        /// Who leaves.
        selection: Selection,
        /// What they leave.
        rooms: Vec<String>,
    },
    /// Disconnect the selected sockets.
    Disconnect {
        /// Who is disconnected.
        selection: Selection,
        /// Whether the session under the socket is closed too.
        close: bool,
    },
    /// Asks for [`Answer::Sockets`](crate::Answer::Sockets).
    FetchSockets {
        /// Whose details are asked for.
        selection: Selection,
    },
    /// Asks for [`Answer::SocketIds`](crate::Answer::SocketIds): a request of old Node nodes.
    SocketIds {
        /// Whose ids are asked for.
        selection: Selection,
    },
    /// Asks for [`Answer::Rooms`](crate::Answer::Rooms).
    AllRooms,
    /// Asks gateway nodes for [`Answer::Piece`](crate::Answer::Piece).
    List(ListRequest),
    /// Asks gateway nodes to trace something, or what is busiest, in words of theirs that no wire looks
    /// into. As a request: any number of [`Answer::Lines`](crate::Answer::Lines), for as long as those
    /// words say.
    Trace(String),
    /// An event for the nodes themselves. As a request: one
    /// [`Answer::ServerSide`](crate::Answer::ServerSide).
    ServerSideEmit(EventBuf),
}

/// An event and its recipients.
#[expect(
    clippy::exhaustive_structs,
    reason = "its users make it, field by field"
)]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broadcast {
    /// Its recipients.
    pub selection: Selection,
    /// The event with its arguments.
    pub event: EventBuf,
}

/// An owned event: its name, never a reserved one, and its arguments.
#[expect(
    clippy::exhaustive_structs,
    reason = "its users make it, field by field"
)]
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct EventBuf {
    /// The name without quotes and escapes.
    pub name: String,
    /// What follows the name.
    pub arguments: ArgumentsBuf,
}

/// Owned arguments of an event or of an acknowledgement: to [`Arguments`] what `String` is to
/// `str`.
#[expect(
    clippy::exhaustive_structs,
    reason = "its users make it, field by field"
)]
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ArgumentsBuf {
    /// Comma-separated JSON values, without brackets around them. While there are attachments, an
    /// object `{"_placeholder":true,"num":N}` anywhere inside stands for the attachment N.
    pub json: String,
    /// The binary values that the placeholders point at.
    pub attachments: Vec<Bytes>,
}

/// Who asked, where the answers go.
#[expect(
    clippy::exhaustive_structs,
    reason = "its users make it, field by field"
)]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplyTo {
    /// The id that the answers carry.
    pub request: RequestId,
    /// The asking node's name on the wire, empty if it told none.
    pub uid: String,
    /// The asking node's id, if it is a gateway node.
    pub node: Option<NodeId>,
}

impl ArgumentsBuf {
    /// Arguments without binary, from comma-separated JSON that the caller vouches for.
    pub fn from_json(json: impl Into<String>) -> Self {
        Self {
            json: json.into(),
            attachments: Vec::new(),
        }
    }

    /// The same, borrowed.
    pub fn as_arguments(&self) -> Arguments<'_> {
        Arguments::from_raw(&self.json, &self.attachments)
    }

    /// Bytes held.
    pub fn size(&self) -> usize {
        self.json.len() + self.attachments.iter().map(Bytes::len).sum::<usize>()
    }
}

impl From<Arguments<'_>> for ArgumentsBuf {
    fn from(arguments: Arguments<'_>) -> Self {
        Self {
            json: arguments.json().to_owned(),
            attachments: arguments.attachments().to_vec(),
        }
    }
}

impl ClusterMessage {
    /// What selects its recipients; `None` where every node is meant.
    pub fn selection(&self) -> Option<&Selection> {
        match self {
            Self::Broadcast(broadcast) => Some(&broadcast.selection),
            Self::Join { selection, .. }
            | Self::Leave { selection, .. }
            | Self::Disconnect { selection, .. }
            | Self::FetchSockets { selection }
            | Self::SocketIds { selection } => Some(selection),
            Self::List(request) => Some(&request.selection),
            Self::AllRooms | Self::Trace(_) | Self::ServerSideEmit(_) => None,
        }
    }
}
