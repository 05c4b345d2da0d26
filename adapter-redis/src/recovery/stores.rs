use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Instant;

use adapter::recovery::{Heard, Ordered, Settings, Told};
use adapter::{Incoming, Latch};
use tokio::sync::Notify;

use crate::cluster::Cluster;
use crate::cluster::interests::Purpose;
use crate::link::lock::lock;
use crate::link::resp::Family;
use crate::link::route::LaneId;
use crate::recovery::{EncodedCall, Script, read_mark};

/// The stores of a node that are open.
#[derive(Default)]
pub(crate) struct Stores {
    open: RwLock<HashMap<Arc<str>, Arc<Store>>>,
}

/// The store of one namespace, as its link and the subscriber share it.
pub(crate) struct Store {
    pub(crate) namespace: Arc<str>,
    pub(crate) script: Script,
    pub(crate) cluster: Arc<Cluster>,
    /// Tells that calls wait.
    pub(crate) wake: Notify,
    calls: Mutex<Calls>,
    /// Open while heartbeats come back.
    marks: Arc<Latch>,
    /// What was told last.
    is_listening: AtomicBool,
    /// Heartbeats do not come back: this node subscribes elsewhere, until its subscriber connects anew.
    is_elsewhere: AtomicBool,
}

/// What waits to be called, and by which connection.
#[derive(Default)]
struct Calls {
    connection: u64,
    is_connected: bool,
    /// More was called than is held.
    is_overfull: bool,
    waiting: VecDeque<EncodedCall>,
    bytes: usize,
}

impl Stores {
    pub(crate) fn open(
        &self,
        cluster: &Arc<Cluster>,
        namespace: &str,
        settings: &Settings,
    ) -> Arc<Store> {
        let wire = cluster.wire(namespace);
        let prefix = &cluster.config.prefix;
        let script = Script::new(wire.clone(), prefix, cluster.seed, settings);
        let namespace = wire.namespace.clone();
        let purpose = Purpose::Mark(namespace.clone());
        let family = Family::Exact;
        // It comes last, so that all else is in force when it is.
        let marks = cluster
            .interests()
            .acquire(family, script.marks(), purpose, true);
        let store = Arc::new(Store {
            namespace: namespace.clone(),
            script,
            cluster: cluster.clone(),
            wake: Notify::new(),
            calls: Mutex::default(),
            marks,
            is_listening: AtomicBool::new(false),
            is_elsewhere: AtomicBool::new(false),
        });
        let mut open = self.open.write().unwrap_or_else(PoisonError::into_inner);
        open.insert(namespace, store.clone());
        drop(open);
        cluster.interests_changed.send_replace(());
        store
    }

    pub(crate) fn close(&self, store: &Arc<Store>) {
        let mut open = self.open.write().unwrap_or_else(PoisonError::into_inner);
        if open
            .get(&store.namespace)
            .is_some_and(|it| Arc::ptr_eq(it, store))
        {
            open.remove(&store.namespace);
        }
        drop(open);
        let marks = store.script.marks();
        let mut interests = store.cluster.interests();
        interests.release(Family::Exact, marks, Instant::now());
        drop(interests);
        store.cluster.interests_changed.send_replace(());
    }

    /// The store of a namespace, if it is open.
    pub(crate) fn of(&self, namespace: &str) -> Option<Arc<Store>> {
        let open = self.open.read().unwrap_or_else(PoisonError::into_inner);
        open.get(namespace).cloned()
    }

    fn all(&self) -> Vec<Arc<Store>> {
        let open = self.open.read().unwrap_or_else(PoisonError::into_inner);
        open.values().cloned().collect()
    }

    /// Tells each store whether the subscriber of `lane`, which has all that it had to have or not, listens to it.
    pub(crate) fn note_synced(&self, lane: LaneId, is_synced: bool) {
        let open = self.open.read().unwrap_or_else(PoisonError::into_inner);
        if open.is_empty() {
            return;
        }
        drop(open);
        for store in self.all() {
            let interests = store.cluster.interests();
            let is_its = interests.lane_of(store.script.marks()) == Some(lane);
            drop(interests);
            if is_its {
                store.note_synced(is_synced);
            }
        }
    }

    /// The subscriber of `lane` lost its connection. To be called before another one brings anything.
    pub(crate) fn handle_down(&self, lane: LaneId) {
        self.note_synced(lane, false);
        for store in self.all() {
            store.is_elsewhere.store(false, Ordering::Relaxed);
        }
    }
}

impl Store {
    pub(crate) fn tell(&self, told: Told) {
        let namespace = self.namespace.clone();
        self.cluster
            .inbox
            .handle(Incoming::Store { namespace, told });
    }

    pub(crate) fn is_listening(&self) -> bool {
        self.is_listening.load(Ordering::Relaxed)
    }

    /// A heartbeat reached nobody here at the server that orders.
    pub(crate) fn handle_elsewhere(&self) {
        self.is_elsewhere.store(true, Ordering::Relaxed);
        self.note_synced(false);
        self.cluster.moved.send_replace(());
    }

    fn note_synced(&self, is_synced: bool) {
        let is_listening = is_synced
            && !self.is_elsewhere.load(Ordering::Relaxed)
            && self.marks.is_open()
            && self.cluster.is_heard(&self.namespace);
        if self.is_listening.swap(is_listening, Ordering::Relaxed) != is_listening {
            self.tell(Told::Listening(is_listening));
        }
    }

    /// A heartbeat came back; whether it is one.
    pub(crate) fn handle_mark(&self, payload: &[u8]) -> bool {
        let Some((process, mark)) = read_mark(payload) else {
            return false;
        };
        self.tell(Told::Heard(Heard::Mark(process, Arc::new(mark))));
        true
    }

    pub(crate) fn handle_ordered(&self, ordered: Ordered) {
        self.tell(Told::Heard(Heard::Ordered(Arc::new(ordered))));
    }

    /// Lets calls wait for the connection of this number.
    pub(crate) fn begin(&self, connection: u64) {
        *lock(&self.calls) = Calls {
            connection,
            is_connected: true,
            ..Calls::default()
        };
    }

    /// Drops what waits, and what comes.
    pub(crate) fn end(&self) {
        lock(&self.calls).is_connected = false;
        let dropped = std::mem::take(&mut lock(&self.calls).waiting);
        drop(dropped);
    }

    /// Lets a call wait for the connection of this number, if that is there.
    pub(crate) fn push(&self, connection: u64, call: EncodedCall) {
        let mut calls = lock(&self.calls);
        if !calls.is_connected || calls.connection != connection || calls.is_overfull {
            return;
        }
        calls.bytes += call.size();
        calls.is_overfull = calls.bytes > self.cluster.config.limits.queue_bytes;
        calls.waiting.push_back(call);
        drop(calls);
        self.wake.notify_one();
    }

    /// The next call.
    pub(crate) fn pop(&self) -> Option<EncodedCall> {
        let mut calls = lock(&self.calls);
        let call = calls.waiting.pop_front()?;
        calls.bytes -= call.size();
        Some(call)
    }

    /// Whether more was called than is held.
    pub(crate) fn is_overfull(&self) -> bool {
        lock(&self.calls).is_overfull
    }
}
