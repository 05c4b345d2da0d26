//! A node that serves, and its end.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tracing::warn;

use super::ports::first_tcp;
use super::shard_thread::ShardThread;
use super::webtransport::Serving;
use crate::backend::event_stream::EventStream;
use crate::count::Asker;
use crate::engine::drain::Purpose;
use crate::engine::mail::Mail;
use crate::engine::node::Node;
use crate::engine::reloads::{ReloadError, Reloaded};
use crate::net::listener::Address;
use crate::net::outbound::Outbound;
use crate::otel::Otel;
use crate::server::acceptor::Acceptor;
use crate::server::draining;
use crate::socketio::{Gateway, SocketIo};

/// How long the end waits for the last entries of `backend.stream` to be written.
const LAST_ENTRIES: Duration = Duration::from_secs(5);

/// How long the end waits until it is written that the node's clients are away.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// How long the end waits for the collector to take the last spans.
const LAST_SPANS: Duration = Duration::from_secs(2);

/// A node that serves.
///
/// [`stop`](Self::stop) drains it. If it is dropped, it ends at once, and clients are told nothing.
pub struct Running {
    pub(super) gateway: Gateway,
    pub(super) addresses: Vec<Address>,
    pub(super) internal_addresses: Vec<Address>,
    pub(super) acceptor: Option<Acceptor>,
    pub(super) internal: JoinHandle<()>,
    /// Of each certificate.
    pub(super) renewals: Vec<Renewal>,
    pub(super) webtransport: Option<Serving>,
    pub(super) reloads: JoinHandle<()>,
    /// If it looks at files.
    pub(super) watching: Option<JoinHandle<()>>,
    pub(super) cluster: Option<JoinHandle<()>>,
    /// Tells who is there.
    pub(super) presence: Vec<JoinHandle<()>>,
    /// Shows admin pages what there is.
    pub(super) admin: Option<JoinHandle<()>>,
    /// The queue of `backend.stream`, and the thread that writes it.
    pub(super) event_stream: Option<(Arc<EventStream>, Arc<Outbound>)>,
    /// What makes spans, and the thread that sends them.
    pub(super) spans: Option<(Arc<Otel>, Arc<Outbound>)>,
    pub(super) shards: Vec<ShardThread>,
}

/// How a node ends.
enum Manner {
    Drained,
    CutShort,
}

impl Running {
    /// Returns the address that clients connect to, with the port that the system chose if `listen` has 0.
    ///
    /// It is the first one if there are several, and all zeros if they connect by sockets in the file
    /// system alone.
    pub fn address(&self) -> SocketAddr {
        first_tcp(&self.addresses)
    }

    /// Returns the address of metrics, health, the HTTP API and the other nodes, as
    /// [`address`](Self::address) does.
    pub fn internal_address(&self) -> SocketAddr {
        first_tcp(&self.internal_addresses)
    }

    /// Returns all places where clients connect.
    pub fn addresses(&self) -> &[Address] {
        &self.addresses
    }

    /// Returns all places of metrics, health, the HTTP API and the other nodes.
    pub fn internal_addresses(&self) -> &[Address] {
        &self.internal_addresses
    }

    /// Returns the address of UDP that clients connect to by WebTransport, with the port that the system chose if
    /// `webtransport.listen` has 0.
    pub fn webtransport_address(&self) -> Option<SocketAddr> {
        self.webtransport.as_ref().map(Serving::address)
    }

    /// Returns the handle that emits to clients.
    pub fn gateway(&self) -> &Gateway {
        &self.gateway
    }

    /// Reads the settings again from where [`Server::sources`](crate::Server::sources) says, and the
    /// certificates of `tls.cert` and `webtransport.cert`. When it returns, they are in force on all shards.
    ///
    /// It changes all of what a reload can change, or nothing.
    ///
    /// # Errors
    ///
    /// Why nothing is changed. The log says the same.
    pub async fn reload(&self) -> Result<Reloaded, ReloadError> {
        self.reloads().reload().await
    }

    /// Returns what asks for a reload, good until the node ends.
    pub fn reloads(&self) -> ReloadHandle {
        ReloadHandle(Arc::clone(self.gateway.node()))
    }

    /// Returns what tells whether the node lives, for a watchdog.
    pub fn pulse(&self) -> Pulse {
        Pulse(Arc::clone(self.gateway.node()))
    }

