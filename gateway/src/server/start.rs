//! Starting and stopping a node.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use adapter::{Adapter, Inbox as AdapterInbox, NodeId, NodeTag};
use socket2::{Domain, Protocol, Socket as RawSocket, Type};
use tokio::net::TcpListener;
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tracing::{info, warn};

use crate::apps::auth::{Authenticated, KeyError};
use crate::apps::relay::Relay;
use crate::backend::api::Api;
use crate::backend::event_stream::EventStream;
use crate::backend::webhook::WebhookApplication;
use crate::backend::webhook::client::Backends;
use crate::cluster::Cluster;
use crate::config::Config;
use crate::count::Export;
use crate::engine::application::BareEngine;
use crate::engine::drain::Purpose;
use crate::engine::node::{Mount, Node};
use crate::engine::shard::{Inbox, Letterbox, Shard};
use crate::net::assets::{Assets, ClientDirError};
use crate::net::ids::random_characters;
use crate::net::outbound::{Outbound, OutboundError};
use crate::net::tls::{Certificate, TlsError};
use crate::net::trust::{self, TrustError};
use crate::server::acceptor::Acceptor;
use crate::server::draining;
use crate::server::internal;
use crate::server::redis::{self, StreamTarget};
use crate::socketio::application::{Application, EngineApplication};
use crate::socketio::incoming::Arrivals;
use crate::socketio::{Gateway, SocketIo};

/// Bytes that the kernel keeps for a client beside those that are on their way. A client that takes
/// less than half of it within `limits.outbox_patience` counts as one that takes nothing.
#[cfg(target_os = "linux")]
const UNSENT_BYTES: u32 = 128 * 1024;

/// Connections that the kernel keeps until they are accepted; it may keep fewer.
const BACKLOG: i32 = 4096;

/// The same for connections to the internal port, of which other nodes make many at a time.
const INTERNAL_BACKLOG: i32 = 1024;

/// How long the end waits for the last entries of `backend.stream` to be written.
const LAST_ENTRIES: Duration = Duration::from_secs(5);

/// What a node will be; see [`Server::start`].
///
/// ```no_run
/// use gateway::{Config, Server};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let running = Server::new(Config::default()).start().await?;
/// println!("serving clients on {}", running.address());
/// running.stop().await;
/// # Ok(())
/// # }
/// ```
pub struct Server {
    config: Config,
    application: Option<Arc<dyn Application>>,
    engines: Vec<Mount>,
    adapter: Option<JoinCluster>,
}

/// Makes the adapter of a node with this tag, which is to put what comes in into the inbox.
type JoinCluster = Box<dyn FnOnce(NodeTag, Arc<dyn AdapterInbox>) -> Arc<dyn Adapter>>;

/// Why a node does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An address cannot be listened on.
    #[error("cannot listen on {address} ({setting}): {error}")]
    Listen {
        /// The setting that names it.
        setting: &'static str,
        /// The address.
        address: SocketAddr,
        /// What the operating system says.
        error: std::io::Error,
    },
    /// The client's files are not where the configuration says.
    #[error(transparent)]
    ClientDir(#[from] ClientDirError),
    /// The certificate or its key cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The link between the nodes cannot be set up. That Redis is away now is no reason.
    #[error("redis.url: {0}")]
    Redis(String),
    /// Whom to trust by TLS cannot be told.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// A key for clients' tokens cannot be used.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// A thread could not be started.
    #[error("cannot start a thread: {0}")]
    Thread(std::io::Error),
    /// More than one thing is wrong.
    #[error("{}", sentences(.0))]
    Several(Vec<Self>),
}

impl From<OutboundError> for StartError {
    fn from(error: OutboundError) -> Self {
        match error {
            OutboundError::Trust(error) => Self::Trust(error),
            OutboundError::Thread(error) => Self::Thread(error),
        }
    }
}

impl StartError {
    /// Whether it lies in the configuration and what that names, so that it will fail again.
    pub fn is_configuration(&self) -> bool {
        match self {
            Self::Listen { .. } | Self::Thread(_) => false,
            Self::ClientDir(_) | Self::Tls(_) | Self::Redis(_) | Self::Trust(_) | Self::Key(_) => {
                true
            }
            Self::Several(errors) => errors.iter().any(Self::is_configuration),
        }
    }

    fn of(mut errors: Vec<Self>) -> Self {
        match errors.len() {
            1 => errors.remove(0),
            _ => Self::Several(errors),
        }
    }
}

