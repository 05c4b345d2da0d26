//! What a verified token says about a socket.

use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::config::Pattern;
use crate::users::{Issue, MAX_TOKEN_NAME};

/// Longest name of a user in bytes.
pub(crate) const MAX_USER_BYTES: usize = 256;

/// What a token says about its bearer. What it is silent about is allowed.
///
/// ```
/// use gateway::Socket;
/// use gateway::auth::Right;
///
/// /// Whether the client may read a room; without tokens everybody may.
/// fn may_read(socket: &Socket, room: &str) -> bool {
///     let claims = socket.claims();
///     claims.is_none_or(|claims| claims.allows(Right::Join, room))
/// }
/// ```
#[derive(Debug, Clone)]
pub struct Claims {
    pub(crate) sub: Option<Box<str>>,
    pub(crate) exp: f64,
    pub(crate) namespaces: Option<Patterns>,
    pub(crate) rooms: Option<Vec<Rule>>,
    pub(crate) events: Option<Patterns>,
    /// All of them as they were written, for backends.
    pub(crate) text: Option<Box<RawValue>>,
}

/// What a token may allow in a room.
#[expect(
    clippy::exhaustive_enums,
    reason = "a token and a check name one of these"
)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Right {
    /// To join it.
    Join,
    /// To publish to it.
    Publish,
}

/// Names in which `*` stands for any run of characters.
#[derive(Debug, Clone)]
pub(crate) struct Patterns(pub(crate) Vec<Pattern>);

/// The rights in the rooms of a pattern.
#[derive(Debug, Clone)]
pub(crate) struct Rule {
    pub(crate) rooms: Pattern,
    pub(crate) rights: Vec<Right>,
}

impl Claims {
    /// The user, when the token names one.
    pub fn user(&self) -> Option<&str> {
        self.sub.as_deref()
    }

    /// All claims as the token has them: JSON text.
    pub fn text(&self) -> Option<&RawValue> {
        self.text.as_deref()
    }

    /// When the token expires, in seconds since 1970.
    pub fn expires_at(&self) -> f64 {
        self.exp
    }

    /// What the token says of itself. It is read when somebody wants to know, which is seldom.
    pub(crate) fn issue(&self) -> Issue {
        let text = self.text.as_ref().map_or("{}", |text| text.get());
        let claims: Map<String, Value> = serde_json::from_str(text).unwrap_or_default();
        let name = match claims.get("jti") {
            Some(Value::String(name)) => Some(name.clone()),
            Some(Value::Number(number)) => Some(number.to_string()),
            Some(Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_)) | None => None,
        };
        Issue {
            name: name.filter(|name| name.chars().count() <= MAX_TOKEN_NAME),
            at: claims.get("iat").and_then(Value::as_f64),
        }
    }

    /// Whether its bearer may connect to a namespace.
    pub fn allows_namespace(&self, namespace: &str) -> bool {
        allowed(self.namespaces.as_ref(), namespace)
    }

    /// Whether its bearer may emit an event to the webhook application.
    pub fn allows_event(&self, event: &str) -> bool {
        allowed(self.events.as_ref(), event)
    }

    /// Whether its bearer has a right in a room.
    pub fn allows(&self, right: Right, room: &str) -> bool {
        self.rooms.as_ref().is_none_or(|rules| {
            rules
                .iter()
                .any(|rule| rule.rights.contains(&right) && rule.rooms.matches(room))
        })
    }

    /// Whether its bearer may publish to everybody: as to all rooms (`*`).
    pub fn allows_broadcast(&self) -> bool {
        self.rooms.as_ref().is_none_or(|rules| {
            rules
                .iter()
                .any(|rule| rule.rights.contains(&Right::Publish) && rule.rooms.as_str() == "*")
        })
    }
}

fn allowed(patterns: Option<&Patterns>, name: &str) -> bool {
    patterns.is_none_or(|patterns| patterns.0.iter().any(|pattern| pattern.matches(name)))
}
