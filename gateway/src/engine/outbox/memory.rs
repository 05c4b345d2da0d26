//! The memory that outboxes take, of a packet and of the node.

use std::cell::OnceCell;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use protocol::{Dialect, Encoded};

use crate::engine::shard::Shard;

/// Bytes that a packet takes in memory beside its content.
const PACKET_OVERHEAD: usize = 128;

/// Bytes that a packet takes in the queue of each session that it waits for.
pub(crate) const ENTRY: usize = 16;

/// Memory of the packets that wait on this node for clients, in bytes. The content of a broadcast
/// counts once, however many sessions and shards it waits in.
///
/// What only one shard has to do with, that shard counts (`ShardCounters::outbox_held`); here is what
/// shards share, and what was handed to HTTP.
#[derive(Debug)]
pub(crate) struct OutboxMemory {
    /// `limits.outbox_total`.
    limit: AtomicUsize,
    shared: AtomicUsize,
    /// Somebody is at it to close sessions until the limit is kept again.
    shedding: AtomicBool,
}

impl OutboxMemory {
    pub(crate) fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self {
            limit: AtomicUsize::new(limit),
            shared: AtomicUsize::new(0),
            shedding: AtomicBool::new(false),
        })
    }

    pub(crate) fn limit(&self) -> usize {
        self.limit.load(Ordering::Relaxed)
    }

    pub(crate) fn set_limit(&self, limit: usize) {
        self.limit.store(limit, Ordering::Relaxed);
    }

    pub(crate) fn shared(&self) -> usize {
        self.shared.load(Ordering::Relaxed)
    }

    /// Counts `bytes` until what is returned is dropped.
    fn charge(self: &Arc<Self>, bytes: usize) -> Charge {
        self.shared.fetch_add(bytes, Ordering::Relaxed);
        Charge {
            memory: Arc::clone(self),
            bytes,
        }
    }

    /// Counts a packet that several shards are to have.
    pub(crate) fn share(self: &Arc<Self>, packet: Encoded) -> SharedPacket {
        let charge = self.charge(packet.frames().len() + PACKET_OVERHEAD);
        SharedPacket {
            packet,
            shared: Arc::new(Shared {
                charge,
                forms: [const { OnceLock::new() }; OTHERS],
            }),
        }
    }

    /// Whether the caller is the one that has to close sessions, until it says that it is done.
    pub(crate) fn begin_shedding(&self) -> bool {
        !self.shedding.swap(true, Ordering::Relaxed)
    }

    pub(crate) fn end_shedding(&self) {
        self.shedding.store(false, Ordering::Relaxed);
    }
}

/// Bytes that count for as long as it lives.
#[derive(Debug)]
struct Charge {
    memory: Arc<OutboxMemory>,
    bytes: usize,
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.memory.shared.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// Encodings that a packet can be wanted in beside the one in which it is made.
const OTHERS: usize = Dialect::OTHERS.len();

/// A packet for several shards.
#[derive(Clone)]
pub(crate) struct SharedPacket {
    packet: Encoded,
    shared: Arc<Shared>,
}

/// What the shards have in common of a packet.
struct Shared {
    charge: Charge,
    /// The packet in other encodings, each made by the first shard that has a client for it; `None` if it does not
    /// differ.
    forms: [OnceLock<Option<SharedPacket>>; OTHERS],
}

impl SharedPacket {
    pub(crate) fn packet(&self) -> &Encoded {
        &self.packet
    }

    /// The same for the sessions of one shard.
    pub(crate) fn parcel(&self) -> Rc<Parcel> {
        Rc::new(Parcel {
            packet: self.packet.clone(),
            count: 1,
            forms: OnceCell::new(),
            held: Held::Shared(Arc::clone(&self.shared)),
        })
    }

