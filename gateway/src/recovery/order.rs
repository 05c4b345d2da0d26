//! The shards' end of a keeper.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use adapter::recovery::{
    Change, Epoch, Generation, Heard, LogName, NotRecovered, Offset, Past, PastPage, PidSecret,
    Position, Publication, Rewind, Told,
};
use adapter::{EventBuf, InForce, Interest, Latch, Selection};
use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};

use super::{RecoveryCounters, Seat};
use crate::net::ids::random_bytes;

/// Most bytes of events that wait to be put in order, in all namespaces of a node.
pub(super) const MAX_WAITING: usize = 64 * 1024 * 1024;

/// What an event that waits takes beside its content, about.
const PUBLICATION_OVERHEAD: usize = 256;

/// Seats that were given, in all namespaces.
static SEATS: AtomicU64 = AtomicU64::new(0);

/// The way to put something in order in a namespace.
pub(crate) struct Order {
    namespace: Arc<str>,
    asks: mpsc::UnboundedSender<Ask>,
    /// Bytes of events that wait, in all namespaces of the node.
    waiting: Arc<AtomicUsize>,
    /// The offset up to which each shard gives its sockets everything before anything else.
    handed: Box<[Mutex<Option<Offset>>]>,
    /// The one up to which it has given them everything.
    given: Box<[Mutex<Option<Offset>>]>,
    counters: Arc<RecoveryCounters>,
    /// Bytes of events that were heard and wait for keepers.
    heard: Arc<AtomicUsize>,
    /// Whether it stays although nobody uses it.
    is_kept: AtomicBool,
    /// Lets this node hear the namespace.
    _interest: Option<Interest>,
}

/// What a shard wants of a keeper.
pub(super) enum Ask {
    Publish {
        publication: Publication,
        size: usize,
        done: Option<oneshot::Sender<Result<(), Unpublished>>>,
        since: Instant,
    },
    Open {
        seat: Seat,
        arrival: Arrival,
        secret: PidSecret,
    },
    Claim {
        seat: Seat,
        shown: Shown,
        user: Option<Arc<str>>,
        answer: oneshot::Sender<Result<Returned, NotRecovered>>,
    },
    /// The application accepted the client that came back.
    Enter(Seat),
    Join {
        seat: Seat,
        rooms: Arc<[Arc<str>]>,
        written: Arc<Latch>,
    },
    Leave {
        seat: Seat,
        rooms: Vec<Arc<str>>,
        until: Position,
    },
    Data {
        seat: Seat,
        data: Option<Bytes>,
    },
    Gone {
        seat: Seat,
        change: Change,
    },
    History {
        log: LogName,
        past: Past,
        answer: oneshot::Sender<PastPage>,
    },
    Rewind {
        seat: Seat,
        number: u64,
        rooms: Arc<[Arc<str>]>,
        wants: Rewind,
    },
    EndRewind(Seat),
    Told(Told),
    Retire(oneshot::Sender<()>),
}

/// A new client.
#[derive(Debug)]
pub(crate) struct Arrival {
    pub(crate) sid: Arc<str>,
    pub(crate) user: Option<Arc<str>>,
    pub(crate) data: Option<Bytes>,
    pub(crate) rooms: Vec<Arc<str>>,
}

/// What a client shows that comes back.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Shown {
    pub(crate) pid: String,
    pub(crate) offset: Option<String>,
}

/// A session that came back.
#[derive(Debug)]
pub(crate) struct Returned {
    pub(crate) sid: Arc<str>,
    pub(crate) generation: Generation,
    pub(crate) rooms: Vec<Arc<str>>,
    pub(crate) data: Option<Bytes>,
}

/// Why an event is not promised to arrive.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unpublished {
    /// Another node has the session of its sender: nothing of it comes late.
    #[error("the sender is connected elsewhere")]
    NotOwned,
    /// The node ended first.
    #[error("the node ended")]
    Ended,
}

impl Order {
    pub(super) fn new(
        namespace: Arc<str>,
        shards: usize,
        interest: Option<Interest>,
        counters: Arc<RecoveryCounters>,
        heard: Arc<AtomicUsize>,
        waiting: Arc<AtomicUsize>,
    ) -> (Self, mpsc::UnboundedReceiver<Ask>) {
        let (sender, receiver) = mpsc::unbounded_channel();
        let order = Self {
            namespace,
            asks: sender,
            waiting,
            handed: (0..shards).map(|_| Mutex::default()).collect(),
            given: (0..shards).map(|_| Mutex::default()).collect(),
            counters,
            heard,
            is_kept: AtomicBool::new(false),
            _interest: interest,
        };
        (order, receiver)
    }

    pub(crate) fn namespace(&self) -> &Arc<str> {
        &self.namespace
    }

    /// A seat for a socket of a shard.
    pub(crate) fn seat(&self, shard: usize) -> Seat {
        Seat::new(shard, SEATS.fetch_add(1, Ordering::Relaxed))
    }

    /// Puts an event in order; the receiver tells when it is promised to arrive. `None`: too much waits.
    pub(crate) fn publish(
        &self,
        selection: Selection,
        event: &EventBuf,
        sender: Option<(Arc<str>, Generation)>,
    ) -> Option<oneshot::Receiver<Result<(), Unpublished>>> {
        let is_logged = !selection.flags.volatile;
        let body = event.to_body();
        let size = PUBLICATION_OVERHEAD + body.len();
        let before = self.waiting.fetch_add(size, Ordering::Relaxed);
        if before + size > MAX_WAITING {
            self.waiting.fetch_sub(size, Ordering::Relaxed);
            self.counters.refused.increment();
            return None;
        }
        let (done, published) = oneshot::channel();
        self.ask(Ask::Publish {
            publication: Publication {
                selection,
                body,
                is_logged,
                sender,
            },
            size,
            done: Some(done),
            since: Instant::now(),
        });
        Some(published)
    }

