//! What callers send. The schemas of the OpenAPI file come from these types.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::backend::words::{
    Emit, List, MAX_NAMES, NamespaceName, RoomName, SharedRoomName, SocketName, User, or_default,
};
use crate::net::ids::user_room;

/// Most calls of a batch.
pub(crate) const MAX_BATCH: usize = 100;

/// Rooms that sockets join or leave.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Move {
    #[serde(default, deserialize_with = "or_default")]
    #[schemars(with = "Option<NamespaceName>")]
    pub(crate) namespace: NamespaceName,
    pub(crate) select: Select,
    #[schemars(length(min = 1))]
    pub(crate) rooms: List<SharedRoomName>,
}

/// Sockets that are disconnected.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Disconnect {
    #[serde(default, deserialize_with = "or_default")]
    #[schemars(with = "Option<NamespaceName>")]
    pub(crate) namespace: NamespaceName,
    pub(crate) select: Select,
    /// Also close their sessions, with all their namespaces.
    #[serde(default, deserialize_with = "or_default")]
    #[schemars(with = "Option<bool>")]
    pub(crate) close: bool,
}

/// Settings that are read again.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Reload {
    /// Only say what would change.
    #[serde(default, deserialize_with = "or_default")]
    #[schemars(with = "Option<bool>")]
    pub(crate) dry_run: bool,
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
    rooms: Option<List<RoomName>>,
    user: Option<User>,
    all: Option<bool>,
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

/// What selects has to select somebody, and not everybody beside.
impl JsonSchema for Select {
    fn schema_name() -> Cow<'static, str> {
        "Select".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let sockets = generator.subschema_for::<SocketName>();
        let rooms = generator.subschema_for::<RoomName>();
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
pub(crate) trait NamedCall {
    const NAME: &'static str;
}

pub(crate) struct EmitName;
pub(crate) struct JoinName;
pub(crate) struct LeaveName;
pub(crate) struct DisconnectName;

impl NamedCall for EmitName {
    const NAME: &'static str = "emit";
}

impl NamedCall for JoinName {
    const NAME: &'static str = "join";
}

impl NamedCall for LeaveName {
    const NAME: &'static str = "leave";
}

impl NamedCall for DisconnectName {
    const NAME: &'static str = "disconnect";
}

impl<N: NamedCall, T: JsonSchema> JsonSchema for Named<N, T> {
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
