//! A line of a trace.

use serde::Serialize;

use crate::net::time;

/// Most characters of a name that are shown.
const MAX_SHOWN: usize = 200;

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum What {
    /// A node traces from now on.
    Tracing,
    /// A node does not trace: it does not know how, is not reached, or has too many traces.
    NotTracing,
    /// A socket or a room was there already when the trace began.
    Present,
    /// A session was opened.
    Opened,
    /// A session was not opened, or a request not served.
    Refused,
    /// A session changed its transport, or could not.
    Upgraded,
    UpgradeFailed,
    /// A socket connected to a namespace, or came back to it.
    Connected,
    /// A client may not connect to a namespace.
    ConnectRefused,
    /// A client sent an event, or an acknowledgement.
    Received,
    AckReceived,
    /// A client sent an event that it may not send now, or what is no packet.
    EventRefused,
    Violation,
    /// A client is sent an event, or an acknowledgement.
    Sent,
    AckSent,
    /// A client is not sent an event.
    NotSent,
    Joined,
    Left,
    /// An event was for a room.
    Broadcast,
    /// A backend was asked.
    Webhook,
    Disconnected,
    Closed,
    /// Lines that there should have been.
    Lost,
    /// The trace ends.
    Ended,
}

/// A line of a trace: what happened, and what there is to say of it.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Line {
    at: String,
    node: String,
    what: What,
    #[serde(flatten)]
    pub(crate) more: More,
}

/// What lines say beside time, node and what happened.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct More {
    /// The name that the log has for the session.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) session: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) address: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) transport: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) namespace: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) socket: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) user: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) room: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) event: Option<String>,
    /// The id by which it is acknowledged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ack: Option<u64>,
    /// Of the arguments as JSON, and of what is binary.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) bytes: Option<usize>,
    /// Only where the trace asks for them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) arguments: Option<String>,
    /// Members of a room on one shard, or sockets that an event was given to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) sockets: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) milliseconds: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) lines: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<String>,
}

impl Line {
    /// Something that happens now.
    pub(crate) fn new(what: What) -> Self {
        Self {
            at: time::now_text(),
            node: String::new(),
            what,
            more: More::default(),
        }
    }

    /// The same with what `say` says of it.
    pub(crate) fn with(what: What, say: impl FnOnce(&mut More)) -> Self {
        let mut line = Self::new(what);
        say(&mut line.more);
        line
    }

    /// As it is written for a trace.
    pub(crate) fn to_json(&self, node: &str, arguments: bool) -> String {
        let mut line = self.clone();
        node.clone_into(&mut line.node);
        if !arguments {
            line.more.arguments = None;
        }
        serde_json::to_string(&line).expect("texts and numbers are JSON")
    }
}

/// The beginning of a name, which clients may make as long as a packet.
pub(crate) fn cut(name: &str) -> String {
    match name.char_indices().nth(MAX_SHOWN) {
        Some((end, _)) => format!("{}…", &name[..end]),
        None => name.to_owned(),
    }
}
