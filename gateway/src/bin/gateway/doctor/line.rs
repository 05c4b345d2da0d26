//! The way to the gateway as a client goes it: addresses, TLS, requests, WebSockets.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use fastwebsockets::{FragmentCollector, Frame, OpCode, Payload, Role, WebSocket};
use http_body_util::{BodyExt, Full, Limited};
use hyper::header::{
    CONNECTION, CONTENT_TYPE, HOST, HeaderMap, HeaderValue, ORIGIN, SEC_WEBSOCKET_KEY,
    SEC_WEBSOCKET_VERSION, UPGRADE,
};
use hyper::upgrade::Upgraded;
use hyper::{Method, Request, Response, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls;
use tokio_rustls::rustls::pki_types::ServerName;

use gateway::config::{TlsVerify, Trust};
use gateway::trust::{Verifier, examining};

/// How long one step may take; a poll that waits may take longer.
pub(super) const STEP_TIMEOUT: Duration = Duration::from_secs(10);

/// Most bytes of an answer that are read.
const MAX_ANSWER: usize = 64 * 1024;

/// Why a step failed before there was an answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum Trouble {
    #[error("the name {0} has no address: {1}")]
    Name(String, io::Error),
    #[error("no server answers at {0}: {1}")]
    Unreachable(String, io::Error),
    #[error("TLS fails: {0}")]
    Tls(io::Error),
    #[error("the connection broke: {0}")]
    Broken(String),
    #[error("no answer within {0:?}")]
    Late(Duration),
}

/// The usual path of Engine.IO.
pub(super) const USUAL_PATH: &str = "/socket.io/";

/// What is to be examined.
#[derive(Clone)]
pub(super) struct Target {
    /// The URL, if it had no scheme and one was chosen for it.
    completed: Option<String>,
    host: String,
    port: u16,
    authority: String,
    path: String,
    /// The page that the client runs in.
    origin: Option<HeaderValue>,
    tls: Option<(TlsConnector, ServerName<'static>, Arc<Verifier>)>,
}

/// An HTTP answer.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: String,
    pub(super) took: Duration,
}

/// A WebSocket to the gateway.
pub(super) struct Socket(FragmentCollector<TokioIo<Upgraded>>);

trait Line: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Line for T {}

impl Target {
    /// Of a URL with `http`, `https`, `ws` or `wss`, or without; its path is that of Engine.IO. `trust`
    /// has the certificates to trust beside those of the system.
    pub(super) fn parse(url: &str, trust: &Trust, origin: Option<&str>) -> anyhow::Result<Self> {
        if url.starts_with("unix:") {
            anyhow::bail!(
                "{url}: the doctor goes the way of clients, which have no sockets in the file system; \
                 name the URL of the proxy in front"
            );
        }
        let completed = (!url.contains("://")).then(|| with_scheme(url));
        let url = completed.as_deref().unwrap_or(url);
        let wrong = || anyhow::anyhow!("{url}: not a URL such as http://localhost:3000");
        let origin = origin
            .map(|origin| {
                let is_origin = origin == "null" || origin.contains("://");
                let origin = HeaderValue::from_str(origin).ok().filter(|_| is_origin);
                origin.ok_or_else(|| {
                    anyhow::anyhow!("--origin: not an origin such as https://example.com, or null")
                })
            })
            .transpose()?;
        let uri: Uri = url.parse().map_err(|_| wrong())?;
        let secure = match uri.scheme_str() {
            Some("http" | "ws") => false,
            Some("https" | "wss") => true,
            _ => return Err(wrong()),
        };
        let bracketed = uri.host().ok_or_else(wrong)?;
        let host = bracketed.trim_matches(['[', ']']).to_owned();
        let usual = if secure { 443 } else { 80 };
        let authority = match uri.port_u16() {
            Some(port) => format!("{bracketed}:{port}"),
            None => bracketed.to_owned(),
        };
        let path = match uri.path() {
            "" | "/" => USUAL_PATH.to_owned(),
            path if path.ends_with('/') => path.to_owned(),
            path => format!("{path}/"),
        };
        let tls = secure
            .then(|| -> anyhow::Result<_> {
                let name = ServerName::try_from(host.clone()).map_err(|_| wrong())?;
                let (mut config, verifier) = examining(trust, ["--ca", "--cert", "--key"])?;
                config.alpn_protocols = vec![b"http/1.1".to_vec()];
                Ok((TlsConnector::from(Arc::new(config)), name, verifier))
            })
            .transpose()?;
        Ok(Self {
            origin,
            host,
            port: uri.port_u16().unwrap_or(usual),
            authority,
            path,
            tls,
            completed,
        })
    }

