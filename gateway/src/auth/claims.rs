//! What a token says.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;

use crate::config::Pattern;

/// Longest name of a user in bytes.
pub const MAX_USER_BYTES: usize = 256;

/// What a token says about its bearer. What it is silent about is allowed.
#[derive(Debug, Clone, Deserialize)]
pub struct Claims {
    #[serde(default, deserialize_with = "user")]
    sub: Option<Box<str>>,
    exp: f64,
    #[serde(default)]
    namespaces: Option<Patterns>,
    #[serde(default, deserialize_with = "rooms")]
    rooms: Option<Vec<Rule>>,
    #[serde(default)]
    events: Option<Patterns>,
    /// All of them as they were written, for backends.
    #[serde(skip)]
    text: Option<Box<RawValue>>,
}

/// What a token may allow in a room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Right {
    /// To join it.
    Join,
    /// To publish to it.
    Publish,
}

/// Names in which `*` stands for any run of characters.
#[derive(Debug, Clone, Deserialize)]
#[serde(from = "Vec<String>")]
struct Patterns(Vec<Pattern>);

/// The rights in the rooms of a pattern.
#[derive(Debug, Clone)]
struct Rule {
    rooms: Pattern,
    rights: Vec<Right>,
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

    /// Keeps the text of the claims of a token that was verified.
    pub(super) fn keep_text_of(&mut self, token: &str) {
        let payload = token.split('.').nth(1);
        let payload = payload.and_then(|payload| URL_SAFE_NO_PAD.decode(payload).ok());
        let text = payload.and_then(|payload| String::from_utf8(payload).ok());
        self.text = text.and_then(|text| RawValue::from_string(text).ok());
    }

    /// When the token expires, in seconds since 1970.
    pub fn expires_at(&self) -> f64 {
        self.exp
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

impl From<Vec<String>> for Patterns {
    fn from(names: Vec<String>) -> Self {
        Self(names.iter().map(|name| Pattern::new(name)).collect())
    }
}

fn user<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Box<str>>, D::Error> {
    let user = Option::<Box<str>>::deserialize(deserializer)?;
    match &user {
        Some(name) if name.is_empty() || name.len() > MAX_USER_BYTES => Err(
            serde::de::Error::custom("a user has a name of 1 to 256 bytes"),
        ),
        Some(_) | None => Ok(user),
    }
}

/// Rights that are not known are somebody else's.
fn rooms<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<Rule>>, D::Error> {
    let rules = Option::<BTreeMap<String, Vec<String>>>::deserialize(deserializer)?;
    let right = |name: &String| match name.as_str() {
        "join" => Some(Right::Join),
        "publish" => Some(Right::Publish),
        _ => None,
    };
    Ok(rules.map(|rules| {
        rules
            .iter()
            .map(|(rooms, rights)| Rule {
                rooms: Pattern::new(rooms),
                rights: rights.iter().filter_map(right).collect(),
            })
            .collect()
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claims(json: &str) -> Claims {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn a_token_without_lists_allows_everything() {
        let claims = claims(r#"{"exp":1}"#);
        assert_eq!(claims.user(), None);
        assert!(claims.allows_namespace("/x") && claims.allows_event("e"));
        assert!(claims.allows(Right::Join, "r") && claims.allows_broadcast());
    }

    #[test]
    fn what_a_list_does_not_name_is_forbidden() {
        let claims = claims(
            r#"{"sub":"ann","exp":1.5,"namespaces":["/","/chat-*"],"events":["say"],
                "rooms":{"chat:*":["join","publish","own"],"news":["join"],"*":["join"]}}"#,
        );
        assert_eq!((claims.user(), claims.expires_at()), (Some("ann"), 1.5));
        assert!(claims.allows_namespace("/chat-1") && !claims.allows_namespace("/admin"));
        assert!(claims.allows_event("say") && !claims.allows_event("shout"));
        assert!(claims.allows(Right::Publish, "chat:1") && !claims.allows(Right::Publish, "news"));
        assert!(claims.allows(Right::Join, "anything") && !claims.allows_broadcast());
    }

    #[test]
    fn claims_of_another_type_are_no_claims() {
        for json in [
            r#"{}"#,
            r#"{"exp":"1"}"#,
            r#"{"exp":1,"sub":7}"#,
            r#"{"exp":1,"sub":""}"#,
            r#"{"exp":1,"namespaces":"/"}"#,
            r#"{"exp":1,"rooms":["a"]}"#,
            r#"{"exp":1,"rooms":{"a":"join"}}"#,
            r#"{"exp":1,"events":{}}"#,
        ] {
            assert!(serde_json::from_str::<Claims>(json).is_err(), "{json}");
        }
    }
}