    /// An event is in order, or given up.
    pub(super) fn settled(&self, size: usize) {
        self.waiting.fetch_sub(size, Ordering::Relaxed);
    }

    /// Writes the session of a new client; [`Outlet::opened`](super::Outlet::opened) tells when it is.
    pub(crate) fn open(&self, seat: Seat, arrival: Arrival) {
        let secret = PidSecret::new(random_bytes());
        self.ask(Ask::Open {
            seat,
            arrival,
            secret,
        });
    }

    /// A client comes back.
    pub(crate) fn claim(
        &self,
        seat: Seat,
        shown: Shown,
        user: Option<Arc<str>>,
    ) -> oneshot::Receiver<Result<Returned, NotRecovered>> {
        let (answer, claimed) = oneshot::channel();
        self.ask(Ask::Claim {
            seat,
            shown,
            user,
            answer,
        });
        claimed
    }

    /// The application accepted a client that came back: [`Outlet::welcome`](super::Outlet::welcome) follows.
    pub(crate) fn enter(&self, seat: Seat) {
        self.ask(Ask::Enter(seat));
    }

    /// A socket joined; in force once that is written and everything that is published to the rooms is heard.
    pub(crate) fn join(&self, seat: Seat, rooms: Arc<[Arc<str>]>) -> InForce {
        let written = Arc::new(Latch::default());
        let in_force = InForce::when([Arc::clone(&written)]);
        self.ask(Ask::Join {
            seat,
            rooms,
            written,
        });
        in_force
    }

    pub(crate) fn leave(&self, seat: Seat, rooms: Vec<Arc<str>>, until: Position) {
        self.ask(Ask::Leave { seat, rooms, until });
    }

    pub(crate) fn set_data(&self, seat: Seat, data: Option<Bytes>) {
        self.ask(Ask::Data { seat, data });
    }

    /// A socket is gone: away, or for good.
    pub(crate) fn gone(&self, seat: Seat, for_good: bool) {
        let change = match for_good {
            true => Change::End,
            false => Change::Away,
        };
        self.ask(Ask::Gone { seat, change });
    }

    /// A client that comes back waited for the store for too long.
    pub(crate) fn note_unreachable(&self) {
        self.counters.note(NotRecovered::Unreachable.as_str());
    }

    /// Asks for something of the past. No answer comes if too many ask, or if the store is gone meanwhile; while it
    /// is away none comes either, so that the caller's patience decides.
    pub(crate) fn history(&self, log: LogName, past: Past) -> oneshot::Receiver<PastPage> {
        let (answer, page) = oneshot::channel();
        self.ask(Ask::History { log, past, answer });
        page
    }

    /// Reads the past of rooms that a socket joined, up to where it gets everything live:
    /// [`Outlet::rewound`](super::Outlet::rewound) follows.
    pub(crate) fn rewind(&self, seat: Seat, number: u64, rooms: Arc<[Arc<str>]>, wants: Rewind) {
        self.ask(Ask::Rewind {
            seat,
            number,
            rooms,
            wants,
        });
    }

    /// Nobody waits for that any more.
    pub(crate) fn end_rewind(&self, seat: Seat) {
        self.ask(Ask::EndRewind(seat));
    }

    pub(crate) fn tell(&self, told: Told) {
        self.heard.fetch_add(size_of_told(&told), Ordering::Relaxed);
        self.ask(Ask::Told(told));
    }

    /// What was told is taken.
    pub(super) fn took(&self, told: &Told) {
        self.heard.fetch_sub(size_of_told(told), Ordering::Relaxed);
    }

    /// It stays although nobody uses it.
    pub(super) fn keep(&self) {
        self.is_kept.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_kept(&self) -> bool {
        self.is_kept.load(Ordering::Relaxed)
    }

    pub(super) fn retire(&self) -> oneshot::Receiver<()> {
        let (done, retired) = oneshot::channel();
        self.ask(Ask::Retire(done));
        retired
    }

    /// A shard gives its sockets everything up to here, before anything else that they get.
    pub(crate) fn set_handed(&self, shard: usize, offset: Offset) {
        if let Some(place) = self.handed.get(shard) {
            *lock(place) = Some(offset);
        }
    }

    /// A shard has given them everything that it was handed.
    pub(crate) fn set_given(&self, shard: usize) {
        if let Some(place) = self.given.get(shard) {
            *lock(place) = self.handed(shard);
        }
    }

    /// Up to where a shard gives its sockets everything before anything else.
    pub(crate) fn handed(&self, shard: usize) -> Option<Offset> {
        self.handed.get(shard).and_then(|place| *lock(place))
    }

    /// Up to where all shards have given it, in this life of the log.
    pub(super) fn given_by_all(&self, epoch: Epoch) -> Position {
        let places = self.given.iter().map(|place| *lock(place));
        let places = places.map(|offset| match offset {
            Some(it) if it.epoch == epoch => it.position,
            Some(_) | None => Position::ZERO,
        });
        places.min().unwrap_or(Position::ZERO)
    }

    /// A keeper ends with its node, and nobody waits for it then.
    fn ask(&self, ask: Ask) {
        let _ended = self.asks.send(ask);
    }
}

/// Bytes of an event that was heard.
fn size_of_told(told: &Told) -> usize {
    match told {
        Told::Heard(Heard::Ordered(ordered)) => ordered.entry.size(),
        Told::Heard(Heard::Mark(..))
        | Told::Connected(_)
        | Told::Broken
        | Told::Reply(_)
        | Told::Listening(_) => 0,
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl std::fmt::Debug for Order {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Order")
            .field("namespace", &self.namespace)
            .finish_non_exhaustive()
    }
}
