//! What a backend is sent, and what it replies.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::Data;
use super::lane::{Lane, Queued, Taken};
use crate::api::types::{Emit, List, SharedRoom, User};
use crate::event_stream::Entry;
use crate::ids::{random_characters, user_of_room};
use crate::socket::Socket;

/// The version of the bodies.
const VERSION: u32 = 1;

/// Most bytes of a backend's data that are kept with a socket.
const MAX_DATA: usize = 64 * 1024;

/// What a request is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Kind {
    Connect,
    Event,
    Disconnect,
    Batch,
}

/// The body of a request.
#[derive(Serialize)]
pub(super) struct Call<'a> {
    version: u32,
    id: &'a str,
    #[serde(rename = "type")]
    kind: Kind,
    node: String,
    namespace: &'a str,
    socket: SocketPart,
    #[serde(skip_serializing_if = "Option::is_none")]
    event: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    args: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ack: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    auth: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    handshake: Option<serde_json::Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    events: Option<Vec<BatchEvent<'a>>>,
}

#[derive(Serialize)]
struct SocketPart {
    id: String,
    user: Option<String>,
    rooms: Vec<String>,
    data: Data,
}

/// An event that shares a request.
#[derive(Serialize)]
struct BatchEvent<'a> {
    id: &'a str,
    event: &'a str,
    args: &'a RawValue,
    ack: bool,
}

/// What a backend replies. What is missing changes nothing.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Reply {
    /// The acknowledgement's arguments.
    pub(super) ack: Option<Box<RawValue>>,
    /// To a connect: it may not.
    pub(super) refuse: Option<Refuse>,
    /// To a connect: whose socket it is.
    pub(super) user: Option<User>,
    /// What is kept with the socket.
    pub(super) data: Data,
    #[serde(default)]
    pub(super) actions: Vec<Action>,
    /// To a batch: one reply for each event.
    #[serde(default)]
    pub(super) replies: Vec<Self>,
}

/// Why a client may not connect.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Refuse {
    pub(super) message: String,
    pub(super) data: Data,
}

/// What is to be done.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Action {
    Emit(Emit),
    Join(List<SharedRoom>),
    Leave(List<SharedRoom>),
    Disconnect(bool),
}

/// Why a reply is none.
#[derive(Debug, thiserror::Error)]
pub(super) enum BadReply {
    #[error(transparent)]
    Json(#[from] serde_json::Error),
    #[error("{found} replies to a batch of {expected}")]
    Replies { found: usize, expected: usize },
    #[error("data is larger than {MAX_DATA} bytes")]
    Data,
}

impl<'a> Call<'a> {
    /// A socket asks to connect.
    pub(super) fn connect(socket: &'a Socket, id: &'a str) -> Self {
        let auth = RawValue::from_string(socket.auth_json().into());
        let mut handshake = socket.handshake().to_json(None);
        if let Some(fields) = handshake.as_object_mut() {
            fields.remove("auth");
        }
        Self {
            auth: auth.ok(),
            handshake: Some(handshake),
            ..Self::new(Kind::Connect, socket, id, socket.rooms(), None)
        }
    }

    /// A socket has connected.
    pub(super) fn connected(socket: &'a Socket, lane: &Lane, id: &'a str) -> Self {
        let call = Self::connect(socket, id);
        Self {
            socket: SocketPart {
                data: lane.data(),
                ..call.socket
            },
            ..call
        }
    }

    /// A client sent an event.
    pub(super) fn event(
        socket: &'a Socket,
        lane: &Lane,
        id: &'a str,
        (event, args): (&'a str, &'a RawValue),
        ack: bool,
    ) -> Self {
        let rooms = lane.last_rooms().unwrap_or_else(|| socket.rooms());
        Self {
            event: Some(event),
            args: Some(args),
            ack: Some(ack),
            ..Self::new(Kind::Event, socket, id, rooms, lane.data())
        }
    }

    /// A socket has gone.
    pub(super) fn disconnect(
        socket: &'a Socket,
        lane: &Lane,
        id: &'a str,
        reason: &'static str,
    ) -> Self {
        let rooms = lane.last_rooms().unwrap_or_else(|| socket.rooms());
        Self {
            reason: Some(reason),
            ..Self::new(Kind::Disconnect, socket, id, rooms, lane.data())
        }
    }

    /// What was taken from a lane.
    pub(super) fn of(socket: &'a Socket, lane: &Lane, taken: &'a Taken) -> Self {
        match taken.queued.as_slice() {
            [Queued::Disconnect { id, reason, .. }] => Self::disconnect(socket, lane, id, reason),
            [
                Queued::Event {
                    id,
                    name,
                    args,
                    ack,
                    ..
                },
            ] => Self::event(socket, lane, id, (name, args), ack.is_some()),
            several => {
                let events: Vec<_> = several.iter().filter_map(BatchEvent::of).collect();
                let id = events.first().map_or("", |event| event.id);
                let rooms = lane.last_rooms().unwrap_or_else(|| socket.rooms());
                Self {
                    events: Some(events),
                    ..Self::new(Kind::Batch, socket, id, rooms, lane.data())
                }
            }
        }
    }

