//! One connection to a shard of another node.

use std::io;
use std::pin::pin;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::future::join;
use http_body_util::{Either, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{CONNECTION, HOST, HeaderName, HeaderValue, UPGRADE};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::AbortHandle;

use super::pool::{Failure, Owner, Permit};
use super::proof::{
    CHALLENGE, NONCE, PATH, PROOF, PROTOCOL, SHARD, SHARDS, Side, TAG, Terms, draw,
};
use super::tunnel::Tunnel;
use crate::config::Secret;

/// How long a node's machine may take to accept a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// How long the node may then take to let it in. A busy one is slow and alive.
const WELCOME_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a connection may be silent before the kernel asks whether its other end is there.
const PROBE_AFTER: Duration = Duration::from_secs(10);

/// How often it asks, and how often without an answer it takes the other end for dead.
const PROBE_EVERY: Duration = Duration::from_secs(5);
const PROBES: u32 = 3;

/// Parts into which those limits are cut.
const SLICES: u32 = 8;

/// What a request carries: what a client sends, or nothing.
pub(crate) type ForwardBody = Either<Incoming, Empty<Bytes>>;

/// A connection that the owner has welcomed. Dropped, it is closed, which the owner sees.
pub(crate) struct Link {
    sender: SendRequest<ForwardBody>,
    /// The connection itself, once the owner switched protocols.
    switched: oneshot::Receiver<(TcpStream, Vec<u8>)>,
    driver: Driver,
    permit: Permit,
    pub(crate) idle_since: Instant,
}

/// The task that reads and writes.
struct Driver(AbortHandle);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Why no answer came.
pub(crate) enum Broken {
    /// Nothing of the request was written.
    Unsent(Box<Request<ForwardBody>>),
    /// The owner may have read it.
    Lost,
}

/// Why a connection could not be had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("{0}")]
    Http(#[from] hyper::Error),
    #[error("no answer in time")]
    Timeout,
    #[error("another node, or a new start of this one, answers at its address")]
    Misdirected,
    #[error("it has only {0} shards, and not the one of the session")]
    NoSuchShard(usize),
    #[error(
        "it asks for cluster.secret, which is not set here: another cluster on the same redis.prefix?"
    )]
    SecretMissing,
    #[error(
        "cluster.secret is not the same there as here: another cluster on the same redis.prefix?"
    )]
    SecretDiffers,
    #[error("the other node is on another machine: set cluster.secret on all nodes")]
    NotLoopback,
    #[error("it answered with {0}")]
    Unexpected(StatusCode),
}

/// What an error says of the node that it was met with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Blame {
    /// The node cannot be had: neither can it for other requests.
    Node,
    /// What was asked for does not exist there. Clients can make that up.
    Request,
    /// This node has no descriptor or port left.
    Ourselves,
}

impl ConnectError {
    /// Whether the two nodes may be of two clusters.
    pub(crate) fn is_mismatch(&self) -> bool {
        matches!(self, Self::SecretMissing | Self::SecretDiffers)
    }

    pub(crate) fn blame(&self) -> Blame {
        match self {
            Self::NoSuchShard(_) => Blame::Request,
            Self::Io(error) if is_our_own(error) => Blame::Ourselves,
            Self::Io(_)
            | Self::Http(_)
            | Self::Timeout
            | Self::Misdirected
            | Self::SecretMissing
            | Self::SecretDiffers
            | Self::NotLoopback
            | Self::Unexpected(_) => Blame::Node,
        }
    }
}

/// Whether connecting failed for what this process lacks: descriptors (`EMFILE`, `ENFILE`), memory
/// (`ENOBUFS`) or ports (`EADDRNOTAVAIL`).
fn is_our_own(error: &io::Error) -> bool {
    const EMFILE: i32 = 24;
    const ENFILE: i32 = 23;
    const ENOBUFS: i32 = if cfg!(target_os = "linux") { 105 } else { 55 };
    matches!(error.raw_os_error(), Some(EMFILE | ENFILE | ENOBUFS))
        || error.kind() == io::ErrorKind::AddrNotAvailable
}

impl Link {
    pub(crate) async fn connect(
        owner: &Owner,
        secret: Option<&Secret>,
        mut permit: Permit,
    ) -> Result<Self, ConnectError> {
        let connecting = TcpStream::connect(&*owner.member.address);
        let stream = in_time(CONNECT_TIMEOUT, connecting).await?;
        if secret.is_none() && !stream.peer_addr()?.ip().is_loopback() {
            return Err(ConnectError::NotLoopback);
        }
        prepare(&stream)?;
        let stream = in_time(WELCOME_TIMEOUT, greet(stream, owner, secret)).await?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        permit.welcome();
        let (give, switched) = oneshot::channel();
        let driver = tokio::task::spawn_local(async move {
            if let Ok(parts) = connection.without_shutdown().await {
                let switched = (parts.io.into_inner(), parts.read_buf.to_vec());
                let _closed = give.send(switched);
            }
        });
        Ok(Self {
            sender,
            switched,
            driver: Driver(driver.abort_handle()),
            permit,
            idle_since: Instant::now(),
        })
    }

    pub(crate) fn is_ready(&self) -> bool {
        self.sender.is_ready()
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }

