//! What is done to the selected sockets of this node: joins, leaves and disconnects.

use std::rc::Rc;
use std::sync::Arc;
use std::vec;

use adapter::ClusterMessage;
use tokio::sync::mpsc;

use crate::engine::node::Node;
use crate::engine::shard::Shard;
use crate::net::spell::Spell;
use crate::socketio::socket::{Joined, Socket};

impl Node {
    /// Does what a message says, on the calling shard at once.
    pub(crate) fn change(&self, namespace: &Arc<str>, message: Arc<ClusterMessage>) {
        let namespace = Arc::clone(namespace);
        self.run_everywhere(move |shard| {
            let mut change = Change::new(shard, &namespace, &message);
            while !change.take_turn() {}
        });
    }

    /// The same for those who wait for it: many sockets in many rooms are much work, so that the others of
    /// a shard get their turn meanwhile. The first turn is taken at once. The future tells when every
    /// shard has done it and other nodes reach those who joined.
    pub(crate) fn change_in_turns(
        &self,
        namespace: &Arc<str>,
        message: Arc<ClusterMessage>,
    ) -> impl Future<Output = ()> + Send + use<> {
        let (sender, mut changed) = mpsc::unbounded_channel();
        let namespace = Arc::clone(namespace);
        self.run_everywhere(move |shard| {
            let mut change = Change::new(shard, &namespace, &message);
            let sender = sender.clone();
            if change.take_turn() {
                let _gone = sender.send(change.in_force());
                return;
            }
            tokio::task::spawn_local(async move {
                loop {
                    tokio::task::yield_now().await;
                    if change.take_turn() {
                        break;
                    }
                }
                let _gone = sender.send(change.in_force());
            });
        });
        async move {
            while let Some(joined) = changed.recv().await {
                joined.await;
            }
        }
    }
}

/// A change that is under way on a shard.
struct Change {
    shard: Rc<Shard>,
    namespace: Arc<str>,
    message: Arc<ClusterMessage>,
    /// Those that it is still to be done to.
    left: vec::IntoIter<Socket>,
    is_nobody: bool,
    /// Joins that are still to be written, where there is recovery.
    unwritten: Joined,
}

impl Change {
    fn new(shard: &Rc<Shard>, namespace: &Arc<str>, message: &Arc<ClusterMessage>) -> Self {
        let selected = match &**message {
            ClusterMessage::Join { selection, .. }
            | ClusterMessage::Leave { selection, .. }
            | ClusterMessage::Disconnect { selection, .. } => shard.select(namespace, selection),
            ClusterMessage::Broadcast(_)
            | ClusterMessage::FetchSockets { .. }
            | ClusterMessage::SocketIds { .. }
            | ClusterMessage::AllRooms
            | ClusterMessage::List(_)
            | ClusterMessage::Trace(_)
            | ClusterMessage::ServerSideEmit(_) => Vec::new(),
        };
        Self {
            shard: Rc::clone(shard),
            namespace: Arc::clone(namespace),
            message: Arc::clone(message),
            is_nobody: selected.is_empty(),
            left: selected.into_iter(),
            unwritten: Joined::default(),
        }
    }

    /// Changes some of the sockets; `true` if none are left.
    fn take_turn(&mut self) -> bool {
        let mut spell = Spell::begin();
        for socket in self.left.by_ref() {
            match &*self.message {
                ClusterMessage::Join { rooms, .. } => {
                    socket.join(rooms);
                    self.unwritten.and_all(socket.unwritten());
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
            if spell.is_over() {
                break;
            }
        }
        self.left.len() == 0
    }

    /// What has to be in force for those who joined to be reached.
    fn in_force(&mut self) -> Joined {
        let mut joined = std::mem::take(&mut self.unwritten);
        if let ClusterMessage::Join { rooms, .. } = &*self.message
            && !self.is_nobody
        {
            joined.and_all(self.shard.in_force(&self.namespace, rooms));
        }
        joined
    }
}
