//! Names in which `*` stands for anything.

use std::fmt;

use super::value::{Shape, Value};

/// A name, or a pattern in which every `*` matches any run of characters, the empty one too.
///
/// ```
/// use gateway::config::Pattern;
///
/// assert!(Pattern::new("/chat-*").matches("/chat-1"));
/// assert!(!Pattern::new("/chat").matches("/chat-1"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern(Box<str>);

impl Pattern {
    /// Makes a pattern for any kind of name.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self(text.into())
    }

    /// Whether it is a name without a `*`.
    #[must_use]
    pub fn is_exact(&self) -> bool {
        !self.0.contains('*')
    }

    /// The pattern as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the one name that it matches, if it has no `*`.
    #[must_use]
    pub fn as_name(&self) -> Option<&str> {
        (!self.0.contains('*')).then_some(&self.0)
    }

    /// Whether `name` matches. It takes at most as many steps as the product of both lengths.
    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        let Some((first, rest)) = self.0.split_once('*') else {
            return *self.0 == *name;
        };
        let Some(mut name) = name.strip_prefix(first) else {
            return false;
        };
        let (middle, last) = rest.rsplit_once('*').unwrap_or(("", rest));
        let Some(inner) = name.strip_suffix(last) else {
            return false;
        };
        name = inner;
        for piece in middle.split('*') {
            // The leftmost place leaves the most for the pieces after it.
            let Some(at) = name.find(piece) else {
                return false;
            };
            name = &name[at + piece.len()..];
        }
        true
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Value for Pattern {
    const SHAPE: Shape = Shape::Text;
    const KIND: &'static str = "name";

    fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err("a name cannot be empty; `*` is every name".to_owned());
        }
        if text.contains(',') || text.chars().any(char::is_control) {
            return Err(format!(
                "{text:?} is not a name, which has no comma or control character here"
            ));
        }
        Ok(Self::new(text))
    }
}

/// The pattern of namespaces: it begins with `/`, which is added when it is missing, as Socket.IO
/// does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct NamespacePattern(pub(super) Pattern);

impl Value for NamespacePattern {
    const SHAPE: Shape = Shape::Text;
    const KIND: &'static str = "namespace";

    fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err("a namespace cannot be empty; the main one is \"/\"".to_owned());
        }
        if text.contains([',', '?']) || text.chars().any(char::is_control) {
            return Err(format!(
                "{text:?} is not a namespace, which has no comma, question mark or control character"
            ));
        }
        let slash = if text.starts_with('/') { "" } else { "/" };
        Ok(Self(Pattern(format!("{slash}{text}").into())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_matches_any_run_of_characters() {
        for (pattern, name, expected) in [
            ("/", "/", true),
            ("/", "/a", false),
            ("/*", "/", true),
            ("/*", "/a/b", true),
            ("/chat-*", "/chat-", true),
            ("/chat-*", "/chat", false),
            ("/*-chat", "/a-chat", true),
            ("/*-chat", "/a-chat2", false),
            ("/a*a", "/a", false),
            ("/a*a", "/aa", true),
            ("/*b*b*", "/ab", false),
            ("/*b*b*", "/abcb", true),
            ("/a**b", "/ab", true),
            ("/*ab*abc", "/ababc", true),
            ("/*ab*abc", "/xabc", false),
            ("/é*", "/éa", true),
            ("", "", true),
            ("*", "", true),
        ] {
            assert_eq!(
                Pattern::new(pattern).matches(name),
                expected,
                "{pattern} {name}"
            );
        }
    }

    #[test]
    fn a_namespace_gets_its_slash() {
        assert_eq!(NamespacePattern::parse("chat").unwrap().0.as_str(), "/chat");
        assert_eq!(
            NamespacePattern::parse("/chat").unwrap().0.as_str(),
            "/chat"
        );
        assert_eq!(NamespacePattern::parse("*").unwrap().0.as_str(), "/*");
        assert!(NamespacePattern::parse("").is_err());
        assert!(NamespacePattern::parse("/a?b=c").is_err());
    }
}
