//! What a backend is sent.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::Serialize;
use serde_json::value::RawValue;

use super::Data;
use super::lane::{Lane, Queued, Taken};
use crate::backend::event_stream::StreamEntry;
use crate::config::Cookie;
use crate::net::ids::{random_characters, user_of_room};
use crate::net::query::pairs;
use crate::otel;
use crate::socketio::socket::Socket;

/// The version of the bodies.
const VERSION: u32 = 1;

/// What a request is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum CallKind {
    Connect,
    Event,
    Disconnect,
    Batch,
}

impl CallKind {
    /// As it is written.
    fn name(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Event => "event",
            Self::Disconnect => "disconnect",
            Self::Batch => "batch",
        }
    }
}

/// The body of a request.
#[derive(Serialize)]
pub(super) struct Call<'a> {
    version: u32,
    id: &'a str,
    #[serde(rename = "type")]
    kind: CallKind,
    node: String,
    namespace: &'a str,
    socket: SocketPart,
    #[serde(skip_serializing_if = "Option::is_none")]
    event: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    args: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ack: Option<bool>,
    /// Whether a client that connects came back to its session; only where there is recovery.
    #[serde(skip_serializing_if = "Option::is_none")]
    recovered: Option<bool>,
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

impl<'a> Call<'a> {
    /// A socket asks to connect. The backend gets the claims of a token that was verified, and not the
    /// token, with which it or its logs could pass for the client. One that nobody has verified is for
    /// the backend to verify.
    pub(super) fn connect(socket: &'a Socket, lane: &Lane, id: &'a str) -> Self {
        let claims = socket.claims();
        let token = if claims.is_some() {
            Token::LeftOut
        } else {
            Token::Shown
        };
        Self {
            claims: claims.and_then(|claims| claims.text().map(RawValue::to_owned)),
            ..Self::connect_with(socket, lane, id, token)
        }
    }

    fn connect_with(socket: &'a Socket, lane: &Lane, id: &'a str, token: Token) -> Self {
        let mut handshake = socket.handshake().to_json(None);
        if let Some(fields) = handshake.as_object_mut() {
            fields.remove("auth");
            if token == Token::LeftOut {
                let settings = socket.session().shard().settings();
                let cookie = settings.auth.cookie.as_ref();
                leave_credentials_out(fields, cookie.map(Cookie::as_str));
            }
        }
        Self {
            auth: auth(&socket.auth_json(), token),
            handshake: Some(handshake),
            recovered: socket.place().map(|_| socket.recovered()),
            ..Self::new(CallKind::Connect, socket, id, socket.rooms(), lane.data())
        }
    }

    /// A socket has connected, for the stream: what is written there stays, so no token is.
    pub(super) fn connected(socket: &'a Socket, lane: &Lane, id: &'a str) -> Self {
        let claims = socket.claims();
        Self {
            claims: claims.and_then(|claims| claims.text().map(RawValue::to_owned)),
            ..Self::connect_with(socket, lane, id, Token::LeftOut)
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
            ..Self::new(CallKind::Event, socket, id, rooms, lane.data())
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
            ..Self::new(CallKind::Disconnect, socket, id, rooms, lane.data())
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
                    ..Self::new(CallKind::Batch, socket, id, rooms, lane.data())
                }
            }
        }
    }

    fn new(
        kind: CallKind,
        socket: &'a Socket,
        id: &'a str,
        rooms: Vec<String>,
        data: Data,
    ) -> Self {
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
            recovered: None,
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
        self.event.unwrap_or(self.kind.name())
    }

    /// What the span of a request for it is called.
    pub(super) fn span_name(&self) -> &'static str {
        match self.kind {
            CallKind::Connect => "webhook connect",
            CallKind::Event => "webhook event",
            CallKind::Disconnect => "webhook disconnect",
            CallKind::Batch => "webhook batch",
        }
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

impl StreamEntry {
    pub(super) fn of(call: &Call<'_>) -> Self {
        Self {
            id: call.id.to_owned(),
            kind: call.kind.name(),
            namespace: call.namespace.to_owned(),
            event: call.event.map(str::to_owned),
            trace: otel::current()
                .filter(|it| it.is_sampled)
                .map(|it| it.to_string()),
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

/// A new id, 120 bits.
pub(super) fn id() -> String {
    let characters = random_characters::<20>();
    characters.into_iter().map(char::from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
