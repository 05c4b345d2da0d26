//! The schemas of names and durations, for the OpenAPI file.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use super::{Lasts, MAX_REASON, Reason, TokenName};
use crate::users::MAX_TOKEN_NAME;

/// How such durations are written, but for large numbers in small units.
const LASTS: &str = "^([1-9][0-9]{3,10} ?ms|[1-9][0-9]{0,7} ?s|[1-9][0-9]{0,5} ?m|[1-9][0-9]{0,3} ?h|[1-9][0-9]{0,2} ?d|[12][0-9]{3} ?d|3[0-5][0-9]{2} ?d)$";

/// A name of a token, or a user, and what goes with it.
pub(super) fn one_of_them() -> serde_json::Value {
    serde_json::json!([
        {
            "required": ["jti"],
            "properties": {
                "jti": {"type": "string"},
                "user": {"type": "null"},
                "issued_until": {"type": "null"},
            },
        },
        {
            "required": ["user"],
            "properties": {"jti": {"type": "null"}, "user": {"type": "string"}},
        },
    ])
}

impl JsonSchema for TokenName {
    fn schema_name() -> Cow<'static, str> {
        "TokenName".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "The name of a token, its claim `jti`.",
            "type": "string", "minLength": 1, "maxLength": MAX_TOKEN_NAME,
        })
    }
}

impl JsonSchema for Lasts {
    fn schema_name() -> Cow<'static, str> {
        "Lasts".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A duration from 1s to 3660d: a number and ms, s, m, h or d.",
            "type": "string", "pattern": LASTS, "examples": ["12h"],
        })
    }
}

impl JsonSchema for Reason {
    fn schema_name() -> Cow<'static, str> {
        "Reason".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A sentence for clients.",
            "type": "string", "maxLength": MAX_REASON,
        })
    }
}
