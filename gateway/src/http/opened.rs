//! Sessions that requests open: who may, and what the client is told.

use std::rc::Rc;

use bytes::Bytes;
use fastwebsockets::upgrade;
use http_body_util::Full;
use hyper::Request;
use hyper::header::{HeaderMap, HeaderValue, SEC_WEBSOCKET_PROTOCOL, SET_COOKIE};
use protocol::Dialect;
use protocol::engineio::{Revision, Transport, old_payload};

use super::engineio::{accepted, payload};
use super::{Answer, Next, Peer, Refusal, Served, cors};
use crate::engine::admission::Admission;
use crate::engine::attached::Attached;
use crate::engine::gate::Permit;
use crate::engine::handshake::Handshake;
use crate::engine::session::Session;
use crate::engine::shard::Shard;

/// A session that was opened.
pub(super) enum Opened {
    /// The answer holds the open packet.
    Polling(Answer),
    /// The answer switches protocols; the open packet is to follow.
    WebSocket(Answer, Rc<Session>),
}

impl Opened {
    /// The answer, with the open packet in it or behind it.
    pub(super) fn into_served(self, shard: &Shard) -> Served {
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
    dialect: Dialect,
) -> Result<Opened, Refusal> {
    let (handshake, permit) = admit(shard, mount, request, peer).await?;
    match transport {
        Transport::Polling => {
            let session = shard.open(mount, transport, handshake, dialect);
            session.set_counted(permit.used(&shard.limits()));
            let mut body = open_packet(shard, &session, transport);
            if dialect.revision() == Revision::Three {
                body = old_payload::single(&body);
            }
            let mut answer = payload(body.into(), false, accepted(request.headers()));
            set_cookie(shard, &session, answer.headers_mut());
            session.announce();
            Ok(Opened::Polling(answer))
        }
        Transport::WebSocket => {
            let mut answer = switch_protocols(request)?;
            let session = shard.open(mount, transport, handshake, dialect);
            session.set_counted(permit.used(&shard.limits()));
            set_cookie(shard, &session, answer.headers_mut());
            Ok(Opened::WebSocket(answer, session))
        }
        // No request asks for it.
        Transport::WebTransport => Err(Refusal::UnknownTransport),
    }
}

/// Opens a session whose stream is there already, if it may be.
#[cfg(feature = "webtransport")]
pub(super) async fn open_stream(
    shard: &Rc<Shard>,
    mount: u8,
    request: &Request<()>,
    peer: Peer,
) -> Result<Rc<Session>, Refusal> {
    let (handshake, permit) = admit(shard, mount, request, peer).await?;
    let session = shard.open(mount, Transport::WebTransport, handshake, Dialect::Json);
    session.set_counted(permit.used(&shard.limits()));
    Ok(session)
}

/// Whether a session may be opened, and what is known of its client.
async fn admit<'a, B>(
    shard: &'a Shard,
    mount: u8,
    request: &Request<B>,
    peer: Peer,
) -> Result<(Handshake, Permit<'a>), Refusal> {
    let node = shard.node();
    if node.drain().refuses() {
        return Err(Refusal::Draining);
    }
    let cors = &shard.settings().cors;
    if let Some(foreign) = cors::foreign(cors, request.headers()) {
        cors::tell(node.told_of_origins(), foreign, cors.enforce);
        if cors.enforce {
            return Err(Refusal::Forbidden(Some("Origin not allowed".to_owned())));
        }
    }
    let is_full = || {
        let limit = shard.limits().connections;
        limit.is_some_and(|limit| node.session_count() >= limit.get())
    };
    if is_full() {
        return Err(Refusal::ConnectionLimit);
    }
    let permit = node.gate().enter(peer.address.ip(), &shard.limits())?;
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
    Ok((handshake, permit))
}

/// The packet that tells a client its session.
pub(super) fn open_packet(shard: &Shard, session: &Session, transport: Transport) -> String {
    let config = shard.node().config();
    let engine = &config.engine;
    let can_upgrade = transport == Transport::Polling
        && engine.allow_upgrades
        && !shard.node().drain().has_begun();
    let websocket = can_upgrade && engine.transports.websocket;
    // Clients of revision 3 do not know it.
    let is_known = session.revision() == Revision::Four;
    let webtransport = can_upgrade && is_known && config.webtransport.is_some();
    let upgrades = match (websocket, webtransport) {
        (false, false) => "",
        (true, false) => "\"websocket\"",
        (false, true) => "\"webtransport\"",
        (true, true) => "\"websocket\",\"webtransport\"",
    };
    let sid = session.sid().reveal();
    [
        "0{\"sid\":\"",
        sid,
        "\",\"upgrades\":[",
        upgrades,
        shard.open_tail(),
    ]
    .concat()
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
pub(super) fn switch_protocols<B>(request: &mut Request<B>) -> Result<Answer, Refusal> {
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
