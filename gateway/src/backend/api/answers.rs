//! What callers get. The schemas of the OpenAPI file come from these types.

#[cfg(test)]
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::value::RawValue;

/// It is done on every node that is not named.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(JsonSchema))]
pub(crate) struct Changed {
    /// Always true.
    pub(crate) ok: bool,
    /// Nodes that did not say in time that they have done it; left out if there are none. Node
    /// servers never say.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(test, schemars(with = "Option<Vec<String>>"))]
    pub(crate) missing_nodes: Vec<String>,
}

/// What a reload did, or would do. Settings by their names; never their values.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(JsonSchema))]
pub(crate) struct Reloaded {
    /// Always true.
    pub(crate) ok: bool,
    /// The node; the others reload by themselves.
    pub(crate) node: String,
    /// Settings that have other values now.
    pub(crate) changed: Vec<&'static str>,
    /// Settings that have other values in the files, which count from the next start.
    pub(crate) needs_restart: Vec<&'static str>,
}

/// The answer to an emit.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(JsonSchema))]
pub(crate) struct Emitted {
    /// Always true.
    pub(crate) ok: bool,
    /// With `ack_timeout`: for each acknowledgement its arguments.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(with = "Option<Vec<Vec<serde_json::Value>>>"))]
    pub(crate) acks: Option<Vec<Box<RawValue>>>,
    /// With `ack_timeout`: how many were asked and did not answer in time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) missing_acks: Option<usize>,
    /// With `ack_timeout`: nodes that did not say which clients they asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) missing_nodes: Option<Vec<String>>,
}

/// Sockets, by their ids.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(JsonSchema))]
pub(crate) struct Sockets {
    pub(crate) sockets: Vec<SocketEntry>,
    #[serde(flatten)]
    pub(crate) missing: Missing,
    /// The cursor of the next page; null at the end.
    pub(crate) next: Option<String>,
}

/// Who did not answer; what they know is not told here.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(test, derive(JsonSchema))]
pub(crate) struct Missing {
    /// Gateway nodes that did not answer.
    pub(crate) missing_nodes: Vec<String>,
    /// How many Node servers did not answer; they have no names.
    pub(crate) missing_others: usize,
    /// True if somebody had more to tell than may be told; left out otherwise.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) truncated: bool,
}

/// One socket.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(JsonSchema))]
pub(crate) struct SocketEntry {
    pub(crate) id: String,
    /// The user; null when it is not known.
    pub(crate) user: Option<String>,
    /// The rooms that it is in, its own and its user's left out.
    pub(crate) rooms: Vec<String>,
    /// The node that it is connected to; null for one that is not a gateway.
    pub(crate) node: Option<String>,
    /// `polling`, `websocket` or `webtransport`; null when its node does not tell.
    pub(crate) transport: Option<String>,
    /// When its session was opened; null when its node does not tell.
    #[cfg_attr(test, schemars(extend("format" = "date-time")))]
    pub(crate) connected_at: Option<String>,
    /// The client's address; null when its node does not tell.
    pub(crate) address: Option<String>,
}

/// Rooms, by their names.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(JsonSchema))]
pub(crate) struct Rooms {
    pub(crate) rooms: Vec<RoomEntry>,
    #[serde(flatten)]
    pub(crate) missing: Missing,
    /// The cursor of the next page; null at the end.
    pub(crate) next: Option<String>,
}

/// One room.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(JsonSchema))]
pub(crate) struct RoomEntry {
    pub(crate) name: String,
    pub(crate) members: usize,
}

/// Who is there.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(JsonSchema))]
pub(crate) struct Presence {
    /// Users, by their names; none with `counts=true`.
    pub(crate) users: Vec<UserEntry>,
    /// Sockets without a user.
    pub(crate) anonymous: usize,
    /// All users.
    pub(crate) user_count: usize,
    /// All sockets.
    pub(crate) socket_count: usize,
    #[serde(flatten)]
    pub(crate) missing: Missing,
    /// The cursor of the next page; null at the end.
    pub(crate) next: Option<String>,
}

/// One user.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(JsonSchema))]
pub(crate) struct UserEntry {
    pub(crate) user: String,
    pub(crate) sockets: usize,
}

/// The live nodes.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(JsonSchema))]
pub(crate) struct Nodes {
    pub(crate) nodes: Vec<NodeEntry>,
}

/// One node.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(JsonSchema))]
pub(crate) struct NodeEntry {
    pub(crate) id: String,
    /// Where other nodes reach it.
    pub(crate) address: String,
    pub(crate) version: String,
    pub(crate) connections: u64,
    /// Whether it drains.
    pub(crate) draining: bool,
    /// Whether it is the one that answers.
    #[serde(rename = "self")]
    pub(crate) is_self: bool,
}

/// A page of what is kept of the past.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(JsonSchema))]
pub(crate) struct History {
    /// In their order.
    pub(crate) events: Vec<HistoryEvent>,
    /// What the next page is to be asked for with as `after`; null at the end.
    pub(crate) next: Option<String>,
    /// The offset of the newest event. What comes later is behind it.
    pub(crate) newest: String,
    /// With `after`: whether events between it and the first one of the page are not kept any more. True as well while it
    /// is not known whether a Redis that took over lacks something.
    pub(crate) is_cut: bool,
}

/// One event of the past.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(JsonSchema))]
pub(crate) struct HistoryEvent {
    /// Its place in the order of the namespace.
    pub(crate) offset: String,
    pub(crate) event: String,
    /// Binary is `{"$binary": base64}`.
    #[cfg_attr(test, schemars(with = "Vec<serde_json::Value>"))]
    pub(crate) args: Box<RawValue>,
    /// The rooms that it was for; none if it was for everybody.
    pub(crate) rooms: Vec<String>,
    /// The rooms and sockets that it was not for.
    pub(crate) except: Vec<String>,
}

/// What became of each call, in their order: its own answer, or its error.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(JsonSchema))]
pub(crate) struct Results {
    #[cfg_attr(
        test,
        schemars(with = "Vec<serde_json::Map<String, serde_json::Value>>")
    )]
    pub(crate) results: Vec<Box<RawValue>>,
}
