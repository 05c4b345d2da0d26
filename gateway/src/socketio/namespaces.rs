//! The namespaces of a shard: Socket.IO's half of it.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;

use indexmap::IndexMap;

use crate::config::Pattern;
use crate::engine::node::Node;
use crate::engine::shard::Shard;
use crate::engine::turns::Backwards;
use crate::net::ids::SocketId;
use crate::recovery::{Order, Seat};
use crate::show;
use crate::socketio::namespace::Namespace;
use crate::socketio::socket::Socket;
use crate::socketio::walk::Walk;
use crate::users::Permit;

/// The label of namespaces that the configuration does not name.
const OTHER_NAMESPACE: &str = "other";

/// The namespaces that have a socket on a shard, by their names.
#[derive(Default)]
pub(crate) struct Namespaces {
    by_name: RefCell<IndexMap<Rc<str>, Rc<Namespace>>>,
    /// Sockets of namespaces with recovery.
    seats: RefCell<HashMap<Seat, Socket>>,
    /// The sockets that count as connections of their users.
    permits: RefCell<HashMap<SocketId, Rc<Permit>>>,
    /// Broadcasts and changes on their way, in their order.
    walks: RefCell<VecDeque<Rc<Walk>>>,
    /// One of them changes a socket now.
    is_in_change: Cell<bool>,
    /// Orders of which something was handed here while walks were under way.
    lagging: RefCell<Vec<Arc<Order>>>,
}

impl Shard {
    fn namespaces(&self) -> &RefCell<IndexMap<Rc<str>, Rc<Namespace>>> {
        &self.half::<Namespaces>().by_name
    }

    /// Broadcasts and changes that are on their way to some.
    pub(super) fn walks(&self) -> &RefCell<VecDeque<Rc<Walk>>> {
        &self.half::<Namespaces>().walks
    }

    /// Whether one of them changes a socket now, and called this.
    pub(super) fn is_in_change(&self) -> bool {
        self.half::<Namespaces>().is_in_change.get()
    }

    /// Returns whether that was so before.
    pub(super) fn set_in_change(&self, is_in_change: bool) -> bool {
        let now = &self.half::<Namespaces>().is_in_change;
        now.replace(is_in_change)
    }

    /// What was handed here of an order is given to those who are to have it, unless a walk is under way. Runs have
    /// nothing to do with orders.
    pub(super) fn note_given(&self, order: &Arc<Order>) {
        if self.walks().borrow().iter().all(|it| it.is_run()) {
            return order.set_given(self.index());
        }
        let mut lagging = self.half::<Namespaces>().lagging.borrow_mut();
        if !lagging.iter().any(|it| Arc::ptr_eq(it, order)) {
            lagging.push(Arc::clone(order));
        }
    }

    /// All walks came to their end that are no runs.
    pub(super) fn note_all_given(&self) {
        for order in self.half::<Namespaces>().lagging.take() {
            order.set_given(self.index());
        }
    }

    /// The namespace of this name, if it has a socket here.
    pub(crate) fn found_namespace(&self, name: &str) -> Option<Rc<Namespace>> {
        self.namespaces().borrow().get(name).cloned()
    }

    /// All namespaces that have a socket here.
    pub(crate) fn all_namespaces(&self) -> Vec<Rc<Namespace>> {
        self.namespaces().borrow().values().cloned().collect()
    }

    /// The namespace of this name; it begins with its first socket.
    /// With `is_kept` a keeper sees to what other nodes publish.
    pub(crate) fn namespace(&self, name: &str, is_kept: bool) -> Rc<Namespace> {
        if let Some(namespace) = self.found_namespace(name) {
            return namespace;
        }
        let cluster = self.node().cluster().filter(|_| !is_kept);
        let adapter = cluster.map(|cluster| Arc::clone(cluster.adapter()));
        let node = self.node();
        // Admin pages are no users.
        let is_of_pages = node.config().admin.is_some() && name == show::NAMESPACE;
        let presence = node.presence().filter(|_| !is_of_pages);
        let watch = presence.map(|presence| presence.watch(name));
        let namespace = Rc::new(Namespace::new(name, adapter, watch));
        let mut namespaces = self.namespaces().borrow_mut();
        namespaces.insert(name.into(), Rc::clone(&namespace));
        namespace
    }

    /// What a socket counts as, if it does.
    pub(crate) fn permit(&self, socket: &SocketId) -> Option<Rc<Permit>> {
        self.half::<Namespaces>()
            .permits
            .borrow()
            .get(socket)
            .cloned()
    }

    /// A socket counts from now on.
    pub(crate) fn set_permit(&self, socket: SocketId, permit: Rc<Permit>) {
        let permits = &self.half::<Namespaces>().permits;
        permits.borrow_mut().insert(socket, permit);
    }

    /// A socket is gone. Most count as nothing.
    pub(crate) fn drop_permit(&self, socket: &SocketId) {
        let mut permits = self.half::<Namespaces>().permits.borrow_mut();
        if permits.is_empty() {
            return;
        }
        permits.remove(socket);
        if permits.len() * 4 < permits.capacity() {
            permits.shrink_to_fit();
        }
    }

    /// Keeps a socket of a namespace with recovery until it is gone.
    pub(crate) fn seat(&self, seat: Seat, socket: &Socket) {
        let seats = &self.half::<Namespaces>().seats;
        seats.borrow_mut().insert(seat, socket.clone());
    }

    /// The socket of this seat.
    pub(crate) fn seated(&self, seat: Seat) -> Option<Socket> {
        let seats = &self.half::<Namespaces>().seats;
        seats.borrow().get(&seat).cloned()
    }

    /// A socket is gone.
    pub(crate) fn unseat(&self, seat: Seat) {
        let seats = &self.half::<Namespaces>().seats;
        seats.borrow_mut().remove(&seat);
    }

    /// Ends a namespace that no socket is in.
    pub(crate) fn tidy_namespace(&self, name: &str) {
        let mut namespaces = self.namespaces().borrow_mut();
        if namespaces
            .get(name)
            .is_some_and(|namespace| namespace.is_unused())
        {
            namespaces.swap_remove(name);
        }
    }

    /// The namespace of the next place of a walk over all that have a socket here.
    pub(crate) fn next_namespace(&self, walk: &mut Backwards) -> Option<Rc<Namespace>> {
        let namespaces = self.namespaces().borrow();
        let place = walk.next(namespaces.len(), 1).next()?;
        let (_, namespace) = namespaces.get_index(place)?;
        Some(Rc::clone(namespace))
    }

    /// A socket of this shard.
    pub(crate) fn socket(&self, namespace: &str, id: &SocketId) -> Option<Socket> {
        self.found_namespace(namespace)?.socket(id)
    }
}

impl Node {
    /// The values of the metric label `namespace`: the configured names and patterns, and one for
    /// what an application of its own adds.
    pub(crate) fn namespace_labels(&self) -> impl Iterator<Item = &str> {
        self.config()
            .namespaces
            .iter()
            .map(Pattern::as_str)
            .chain([OTHER_NAMESPACE])
    }

    /// The label that a namespace is counted under.
    pub(crate) fn namespace_label(&self, namespace: &str) -> &str {
        let mut patterns = self.config().namespaces.iter();
        patterns
            .find(|pattern| pattern.matches(namespace))
            .map_or(OTHER_NAMESPACE, Pattern::as_str)
    }
}