    /// The URL that was chosen, if there was no scheme.
    pub(super) fn completed(&self) -> Option<&str> {
        self.completed.as_deref()
    }

    /// The page that the client runs in.
    pub(super) fn origin(&self) -> Option<&str> {
        self.origin.as_ref()?.to_str().ok()
    }

    /// Whether a page of `origin` would be one of the gateway's own.
    pub(super) fn is_own(&self, origin: &str) -> bool {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        origin.eq_ignore_ascii_case(&format!("{scheme}://{}", self.authority))
    }

    /// The same with Engine.IO at its usual path.
    pub(super) fn at_usual_path(&self) -> Self {
        Self {
            path: USUAL_PATH.to_owned(),
            ..self.clone()
        }
    }

    /// The path of Engine.IO's requests.
    pub(super) fn path(&self) -> &str {
        &self.path
    }

    /// What is checked of the certificate, with TLS.
    pub(super) fn checked(&self) -> Option<TlsVerify> {
        let (_, _, verifier) = self.tls.as_ref()?;
        Some(verifier.verify())
    }

    /// What is wrong with the certificate that was shown.
    pub(super) fn certificate_error(&self) -> Option<rustls::Error> {
        let (_, _, verifier) = self.tls.as_ref()?;
        verifier.found_wrong()
    }

    /// Connects and says where to.
    pub(super) async fn reach(&self) -> Result<SocketAddr, Trouble> {
        let (_, address) = self.connect().await?;
        Ok(address)
    }

    async fn connect(&self) -> Result<(Box<dyn Line>, SocketAddr), Trouble> {
        in_time(STEP_TIMEOUT, async {
            let addresses = tokio::net::lookup_host((&*self.host, self.port)).await;
            let addresses = addresses.map_err(|error| Trouble::Name(self.host.clone(), error))?;
            let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
            for address in addresses {
                match TcpStream::connect(address).await {
                    Ok(stream) => return Ok((self.secured(stream).await?, address)),
                    Err(error) => last = error,
                }
            }
            let place = format!("{}, port {}", self.host, self.port);
            Err(Trouble::Unreachable(place, last))
        })
        .await
    }

    async fn secured(&self, stream: TcpStream) -> Result<Box<dyn Line>, Trouble> {
        let broken = |error: io::Error| Trouble::Broken(error.to_string());
        stream.set_nodelay(true).map_err(broken)?;
        let Some((connector, name, _)) = &self.tls else {
            return Ok(Box::new(stream));
        };
        let secured = connector.connect(name.clone(), stream).await;
        Ok(Box::new(secured.map_err(Trouble::Tls)?))
    }

    /// Whether the certificate that was shown is marked as an authority.
    pub(super) fn is_authority(&self) -> bool {
        let tls = self.tls.as_ref();
        tls.is_some_and(|(_, _, verifier)| verifier.found_authority())
    }

    /// The answer to a GET of another path than Engine.IO's.
    pub(super) async fn fetch(&self, path: &str) -> Result<Reply, Trouble> {
        let began = Instant::now();
        let (line, _) = self.connect().await?;
        in_time(STEP_TIMEOUT, async {
            let request = Request::builder()
                .uri(path)
                .header(HOST, &self.authority)
                .header(CONNECTION, "close");
            let answer = send(line, request.body(Full::default())).await?;
            read(answer, began).await
        })
        .await
    }

    /// One request on a connection of its own, as a balancer might treat any.
    pub(super) async fn request(
        &self,
        method: Method,
        query: &str,
        body: impl Into<Bytes>,
        timeout: Duration,
    ) -> Result<Reply, Trouble> {
        let (began, body) = (Instant::now(), body.into());
        let (line, _) = self.connect().await?;
        in_time(timeout, async {
            let request = self
                .begin(method, "polling", query)
                .header(CONNECTION, "close")
                .header(CONTENT_TYPE, "text/plain;charset=UTF-8");
            let answer = send(line, request.body(Full::from(body))).await?;
            read(answer, began).await
        })
        .await
    }

    /// A WebSocket, or the answer that is none.
    pub(super) async fn websocket(&self, query: &str) -> Result<Result<Socket, Reply>, Trouble> {
        let began = Instant::now();
        let (line, _) = self.connect().await?;
        in_time(STEP_TIMEOUT, async {
            let request = self
                .begin(Method::GET, "websocket", query)
                .header(CONNECTION, "Upgrade")
                .header(UPGRADE, "websocket")
                .header(SEC_WEBSOCKET_VERSION, "13")
                .header(SEC_WEBSOCKET_KEY, fastwebsockets::handshake::generate_key());
            let mut answer = send(line, request.body(Full::default())).await?;
            if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
                return Ok(Err(read(answer, began).await?));
            }
            let upgraded = hyper::upgrade::on(&mut answer).await.map_err(broken)?;
            let socket = WebSocket::after_handshake(TokioIo::new(upgraded), Role::Client);
            Ok(Ok(Socket(FragmentCollector::new(socket))))
        })
        .await
    }

    fn begin(&self, method: Method, transport: &str, query: &str) -> hyper::http::request::Builder {
        let target = format!("{}?EIO=4&transport={transport}{query}", self.path);
        let request = Request::builder()
            .method(method)
            .uri(target)
            .header(HOST, &self.authority);
        match &self.origin {
            Some(origin) => request.header(ORIGIN, origin),
            None => request,
        }
    }
}

