//! Starting a node.

use std::pin::Pin;
use std::sync::{Arc, Weak};

use adapter::{Adapter, Inbox as AdapterInbox, NodeId, NodeState, NodeTag, Task};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_rustls::rustls::ServerConfig;
use tracing::{info, warn};

use super::acceptor::Acceptor;
use super::error::{StartError, keep};
use super::internal;
use super::layers::{Layers, StreamQueue};
use super::ports::{self, Ports};
use super::rebalancing;
use super::redis;
use super::reload::{Origin, Reloader};
use super::running::{Renewal, Running};
use super::shard_thread::ShardThread;
use super::telling;
use super::watching;
use super::webtransport;
use crate::backend::api::Api;
use crate::backend::event_stream::EventStream;
use crate::cluster::Cluster;
use crate::config::{Config, Contents, Pattern, Sources, Tls};
use crate::count::Export;
use crate::engine::application::BareEngine;
use crate::engine::mail::Inbox;
use crate::engine::node::{Mount, Node};
use crate::engine::reloads::Reloads;
use crate::net::assets::Assets;
use crate::net::ids::random_characters;
use crate::net::listener::{Address, Listener, Listening};
use crate::net::outbound::Outbound;
use crate::net::tls::{Certificate, Files, TlsError};
use crate::net::trust;
use crate::otel;
use crate::recovery::Begun;
use crate::socketio::Gateway;
use crate::socketio::SocketIo;
use crate::socketio::application::{Application, EngineApplication};
use crate::socketio::blocks::{self, sync::InStep};
use crate::socketio::incoming::Arrivals;
use crate::socketio::ordered::NodeOutlet;

#[cfg(test)]
pub(super) mod connects;

/// A node that has not started: its configuration, and what decides about its clients.
///
/// [`start`](Self::start) makes a [`Running`] of it.
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
    clients: Vec<Listener>,
    internal: Vec<Listener>,
    sources: Option<Arc<Sources>>,
}

/// Makes the adapter of a node with this tag, which is to put what comes in into the inbox.
type JoinCluster = Box<dyn FnOnce(NodeTag, Arc<dyn AdapterInbox>) -> Arc<dyn Adapter>>;

impl Server {
    /// Makes a node with this configuration and the relay application.
    ///
    /// The configuration may name a backend in place of the relay. [`check`](Self::check) and
    /// [`start`](Self::start) say what is wrong with it.
    pub fn new(config: Config) -> Self {
        Self {
            config,
            application: None,
            engines: Vec::new(),
            adapter: None,
            clients: Vec::new(),
            internal: Vec::new(),
            sources: None,
        }
    }

    /// Sets where the node reads its settings again: by [`Running::reload`], or by the API. They are where
    /// the configuration of [`new`](Self::new) comes from. Without them the node reads nothing again but
    /// its certificate.
    pub fn sources(mut self, sources: Sources) -> Self {
        self.sources = Some(Arc::new(sources));
        self
    }

    /// Sets sockets that listen already, such as those that systemd passes. Those of `clients` take the
    /// place of the setting `listen`, those of `internal` that of `internal_listen`, if there are any.
    pub fn listeners(mut self, clients: Vec<Listener>, internal: Vec<Listener>) -> Self {
        self.clients = clients;
        self.internal = internal;
        self
    }

    /// Sets the application that decides about connects and events, in place of the relay and of backends.
    pub fn application(mut self, application: impl Application) -> Self {
        self.application = Some(Arc::new(application));
        self
    }

    /// Sets the adapter that joins the node to others, in place of the one that the configuration names.
    ///
    /// `join` gets the tag of the node and the inbox for what other nodes send. It is called once, when
    /// the node starts.
    pub fn adapter(
        mut self,
        join: impl FnOnce(NodeTag, Arc<dyn AdapterInbox>) -> Arc<dyn Adapter> + 'static,
    ) -> Self {
        self.adapter = Some(Box::new(join));
        self
    }

    /// Adds an application that speaks Engine.IO alone, at a path of its own.
    ///
    /// The path begins and ends with a slash, and is another one than `engine.path`.
    pub fn engine(mut self, path: &str, application: impl EngineApplication) -> Self {
        self.engines.push(Mount {
            path: path.to_owned(),
            layer: Arc::new(BareEngine::new(application)),
        });
        self
    }

