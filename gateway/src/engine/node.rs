//! A node: its shards, and the handle by which everybody reaches them.

use std::any::Any;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use futures_util::future::join_all;
use tokio::sync::{Notify, oneshot};
use tokio_rustls::rustls::ServerConfig;

use crate::cluster::Cluster;
use crate::config::CheckedConfig;
use crate::count::{NodeCounters, ShardCounters};
use crate::engine::drain::Drain;
use crate::engine::gate::Gate;
use crate::engine::layer::Layer;
use crate::engine::mail::{Inbox, Mail};
use crate::engine::outbox::OutboxMemory;
use crate::engine::reloads::Reloads;
use crate::engine::shard::{self, Shard};
use crate::engine::spreading::Spreading;
use crate::engine::whereabouts::{Everything, Whereabouts};
use crate::net::assets::Assets;
use crate::net::descriptors::Descriptors;
use crate::net::ids::{NodeTag, random_tag};
use crate::net::told::Told;
use crate::net::vital::Vitals;
use crate::otel::Otel;
use crate::presence::Presence;
use crate::show::NodeShow;
use crate::top::NodeTop;
use crate::trace::Traces;
use crate::users::Users;

/// Bytes of broadcasts that may wait for one shard before sessions are read no further, and emits
/// from outside are refused.
const MAX_INBOX_BYTES: usize = 64 * 1024 * 1024;

/// What all shards of a node know.
pub(crate) struct Node {
    config: CheckedConfig,
    /// The settings in force; shards have copies.
    current: Mutex<Arc<CheckedConfig>>,
    tag: NodeTag,
    /// The other nodes; set before the shards start, if there are others at all.
    cluster: OnceLock<Arc<Cluster>>,
    shards: Box<[ShardHandle]>,
    mounts: Box<[Mount]>,
    assets: Assets,
    counters: Arc<NodeCounters>,
    drain: Drain,
    spreading: Spreading,
    /// What it cannot be without.
    vitals: Vitals,
    gate: Gate,
    descriptors: Arc<Descriptors>,
    /// What makes TLS of a connection, if it is on.
    tls: Option<Arc<ServerConfig>>,
    /// That a page of another origin came.
    told_of_origins: Told,
    /// What waits in outboxes.
    outbox_memory: Arc<OutboxMemory>,
    /// Tells sessions that wait for a full inbox that one has room again.
    relieved: Arc<Notify>,
    traces: Traces,
    /// Set before the node is served at all.
    reloads: OnceLock<Reloads>,
    top: NodeTop,
    /// If it makes spans.
    otel: Option<Arc<Otel>>,
    users: Users,
    /// Set before the shards start, if it is told who is there.
    presence: OnceLock<Arc<Presence>>,
    show: NodeShow,
    /// For how many reasons shards are told of every event.
    told_everything: Arc<AtomicUsize>,
}

/// How others reach a shard.
pub(crate) struct ShardHandle {
    pub(crate) inbox: Inbox,
    pub(crate) counters: Arc<ShardCounters>,
    pub(crate) whereabouts: Whereabouts,
}

/// A path and what speaks there.
pub(crate) struct Mount {
    pub(crate) path: String,
    pub(crate) layer: Arc<dyn Layer>,
}

impl Mount {
    /// Whether a path is this one, with its last slash or without.
    pub(crate) fn is_at(&self, path: &str) -> bool {
        path.strip_suffix('/').unwrap_or(path) == self.path.strip_suffix('/').unwrap_or(&self.path)
    }

    /// Whether a path is this one or below it.
    pub(crate) fn has(&self, path: &str) -> bool {
        path.starts_with(&self.path) || self.is_at(path)
    }
}

/// Why a node is not ready.
pub(crate) enum Unready {
    Draining,
    /// The link to the other nodes is broken, as the text says.
    Adapter(String),
    /// The node does not know yet who may not connect, as the text says.
    Users(String),
}

impl Unready {
    /// For programs.
    pub(crate) fn reason(&self) -> &'static str {
        match self {
            Self::Draining => "draining",
            Self::Adapter(_) => "adapter",
            Self::Users(_) => "users",
        }
    }
}

