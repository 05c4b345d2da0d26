//! Requests to backends: signed, bounded, tried again where that does no harm.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use adapter::{Counter, Histogram, TraceContext};
use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER, USER_AGENT};
use hyper::{Method, Request, StatusCode, Uri};
use prometheus::proto::MetricFamily;
use ring::hmac;
use serde_json::{Value, json};
use tokio::sync::{Semaphore, SemaphorePermit};
use tracing::{debug, info, warn};

use super::breaker::Breaker;
use crate::apps::auth::unix_now;
use crate::backend::event_stream::jittered;
use crate::config::{HttpUrl, Webhook};
use crate::count::families::{counter, counters, durations, gauge};
use crate::count::{Export, Family, Label, label};
use crate::net::outbound::{CallError, Outbound, Protocol};
use crate::otel::{Latency, Otel};

/// Largest reply that is read.
const MAX_REPLY: usize = 1024 * 1024;

/// The pause before the second attempt; doubled before each further one.
const FIRST_PAUSE: Duration = Duration::from_millis(50);

/// The longest pause between attempts.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Most bytes of a cause of a failure that are kept.
const MAX_CAUSE: usize = 200;

/// Most backends that the page of the internal port shows.
const MAX_SHOWN: usize = 50;

/// What requests to backends have in common.
pub(crate) struct Backends {
    /// All that there are, and those of before as long as requests to them are under way.
    all: Mutex<Vec<Weak<Backend>>>,
    outbound: Arc<Outbound>,
    counters: Arc<BackendCounters>,
}

/// A backend at an address.
pub(super) struct Backend {
    uri: Uri,
    /// The settings that it was made of.
    webhook: Webhook,
    key: hmac::Key,
    protocol: Protocol,
    places: Semaphore,
    waiting: AtomicUsize,
    breaker: Mutex<Breaker>,
    last: Mutex<Last>,
    counters: Arc<BackendCounters>,
}

/// What a request is a part of, for the backend.
#[derive(Clone)]
pub(super) struct Carried {
    pub(super) context: TraceContext,
    /// `tracestate`.
    pub(super) state: Option<String>,
    /// Who is told how long it took.
    pub(super) otel: Arc<Otel>,
}

/// What it did last.
#[derive(Debug, Default)]
struct Last {
    /// When it answered, and how long that took.
    answer: Option<(Instant, Duration)>,
    /// When a request failed, and why.
    failure: Option<(Instant, String)>,
}

/// When a request may be made again although it may have arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Repeat {
    /// Always: it changes nothing.
    Always,
    /// When the backend remembers ids.
    Harmless,
}

/// Why there is no reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum CallFailure {
    #[error("the backend is not available")]
    Down,
    #[error("the backend does not answer")]
    Failed,
    #[error("the backend does not answer in time")]
    Timeout,
    #[error("the backend has too much to do")]
    Overloaded,
    #[error("the backend refused the request")]
    Refused,
    #[error("the backend's reply is not valid")]
    BadReply,
}

impl CallFailure {
    /// Whether it may be otherwise in a moment.
    pub(super) fn passes(self) -> bool {
        match self {
            Self::Down | Self::Failed | Self::Timeout | Self::Overloaded => true,
            Self::Refused | Self::BadReply => false,
        }
    }

    /// Its name for clients.
    pub(super) fn code(self) -> &'static str {
        match self {
            Self::Down | Self::Failed => "backend_unavailable",
            Self::Timeout => "backend_timeout",
            Self::Overloaded => "backend_overloaded",
            Self::Refused | Self::BadReply => "backend_error",
        }
    }
}

label! {
    /// How a request ended.
    pub(crate) enum CallOutcome: "result" {
        Ok = "ok",
        Down = "down",
        Failed = "failed",
        Timeout = "timeout",
        Overloaded = "overloaded",
        Refused = "refused",
    }
}

/// What is counted of requests to backends.
#[derive(Debug, Default)]
pub(crate) struct BackendCounters {
    pub(crate) requests: Family<CallOutcome, Counter>,
    pub(crate) retries: Counter,
    pub(crate) bad_replies: Counter,
    /// Events that no backend took.
    pub(crate) lost: Counter,
    pub(crate) duration: Histogram,
}

impl Backends {
    pub(super) fn new(outbound: Arc<Outbound>) -> Self {
        Self {
            all: Mutex::default(),
            outbound,
            counters: Arc::default(),
        }
    }

    /// The backend at an address, as the settings want it: the one that there is, if it is like that.
    pub(super) fn at(&self, url: &HttpUrl, webhook: &Webhook) -> Arc<Backend> {
        let mut all = self.all();
        all.retain(|it| it.strong_count() > 0);
        let mut there = all.iter().filter_map(Weak::upgrade);
        let wanted = Webhook {
            url: url.clone(),
            ..webhook.clone()
        };
        if let Some(backend) = there.find(|it| it.webhook == wanted) {
            return backend;
        }
        let backend = Arc::new(Backend::new(wanted, Arc::clone(&self.counters)));
        all.push(Arc::downgrade(&backend));
        backend
    }

