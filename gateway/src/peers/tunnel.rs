//! A WebSocket whose session is on another node: bytes go both ways, unseen.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Sleep;

use super::pool::{Links, Permit};
use crate::net::scratch::Scratch;

/// How long one side may take to end after the other has. The owner waits as long for a client that
/// is its own.
const LINGER: Duration = Duration::from_secs(2);

/// The owner's end.
pub(crate) struct Tunnel {
    pub(super) stream: TcpStream,
    /// What came behind its answer.
    pub(super) read: Vec<u8>,
    pub(super) permit: Permit,
}

/// Copies until one side ends, and closes the other. `early` is what the client sent behind its
/// request. While nothing is on its way it keeps no buffer.
pub(crate) async fn run(
    links: Rc<Links>,
    mut client: impl AsyncRead + AsyncWrite + Unpin,
    early: Vec<u8>,
    tunnel: Tunnel,
) {
    let Tunnel {
        stream: mut owner,
        read,
        permit: _permit,
    } = tunnel;
    let mut up = Way::new(early);
    let mut down = Way::new(read);
    let mut linger: Option<Pin<Box<Sleep>>> = None;
    let listed = links.list();
    let copying = poll_fn(|context| {
        let up = up.poll(links.scratch(), &mut client, &mut owner, context);
        let down = down.poll(links.scratch(), &mut owner, &mut client, context);
        match (up, down) {
            (Poll::Pending, Poll::Pending) => Poll::Pending,
            (Poll::Ready(Ok(())), Poll::Pending) | (Poll::Pending, Poll::Ready(Ok(()))) => linger
                .get_or_insert_with(|| Box::pin(tokio::time::sleep(LINGER)))
                .as_mut()
                .poll(context),
            (Poll::Ready(_), Poll::Ready(_))
            | (Poll::Ready(Err(_)), Poll::Pending)
            | (Poll::Pending, Poll::Ready(Err(_))) => Poll::Ready(()),
        }
    });
    tokio::select! {
        () = copying => {}
        () = listed.ending() => {}
    }
}

/// One direction.
struct Way {
    /// Read and not written yet; nothing more is read before it is. At most as much as the shard's
    /// scratch buffer holds.
    pending: Vec<u8>,
    written: usize,
    stage: Stage,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Open,
    /// The reading side has ended.
    Ended,
    /// The writing side was told.
    Closed,
}

impl Way {
    fn new(pending: Vec<u8>) -> Self {
        Self {
            pending,
            written: 0,
            stage: Stage::Open,
        }
    }

    /// Ready when the end was passed on.
    fn poll(
        &mut self,
        buffers: &Scratch,
        from: &mut (impl AsyncRead + Unpin),
        to: &mut (impl AsyncWrite + Unpin),
        context: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            ready!(self.write(to, context))?;
            match self.stage {
                Stage::Open => {}
                Stage::Ended => {
                    ready!(Pin::new(&mut *to).poll_shutdown(context))?;
                    self.stage = Stage::Closed;
                }
                Stage::Closed => return Poll::Ready(Ok(())),
            }
            if self.stage == Stage::Open {
                let mut scratch = buffers.take();
                let passed = self.pass(&mut scratch, from, to, context);
                buffers.give_back(scratch);
                ready!(passed)?;
            }
        }
    }

    /// Reads once and writes what the other side takes at once.
    fn pass(
        &mut self,
        scratch: &mut [u8],
        from: &mut (impl AsyncRead + Unpin),
        to: &mut (impl AsyncWrite + Unpin),
        context: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        let mut buffer = ReadBuf::new(scratch);
        ready!(Pin::new(from).poll_read(context, &mut buffer))?;
        let read = buffer.filled();
        if read.is_empty() {
            self.stage = Stage::Ended;
            return Poll::Ready(Ok(()));
        }
        let written = match Pin::new(to).poll_write(context, read) {
            Poll::Ready(written) => written?,
            Poll::Pending => 0,
        };
        self.pending = read[written..].to_vec();
        self.written = 0;
        Poll::Ready(Ok(()))
    }

    fn write(
        &mut self,
        to: &mut (impl AsyncWrite + Unpin),
        context: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        while self.written < self.pending.len() {
            let rest = &self.pending[self.written..];
            let written = ready!(Pin::new(&mut *to).poll_write(context, rest))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.written += written;
        }
        self.pending = Vec::new();
        self.written = 0;
        Pin::new(to).poll_flush(context)
    }
}