impl Node {
    pub(crate) fn new(
        config: CheckedConfig,
        inboxes: Vec<Inbox>,
        mounts: Vec<Mount>,
        assets: Assets,
        tls: Option<Arc<ServerConfig>>,
    ) -> Self {
        let outbox_memory = OutboxMemory::new(config.limits.outbox_total);
        let otel = config.otel.as_ref();
        let otel = otel.map(|otel| Arc::new(Otel::new(otel, inboxes.len())));
        let shards = inboxes
            .into_iter()
            .map(|inbox| ShardHandle {
                inbox,
                counters: Arc::new(ShardCounters::new()),
                whereabouts: Whereabouts::default(),
            })
            .collect();
        Self {
            gate: Gate::new(),
            descriptors: Arc::new(Descriptors::of_process(&config.backend)),
            tls,
            current: Mutex::new(Arc::new(config.clone())),
            config,
            tag: random_tag(),
            cluster: OnceLock::new(),
            shards,
            mounts: mounts.into(),
            assets,
            counters: Arc::default(),
            drain: Drain::default(),
            spreading: Spreading::default(),
            told_of_origins: Told::default(),
            outbox_memory,
            vitals: Vitals::default(),
            relieved: Arc::default(),
            traces: Traces::default(),
            reloads: OnceLock::new(),
            top: NodeTop::default(),
            otel,
            users: Users::default(),
            presence: OnceLock::new(),
            show: NodeShow::default(),
            told_everything: Arc::default(),
        }
    }

    /// The settings of the start. Those that a reload changes are read from the shard, or from
    /// [`current`](Self::current).
    pub(crate) fn config(&self) -> &CheckedConfig {
        &self.config
    }

    /// The settings in force, for what is no shard's.
    pub(crate) fn current(&self) -> Arc<CheckedConfig> {
        let current = self.current.lock();
        Arc::clone(&current.unwrap_or_else(PoisonError::into_inner))
    }

    /// Has other settings be in force. When it is done, they are on every shard.
    pub(crate) async fn take_over(&self, config: Arc<CheckedConfig>) {
        self.outbox_memory.set_limit(config.limits.outbox_total);
        if let Some((otel, settings)) = self.otel.as_ref().zip(config.otel.as_ref()) {
            otel.take_over(settings);
        }
        let new = Arc::clone(&config);
        *self.current.lock().unwrap_or_else(PoisonError::into_inner) = new;
        self.query(move |shard| shard.take_over(CheckedConfig::clone(&config)))
            .await;
    }

    pub(crate) fn tag(&self) -> NodeTag {
        self.tag
    }

    /// How this node is called among others, and by backends.
    pub(crate) fn name(&self) -> String {
        match self.cluster() {
            Some(cluster) => cluster.adapter().node().to_string(),
            None => self.tag.as_str().to_owned(),
        }
    }

    /// The other nodes; `None` if this one stands alone.
    pub(crate) fn cluster(&self) -> Option<&Arc<Cluster>> {
        self.cluster.get()
    }

    /// Takes part in a cluster; to be called once, before the shards start.
    pub(crate) fn join_cluster(&self, cluster: Cluster) {
        let is_first = self.cluster.set(Arc::new(cluster)).is_ok();
        debug_assert!(is_first);
    }

    pub(crate) fn assets(&self) -> &Assets {
        &self.assets
    }

    /// What is counted outside of the shards.
    pub(crate) fn counters(&self) -> &Arc<NodeCounters> {
        &self.counters
    }

    pub(crate) fn mounts(&self) -> &[Mount] {
        &self.mounts
    }

    pub(crate) fn shards(&self) -> &[ShardHandle] {
        &self.shards
    }

    pub(crate) fn shard_count(&self) -> usize {
        self.shards.len()
    }

    /// Sessions on all shards.
    pub(crate) fn session_count(&self) -> usize {
        self.shards
            .iter()
            .map(|shard| shard.counters.sessions.load(Ordering::Relaxed))
            .sum()
    }

