//! What a socket is to recovery: its session is written ahead, and it gets events in their order.

use std::rc::Rc;
use std::sync::Arc;

use adapter::recovery::{Entry, Epoch, Generation, Offset, Pid, Position};
use adapter::{InForce, Selection};
use bytes::Bytes;
use protocol::Encoded;
use protocol::engineio::Revision;
use serde::de::DeserializeOwned;
use tokio::sync::oneshot;

use super::rewinding::Rewinding;
use super::{Joined, Socket, State};
use crate::count::PacketType;
use crate::engine::outbox::Parcel;
use crate::net::ids::SocketId;
use crate::otel;
use crate::recovery::{Arrival, Order, Returned, Seat, Unpublished};
use crate::socketio::arguments::{EmitError, OwnedArguments};
use crate::socketio::offset::encode;

/// What a socket is to the keeper of its namespace.
pub(super) struct Seating {
    order: Arc<Order>,
    seat: Seat,
    generation: Generation,
    /// It gets nothing that is not behind this.
    pub(super) from: Position,
    recovered: bool,
    /// The application accepted it, and its session is not written yet.
    accepted: bool,
    /// What most sockets have none of, most of the time.
    pub(super) passing: Option<Box<Passing>>,
}

/// What a socket has while it arrives, joins, or has not heard everything of a room.
#[derive(Default)]
pub(super) struct Passing {
    /// What its client comes back with, until it is told.
    pid: Option<Pid>,
    /// Rooms of which it gets nothing that is not behind these.
    since: Vec<(Arc<str>, Position)>,
    /// Joins that are not written yet.
    unwritten: Vec<InForce>,
    /// The join with history that is under way.
    pub(super) rewinding: Option<Box<Rewinding>>,
    /// What the application kept with it before it came back.
    restored: Option<Bytes>,
    /// What its session was opened with, until that is written.
    announced: Option<Announced>,
}

impl Seating {
    pub(super) fn passing_mut(&mut self) -> &mut Passing {
        self.passing.get_or_insert_default()
    }

    /// Gives back what is used no more.
    fn tidy(&mut self) {
        if self.passing.as_ref().is_some_and(|it| it.is_over()) {
            self.passing = None;
        }
    }
}

impl Passing {
    fn is_over(&self) -> bool {
        let is_here = self.pid.is_none() && self.announced.is_none() && self.restored.is_none();
        is_here && self.since.is_empty() && self.unwritten.is_empty() && self.rewinding.is_none()
    }
}

struct Announced {
    rooms: Vec<Arc<str>>,
    data: Option<Bytes>,
}

/// Whether a socket is to get an event.
enum Takes {
    Not,
    Now,
    /// Behind the past of rooms that it joins.
    Later,
}

impl Socket {
    /// Whether its client came back: the socket has the id, the rooms and the data that it had, and the client gets
    /// what it missed.
    pub fn recovered(&self) -> bool {
        let extra = self.0.extra.borrow();
        extra.seating.as_ref().is_some_and(|it| it.recovered)
    }

    /// The data that was kept with it before it came back, and that nobody replaced since.
    ///
    /// # Errors
    ///
    /// The data is of another type.
    pub fn restored_data<T: DeserializeOwned>(&self) -> Result<Option<T>, serde_json::Error> {
        let restored = self.restored();
        restored.map(|it| serde_json::from_slice(&it)).transpose()
    }

    /// The same as JSON text.
    pub(crate) fn restored(&self) -> Option<Bytes> {
        let extra = self.0.extra.borrow();
        extra.seating.as_ref()?.passing.as_ref()?.restored.clone()
    }

    /// Gives it a place in the order of its namespace.
    pub(crate) fn sit(&self, order: Arc<Order>) -> Seat {
        let seat = order.seat(self.0.session.shard().index());
        let seating = Seating {
            order,
            seat,
            generation: 1,
            from: Position::MAX,
            recovered: false,
            accepted: false,
            passing: None,
        };
        self.0.extra.borrow_mut().seating = Some(Box::new(seating));
        seat
    }

