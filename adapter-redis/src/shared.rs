use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Instant;

use adapter::{
    Answer, ClusterMessage, Counters, InForce, Inbox, Incoming, Interest, Latch, Member, Publish,
    ReplyTo, RequestId,
};
use bytes::Bytes;
use tokio::sync::{Notify, mpsc, watch};

use crate::codec::EncodeError;
use crate::config::Config;
use crate::interests::{Interests, Purpose};
use crate::membership::Record;
use crate::peers::PeersCall;
use crate::queue::{Outbound, Queue};
use crate::resp::{Family, push_command};
use crate::status::Status;
use crate::wire::{Channels, Format, Kind, Outgoing, Uid, Wire};

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
    namespaces: RwLock<HashMap<Arc<str>, Namespace>>,
    members: Mutex<Arc<[Record]>>,
    up: AtomicBool,
}

/// A namespace that this node takes part in.
struct Namespace {
    wire: Arc<Wire>,
    interests: usize,
    subscriptions: Vec<(Family, String)>,
    latches: Vec<Arc<Latch>>,
    /// Open while the pattern for private rooms is in force, if there is one.
    pattern: Option<Arc<Latch>>,
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
            tracing::info!(up, "connection to the other nodes");
            self.inbox.handle(Incoming::Up(up));
        }
        self.status_changed.send_replace(());
    }

    pub(crate) fn handle_interests_change(&self) {
        let in_force = self.interests().in_force();
        self.counters.subscriptions.set(in_force as u64);
    }

    /// This node's voice in `namespace`.
    pub(crate) fn wire(&self, namespace: &str) -> Arc<Wire> {
        match self.open_wire(namespace) {
            Some(wire) => wire,
            None => Arc::new(self.new_wire(namespace)),
        }
    }

    /// This node's voice in `namespace`, if it takes part in it.
    pub(crate) fn open_wire(&self, namespace: &str) -> Option<Arc<Wire>> {
        let namespaces = self.namespaces.read();
        let namespaces = namespaces.unwrap_or_else(PoisonError::into_inner);
        Some(namespaces.get(namespace)?.wire.clone())
    }

    fn new_wire(&self, namespace: &str) -> Wire {
        let config = &self.config;
        Wire {
            format: config.format,
            namespace: namespace.into(),
            channels: Channels::new(&config.prefix, namespace),
            uid: Uid::new(config.format, self.seed, namespace),
            node: config.node.clone(),
            max_message: config.limits.message_bytes,
        }
    }

    pub(crate) fn open_namespace(self: &Arc<Self>, namespace: &str) -> Interest {
        let latches = {
            let namespaces = self.namespaces.write();
            let mut namespaces = namespaces.unwrap_or_else(PoisonError::into_inner);
            if !namespaces.contains_key(namespace) {
                let patterns = namespaces.values().filter(|it| it.pattern.is_some());
                let has_pattern = patterns.count() < self.config.private_patterns;
                let opened = self.subscribe_namespace(namespace, has_pattern);
                namespaces.insert(namespace.into(), opened);
            }
            match namespaces.get_mut(namespace) {
                Some(open) => {
                    open.interests += 1;
                    open.latches.clone()
                }
                None => Vec::new(),
            }
        };
        self.interests_changed.send_replace(());
        let (shared, namespace) = (self.clone(), namespace.to_owned());
        let end = move || shared.close_namespace(&namespace);
        Interest::new(InForce::when(latches), end)
    }

    /// Subscribes to everything but rooms. In the end comes what others count, so that whoever is
    /// counted can hear.
    fn subscribe_namespace(&self, namespace: &str, has_pattern: bool) -> Namespace {
        let wire = self.new_wire(namespace);
        let messages = |kind| Purpose::Messages(kind, Some(wire.namespace.clone()));
        let channels = &wire.channels;
        let mut pattern = None;
        let mut wanted = Vec::new();
        match self.config.format {
            Format::Classic { .. } => {
                let responses = channels.responses_to(wire.uid.as_str());
                wanted.push((Family::Exact, channels.main.clone(), Kind::Broadcast, false));
                if has_pattern {
                    pattern = Some(channels.private_rooms(self.config.tag));
                }
                let pattern = pattern.iter().cloned();
                wanted.extend(pattern.map(|it| (Family::Pattern, it, Kind::Broadcast, false)));
                let shared = channels.responses.clone();
                wanted.push((Family::Exact, shared, Kind::Response, true));
                wanted.push((Family::Exact, responses, Kind::Response, true));
                let requests = channels.requests.clone();
                wanted.push((Family::Exact, requests, Kind::Request, true));
            }
            Format::Sharded(_) => {
                let responses = channels.room(wire.uid.as_str());
                wanted.push((Family::Sharded, responses, Kind::Broadcast, true));
                wanted.push((
                    Family::Sharded,
                    channels.main.clone(),
                    Kind::Broadcast,
                    true,
                ));
            }
        }
        let mut interests = self.interests();
        let mut opened = Namespace {
            wire: Arc::new(wire.clone()),
            interests: 0,
            subscriptions: Vec::new(),
            latches: Vec::new(),
            pattern: None,
        };
        for (family, name, kind, last) in wanted {
            let latch = interests.acquire(family, &name, messages(kind), last);
            if family == Family::Pattern {
                opened.pattern = Some(latch.clone());
            }
            opened.subscriptions.push((family, name));
            opened.latches.push(latch);
        }
        opened
    }

    /// The voices in a few of the namespaces that this node takes part in.
    pub(crate) fn some_namespaces(&self) -> Vec<Arc<Wire>> {
        let namespaces = self.namespaces.read();
        let namespaces = namespaces.unwrap_or_else(PoisonError::into_inner);
        let open = namespaces.values().take(SOME);
        open.map(|open| open.wire.clone()).collect()
    }

    fn close_namespace(&self, namespace: &str) {
        let closed = {
            let namespaces = self.namespaces.write();
            let mut namespaces = namespaces.unwrap_or_else(PoisonError::into_inner);
            let Some(open) = namespaces.get_mut(namespace) else {
                return;
            };
            open.interests -= 1;
            if open.interests > 0 {
                return;
            }
            namespaces.remove(namespace)
        };
        for (family, name) in closed.into_iter().flat_map(|it| it.subscriptions) {
            self.release(family, &name);
        }
    }

    pub(crate) fn open_room(self: &Arc<Self>, namespace: &str, room: &str) -> Interest {
        let wire = self.wire(namespace);
        let family = match self.config.format {
            Format::Classic { .. } => {
                if room.starts_with(self.config.tag.as_str())
                    && let Some(pattern) = self.pattern(namespace)
                {
                    return Interest::covered(InForce::when([pattern]));
                }
                Family::Exact
            }
            Format::Sharded(mode) => {
                if !mode.has_channel(room) {
                    return Interest::covered(InForce::when(self.latches(namespace)));
                }
                Family::Sharded
            }
        };
        let channel = wire.channels.room(room);
        let purpose = Purpose::Messages(Kind::Broadcast, None);
        let latch = self.interests().acquire(family, &channel, purpose, false);
        self.interests_changed.send_replace(());
        let shared = self.clone();
        let end = move || shared.release(family, &channel);
        Interest::new(InForce::when([latch]), end)
    }

    fn pattern(&self, namespace: &str) -> Option<Arc<Latch>> {
        let namespaces = self.namespaces.read();
        let namespaces = namespaces.unwrap_or_else(PoisonError::into_inner);
        namespaces.get(namespace)?.pattern.clone()
    }

    fn latches(&self, namespace: &str) -> Vec<Arc<Latch>> {
        let namespaces = self.namespaces.read();
        let namespaces = namespaces.unwrap_or_else(PoisonError::into_inner);
        let open = namespaces.get(namespace);
        open.map_or_else(Vec::new, |it| it.latches.clone())
    }

    fn release(&self, family: Family, name: &str) {
        self.interests().release(family, name, Instant::now());
        self.interests_changed.send_replace(());
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
        self.enqueue(outgoing)
    }

    pub(crate) fn respond(&self, namespace: &str, to: &ReplyTo, answer: &Answer) -> Publish {
        let outgoing = self.wire(namespace).encode_answer(to, answer);
        self.enqueue(outgoing)
    }

    fn enqueue(&self, outgoing: Result<Outgoing, EncodeError>) -> Publish {
        let queued = outgoing.map_err(|error| {
            tracing::debug!(%error, "message not published");
        });
        let queued = queued.and_then(|Outgoing { channel, payload }| {
            let message = Outbound {
                command: self.publish_command(&channel, &payload),
                channel: channel.into(),
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

/// How many namespaces are looked at to see whether peers are back.
const SOME: usize = 8;

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
