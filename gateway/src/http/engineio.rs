//! Engine.IO requests: verification, handshakes, polls, posts and upgrades.

use std::cell::Cell;
use std::rc::Rc;

use bytes::Bytes;
use fastwebsockets::upgrade;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{
    ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap,
    HeaderValue, ORIGIN, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, VARY,
};
use hyper::{Method, Request, Response};
use protocol::Dialect;
use protocol::engineio::{Revision, Transport};
use tokio::sync::oneshot;
use tracing::debug;

use super::body::{BodyError, read_body, relieved};
use super::opened::{handshake, switch_protocols};
use super::{Answer, Next, Peer, Refusal, Served, trace_refusal};
use crate::count::Label;
use crate::count::{Kind, Unknown};
use crate::engine::session::{Denied, PollReply, Session};
use crate::engine::shard::Shard;
use crate::engine::websocket::driver::Probe;
use crate::forward::{self, Forwarded};
use crate::net::encoding::{Encoding, compress, negotiate};
use crate::net::ids::Sid;
use crate::net::proxy;
use crate::net::query::EngineQuery;
use crate::otel::{Ended, Kind as SpanKind};
use crate::peers::Client;

/// How many times `engine.max_payload` the body of a post of revision 3 may be. Its clients put everything that waits into
/// one body, whatever the limit. Each packet in it may be as large as `engine.max_payload`.
const OLD_BODY: usize = 4;

/// Payloads from this size on are compressed for clients that take it, as in Node.
const COMPRESSION_THRESHOLD: usize = 1024;

/// Answers an Engine.IO request, or has the node answer whose session is meant.
pub(super) async fn respond(
    shard: &Rc<Shard>,
    mount: u8,
    request: Request<Incoming>,
    peer: Peer,
) -> Served {
    let told = match shard.otel() {
        Some(_) if peer.is_node => forward::told_by_node(request.headers()),
        Some(_) | None => None,
    };
    let Some((otel, told)) = shard.otel().zip(told) else {
        return answer(shard, mount, request, peer).await;
    };
    let kind = Kind::of(&request, upgrade::is_upgrade_request(&request));
    let begun = otel.begin(Some(told));
    let served = Box::pin(answer(shard, mount, request, peer)).await;
    // What is slow or fails is told by the node that forwards.
    otel.finish(
        begun,
        Ended::Patiently,
        forward::span_name(kind),
        SpanKind::Server,
        |_| {},
    );
    served
}

async fn answer(
    shard: &Rc<Shard>,
    mount: u8,
    mut request: Request<Incoming>,
    mut peer: Peer,
) -> Served {
    if !peer.is_node {
        peer = peer.known_by(shard, request.headers());
    }
    let websocket = upgrade::is_upgrade_request(&request);
    let outcome = match verify(shard, &request, websocket) {
        Ok(Verified::Handshake { .. }) if peer.is_node => Err(Refusal::BadRequest),
        Ok(Verified::Handshake { transport, dialect }) => {
            let opening = handshake(shard, mount, &mut request, peer, transport, dialect);
            let opened = Box::pin(opening).await;
            opened.map(|opened| opened.into_served(shard))
        }
        Ok(Verified::Request { .. })
            if !matches!(*request.method(), Method::GET | Method::POST) =>
        {
            Err(Refusal::BadMethod)
        }
        // It would be cut in a moment. The client stays on polling, and its session where it is.
        Ok(Verified::Upgrade { .. }) if shard.node().drain().has_begun() => {
            Err(Refusal::NoUpgradeNow)
        }
        Ok(
            Verified::Upgrade { sid, .. }
            | Verified::Request { sid, .. }
            | Verified::Mismatch { sid },
        ) if sid.node() != shard.node().tag() && !peer.is_node => {
            let target = (Kind::of(&request, websocket), sid);
            match Box::pin(forward::forward(shard, request, peer.into(), target)).await {
                Ok(Forwarded::Answer(answer)) => Ok(Served::of_owner(answer, None)),
                Ok(Forwarded::Tunnel(head, tunnel)) => {
                    Ok(Served::of_owner(head, Some(Next::Tunnel(tunnel))))
                }
                Err(why) => Err(why.into()),
            }
        }
        Ok(Verified::Upgrade { sid, dialect }) => {
            Box::pin(probe(shard, &mut request, sid, dialect)).await
        }
        Ok(Verified::Request { sid, .. })
            if peer.is_node && forward::is_release(request.headers()) =>
        {
            shard.with_session(sid, |session| {
                session.into_iter().for_each(Session::handle_poll_released)
            });
            Ok(taken().into())
        }
        Ok(Verified::Request { sid, revision }) if *request.method() == Method::GET => {
            let encoding = accepted(request.headers());
            // A poll waits long, and each header keeps the whole buffer into which it was read.
            drop(request);
            let answer = poll(shard, sid, revision, encoding).await;
            answer.map(Served::from)
        }
        Ok(Verified::Request { sid, revision }) => {
            let posted = Box::pin(post(shard, sid, revision, request)).await;
            posted.map(Served::from)
        }
        Ok(Verified::Mismatch { sid }) => match revision_of(shard, sid).await {
            Some(_) => Err(Refusal::BadRequest),
            None => Err(unknown(shard, sid)),
        },
        Err(refusal) => Err(refusal),
    };
    outcome.unwrap_or_else(|refusal| refuse(shard, peer, &refusal, websocket).into())
}

