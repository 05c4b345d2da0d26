//! Addresses of other services.

use std::fmt;

use hyper::Uri;

use super::value::{Shape, Value};

/// An `http` or `https` address.
#[derive(Clone, PartialEq, Eq)]
pub struct HttpUrl(Uri);

impl HttpUrl {
    /// The address, with a scheme and a host.
    #[must_use]
    pub fn uri(&self) -> &Uri {
        &self.0
    }
}

/// Shows neither path nor query, where people put keys.
impl fmt::Debug for HttpUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = self.0.scheme_str().unwrap_or_default();
        write!(f, "{scheme}://{}/..", self.0.host().unwrap_or_default())
    }
}

impl Value for HttpUrl {
    const SHAPE: Shape = Shape::Text;
    const KIND: &'static str = "URL";

    fn parse(text: &str) -> Result<Self, String> {
        let wrong =
            || "not a URL with http:// or https:// and a host, without a password".to_owned();
        let uri: Uri = text.parse().map_err(|_| wrong())?;
        let schemed = matches!(uri.scheme_str(), Some("http" | "https"));
        let plain = uri
            .authority()
            .is_some_and(|authority| !authority.as_str().contains('@'));
        if !schemed || !plain || uri.host().is_none_or(str::is_empty) {
            return Err(wrong());
        }
        Ok(Self(uri))
    }
}

/// Where Redis is: `redis://` or `rediss://`, with `+sentinel` or `+cluster` before the colon and
/// several hosts with commas when it is one. May hold a password, so it is not printed whole.
#[derive(Clone, PartialEq, Eq)]
pub struct RedisUrl(Box<str>);

impl RedisUrl {
    /// The whole address, password and all.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Without user, password and query.
impl fmt::Display for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, rest) = self.0.split_once("://").unwrap_or_default();
        let rest = rest.rsplit_once('@').map_or(rest, |(_, hosts)| hosts);
        let hosts = rest.split(['?', '#']).next().unwrap_or_default();
        write!(f, "{scheme}://{hosts}")
    }
}

impl Value for RedisUrl {
    const SHAPE: Shape = Shape::Text;
    const KIND: &'static str = "URL";

    fn parse(text: &str) -> Result<Self, String> {
        let (scheme, rest) = text
            .split_once("://")
            .ok_or("not a URL such as redis://localhost:6379")?;
        let (base, topology) = scheme.split_once('+').unwrap_or((scheme, "standalone"));
        if !matches!(base, "redis" | "rediss")
            || !matches!(topology, "standalone" | "sentinel" | "cluster")
        {
            return Err(
                "the scheme is not redis or rediss, with nothing, +sentinel or +cluster after it"
                    .to_owned(),
            );
        }
        let hosts = match rest.split_once('@') {
            Some((login, hosts)) if login.contains(['/', '?', '#']) || hosts.contains('@') => {
                return Err(
                    "in a password, / ? # and @ are written as %2F %3F %23 and %40".to_owned(),
                );
            }
            Some((_, hosts)) => hosts,
            None => rest,
        };
        let hosts = hosts.split(['/', '?', '#']).next().unwrap_or_default();
        if hosts.split(',').any(str::is_empty) || text.chars().any(char::is_whitespace) {
            return Err("it names no host, or has spaces".to_owned());
        }
        if topology == "standalone" && hosts.contains(',') {
            return Err("several hosts need redis+sentinel:// or redis+cluster://".to_owned());
        }
        Ok(Self(text.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_keep_their_passwords_to_themselves() {
        let url = RedisUrl::parse("rediss://me:hunter2@a:1/0?x=hunter2").unwrap();
        assert_eq!(url.to_string(), "rediss://a:1/0");
        assert_eq!(format!("{url:?}"), "rediss://a:1/0");
        for text in [
            "redis://:hunter2/x@host",
            "redis://:a@hunter2@host",
            "hunter2",
        ] {
            let refused = RedisUrl::parse(text).unwrap_err();
            assert!(!refused.contains("hunter2"), "{refused}");
        }
        let url = HttpUrl::parse("https://a.example:8443/hunter2?k=hunter2").unwrap();
        assert_eq!(format!("{url:?}"), "https://a.example/..");
        for text in [
            "ftp://hunter2",
            "http://me:hunter2@host",
            "hunter2",
            "http://",
        ] {
            let refused = HttpUrl::parse(text).unwrap_err();
            assert!(!refused.contains("hunter2"), "{refused}");
        }
    }

    #[test]
    fn redis_is_named_by_its_scheme_and_hosts() {
        for text in [
            "redis://localhost",
            "rediss://:pw@localhost:6380/0",
            "redis+sentinel://a:26379,b:26379/mymaster",
            "rediss+cluster://a,b,c",
        ] {
            assert!(RedisUrl::parse(text).is_ok(), "{text}");
        }
        for text in [
            "localhost",
            "http://localhost",
            "redis://",
            "redis://me:pw@",
            "redis://a,b",
            "redis+cluster://a,",
            "redis+ring://a",
        ] {
            assert!(RedisUrl::parse(text).is_err(), "{text}");
        }
    }
}
