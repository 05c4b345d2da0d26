//! Events of a namespace with recovery on their way to the sockets of this node.

use std::rc::Rc;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use adapter::recovery::{Entry, Epoch, Offset, Pid, Position};
use adapter::{EventBuf, Selection};
use protocol::engineio::CloseReason;
use tracing::debug;

use crate::count::{Origin, PacketType};
use crate::engine::mail::{Mail, SharedJob};
use crate::engine::node::Node;
use crate::engine::outbox::SharedPacket;
use crate::engine::shard::Shard;
use crate::net::ids::SocketId;
use crate::recovery::{Order, Outlet, Rewound, Seat, Whom};
use crate::socketio::client::Client;
use crate::socketio::offset::{encode, encode_event};
use crate::socketio::spans::{Delivery, delivered};

/// An event in order, encoded once for all its recipients.
struct OrderedBroadcast {
    order: Arc<Order>,
    offset: Offset,
    entry: Arc<Entry>,
    /// `None` if it is none that clients could be given.
    packet: Option<(SharedPacket, PacketType)>,
    origin: Origin,
    since: Instant,
    delivery: Option<Box<Delivery>>,
}

/// An event that is in no log. It carries the offset up to which its recipients have everything, since clients take
/// the last text of every event for one.
pub(crate) struct Unlogged {
    pub(crate) order: Arc<Order>,
    pub(crate) selection: Selection,
    pub(crate) event: EventBuf,
    pub(crate) origin: Origin,
    pub(crate) since: Instant,
    /// Its span, if its trace is sampled.
    pub(crate) delivery: Option<Box<Delivery>>,
}

impl SharedJob for OrderedBroadcast {
    fn size(&self) -> usize {
        let packet = self.packet.as_ref();
        packet.map_or(0, |(packet, _)| packet.packet().frames().len())
    }

    fn since(&self) -> Instant {
        self.since
    }

    fn run(&self, shard: &Rc<Shard>) {
        let began = Instant::now();
        let mut recipients = 0;
        if let Some(namespace) = shard.found_namespace(self.order.namespace())
            && let Some((packet, kind)) = &self.packet
        {
            let packet = packet.parcel();
            namespace.for_each(&self.entry.selection, |socket| {
                let pushed = socket.push_ordered(&packet, *kind, &self.entry);
                recipients += u64::from(pushed);
            });
            if shard.traces().has_rooms() {
                let (name, selection) = (self.order.namespace(), &self.entry.selection);
                shard.trace_broadcast(name, selection, packet.packet(), recipients);
            }
        }
        self.order.set_handed(shard.index(), self.offset);
        if shard.top().is_on() {
            let (name, selection) = (self.order.namespace(), &self.entry.selection);
            shard.count_broadcast(name, selection, self.origin, recipients);
        }
        let of = (&**self.order.namespace(), self.origin, recipients);
        let took = began.elapsed();
        delivered(shard, self.delivery.as_deref(), of, self.since, took);
        if recipients > 0 {
            shard.note_broadcast(began);
        }
        count(shard, self.origin, recipients, took);
    }
}

impl SharedJob for Unlogged {
    fn size(&self) -> usize {
        self.event.name.len() + self.event.arguments.size()
    }

    fn since(&self) -> Instant {
        self.since
    }

    fn run(&self, shard: &Rc<Shard>) {
        let began = Instant::now();
        let mut recipients = 0;
        if let Some(namespace) = shard.found_namespace(self.order.namespace()) {
            let offset = self.order.handed(shard.index());
            let name = self.order.namespace();
            let (packet, kind) = encode_event(name, &self.event, offset);
            let packet = shard.node().outbox_memory().share(packet).parcel();
            let volatile = self.selection.flags.volatile;
            let place = offset.map(|it| it.position);
            namespace.for_each(&self.selection, |socket| {
                recipients += u64::from(socket.push_unlogged(&packet, kind, volatile, place));
            });
            if shard.traces().has_rooms() {
                shard.trace_broadcast(name, &self.selection, packet.packet(), recipients);
            }
        }
        if shard.top().is_on() {
            let name = self.order.namespace();
            shard.count_broadcast(name, &self.selection, self.origin, recipients);
        }
        let of = (&**self.order.namespace(), self.origin, recipients);
        let took = began.elapsed();
        delivered(shard, self.delivery.as_deref(), of, self.since, took);
        if recipients > 0 {
            shard.note_broadcast(began);
        }
        count(shard, self.origin, recipients, took);
    }
}

