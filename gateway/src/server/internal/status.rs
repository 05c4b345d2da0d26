//! The page at `/`: how this node and the others are, for people. `/status.json` has the figures.
//!
//! The page is one file, built in. It asks for the figures every two seconds while somebody sees it, and nothing is
//! counted or asked for it otherwise. All pages that are open share the figures of a second.
//!
//! Names of rooms are strangers' words, so the page writes them as text, and its policy allows no script but its own.
//! Nobody but a page of this node gets the figures: see [`is_from_elsewhere`].

use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, HeaderValue, REFERRER_POLICY,
    RETRY_AFTER, X_CONTENT_TYPE_OPTIONS,
};
use hyper::{Response, StatusCode};
use ring::digest::{SHA256, digest};
use tokio::sync::Mutex;

use crate::count::Export;
use crate::engine::node::Node;
use crate::socketio::top::Top;

mod figures;
mod remedies;

/// The path of the page.
pub(super) const PAGE: &str = "/";

/// The path of the figures.
pub(super) const FIGURES: &str = "/status.json";

/// How long figures are those of everybody who asks.
const KEPT: Duration = Duration::from_secs(1);

/// How long nodes are waited for that do not answer.
const PATIENCE: Duration = Duration::from_secs(1);

const HTML: &str = include_str!("../../../assets/status/page.html");
const STYLE: &str = include_str!("../../../assets/status/page.css");
const SCRIPT: &str = include_str!("../../../assets/status/page.js");

/// Stand in the page where style and script belong.
const STYLE_PLACE: &str = "{{style}}";
const SCRIPT_PLACE: &str = "{{script}}";

/// The page, and the figures of the last second.
pub(super) struct Status {
    page: Bytes,
    policy: HeaderValue,
    /// Who computes them holds the lock; others wait, and get the same.
    figures: Mutex<Option<(Instant, Bytes)>>,
}

impl Status {
    pub(super) fn new() -> Self {
        let page = HTML
            .replace(STYLE_PLACE, STYLE)
            .replace(SCRIPT_PLACE, SCRIPT);
        let policy = format!(
            "default-src 'none'; script-src '{}'; style-src '{}'; connect-src 'self'; \
             img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
            hash(SCRIPT),
            hash(STYLE)
        );
        Self {
            page: page.into(),
            policy: HeaderValue::try_from(policy).expect("base64 in quotes is visible ASCII"),
            figures: Mutex::default(),
        }
    }

    /// The page itself.
    pub(super) fn page(&self) -> Response<Full<Bytes>> {
        let mut page = answer("text/html; charset=utf-8", self.page.clone());
        let headers = page.headers_mut();
        headers.insert(CONTENT_SECURITY_POLICY, self.policy.clone());
        page
    }

    /// The figures, not older than a second.
    pub(super) async fn figures(
        &self,
        node: &Arc<Node>,
        exports: &[Arc<dyn Export>],
        ready: serde_json::Value,
    ) -> Response<Full<Bytes>> {
        let mut figures = self.figures.lock().await;
        let known = figures.as_ref();
        if let Some((_, body)) = known.filter(|(made, _)| made.elapsed() < KEPT) {
            return answer(JSON, body.clone());
        }
        let Some(top) = Top::with_status(node, PATIENCE).await else {
            let body = Bytes::from_static(b"{\"error\":\"too many ask the other nodes\"}");
            let mut busy = answer(JSON, body);
            *busy.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
            busy.headers_mut()
                .insert(RETRY_AFTER, HeaderValue::from_static("1"));
            return busy;
        };
        let body = figures::of(node, exports, ready, top).to_string();
        let body = Bytes::from(body);
        *figures = Some((Instant::now(), body.clone()));
        answer(JSON, body)
    }
}

const JSON: &str = "application/json";

/// As a policy names what may run.
fn hash(content: &str) -> String {
    let digest = digest(&SHA256, content.as_bytes());
    format!("sha256-{}", BASE64_STANDARD.encode(digest))
}

fn answer(kind: &'static str, body: Bytes) -> Response<Full<Bytes>> {
    let mut answer = Response::new(Full::new(body));
    let headers = answer.headers_mut();
    for (name, value) in [
        (CONTENT_TYPE, kind),
        (CACHE_CONTROL, "no-store"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (REFERRER_POLICY, "no-referrer"),
        (
            HeaderName::from_static("cross-origin-resource-policy"),
            "same-origin",
        ),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_one_file_and_its_policy_allows_nothing_else() {
        let status = Status::new();
        let page = std::str::from_utf8(&status.page).unwrap();
        assert!(!page.contains("{{"), "a place is left");
        for (tag, content) in [("style", STYLE), ("script", SCRIPT)] {
            let inside = page.split_once(&format!("<{tag}>")).unwrap().1;
            let inside = inside.split_once(&format!("</{tag}>")).unwrap().0;
            assert_eq!(inside, content, "{tag}");
            let policy = status.policy.to_str().unwrap();
            assert!(policy.contains(&hash(inside)), "{policy}");
        }
        for foreign in [
            "src=\"http",
            "href=\"http",
            "@import",
            "url(",
            "innerHTML",
            " style=\"",
            "onclick=",
        ] {
            assert!(!page.contains(foreign), "{foreign}");
        }
        assert!(!status.policy.to_str().unwrap().contains("unsafe"));
    }
}
