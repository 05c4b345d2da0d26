//! Rooms that sockets of other nodes were made to join a moment ago.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use adapter::Selection;

/// How long a node may take to subscribe to a room that it was told to join.
const SETTLING: Duration = Duration::from_secs(5);

/// Most rooms that are remembered.
const MAX_ROOMS: usize = 10_000;

/// What is emitted to a room right behind a [`ClusterMessage::Join`](adapter::ClusterMessage::Join) has to reach nodes that heard of
/// the room by it, and are only about to subscribe to it. They hear the channel of the
/// namespace in any case, and in the same order.
#[derive(Default)]
pub(super) struct RecentJoins {
    rooms: HashMap<Key, Instant>,
    /// In the order of the joins; the time tells whether it is the last one of that room.
    order: VecDeque<(Key, Instant)>,
    /// The other nodes cannot be heard: what was published is still to be sent.
    is_away: bool,
    /// Since when they are heard again.
    back: Option<Instant>,
}

type Key = Arc<(String, String)>;

impl RecentJoins {
    /// Sockets were told to join `rooms`.
    pub(super) fn add(&mut self, namespace: &str, rooms: &[String], now: Instant) {
        for room in rooms {
            let key = Key::new((namespace.to_owned(), room.clone()));
            self.rooms.insert(Arc::clone(&key), now);
            self.order.push_back((key, now));
        }
        while let Some((key, at)) = self.order.front() {
            if self.order.len() <= MAX_ROOMS && self.is_recent(*at, now) {
                break;
            }
            if self.rooms.get(key) == Some(at) {
                self.rooms.remove(key);
            }
            self.order.pop_front();
        }
    }

    /// Whether a broadcast is to a room that sockets of other nodes may have joined a moment ago, so that
    /// their nodes hear only the channel of the namespace.
    pub(super) fn concern(&self, namespace: &str, selection: &Selection, now: Instant) -> bool {
        let Some(room) = selection.only_room() else {
            return false;
        };
        if self.rooms.is_empty() {
            return false;
        }
        let at = self.rooms.get(&(namespace.to_owned(), room.to_owned()));
        at.is_some_and(|at| self.is_recent(*at, now))
    }

    /// The other nodes are heard again, or not any more.
    pub(super) fn handle_up(&mut self, up: bool, now: Instant) {
        self.is_away = !up;
        if up {
            self.back = Some(now);
        }
    }

    fn is_recent(&self, at: Instant, now: Instant) -> bool {
        let since = self.back.map_or(at, |back| back.max(at));
        self.is_away || now < since + SETTLING
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn to(room: &str) -> Selection {
        Selection::everybody().to(room)
    }

    #[test]
    fn a_room_goes_by_the_namespace_for_a_while_after_a_join() {
        let mut recent = RecentJoins::default();
        let start = Instant::now();
        recent.add("/", &["r".to_owned()], start);
        assert!(recent.concern("/", &to("r"), start));
        assert!(!recent.concern("/", &to("other"), start));
        assert!(!recent.concern("/chat", &to("r"), start));
        // Several rooms go by the channel of the namespace in any case.
        assert!(!recent.concern("/", &to("r").to("s"), start));
        assert!(!recent.concern("/", &to("r"), start + SETTLING));
    }

    #[test]
    fn time_while_the_others_are_away_does_not_count() {
        let mut recent = RecentJoins::default();
        let start = Instant::now();
        recent.add("/", &["r".to_owned()], start);
        recent.handle_up(false, start);
        let back = start + SETTLING * 3;
        assert!(recent.concern("/", &to("r"), back));
        recent.handle_up(true, back);
        assert!(recent.concern("/", &to("r"), back + SETTLING / 2));
        assert!(!recent.concern("/", &to("r"), back + SETTLING));
    }

    #[test]
    fn rooms_are_forgotten() {
        let mut recent = RecentJoins::default();
        let start = Instant::now();
        for number in 0..2 * MAX_ROOMS {
            recent.add("/", &[number.to_string()], start);
        }
        assert_eq!(recent.rooms.len(), MAX_ROOMS);
        recent.add("/", &["r".to_owned()], start + SETTLING);
        assert_eq!((recent.rooms.len(), recent.order.len()), (1, 1));
    }
}
