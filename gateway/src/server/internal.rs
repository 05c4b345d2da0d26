//! The internal port: metrics, health, and other nodes. Never for clients.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{Either, Full};
use hyper::body::Incoming;
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream, UnixListener};
use tokio::sync::Semaphore;
use tracing::{debug, warn};

use callers::{Caller, Callers};
use status::Status;

use crate::backend::api::{self, AnswerBody, Api};
use crate::backend::words::Failure;
use crate::config::InternalPage;
use crate::count::{Export, Label, Suspect};
use crate::engine::drain::{Ending, Purpose};
use crate::engine::mail::Mail;
use crate::engine::node::{Node, Unready};
use crate::forward::PeerHandshake;
use crate::http::{self, MAX_HEADERS};
use crate::net::listener::{Listener, Listening, Placed, UNIX_PEER, like_tcp};
use crate::peers;
use crate::peers::proof::PATH;
use crate::server::draining;
use crate::server::metrics::{self, Format};

mod callers;
mod pages;
mod status;

/// Most answers to `/metrics` that are made at a time; others wait, and may be closed for newer ones.
const MAX_SCRAPES: usize = 4;

/// How long a request's head may take, and an idle connection stay.
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);

/// What connections to the internal port come in by.
pub(crate) enum Entrance {
    Tcp(TcpListener),
    Unix {
        /// Goes before the socket does.
        _placed: Option<Placed>,
        listener: UnixListener,
    },
}

impl Entrance {
    fn open(listening: Listening) -> io::Result<Self> {
        Ok(match listening.socket {
            Listener::Tcp(listener) => Self::Tcp(TcpListener::from_std(listener)?),
            Listener::Unix(listener) => Self::Unix {
                _placed: listening.placed,
                listener: UnixListener::from_std(listener)?,
            },
        })
    }

    fn poll_accept(&self, context: &mut Context<'_>) -> Poll<io::Result<(TcpStream, SocketAddr)>> {
        match self {
            Self::Tcp(listener) => listener.poll_accept(context),
            Self::Unix { listener, .. } => listener.poll_accept(context).map(|accepted| {
                let (stream, _) = accepted?;
                let stream = like_tcp(stream.into_std()?);
                Ok((TcpStream::from_std(stream)?, UNIX_PEER))
            }),
        }
    }
}

/// To be called in a Tokio runtime.
pub(crate) fn open(listening: Vec<Listening>) -> io::Result<Vec<Entrance>> {
    listening.into_iter().map(Entrance::open).collect()
}

/// The next connection. `last` is the entrance of the last one; it comes after all others.
async fn accept(entrances: &[Entrance], last: &mut usize) -> io::Result<(TcpStream, SocketAddr)> {
    poll_fn(|context| {
        for step in 1..=entrances.len() {
            let turn = (*last + step) % entrances.len();
            if let Poll::Ready(accepted) = entrances[turn].poll_accept(context) {
                *last = turn;
                return Poll::Ready(accepted);
            }
        }
        Poll::Pending
    })
    .await
}

