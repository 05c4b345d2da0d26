//! The OpenAPI file, made from the table of calls.

use schemars::SchemaGenerator;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use super::blocks;
use super::calls::{CALLS, Call, Parameter};
use super::handle::{MAX_CURSOR, MAX_LIMIT, USUAL_LIMIT};
use crate::backend::words::{Failure, NamespaceName, RoomName, User};
use crate::count::Label;
use crate::count::{CallName, Code};

/// What an offset looks like, or nothing.
const OFFSET: &str = r"^([A-Za-z0-9_-]{8}\.[0-8][0-9]{15}(~[0-8][0-9]{15})?)?$";

/// The whole document.
pub(crate) fn document() -> Value {
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
    if blocks::CHANGES.contains(&call.name) {
        refusals.push(Code::NotEverywhere);
    }
    if call.body.is_some() {
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
    let answer = (call.answer)(generator);
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
    if let Some(body) = call.body {
        let content = json!({"application/json": {"schema": body(generator)}});
        operation["requestBody"] = json!({"required": true, "content": content});
    }
    operation
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
