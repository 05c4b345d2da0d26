//! One client in one namespace.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::hash::{Hash, Hasher};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use adapter::Interest;
use protocol::Encoded;
use protocol::engineio::{CloseReason, Transport};
use rustc_hash::FxHashSet;
use serde::Serialize;
use tokio::sync::oneshot;
use tokio::task::AbortHandle;

use crate::count::PacketType;
use crate::engine::handshake::Handshake;
use crate::engine::node::Gateway;
use crate::engine::outbox::Parcel;
use crate::engine::session::Session;
use crate::net::ids::{SocketId, user_of_room, user_room};
use crate::net::rate::Due;
use crate::socketio::acks::Awaited;
use crate::socketio::application::DisconnectReason;
use crate::socketio::claims::Claims;
use crate::socketio::emitter::Emitter;
use crate::socketio::event::{EmitError, IntoArguments, OwnedArguments, check_name};
use crate::socketio::namespace::Namespace;

mod info;
mod joined;

pub use info::SocketInfo;
pub use joined::Joined;

/// Up to so many rooms are looked for one by one; more are looked up in a set.
const FEW_ROOMS: usize = 8;

/// A client in a namespace: what handlers get to work with.
///
/// It belongs to the thread of its shard. To reach a socket from elsewhere keep its [`id`](Self::id)
/// and emit to the room of that name through [`Gateway`].
#[derive(Clone)]
pub struct Socket(Rc<Inner>);

/// What a broadcast touches stands first, as in [`Session`].
#[repr(C)]
struct Inner {
    session: Rc<Session>,
    /// The last broadcast that reached or excluded this socket, so that it gets one copy.
    stamp: Cell<u32>,
    state: Cell<State>,
    id: SocketId,
    namespace: Rc<Namespace>,
    /// When its next event is due, if their rate is limited.
    event_due: Cell<Due>,
    /// The rooms that it is in, besides its own.
    rooms: RefCell<Vec<Rc<str>>>,
    extra: RefCell<Extra>,
}

/// What most sockets have not.
#[derive(Default)]
struct Extra {
    /// The payload of its `CONNECT`: JSON.
    auth: Option<Box<str>>,
    /// Events that await an acknowledgement.
    #[expect(
        clippy::box_collection,
        reason = "most sockets have none, and a pointer is smaller"
    )]
    acks: Option<Box<HashMap<u64, Waiter>>>,
    data: Option<Rc<dyn Data>>,
    /// Lets what other nodes emit to this socket alone reach this node, unless something else does.
    private: Option<Box<Interest>>,
    /// How many joins await that they hold on every node.
    held_joins: u32,
    /// What its token says, where tokens are wanted.
    claims: Option<Rc<Claims>>,
    /// Until its client is told that it is connected.
    arrival: Option<Box<Arrival>>,
}

/// What a socket has until its client is told that it is connected.
#[derive(Default)]
struct Arrival {
    /// The application's decision that is awaited, then that other nodes reach the socket.
    waits: Option<AbortHandle>,
    /// What its client gets behind the `CONNECT`.
    held: Vec<(Rc<Parcel>, PacketType)>,
    /// Bytes of what is held.
    bytes: usize,
}

/// Who waits for an acknowledgement.
pub(crate) enum Waiter {
    /// `emit_with_ack` of this socket.
    One(oneshot::Sender<OwnedArguments>),
    /// A broadcast to many.
    Many(Awaited),
}

/// ```text
/// Connecting --accepted--> Accepted --its client is told--> Connected --> Disconnected
///      |                      +-----------gone-----------------------------^
///      +-----refused, gone-------------------------------------------------^
/// ```
///
/// An accepted socket is in its namespace and its rooms, and the application's. Its client is told
/// once what other nodes emit to it and to its rooms arrives; what is emitted to it until then is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    Connecting,
    Accepted,
    Connected,
    Disconnected,
}