fn count(shard: &Rc<Shard>, origin: Origin, recipients: u64, took: Duration) {
    let counters = shard.counters();
    counters.broadcasts.of(origin).increment();
    counters.broadcast_recipients.observe(recipients);
    counters.broadcast_duration.observe(took.as_nanos() as u64);
}

impl Node {
    /// Gives an event that is in no log to the sockets of this node.
    pub(crate) fn deliver_unlogged(&self, unlogged: Unlogged) {
        self.post_to_all(Arc::new(unlogged));
    }

    fn post_to_all(&self, job: Arc<dyn SharedJob>) {
        for shard in self.shards() {
            shard.post(Mail::Shared(Arc::clone(&job)));
        }
    }
}

/// What the keepers of a node want of its shards.
pub(crate) struct NodeOutlet(pub(crate) Weak<Node>);

impl NodeOutlet {
    fn post(&self, seat: Seat, job: impl FnOnce(&Rc<Shard>) + Send + 'static) {
        if let Some(node) = self.0.upgrade()
            && let Some(shard) = node.shards().get(seat.shard())
        {
            shard.post(Mail::Run(Box::new(job)));
        }
    }
}

impl Outlet for NodeOutlet {
    fn release(&self, order: &Arc<Order>, epoch: Epoch, entry: &Arc<Entry>) {
        let Some(node) = self.0.upgrade() else {
            return;
        };
        let offset = Offset {
            epoch,
            position: entry.position,
        };
        let packet = encode(order.namespace(), &entry.body, offset);
        let packet = packet.map(|(packet, kind)| (node.outbox_memory().share(packet), kind));
        let origin = match node.cluster() {
            Some(_) => Origin::Cluster,
            None => Origin::Local,
        };
        let since = Instant::now();
        let trace = entry.selection.flags.trace;
        node.post_to_all(Arc::new(OrderedBroadcast {
            delivery: Delivery::of(&node, trace, order.namespace(), origin, since),
            order: Arc::clone(order),
            offset,
            entry: Arc::clone(entry),
            packet,
            origin,
            since,
        }));
    }

    fn marked(&self, order: &Arc<Order>, offset: Offset) {
        let Some(node) = self.0.upgrade() else {
            return;
        };
        for shard in node.shards() {
            let order = Arc::clone(order);
            shard.post(Mail::Run(Box::new(move |shard| {
                order.set_handed(shard.index(), offset);
            })));
        }
    }

    fn opened(&self, seat: Seat, pid: Pid) {
        self.post(seat, move |shard| {
            if let Some(socket) = shard.seated(seat) {
                Client::opened(&socket, pid);
            }
        });
    }

    fn welcome(&self, seat: Seat, events: Vec<Arc<Entry>>, through: Position) {
        self.post(seat, move |shard| {
            if let Some(socket) = shard.seated(seat) {
                Client::came_back(&socket, &events, through);
            }
        });
    }

    fn joined(&self, seat: Seat, rooms: Arc<[Arc<str>]>, since: Position) {
        self.post(seat, move |shard| {
            if let Some(socket) = shard.seated(seat) {
                socket.set_since(&rooms, since);
            }
        });
    }

    fn rewound(&self, seat: Seat, rewound: Rewound) {
        self.post(seat, move |shard| {
            if let Some(socket) = shard.seated(seat) {
                socket.rewound(rewound);
            }
        });
    }

    fn close(&self, namespace: &Arc<str>, whom: Whom, why: &'static str) {
        let Some(node) = self.0.upgrade() else {
            return;
        };
        let namespace = Arc::clone(namespace);
        node.run_everywhere(move |shard| {
            let sockets = match &whom {
                Whom::Everybody => shard.select(&namespace, &Selection::everybody()),
                Whom::Seat(seat) => shard.seated(*seat).into_iter().collect(),
                Whom::Taken(sid, generation) => {
                    let found = SocketId::parse(sid);
                    let found = found.and_then(|id| shard.socket(&namespace, &id));
                    let is_before = |it: u64| it < *generation;
                    let found = found.filter(|it| it.generation().is_some_and(is_before));
                    found.into_iter().collect()
                }
            };
            for socket in sockets {
                debug!(target: "gateway::recovery", socket = %socket.id(), reason = why, "client closed");
                socket.close_session(CloseReason::TransportClose);
            }
        });
    }
}