    fn form(&self, dialect: Dialect, place: usize) -> Option<Self> {
        let form = self.shared.forms.get(place)?;
        let make = || {
            let packet = self.packet.recode(dialect)?;
            Some(self.shared.charge.memory.share(packet))
        };
        form.get_or_init(make).clone()
    }
}

/// A packet that waits in the outboxes of one shard, and counts as memory until the last of them
/// let go of it.
pub(crate) struct Parcel {
    packet: Encoded,
    /// How many packets it is, side by side.
    count: u32,
    /// The same in other encodings, once a session of this shard wanted one; `None` if it does not differ.
    forms: OnceCell<Box<Forms>>,
    held: Held,
}

type Forms = [OnceCell<Option<Rc<Parcel>>>; OTHERS];

enum Held {
    /// It is there anyway.
    Nothing,
    /// Only this shard has it.
    Own(Own),
    /// Other shards may have it as well.
    Shared(Arc<Shared>),
}

struct Own {
    shard: Rc<Shard>,
    bytes: usize,
}

impl Drop for Own {
    fn drop(&mut self) {
        self.shard
            .counters()
            .outbox_held
            .subtract(self.bytes as u64);
    }
}

impl Parcel {
    /// A packet for sessions of this shard alone.
    pub(crate) fn own(shard: &Rc<Shard>, packet: Encoded) -> Rc<Self> {
        Self::owned(shard, packet, 1)
    }

    /// Several packets as one, for sessions on WebSocket whose clients take them as they were made.
    pub(crate) fn run(shard: &Rc<Shard>, packets: &[&Rc<Self>]) -> Rc<Self> {
        let count = packets.iter().map(|parcel| parcel.count).sum();
        let packets: Vec<&Encoded> = packets.iter().map(|parcel| parcel.packet()).collect();
        Self::owned(shard, Encoded::side_by_side(&packets), count)
    }

    fn owned(shard: &Rc<Shard>, packet: Encoded, count: u32) -> Rc<Self> {
        let bytes = packet.frames().len() + PACKET_OVERHEAD;
        shard.counters().outbox_held.add(bytes as u64);
        Rc::new(Self {
            packet,
            count,
            forms: OnceCell::new(),
            held: Held::Own(Own {
                shard: Rc::clone(shard),
                bytes,
            }),
        })
    }

    /// A packet that lives as long as the shard.
    pub(crate) fn constant(packet: Encoded) -> Rc<Self> {
        Rc::new(Self {
            packet,
            count: 1,
            forms: OnceCell::new(),
            held: Held::Nothing,
        })
    }

    /// The same in a dialect other than the one in which packets are made; `None` if it does not differ. It is made
    /// once, however many sessions of however many shards want it.
    pub(crate) fn form(&self, dialect: Dialect) -> Option<Rc<Self>> {
        let place = dialect.index()?;
        let forms = self.forms.get_or_init(Box::default).get(place)?;
        let make = || match &self.held {
            Held::Nothing => Some(Self::constant(self.packet.recode(dialect)?)),
            Held::Own(own) => Some(Self::own(&own.shard, self.packet.recode(dialect)?)),
            Held::Shared(shared) => {
                let packet = SharedPacket {
                    packet: self.packet.clone(),
                    shared: Arc::clone(shared),
                };
                Some(packet.form(dialect, place)?.parcel())
            }
        };
        forms.get_or_init(make).clone()
    }

    pub(crate) fn packet(&self) -> &Encoded {
        &self.packet
    }

    /// How many packets it is, side by side.
    pub(crate) fn count(&self) -> u32 {
        self.count
    }
}

/// What a poll gets, which counts until it was written.
#[derive(Debug)]
pub(crate) struct Payload {
    body: Vec<u8>,
    binary: bool,
    _charge: Charge,
}

impl Payload {
    pub(crate) fn new(body: Vec<u8>, binary: bool, memory: &Arc<OutboxMemory>) -> Self {
        Self {
            _charge: memory.charge(body.len()),
            body,
            binary,
        }
    }

    /// Whether it is a binary payload of revision 3.
    pub(crate) fn is_binary(&self) -> bool {
        self.binary
    }
}

impl AsRef<[u8]> for Payload {
    fn as_ref(&self) -> &[u8] {
        &self.body
    }
}
