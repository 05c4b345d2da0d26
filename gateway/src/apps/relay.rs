//! The application without code: clients join rooms and publish to them.

use std::borrow::Cow;
use std::time::Duration;

use adapter::Away;
use adapter::recovery::Rewind;
use indexmap::IndexSet;
use protocol::socketio::{Arguments, is_reserved, json};
use tokio::sync::oneshot;
use tracing::debug;

use crate::apps::auth::Right;
use crate::config::{Config, Pattern};
use crate::net::ids::{NodeTag, SocketId, is_id_shaped, is_private, user_of_room};
use crate::recovery::Unpublished;
use crate::socketio::application::{Application, Flow};
use crate::socketio::emitter::Emitter;
use crate::socketio::event::{Ack, EmitError, Event};
use crate::socketio::socket::{Joined, Socket};

mod rewind;

/// Most rooms that one event names: their number decides what it costs, however short they are.
const MAX_NAMES: usize = 1000;

/// Longest room name in bytes that clients may use.
pub const MAX_ROOM_BYTES: usize = 512;

/// How long the acknowledgement of a join is held back until the join holds on every node.
pub const JOIN_PATIENCE: Duration = Duration::from_secs(10);

/// Most joins of one socket whose acknowledgements are held back.
pub const MAX_HELD_JOINS: u32 = 100;

/// The relay application: its events are `join`, `leave`, `publish`, `broadcast` and `echo`, each
/// with an optional acknowledgement.
#[derive(Debug)]
pub struct Relay {
    namespaces: Vec<Pattern>,
}

/// What is wrong with a client's event; it is told in the acknowledgement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
enum RelayError {
    #[error("there is no such event")]
    UnknownEvent,
    #[error(
        "a room is a string of 1 to {MAX_ROOM_BYTES} bytes, several are a list of such strings"
    )]
    BadRoom,
    #[error("the room belongs to another socket or to a user")]
    ForbiddenRoom,
    /// Redis does not let this node subscribe to it.
    #[error(
        "Redis refuses the channel of this room, so the socket would miss what other nodes publish"
    )]
    RefusedRoom,
    #[error("an event to publish needs a name that is a string and not reserved")]
    BadEvent,
    #[error("the token does not allow it")]
    Forbidden,
    #[error("the socket is in as many rooms as it may be")]
    TooManyRooms,
    #[error("an event names at most {MAX_NAMES} rooms")]
    TooManyNames,
    #[error("a join with history names at most {} rooms", rewind::MAX_ROOMS)]
    TooManyRewound,
    #[error("the namespace has no recovery, so it keeps no history")]
    NoHistory,
    #[error("history is asked for with {{rewind: number}} or with {{after: offset}}")]
    BadHistory,
    #[error("the socket sends more events than it may")]
    RateLimited,
    #[error("too many events wait to be put in order")]
    Overloaded,
    #[error("the socket joined on this node, which cannot reach the other nodes now")]
    Unavailable,
    /// Whether it is the room of a socket of a Node server.
    #[error(
        "not joined: a Node server did not answer whether the room belongs to one of its sockets"
    )]
    Undecided,
}

impl RelayError {
    fn code(self) -> &'static str {
        match self {
            Self::UnknownEvent => "unknown_event",
            Self::BadRoom => "bad_room",
            Self::ForbiddenRoom | Self::RefusedRoom => "forbidden_room",
            Self::BadEvent => "bad_event",
            Self::Forbidden => "forbidden",
            Self::TooManyRooms | Self::TooManyNames | Self::TooManyRewound => "too_many_rooms",
            Self::NoHistory => "no_history",
            Self::BadHistory => "bad_history",
            Self::RateLimited => "rate_limited",
            Self::Unavailable | Self::Undecided | Self::Overloaded => "unavailable",
        }
    }
}

impl Relay {
    /// The relay for the namespaces of `config`. Limits are those of the node.
    pub fn new(config: &Config) -> Self {
        Self {
            namespaces: config.namespaces.clone(),
        }
    }

