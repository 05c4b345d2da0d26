//! Applications that speak Engine.IO alone.

use std::any::Any;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use protocol::engineio::{CloseReason, Message};

use crate::config::Config;
use crate::engine::admission::Admission;
use crate::engine::connection::Connection;
use crate::engine::guard::guard;
use crate::engine::handshake::Handshake;
use crate::engine::layer::{Layer, SessionHalf};
use crate::engine::session::Session;

/// An application that speaks Engine.IO alone, with no Socket.IO above it.
///
/// ```
/// use gateway::application::EngineApplication;
/// use gateway::engine::{Connection, Message};
///
/// /// Sends back what it gets.
/// struct Echo;
///
/// impl EngineApplication for Echo {
///     fn message(&self, connection: &Connection, message: Message<'_>) {
///         match message {
///             Message::Text(text) => drop(connection.send_text(&text)),
///             Message::Binary(data) => connection.send_binary(&data),
///         }
///     }
/// }
/// ```
pub trait EngineApplication: Send + Sync + 'static {
    /// A session was opened.
    fn open(&self, connection: &Connection) {
        let _ = connection;
    }

    /// A message came in.
    fn message(&self, connection: &Connection, message: Message<'_>);

    /// The session ended.
    fn close(&self, connection: &Connection, reason: CloseReason) {
        let _ = (connection, reason);
    }
}

/// The layer of an application that speaks Engine.IO alone. A panic of it closes the session that it
/// concerns, and hurts nobody else.
pub(crate) struct BareEngine(Arc<dyn EngineApplication>);

impl BareEngine {
    pub(crate) fn new(application: impl EngineApplication) -> Self {
        Self(Arc::new(application))
    }
}

impl Layer for BareEngine {
    fn admit(&self, _: &Handshake) -> Admission {
        Admission::Admit
    }

    fn has_client_files(&self) -> bool {
        false
    }

    fn connect_timeout(&self, _: &Config) -> Option<Duration> {
        None
    }

    fn shard_half(&self) -> Box<dyn Any> {
        Box::new(())
    }

    fn session_half(self: Arc<Self>) -> Box<dyn SessionHalf> {
        Box::new(BareSession(Arc::clone(&self.0)))
    }
}

struct BareSession(Arc<dyn EngineApplication>);

impl SessionHalf for BareSession {
    fn opened(&self, session: &Rc<Session>) {
        let connection = Connection::new(Rc::clone(session));
        guard("open", || self.0.open(&connection)).unwrap_or_else(|| connection.close());
    }

    fn message(&self, session: &Rc<Session>, message: Message<'_>) {
        let connection = Connection::new(Rc::clone(session));
        guard("message", || self.0.message(&connection, message))
            .unwrap_or_else(|| connection.close());
    }

    fn closed(&self, session: &Rc<Session>, reason: CloseReason) {
        let connection = Connection::new(Rc::clone(session));
        guard("close", || self.0.close(&connection, reason));
    }

    fn is_socket_io(&self) -> bool {
        false
    }

    fn is_behind(&self) -> bool {
        false
    }
}
