//! The OpenAPI file, made from the table of calls; a test holds docs/openapi.json against it.

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::{Map, Value, json};

use super::answers::{
    Changed, Emitted, History, Nodes, Presence, Reloaded, Results, Rooms, Sockets,
};
use super::blocks::{Barred, Block, Blocks, Revocations, Revoke, Unblock, Unrevoke};
use super::calls::{CALLS, Call, Parameter};
use super::handle::{MAX_CURSOR, MAX_LIMIT, USUAL_LIMIT};
use super::rebalance::{Rebalance, Rebalanced};
use super::requests::{Batch, Disconnect, Move, Reload};
use super::top::TopAnswer;
use super::trace::TraceLine;
use crate::backend::words::{Emit, Failure, NamespaceName, RoomName, User};
use crate::count::Label;
use crate::count::{CallName, Code};

/// What an offset looks like, or nothing.
const OFFSET: &str = r"^([A-Za-z0-9_-]{8}\.[0-8][0-9]{15}(~[0-8][0-9]{15})?)?$";

/// The calls that change who may connect.
const CHANGES: [CallName; 4] = [
    CallName::Block,
    CallName::Unblock,
    CallName::Revoke,
    CallName::Unrevoke,
];

/// The whole document.
fn document() -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.definitions_path = "/components/schemas".into();
        settings.meta_schema = None;
    });
    let mut generator = settings.into_generator();
    let mut paths = Map::new();
    for call in CALLS {
        let operation = operation(call, &mut generator);
        let path = format!("/api/v1/{}", call.path);
        paths.insert(path, json!({call.method.to_lowercase(): operation}));
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Gateway",
            "version": env!("CARGO_PKG_VERSION"),
            "summary": "What backends do by themselves: emit, move and disconnect sockets, ask who is there.",
            "description": "It is served on the internal port and acts on the whole cluster. Nodes \
                that did not answer are named in `missing_nodes`.",
            "license": {"name": "MIT OR Apache-2.0"},
        },
        "servers": [{"url": "http://127.0.0.1:3001"}],
        "security": [{"key": []}],
        "paths": paths,
        "components": {
            "securitySchemes": {
                "key": {"type": "http", "scheme": "bearer", "description": "A key of `api.key`."},
            },
            "schemas": generator.take_definitions(true),
        },
    })
}

fn operation(call: &Call, generator: &mut SchemaGenerator) -> Value {
    let mut parameters: Vec<_> = call
        .query
        .iter()
        .map(|parameter| parameter.document(generator))
        .collect();
    let mut refusals = vec![
        Code::BadRequest,
        Code::Unauthorized,
        Code::TooManyRequests,
        Code::Overloaded,
    ];
    if call.query.contains(&Parameter::After) {
        refusals.push(Code::NoHistory);
    }
    if call.name == CallName::Reload {
        refusals.push(Code::BadConfiguration);
    }
    if CHANGES.contains(&call.name) {
        refusals.push(Code::NotEverywhere);
    }
    let (body, answer) = schemas(call.name);
    assert_eq!(body.is_some(), call.has_body());
    if call.has_body() {
        refusals.extend([Code::BodyTooLarge, Code::IdempotencyConflict]);
        parameters.push(json!({
            "name": "Idempotency-Key",
            "in": "header",
            "description": "The call is done once for each key; a repetition within 10 minutes \
                gets the first answer. Each node remembers for itself.",
            "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$"},
        }));
    }
    let failure = generator.subschema_for::<Failure>();
    let mut responses = Map::new();
    for code in refusals {
        let content = json!({"application/json": {"schema": failure}});
        let response = json!({"description": code.meaning(), "content": content});
        responses.insert(code.status().as_str().to_owned(), response);
    }
    let answer = answer(generator);
    let kind = match call.query.contains(&Parameter::For) {
        true => "application/x-ndjson",
        false => "application/json",
    };
    let content = json!({kind: {"schema": answer}});
    responses.insert(
        "200".to_owned(),
        json!({"description": "Done.", "content": content}),
    );
    let mut operation = json!({
        "operationId": call.name.label(),
        "summary": call.summary,
        "parameters": parameters,
        "responses": responses,
    });
    if let Some(body) = body {
        let content = json!({"application/json": {"schema": body(generator)}});
        operation["requestBody"] = json!({"required": true, "content": content});
    }
    operation
}

type Make = fn(&mut SchemaGenerator) -> Schema;