    fn new(kind: Kind, socket: &'a Socket, id: &'a str, rooms: Vec<String>, data: Data) -> Self {
        let user = rooms.iter().find_map(|room| user_of_room(room));
        Self {
            version: VERSION,
            id,
            kind,
            node: socket.gateway().node().name(),
            namespace: socket.namespace(),
            socket: SocketPart {
                id: socket.id().to_string(),
                user: user.map(str::to_owned),
                rooms: rooms
                    .iter()
                    .filter(|room| user_of_room(room).is_none())
                    .cloned()
                    .collect(),
                data,
            },
            event: None,
            args: None,
            ack: None,
            auth: None,
            handshake: None,
            reason: None,
            events: None,
        }
    }

    pub(super) fn id(&self) -> &str {
        self.id
    }

    /// How many replies a batch needs.
    pub(super) fn size(&self) -> Option<usize> {
        self.events.as_ref().map(Vec::len)
    }

    pub(super) fn to_json(&self) -> Bytes {
        // Nothing in it can fail: every key is a string, and raw text is JSON.
        serde_json::to_vec(self).unwrap_or_default().into()
    }
}

impl Entry {
    pub(super) fn of(call: &Call<'_>) -> Self {
        Self {
            id: call.id.to_owned(),
            kind: match call.kind {
                Kind::Connect => "connect",
                Kind::Event => "event",
                Kind::Disconnect => "disconnect",
                Kind::Batch => "batch",
            },
            namespace: call.namespace.to_owned(),
            event: call.event.map(str::to_owned),
            body: call.to_json(),
        }
    }
}

impl<'a> BatchEvent<'a> {
    fn of(queued: &'a Queued) -> Option<Self> {
        match queued {
            Queued::Event {
                id,
                name,
                args,
                ack,
                ..
            } => Some(Self {
                id,
                event: name,
                args,
                ack: ack.is_some(),
            }),
            Queued::Disconnect { .. } => None,
        }
    }
}

impl Reply {
    /// Reads the reply to a request, or to a batch of so many events. Nothing is a reply, too.
    pub(super) fn read(body: &[u8], batch: Option<usize>) -> Result<Self, BadReply> {
        let reply = if body.trim_ascii().is_empty() {
            Self::default()
        } else {
            serde_json::from_slice(body)?
        };
        let expected = batch.unwrap_or(0);
        let found = reply.replies.len();
        if found != expected {
            return Err(BadReply::Replies { found, expected });
        }
        let large = |reply: &Self| {
            reply
                .data
                .as_ref()
                .is_some_and(|it| it.get().len() > MAX_DATA)
        };
        if large(&reply) || reply.replies.iter().any(large) {
            return Err(BadReply::Data);
        }
        Ok(reply)
    }
}

/// A new id, 120 bits.
pub(super) fn id() -> String {
    let characters = random_characters::<20>();
    characters.into_iter().map(char::from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_a_reply() {
        assert!(Reply::read(b"", None).unwrap().actions.is_empty());
        assert!(Reply::read(b" {} ", None).unwrap().ack.is_none());
        assert!(Reply::read(b"ok", None).is_err());
    }

    #[test]
    fn a_reply_carries_actions_in_their_order() {
        let reply = Reply::read(
            br#"{"ack":[{"ok":true}, 1.0],"data":{"n":1},"actions":[
                {"emit":{"rooms":["a"],"event":"x","args":[1,{"$binary":""}]}},
                {"join":["r"]},{"leave":["q"]},{"disconnect":true}]}"#,
            None,
        );
        let reply = reply.unwrap();
        assert_eq!(reply.ack.unwrap().get(), r#"[{"ok":true}, 1.0]"#);
        assert!(matches!(
            reply.actions.as_slice(),
            [
                Action::Emit(_),
                Action::Join(_),
                Action::Leave(_),
                Action::Disconnect(true)
            ]
        ));
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for reply in [
            r#"{"acks":[]}"#,
            r#"{"actions":[{"explode":true}]}"#,
            r#"{"actions":[{"join":["$user:bob"]}]}"#,
            r#"{"actions":[{"emit":{"event":"disconnect"}}]}"#,
            r#"{"replies":[{}]}"#,
        ] {
            assert!(Reply::read(reply.as_bytes(), None).is_err(), "{reply}");
        }
        let large = format!(r#"{{"data":"{}"}}"#, "x".repeat(MAX_DATA));
        assert!(matches!(
            Reply::read(large.as_bytes(), None),
            Err(BadReply::Data)
        ));
    }

    #[test]
    fn a_batch_gets_one_reply_for_each_event() {
        let reply = br#"{"replies":[{"ack":[1]},{}]}"#;
        assert!(Reply::read(reply, Some(2)).is_ok());
        assert!(matches!(
            Reply::read(reply, Some(3)),
            Err(BadReply::Replies {
                found: 2,
                expected: 3
            })
        ));
    }
}