/// A URL without a scheme with the one that is likely: TLS at its ports, and at a name without a port.
fn with_scheme(url: &str) -> String {
    let authority = url.split(['/', '?', '#']).next().unwrap_or_default();
    let bare = authority
        .rsplit_once(']')
        .map_or(authority, |(_, rest)| rest);
    let (before, port) = match bare.rsplit_once(':') {
        Some((_, port)) => (&authority[..authority.len() - port.len() - 1], Some(port)),
        None => (authority, None),
    };
    let host = before.trim_matches(['[', ']']);
    let is_near =
        host == "localhost" || host.ends_with(".localhost") || host.parse::<IpAddr>().is_ok();
    let secure = match port {
        Some(port) => matches!(port, "443" | "8443"),
        None => !is_near,
    };
    format!("{}://{url}", if secure { "https" } else { "http" })
}

impl Socket {
    pub(super) async fn send(&mut self, text: &str) -> Result<(), Trouble> {
        let frame = Frame::text(Payload::Borrowed(text.as_bytes()));
        self.0.write_frame(frame).await.map_err(broken)
    }

    /// The next text.
    pub(super) async fn next(&mut self, timeout: Duration) -> Result<String, Trouble> {
        in_time(timeout, async {
            let frame = self.0.read_frame().await.map_err(broken)?;
            match frame.opcode {
                OpCode::Text => Ok(String::from_utf8_lossy(&frame.payload).into_owned()),
                OpCode::Close => Err(Trouble::Broken("closed by the other side".to_owned())),
                OpCode::Binary | OpCode::Continuation | OpCode::Ping | OpCode::Pong => {
                    Err(Trouble::Broken("something else than text came".to_owned()))
                }
            }
        })
        .await
    }
}

async fn send(
    line: Box<dyn Line>,
    request: Result<Request<Full<Bytes>>, hyper::http::Error>,
) -> Result<Response<hyper::body::Incoming>, Trouble> {
    let request = request.map_err(broken)?;
    let handshake = hyper::client::conn::http1::handshake(TokioIo::new(line));
    let (mut sender, connection) = handshake.await.map_err(broken)?;
    // It ends with the answer or the WebSocket that it carries.
    tokio::spawn(connection.with_upgrades());
    sender.send_request(request).await.map_err(broken)
}

async fn read(answer: Response<hyper::body::Incoming>, began: Instant) -> Result<Reply, Trouble> {
    let (head, body) = answer.into_parts();
    let body = Limited::new(body, MAX_ANSWER).collect().await;
    let body = body.map_err(|error| Trouble::Broken(error.to_string()))?;
    Ok(Reply {
        status: head.status,
        headers: head.headers,
        body: String::from_utf8_lossy(&body.to_bytes()).into_owned(),
        took: began.elapsed(),
    })
}

async fn in_time<T>(
    limit: Duration,
    step: impl Future<Output = Result<T, Trouble>>,
) -> Result<T, Trouble> {
    tokio::time::timeout(limit, step)
        .await
        .unwrap_or(Err(Trouble::Late(limit)))
}

fn broken(error: impl std::error::Error) -> Trouble {
    // hyper says what matters in the source of its error.
    let source = error.source().map(|source| format!(": {source}"));
    Trouble::Broken(format!("{error}{}", source.unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_without_a_scheme_gets_the_likely_one() {
        for (url, completed) in [
            ("localhost:3000", "http://localhost:3000"),
            ("localhost", "http://localhost"),
            ("127.0.0.1", "http://127.0.0.1"),
            ("[::1]:3000/chat", "http://[::1]:3000/chat"),
            ("[::1]", "http://[::1]"),
            ("example.com", "https://example.com"),
            ("example.com/socket.io/", "https://example.com/socket.io/"),
            ("example.com:443", "https://example.com:443"),
            ("example.com:8443", "https://example.com:8443"),
            ("example.com:8080", "http://example.com:8080"),
        ] {
            assert_eq!(with_scheme(url), completed);
        }
    }
}
