//! What is traced, in the words that nodes use among each other.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// What a trace follows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Subject {
    User(String),
    /// The public id of a socket.
    Socket(String),
    Room(String),
    Address(IpAddr),
}

/// What one node tells another of a trace. Keys that are unknown are for later versions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Words {
    pub(crate) of: Subject,
    /// Whether arguments of events are shown.
    #[serde(default)]
    pub(crate) arguments: bool,
    /// For how long, in milliseconds, unless it is said again; 0 to end it.
    pub(crate) lease: u64,
}

impl Words {
    pub(crate) fn to_json(&self) -> String {
        serde_json::to_string(self).expect("names and numbers are JSON")
    }

    /// `None` if they are none that this version understands.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_read_back_and_later_ones_are_not_understood() {
        for (of, text) in [
            (Subject::User("ann".into()), r#"{"user":"ann"}"#),
            (Subject::Socket("x".into()), r#"{"socket":"x"}"#),
            (Subject::Room("r".into()), r#"{"room":"r"}"#),
            (
                Subject::Address([127, 0, 0, 1].into()),
                r#"{"address":"127.0.0.1"}"#,
            ),
        ] {
            let (arguments, lease) = (true, 7);
            let words = Words {
                of,
                arguments,
                lease,
            };
            let written = format!(r#"{{"of":{text},"arguments":true,"lease":7}}"#);
            assert_eq!(words.to_json(), written);
            assert_eq!(Words::parse(&written), Some(words));
        }
        let later = r#"{"of":{"user":"ann"},"lease":7,"later":[]}"#;
        assert!(Words::parse(later).is_some_and(|it| !it.arguments));
        for text in ["", "[]", r#"{"of":{"cookie":"x"},"lease":1}"#] {
            assert_eq!(Words::parse(text), None, "{text}");
        }
    }
}
