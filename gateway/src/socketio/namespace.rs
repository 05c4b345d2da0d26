//! The sockets of a namespace on one shard, and the rooms that they are in.

use std::borrow::Borrow;
use std::cell::{Cell, RefCell};
use std::hash::{Hash, Hasher};
use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;

use adapter::{Adapter, InForce, Interest, Selection};
use indexmap::{IndexMap, IndexSet};
use rustc_hash::FxBuildHasher;

use crate::net::ids::SocketId;
use crate::presence::Watch;
use crate::socketio::socket::{Joined, Socket};
use crate::trace::What;

mod looks;

/// The number before that of the first walk. In tests numbers are few, so that it is tried how they begin anew.
const BEFORE_FIRST_WALK: u32 = match cfg!(debug_assertions) {
    true => LAST_WALK - 60,
    false => 0,
};

/// Behind this number of a walk they should begin anew.
const LAST_WALK: u32 = u32::MAX / 2;

/// A namespace with at least one client on this shard.
pub(crate) struct Namespace {
    name: Arc<str>,
    /// Sockets that were accepted, by their id.
    sockets: RefCell<IndexSet<ById>>,
    /// In places, so that they can be looked at some at a time.
    rooms: RefCell<IndexMap<Rc<str>, Room>>,
    last_stamp: Cell<u32>,
    last_walk: Cell<u32>,
    /// The round of the shard in which all were last written an event.
    reached: Cell<u16>,
    /// Sockets that are in it or wait to be accepted.
    used: Cell<usize>,
    /// What other nodes publish is asked for here; `None` if this node stands alone.
    adapter: Option<Arc<dyn Adapter>>,
    /// Lets what other nodes publish to the whole namespace reach this node.
    interest: Option<Interest>,
    /// Who wants to know who comes and goes; `None` if nobody does.
    watch: Option<Box<Watch>>,
}

