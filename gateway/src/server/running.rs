//! A node that serves, and its end.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tracing::warn;

use super::shard_thread::ShardThread;
use crate::backend::event_stream::EventStream;
use crate::engine::drain::Purpose;
use crate::net::outbound::Outbound;
use crate::server::acceptor::Acceptor;
use crate::server::draining;
use crate::socketio::Gateway;

/// How long the end waits for the last entries of `backend.stream` to be written.
const LAST_ENTRIES: Duration = Duration::from_secs(5);

/// A node that serves. Dropped, it is stopped without a word to its clients.
pub struct Running {
    pub(super) gateway: Gateway,
    pub(super) address: SocketAddr,
    pub(super) internal_address: SocketAddr,
    pub(super) acceptor: Option<Acceptor>,
    pub(super) internal: JoinHandle<()>,
    pub(super) renewal: Option<JoinHandle<()>>,
    pub(super) cluster: Option<JoinHandle<()>>,
    /// The queue of `backend.stream`, and the thread that writes it.
    pub(super) event_stream: Option<(Arc<EventStream>, Arc<Outbound>)>,
    pub(super) shards: Vec<ShardThread>,
}

impl Running {
    /// Where clients connect.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where metrics and health are served.
    pub fn internal_address(&self) -> SocketAddr {
        self.internal_address
    }

    /// The handle to emit by.
    pub fn gateway(&self) -> &Gateway {
        &self.gateway
    }

    /// Waits until the node can serve no more, since a thread or a task of it has ended that it cannot
    /// be without, and names it. Whoever runs the node then ends the process: what is left of the
    /// node takes connections that nobody serves.
    pub fn failure(&self) -> impl Future<Output = Box<str>> + Send + 'static {
        self.gateway.node().vitals().failure()
    }

    /// Drains the node over `shutdown.drain` and ends its threads.
    ///
    /// The node says that it is not ready. New sessions are still let in for the first half of the
    /// time, since whoever sends clients here may learn of it late; then they are refused. All
    /// sessions are closed with a transport close, as many in each second, so that clients come
    /// back elsewhere by themselves in an even stream; until then they are served. A node that serves
    /// nobody ends at once.
    pub async fn stop(self) {
        let node = self.gateway.node();
        let was_idle = !node.drain().has_begun() && draining::is_idle(node);
        draining::begin(node, node.config().shutdown.drain, Purpose::End);
        if !was_idle {
            draining::finished(node).await;
        }
        self.end().await;
    }

    /// Closes all sessions at once, as [`stop`](Self::stop) does over some time, and ends the
    /// node's threads.
    pub async fn stop_at_once(self) {
        draining::cut_short(self.gateway.node()).await;
        self.end().await;
    }

    async fn end(mut self) {
        let node = Arc::clone(self.gateway.node());
        node.vitals().end();
        self.acceptor.take();
        draining::take_leave(&node).await;
        self.internal.abort();
        let shards = std::mem::take(&mut self.shards);
        let ended = tokio::task::spawn_blocking(move || drop(shards)).await;
        if let Err(error) = ended {
            warn!(target: "gateway::server", %error, "a shard did not end well");
        }
        if let Some((stream, _writing)) = &self.event_stream {
            let lost = stream.flushed(LAST_ENTRIES).await;
            if lost > 0 {
                warn!(target: "gateway::server", lost, "ended before all events were in the stream");
            }
        }
        let left = tokio::task::spawn_blocking(move || {
            if let Some(cluster) = node.cluster() {
                cluster.close();
            }
        });
        if let Err(error) = left.await {
            warn!(target: "gateway::server", %error, "the cluster was not left well");
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.gateway.node().vitals().end();
        self.internal.abort();
        if let Some(renewal) = &self.renewal {
            renewal.abort();
        }
        if let Some(cluster) = &self.cluster {
            cluster.abort();
        }
    }
}
