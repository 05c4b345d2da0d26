//! How a node tells the others that pages are open.

use serde::{Deserialize, Serialize};

/// Most bytes of it.
const MAX_WORDS: usize = 128;

/// Pages are open, in the words that nodes tell each other traces by. Nodes of versions before take it for a trace
/// that they do not understand, and say so to nobody who listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Call {
    /// Whether they show sockets, rooms and events.
    pub(crate) details: bool,
}

#[derive(Serialize, Deserialize)]
struct Words {
    admin: Call,
}

impl Call {
    pub(crate) fn to_words(self) -> String {
        serde_json::to_string(&Words { admin: self }).expect("a flag is JSON")
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
        for details in [false, true] {
            let call = Call { details };
            assert_eq!(Call::parse(&call.to_words()), Some(call));
        }
        let long = format!(
            r#"{{"admin":{{"details":true,"x":"{}"}}}}"#,
            "x".repeat(200)
        );
        for words in ["", r#"{"top":{}}"#, r#"{"admin":{}}"#, &long] {
            assert_eq!(Call::parse(words), None, "{words}");
        }
    }
}
