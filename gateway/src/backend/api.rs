//! The HTTP API on the internal port: what backends do by themselves, in any language.
//!
//! [`calls`] is the table of all calls; requests are dispatched by it, and the OpenAPI file is made
//! from it. So neither can know a call that the other does not.

use std::sync::Arc;
use std::time::{Duration, Instant};

use adapter::TraceContext;
use bytes::Bytes;
use http_body_util::{BodyExt, Either, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::header::{
    ALLOW, AUTHORIZATION, CACHE_CONTROL, CONNECTION, CONTENT_TYPE, HeaderValue, WWW_AUTHENTICATE,
};
use hyper::{HeaderMap, Request, Response, StatusCode};
use tokio::sync::Semaphore;

use crate::apps::auth::bearer;
use crate::otel::{self, Ended, Kind, Latency};
use crate::socketio::Gateway;
use crate::socketio::traced::Reader;

mod answers;
mod blocks;
mod calls;
mod error;
mod handle;
mod history;
mod idempotency;
#[cfg(test)]
mod openapi;
mod presence;
mod rebalance;
mod requests;
mod top;
mod trace;

use crate::count::Code;
use calls::{CALLS, Reply};
pub(crate) use error::ApiError;
pub(crate) use handle::emitter;
use idempotency::{Claim, Memory};

/// What all paths of the API begin with.
pub(crate) const PREFIX: &str = "/api/v1/";

/// Where the OpenAPI file is, for everybody.
const OPENAPI: &str = "/api/v1/openapi.json";

/// The same as it is in the documentation; a test makes it from the table of calls.
const FILE: &[u8] = include_bytes!("../../../docs/openapi.json");

/// Most requests that are handled at a time.
const MAX_REQUESTS: usize = 64;

/// How long a request's body may take to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// The API of a node.
pub(crate) struct Api {
    gateway: Gateway,
    memory: Memory,
    places: Semaphore,
}

/// What a request is answered with.
pub(crate) type Answer = Response<AnswerBody>;

/// An answer as a whole, or the lines of a trace.
pub(crate) type AnswerBody = Either<Full<Bytes>, Box<Reader>>;

impl Api {
    pub(crate) fn new(gateway: Gateway) -> Arc<Self> {
        Arc::new(Self {
            gateway,
            memory: Memory::default(),
            places: Semaphore::new(MAX_REQUESTS),
        })
    }

    /// Whether there is a key, without which nobody may call it.
    pub(crate) fn is_on(&self) -> bool {
        self.gateway.node().current().api.keys.is_some()
    }

    /// Answers a request whose path begins with [`PREFIX`].
    pub(crate) async fn respond(self: &Arc<Self>, request: Request<Incoming>) -> Answer {
        let began = Instant::now();
        let call = CALLS.iter().find(|call| call.is_at(request.uri().path()));
        let node = self.gateway.node();
        let begun = node
            .otel()
            .map(|it| it.begin(told_by_caller(request.headers())));
        let context = begun.map(|begun| begun.context);
        let answered = otel::in_context(context, self.answer(request)).await;
        let counters = node.counters();
        let took = began.elapsed();
        counters.api_duration.observe(took);
        let answer = answered.unwrap_or_else(|error| {
            counters.api_errors.of(error.code()).increment();
            error.answer()
        });
        let status = answer.status();
        // Who has no key has no say in what is kept.
        if let Some((otel, begun)) = node.otel().zip(begun)
            && let Some(call) = call.filter(|_| status != StatusCode::UNAUTHORIZED)
        {
            let ended = match status.is_server_error() {
                true => Ended::Badly(status.as_str()),
                false => Ended::Well,
            };
            otel.exemplify(Latency::Api, took, &begun.context);
            let name = format_args!("{} {PREFIX}{}", call.method, call.path);
            otel.finish(begun, ended, name, Kind::Server, |span| {
                span.text("http.request.method", call.method);
                span.text("http.route", &format!("{PREFIX}{}", call.path));
                span.number("http.response.status_code", status.as_u16().into());
            });
        }
        answer
    }

    async fn answer(self: &Arc<Self>, request: Request<Incoming>) -> Result<Answer, ApiError> {
        let path = request.uri().path();
        if path == OPENAPI {
            return if request.method() == hyper::Method::GET {
                Ok(json(StatusCode::OK, Bytes::from_static(FILE)))
            } else {
                Err(ApiError::method("GET"))
            };
        }
        let authorization = request.headers().get(AUTHORIZATION);
        let key = authorization.and_then(|header| bearer(header.as_bytes()));
        let config = self.gateway.node().current();
        let keys = config.api.keys.as_ref();
        let fits = |key: &str| keys.is_some_and(|keys| keys.verify(key.as_bytes()));
        if !key.is_some_and(fits) {
            return Err(ApiError::new(Code::Unauthorized, "a bearer key is needed"));
        }
        let Some(call) = CALLS.iter().find(|call| call.is_at(path)) else {
            return Err(ApiError::new(Code::NotFound, "there is no such call"));
        };
        if request.method() != call.method {
            return Err(ApiError::method(call.method));
        }
        let Ok(_place) = self.places.try_acquire() else {
            return Err(ApiError::new(
                Code::TooManyRequests,
                "as many requests as can be are being handled",
            ));
        };
        let counters = self.gateway.node().counters();
        counters.api_requests.of(call.name).increment();
        let (head, body) = request.into_parts();
        let body = read(body, config.api.max_body).await?;
        let query = head.uri.query().unwrap_or_default();
        let key = head
            .headers
            .get("idempotency-key")
            .filter(|_| call.has_body());
        let Some(key) = key else {
            return Ok(match call.handle(&self.gateway, query, body).await? {
                Reply::Whole(body) => ok(body),
                Reply::Lines(reader) => lines(reader),
            });
        };
        match self.memory.claim(key.as_bytes(), call.path, &body)? {
            Claim::Known(answer) => {
                let mut answer = ok(answer);
                let replayed = HeaderValue::from_static("true");
                answer.headers_mut().insert("idempotent-replayed", replayed);
                Ok(answer)
            }
            Claim::New(turn) => {
                match call.handle(&self.gateway, query, body).await? {
                    Reply::Whole(answer) => {
                        turn.keep(answer.clone());
                        Ok(ok(answer))
                    }
                    // Such a call has no body, and so no key.
                    Reply::Lines(reader) => Ok(lines(reader)),
                }
            }
        }
    }
}

/// What a caller says that its request is a part of.
fn told_by_caller(headers: &HeaderMap) -> Option<TraceContext> {
    TraceContext::parse(headers.get("traceparent")?.as_bytes())
}

async fn read(body: Incoming, most: usize) -> Result<Bytes, ApiError> {
    let body = Limited::new(body, most).collect();
    match tokio::time::timeout(BODY_TIMEOUT, body).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(ApiError::new(
            Code::BodyTooLarge,
            format!("the body is larger than {most} bytes"),
        )),
        Ok(Err(_)) => Err(ApiError::bad("the body did not arrive")),
        Err(_) => Err(ApiError::bad("the body took too long to arrive")),
    }
}

fn ok(body: Bytes) -> Answer {
    json(StatusCode::OK, body)
}

/// The connection is for these lines alone.
fn lines(reader: Box<Reader>) -> Answer {
    let mut answer = Response::new(Either::Right(reader));
    let headers = answer.headers_mut();
    for (name, value) in [
        (CONTENT_TYPE, "application/x-ndjson"),
        (CACHE_CONTROL, "no-store"),
        (CONNECTION, "close"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    answer
}

fn json(status: StatusCode, body: Bytes) -> Answer {
    let mut answer = Response::new(Either::Left(Full::new(body)));
    *answer.status_mut() = status;
    let kind = HeaderValue::from_static("application/json");
    answer.headers_mut().insert(CONTENT_TYPE, kind);
    answer
}
