//! Echoes WebSocket messages: the frame reader as the gateway drives it, for Autobahn to judge.
//!
//! Listens on loopback; `gateway/tests/autobahn/run.py` starts it.

use std::cell::RefCell;
use std::convert::Infallible;
use std::io::{self, ErrorKind};
use std::net::Ipv4Addr;
use std::rc::Rc;
use std::time::Duration;

use clap::Parser;
use fastwebsockets::{Frame, upgrade};
use gateway::websocket::frame::{close_frame, pong_frame};
use gateway::websocket::reader::{Reader, Received};
use http_body_util::Empty;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::LocalSet;
use tokio::time::timeout;

/// One buffer for all connections.
type Scratch = Rc<RefCell<Box<[u8]>>>;

const SCRATCH: usize = 64 * 1024;

/// How long a peer may take to end its side of a connection that we closed.
const LINGER: Duration = Duration::from_secs(1);

#[derive(Parser)]
struct Arguments {
    /// Where on loopback to listen.
    #[arg(long, env = "PORT", default_value_t = 9001)]
    port: u16,
    /// How many bytes a message may have.
    #[arg(long, default_value_t = 1 << 20)]
    limit: usize,
}

fn main() -> anyhow::Result<()> {
    let Arguments { port, limit } = Arguments::parse();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    LocalSet::new().block_on(&runtime, serve(port, limit))
}

async fn serve(port: u16, limit: usize) -> anyhow::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
    let scratch: Scratch = Rc::new(RefCell::new(vec![0; SCRATCH].into()));
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let scratch = Rc::clone(&scratch);
        tokio::task::spawn_local(async move {
            if let Err(error) = connection(stream, scratch, limit).await {
                tracing::debug!("{error:#}");
            }
        });
    }
}

async fn connection(stream: TcpStream, scratch: Scratch, limit: usize) -> anyhow::Result<()> {
    let http = http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service_fn(handshake))
        .without_shutdown();
    let parts = Box::pin(http).await?;
    let mut stream = parts.io.into_inner();
    let mut early = parts.read_buf.to_vec();
    if echo(&mut stream, &mut early, &scratch, limit).await? == After::Linger {
        stream.shutdown().await?;
        // What the peer still sends is dropped, so that it gets the close frame and no reset.
        let _ = timeout(LINGER, drop_input(&stream, &scratch)).await;
    }
    Ok(())
}

async fn handshake(mut request: Request<Incoming>) -> Result<Response<Empty<Bytes>>, Infallible> {
    if upgrade::is_upgrade_request(&request)
        && let Ok((response, _)) = upgrade::upgrade(&mut request)
    {
        return Ok(response);
    }
    let mut response = Response::new(Empty::new());
    *response.status_mut() = StatusCode::UPGRADE_REQUIRED;
    Ok(response)
}

#[derive(PartialEq, Eq)]
enum After {
    /// The peer is gone.
    Gone,
    /// A close was sent.
    Linger,
}

/// Reads until the peer is gone or a close is due.
async fn echo(
    stream: &mut TcpStream,
    early: &mut [u8],
    scratch: &Scratch,
    limit: usize,
) -> io::Result<After> {
    let mut reader = Reader::new();
    let mut output = Vec::new();
    let mut closing = answer(&mut reader, early, &mut output, limit);
    loop {
        stream.write_all(&output).await?;
        output = Vec::new();
        if closing {
            return Ok(After::Linger);
        }
        stream.readable().await?;
        let mut scratch = scratch.borrow_mut();
        match stream.try_read(&mut scratch) {
            Ok(0) => return Ok(After::Gone),
            Ok(count) => closing = answer(&mut reader, &mut scratch[..count], &mut output, limit),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
}

/// Answers all that is in `input`; true if the connection is to be closed.
fn answer(reader: &mut Reader, mut input: &mut [u8], output: &mut Vec<u8>, limit: usize) -> bool {
    loop {
        match reader.next(&mut input, limit) {
            Ok(Some(Received::Text(text))) => push(output, Frame::text(text.as_bytes().into())),
            Ok(Some(Received::Binary(bytes))) => push(output, Frame::binary((&*bytes).into())),
            Ok(Some(Received::Ping(payload))) => output.extend_from_slice(&pong_frame(&payload)),
            Ok(Some(Received::Pong)) => {}
            Ok(Some(Received::Close(code))) => {
                output.extend_from_slice(&close_frame(code));
                return true;
            }
            Ok(None) => return false,
            Err(error) => {
                output.extend_from_slice(&close_frame(Some(error.close_code())));
                return true;
            }
        }
    }
}

fn push(output: &mut Vec<u8>, mut frame: Frame<'_>) {
    let mut head = [0; 16];
    let size = frame.fmt_head(&mut head);
    output.extend_from_slice(&head[..size]);
    output.extend_from_slice(&frame.payload);
}

/// Reads and drops until the peer has ended its side.
async fn drop_input(stream: &TcpStream, scratch: &Scratch) -> io::Result<()> {
    loop {
        stream.readable().await?;
        match stream.try_read(&mut scratch.borrow_mut()) {
            Ok(0) => return Ok(()),
            Err(error) if error.kind() != ErrorKind::WouldBlock => return Err(error),
            _ => {}
        }
    }
}
