//! A client's connection, with TLS or without.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::net::tls_stream::TlsStream;

/// A connection that belongs to the runtime of its shard. TLS is boxed, so that a plain connection
/// is no larger for it.
pub(crate) enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream>),
}

/// A connection on its way to another shard.
pub(crate) enum Detached {
    Plain(std::net::TcpStream),
    Tls(Box<TlsStream>, std::net::TcpStream),
}

impl Stream {
    /// Writes a few bytes at once, or says that it cannot. To be used where nothing else is
    /// written.
    pub(crate) fn write_small(&mut self, bytes: &[u8]) -> bool {
        let written = match self {
            Self::Plain(stream) => stream.try_write(bytes),
            Self::Tls(stream) => {
                let mut context = Context::from_waker(Waker::noop());
                match Pin::new(stream).poll_write(&mut context, bytes) {
                    Poll::Ready(written) => written,
                    Poll::Pending => return false,
                }
            }
        };
        written.is_ok_and(|written| written == bytes.len())
    }

    /// Takes it from its runtime.
    pub(crate) fn detach(self) -> io::Result<Detached> {
        match self {
            Self::Plain(stream) => Ok(Detached::Plain(stream.into_std()?)),
            Self::Tls(mut tls) => {
                let stream = tls.take_socket().ok_or(io::ErrorKind::NotConnected)?;
                Ok(Detached::Tls(tls, stream.into_std()?))
            }
        }
    }
}

impl Detached {
    /// Gives it to the runtime of the calling thread.
    pub(crate) fn attach(self) -> io::Result<Stream> {
        match self {
            Self::Plain(stream) => Ok(Stream::Plain(TcpStream::from_std(stream)?)),
            Self::Tls(mut tls, stream) => {
                tls.set_socket(TcpStream::from_std(stream)?);
                Ok(Stream::Tls(tls))
            }
        }
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

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write_vectored(context, slices),
            Self::Tls(stream) => Pin::new(stream).poll_write_vectored(context, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
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
