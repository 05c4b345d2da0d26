//! What callers send. The schemas of the OpenAPI file come from these types.

#[cfg(test)]
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::backend::words::{
    List, NamespaceName, RoomName, SharedRoomName, SocketName, User, or_default,
};
use crate::net::ids::user_room;

#[cfg(test)]
mod schemas;

/// Most calls of a batch.
pub(crate) const MAX_BATCH: usize = 100;

/// Rooms that sockets join or leave.
#[derive(Debug, Deserialize)]
#[cfg_attr(test, derive(JsonSchema))]
#[serde(deny_unknown_fields)]
pub(crate) struct Move {
    #[serde(default, deserialize_with = "or_default")]
    #[cfg_attr(test, schemars(with = "Option<NamespaceName>"))]
    pub(crate) namespace: NamespaceName,
    pub(crate) select: Select,
    #[cfg_attr(test, schemars(length(min = 1)))]
    pub(crate) rooms: List<SharedRoomName>,
}

/// Sockets that are disconnected.
#[derive(Debug, Deserialize)]
#[cfg_attr(test, derive(JsonSchema))]
#[serde(deny_unknown_fields)]
pub(crate) struct Disconnect {
    #[serde(default, deserialize_with = "or_default")]
    #[cfg_attr(test, schemars(with = "Option<NamespaceName>"))]
    pub(crate) namespace: NamespaceName,
    pub(crate) select: Select,
    /// Also close their sessions, with all their namespaces.
    #[serde(default, deserialize_with = "or_default")]
    #[cfg_attr(test, schemars(with = "Option<bool>"))]
    pub(crate) close: bool,
}

/// Settings that are read again.
#[derive(Debug, Deserialize)]
#[cfg_attr(test, derive(JsonSchema))]
#[serde(deny_unknown_fields)]
pub(crate) struct Reload {
    /// Only say what would change.
    #[serde(default, deserialize_with = "or_default")]
    #[cfg_attr(test, schemars(with = "Option<bool>"))]
    pub(crate) dry_run: bool,
}

/// Several calls, done in their order.
#[derive(Debug, Deserialize)]
#[cfg_attr(test, derive(JsonSchema))]
#[serde(deny_unknown_fields)]
pub(crate) struct Batch {
    #[cfg_attr(test, schemars(with = "Vec<schemas::BatchCall>", length(min = 1, max = MAX_BATCH)))]
    pub(crate) calls: Vec<Box<RawValue>>,
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
