//! Socket.IO as the layer above Engine.IO, and what it keeps with a node.

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::config::Config;
use crate::engine::admission::Admission;
use crate::engine::handshake::Handshake;
use crate::engine::layer::{Layer, SessionHalf};
use crate::engine::node::Node;
use crate::recovery::{Order, Recovery};
use crate::show;
use crate::socketio::acks::Acks;
use crate::socketio::application::{Application, Guarded};
use crate::socketio::client::Client;
use crate::socketio::list::Lists;
use crate::socketio::namespaces::Namespaces;

/// Socket.IO on a node.
pub(crate) struct SocketIo {
    pub(crate) application: Guarded,
    /// What is held for the acknowledgements of broadcasts.
    pub(crate) acks: Acks,
    /// What is spent on lists.
    pub(crate) lists: Lists,
    /// How clients are recovered, if they are.
    pub(crate) recovery: Option<Recovery>,
    last_ack_id: AtomicU64,
    /// Whether admin pages have a namespace, which is none of the application's.
    has_pages: bool,
}

impl SocketIo {
    pub(crate) fn new(application: Arc<dyn Application>, config: &Config) -> Self {
        Self {
            application: Guarded::new(application),
            acks: Acks::default(),
            lists: Lists::default(),
            recovery: Recovery::new(config),
            last_ack_id: AtomicU64::new(0),
            has_pages: config.admin.is_some(),
        }
    }

    /// The order of a namespace, if its clients are recovered.
    pub(crate) fn order(&self, namespace: &str) -> Option<Arc<Order>> {
        self.recovery_of(namespace)?.order(namespace)
    }

    /// Whether a namespace with recovery cannot be put in order, since too many others are.
    pub(crate) fn is_full(&self, namespace: &str) -> bool {
        let recovery = self.recovery_of(namespace);
        recovery.is_some_and(|it| it.is_full(namespace))
    }

    /// How clients of a namespace are recovered, if they may be. Pages get what is there, and nothing that was.
    fn recovery_of(&self, namespace: &str) -> Option<&Recovery> {
        let recovery = self.recovery.as_ref()?;
        let is_of_pages = self.has_pages && namespace == show::NAMESPACE;
        (!is_of_pages).then_some(recovery)
    }

    /// Whether a backend is asked about a client that is recovered.
    pub(crate) fn asks_about_recovered(&self) -> bool {
        self.recovery
            .as_ref()
            .is_none_or(|it| it.config().ask_backend)
    }

    /// That of a node.
    pub(crate) fn of(node: &Node) -> &Self {
        node.layer()
    }

    /// An id under which an acknowledgement is awaited. No other emit of this node has it.
    pub(crate) fn next_ack_id(&self) -> u64 {
        self.last_ack_id.fetch_add(1, Ordering::Relaxed)
    }
}

impl Layer for SocketIo {
    fn admit(&self, handshake: &Handshake) -> Admission {
        self.application.admit(handshake)
    }

    fn has_client_files(&self) -> bool {
        true
    }

    /// A client that joins no namespace is of no use.
    fn connect_timeout(&self, config: &Config) -> Option<Duration> {
        Some(config.engine.connect_timeout)
    }

    fn shard_half(&self) -> Box<dyn Any> {
        Box::new(Namespaces::default())
    }

    fn session_half(self: Arc<Self>) -> Box<dyn SessionHalf> {
        Box::new(Client::new(self))
    }
}