/// Serves the internal port until the task is aborted.
pub(crate) async fn serve(
    entrances: Vec<Entrance>,
    node: Arc<Node>,
    api: Arc<Api>,
    exports: Arc<[Arc<dyn Export>]>,
) {
    let callers = Arc::new(Callers::new(node.descriptors().kept_back()));
    let port = Arc::new(Port {
        node,
        api,
        exports,
        scrapes: Semaphore::new(MAX_SCRAPES),
        status: Status::new(),
    });
    let mut last = 0;
    loop {
        match accept(&entrances, &mut last).await {
            Ok((stream, peer)) => {
                let (port, caller) = (Arc::clone(&port), callers.enter());
                tokio::spawn(async move { port.serve(stream, peer, &caller).await });
            }
            Err(error) => {
                debug!(target: "gateway::internal", %error, "cannot accept on the internal port");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// What all connections to the internal port use.
struct Port {
    node: Arc<Node>,
    api: Arc<Api>,
    exports: Arc<[Arc<dyn Export>]>,
    /// For answers to `/metrics`.
    scrapes: Semaphore,
    /// The page at `/`.
    status: Status,
}

impl Port {
    /// Serves a connection until it ends, goes to a shard, or has to make room for another.
    async fn serve(&self, stream: TcpStream, peer: SocketAddr, caller: &Caller) {
        if peer != UNIX_PEER
            && let Err(error) = peers::prepare(&stream)
        {
            debug!(target: "gateway::internal", %peer, %error, "a connection that dies may not be noticed");
        }
        let handshake = &PeerHandshake::new(peer);
        let service = service_fn(move |request: Request<Incoming>| async move {
            Ok::<_, std::convert::Infallible>(self.call(request, handshake, caller).await)
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADER_TIMEOUT)
            .max_headers(MAX_HEADERS)
            .serve_connection(TokioIo::new(stream), service)
            .without_shutdown();
        let served = tokio::select! {
            served = connection => served,
            () = caller.leaves() => {
                return debug!(target: "gateway::internal", %peer, "internal connection closed to make room for another");
            }
        };
        match (served, handshake.opened()) {
            (Ok(parts), Some(shard)) => let_in(&self.node, shard, parts.io.into_inner(), peer),
            (Ok(_), None) => {}
            (Err(error), _) => {
                debug!(target: "gateway::internal", %error, "internal connection failed")
            }
        }
    }

    /// Answers a request: one of the API, or one of the port's own.
    async fn call(
        &self,
        request: Request<Incoming>,
        handshake: &PeerHandshake,
        caller: &Caller,
    ) -> Response<AnswerBody> {
        let path = request.uri().path();
        let call = path.starts_with(api::PREFIX).then_some(&self.api);
        let call = call.filter(|api| api.is_on());
        if let Err(suspect) = pages::check(&request, self.node.config(), call.is_some()) {
            return refuse(&self.node, handshake, suspect).map(Either::Left);
        }
        caller.asks(call.is_some());
        let answer = match call {
            Some(api) => api.respond(request).await,
            None if self.has_page(path) => self.show(&request, handshake).await.map(Either::Left),
            None => {
                let _turn = match path {
                    "/metrics" => self.scrapes.acquire().await.ok(),
                    _ => None,
                };
                let answer = respond(&self.node, &request, handshake, &self.exports).await;
                answer.map(Either::Left)
            }
        };
        // Lines of a trace come for longer, and the connection is theirs until it ends.
        caller.asks(matches!(answer.body(), Either::Right(_)));
        answer
    }

    /// Whether this is the path of the page or of its figures, unless they are off.
    fn has_page(&self, path: &str) -> bool {
        let is_on = self.node.config().internal_page != InternalPage::Off;
        is_on && [status::PAGE, status::FIGURES].contains(&path)
    }

    /// Answers a request for the page, or for its figures.
    async fn show<B>(
        &self,
        request: &Request<B>,
        handshake: &PeerHandshake,
    ) -> Response<Full<Bytes>> {
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            return not_allowed("GET, HEAD");
        }
        let is_page = request.uri().path() == status::PAGE;
        match pages::check_reader(request, self.node.config(), is_page) {
            Err(suspect) => refuse(&self.node, handshake, suspect),
            Ok(()) if is_page => self.status.page(),
            Ok(()) => {
                let (_, ready) = readiness(&self.node, &self.exports);
                self.status.figures(&self.node, &self.exports, ready).await
            }
        }
    }
}

/// Hands a connection that was let in to its shard.
fn let_in(node: &Node, shard: usize, stream: TcpStream, peer: SocketAddr) {
    // What does not go through a network has no connection that may die unnoticed.
    let prepared = if peer == UNIX_PEER {
        Ok(())
    } else {
        peers::prepare(&stream)
    };
    let stream = prepared.and_then(|()| stream.into_std());
    match (stream, node.shards().get(shard)) {
        (Ok(stream), Some(owner)) => owner.post(Mail::Run(Box::new(move |shard| {
            let stream: std::net::TcpStream = stream;
            http::serve_node(shard, stream, peer);
        }))),
        (Err(error), _) => {
            debug!(target: "gateway::forward::welcome", %peer, %error, "connection lost before it was served")
        }
        (Ok(_), None) => {}
    }
}

async fn respond<B>(
    node: &Arc<Node>,
    request: &Request<B>,
    handshake: &PeerHandshake,
    exports: &[Arc<dyn Export>],
) -> Response<Full<Bytes>> {
    let json = "application/json";
    // What answers HEAD as it would answer GET leaves the body out by itself.
    let method = match request.method() {
        &Method::HEAD if request.uri().path() != PATH => &Method::GET,
        method => method,
    };
    match (method, request.uri().path()) {
        (&Method::GET, "/metrics") => {
            let format = Format::wanted(request.headers());
            let text = metrics::gather(node, exports, format).await;
            answer(StatusCode::OK, format.content_type(), text)
        }
        (&Method::GET, "/live") => answer(StatusCode::OK, json, "{\"live\":true}".into()),
        (&Method::GET, "/ready") => {
            let (status, body) = readiness(node, exports);
            answer(status, json, body.to_string().into())
        }
        (&Method::POST, "/drain") => {
            draining::begin(node, node.config().shutdown.drain, Purpose::Asked);
            answer(StatusCode::ACCEPTED, json, drain_state(node))
        }
        (&Method::DELETE, "/drain") => match draining::cancel(node) {
            Ok(_had_begun) => answer(StatusCode::OK, json, drain_state(node)),
            Err(Ending) => answer(StatusCode::CONFLICT, json, drain_state(node)),
        },
        (_, "/drain") => not_allowed("POST, DELETE"),
        (&Method::GET, PATH) => handshake.answer(node, request),
        (_, "/metrics" | "/live" | "/ready" | PATH) => not_allowed("GET, HEAD"),
        _ => answer(StatusCode::NOT_FOUND, "text/plain", "Not found\n".into()),
    }
}

fn drain_state(node: &Node) -> Vec<u8> {
    let draining = node.drain().has_begun();
    let remaining = node.session_count();
    format!("{{\"draining\":{draining},\"remaining\":{remaining}}}").into()
}

/// A web page, or so it seems, wants to change something.
fn refuse(node: &Node, handshake: &PeerHandshake, suspect: Suspect) -> Response<Full<Bytes>> {
    let refused = node.counters().internal_refused.of(suspect);
    let (peer, code, message) = (handshake.peer(), suspect.label(), suspect.advice());
    if refused.is_first() {
        warn!(target: "gateway::internal", %peer, code, "request refused at the internal port; further ones have no line: {message}");
    }
    let body = Failure::new(code, message).to_json();
    answer(StatusCode::FORBIDDEN, "application/json", body)
}

/// Whether the node is ready, and what is wrong although it is.
fn readiness(node: &Node, exports: &[Arc<dyn Export>]) -> (StatusCode, serde_json::Value) {
    if let Some(unready) = node.unready() {
        let mut body = serde_json::json!({"ready": false, "reason": unready.reason()});
        if let Unready::Adapter(trouble) | Unready::Users(trouble) = unready {
            body["detail"] = trouble.into();
        }
        return (StatusCode::SERVICE_UNAVAILABLE, body);
    }
    let adapter = node.cluster().map(|cluster| cluster.adapter());
    let concern = adapter.and_then(|adapter| adapter.concern());
    let others = exports.iter().filter_map(|export| export.concern());
    let refused = node.users().refused();
    let refused = refused.map(|why| format!("Redis refuses to tell who may not connect: {why}"));
    let all = concern.into_iter().chain(refused).chain(others);
    let warnings: Vec<String> = all.collect();
    let body = match warnings.is_empty() {
        true => serde_json::json!({"ready": true}),
        false => serde_json::json!({"ready": true, "warnings": warnings}),
    };
    (StatusCode::OK, body)
}

/// Only these methods are.
fn not_allowed(methods: &'static str) -> Response<Full<Bytes>> {
    let body = format!("{} only\n", methods.replace(", ", " and "));
    let mut refused = answer(StatusCode::METHOD_NOT_ALLOWED, "text/plain", body.into());
    let methods = HeaderValue::from_static(methods);
    refused.headers_mut().insert(ALLOW, methods);
    refused
}

fn answer(status: StatusCode, kind: &'static str, body: Vec<u8>) -> Response<Full<Bytes>> {
    let mut answer = Response::new(Full::new(Bytes::from(body)));
    *answer.status_mut() = status;
    answer
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    answer
}
