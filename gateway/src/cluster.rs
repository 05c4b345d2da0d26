//! This node among others: what it tells and asks them, and what they tell and ask it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use adapter::{
    Adapter, Answer, Away, ClusterMessage, Interest, Member, NodeId, NodeState, Outcome,
    PeersFuture, Pending, Publish, Question, RequestId, Response, Selection,
};
use tokio::runtime::Handle;
use tokio::sync::{Notify, oneshot};

use crate::config::Pattern;
use crate::net::ids::NodeTag;
use foreign_names::ForeignNames;
use known_nodes::KnownNodes;
use recent::RecentJoins;
use requests::Requests;

pub(crate) use requests::{Asked, RequestCounters, RequestResult, ask};

pub(crate) mod rebalance;

mod foreign_names;
mod known_nodes;
mod recent;
mod requests;

/// How often the other nodes are told how many connections this one has.
const CENSUS: Duration = Duration::from_secs(1);

/// The namespace that nearly every cluster has.
const USUAL: &str = "/";

/// How long a node that nobody told of is waited for: twice the time between two heartbeats.
const NEWCOMER_PATIENCE: Duration = Duration::from_secs(2);

/// How this node takes part in its cluster.
pub(crate) struct Cluster {
    adapter: Arc<dyn Adapter>,
    requests: Mutex<Requests>,
    /// Tells the task behind [`Cluster::run`] that a deadline may be nearer than it was.
    requests_changed: Notify,
    /// How long a question may take.
    patience: Duration,
    /// Where work is done that belongs to no shard.
    runtime: Handle,
    /// The interests in the namespaces that the configuration names, kept for as long as the node
    /// lives, so that it hears of them before the first client comes.
    kept_interests: Mutex<Vec<Interest>>,
    /// The namespace by which nodes tell each other what concerns none.
    carrier: Box<str>,
    /// Rooms that sockets of other nodes were made to join.
    recent_joins: Mutex<RecentJoins>,
    /// Names of the shape of a socket id that are none.
    foreign_names: Mutex<ForeignNames>,
    counters: RequestCounters,
    /// Who is and was a member.
    known_nodes: Mutex<KnownNodes>,
    /// Tells those who wait for a newcomer that somebody came.
    members_changed: Notify,
}

/// What the nodes of a cluster answered together, and who did not answer.
///
/// ```
/// use gateway::Gathered;
///
/// let all = Gathered { found: vec!["a", "b"], ..Gathered::default() };
/// assert!(all.is_complete());
/// let some = Gathered { missing_nodes: vec!["gw-1".to_owned()], ..all };
/// assert!(!some.is_complete());
/// ```
#[expect(
    clippy::exhaustive_structs,
    reason = "its users make it, field by field"
)]
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Gathered<T> {
    /// What the nodes told that answered, this node among them.
    pub found: T,
    /// Names of the gateway nodes that did not answer within `cluster.request_timeout`, or not in full.
    pub missing_nodes: Vec<String>,
    /// How many Node servers did not answer; they have no names.
    pub missing_others: usize,
    /// Whether some of the answers were left out, since they would have taken too much memory.
    pub truncated: bool,
}

impl<T> Gathered<T> {
    /// Whether all nodes and servers answered in full.
    pub fn is_complete(&self) -> bool {
        self.missing_nodes.is_empty() && self.missing_others == 0 && !self.truncated
    }
}

impl Cluster {
    /// To be called in the runtime that does what belongs to no shard.
    pub(crate) fn new(
        adapter: Arc<dyn Adapter>,
        patience: Duration,
        namespaces: &[Pattern],
    ) -> Self {
        let names = namespaces.iter().filter_map(Pattern::as_name);
        let mut names: Vec<&str> = names.collect();
        if names.is_empty() {
            names.push(USUAL);
        }
        let carrier = match names.contains(&USUAL) {
            true => USUAL,
            false => names.iter().min().copied().unwrap_or(USUAL),
        };
        let carrier = carrier.into();
        let names = names.into_iter();
        let kept_interests = names.map(|name| adapter.open_namespace(name)).collect();
        let mut known_nodes = KnownNodes::default();
        known_nodes.note(&adapter.members());
        Self {
            adapter,
            requests: Mutex::default(),
            requests_changed: Notify::new(),
            patience,
            runtime: Handle::current(),
            kept_interests: Mutex::new(kept_interests),
            carrier,
            recent_joins: Mutex::default(),
            foreign_names: Mutex::default(),
            counters: RequestCounters::default(),
            known_nodes: Mutex::new(known_nodes),
            members_changed: Notify::new(),
        }
    }

    pub(crate) fn adapter(&self) -> &Arc<dyn Adapter> {
        &self.adapter
    }

    pub(crate) fn counters(&self) -> &RequestCounters {
        &self.counters
    }

