//! A connection of TLS that keeps no buffer while it is idle.
//!
//! rustls' usual connection keeps 4 KiB for what it reads next, and more for what it wrote. This one lends it buffers of
//! the thread, one call at a time, and keeps what has to wait:
//!
//! ```text
//!   socket --> buffer of the thread --> rustls --> the reader's buffer
//!                 ^    | part of a record             | more than fits
//!                 +- partial                          +-> plain
//!
//!   the writer's bytes --> rustls --> buffer of the thread --> socket
//!                                         | more than the kernel takes
//!                                         +-> unsent, before which nothing more is taken
//! ```

use std::cell::RefCell;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::server::UnbufferedServerConnection;
use tokio_rustls::rustls::unbuffered::{
    ConnectionState, EncodeError, EncryptError, InsufficientSizeError, UnbufferedStatus,
};

/// Bytes that are read at once, with the part of a record that came before.
const READ: usize = 64 * 1024;

/// Most bytes of a record, or of a message of a handshake, that has not come whole.
const MAX_PARTIAL: usize = READ / 2;

/// Most bytes that are encrypted at once.
const MAX_WRITE: usize = 64 * 1024;

/// What a record adds to its content, at most, and how much content it has.
const RECORD: (usize, usize) = (64, 16 * 1024);

thread_local! {
    /// What is read, as it came.
    static INCOMING: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    /// What is written: plain, and as it goes out.
    static OUTGOING: RefCell<(Vec<u8>, Vec<u8>)> = const { RefCell::new((Vec::new(), Vec::new())) };
}

/// See the top of the file.
pub(crate) struct TlsStream {
    /// Taken out on the way to another runtime.
    socket: Option<TcpStream>,
    connection: UnbufferedServerConnection,
    partial: Vec<u8>,
    plain: Vec<u8>,
    /// How much of `plain` was taken.
    taken: usize,
    unsent: Vec<u8>,
    /// How much of `unsent` went out.
    sent: usize,
    /// The client said that it sends no more.
    has_ended: bool,
    /// We said so.
    has_closed: bool,
    /// What came is no TLS, or we failed: rustls is asked nothing more.
    has_failed: bool,
}

/// What is to be done with a connection.
enum Want<'a> {
    /// Handle what came.
    Read,
    /// Encrypt this behind what was encrypted before.
    Write(&'a [u8], &'a mut Vec<u8>),
    /// Say that nothing more comes.
    Close(&'a mut Vec<u8>),
}

impl TlsStream {
    /// Makes TLS of a connection, with the client's help.
    pub(crate) async fn accept(config: Arc<ServerConfig>, socket: TcpStream) -> io::Result<Self> {
        let mut stream = Self {
            socket: Some(socket),
            connection: UnbufferedServerConnection::new(config).map_err(io::Error::other)?,
            partial: Vec::new(),
            plain: Vec::new(),
            taken: 0,
            unsent: Vec::new(),
            sent: 0,
            has_ended: false,
            has_closed: false,
            has_failed: false,
        };
        poll_fn(|context| stream.poll_handshake(context)).await?;
        Ok(stream)
    }

