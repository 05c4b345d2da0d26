//! Recovery on a node: what its sockets want of the store of their namespace, and what comes back, in order.
//!
//! Each namespace with recovery has a [`Keeper`](keeper::Keeper), a task that drives the machines of
//! [`adapter::recovery`]. Shards hold an [`Order`] of it, by which they publish and tell what their sockets do.
//! What it decides goes back to the shards by an [`Outlet`].
//!
//! ```text
//!            Ask                        Call
//!  shard ──────────► Order ──► Keeper ─────────► Link: Redis, or the node's memory
//!    ▲                         │    ▲                      │
//!    └─────── Outlet ──────────┘    └──────── Told ────────┘
//! ```

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use adapter::recovery::{
    Claimed, Entry, Epoch, Generation, Keep, Offset, Pid, Position, Process, Rewound, Settings,
    Told,
};
use adapter::{Adapter, Away, NodeId, Task};

use crate::config;

mod counters;
mod joins;
mod keeper;
mod memory;
mod order;
mod questions;
mod rewinds;
mod seats;

#[cfg(test)]
pub(crate) use counters::RESULTS;
pub(crate) use counters::RecoveryCounters;
use keeper::Keeper;
pub use order::Unpublished;
pub(crate) use order::{Arrival, Order, Returned, Shown};

/// How often a node tells the store that it lives.
const HEARTBEAT: Duration = Duration::from_secs(1);

/// How long after its last heartbeat a node counts as alive.
const LEASE: Duration = Duration::from_secs(10);

/// How long nodes are awaited after another server of Redis took over.
const SETTLE: Duration = Duration::from_secs(10);

/// What a closing connection may take beyond the timeout of its ping.
const CLOSING: Duration = Duration::from_secs(2);

/// How long a client may take to come back, from its claim until it is let in: the store, and the application that
/// decides. It is as long as `connectTimeout` of Socket.IO. Until then nothing went out to it, whatever it answers to
/// pings.
const COMEBACK: Duration = Duration::from_secs(45);

/// How long what comes for a socket may be held while it joins with history.
pub(crate) const HOLDING: Duration = Duration::from_secs(10);

/// Most bytes that one read of logs brings.
const READ_BYTES: usize = 512 * 1024;

/// Rooms that a session left and that are remembered.
const STAYS: usize = 64;

/// Sessions and logs that a heartbeat looks at to clear away.
const SWEEP: usize = 200;

/// Sessions that one call puts away when a node ends.
const RETIRE: usize = 1000;

/// Processes that are remembered after they died.
const DEPARTED: usize = 64;

/// A socket as its keeper knows it: its shard, and a number of the node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Seat(u64);

impl Seat {
    /// Bits of the number: at a million a second they last for three years.
    const NUMBER_BITS: u32 = 46;

    const FIRST: Self = Self(0);

    /// A node has at most 2¹⁸ shards.
    fn new(shard: usize, number: u64) -> Self {
        let number = number & ((1 << Self::NUMBER_BITS) - 1);
        Self((shard as u64) << Self::NUMBER_BITS | number)
    }

    /// The index of its shard.
    pub(crate) fn shard(self) -> usize {
        (self.0 >> Self::NUMBER_BITS) as usize
    }
}

/// Whose connections are to be closed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Whom {
    Everybody,
    Seat(Seat),
    /// The socket of this id, if it was claimed less often.
    Taken(Arc<str>, Generation),
}

/// What a keeper wants of the shards. What is asked for is done in the order in which it was asked for.
pub(crate) trait Outlet: Send + Sync + 'static {
    /// Gives an event to those that it selects.
    fn release(&self, order: &Arc<Order>, epoch: Epoch, entry: &Arc<Entry>);

    /// Everything up to here is released.
    fn marked(&self, order: &Arc<Order>, offset: Offset);

    /// The session of a new client is written: from here on it is a member.
    fn opened(&self, seat: Seat, pid: Pid);

    /// A client is recovered: it is sent these events, and then what is behind `through`.
    fn welcome(&self, seat: Seat, events: Vec<Arc<Entry>>, through: Position);

    /// A join is written; what is not behind `since` is not for the member.
    fn joined(&self, seat: Seat, rooms: Arc<[Arc<str>]>, since: Position);

    /// The past of rooms that a socket joined is read, for its join of this number.
    fn rewound(&self, seat: Seat, number: u64, rewound: Rewound);

    /// Closes connections.
    fn close(&self, namespace: &Arc<str>, whom: Whom, why: &'static str);
}

/// Most namespaces that are in order at a time. Those of a pattern end when nobody uses them.
pub(crate) const MAX_ORDERS: usize = 10_000;

/// Most bytes of events that were heard and wait for their keepers; then the wire is read no further.
const MAX_HEARD: usize = 64 * 1024 * 1024;

/// The orders of a node, by namespace.
type Orders = Arc<Mutex<HashMap<Arc<str>, Arc<Order>>>>;

/// How this node recovers clients.
pub(crate) struct Recovery {
    config: config::Recovery,
    store: Settings,
    /// How long after an event was handed to a connection it is proven that it arrived.
    proven: Duration,
    /// [`COMEBACK`], but in tests.
    comeback: Duration,
    orders: Orders,
    /// Bytes of events that were heard and wait for their keepers.
    heard: Arc<AtomicUsize>,
    /// Bytes of events that wait to be put in order.
    waiting: Arc<AtomicUsize>,
    begun: OnceLock<Begun>,
    counters: Arc<RecoveryCounters>,
}