    fn handle(&self, socket: &Socket, event: &Event<'_>) -> Result<Done, RelayError> {
        match event.name() {
            "join" => return self.join(socket, event.arguments()),
            "leave" => {
                let rooms = rooms(first(event.arguments())?)?;
                if rooms.iter().any(|room| user_of_room(room).is_some()) {
                    return Err(RelayError::ForbiddenRoom);
                }
                socket.leave_all(rooms.iter().map(AsRef::as_ref));
            }
            "publish" => {
                let (room, rest) = event.arguments().split_first().ok_or(RelayError::BadRoom)?;
                let rooms = rooms(room)?;
                let (name, arguments) = named(rest)?;
                allow(socket, Right::Publish, &rooms)?;
                let to = rooms
                    .into_iter()
                    .fold(socket.broadcast(), |to, room| to.to(room));
                return published(to, &name, arguments);
            }
            "broadcast" => {
                let (name, arguments) = named(event.arguments())?;
                if socket
                    .claims()
                    .is_some_and(|claims| !claims.allows_broadcast())
                {
                    return Err(RelayError::Forbidden);
                }
                return published(socket.broadcast(), &name, arguments);
            }
            _ => return Err(RelayError::UnknownEvent),
        }
        Ok(Done::Now)
    }

    fn join(&self, socket: &Socket, arguments: Arguments<'_>) -> Result<Done, RelayError> {
        let rooms = rooms(first(arguments)?)?;
        if rooms.iter().any(|room| is_private(room)) {
            return Err(RelayError::ForbiddenRoom);
        }
        allow(socket, Right::Join, &rooms)?;
        let wants = rewind::wanted(arguments)?;
        if wants.is_some() && socket.place().is_none() {
            return Err(RelayError::NoHistory);
        }
        if wants.is_some() && rooms.len() > rewind::MAX_ROOMS {
            return Err(RelayError::TooManyRewound);
        }
        let gateway = socket.gateway();
        if let Some(cluster) = gateway.node().cluster() {
            let shaped = || rooms.iter().filter_map(|room| SocketId::parse(room));
            // Of a node of an earlier version, whose ids have no checksum.
            let is_of =
                |tag: NodeTag| tag != gateway.node().tag() && cluster.is_member(tag.as_str());
            if shaped().any(|id| is_of(id.node())) {
                return Err(RelayError::ForbiddenRoom);
            }
            if wants.is_none() && shaped().next().is_some() {
                let rooms = rooms.into_iter().map(Cow::into_owned);
                return Ok(Done::OnceAsked(rooms.collect()));
            }
        }
        if let Some(wants) = wants {
            let rooms = rooms.into_iter().map(Cow::into_owned);
            return Ok(Done::OnceRead(rooms.collect(), wants));
        }
        enter(socket, &rooms, most(socket)).map(Done::Once)
    }
}

impl Application for Relay {
    fn has_namespace(&self, namespace: &str) -> bool {
        self.namespaces
            .iter()
            .any(|pattern| pattern.matches(namespace))
    }

    fn event(&self, socket: &Socket, mut event: Event<'_>) -> Flow {
        if event.name() == "echo" {
            let arguments = event.arguments();
            if let Some(ack) = event.take_ack() {
                ack.send_arguments(arguments);
            }
            return Flow::Done;
        }
        let done = self.handle(socket, &event);
        let ack = event.take_ack();
        let done = match done {
            Ok(Done::Now) => Ok(Entered::default()),
            Ok(Done::Once(entered)) => Ok(entered),
            Ok(Done::Published(published)) => {
                if let Some(ack) = ack {
                    tokio::task::spawn_local(async move {
                        // Of a sender that is elsewhere by now nobody waits for an answer.
                        if let Ok(Ok(())) = published.await {
                            ack.accept();
                        }
                    });
                }
                return Flow::Done;
            }
            Ok(Done::OnceAsked(rooms)) => {
                let (socket, most) = (socket.clone(), most(socket));
                return Flow::Pending(Box::pin(async move {
                    let done = ask_and_enter(&socket, &rooms, most).await;
                    acknowledge(&socket, "join", ack, done);
                }));
            }
            Ok(Done::OnceRead(rooms, wants)) => {
                let (socket, most) = (socket.clone(), most(socket));
                return Flow::Pending(Box::pin(async move {
                    rewind::join(&socket, &rooms, wants, most, ack).await;
                }));
            }
            Err(error) => Err(error),
        };
        acknowledge(socket, event.name(), ack, done);
        Flow::Done
    }