    fn poll_handshake(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.connection.is_handshaking() {
            ready!(self.poll_send(context))?;
            ready!(self.receive(context, &mut ReadBuf::new(&mut [])))?;
            if self.has_ended {
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
        }
        self.poll_send(context)
    }

    /// Takes the connection out of its runtime.
    pub(crate) fn take_socket(&mut self) -> Option<TcpStream> {
        self.socket.take()
    }

    /// Puts it into that of the calling thread.
    pub(crate) fn set_socket(&mut self, socket: TcpStream) {
        self.socket = Some(socket);
    }

    /// Reads what there is, and gives it to `reader` as far as it fits.
    fn receive(
        &mut self,
        context: &mut Context<'_>,
        reader: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.has_failed {
            return Poll::Ready(Err(io::ErrorKind::NotConnected.into()));
        }
        INCOMING.with_borrow_mut(|incoming| {
            incoming.resize(READ, 0);
            let kept = self.partial.len();
            let (before, room) = incoming
                .split_at_mut_checked(kept)
                .ok_or(io::ErrorKind::InvalidData)?;
            before.copy_from_slice(&self.partial);
            let mut buffer = ReadBuf::new(room);
            ready!(socket(&mut self.socket)?.poll_read(context, &mut buffer))?;
            let count = buffer.filled().len();
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
            let came = incoming.get_mut(..kept + count).unwrap_or_default();
            let handled = self.advance(came, reader, Want::Read);
            // Answers of TLS itself, or why it fails.
            let _later = self.poll_send(context);
            let rest = came.get(handled?..).unwrap_or_default();
            if rest.len() > MAX_PARTIAL {
                self.has_failed = true;
                return Poll::Ready(Err(io::ErrorKind::InvalidData.into()));
            }
            self.partial = rest.to_vec();
            Poll::Ready(Ok(()))
        })
    }

    /// Has rustls handle what came, and then do what is wanted. Returns how much of it is not needed any more.
    fn advance(
        &mut self,
        came: &mut [u8],
        reader: &mut ReadBuf<'_>,
        want: Want<'_>,
    ) -> io::Result<usize> {
        if self.has_failed {
            return Err(io::ErrorKind::NotConnected.into());
        }
        let handled = self.try_advance(came, reader, want);
        self.has_failed = handled.is_err();
        handled
    }

    fn try_advance(
        &mut self,
        mut came: &mut [u8],
        reader: &mut ReadBuf<'_>,
        mut want: Want<'_>,
    ) -> io::Result<usize> {
        let mut handled = 0;
        let mut failed = None;
        loop {
            let UnbufferedStatus { mut discard, state } =
                self.connection.process_tls_records(&mut *came);
            let mut is_over = false;
            match state {
                Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                    while let Some(record) = traffic.next_record() {
                        let record = record.map_err(io::Error::other)?;
                        discard += record.discard;
                        let fits = match self.plain.is_empty() {
                            true => record.payload.len().min(reader.remaining()),
                            false => 0,
                        };
                        let (now, later) = record.payload.split_at(fits);
                        reader.put_slice(now);
                        self.plain.extend_from_slice(later);
                    }
                }
                Ok(ConnectionState::EncodeTlsData(mut data)) => {
                    fill(&mut self.unsent, 0, |room| data.encode(room))?;
                }
                // It waits in `unsent`, before which nothing else goes out.
                Ok(ConnectionState::TransmitTlsData(data)) => data.done(),
                Ok(ConnectionState::PeerClosed) => self.has_ended = true,
                Ok(ConnectionState::WriteTraffic(mut traffic)) => {
                    is_over = true;
                    match &mut want {
                        _ if failed.is_some() => {}
                        Want::Read => {}
                        Want::Write(plain, out) => {
                            let records = plain.len() / RECORD.1 + 1;
                            let room = plain.len() + (records + 1) * RECORD.0;
                            fill(out, room, |room| traffic.encrypt(plain, room))?;
                        }
                        Want::Close(out) => {
                            fill(out, RECORD.0, |room| traffic.queue_close_notify(room))?;
                        }
                    }
                }
                Ok(ConnectionState::BlockedHandshake | ConnectionState::Closed) => match want {
                    Want::Read | Want::Close(_) => is_over = true,
                    Want::Write(..) => return Err(io::ErrorKind::NotConnected.into()),
                },
                // None is taken.
                Ok(ConnectionState::ReadEarlyData(_)) => {
                    return Err(io::ErrorKind::InvalidData.into());
                }
                // There is no other.
                Ok(_) => return Err(io::ErrorKind::Unsupported.into()),
                Err(error) => failed = Some(error),
            }
            // It may have an alert for the client. Then it must not look again at what came.
            is_over |= failed.is_some() && !self.connection.wants_write();
            handled += discard;
            let left = std::mem::take(&mut came).split_at_mut_checked(discard);
            came = left.map_or_else(Default::default, |(_, left)| left);
            if is_over {
                return match failed {
                    Some(error) => Err(io::Error::new(io::ErrorKind::InvalidData, error)),
                    None => Ok(handled),
                };
            }
        }
    }

    /// Sends what was encrypted before.
    fn poll_send(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(left @ [_, ..]) = self.unsent.get(self.sent..) {
            let sent = ready!(socket(&mut self.socket)?.poll_write(context, left))?;
            if sent == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.sent += sent;
        }
        self.sent = 0;
        self.unsent = Vec::new();
        Poll::Ready(Ok(()))
    }

