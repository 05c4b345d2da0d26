//! Which rooms have members on a shard, as far as others have to know: an event that concerns nobody there is no mail
//! for it. Mail wakes a shard, and for an event to a few that is the dearest part.
//!
//! ```text
//!   a room of the shard -> one of many places, by its name -> how many rooms of the shard have that place
//! ```
//!
//! Rooms may share a place, so that a shard may be told of an event in vain. It is never left out in error: its own
//! thread notes a room before anybody can hear of the join. It may not have heard of a change that is under way, so it is
//! told of everything meanwhile ([`Everything`]).

use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};

use rustc_hash::FxHasher;

/// Places of a shard, of a byte each.
const PLACES: usize = 1 << 17;

/// Which rooms have members on one shard.
pub(crate) struct Whereabouts {
    /// Only the shard's thread writes.
    rooms: Box<[AtomicU8]>,
}

impl Default for Whereabouts {
    fn default() -> Self {
        Self {
            rooms: (0..PLACES).map(|_| AtomicU8::new(0)).collect(),
        }
    }
}

/// The place of a room.
pub(crate) fn place(namespace: &str, room: &str) -> usize {
    let mut hasher = FxHasher::default();
    (namespace, room).hash(&mut hasher);
    hasher.finish() as usize % PLACES
}

impl Whereabouts {
    /// A room of the calling shard begins.
    pub(crate) fn begin(&self, namespace: &str, room: &str) {
        let rooms = &self.rooms[place(namespace, room)];
        let count = rooms.load(Ordering::Relaxed);
        rooms.store(count.saturating_add(1), Ordering::SeqCst);
    }

    /// A room of the calling shard ends. Where there were too many to count there will always be some.
    pub(crate) fn end(&self, namespace: &str, room: &str) {
        let rooms = &self.rooms[place(namespace, room)];
        match rooms.load(Ordering::Relaxed) {
            u8::MAX => {}
            count => rooms.store(count.saturating_sub(1), Ordering::SeqCst),
        }
    }

    /// Whether a room of this place may have members on the shard.
    pub(crate) fn may_have(&self, place: usize) -> bool {
        self.rooms[place].load(Ordering::SeqCst) > 0
    }
}

/// As long as somebody holds one, the shards of a node are told of every event.
#[derive(Debug)]
pub(crate) struct Everything(Arc<AtomicUsize>);

impl Everything {
    /// Begins to; `held` is how many there are.
    pub(crate) fn begin(held: &Arc<AtomicUsize>) -> Self {
        held.fetch_add(1, Ordering::SeqCst);
        Self(Arc::clone(held))
    }
}

impl Drop for Everything {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_room_is_known_from_its_begin_to_its_end() {
        let whereabouts = Whereabouts::default();
        let knows = |room| whereabouts.may_have(place("/", room));
        assert!(!knows("a"));
        whereabouts.begin("/", "a");
        assert!(knows("a"));
        assert!(!whereabouts.may_have(place("/other", "a")));
        // Two rooms that share the place.
        whereabouts.begin("/", "a");
        whereabouts.end("/", "a");
        assert!(knows("a"));
        whereabouts.end("/", "a");
        assert!(!knows("a"));
    }

    #[test]
    fn who_cannot_be_counted_any_more_may_always_be_there() {
        let whereabouts = Whereabouts::default();
        for _ in 0..300 {
            whereabouts.begin("/", "a");
        }
        for _ in 0..300 {
            whereabouts.end("/", "a");
        }
        assert!(whereabouts.may_have(place("/", "a")));
    }

    #[test]
    fn many_rooms_leave_most_places_free() {
        let whereabouts = Whereabouts::default();
        for room in 0..10_000 {
            whereabouts.begin("/", &format!("room {room}"));
        }
        let others = (0..10_000).map(|room| place("/", &format!("other {room}")));
        let taken = others.filter(|place| whereabouts.may_have(*place)).count();
        assert!(taken < 1_500, "{taken}");
    }
}
