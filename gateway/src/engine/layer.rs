//! What stands above Engine.IO at a path of the node: Socket.IO, or an application that speaks Engine.IO
//! alone.
//!
//! A layer keeps what is its own in halves that are opaque here: one with each shard, and one with each
//! session. It finds them again by their type.

use std::any::Any;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use protocol::engineio::{CloseReason, Message};

use crate::config::Config;
use crate::engine::admission::Admission;
use crate::engine::handshake::Handshake;
use crate::engine::session::Session;

/// What stands above Engine.IO at a path.
pub(crate) trait Layer: Any + Send + Sync {
    /// Whether a session may be opened at all; asked before its handshake is answered.
    fn admit(&self, handshake: &Handshake) -> Admission;

    /// Whether clients find the files of the JavaScript client below the path.
    fn has_client_files(&self) -> bool;

    /// Within what time a session must be [used](Session::set_used). `None` if it may be idle for ever.
    fn connect_timeout(&self, config: &Config) -> Option<Duration>;

    /// What the layer keeps with a shard. It is made once, on the shard's thread.
    fn shard_half(&self) -> Box<dyn Any>;

    /// What the layer keeps with a session.
    fn session_half(self: Arc<Self>) -> Box<dyn SessionHalf>;
}

/// The upper half of a session: what its layer makes of what the client sends.
pub(crate) trait SessionHalf: Any {
    /// The session was opened, and its handshake answered.
    fn opened(&self, session: &Rc<Session>);

    /// A message came, by whatever transport.
    fn message(&self, session: &Rc<Session>, message: Message<'_>);

    /// Queues what is on its way to the session's sockets, before something else is queued or the session closes. It is
    /// called while broadcasts of the shard are under way.
    fn catch_up(&self, session: &Rc<Session>) {
        let _ = session;
    }

    /// The session goes on by another transport.
    fn upgraded(&self, session: &Rc<Session>) {
        let _ = session;
    }

    /// The session receives nothing any more.
    fn closed(&self, session: &Rc<Session>, reason: CloseReason);

    /// Whether its messages are packets of Socket.IO, in whose JSON a character may be written as an escape.
    fn is_socket_io(&self) -> bool;

    /// Whether so much waits for the application that the client should not be read.
    /// [`Session::resume`] tells that it may be read again.
    fn is_behind(&self) -> bool;
}
