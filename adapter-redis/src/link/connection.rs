use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf, ReadHalf, WriteHalf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use crate::link::refusal::words;
use crate::link::resp::{Reply, Stop, parse_reply, push_command};
use crate::link::servers::{Endpoint, Login, Servers};
use crate::link::watchdog::{Late, within};

/// Makes connections.
#[derive(Clone)]
pub(crate) struct Connector {
    tls: Option<TlsConnector>,
    connect: Duration,
    silence: Duration,
}

/// A connection to one server, logged in.
pub(crate) struct Link {
    pub(crate) input: Input,
    pub(crate) writer: WriteHalf<Stream>,
}

/// What comes in by a connection.
pub(crate) struct Input {
    reader: ReadHalf<Stream>,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    /// Bytes that come next and are thrown away.
    skip: usize,
    limit: usize,
}

/// TCP, or TLS over it.
pub(crate) enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// Why a connection cannot be made or is given up.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LinkError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("no answer in time")]
    Timeout,
    #[error("the server closed the connection")]
    Closed,
    #[error("no sign of life")]
    Silent,
    #[error("alive again")]
    Alive,
    #[error("this node's messages to itself do not come back")]
    Deaf,
    #[error("not a Redis server")]
    Protocol,
    #[error("it answers in TLS: the URL has to begin with rediss")]
    WantsTls,
    #[error("no TLS there ({0}): does the URL have to begin with redis instead of rediss?")]
    Tls(io::Error),
    #[error("no answer to TLS: does the URL have to begin with redis instead of rediss?")]
    TlsTimeout,
    #[error("closed before it answered ({0}): does the URL have to begin with rediss?")]
    Unwelcome(Box<Self>),
    #[error("{0}")]
    Refused(String),
    #[error("the address names no server")]
    NoServer,
    #[error("not the master: {0}")]
    NotMaster(String),
    #[error("the two connections of this node are at different servers")]
    Split,
    #[error("this node gave up its other connection")]
    Renewed,
    #[error("the certificate cannot be checked: not a host name")]
    BadHost,
}

/// How a TLS server answers those who do not speak TLS.
const TLS_ALERT: [u8; 2] = [0x15, 0x03];
/// Bytes that one read asks for.
const READ: usize = 64 << 10;
/// A buffer that grew beyond this is given back when it is empty.
const KEEP: usize = 1 << 20;

impl Connector {
    /// With TLS, and if nothing else is said, the servers' certificates are checked against the
    /// system's roots, or those in `SSL_CERT_FILE`.
    pub(crate) fn new(
        servers: &Servers,
        connect: Duration,
        silence: Duration,
    ) -> Result<Self, io::Error> {
        let tls = match (&servers.trust.0, servers.tls) {
            (_, false) => None,
            (Some(trust), true) => Some(TlsConnector::from(Arc::clone(trust))),
            (None, true) => Some(tls_connector()?),
        };
        Ok(Self {
            tls,
            connect,
            silence,
        })
    }

    /// Connects and logs in. `limit` bounds what one message may take in the buffer.
    pub(crate) async fn connect(
        &self,
        endpoint: &Endpoint,
        login: &Login,
        name: &str,
        limit: usize,
    ) -> Result<Link, LinkError> {
        let greeting = AtomicBool::new(false);
        let opening = self.open(endpoint, login, name, limit, &greeting);
        match within(self.connect, opening).await {
            Ok(opened) => opened,
            Err(Late) if greeting.into_inner() => Err(LinkError::TlsTimeout),
            Err(Late) => Err(LinkError::Timeout),
        }
    }

    async fn open(
        &self,
        endpoint: &Endpoint,
        login: &Login,
        name: &str,
        limit: usize,
        greeting: &AtomicBool,
    ) -> Result<Link, LinkError> {
        let stream = self.stream(endpoint, greeting).await?;
        let (reader, writer) = tokio::io::split(stream);
        let mut link = Link {
            input: Input::new(reader, limit),
            writer,
        };
        match link.introduce(login, name).await {
            Ok(()) => Ok(link),
            // So does one that speaks TLS, and one behind a proxy that has no server now.
            Err(error @ (LinkError::Closed | LinkError::Io(_))) if self.tls.is_none() => {
                Err(LinkError::Unwelcome(Box::new(error)))
            }
            Err(error) => Err(error),
        }
    }

    /// A connection without more, encrypted where it is to be.
    /// `greeting` is true while TLS is negotiated.
    pub(crate) async fn stream(
        &self,
        endpoint: &Endpoint,
        greeting: &AtomicBool,
    ) -> Result<Stream, LinkError> {
        let stream = TcpStream::connect((endpoint.host.as_str(), endpoint.port)).await?;
        stream.set_nodelay(true)?;
        let socket = SockRef::from(&stream);
        socket.set_tcp_keepalive(
            &TcpKeepalive::new()
                .with_time(self.silence)
                .with_interval(self.silence),
        )?;
        // The watchdogs are quicker. A slow link may keep its window shut for longer than they wait.
        #[cfg(target_os = "linux")]
        socket.set_tcp_user_timeout(Some(self.silence * 3))?;
        match &self.tls {
            None => Ok(Stream::Plain(stream)),
            Some(tls) => {
                let host = ServerName::try_from(endpoint.host.clone());
                let host = host.map_err(|_| LinkError::BadHost)?;
                greeting.store(true, Ordering::Relaxed);
                let stream = tls.connect(host, stream).await.map_err(tls_error)?;
                greeting.store(false, Ordering::Relaxed);
                Ok(Stream::Tls(Box::new(stream)))
            }
        }
    }
}