    fn all(&self) -> MutexGuard<'_, Vec<Weak<Backend>>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Of all that there are.
    fn sum(&self, of: impl Fn(&Backend) -> usize) -> usize {
        let all = self.all();
        all.iter().filter_map(Weak::upgrade).map(|it| of(&it)).sum()
    }

    /// Makes a request, on another thread.
    pub(super) async fn call(
        &self,
        backend: &Arc<Backend>,
        id: &str,
        body: Bytes,
        repeat: Repeat,
        carried: Option<Carried>,
    ) -> Result<Bytes, CallFailure> {
        let backend = Arc::clone(backend);
        let (outbound, id) = (Arc::clone(&self.outbound), id.to_owned());
        let called = self.outbound.spawn(async move {
            let began = Instant::now();
            let answered = backend.call(&outbound, &id, body, repeat, carried.as_ref());
            let answered = answered.await;
            let took = began.elapsed();
            backend.counters.duration.observe(took);
            if let Some(carried) = &carried {
                carried
                    .otel
                    .exemplify(Latency::Webhook, took, &carried.context);
            }
            let outcome = answered
                .as_ref()
                .map_or_else(|failure| failure.outcome(), |_| CallOutcome::Ok);
            backend.counters.requests.of(outcome).increment();
            answered
        });
        called.await.unwrap_or(Err(CallFailure::Down))
    }

    pub(crate) fn counters(&self) -> &BackendCounters {
        &self.counters
    }

    /// Requests under way.
    pub(crate) fn in_flight(&self) -> usize {
        self.sum(|it| it.webhook.concurrency.get() - it.places.available_permits())
    }

    /// Requests that wait for a place.
    pub(crate) fn waiting(&self) -> usize {
        self.sum(|it| it.waiting.load(Ordering::Relaxed))
    }

    /// Backends that are left alone.
    pub(crate) fn open(&self) -> usize {
        self.sum(|it| usize::from(it.breaker().is_open()))
    }
}

impl CallFailure {
    fn outcome(self) -> CallOutcome {
        match self {
            Self::Down => CallOutcome::Down,
            Self::Failed => CallOutcome::Failed,
            Self::Timeout => CallOutcome::Timeout,
            Self::Overloaded => CallOutcome::Overloaded,
            Self::Refused | Self::BadReply => CallOutcome::Refused,
        }
    }
}

/// What one attempt came to.
enum Attempt {
    Answered(Bytes),
    /// The backend lives and does not want it.
    Refused(StatusCode),
    /// It did not arrive, or the backend says that it did nothing; and why, for the log.
    Undone(CallFailure, String),
    /// Nobody knows.
    Unknown(CallFailure, String),
}

/// An address without user, password and query.
fn named(uri: &Uri) -> String {
    let scheme = uri.scheme_str().unwrap_or("http");
    let host = uri.authority().map_or("", |it| it.as_str());
    let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
    format!("{scheme}://{host}{}", uri.path())
}

impl Export for Backends {
    fn families(&self) -> Vec<MetricFamily> {
        let of = &self.counters;
        vec![
            counters(
                "gateway_backend_requests_total",
                "Requests to backends, their attempts counted as one, by how they ended.",
                &of.requests.values(),
            ),
            durations(
                "gateway_backend_duration_seconds",
                "Time of a request to a backend, with waiting and all attempts.",
                &of.duration,
            ),
            counter(
                "gateway_backend_retries_total",
                "Attempts after the first.",
                of.retries.value(),
            ),
            counter(
                "gateway_backend_bad_replies_total",
                "Replies of backends that were not understood.",
                of.bad_replies.value(),
            ),
            counter(
                "gateway_backend_events_lost_total",
                "Events and disconnects that no backend took.",
                of.lost.value(),
            ),
            gauge(
                "gateway_backend_in_flight",
                "Requests to backends that are under way.",
                self.in_flight() as u64,
            ),
            gauge(
                "gateway_backend_waiting",
                "Requests to backends that wait for their turn.",
                self.waiting() as u64,
            ),
            gauge(
                "gateway_backend_breakers_open",
                "Backends that are left alone because they failed.",
                self.open() as u64,
            ),
        ]
    }

