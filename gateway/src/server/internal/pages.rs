//! Who may change something at the internal port, or read names there: not a web page of somebody else.
//!
//! A browser on the machine or in the network of a node reaches its internal port, and sends there
//! what a page from anywhere tells it to. It says so itself, by the page's `Origin`. A page may also
//! have a name of its own point to the node's address (DNS rebinding), and be of the same origin
//! then. So the node also looks at the name by which it is called.

use std::net::Ipv6Addr;

use hyper::header::{HOST, ORIGIN};
use hyper::{Method, Request};

use crate::config::Config;
use crate::count::Suspect;

/// Ends of names that no public DNS server answers for, so that no page can have one.
const PRIVATE: [&str; 6] = [
    ".localhost",
    ".local",
    ".internal",
    ".svc",
    ".test",
    ".home.arpa",
];

impl Suspect {
    /// For the sender and for the log.
    pub(crate) fn advice(self) -> &'static str {
        match self {
            Self::Origin => {
                "web pages may not call the internal port: the request has an Origin, or a \
                 Sec-Fetch-Site, that is not this node's own"
            }
            Self::Host => {
                "the request's Host is not known to be this node: call it by its address, or add \
                 the name to internal_hosts"
            }
        }
    }
}

/// Looks at a request that may change something. `needs_key` tells that a secret is asked for
/// besides, which no page has: then the name counts only for a request of a browser.
pub(crate) fn check<B>(
    request: &Request<B>,
    config: &Config,
    needs_key: bool,
) -> Result<(), Suspect> {
    if matches!(
        *request.method(),
        Method::GET | Method::HEAD | Method::OPTIONS
    ) {
        return Ok(());
    }
    let by_browser = is_own(request)?;
    match called(request) {
        Some(called) if (by_browser || !needs_key) && !is_known(host(&called), config) => {
            Err(Suspect::Host)
        }
        Some(_) | None => Ok(()),
    }
}

/// Looks at a request that reads names, such as those of rooms. If it is for a page to look at, pages of others may
/// link there.
pub(crate) fn check_reader<B>(
    request: &Request<B>,
    config: &Config,
    is_page: bool,
) -> Result<(), Suspect> {
    if !is_page {
        is_own(request)?;
    }
    // A page whose name points here says nothing of itself where it reads.
    match called(request) {
        Some(called) if !is_known(host(&called), config) => Err(Suspect::Host),
        Some(_) | None => Ok(()),
    }
}

/// Whether a browser sends the request; refuses those of pages that are not of this node.
fn is_own<B>(request: &Request<B>) -> Result<bool, Suspect> {
    let (origin, fetched) = (
        header(request, ORIGIN.as_str()),
        header(request, FETCH_SITE),
    );
    let called = called(request);
    let own = |origin: &String| {
        let named = origin.split_once("://").map(|(_, authority)| authority);
        named.is_some() && named == called.as_deref()
    };
    let from_own_page = |site: &String| ["same-origin", "none"].contains(&site.as_str());
    if !origin.as_ref().is_none_or(own) || !fetched.as_ref().is_none_or(from_own_page) {
        return Err(Suspect::Origin);
    }
    Ok(origin.is_some() || fetched.is_some())
}

/// Where a browser says which page makes it ask.
const FETCH_SITE: &str = "sec-fetch-site";

/// The name by which the node is called.
fn called<B>(request: &Request<B>) -> Option<String> {
    let authority = request.uri().authority().map(|it| it.as_str());
    let authority = authority.map(str::to_ascii_lowercase);
    authority.or_else(|| header(request, HOST.as_str()))
}

fn header<B>(request: &Request<B>, name: &str) -> Option<String> {
    let value = request.headers().get(name)?;
    // What is no text equals nothing.
    Some(value.to_str().unwrap_or("?").to_ascii_lowercase())
}

/// Without the port.
fn host(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        Some(_) | None => authority,
    }
}

