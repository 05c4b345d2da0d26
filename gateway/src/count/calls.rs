//! What calls at the internal port are counted under.

use super::label;

label! {
    /// The calls.
    pub(crate) enum CallName: "call" {
        Emit = "emit",
        Join = "join",
        Leave = "leave",
        Disconnect = "disconnect",
        Batch = "batch",
        Sockets = "sockets",
        Rooms = "rooms",
        Presence = "presence",
        Nodes = "nodes",
        History = "history",
        Trace = "trace",
        Reload = "reload",
        Rebalance = "rebalance",
        Top = "top",
        Block = "block",
        Unblock = "unblock",
        Blocks = "blocks",
        Revoke = "revoke",
        Unrevoke = "unrevoke",
        Revocations = "revocations",
    }
}

label! {
    /// What is wrong, for programs.
    pub(crate) enum Code: "code" {
        BadRequest = "bad_request",
        Unauthorized = "unauthorized",
        NotFound = "not_found",
        NoHistory = "no_history",
        MethodNotAllowed = "method_not_allowed",
        IdempotencyConflict = "idempotency_conflict",
        InProgress = "in_progress",
        BodyTooLarge = "body_too_large",
        TooManyRequests = "too_many_requests",
        Overloaded = "overloaded",
        BadConfiguration = "bad_configuration",
        /// Redis did not do it, or not in time.
        Unavailable = "unavailable",
        /// Not all nodes said that they did it.
        NotEverywhere = "not_everywhere",
        /// There are as many as may be.
        Full = "full",
    }
}

label! {
    /// Why a request is not believed to come from a program.
    pub(crate) enum Suspect: "reason" {
        /// A web page of another origin sent it.
        Origin = "foreign_origin",
        /// It calls the node by a name that it does not have.
        Host = "foreign_host",
    }
}