fn sentences(errors: &[StartError]) -> String {
    let errors: Vec<_> = errors.iter().map(ToString::to_string).collect();
    errors.join("\n")
}

/// All of a node that can be made without listening and without connecting to anything.
struct Prepared {
    assets: Assets,
    certificate: Option<(Certificate, TlsAcceptor)>,
    outbound: Option<Arc<Outbound>>,
    application: Arc<dyn Application>,
    backends: Option<Arc<Backends>>,
    event_stream: Option<(Arc<EventStream>, StreamTarget)>,
}

impl Prepared {
    /// Says everything that is wrong.
    fn new(config: &Config, application: Option<Arc<dyn Application>>) -> Result<Self, StartError> {
        let mut errors = Vec::new();
        let path = config.engine.path.to_string();
        let assets = Assets::load(config.demo, config.client_dir.as_deref(), &path);
        let assets = keep(&mut errors, assets.map_err(StartError::from));
        let certificate = config.tls.as_ref().map(Certificate::load).transpose();
        let certificate = keep(&mut errors, certificate.map_err(StartError::from));
        if let Some(redis) = &config.redis {
            keep(&mut errors, redis::check(redis));
        }
        let has_backend = config.backend.webhook.is_some() || config.backend.stream.is_some();
        let outbound = (config.auth.jwks_url.is_some() || has_backend)
            .then(|| Outbound::start(Some(&config.backend), &config.auth))
            .transpose();
        let outbound = keep(&mut errors, outbound.map_err(StartError::from)).flatten();
        let stream = config.redis.as_ref().zip(config.backend.stream.as_ref());
        let stream = stream
            .filter(|_| errors.is_empty() && application.is_none())
            .map(|(redis, key)| redis::stream(redis, key, config.backend.stream_length));
        let event_stream = keep(&mut errors, stream.transpose()).flatten();
        let event_stream = event_stream.map(|to| (Arc::<EventStream>::default(), to));
        let mut backends = None;
        let application: Arc<dyn Application> = match (application, &outbound) {
            (Some(application), _) => application,
            (None, Some(outbound)) if has_backend => {
                let outbound = Arc::clone(outbound);
                let stream = event_stream.as_ref().map(|(stream, _)| Arc::clone(stream));
                let application = WebhookApplication::new(config, outbound, stream);
                backends = application.backends().cloned();
                Arc::new(application)
            }
            (None, _) => Arc::new(Relay::new(config)),
        };
        let wrapped = Authenticated::wrap(application, config, outbound.as_ref());
        let application = keep(&mut errors, wrapped.map_err(StartError::from));
        match (assets, certificate, application) {
            (Some(assets), Some(certificate), Some(application)) if errors.is_empty() => Ok(Self {
                assets,
                certificate,
                outbound,
                application,
                backends,
                event_stream,
            }),
            _ => Err(StartError::of(errors)),
        }
    }
}

/// The value, or its error among the others.
fn keep<T>(errors: &mut Vec<StartError>, result: Result<T, StartError>) -> Option<T> {
    result.map_err(|error| errors.push(error)).ok()
}

/// A node that serves. Dropped, it is stopped without a word to its clients.
pub struct Running {
    gateway: Gateway,
    address: SocketAddr,
    internal_address: SocketAddr,
    acceptor: Option<Acceptor>,
    internal: JoinHandle<()>,
    renewal: Option<JoinHandle<()>>,
    cluster: Option<JoinHandle<()>>,
    /// The queue of `backend.stream`, and the thread that writes it.
    event_stream: Option<(Arc<EventStream>, Arc<Outbound>)>,
    shards: Vec<ShardThread>,
}

struct ShardThread {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Server {
    /// A node with this configuration and the relay application.
    pub fn new(config: Config) -> Self {
        Self {
            config,
            application: None,
            engines: Vec::new(),
            adapter: None,
        }
    }

    /// With this application in place of the relay.
    pub fn application(mut self, application: impl Application) -> Self {
        self.application = Some(Arc::new(application));
        self
    }

    /// Joined to other nodes by this adapter, in place of the one that the configuration names.
    pub fn adapter(
        mut self,
        join: impl FnOnce(NodeTag, Arc<dyn AdapterInbox>) -> Arc<dyn Adapter> + 'static,
    ) -> Self {
        self.adapter = Some(Box::new(join));
        self
    }