    pub(crate) fn told_of_origins(&self) -> &Told {
        &self.told_of_origins
    }

    pub(crate) fn outbox_memory(&self) -> &Arc<OutboxMemory> {
        &self.outbox_memory
    }

    /// Bytes of memory that wait for clients.
    pub(crate) fn outbox_held(&self) -> usize {
        let own = |shard: &ShardHandle| shard.counters.outbox_held.value() as usize;
        self.outbox_memory.shared() + self.shards.iter().map(own).sum::<usize>()
    }

    /// What goes through this node to sessions of others: WebSockets, and requests that are under way.
    pub(crate) fn passing_count(&self) -> usize {
        self.shards
            .iter()
            .map(|shard| shard.counters.passing.load(Ordering::Relaxed))
            .sum()
    }

    pub(crate) fn gate(&self) -> &Gate {
        &self.gate
    }

    /// What clients may hold of the process' descriptors.
    pub(crate) fn descriptors(&self) -> &Arc<Descriptors> {
        &self.descriptors
    }

    pub(crate) fn tls(&self) -> Option<&Arc<ServerConfig>> {
        self.tls.as_ref()
    }

    pub(crate) fn drain(&self) -> &Drain {
        &self.drain
    }

    pub(crate) fn spreading(&self) -> &Spreading {
        &self.spreading
    }

    /// Why no new clients should come, if none should.
    pub(crate) fn unready(&self) -> Option<Unready> {
        if self.drain.has_begun() {
            return Some(Unready::Draining);
        }
        let adapter = self.cluster()?.adapter();
        let trouble = adapter.trouble().map(Unready::Adapter);
        trouble.or_else(|| self.users.waits().map(Unready::Users))
    }

    /// The threads and tasks that it cannot be without.
    pub(crate) fn vitals(&self) -> &Vitals {
        &self.vitals
    }

    /// The layer of this kind.
    ///
    /// # Panics
    ///
    /// If no mount has one. The server mounts Socket.IO on every node.
    pub(crate) fn layer<L: Layer>(&self) -> &L {
        let mut layers = self.mounts.iter().map(|mount| &*mount.layer as &dyn Any);
        let found = layers.find_map(|layer| layer.downcast_ref());
        found.expect("the node was started with this layer")
    }

    /// Has the shards be told of every event until it is dropped.
    pub(crate) fn tell_everything(&self) -> Everything {
        Everything::begin(&self.told_everything)
    }

    /// Whether they are.
    pub(crate) fn tells_everything(&self) -> bool {
        self.told_everything.load(Ordering::SeqCst) > 0
    }

    /// Runs `job` on every shard, on the calling one at once.
    pub(crate) fn run_everywhere(&self, job: impl Fn(&std::rc::Rc<Shard>) + Send + Sync + 'static) {
        let here = shard::current(self);
        let job = Arc::new(job);
        for (index, shard) in self.shards.iter().enumerate() {
            match &here {
                Some(here) if here.index() == index => job(here),
                _ => {
                    let job = Arc::clone(&job);
                    shard.post(Mail::Run(Box::new(move |shard| job(shard))));
                }
            }
        }
    }

    /// Runs `job` on the first shard, in its turn there.
    pub(crate) fn run_on_one(&self, job: impl FnOnce(&std::rc::Rc<Shard>) + Send + 'static) {
        if let Some(shard) = self.shards.first() {
            shard.post(Mail::Run(Box::new(job)));
        }
    }