/// What a server without TLS says is no TLS.
fn tls_error(error: io::Error) -> LinkError {
    let inner = error.get_ref().and_then(|it| it.downcast_ref());
    match inner {
        Some(tokio_rustls::rustls::Error::InvalidMessage(_)) => LinkError::Tls(error),
        Some(_) | None => LinkError::Io(error),
    }
}

fn tls_connector() -> Result<TlsConnector, io::Error> {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        let reason = found.errors.first().map_or_else(
            || "no trusted root certificates found".to_owned(),
            |error| error.to_string(),
        );
        return Err(io::Error::new(io::ErrorKind::NotFound, reason));
    }
    // What the process has for all of TLS is as good.
    let provider = CryptoProvider::get_default().cloned();
    let provider = provider.unwrap_or_else(|| Arc::new(ring::default_provider()));
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

impl Link {
    async fn introduce(&mut self, login: &Login, name: &str) -> Result<(), LinkError> {
        self.log_in(login).await?;
        // Only for those who look at CLIENT LIST.
        let command: [&[u8]; 3] = [b"CLIENT", b"SETNAME", name.as_bytes()];
        match self.call(&command, |_| ()).await {
            Ok(()) | Err(LinkError::Refused(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn log_in(&mut self, login: &Login) -> Result<(), LinkError> {
        let Some(password) = &login.password else {
            return Ok(());
        };
        let mut command: Vec<&[u8]> = vec![b"AUTH"];
        command.extend(login.username.as_ref().map(String::as_bytes));
        command.push(password.as_bytes());
        let answer = self.call(&command, |_| ()).await;
        let Err(LinkError::Refused(text)) = answer else {
            return answer;
        };
        // An unknown command is quoted with its arguments.
        let text = match password.is_empty() {
            true => text,
            false => text.replace(password.as_str(), "***"),
        };
        Err(LinkError::Refused(text))
    }

    /// Sends a command and reads its reply. An error reply is an error.
    pub(crate) async fn call<T>(
        &mut self,
        command: &[&[u8]],
        read: impl FnOnce(&Reply<'_>) -> T,
    ) -> Result<T, LinkError> {
        let mut bytes = Vec::new();
        push_command(&mut bytes, command);
        self.writer.write_all(&bytes).await?;
        self.writer.flush().await?;
        loop {
            match parse_reply(self.input.bytes()) {
                Ok((Reply::Error(text), used)) => {
                    let text = words(text);
                    self.input.consume(used);
                    return Err(LinkError::Refused(text));
                }
                Ok((reply, used)) => {
                    let value = read(&reply);
                    self.input.consume(used);
                    return Ok(value);
                }
                Err(Stop::Incomplete) => self.input.fill().await?,
                Err(_) if self.input.bytes().starts_with(&TLS_ALERT) => {
                    return Err(LinkError::WantsTls);
                }
                Err(Stop::Invalid | Stop::Oversized { .. }) => return Err(LinkError::Protocol),
            }
        }
    }
}

/// Writes some of `bytes` and returns how many; flushes if there are none.
pub(crate) async fn write(
    writer: &mut WriteHalf<Stream>,
    bytes: &[u8],
) -> Result<usize, LinkError> {
    if bytes.is_empty() {
        writer.flush().await?;
        return Ok(0);
    }
    match writer.write(bytes).await? {
        0 => Err(LinkError::Closed),
        count => Ok(count),
    }
}

impl Input {
    fn new(reader: ReadHalf<Stream>, limit: usize) -> Self {
        Self {
            reader,
            buffer: Vec::new(),
            start: 0,
            end: 0,
            skip: 0,
            limit: limit + KEEP,
        }
    }

    /// What came in and was not consumed yet.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }

    /// Moves over bytes that were read.
    pub(crate) fn consume(&mut self, count: usize) {
        self.start += count;
    }

    /// Throws away the next `count` bytes, whether they are there or still to come.
    pub(crate) fn skip(&mut self, count: usize) {
        let there = count.min(self.end - self.start);
        self.start += there;
        self.skip = count - there;
    }

    /// Waits for more bytes, which may all be thrown away. Cancelling it loses none.
    pub(crate) async fn fill(&mut self) -> Result<(), LinkError> {
        self.make_room()?;
        let count = self.reader.read(&mut self.buffer[self.end..]).await?;
        if count == 0 {
            return Err(LinkError::Closed);
        }
        let skipped = count.min(self.skip);
        self.skip -= skipped;
        if skipped > 0 {
            self.buffer
                .copy_within(self.end + skipped..self.end + count, self.end);
        }
        self.end += count - skipped;
        Ok(())
    }

    /// Takes bytes that are there already; whether there were any.
    pub(crate) async fn fill_now(&mut self) -> Result<bool, LinkError> {
        tokio::select! {
            biased;
            filled = self.fill() => filled.map(|()| true),
            // Lets the driver look at the sockets once.
            () = tokio::task::yield_now() => Ok(false),
        }
    }

    fn make_room(&mut self) -> Result<(), LinkError> {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
            if self.buffer.len() > KEEP {
                self.buffer = Vec::new();
            }
        } else if self.start > 0 {
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        if self.buffer.len() - self.end < READ / 2 {
            if self.end > self.limit {
                return Err(LinkError::Protocol);
            }
            let size = (self.buffer.len() * 2).max(READ);
            self.buffer.resize(size, 0);
        }
        Ok(())
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Tls(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(context),
            Self::Tls(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}
