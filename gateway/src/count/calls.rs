//! What calls at the internal port are counted under.

use super::Label;

/// The calls, as a metric label.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CallName {
    Emit,
    Join,
    Leave,
    Disconnect,
    Batch,
    Sockets,
    Rooms,
    Presence,
    Nodes,
}

/// What is wrong, for programs; also a metric label.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Code {
    BadRequest,
    Unauthorized,
    NotFound,
    MethodNotAllowed,
    IdempotencyConflict,
    InProgress,
    BodyTooLarge,
    TooManyRequests,
    Overloaded,
}

/// Why a request is not believed to come from a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Suspect {
    /// A web page of another origin sent it.
    Origin,
    /// It calls the node by a name that it does not have.
    Host,
}

impl Label for CallName {
    const ALL: &'static [Self] = &[
        Self::Emit,
        Self::Join,
        Self::Leave,
        Self::Disconnect,
        Self::Batch,
        Self::Sockets,
        Self::Rooms,
        Self::Presence,
        Self::Nodes,
    ];

    fn index(self) -> usize {
        self as usize
    }

    fn label(self) -> &'static str {
        match self {
            Self::Emit => "emit",
            Self::Join => "join",
            Self::Leave => "leave",
            Self::Disconnect => "disconnect",
            Self::Batch => "batch",
            Self::Sockets => "sockets",
            Self::Rooms => "rooms",
            Self::Presence => "presence",
            Self::Nodes => "nodes",
        }
    }
}

impl Label for Code {
    const ALL: &'static [Self] = &[
        Self::BadRequest,
        Self::Unauthorized,
        Self::NotFound,
        Self::MethodNotAllowed,
        Self::IdempotencyConflict,
        Self::InProgress,
        Self::BodyTooLarge,
        Self::TooManyRequests,
        Self::Overloaded,
    ];

    fn index(self) -> usize {
        self as usize
    }

    fn label(self) -> &'static str {
        match self {
            Self::BadRequest => "bad_request",
            Self::Unauthorized => "unauthorized",
            Self::NotFound => "not_found",
            Self::MethodNotAllowed => "method_not_allowed",
            Self::IdempotencyConflict => "idempotency_conflict",
            Self::InProgress => "in_progress",
            Self::BodyTooLarge => "body_too_large",
            Self::TooManyRequests => "too_many_requests",
            Self::Overloaded => "overloaded",
        }
    }
}

impl Label for Suspect {
    const ALL: &'static [Self] = &[Self::Origin, Self::Host];

    fn index(self) -> usize {
        self as usize
    }

    fn label(self) -> &'static str {
        match self {
            Self::Origin => "foreign_origin",
            Self::Host => "foreign_host",
        }
    }
}
