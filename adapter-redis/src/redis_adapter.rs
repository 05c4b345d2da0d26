use std::fmt;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use adapter::presence::PresenceStore;
use adapter::recovery::{self, Link};
use adapter::{
    Adapter, Answer, Away, ClusterMessage, Counters, Inbox, Interest, Member, NodeId, NodeState,
    PeersFuture, Publish, Question, Records, ReplyTo, RequestId, Task,
};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot, watch};

use crate::bus::Bus;
use crate::bus::queue::Queue;
use crate::bus::shared::Shared;
use crate::bus::status::Status;
use crate::cluster::Cluster;
use crate::cluster::interests::{Interests, Settings};
use crate::cluster::membership::Problem;
use crate::cluster::peers::{self, PeersCall};
use crate::config::Config;
use crate::link::commands::Commands;
use crate::link::connection::Connector;
use crate::link::directory::Directory;
use crate::link::lock::lock;
use crate::link::route::{self, LaneId, Route};
use crate::link::servers::Servers;
use crate::presence::RedisPresence;
use crate::records::RedisRecords;
use crate::recovery::Script;
use crate::recovery::link::StoreLink;
use crate::wire::{Format, Uid};

/// The adapter over Redis. Its connections live on a thread of their own; dropping it stops the
/// thread and leaves the cluster.
pub struct RedisAdapter {
    shared: Arc<Shared>,
    /// Questions for Redis, for the bus to ask.
    calls: mpsc::Sender<PeersCall>,
    stop: watch::Sender<bool>,
    thread: Mutex<Option<JoinHandle<()>>>,
    /// That of the thread.
    runtime: Handle,
    directory: Arc<Directory>,
    records: RedisRecords,
    presence: RedisPresence,
}

/// Why the adapter cannot be started. That Redis is away is no reason.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// No trusted root certificates for TLS.
    #[error("TLS: {0}")]
    Tls(std::io::Error),
    /// No pool of connections for commands.
    #[error("Redis: {0}")]
    Commands(String),
    /// No thread, or no randomness.
    #[error("{0}")]
    System(std::io::Error),
}

/// How long a command may take.
const COMMAND: Duration = Duration::from_secs(1);

impl RedisAdapter {
    /// Starts to connect, for as long as it takes. What comes in goes to `inbox`, on the bus's
    /// thread.
    ///
    /// # Errors
    ///
    /// If the system has no trusted certificates for TLS, no thread or no randomness. That Redis is away is no error.
    pub fn start(config: Config, inbox: Arc<dyn Inbox>) -> Result<Self, StartError> {
        let timing = config.timing;
        let seed = getrandom::u64()
            .map_err(|error| StartError::System(std::io::Error::other(error.to_string())))?;
        let connector = Connector::new(&config.servers, timing.connect, timing.silence);
        let connector = connector.map_err(StartError::Tls)?;
        let commands = Commands::new(&config.servers, COMMAND);
        let commands = commands.map_err(|error| StartError::Commands(error.to_string()))?;
        let records = RedisRecords::new(&config.servers, &config.prefix);
        let records = records.map_err(|error| StartError::Commands(error.to_string()))?;
        let presence = RedisPresence::new(&config.servers, &config.prefix);
        let presence = presence.map_err(|error| StartError::Commands(error.to_string()))?;
        let name = format!("gateway-{}", config.node);
        let directory = Arc::new(Directory::new(config.servers.clone(), connector, name));
        let nowhere = Route::Single(LaneId(0));
        let settings = Settings {
            linger: timing.linger,
            lingering: config.limits.lingering,
        };
        let interests = Interests::new(nowhere.clone(), settings);
        let queue = Queue::new(nowhere, config.limits.queue_bytes);
        let status = Status::new(timing.settle, timing.silence);
        let (calls, calls_receiver) = mpsc::channel(peers::WAITING);
        let cluster = Arc::new(Cluster::new(config, seed, inbox, interests));
        let shared = Arc::new(Shared::new(cluster, queue, status));
        let (stop, stop_receiver) = watch::channel(false);
        let bus = Bus {
            shared: shared.clone(),
            directory: directory.clone(),
            commands: Arc::new(commands),
            calls: calls_receiver,
            stop: stop_receiver,
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(StartError::System)?;
        let handle = runtime.handle().clone();
        let thread =
            std::thread::Builder::new().name(format!("redis-{}", shared.cluster.config.node));
        let thread = thread.spawn(move || runtime.block_on(bus.run()));
        Ok(Self {
            shared,
            calls,
            stop,
            thread: Mutex::new(Some(thread.map_err(StartError::System)?)),
            runtime: handle,
            directory,
            records,
            presence,
        })
    }

    /// Whether [`start`](Self::start) would take these servers. Connects to nothing.
    ///
    /// # Errors
    ///
    /// As [`start`](Self::start) has them.
    pub fn check(servers: &Servers) -> Result<(), StartError> {
        Connector::new(servers, COMMAND, COMMAND).map_err(StartError::Tls)?;
        let commands = Commands::new(servers, COMMAND);
        let commands = commands.map_err(|error| StartError::Commands(error.to_string()));
        commands.map(drop)
    }

    /// Why this node cannot take part, beside its connections; `None` if there is no reason.
    pub fn problem(&self) -> Option<Problem> {
        self.shared.status().problem().cloned()
    }
}

impl Adapter for RedisAdapter {
    fn node(&self) -> &NodeId {
        &self.shared.cluster.config.node
    }

