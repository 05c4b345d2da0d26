//! Sends spans to the collector: OTLP over HTTP, in protobuf.
//!
//! ```text
//!   waiting --every second, or a whole batch--> sent ---> taken, or taken in part
//!                                                |  ^---- again, after a pause: no answer, 429, 502, 503, 504
//!                                                +------> dropped: any other answer, or no luck for a minute
//! ```

use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER, USER_AGENT};
use hyper::{HeaderMap, Method, Request, Response, StatusCode, Uri};
use tracing::{info, warn};

use super::protobuf::{bytes, find_bytes, find_number, head};
use super::queue::{Batch, SpanResult};
use super::span::{resource, scope};
use super::{Otel, random};
use crate::net::outbound::{CallError, Outbound};

/// What the path of the endpoint ends with.
const PATH: &str = "/v1/traces";

/// How often spans are sent.
const EVERY: Duration = Duration::from_secs(1);

/// How long the collector may take to answer.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The pause before the second attempt; doubled before each further one.
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// The longest pause, also if the collector wants a longer one.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// How long a batch is tried again before it is dropped.
const PERSISTENCE: Duration = Duration::from_secs(60);

/// Largest answer that is read.
const MAX_ANSWER: usize = 64 * 1024;

/// What stands around the spans of a request.
struct Envelope {
    uri: Uri,
    resource: Vec<u8>,
    scope: Vec<u8>,
}

/// What became of an attempt.
enum Attempt {
    /// The collector has all but so many.
    Taken(usize),
    /// It may be otherwise later, which the collector may have said.
    Later(String, Option<Duration>),
    Refused(String),
}

/// Sends what waits, for as long as the thread of `outbound` lives, in a future that was spawned there. `node` is how
/// others call the node.
pub(crate) async fn export(otel: Arc<Otel>, outbound: Weak<Outbound>, node: String) {
    let envelope = Envelope {
        uri: address(otel.settings.endpoint.uri()),
        resource: resource(&node),
        scope: scope(),
    };
    let mut turns = tokio::time::interval(EVERY);
    turns.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = turns.tick() => {}
            () = otel.queue.filled() => {}
        }
        while let Some(batch) = otel.queue.take() {
            otel.send(&envelope, &outbound, &batch).await;
        }
    }
}

/// The address of a collector that the settings name.
fn address(endpoint: &Uri) -> Uri {
    let path = endpoint.path();
    if path.ends_with(PATH) {
        return endpoint.clone();
    }
    let path = format!("{}{PATH}", path.strip_suffix('/').unwrap_or(path));
    let path = match endpoint.query() {
        Some(query) => format!("{path}?{query}"),
        None => path,
    };
    let mut parts = endpoint.clone().into_parts();
    parts.path_and_query = path.parse().ok();
    Uri::from_parts(parts).unwrap_or_else(|_| endpoint.clone())
}

impl Envelope {
    /// `ExportTraceServiceRequest`.
    fn around(&self, spans: &[u8]) -> Bytes {
        let part = |field, content: &[u8]| {
            let mut part = Vec::new();
            bytes(&mut part, field, content);
            part
        };
        let (resource, scope) = (part(1, &self.resource), part(1, &self.scope));
        let scope_spans = scope.len() + spans.len();
        let mut scope_head = Vec::new();
        head(&mut scope_head, 2, scope_spans);
        let resource_spans = resource.len() + scope_head.len() + scope_spans;
        let mut request = Vec::with_capacity(resource_spans + 16);
        head(&mut request, 1, resource_spans);
        for part in [&resource, &scope_head, &scope, spans] {
            request.extend_from_slice(part);
        }
        request.into()
    }
}

impl Otel {
    async fn send(&self, envelope: &Envelope, outbound: &Weak<Outbound>, batch: &Batch) {
        let body = envelope.around(&batch.bytes);
        let began = Instant::now();
        let mut pause = FIRST_PAUSE;
        loop {
            let Some(outbound) = outbound.upgrade() else {
                return;
            };
            let request = self.request(&envelope.uri, body.clone());
            let answer = outbound.call_collector(request, TIMEOUT, MAX_ANSWER);
            let attempt = Attempt::of(answer.await);
            drop(outbound);
            match attempt {
                Attempt::Taken(all_but) => {
                    self.queue.done(batch, SpanResult::Exported, all_but);
                    if self.queue.set_trouble(None) {
                        info!(target: "gateway::otel", "the collector takes spans again");
                    }
                    return;
                }
                Attempt::Refused(error) => {
                    self.tell(error);
                    return self.queue.done(batch, SpanResult::Refused, 0);
                }
                Attempt::Later(error, wanted) => {
                    self.tell(error);
                    let wait = wanted.unwrap_or(pause).min(LONGEST_PAUSE);
                    if began.elapsed() + wait > PERSISTENCE {
                        return self.queue.done(batch, SpanResult::Unreachable, 0);
                    }
                    tokio::time::sleep(wait.mul_f64(random::between(1.0, 1.5))).await;
                    pause *= 2;
                }
            }
        }
    }

