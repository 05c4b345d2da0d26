//! Looks at all of a namespace in turns.

use adapter::Selection;

use super::{Namespace, Place};
use crate::engine::turns::{Backwards, Turns};
use crate::net::ids::SocketId;
use crate::socketio::names::Names;
use crate::socketio::socket::Socket;

impl Namespace {
    /// Calls `visit` with the rooms, and how many members each has. Those that come or go meanwhile may be missed, and
    /// a room may come twice: see [`Backwards`].
    pub(crate) async fn visit_rooms(&self, turns: &mut Turns, mut visit: impl FnMut(&str, usize)) {
        let mut walk = Backwards::default();
        loop {
            let looks = {
                let rooms = self.rooms.borrow();
                let places = walk.next(rooms.len(), turns.left());
                let found = places.clone().filter_map(|place| rooms.get_index(place));
                found.for_each(|(name, room)| visit(name, room.members.len()));
                places.len()
            };
            if looks == 0 {
                return;
            }
            turns.took(looks).await;
        }
    }

    /// Calls `visit` with the ids of the sockets, in the same way.
    pub(crate) async fn visit_ids(&self, turns: &mut Turns, mut visit: impl FnMut(SocketId)) {
        let mut walk = Backwards::default();
        loop {
            let looks = {
                let sockets = self.sockets.borrow();
                let places = walk.next(sockets.len(), turns.left());
                let found = places.clone().filter_map(|place| sockets.get_index(place));
                found.for_each(|socket| visit(socket.1));
                places.len()
            };
            if looks == 0 {
                return;
            }
            turns.took(looks).await;
        }
    }

    /// Calls `visit` with the selected sockets. Those that come or go meanwhile may be missed, and one may come twice.
    pub(crate) async fn visit_selected(
        &self,
        selection: &Selection,
        turns: &mut Turns,
        mut visit: impl FnMut(&Socket),
    ) {
        let (rooms, except) = (Names::new(&selection.rooms), Names::new(&selection.except));
        let mut place = Place::default();
        while !place.is_behind(rooms.all().len()) {
            let visit = |socket: &Socket| {
                if !except.have(socket) {
                    visit(socket);
                }
            };
            let looks = self.visit_some(rooms.all(), &mut place, turns.left(), visit);
            turns.took(looks).await;
        }
    }
}
