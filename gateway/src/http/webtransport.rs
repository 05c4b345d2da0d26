//! WebTransport: from the first packet of a connection to its session.
//!
//! A session is one stream that the client opens. Its first frame says what it is for: `0` opens a session, and
//! `0{"sid":".."}` is a session's upgrade.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;

use hyper::header::{HOST, HeaderName, HeaderValue};
use hyper::{Request, Uri};
use protocol::engineio::Transport;
use protocol::webtransport::{StreamFrame, StreamReader};
use serde::Deserialize;
use tokio::io::{AsyncRead, ReadBuf};
use tracing::debug;
use wtransport::endpoint::endpoint_side::Server;
use wtransport::endpoint::{IncomingSession, SessionRequest};
use wtransport::{Endpoint, RecvStream};

use super::{Peer, Refusal, canonical, cors, engineio, in_time, opened, refuse};
use crate::count::{Refused, Unknown, Upgraded};
use crate::engine::attached::Attached;
use crate::engine::shard::Shard;
use crate::engine::webtransport::{NO_ERROR, Pipe, Seat, driver};
use crate::net::ids::Sid;

/// Connections of WebTransport without a session that a shard has at a time.
const NEWCOMERS: usize = 256;

/// How many of them may be amid QUIC's handshake or before their request.
const HANDSHAKES: usize = 64;

/// If more are, the next ones have to show first that they are where they say, so that nobody fills the places with
/// addresses of others.
const TRUSTED_HANDSHAKES: usize = 16;

/// Longest first frame, in bytes.
const FIRST_FRAME: usize = 1024;

/// Accepts connections for as long as it is polled.
pub(crate) async fn accept(shard: &Rc<Shard>, endpoint: &Endpoint<Server>) {
    let (newcomers, handshakes) = (Places::new(NEWCOMERS), Places::new(HANDSHAKES));
    loop {
        let incoming = endpoint.accept().await;
        let address = canonical(incoming.remote_address());
        if handshakes.taken() >= TRUSTED_HANDSHAKES && !incoming.remote_address_validated() {
            incoming.retry();
            continue;
        }
        let (Some(newcomer), Some(handshake)) = (newcomers.take(), handshakes.take()) else {
            refuse(
                shard,
                address,
                Refused::Silent,
                &"too many are without a session",
            );
            incoming.refuse();
            continue;
        };
        let shard = Rc::clone(shard);
        tokio::task::spawn_local(async move {
            let received = receive(&shard, incoming, address, handshake);
            let received = Box::pin(received).await;
            drop(newcomer);
            match received {
                Some((First::Open(attached), pipe, read)) => {
                    driver::run(attached, pipe, read).await;
                }
                Some((First::Upgrade(sid), pipe, read)) => {
                    driver::hand_over(&shard, sid, pipe, read).await;
                }
                None => {}
            }
        });
    }
}

/// Places, of which each that is taken is a handle of the same.
struct Places {
    all: Rc<()>,
    most: usize,
}

impl Places {
    fn new(most: usize) -> Self {
        let all = Rc::default();
        Self { all, most }
    }

    fn taken(&self) -> usize {
        Rc::strong_count(&self.all) - 1
    }

    /// A place until what is returned is dropped.
    fn take(&self) -> Option<Rc<()>> {
        (self.taken() < self.most).then(|| Rc::clone(&self.all))
    }
}

/// What a client wants with its stream, which may be read further.
enum First {
    Open(Attached),
    Upgrade(Sid),
}

/// Waits for a client's request, its stream and its first frame, and does what that asks for.
async fn receive(
    shard: &Rc<Shard>,
    incoming: IncomingSession,
    address: SocketAddr,
    handshake: Rc<()>,
) -> Option<(First, Pipe, Vec<u8>)> {
    let asked = match in_time(shard, incoming.into_future()).await {
        Ok(asked) => asked,
        Err(error) => {
            refuse(shard, address, Refused::Tls, &error);
            return None;
        }
    };
    drop(handshake);
    let peer = Peer {
        address,
        secure: true,
        announced: true,
        is_node: false,
    };
    let (mount, request, seat) = match admit(shard, &asked) {
        Ok(admitted) => admitted,
        Err(refusal) => {
            if let Some(refusal) = &refusal {
                engineio::refuse(shard, peer, refusal, false);
            }
            let _told_or_gone = in_time(shard, tell(asked, refusal)).await;
            return None;
        }
    };
    let limit = shard.node().config().engine.upgrade_timeout;
    let first = tokio::time::timeout(limit, receive_first(shard, asked, seat)).await;
    let (first, pipe, read) = match first {
        Ok(Ok(first)) => first,
        Ok(Err(error)) => {
            refuse(shard, address, Refused::BadRequest, &error);
            return None;
        }
        Err(late) => {
            refuse(shard, address, Refused::Silent, &late);
            return None;
        }
    };
    match understand(shard, mount, request, peer, &first).await {
        Ok(Some(first)) => return Some((first, pipe, read)),
        Ok(None) => {}
        Err(refusal) => {
            engineio::refuse(shard, peer, &refusal, false);
        }
    }
    pipe.connection.close(NO_ERROR, b"");
    None
}