/// A room with at least one member on this shard.
struct Room {
    members: IndexSet<Socket, FxBuildHasher>,
    /// The round of the shard in which they were last written an event together.
    reached: Cell<u16>,
    /// Lets what other nodes publish to it reach this node.
    interest: Option<Box<Interest>>,
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
    pub(crate) fn new(name: &str, adapter: Option<Arc<dyn Adapter>>, watch: Option<Watch>) -> Self {
        Self {
            interest: adapter.as_ref().map(|it| it.open_namespace(name)),
            adapter,
            name: name.into(),
            sockets: RefCell::default(),
            rooms: RefCell::default(),
            last_stamp: Cell::new(0),
            last_walk: Cell::new(BEFORE_FIRST_WALK),
            reached: Cell::new(0),
            used: Cell::new(0),
            watch: watch.map(Box::new),
        }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The same for what is sent to other threads.
    pub(crate) fn shared_name(&self) -> Arc<str> {
        Arc::clone(&self.name)
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
        // What was emitted before is not for it.
        socket.set_walked(self.last_walk.get());
        self.sockets
            .borrow_mut()
            .insert(ById(socket.clone(), socket.id()));
        if let Some(watch) = &self.watch {
            watch.entered();
        }
    }

    pub(crate) fn exit(&self, socket: &Socket) {
        let mut sockets = self.sockets.borrow_mut();
        let removed = sockets.swap_remove(&socket.id());
        if sockets.len() * 4 < sockets.capacity() {
            sockets.shrink_to_fit();
        }
        drop(sockets);
        debug_assert!(removed);
        if let Some(watch) = &self.watch {
            watch.exited();
        }
    }

    /// The socket of this id.
    pub(crate) fn socket(&self, id: &SocketId) -> Option<Socket> {
        self.sockets.borrow().get(id).map(|found| found.0.clone())
    }

    /// Adds a member; the room begins with its first. Returns the name that all members share.
    pub(crate) fn join(&self, room: &str, socket: &Socket) -> Rc<str> {
        if socket.session().shard().traces().is_any() {
            socket.trace_room(What::Joined, room);
        }
        if socket.session().shard().show().is_on() {
            socket.show_room("room_joined", room);
        }
        if let Some(watch) = &self.watch {
            watch.joined(room);
        }
        let mut rooms = self.rooms.borrow_mut();
        if let Some((_, name, room)) = rooms.get_full_mut(room) {
            room.members.insert(socket.clone());
            return Rc::clone(name);
        }
        let name: Rc<str> = room.into();
        let opened = Room {
            members: IndexSet::from_iter([socket.clone()]),
            reached: Cell::new(0),
            interest: self.open_room(room).map(Box::new),
        };
        let shard = socket.session().shard();
        shard.whereabouts().begin(&self.name, room);
        rooms.insert(Rc::clone(&name), opened);
        name
    }

    /// Lets what other nodes publish to a room reach this node while the interest is kept; `None` if
    /// there are no other nodes.
    pub(crate) fn open_room(&self, room: &str) -> Option<Interest> {
        let adapter = self.adapter.as_ref()?;
        Some(adapter.open_room(&self.name, room))
    }

    /// What has to be in force for everything to be heard that other nodes publish to a room with
    /// members here, beside [`in_force`](Self::in_force).
    pub(crate) fn room_in_force(&self, room: &str) -> Option<InForce> {
        let rooms = self.rooms.borrow();
        let interest = rooms.get(room)?.interest.as_deref()?;
        Some(interest.in_force())
    }

    /// What has to be in force for everything to be heard that other nodes publish to the whole
    /// namespace or to several rooms.
    pub(crate) fn in_force(&self) -> Option<InForce> {
        self.interest.as_ref().map(Interest::in_force)
    }

    /// The same for everything that they publish to those of `rooms` that have members here.
    pub(crate) fn all_in_force(&self, rooms: &[String]) -> Joined {
        let mut joined = Joined::default();
        joined.and(self.in_force());
        for room in rooms {
            joined.and(self.room_in_force(room));
        }
        joined
    }

    /// Whether the other nodes can be heard now.
    pub(crate) fn is_up(&self) -> bool {
        self.adapter.as_ref().is_none_or(|it| it.is_up())
    }

    /// Removes a member; the room ends with its last.
    pub(crate) fn leave(&self, room: &str, socket: &Socket) {
        if socket.session().shard().traces().is_any() {
            socket.trace_room(What::Left, room);
        }
        if socket.session().shard().show().is_on() {
            socket.show_room("room_left", room);
        }
        let mut rooms = self.rooms.borrow_mut();
        let Some(Room { members, .. }) = rooms.get_mut(room) else {
            return;
        };
        let was_member = members.swap_remove(socket);
        if let Some(watch) = self.watch.as_ref().filter(|_| was_member) {
            watch.left(room);
        }
        if members.is_empty() {
            rooms.swap_remove(room);
            let shard = socket.session().shard();
            shard.whereabouts().end(&self.name, room);
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
            if let Some(room) = rooms.get(room) {
                room.members.iter().for_each(visit);
            }
        };
        for room in different(&selection.except) {
            for_each_member(room, &mut |socket| {
                socket.stamp(stamp);
            });
        }
        if selection.rooms.is_empty() {
            sockets
                .iter()
                .filter(|socket| socket.0.stamp(stamp))
                .for_each(|socket| visit(&socket.0));
        }
        for room in different(&selection.rooms) {
            for_each_member(room, &mut |socket| {
                if socket.stamp(stamp) {
                    visit(socket);
                }
            });
        }
    }

    /// Whether a selection may be of more than `most`: so many members are in its rooms, or it names so many. If it is of
    /// all, so many sockets are here.
    pub(crate) fn has_more(&self, most: usize, selection: &Selection) -> bool {
        if self.len() <= most {
            return false;
        }
        if selection.rooms.len() > most {
            return true;
        }
        let names = selection.rooms.iter().chain(&selection.except);
        selection.rooms.is_empty() || self.have_more(most, names)
    }

    /// Whether so many members are in these rooms.
    fn have_more<'a>(&self, most: usize, mut names: impl Iterator<Item = &'a String>) -> bool {
        let rooms = self.rooms.borrow();
        let mut count = 0;
        names.any(|name| {
            count += rooms.get(&**name).map_or(0, |room| room.members.len());
            count > most
        })
    }

    /// The sockets of these rooms, each once or more; `None` if they are more than so many.
    pub(crate) fn few_of(&self, rooms: &[String], most: usize) -> Option<Vec<Socket>> {
        if rooms.len() > most || self.have_more(most, rooms.iter()) {
            return None;
        }
        let (mut found, mut place) = (Vec::new(), Place::default());
        while !rooms.is_empty() && !place.is_behind(rooms.len()) {
            let all = usize::MAX;
            self.visit_some(rooms, &mut place, all, |it| found.push(it.clone()));
        }
        Some(found)
    }

    /// Whether all in these rooms that were there, or all sockets if these are none, were written an event in a round.
    pub(crate) fn was_reached(&self, rooms: &[String], round: u16) -> bool {
        if rooms.is_empty() {
            return self.reached.get() == round;
        }
        let opened = self.rooms.borrow();
        let mut found = rooms.iter().filter_map(|name| opened.get(&**name));
        // It is not known of sockets in no room but their own.
        let mut are_some = false;
        found.all(|room| {
            are_some = true;
            room.reached.get() == round
        }) && are_some
    }

    /// All in these rooms, or all sockets if these are none, are written an event in a round.
    pub(crate) fn set_reached(&self, rooms: &[String], round: u16) {
        if rooms.is_empty() {
            self.reached.set(round);
        }
        let opened = self.rooms.borrow();
        let found = rooms.iter().filter_map(|name| opened.get(&**name));
        found.for_each(|room| room.reached.set(round));
    }

