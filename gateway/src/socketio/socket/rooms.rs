//! The rooms that a socket is in.

use std::rc::Rc;

use rustc_hash::FxHashSet;

use super::{Joined, Socket, State};

/// Up to so many rooms are looked for one by one; more are looked up in a set.
const FEW_ROOMS: usize = 8;

impl Socket {
    /// Joins rooms. It may be called before the client is accepted; a disconnected socket joins
    /// nothing. What other nodes publish may be missed for a moment: see
    /// [`join_everywhere`](Self::join_everywhere).
    pub fn join<R: AsRef<str>>(&self, rooms: impl IntoIterator<Item = R>) {
        self.catch_up();
        let mut known: Option<FxHashSet<Rc<str>>> = None;
        let mut joined = Vec::new();
        for (count, room) in rooms.into_iter().enumerate() {
            let room = room.as_ref();
            if count == FEW_ROOMS {
                known = Some(self.0.rooms.borrow().iter().cloned().collect());
            }
            let Some(known) = &mut known else {
                if !self.has_room(room) {
                    joined.extend(self.enter_room(room));
                }
                continue;
            };
            if !known.contains(room) && self.id().as_str() != room {
                let name = self.enter_room(room);
                joined.extend(name.clone());
                known.extend(name);
            }
        }
        self.tell_joined(&joined);
    }

    /// Joins rooms, and tells when everything that any node publishes to them reaches the socket.
    pub fn join_everywhere<R: AsRef<str>>(&self, rooms: impl IntoIterator<Item = R>) -> Joined {
        let mut joined = Joined::default();
        let rooms: Vec<R> = rooms.into_iter().collect();
        self.join(&rooms);
        if self.is_present() {
            for room in &rooms {
                joined.and(self.0.namespace.room_in_force(room.as_ref()));
            }
        }
        joined.and(self.0.namespace.in_force());
        joined.and_all(self.unwritten());
        joined
    }

    /// Leaves a room. Its own is not left before it disconnects.
    pub fn leave(&self, room: &str) {
        self.catch_up();
        if self.is_going() {
            return;
        }
        let mut rooms = self.0.rooms.borrow_mut();
        if let Some(position) = rooms.iter().position(|joined| **joined == *room) {
            rooms.swap_remove(position);
            drop(rooms);
            self.0.namespace.leave(room, self);
            self.tell_left(&[room]);
        }
    }

    /// Leaves rooms, at a cost that does not multiply with the rooms that it is in.
    pub(crate) fn leave_all<'a>(&self, rooms: impl ExactSizeIterator<Item = &'a str>) {
        if rooms.len() <= FEW_ROOMS {
            return rooms.for_each(|room| self.leave(room));
        }
        self.catch_up();
        if self.is_going() {
            return;
        }
        let named: FxHashSet<&str> = rooms.collect();
        let mut left = Vec::new();
        self.0.rooms.borrow_mut().retain(|room| {
            let stays = !named.contains(&**room);
            if !stays {
                self.0.namespace.leave(room, self);
                left.extend(named.get(&**room).copied());
            }
            stays
        });
        self.tell_left(&left);
    }

    /// Those of these different rooms that it is not in.
    pub(crate) fn not_in<'a>(&self, rooms: impl ExactSizeIterator<Item = &'a str>) -> Vec<&'a str> {
        if rooms.len() <= FEW_ROOMS {
            return rooms.filter(|room| !self.has_room(room)).collect();
        }
        let joined = self.0.rooms.borrow();
        let joined: FxHashSet<&str> = joined.iter().map(AsRef::as_ref).collect();
        let id = self.id();
        rooms
            .filter(|room| !joined.contains(room) && id.as_str() != *room)
            .collect()
    }

    /// The rooms that it is in, its own first.
    pub fn rooms(&self) -> Vec<String> {
        self.catch_up();
        let own = std::iter::once(self.id().to_string());
        own.chain(self.0.rooms.borrow().iter().map(|room| room.to_string()))
            .collect()
    }

    /// How many rooms it is in, its own not counted.
    pub fn room_count(&self) -> usize {
        self.catch_up();
        self.0.rooms.borrow().len()
    }

    /// Takes one of the `most` places for joins that await that they hold on every node.
    pub(crate) fn hold_join(&self, most: u32) -> Option<HeldJoin> {
        let mut extra = self.0.extra.borrow_mut();
        if extra.held_joins >= most {
            return None;
        }
        extra.held_joins += 1;
        Some(HeldJoin(self.clone()))
    }

    /// Whether it is in a room.
    pub fn is_in(&self, room: &str) -> bool {
        self.catch_up();
        self.has_room(room)
    }

    /// The same, as long as no walk is about to change that.
    pub(crate) fn has_room(&self, room: &str) -> bool {
        self.id().as_str() == room || self.0.rooms.borrow().iter().any(|joined| **joined == *room)
    }

    /// Whether it is in one of these rooms.
    pub(crate) fn is_in_any(&self, rooms: &FxHashSet<String>) -> bool {
        let joined = self.0.rooms.borrow();
        rooms.contains(self.id().as_str()) || joined.iter().any(|room| rooms.contains(&**room))
    }

    pub(super) fn join_one(&self, room: &str) {
        self.catch_up();
        if !self.has_room(room) {
            let joined = self.enter_room(room);
            self.tell_joined(joined.as_slice());
        }
    }

    /// Joins a room that it is not in; returns the room's shared name.
    fn enter_room(&self, room: &str) -> Option<Rc<str>> {
        self.catch_up();
        if self.is_going() {
            return None;
        }
        let joined: Rc<str> = match self.0.state.get() {
            State::Accepted | State::Connected => self.0.namespace.join(room, self),
            State::Connecting => room.into(),
            State::Disconnected => return None,
        };
        self.0.rooms.borrow_mut().push(Rc::clone(&joined));
        Some(joined)
    }
}

/// A place among the joins that a socket may await.
pub(crate) struct HeldJoin(Socket);

impl Drop for HeldJoin {
    fn drop(&mut self) {
        self.0.0.extra.borrow_mut().held_joins -= 1;
    }
}
