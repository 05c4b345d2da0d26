//! Names and paths with rules of their own.

use std::fmt;
use std::ops::Deref;

use adapter::NodeId;
use tracing_subscriber::filter::Targets;

use super::value::{Shape, Value};

/// The path of Engine.IO: begins and ends with `/`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnginePath(Box<str>);

impl Deref for EnginePath {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for EnginePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Value for EnginePath {
    const SHAPE: Shape = Shape::Text;
    const KIND: &'static str = "path";

    fn parse(text: &str) -> Result<Self, String> {
        plain(text)?;
        let bare = text.strip_suffix('/').unwrap_or(text);
        if bare.is_empty() {
            return Err("the path cannot be / itself, which is the demo page's".to_owned());
        }
        Ok(Self(format!("{bare}/").into()))
    }
}

/// Whether it is a path of a URL that is written as it is sent.
fn plain(path: &str) -> Result<(), String> {
    if !path.starts_with('/') {
        return Err(format!("{path:?} does not begin with /"));
    }
    let is_special = |c: char| !c.is_ascii_graphic() || "?#%\\\"<>^`{|}".contains(c);
    if path.chars().any(is_special) {
        return Err(format!("{path:?} is not a plain path of a URL"));
    }
    Ok(())
}

/// The path of a page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PagePath(Box<str>);

impl Deref for PagePath {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl Value for PagePath {
    const SHAPE: Shape = Shape::Text;
    const KIND: &'static str = "path";

    fn parse(text: &str) -> Result<Self, String> {
        plain(text)?;
        Ok(Self(text.into()))
    }
}

/// The name of a cookie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cookie(Box<str>);

impl Cookie {
    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Value for Cookie {
    const SHAPE: Shape = Shape::Text;
    const KIND: &'static str = "name";

    fn parse(text: &str) -> Result<Self, String> {
        let token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
        if text.is_empty() || !text.chars().all(token) {
            return Err(format!("{text:?} cannot be the name of a cookie"));
        }
        Ok(Self(text.into()))
    }
}

impl Value for NodeId {
    const SHAPE: Shape = Shape::Text;
    const KIND: &'static str = "name";

    fn parse(text: &str) -> Result<Self, String> {
        let plain = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
        if text.is_empty() || text.len() > 64 || !text.chars().all(plain) {
            return Err(format!(
                "{text:?} is not 1 to 64 letters, digits, dots, dashes and underscores"
            ));
        }
        Self::new(text).map_err(|error| error.to_string())
    }
}

/// The key of a Redis Stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamName(Box<str>);

impl StreamName {
    /// The key.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Value for StreamName {
    const SHAPE: Shape = Shape::Text;
    const KIND: &'static str = "name";

    fn parse(text: &str) -> Result<Self, String> {
        printable(text).map(|text| Self(text.into()))
    }
}

/// What the channels of Redis begin with.
impl Value for String {
    const SHAPE: Shape = Shape::Text;
    const KIND: &'static str = "text";

    fn parse(text: &str) -> Result<Self, String> {
        printable(text).map(str::to_owned)
    }
}

fn printable(text: &str) -> Result<&str, String> {
    if text.is_empty() || text.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err(format!("{text:?} is empty or has spaces"));
    }
    Ok(text)
}

/// The transports that sessions may be opened on; at least one.
#[expect(clippy::exhaustive_structs, reason = "there are two transports")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transports {
    /// HTTP long-polling.
    pub polling: bool,
    /// WebSocket.
    pub websocket: bool,
}

impl Value for Transports {
    const SHAPE: Shape = Shape::List;
    const KIND: &'static str = "list of transports";

    fn parse(text: &str) -> Result<Self, String> {
        let mut transports = Self {
            polling: false,
            websocket: false,
        };
        for item in text.split(',') {
            match item.trim() {
                "polling" => transports.polling = true,
                "websocket" => transports.websocket = true,
                "" => return Err("there must be at least one transport".to_owned()),
                other => return Err(format!("{other:?} is neither polling nor websocket")),
            }
        }
        Ok(transports)
    }
}

/// Which log lines are written: directives such as `info,gateway::session=debug`.
#[derive(Clone, Debug, PartialEq)]
pub struct Level {
    text: Box<str>,
    targets: Targets,
}

// They are compared as texts are.
impl Eq for Level {}

impl Level {
    /// The directives.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// What they let through.
    pub(super) fn targets(&self) -> &Targets {
        &self.targets
    }
}

impl Value for Level {
    const SHAPE: Shape = Shape::Text;
    const KIND: &'static str = "levels";

    fn parse(text: &str) -> Result<Self, String> {
        match text.parse() {
            Ok(targets) if text.split(',').all(is_directive) => Ok(Self {
                text: text.into(),
                targets,
            }),
            _ => Err(format!(
                "{text:?} is not a level (off, error, warn, info, debug, trace) or a list of component=level"
            )),
        }
    }
}

/// The filter would take a misspelt level for a component and log nothing but that.
fn is_directive(text: &str) -> bool {
    let text = text.trim();
    let level = ["off", "error", "warn", "info", "debug", "trace"]
        .iter()
        .any(|level| text.eq_ignore_ascii_case(level));
    level || (text.contains('=') && !text.contains('['))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_begins_and_ends_with_a_slash() {
        assert_eq!(&*EnginePath::parse("/socket.io").unwrap(), "/socket.io/");
        assert_eq!(&*EnginePath::parse("/a/b/").unwrap(), "/a/b/");
        for text in ["", "/", "socket.io", "/a b", "/a?b", "/ä"] {
            assert!(EnginePath::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn there_is_at_least_one_transport() {
        let websocket = Transports::parse("websocket").unwrap();
        assert!(websocket.websocket && !websocket.polling);
        assert!(Transports::parse("").is_err());
        assert!(Transports::parse("polling,").is_err());
        assert!(Transports::parse("polling,webtransport").is_err());
    }

    #[test]
    fn levels_are_known_or_refused() {
        for text in [
            "info",
            "INFO",
            "off",
            "info,gateway::session=debug",
            "gateway=trace,warn",
        ] {
            assert!(Level::parse(text).is_ok(), "{text}");
        }
        for text in [
            "",
            "infoo",
            "info,",
            "gateway",
            "gateway=loud",
            "info,debgu",
            "gateway[session{id=1}]=trace,warn",
            "gateway[{session}]=trace",
        ] {
            assert!(Level::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn names_are_plain() {
        assert!(NodeId::parse("gateway-0.zone_a").is_ok());
        assert!(NodeId::parse("").is_err());
        assert!(NodeId::parse("a b").is_err());
        assert!(NodeId::parse(&"a".repeat(65)).is_err());
        assert!(Cookie::parse("io").is_ok());
        assert!(Cookie::parse("a;b").is_err());
        assert!(StreamName::parse("a b").is_err());
    }
}