    /// The last number of a walk so far.
    pub(crate) fn last_walk(&self) -> u32 {
        self.last_walk.get()
    }

    /// Whether the numbers of walks should begin anew.
    pub(crate) fn has_few_numbers(&self) -> bool {
        self.last_walk.get() > LAST_WALK
    }

    /// A number that no walk has, higher than those before. `none`: no other is under way.
    pub(crate) fn next_walk(&self, none: bool) -> u32 {
        if none && self.has_few_numbers() {
            let sockets = self.sockets.borrow();
            sockets.iter().for_each(|socket| socket.0.set_walked(0));
            self.last_walk.set(0);
        }
        self.last_walk.update(|last| last + 1);
        self.last_walk.get()
    }

    /// Calls `visit` with at most about `most` of those who are in `rooms`, or of all if there are none, and goes on
    /// where it ended before. Returns how many those were. Who came or left meanwhile may be visited, or twice.
    pub(crate) fn visit_some(
        &self,
        rooms: &[String],
        place: &mut Place,
        most: usize,
        mut visit: impl FnMut(&Socket),
    ) -> usize {
        let sockets = self.sockets.borrow();
        if rooms.is_empty() {
            let part = place.next_part(sockets.len(), most);
            let count = part.len();
            let part = part.rev().filter_map(|at| sockets.get_index(at));
            part.for_each(|socket| visit(&socket.0));
            place.room = usize::from(place.left == Some(0));
            return count;
        }
        let opened = self.rooms.borrow();
        let mut count = 0;
        while count < most
            && let Some(name) = rooms.get(place.room)
        {
            count += 1;
            if place.left.is_none()
                && let Some(own) = SocketId::parse(name).and_then(|id| sockets.get(&id))
            {
                visit(&own.0);
            }
            let members = opened.get(&**name).map(|room| &room.members);
            let part = place.next_part(members.map_or(0, IndexSet::len), most - count + 1);
            count += part.len();
            if let Some(members) = members {
                let part = part.rev().filter_map(|at| members.get_index(at));
                part.for_each(&mut visit);
            }
            if place.left == Some(0) {
                *place = Place::at(place.room + 1);
            }
        }
        count
    }

    /// How many members a room has on this shard.
    pub(crate) fn members(&self, room: &str) -> Option<usize> {
        Some(self.rooms.borrow().get(room)?.members.len())
    }

    /// The selected sockets, for a caller that changes them.
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

/// How far a walk has come. It goes backwards: who leaves gives its place to the last one, which was visited already or
/// is the next; who comes is behind.
#[derive(Debug, Default)]
pub(crate) struct Place {
    /// Which of the rooms, or 1 behind the whole namespace.
    room: usize,
    /// How many of it are left; `None` before the first.
    left: Option<usize>,
}

impl Place {
    fn at(room: usize) -> Self {
        Self { room, left: None }
    }

    /// Whether it is behind so many rooms, of which none are all.
    pub(crate) fn is_behind(&self, rooms: usize) -> bool {
        self.room >= rooms.max(1)
    }

    /// The next of `len`.
    fn next_part(&mut self, len: usize, most: usize) -> Range<usize> {
        let left = self.left.map_or(len, |left| left.min(len));
        let until = left.saturating_sub(most);
        self.left = Some(until);
        until..left
    }
}

/// Each of these names once: a peer may name a room with many members many times.
pub(crate) fn different(names: &[String]) -> impl Iterator<Item = &String> {
    let mut seen = (names.len() > 1).then(rustc_hash::FxHashSet::default);
    names
        .iter()
        .filter(move |name| seen.as_mut().is_none_or(|seen| seen.insert(*name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Walks through a set in parts of `most`, and has `change` happen to it after each. Returns who was visited.
    fn walked(
        set: &mut IndexSet<u32>,
        most: usize,
        mut change: impl FnMut(&mut IndexSet<u32>),
    ) -> Vec<u32> {
        let (mut place, mut visited) = (Place::default(), Vec::new());
        while place.left != Some(0) {
            let part = place.next_part(set.len(), most);
            assert!(part.len() <= most);
            visited.extend(part.rev().filter_map(|at| set.get_index(at)));
            change(set);
        }
        visited
    }

    #[test]
    fn a_walk_comes_to_all_that_stay_whoever_comes_and_leaves() {
        for most in [1, 3, 7, 100] {
            for leaves in 0..60 {
                let mut set: IndexSet<u32> = (0..60).collect();
                let mut number = 0;
                let mut visited = walked(&mut set, most, |set| {
                    set.swap_remove(&((leaves + number * 7) % 60));
                    set.insert(100 + number);
                    set.insert(200 + number);
                    set.swap_remove(&(100 + number));
                    number += 1;
                });
                visited.sort_unstable();
                let stayed = set.iter().filter(|it| **it < 60);
                for one in stayed {
                    assert!(visited.binary_search(one).is_ok(), "{one} of {most}");
                }
            }
        }
    }
}