    /// With an application at another path that speaks Engine.IO alone. The path begins and ends
    /// with a slash.
    pub fn engine(mut self, path: &str, application: impl EngineApplication) -> Self {
        self.engines.push(Mount {
            path: path.to_owned(),
            layer: Arc::new(BareEngine::new(application)),
        });
        self
    }

    /// Does all of [`start`](Self::start) that can fail because of the configuration and the files
    /// that it names, and neither listens nor connects to anything.
    pub fn check(self) -> Result<(), StartError> {
        Prepared::new(&self.config, self.application).map(drop)
    }

    /// Listens and serves, in threads of its own. To be called in a Tokio runtime.
    pub async fn start(self) -> Result<Running, StartError> {
        let Self {
            config,
            application,
            engines,
            adapter,
        } = self;
        let Prepared {
            assets,
            certificate,
            outbound,
            application,
            backends,
            event_stream,
        } = Prepared::new(&config, application)?;
        for warning in trust::unchecked(&config) {
            warn!(target: "gateway::server", "{warning}");
        }
        let (certificate, tls) = certificate.unzip();
        let failed = |setting, address| {
            move |error| StartError::Listen {
                setting,
                address,
                error,
            }
        };
        let listener = listen_to_clients(&config).map_err(failed("listen", config.listen))?;
        leave_unsent_to_outboxes(&listener);
        let internal_listener = listen(config.internal_listen, INTERNAL_BACKLOG)
            .and_then(TcpListener::from_std)
            .map_err(failed("internal_listen", config.internal_listen))?;
        let address = listener.local_addr().map_or(config.listen, |bound| {
            SocketAddr::new(config.listen.ip(), bound.port())
        });
        let internal_address = internal_listener
            .local_addr()
            .unwrap_or(config.internal_listen);
        let mut mounts = vec![Mount {
            path: config.engine.path.to_string(),
            layer: Arc::new(SocketIo::new(application, &config)),
        }];
        mounts.extend(engines);
        let (inboxes, letterboxes): (Vec<_>, Vec<_>) =
            (0..config.shards.get()).map(|_| Inbox::new()).unzip();
        let node = Arc::new(Node::new(config, inboxes, mounts, assets, tls));
        if let Some(adapter) = join_cluster(&node, adapter, internal_address)? {
            let config = node.config();
            let patience = config.cluster.request_timeout;
            node.join_cluster(Cluster::new(adapter, patience, &config.namespaces));
        }
        let mut exports: Vec<Arc<dyn Export>> = Vec::new();
        if let Some(backends) = backends {
            exports.push(backends);
        }
        let vitals = node.vitals();
        let event_stream = event_stream.zip(outbound).map(|((stream, to), outbound)| {
            exports.push(Arc::clone(&stream) as Arc<dyn Export>);
            outbound.spawn(vitals.watch("backend.stream", Arc::clone(&stream).write(to)));
            (stream, outbound)
        });
        let shards = letterboxes
            .into_iter()
            .enumerate()
            .map(|(index, letterbox)| ShardThread::start(&node, index, letterbox))
            .collect::<Result<_, _>>()
            .map_err(StartError::Thread)?;
        let acceptor = Acceptor::start(listener, Arc::clone(&node)).map_err(StartError::Thread)?;
        info!(target: "gateway::server",
            version = env!("CARGO_PKG_VERSION"),
            %address,
            internal = %internal_address,
            shards = node.shard_count(),
            "listening"
        );
        let gateway = Gateway::of_node(Arc::clone(&node));
        let api = Api::new(gateway.clone(), &node.config().api);
        Ok(Running {
            gateway,
            address,
            internal_address,
            acceptor: Some(acceptor),
            cluster: node.cluster().is_some().then(|| {
                let node = Arc::clone(&node);
                tokio::spawn(vitals.watch("cluster", async move {
                    if let Some(cluster) = node.cluster() {
                        cluster.run(|| node.session_count()).await;
                    }
                }))
            }),
            renewal: certificate
                .map(|certificate| tokio::spawn(vitals.watch("certificate", certificate.renew()))),
            internal: tokio::spawn(vitals.watch(
                "internal port",
                internal::serve(internal_listener, Arc::clone(&node), api, exports.into()),
            )),
            event_stream,
            shards,
        })
    }
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

/// The adapter of a node that is to have one.
fn join_cluster(
    node: &Arc<Node>,
    adapter: Option<JoinCluster>,
    internal_address: SocketAddr,
) -> Result<Option<Arc<dyn Adapter>>, StartError> {
    let inbox: Arc<dyn AdapterInbox> = Arc::new(Arrivals::new(node));
    let tag = NodeTag::new(node.tag().as_str()).expect("both kinds of tag have the same form");
    if let Some(adapter) = adapter {
        return Ok(Some(adapter(tag, inbox)));
    }
    let config = node.config();
    let Some(settings) = &config.redis else {
        return Ok(None);
    };
    let name = config.cluster.node_id.as_ref();
    let name = name.map_or_else(random_name, |name| name.as_str().to_owned());
    let id = NodeId::new(&name).expect("the configuration takes no other names");
    let advertise = &config.cluster.advertise;
    let address = if *advertise == config.internal_listen.into() {
        internal_address.to_string()
    } else {
        advertise.to_string()
    };
    info!(target: "gateway::server", node = name, address, "joining the other nodes");
    redis::start(config, settings, (id, tag), address, inbox).map(Some)
}

fn random_name() -> String {
    let random: [u8; 12] = random_characters();
    format!("node-{}", String::from_utf8_lossy(&random))
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

impl ShardThread {
    fn start(node: &Arc<Node>, index: usize, letterbox: Letterbox) -> std::io::Result<Self> {
        let (stop, stopped) = oneshot::channel();
        let (tell, told) = mpsc::channel();
        let node = Arc::clone(node);
        let thread = thread::Builder::new()
            .name(format!("shard-{index}"))
            .spawn(move || {
                let built = Builder::new_current_thread()
                    .enable_all()
                    .build_local(LocalOptions::default());
                let runtime = match built {
                    Ok(runtime) => runtime,
                    Err(error) => {
                        let _gone = tell.send(Err(error));
                        return;
                    }
                };
                let _gone = tell.send(Ok(()));
                let part = node.vitals().part(format!("shard {index}"));
                runtime.block_on(async {
                    let shard = Shard::new(node, index, letterbox);
                    let turns = tokio::task::spawn_local(std::rc::Rc::clone(&shard).run());
                    tokio::select! {
                        _ended_or_panicked = turns => {}
                        _told_or_dropped = stopped => shard.end(),
                    }
                });
                drop(part);
            })?;
        told.recv().map_err(std::io::Error::other)??;
        Ok(Self {
            stop: Some(stop),
            thread: Some(thread),
        })
    }
}

impl Drop for ShardThread {
    fn drop(&mut self) {
        self.stop.take();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            warn!(target: "gateway::server", "a shard panicked");
        }
    }
}

/// What connections are accepted from. They inherit that small packets are not delayed.
/// Has the kernel take no more for a client than it can send soon: what it takes it copies, for each
/// client anew, and nobody sees how much of it the client took. Accepted connections inherit it.
fn leave_unsent_to_outboxes(listener: &std::net::TcpListener) {
    #[cfg(target_os = "linux")]
    if let Err(error) = socket2::SockRef::from(listener).set_tcp_notsent_lowat(UNSENT_BYTES) {
        tracing::debug!(target: "gateway::server", %error, "the kernel takes as much as its buffers hold");
    }
    #[cfg(not(target_os = "linux"))]
    let _ = listener;
}

/// What `listen` is if nothing is set.
const DEFAULT_LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 3000);

/// Listens on the port of clients: at its default also for IPv6, with one socket for both, where the
/// system has it.
fn listen_to_clients(config: &Config) -> std::io::Result<std::net::TcpListener> {
    let address = config.listen;
    if address == DEFAULT_LISTEN {
        let both = SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), address.port());
        match listen(both, BACKLOG) {
            Ok(listener) => return Ok(listener),
            Err(error) => {
                tracing::debug!(target: "gateway::server", %error, "clients are not heard by IPv6")
            }
        }
    }
    listen(address, BACKLOG)
}

fn listen(address: SocketAddr, backlog: i32) -> std::io::Result<std::net::TcpListener> {
    let domain = Domain::for_address(address);
    let socket = RawSocket::new(domain, Type::STREAM, Some(Protocol::TCP))?;
    if address.ip() == Ipv6Addr::UNSPECIFIED {
        // Whatever the system's default is.
        socket.set_only_v6(false)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.set_tcp_nodelay(true)?;
    socket.bind(&address.into())?;
    socket.listen(backlog)?;
    Ok(socket.into())
}
