//! What callers send and get. The schemas of the OpenAPI file come from these types.

use std::borrow::Cow;
use std::time::Duration;

use protocol::socketio::is_reserved;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;

use crate::net::ids::{is_id_shaped, user_of_room, user_room};
use crate::socketio::claims::MAX_USER_BYTES;

/// Most characters of a name.
pub(crate) const MAX_NAME: usize = 512;

/// Most names in a list.
const MAX_NAMES: usize = 1000;

/// Most calls of a batch.
pub(crate) const MAX_BATCH: usize = 100;

/// An event for some sockets.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Emit {
    #[serde(default, deserialize_with = "or_default")]
    #[schemars(with = "Option<Namespace>")]
    pub(crate) namespace: Namespace,
    /// Members of these rooms get it: everybody when it is absent, nobody when it is empty. The id
    /// of a socket is the room of that socket.
    pub(crate) rooms: Option<List<Room>>,
    /// Members of these rooms do not.
    #[serde(default, deserialize_with = "or_default")]
    #[schemars(with = "Option<List<Room>>")]
    pub(crate) except: List<Room>,
    pub(crate) event: EventName,
    /// The arguments; binary is `{"$binary":"<base64>"}`.
    #[schemars(with = "Option<Vec<serde_json::Value>>")]
    pub(crate) args: Option<Box<RawValue>>,
    /// Only clients that can be written to at once get it.
    #[serde(default, deserialize_with = "or_default")]
    #[schemars(with = "Option<bool>")]
    pub(crate) volatile: bool,
    /// Wait so long for the clients' acknowledgements, and answer with them.
    pub(crate) ack_timeout: Option<Timeout>,
}

/// Rooms that sockets join or leave.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Move {
    #[serde(default, deserialize_with = "or_default")]
    #[schemars(with = "Option<Namespace>")]
    pub(crate) namespace: Namespace,
    pub(crate) select: Select,
    #[schemars(length(min = 1))]
    pub(crate) rooms: List<SharedRoom>,
}

/// Sockets that are disconnected.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Disconnect {
    #[serde(default, deserialize_with = "or_default")]
    #[schemars(with = "Option<Namespace>")]
    pub(crate) namespace: Namespace,
    pub(crate) select: Select,
    /// Also close their sessions, with all their namespaces.
    #[serde(default, deserialize_with = "or_default")]
    #[schemars(with = "Option<bool>")]
    pub(crate) close: bool,
}

/// Several calls, done in their order.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Batch {
    #[schemars(with = "Vec<BatchCall>", length(min = 1, max = MAX_BATCH))]
    pub(crate) calls: Vec<Box<RawValue>>,
}

/// One call of a batch: its name in `call`, beside what it takes.
#[derive(JsonSchema)]
#[schemars(untagged)]
#[expect(dead_code, reason = "it describes what is read in two steps")]
pub(crate) enum BatchCall {
    Emit(Named<EmitName, Emit>),
    Join(Named<JoinName, Move>),
    Leave(Named<LeaveName, Move>),
    Disconnect(Named<DisconnectName, Disconnect>),
}

/// The sockets that a call concerns.
#[derive(Debug, Deserialize)]
#[serde(try_from = "SelectFields")]
pub(crate) enum Select {
    /// Everybody in the namespace.
    All,
    /// The members of these rooms: nobody when there are none.
    Rooms(Vec<String>),
}

/// The same as it is written: all that any of these selects.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SelectFields {
    sockets: Option<List<SocketName>>,
    rooms: Option<List<Room>>,
    user: Option<User>,
    all: Option<bool>,
}

/// A list that is not too long.
#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "Vec<T>", bound = "T: Deserialize<'de>")]
pub(crate) struct List<T>(pub(crate) Vec<T>);

/// A namespace.
#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Namespace(pub(crate) String);

/// A room.
#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Room(pub(crate) String);

/// A room that does not belong to one user. Callers are trusted with rooms of sockets.
#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct SharedRoom(pub(crate) String);

/// The id of a socket.
#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct SocketName(pub(crate) String);

/// A user; a number stands for its digits, as databases have them.
#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "TextOrInteger")]
pub(crate) struct User(pub(crate) String);

#[derive(Deserialize)]
#[serde(untagged)]
enum TextOrInteger {
    Text(String),
    Positive(u64),
    Negative(i64),
}

/// The name of an event that may be emitted.
#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct EventName(pub(crate) String);

/// A duration of up to a minute: `500ms`, `2s`, `1m`.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Timeout(pub(crate) Duration);

/// It is done on every node that is not named.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Changed {
    /// Always true.
    pub(crate) ok: bool,
    /// Nodes that did not say in time that they have done it; left out if there are none. Node
    /// servers never say.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "Option<Vec<String>>")]
    pub(crate) missing_nodes: Vec<String>,
}

