//! What a backend is sent, and what it replies.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::Data;
use super::lane::{Lane, Queued, Taken};
use crate::backend::api::types::{Emit, List, SharedRoom, User, or_default};
use crate::backend::binary::{BadArguments, ack_from_backend, from_backend};
use crate::backend::event_stream::Entry;
use crate::config::Cookie;
use crate::net::ids::{random_characters, user_of_room};
use crate::net::query::pairs;
use crate::socketio::event::OwnedArguments;
use crate::socketio::socket::Socket;

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
    claims: Option<Box<RawValue>>,
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

/// What a backend replies, read and checked. What is missing changes nothing.
#[derive(Debug, Default)]
pub(super) struct Reply {
    /// The acknowledgement's arguments.
    pub(super) ack: OwnedArguments,
    /// To a connect: it may not.
    pub(super) refuse: Option<Refuse>,
    /// To a connect: whose socket it is.
    pub(super) user: Option<User>,
    /// What is kept with the socket.
    pub(super) data: Data,
    pub(super) actions: Vec<Action>,
    /// To a batch: one reply for each event.
    pub(super) replies: Vec<Self>,
}

/// The same as it is written. Fields of a later version are left alone; null is as if it were absent.
#[derive(Debug, Default, Deserialize)]
struct ReplyText {
    ack: Option<Box<RawValue>>,
    refuse: Option<Refuse>,
    user: Option<User>,
    data: Data,
    #[serde(default, deserialize_with = "or_default")]
    actions: Vec<ActionText>,
    #[serde(default, deserialize_with = "or_default")]
    replies: Vec<Self>,
}

/// Why a client may not connect.
#[derive(Debug, Deserialize)]
pub(super) struct Refuse {
    pub(super) message: String,
    pub(super) data: Data,
}

/// What is to be done.
#[derive(Debug)]
pub(super) enum Action {
    Emit(Box<Emit>, OwnedArguments),
    Join(List<SharedRoom>),
    Leave(List<SharedRoom>),
    Disconnect(bool),
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum ActionText {
    Emit(Box<Emit>),
    Join(List<SharedRoom>),
    Leave(List<SharedRoom>),
    Disconnect(bool),
}

/// Why a reply is none.
#[derive(Debug, thiserror::Error)]
pub(super) enum BadReply {
    #[error(transparent)]
    Json(#[from] serde_json::Error),
    #[error("ack: {0}")]
    Ack(BadArguments),
    #[error("action {number}: {problem}")]
    Action {
        number: usize,
        problem: BadArguments,
    },
    #[error("{found} replies to a batch of {expected}")]
    Replies { found: usize, expected: usize },
    #[error("data is larger than {MAX_DATA} bytes")]
    Data,
}

impl<'a> Call<'a> {
    /// A socket asks to connect. The backend gets the claims of a token that was verified, and not the
    /// token, with which it or its logs could pass for the client. One that nobody has verified is for
    /// the backend to verify.
    pub(super) fn connect(socket: &'a Socket, id: &'a str) -> Self {
        let claims = socket.claims();
        let token = if claims.is_some() {
            Token::LeftOut
        } else {
            Token::Shown
        };
        Self {
            claims: claims.and_then(|claims| claims.text().map(RawValue::to_owned)),
            ..Self::connect_with(socket, id, token)
        }
    }

    fn connect_with(socket: &'a Socket, id: &'a str, token: Token) -> Self {
        let mut handshake = socket.handshake().to_json(None);
        if let Some(fields) = handshake.as_object_mut() {
            fields.remove("auth");
            if token == Token::LeftOut {
                let gateway = socket.gateway();
                let cookie = gateway.node().config().auth.cookie.as_ref();
                leave_credentials_out(fields, cookie.map(Cookie::as_str));
            }
        }
        Self {
            auth: auth(&socket.auth_json(), token),
            handshake: Some(handshake),
            ..Self::new(Kind::Connect, socket, id, socket.rooms(), None)
        }
    }

    /// A socket has connected, for the stream: what is written there stays, so no token is.
    pub(super) fn connected(socket: &'a Socket, lane: &Lane, id: &'a str) -> Self {
        let claims = socket.claims();
        let call = Self {
            claims: claims.and_then(|claims| claims.text().map(RawValue::to_owned)),
            ..Self::connect_with(socket, id, Token::LeftOut)
        };
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
            claims: None,
            handshake: None,
            reason: None,
            events: None,
        }
    }

    pub(super) fn id(&self) -> &str {
        self.id
    }

