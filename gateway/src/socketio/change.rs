//! What is done to the selected sockets of this node: joins, leaves and disconnects.

use std::sync::Arc;

use adapter::{ClusterMessage, Selection};
use futures_util::future::BoxFuture;

use crate::engine::node::Node;
use crate::engine::shard::Shard;
use crate::socketio::socket::{Joined, Socket};

impl Node {
    /// Does what a message says, on the calling shard at once. The future tells when every shard has
    /// done it and other nodes reach those who joined.
    pub(crate) fn change(
        &self,
        namespace: &Arc<str>,
        message: Arc<ClusterMessage>,
    ) -> BoxFuture<'static, ()> {
        let namespace = Arc::clone(namespace);
        let done = self.query(move |shard| change(shard, &namespace, &message));
        Box::pin(async move {
            for joined in done.await {
                joined.await;
            }
        })
    }
}

fn change(shard: &Shard, namespace: &str, message: &ClusterMessage) -> Joined {
    let for_each = |selection: &Selection, change: &dyn Fn(&Socket)| {
        let selected = shard.select(namespace, selection);
        selected.iter().for_each(change);
        selected.is_empty()
    };
    match message {
        ClusterMessage::Join { selection, rooms } => {
            let is_nobody = for_each(selection, &|socket| socket.join(rooms));
            if !is_nobody {
                return shard.in_force(namespace, rooms);
            }
        }
        ClusterMessage::Leave { selection, rooms } => {
            for_each(selection, &|socket| {
                socket.leave_all(rooms.iter().map(String::as_str));
            });
        }
        ClusterMessage::Disconnect { selection, close } => {
            for_each(selection, &|socket| socket.disconnect(*close));
        }
        ClusterMessage::Broadcast(_)
        | ClusterMessage::FetchSockets { .. }
        | ClusterMessage::SocketIds { .. }
        | ClusterMessage::AllRooms
        | ClusterMessage::List(_)
        | ClusterMessage::ServerSideEmit(_) => {}
    }
    Joined::default()
}
