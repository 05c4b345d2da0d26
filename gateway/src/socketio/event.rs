//! Events that clients emit, and the acknowledgements that they wait for.

use protocol::Encoded;
use protocol::socketio::Arguments;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::socketio::arguments::parse;
pub use crate::socketio::arguments::{Binary, EmitError, IntoArguments, OwnedArguments};
use crate::socketio::socket::Socket;

/// An event that a client emitted.
///
/// ```
/// use gateway::event::{Binary, EmitError, Event};
///
/// fn store(mut event: Event<'_>) -> Result<(), EmitError> {
///     match event.parse::<(String, Binary)>() {
///         Ok((name, Binary(bytes))) => event.ack(("stored", name, bytes.len())),
///         Err(error) => event.ack(("refused", error.to_string())),
///     }
/// }
/// ```
pub struct Event<'a> {
    name: &'a str,
    arguments: Arguments<'a>,
    ack: Option<Ack>,
}

impl<'a> Event<'a> {
    pub(crate) fn new(name: &'a str, arguments: Arguments<'a>, ack: Option<Ack>) -> Self {
        Self {
            name,
            arguments,
            ack,
        }
    }

    /// Its name.
    pub fn name(&self) -> &'a str {
        self.name
    }

    /// Its arguments as they came.
    pub fn arguments(&self) -> Arguments<'a> {
        self.arguments
    }

    /// Its arguments as a tuple: `let (text, count): (String, u32) = event.parse()?`. Arguments
    /// beyond the tuple are ignored; binary ones are [`Binary`].
    ///
    /// # Errors
    ///
    /// Arguments that are missing, or of other types than the tuple has.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        parse(self.arguments)
    }

    /// Whether the client waits for an acknowledgement that was not taken yet.
    pub fn wants_ack(&self) -> bool {
        self.ack.is_some()
    }

    /// The acknowledgement that the client waits for, to be sent now or later.
    pub fn take_ack(&mut self) -> Option<Ack> {
        self.ack.take()
    }

    /// Acknowledges, if the client waits for it.
    ///
    /// # Errors
    ///
    /// Arguments that clients do not take: see [`EmitError`]. Then the client gets no acknowledgement.
    pub fn ack(&mut self, arguments: impl IntoArguments) -> Result<(), EmitError> {
        match self.ack.take() {
            Some(ack) => ack.send(arguments),
            None => Ok(()),
        }
    }
}

/// The answer that a client waits for. Dropped, it is never sent.
pub struct Ack {
    socket: Socket,
    id: u64,
}

impl Ack {
    pub(crate) fn new(socket: Socket, id: u64) -> Self {
        Self { socket, id }
    }

    /// Sends the answer. It is lost if the client is gone.
    ///
    /// # Errors
    ///
    /// Arguments that clients do not take: see [`EmitError`]. Then the client gets no acknowledgement.
    pub fn send(self, arguments: impl IntoArguments) -> Result<(), EmitError> {
        self.send_arguments(arguments.into_arguments()?.as_ref());
        Ok(())
    }

    /// Sends arguments that came from a client or a backend, and were checked then.
    pub(crate) fn send_arguments(self, arguments: Arguments<'_>) {
        let packet = Encoded::ack(self.socket.namespace(), self.id, arguments);
        self.socket
            .push_ack(packet, !arguments.attachments().is_empty());
    }

    /// Sends `{"ok": true}`.
    pub(crate) fn accept(self) {
        self.send_json(&json!({"ok": true}));
    }

    /// Tells why the event has no effect: `{"ok": false, "error": {..}}`.
    pub(crate) fn refuse(self, code: &str, message: &str) {
        self.send_json(&json!({"ok": false, "error": {"code": code, "message": message}}));
    }

    /// Sends an object that the gateway itself makes up.
    pub(crate) fn send_json(self, object: &Value) {
        self.send_arguments(Arguments::from_raw(&object.to_string(), &[]));
    }
}
