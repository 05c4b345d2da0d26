//! How a node tells the others that pages are open.

use serde::{Deserialize, Serialize};

use super::Reach;

/// Most bytes of it.
const MAX_WORDS: usize = 128;

/// Pages are open, in the words that nodes tell each other traces by. Nodes of versions before take it for a trace
/// that they do not understand, and say so to nobody who listens.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Call {
    /// Whether they show sockets, rooms and events.
    pub(crate) details: bool,
    /// How far, if not everything. Nodes of versions before tell everything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) reach: Option<Reach>,
    /// Whether they are pages of Node's servers, which do not say so themselves.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) foreign: bool,
}

#[derive(Serialize, Deserialize)]
struct Words {
    admin: Call,
}

impl Call {
    pub(crate) fn into_words(mut self) -> String {
        loop {
            let words = Words { admin: self };
            let text = serde_json::to_string(&words).expect("flags and texts are JSON");
            if text.len() <= MAX_WORDS {
                return text;
            }
            // The name of a namespace is long.
            self = Self {
                reach: None,
                ..words.admin
            };
        }
    }

    /// `None` if another node says something else.
    pub(crate) fn parse(words: &str) -> Option<Self> {
        if words.len() > MAX_WORDS {
            return None;
        }
        let words: Words = serde_json::from_str(words).ok()?;
        Some(words.admin)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_comes_back_and_nothing_else_is_one() {
        let reach = Some(Reach::new("/chat", "AAAAAAAAAAAAAAAAAAAA"));
        for (details, reach, foreign) in [
            (false, None, false),
            (true, None, true),
            (true, reach, false),
        ] {
            let call = Call {
                details,
                reach,
                foreign,
            };
            assert_eq!(Call::parse(&call.clone().into_words()), Some(call));
        }
        let long = Call {
            details: true,
            reach: Some(Reach::new(&"\"".repeat(200), "A")),
            foreign: false,
        };
        let everything = Call {
            details: true,
            ..Call::default()
        };
        assert_eq!(Call::parse(&long.into_words()), Some(everything));
        let long = format!(
            r#"{{"admin":{{"details":true,"x":"{}"}}}}"#,
            "x".repeat(200)
        );
        for words in ["", r#"{"top":{}}"#, r#"{"admin":{}}"#, &long] {
            assert_eq!(Call::parse(words), None, "{words}");
        }
    }
}