/// The answer to an emit.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Emitted {
    /// Always true.
    pub(crate) ok: bool,
    /// With `ack_timeout`: for each acknowledgement its arguments.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Vec<Vec<serde_json::Value>>>")]
    pub(crate) acks: Option<Vec<Box<RawValue>>>,
    /// With `ack_timeout`: how many were asked and did not answer in time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) missing_acks: Option<usize>,
    /// With `ack_timeout`: nodes that did not say which clients they asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) missing_nodes: Option<Vec<String>>,
}

/// Sockets, by their ids.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Sockets {
    pub(crate) sockets: Vec<SocketEntry>,
    #[serde(flatten)]
    pub(crate) missing: Missing,
    /// The cursor of the next page; null at the end.
    pub(crate) next: Option<String>,
}

/// Who did not answer; what they know is not told here.
#[derive(Debug, Clone, Serialize, JsonSchema)]
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
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct SocketEntry {
    pub(crate) id: String,
    /// The user; null when it is not known.
    pub(crate) user: Option<String>,
    /// The rooms that it is in, its own and its user's left out.
    pub(crate) rooms: Vec<String>,
    /// The node that it is connected to; null for one that is not a gateway.
    pub(crate) node: Option<String>,
    /// `polling` or `websocket`; null when its node does not tell.
    pub(crate) transport: Option<String>,
    /// When its session was opened; null when its node does not tell.
    #[schemars(extend("format" = "date-time"))]
    pub(crate) connected_at: Option<String>,
    /// The client's address; null when its node does not tell.
    pub(crate) address: Option<String>,
}

/// Rooms, by their names.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Rooms {
    pub(crate) rooms: Vec<RoomEntry>,
    #[serde(flatten)]
    pub(crate) missing: Missing,
    /// The cursor of the next page; null at the end.
    pub(crate) next: Option<String>,
}

/// One room.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct RoomEntry {
    pub(crate) name: String,
    pub(crate) members: usize,
}

/// Who is there.
#[derive(Debug, Serialize, JsonSchema)]
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
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct UserEntry {
    pub(crate) user: String,
    pub(crate) sockets: usize,
}

/// The live nodes.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Nodes {
    pub(crate) nodes: Vec<NodeEntry>,
}

/// One node.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct NodeEntry {
    pub(crate) id: String,
    /// Where other nodes reach it.
    pub(crate) address: String,
    pub(crate) version: String,
    pub(crate) connections: u64,
    /// Whether it is the one that answers.
    #[serde(rename = "self")]
    pub(crate) is_self: bool,
}

/// What became of each call, in their order: its own answer, or its error.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Results {
    #[schemars(with = "Vec<serde_json::Map<String, serde_json::Value>>")]
    pub(crate) results: Vec<Box<RawValue>>,
}

/// What is wrong.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Failure {
    pub(crate) error: Problem,
}

/// What is wrong, for programs and for people.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Problem {
    pub(crate) code: Cow<'static, str>,
    pub(crate) message: String,
}

impl TryFrom<SelectFields> for Select {
    type Error = &'static str;

    fn try_from(fields: SelectFields) -> Result<Self, &'static str> {
        if let Some(all) = fields.all {
            let some = fields.sockets.is_some() || fields.rooms.is_some() || fields.user.is_some();
            return match (all, some) {
                (true, false) => Ok(Self::All),
                (true, true) => Err("select names all, and others beside"),
                (false, _) => Err("all can only be true"),
            };
        }
        if fields.sockets.is_none() && fields.rooms.is_none() && fields.user.is_none() {
            return Err("select names neither sockets, rooms, a user nor all");
        }
        let sockets = fields.sockets.into_iter().flat_map(|list| list.0);
        let rooms = fields.rooms.into_iter().flat_map(|list| list.0);
        let user = fields.user.map(|user| user_room(&user.0));
        let rooms: Vec<_> = sockets
            .map(|socket| socket.0)
            .chain(rooms.map(|room| room.0))
            .chain(user)
            .collect();
        Ok(Self::Rooms(rooms))
    }
}

/// A value that may be null, which is as if it were absent.
pub(crate) fn or_default<'de, T, D>(value: D) -> Result<T, D::Error>
where
    T: Deserialize<'de> + Default,
    D: Deserializer<'de>,
{
    Option::deserialize(value).map(Option::unwrap_or_default)
}

impl<T> Default for List<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl Default for Namespace {
    fn default() -> Self {
        Self("/".to_owned())
    }
}

impl<T> TryFrom<Vec<T>> for List<T> {
    type Error = String;

