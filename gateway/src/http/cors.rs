//! What pages of other origins may do, as the `cors` package of npm answers with Node's defaults.

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_REQUEST_HEADERS, CONTENT_LENGTH, HeaderMap,
    HeaderValue, ORIGIN, VARY,
};
use hyper::{Response, StatusCode};
use tracing::{debug, warn};

use super::Answer;
use crate::config::{Cors, Origins};
use crate::net::told::Told;

/// The `Origin` header of a request, if it has one.
pub(super) struct Origin(Option<HeaderValue>);

impl Origin {
    pub(super) fn of(headers: &HeaderMap) -> Self {
        Self(headers.get(ORIGIN).cloned())
    }
}

/// Whether any origin is allowed.
pub(super) fn is_enabled(cors: &Cors) -> bool {
    match &cors.origins {
        Origins::Any => true,
        Origins::Listed(origins) => !origins.is_empty(),
    }
}

/// Adds what tells the browser that its page may read the answer.
pub(super) fn allow(cors: &Cors, origin: &Origin, headers: &mut HeaderMap) {
    if !is_enabled(cors) {
        return;
    }
    match &cors.origins {
        Origins::Any => {
            headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
        }
        Origins::Listed(_) => {
            headers.append(VARY, HeaderValue::from_static("Origin"));
            let listed = origin
                .0
                .as_ref()
                .filter(|origin| origin.to_str().is_ok_and(|it| cors.origins.allows(it)));
            if let Some(origin) = listed {
                headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
            }
        }
    }
    if cors.credentials {
        headers.insert(
            ACCESS_CONTROL_ALLOW_CREDENTIALS,
            HeaderValue::from_static("true"),
        );
    }
}

/// Answers a browser that asks beforehand.
pub(super) fn preflight(cors: &Cors, origin: &Origin, asked: &HeaderMap) -> Answer {
    let mut answer = Response::new(Full::new(Bytes::new()));
    *answer.status_mut() = StatusCode::NO_CONTENT;
    let headers = answer.headers_mut();
    allow(cors, origin, headers);
    headers.insert(
        ACCESS_CONTROL_ALLOW_METHODS,
        HeaderValue::from_static("GET,HEAD,PUT,PATCH,POST,DELETE"),
    );
    headers.append(
        VARY,
        HeaderValue::from_static("Access-Control-Request-Headers"),
    );
    if let Some(wanted) = asked.get(ACCESS_CONTROL_REQUEST_HEADERS) {
        headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, wanted.clone());
    }
    headers.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
    answer
}

/// The origin of a page that is neither listed nor of the host that it asks. The client or a proxy in
/// front names that host. `None` for a client that is no page. (A page cannot write these headers
/// without asking beforehand, which it is not allowed.)
pub(super) fn foreign<'a>(cors: &Cors, headers: &'a HeaderMap) -> Option<&'a HeaderValue> {
    let origin = headers.get(ORIGIN)?;
    let text = origin.to_str().unwrap_or_default();
    let hosts = HOSTS.iter().filter_map(|name| headers.get(*name));
    let is_own = is_own(text, hosts.map(HeaderValue::as_bytes));
    (!is_own && !cors.origins.allows(text)).then_some(origin)
}

/// Names of the headers that say which host a client asks.
pub(crate) const HOSTS: [&str; 2] = ["host", "x-forwarded-host"];

/// Whether a page of that origin asks its own host, as the values of [`HOSTS`] name it.
pub(crate) fn is_own<'a>(origin: &str, mut hosts: impl Iterator<Item = &'a [u8]>) -> bool {
    let own = origin.split_once("://").map(|(_, host)| host.as_bytes());
    own.is_some_and(|own| hosts.any(|host| host.eq_ignore_ascii_case(own)))
}

/// Tells of pages that `cors.origins` does not list, once in a log that is not at debug. They may be
/// many, and they do not concern the operator more than once.
pub(super) fn tell(told: &Told, origin: &HeaderValue, enforced: bool) {
    let effect = if enforced {
        "it is refused"
    } else {
        "unless it is the gateway's own origin behind a proxy that changes Host, its browser keeps it from polling"
    };
    // The header is the client's own text.
    let origin = format!("{:.100?}", origin);
    if told.is_first() {
        warn!(target: "gateway::http::cors",
            origin,
            "a page of an origin that cors.origins does not list: {effect}; further ones are logged at debug"
        );
    } else {
        debug!(target: "gateway::http::cors",
            origin,
            "a page of an origin that cors.origins does not list: {effect}"
        );
    }
}

#[cfg(test)]
mod tests {
    use hyper::header::HOST;

    use super::*;
    use crate::Config;

    #[test]
    fn a_page_is_foreign_that_is_neither_listed_nor_of_the_same_host() {
        let cors = Config::from_toml("cors.origins = [\"https://*.example.com\"]")
            .unwrap()
            .cors;
        for (origin, host, is_foreign) in [
            (None, "a.example:3000", false),
            (Some("http://a.example:3000"), "a.example:3000", false),
            (Some("http://a.example"), "a.example:3000", true),
            (Some("https://chat.example.com"), "a.example:3000", false),
            (Some("https://evil.example"), "a.example:3000", true),
            (Some("null"), "a.example:3000", true),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(HOST, HeaderValue::from_static(host));
            if let Some(origin) = origin {
                headers.insert(ORIGIN, HeaderValue::from_static(origin));
            }
            assert_eq!(foreign(&cors, &headers).is_some(), is_foreign, "{origin:?}");
        }
    }
}
