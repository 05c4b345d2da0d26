//! Answers to what other nodes ask for: in parts to gateway nodes, whole to Node servers.

use std::sync::Arc;
use std::time::{Duration, Instant};

use adapter::{Answer, List, ListRequest, Publish, ReplyTo, Selection, SocketDetails};

use crate::cluster::Cluster;
use crate::engine::node::Node;
use crate::socketio::layer::SocketIo;
use crate::socketio::list::{Count, Entry, MAX_ENTRIES, PIECE_BYTES, Run, names};
use crate::socketio::socket::SocketInfo;

/// Most bytes of the sockets of an answer that holds all of them: a message may have 16 MiB.
const WHOLE_BYTES: usize = 15 * 1024 * 1024;

/// Bytes that wait to be published above which such an answer waits, for as long as anybody may wait
/// for it: it must not take the place of messages.
const MUCH: u64 = 8 * 1024 * 1024;

/// How often that is looked at.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// Answers another gateway node with a part of a list.
pub(super) fn answer_list(
    node: &Arc<Node>,
    cluster: &Cluster,
    namespace: Arc<str>,
    request: ListRequest,
    reply_to: Option<ReplyTo>,
) {
    let request = Arc::new(ListRequest {
        limit: request.limit.clamp(1, MAX_ENTRIES),
        bytes: request.bytes.min(PIECE_BYTES),
        ..request
    });
    let places = Arc::clone(&SocketIo::of(node).lists.answers);
    let Some(to) = reply_to else {
        return;
    };
    let of_node = Arc::clone(node);
    answer(node, cluster, places, async move {
        let node = of_node;
        let Some(cluster) = node.cluster() else {
            return false;
        };
        let piece = match request.list {
            List::Sockets { .. } => {
                let run: Run<SocketInfo> = node.list_here(&namespace, &request).await;
                run.into_piece()
            }
            List::Rooms { .. } | List::Users => {
                let run: Run<Count> = node.list_here(&namespace, &request).await;
                run.into_piece()
            }
        };
        cluster
            .adapter()
            .respond(&namespace, &to, &Answer::Piece(piece))
            == Publish::Queued
    });
}

/// Answers a Node server with all sockets of a selection. If they are too many for a message, what
/// their requests told is left out; if they still are, nobody can say so to Node, whose caller gets
/// its timeout.
pub(super) fn answer_sockets(
    node: &Arc<Node>,
    cluster: &Cluster,
    namespace: Arc<str>,
    selection: Selection,
    reply_to: Option<ReplyTo>,
) {
    let places = Arc::clone(&SocketIo::of(node).lists.whole);
    let Some(to) = reply_to else {
        return;
    };
    let of_node = Arc::clone(node);
    answer(node, cluster, places, async move {
        let node = of_node;
        let Some(cluster) = node.cluster() else {
            return false;
        };
        for handshakes in [true, false] {
            let list = List::Sockets { handshakes };
            let found: Option<Vec<SocketInfo>> =
                whole(&node, cluster, &namespace, (list, &selection)).await;
            let Some(found) = found else { continue };
            let details: Vec<SocketDetails> = found.iter().map(SocketInfo::to_details).collect();
            drop(found);
            let answer = Answer::Sockets(details);
            if cluster.adapter().respond(&namespace, &to, &answer) == Publish::Queued {
                if !handshakes {
                    tracing::warn!(target: "gateway::cluster::answers",
                        %namespace,
                        "a server asked for more sockets than fit into a message: it was told of them without headers, query and auth"
                    );
                }
                return true;
            }
        }
        false
    });
}

/// Answers an old Node server with the ids of the sockets of a selection.
pub(super) fn answer_ids(
    node: &Arc<Node>,
    cluster: &Cluster,
    namespace: Arc<str>,
    selection: Selection,
    reply_to: Option<ReplyTo>,
) {
    let places = Arc::clone(&SocketIo::of(node).lists.whole);
    let Some(to) = reply_to else {
        return;
    };
    let of_node = Arc::clone(node);
    answer(node, cluster, places, async move {
        let node = of_node;
        let Some(cluster) = node.cluster() else {
            return false;
        };
        let list = List::Sockets { handshakes: false };
        let found: Option<Vec<SocketInfo>> =
            whole(&node, cluster, &namespace, (list, &selection)).await;
        let ids = found.map(|found| found.into_iter().map(|socket| socket.id).collect());
        ids.is_some_and(|ids| {
            let answer = Answer::SocketIds(ids);
            cluster.adapter().respond(&namespace, &to, &answer) == Publish::Queued
        })
    });
}

/// Answers a Node server with the names of all rooms.
pub(super) fn answer_rooms(
    node: &Arc<Node>,
    cluster: &Cluster,
    namespace: Arc<str>,
    reply_to: Option<ReplyTo>,
) {
    let places = Arc::clone(&SocketIo::of(node).lists.whole);
    let Some(to) = reply_to else {
        return;
    };
    let of_node = Arc::clone(node);
    answer(node, cluster, places, async move {
        let node = of_node;
        let Some(cluster) = node.cluster() else {
            return false;
        };
        let list = List::Rooms { private: true };
        let everybody = Selection::everybody();
        let found: Option<Vec<Count>> = whole(&node, cluster, &namespace, (list, &everybody)).await;
        found.is_some_and(|found| {
            let answer = Answer::Rooms(names(found));
            cluster.adapter().respond(&namespace, &to, &answer) == Publish::Queued
        })
    });
}

/// Answers when a place is free. What is not answered is counted, and told in the log.
fn answer(
    node: &Arc<Node>,
    cluster: &Cluster,
    places: Arc<tokio::sync::Semaphore>,
    answer: impl Future<Output = bool> + Send + 'static,
) {
    let Some(waiting) = SocketIo::of(node).lists.waiting.take(1) else {
        return SocketIo::of(node).lists.refused.increment();
    };
    let node = Arc::clone(node);
    cluster.spawn(async move {
        let _waiting = waiting;
        let Ok(_place) = places.acquire().await else {
            return;
        };
        if !answer.await {
            SocketIo::of(&node).lists.refused.increment();
            tracing::warn!(target: "gateway::cluster::answers", "what another server asked for is too much for a message, or cannot be published: it gets no answer");
        }
    });
}

/// All of a list on this node; `None` if that is too much. It waits until little else is to be
/// published.
async fn whole<E: Entry>(
    node: &Node,
    cluster: &Cluster,
    namespace: &Arc<str>,
    (list, selection): (List, &Selection),
) -> Option<Vec<E>> {
    let late = Instant::now() + cluster.patience();
    while cluster.adapter().counters().queued_bytes.value() > MUCH && Instant::now() < late {
        tokio::time::sleep(LOOK_AGAIN).await;
    }
    let (mut all, mut bytes, mut after) = (Vec::<E>::new(), 0, None);
    loop {
        let request = Arc::new(ListRequest {
            list,
            selection: selection.clone(),
            after,
            limit: MAX_ENTRIES,
            bytes: PIECE_BYTES,
        });
        let run: Run<E> = node.list_here(namespace, &request).await;
        bytes += run.entries.iter().map(E::size).sum::<usize>();
        if bytes > WHOLE_BYTES || run.cut {
            return None;
        }
        after = run.entries.last().map(|last| last.name().to_owned());
        all.extend(run.entries);
        if !run.more || after.is_none() {
            return Some(all);
        }
    }
}