    /// The namespace by which nodes tell each other what concerns none. Nodes of the same configuration
    /// take the same one.
    pub(crate) fn carrier(&self) -> &str {
        &self.carrier
    }

    /// How long a question may take.
    pub(crate) fn patience(&self) -> Duration {
        self.patience
    }

    /// Tells the others. That it cannot be told is counted by the adapter.
    pub(crate) fn publish(&self, namespace: &str, message: &ClusterMessage) {
        self.note_join(namespace, message);
        let has_newcomers = match message {
            ClusterMessage::Broadcast(broadcast) => {
                let recent = lock(&self.recent_joins);
                recent.concern(namespace, &broadcast.selection, Instant::now())
            }
            ClusterMessage::Join { .. }
            | ClusterMessage::Leave { .. }
            | ClusterMessage::Disconnect { .. }
            | ClusterMessage::FetchSockets { .. }
            | ClusterMessage::SocketIds { .. }
            | ClusterMessage::AllRooms
            | ClusterMessage::List(_)
            | ClusterMessage::Trace(_)
            | ClusterMessage::ServerSideEmit(_) => false,
        };
        let published = if has_newcomers {
            self.adapter.publish_to_namespace(namespace, message)
        } else {
            self.adapter.publish(namespace, message)
        };
        match published {
            Publish::Queued => {}
            Publish::Dropped => {
                tracing::debug!(target: "gateway::cluster", namespace, "broadcast not published to the other nodes")
            }
        }
    }

    /// Remembers joins for what is published behind them.
    fn note_join(&self, namespace: &str, message: &ClusterMessage) {
        if let ClusterMessage::Join { rooms, .. } = message {
            lock(&self.recent_joins).add(namespace, rooms, Instant::now());
        }
    }

    /// The live node that issued ids with this tag.
    fn member(&self, tag: NodeTag) -> Option<Member> {
        lock(&self.known_nodes).member(tag.as_str()).cloned()
    }

    /// Whether there is a live node with this tag.
    pub(crate) fn is_member(&self, tag: &str) -> bool {
        lock(&self.known_nodes).member(tag).is_some()
    }

    /// Whether a node that issued ids with this tag is or was a member, as far as it is remembered.
    pub(crate) fn has_known(&self, tag: NodeTag) -> bool {
        lock(&self.known_nodes).knows(tag)
    }

    /// The members are others now.
    pub(crate) fn handle_members(&self, members: &[Member]) {
        self.requests().handle_members(members);
        self.note(members);
    }

    fn note(&self, members: &[Member]) {
        lock(&self.known_nodes).note(members);
        self.members_changed.notify_waiters();
    }

    /// The live node that issued ids with this tag. One that was never heard of may have come a
    /// moment ago, and is waited for; that costs nothing until nodes come, since anybody can make up
    /// a tag.
    pub(crate) async fn member_or_newcomer(&self, tag: NodeTag) -> Option<Member> {
        let known = async {
            loop {
                let changed = self.members_changed.notified();
                let member = self.member(tag);
                if member.is_some() || self.has_known(tag) {
                    return member;
                }
                changed.await;
            }
        };
        let found = tokio::time::timeout(NEWCOMER_PATIENCE, known).await;
        found.unwrap_or_default()
    }

    /// Keeps the deadlines of questions, and tells the others how this node is.
    /// Ends only if the adapter does.
    pub(crate) async fn run(&self, state: impl Fn() -> NodeState) {
        let mut census = tokio::time::interval(CENSUS);
        loop {
            let due = self.requests().poll_timeout();
            let due = due.unwrap_or_else(|| Instant::now() + CENSUS);
            tokio::select! {
                () = tokio::time::sleep_until(due.into()) => {
                    self.requests().handle_timeout(Instant::now());
                }
                () = self.requests_changed.notified() => {}
                _ = census.tick() => {
                    if !self.adapter.is_alive() {
                        return;
                    }
                    self.adapter.set_state(state());
                    self.note(&self.adapter.members());
                }
            }
        }
    }

    /// Leaves the cluster; blocks for a few seconds at most.
    pub(crate) fn close(&self) {
        let kept_interests = std::mem::take(&mut *lock(&self.kept_interests));
        drop(kept_interests);
        self.adapter.close();
    }

    /// What another node answered.
    pub(crate) fn handle_response(&self, response: Response) {
        self.requests().handle_response(response);
    }

    /// The other nodes are heard, or not any more.
    pub(crate) fn handle_up(&self, up: bool, now: Instant) {
        lock(&self.recent_joins).handle_up(up, now);
        lock(&self.foreign_names).handle_up(up, now);
    }

    /// Does work that belongs to no shard.
    pub(crate) fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.runtime.spawn(work);
    }

    fn requests(&self) -> MutexGuard<'_, Requests> {
        lock(&self.requests)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
