//! What pages of other origins may do, as the `cors` package of npm answers with Node's defaults.

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_REQUEST_HEADERS, CONTENT_LENGTH, HeaderMap,
    HeaderValue, ORIGIN, VARY,
};
use hyper::{Response, StatusCode};

use super::Answer;
use crate::config::{Cors, Origins};

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
