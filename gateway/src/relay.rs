//! The application without code: clients join rooms and publish to them.

use std::borrow::Cow;

use protocol::socketio::{Arguments, is_reserved, json};

use crate::application::{Application, Flow};
use crate::config::{Config, Pattern};
use crate::event::{EmitError, Event};
use crate::ids::is_id_shaped;
use crate::socket::Socket;

/// Longest room name in bytes that clients may use.
pub const MAX_ROOM_BYTES: usize = 512;

/// The relay application: its events are `join`, `leave`, `publish`, `broadcast` and `echo`, each
/// with an optional acknowledgement.
#[derive(Debug)]
pub struct Relay {
    namespaces: Vec<Pattern>,
    rooms_per_socket: usize,
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
    #[error("rooms of this shape belong to one socket each")]
    ForbiddenRoom,
    #[error("an event to publish needs a name that is a string and not reserved")]
    BadEvent,
    #[error("the socket is in as many rooms as it may be")]
    TooManyRooms,
}

impl RelayError {
    fn code(self) -> &'static str {
        match self {
            Self::UnknownEvent => "unknown_event",
            Self::BadRoom => "bad_room",
            Self::ForbiddenRoom => "forbidden_room",
            Self::BadEvent => "bad_event",
            Self::TooManyRooms => "too_many_rooms",
        }
    }
}

impl Relay {
    /// The relay for the namespaces and limits of `config`.
    pub fn new(config: &Config) -> Self {
        Self {
            namespaces: config.namespaces.clone(),
            rooms_per_socket: config.limits.rooms_per_socket,
        }
    }

    fn handle(&self, socket: &Socket, event: &Event<'_>) -> Result<(), RelayError> {
        match event.name() {
            "join" => self.join(socket, event.arguments()),
            "leave" => {
                for room in rooms(first(event.arguments())?)? {
                    socket.leave(&room);
                }
                Ok(())
            }
            "publish" => {
                let (room, rest) = event.arguments().split_first().ok_or(RelayError::BadRoom)?;
                let rooms = rooms(room)?;
                let (name, arguments) = named(rest)?;
                let to = rooms
                    .into_iter()
                    .fold(socket.broadcast(), |to, room| to.to(room));
                emitted(to.emit(&name, arguments))
            }
            "broadcast" => {
                let (name, arguments) = named(event.arguments())?;
                emitted(socket.broadcast().emit(&name, arguments))
            }
            _ => Err(RelayError::UnknownEvent),
        }
    }

    fn join(&self, socket: &Socket, arguments: Arguments<'_>) -> Result<(), RelayError> {
        let rooms = rooms(first(arguments)?)?;
        if rooms.iter().any(|room| is_id_shaped(room)) {
            return Err(RelayError::ForbiddenRoom);
        }
        let mut new: Vec<_> = rooms.iter().filter(|room| !socket.is_in(room)).collect();
        new.sort_unstable();
        new.dedup();
        if socket.room_count() + new.len() > self.rooms_per_socket {
            return Err(RelayError::TooManyRooms);
        }
        socket.join(new);
        Ok(())
    }
}

impl Application for Relay {
    fn has_namespace(&self, namespace: &str) -> bool {
        self.namespaces
            .iter()
            .any(|pattern| pattern.matches(namespace))
    }

    fn event(&self, socket: &Socket, mut event: Event<'_>) -> Flow {
        let answered = if event.name() == "echo" {
            let arguments = event.arguments();
            event.ack(arguments)
        } else {
            match self.handle(socket, &event) {
                Ok(()) => event.ack((serde_json::json!({"ok": true}),)),
                Err(error) => {
                    tracing::debug!(socket = %socket.id(), event = event.name(), %error, "event refused");
                    event.ack((serde_json::json!({
                        "ok": false,
                        "error": {"code": error.code(), "message": error.to_string()},
                    }),))
                }
            }
        };
        if let Err(error) = answered {
            tracing::debug!(socket = %socket.id(), %error, "acknowledgement not sent");
        }
        Flow::Done
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
    let rooms: Vec<_> = match list {
        Some(list) => Arguments::from_raw(list, &[])
            .iter()
            .map(room)
            .collect::<Result<_, _>>()?,
        None => vec![room(value)?],
    };
    if rooms.is_empty() {
        Err(RelayError::BadRoom)
    } else {
        Ok(rooms)
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
fn emitted(result: Result<(), EmitError>) -> Result<(), RelayError> {
    result.map_err(|_| RelayError::BadEvent)
}
