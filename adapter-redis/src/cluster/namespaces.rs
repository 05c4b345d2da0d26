//! The namespaces that a node takes part in, and what it subscribes to for them and their rooms.

use std::sync::{Arc, PoisonError};
use std::time::Instant;

use adapter::{InForce, Interest, Latch};

use crate::cluster::Cluster;
use crate::cluster::interests::Purpose;
use crate::config::RoomInterest;
use crate::link::resp::Family;
use crate::wire::{Channels, Format, Kind, Uid, Wire};

/// A namespace that this node takes part in.
pub(crate) struct Namespace {
    wire: Arc<Wire>,
    interests: usize,
    subscriptions: Vec<(Family, String)>,
    latches: Vec<Arc<Latch>>,
    /// Open while the pattern for private rooms is in force, if there is one.
    pattern: Option<Arc<Latch>>,
}

/// How many namespaces are looked at to see whether peers are back.
const SOME: usize = 8;

impl Cluster {
    /// How this node encodes and decodes in `namespace`.
    pub(crate) fn wire(&self, namespace: &str) -> Arc<Wire> {
        match self.open_wire(namespace) {
            Some(wire) => wire,
            None => Arc::new(self.new_wire(namespace)),
        }
    }

    /// How this node encodes and decodes in `namespace`, if it takes part in it.
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
        let (cluster, namespace) = (self.clone(), namespace.to_owned());
        let end = move || cluster.close_namespace(&namespace);
        Interest::new(InForce::when(latches), end)
    }

    /// Subscribes to everything but rooms. The channel by which others count nodes comes last, so
    /// that a node that is counted can hear.
    fn subscribe_namespace(&self, namespace: &str, has_pattern: bool) -> Namespace {
        let wire = self.new_wire(namespace);
        let messages = |kind| Purpose::Messages(kind, Some(wire.namespace.clone()));
        let channels = &wire.channels;
        let mut pattern = None;
        let mut wanted = Vec::new();
        match self.config.format {
            Format::Classic { .. } => {
                let responses = channels.responses_to(wire.uid.as_str());
                match self.config.interest {
                    RoomInterest::All => pattern = Some(channels.all_rooms()),
                    RoomInterest::Members => {
                        let main = channels.main.clone();
                        wanted.push((Family::Exact, main, Kind::Broadcast, false));
                        if has_pattern {
                            pattern = Some(channels.private_rooms(self.config.tag));
                        }
                    }
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

    /// The same for a few of the namespaces that this node takes part in.
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
                let is_covered = self.config.interest == RoomInterest::All
                    || room.starts_with(self.config.tag.as_str());
                if is_covered && let Some(pattern) = self.pattern(namespace) {
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
        let cluster = self.clone();
        let end = move || cluster.release(family, &channel);
        Interest::new(InForce::when([latch]), end)
    }

    fn pattern(&self, namespace: &str) -> Option<Arc<Latch>> {
        let namespaces = self.namespaces.read();
        let namespaces = namespaces.unwrap_or_else(PoisonError::into_inner);
        namespaces.get(namespace)?.pattern.clone()
    }

    /// Whether the subscriptions are in force that all of the namespace goes by.
    pub(crate) fn is_heard(&self, namespace: &str) -> bool {
        let namespaces = self.namespaces.read();
        let namespaces = namespaces.unwrap_or_else(PoisonError::into_inner);
        let open = namespaces.get(namespace);
        open.is_some_and(|it| it.latches.iter().all(|latch| latch.is_open()))
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
}
