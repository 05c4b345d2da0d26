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
use crate::recovery::{EncodedCall, Script, read_mark};

/// The stores of a node that are open.
#[derive(Default)]
pub(crate) struct Stores {
    open: RwLock<HashMap<Arc<str>, Arc<Store>>>,
    /// Those that were opened since the link looked last.
    opened: Mutex<Vec<Arc<Store>>>,
    /// Those to which this node does not listen yet. All others are looked at when the subscriber loses its connection.
    deaf: Mutex<Vec<Arc<Store>>>,
    /// Whether the subscriber has all that it had to have.
    is_synced: AtomicBool,
    /// More is called of a store than is held.
    is_overfull: AtomicBool,
    waiting: Mutex<VecDeque<Waiting>>,
    /// Tells the link that there is something to do.
    pub(crate) wake: Notify,
}

/// A call that waits to be made.
pub(crate) struct Waiting {
    pub(crate) store: Arc<Store>,
    /// That of the store.
    pub(crate) connection: u64,
    pub(crate) call: EncodedCall,
}

/// The store of one namespace, as its link and the subscriber share it.
pub(crate) struct Store {
    pub(crate) namespace: Arc<str>,
    pub(crate) script: Script,
    pub(crate) cluster: Arc<Cluster>,
    state: Mutex<State>,
    /// Open while heartbeats come back.
    marks: Arc<Latch>,
    /// What was told last.
    is_listening: AtomicBool,
    /// Heartbeats do not come back: this node subscribes elsewhere, until its subscriber connects anew.
    is_elsewhere: AtomicBool,
}

/// Whether a store is connected, and what waits for it.
#[derive(Default)]
struct State {
    /// Counts connections.
    connection: u64,
    is_connected: bool,
    is_closed: bool,
    /// Bytes of calls that wait.
    bytes: usize,
    /// More was called than is held: the connection is to be ended.
    is_overfull: bool,
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
            state: Mutex::default(),
            marks,
            is_listening: AtomicBool::new(false),
            is_elsewhere: AtomicBool::new(false),
        });
        let mut open = self.open.write().unwrap_or_else(PoisonError::into_inner);
        open.insert(namespace, store.clone());
        drop(open);
        cluster.interests_changed.send_replace(());
        lock(&self.opened).push(store.clone());
        lock(&self.deaf).push(store.clone());
        self.wake.notify_one();
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
        lock(&store.state).is_closed = true;
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

    /// Lets a call wait for the connection of this number, if that is there.
    pub(crate) fn push(&self, store: &Arc<Store>, connection: u64, call: EncodedCall) {
        let mut state = lock(&store.state);
        if !state.is_connected || state.connection != connection || state.is_overfull {
            return;
        }
        if state.bytes > store.cluster.config.limits.queue_bytes {
            // Nothing of it is made any more, and the link tells that.
            state.is_overfull = true;
            drop(state);
            self.is_overfull.store(true, Ordering::Relaxed);
            return self.wake.notify_one();
        }
        state.bytes += call.size();
        drop(state);
        lock(&self.waiting).push_back(Waiting {
            store: store.clone(),
            connection,
            call,
        });
        self.wake.notify_one();
    }

    /// The next call whose connection is there still.
    pub(crate) fn pop(&self) -> Option<Waiting> {
        loop {
            let next = lock(&self.waiting).pop_front()?;
            if next.store.take(next.connection, &next.call) {
                return Some(next);
            }
        }
    }

    /// Drops what waits.
    pub(crate) fn clear(&self) {
        let dropped = std::mem::take(&mut *lock(&self.waiting));
        drop(dropped);
    }

    /// Stores that were opened since this was asked last.
    pub(crate) fn take_opened(&self) -> Vec<Arc<Store>> {
        std::mem::take(&mut *lock(&self.opened))
    }

    /// Whether there is none.
    pub(crate) fn is_empty(&self) -> bool {
        let open = self.open.read().unwrap_or_else(PoisonError::into_inner);
        open.is_empty()
    }

    pub(crate) fn all(&self) -> Vec<Arc<Store>> {
        let open = self.open.read().unwrap_or_else(PoisonError::into_inner);
        open.values().cloned().collect()
    }

    /// Tells the stores whether the subscriber has all that it had to have, so that this node listens to them.
    pub(crate) fn note_synced(&self, is_synced: bool) {
        let was_synced = self.is_synced.swap(is_synced, Ordering::Relaxed);
        if !is_synced && was_synced {
            let all = self.all();
            for store in &all {
                store.note_synced(false);
            }
            *lock(&self.deaf) = all;
        }
        if is_synced {
            let mut deaf = std::mem::take(&mut *lock(&self.deaf));
            deaf.retain(|store| !store.note_synced(true) && !lock(&store.state).is_closed);
            lock(&self.deaf).append(&mut deaf);
        }
    }

    /// The subscriber lost its connection. To be called before another one brings anything.
    pub(crate) fn handle_down(&self) {
        self.note_synced(false);
        for store in self.all() {
            store.is_elsewhere.store(false, Ordering::Relaxed);
        }
    }

    /// Stores of which more was called than is held since this was asked last.
    pub(crate) fn take_overfull(&self) -> Vec<Arc<Store>> {
        if !self.is_overfull.swap(false, Ordering::Relaxed) {
            return Vec::new();
        }
        let all = self.all().into_iter();
        all.filter(|store| lock(&store.state).is_overfull).collect()
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

    /// Whether this node listens to it.
    fn note_synced(&self, is_synced: bool) -> bool {
        let is_listening = is_synced
            && !self.is_elsewhere.load(Ordering::Relaxed)
            && self.marks.is_open()
            && self.cluster.is_heard(&self.namespace);
        if self.is_listening.swap(is_listening, Ordering::Relaxed) != is_listening {
            self.tell(Told::Listening(is_listening));
        }
        is_listening
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

    /// Begins another connection, if there is none.
    pub(crate) fn begin(&self) {
        let mut state = lock(&self.state);
        if state.is_connected || state.is_closed {
            return;
        }
        state.connection += 1;
        state.is_connected = true;
        (state.bytes, state.is_overfull) = (0, false);
        let number = state.connection;
        drop(state);
        self.tell(Told::Connected(number));
    }

    /// Ends the connection, if there is one.
    pub(crate) fn end(&self) {
        let mut state = lock(&self.state);
        let was_connected = std::mem::replace(&mut state.is_connected, false);
        let is_closed = state.is_closed;
        drop(state);
        if was_connected && !is_closed {
            self.tell(Told::Broken);
        }
    }

    /// Whether this is the number of the connection.
    pub(crate) fn is_at(&self, connection: u64) -> bool {
        let state = lock(&self.state);
        state.is_connected && !state.is_closed && state.connection == connection
    }

    /// Takes a call that waited; whether its connection is there still.
    fn take(&self, connection: u64, call: &EncodedCall) -> bool {
        let mut state = lock(&self.state);
        if state.is_closed
            || !state.is_connected
            || state.connection != connection
            || state.is_overfull
        {
            return false;
        }
        state.bytes = state.bytes.saturating_sub(call.size());
        true
    }
}