    /// Its place in the order of its namespace, if that has recovery.
    pub(crate) fn place(&self) -> Option<(Arc<Order>, Seat)> {
        let extra = self.0.extra.borrow();
        let seating = extra.seating.as_ref()?;
        Some((Arc::clone(&seating.order), seating.seat))
    }

    /// Its name when it publishes, and how often its session was claimed.
    pub(crate) fn sender(&self) -> Option<(Arc<str>, Generation)> {
        let extra = self.0.extra.borrow();
        let seating = extra.seating.as_ref()?;
        Some((self.id().as_str().into(), seating.generation))
    }

    /// How often its session was claimed.
    pub(crate) fn generation(&self) -> Option<Generation> {
        let extra = self.0.extra.borrow();
        extra.seating.as_ref().map(|it| it.generation)
    }

    /// Its client came back: it is what it was. `false` if what the store has is none of ours.
    pub(crate) fn restore(&self, pid: Pid, returned: &Returned) -> bool {
        let Some(id) = SocketId::parse(&returned.sid) else {
            return false;
        };
        self.0.id.set(id);
        {
            let mut rooms = self.0.rooms.borrow_mut();
            for room in &returned.rooms {
                if !rooms.iter().any(|it| **it == **room) {
                    rooms.push(Rc::from(&**room));
                }
            }
        }
        if let Some(seating) = &mut self.0.extra.borrow_mut().seating {
            seating.generation = returned.generation;
            seating.recovered = true;
            let passing = seating.passing_mut();
            passing.pid = Some(pid);
            passing.restored = returned.data.clone();
            passing.announced = Some(Announced {
                rooms: returned.rooms.clone(),
                data: returned.data.clone(),
            });
        }
        true
    }

    /// The application accepted it.
    pub(crate) fn set_accepted_by_application(&self) {
        if let Some(seating) = &mut self.0.extra.borrow_mut().seating {
            seating.accepted = true;
        }
    }

    /// Whether the application accepted it, and it did not get so far as to be connected.
    pub(crate) fn is_accepted_in_vain(&self) -> bool {
        let extra = self.0.extra.borrow();
        let is_accepted = extra.seating.as_ref().is_some_and(|it| it.accepted);
        is_accepted && self.0.state.get() == State::Connecting
    }

    /// What is written of it before it is connected.
    pub(crate) fn arrival(&self) -> Arrival {
        let data = self.data_json().map(Bytes::from);
        let rooms: Vec<Arc<str>> = {
            let rooms = self.0.rooms.borrow();
            rooms.iter().map(|room| Arc::from(&**room)).collect()
        };
        if let Some(seating) = &mut self.0.extra.borrow_mut().seating {
            seating.passing_mut().announced = Some(Announced {
                rooms: rooms.clone(),
                data: data.clone(),
            });
        }
        Arrival {
            sid: self.id().as_str().into(),
            user: self.token_user(),
            data,
            rooms,
        }
    }

    /// The user that its token names.
    pub(crate) fn token_user(&self) -> Option<Arc<str>> {
        self.claims()?.user().map(Arc::from)
    }

    /// Its session is written: it enters its namespace.
    pub(crate) fn set_opened(&self, pid: Option<Pid>, from: Position) {
        let announced = {
            let mut extra = self.0.extra.borrow_mut();
            let Some(seating) = &mut extra.seating else {
                return;
            };
            seating.from = from;
            let passing = seating.passing_mut();
            passing.pid = pid.or(passing.pid);
            let announced = passing.announced.take();
            seating.tidy();
            announced
        };
        let (announced, announced_data) = match announced {
            Some(announced) => (announced.rooms, announced.data),
            None => Default::default(),
        };
        self.end_waiting();
        self.set_accepted();
        // What was done to it while that was written.
        let rooms = self.0.rooms.borrow().clone();
        let (_, new): (Vec<_>, Vec<_>) = rooms
            .into_iter()
            .partition(|room| announced.iter().any(|it| **it == **room));
        self.tell_joined(&new);
        let left = announced.iter().filter(|room| !self.is_in(room));
        let left: Vec<&str> = left.map(|room| &**room).collect();
        self.tell_left(&left);
        if self.data_json().map(Bytes::from) != announced_data
            && self.0.extra.borrow().data.is_some()
        {
            self.tell_data();
        }
    }

