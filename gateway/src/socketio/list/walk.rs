//! Walking through a list of all nodes, part by part.

use std::collections::BTreeSet;
use std::sync::Arc;

use adapter::{
    Answer, Away, ClusterMessage, List, ListRequest, NodeId, Peers, Question, Selection,
};
use tokio::sync::OwnedSemaphorePermit;

use super::{Count, Entry, MAX_ENTRIES, PIECE_BYTES, Run};
use crate::cluster::{Gathered, RequestResult};
use crate::engine::node::Node;
use crate::socketio::layer::SocketIo;

/// Most bytes of a part of all nodes together, about, as far as the nodes are few enough.
const ROUND_BYTES: usize = 4 * 1024 * 1024;

/// Fewest bytes that a node may answer with.
const FEWEST_BYTES: usize = 8 * 1024;

/// Most questions of one walk.
const MAX_ROUNDS: usize = 10_000;

/// Most bytes of a page, about; one entry comes in any case.
const PAGE_BYTES: usize = 4 * 1024 * 1024;

/// A walk. It keeps no more than a part of each gateway node; Node servers tell everything at once.
pub(crate) struct Walk<E> {
    node: Arc<Node>,
    namespace: Arc<str>,
    request: ListRequest,
    /// Who is asked; `None` before the first question.
    peers: Option<Peers>,
    /// What servers said that tell everything, in order.
    of_others: Vec<E>,
    missing_nodes: BTreeSet<String>,
    missing_others: usize,
    truncated: bool,
    rounds: usize,
    is_over: bool,
    _place: Option<OwnedSemaphorePermit>,
}

/// A page of a list.
#[non_exhaustive]
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Page<T> {
    /// Its entries, in order.
    pub entries: Vec<T>,
    /// The name that the next page begins behind; `None` at the end.
    pub next: Option<String>,
}

impl<E: Entry> Walk<E> {
    /// Begins behind `after`, when its turn comes.
    pub(crate) async fn begin(
        node: &Arc<Node>,
        namespace: &Arc<str>,
        (list, selection): (List, Selection),
        after: Option<String>,
        limit: usize,
    ) -> Self {
        let walks = Arc::clone(&SocketIo::of(node).lists.walks);
        Self {
            node: Arc::clone(node),
            namespace: Arc::clone(namespace),
            request: ListRequest {
                list,
                selection,
                after,
                limit: limit.clamp(1, MAX_ENTRIES),
                bytes: PIECE_BYTES,
            },
            peers: None,
            of_others: Vec::new(),
            missing_nodes: BTreeSet::new(),
            missing_others: 0,
            truncated: false,
            rounds: 0,
            is_over: false,
            _place: walks.acquire_owned().await.ok(),
        }
    }

    /// What comes next; `None` at the end.
    pub(crate) async fn next(&mut self) -> Option<Vec<E>> {
        if self.is_over {
            return None;
        }
        let request = Arc::new(self.request.clone());
        let here = self.node.list_here(&self.namespace, &request);
        let (here, mut runs) = tokio::join!(here, self.ask());
        runs.push(here);
        runs.push(self.rest_of_others());
        let run = Run::merge(runs);
        self.truncated |= run.cut;
        self.rounds += 1;
        self.is_over = !run.more;
        match run.entries.last() {
            Some(last) => self.request.after = Some(last.name().to_owned()),
            None => self.is_over = true,
        }
        if !self.is_over && self.rounds >= MAX_ROUNDS {
            (self.is_over, self.truncated) = (true, true);
        }
        Some(run.entries)
    }

    /// What comes next of those that `keep` keeps, at most `limit`.
    pub(crate) async fn page(&mut self, limit: usize, keep: impl Fn(&E) -> bool) -> Page<E> {
        let (mut entries, mut bytes) = (Vec::<E>::new(), 0);
        while let Some(run) = self.next().await {
            for entry in run.into_iter().filter(&keep) {
                bytes += entry.size();
                if entries.len() == limit || (bytes > PAGE_BYTES && !entries.is_empty()) {
                    let next = entries.last().map(|last| last.name().to_owned());
                    return Page { entries, next };
                }
                entries.push(entry);
            }
        }
        Page {
            entries,
            next: None,
        }
    }

    /// All that comes, at most so many bytes of it.
    pub(crate) async fn all(&mut self, most: usize) -> Vec<E> {
        let (mut all, mut bytes) = (Vec::new(), 0);
        while let Some(run) = self.next().await {
            bytes += run.iter().map(E::size).sum::<usize>();
            if bytes > most {
                self.truncated = true;
                break;
            }
            all.extend(run);
        }
        all
    }

