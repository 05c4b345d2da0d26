//! Events of a namespace with recovery on their way to the sockets of this node.

use std::rc::Rc;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use adapter::recovery::{Entry, Epoch, Offset, Pid, Position, Rewound};
use adapter::{EventBuf, Selection};

use crate::count::{Origin, PacketType};
use crate::engine::mail::{Mail, SharedJob};
use crate::engine::node::Node;
use crate::engine::outbox::SharedPacket;
use crate::engine::shard::Shard;
use crate::net::ids::SocketId;
use crate::recovery::{Order, Outlet, Seat, Whom};
use crate::socketio::change::close_all;
use crate::socketio::client::Client;
use crate::socketio::namespace::Namespace;
use crate::socketio::offset::{encode, encode_event};
use crate::socketio::socket::Socket;
use crate::socketio::spans::{Delivery, delivered};
use crate::socketio::walk;

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

    fn run(self: Arc<Self>, shard: &Rc<Shard>) {
        let began = Instant::now();
        // Who gets something else catches up with this before.
        self.order.set_handed(shard.index(), self.offset);
        let found = shard.found_namespace(self.order.namespace());
        let (Some(namespace), Some((packet, kind))) = (found, &self.packet) else {
            return end(shard, &*self, 0, began.elapsed());
        };
        let (packet, kind) = (packet.parcel(), *kind);
        let entry = Arc::clone(&self.entry);
        let reach = move |socket: &Socket| socket.push_ordered(&packet, kind, &entry);
        send(shard, namespace, self, began, reach);
    }
}

impl Told for OrderedBroadcast {
    fn selection(&self) -> &Selection {
        &self.entry.selection
    }

    fn end(&self, shard: &Rc<Shard>, recipients: u64) {
        if shard.traces().has_rooms()
            && let Some((packet, _)) = &self.packet
        {
            let name = self.order.namespace();
            shard.trace_broadcast(name, self.selection(), packet.packet(), recipients);
        }
    }

    fn order(&self) -> &Arc<Order> {
        &self.order
    }

    fn facts(&self) -> (Origin, Instant, Option<&Delivery>) {
        (self.origin, self.since, self.delivery.as_deref())
    }
}

impl SharedJob for Unlogged {
    fn size(&self) -> usize {
        self.event.name.len() + self.event.arguments.size()
    }

    fn since(&self) -> Instant {
        self.since
    }

    fn run(self: Arc<Self>, shard: &Rc<Shard>) {
        let began = Instant::now();
        let name = self.order.namespace();
        let Some(namespace) = shard.found_namespace(name) else {
            return end(shard, &*self, 0, began.elapsed());
        };
        let offset = self.order.handed(shard.index());
        let (packet, kind) = encode_event(name, &self.event, offset);
        let packet = shard.node().outbox_memory().share(packet).parcel();
        let volatile = self.selection.flags.volatile;
        let place = offset.map(|it| it.position);
        let reach = move |socket: &Socket| socket.push_unlogged(&packet, kind, volatile, place);
        send(shard, namespace, self, began, reach);
    }
}

impl Told for Unlogged {
    fn selection(&self) -> &Selection {
        &self.selection
    }

    fn end(&self, shard: &Rc<Shard>, recipients: u64) {
        if shard.traces().has_rooms() {
            let name = self.order.namespace();
            let (packet, _) = encode_event(name, &self.event, self.order.handed(shard.index()));
            shard.trace_broadcast(name, &self.selection, &packet, recipients);
        }
    }

    fn order(&self) -> &Arc<Order> {
        &self.order
    }

    fn facts(&self) -> (Origin, Instant, Option<&Delivery>) {
        (self.origin, self.since, self.delivery.as_deref())
    }
}

/// What all events of a namespace with recovery have.
trait Told {
    fn selection(&self) -> &Selection;

    /// All of a shard have it who are to.
    fn end(&self, shard: &Rc<Shard>, recipients: u64);

    fn order(&self) -> &Arc<Order>;

    /// Where it came from, when, and its span.
    fn facts(&self) -> (Origin, Instant, Option<&Delivery>);
}

/// An event on its way to those of one shard.
struct Errand<T, R> {
    event: Arc<T>,
    reach: R,
}

impl<T: Told, R: Fn(&Socket) -> bool> walk::Errand for Errand<T, R> {
    fn reach(&self, socket: &Socket) -> bool {
        (self.reach)(socket)
    }

    fn end(&self, shard: &Rc<Shard>, _namespace: &Namespace, recipients: u64, took: Duration) {
        end(shard, &*self.event, recipients, took);
    }
}

/// Brings an event to those of a shard who are to have it, in several turns if they are many.
fn send<T: Told + 'static>(
    shard: &Rc<Shard>,
    namespace: Rc<Namespace>,
    event: Arc<T>,
    began: Instant,
    reach: impl Fn(&Socket) -> bool + 'static,
) {
    let selection = event.selection().clone();
    let errand = Errand { event, reach };
    walk::send(shard, namespace, &selection, began, errand);
}

fn end(shard: &Rc<Shard>, event: &impl Told, recipients: u64, took: Duration) {
    event.end(shard, recipients);
    shard.note_given(event.order());
    let name = event.order().namespace();
    let (origin, since, delivery) = event.facts();
    if shard.top().is_on() {
        shard.count_broadcast(name, event.selection(), origin, recipients);
    }
    let of = (&**name, origin, recipients);
    delivered(shard, delivery, of, since, took);
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
                shard.note_given(&order);
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

    fn rewound(&self, seat: Seat, number: u64, rewound: Rewound) {
        self.post(seat, move |shard| {
            if let Some(socket) = shard.seated(seat) {
                socket.rewound(number, rewound);
            }
        });
    }

    fn close(&self, namespace: &Arc<str>, whom: Whom, why: &'static str) {
        let Some(node) = self.0.upgrade() else {
            return;
        };
        let namespace = Arc::clone(namespace);
        node.run_everywhere(move |shard| {
            let socket = match &whom {
                Whom::Everybody => return close_all(shard, &namespace, why),
                Whom::Seat(seat) => shard.seated(*seat),
                Whom::Taken(sid, generation) => {
                    let found = SocketId::parse(sid);
                    let found = found.and_then(|id| shard.socket(&namespace, &id));
                    let is_before = |it: u64| it < *generation;
                    found.filter(|it| it.generation().is_some_and(is_before))
                }
            };
            if let Some(socket) = socket {
                socket.close_for_recovery(why);
            }
        });
    }
}