    /// Checks the configuration and the files that it names, as [`start`](Self::start) does first. It
    /// neither listens nor connects to anything.
    ///
    /// # Errors
    ///
    /// Everything that is wrong, in one error.
    pub fn check(self) -> Result<(), StartError> {
        let config = self.config.check()?;
        Prepared::new(&config, self.application).map(drop)
    }

    /// Listens, and serves in threads of its own until [`Running::stop`].
    ///
    /// Call it in a Tokio runtime, which has to run as long as the node.
    ///
    /// # Errors
    ///
    /// What [`check`](Self::check) finds, a port that cannot be listened on, or a thread that cannot
    /// be started.
    pub async fn start(self) -> Result<Running, StartError> {
        self.starting().await
    }

    /// Behind a pointer: a program that awaits the start would compile all of it a second time.
    fn starting(self) -> Pin<Box<dyn Future<Output = Result<Running, StartError>>>> {
        Box::pin(self.start_node())
    }

    async fn start_node(self) -> Result<Running, StartError> {
        let Self {
            config,
            application,
            engines,
            adapter,
            clients,
            internal,
            sources,
        } = self;
        let mut config = config;
        let clients = given("listen", clients)?;
        let internal = given("internal_listen", internal)?;
        let places = (ports::places(&clients), ports::places(&internal));
        config.replace_places(places.0.clone(), places.1.clone());
        let config = config.check()?;
        let prepared = Prepared::new(&config, application)?;
        for warning in trust::unchecked(&config) {
            warn!(target: "gateway::server", "{warning}");
        }
        let ports = Ports::open(&config, clients, internal).await?;
        let addresses = ports::addresses(&ports.clients);
        let internal_addresses = ports::addresses(&ports.internal);
        let exports = prepared.layers.exports();
        let outbound = prepared.layers.changing.outbound().cloned();
        let admin = prepared.layers.admin().cloned();
        let entrance = match &prepared.webtransport {
            Some(certificate) => webtransport::Entrance::open(&config, certificate)?,
            None => None,
        };
        let (certificate, tls) = prepared.certificate.unzip();
        let certificates = [certificate, prepared.webtransport].into_iter().flatten();
        let Layers {
            outermost,
            stream,
            changing,
            ..
        } = prepared.layers;
        let mut mounts = vec![Mount {
            path: config.engine.path.to_string(),
            layer: Arc::new(outermost),
        }];
        mounts.extend(engines);
        let (inboxes, letterboxes): (Vec<_>, Vec<_>) =
            (0..config.shards.get()).map(|_| Inbox::new()).unzip();
        let node = Arc::new(Node::new(config, inboxes, mounts, prepared.assets, tls));
        if let Some(adapter) = join_cluster(&node, adapter, &internal_addresses)? {
            let config = node.config();
            let patience = config.cluster.request_timeout;
            node.join_cluster(Cluster::new(adapter, patience, &config.namespaces));
        }
        let in_step = match node.cluster() {
            Some(cluster) => Some(blocks::sync::begin(&node, cluster).await),
            None => None,
        };
        let webhook = changing.webhook().cloned();
        telling::begin(&node, webhook.as_ref());
        begin_recovery(&node)?;
        let spans = node.otel().cloned().zip(outbound);
        if let Some((otel, outbound)) = &spans {
            let exporting = otel::export(Arc::clone(otel), Arc::downgrade(outbound), node.name());
            outbound.spawn(exporting);
        }
        let exports = with_parts(&exports, &node);
        let event_stream = stream.map(|stream| write_stream(&node, stream));
        let shards = ShardThread::start_all(&node, letterboxes).map_err(StartError::Thread)?;
        let clients = Acceptor::start(ports.clients, Arc::clone(&node));
        let acceptor = clients.map_err(StartError::Thread)?;
        let webtransport = match entrance {
            Some(entrance) => Some(entrance.serve(&node).await?),
            None => None,
        };
        info!(target: "gateway::server",
            version = env!("CARGO_PKG_VERSION"),
            address = %ports::list(&addresses),
            internal = %ports::list(&internal_addresses),
            shards = node.shard_count(),
            "listening"
        );
        let gateway = Gateway::of_node(Arc::clone(&node));
        let (reloads, asked) = Reloads::new();
        let watched_sources = sources.clone().filter(|_| node.config().watch);
        let watching = watched_sources.map(|sources| {
            let known = watching::look(&sources);
            let watching = watching::watch(sources, known, reloads.clone());
            watched(&node, "config.watch", watching)
        });
        node.set_reloads(reloads);
        let api = Api::new(gateway.clone());
        let entrances = internal::open(ports.internal).map_err(StartError::Thread)?;
        let internal = internal::serve(entrances, Arc::clone(&node), api, exports);
        let watch = |certificate: Certificate| {
            let (ask, asked) = mpsc::channel(1);
            let task = watched(&node, "certificate", certificate.renew(asked));
            Renewal { task, ask }
        };
        let renewals: Vec<_> = certificates.map(watch).collect();
        let reloader = Reloader {
            origin: sources.map(|sources| Origin { sources, places }),
            renewals: renewals.iter().map(|renewal| renewal.ask.clone()).collect(),
            layers: Arc::new(changing),
            contents: Contents::read(node.config()),
            node: Arc::clone(&node),
            stuck: None,
        };
        Ok(Running {
            gateway,
            addresses,
            internal_addresses,
            acceptor: Some(acceptor),
            cluster: in_step.and_then(|in_step| run_cluster(&node, in_step)),
            admin: admin.map(|admin| watched(&node, "admin", admin.run(&node))),
            renewals,
            webtransport,
            reloads: watched(&node, "reload", reloader.run(asked)),
            watching,
            presence: telling::run(&node, webhook.as_ref()),
            internal: watched(&node, "internal port", internal),
            event_stream,
            spans,
            shards,
        })
    }
}

