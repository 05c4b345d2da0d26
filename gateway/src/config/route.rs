//! Where a backend's events go.

use std::fmt;

use super::pattern::Pattern;
use super::url::HttpUrl;
use super::value::{Shape, Value};

/// One line of `backend.routes`: which events of which namespaces go where.
///
/// ```
/// use gateway::Config;
///
/// let config = Config::from_toml(
///     "backend.url = \"http://localhost:8080\"\n\
///      backend.secret = \"0123456789abcdef\"\n\
///      backend.routes = [\"/chat typing relay\"]",
/// )?;
/// assert!(config.backend.routes[0].matches("/chat", "typing"));
/// # Ok::<(), gateway::config::Errors>(())
/// ```
#[non_exhaustive]
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Route {
    /// The namespaces.
    pub namespaces: Pattern,
    /// The events; `connect` and `disconnect` are those of the socket itself, `presence` that users and rooms come
    /// and go.
    pub events: Pattern,
    /// Where they go.
    pub target: Target,
}

/// Where events go.
#[expect(clippy::exhaustive_enums, reason = "a setting has these values")]
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Target {
    /// To the backend at this address.
    Backend(HttpUrl),
    /// To the relay application.
    Relay,
    /// Nowhere.
    Nowhere,
}

impl Route {
    /// Whether an event of a namespace goes by this line.
    #[must_use]
    pub fn matches(&self, namespace: &str, event: &str) -> bool {
        self.namespaces.matches(namespace) && self.events.matches(event)
    }
}

impl Value for Route {
    const SHAPE: Shape = Shape::Text;
    const KIND: &'static str = "route";

    fn parse(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "{text:?} is not a namespace, an event and a URL, `relay` or `nowhere`, with spaces between them"
            )
        };
        let mut parts = text.split_whitespace();
        let (Some(namespaces), Some(events), Some(target), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(wrong());
        };
        let slash = if namespaces.starts_with('/') { "" } else { "/" };
        Ok(Self {
            namespaces: Pattern::new(&format!("{slash}{namespaces}")),
            events: Pattern::new(events),
            target: match target {
                "relay" => Target::Relay,
                "nowhere" => Target::Nowhere,
                url => Target::Backend(HttpUrl::parse(url).map_err(|_| wrong())?),
            },
        })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Backend(url) => write!(f, "{url:?}"),
            Self::Relay => f.write_str("relay"),
            Self::Nowhere => f.write_str("nowhere"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_names_namespace_event_and_target() {
        let route = Route::parse("chat-*  message http://chat:8000/hook").unwrap();
        assert!(route.matches("/chat-1", "message"));
        assert!(!route.matches("/", "message") && !route.matches("/chat-1", "connect"));
        assert!(matches!(route.target, Target::Backend(_)));
        assert_eq!(Route::parse("/ * relay").unwrap().target, Target::Relay);
        assert_eq!(
            Route::parse("/ debug-* nowhere").unwrap().target,
            Target::Nowhere
        );
        for text in [
            "",
            "/",
            "/ *",
            "/ * somewhere",
            "/ * http://a b",
            "/ * ftp://a",
        ] {
            assert!(Route::parse(text).is_err(), "{text:?}");
        }
    }
}
