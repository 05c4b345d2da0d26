//! Rooms that the sockets of a keeper join and leave.

use std::collections::BTreeSet;
use std::sync::Arc;

use adapter::Latch;
use adapter::recovery::{Change, LogName, Position};

use super::Seat;
use super::keeper::{Joining, Keeper, Pending};
use super::seats::Stage;

impl Keeper {
    /// Writes the joins of a socket whose interests are in force.
    pub(super) fn go_on_joining(&mut self, seat: Seat) {
        let mut waiting = Vec::new();
        for joining in self.joining.remove(&seat).unwrap_or_default() {
            let logs: Vec<_> = joining.rooms.iter().cloned().map(LogName::Room).collect();
            if self.wait_for(seat, logs.iter()) {
                waiting.push(joining);
                continue;
            }
            // What was left meanwhile is left.
            let rooms = joining.rooms.iter();
            let rooms = rooms.filter(|room| self.is_open(&LogName::Room(Arc::clone(room))));
            let change = Change::Join(rooms.cloned().collect());
            let pending = Pending::Join {
                seat,
                rooms: joining.rooms,
                written: joining.written,
            };
            self.write(seat, change, pending);
        }
        if !waiting.is_empty() {
            self.joining.insert(seat, waiting);
        }
    }

    /// A socket is gone: nobody waits for its joins.
    pub(super) fn refuse_joins(&mut self, seat: Seat) {
        for joining in self.joining.remove(&seat).unwrap_or_default() {
            joining.written.refuse();
        }
    }

    pub(super) fn join(&mut self, seat: Seat, rooms: Arc<[Arc<str>]>, written: Arc<Latch>) {
        let Some(sitting) = self.seats.get_mut(&seat) else {
            written.refuse();
            return;
        };
        let mut new = Vec::new();
        for room in rooms.iter() {
            let log = LogName::Room(Arc::clone(room));
            if !sitting.kept.contains(&log) {
                sitting.kept.push(log.clone());
                new.push(log);
            }
        }
        let is_connected = matches!(sitting.stage, Stage::Connected);
        let joining = self.joining.entry(seat).or_default();
        joining.push(Joining { rooms, written });
        for log in &new {
            self.keep(log);
        }
        if is_connected {
            self.go_on_joining(seat);
        }
    }

    pub(super) fn leave(&mut self, seat: Seat, rooms: Vec<Arc<str>>, until: Position) {
        let Some(sitting) = self.seats.get_mut(&seat) else {
            return;
        };
        let mut left = Vec::new();
        for room in &rooms {
            let log = LogName::Room(Arc::clone(room));
            if let Some(place) = sitting.kept.iter().position(|it| *it == log) {
                sitting.kept.swap_remove(place);
                left.push(log);
            }
        }
        self.write(seat, Change::Leave { rooms, until }, Pending::Nothing);
        for log in &left {
            self.release(log);
        }
    }

    /// Redis does not let this node hear a room.
    pub(super) fn refuse_room(&mut self, log: &LogName, waiting: BTreeSet<Seat>) {
        let LogName::Room(room) = log else {
            return;
        };
        for seat in waiting {
            let Some(sitting) = self.seats.get_mut(&seat) else {
                continue;
            };
            if let Some(joins) = self.joining.get_mut(&seat) {
                joins.retain(|joining| {
                    let is_refused = joining.rooms.contains(room);
                    if is_refused {
                        joining.written.refuse();
                    }
                    !is_refused
                });
            }
            if let Some(place) = sitting.kept.iter().position(|it| it == log) {
                sitting.kept.swap_remove(place);
                self.end_return_to(seat, log);
                self.release(log);
            }
            self.go_on([seat]);
        }
    }
}
