//! The table of the API's calls.

use std::pin::Pin;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::blocks::{self, Barred, Block, NotChanged, Revoke, Unblock, Unrevoke};
use super::error::ApiError;
use super::handle::{self, Query};
use super::history;
use super::rebalance::{self, Rebalance};
use super::requests::{Batch, Disconnect, Move, Reload};
use super::top;
use super::trace;
use crate::backend::words::Emit;
use crate::count::{CallName, Code};
use crate::socketio::Gateway;
use crate::socketio::traced::Reader;

/// A row of the table: all that is known about one call.
pub(super) struct Call {
    pub(super) name: CallName,
    pub(super) method: &'static str,
    /// Behind [`PREFIX`](super::PREFIX).
    pub(super) path: &'static str,
    #[cfg_attr(not(test), expect(dead_code, reason = "the OpenAPI file has it"))]
    pub(super) summary: &'static str,
    pub(super) query: &'static [Parameter],
    run: fn(Gateway, Query, Bytes) -> Running,
}

/// A call under way.
type Running = Pin<Box<dyn Future<Output = Result<Reply, ApiError>> + Send>>;

/// What a call is answered with.
pub(super) enum Reply {
    /// JSON.
    Whole(Bytes),
    /// Lines of JSON, as they come.
    Lines(Box<Reader>),
}

/// What stands in a query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Parameter {
    Namespace,
    Room,
    User,
    Limit,
    Cursor,
    Counts,
    /// The room whose past is asked for.
    PastRoom,
    After,
    /// What a trace follows.
    TracedUser,
    TracedSocket,
    TracedRoom,
    TracedAddress,
    /// Whether a trace shows arguments.
    Arguments,
    /// How long a trace lasts.
    For,
}

impl Parameter {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Namespace => "namespace",
            Self::Room | Self::PastRoom | Self::TracedRoom => "room",
            Self::User | Self::TracedUser => "user",
            Self::TracedSocket => "socket",
            Self::TracedAddress => "address",
            Self::Arguments => "arguments",
            Self::For => "for",
            Self::Limit => "limit",
            Self::Cursor => "cursor",
            Self::Counts => "counts",
            Self::After => "after",
        }
    }
}