    /// Has rustls write something, which goes out, or waits in `unsent`.
    fn put(
        &mut self,
        context: &mut Context<'_>,
        plain: &[u8],
        out: &mut Vec<u8>,
    ) -> io::Result<()> {
        out.clear();
        let mut partial = std::mem::take(&mut self.partial);
        let want = Want::Write(plain, out);
        let handled = self.advance(&mut partial, &mut ReadBuf::new(&mut []), want);
        partial.drain(..handled?.min(partial.len()));
        self.partial = partial;
        self.send(context, out)
    }

    /// Sends what rustls wrote, behind what it had to say itself.
    fn send(&mut self, context: &mut Context<'_>, out: &[u8]) -> io::Result<()> {
        let mut sent = 0;
        if self.unsent.is_empty() {
            match socket(&mut self.socket)?.poll_write(context, out) {
                Poll::Ready(written) => sent = written?,
                Poll::Pending => {}
            }
        }
        self.unsent
            .extend_from_slice(out.get(sent..).unwrap_or_default());
        Ok(())
    }
}

impl AsyncRead for TlsStream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        loop {
            if let Some(left @ [_, ..]) = this.plain.get(this.taken..) {
                let (now, _) = left.split_at(left.len().min(buffer.remaining()));
                buffer.put_slice(now);
                this.taken += now.len();
            }
            if this.taken == this.plain.len() {
                this.taken = 0;
                this.plain = Vec::new();
            }
            if buffer.filled().len() > before || buffer.remaining() == 0 || this.has_ended {
                return Poll::Ready(Ok(()));
            }
            ready!(this.receive(context, buffer))?;
        }
    }
}

impl AsyncWrite for TlsStream {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        ready!(this.poll_send(context))?;
        if bytes.is_empty() {
            return Poll::Ready(Ok(0));
        }
        let now = bytes.get(..MAX_WRITE).unwrap_or(bytes);
        OUTGOING.with_borrow_mut(|(_, out)| this.put(context, now, out))?;
        Poll::Ready(Ok(now.len()))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        ready!(this.poll_send(context))?;
        OUTGOING.with_borrow_mut(|(plain, out)| {
            plain.clear();
            for slice in slices {
                let room = MAX_WRITE - plain.len();
                plain.extend_from_slice(slice.get(..room).unwrap_or(slice));
            }
            this.put(context, plain, out)?;
            Poll::Ready(Ok(plain.len()))
        })
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().poll_send(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !std::mem::replace(&mut this.has_closed, true) {
            let (mut partial, mut out) = (std::mem::take(&mut this.partial), Vec::new());
            let want = Want::Close(&mut out);
            this.advance(&mut partial, &mut ReadBuf::new(&mut []), want)?;
            this.unsent.append(&mut out);
        }
        ready!(this.poll_send(context))?;
        socket(&mut this.socket)?.poll_shutdown(context)
    }
}

fn socket(socket: &mut Option<TcpStream>) -> io::Result<Pin<&mut TcpStream>> {
    let socket = socket.as_mut().ok_or(io::ErrorKind::NotConnected)?;
    Ok(Pin::new(socket))
}

/// Why a buffer was not filled.
trait Unfilled: Into<Box<dyn std::error::Error + Send + Sync>> {
    /// How much room is needed.
    fn required(&self) -> Option<usize>;
}

impl Unfilled for EncodeError {
    fn required(&self) -> Option<usize> {
        match self {
            Self::InsufficientSize(InsufficientSizeError { required_size }) => Some(*required_size),
            Self::AlreadyEncoded => None,
        }
    }
}

impl Unfilled for EncryptError {
    fn required(&self) -> Option<usize> {
        match self {
            Self::InsufficientSize(InsufficientSizeError { required_size }) => Some(*required_size),
            Self::EncryptExhausted => None,
        }
    }
}

/// Has a buffer be filled further, with as much room as that needs.
fn fill<E: Unfilled>(
    buffer: &mut Vec<u8>,
    room: usize,
    mut write: impl FnMut(&mut [u8]) -> Result<usize, E>,
) -> io::Result<()> {
    let length = buffer.len();
    buffer.resize(length + room, 0);
    let mut written = write(buffer.get_mut(length..).unwrap_or_default());
    if let Err(error) = &written
        && let Some(required) = error.required()
    {
        buffer.resize(length + required, 0);
        written = write(buffer.get_mut(length..).unwrap_or_default());
    }
    let count = written.as_ref().map_or(0, |count| *count);
    buffer.truncate(length + count);
    written.map(drop).map_err(io::Error::other)
}

#[cfg(test)]
mod tests;