    /// What it is about, for the log: the event's name, or the kind of request.
    pub(super) fn about(&self) -> &str {
        self.event.unwrap_or(match self.kind {
            Kind::Connect => "connect",
            Kind::Event => "event",
            Kind::Disconnect => "disconnect",
            Kind::Batch => "batch",
        })
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

/// Whether a backend sees the token that the client showed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token {
    Shown,
    LeftOut,
}

/// The payload of `CONNECT`.
fn auth(text: &str, token: Token) -> Option<Box<RawValue>> {
    if token == Token::Shown {
        return RawValue::from_string(text.to_owned()).ok();
    }
    // Values stay as they were written, also those that no parser but JavaScript's takes.
    let mut fields: BTreeMap<String, &RawValue> = serde_json::from_str(text).ok()?;
    fields.remove("token");
    serde_json::value::to_raw_value(&fields).ok()
}

/// What a request may carry a token in besides.
fn leave_credentials_out(
    handshake: &mut serde_json::Map<String, serde_json::Value>,
    cookie: Option<&str>,
) {
    if let Some(headers) = handshake
        .get_mut("headers")
        .and_then(|it| it.as_object_mut())
    {
        headers.retain(|name, _| !name.eq_ignore_ascii_case("authorization"));
        if let Some(cookie) = cookie
            && let Some(serde_json::Value::String(cookies)) = headers.get_mut("cookie")
        {
            let is_other = |pair: &&str| pair.split('=').next().map(str::trim) != Some(cookie);
            let others = cookies.split(';').filter(is_other).map(str::trim);
            *cookies = others.collect::<Vec<_>>().join("; ");
        }
        if headers.get("cookie").and_then(|it| it.as_str()) == Some("") {
            headers.remove("cookie");
        }
    }
    if let Some(query) = handshake.get_mut("query").and_then(|it| it.as_object_mut()) {
        query.remove("token");
    }
    if let Some(serde_json::Value::String(url)) = handshake.get_mut("url") {
        *url = without_token(url);
    }
}

/// A request's target without the parameter `token`, however its name is written.
fn without_token(url: &str) -> String {
    let Some((path, query)) = url.split_once('?') else {
        return url.to_owned();
    };
    let is_token = |pair: &str| pairs(pair).any(|(name, _)| name == "token");
    let kept: Vec<&str> = query.split('&').filter(|pair| !is_token(pair)).collect();
    format!("{path}?{}", kept.join("&"))
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

/// What frameworks send when a handler returns nothing, or only that it is done.
const NOTHING: [&[u8]; 6] = [b"", b"ok", b"\"ok\"", b"null", b"true", b"[]"];

impl Reply {
    /// Reads the reply to a request, or to a batch of so many events. Nothing is a reply, too. What is
    /// returned can be done: it was checked whole.
    pub(super) fn read(body: &[u8], batch: Option<usize>) -> Result<Self, BadReply> {
        let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
        let body = body.trim_ascii();
        let text = if NOTHING.iter().any(|text| body.eq_ignore_ascii_case(text)) {
            ReplyText::default()
        } else {
            serde_json::from_slice(body)?
        };
        let mut reply = Self::check(text)?;
        let expected = batch.unwrap_or(0);
        if reply.replies.is_empty() && reply.is_nothing() {
            reply.replies.resize_with(expected, Self::default);
        }
        let found = reply.replies.len();
        if found != expected {
            return Err(BadReply::Replies { found, expected });
        }
        Ok(reply)
    }

    fn check(text: ReplyText) -> Result<Self, BadReply> {
        let size = text.data.as_ref().map_or(0, |data| data.get().len());
        if size > MAX_DATA {
            return Err(BadReply::Data);
        }
        let actions = text.actions.into_iter().enumerate();
        let actions = actions.map(|(index, action)| {
            action.check().map_err(|problem| BadReply::Action {
                number: index + 1,
                problem,
            })
        });
        Ok(Self {
            ack: ack_from_backend(text.ack.as_deref()).map_err(BadReply::Ack)?,
            refuse: text.refuse,
            user: text.user,
            data: text.data,
            actions: actions.collect::<Result<_, _>>()?,
            replies: text
                .replies
                .into_iter()
                .map(Self::check)
                .collect::<Result<_, _>>()?,
        })
    }

    /// Whether nothing is to be done.
    fn is_nothing(&self) -> bool {
        self.actions.is_empty() && self.data.is_none() && self.ack == OwnedArguments::default()
    }
}

impl ActionText {
    fn check(self) -> Result<Action, BadArguments> {
        Ok(match self {
            Self::Emit(emit) => {
                let arguments = from_backend(emit.args.as_deref())?;
                Action::Emit(emit, arguments)
            }
            Self::Join(rooms) => Action::Join(rooms),
            Self::Leave(rooms) => Action::Leave(rooms),
            Self::Disconnect(disconnect) => Action::Disconnect(disconnect),
        })
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
    fn nothing_is_a_reply_and_so_is_what_frameworks_make_of_it() {
        for body in [
            "",
            " {} ",
            "ok",
            "OK\n",
            "\"OK\"",
            "null",
            "[]",
            "true",
            "\u{feff}{}",
        ] {
            let reply = Reply::read(body.as_bytes(), None).unwrap();
            assert!(reply.is_nothing() && reply.refuse.is_none(), "{body:?}");
            let replies = Reply::read(body.as_bytes(), Some(3)).unwrap().replies;
            assert_eq!(replies.len(), 3, "{body:?}");
        }
        for body in [
            "false",
            "no",
            "<html></html>",
            "[1]",
            "{",
            "\"refused\"",
            "7",
        ] {
            assert!(Reply::read(body.as_bytes(), None).is_err(), "{body:?}");
        }
    }

    #[test]
    fn what_the_gateway_verified_is_left_out_wherever_a_token_may_stand() {
        let shown = r#"{"name":"\ud800","number":1.10,"token":"t"}"#;
        let left = auth(shown, Token::LeftOut).unwrap();
        assert_eq!(left.get(), r#"{"name":"\ud800","number":1.10}"#);
        for (url, left) in [
            ("/socket.io/?EIO=4&token=t&a=1", "/socket.io/?EIO=4&a=1"),
            (
                "/socket.io/?%74oken=t&token=u&tokens=1",
                "/socket.io/?tokens=1",
            ),
            ("/socket.io/", "/socket.io/"),
        ] {
            assert_eq!(without_token(url), left);
        }
    }

    #[test]
    fn null_is_absent_and_fields_of_a_later_version_are_left_alone() {
        let reply = br#"{"ack":null,"refuse":null,"user":null,"data":null,"actions":null,
            "replies":null,"trace":{"id":1}}"#;
        assert!(Reply::read(reply, None).unwrap().is_nothing());
        let reply = br#"{"refuse":{"message":"no","data":null,"hint":1}}"#;
        assert_eq!(
            Reply::read(reply, None).unwrap().refuse.unwrap().message,
            "no"
        );
        let reply = br#"{"actions":[{"emit":{"rooms":null,"event":"x","args":null}}]}"#;
        assert!(Reply::read(reply, None).is_ok());
    }

    #[test]
    fn an_ack_that_is_no_list_is_one_argument() {
        for (ack, arguments) in [
            (r#"{"ok":true}"#, r#"{"ok":true}"#),
            ("\"done\"", "\"done\""),
            ("0", "0"),
            ("false", "false"),
            ("[1, 2]", "1, 2"),
            ("[]", ""),
            ("null", ""),
        ] {
            let reply = format!(r#"{{"ack":{ack}}}"#);
            let reply = Reply::read(reply.as_bytes(), None).unwrap();
            assert_eq!(reply.ack.as_ref().json(), arguments, "{ack}");
        }
        let reply = Reply::read(br#"{"ack":{"$binary":"AAE="}}"#, None).unwrap();
        assert_eq!(reply.ack.as_ref().attachments(), [&[0, 1][..]]);
    }

    #[test]
    fn a_user_may_be_a_number() {
        for (user, name) in [("\"ann\"", "ann"), ("42", "42"), ("-1", "-1")] {
            let reply = format!(r#"{{"user":{user}}}"#);
            let reply = Reply::read(reply.as_bytes(), None).unwrap();
            assert_eq!(reply.user.unwrap().0, name);
        }
        for user in ["1.5", "\"\"", "true", "{}"] {
            let reply = format!(r#"{{"user":{user}}}"#);
            assert!(Reply::read(reply.as_bytes(), None).is_err(), "{user}");
        }
    }

    #[test]
    fn what_is_wrong_in_one_place_makes_the_whole_reply_wrong() {
        let problem = |reply: &str| Reply::read(reply.as_bytes(), None).unwrap_err().to_string();
        let wrong = r#"{"actions":[{"join":["r"]},{"emit":{"event":"x","args":{"a":1}}}]}"#;
        assert_eq!(problem(wrong), "action 2: arguments are a JSON array");
        let wrong = r#"{"ack":[{"$binary":"?"}],"actions":[{"join":["r"]}]}"#;
        assert_eq!(problem(wrong), "ack: the value of $binary is not base64");
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
        assert_eq!(reply.ack.as_ref().json(), r#"{"ok":true}, 1.0"#);
        assert!(matches!(
            reply.actions.as_slice(),
            [
                Action::Emit(..),
                Action::Join(_),
                Action::Leave(_),
                Action::Disconnect(true)
            ]
        ));
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for reply in [
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
