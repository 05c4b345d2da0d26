//! The answer of an owner on its way to the client.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};

use crate::peers::{InFlightGuard, Link};

/// What is done with a connection whose answer is whole.
type Done = Box<dyn FnOnce(Link)>;

/// A body that is passed on as it comes. It holds the connection: one that is dropped before its
/// end closes it.
pub(crate) struct Relayed(Option<Inner>);

struct Inner {
    body: Incoming,
    ended: bool,
    link: Link,
    done: Done,
    _passing: InFlightGuard,
}

impl Relayed {
    pub(super) fn new(body: Incoming, link: Link, done: Done, passing: InFlightGuard) -> Self {
        Self(Some(Inner {
            body,
            ended: false,
            link,
            done,
            _passing: passing,
        }))
    }

    /// The body of an answer that has none.
    pub(super) fn nothing() -> Self {
        Self(None)
    }
}

impl Body for Relayed {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let Some(inner) = &mut self.0 else {
            return Poll::Ready(None);
        };
        let frame = ready!(Pin::new(&mut inner.body).poll_frame(context));
        inner.ended = frame.is_none();
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.0
            .as_ref()
            .is_none_or(|inner| inner.body.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        self.0
            .as_ref()
            .map_or(SizeHint::with_exact(0), |inner| inner.body.size_hint())
    }
}

impl Drop for Relayed {
    fn drop(&mut self) {
        if let Some(inner) = self.0.take()
            && (inner.ended || inner.body.is_end_stream())
        {
            (inner.done)(inner.link);
        }
    }
}
