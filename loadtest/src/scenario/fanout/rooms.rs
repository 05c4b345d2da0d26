//! Who is in which room, and when a message is done.

use std::sync::atomic::{AtomicU32, Ordering};

use crate::scenario::Share;

/// Clients by number: first all members, room by room in turn, then the publishers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Layout {
    /// How many rooms.
    pub(crate) rooms: usize,
    /// Members of each.
    pub(crate) members: usize,
}

impl Layout {
    /// All members and publishers.
    pub(crate) fn clients(&self) -> usize {
        self.rooms * (self.members + 1)
    }

    /// The room that a client is a member of; publishers are in none.
    pub(crate) fn room_of(&self, client: usize) -> Option<u32> {
        (client < self.rooms * self.members).then_some((client % self.rooms) as u32)
    }

    /// The client that publishes to a room.
    pub(crate) fn publisher(&self, room: u32) -> usize {
        self.rooms * self.members + room as usize
    }

    /// Spreads every room's members over the nodes.
    pub(crate) fn node(&self, client: usize) -> usize {
        match self.room_of(client) {
            Some(room) => client / self.rooms + room as usize,
            None => client - self.rooms * self.members,
        }
    }
}

/// One thread's members: how many of a room's messages in flight have reached them.
#[derive(Debug)]
pub(crate) struct Rooms {
    share: Share,
    layout: Layout,
    places: usize,
    /// By room.
    sequences: Vec<u32>,
    /// By room: its members on this thread.
    members: Vec<u32>,
    /// By room and place: how many of them have got the message.
    delivered: Vec<u32>,
}

impl Rooms {
    /// Nothing published yet.
    pub(crate) fn new(layout: Layout, share: Share, completions: &Completions) -> Self {
        let mut members = vec![0; layout.rooms];
        for client in 0..share.count(layout.clients()) {
            if let Some(room) = layout.room_of(share.global(client as u32)) {
                members[room as usize] += 1;
            }
        }
        for (room, &here) in members.iter().enumerate() {
            if here > 0 {
                completions.parts[room].fetch_add(1, Ordering::Relaxed);
            }
        }
        Self {
            share,
            layout,
            places: completions.places,
            sequences: vec![0; layout.rooms],
            members,
            delivered: vec![0; layout.rooms * completions.places],
        }
    }

    /// The rooms whose publisher is on this thread.
    pub(crate) fn published_here(&self) -> Vec<u32> {
        let rooms = 0..self.layout.rooms as u32;
        let here = |room: &u32| self.share.local(self.layout.publisher(*room)).is_some();
        rooms.filter(here).collect()
    }

    /// Numbers the next message.
    pub(crate) fn next_sequence(&mut self, room: u32) -> u32 {
        let sequence = &mut self.sequences[room as usize];
        *sequence += 1;
        *sequence - 1
    }

    /// Counts a delivery; whether it was the last one of this thread. Without a window nobody waits for that.
    pub(crate) fn delivered(&mut self, room: u32, sequence: u32) -> bool {
        if self.places == 0 {
            return false;
        }
        let place = room as usize * self.places + sequence as usize % self.places;
        self.delivered[place] += 1;
        if self.delivered[place] < self.members[room as usize] {
            return false;
        }
        self.delivered[place] = 0;
        true
    }
}

/// Shared by all threads: in how many of them a message is done. Each message in flight has a place of its own, as long
/// as the server does not let it fall [`ROOM_TO_SLIP`] windows behind.
#[derive(Debug)]
pub(crate) struct Completions {
    places: usize,
    /// By room: threads that have members.
    parts: Vec<AtomicU32>,
    /// By room and place: threads that are done.
    done: Vec<AtomicU32>,
}

/// Some servers do not keep the order of one client's events.
const ROOM_TO_SLIP: usize = 4;

impl Completions {
    /// For windows of that size.
    pub(crate) fn new(layout: Layout, window: usize) -> Self {
        let cells = |count: usize| (0..count).map(|_| AtomicU32::new(0)).collect();
        let places = window * ROOM_TO_SLIP;
        Self {
            places,
            parts: cells(layout.rooms),
            done: cells(layout.rooms * places),
        }
    }

    /// A thread is done with a message; whether it was the last one.
    pub(crate) fn part_done(&self, room: u32, sequence: u32) -> bool {
        let parts = self.parts[room as usize].load(Ordering::Relaxed);
        let done = &self.done[room as usize * self.places + sequence as usize % self.places];
        if done.fetch_add(1, Ordering::AcqRel) + 1 < parts {
            return false;
        }
        done.store(0, Ordering::Release);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_client_has_one_place() {
        let layout = Layout {
            rooms: 3,
            members: 4,
        };
        let mut members = [0; 3];
        for client in 0..12 {
            members[layout.room_of(client).unwrap() as usize] += 1;
        }
        assert_eq!(members, [4; 3]);
        for room in 0..3 {
            assert_eq!(layout.room_of(layout.publisher(room)), None);
            assert!(layout.publisher(room) < layout.clients());
        }
    }

    #[test]
    fn a_message_that_overtakes_another_is_done_alone() {
        let layout = Layout {
            rooms: 1,
            members: 2,
        };
        let completions = Completions::new(layout, 1);
        let share = Share {
            thread: 0,
            threads: 1,
        };
        let mut rooms = Rooms::new(layout, share, &completions);
        assert!(!rooms.delivered(0, 0));
        assert!(!rooms.delivered(0, 1));
        assert!(rooms.delivered(0, 1));
        assert!(rooms.delivered(0, 0));
    }

    #[test]
    fn members_of_a_room_are_on_all_nodes() {
        let layout = Layout {
            rooms: 3,
            members: 3,
        };
        let mut nodes: Vec<_> = (0..9)
            .filter(|&client| layout.room_of(client) == Some(1))
            .map(|client| layout.node(client) % 3)
            .collect();
        nodes.sort_unstable();
        assert_eq!(nodes, [0, 1, 2]);
    }

    #[test]
    fn a_message_is_done_when_the_last_member_of_the_last_thread_has_it() {
        let layout = Layout {
            rooms: 1,
            members: 4,
        };
        let completions = Completions::new(layout, 2);
        let share = |thread| Share { thread, threads: 2 };
        let mut threads = [0, 1].map(|thread| Rooms::new(layout, share(thread), &completions));
        for sequence in 0..5 {
            assert!(!threads[0].delivered(0, sequence));
            assert!(threads[0].delivered(0, sequence));
            assert!(!completions.part_done(0, sequence));
            assert!(!threads[1].delivered(0, sequence));
            assert!(threads[1].delivered(0, sequence));
            assert!(completions.part_done(0, sequence));
        }
    }
}
