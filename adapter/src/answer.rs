use crate::{ArgumentsBuf, NodeId, Piece, RequestId};

/// What a node answers to a request.
#[expect(clippy::exhaustive_enums, reason = "nodes and adapters handle each")]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// How many sockets got the broadcast: so many acknowledgements may follow.
    ClientCount(u64),
    /// What one socket acknowledged: its first argument, nothing if it gave none.
    Ack(ArgumentsBuf),
    /// The selected sockets of the answering node.
    Sockets(Vec<SocketDetails>),
    /// The ids of the selected sockets of the answering node.
    SocketIds(Vec<String>),
    /// The rooms that exist on the answering node.
    Rooms(Vec<String>),
    /// A part of a list, from one gateway node to another.
    Piece(Piece),
    /// Lines of a trace, or one of what is busiest.
    Lines(Vec<String>),
    /// What the node itself acknowledged: one value, or nothing.
    ServerSide(ArgumentsBuf),
    /// Done, to a gateway node or an old Node node that asked to be told. A join is done when what
    /// any node publishes to the rooms arrives.
    Done,
}

/// An answer that came in.
#[expect(
    clippy::exhaustive_structs,
    reason = "its users make it, field by field"
)]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// What it answers.
    pub request: RequestId,
    /// Who answers; `None` for a Node node, which does not tell.
    pub node: Option<NodeId>,
    /// The answer.
    pub answer: Answer,
}

/// One socket as other nodes see it.
#[expect(
    clippy::exhaustive_structs,
    reason = "its users make it, field by field"
)]
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SocketDetails {
    /// Its id.
    pub id: String,
    /// Its handshake as a JSON object: `headers`, `time`, `address`, `xdomain`, `secure`, `issued`,
    /// `url`, `query`, `auth`. Must not be empty.
    pub handshake: String,
    /// The rooms that it is in, its own id among them.
    pub rooms: Vec<String>,
    /// What the application keeps with it, as JSON. Must not be empty.
    pub data: String,
    /// What only gateway nodes tell and understand, as JSON; Node nodes ignore it.
    pub extra: Option<String>,
}

impl Answer {
    /// Bytes held, about.
    pub fn size(&self) -> usize {
        let strings = |strings: &[String]| strings.iter().map(String::len).sum::<usize>();
        size_of::<Self>()
            + match self {
                Self::ClientCount(_) | Self::Done => 0,
                Self::Ack(value) | Self::ServerSide(value) => value.size(),
                Self::Sockets(sockets) => sockets.iter().map(SocketDetails::size).sum(),
                Self::SocketIds(ids) | Self::Lines(ids) => strings(ids),
                Self::Rooms(rooms) => strings(rooms),
                Self::Piece(piece) => piece.entries.size(),
            }
    }
}

impl SocketDetails {
    /// Bytes held, about.
    pub fn size(&self) -> usize {
        size_of::<Self>()
            + self.id.len()
            + self.handshake.len()
            + self.data.len()
            + self.extra.as_ref().map_or(0, String::len)
            + self.rooms.iter().map(String::len).sum::<usize>()
    }
}
