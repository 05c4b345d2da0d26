//! Who is there, and who wants what.
//!
//! - [`membership`]: every node writes a key that expires, and reads those of the others;
//! - [`namespaces`]: the namespaces and rooms that this node takes part in;
//! - [`interests`]: what has to be subscribed to for them, and what is. Pure;
//! - [`peers`]: who will answer a question.
//!
//! This room uses [`link`](crate::link) and [`wire`](crate::wire). [`bus`](crate::bus) sends its commands, and tells it
//! what came in.

pub(crate) mod interests;
pub(crate) mod membership;
pub(crate) mod namespaces;
pub(crate) mod peers;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, RwLock};

use adapter::{Counters, Inbox, Incoming, Member, NodeState};
use tokio::sync::watch;

use self::interests::Interests;
use self::membership::Record;
use self::namespaces::Namespace;
use crate::config::Config;
use crate::link::lock::lock;

/// The cluster as this node knows it, shared by the adapter's callers and the bus. Every lock is held for a moment,
/// never across a wait.
pub(crate) struct Cluster {
    pub(crate) config: Config,
    /// Random per process: what this node's uids are made of.
    pub(crate) seed: u64,
    /// Takes what comes in.
    pub(crate) inbox: Arc<dyn Inbox>,
    pub(crate) counters: Counters,
    /// A heartbeat came to a replica: the connections of the bus may be at one, too.
    pub(crate) suspected: watch::Sender<()>,
    /// The server that puts in order is another than the one that this node subscribes at, as far as is known.
    pub(crate) moved: watch::Sender<()>,
    /// The connections of the bus are made anew, since they may be to a server that is the master no more.
    pub(crate) renewed: watch::Sender<()>,
    /// Tells the subscribers that there may be commands to send.
    pub(crate) interests_changed: watch::Sender<()>,
    interests: Mutex<Interests>,
    namespaces: RwLock<HashMap<Arc<str>, Namespace>>,
    members: Mutex<Arc<[Record]>>,
    /// How this node is, for its heartbeat.
    state: Mutex<NodeState>,
}

impl Cluster {
    pub(crate) fn new(
        config: Config,
        seed: u64,
        inbox: Arc<dyn Inbox>,
        interests: Interests,
    ) -> Self {
        Self {
            config,
            seed,
            inbox,
            counters: Counters::default(),
            suspected: watch::channel(()).0,
            moved: watch::channel(()).0,
            renewed: watch::channel(()).0,
            interests_changed: watch::channel(()).0,
            interests: Mutex::new(interests),
            namespaces: RwLock::default(),
            members: Mutex::new(Arc::new([])),
            state: Mutex::default(),
        }
    }

    pub(crate) fn set_state(&self, state: NodeState) {
        *lock(&self.state) = state;
    }

    pub(crate) fn state(&self) -> NodeState {
        *lock(&self.state)
    }

    pub(crate) fn interests(&self) -> MutexGuard<'_, Interests> {
        lock(&self.interests)
    }

    /// Counts what is in force, to be called after changes.
    pub(crate) fn handle_interests_change(&self) {
        let in_force = self.interests().in_force();
        self.counters.subscriptions.set(in_force as u64);
    }

    /// The live gateway nodes.
    pub(crate) fn records(&self) -> Arc<[Record]> {
        lock(&self.members).clone()
    }

    /// The same, as callers see them.
    pub(crate) fn members(&self) -> Arc<[Member]> {
        self.records().iter().map(|it| it.member.clone()).collect()
    }

    /// Replaces the members, and tells if others are live than before.
    fn set_records(&self, records: Vec<Record>) {
        let is_same = |old: &[Record]| {
            let ids = old.iter().map(|it| (&it.member.id, it.seed));
            ids.eq(records.iter().map(|it| (&it.member.id, it.seed)))
        };
        let is_news = !is_same(&self.records());
        *lock(&self.members) = records.into();
        if is_news {
            self.inbox.handle(Incoming::Members(self.members()));
        }
    }
}
