use std::borrow::Cow;

use super::Arguments;

/// Event names that belong to the library itself; a client that sends one breaks the protocol.
pub const RESERVED_EVENTS: [&str; 6] = [
    "connect",
    "connect_error",
    "disconnect",
    "disconnecting",
    "newListener",
    "removeListener",
];

/// Whether `name` is one of [`RESERVED_EVENTS`].
pub fn is_reserved(name: &str) -> bool {
    RESERVED_EVENTS.contains(&name)
}

/// A packet as a client may send it. `CONNECT_ERROR` is a server's alone and not among them.
#[expect(
    clippy::exhaustive_enums,
    reason = "the protocol has these, and no others in this version"
)]
#[derive(Debug, Clone, PartialEq)]
pub enum Packet<'a> {
    /// Asks to join a namespace.
    Connect {
        /// Always begins with a slash.
        namespace: &'a str,
        /// A JSON object, `None` when the packet has no payload.
        auth: Option<&'a str>,
    },
    /// Leaves a namespace.
    Disconnect {
        /// Always begins with a slash.
        namespace: &'a str,
    },
    /// An event, text or binary.
    Event {
        /// Always begins with a slash.
        namespace: &'a str,
        /// The id under which the client awaits an acknowledgement.
        id: Option<u64>,
        /// Its name and arguments.
        event: Event<'a>,
    },
    /// The answer to an event of ours.
    Ack {
        /// Always begins with a slash.
        namespace: &'a str,
        /// The id that the event carried.
        id: u64,
        /// What the client answers.
        arguments: Arguments<'a>,
    },
}

impl<'a> Packet<'a> {
    /// The packet without the query that a client of revision 3 may write behind the namespace (`/chat?token=x`), and
    /// that query.
    pub fn split_query(self) -> (Self, Option<&'a str>) {
        let namespace = match &self {
            Self::Connect { namespace, .. }
            | Self::Disconnect { namespace }
            | Self::Event { namespace, .. }
            | Self::Ack { namespace, .. } => *namespace,
        };
        let Some((namespace, query)) = namespace.split_once('?') else {
            return (self, None);
        };
        let packet = match self {
            Self::Connect { auth, .. } => Self::Connect { namespace, auth },
            Self::Disconnect { .. } => Self::Disconnect { namespace },
            Self::Event { id, event, .. } => Self::Event {
                namespace,
                id,
                event,
            },
            Self::Ack { id, arguments, .. } => Self::Ack {
                namespace,
                id,
                arguments,
            },
        };
        (packet, Some(query))
    }
}

/// The name of an event and its arguments, checked but not parsed.
#[expect(
    clippy::exhaustive_structs,
    reason = "its users make it, field by field"
)]
#[derive(Debug, Clone, PartialEq)]
pub struct Event<'a> {
    /// The name without quotes and escapes; digits when the client used a number.
    pub name: Cow<'a, str>,
    /// Whether the name is a JSON string (`false`: a number).
    pub name_is_string: bool,
    /// What follows the name.
    pub arguments: Arguments<'a>,
}

/// Why a message is not a Socket.IO packet. Each closes the session.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// No packet, or a type outside 0 to 6.
    #[error("unknown packet type")]
    UnknownType,
    /// A client may not send `CONNECT_ERROR`.
    #[error("unexpected connect error")]
    UnexpectedConnectError,
    /// The attachment count is missing, zero or no number.
    #[error("bad attachment count")]
    BadAttachmentCount,
    /// More than [`MAX_ATTACHMENTS`](super::MAX_ATTACHMENTS).
    #[error("too many attachments")]
    TooManyAttachments,
    /// Longer than [`MAX_NAMESPACE`](super::MAX_NAMESPACE).
    #[error("namespace too long")]
    NamespaceTooLong,
    /// The ack id does not fit 64 bits.
    #[error("bad ack id")]
    BadAckId,
    /// Not JSON, or nested deeper than [`MAX_DEPTH`](super::MAX_DEPTH).
    #[error("invalid JSON")]
    InvalidJson,
    /// JSON of the wrong shape for its packet type.
    #[error("invalid payload")]
    InvalidPayload,
    /// An event name that is neither string nor number, or is reserved.
    #[error("invalid event name")]
    InvalidEventName,
    /// A placeholder that points at no attachment, or more of them than there may be attachments.
    #[error("illegal attachments")]
    IllegalAttachments,
    /// A text packet where an attachment was due.
    #[error("a packet came before all attachments of the one before it")]
    PacketAmidAttachments,
    /// Longer as JSON than a message may be.
    #[error("too large as JSON")]
    TooLarge,
    /// No map in msgpack, or nested too deep.
    #[error("invalid msgpack")]
    InvalidMsgpack,
    /// No namespace, or one that JSON has no way to name.
    #[error("invalid namespace")]
    InvalidNamespace,
    /// Text and msgpack in one session.
    #[error("another parser than before")]
    OtherParser,
    /// Binary that no header announced.
    #[error("binary message, but no packet awaits attachments")]
    UnexpectedBinary,
}
