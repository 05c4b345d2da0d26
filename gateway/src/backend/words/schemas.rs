//! The schemas of names and values, for the OpenAPI file.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use super::{
    EventName, List, MAX_NAME, MAX_NAMES, NamespaceName, RoomName, SharedRoomName, SocketName,
    Timeout, User,
};
use crate::socketio::claims::MAX_USER_BYTES;

/// The names of events that are Socket.IO's own.
pub(super) const RESERVED: [&str; 6] = [
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

impl JsonSchema for NamespaceName {
    fn schema_name() -> Cow<'static, str> {
        "Namespace".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string", "pattern": "^/[^,?]*$", "maxLength": MAX_NAME, "default": "/",
        })
    }
}

impl JsonSchema for RoomName {
    fn schema_name() -> Cow<'static, str> {
        "Room".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "minLength": 1, "maxLength": MAX_NAME})
    }
}

impl JsonSchema for SharedRoomName {
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