/// What has metrics of its own, with the parts of the node.
fn with_parts(exports: &[Arc<dyn Export>], node: &Node) -> Arc<[Arc<dyn Export>]> {
    let otel = node.otel();
    let otel = otel.map(|it| Arc::clone(it) as Arc<dyn Export>);
    let presence = node.presence();
    let presence = presence.map(|it| Arc::clone(it) as Arc<dyn Export>);
    exports
        .iter()
        .cloned()
        .chain(otel)
        .chain(presence)
        .collect()
}

/// Sockets that were given in place of what a setting says.
fn given(setting: &'static str, sockets: Vec<Listener>) -> Result<Vec<Listening>, StartError> {
    let sockets = sockets.into_iter().map(Listening::given);
    let failed = |error| StartError::Listen {
        setting,
        address: "a socket that was passed".into(),
        error,
    };
    sockets.collect::<Result<_, _>>().map_err(failed)
}

/// Has the namespaces with recovery put in order.
fn begin_recovery(node: &Arc<Node>) -> Result<(), StartError> {
    let Some(recovery) = &SocketIo::of(node).recovery else {
        return Ok(());
    };
    let adapter = node.cluster().map(|it| Arc::clone(it.adapter()));
    let beside = adapter.clone();
    let name = NodeId::new(&node.name()).map_err(|error| StartError::Redis(error.to_string()))?;
    let weak = Arc::downgrade(node);
    let runtime = tokio::runtime::Handle::current();
    let begun = Begun {
        node: name,
        shards: node.shard_count(),
        adapter,
        outlet: Arc::new(NodeOutlet(Weak::clone(&weak))),
        spawn: Box::new(move |task| {
            let Some(node) = weak.upgrade() else {
                return;
            };
            let task: Task = Box::pin(node.vitals().watch("recovery", task));
            // An event passes it twice: between a shard and the wire it should wake no third thread.
            let left = match &beside {
                Some(adapter) => adapter.spawn(task),
                None => Err(task),
            };
            if let Err(task) = left {
                runtime.spawn(task);
            }
        }),
    };
    let names = node.config().namespaces.iter().filter_map(Pattern::as_name);
    match recovery.begin(begun, names) {
        true => Ok(()),
        false => Err(StartError::Recovery),
    }
}

/// Runs a task that the node cannot be without.
pub(super) fn watched(
    node: &Node,
    name: &'static str,
    task: impl Future<Output = ()> + Send + 'static,
) -> JoinHandle<()> {
    tokio::spawn(node.vitals().watch(name, task))
}

