//! One client in one namespace.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::hash::{Hash, Hasher};
use std::rc::Rc;
use std::sync::Arc;

use adapter::Interest;
use protocol::engineio::{CloseReason, Transport};
use serde::Serialize;
use tokio::sync::oneshot;
use tokio::task::AbortHandle;

use crate::count::PacketType;
use crate::engine::handshake::Handshake;
use crate::engine::outbox::Parcel;
use crate::engine::session::Session;
use crate::net::ids::{SocketId, user_of_room, user_room};
use crate::net::rate::{Due, Rate};
use crate::socketio::acks::Awaited;
use crate::socketio::arguments::OwnedArguments;
use crate::socketio::claims::Claims;
use crate::socketio::gateway::Gateway;
use crate::socketio::namespace::Namespace;

mod emit;
mod info;
mod joined;
mod rewinding;
mod rooms;
mod seating;

pub use emit::AckError;
pub use info::SocketInfo;
pub use joined::Joined;
pub(crate) use rewinding::Told;
use seating::Seating;

/// In place of the number of a walk: one is about to end the socket.
const GOING: u32 = u32::MAX;

/// In place of the number of a walk: one changes the socket now.
const BUSY: u32 = u32::MAX - 1;

/// A client in a namespace: what handlers get to work with.
///
/// It belongs to the thread of its shard. To reach a socket from elsewhere keep its [`id`](Self::id)
/// and emit to the room of that name through [`Gateway`].
///
/// ```
/// use std::time::Duration;
///
/// use gateway::Socket;
/// use gateway::event::EmitError;
///
/// fn welcome(socket: &Socket) -> Result<(), EmitError> {
///     socket.join(["lobby"]);
///     socket.to("lobby").emit("came", (socket.id().as_str(),))?;
///     socket.emit("welcome", (socket.rooms(),))?;
///     let asked = socket.emit_with_ack("how are you?", (), Duration::from_secs(5))?;
///     let socket = socket.clone();
///     tokio::task::spawn_local(async move {
///         if asked.await.is_err() {
///             socket.disconnect(false);
///         }
///     });
///     Ok(())
/// }
/// ```
#[derive(Clone)]
pub struct Socket(Rc<Inner>);

/// What a broadcast touches stands first, as in [`Session`].
#[repr(C)]
struct Inner {
    session: Rc<Session>,
    /// The last broadcast that reached or excluded this socket, so that it gets one copy.
    stamp: Cell<u32>,
    state: Cell<State>,
    id: Cell<SocketId>,
    /// The last of its namespace's walks that came to it.
    walked: Cell<u32>,
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
    /// What it is to recovery, in a namespace that has it.
    seating: Option<Box<Seating>>,
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

impl Socket {
    pub(crate) fn new(session: Rc<Session>, namespace: Rc<Namespace>, auth: Option<&str>) -> Self {
        namespace.hold();
        let shard = session.shard();
        Self(Rc::new(Inner {
            id: Cell::new(SocketId::random(shard.node().tag(), shard.index())),
            namespace,
            state: Cell::new(State::Connecting),
            stamp: Cell::new(0),
            walked: Cell::new(0),
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
        let shard = self.0.session.shard();
        let Some(per_second) = shard.limits().events_per_second else {
            return true;
        };
        let rate = Rate::begun(shard.epoch(), per_second);
        let due = rate.take(self.0.event_due.get(), rate.now());
        due.map(|due| self.0.event_due.set(due)).is_some()
    }

    pub(crate) fn session(&self) -> &Rc<Session> {
        &self.0.session
    }

    /// Its public id, which is also the name of a room that it alone is in.
    pub fn id(&self) -> SocketId {
        self.0.id.get()
    }

    /// Its namespace's name.
    pub fn namespace(&self) -> &str {
        self.0.namespace.name()
    }

    pub(crate) fn shared_namespace(&self) -> Arc<str> {
        self.0.namespace.shared_name()
    }

    /// Whether the client is connected: neither before it was accepted nor after it went.
    pub fn is_connected(&self) -> bool {
        self.catch_up();
        self.is_present() && !self.is_going()
    }

    /// The same, if its end that is under way does not count.
    pub(crate) fn is_present(&self) -> bool {
        matches!(self.0.state.get(), State::Accepted | State::Connected)
    }

    /// What its request told.
    pub fn handshake(&self) -> &Handshake {
        self.0.session.handshake()
    }

    /// The payload of its `CONNECT`, parsed; an empty object if there was none.
    ///
    /// # Errors
    ///
    /// The payload is of another type.
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
        if self.is_present() {
            self.go_if_denied();
        }
    }

    /// The transport that it uses now.
    pub fn transport(&self) -> Transport {
        self.0.session.transport()
    }

    /// The gateway that it is connected to.
    pub fn gateway(&self) -> Gateway {
        Gateway::of_node(self.0.session.shard().node().clone())
    }

    /// Keeps a value with the socket, in place of the one before. Other nodes and threads see its
    /// JSON form.
    pub fn set_data<T: Serialize + 'static>(&self, data: T) {
        let before = self.0.extra.borrow_mut().data.replace(Rc::new(data));
        drop(before);
        self.tell_data();
        if self.0.session.shard().show().is_on() {
            self.show_data();
        }
    }

    /// The value that is kept with the socket, if it is of this type.
    pub fn data<T: 'static>(&self) -> Option<Rc<T>> {
        self.0.extra.borrow().data.clone()?.as_any().downcast().ok()
    }

