//! What forwarding is counted under.

use super::label;

label! {
    /// What a forwarded request is.
    pub(crate) enum Kind: "kind" {
        Poll = "poll",
        Post = "post",
        Upgrade = "upgrade",
    }
}

label! {
    /// What became of a forwarded request.
    pub(crate) enum Outcome: "result" {
        /// The owner answered, whatever it said.
        Answered = "answered",
        /// The client left before the owner answered.
        GivenUp = "given_up",
        /// The connection broke after the owner may have read the request.
        Lost = "lost",
        /// No connection to the owner could be had, or it did not prove who it is.
        Unreachable = "unreachable",
        /// Another node, or another life of the owner, answers at its address.
        Gone = "gone",
        /// There are as many connections to the owner as there may be.
        Limit = "limit",
    }
}

label! {
    /// Why nobody knows a session.
    pub(crate) enum Unknown: "cause" {
        /// It was of this node and is closed, or somebody made its id up.
        Closed = "closed",
        /// It was of a node that has left the cluster.
        Gone = "gone",
        /// It is of a node of the cluster that does not answer.
        Unreachable = "unreachable",
        /// No node that this one has known issues such ids.
        NeverIssued = "never_issued",
    }
}