    /// Joins that are not written yet.
    pub(crate) fn unwritten(&self) -> Joined {
        let mut joined = Joined::default();
        if let Some(seating) = &mut self.0.extra.borrow_mut().seating {
            if let Some(passing) = &mut seating.passing {
                for in_force in &passing.unwritten {
                    joined.and(Some(in_force.clone()));
                }
                passing
                    .unwritten
                    .retain(|it| !it.is_open() && !it.is_refused());
            }
            seating.tidy();
        }
        joined
    }

    /// Whether what is done to it is to be written.
    fn written_place(&self) -> Option<(Arc<Order>, Seat)> {
        let is_in = matches!(self.0.state.get(), State::Accepted | State::Connected);
        self.place().filter(|_| is_in)
    }

    pub(super) fn tell_joined(&self, rooms: &[Rc<str>]) {
        if rooms.is_empty() {
            return;
        }
        let Some((order, seat)) = self.written_place() else {
            return;
        };
        let rooms: Arc<[Arc<str>]> = rooms.iter().map(|room| Arc::from(&**room)).collect();
        let in_force = order.join(seat, rooms);
        if let Some(seating) = &mut self.0.extra.borrow_mut().seating {
            let unwritten = &mut seating.passing_mut().unwritten;
            unwritten.retain(|it| !it.is_open());
            unwritten.push(in_force);
        }
    }

    pub(super) fn tell_left(&self, rooms: &[&str]) {
        if rooms.is_empty() {
            return;
        }
        let Some((order, seat)) = self.written_place() else {
            return;
        };
        let handed = order.handed(self.0.session.shard().index());
        let until = handed.map_or(Position::ZERO, |it| it.position);
        self.with_passing(|passing| passing.since.retain(|(it, _)| !rooms.contains(&&**it)));
        let rooms = rooms.iter().map(|room| Arc::from(*room)).collect();
        order.leave(seat, rooms, until);
    }

    /// The data that is kept with it changed.
    pub(crate) fn tell_data(&self) {
        self.with_passing(|passing| passing.restored = None);
        if let Some((order, seat)) = self.written_place() {
            order.set_data(seat, self.data_json().map(Bytes::from));
        }
    }

    /// It is gone: away, or for good.
    pub(crate) fn unseat(&self, for_good: bool) {
        self.with_passing(|passing| passing.rewinding = None);
        if let Some((order, seat)) = self.place() {
            order.gone(seat, for_good);
        }
    }

    /// A join was written while this node was behind.
    pub(crate) fn set_since(&self, rooms: &[Arc<str>], since: Position) {
        self.catch_up();
        if let Some(seating) = &mut self.0.extra.borrow_mut().seating {
            let passing = seating.passing_mut();
            for room in rooms {
                passing.since.retain(|(it, _)| it != room);
                passing.since.push((Arc::clone(room), since));
            }
        }
    }

    /// Whether it is to get an event at this place.
    fn takes(&self, position: Position, selection: &Selection) -> Takes {
        let mut extra = self.0.extra.borrow_mut();
        let Some(seating) = &mut extra.seating else {
            return Takes::Not;
        };
        if position <= seating.from {
            return Takes::Not;
        }
        let Some(passing) = &mut seating.passing else {
            return Takes::Now;
        };
        let taken = match passing.rewinding {
            Some(_) => Takes::Later,
            None => Takes::Now,
        };
        passing.since.retain(|(_, since)| *since >= position);
        if passing.since.is_empty() {
            seating.tidy();
            return taken;
        }
        if selection.rooms.is_empty() {
            return taken;
        }
        let late = |room: &String| passing.since.iter().any(|(it, _)| **it == **room);
        let rooms = self.0.rooms.borrow();
        let is_in = |room: &String| {
            self.id().as_str() == room.as_str() || rooms.iter().any(|it| **it == **room)
        };
        let mut selected = selection.rooms.iter();
        match selected.any(|room| is_in(room) && !late(room)) {
            true => taken,
            false => Takes::Not,
        }
    }

