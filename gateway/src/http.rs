//! HTTP on the clients' port: Engine.IO requests, the client's files, the demo page. And WebTransport, which is HTTP/3.

use std::cell::Cell;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body_util::{Either, Full};
use hyper::body::Incoming;
use hyper::header::{ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tracing::debug;

use crate::count::{Label, Refused};
use crate::engine::attached::Attached;
use crate::engine::held::Held;
use crate::engine::node::Node;
use crate::engine::shard::Shard;
use crate::engine::strangers::Stranger;
use crate::engine::websocket::driver;
use crate::forward::{self, Relayed};
use crate::net::proxy;
use crate::net::stream::Stream;
use crate::net::tls_stream::TlsStream;
use crate::peers::{self, Tunnel};
use crate::trace::{Line, What, cut};

mod body;
pub(crate) mod cors;
mod engineio;
mod opened;
mod opening;
mod refusal;
mod rewound;
#[cfg(feature = "webtransport")]
pub(crate) mod webtransport;

use opening::{Entrant, First, Opening};
use rewound::Rewound;

pub(crate) use refusal::Refusal;

/// What answers a client.
pub(crate) type Answer = Response<Full<Bytes>>;

/// The same, or what another node answered.
type Outgoing = Response<Either<Full<Bytes>, Relayed>>;

/// What came of a request.
struct Served {
    answer: Outgoing,
    /// What the connection becomes when the answer is sent, if not one for another request.
    next: Option<Next>,
}

impl Served {
    fn with_next(answer: Answer, next: Next) -> Self {
        Self {
            next: Some(next),
            ..Self::from(answer)
        }
    }

    /// What another node answered, whose session is meant.
    fn of_owner(answer: Response<Relayed>, next: Option<Next>) -> Self {
        Self {
            answer: answer.map(Either::Right),
            next,
        }
    }
}

impl From<Answer> for Served {
    fn from(answer: Answer) -> Self {
        Self {
            answer: answer.map(Either::Left),
            next: None,
        }
    }
}

/// What a connection becomes after its HTTP upgrade was answered.
pub(crate) enum Next {
    /// The WebSocket of a new session.
    Session(Attached),
    /// The WebSocket that probes for a session.
    Probe(driver::Probe),
    /// The WebSocket of a session of another node.
    Tunnel(Tunnel),
}

/// Who is at the other end of a connection.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peer {
    /// Where it came from, if nobody in between knows better.
    address: SocketAddr,
    /// By TLS.
    secure: bool,
    /// The address is the one that a PROXY protocol header told: nobody knows better, and the client
    /// may write any address into `X-Forwarded-For`.
    announced: bool,
    /// It is another node, which forwards requests of its clients and says whose they are.
    is_node: bool,
}

/// Most headers of a request.
///
/// Node takes 2000, and no more than fit into 16 KiB.
pub(crate) const MAX_HEADERS: usize = 2000;

/// Headers, and bytes of them, that another node may add to those of its client.
const ADDED_HEAD: (usize, usize) = (8, 512);

/// An IPv4 address in IPv4's notation, also if it came by a socket of IPv6.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// Serves a client's connection on this shard for as long as it lasts.
pub(crate) fn serve(shard: &Rc<Shard>, stream: std::net::TcpStream, address: SocketAddr) {
    let peer = Peer {
        address: canonical(address),
        secure: false,
        announced: false,
        is_node: false,
    };
    serve_peer(Held::counted(shard), stream, peer);
}

/// Serves a connection on which another node forwards its clients' requests.
pub(crate) fn serve_node(shard: &Rc<Shard>, stream: std::net::TcpStream, address: SocketAddr) {
    let peer = Peer {
        address: canonical(address),
        secure: false,
        announced: false,
        is_node: true,
    };
    serve_peer(Held::new(shard), stream, peer);
}

fn serve_peer(held: Held, stream: std::net::TcpStream, peer: Peer) {
    tokio::task::spawn_local(Connection::Opening(Box::pin(open(held, stream, peer))));
}

/// Has the runtime of the shard know a connection.
fn known(stream: std::net::TcpStream, peer: Peer) -> Option<TcpStream> {
    let lost = |error: &std::io::Error| debug!(target: "gateway::http", address = %peer.address, %error, "connection lost before it was served");
    TcpStream::from_std(stream).inspect_err(lost).ok()
}