/// Counts a refusal, and puts it into words.
pub(super) fn refuse(shard: &Shard, peer: Peer, refusal: &Refusal, websocket: bool) -> Answer {
    if let Refusal::UnknownSid(cause) = refusal {
        shard.counters().unknown_sids.of(*cause).increment();
    }
    let reason = refusal.counted_as();
    shard.counters().refused.now(reason).increment();
    debug!(target: "gateway::http::engineio", address = %peer.address, reason = reason.label(), "request refused");
    if shard.traces().has_addresses() {
        trace_refusal(shard, peer.address, reason, refusal.more());
    }
    if websocket {
        refusal.answer_websocket()
    } else {
        refusal.answer()
    }
}

fn unknown(shard: &Shard, sid: Sid) -> Refusal {
    Refusal::UnknownSid(forward::why_unknown(shard, sid))
}

impl From<Peer> for Client {
    fn from(peer: Peer) -> Self {
        Self {
            address: peer.address,
            secure: peer.secure,
        }
    }
}

impl Peer {
    /// With the address that a trusted proxy says.
    pub(super) fn known_by(mut self, shard: &Shard, headers: &HeaderMap) -> Self {
        if self.announced {
            return self;
        }
        let proxy = &shard.settings().proxy;
        self.address = proxy::client_address(proxy, self.address, headers);
        self
    }
}

/// What a request that passed verification asks for.
pub(super) enum Verified {
    Handshake {
        transport: Transport,
        dialect: Dialect,
    },
    Upgrade {
        sid: Sid,
        dialect: Dialect,
    },
    Request {
        sid: Sid,
        revision: Revision,
    },
    /// Refused in one way or another, depending on whether there is such a session.
    Mismatch {
        sid: Sid,
    },
}

/// Checks a request in the order in which Node does. What only the session knows is checked where
/// it lives.
pub(super) fn verify<B>(
    shard: &Shard,
    request: &Request<B>,
    websocket: bool,
) -> Result<Verified, Refusal> {
    let engine = &shard.node().config().engine;
    let query = EngineQuery::parse(request.uri().query().unwrap_or_default());
    let transport = match query.transport.as_deref() {
        Some("polling") if engine.transports.polling => Transport::Polling,
        Some("websocket") if engine.transports.websocket => Transport::WebSocket,
        _ => return Err(Refusal::UnknownTransport),
    };
    let valid_origin = |origin: &HeaderValue| {
        origin
            .as_bytes()
            .iter()
            .all(|byte| *byte == b'\t' || (*byte >= b' ' && *byte != 0x7f))
    };
    if !request.headers().get(ORIGIN).is_none_or(valid_origin) {
        return Err(Refusal::BadRequest);
    }
    let revision = Revision::of_query(query.revision.as_deref());
    if let Some(sid) = &query.sid {
        let sid = Sid::parse(sid).ok_or(Refusal::UnknownSid(Unknown::NeverIssued))?;
        let Some(revision) = revision else {
            return Ok(Verified::Mismatch { sid });
        };
        return match (websocket, transport) {
            (false, Transport::Polling) => Ok(Verified::Request { sid, revision }),
            (true, Transport::WebSocket) if engine.allow_upgrades => {
                websocket_handshake(request.headers())?;
                let dialect = Dialect::of(revision, query.base64);
                Ok(Verified::Upgrade { sid, dialect })
            }
            _ => Ok(Verified::Mismatch { sid }),
        };
    }
    if *request.method() != Method::GET {
        return Err(Refusal::BadHandshakeMethod);
    }
    if websocket != (transport == Transport::WebSocket) {
        return Err(Refusal::BadRequest);
    }
    if websocket {
        websocket_handshake(request.headers())?;
    }
    let revision = match revision {
        Some(Revision::Three) if !engine.allow_eio3 => None,
        revision => revision,
    };
    let revision = revision.ok_or(Refusal::UnsupportedVersion)?;
    if query.jsonp && transport == Transport::Polling {
        return Err(Refusal::Jsonp);
    }
    Ok(Verified::Handshake {
        transport,
        dialect: Dialect::of(revision, query.base64),
    })
}