fn run_cluster(node: &Arc<Node>, in_step: InStep) -> Option<JoinHandle<()>> {
    let cluster = Arc::clone(node.cluster()?);
    let counted = Arc::clone(node);
    let rebalancing = rebalancing::run(Arc::clone(node), Arc::clone(&cluster));
    let state = move || NodeState {
        connections: counted.session_count() as u64,
        is_draining: counted.drain().has_begun(),
        spread: counted.spreading().request(),
    };
    let run = async move {
        tokio::select! {
            () = cluster.run(state) => {}
            () = rebalancing => {}
            () = in_step.run() => {}
        }
    };
    Some(watched(node, "cluster", run))
}

/// Has the queue of `backend.stream` written, on the thread for requests to others.
fn write_stream(node: &Node, stream: StreamQueue) -> (Arc<EventStream>, Arc<Outbound>) {
    let writing = Arc::clone(&stream.queue).write(stream.target);
    let outbound = stream.outbound;
    outbound.spawn(node.vitals().watch("backend.stream", writing));
    (stream.queue, outbound)
}

/// All of a node that can be made without listening and without connecting to anything.
struct Prepared {
    assets: Assets,
    certificate: Option<(Certificate, Arc<ServerConfig>)>,
    webtransport: Option<Certificate>,
    layers: Layers,
}

impl Prepared {
    /// Says everything that is wrong.
    fn new(config: &Config, application: Option<Arc<dyn Application>>) -> Result<Self, StartError> {
        let mut errors = Vec::new();
        let path = config.engine.path.to_string();
        let works = application.is_none() && config.is_open_relay();
        let demo = config.demo.unwrap_or(works);
        let assets = Assets::load(demo, config.client_dir.as_deref(), &path);
        let assets = assets.map_err(StartError::from).and_then(|assets| {
            match config.admin_ui_dir.as_deref() {
                Some(dir) => Ok(assets.with_admin_page(dir)?),
                None => Ok(assets),
            }
        });
        let assets = keep(&mut errors, assets);
        let certificate = config.tls.as_ref().map(load).transpose();
        let certificate = keep(&mut errors, certificate.map_err(StartError::from));
        let webtransport = keep(&mut errors, webtransport::certificate(config));
        if let Some(redis) = &config.redis {
            keep(&mut errors, redis::check(redis));
        }
        let layers = Layers::build(config, application, &mut errors);
        match (assets, certificate.zip(webtransport), layers) {
            (Some(assets), Some((certificate, webtransport)), Some(layers))
                if errors.is_empty() =>
            {
                Ok(Self {
                    assets,
                    certificate,
                    webtransport,
                    layers,
                })
            }
            _ => Err(StartError::of(errors)),
        }
    }
}

/// The certificate of the clients' port.
fn load(tls: &Tls) -> Result<(Certificate, Arc<ServerConfig>), TlsError> {
    let certificate = Certificate::load(Files::of_clients(tls))?;
    let acceptor = certificate.acceptor()?;
    Ok((certificate, acceptor))
}

/// The adapter of a node that is to have one.
fn join_cluster(
    node: &Arc<Node>,
    adapter: Option<JoinCluster>,
    internal_addresses: &[Address],
) -> Result<Option<Arc<dyn Adapter>>, StartError> {
    let inbox: Arc<dyn AdapterInbox> = Arc::new(Arrivals::new(node));
    let tag = node.tag();
    if let Some(adapter) = adapter {
        return Ok(Some(adapter(tag, inbox)));
    }
    let config = node.config();
    let Some(settings) = &config.redis else {
        return Ok(None);
    };
    let id = config.cluster.node_id.clone().unwrap_or_else(random_id);
    let address = ports::advertised(&config.cluster.advertise, internal_addresses);
    info!(target: "gateway::server", node = %id, address, "joining the other nodes");
    redis::start(config, settings, (id, tag), address, inbox).map(Some)
}

/// The name of a node that is given none.
fn random_id() -> NodeId {
    let random: [u8; 12] = random_characters();
    let name = format!("node-{}", String::from_utf8_lossy(&random));
    NodeId::new(&name).expect("random characters are letters, digits, dashes and underscores")
}
