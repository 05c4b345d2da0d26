use crate::{Selection, SocketDetails};

/// Asks gateway nodes for a part of a list. Every list has an order, and the asking node goes on
/// behind the last name that it got. So no answer is larger than one message may be.
#[expect(
    clippy::exhaustive_structs,
    reason = "its users make it, field by field"
)]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListRequest {
    /// What is listed.
    pub list: List,
    /// Of which sockets.
    pub selection: Selection,
    /// Only what comes behind this; everything if it is not given.
    pub after: Option<String>,
    /// Most entries of an answer.
    pub limit: usize,
    /// Most bytes of an answer, about; one entry comes in any case.
    pub bytes: usize,
}

/// What can be listed.
#[expect(clippy::exhaustive_enums, reason = "nodes and adapters handle each")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum List {
    /// Sockets, by their ids.
    Sockets {
        /// With what their requests told: headers, query, `auth`.
        handshakes: bool,
    },
    /// Rooms and how many members each has, by their names. They are those of the whole namespace.
    Rooms {
        /// With the private rooms of sockets and users.
        private: bool,
    },
    /// Users and how many sockets each has, by their names. The empty name is that of all sockets
    /// without a user.
    Users,
}

/// A part of a list, as one node has it.
#[expect(
    clippy::exhaustive_structs,
    reason = "its users make it, field by field"
)]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// Its entries, in order.
    pub entries: Entries,
    /// Whether there is more behind the last of them.
    pub more: bool,
    /// Whether something within an entry was left out, since it was too large.
    pub cut: bool,
}

/// Entries of a list.
#[expect(clippy::exhaustive_enums, reason = "nodes and adapters handle each")]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entries {
    /// Of [`List::Sockets`].
    Sockets(Vec<SocketDetails>),
    /// Of the others.
    Counts(Vec<(String, u64)>),
}

impl List {
    /// The name that it has on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sockets { handshakes: false } => "sockets",
            Self::Sockets { handshakes: true } => "handshakes",
            Self::Rooms { private: false } => "rooms",
            Self::Rooms { private: true } => "all_rooms",
            Self::Users => "users",
        }
    }

    /// The list of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        let all = [
            Self::Sockets { handshakes: false },
            Self::Sockets { handshakes: true },
            Self::Rooms { private: false },
            Self::Rooms { private: true },
            Self::Users,
        ];
        all.into_iter().find(|list| list.name() == name)
    }
}

impl Entries {
    /// Bytes held, about.
    pub(crate) fn size(&self) -> usize {
        match self {
            Self::Sockets(sockets) => sockets.iter().map(SocketDetails::size).sum(),
            Self::Counts(counts) => counts.iter().map(|(name, _)| name.len() + 32).sum(),
        }
    }
}