    fn rate_limited(&self, _: &Socket, mut event: Event<'_>) {
        answer(event.take_ack(), Err(RelayError::RateLimited));
    }
}

/// How many rooms a socket may be in.
fn most(socket: &Socket) -> usize {
    socket.session().shard().limits().rooms_per_socket
}

/// When what was asked for is done.
enum Done {
    Now,
    /// Once the join holds on every node.
    Once(Entered),
    /// Once it is in the log.
    Published(oneshot::Receiver<Result<(), Unpublished>>),
    /// Once the Node servers said that these rooms are no sockets' own.
    OnceAsked(Vec<String>),
    /// Once the past of the rooms went out.
    OnceRead(Vec<String>, Rewind),
}

/// Rooms that a socket joined on this node.
#[derive(Default)]
struct Entered {
    joined: Joined,
    /// Those that it was not in before, unless they are joined everywhere already.
    new: Vec<String>,
}

/// Joins rooms, as far as the socket may be in so many.
fn enter<R: AsRef<str>>(socket: &Socket, rooms: &[R], most: usize) -> Result<Entered, RelayError> {
    let new = socket.not_in(rooms.iter().map(AsRef::as_ref));
    let joined = socket.room_count() - usize::from(socket.user().is_some());
    if joined + new.len() > most {
        return Err(RelayError::TooManyRooms);
    }
    let joined = socket.join_everywhere(rooms);
    // Only if it may be taken back.
    let new = if joined.is_everywhere() {
        Vec::new()
    } else {
        new
    };
    Ok(Entered {
        joined,
        new: new.into_iter().map(str::to_owned).collect(),
    })
}

/// The same, if none of them is the private room of a socket of a Node server.
async fn ask_and_enter(
    socket: &Socket,
    rooms: &[String],
    most: usize,
) -> Result<Entered, RelayError> {
    ask_about(socket, rooms).await?;
    enter(socket, rooms, most)
}

/// Whether none of the rooms is the private room of a socket of a Node server.
async fn ask_about(socket: &Socket, rooms: &[String]) -> Result<(), RelayError> {
    let gateway = socket.gateway();
    if let Some(cluster) = gateway.node().cluster() {
        let shaped = rooms.iter().filter(|room| is_id_shaped(room));
        let shaped: Vec<String> = shaped.cloned().collect();
        if shaped.is_empty() {
            return Ok(());
        }
        match cluster.has_own_room(socket.namespace(), &shaped).await {
            Ok(false) => {}
            Ok(true) => return Err(RelayError::ForbiddenRoom),
            Err(Away) => return Err(RelayError::Undecided),
        }
    }
    Ok(())
}

/// Tells the client what became of its event, a join once it holds on every node.
fn acknowledge(socket: &Socket, event: &str, ack: Option<Ack>, done: Result<Entered, RelayError>) {
    if let Err(error) = &done {
        debug!(target: "gateway::relay", socket = %socket.id(), event, reason = error.code(), "event refused");
    }
    match done {
        Ok(entered) if !entered.joined.is_everywhere() => hold_back(socket, ack, entered),
        Ok(_) => answer(ack, Ok(())),
        Err(error) => answer(ack, Err(error)),
    }
}