    fn try_from(list: Vec<T>) -> Result<Self, String> {
        if list.len() > MAX_NAMES {
            return Err(format!("a list has at most {MAX_NAMES} items"));
        }
        Ok(Self(list))
    }
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.chars().count() <= MAX_NAME
}

impl TryFrom<String> for Namespace {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if text.starts_with('/') && is_name(&text) && !text.contains([',', '?']) {
            return Ok(Self(text));
        }
        Err(format!(
            "a namespace begins with /, has at most {MAX_NAME} characters and neither comma nor question mark"
        ))
    }
}

impl TryFrom<String> for Room {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if is_name(&text) {
            return Ok(Self(text));
        }
        Err(format!("a room has a name of 1 to {MAX_NAME} characters"))
    }
}

impl TryFrom<String> for SharedRoom {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let room = Room::try_from(text)?;
        if user_of_room(&room.0).is_some() {
            return Err("rooms that begin with $user: belong to one user each".to_owned());
        }
        Ok(Self(room.0))
    }
}

impl TryFrom<String> for SocketName {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if is_id_shaped(&text) {
            return Ok(Self(text));
        }
        Err("a socket id has 20 characters of A-Z, a-z, 0-9, - and _".to_owned())
    }
}

impl TryFrom<String> for User {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if !text.is_empty() && text.chars().count() <= MAX_USER_BYTES {
            return Ok(Self(text));
        }
        Err(format!(
            "a user has a name of 1 to {MAX_USER_BYTES} characters"
        ))
    }
}

impl TryFrom<TextOrInteger> for User {
    type Error = String;

    fn try_from(user: TextOrInteger) -> Result<Self, String> {
        match user {
            TextOrInteger::Text(text) => text.try_into(),
            TextOrInteger::Positive(number) => Ok(Self(number.to_string())),
            TextOrInteger::Negative(number) => Ok(Self(number.to_string())),
        }
    }
}

impl TryFrom<String> for EventName {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if is_reserved(&text) {
            return Err(format!("{text:?} is a reserved event name"));
        }
        if text.chars().count() > MAX_NAME {
            return Err(format!("an event's name has at most {MAX_NAME} characters"));
        }
        Ok(Self(text))
    }
}

impl TryFrom<String> for Timeout {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let duration = crate::config::duration(&text).ok();
        let plain = !text.starts_with('0') && !text.contains(' ') && text.len() <= "9999ms".len();
        duration
            .filter(|duration| plain && (MIN_TIMEOUT..=MAX_TIMEOUT).contains(duration))
            .map(Self)
            .ok_or_else(|| "a timeout is 1ms to 9999ms, 1s to 60s, or 1m".to_owned())
    }
}

const MIN_TIMEOUT: Duration = Duration::from_millis(1);
const MAX_TIMEOUT: Duration = Duration::from_secs(60);

/// The names of events that are Socket.IO's own.
const RESERVED: [&str; 6] = [
    "connect",
    "connect_error",
    "disconnect",
    "disconnecting",
    "newListener",
    "removeListener",
];

impl<T: JsonSchema> JsonSchema for List<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("List_of_{}", T::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let items = generator.subschema_for::<T>();
        json_schema!({"type": "array", "items": items, "maxItems": MAX_NAMES})
    }
}

impl JsonSchema for Namespace {
    fn schema_name() -> Cow<'static, str> {
        "Namespace".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string", "pattern": "^/[^,?]*$", "maxLength": MAX_NAME, "default": "/",
        })
    }
}

impl JsonSchema for Room {
    fn schema_name() -> Cow<'static, str> {
        "Room".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "minLength": 1, "maxLength": MAX_NAME})
    }
}

impl JsonSchema for SharedRoom {
    fn schema_name() -> Cow<'static, str> {
        "SharedRoom".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A room that does not belong to one user.",
            "type": "string", "minLength": 1, "maxLength": MAX_NAME,
            "not": {"pattern": "^\\$user:"},
        })
    }
}

impl JsonSchema for SocketName {
    fn schema_name() -> Cow<'static, str> {
        "SocketId".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string", "pattern": "^[A-Za-z0-9_-]{20}$", "minLength": 20, "maxLength": 20,
        })
    }
}

impl JsonSchema for User {
    fn schema_name() -> Cow<'static, str> {
        "User".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "minLength": 1, "maxLength": MAX_USER_BYTES})
    }
}

impl JsonSchema for EventName {
    fn schema_name() -> Cow<'static, str> {
        "Event".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "maxLength": MAX_NAME, "not": {"enum": RESERVED}})
    }
}