/// What the body of a call is, if it has one, and what its answer is.
fn schemas(call: CallName) -> (Option<Make>, Make) {
    match call {
        CallName::Emit => (Some(schema::<Emit>), schema::<Emitted>),
        CallName::Join => (Some(schema::<Move>), schema::<Changed>),
        CallName::Leave => (Some(schema::<Move>), schema::<Changed>),
        CallName::Disconnect => (Some(schema::<Disconnect>), schema::<Changed>),
        CallName::Batch => (Some(schema::<Batch>), schema::<Results>),
        CallName::Sockets => (None, schema::<Sockets>),
        CallName::Rooms => (None, schema::<Rooms>),
        CallName::Presence => (None, schema::<Presence>),
        CallName::Nodes => (None, schema::<Nodes>),
        CallName::History => (None, schema::<History>),
        CallName::Top => (None, schema::<TopAnswer>),
        CallName::Trace => (None, schema::<TraceLine>),
        CallName::Reload => (Some(schema::<Reload>), schema::<Reloaded>),
        CallName::Rebalance => (Some(schema::<Rebalance>), schema::<Rebalanced>),
        CallName::Block => (Some(schema::<Block>), schema::<Barred>),
        CallName::Unblock => (Some(schema::<Unblock>), schema::<Barred>),
        CallName::Blocks => (None, schema::<Blocks>),
        CallName::Revoke => (Some(schema::<Revoke>), schema::<Barred>),
        CallName::Unrevoke => (Some(schema::<Unrevoke>), schema::<Barred>),
        CallName::Revocations => (None, schema::<Revocations>),
    }
}

fn schema<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<T>()
}

impl Parameter {
    fn document(self, generator: &mut SchemaGenerator) -> Value {
        let (description, schema) = match self {
            Self::Namespace => (
                "The namespace.",
                generator.subschema_for::<NamespaceName>().to_value(),
            ),
            Self::Room => (
                "Only members of this room.",
                generator.subschema_for::<RoomName>().to_value(),
            ),
            Self::PastRoom => (
                "The room; without it, what was for everybody.",
                generator.subschema_for::<RoomName>().to_value(),
            ),
            Self::After => (
                "Events behind this offset, the oldest first; empty: from the oldest that is kept. \
                 Without it the last events come.",
                json!({"type": "string", "pattern": OFFSET}),
            ),
            Self::User => (
                "Only sockets of this user.",
                generator.subschema_for::<User>().to_value(),
            ),
            Self::Limit => (
                "Most entries of the page.",
                json!({"type": "integer", "minimum": 1, "maximum": MAX_LIMIT, "default": USUAL_LIMIT}),
            ),
            Self::Cursor => (
                "What `next` was in the page before; empty for the first.",
                json!({"type": "string", "maxLength": MAX_CURSOR}),
            ),
            Self::TracedUser => (
                "Trace the sockets of this user, and those that connect.",
                generator.subschema_for::<User>().to_value(),
            ),
            Self::TracedSocket => (
                "Trace the socket of this id, and what else uses its connection.",
                json!({"type": "string", "minLength": 20, "maxLength": 20}),
            ),
            Self::TracedRoom => (
                "Trace who joins and leaves this room, and events for it.",
                generator.subschema_for::<RoomName>().to_value(),
            ),
            Self::TracedAddress => (
                "Trace connections from this address, refused ones too.",
                json!({"type": "string", "anyOf": [{"format": "ipv4"}, {"format": "ipv6"}]}),
            ),
            Self::Arguments => (
                "Show the beginning of the arguments of events; tokens are left out.",
                json!({"type": "boolean", "default": false}),
            ),
            Self::For => (
                "How long the trace lasts, an hour at most, such as 90s.",
                json!({"type": "string", "default": "10m", "examples": ["90s"]}),
            ),
            Self::Counts => (
                "Only count, do not list.",
                json!({"type": "boolean", "default": false}),
            ),
        };
        json!({
            "name": self.name(), "in": "query", "description": description, "schema": schema,
        })
    }
}

impl Code {
    fn meaning(self) -> &'static str {
        match self {
            Self::BadRequest => "The request is wrong.",
            Self::Unauthorized => "The key is missing or wrong.",
            Self::NotFound => "There is no such call.",
            Self::NoHistory => "The namespace has no recovery, so nothing of it is kept.",
            Self::MethodNotAllowed => "The call has another method.",
            Self::IdempotencyConflict | Self::InProgress => {
                "The idempotency key belongs to another call, or to one that is under way."
            }
            Self::BodyTooLarge => "The body is larger than `api.max_body`.",
            Self::TooManyRequests => "Too many requests at a time.",
            Self::Overloaded => "The node has too much to do.",
            Self::BadConfiguration => "The settings are wrong, and nothing is changed.",
            Self::Unavailable => "Redis did not confirm it.",
            Self::NotEverywhere => {
                "It is kept, and the nodes that the message names did not confirm it."
            }
            Self::Full => "As many users and tokens are kept out as can be.",
        }
    }
}

/// With `UPDATE_OPENAPI` set, writes the file.
#[test]
fn the_openapi_file_is_made_from_the_table_of_calls() {
    let text = format!("{:#}\n", document());
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/openapi.json");
    if std::env::var_os("UPDATE_OPENAPI").is_some() {
        std::fs::write(file, &text).unwrap();
    }
    let kept = std::fs::read_to_string(file).unwrap_or_default();
    assert!(
        kept == text,
        "docs/openapi.json is old: run the test with UPDATE_OPENAPI=1"
    );
}