    /// Waits until a thread or a task ends that the node cannot be without, and returns its name.
    ///
    /// The program should then end: what is left of the node takes connections that nobody serves.
    pub fn failure(&self) -> impl Future<Output = Box<str>> + Send + 'static {
        self.gateway.node().vitals().failure()
    }

    /// Drains the node over `shutdown.drain` and ends its threads.
    ///
    /// The node says that it is not ready. It opens new sessions for the first half of the time, since
    /// load balancers may learn late that it leaves; then it refuses them. It closes as many sessions
    /// in each second, with a transport close, so that clients connect elsewhere in an even stream.
    /// Until then it serves them. A node that serves nobody ends at once.
    pub async fn stop(self) {
        self.ending(Manner::Drained).await;
    }

    /// Closes all sessions at once, and ends the node's threads.
    pub async fn stop_at_once(self) {
        self.ending(Manner::CutShort).await;
    }

    /// Behind a pointer: a program that awaits the end would compile all of it a second time.
    fn ending(self, manner: Manner) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(async move {
            let node = self.gateway.node();
            match manner {
                Manner::Drained => {
                    let was_idle = !node.drain().has_begun() && draining::is_idle(node);
                    draining::begin(node, node.config().shutdown.drain, Purpose::End);
                    if !was_idle {
                        draining::finished(node).await;
                    }
                }
                Manner::CutShort => draining::cut_short(node).await,
            }
            self.end().await;
        })
    }

    async fn end(mut self) {
        let node = Arc::clone(self.gateway.node());
        node.vitals().end();
        self.acceptor.take();
        if let Some(webtransport) = self.webtransport.take() {
            webtransport.end().await;
        }
        draining::take_leave(&node).await;
        if let Some(recovery) = &SocketIo::of(&node).recovery
            && recovery.retire(LAST_WORDS).await.is_err()
        {
            warn!(target: "gateway::server", "the node ended before it was written that its clients are away; they can come back all the same");
        }
        self.internal.abort();
        let shards = std::mem::take(&mut self.shards);
        let ended = tokio::task::spawn_blocking(move || drop(shards)).await;
        if let Err(error) = ended {
            warn!(target: "gateway::server", %error, "a shard panicked while the node stopped");
        }
        self.presence.iter().for_each(JoinHandle::abort);
        if let Some(presence) = node.presence() {
            presence.leave(LAST_WORDS).await;
        }
        if let Some((stream, _writing)) = &self.event_stream {
            let lost = stream.flushed(LAST_ENTRIES).await;
            if lost > 0 {
                warn!(target: "gateway::server", lost, "the node ended before Redis confirmed all entries of the stream; these are lost");
            }
        }
        if let Some((otel, _sending)) = &self.spans {
            let lost = otel.flushed(LAST_SPANS).await;
            if lost > 0 {
                warn!(target: "gateway::server", lost, "the node ended before the collector had all spans; these are lost");
            }
        }
        let left = tokio::task::spawn_blocking(move || {
            if let Some(cluster) = node.cluster() {
                cluster.close();
            }
        });
        if let Err(error) = left.await {
            warn!(target: "gateway::server", %error, "leaving the cluster failed");
        }
    }
}

/// What takes in new certificates.
pub(super) struct Renewal {
    pub(super) task: JoinHandle<()>,
    /// Asks it to look at once.
    pub(super) ask: mpsc::Sender<oneshot::Sender<()>>,
}

/// Tells whether a node lives. Made by [`Running::pulse`], and good until the node ends.
#[derive(Clone)]
pub struct Pulse(Arc<Node>);

impl Pulse {
    /// Waits until every shard answered. Returns false if one has ended.
    pub async fn beats(&self) -> bool {
        for shard in self.0.shards() {
            let (tell, told) = oneshot::channel();
            shard.post(Mail::Run(Box::new(move |_| {
                let _nobody_waits = tell.send(());
            })));
            if told.await.is_err() {
                return false;
            }
        }
        true
    }

    /// Returns the number of sessions.
    pub fn session_count(&self) -> usize {
        self.0.session_count()
    }

    /// Returns whether the node drains.
    pub fn is_draining(&self) -> bool {
        self.0.drain().has_begun()
    }
}

/// Asks for a reload. Made by [`Running::reloads`], and good until the node ends.
#[derive(Clone)]
pub struct ReloadHandle(Arc<Node>);

impl ReloadHandle {
    /// Does what [`Running::reload`] does.
    ///
    /// # Errors
    ///
    /// Why nothing is changed.
    pub async fn reload(&self) -> Result<Reloaded, ReloadError> {
        match self.0.reloads() {
            Some(reloads) => reloads.ask(Asker::Program, false).await,
            None => Err(ReloadError::Busy),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.reloads.abort();
        if let Some(watching) = &self.watching {
            watching.abort();
        }
        self.gateway.node().vitals().end();
        self.internal.abort();
        for renewal in &self.renewals {
            renewal.task.abort();
        }
        if let Some(cluster) = &self.cluster {
            cluster.abort();
        }
        self.presence.iter().for_each(JoinHandle::abort);
        if let Some(admin) = &self.admin {
            admin.abort();
        }
    }
}
