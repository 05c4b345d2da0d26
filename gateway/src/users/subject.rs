//! What is kept out: a user, one token, or the tokens of a user. And what a record says of it.

use serde::{Deserialize, Serialize};

/// Longest name of a token (`jti`) in characters.
pub(crate) const MAX_TOKEN_NAME: usize = 256;

/// Longest name of a user in characters, as calls of the API have it.
const MAX_USER: usize = 256;

/// What is kept out.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Subject {
    /// A user, whatever token is shown.
    User(String),
    /// The token of this name (`jti`).
    Token(String),
    /// The tokens of a user that were issued until some time.
    TokensOf(String),
}

/// What a record says. Keys that are unknown are for later versions.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Body {
    /// It is not kept out any more.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) lifted: bool,
    /// Of tokens of a user: in seconds since 1970, this second too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) issued_until: Option<f64>,
    /// What the client is told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<String>,
}

impl Subject {
    /// The name of its record.
    pub(crate) fn to_name(&self) -> String {
        match self {
            Self::User(user) => user_name(user),
            Self::Token(token) => token_name(token),
            Self::TokensOf(user) => tokens_name(user),
        }
    }

    /// `None` if it is of a later version, or of nobody.
    pub(crate) fn of_name(name: &str) -> Option<Self> {
        let (kind, of) = name.split_once(':')?;
        let most = match kind {
            "token" => MAX_TOKEN_NAME,
            _ => MAX_USER,
        };
        if of.is_empty() || of.chars().count() > most {
            return None;
        }
        match kind {
            "user" => Some(Self::User(of.to_owned())),
            "token" => Some(Self::Token(of.to_owned())),
            "tokens" => Some(Self::TokensOf(of.to_owned())),
            _ => None,
        }
    }
}

pub(super) fn user_name(user: &str) -> String {
    format!("user:{user}")
}

pub(super) fn token_name(token: &str) -> String {
    format!("token:{token}")
}

pub(super) fn tokens_name(user: &str) -> String {
    format!("tokens:{user}")
}

impl Body {
    pub(crate) fn to_json(&self) -> String {
        serde_json::to_string(self).expect("texts and numbers are JSON")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subject_has_a_name_of_its_own() {
        for subject in [
            Subject::User("a:b".to_owned()),
            Subject::Token("a:b".to_owned()),
            Subject::TokensOf("a:b".to_owned()),
        ] {
            assert_eq!(Subject::of_name(&subject.to_name()), Some(subject));
        }
        // As many characters as calls of the API may name, however many bytes they are.
        let longest = Subject::User("\u{1f600}".repeat(MAX_USER));
        assert_eq!(Subject::of_name(&longest.to_name()), Some(longest));
        let long = format!("user:{}", "a".repeat(257));
        for name in ["", "user", "user:", "other:a", &long] {
            assert_eq!(Subject::of_name(name), None, "{name}");
        }
    }
}
