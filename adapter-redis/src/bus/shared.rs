use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Instant;

use adapter::{Answer, ClusterMessage, Incoming, Publish, ReplyTo, RequestId};
use bytes::Bytes;
use tokio::sync::{Notify, watch};

use crate::bus::queue::{Outbound, Queue};
use crate::bus::status::Status;
use crate::cluster::Cluster;
use crate::cluster::membership::Problem;
use crate::cluster::peers::counted;
use crate::codec::EncodeError;
use crate::link::lock::lock;
use crate::link::resp::push_command;
use crate::recovery::stores::Stores;
use crate::wire::{Format, Outgoing};

/// What the adapter's callers and the bus share. The callers only put something in; the bus works
/// it off on its own thread. Every lock is held for a moment, never across a wait.
pub(crate) struct Shared {
    pub(crate) cluster: Arc<Cluster>,
    /// The stores that are open.
    pub(crate) stores: Arc<Stores>,
    /// Somebody saw that the slots of the cluster have changed.
    pub(crate) topology_wanted: Notify,
    /// A node told that it is about to be up.
    pub(crate) announced: Notify,
    /// A task of a lane has panicked.
    pub(crate) panicked: Notify,
    /// Messages that were sent and not confirmed, or are about to be sent again.
    pub(crate) in_flight: AtomicU64,
    /// Tells the bus that a lane may have come up.
    pub(crate) status_changed: watch::Sender<()>,
    queue: Mutex<Queue>,
    status: Mutex<Status>,
    up: AtomicBool,
}

impl Shared {
    pub(crate) fn new(cluster: Arc<Cluster>, queue: Queue, status: Status) -> Self {
        Self {
            cluster,
            stores: Arc::default(),
            topology_wanted: Notify::new(),
            announced: Notify::new(),
            panicked: Notify::new(),
            in_flight: AtomicU64::new(0),
            status_changed: watch::channel(()).0,
            queue: Mutex::new(queue),
            status: Mutex::new(status),
            up: AtomicBool::new(false),
        }
    }

    pub(crate) fn status(&self) -> MutexGuard<'_, Status> {
        lock(&self.status)
    }

    /// Changes the queue, and counts what is in it.
    pub(crate) fn with_queue<T>(&self, change: impl FnOnce(&mut Queue) -> T) -> T {
        let mut queue = lock(&self.queue);
        let result = change(&mut queue);
        let in_flight = self.in_flight.load(Ordering::Relaxed);
        self.cluster
            .counters
            .queued
            .set(queue.len() as u64 + in_flight);
        self.cluster.counters.queued_bytes.set(queue.bytes() as u64);
        result
    }

    pub(crate) fn is_up(&self) -> bool {
        self.up.load(Ordering::Acquire)
    }

    /// To be called by the bus after each change of the status.
    pub(crate) fn handle_status_change(&self) {
        let up = self.status().is_up();
        if self.up.swap(up, Ordering::AcqRel) != up {
            tracing::info!(target: "adapter_redis::shared", up, "connection to the other nodes");
            self.cluster.inbox.handle(Incoming::Up(up));
        }
        self.status_changed.send_replace(());
    }

    /// To be called after a heartbeat that Redis answered: why this node cannot take part, if it cannot.
    pub(crate) fn handle_problem(&self, problem: Option<Problem>) {
        let mut status = self.status();
        if status.problem() == problem.as_ref() {
            return;
        }
        if let Some(problem) = &problem {
            tracing::error!(target: "adapter_redis::membership", %problem, "this node cannot join the cluster");
        }
        status.set_problem(problem);
        drop(status);
        self.handle_status_change();
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
        let outgoing = self.cluster.wire(namespace).encode(message, request);
        self.enqueue(outgoing, request)
    }

    pub(crate) fn publish_to_namespace(
        &self,
        namespace: &str,
        message: &ClusterMessage,
    ) -> Publish {
        if message.selection().is_some_and(|it| it.flags.local) {
            return Publish::Queued;
        }
        let outgoing = self.cluster.wire(namespace).encode_to_namespace(message);
        self.enqueue(outgoing, None)
    }

    pub(crate) fn request_others(
        &self,
        namespace: &str,
        request: &RequestId,
        message: &ClusterMessage,
    ) -> Publish {
        let outgoing = self
            .cluster
            .wire(namespace)
            .encode_for_others(message, request);
        self.enqueue(outgoing, Some(request))
    }

    pub(crate) fn withdraw(&self, namespace: &str, request: &RequestId) {
        let wire = self.cluster.wire(namespace);
        if self.with_queue(|queue| queue.withdraw(counted(&wire), request)) {
            self.cluster.counters.out_dropped.increment();
        }
    }

    pub(crate) fn respond(&self, namespace: &str, to: &ReplyTo, answer: &Answer) -> Publish {
        let outgoing = self.cluster.wire(namespace).encode_answer(to, answer);
        self.enqueue(outgoing, None)
    }

    fn enqueue(
        &self,
        outgoing: Result<Outgoing, EncodeError>,
        request: Option<&RequestId>,
    ) -> Publish {
        let queued = outgoing.map_err(|error| {
            tracing::debug!(target: "adapter_redis::shared", %error, "message to the other nodes dropped");
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
                self.cluster.counters.out_dropped.increment();
                Publish::Dropped
            }
        }
    }

    /// The command that publishes `payload`.
    pub(crate) fn publish_command(&self, channel: &str, payload: &[u8]) -> Bytes {
        let name: &[u8] = match self.cluster.config.format {
            Format::Classic { .. } => b"PUBLISH",
            Format::Sharded(_) => b"SPUBLISH",
        };
        let mut command = Vec::with_capacity(channel.len() + payload.len() + 64);
        push_command(&mut command, &[name, channel.as_bytes(), payload]);
        command.into()
    }
}
