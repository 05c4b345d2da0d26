//! Where a client shows its token.

use serde::Deserialize;

use super::fault::Fault;
use crate::config::{Config, Cookie, Origins};
use crate::count::TokenReason;
use crate::engine::handshake::Handshake;
use crate::http::cors::{self, HOSTS};
use crate::socketio::socket::Socket;

/// The places where a token may stand.
pub(super) struct Sources {
    /// The cookie that may hold it, for pages of this origin and of those in `cors.origins`.
    cookie: Option<Cookie>,
}

impl Sources {
    pub(super) fn new(config: &Config) -> Self {
        Self {
            cookie: config.auth.cookie.clone(),
        }
    }

    /// The token that a client shows: in `auth`, else in the header, the query or the cookie.
    pub(super) fn presented(&self, socket: &Socket) -> Result<String, Fault> {
        #[derive(Deserialize)]
        struct Shown {
            token: Option<serde_json::Value>,
        }
        let shown = socket.auth::<Shown>().ok().and_then(|shown| shown.token);
        match shown {
            Some(serde_json::Value::String(token)) => return Ok(token),
            Some(serde_json::Value::Null) | None => {}
            Some(_) => {
                let why = "auth.token is no string";
                return Err(Fault::new(TokenReason::Malformed, why));
            }
        }
        let handshake = socket.handshake();
        let header = handshake.header("authorization").and_then(bearer);
        let token = header.map(str::to_owned);
        match token.or_else(|| handshake.query_value("token")) {
            Some(token) => Ok(token),
            None => {
                let settings = socket.session().shard().settings();
                self.of_cookie(handshake, &settings.cors.origins)
            }
        }
    }

    /// A browser sends cookies whatever page asks it to, so that of another origin needs leave.
    fn of_cookie(&self, handshake: &Handshake, origins: &Origins) -> Result<String, Fault> {
        let missing = |why: &'static str| Fault::new(TokenReason::Missing, why);
        let Some(cookie) = &self.cookie else {
            return Err(missing("neither auth, header nor query holds one"));
        };
        let token = cookie_value(handshake, cookie.as_str())
            .ok_or_else(|| missing("neither auth, header, query nor cookie holds one"))?;
        if from_allowed_page(handshake, origins) {
            Ok(token.to_owned())
        } else {
            Err(missing(
                "its cookie was sent for a page of another origin, which is not in cors.origins",
            ))
        }
    }
}

/// Whether the page is of the origin that it connects to, or of one that is listed. `*` lists none,
/// since it says nothing about the page.
fn from_allowed_page(handshake: &Handshake, origins: &Origins) -> bool {
    let Some(origin) = handshake.header("origin") else {
        // Not a browser, or a request of the page's own origin.
        return true;
    };
    let Ok(origin) = std::str::from_utf8(origin) else {
        return false;
    };
    let listed = match origins {
        Origins::Any => false,
        Origins::Listed(_) => origins.allows(origin),
    };
    let hosts = HOSTS.iter().filter_map(|name| handshake.header(name));
    listed || cors::is_own(origin, hosts)
}

/// The value of the first cookie of that name.
fn cookie_value<'a>(handshake: &'a Handshake, name: &str) -> Option<&'a str> {
    let headers = handshake
        .headers()
        .filter(|(header, _)| *header == "cookie");
    let lines = headers.filter_map(|(_, line)| std::str::from_utf8(line).ok());
    let pairs = lines
        .flat_map(|line| line.split(';'))
        .filter_map(|pair| pair.trim().split_once('='));
    let mut values = pairs.filter(|(found, _)| found.trim() == name);
    let (_, value) = values.next()?;
    let value = value.trim();
    let quoted = value.strip_prefix('"').and_then(|it| it.strip_suffix('"'));
    Some(quoted.unwrap_or(value)).filter(|value| !value.is_empty())
}

/// A token without `Bearer ` before it, which some put into every place.
pub(super) fn bare(token: &str) -> &str {
    bearer(token.as_bytes()).unwrap_or(token)
}

/// The token of an `Authorization` header, if it is one of `Bearer`.
pub(crate) fn bearer(header: &[u8]) -> Option<&str> {
    let (scheme, token) = std::str::from_utf8(header).ok()?.split_once(' ')?;
    scheme
        .eq_ignore_ascii_case("bearer")
        .then_some(token.trim())
        .filter(|token| !token.is_empty())
}

#[cfg(test)]
mod tests {
    use hyper::HeaderMap;

    use super::*;

    fn handshake(headers: &[(&'static str, &str)]) -> Handshake {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().unwrap());
        }
        Handshake::new("/socket.io/", &map, ([127, 0, 0, 1], 5).into(), false)
    }

    #[test]
    fn a_cookie_is_found_among_others() {
        let handshake = handshake(&[
            ("cookie", "a=1; jwt=first ;jwt=second"),
            ("cookie", "quoted=\"x=y\"; empty="),
        ]);
        assert_eq!(cookie_value(&handshake, "jwt"), Some("first"));
        assert_eq!(cookie_value(&handshake, "quoted"), Some("x=y"));
        assert_eq!(cookie_value(&handshake, "empty"), None);
        assert_eq!(cookie_value(&handshake, "wt"), None);
    }

    #[test]
    fn cookies_count_for_pages_of_allowed_origins_alone() {
        let listed = Origins::Listed(vec!["https://app.example.com".into()]);
        for (origin, any, some) in [
            ("https://here.example.com", true, true),
            ("https://app.example.com", false, true),
            ("https://evil.example.com", false, false),
            ("https://here.example.com.evil.com", false, false),
            ("null", false, false),
        ] {
            let handshake = handshake(&[("origin", origin), ("host", "here.example.com")]);
            assert_eq!(
                from_allowed_page(&handshake, &Origins::Any),
                any,
                "{origin}"
            );
            assert_eq!(from_allowed_page(&handshake, &listed), some, "{origin}");
        }
        let behind_proxy = handshake(&[
            ("origin", "https://Here.example.com"),
            ("host", "10.0.0.7:3000"),
            ("x-forwarded-host", "here.example.com"),
        ]);
        assert!(from_allowed_page(&behind_proxy, &Origins::Any));
        let plain = handshake(&[("host", "here.example.com")]);
        assert!(from_allowed_page(&plain, &listed));
    }

    #[test]
    fn the_scheme_is_taken_away_wherever_it_stands() {
        assert_eq!(bare("Bearer a.b.c"), "a.b.c");
        assert_eq!(bare("bearer  a.b.c "), "a.b.c");
        assert_eq!(bare("a.b.c"), "a.b.c");
        assert_eq!(bare(" a.b.c"), " a.b.c");
        assert_eq!(bare("Bearer"), "Bearer");
    }
}