/// Every call there is.
pub(super) static CALLS: &[Call] = &[
    Call {
        name: CallName::Emit,
        method: "POST",
        path: "emit",
        summary: "Emit an event to some sockets, and gather their acknowledgements if wanted",
        query: &[],
        run: |gateway, _, body| {
            Box::pin(async move { written(handle::emit(&gateway, read::<Emit>(&body)?).await?) })
        },
    },
    Call {
        name: CallName::Join,
        method: "POST",
        path: "join",
        summary: "Make sockets join rooms; answered when every node reaches them there",
        query: &[],
        run: |gateway, _, body| {
            Box::pin(async move { written(handle::join(&gateway, read::<Move>(&body)?)?.await) })
        },
    },
    Call {
        name: CallName::Leave,
        method: "POST",
        path: "leave",
        summary: "Make sockets leave rooms",
        query: &[],
        run: |gateway, _, body| {
            Box::pin(async move { written(handle::leave(&gateway, read::<Move>(&body)?)?.await) })
        },
    },
    Call {
        name: CallName::Disconnect,
        method: "POST",
        path: "disconnect",
        summary: "Disconnect sockets",
        query: &[],
        run: |gateway, _, body| {
            Box::pin(async move {
                written(handle::disconnect(&gateway, read::<Disconnect>(&body)?).await)
            })
        },
    },
    Call {
        name: CallName::Batch,
        method: "POST",
        path: "batch",
        summary: "Do several calls, one after the other; one that fails does not stop the others",
        query: &[],
        run: |gateway, _, body| {
            Box::pin(async move { written(handle::batch(&gateway, read::<Batch>(&body)?).await?) })
        },
    },
    Call {
        name: CallName::Sockets,
        method: "GET",
        path: "sockets",
        summary: "The sockets of a namespace, of a room, of a user",
        query: &[
            Parameter::Namespace,
            Parameter::Room,
            Parameter::User,
            Parameter::Limit,
            Parameter::Cursor,
        ],
        run: |gateway, query, _| {
            Box::pin(async move { written(handle::sockets(&gateway, query).await) })
        },
    },
    Call {
        name: CallName::Rooms,
        method: "GET",
        path: "rooms",
        summary: "The rooms of a namespace and how many sockets are in each; private rooms are left out",
        query: &[Parameter::Namespace, Parameter::Limit, Parameter::Cursor],
        run: |gateway, query, _| {
            Box::pin(async move { written(handle::rooms(&gateway, query).await) })
        },
    },
    Call {
        name: CallName::Presence,
        method: "GET",
        path: "presence",
        summary: "The users in a room or a namespace and how many sockets each has, or only how many there are",
        query: &[
            Parameter::Namespace,
            Parameter::Room,
            Parameter::Counts,
            Parameter::Limit,
            Parameter::Cursor,
        ],
        run: |gateway, query, _| {
            Box::pin(async move { written(handle::presence(&gateway, query).await?) })
        },
    },
    Call {
        name: CallName::Nodes,
        method: "GET",
        path: "nodes",
        summary: "The live nodes of the cluster",
        query: &[],
        run: |gateway, _, _| Box::pin(async move { written(handle::nodes(&gateway)) }),
    },
    Call {
        name: CallName::History,
        method: "GET",
        path: "history",
        summary: "The events of a room that a namespace with recovery keeps: the last ones, or page by page",
        query: &[
            Parameter::Namespace,
            Parameter::PastRoom,
            Parameter::Limit,
            Parameter::After,
        ],
        run: |gateway, query, _| {
            Box::pin(async move { written(history::history(&gateway, query).await?) })
        },
    },
    Call {
        name: CallName::Top,
        method: "GET",
        path: "top",
        summary: "The rates of all nodes, and the busiest rooms and users; the first call of a while takes a second",
        query: &[],
        run: |gateway, _, _| Box::pin(async move { written(top::top(&gateway).await?) }),
    },
    Call {
        name: CallName::Trace,
        method: "GET",
        path: "trace",
        summary: "What happens to a user, a socket, a room or an address from now on, on all nodes: lines of JSON, as they come",
        query: &[
            Parameter::TracedUser,
            Parameter::TracedSocket,
            Parameter::TracedRoom,
            Parameter::TracedAddress,
            Parameter::Arguments,
            Parameter::For,
        ],
        run: |gateway, query, _| {
            Box::pin(async move { Ok(Reply::Lines(Box::new(trace::open(&gateway, query)?))) })
        },
    },
    Call {
        name: CallName::Reload,
        method: "POST",
        path: "reload",
        summary: "Read the settings of this node again; answered when they are in force, or nothing is changed",
        query: &[],
        run: |gateway, _, body| {
            Box::pin(
                async move { written(handle::reload(&gateway, read::<Reload>(&body)?).await?) },
            )
        },
    },
    Call {
        name: CallName::Rebalance,
        method: "POST",
        path: "rebalance",
        summary: "Ask all nodes to spread connections evenly: those above the mean let go of some, whose clients come back elsewhere",
        query: &[],
        run: |gateway, _, body| {
            Box::pin(async move {
                let asked = rebalance::rebalance(&gateway, read::<Rebalance>(&body)?);
                let alone =
                    || ApiError::new(Code::NotFound, "this node is alone: redis.url is not set");
                written(asked.ok_or_else(alone)?)
            })
        },
    },
    Call {
        name: CallName::Block,
        method: "POST",
        path: "block",
        summary: "Keep a user out: its connections close, and it cannot connect, on every node, before the answer",
        query: &[],
        run: |gateway, _, body| {
            Box::pin(async move { changed(blocks::block(&gateway, read::<Block>(&body)?).await) })
        },
    },
    Call {
        name: CallName::Unblock,
        method: "POST",
        path: "unblock",
        summary: "Let a user in again",
        query: &[],
        run: |gateway, _, body| {
            Box::pin(
                async move { changed(blocks::unblock(&gateway, read::<Unblock>(&body)?).await) },
            )
        },
    },
    Call {
        name: CallName::Blocks,
        method: "GET",
        path: "blocks",
        summary: "The users that are blocked",
        query: &[Parameter::Limit, Parameter::Cursor],
        run: |gateway, query, _| {
            Box::pin(async move {
                written(blocks::blocks(
                    &gateway,
                    query.cursor.as_deref(),
                    query.limit,
                ))
            })
        },
    },
    Call {
        name: CallName::Revoke,
        method: "POST",
        path: "revoke",
        summary: "Refuse a token, or all tokens of a user that were issued until now, on every node, before the answer",
        query: &[],
        run: |gateway, _, body| {
            Box::pin(async move { changed(blocks::revoke(&gateway, read::<Revoke>(&body)?).await) })
        },
    },
    Call {
        name: CallName::Unrevoke,
        method: "POST",
        path: "unrevoke",
        summary: "Take a revoked token, or the tokens of a user, again",
        query: &[],
        run: |gateway, _, body| {
            Box::pin(
                async move { changed(blocks::unrevoke(&gateway, read::<Unrevoke>(&body)?).await) },
            )
        },
    },
    Call {
        name: CallName::Revocations,
        method: "GET",
        path: "revocations",
        summary: "The tokens that are revoked",
        query: &[Parameter::Limit, Parameter::Cursor],
        run: |gateway, query, _| {
            Box::pin(async move {
                written(blocks::revocations(
                    &gateway,
                    query.cursor.as_deref(),
                    query.limit,
                ))
            })
        },
    },
];

impl Call {
    /// Whether a path is that of the call.
    pub(super) fn is_at(&self, path: &str) -> bool {
        path.strip_prefix(super::PREFIX) == Some(self.path)
    }

    /// Whether it takes something in its body.
    pub(super) fn has_body(&self) -> bool {
        self.method == "POST"
    }

    /// Does it.
    pub(super) async fn handle(
        &self,
        gateway: &Gateway,
        query: &str,
        body: Bytes,
    ) -> Result<Reply, ApiError> {
        let query = Query::parse(query, self.query)?;
        (self.run)(gateway.clone(), query, body).await
    }
}

fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, ApiError> {
    serde_json::from_slice(body).map_err(|error| ApiError::bad(error.to_string()))
}

fn changed(outcome: Result<Barred, NotChanged>) -> Result<Reply, ApiError> {
    match outcome {
        Ok(answer) => written(answer),
        Err(error) => Err(ApiError::new(error.code(), error.to_string())),
    }
}

fn written(answer: impl Serialize) -> Result<Reply, ApiError> {
    let text = serde_json::to_vec(&answer);
    let text = text.map_err(|error| ApiError::new(Code::Overloaded, error.to_string()))?;
    Ok(Reply::Whole(text.into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::count::Label;

    #[test]
    fn every_call_has_its_own_row() {
        for (index, name) in CallName::ALL.iter().enumerate() {
            assert_eq!(name.index(), index);
            let rows = CALLS.iter().filter(|call| call.name == *name);
            assert_eq!(rows.count(), 1, "{}", name.label());
        }
        for call in CALLS {
            assert_eq!(call.path, call.name.label());
        }
    }
}