    fn status(&self) -> Option<(&'static str, Value)> {
        let all: Vec<_> = self.all().iter().filter_map(Weak::upgrade).collect();
        let requests = CallOutcome::ALL.iter().map(|outcome| {
            let count = self.counters.requests.of(*outcome).value();
            (outcome.label().to_owned(), count.into())
        });
        let status = json!({
            "all": all.iter().take(MAX_SHOWN).map(|it| it.status()).collect::<Vec<_>>(),
            "requests": Value::Object(requests.collect()),
            "events_lost": self.counters.lost.value(),
            "bad_replies": self.counters.bad_replies.value(),
        });
        Some(("backends", status))
    }
}

impl Backend {
    /// One at the address of these settings.
    pub(super) fn new(webhook: Webhook, counters: Arc<BackendCounters>) -> Self {
        Self {
            uri: webhook.url.uri().clone(),
            key: hmac::Key::new(hmac::HMAC_SHA256, webhook.secret.expose()),
            protocol: if webhook.http2 {
                Protocol::Http2
            } else {
                Protocol::Negotiated
            },
            places: Semaphore::new(webhook.concurrency.get()),
            waiting: AtomicUsize::new(0),
            breaker: Mutex::new(Breaker::new(
                webhook.breaker_failures.get(),
                webhook.breaker_pause,
            )),
            last: Mutex::default(),
            counters,
            webhook,
        }
    }

    /// Its host, and its port if its address names one.
    pub(super) fn host(&self) -> (&str, Option<u16>) {
        (self.uri.host().unwrap_or_default(), self.uri.port_u16())
    }

    /// Its address for the log: without what may be secret in it.
    pub(super) fn url(&self) -> String {
        named(&self.uri)
    }

    async fn call(
        &self,
        outbound: &Outbound,
        id: &str,
        body: Bytes,
        repeat: Repeat,
        carried: Option<&Carried>,
    ) -> Result<Bytes, CallFailure> {
        let _place = self.place().await?;
        let mut pause = FIRST_PAUSE;
        for attempt in 0.. {
            if !self.breaker().admit(Instant::now()) {
                return Err(CallFailure::Down);
            }
            let request = self.request(id, body.clone(), carried);
            let began = Instant::now();
            let result = outbound.call(self.protocol, request, self.webhook.timeout, MAX_REPLY);
            let (failure, cause, again) = match Attempt::from(result.await) {
                Attempt::Answered(reply) => {
                    self.succeeded(began);
                    return Ok(reply);
                }
                Attempt::Refused(status) => {
                    debug!(target: "gateway::webhook::client", url = named(&self.uri), id, %status, "the backend refused a request");
                    self.succeeded(began);
                    return Err(CallFailure::Refused);
                }
                Attempt::Undone(failure, cause) => (failure, cause, true),
                Attempt::Unknown(failure, cause) => (
                    failure,
                    cause,
                    self.webhook.idempotent || repeat == Repeat::Always,
                ),
            };
            self.failed(&cause);
            if !again || attempt >= self.webhook.retries {
                return Err(failure);
            }
            self.counters.retries.increment();
            tokio::time::sleep(jittered(pause)).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
        Err(CallFailure::Failed)
    }

    fn succeeded(&self, began: Instant) {
        self.last().answer = Some((Instant::now(), began.elapsed()));
        if self.breaker().succeeded() {
            info!(target: "gateway::webhook::client", url = named(&self.uri), "the backend answers again");
        }
    }

    fn failed(&self, cause: &str) {
        let short = &cause[..cause.floor_char_boundary(MAX_CAUSE)];
        self.last().failure = Some((Instant::now(), short.to_owned()));
        if self.breaker().failed(Instant::now()) {
            warn!(target: "gateway::webhook::client",
                url = named(&self.uri),
                cause,
                "the backend fails and is left alone for a while; events and connects are refused"
            );
        } else {
            debug!(target: "gateway::webhook::client",
                url = named(&self.uri),
                cause, "a request to the backend failed"
            );
        }
    }

    /// Waits for a place, as long as one attempt may take.
    async fn place(&self) -> Result<SemaphorePermit<'_>, CallFailure> {
        struct Waiting<'a>(&'a AtomicUsize);