    pub(crate) fn data_json(&self) -> Option<String> {
        let data = self.0.extra.borrow().data.clone();
        data?.to_json()
    }

    pub(crate) fn state(&self) -> State {
        self.0.state.get()
    }

    /// Notes the task that is awaited before the client is told that it is connected.
    pub(crate) fn set_waiting(&self, task: AbortHandle) {
        let mut extra = self.0.extra.borrow_mut();
        extra.arrival.get_or_insert_default().waits = Some(task);
    }

    /// What it waited for has come, and the task that waited is not the one that runs.
    pub(super) fn end_waiting(&self) {
        let mut extra = self.0.extra.borrow_mut();
        let waits = extra.arrival.as_mut().and_then(|it| it.waits.take());
        if let Some(task) = waits {
            task.abort();
        }
    }

    /// The application accepted: the socket enters its namespace and the rooms that it joined
    /// meanwhile.
    pub(crate) fn set_accepted(&self) {
        self.0.state.set(State::Accepted);
        self.0.namespace.enter(self);
        let private = self.0.namespace.open_room(self.id().as_str());
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
        let mut joined = self.unwritten();
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

    /// Leaves everything. Who waits for an acknowledgement learns that none will come.
    pub(crate) fn set_disconnected(&self) {
        self.catch_up();
        let was = self.0.state.replace(State::Disconnected);
        self.0.session.shard().drop_permit(&self.id());
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

    /// What the sockets of its session have in common. It is no secret, as the session's id is.
    fn client_name(&self) -> String {
        let session = self.session();
        let tag = session.shard().node().tag();
        format!("{}{}", tag.as_str(), session.log_name())
    }

    /// Marks the socket as dealt with in a broadcast; `false` if it was already.
    pub(crate) fn stamp(&self, stamp: u32) -> bool {
        self.0.stamp.replace(stamp) != stamp
    }

    /// The last walk through its namespace that came to it.
    pub(crate) fn walked(&self) -> u32 {
        self.0.walked.get()
    }

    /// Whether all walks through its namespace have come to it.
    pub(crate) fn is_walked(&self) -> bool {
        self.walked() >= self.0.namespace.last_walk()
    }

    pub(crate) fn set_walked(&self, walk: u32) {
        self.0.walked.set(walk);
    }

    /// A walk is about to end it: it gets nothing more.
    pub(crate) fn set_going(&self) {
        self.0.walked.set(GOING);
    }

    pub(crate) fn is_going(&self) -> bool {
        self.0.walked.get() == GOING
    }

    /// A walk changes it: those behind do not come to it before that is done.
    pub(crate) fn set_busy(&self) {
        self.0.walked.set(BUSY);
    }

    /// Walks as far as this one have come to it, unless one changes or ends it.
    pub(crate) fn note_walked(&self, walk: u32) {
        if self.walked() < BUSY {
            self.set_walked(walk);
        }
    }

    /// Whether it is in this namespace, and not in an earlier one of the name.
    pub(crate) fn is_of(&self, namespace: &Rc<Namespace>) -> bool {
        Rc::ptr_eq(&self.0.namespace, namespace)
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
            self.id().to_string(),
            self.namespace(),
            self.rooms(),
            self.data_json(),
            self.transport(),
            handshake,
            self.client_name(),
        )
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
            .field("id", &self.id())
            .field("namespace", &self.namespace())
            .finish()
    }
}
