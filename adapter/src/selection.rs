use std::time::Duration;

use crate::TraceContext;

/// The sockets of a namespace that a message is for: the members of any of `rooms`, or everybody
/// when there are none, without the members of any room of `except`.
///
/// ```
/// use adapter::Selection;
///
/// let selection = Selection::room("news").to("sports").except("muted");
/// assert_eq!(selection.rooms, ["news", "sports"]);
/// assert_eq!(selection.only_room(), None);
/// ```
#[expect(
    clippy::exhaustive_structs,
    reason = "its users make it, field by field"
)]
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Selection {
    /// Rooms whose members are selected, each socket once; empty selects the whole namespace.
    pub rooms: Vec<String>,
    /// Rooms whose members are left out. A socket's own id is such a room too.
    pub except: Vec<String>,
    /// How to treat the message.
    pub flags: Flags,
}

/// How to treat a broadcast.
#[expect(
    clippy::exhaustive_structs,
    reason = "its users make it, field by field"
)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Flags {
    /// Skip a socket whose transport cannot take it at once.
    pub volatile: bool,
    /// Never leaves the node.
    pub local: bool,
    /// Whether the transport may compress it; `None` leaves that to the transport.
    pub compress: Option<bool>,
    /// How long the sender awaits acknowledgements: who holds their state may drop it then.
    pub timeout: Option<Duration>,
    /// The sender selected one socket and expects one acknowledgement (Node's `RemoteSocket`).
    pub expect_single_response: bool,
    /// What it is a part of, if its trace is recorded. Gateway nodes alone tell each other.
    pub trace: Option<TraceContext>,
}

impl Selection {
    /// Everybody in the namespace.
    pub fn everybody() -> Self {
        Self::default()
    }

    /// The members of `room`.
    pub fn room(room: impl Into<String>) -> Self {
        Self {
            rooms: vec![room.into()],
            ..Self::default()
        }
    }

    /// Adds a room to those that are meant.
    pub fn to(mut self, room: impl Into<String>) -> Self {
        self.rooms.push(room.into());
        self
    }

    /// Adds a room to those that are left out.
    pub fn except(mut self, room: impl Into<String>) -> Self {
        self.except.push(room.into());
        self
    }

    /// The room, if it is exactly one: such a broadcast need only reach nodes with members.
    pub fn only_room(&self) -> Option<&str> {
        match self.rooms.as_slice() {
            [room] => Some(room),
            _ => None,
        }
    }
}
