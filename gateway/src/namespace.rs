//! The sockets of a namespace on one shard, and the rooms that they are in.

use std::borrow::Borrow;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::hash::{Hash, Hasher};
use std::rc::Rc;

use indexmap::IndexSet;
use rustc_hash::FxBuildHasher;

use crate::ids::SocketId;
use crate::selection::Selection;
use crate::socket::Socket;

/// A namespace with at least one client on this shard.
pub(crate) struct Namespace {
    name: Rc<str>,
    /// Sockets that were accepted, by their id.
    sockets: RefCell<IndexSet<ById>>,
    rooms: RefCell<HashMap<Rc<str>, IndexSet<Socket, FxBuildHasher>>>,
    last_stamp: Cell<u32>,
    /// Sockets that are in it or wait to be accepted.
    used: Cell<usize>,
}

/// A socket that is found by its id, which clients choose in requests: hashed with a random key.
struct ById(Socket, SocketId);

impl Borrow<SocketId> for ById {
    fn borrow(&self) -> &SocketId {
        &self.1
    }
}

impl Hash for ById {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.1.hash(state);
    }
}

impl PartialEq for ById {
    fn eq(&self, other: &Self) -> bool {
        self.1 == other.1
    }
}

impl Eq for ById {}

impl Namespace {
    pub(crate) fn new(name: &str) -> Self {
        Self {
            name: name.into(),
            sockets: RefCell::default(),
            rooms: RefCell::default(),
            last_stamp: Cell::new(0),
            used: Cell::new(0),
        }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// A socket is there, if only waiting to be accepted.
    pub(crate) fn hold(&self) {
        self.used.set(self.used.get() + 1);
    }

    /// A socket is gone.
    pub(crate) fn release(&self) {
        self.used.set(self.used.get() - 1);
    }

    /// Whether no socket is there.
    pub(crate) fn is_unused(&self) -> bool {
        self.used.get() == 0
    }

    pub(crate) fn len(&self) -> usize {
        self.sockets.borrow().len()
    }

    pub(crate) fn room_count(&self) -> usize {
        self.rooms.borrow().len()
    }

    pub(crate) fn enter(&self, socket: &Socket) {
        self.sockets
            .borrow_mut()
            .insert(ById(socket.clone(), socket.id()));
    }

    pub(crate) fn exit(&self, socket: &Socket) {
        let mut sockets = self.sockets.borrow_mut();
        let removed = sockets.swap_remove(&socket.id());
        if sockets.len() * 4 < sockets.capacity() {
            sockets.shrink_to_fit();
        }
        drop(sockets);
        debug_assert!(removed);
    }

    /// Adds a member; the room begins with its first. Returns the name that all members share.
    pub(crate) fn join(&self, room: &str, socket: &Socket) -> Rc<str> {
        let mut rooms = self.rooms.borrow_mut();
        if let Some((name, _)) = rooms.get_key_value(room) {
            let name = Rc::clone(name);
            if let Some(members) = rooms.get_mut(room) {
                members.insert(socket.clone());
            }
            return name;
        }
        let name: Rc<str> = room.into();
        let members = IndexSet::from_iter([socket.clone()]);
        rooms.insert(Rc::clone(&name), members);
        name
    }

    /// Removes a member; the room ends with its last.
    pub(crate) fn leave(&self, room: &str, socket: &Socket) {
        let mut rooms = self.rooms.borrow_mut();
        let Some(members) = rooms.get_mut(room) else {
            return;
        };
        members.swap_remove(socket);
        if members.is_empty() {
            rooms.remove(room);
            if rooms.len() * 4 < rooms.capacity() {
                rooms.shrink_to_fit();
            }
        } else if members.len() * 4 < members.capacity() {
            members.shrink_to_fit();
        }
    }

    /// Calls `visit` once for each selected socket. `visit` must not join, leave or disconnect.
    pub(crate) fn for_each(&self, selection: &Selection, mut visit: impl FnMut(&Socket)) {
        let stamp = self.next_stamp();
        let sockets = self.sockets.borrow();
        let rooms = self.rooms.borrow();
        let for_each_member = |room: &str, visit: &mut dyn FnMut(&Socket)| {
            if let Some(own) = SocketId::parse(room).and_then(|id| sockets.get(&id)) {
                visit(&own.0);
            }
            for member in rooms.get(room).into_iter().flatten() {
                visit(member);
            }
        };
        for room in selection.excepted() {
            for_each_member(room, &mut |socket| {
                socket.stamp(stamp);
            });
        }
        if selection.rooms().is_empty() {
            sockets
                .iter()
                .filter(|socket| socket.0.stamp(stamp))
                .for_each(|socket| visit(&socket.0));
        }
        for room in selection.rooms() {
            for_each_member(room, &mut |socket| {
                if socket.stamp(stamp) {
                    visit(socket);
                }
            });
        }
    }

    /// The selected sockets, for whoever changes them.
    pub(crate) fn select(&self, selection: &Selection) -> Vec<Socket> {
        let mut selected = Vec::new();
        self.for_each(selection, |socket| selected.push(socket.clone()));
        selected
    }

    /// A stamp that no socket carries.
    fn next_stamp(&self) -> u32 {
        let stamp = self.last_stamp.get().wrapping_add(1);
        if stamp == 0 {
            for socket in self.sockets.borrow().iter() {
                socket.0.stamp(0);
            }
            self.last_stamp.set(1);
            return 1;
        }
        self.last_stamp.set(stamp);
        stamp
    }
}