    /// Asks every shard. A shard that ended answers nothing.
    pub(crate) fn query<T: Send + 'static>(
        &self,
        question: impl Fn(&Shard) -> T + Send + Sync + 'static,
    ) -> impl Future<Output = Vec<T>> + Send + 'static {
        let here = shard::current(self);
        let question = Arc::new(question);
        let mut answers = Vec::with_capacity(self.shards.len());
        for (index, shard) in self.shards.iter().enumerate() {
            let (sender, receiver) = oneshot::channel();
            answers.push(receiver);
            let question = Arc::clone(&question);
            let job = move |shard: &std::rc::Rc<Shard>| {
                let _gone = sender.send(question(shard));
            };
            match &here {
                Some(here) if here.index() == index => job(here),
                _ => shard.post(Mail::Run(Box::new(job))),
            }
        }
        async move { join_all(answers).await.into_iter().flatten().collect() }
    }

    /// Asks every shard for what takes several turns there. A shard that ended answers nothing.
    pub(crate) fn query_in_turns<T: Send + 'static, F: Future<Output = T> + 'static>(
        &self,
        question: impl Fn(std::rc::Rc<Shard>) -> F + Send + Sync + 'static,
    ) -> impl Future<Output = Vec<T>> + Send + 'static {
        let question = Arc::new(question);
        let mut answers = Vec::with_capacity(self.shards.len());
        for shard in &self.shards {
            let (sender, receiver) = oneshot::channel();
            answers.push(receiver);
            let question = Arc::clone(&question);
            shard.post(Mail::Run(Box::new(move |shard| {
                let answer = question(std::rc::Rc::clone(shard));
                tokio::task::spawn_local(async move {
                    let _gone = sender.send(answer.await);
                });
            })));
        }
        async move { join_all(answers).await.into_iter().flatten().collect() }
    }

    /// Whether some shard is so far behind, by bytes or by time, that no more should be read from
    /// clients.
    pub(crate) fn is_behind(&self) -> bool {
        self.shards
            .iter()
            .any(|shard| shard.inbox_bytes() > MAX_INBOX_BYTES || shard.is_late())
    }

    /// Whether so much waits for some shard that nothing more should be given to it.
    pub(crate) fn is_congested(&self) -> bool {
        self.shards
            .iter()
            .any(|shard| shard.inbox_bytes() > MAX_INBOX_BYTES)
    }

    /// The places for traces.
    pub(crate) fn traces(&self) -> &Traces {
        &self.traces
    }

    /// To be called once, before anybody may ask for a reload.
    pub(crate) fn set_reloads(&self, reloads: Reloads) {
        let is_first = self.reloads.set(reloads).is_ok();
        debug_assert!(is_first);
    }

    /// Where to ask for a reload.
    pub(crate) fn reloads(&self) -> Option<&Reloads> {
        self.reloads.get()
    }

    /// Who looks at what is busiest.
    pub(crate) fn top(&self) -> &NodeTop {
        &self.top
    }

    /// What makes spans, if anything does.
    pub(crate) fn otel(&self) -> Option<&Arc<Otel>> {
        self.otel.as_ref()
    }

    /// Who may not connect.
    pub(crate) fn users(&self) -> &Users {
        &self.users
    }

    /// To be called once, before the shards start.
    pub(crate) fn set_presence(&self, presence: Arc<Presence>) {
        let is_first = self.presence.set(presence).is_ok();
        debug_assert!(is_first);
    }

    /// Who is there, if that is told.
    pub(crate) fn presence(&self) -> Option<&Arc<Presence>> {
        self.presence.get()
    }

    /// Who looks at admin pages.
    pub(crate) fn show(&self) -> &NodeShow {
        &self.show
    }

    pub(crate) fn relieved(&self) -> &Arc<Notify> {
        &self.relieved
    }
}

impl ShardHandle {
    pub(crate) fn post(&self, mail: Mail) {
        self.counters
            .inbox_bytes
            .fetch_add(mail.size(), Ordering::Relaxed);
        self.inbox.post(mail);
    }

    fn inbox_bytes(&self) -> usize {
        self.counters.inbox_bytes.load(Ordering::Relaxed)
    }

    /// Whether it handles broadcasts much later than they were posted.
    pub(crate) fn is_late(&self) -> bool {
        self.counters.late.load(Ordering::Relaxed)
    }

    /// A shard took mail out of its inbox; `true` if it was congested until now.
    pub(crate) fn took(&self, size: usize) -> bool {
        let before = self.counters.inbox_bytes.fetch_sub(size, Ordering::Relaxed);
        before > MAX_INBOX_BYTES && before - size <= MAX_INBOX_BYTES
    }
}
