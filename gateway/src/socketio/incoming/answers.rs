//! Answers to what other nodes ask for: in parts to gateway nodes, whole to Node servers.

use std::sync::Arc;
use std::time::{Duration, Instant};

use adapter::{Answer, List, ListRequest, Piece, Publish, ReplyTo, Selection};
use tokio::sync::Semaphore;

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

/// A question of another server, and where its answer goes.
pub(super) struct Asked {
    pub(super) node: Arc<Node>,
    pub(super) cluster: Arc<Cluster>,
    pub(super) namespace: Arc<str>,
    pub(super) to: ReplyTo,
}

/// What became of an answer.
enum Answered {
    Yes,
    /// It is too much for a message, or cannot be published.
    No,
}

impl Asked {
    /// Answers another gateway node with a part of a list.
    pub(super) fn answer_list(self, request: ListRequest) {
        let request = Arc::new(ListRequest {
            limit: request.limit.clamp(1, MAX_ENTRIES),
            bytes: request.bytes.min(PIECE_BYTES),
            ..request
        });
        let places = Arc::clone(&SocketIo::of(&self.node).lists.answers);
        self.answer(places, async move |asked| {
            let piece = match request.list {
                List::Sockets { .. } => asked.part::<SocketInfo>(&request).await,
                List::Rooms { .. } | List::Users => asked.part::<Count>(&request).await,
            };
            asked.respond(&Answer::Piece(piece))
        });
    }

    /// Answers a Node server with all sockets of a selection. If they are too many for a message, what
    /// their requests told is left out; if they still are, nobody can say so to Node, whose caller gets
    /// its timeout.
    pub(super) fn answer_sockets(self, selection: Selection) {
        self.answer_whole(async move |asked| {
            for handshakes in [true, false] {
                let list = List::Sockets { handshakes };
                let found: Option<Vec<SocketInfo>> = asked.whole(list, &selection).await;
                let Some(found) = found else { continue };
                let details = match asked.node.show().tells_pages() {
                    true => SocketInfo::to_details_for_pages,
                    false => SocketInfo::to_details,
                };
                let details = found.iter().map(details).collect();
                drop(found);
                if let Answered::Yes = asked.respond(&Answer::Sockets(details)) {
                    if !handshakes {
                        tracing::warn!(target: "gateway::cluster::answers",
                            namespace = %asked.namespace,
                            "a server asked for more sockets than fit into a message; the answer leaves out headers, query and auth"
                        );
                    }
                    return Answered::Yes;
                }
            }
            Answered::No
        });
    }

    /// Answers an old Node server with the ids of the sockets of a selection.
    pub(super) fn answer_ids(self, selection: Selection) {
        self.answer_whole(async move |asked| {
            let list = List::Sockets { handshakes: false };
            let found: Option<Vec<SocketInfo>> = asked.whole(list, &selection).await;
            match found {
                Some(found) => {
                    let ids = found.into_iter().map(|socket| socket.id).collect();
                    asked.respond(&Answer::SocketIds(ids))
                }
                None => Answered::No,
            }
        });
    }

    /// Answers a Node server with the names of all rooms.
    pub(super) fn answer_rooms(self) {
        self.answer_whole(async |asked| {
            let list = List::Rooms { private: true };
            let found: Option<Vec<Count>> = asked.whole(list, &Selection::everybody()).await;
            match found {
                Some(found) => asked.respond(&Answer::Rooms(names(found))),
                None => Answered::No,
            }
        });
    }

    /// Answers with all of something, one such answer at a time.
    fn answer_whole<F: Future<Output = Answered> + Send>(
        self,
        answer: impl FnOnce(Arc<Self>) -> F + Send + 'static,
    ) {
        let places = Arc::clone(&SocketIo::of(&self.node).lists.whole);
        self.answer(places, answer);
    }

    /// Answers when a place is free. What is not answered is counted, and told in the log.
    fn answer<F: Future<Output = Answered> + Send>(
        self,
        places: Arc<Semaphore>,
        answer: impl FnOnce(Arc<Self>) -> F + Send + 'static,
    ) {
        let lists = &SocketIo::of(&self.node).lists;
        let Some(waiting) = lists.waiting.take(1) else {
            return lists.refused.increment();
        };
        let asked = Arc::new(self);
        let cluster = Arc::clone(&asked.cluster);
        cluster.spawn(async move {
            let _waiting = waiting;
            let Ok(_place) = places.acquire().await else {
                return;
            };
            if let Answered::No = answer(Arc::clone(&asked)).await {
                SocketIo::of(&asked.node).lists.refused.increment();
                tracing::warn!(target: "gateway::cluster::answers", "another server gets no answer: it is too large for a message, or cannot be published");
            }
        });
    }

    fn respond(&self, answer: &Answer) -> Answered {
        let adapter = self.cluster.adapter();
        match adapter.respond(&self.namespace, &self.to, answer) {
            Publish::Queued => Answered::Yes,
            Publish::Dropped => Answered::No,
        }
    }

    async fn part<E: Entry>(&self, request: &Arc<ListRequest>) -> Piece {
        let run: Run<E> = self.node.list_here(&self.namespace, request).await;
        run.into_piece()
    }

    /// All of a list on this node; `None` if that is too much. It waits until little else is to be
    /// published.
    async fn whole<E: Entry>(&self, list: List, selection: &Selection) -> Option<Vec<E>> {
        let late = Instant::now() + self.cluster.patience();
        let counters = self.cluster.adapter().counters();
        while counters.queued_bytes.value() > MUCH && Instant::now() < late {
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
            let run: Run<E> = self.node.list_here(&self.namespace, &request).await;
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
}
