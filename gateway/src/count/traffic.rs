//! What sessions and packets are counted under.

use protocol::engineio::{ProbeFailure, Revision};

use super::{Label, label};

label! {
    /// A packet type of Socket.IO.
    pub(crate) enum PacketType: "type" {
        Connect = "connect",
        Disconnect = "disconnect",
        Event = "event",
        Ack = "ack",
        ConnectError = "connect_error",
        BinaryEvent = "binary_event",
        BinaryAck = "binary_ack",
    }
}

label! {
    /// The revision of Engine.IO that a client speaks.
    pub(crate) enum RevisionName: "revision" {
        Three = "3",
        Four = "4",
    }
}

label! {
    /// The parser of Socket.IO that a client has.
    pub(crate) enum ParserName: "parser" {
        Json = "json",
        Msgpack = "msgpack",
        /// Neither: its first message was no packet.
        Unknown = "unknown",
    }
}

impl RevisionName {
    pub(crate) fn of(revision: Revision) -> Self {
        match revision {
            Revision::Three => Self::Three,
            Revision::Four => Self::Four,
        }
    }
}

label! {
    /// Why a request was refused.
    pub(crate) enum Refused: "reason" {
        UnknownTransport = "unknown_transport",
        Jsonp = "jsonp",
        UnknownSid = "unknown_sid",
        BadMethod = "bad_method",
        BadRequest = "bad_request",
        Forbidden = "forbidden",
        UnsupportedVersion = "unsupported_version",
        Overlap = "overlap",
        BodyTooLarge = "body_too_large",
        BodyTimeout = "body_timeout",
        OctetStream = "octet_stream",
        ConnectionLimit = "connection_limit",
        AddressLimit = "address_limit",
        HandshakeRate = "handshake_rate",
        Draining = "draining",
        UpgradeDraining = "upgrade_draining",
        ProxyProtocol = "proxy_protocol",
        Tls = "tls",
        Http = "http",
        Silent = "silent",
    }
}

/// How an upgrade ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Upgraded {
    Completed,
    Refused,
    Failed(ProbeFailure),
}

label! {
    /// Where a broadcast came from.
    pub(crate) enum Origin: "origin" {
        Local = "local",
        Cluster = "cluster",
    }
}

label! {
    /// By which limit a client was too slow.
    pub(crate) enum SlowCause: "cause" {
        /// It took nothing for `limits.outbox_patience`.
        Stalled = "stalled",
        /// It was behind by more than `limits.outbox_bytes`.
        Behind = "behind",
        /// All outboxes together passed `limits.outbox_total`, and it was furthest behind.
        Memory = "memory",
    }
}

impl PacketType {
    /// An event, with attachments or without.
    pub(crate) fn event(binary: bool) -> Self {
        if binary {
            Self::BinaryEvent
        } else {
            Self::Event
        }
    }

    pub(crate) fn is_event(self) -> bool {
        matches!(self, Self::Event | Self::BinaryEvent)
    }

    /// An acknowledgement, with attachments or without.
    pub(crate) fn ack(binary: bool) -> Self {
        if binary { Self::BinaryAck } else { Self::Ack }
    }
}

impl Label for Upgraded {
    const NAME: &'static str = "result";
    const ALL: &'static [Self] = &[
        Self::Completed,
        Self::Refused,
        Self::Failed(ProbeFailure::Timeout),
        Self::Failed(ProbeFailure::UnexpectedPacket),
        Self::Failed(ProbeFailure::Disconnected),
        Self::Failed(ProbeFailure::SessionClosed),
    ];

    fn index(self) -> usize {
        match self {
            Self::Completed => 0,
            Self::Refused => 1,
            Self::Failed(failure) => 2 + failure as usize,
        }
    }

    fn label(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::Refused => "refused",
            Self::Failed(ProbeFailure::Timeout) => "timeout",
            Self::Failed(ProbeFailure::UnexpectedPacket) => "unexpected_packet",
            Self::Failed(ProbeFailure::Disconnected) => "disconnected",
            Self::Failed(ProbeFailure::SessionClosed) => "session_closed",
        }
    }
}