    /// Queues an event that is in order.
    pub(crate) fn push_ordered(
        &self,
        packet: &Rc<Parcel>,
        kind: PacketType,
        entry: &Arc<Entry>,
    ) -> bool {
        let (position, volatile) = (entry.position, entry.selection.flags.volatile);
        match self.takes(position, &entry.selection) {
            Takes::Not => false,
            Takes::Now => self.push(packet, kind, volatile),
            Takes::Later => self.hold_back(packet, kind, volatile, (position, Some(entry))),
        }
    }

    /// Queues an event that is in no log, whose offset says that the client has everything up to `place`.
    pub(crate) fn push_unlogged(
        &self,
        packet: &Rc<Parcel>,
        kind: PacketType,
        volatile: bool,
        place: Option<Position>,
    ) -> bool {
        let place = place.unwrap_or(Position::ZERO);
        self.hold_back(packet, kind, volatile, (place, None)) || self.push(packet, kind, volatile)
    }

    /// Emits to this client alone, in order.
    pub(crate) fn publish_to_it(
        &self,
        order: &Order,
        (event, arguments): (&str, &OwnedArguments),
        volatile: bool,
    ) -> Result<oneshot::Receiver<Result<(), Unpublished>>, EmitError> {
        let mut selection = Selection::room(self.id().as_str());
        selection.flags.volatile = volatile;
        selection.flags.trace = otel::current().filter(|it| it.is_sampled);
        let event = adapter::EventBuf {
            name: event.to_owned(),
            arguments: arguments.clone().into(),
        };
        let published = order.publish(selection, &event, self.sender());
        published.ok_or(EmitError::Overloaded)
    }

    /// What its client is told when it is connected, once.
    pub(super) fn greeting(&self) -> Encoded {
        if self.0.session.revision() == Revision::Three {
            return Encoded::connect_old(self.namespace());
        }
        match self.take_pid() {
            Some(pid) => {
                Encoded::connect_recoverable(self.namespace(), self.id().as_str(), &pid.expose())
            }
            None => Encoded::connect(self.namespace(), self.id().as_str()),
        }
    }

    /// The life of the log to which it comes back.
    pub(crate) fn epoch(&self) -> Option<Epoch> {
        let extra = self.0.extra.borrow();
        let passing = extra.seating.as_ref()?.passing.as_ref()?;
        passing.pid.map(|it| it.start.epoch)
    }

    fn take_pid(&self) -> Option<Pid> {
        let mut extra = self.0.extra.borrow_mut();
        let seating = extra.seating.as_mut()?;
        let pid = seating.passing.as_mut()?.pid.take();
        seating.tidy();
        pid
    }

    /// Does something with what is passing, if there is anything.
    fn with_passing(&self, change: impl FnOnce(&mut Passing)) {
        if let Some(seating) = &mut self.0.extra.borrow_mut().seating
            && let Some(passing) = &mut seating.passing
        {
            change(passing);
            seating.tidy();
        }
    }

    /// Sends what a client missed, of this life of the log.
    pub(crate) fn replay(&self, epoch: Epoch, events: &[Arc<Entry>]) {
        for entry in events {
            let offset = Offset {
                epoch,
                position: entry.position,
            };
            if let Some((packet, kind)) = encode(self.namespace(), &entry.body, offset) {
                self.push(&self.0.session.parcel(packet), kind, false);
            }
        }
    }
}
