//! What is done to the selected sockets of this node: joins, leaves and disconnects.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use adapter::{ClusterMessage, Selection};
use protocol::engineio::CloseReason;
use tokio::sync::mpsc;
use tracing::debug;

use crate::engine::node::Node;
use crate::engine::shard::Shard;
use crate::engine::whereabouts::Everything;
use crate::socketio::namespace::Namespace;
use crate::socketio::socket::{Joined, Socket};
use crate::socketio::walk::{self, Effect};

type Done = mpsc::UnboundedSender<Joined>;

impl Node {
    /// Does what a message says, on the calling shard at once if it is to be done to few. What that shard emits
    /// afterwards comes behind it.
    pub(crate) fn change(&self, namespace: &Arc<str>, message: Arc<ClusterMessage>) {
        let (namespace, told) = (Arc::clone(namespace), Arc::new(self.tell_everything()));
        self.run_everywhere(move |shard| begin(shard, &namespace, &message, None, &told));
    }

    /// The same for those who wait for it. The future tells when every shard has done it and other nodes reach those
    /// who joined.
    pub(crate) fn change_and_tell(
        &self,
        namespace: &Arc<str>,
        message: Arc<ClusterMessage>,
    ) -> impl Future<Output = ()> + Send + use<> {
        let (sender, mut changed) = mpsc::unbounded_channel();
        let (namespace, told) = (Arc::clone(namespace), Arc::new(self.tell_everything()));
        self.run_everywhere(move |shard| {
            begin(shard, &namespace, &message, Some(sender.clone()), &told);
        });
        async move {
            while let Some(joined) = changed.recv().await {
                joined.await;
            }
        }
    }
}

fn begin(
    shard: &Rc<Shard>,
    namespace: &str,
    message: &Arc<ClusterMessage>,
    done: Option<Done>,
    told: &Arc<Everything>,
) {
    let (ClusterMessage::Join { selection, .. }
    | ClusterMessage::Leave { selection, .. }
    | ClusterMessage::Disconnect { selection, .. }) = &**message
    else {
        return;
    };
    if let Some(namespace) = shard.found_namespace(namespace) {
        let change = Change {
            message: Arc::clone(message),
            is_nobody: Cell::new(true),
            unwritten: RefCell::default(),
            done,
            _told: Arc::clone(told),
        };
        walk::change(shard, namespace, selection, change);
    }
}

/// A change that is under way on a shard.
struct Change {
    message: Arc<ClusterMessage>,
    is_nobody: Cell<bool>,
    /// Joins that are still to be written, where there is recovery.
    unwritten: RefCell<Joined>,
    /// Who waits for it.
    done: Option<Done>,
    /// Until it is over the rooms that it fills may have no members yet.
    _told: Arc<Everything>,
}

impl walk::Errand for Change {
    fn reach(&self, socket: &Socket) -> bool {
        self.is_nobody.set(false);
        match &*self.message {
            ClusterMessage::Join { rooms, .. } => {
                socket.join(rooms);
                if self.done.is_some() {
                    self.unwritten.borrow_mut().and_all(socket.unwritten());
                }
            }
            ClusterMessage::Leave { rooms, .. } => {
                socket.leave_all(rooms.iter().map(String::as_str));
            }
            ClusterMessage::Disconnect { close, .. } => socket.disconnect(*close),
            ClusterMessage::Broadcast(_)
            | ClusterMessage::FetchSockets { .. }
            | ClusterMessage::SocketIds { .. }
            | ClusterMessage::AllRooms
            | ClusterMessage::List(_)
            | ClusterMessage::Trace(_)
            | ClusterMessage::ServerSideEmit(_) => {}
        }
        true
    }

    fn effect(&self) -> Effect<'_> {
        match &*self.message {
            ClusterMessage::Join { rooms, .. } | ClusterMessage::Leave { rooms, .. } => {
                Effect::Rooms(rooms)
            }
            ClusterMessage::Disconnect { .. } => Effect::Ends,
            ClusterMessage::Broadcast(_)
            | ClusterMessage::FetchSockets { .. }
            | ClusterMessage::SocketIds { .. }
            | ClusterMessage::AllRooms
            | ClusterMessage::List(_)
            | ClusterMessage::Trace(_)
            | ClusterMessage::ServerSideEmit(_) => Effect::Nothing,
        }
    }

    /// Says what has to be in force for those who joined to be reached.
    fn end(&self, _: &Rc<Shard>, namespace: &Namespace, _recipients: u64, _took: Duration) {
        let Some(done) = &self.done else {
            return;
        };
        let mut joined = self.unwritten.take();
        if let ClusterMessage::Join { rooms, .. } = &*self.message
            && !self.is_nobody.get()
        {
            joined.and_all(namespace.all_in_force(rooms));
        }
        let _gone = done.send(joined);
    }
}

/// Closes the sessions of all sockets of a namespace on a shard.
pub(crate) fn close_all(shard: &Rc<Shard>, namespace: &str, why: &'static str) {
    if let Some(namespace) = shard.found_namespace(namespace) {
        walk::change(shard, namespace, &Selection::everybody(), Closing { why });
    }
}

/// The end of sessions that recovery cannot go on with.
struct Closing {
    why: &'static str,
}

impl walk::Errand for Closing {
    fn reach(&self, socket: &Socket) -> bool {
        socket.close_for_recovery(self.why);
        true
    }

    fn effect(&self) -> Effect<'_> {
        Effect::Ends
    }

    fn end(&self, _: &Rc<Shard>, _: &Namespace, _recipients: u64, _took: Duration) {}
}

impl Socket {
    /// Closes its session, whose client comes back to what it missed.
    pub(crate) fn close_for_recovery(&self, why: &'static str) {
        debug!(target: "gateway::recovery", socket = %self.id(), reason = why, "client closed");
        self.close_session(CloseReason::TransportClose);
    }
}