/// Whether a request may come to a session, and where; `None` if nothing is at its path.
fn admit(
    shard: &Rc<Shard>,
    asked: &SessionRequest,
) -> Result<(u8, Request<()>, Seat), Option<Refusal>> {
    let node = shard.node();
    let request = request_of(asked).ok_or(Refusal::BadRequest)?;
    let path = request.uri().path();
    let mount = node.mounts().iter().position(|mount| mount.is_at(path));
    let mount = mount.ok_or(None)?;
    if node.drain().refuses() {
        return Err(Some(Refusal::Draining));
    }
    let cors = &shard.settings().cors;
    if let Some(foreign) = cors::foreign(cors, request.headers()) {
        cors::tell(node.told_of_origins(), foreign, true);
        return Err(Some(Refusal::Forbidden(Some(
            "Origin not allowed".to_owned(),
        ))));
    }
    let seat = Seat::take(node).ok_or(Refusal::ConnectionLimit)?;
    Ok((mount as u8, request, seat))
}

/// The request as one of HTTP/1.1 would be; `None` if it cannot be one.
fn request_of(asked: &SessionRequest) -> Option<Request<()>> {
    let mut request = Request::new(());
    *request.uri_mut() = asked.path().parse::<Uri>().ok()?;
    let headers = request.headers_mut();
    let mut add = |name: HeaderName, value: &str| {
        headers.append(name, HeaderValue::from_str(value).ok()?);
        Some(())
    };
    add(HOST, asked.authority())?;
    for (name, value) in asked.headers() {
        if !name.starts_with(':') && name != HOST.as_str() {
            add(HeaderName::from_bytes(name.as_bytes()).ok()?, value)?;
        }
    }
    Some(request)
}

/// Answers a request that is refused.
async fn tell(asked: SessionRequest, refusal: Option<Refusal>) -> Result<(), std::io::Error> {
    match refusal {
        None => asked.not_found().await,
        Some(Refusal::Forbidden(_) | Refusal::BadRequest) => asked.forbidden().await,
        Some(_) => asked.too_many_requests().await,
    }
    Ok(())
}

/// Waits for the stream and its first frame, and returns what came behind it.
async fn receive_first(
    shard: &Shard,
    asked: SessionRequest,
    seat: Seat,
) -> Result<(String, Pipe, Vec<u8>), Box<dyn std::error::Error>> {
    let connection = asked.accept().await?;
    let (send, mut receive) = connection.accept_bi().await?;
    let (first, read) = read_first(shard, &mut receive).await?;
    let pipe = Pipe {
        connection,
        send,
        receive,
        _seat: seat,
    };
    Ok((first, pipe, read))
}

async fn read_first(
    shard: &Shard,
    receive: &mut RecvStream,
) -> Result<(String, Vec<u8>), Box<dyn std::error::Error>> {
    let mut reader = StreamReader::new();
    loop {
        let piece = poll_fn(|context| {
            let mut scratch = shard.take_scratch();
            let mut buffer = ReadBuf::new(&mut scratch);
            let polled = Pin::new(&mut *receive).poll_read(context, &mut buffer);
            let piece = polled.map_ok(|()| buffer.filled().to_vec());
            shard.give_scratch(scratch);
            piece
        });
        let piece = piece.await?;
        if piece.is_empty() {
            return Err("the stream ended before its first frame".into());
        }
        let mut input = &piece[..];
        match reader.next(&mut input, FIRST_FRAME)? {
            Some(StreamFrame::Text(text)) => return Ok((text.into_owned(), input.to_vec())),
            Some(StreamFrame::Binary(_)) => return Err("the first frame is binary".into()),
            None => {}
        }
    }
}

/// What the first frame of an upgrade says.
#[derive(Deserialize)]
struct Upgrade {
    sid: String,
}

/// Does what the first frame asks for, as far as the session is not needed for it. `None` if it asks for a session of
/// another node, to which a stream of QUIC cannot be brought.
async fn understand(
    shard: &Rc<Shard>,
    mount: u8,
    request: Request<()>,
    peer: Peer,
    first: &str,
) -> Result<Option<First>, Refusal> {
    let data = first.strip_prefix('0').ok_or(Refusal::BadRequest)?;
    if data.is_empty() {
        let session = opened::open_stream(shard, mount, &request, peer).await?;
        let transport = Transport::WebTransport;
        session.push_open(&opened::open_packet(shard, &session, transport));
        session.announce();
        return Ok(Some(First::Open(Attached::new(session))));
    }
    let asked: Upgrade = serde_json::from_str(data).map_err(|_| Refusal::BadRequest)?;
    let sid = Sid::parse(&asked.sid).ok_or(Refusal::UnknownSid(Unknown::NeverIssued))?;
    let node = shard.node();
    if !node.config().engine.allow_upgrades {
        return Err(Refusal::BadRequest);
    }
    if node.drain().has_begun() {
        return Err(Refusal::NoUpgradeNow);
    }
    if sid.node() != node.tag() {
        // The client stays on its transport, and probes the next one.
        shard.counters().upgrades.of(Upgraded::Refused).increment();
        debug!(target: "gateway::webtransport", address = %peer.address, "upgrade refused: the session is another node's");
        return Ok(None);
    }
    Ok(Some(First::Upgrade(sid)))
}
