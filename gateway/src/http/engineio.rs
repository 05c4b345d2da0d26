//! Engine.IO requests: verification, handshakes, polls, posts and upgrades.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use fastwebsockets::upgrade;
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Incoming};
use hyper::header::{
    CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderValue, ORIGIN,
    SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, SET_COOKIE, VARY,
};
use hyper::{Method, Request, Response};
use protocol::engineio::Transport;
use tokio::sync::oneshot;
use tracing::debug;

use super::{Answer, Next, Peer, Refusal, Served, cors};
use crate::count::Label;
use crate::count::{Kind, Unknown};
use crate::engine::admission::Admission;
use crate::engine::handshake::Handshake;
use crate::engine::session::{PollReply, Session};
use crate::engine::shard::Shard;
use crate::engine::websocket::driver::Attached;
use crate::forward::{self, Forwarded};
use crate::net::encoding::{Encoding, compress, negotiate};
use crate::net::ids::Sid;
use crate::net::proxy;
use crate::net::query::EngineQuery;
use crate::peers::Client;

/// The revision of Engine.IO that is spoken here.
const REVISION: &str = "4";

/// Payloads from this size on are compressed for clients that take it, as in Node.
const COMPRESSION_THRESHOLD: usize = 1024;

/// Bytes of a refused body that are read and thrown away, so that the client sees the answer
/// instead of a reset connection.
const MAX_DISCARDED_BYTES: usize = 16 * 1024 * 1024;

/// Answers an Engine.IO request, or has the node answer whose session is meant.
pub(super) async fn respond(
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
        Ok(Verified::Handshake { transport, base64 }) => {
            let opened = handshake(shard, mount, &mut request, peer, transport, base64).await;
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
        Ok(Verified::Upgrade { sid } | Verified::Request { sid } | Verified::Mismatch { sid })
            if sid.node() != shard.node().tag() && !peer.is_node =>
        {
            let target = (Kind::of(&request, websocket), sid);
            match forward::forward(shard, request, peer.into(), target).await {
                Ok(Forwarded::Answer(answer)) => Ok(Served::of_owner(answer, None)),
                Ok(Forwarded::Tunnel(head, tunnel)) => {
                    Ok(Served::of_owner(head, Some(Next::Tunnel(tunnel))))
                }
                Err(why) => Err(why.into()),
            }
        }
        Ok(Verified::Upgrade { sid }) => probe(shard, &mut request, sid).await,
        Ok(Verified::Request { sid }) if peer.is_node && forward::is_release(request.headers()) => {
            shard.with_session(sid, |session| {
                session.into_iter().for_each(Session::handle_poll_released)
            });
            Ok(taken().into())
        }
        Ok(Verified::Request { sid }) if *request.method() == Method::GET => {
            poll(shard, sid, request.headers()).await.map(Served::from)
        }
        Ok(Verified::Request { sid }) => post(shard, sid, request).await.map(Served::from),
        Ok(Verified::Mismatch { sid }) => {
            if is_known(shard, sid).await {
                Err(Refusal::BadRequest)
            } else {
                Err(unknown(shard, sid))
            }
        }
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
    shard.counters().refused.of(reason).increment();
    debug!(target: "gateway::http::engineio", address = %peer.address, reason = reason.label(), "request refused");
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
        let proxy = &shard.node().config().proxy;
        self.address = proxy::client_address(proxy, self.address, headers);
        self
    }
}