impl JsonSchema for Timeout {
    fn schema_name() -> Cow<'static, str> {
        "Timeout".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A duration of up to a minute: 500ms, 2s, 1m.",
            "type": "string",
            "pattern": "^([1-9][0-9]{0,3}ms|([1-9]|[1-5][0-9]|60)s|1m)$",
        })
    }
}

/// What selects has to select somebody, and not everybody beside.
impl JsonSchema for Select {
    fn schema_name() -> Cow<'static, str> {
        "Select".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let sockets = generator.subschema_for::<SocketName>();
        let rooms = generator.subschema_for::<Room>();
        let user = generator.subschema_for::<User>();
        let list = |items: &Schema, least: usize| {
            json_schema!({
                "type": "array", "items": items, "minItems": least, "maxItems": MAX_NAMES,
            })
        };
        let some = |name: &str| {
            let properties = json_schema!({
                "sockets": list(&sockets, usize::from(name == "sockets")),
                "rooms": list(&rooms, usize::from(name == "rooms")),
                "user": user,
            });
            json_schema!({
                "type": "object", "additionalProperties": false,
                "properties": properties, "required": [name],
            })
        };
        json_schema!({
            "description": "Whom something concerns: all that any of these selects.",
            "anyOf": [
                some("sockets"), some("rooms"), some("user"),
                {
                    "description": "Everybody.",
                    "type": "object", "additionalProperties": false,
                    "properties": {"all": {"const": true}}, "required": ["all"],
                },
            ],
        })
    }
}

/// A call with its name beside what it takes.
pub(crate) struct Named<N, T>(std::marker::PhantomData<(N, T)>);

/// The name of a call.
pub(crate) trait CallName {
    const NAME: &'static str;
}

pub(crate) struct EmitName;
pub(crate) struct JoinName;
pub(crate) struct LeaveName;
pub(crate) struct DisconnectName;

impl CallName for EmitName {
    const NAME: &'static str = "emit";
}

impl CallName for JoinName {
    const NAME: &'static str = "join";
}

impl CallName for LeaveName {
    const NAME: &'static str = "leave";
}

impl CallName for DisconnectName {
    const NAME: &'static str = "disconnect";
}

impl<N: CallName, T: JsonSchema> JsonSchema for Named<N, T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        N::NAME.into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let mut schema = T::json_schema(generator);
        let name = json_schema!({"const": N::NAME});
        if let Some(properties) = schema
            .get_mut("properties")
            .and_then(|it| it.as_object_mut())
        {
            properties.insert("call".to_owned(), name.to_value());
        }
        let required = schema.ensure_object().entry("required");
        if let Some(required) = required
            .or_insert_with(|| serde_json::json!([]))
            .as_array_mut()
        {
            required.push("call".into());
        }
        schema
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked() {
        assert!(Namespace::try_from("/a".to_owned()).is_ok());
        assert!(Namespace::try_from("a".to_owned()).is_err());
        assert!(Room::try_from(String::new()).is_err());
        assert!(SharedRoom::try_from("a".repeat(20)).is_ok());
        assert!(SharedRoom::try_from("$user:ann".to_owned()).is_err());
        assert!(EventName::try_from("connect".to_owned()).is_err());
        for reserved in RESERVED {
            assert!(is_reserved(reserved), "{reserved}");
        }
    }

    #[test]
    fn timeouts_end_at_a_minute() {
        for text in ["1ms", "9999ms", "1s", "60s", "1m"] {
            assert!(Timeout::try_from(text.to_owned()).is_ok(), "{text}");
        }
        for text in ["", "0s", "01s", "61s", "2m", "1h", "1 s", "5", "10000ms"] {
            assert!(Timeout::try_from(text.to_owned()).is_err(), "{text}");
        }
    }

    #[test]
    fn a_selection_says_whom_it_selects() {
        let rooms = |json: &str| match serde_json::from_str::<Select>(json) {
            Ok(Select::Rooms(rooms)) => Ok(rooms),
            Ok(Select::All) => Ok(vec!["all".to_owned()]),
            Err(error) => Err(error),
        };
        assert_eq!(
            rooms(r#"{"user":"ann","rooms":["a"]}"#).unwrap(),
            ["a", "$user:ann"]
        );
        assert_eq!(rooms(r#"{"all":true,"rooms":null}"#).unwrap(), ["all"]);
        for nobody in [r#"{"rooms":[]}"#, r#"{"sockets":[],"user":null}"#] {
            assert!(rooms(nobody).unwrap().is_empty(), "{nobody}");
        }
        for json in [
            "{}",
            r#"{"all":false}"#,
            r#"{"all":true,"rooms":[]}"#,
            r#"{"user":null}"#,
        ] {
            assert!(rooms(json).is_err(), "{json}");
        }
    }
}
