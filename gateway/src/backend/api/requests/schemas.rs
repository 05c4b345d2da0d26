//! The schemas of what is read in two steps, for the OpenAPI file.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use super::{Disconnect, Move, Select};
use crate::backend::words::{Emit, MAX_NAMES, RoomName, SocketName, User};

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