/// The task of a connection.
///
/// ```text
///     Opening --a WebSocket of this shard--> WebSocket --> its end
///        +------one of another node's session--> Tunnel ------^
///        +------served, refused, or handed to another shard---^
/// ```
///
/// What is kept for a WebSocket is little: the rest is boxed, and gone when the next stage begins.
enum Connection {
    Opening(Pin<Box<dyn Future<Output = Option<Self>>>>),
    WebSocket(driver::Task),
    Tunnel(Pin<Box<dyn Future<Output = ()>>>),
}

impl Future for Connection {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if let Self::Opening(opening) = &mut *self {
            match ready!(opening.as_mut().poll(context)) {
                Some(next) => *self = next,
                None => return Poll::Ready(()),
            }
        }
        match &mut *self {
            Self::WebSocket(task) => Pin::new(task).poll(context),
            Self::Tunnel(tunnel) => tunnel.as_mut().poll(context),
            Self::Opening(_) => Poll::Ready(()),
        }
    }
}

/// Serves a connection until it becomes a WebSocket, or to its end.
async fn open(held: Held, stream: std::net::TcpStream, peer: Peer) -> Option<Connection> {
    let (next, stream, read) = serve_stranger(held.shard(), stream, peer).await?;
    match next {
        Next::Session(attached) => {
            let task = driver::Task::begin(held, attached, stream, read);
            Some(Connection::WebSocket(task))
        }
        Next::Probe(probe) => {
            driver::hand_over(held, probe, stream, read).map(Connection::WebSocket)
        }
        Next::Tunnel(tunnel) => Some(Connection::Tunnel(Box::pin(async move {
            peers::run_tunnel(held.shard().links(), stream, read, tunnel).await;
        }))),
    }
}

/// What comes before the WebSocket of a connection, if one comes.
async fn serve_stranger(
    shard: &Rc<Shard>,
    stream: std::net::TcpStream,
    peer: Peer,
) -> Option<(Next, Stream, Vec<u8>)> {
    if peer.is_node {
        let stream = Rewound::new(Vec::new(), Stream::Plain(known(stream, peer)?));
        return Box::pin(speak_http(Rc::clone(shard), stream, peer, None)).await;
    }
    let greets = shard.node().tls().is_some() || shard.settings().proxy.protocol;
    let came = match greets {
        true => Ok(None),
        false => opening::look(shard, &stream),
    };
    let came = match came {
        Ok(Some(First::WebSocket(asked))) => {
            let answered = opening::answer(shard, Entrant::Fresh(stream), peer, *asked).await;
            let lost = |error: &std::io::Error| refuse(shard, peer.address, Refused::Http, error);
            let (attached, stream, read) = answered.inspect_err(lost).ok()??;
            return Some((Next::Session(attached), stream, read));
        }
        Ok(Some(First::Nothing)) => return None,
        Ok(Some(First::Other(read))) => Some(read),
        Ok(None) => None,
        Err(error) => {
            refuse(shard, peer.address, Refused::Http, &error);
            return None;
        }
    };
    let (shard, stream) = (Rc::clone(shard), known(stream, peer)?);
    let stranger = Rc::new(Stranger::new(&shard));
    tokio::select! {
        biased;
        served = serve_http(Rc::clone(&shard), stream, (peer, greets), came, &stranger) => served,
        () = stranger.sent_away() => {
            refuse(&shard, peer.address, Refused::Silent, &"others need its place");
            None
        }
    }
}

async fn serve_http(
    shard: Rc<Shard>,
    stream: TcpStream,
    (peer, greets): (Peer, bool),
    came: Option<Vec<u8>>,
    stranger: &Rc<Stranger>,
) -> Option<(Next, Stream, Vec<u8>)> {
    let (stream, peer) = if greets {
        Box::pin(greet(&shard, stream, peer)).await?
    } else {
        if came.is_some() {
            // Before the runtime has heard of it hyper could not write, and would give up what refuses a bad request.
            let _loss_is_seen_later = stream.writable().await;
        }
        (Stream::Plain(stream), peer)
    };
    let opening = match came {
        Some(read) => Ok(Opening::Other(stream, read)),
        None => opening::receive(&shard, stream, peer, stranger).await,
    };
    match opening {
        Ok(Opening::WebSocket((attached, stream, read))) => {
            Some((Next::Session(attached), stream, read))
        }
        Ok(Opening::Other(stream, read)) => {
            let stream = Rewound::new(read, stream);
            let stranger = Some(Rc::clone(stranger));
            Box::pin(speak_http(shard, stream, peer, stranger)).await
        }
        Ok(Opening::End) => None,
        Err(error) => {
            refuse(&shard, peer.address, Refused::Http, &error);
            None
        }
    }
}

