//! The first request of a connection, if it opens a session by WebSocket.
//!
//! Most connections begin with such a request, and it is all the HTTP that they ever speak. So it is
//! read and answered here, in one read and one write, without a server of HTTP that could serve more.
//! What is anything else, or came in pieces, is left to that server with the bytes that were read;
//! so is what the checks of [`engineio`] refuse.

use std::future::poll_fn;
use std::io::{self, Read, Write};
use std::mem::MaybeUninit;
use std::net::TcpStream as RawStream;
use std::pin::Pin;
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use fastwebsockets::upgrade::is_upgrade_request;
use http_body_util::BodyExt;
use httparse::Status;
use hyper::body::Body;
use hyper::header::{
    CONTENT_LENGTH, DATE, EXPECT, HeaderMap, HeaderName, HeaderValue, TRANSFER_ENCODING,
};
use hyper::{Request, StatusCode, Uri};
use memchr::{memchr, memmem};
use protocol::engineio::{Revision, Transport};
use protocol::{Dialect, Encoded};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;

use super::engineio::{self, Verified};
use super::opened::{self, Opened};
use super::{Answer, Peer, cors, in_time};
use crate::engine::attached::Attached;
use crate::engine::shard::Shard;
use crate::engine::strangers::Stranger;
use crate::net::stream::Stream;

/// Headers of a usual request; one with more is left to the server of HTTP.
const USUAL_HEADERS: usize = 100;

/// How long a client whose opening was refused may take to close its side.
const LINGER: Duration = Duration::from_secs(2);

/// How much later than the answer to its request a client of revision 3 gets the open packet. Some of them listen for
/// messages only after the WebSocket is open, and would miss one that comes with the answer. The conformance suite of
/// revision 3 is such a client.
const PAUSE: Duration = Duration::from_millis(2);

/// What a connection began with.
pub(super) enum Opening {
    WebSocket(Entered),
    /// Something else, which nothing was done with.
    Other(Stream, Vec<u8>),
    /// Nothing, or what was refused: it is over.
    End,
}

/// The WebSocket of a new session, which was answered, and what came behind the request.
pub(super) type Entered = (Attached, Stream, Vec<u8>);

/// A connection that was not answered.
pub(super) enum Entrant {
    /// The runtime does not know it. Most clients have asked when they come to their shard, and are answered before it
    /// does: so it neither tells of the request nor keeps a time for it.
    Fresh(RawStream),
    Known(Stream),
}

/// Reads the first request, and answers it if it opens a session by WebSocket.
pub(super) async fn receive(
    shard: &Rc<Shard>,
    mut stream: Stream,
    peer: Peer,
    stranger: &Stranger,
) -> Result<Opening, Box<dyn std::error::Error>> {
    match in_time(shard, wait(shard, &mut stream)).await? {
        First::Nothing => Ok(Opening::End),
        First::Other(read) => Ok(Opening::Other(stream, read)),
        First::WebSocket(asked) => {
            stranger.asks();
            let entered = answer(shard, Entrant::Known(stream), peer, *asked).await?;
            Ok(entered.map_or(Opening::End, Opening::WebSocket))
        }
    }
}

/// What came with the connection, if something did.
pub(super) fn look(shard: &Shard, mut stream: &RawStream) -> io::Result<Option<First>> {
    let mut scratch = shard.take_scratch();
    let first = match stream.read(&mut scratch) {
        Ok(count) => Ok(Some(First::of(shard, &scratch[..count]))),
        Err(error) if is_for_later(&error) => Ok(None),
        Err(error) => Err(error),
    };
    shard.give_scratch(scratch);
    first
}

/// What comes first.
async fn wait(shard: &Shard, stream: &mut Stream) -> io::Result<First> {
    poll_fn(|context| {
        let mut scratch = shard.take_scratch();
        let mut buffer = ReadBuf::new(&mut scratch);
        let polled = Pin::new(&mut *stream).poll_read(context, &mut buffer);
        let read = buffer.filled();
        let first = polled.map_ok(|()| First::of(shard, read));
        shard.give_scratch(scratch);
        first
    })
    .await
}

fn is_for_later(error: &io::Error) -> bool {
    [io::ErrorKind::WouldBlock, io::ErrorKind::Interrupted].contains(&error.kind())
}

impl Entrant {
    /// Has the runtime know it.
    fn into_stream(self) -> io::Result<Stream> {
        match self {
            Self::Fresh(stream) => Ok(Stream::Plain(TcpStream::from_std(stream)?)),
            Self::Known(stream) => Ok(stream),
        }
    }

    /// Writes the first that the client gets.
    async fn write(self, bytes: &[u8]) -> io::Result<Stream> {
        let written = match &self {
            Self::Fresh(stream) => match (&mut &*stream).write(bytes) {
                Err(error) if is_for_later(&error) => 0,
                written => written?,
            },
            Self::Known(_) => 0,
        };
        let mut stream = self.into_stream()?;
        stream.write_all(&bytes[written..]).await?;
        Ok(stream)
    }
}

/// A request that passed verification.
pub(super) struct Asked {
    request: Request<()>,
    mount: u8,
    dialect: Dialect,
    /// What came behind it.
    rest: Vec<u8>,
}

/// What came first.
pub(super) enum First {
    /// The end.
    Nothing,
    WebSocket(Box<Asked>),
    Other(Vec<u8>),
}

