//! A broadcast on its way to the sockets of this node.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use adapter::Selection;

use crate::count::{Origin, PacketType};
use crate::engine::mail::{Mail, SharedJob};
use crate::engine::node::Node;
use crate::engine::outbox::{Parcel, SharedPacket};
use crate::engine::shard::{self, Shard};
use crate::engine::whereabouts;
use crate::net::ids::SocketId;
use crate::socketio::acks::{AckRequest, Tally};
use crate::socketio::arguments::EmitError;
use crate::socketio::layer::SocketIo;
use crate::socketio::namespace::Namespace;
use crate::socketio::socket::{Socket, Waiter};
use crate::socketio::spans::{Delivery, delivered};
use crate::socketio::walk;

/// Most rooms of a broadcast that are looked for on each shard.
const MAX_SOUGHT: usize = 8;

/// An emit to many, encoded once for all of them.
pub(crate) struct Broadcast {
    pub(crate) namespace: Arc<str>,
    pub(crate) selection: Selection,
    pub(crate) packet: SharedPacket,
    pub(crate) kind: PacketType,
    pub(crate) origin: Origin,
    pub(crate) ack: Option<AckRequest>,
    /// When it was emitted, or came from another node.
    pub(crate) since: Instant,
    /// Its span, if its trace is sampled.
    pub(crate) delivery: Option<Box<Delivery>>,
}

impl Node {
    /// Delivers to the calling shard at once and posts to the others.
    ///
    /// # Errors
    ///
    /// `Overloaded` if this node emits it, but none of its shards, and one of them is far behind.
    pub(crate) fn deliver(&self, broadcast: Broadcast) -> Result<(), EmitError> {
        let here = shard::current(self);
        if here.is_none() && broadcast.origin == Origin::Local && self.is_congested() {
            return Err(EmitError::Overloaded);
        }
        let broadcast = Arc::new(broadcast);
        let concern = Concern::of(self, &broadcast);
        for (index, shard) in self.shards().iter().enumerate() {
            match &here {
                Some(here) if here.index() == index => Arc::clone(&broadcast).run(here),
                Some(_) | None if concern.is_of(self, index) => {
                    shard.post(Mail::Shared(Arc::<Broadcast>::clone(&broadcast)));
                }
                Some(_) | None => {}
            }
        }
        Ok(())
    }
}

/// Which shards a broadcast concerns.
enum Concern<'a> {
    /// All of them.
    All,
    /// Those that may have members of one of these rooms.
    Rooms(&'a str, &'a [String]),
}

impl<'a> Concern<'a> {
    fn of(node: &Node, broadcast: &'a Broadcast) -> Self {
        let rooms = &broadcast.selection.rooms;
        // Who waits for acknowledgements hears from each how many there will be.
        let are_few = (1..=MAX_SOUGHT).contains(&rooms.len());
        match are_few && broadcast.ack.is_none() && !node.tells_everything() {
            true => Self::Rooms(&broadcast.namespace, rooms),
            false => Self::All,
        }
    }

    fn is_of(&self, node: &Node, shard: usize) -> bool {
        let Self::Rooms(namespace, rooms) = self else {
            return true;
        };
        let whereabouts = &node.shards()[shard].whereabouts;
        rooms.iter().any(|room| {
            let own = SocketId::parse(room).filter(|id| id.node() == node.tag());
            own.is_some_and(|id| id.shard() == shard)
                || whereabouts.may_have(whereabouts::place(namespace, room))
        })
    }
}

impl SharedJob for Broadcast {
    fn size(&self) -> usize {
        self.packet.packet().frames().len()
    }

    fn since(&self) -> Instant {
        self.since
    }

    /// Puts it into the outboxes of its recipients on a shard, or begins to if they are many.
    fn run(self: Arc<Self>, shard: &Rc<Shard>) {
        let began = Instant::now();
        let Some(namespace) = shard.found_namespace(&self.namespace) else {
            return self.end(shard, 0, began.elapsed());
        };
        let errand = Errand {
            asked: RefCell::default(),
            packet: self.packet.parcel(),
            broadcast: self,
        };
        let broadcast = Arc::clone(&errand.broadcast);
        walk::send(shard, namespace, &broadcast.selection, began, errand);
    }
}

impl Broadcast {
    /// All of a shard have it who are to.
    fn end(&self, shard: &Rc<Shard>, recipients: u64, took: Duration) {
        if let Some(ack) = &self.ack {
            let _gone = ack.answers.send(Tally::Recipients(recipients as usize));
        }
        if shard.traces().has_rooms() {
            let packet = self.packet.packet();
            shard.trace_broadcast(&self.namespace, &self.selection, packet, recipients);
        }
        if shard.top().is_on() {
            shard.count_broadcast(&self.namespace, &self.selection, self.origin, recipients);
        }
        let of = (&*self.namespace, self.origin, recipients);
        delivered(shard, self.delivery.as_deref(), of, self.since, took);
        let counters = shard.counters();
        counters.broadcasts.of(self.origin).increment();
        counters.broadcast_recipients.observe(recipients);
        counters.broadcast_duration.observe(took.as_nanos() as u64);
    }
}

/// A broadcast on its way to those of one shard.
struct Errand {
    broadcast: Arc<Broadcast>,
    packet: Rc<Parcel>,
    /// Who owes an acknowledgement.
    asked: RefCell<Vec<SocketId>>,
}

impl walk::Errand for Errand {
    fn reach(&self, socket: &Socket) -> bool {
        let broadcast = &*self.broadcast;
        let volatile = broadcast.selection.flags.volatile;
        let Some(ack) = &broadcast.ack else {
            return socket.push(&self.packet, broadcast.kind, volatile);
        };
        if !socket.may_owe_ack() || !socket.push(&self.packet, broadcast.kind, volatile) {
            return false;
        }
        let acks = &SocketIo::of(socket.session().shard().node()).acks;
        if !ack.timeout.is_zero()
            && let Some(awaited) = acks.wait(&ack.answers)
            && socket.expect_ack(ack.id, Waiter::Many(awaited))
        {
            self.asked.borrow_mut().push(socket.id());
        }
        true
    }

    fn event(&self) -> Option<(&Rc<Parcel>, PacketType)> {
        let broadcast = &*self.broadcast;
        let may_wait = broadcast.ack.is_none() && !broadcast.selection.flags.volatile;
        may_wait.then_some((&self.packet, broadcast.kind))
    }

    fn end(&self, shard: &Rc<Shard>, namespace: &Namespace, recipients: u64, took: Duration) {
        let asked = self.asked.take();
        if let Some(ack) = &self.broadcast.ack
            && !asked.is_empty()
        {
            let forgetting = forget_acks(Rc::clone(shard), namespace.name().into(), asked, ack);
            tokio::task::spawn_local(forgetting);
        }
        self.broadcast.end(shard, recipients, took);
    }
}

/// Forgets the acknowledgements of a broadcast when its time is over, or nobody waits for them any
/// more. Meanwhile it keeps no socket.
fn forget_acks(
    shard: Rc<Shard>,
    namespace: Box<str>,
    asked: Vec<SocketId>,
    ack: &AckRequest,
) -> impl Future<Output = ()> + use<> {
    let (id, timeout, answers) = (ack.id, ack.timeout, ack.answers.clone());
    async move {
        tokio::select! {
            () = tokio::time::sleep(timeout) => {}
            () = answers.closed() => {}
        }
        for socket in asked.iter().filter_map(|id| shard.socket(&namespace, id)) {
            socket.forget_ack(id);
        }
    }
}