/// Whether a name can only be meant for this node: an address, a name of this network, or one that
/// the configuration has.
fn is_known(host: &str, config: &Config) -> bool {
    let in_brackets = host.strip_prefix('[').and_then(|it| it.strip_suffix(']'));
    if let Some(address) = in_brackets {
        return address.parse::<Ipv6Addr>().is_ok();
    }
    let name = host.strip_suffix('.').unwrap_or(host);
    let listed = |listed: &String| listed.eq_ignore_ascii_case(name);
    !name.contains('.')
        || name.parse::<std::net::Ipv4Addr>().is_ok()
        || PRIVATE.iter().any(|end| name.ends_with(end))
        || config.cluster.advertise.host() == name
        || config.internal_hosts.iter().any(listed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(headers: &[(&str, &str)], needs_key: bool) -> Result<(), Suspect> {
        let mut request = Request::post("/drain");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let config = Config {
            internal_hosts: vec!["ops.example.com".to_owned()],
            ..Config::default()
        };
        check(&request.body(()).unwrap(), &config, needs_key)
    }

    #[test]
    fn programs_may() {
        for host in [
            "127.0.0.1:3001",
            "[::1]:3001",
            "[fd00::1]",
            "localhost:3001",
            "LOCALHOST",
            "gateway",
            "gateway-0.gateway.prod.svc.cluster.local:3001",
            "gateway.prod.svc",
            "node.internal.",
            "Ops.Example.com:3001",
        ] {
            assert_eq!(judge(&[("host", host)], false), Ok(()), "{host}");
        }
        assert_eq!(judge(&[], false), Ok(()));
    }

    #[test]
    fn a_page_may_not_whatever_it_is_called() {
        for origin in ["https://evil.example", "http://localhost:8080", "null", ""] {
            let headers = [("host", "localhost:3001"), ("origin", origin)];
            assert_eq!(judge(&headers, false), Err(Suspect::Origin), "{origin}");
            assert_eq!(judge(&headers, true), Err(Suspect::Origin), "{origin}");
        }
        for site in ["cross-site", "same-site"] {
            let headers = [("host", "127.0.0.1:3001"), ("sec-fetch-site", site)];
            assert_eq!(judge(&headers, false), Err(Suspect::Origin), "{site}");
        }
        let own = [
            ("host", "localhost:3001"),
            ("origin", "http://localhost:3001"),
        ];
        assert_eq!(judge(&own, false), Ok(()));
    }

    #[test]
    fn a_name_that_somebody_else_may_have_is_no_name_of_the_node() {
        for host in [
            "evil.example:3001",
            "127.0.0.1.evil.example",
            "[evil]",
            "x.local.evil.io",
        ] {
            assert_eq!(
                judge(&[("host", host)], false),
                Err(Suspect::Host),
                "{host}"
            );
        }
        let rebound = [
            ("host", "evil.example:3001"),
            ("origin", "http://evil.example:3001"),
        ];
        assert_eq!(judge(&rebound, false), Err(Suspect::Host));
        assert_eq!(judge(&rebound, true), Err(Suspect::Host));
        // A program that has the key may call it what it likes.
        assert_eq!(judge(&[("host", "api.example.com")], true), Ok(()));
    }

    fn judge_reader(headers: &[(&str, &str)], is_page: bool) -> Result<(), Suspect> {
        let mut request = Request::get("/status.json");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        check_reader(&request.body(()).unwrap(), &Config::default(), is_page)
    }

    #[test]
    fn names_are_for_the_page_of_the_node_and_for_programs() {
        let own = [("host", "10.0.0.7:3001"), ("sec-fetch-site", "same-origin")];
        let program = [("host", "localhost:3001")];
        let rebound = [("host", "evil.example:3001")];
        for is_page in [false, true] {
            assert_eq!(judge_reader(&own, is_page), Ok(()));
            assert_eq!(judge_reader(&program, is_page), Ok(()));
            assert_eq!(judge_reader(&[], is_page), Ok(()));
            assert_eq!(judge_reader(&rebound, is_page), Err(Suspect::Host));
        }
        for foreign in [
            ("sec-fetch-site", "cross-site"),
            ("origin", "https://evil.example"),
        ] {
            let headers = [("host", "localhost:3001"), foreign];
            assert_eq!(judge_reader(&headers, false), Err(Suspect::Origin));
            assert_eq!(judge_reader(&headers, true), Ok(()), "it is a link");
        }
    }

    #[test]
    fn reading_is_free() {
        let request = Request::get("/ready").header("origin", "https://evil.example");
        let request = request.body(()).unwrap();
        assert_eq!(check(&request, &Config::default(), false), Ok(()));
    }
}
