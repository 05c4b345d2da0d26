use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Instant;

use adapter::{
    Answer, ClusterMessage, Counters, Inbox, Incoming, Member, Publish, ReplyTo, RequestId,
};
use bytes::Bytes;
use tokio::sync::{Notify, mpsc, watch};

use crate::codec::EncodeError;
use crate::config::Config;
use crate::interests::Interests;
use crate::membership::Record;
use crate::namespaces::Namespace;
use crate::peers::{PeersCall, counted};
use crate::queue::{Outbound, Queue};
use crate::resp::push_command;
use crate::status::Status;
use crate::wire::{Format, Outgoing};

/// What the adapter's callers and the bus share. The callers only put something in; the bus works
/// it off on its own thread. Every lock is held for a moment, never across a wait.
pub(crate) struct Shared {
    pub(crate) config: Config,
    /// Random per process: what this node's uids are made of.
    pub(crate) seed: u64,
    pub(crate) inbox: Arc<dyn Inbox>,
    pub(crate) counters: Counters,
    /// Questions for Redis, for the bus to ask.
    pub(crate) calls: mpsc::Sender<PeersCall>,
    /// Somebody saw that the slots of the cluster have changed.
    pub(crate) topology_wanted: Notify,
    /// A task of a lane has panicked.
    pub(crate) panicked: Notify,
    /// A heartbeat came to a replica: the lanes may be at one, too.
    pub(crate) suspected: watch::Sender<()>,
    /// Connections of this node, for its heartbeat.
    pub(crate) connections: AtomicU64,
    /// Messages that were sent and not confirmed, or are about to be sent again.
    pub(crate) in_flight: AtomicU64,
    /// Tells the subscribers that there may be commands to send.
    pub(crate) interests_changed: watch::Sender<()>,
    /// Tells the bus that a lane may have come up.
    pub(crate) status_changed: watch::Sender<()>,
    interests: Mutex<Interests>,
    queue: Mutex<Queue>,
    status: Mutex<Status>,
    pub(crate) namespaces: RwLock<HashMap<Arc<str>, Namespace>>,
    members: Mutex<Arc<[Record]>>,
    up: AtomicBool,
}

impl Shared {
    pub(crate) fn new(
        config: Config,
        seed: u64,
        inbox: Arc<dyn Inbox>,
        calls: mpsc::Sender<PeersCall>,
        (interests, queue, status): (Interests, Queue, Status),
    ) -> Self {
        Self {
            config,
            seed,
            inbox,
            counters: Counters::default(),
            calls,
            topology_wanted: Notify::new(),
            panicked: Notify::new(),
            suspected: watch::channel(()).0,
            connections: AtomicU64::new(0),
            in_flight: AtomicU64::new(0),
            interests_changed: watch::channel(()).0,
            status_changed: watch::channel(()).0,
            interests: Mutex::new(interests),
            queue: Mutex::new(queue),
            status: Mutex::new(status),
            namespaces: RwLock::default(),
            members: Mutex::new(Arc::new([])),
            up: AtomicBool::new(false),
        }
    }

    pub(crate) fn interests(&self) -> MutexGuard<'_, Interests> {
        lock(&self.interests)
    }

    pub(crate) fn status(&self) -> MutexGuard<'_, Status> {
        lock(&self.status)
    }

    /// Changes the queue, and counts what is in it.
    pub(crate) fn with_queue<T>(&self, change: impl FnOnce(&mut Queue) -> T) -> T {
        let mut queue = lock(&self.queue);
        let result = change(&mut queue);
        let in_flight = self.in_flight.load(Ordering::Relaxed);
        self.counters.queued.set(queue.len() as u64 + in_flight);
        self.counters.queued_bytes.set(queue.bytes() as u64);
        result
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
    pub(crate) fn set_records(&self, records: Vec<Record>) {
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

    pub(crate) fn is_up(&self) -> bool {
        self.up.load(Ordering::Acquire)
    }

    /// To be called by the bus after each change of the status.
    pub(crate) fn handle_status_change(&self) {
        let up = self.status().is_up();
        if self.up.swap(up, Ordering::AcqRel) != up {
            tracing::info!(target: "adapter_redis::shared", up, "connection to the other nodes");
            self.inbox.handle(Incoming::Up(up));
        }
        self.status_changed.send_replace(());
    }

    pub(crate) fn handle_interests_change(&self) {
        let in_force = self.interests().in_force();
        self.counters.subscriptions.set(in_force as u64);
    }

    pub(crate) fn publish(
        &self,
        namespace: &str,
        request: Option<&RequestId>,
        message: &ClusterMessage,
    ) -> Publish {
        if message.selection().is_some_and(|it| it.flags.local) {
            return Publish::Queued;
        }
        let outgoing = self.wire(namespace).encode(message, request);
        self.enqueue(outgoing, request)
    }

    pub(crate) fn request_others(
        &self,
        namespace: &str,
        request: &RequestId,
        message: &ClusterMessage,
    ) -> Publish {
        let outgoing = self.wire(namespace).encode_for_others(message, request);
        self.enqueue(outgoing, Some(request))
    }

    pub(crate) fn withdraw(&self, namespace: &str, request: &RequestId) {
        let wire = self.wire(namespace);
        if self.with_queue(|queue| queue.withdraw(counted(&wire), request)) {
            self.counters.out_dropped.increment();
        }
    }

    pub(crate) fn respond(&self, namespace: &str, to: &ReplyTo, answer: &Answer) -> Publish {
        let outgoing = self.wire(namespace).encode_answer(to, answer);
        self.enqueue(outgoing, None)
    }

    fn enqueue(
        &self,
        outgoing: Result<Outgoing, EncodeError>,
        request: Option<&RequestId>,
    ) -> Publish {
        let queued = outgoing.map_err(|error| {
            tracing::debug!(target: "adapter_redis::shared", %error, "message not published");
        });
        let queued = queued.and_then(|Outgoing { channel, payload }| {
            let message = Outbound {
                command: self.publish_command(&channel, &payload),
                channel: channel.into(),
                request: request.cloned(),
                at: Instant::now(),
            };
            self.with_queue(|queue| queue.push(message)).map_err(|_| ())
        });
        match queued {
            Ok(()) => Publish::Queued,
            Err(()) => {
                self.counters.out_dropped.increment();
                Publish::Dropped
            }
        }
    }

    /// The command that publishes `payload`.
    pub(crate) fn publish_command(&self, channel: &str, payload: &[u8]) -> Bytes {
        let name: &[u8] = match self.config.format {
            Format::Classic { .. } => b"PUBLISH",
            Format::Sharded(_) => b"SPUBLISH",
        };
        let mut command = Vec::with_capacity(channel.len() + payload.len() + 64);
        push_command(&mut command, &[name, channel.as_bytes(), payload]);
        command.into()
    }
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