impl First {
    fn of(shard: &Shard, read: &[u8]) -> Self {
        if read.is_empty() {
            return Self::Nothing;
        }
        match Asked::parse(shard, read) {
            Some(opening) => Self::WebSocket(Box::new(opening)),
            None => Self::Other(read.to_vec()),
        }
    }
}

impl Asked {
    fn parse(shard: &Shard, read: &[u8]) -> Option<Self> {
        let line = &read[..memchr(b'\r', read)?];
        memmem::find(line, b"transport=websocket")?;
        let mut headers = [const { MaybeUninit::uninit() }; USUAL_HEADERS];
        let mut parsed = httparse::Request::new(&mut []);
        let Ok(Status::Complete(length)) = parsed.parse_with_uninit_headers(read, &mut headers)
        else {
            return None;
        };
        let node = shard.node();
        if length > shard.limits().request_headers
            || parsed.method != Some("GET")
            || parsed.version != Some(1)
        {
            return None;
        }
        let target = parsed.path?;
        let path = target.split('?').next()?;
        let mount = node.mounts().iter().position(|mount| mount.is_at(path))?;

        let head = Bytes::copy_from_slice(&read[..length]);
        let part = |part: &[u8]| {
            let start = part.as_ptr() as usize - read.as_ptr() as usize;
            head.slice(start..start + part.len())
        };
        let mut request = Request::new(());
        *request.uri_mut() = Uri::from_maybe_shared(part(target.as_bytes())).ok()?;
        let map = request.headers_mut();
        map.reserve(parsed.headers.len());
        for header in parsed.headers.iter() {
            let name = HeaderName::from_bytes(header.name.as_bytes()).ok()?;
            if header.value.is_empty() {
                map.append(name, HeaderValue::from_static(""));
            } else {
                let value = HeaderValue::from_maybe_shared(part(header.value)).ok()?;
                map.append(name, value);
            }
        }
        if has_body(map) || !is_upgrade_request(&request) {
            return None;
        }
        match engineio::verify(shard, &request, true) {
            Ok(Verified::Handshake {
                transport: Transport::WebSocket,
                dialect,
            }) => Some(Self {
                request,
                mount: mount as u8,
                dialect,
                rest: read[length..].to_vec(),
            }),
            Ok(_) | Err(_) => None,
        }
    }
}

fn has_body(headers: &HeaderMap) -> bool {
    [CONTENT_LENGTH, TRANSFER_ENCODING, EXPECT]
        .iter()
        .any(|name| headers.contains_key(name))
}

/// Answers a request that opens a session by WebSocket; `None` if it was refused.
pub(super) async fn answer(
    shard: &Rc<Shard>,
    entrant: Entrant,
    peer: Peer,
    asked: Asked,
) -> io::Result<Option<Entered>> {
    let Asked {
        mut request,
        mount,
        dialect,
        rest,
    } = asked;
    let peer = peer.known_by(shard, request.headers());
    let origin = cors::Origin::of(request.headers());
    let transport = Transport::WebSocket;
    let opened = opened::handshake(shard, mount, &mut request, peer, transport, dialect).await;
    let (mut answer, session) = match opened {
        Ok(Opened::WebSocket(answer, session)) => (answer, Some(session)),
        Ok(Opened::Polling(answer)) => (answer, None),
        Err(refusal) => (engineio::refuse(shard, peer, &refusal, true), None),
    };
    cors::allow(&shard.settings().cors, &origin, answer.headers_mut());
    let Some(session) = session else {
        refuse(entrant.into_stream()?, answer).await;
        return Ok(None);
    };
    let mut bytes = head(answer.status(), answer.headers());
    let open = opened::open_packet(shard, &session, transport);
    let open = Encoded::engine_text(&open);
    let is_old = session.revision() == Revision::Three;
    if !is_old {
        bytes.extend_from_slice(open.frames());
    }
    let counted = open.frames().len() as u64;
    shard.counters().sent_bytes.of(transport).add(counted);
    shard.counters().writes.of(transport).increment();
    let attached = Attached::new(Rc::clone(&session));
    session.announce();
    let mut stream = entrant.write(&bytes).await?;
    if is_old {
        tokio::time::sleep(PAUSE).await;
        stream.write_all(open.frames()).await?;
    }
    Ok(Some((attached, stream, rest)))
}

/// The head of an answer.
fn head(status: StatusCode, headers: &HeaderMap) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(512);
    let reason = status.canonical_reason().unwrap_or_default();
    for part in ["HTTP/1.1 ", status.as_str(), " ", reason, "\r\n"] {
        bytes.extend_from_slice(part.as_bytes());
    }
    for (name, value) in headers {
        for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
            bytes.extend_from_slice(part);
        }
    }
    bytes.extend_from_slice(b"\r\n");
    bytes
}

/// Sends a refusal and closes in order, so that the client reads it.
async fn refuse(mut stream: Stream, mut answer: Answer) {
    let length = HeaderValue::from(answer.body().size_hint().lower());
    answer.headers_mut().insert(CONTENT_LENGTH, length);
    if let Ok(date) = httpdate::fmt_http_date(SystemTime::now()).parse() {
        answer.headers_mut().insert(DATE, date);
    }
    let mut bytes = head(answer.status(), answer.headers());
    let Ok(body) = answer.into_body().collect().await;
    bytes.extend_from_slice(&body.to_bytes());
    let close = async {
        stream.write_all(&bytes).await?;
        stream.shutdown().await?;
        let mut rest = [0; 256];
        while stream.read(&mut rest).await? > 0 {}
        io::Result::Ok(())
    };
    let _gone_either_way = tokio::time::timeout(LINGER, close).await;
}