        impl Drop for Waiting<'_> {
            fn drop(&mut self) {
                self.0.fetch_sub(1, Ordering::Relaxed);
            }
        }

        if let Ok(place) = self.places.try_acquire() {
            return Ok(place);
        }
        let before = self.waiting.fetch_add(1, Ordering::Relaxed);
        let _waiting = Waiting(&self.waiting);
        if before >= self.webhook.queue {
            return Err(CallFailure::Overloaded);
        }
        match tokio::time::timeout(self.webhook.timeout, self.places.acquire()).await {
            Ok(Ok(place)) => Ok(place),
            Ok(Err(_)) | Err(_) => Err(CallFailure::Overloaded),
        }
    }

    fn request(&self, id: &str, body: Bytes, carried: Option<&Carried>) -> Request<Full<Bytes>> {
        let context = carried.map(|it| it.context.to_string());
        let state = carried.and_then(|it| it.state.as_ref());
        let signature = sign(&self.key, unix_now() as u64, &body);
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.uri.clone();
        let headers = request.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(
            USER_AGENT,
            HeaderValue::from_static(concat!("gateway/", env!("CARGO_PKG_VERSION"))),
        );
        for (name, value) in [
            ("gateway-signature", signature),
            ("idempotency-key", id.to_owned()),
            ("traceparent", context.unwrap_or_else(traceparent)),
        ] {
            if let Ok(value) = HeaderValue::try_from(value) {
                headers.insert(name, value);
            }
        }
        if let Some(Ok(value)) = state.map(HeaderValue::try_from) {
            headers.insert("tracestate", value);
        }
        request
    }

    /// How it is, for the page of the internal port.
    fn status(&self) -> Value {
        let ago = |at: Instant| u64::try_from(at.elapsed().as_millis()).unwrap_or(u64::MAX);
        let last = self.last();
        let answer = last.answer.as_ref();
        let failure = last.failure.as_ref();
        json!({
            "url": self.url(),
            "breaker": self.breaker().state(),
            "in_flight": self.webhook.concurrency.get() - self.places.available_permits(),
            "waiting": self.waiting.load(Ordering::Relaxed),
            "answered_ago_ms": answer.map(|(at, _)| ago(*at)),
            "answered_in_ms": answer.map(|(_, took)| took.as_secs_f64() * 1000.0),
            "failed_ago_ms": failure.map(|(at, _)| ago(*at)),
            "failure": failure.map(|(_, cause)| cause),
        })
    }

    fn last(&self) -> MutexGuard<'_, Last> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn breaker(&self) -> MutexGuard<'_, Breaker> {
        self.breaker.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl From<Result<hyper::Response<Bytes>, CallError>> for Attempt {
    fn from(result: Result<hyper::Response<Bytes>, CallError>) -> Self {
        match result {
            Ok(response) => {
                let status = response.status();
                let busy = response.headers().contains_key(RETRY_AFTER);
                match status {
                    _ if status.is_success() => Self::Answered(response.into_body()),
                    StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE if busy => {
                        Self::Undone(CallFailure::Failed, format!("the answer is {status}"))
                    }
                    _ if status.is_server_error() => {
                        Self::Unknown(CallFailure::Failed, format!("the answer is {status}"))
                    }
                    _ => Self::Refused(status),
                }
            }
            Err(error @ CallError::Timeout) => {
                Self::Unknown(CallFailure::Timeout, error.to_string())
            }
            Err(error @ (CallError::Connect(_) | CallError::Ended(_))) => {
                Self::Undone(CallFailure::Failed, error.to_string())
            }
            Err(error @ (CallError::Broken(_) | CallError::TooLarge(_) | CallError::Status(_))) => {
                Self::Unknown(CallFailure::Failed, error.to_string())
            }
        }
    }
}

/// `t=<unix>,v1=<hex HMAC-SHA256 of "t.body">`.
fn sign(key: &hmac::Key, time: u64, body: &[u8]) -> String {
    let mut signing = hmac::Context::with_key(key);
    signing.update(format!("{time}.").as_bytes());
    signing.update(body);
    format!("t={time},v1={}", hex(signing.sign().as_ref()))
}

/// A new W3C trace context.
fn traceparent() -> String {
    let mut random = [0; 24];
    if getrandom::fill(&mut random).is_err() {
        // An all-zero context is invalid, and so ignored.
        random = [0; 24];
    }
    let (trace, span) = random.split_at(16);
    format!("00-{}-{}-01", hex(trace), hex(span))
}

fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    digits
        .map(|digit| char::from(DIGITS[usize::from(digit)]))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_covers_time_and_body() {
        let key = hmac::Key::new(hmac::HMAC_SHA256, b"0123456789abcdef");
        // printf '1700000000.{"a":1}' | openssl dgst -sha256 -hmac 0123456789abcdef
        assert_eq!(
            sign(&key, 1_700_000_000, br#"{"a":1}"#),
            "t=1700000000,v1=9eb18f493f8ec135d9eb2dad817c369bb4e9cbfa818657897a7437c1cd8c3a23"
        );
    }

    #[test]
    fn a_pause_is_jittered() {
        for _ in 0..100 {
            let pause = jittered(FIRST_PAUSE);
            assert!(
                pause >= FIRST_PAUSE / 2 && pause <= FIRST_PAUSE,
                "{pause:?}"
            );
        }
    }

    #[test]
    fn a_trace_context_is_one_of_version_zero() {
        let context = traceparent();
        let parts: Vec<_> = context.split('-').map(str::len).collect();
        assert_eq!(parts, [2, 32, 16, 2]);
    }
}
