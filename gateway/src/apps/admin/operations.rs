//! What an admin page does: it emits, disconnects sockets, and has them join and leave rooms, on all nodes.

use std::borrow::Cow;
use std::fmt;

use protocol::socketio::{Arguments, is_reserved, json};

use crate::count::label;
use crate::net::ids::is_private;
use crate::socketio::Gateway;
use crate::socketio::emitter::Emitter;
use crate::socketio::event::OwnedArguments;

label! {
    /// What a page does.
    pub(super) enum Operation: "operation" {
        Emit = "emit",
        Join = "join",
        Leave = "leave",
        Disconnect = "disconnect",
    }
}

label! {
    /// What became of it.
    pub(super) enum Outcome: "result" {
        Done = "done",
        /// It is not written as it should be, or its namespace is unknown, or a room is somebody's own.
        Refused = "refused",
        /// `admin.read_only` is set.
        ReadOnly = "read_only",
    }
}

/// An operation with all that it needs.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Order<'a> {
    pub(super) namespace: Cow<'a, str>,
    /// A room, or the id of a socket; `None` for the whole namespace.
    pub(super) filter: Option<Cow<'a, str>>,
    pub(super) what: What<'a>,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum What<'a> {
    Emit(Cow<'a, str>, Arguments<'a>),
    Join(Cow<'a, str>),
    Leave(Cow<'a, str>),
    Disconnect { close: bool },
}

impl Operation {
    /// The operation that an event asks for.
    pub(super) fn of(event: &str) -> Option<Self> {
        match event {
            "emit" => Some(Self::Emit),
            "join" => Some(Self::Join),
            "leave" => Some(Self::Leave),
            "_disconnect" => Some(Self::Disconnect),
            _ => None,
        }
    }
}

/// Longest name of a namespace, a room, a socket or an event.
const MAX_NAME: usize = 1024;

impl<'a> Order<'a> {
    /// Reads the arguments of an operation. The error says what is wrong.
    pub(super) fn read(
        operation: Operation,
        arguments: Arguments<'a>,
    ) -> Result<Self, &'static str> {
        let (namespace, rest) = arguments.split_first().ok_or("it names no namespace")?;
        let namespace = name(namespace).ok_or("its namespace is no name")?;
        let second = |what| rest.split_first().ok_or(what);
        let (filter, what) = match operation {
            Operation::Emit => {
                let (filter, rest) = second("it names no event")?;
                let (event, rest) = rest.split_first().ok_or("it names no event")?;
                let event = name(event).filter(|event| !is_reserved(event));
                let event = event.ok_or("its event is no name, or a reserved one")?;
                (Some(filter), What::Emit(event, rest))
            }
            Operation::Join | Operation::Leave => {
                let (room, rest) = second("it names no room")?;
                let room = name(room).ok_or("its room is no name")?;
                let filter = rest.split_first().map(|(filter, _)| filter);
                let is_join = operation == Operation::Join;
                let what = if is_join { What::Join } else { What::Leave };
                (filter, what(room))
            }
            Operation::Disconnect => {
                let (close, filter) = match rest.split_first() {
                    None => (false, None),
                    Some((close, rest)) => {
                        let close = close == "true";
                        (close, rest.split_first().map(|(filter, _)| filter))
                    }
                };
                (filter, What::Disconnect { close })
            }
        };
        let filter = filter.filter(|filter| *filter != "null");
        let filter = match filter {
            Some(filter) => Some(name(filter).ok_or("its room or socket is no name")?),
            None => None,
        };
        let moved = match &what {
            What::Join(room) | What::Leave(room) => Some(room),
            What::Emit(..) | What::Disconnect { .. } => None,
        };
        if moved.is_some_and(|room| is_private(room)) {
            return Err("the private room of a socket or a user is nobody else's");
        }
        Ok(Self {
            namespace,
            filter,
            what,
        })
    }

    /// Does it on all nodes.
    pub(super) fn run(self, gateway: &Gateway) -> Result<(), &'static str> {
        let all = gateway.of(&self.namespace);
        let selected: Emitter = match self.filter {
            Some(filter) => all.to(filter),
            None => all,
        };
        match self.what {
            What::Emit(event, arguments) => {
                let sent = selected.emit(&event, OwnedArguments::from(arguments));
                sent.map_err(|_| "it cannot be emitted")?;
            }
            What::Join(room) => selected.join([room]),
            What::Leave(room) => selected.leave([room]),
            What::Disconnect { close } => selected.disconnect(close),
        }
        Ok(())
    }
}