/// A value that an application keeps with a socket.
trait Data {
    fn as_any(self: Rc<Self>) -> Rc<dyn Any>;
    fn to_json(&self) -> Option<String>;
}

impl<T: Serialize + 'static> Data for T {
    fn as_any(self: Rc<Self>) -> Rc<dyn Any> {
        self
    }

    fn to_json(&self) -> Option<String> {
        serde_json::to_string(self).ok()
    }
}

/// Why an acknowledgement did not come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AckError {
    /// It took too long.
    #[error("no acknowledgement in time")]
    Timeout,
    /// The client went away.
    #[error("the client disconnected")]
    Disconnected,
}

/// Most acknowledgements that one socket may owe; an event beyond is answered with
/// [`AckError::Disconnected`] at once.
const MAX_PENDING_ACKS: usize = 10_000;

impl Socket {
    pub(crate) fn new(session: Rc<Session>, namespace: Rc<Namespace>, auth: Option<&str>) -> Self {
        namespace.hold();
        let shard = session.shard();
        Self(Rc::new(Inner {
            id: SocketId::random(shard.node().tag(), shard.index()),
            namespace,
            state: Cell::new(State::Connecting),
            stamp: Cell::new(0),
            event_due: Cell::default(),
            rooms: RefCell::default(),
            extra: RefCell::new(Extra {
                auth: auth.map(Into::into),
                ..Extra::default()
            }),
            session,
        }))
    }

    /// Whether the client may emit one event more now.
    pub(crate) fn may_emit(&self) -> bool {
        let Some(rate) = self.0.session.shard().node().event_rate() else {
            return true;
        };
        let due = rate.take(self.0.event_due.get(), rate.now());
        due.map(|due| self.0.event_due.set(due)).is_some()
    }

    /// Its public id, which is also the name of a room that it alone is in.
    pub fn id(&self) -> SocketId {
        self.0.id
    }

    /// Its namespace's name.
    pub fn namespace(&self) -> &str {
        self.0.namespace.name()
    }

    /// Whether the client is connected: neither before it was accepted nor after it went.
    pub fn is_connected(&self) -> bool {
        matches!(self.0.state.get(), State::Accepted | State::Connected)
    }

    /// What its request told.
    pub fn handshake(&self) -> &Handshake {
        self.0.session.handshake()
    }