    fn open_namespace(&self, namespace: &str) -> Interest {
        self.shared.cluster.open_namespace(namespace)
    }

    fn open_room(&self, namespace: &str, room: &str) -> Interest {
        self.shared.cluster.open_room(namespace, room)
    }

    fn publish(&self, namespace: &str, message: &ClusterMessage) -> Publish {
        self.shared.publish(namespace, None, message)
    }

    fn publish_to_namespace(&self, namespace: &str, message: &ClusterMessage) -> Publish {
        self.shared.publish_to_namespace(namespace, message)
    }

    fn request(&self, namespace: &str, request: &RequestId, message: &ClusterMessage) -> Publish {
        self.shared.publish(namespace, Some(request), message)
    }

    fn request_others(
        &self,
        namespace: &str,
        request: &RequestId,
        message: &ClusterMessage,
    ) -> Publish {
        self.shared.request_others(namespace, request, message)
    }

    fn withdraw(&self, namespace: &str, request: &RequestId) {
        self.shared.withdraw(namespace, request);
    }

    fn new_request(&self) -> RequestId {
        let text = Uid::new(self.shared.cluster.config.format, random64(), "");
        RequestId::new(text.as_str())
    }

    fn respond(&self, namespace: &str, to: &ReplyTo, answer: &Answer) -> Publish {
        self.shared.respond(namespace, to, answer)
    }

    fn peers(&self, namespace: &str, question: Question) -> PeersFuture {
        let (reply, answer) = oneshot::channel();
        let call = PeersCall {
            namespace: namespace.into(),
            question,
            reply,
        };
        let asked = self.calls.try_send(call);
        Box::pin(async move {
            asked.map_err(|_| Away)?;
            answer.await.unwrap_or(Err(Away))
        })
    }

    fn members(&self) -> Arc<[Member]> {
        self.shared.cluster.members()
    }

    fn set_state(&self, state: NodeState) {
        self.shared.cluster.set_state(state);
    }

    fn is_up(&self) -> bool {
        self.shared.is_up()
    }

    fn trouble(&self) -> Option<String> {
        self.shared.status().trouble()
    }

    fn is_alive(&self) -> bool {
        let thread = lock(&self.thread);
        thread.as_ref().is_none_or(|thread| !thread.is_finished())
    }

    fn concern(&self) -> Option<String> {
        self.shared.status().concern()
    }

    fn open_store(&self, namespace: &str, settings: &recovery::Settings) -> Option<Box<dyn Link>> {
        let cluster = &self.shared.cluster;
        if let Format::Sharded(_) = cluster.config.format {
            // Each channel would be at its own server, and no server puts them in order.
            return None;
        }
        let slot = route::slot(Script::tag(&cluster.config.prefix).as_bytes());
        self.directory.set_home(slot);
        let stores = self.shared.stores.clone();
        let store = stores.open(cluster, namespace, settings);
        Some(Box::new(StoreLink::new(store, stores)))
    }

    fn spawn(&self, task: Task) -> Result<(), Task> {
        self.runtime.spawn(task);
        Ok(())
    }

    fn records(&self) -> Option<Arc<dyn Records>> {
        Some(Arc::new(self.records.clone()))
    }

    fn presence(&self) -> Option<Arc<dyn PresenceStore>> {
        Some(Arc::new(self.presence.clone()))
    }

    fn counters(&self) -> &Counters {
        &self.shared.cluster.counters
    }

    fn close(&self) {
        self.stop.send_replace(true);
        let thread = lock(&self.thread).take();
        if let Some(thread) = thread {
            // A panic has told about itself.
            let _ = thread.join();
        }
    }
}

impl Drop for RedisAdapter {
    fn drop(&mut self) {
        self.stop.send_replace(true);
    }
}

impl fmt::Debug for RedisAdapter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisAdapter")
            .field("node", self.node())
            .field("servers", &self.shared.cluster.config.servers)
            .field("is_up", &self.is_up())
            .finish_non_exhaustive()
    }
}

/// A random number; the same again if the system has none, which it had at the start.
fn random64() -> u64 {
    getrandom::u64().unwrap_or(0)
}