/// Checks what RFC 6455 section 4.2.1 asks of a handshake.
fn websocket_handshake(headers: &HeaderMap) -> Result<(), Refusal> {
    let is_key = |key: &HeaderValue| {
        let base64 = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
        key.as_bytes()
            .strip_suffix(b"==")
            .is_some_and(|key| key.len() == 22 && key.iter().all(base64))
    };
    if !headers.get(SEC_WEBSOCKET_KEY).is_some_and(is_key) {
        return Err(Refusal::BadRequest);
    }
    let version = headers.get(SEC_WEBSOCKET_VERSION);
    if version.is_some_and(|version| version == "13") {
        Ok(())
    } else {
        Err(Refusal::WebSocketVersion)
    }
}

/// A WebSocket comes for a session that exists.
async fn probe(
    shard: &Rc<Shard>,
    request: &mut Request<Incoming>,
    sid: Sid,
    dialect: Dialect,
) -> Result<Served, Refusal> {
    match revision_of(shard, sid).await {
        Some(revision) if revision == dialect.revision() => {}
        Some(_) => return Err(Refusal::BadRequest),
        None => return Err(unknown(shard, sid)),
    }
    let answer = switch_protocols(request)?;
    let base64 = dialect == Dialect::OldBase64;
    Ok(Served::with_next(
        answer,
        Next::Probe(Probe { sid, base64 }),
    ))
}

/// The revision that the client of a session speaks, if there is such a session.
async fn revision_of(shard: &Rc<Shard>, sid: Sid) -> Option<Revision> {
    let (sender, receiver) = oneshot::channel();
    shard.with_session(sid, move |session| {
        let _gone = sender.send(session.map(|session| session.revision()));
    });
    receiver.await.ok().flatten()
}

async fn poll(
    shard: &Rc<Shard>,
    sid: Sid,
    revision: Revision,
    encoding: Option<Encoding>,
) -> Result<Answer, Refusal> {
    let (sender, receiver) = oneshot::channel();
    let number = shard.next_request();
    shard.with_session(sid, move |session| match session {
        Some(session) if session.revision() == revision => session.handle_poll(number, sender),
        Some(_) => {
            let _gone = sender.send(PollReply::Denied(Denied::Mismatch));
        }
        None => {}
    });
    let mut given_up = GivenUp::new(shard, sid, move |session| {
        session.handle_poll_aborted(number)
    });
    let reply = receiver.await;
    given_up.disarm();
    match reply {
        Ok(PollReply::Payload(body)) => {
            let binary = body.is_binary();
            Ok(payload(Bytes::from_owner(body), binary, encoding))
        }
        Ok(PollReply::Denied(denied)) => Err(denied.into()),
        // No request that went wrong, so it is not counted as one.
        Ok(PollReply::Over) => Ok(Refusal::UnknownSid(Unknown::Closed).answer()),
        Err(_) => Err(unknown(shard, sid)),
    }
}