/// Serves requests, until one has the connection become something else.
async fn speak_http(
    shard: Rc<Shard>,
    stream: Rewound,
    peer: Peer,
    stranger: Option<Rc<Stranger>>,
) -> Option<(Next, Stream, Vec<u8>)> {
    let limits = shard.limits();
    let mut builder = http1::Builder::new();
    let (patience, added) = if peer.is_node {
        (forward::IDLE_LIMIT, ADDED_HEAD)
    } else {
        (limits.header_timeout, (0, 0))
    };
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(patience)
        .max_headers(MAX_HEADERS + added.0)
        .max_buf_size(limits.request_headers + added.1);
    let next = Rc::new(Cell::new(None));
    let service = service_fn({
        let (shard, next) = (Rc::clone(&shard), Rc::clone(&next));
        move |request| {
            let (shard, next) = (Rc::clone(&shard), Rc::clone(&next));
            let stranger = stranger.clone();
            // Boxed, or hyper would keep its place between requests.
            let answered = async move {
                if let Some(stranger) = &stranger {
                    stranger.asks();
                }
                let of_engine = is_of_engine(&shard, request.uri().path());
                let Served {
                    mut answer,
                    next: becomes,
                } = route(&shard, request, peer).await;
                next.set(becomes);
                if let Some(stranger) = &stranger {
                    stranger.was_answered(of_engine && answer.status() == StatusCode::OK);
                }
                part(&shard, peer, &mut answer);
                Ok::<_, std::convert::Infallible>(answer)
            };
            Box::pin(answered)
        }
    });
    let parts = match builder
        .serve_connection(TokioIo::new(stream), service)
        .without_shutdown()
        .await
    {
        Ok(parts) => parts,
        Err(error) => {
            if error.is_incomplete_message() {
                debug!(target: "gateway::http", address = %peer.address, %error, "connection lost");
            } else {
                refuse(&shard, peer.address, Refused::Http, &error);
            }
            return None;
        }
    };
    let next = next.take()?;
    // Not the buffer itself: even empty it keeps 8 KiB.
    let mut read = parts.read_buf.to_vec();
    let (stream, not_given) = parts.io.into_inner().into_parts();
    read.extend_from_slice(&not_given);
    Some((next, stream, read))
}

/// What comes before HTTP: the header of a proxy, then TLS.
async fn greet(shard: &Shard, mut stream: TcpStream, mut peer: Peer) -> Option<(Stream, Peer)> {
    let config = shard.settings();
    if config.proxy.announces(peer.address.ip()) {
        let header = in_time(shard, proxy::protocol::read(&mut stream)).await;
        match header {
            Ok(Some(client)) => {
                peer.address = canonical(client);
                peer.announced = true;
            }
            // What the proxy does not know, a header of the client tells even less.
            Ok(None) => peer.announced = true,
            Err(error) => {
                refuse(shard, peer.address, Refused::ProxyProtocol, &error);
                return None;
            }
        }
    }
    let Some(config) = shard.node().tls() else {
        return Some((Stream::Plain(stream), peer));
    };
    match in_time(shard, TlsStream::accept(Arc::clone(config), stream)).await {
        Ok(stream) => {
            peer.secure = true;
            Some((Stream::Tls(Box::new(stream)), peer))
        }
        Err(error) => {
            refuse(shard, peer.address, Refused::Tls, &error);
            None
        }
    }
}

/// What takes longer than the head of a request may is an error.
async fn in_time<T, E: Into<Box<dyn std::error::Error>>>(
    shard: &Shard,
    greeting: impl Future<Output = Result<T, E>>,
) -> Result<T, Box<dyn std::error::Error>> {
    let limit = shard.limits().header_timeout;
    tokio::time::timeout(limit, greeting)
        .await?
        .map_err(Into::into)
}

/// Counts a connection that is closed without an answer of ours, and says why.
fn refuse(shard: &Shard, address: SocketAddr, reason: Refused, error: &dyn std::fmt::Display) {
    shard.counters().refused.now(reason).increment();
    debug!(target: "gateway::http", %address, reason = reason.label(), %error, "connection refused");
    if shard.traces().has_addresses() {
        trace_refusal(shard, address, reason, Some(error.to_string()));
    }
}

/// Tells those who trace the address.
#[cold]
fn trace_refusal(shard: &Shard, address: SocketAddr, reason: Refused, more: Option<String>) {
    let line = Line::with(What::Refused, |line| {
        line.address = Some(address.to_string());
        line.reason = Some(match more {
            Some(more) => format!("{}: {}", reason.label(), cut(&more)),
            None => reason.label().to_owned(),
        });
    });
    let traces = shard.traces();
    traces.write(traces.of_address(address.ip()), &line);
}