    /// The walk is over, and `found` was made of it.
    pub(crate) fn into_gathered<T>(self, found: T) -> Gathered<T> {
        Gathered {
            found,
            missing_nodes: self.missing_nodes.into_iter().collect(),
            missing_others: self.missing_others,
            truncated: self.truncated,
        }
    }

    fn rest_of_others(&self) -> Run<E> {
        let after = self.request.after.as_deref();
        let begin = after.map_or(0, |after| {
            self.of_others.partition_point(|it| it.name() <= after)
        });
        let rest = &self.of_others[begin..];
        Run {
            entries: rest.iter().take(self.request.limit).cloned().collect(),
            more: rest.len() > self.request.limit,
            cut: false,
        }
    }

    /// Asks the other nodes once.
    async fn ask(&mut self) -> Vec<Run<E>> {
        let node = Arc::clone(&self.node);
        let is_local = self.request.selection.flags.local;
        let Some(cluster) = node.cluster().filter(|_| !is_local) else {
            return Vec::new();
        };
        let question = question(self.request.list);
        let is_first = self.peers.is_none();
        let peers = match self.peers.take() {
            Some(peers) => peers,
            None => match cluster.adapter().peers(&self.namespace, question).await {
                Ok(peers) => peers,
                Err(Away) => {
                    let away = RequestResult::Away;
                    cluster.counters().of((question.into(), away)).increment();
                    let missing = cluster.nobody_answered().missing_nodes;
                    self.missing_nodes.extend(missing);
                    self.peers = Some(Peers::default());
                    return Vec::new();
                }
            },
        };
        if !is_first && peers.nodes.is_empty() {
            self.peers = Some(peers);
            return Vec::new();
        }
        let all = peers.nodes.len() + 1;
        self.request.bytes = (ROUND_BYTES / all).clamp(FEWEST_BYTES, PIECE_BYTES);
        let of_others = cluster
            .has_others(&peers)
            .then(|| for_others(&self.request));
        let message = ClusterMessage::List(self.request.clone());
        let of_others = of_others.filter(|_| is_first);
        let asked = cluster.ask_peers(
            &self.namespace,
            question,
            (Some(&message), of_others.as_ref()),
            peers.clone(),
            cluster.patience(),
        );
        let asked = asked.await;
        self.missing_others += asked.missing_others;
        self.truncated |= asked.truncated;
        let is_missing =
            |node: &NodeId| asked.missing_nodes.iter().any(|it| *it == node.to_string());
        let nodes = peers.nodes.into_iter().filter(|node| !is_missing(node));
        self.peers = Some(Peers {
            nodes: nodes.collect(),
            ..Peers::default()
        });
        let runs = self.read(asked.answers);
        self.missing_nodes.extend(asked.missing_nodes);
        runs
    }

    fn read(&mut self, answers: Vec<(Option<NodeId>, Answer)>) -> Vec<Run<E>> {
        let mut runs = Vec::new();
        let mut of_others = Vec::new();
        // Those of all servers together: the own room of a socket is one on every server.
        let mut sockets = Vec::new();
        let after = self.request.after.as_deref();
        for (_, answer) in answers {
            match answer {
                Answer::Piece(piece) => {
                    runs.extend(Run::of_piece(&self.namespace, after, piece));
                }
                Answer::Sockets(some) => sockets.extend(some),
                Answer::Rooms(rooms) => of_others.extend(E::of_names(rooms)),
                Answer::ClientCount(_)
                | Answer::Ack(_)
                | Answer::SocketIds(_)
                | Answer::Lines(_)
                | Answer::ServerSide(_)
                | Answer::Done => {}
            }
        }
        of_others.extend(E::of_sockets(&self.namespace, self.request.list, sockets));
        if !of_others.is_empty() {
            self.of_others = Run::sorted(of_others).entries;
        }
        runs
    }
}

/// How it is counted who answers.
fn question(list: List) -> Question {
    match list {
        List::Rooms { private: true } => Question::Rooms,
        List::Rooms { private: false } | List::Sockets { .. } | List::Users => Question::Sockets,
    }
}

/// What servers are asked that do not know such lists.
fn for_others(request: &ListRequest) -> ClusterMessage {
    match question(request.list) {
        Question::Rooms => ClusterMessage::AllRooms,
        Question::Sockets | Question::Broadcast | Question::ServerSide | Question::Change => {
            let selection = request.selection.clone();
            ClusterMessage::FetchSockets { selection }
        }
    }
}

/// The names of a list that counts nothing.
pub(crate) fn names(counts: Vec<Count>) -> Vec<String> {
    counts.into_iter().map(|(name, _)| name).collect()
}