    /// The payload of its `CONNECT`, parsed; an empty object if there was none.
    pub fn auth<T: serde::de::DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_str(self.0.extra.borrow().auth.as_deref().unwrap_or("{}"))
    }

    /// The payload of its `CONNECT`, as JSON text.
    pub fn auth_json(&self) -> Box<str> {
        self.0
            .extra
            .borrow()
            .auth
            .clone()
            .unwrap_or_else(|| "{}".into())
    }

    /// What its token says; `None` where no tokens are wanted.
    pub fn claims(&self) -> Option<Rc<Claims>> {
        self.0.extra.borrow().claims.clone()
    }

    pub(crate) fn set_claims(&self, claims: Claims) {
        if let Some(user) = claims.user()
            && self.user().is_none()
        {
            self.set_user(user);
        }
        self.0.extra.borrow_mut().claims = Some(Rc::new(claims));
    }

    /// The user whose socket it is, as its token or the application says.
    pub fn user(&self) -> Option<Box<str>> {
        let rooms = self.0.rooms.borrow();
        let found = rooms.iter().find_map(|room| user_of_room(room));
        found.map(Into::into)
    }

    /// Says whose socket it is: it joins the room of that user, by which all sockets of a user are
    /// found on every node.
    pub fn set_user(&self, user: &str) {
        if let Some(before) = self.user() {
            self.leave(&user_room(&before));
        }
        self.join_one(&user_room(user));
    }

    /// The transport that it uses now.
    pub fn transport(&self) -> Transport {
        self.0.session.transport()
    }

    /// The gateway that it is connected to.
    pub fn gateway(&self) -> Gateway {
        Gateway::of_node(self.0.session.shard().node().clone())
    }

    /// Emits to this client. A client that is gone gets nothing.
    pub fn emit(&self, event: &str, arguments: impl IntoArguments) -> Result<(), EmitError> {
        self.send_event(event, None, &arguments.into_arguments()?, false)
            .map(drop)
    }

    /// Emits to this client if it can be written to at once, and else not at all.
    pub fn emit_volatile(
        &self,
        event: &str,
        arguments: impl IntoArguments,
    ) -> Result<(), EmitError> {
        self.send_event(event, None, &arguments.into_arguments()?, true)
            .map(drop)
    }

    /// Emits and waits for the client's acknowledgement, at most for `timeout`.
    ///
    /// It is sent at once; the future only waits. Do not await it in a handler whose session must
    /// handle other events meanwhile: its acknowledgement comes, but its next event waits.
    pub fn emit_with_ack(
        &self,
        event: &str,
        arguments: impl IntoArguments,
        timeout: Duration,
    ) -> Result<impl Future<Output = Result<OwnedArguments, AckError>> + 'static, EmitError> {
        let id = self.0.session.shard().node().next_ack_id();
        let (sender, receiver) = oneshot::channel();
        let arguments = arguments.into_arguments()?;
        check_name(event)?;
        if self.expect_ack(id, Waiter::One(sender)) {
            self.send_event(event, Some(id), &arguments, false)?;
        }
        let owed = OwedAck {
            socket: Rc::downgrade(&self.0),
            id,
        };
        Ok(async move {
            let _owed = owed;
            match tokio::time::timeout(timeout, receiver).await {
                Ok(Ok(answer)) => Ok(answer),
                Ok(Err(_)) => Err(AckError::Disconnected),
                Err(_) => Err(AckError::Timeout),
            }
        })
    }

    /// Joins rooms. It may be called before the client is accepted; a disconnected socket joins
    /// nothing. What other nodes publish may be missed for a moment: see
    /// [`join_everywhere`](Self::join_everywhere).
    pub fn join<R: AsRef<str>>(&self, rooms: impl IntoIterator<Item = R>) {
        let mut known: Option<FxHashSet<Rc<str>>> = None;
        for (count, room) in rooms.into_iter().enumerate() {
            let room = room.as_ref();
            if count == FEW_ROOMS {
                known = Some(self.0.rooms.borrow().iter().cloned().collect());
            }
            let Some(known) = &mut known else {
                self.join_one(room);
                continue;
            };
            if !known.contains(room) && self.0.id.as_str() != room {
                known.extend(self.enter_room(room));
            }
        }
    }

    /// Joins rooms, and tells when everything that any node publishes to them reaches the socket.
    pub fn join_everywhere<R: AsRef<str>>(&self, rooms: impl IntoIterator<Item = R>) -> Joined {
        let mut joined = Joined::default();
        let rooms: Vec<R> = rooms.into_iter().collect();
        self.join(&rooms);
        if self.is_connected() {
            for room in &rooms {
                joined.and(self.0.namespace.room_in_force(room.as_ref()));
            }
        }
        joined.and(self.0.namespace.in_force());
        joined
    }

    /// Leaves a room. Its own is not left before it disconnects.
    pub fn leave(&self, room: &str) {
        let mut rooms = self.0.rooms.borrow_mut();
        if let Some(position) = rooms.iter().position(|joined| **joined == *room) {
            rooms.swap_remove(position);
            self.0.namespace.leave(room, self);
        }
    }

    /// Leaves rooms, at a cost that does not multiply with the rooms that it is in.
    pub(crate) fn leave_all<'a>(&self, rooms: impl ExactSizeIterator<Item = &'a str>) {
        if rooms.len() <= FEW_ROOMS {
            return rooms.for_each(|room| self.leave(room));
        }
        let left: FxHashSet<&str> = rooms.collect();
        self.0.rooms.borrow_mut().retain(|room| {
            let stays = !left.contains(&**room);
            if !stays {
                self.0.namespace.leave(room, self);
            }
            stays
        });
    }

    /// Those of these different rooms that it is not in.
    pub(crate) fn not_in<'a>(&self, rooms: impl ExactSizeIterator<Item = &'a str>) -> Vec<&'a str> {
        if rooms.len() <= FEW_ROOMS {
            return rooms.filter(|room| !self.is_in(room)).collect();
        }
        let joined = self.0.rooms.borrow();
        let joined: FxHashSet<&str> = joined.iter().map(AsRef::as_ref).collect();
        let id = self.0.id;
        rooms
            .filter(|room| !joined.contains(room) && id.as_str() != *room)
            .collect()
    }

    /// The rooms that it is in, its own first.
    pub fn rooms(&self) -> Vec<String> {
        let own = std::iter::once(self.0.id.to_string());
        own.chain(self.0.rooms.borrow().iter().map(|room| room.to_string()))
            .collect()
    }

    /// How many rooms it is in, its own not counted.
    pub fn room_count(&self) -> usize {
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
        self.0.id.as_str() == room || self.0.rooms.borrow().iter().any(|joined| **joined == *room)
    }

    /// An emitter to a room's members, on every node, except this socket.
    pub fn to(&self, room: impl Into<String>) -> Emitter {
        self.broadcast().to(room)
    }

    /// An emitter to everybody in the namespace, on every node, except this socket.
    pub fn broadcast(&self) -> Emitter {
        self.gateway()
            .of(self.namespace())
            .except(self.0.id.as_str())
    }

    /// Keeps a value with the socket, in place of the one before. Other nodes and threads see its
    /// JSON form.
    pub fn set_data<T: Serialize + 'static>(&self, data: T) {
        let before = self.0.extra.borrow_mut().data.replace(Rc::new(data));
        drop(before);
    }

    /// The value that is kept with the socket, if it is of this type.
    pub fn data<T: 'static>(&self) -> Option<Rc<T>> {
        self.0.extra.borrow().data.clone()?.as_any().downcast().ok()
    }

    pub(crate) fn data_json(&self) -> Option<String> {
        let data = self.0.extra.borrow().data.clone();
        data?.to_json()
    }

    /// Disconnects the client from this namespace; with `close` from all of them, and closes its
    /// session.
    pub fn disconnect(&self, close: bool) {
        if close {
            self.0.session.disconnect_all();
        } else if self.is_connected() {
            self.0.session.welcome(self);
            self.push_control(
                Encoded::disconnect(self.namespace()),
                PacketType::Disconnect,
            );
            self.0
                .session
                .drop_socket(self, DisconnectReason::ServerNamespaceDisconnect);
        }
    }

    fn join_one(&self, room: &str) {
        if !self.is_in(room) {
            self.enter_room(room);
        }
    }

    /// Joins a room that it is not in; returns the room's shared name.
    fn enter_room(&self, room: &str) -> Option<Rc<str>> {
        let joined: Rc<str> = match self.0.state.get() {
            State::Accepted | State::Connected => self.0.namespace.join(room, self),
            State::Connecting => room.into(),
            State::Disconnected => return None,
        };
        self.0.rooms.borrow_mut().push(Rc::clone(&joined));
        Some(joined)
    }

    fn send_event(
        &self,
        event: &str,
        ack: Option<u64>,
        arguments: &OwnedArguments,
        volatile: bool,
    ) -> Result<bool, EmitError> {
        check_name(event)?;
        let arguments = arguments.as_ref();
        let kind = PacketType::event(!arguments.attachments().is_empty());
        let packet = Encoded::event(self.namespace(), ack, event, arguments);
        Ok(self.push(&self.0.session.parcel(packet), kind, volatile))
    }

    pub(crate) fn push_ack(&self, packet: Encoded, binary: bool) {
        let kind = if binary {
            PacketType::BinaryAck
        } else {
            PacketType::Ack
        };
        self.push(&self.0.session.parcel(packet), kind, false);
    }

    pub(crate) fn push_control(&self, packet: Encoded, kind: PacketType) {
        let parcel = self.0.session.parcel(packet);
        self.0.session.push(&parcel, kind, false);
    }

    /// Queues a packet, unless the socket is not connected.
    pub(crate) fn push(&self, packet: &Rc<Parcel>, kind: PacketType, volatile: bool) -> bool {
        match self.0.state.get() {
            State::Connected => self.0.session.push(packet, kind, volatile),
            State::Accepted => self.hold(packet, kind, volatile),
            State::Connecting | State::Disconnected => false,
        }
    }

    /// Keeps a packet until the client is told that it is connected. If it is too much to be kept,
    /// the client is told now.
    fn hold(&self, packet: &Rc<Parcel>, kind: PacketType, volatile: bool) -> bool {
        let shard = self.0.session.shard();
        if volatile {
            shard.counters().volatile_dropped.increment();
            return false;
        }
        let is_too_much = {
            let mut extra = self.0.extra.borrow_mut();
            let arrival = extra.arrival.get_or_insert_default();
            arrival.bytes += packet.packet().frames().len();
            arrival.held.push((Rc::clone(packet), kind));
            arrival.bytes > shard.node().config().limits.outbox_bytes
        };
        if is_too_much {
            self.0.session.welcome(self);
        }
        true
    }

    /// Whether one acknowledgement more may be awaited of it.
    pub(crate) fn may_owe_ack(&self) -> bool {
        let extra = self.0.extra.borrow();
        let owed = extra.acks.as_ref().map_or(0, |acks| acks.len());
        self.is_connected() && owed < MAX_PENDING_ACKS
    }

    /// Notes who waits for an acknowledgement; `false` if the socket cannot owe it.
    pub(crate) fn expect_ack(&self, id: u64, waiter: Waiter) -> bool {
        let may = self.may_owe_ack();
        if may {
            let mut extra = self.0.extra.borrow_mut();
            extra.acks.get_or_insert_default().insert(id, waiter);
        }
        may
    }

    pub(crate) fn forget_ack(&self, id: u64) {
        drop(self.take_ack_waiter(id));
    }

    /// The client acknowledged; an id that nobody waits for is ignored.
    pub(crate) fn handle_ack(&self, id: u64, arguments: protocol::socketio::Arguments<'_>) {
        match self.take_ack_waiter(id) {
            Some(Waiter::One(sender)) => {
                let _gone = sender.send(arguments.into());
            }
            Some(Waiter::Many(awaited)) => {
                let shard = self.0.session.shard();
                shard.node().acks().answer(awaited, arguments);
            }
            None => {}
        }
    }

    fn take_ack_waiter(&self, id: u64) -> Option<Waiter> {
        let mut extra = self.0.extra.borrow_mut();
        let acks = extra.acks.as_mut()?;
        let waiter = acks.remove(&id);
        if acks.is_empty() {
            extra.acks = None;
        }
        waiter
    }

    pub(crate) fn state(&self) -> State {
        self.0.state.get()
    }

    /// Notes the task that is awaited before the client is told that it is connected.
    pub(crate) fn set_waiting(&self, task: AbortHandle) {
        let mut extra = self.0.extra.borrow_mut();
        extra.arrival.get_or_insert_default().waits = Some(task);
    }

    /// The application accepted: the socket enters its namespace and the rooms that it joined
    /// meanwhile.
    pub(crate) fn set_accepted(&self) {
        self.0.state.set(State::Accepted);
        self.0.namespace.enter(self);
        let private = self.0.namespace.open_room(self.0.id.as_str());
        let private = private.filter(|interest| !interest.is_covered());
        self.0.extra.borrow_mut().private = private.map(Box::new);
        let mut rooms = self.0.rooms.borrow_mut();
        for room in rooms.iter_mut() {
            *room = self.0.namespace.join(room, self);
        }
    }

    /// When everything reaches it that other nodes emit to it, to its rooms, and to its namespace.
    /// Nothing has to be waited for if the others cannot be heard now anyway.
    pub(crate) fn reachable(&self) -> Joined {
        let mut joined = Joined::default();
        let namespace = &self.0.namespace;
        if !namespace.is_up() {
            return joined;
        }
        joined.and(namespace.in_force());
        let extra = self.0.extra.borrow();
        joined.and(extra.private.as_deref().map(Interest::in_force));
        for room in &*self.0.rooms.borrow() {
            joined.and(namespace.room_in_force(room));
        }
        joined
    }

    /// The client is told that it is connected: returns what it gets next, or `None` if it was told
    /// before, or is gone.
    pub(crate) fn set_connected(&self) -> Option<Vec<(Rc<Parcel>, PacketType)>> {
        if self.0.state.get() != State::Accepted {
            return None;
        }
        self.0.state.set(State::Connected);
        let arrival = self.0.extra.borrow_mut().arrival.take();
        Some(arrival.map_or_else(Vec::new, |arrival| arrival.held))
    }

    /// Leaves everything. Who waits for an acknowledgement learns that none will come.
    pub(crate) fn set_disconnected(&self) {
        let was = self.0.state.replace(State::Disconnected);
        let rooms = std::mem::take(&mut *self.0.rooms.borrow_mut());
        if matches!(was, State::Accepted | State::Connected) {
            for room in &rooms {
                self.0.namespace.leave(room, self);
            }
            self.0.namespace.exit(self);
        }
        if was != State::Disconnected {
            self.0.namespace.release();
        }
        let (acks, arrival, private) = {
            let mut extra = self.0.extra.borrow_mut();
            let (acks, arrival) = (extra.acks.take(), extra.arrival.take());
            (acks, arrival, extra.private.take())
        };
        drop((acks, private));
        if let Some(task) = arrival.and_then(|arrival| arrival.waits) {
            task.abort();
        }
    }

    /// Marks the socket as dealt with in a broadcast; `false` if it was already.
    pub(crate) fn stamp(&self, stamp: u32) -> bool {
        self.0.stamp.replace(stamp) != stamp
    }

    /// Closes the session, for a reason other than the application's wish.
    pub(crate) fn close_session(&self, reason: CloseReason) {
        self.0.session.close(reason);
    }

    /// What other threads may know of it; with all that its request told, or without.
    pub(crate) fn snapshot(&self, with_handshake: bool) -> SocketInfo {
        let handshake = if with_handshake {
            let auth = self.0.extra.borrow().auth.clone();
            info::Request::Here {
                handshake: Arc::new(self.handshake().clone()),
                auth,
            }
        } else {
            info::Request::Elsewhere(self.handshake().to_short_json().into())
        };
        SocketInfo::of_this_node(
            self.0.id.to_string(),
            self.namespace(),
            self.rooms(),
            self.data_json(),
            self.transport(),
            handshake,
        )
    }
}

/// An acknowledgement that somebody waits for. Dropped, nobody does, and it keeps no socket.
struct OwedAck {
    socket: std::rc::Weak<Inner>,
    id: u64,
}

impl Drop for OwedAck {
    fn drop(&mut self) {
        if let Some(socket) = self.socket.upgrade() {
            Socket(socket).forget_ack(self.id);
        }
    }
}

/// A place among the joins that a socket may await.
pub(crate) struct HeldJoin(Socket);

impl Drop for HeldJoin {
    fn drop(&mut self) {
        self.0.0.extra.borrow_mut().held_joins -= 1;
    }
}

impl PartialEq for Socket {
    fn eq(&self, other: &Self) -> bool {
        Rc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Socket {}

impl Hash for Socket {
    fn hash<H: Hasher>(&self, state: &mut H) {
        Rc::as_ptr(&self.0).addr().hash(state);
    }
}

impl std::fmt::Debug for Socket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Socket")
            .field("id", &self.0.id)
            .field("namespace", &self.namespace())
            .finish()
    }
}
