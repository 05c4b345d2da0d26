//! When a join holds on every node.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use adapter::InForce;

/// What [`Socket::join_everywhere`](super::Socket::join_everywhere) returns. The socket is in the rooms of this node at
/// once. As a future it resolves when everything that any node publishes to the rooms from then on reaches the socket.
/// That can take long while the connection between the nodes is down, so set a limit.
#[derive(Debug, Default)]
pub struct Joined(Vec<InForce>);

impl Joined {
    /// As well.
    pub(crate) fn and(&mut self, in_force: Option<InForce>) {
        self.0.extend(in_force.filter(|it| !it.is_open()));
    }

    /// As well.
    pub(crate) fn and_all(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    /// Without what Redis refuses.
    pub(crate) fn without_refused(mut self) -> Self {
        self.0.retain(|it| !it.is_refused());
        self
    }

    /// Whether nothing has to be waited for.
    pub fn is_everywhere(&self) -> bool {
        self.0.iter().all(InForce::is_open)
    }

    /// Whether Redis refuses one of the rooms: nothing that other nodes publish to it will come.
    pub fn is_refused(&self) -> bool {
        self.0.iter().any(InForce::is_refused)
    }
}

impl Future for Joined {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        while let Some(last) = self.0.last_mut() {
            ready!(Pin::new(&mut *last).poll(context));
            if last.is_refused() {
                return Poll::Ready(());
            }
            self.0.pop();
        }
        Poll::Ready(())
    }
}
