//! Broadcasts to so many sockets of a shard that the others get their turn meanwhile.
//!
//! ```text
//!   begun --> some of the selected in each turn --> all: it ends, and the next one goes on
//!                 |
//!                 +-- something else is about to be done to a socket that the walk has not come to:
//!                     an emit, an acknowledgement, a join, a leave, an end
//!                        --> the socket catches up: it gets the event first, out of turn
//! ```
//!
//! The walks of a shard go on one after the other, in the order in which they began. So a socket gets an event if it was
//! selected when the walk began, and it gets everything in the order in which it was emitted. `Socket::walked` says
//! how far a socket is: it has what came before, and who enters the namespace meanwhile has it as well.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Instant;

use adapter::Selection;
use rustc_hash::FxHashSet;

use crate::engine::shard::Shard;
use crate::socketio::namespace::{Namespace, Place, different};
use crate::socketio::socket::Socket;

/// Sockets that walks come to in one turn. What has more to come to is a walk.
const PART: usize = 1000;

/// Walks of a shard that are under way. If there is another one, the first is brought to its end.
const MAX_WALKS: usize = 16;

/// Up to so many names are looked for one by one; more are looked up in a set.
const FEW_NAMES: usize = 8;

/// What is done to each of many sockets.
pub(crate) trait Errand {
    /// Does it; whether the socket is one of the recipients.
    fn reach(&self, socket: &Socket) -> bool;

    /// It was done to all.
    fn end(&self, shard: &Rc<Shard>, namespace: &Namespace, recipients: u64);
}

/// One that is under way.
pub(super) struct Walk {
    namespace: Rc<Namespace>,
    /// Those of the namespace are numbered in their order.
    number: u32,
    rooms: Names,
    except: Names,
    place: RefCell<Place>,
    recipients: Cell<u64>,
    errand: Box<dyn Errand>,
}

/// Different names of rooms.
struct Names {
    all: Vec<String>,
    /// The same, if they are many.
    set: FxHashSet<String>,
}

impl Names {
    fn new(names: &[String]) -> Self {
        let all: Vec<String> = different(names).cloned().collect();
        let set = match all.len() > FEW_NAMES {
            true => all.iter().cloned().collect(),
            false => FxHashSet::default(),
        };
        Self { all, set }
    }

    /// Whether a socket is in one of these rooms.
    fn have(&self, socket: &Socket) -> bool {
        match self.set.is_empty() {
            true => self.all.iter().any(|room| socket.is_in(room)),
            false => socket.is_in_any(&self.set),
        }
    }
}

/// Does something to the selected sockets of a shard: now, or as a walk if they are many.
pub(crate) fn send(
    shard: &Rc<Shard>,
    namespace: Rc<Namespace>,
    selection: &Selection,
    began: Instant,
    errand: impl Errand + 'static,
) {
    if namespace.has_more(PART, selection) {
        shard.note_broadcast(began);
        return Walk::begin(shard, namespace, selection, Box::new(errand));
    }
    let mut recipients = 0;
    namespace.for_each(selection, |socket| {
        shard.reach(recipients);
        recipients += u64::from(errand.reach(socket));
    });
    shard.end_reaching(recipients);
    if recipients > 0 {
        shard.note_broadcast(began);
    }
    errand.end(shard, &namespace, recipients);
}

impl Walk {
    /// Begins one, which goes on in the turns of the shard.
    fn begin(
        shard: &Rc<Shard>,
        namespace: Rc<Namespace>,
        selection: &Selection,
        errand: Box<dyn Errand>,
    ) {
        while shard.walks().borrow().len() >= MAX_WALKS {
            shard.go_on_with_first(usize::MAX);
        }
        let mut walks = shard.walks().borrow_mut();
        let number = namespace.next_walk(walks.is_empty());
        walks.push_back(Rc::new(Self {
            number,
            namespace,
            rooms: Names::new(&selection.rooms),
            except: Names::new(&selection.except),
            place: RefCell::default(),
            recipients: Cell::new(0),
            errand,
        }));
        drop(walks);
        shard.set_walker(Some(Shard::go_on_walking));
    }

    /// Does it to a socket, if it is selected and was not come to before.
    fn reach(&self, socket: &Socket) {
        if socket.walked() >= self.number || !socket.is_of(&self.namespace) {
            return;
        }
        socket.set_walked(self.number);
        let is_selected = self.rooms.all.is_empty() || self.rooms.have(socket);
        if is_selected && !self.except.have(socket) && self.errand.reach(socket) {
            self.recipients.update(|count| count + 1);
        }
    }

    /// Goes on; returns how many it came to.
    fn go_on(&self, most: usize) -> usize {
        let rooms = &self.rooms.all;
        let mut place = self.place.borrow_mut();
        self.namespace
            .visit_some(rooms, &mut place, most, |socket| self.reach(socket))
    }

    fn is_over(&self) -> bool {
        self.place.borrow().is_behind(self.rooms.all.len())
    }
}

impl Shard {
    /// Goes on with walks as far as they have their turn.
    pub(crate) fn go_on_walking(self: &Rc<Self>) {
        let mut left = PART;
        while left > 0 && self.is_walking() {
            left = left.saturating_sub(self.go_on_with_first(left));
        }
    }

    /// Comes to at most about `most` sockets more, and at least to one if there is one; returns how many.
    fn go_on_with_first(self: &Rc<Self>, most: usize) -> usize {
        let first = self.walks().borrow().front().cloned();
        let Some(walk) = first else {
            self.set_walker(None);
            return most;
        };
        // What it queues is in order.
        self.set_walker(None);
        self.reach_crowd();
        let count = walk.go_on(most);
        self.end_reaching(count as u64);
        if walk.is_over() {
            self.walks().borrow_mut().pop_front();
            walk.errand
                .end(self, &walk.namespace, walk.recipients.get());
        }
        let is_left = !self.walks().borrow().is_empty();
        match is_left {
            true => drop(self.set_walker(Some(Self::go_on_walking))),
            false => self.note_all_given(),
        }
        count
    }

    fn catch_up(&self, sockets: &[Socket]) {
        let walks: Vec<Rc<Walk>> = self.walks().borrow().iter().cloned().collect();
        // What the walks queue themselves is in order.
        let walker = self.set_walker(None);
        for walk in walks {
            sockets.iter().for_each(|socket| walk.reach(socket));
        }
        self.set_walker(walker);
    }
}

impl Socket {
    /// Has walks come to it now, before something is done that they were before.
    pub(crate) fn catch_up(&self) {
        let shard = self.session().shard();
        if shard.is_walking() {
            shard.catch_up(std::slice::from_ref(self));
        }
    }

    /// Has walks come to the sockets of one session now.
    pub(crate) fn catch_up_all(sockets: &[Self]) {
        if let Some(first) = sockets.first() {
            first.session().shard().catch_up(sockets);
        }
    }
}