async fn post(
    shard: &Rc<Shard>,
    sid: Sid,
    revision: Revision,
    request: Request<Incoming>,
) -> Result<Answer, Refusal> {
    let (sender, receiver) = oneshot::channel();
    let binary = is_binary(request.headers(), revision);
    shard.with_session(sid, move |session| {
        if let Some(session) = session {
            let head = if session.revision() != revision {
                Err(Refusal::BadRequest)
            } else if binary && revision == Revision::Four {
                session.handle_bad_post();
                Err(Refusal::OctetStream)
            } else {
                session.handle_post().map_err(Refusal::from)
            };
            let _gone = sender.send(head);
        }
    });
    match receiver.await {
        Ok(head) => head?,
        Err(_) => return Err(unknown(shard, sid)),
    }
    let mut given_up = GivenUp::new(shard, sid, Session::handle_post_aborted);
    relieved(shard).await;
    let limit = shard.node().config().engine.max_payload;
    let limit = match revision {
        Revision::Three => limit.saturating_mul(OLD_BODY),
        Revision::Four => limit,
    };
    let body = read_body(shard, request.into_body(), limit).await;
    let body = match body {
        Ok(body) => body,
        Err(BodyError::TooLarge) => {
            given_up.disarm();
            shard.with_session(sid, |session| {
                session.into_iter().for_each(Session::handle_post_refused)
            });
            return Err(Refusal::BodyTooLarge);
        }
        Err(BodyError::Timeout) => return Err(Refusal::BodyTimeout),
        Err(BodyError::Broken) => return Err(Refusal::BadRequest),
    };
    given_up.disarm();
    let (sender, receiver) = oneshot::channel();
    shard.with_session(sid, move |session| {
        if let Some(session) = session {
            session.handle_post_body(body, binary, sender);
        }
    });
    match receiver.await {
        Ok(()) => Ok(taken()),
        Err(_) => Err(unknown(shard, sid)),
    }
}

/// Whether the body of a post is in the binary form of revision 3.
fn is_binary(headers: &HeaderMap, revision: Revision) -> bool {
    let Some(kind) = headers.get(CONTENT_TYPE) else {
        return false;
    };
    let media = match revision {
        Revision::Three => kind.as_bytes().split(|byte| *byte == b';').next(),
        Revision::Four => Some(kind.as_bytes()),
    };
    let media = media.unwrap_or_default().trim_ascii();
    media.eq_ignore_ascii_case(b"application/octet-stream")
}

/// Tells a session that a request of its client was given up: its future was dropped.
struct GivenUp<'a, F: FnOnce(&Rc<Session>) + Send + 'static> {
    shard: &'a Rc<Shard>,
    sid: Sid,
    tell: Cell<Option<F>>,
}

impl<'a, F: FnOnce(&Rc<Session>) + Send + 'static> GivenUp<'a, F> {
    fn new(shard: &'a Rc<Shard>, sid: Sid, tell: F) -> Self {
        Self {
            shard,
            sid,
            tell: Cell::new(Some(tell)),
        }
    }

    fn disarm(&mut self) {
        self.tell.set(None);
    }
}

impl<F: FnOnce(&Rc<Session>) + Send + 'static> Drop for GivenUp<'_, F> {
    fn drop(&mut self) {
        if let Some(tell) = self.tell.take() {
            self.shard.with_session(self.sid, move |session| {
                if let Some(session) = session {
                    tell(session);
                }
            });
        }
    }
}

/// How a client takes payloads, if not as they are.
pub(super) fn accepted(headers: &HeaderMap) -> Option<Encoding> {
    let asked = headers.get(ACCEPT_ENCODING);
    negotiate(asked, &[Encoding::Gzip, Encoding::Deflate])
}

/// A polling payload, compressed if that is worth it and the client takes it.
pub(super) fn payload(body: Bytes, binary: bool, accepted: Option<Encoding>) -> Answer {
    let encoding = accepted.filter(|_| body.len() >= COMPRESSION_THRESHOLD);
    let body = match encoding {
        Some(encoding) => compress(encoding, &body).into(),
        None => body,
    };
    let mut answer = Response::new(Full::new(body));
    let headers = answer.headers_mut();
    headers.insert(
        CONTENT_TYPE,
        HeaderValue::from_static(match binary {
            true => "application/octet-stream",
            false => "text/plain; charset=UTF-8",
        }),
    );
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Some(encoding) = encoding {
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static(encoding.name()));
        headers.append(VARY, HeaderValue::from_static("Accept-Encoding"));
    }
    answer
}

/// The answer to a post.
fn taken() -> Answer {
    let mut answer = Response::new(Full::new(Bytes::from_static(b"ok")));
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html"));
    headers.insert(CONTENT_LENGTH, HeaderValue::from_static("2"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}
