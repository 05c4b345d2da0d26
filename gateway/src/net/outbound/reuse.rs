//! When a pooled connection may be used again: not when the other end is about to close it.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::header::HeaderMap;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper::{Uri, http::Extensions};
use hyper_util::client::legacy::connect::{CaptureConnection, Connected, Connection};
use tower_service::Service;

/// How long before its announced end a connection is used no more.
const MARGIN: Duration = Duration::from_secs(1);

/// What is known of one connection. It travels with it through the pool.
#[derive(Debug, Clone, Default)]
pub(super) struct Use(Arc<UseFields>);

#[derive(Debug, Default)]
struct UseFields {
    /// Answers that came on it.
    answers: AtomicU64,
    /// Somebody takes it out of the pool when it has rested for this long.
    watched: OnceLock<()>,
}

impl Use {
    /// The one of a connection.
    pub(super) fn of(connected: &Connected) -> Option<Self> {
        let mut extensions = Extensions::new();
        connected.get_extras(&mut extensions);
        extensions.remove()
    }

    /// Whether an answer has come on it before.
    pub(super) fn was_used(&self) -> bool {
        self.0.answers.load(Ordering::Relaxed) > 0
    }

    /// An answer came. If it says how long the connection may rest (`Keep-Alive: timeout=5`), the
    /// connection is taken out of the pool before.
    pub(super) fn note(connection: &CaptureConnection, headers: &HeaderMap) {
        let used = connection.connection_metadata().as_ref().and_then(Self::of);
        let Some(used) = used else {
            return;
        };
        used.0.answers.fetch_add(1, Ordering::Relaxed);
        if let Some(rest) = announced_rest(headers)
            && used.0.watched.set(()).is_ok()
        {
            tokio::spawn(used.watch(connection.clone(), rest));
        }
    }

    async fn watch(self, connection: CaptureConnection, rest: Duration) {
        let rest = rest.saturating_sub(MARGIN).max(rest / 2);
        let mut seen = 0;
        loop {
            let answers = self.0.answers.load(Ordering::Relaxed);
            if answers == seen {
                if let Some(connected) = &*connection.connection_metadata() {
                    connected.poison();
                }
                break;
            }
            seen = answers;
            tokio::time::sleep(rest / 2).await;
        }
    }
}

/// Gives each connection of a connector a [`Use`].
#[derive(Debug, Clone)]
pub(super) struct Marking<C>(pub(super) C);

impl<C> Service<Uri> for Marking<C>
where
    C: Service<Uri>,
    C::Future: Send + 'static,
{
    type Response = Marked<C::Response>;
    type Error = C::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, C::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), C::Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let connecting = self.0.call(uri);
        Box::pin(async move {
            connecting.await.map(|connection| Marked {
                connection,
                used: Use::default(),
            })
        })
    }
}

/// A connection with its [`Use`].
#[derive(Debug)]
pub(super) struct Marked<C> {
    connection: C,
    used: Use,
}

impl<C: Connection> Connection for Marked<C> {
    fn connected(&self) -> Connected {
        self.connection.connected().extra(self.used.clone())
    }
}

impl<C: Read + Unpin> Read for Marked<C> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().connection).poll_read(context, buffer)
    }
}

impl<C: Write + Unpin> Write for Marked<C> {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().connection).poll_write(context, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().connection).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().connection).poll_shutdown(context)
    }

    fn is_write_vectored(&self) -> bool {
        self.connection.is_write_vectored()
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().connection).poll_write_vectored(context, slices)
    }
}

/// The `timeout` of a `Keep-Alive` header.
fn announced_rest(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get("keep-alive")?.to_str().ok()?;
    let seconds = text.split(',').find_map(|part| {
        let (name, value) = part.split_once('=')?;
        let is_timeout = name.trim().eq_ignore_ascii_case("timeout");
        is_timeout.then(|| value.trim().trim_matches('"').parse::<u32>().ok())?
    })?;
    Some(Duration::from_secs(seconds.into()))
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;

    use super::*;

    #[test]
    fn a_rest_is_what_the_header_says() {
        for (text, seconds) in [
            ("timeout=5", Some(5)),
            ("timeout=5, max=100", Some(5)),
            ("max=100, Timeout = \"30\"", Some(30)),
            ("max=100", None),
            ("timeout=soon", None),
            ("", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert("keep-alive", HeaderValue::from_static(text));
            let expected = seconds.map(Duration::from_secs);
            assert_eq!(announced_rest(&headers), expected, "{text}");
        }
    }
}