fn answer(ack: Option<Ack>, done: Result<(), RelayError>) {
    match (ack, done) {
        (Some(ack), Ok(())) => ack.accept(),
        (Some(ack), Err(error)) => ack.refuse(error.code(), &error.to_string()),
        (None, _) => {}
    }
}

/// Acknowledges a join once it holds on every node. If Redis refuses one of the rooms, the socket leaves
/// those that it was not in before.
fn hold_back(socket: &Socket, ack: Option<Ack>, entered: Entered) {
    let socket = socket.clone();
    // Joins that nobody waits for leave room to those that are awaited.
    let most = MAX_HELD_JOINS / if ack.is_some() { 1 } else { 2 };
    let Some(held) = socket.hold_join(most) else {
        return answer(ack, Err(RelayError::Unavailable));
    };
    tokio::task::spawn_local(async move {
        let Entered { mut joined, new } = entered;
        let ended = tokio::time::timeout(JOIN_PATIENCE, &mut joined).await;
        drop(held);
        let done = match ended {
            Ok(()) if joined.is_refused() => {
                socket.leave_all(new.iter().map(String::as_str));
                Err(RelayError::RefusedRoom)
            }
            Ok(()) => Ok(()),
            Err(_) => Err(RelayError::Unavailable),
        };
        answer(ack, done);
    });
}

/// Whether the client's token, where it needs one, gives it a right in all of the rooms.
fn allow(socket: &Socket, right: Right, rooms: &[Cow<'_, str>]) -> Result<(), RelayError> {
    let allowed = socket
        .claims()
        .is_none_or(|claims| rooms.iter().all(|room| claims.allows(right, room)));
    if allowed {
        Ok(())
    } else {
        Err(RelayError::Forbidden)
    }
}

fn first(arguments: Arguments<'_>) -> Result<&str, RelayError> {
    arguments.iter().next().ok_or(RelayError::BadRoom)
}

/// A room or a list of rooms.
fn rooms(value: &str) -> Result<Vec<Cow<'_, str>>, RelayError> {
    let list = value
        .strip_prefix('[')
        .and_then(|value| value.strip_suffix(']'));
    let Some(list) = list else {
        return Ok(vec![room(value)?]);
    };
    let list = Arguments::from_raw(list, &[]);
    let mut rooms = IndexSet::new();
    for (count, name) in list.iter().enumerate() {
        if count == MAX_NAMES {
            return Err(RelayError::TooManyNames);
        }
        rooms.insert(room(name)?);
    }
    if rooms.is_empty() {
        Err(RelayError::BadRoom)
    } else {
        Ok(rooms.into_iter().collect())
    }
}

fn room(value: &str) -> Result<Cow<'_, str>, RelayError> {
    let room = json::as_string(value).ok_or(RelayError::BadRoom)?;
    if (1..=MAX_ROOM_BYTES).contains(&room.len()) {
        Ok(room)
    } else {
        Err(RelayError::BadRoom)
    }
}

/// The name of an event to pass on, and what follows it.
fn named(arguments: Arguments<'_>) -> Result<(Cow<'_, str>, Arguments<'_>), RelayError> {
    let (name, rest) = arguments.split_first().ok_or(RelayError::BadEvent)?;
    let name = json::as_string(name)
        .filter(|name| !is_reserved(name))
        .ok_or(RelayError::BadEvent)?;
    Ok((name, rest))
}

/// What came in as an event can go out as one: its name was checked, and its attachments are few.
fn published(to: Emitter, name: &str, arguments: Arguments<'_>) -> Result<Done, RelayError> {
    match to.publish_or_emit(name, arguments.into()) {
        Ok(None) => Ok(Done::Now),
        Ok(Some(published)) => Ok(Done::Published(published)),
        Err(EmitError::Overloaded) => Err(RelayError::Overloaded),
        Err(_) => Err(RelayError::BadEvent),
    }
}