/// For the log: what it is about, without the arguments of events.
impl fmt::Display for What<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Emit(event, _) => write!(f, "event {event:?}"),
            Self::Join(room) | Self::Leave(room) => write!(f, "room {room:?}"),
            Self::Disconnect { close: true } => f.write_str("with its session"),
            Self::Disconnect { close: false } => f.write_str("from the namespace"),
        }
    }
}

fn name(value: &str) -> Option<Cow<'_, str>> {
    json::as_string(value).filter(|name| (1..=MAX_NAME).contains(&name.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(event: &str, json: &'static str) -> Result<Order<'static>, &'static str> {
        let operation = Operation::of(event).unwrap();
        Order::read(operation, Arguments::from_raw(json, &[]))
    }

    fn order(
        namespace: &'static str,
        filter: Option<&'static str>,
        what: What<'static>,
    ) -> Order<'static> {
        Order {
            namespace: namespace.into(),
            filter: filter.map(Into::into),
            what,
        }
    }

    #[test]
    fn what_the_page_sends_is_understood() {
        // As the page and its tests send it.
        for (event, json, expected) in [
            (
                "emit",
                r#""/",null,"from-admin",{"a":1},2"#,
                order(
                    "/",
                    None,
                    What::Emit(
                        "from-admin".into(),
                        Arguments::from_raw(r#"{"a":1},2"#, &[]),
                    ),
                ),
            ),
            (
                "emit",
                r#""/","room-a","from-admin2""#,
                order(
                    "/",
                    Some("room-a"),
                    What::Emit("from-admin2".into(), Arguments::from_raw("", &[])),
                ),
            ),
            (
                "join",
                r#""/","room-z","msq""#,
                order("/", Some("msq"), What::Join("room-z".into())),
            ),
            (
                "join",
                r#""/","room-y""#,
                order("/", None, What::Join("room-y".into())),
            ),
            (
                "leave",
                r#""/","room-z",null"#,
                order("/", None, What::Leave("room-z".into())),
            ),
            (
                "_disconnect",
                r#""/chat",false,"yos""#,
                order("/chat", Some("yos"), What::Disconnect { close: false }),
            ),
            (
                "_disconnect",
                r#""/",true,"msq""#,
                order("/", Some("msq"), What::Disconnect { close: true }),
            ),
            (
                "_disconnect",
                r#""/""#,
                order("/", None, What::Disconnect { close: false }),
            ),
        ] {
            assert_eq!(read(event, json), Ok(expected), "{event} {json}");
        }
    }

    #[test]
    fn what_is_written_otherwise_is_refused() {
        for (event, json) in [
            ("emit", ""),
            ("emit", r#""/""#),
            ("emit", r#""/",null"#),
            ("emit", r#""/",null,7"#),
            ("emit", r#""/",null,"disconnect""#),
            ("emit", r#"7,null,"x""#),
            ("join", r#""/""#),
            ("join", r#""/",{}"#),
            ("join", r#""/","""#),
            ("join", r#""/","r",7"#),
            ("leave", "null"),
            ("_disconnect", ""),
            ("_disconnect", r#""/",true,["x"]"#),
        ] {
            assert!(read(event, json).is_err(), "{event} {json}");
        }
        assert_eq!(Operation::of("session"), None);
    }

    #[test]
    fn nobody_enters_the_private_room_of_a_socket() {
        use crate::net::ids::{SocketId, random_tag, user_room};
        let id = SocketId::random(random_tag(), 0);
        for room in [id.to_string(), user_room("ann")] {
            let json = format!(r#""/","{room}","a""#);
            for operation in [Operation::Join, Operation::Leave] {
                let read = Order::read(operation, Arguments::from_raw(&json, &[]));
                assert!(read.is_err(), "{json}");
            }
        }
    }
}
