//! What the HTTP API and webhooks have in common: names and values as they stand in JSON, checked when
//! they are read. Their schemas go into the OpenAPI file.

use std::borrow::Cow;
use std::time::Duration;

use protocol::socketio::is_reserved;
#[cfg(test)]
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;

use crate::net::ids::{is_id_shaped, user_of_room};
use crate::socketio::claims::MAX_USER_BYTES;

#[cfg(test)]
mod schemas;

/// Most characters of a name.
pub(crate) const MAX_NAME: usize = 512;

/// Most names in a list.
pub(super) const MAX_NAMES: usize = 1000;

/// An event for some sockets.
#[derive(Debug, Deserialize)]
#[cfg_attr(test, derive(JsonSchema))]
#[serde(deny_unknown_fields)]
pub(crate) struct Emit {
    #[serde(default, deserialize_with = "or_default")]
    #[cfg_attr(test, schemars(with = "Option<NamespaceName>"))]
    pub(crate) namespace: NamespaceName,
    /// Members of these rooms get it: everybody when it is absent, nobody when it is empty. The id
    /// of a socket is the room of that socket.
    pub(crate) rooms: Option<List<RoomName>>,
    /// Members of these rooms do not.
    #[serde(default, deserialize_with = "or_default")]
    #[cfg_attr(test, schemars(with = "Option<List<RoomName>>"))]
    pub(crate) except: List<RoomName>,
    pub(crate) event: EventName,
    /// The arguments; binary is `{"$binary":"<base64>"}`.
    #[cfg_attr(test, schemars(with = "Option<Vec<serde_json::Value>>"))]
    pub(crate) args: Option<Box<RawValue>>,
    /// Only clients that can be written to at once get it.
    #[serde(default, deserialize_with = "or_default")]
    #[cfg_attr(test, schemars(with = "Option<bool>"))]
    pub(crate) volatile: bool,
    /// Wait so long for the clients' acknowledgements, and answer with them.
    pub(crate) ack_timeout: Option<Timeout>,
}

/// A list that is not too long.
#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "Vec<T>", bound = "T: Deserialize<'de>")]
pub(crate) struct List<T>(pub(crate) Vec<T>);

/// A namespace.
#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct NamespaceName(pub(crate) String);

/// A room.
#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct RoomName(pub(crate) String);

/// A room that does not belong to one user. Callers are trusted with rooms of sockets.
#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct SharedRoomName(pub(crate) String);

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

impl Default for NamespaceName {
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

impl TryFrom<String> for NamespaceName {
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

impl TryFrom<String> for RoomName {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if is_name(&text) {
            return Ok(Self(text));
        }
        Err(format!("a room has a name of 1 to {MAX_NAME} characters"))
    }
}

impl TryFrom<String> for SharedRoomName {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let room = RoomName::try_from(text)?;
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

/// What is wrong.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(JsonSchema))]
pub(crate) struct Failure {
    pub(crate) error: Problem,
}

/// What is wrong, for programs and for people.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(JsonSchema))]
pub(crate) struct Problem {
    pub(crate) code: Cow<'static, str>,
    pub(crate) message: String,
}

impl Failure {
    /// `code` is for programs, `message` for people.
    pub(crate) fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self {
            error: Problem {
                code: code.into(),
                message: message.into(),
            },
        }
    }

    /// As JSON.
    pub(crate) fn to_json(&self) -> Vec<u8> {
        // Nothing in it can fail: it has texts alone.
        serde_json::to_vec(self).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked() {
        assert!(NamespaceName::try_from("/a".to_owned()).is_ok());
        assert!(NamespaceName::try_from("a".to_owned()).is_err());
        assert!(RoomName::try_from(String::new()).is_err());
        assert!(SharedRoomName::try_from("a".repeat(20)).is_ok());
        assert!(SharedRoomName::try_from("$user:ann".to_owned()).is_err());
        assert!(EventName::try_from("connect".to_owned()).is_err());
        for reserved in schemas::RESERVED {
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
}