/// What a request that passed verification asks for.
pub(super) enum Verified {
    Handshake {
        transport: Transport,
        base64: bool,
    },
    Upgrade {
        sid: Sid,
    },
    Request {
        sid: Sid,
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
    let is_revision = query.revision.as_deref() == Some(REVISION);
    if let Some(sid) = &query.sid {
        let sid = Sid::parse(sid).ok_or(Refusal::UnknownSid(Unknown::NeverIssued))?;
        return match (websocket, transport) {
            (false, Transport::Polling) if is_revision => Ok(Verified::Request { sid }),
            (true, Transport::WebSocket) if is_revision && engine.allow_upgrades => {
                websocket_handshake(request.headers())?;
                Ok(Verified::Upgrade { sid })
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
    if !is_revision {
        return Err(Refusal::UnsupportedVersion);
    }
    Ok(Verified::Handshake {
        transport,
        base64: query.base64,
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

/// A session that was opened.
pub(super) enum Opened {
    /// The answer holds the open packet.
    Polling(Answer),
    /// The answer switches protocols; the open packet is to follow.
    WebSocket(Answer, Rc<Session>),
}

impl Opened {
    /// The answer, with the open packet in it or behind it.
    fn into_served(self, shard: &Shard) -> Served {
        match self {
            Self::Polling(answer) => answer.into(),
            Self::WebSocket(answer, session) => {
                session.push_open(&open_packet(shard, &session, Transport::WebSocket));
                session.announce();
                Served::with_next(answer, Next::Session(Attached::new(session)))
            }
        }
    }
}

/// Opens a session, if it may be.
pub(super) async fn handshake<B>(
    shard: &Rc<Shard>,
    mount: u8,
    request: &mut Request<B>,
    peer: Peer,
    transport: Transport,
    base64: bool,
) -> Result<Opened, Refusal> {
    let node = shard.node();
    if node.drain().refuses() {
        return Err(Refusal::Draining);
    }
    let cors = &node.config().cors;
    if let Some(foreign) = cors::foreign(cors, request.headers()) {
        cors::tell(node.told_of_origins(), foreign, cors.enforce);
        if cors.enforce {
            return Err(Refusal::Forbidden(Some("Origin not allowed".to_owned())));
        }
    }
    let limit = node.config().limits.connections;
    let is_full = || limit.is_some_and(|limit| node.session_count() >= limit.get());
    if is_full() {
        return Err(Refusal::ConnectionLimit);
    }
    let permit = node.gate().enter(peer.address.ip())?;
    let target = request
        .uri()
        .path_and_query()
        .map_or("", |target| target.as_str());
    let handshake = Handshake::new(target, request.headers(), peer.address, peer.secure);
    match node.mounts()[usize::from(mount)].layer.admit(&handshake) {
        Admission::Admit => {}
        Admission::Forbid(message) => return Err(Refusal::Forbidden(Some(message))),
        Admission::Pending(decision) => {
            decision
                .await
                .map_err(|message| Refusal::Forbidden(Some(message)))?;
            // Others may have come meanwhile.
            if is_full() {
                return Err(Refusal::ConnectionLimit);
            }
        }
    }
    match transport {
        Transport::Polling => {
            let session = shard.open(mount, transport, handshake, base64);
            permit.used();
            let body = open_packet(shard, &session, transport);
            let mut answer = payload(body.into(), request.headers());
            set_cookie(shard, &session, answer.headers_mut());
            session.announce();
            Ok(Opened::Polling(answer))
        }
        Transport::WebSocket => {
            let mut answer = switch_protocols(request)?;
            let session = shard.open(mount, transport, handshake, base64);
            permit.used();
            set_cookie(shard, &session, answer.headers_mut());
            Ok(Opened::WebSocket(answer, session))
        }
    }
}

pub(super) fn open_packet(shard: &Shard, session: &Session, transport: Transport) -> String {
    let engine = &shard.node().config().engine;
    let can_upgrade = transport == Transport::Polling
        && engine.allow_upgrades
        && engine.transports.websocket
        && !shard.node().drain().has_begun();
    format!(
        "0{{\"sid\":\"{}\",\"upgrades\":[{}],\"pingInterval\":{},\"pingTimeout\":{},\"maxPayload\":{}}}",
        session.sid().reveal(),
        if can_upgrade { "\"websocket\"" } else { "" },
        engine.ping_interval.as_millis(),
        engine.ping_timeout.as_millis(),
        engine.max_payload,
    )
}

fn set_cookie(shard: &Shard, session: &Session, headers: &mut HeaderMap) {
    let engine = &shard.node().config().engine;
    if let Some(name) = &engine.cookie {
        let cookie = format!(
            "{}={}; Path=/; HttpOnly; SameSite={}{}",
            name.as_str(),
            session.sid().reveal(),
            engine.cookie_same_site.as_str(),
            if engine.cookie_secure { "; Secure" } else { "" },
        );
        if let Ok(cookie) = HeaderValue::from_str(&cookie) {
            headers.append(SET_COOKIE, cookie);
        }
    }
}

/// Answers a WebSocket's handshake.
fn switch_protocols<B>(request: &mut Request<B>) -> Result<Answer, Refusal> {
    let offered = request
        .headers()
        .get(SEC_WEBSOCKET_PROTOCOL)
        .and_then(|offered| offered.to_str().ok());
    let subprotocol = offered
        .and_then(|offered| offered.split(',').next())
        .and_then(|first| HeaderValue::from_str(first.trim()).ok());
    let (switch, _upgraded) = upgrade::upgrade(&mut *request).map_err(|_| Refusal::BadRequest)?;
    let mut answer = switch.map(|_| Full::new(Bytes::new()));
    if let Some(subprotocol) = subprotocol {
        answer
            .headers_mut()
            .insert(SEC_WEBSOCKET_PROTOCOL, subprotocol);
    }
    Ok(answer)
}

/// A WebSocket comes for a session that exists.
async fn probe(
    shard: &Rc<Shard>,
    request: &mut Request<Incoming>,
    sid: Sid,
) -> Result<Served, Refusal> {
    if !is_known(shard, sid).await {
        return Err(unknown(shard, sid));
    }
    let answer = switch_protocols(request)?;
    Ok(Served::with_next(answer, Next::Probe(sid)))
}

async fn is_known(shard: &Rc<Shard>, sid: Sid) -> bool {
    let (sender, receiver) = oneshot::channel();
    shard.with_session(sid, move |session| {
        let _gone = sender.send(session.is_some());
    });
    receiver.await.unwrap_or(false)
}

async fn poll(shard: &Rc<Shard>, sid: Sid, headers: &HeaderMap) -> Result<Answer, Refusal> {
    let (sender, receiver) = oneshot::channel();
    let number = shard.next_request();
    shard.with_session(sid, move |session| {
        if let Some(session) = session {
            session.handle_poll(number, sender);
        }
    });
    let mut given_up = GivenUp::new(shard, sid, move |session| {
        session.handle_poll_aborted(number)
    });
    let reply = receiver.await;
    given_up.disarm();
    match reply {
        Ok(PollReply::Payload(body)) => Ok(payload(Bytes::from_owner(body), headers)),
        Ok(PollReply::Denied(denied)) => Err(denied.into()),
        // No request that went wrong, so it is not counted as one.
        Ok(PollReply::Over) => Ok(Refusal::UnknownSid(Unknown::Closed).answer()),
        Err(_) => Err(unknown(shard, sid)),
    }
}

async fn post(shard: &Rc<Shard>, sid: Sid, request: Request<Incoming>) -> Result<Answer, Refusal> {
    let (sender, receiver) = oneshot::channel();
    let binary = request
        .headers()
        .get(CONTENT_TYPE)
        .is_some_and(|kind| kind == "application/octet-stream");
    shard.with_session(sid, move |session| {
        if let Some(session) = session {
            let head = if binary {
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
    let body = read_body(shard, request.into_body()).await;
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
            session.handle_post_body(body, sender);
        }
    });
    match receiver.await {
        Ok(()) => Ok(taken()),
        Err(_) => Err(unknown(shard, sid)),
    }
}

/// Waits while some shard is far behind, at most as long as a body may take.
async fn relieved(shard: &Shard) {
    let node = shard.node();
    let waiting = async {
        while node.is_behind() {
            let relief = Arc::clone(node.relieved()).notified_owned();
            if node.is_behind() {
                relief.await;
            }
        }
    };
    let _congested_still = tokio::time::timeout(node.config().limits.body_timeout, waiting).await;
}

enum BodyError {
    TooLarge,
    Timeout,
    Broken,
}

async fn read_body(shard: &Shard, mut body: Incoming) -> Result<Bytes, BodyError> {
    let limit = shard.node().config().engine.max_payload;
    let timeout = shard.node().config().limits.body_timeout;
    let announced = body.size_hint().lower();
    if announced > limit as u64 {
        if announced <= MAX_DISCARDED_BYTES as u64 {
            discard(body, timeout);
        }
        return Err(BodyError::TooLarge);
    }
    let reading = async {
        let mut whole = BytesMut::new();
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame.map_err(|_| BodyError::Broken)?.into_data() else {
                continue;
            };
            if whole.len() + data.len() > limit {
                return Err(BodyError::TooLarge);
            }
            if whole.is_empty() && body.is_end_stream() {
                return Ok(data);
            }
            whole.extend_from_slice(&data);
        }
        Ok(whole.freeze())
    };
    let read = tokio::time::timeout(timeout, reading)
        .await
        .unwrap_or(Err(BodyError::Timeout));
    if matches!(read, Err(BodyError::TooLarge)) {
        discard(body, timeout);
    }
    read
}

/// Reads on beside the answer.
fn discard(mut body: Incoming, timeout: std::time::Duration) {
    tokio::task::spawn_local(tokio::time::timeout(timeout, async move {
        let mut discarded = 0;
        while let Some(Ok(frame)) = body.frame().await {
            discarded += frame.data_ref().map_or(0, Bytes::len);
            if discarded > MAX_DISCARDED_BYTES {
                break;
            }
        }
    }));
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

/// A polling payload, compressed if that is worth it and the client takes it.
fn payload(body: Bytes, asked: &HeaderMap) -> Answer {
    let encoding = (body.len() >= COMPRESSION_THRESHOLD)
        .then(|| {
            negotiate(
                asked.get(hyper::header::ACCEPT_ENCODING),
                &[Encoding::Gzip, Encoding::Deflate],
            )
        })
        .flatten();
    let body = match encoding {
        Some(encoding) => compress(encoding, &body).into(),
        None => body,
    };
    let mut answer = Response::new(Full::new(body));
    let headers = answer.headers_mut();
    headers.insert(
        CONTENT_TYPE,
        HeaderValue::from_static("text/plain; charset=UTF-8"),
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