    pub(crate) async fn send(
        &mut self,
        request: Request<ForwardBody>,
    ) -> Result<Response<Incoming>, Broken> {
        let sent = self.sender.try_send_request(request).await;
        sent.map_err(|mut error| match error.take_message() {
            Some(request) => Broken::Unsent(Box::new(request)),
            None => Broken::Lost,
        })
    }

    /// The connection, after the owner answered that it switches protocols.
    pub(crate) async fn into_tunnel(self) -> Result<Tunnel, Failure> {
        let Self {
            switched,
            driver,
            permit,
            ..
        } = self;
        let switched = switched.await;
        drop(driver);
        let (stream, read) = switched.map_err(|_| Failure::Lost)?;
        Ok(Tunnel {
            stream,
            read,
            permit,
        })
    }

    /// Lets the owner close the connection, as it said. It may still read what the client sends.
    pub(crate) fn finish_within(self, timeout: Duration) {
        tokio::task::spawn_local(async move {
            let Self {
                sender,
                switched,
                driver,
                ..
            } = self;
            drop(sender);
            let _over = tokio::time::timeout(timeout, switched).await;
            drop(driver);
        });
    }
}

/// Waits for at most `limit`. Of a time in which this node stood still a small part counts, so that
/// what came meanwhile is read before the other node is said to be away.
async fn in_time<T, E: Into<ConnectError>>(
    limit: Duration,
    what: impl Future<Output = Result<T, E>>,
) -> Result<T, ConnectError> {
    let mut what = pin!(what);
    for _ in 0..SLICES {
        if let Ok(result) = tokio::time::timeout(limit / SLICES, what.as_mut()).await {
            return result.map_err(Into::into);
        }
    }
    Err(ConnectError::Timeout)
}

/// Has a dead node be noticed, even where nothing is sent.
pub(crate) fn prepare(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let keepalive = TcpKeepalive::new()
        .with_time(PROBE_AFTER)
        .with_interval(PROBE_EVERY)
        .with_retries(PROBES);
    let socket = SockRef::from(stream);
    socket.set_tcp_keepalive(&keepalive)?;
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(PROBE_AFTER + PROBE_EVERY * PROBES))?;
    Ok(())
}

/// Asks the owner to serve requests on this connection.
async fn greet(
    stream: TcpStream,
    owner: &Owner,
    secret: Option<&Secret>,
) -> Result<TcpStream, ConnectError> {
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let (connection, answer) = join(
        connection.without_shutdown(),
        ask_and_prove(sender, owner, secret),
    )
    .await;
    answer?;
    let parts = connection?;
    if !parts.read_buf.is_empty() {
        return Err(ConnectError::Unexpected(StatusCode::SWITCHING_PROTOCOLS));
    }
    Ok(parts.io.into_inner())
}

async fn ask_and_prove(
    mut sender: SendRequest<Empty<Bytes>>,
    owner: &Owner,
    secret: Option<&Secret>,
) -> Result<(), ConnectError> {
    let nonce = draw();
    let answer = sender.send_request(question(owner, &nonce, None)).await?;
    let Some(secret) = secret else {
        return match answer.status() {
            StatusCode::UNAUTHORIZED => Err(ConnectError::SecretMissing),
            _ => welcomed(&answer),
        };
    };
    if answer.status() != StatusCode::UNAUTHORIZED {
        welcomed(&answer)?;
        return Err(ConnectError::SecretDiffers);
    }
    let terms = Terms {
        nonce: &nonce,
        challenge: text(&answer, &CHALLENGE),
        tag: &owner.member.tag,
        shard: owner.shard,
    };
    let proof = terms.prove(Side::Asking, secret);
    sender.ready().await?;
    let proven = sender
        .send_request(question(owner, &nonce, Some(&proof)))
        .await?;
    welcomed(&proven)?;
    if terms.verify(Side::Welcoming, secret, text(&proven, &PROOF).as_bytes()) {
        Ok(())
    } else {
        Err(ConnectError::SecretDiffers)
    }
}

fn question(owner: &Owner, nonce: &str, proof: Option<&str>) -> Request<Empty<Bytes>> {
    let mut request = Request::new(Empty::new());
    *request.uri_mut() = hyper::Uri::from_static(PATH);
    let headers = request.headers_mut();
    headers.insert(HOST, HeaderValue::from_static("gateway"));
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static(PROTOCOL));
    headers.insert(SHARD, HeaderValue::from(owner.shard));
    let texts = [
        (NONCE, Some(nonce)),
        (TAG, Some(&*owner.member.tag)),
        (PROOF, proof),
    ];
    for (name, text) in texts {
        if let Some(Ok(value)) = text.map(HeaderValue::from_str) {
            headers.insert(name, value);
        }
    }
    request
}

fn welcomed<B>(answer: &Response<B>) -> Result<(), ConnectError> {
    match answer.status() {
        StatusCode::SWITCHING_PROTOCOLS => Ok(()),
        StatusCode::MISDIRECTED_REQUEST => match text(answer, &SHARDS).parse() {
            Ok(shards) => Err(ConnectError::NoSuchShard(shards)),
            Err(_) => Err(ConnectError::Misdirected),
        },
        StatusCode::FORBIDDEN => Err(ConnectError::SecretDiffers),
        other => Err(ConnectError::Unexpected(other)),
    }
}

fn text<'a, B>(answer: &'a Response<B>, name: &HeaderName) -> &'a str {
    let value = answer.headers().get(name);
    value
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default()
}