/// What is known once the node starts.
pub(crate) struct Begun {
    pub(crate) node: NodeId,
    pub(crate) shards: usize,
    pub(crate) adapter: Option<Arc<dyn Adapter>>,
    pub(crate) outlet: Arc<dyn Outlet>,
    /// Runs a task that has to go on for as long as the node lives.
    pub(crate) spawn: Box<dyn Fn(Task) + Send + Sync>,
}

impl Recovery {
    /// As the configuration wants it; `None` if it does not.
    pub(crate) fn new(config: &config::Config) -> Option<Self> {
        let window = config.recovery.window?;
        let engine = &config.engine;
        let proven = engine.ping_interval + engine.ping_timeout + CLOSING + HOLDING + COMEBACK;
        let micros = |duration: Duration| u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        Some(Self {
            store: Settings {
                keep: Keep {
                    messages: config.recovery.max_messages.get(),
                    bytes: config.recovery.max_bytes,
                    back: micros(window + proven + LEASE + 2 * HEARTBEAT),
                },
                window: micros(window),
                lease: micros(LEASE),
                rounds: LEASE.as_secs() / HEARTBEAT.as_secs(),
                settle: micros(SETTLE),
                read_bytes: READ_BYTES,
                stays: STAYS,
                sweep: SWEEP,
                departed: DEPARTED,
                retire: RETIRE,
            },
            proven,
            comeback: COMEBACK,
            config: config.recovery.clone(),
            orders: Orders::default(),
            heard: Arc::default(),
            waiting: Arc::default(),
            begun: OnceLock::new(),
            counters: Arc::default(),
        })
    }

    /// To be called once, before the shards start. Orders of `namespaces` are kept for as long as the node lives.
    /// `false` if the wire between the nodes has no store.
    pub(crate) fn begin<'a>(
        &self,
        begun: Begun,
        namespaces: impl Iterator<Item = &'a str>,
    ) -> bool {
        let adapter = begun.adapter.as_ref();
        if adapter.is_some_and(|it| it.open_store("/", &self.store).is_none()) {
            return false;
        }
        let is_first = self.begun.set(begun).is_ok();
        debug_assert!(is_first);
        for name in namespaces {
            if let Some(order) = self.order(name) {
                order.keep();
            }
        }
        true
    }

    /// Whether a namespace with recovery cannot be put in order, since too many others are.
    pub(crate) fn is_full(&self, namespace: &str) -> bool {
        if !self.config.covers(namespace) {
            return false;
        }
        let orders = self.lock();
        orders.len() >= MAX_ORDERS && !orders.contains_key(namespace)
    }

    /// Whether so much of what was heard waits that no more should be read.
    pub(crate) fn is_behind(&self) -> bool {
        self.heard.load(Ordering::Relaxed) > MAX_HEARD
    }

    pub(crate) fn counters(&self) -> &RecoveryCounters {
        &self.counters
    }

    pub(crate) fn config(&self) -> &config::Recovery {
        &self.config
    }

    /// That of a namespace, if its clients are recovered.
    pub(crate) fn order(&self, namespace: &str) -> Option<Arc<Order>> {
        if let Some(order) = self.lock().get(namespace) {
            return Some(Arc::clone(order));
        }
        if !self.config.covers(namespace) {
            return None;
        }
        let begun = self.begun.get()?;
        let mut orders = self.lock();
        if let Some(order) = orders.get(namespace) {
            return Some(Arc::clone(order));
        }
        if orders.len() >= MAX_ORDERS {
            return None;
        }
        let (order, keeper) = self.open(namespace, begun);
        orders.insert(namespace.into(), Arc::clone(&order));
        drop(orders);
        (begun.spawn)(Box::pin(keeper.run()));
        Some(order)
    }

    fn open(&self, namespace: &str, begun: &Begun) -> (Arc<Order>, Keeper) {
        let process = Process {
            node: begun.node.clone(),
            seed: rand_u64(),
        };
        let limits = keeper::Limits {
            store: self.store,
            proven: self.proven,
            comeback: self.comeback,
            replay_bytes: self.config.replay_bytes,
            heard: Arc::clone(&self.heard),
            waiting: Arc::clone(&self.waiting),
            orders: Arc::clone(&self.orders),
        };
        keeper::open(
            namespace,
            process,
            limits,
            begun,
            Arc::clone(&self.counters),
        )
    }

    /// The wire tells something of a store.
    pub(crate) fn tell(&self, namespace: &str, told: Told) {
        let order = self.lock().get(namespace).cloned();
        if let Some(order) = order {
            order.tell(told);
        }
    }

    /// The node ends: writes what waits, and that its clients are away. Waits for `patience` at most.
    pub(crate) async fn retire(&self, patience: Duration) -> Result<(), Away> {
        let orders: Vec<_> = self.lock().values().cloned().collect();
        let retired = orders.iter().map(|order| order.retire());
        let retired = futures_util::future::join_all(retired);
        match tokio::time::timeout(patience, retired).await {
            Ok(_) => Ok(()),
            Err(_) => Err(Away),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Arc<str>, Arc<Order>>> {
        self.orders.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Random bits.
fn rand_u64() -> u64 {
    u64::from_ne_bytes(crate::net::ids::random_bytes())
}

/// A session that came back, before the application decided about it.
impl From<&Claimed> for Returned {
    fn from(claimed: &Claimed) -> Self {
        Self {
            sid: Arc::clone(&claimed.sid),
            generation: claimed.generation,
            rooms: claimed.rooms().cloned().collect(),
            data: claimed.data.clone(),
        }
    }
}

#[cfg(test)]
mod tests;