/// Has the client of a draining node come back on a new connection, which a balancer sends
/// elsewhere.
fn part(shard: &Shard, peer: Peer, answer: &mut Outgoing) {
    let stays = peer.is_node || answer.status() == StatusCode::SWITCHING_PROTOCOLS;
    if shard.node().drain().has_begun() && !stays {
        answer
            .headers_mut()
            .insert(CONNECTION, HeaderValue::from_static("close"));
    }
}

async fn route(shard: &Rc<Shard>, mut request: Request<Incoming>, mut peer: Peer) -> Served {
    if peer.is_node {
        match forward::take_client(request.headers_mut()) {
            Some(client) => (peer.address, peer.secure) = (client.address, client.secure),
            None => return Refusal::BadRequest.answer().into(),
        }
    }
    let node = shard.node();
    let path = request.uri().path();
    if node.config().listen_health.as_deref() == Some(path) {
        return health(node, request.method()).into();
    }
    let Some(index) = node.mounts().iter().position(|mount| mount.has(path)) else {
        let assets = node.assets();
        let page = assets.respond_page(request.method(), path, request.headers());
        return page.unwrap_or_else(not_found).into();
    };
    let mount = &node.mounts()[index];
    let origin = cors::Origin::of(request.headers());
    let cors = &shard.settings().cors;
    if *request.method() == Method::OPTIONS && cors::is_enabled(cors) {
        if let Some(foreign) = cors::foreign(cors, request.headers()) {
            cors::tell(node.told_of_origins(), foreign, false);
        }
        return cors::preflight(cors, &origin, request.headers()).into();
    }
    let name = path.get(mount.path.len()..).unwrap_or_default();
    let has_files = mount.layer.has_client_files();
    let assets = has_files.then(|| node.assets());
    let file = assets.and_then(|it| it.respond(request.method(), name, request.headers()));
    let mut served = match file {
        Some(file) => file.into(),
        None => engineio::respond(shard, index as u8, request, peer).await,
    };
    // The owner of a session has said already what a page of another origin may read.
    if let Either::Left(_) = served.answer.body() {
        cors::allow(cors, &origin, served.answer.headers_mut());
    }
    served
}

/// Whether a path is one of Engine.IO, and not that of a file.
fn is_of_engine(shard: &Shard, path: &str) -> bool {
    let mut mounts = shard.node().mounts().iter();
    mounts.any(|mount| mount.is_at(path))
}

/// Whether the node is ready, and no more: every client may ask.
fn health(node: &Node, method: &Method) -> Answer {
    let (status, body) = match (method, node.unready()) {
        (&Method::GET | &Method::HEAD, None) => (StatusCode::OK, "{\"ready\":true}".to_owned()),
        (&Method::GET | &Method::HEAD, Some(unready)) => (
            StatusCode::SERVICE_UNAVAILABLE,
            format!("{{\"ready\":false,\"reason\":\"{}\"}}", unready.reason()),
        ),
        _ => (StatusCode::METHOD_NOT_ALLOWED, "{}".to_owned()),
    };
    let mut answer = Response::new(Full::new(Bytes::from(body)));
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if status == StatusCode::METHOD_NOT_ALLOWED {
        headers.insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
    }
    answer
}

fn not_found() -> Answer {
    let mut answer = Response::new(Full::new(Bytes::from_static(b"Not found\n")));
    *answer.status_mut() = StatusCode::NOT_FOUND;
    answer
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::session::Session;

    /// Most bytes of a connection's future. The runtime adds about 130 and rounds up to a multiple of 128.
    const MOST_OF_CONNECTION: usize = 64;

    /// Most bytes of a session; two counts are beside it, and an allocator rounds 512 up to the next eighth.
    const MOST_OF_SESSION: usize = 496;

    #[test]
    fn what_is_kept_for_each_client_is_little() {
        assert!(size_of::<Connection>() <= MOST_OF_CONNECTION);
        assert!(size_of::<Session>() <= MOST_OF_SESSION);
    }

    /// Most bytes of the future of a request, which is there as long as a poll waits.
    const MOST_OF_REQUEST: usize = 2304;

    #[test]
    fn what_is_kept_for_each_poll_that_waits_is_little() {
        fn size<F>(
            _request: impl FnOnce(&'static Rc<Shard>, Request<Incoming>, Peer) -> F,
        ) -> usize {
            size_of::<F>()
        }
        assert!(size(route) <= MOST_OF_REQUEST, "{} bytes", size(route));
    }
}