    fn tell(&self, error: String) {
        if self.queue.set_trouble(Some(error.clone())) {
            warn!(target: "gateway::otel", error, "spans cannot be sent to otel.endpoint; some wait, others are dropped and counted");
        }
    }

    fn request(&self, uri: &Uri, body: Bytes) -> Request<Full<Bytes>> {
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = uri.clone();
        let headers = request.headers_mut();
        headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static("application/x-protobuf"),
        );
        headers.insert(
            USER_AGENT,
            HeaderValue::from_static(concat!("gateway/", env!("CARGO_PKG_VERSION"))),
        );
        for (name, value) in self.settings.headers.iter().flat_map(|it| it.iter()) {
            headers.insert(name, value.clone());
        }
        request
    }
}

impl Attempt {
    fn of(answer: Result<Response<Bytes>, CallError>) -> Self {
        let answer = match answer {
            Ok(answer) => answer,
            Err(CallError::TooLarge(_)) => return Self::Taken(0),
            Err(error) => return Self::Later(error.to_string(), None),
        };
        let (status, said) = (answer.status(), || {
            format!("the answer is {}", answer.status())
        });
        match status {
            _ if status.is_success() => {
                let partial = find_bytes(answer.body(), 1);
                let rejected = partial.and_then(|partial| find_number(partial, 1));
                let rejected = rejected.and_then(|it| usize::try_from(it).ok());
                Self::Taken(rejected.unwrap_or(0))
            }
            StatusCode::TOO_MANY_REQUESTS
            | StatusCode::BAD_GATEWAY
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT => Self::Later(said(), wanted_pause(answer.headers())),
            _ => Self::Refused(said()),
        }
    }
}

/// How long the collector wants to be left alone.
fn wanted_pause(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?;
    if let Ok(seconds) = text.trim().parse() {
        return Some(Duration::from_secs(seconds));
    }
    let time = httpdate::parse_http_date(text).ok()?;
    time.duration_since(std::time::SystemTime::now()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_of_traces_is_added_where_it_is_missing() {
        for (endpoint, expected) in [
            ("http://c:4318", "http://c:4318/v1/traces"),
            ("http://c:4318/", "http://c:4318/v1/traces"),
            ("https://c/otlp/", "https://c/otlp/v1/traces"),
            ("https://c/otlp?a=b", "https://c/otlp/v1/traces?a=b"),
            ("https://c/x/v1/traces", "https://c/x/v1/traces"),
        ] {
            assert_eq!(address(&endpoint.parse().unwrap()), expected);
        }
    }

    fn attempt(status: u16, retry_after: Option<&str>, body: &[u8]) -> String {
        let mut answer = Response::builder().status(status);
        if let Some(value) = retry_after {
            answer = answer.header(RETRY_AFTER, value);
        }
        let answer = answer.body(Bytes::copy_from_slice(body)).unwrap();
        match Attempt::of(Ok(answer)) {
            Attempt::Taken(all_but) => format!("taken but {all_but}"),
            Attempt::Later(_, pause) => format!("later {pause:?}"),
            Attempt::Refused(_) => "refused".to_owned(),
        }
    }

    #[test]
    fn what_is_tried_again_is_what_otlp_says() {
        assert_eq!(attempt(200, None, b""), "taken but 0");
        assert_eq!(attempt(200, None, b"\x0a\x02\x08\x03"), "taken but 3");
        assert_eq!(attempt(200, None, b"\xff\xff{}"), "taken but 0");
        for status in [429, 502, 503, 504] {
            assert_eq!(attempt(status, None, b""), "later None");
            assert_eq!(attempt(status, Some("7"), b""), "later Some(7s)");
        }
        let past = "Thu, 01 Jan 1970 00:00:00 GMT";
        assert_eq!(attempt(503, Some(past), b""), "later None");
        assert_eq!(attempt(503, Some("soon"), b""), "later None");
        for status in [301, 400, 401, 404, 413, 500, 501] {
            assert_eq!(attempt(status, Some("7"), b""), "refused", "{status}");
        }
    }
}
