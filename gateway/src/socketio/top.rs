//! What is busiest on this node and on the others.
//!
//! Every node of which somebody asks counts for a while ([`crate::top`]). The node that is asked asks the
//! others by the message that traces take, and each answers with one line.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use adapter::{Answer, ClusterMessage, Peers, Question, ReplyTo, Selection};

use crate::cluster::Cluster;
use crate::count::{Origin, PacketType};
use crate::engine::node::Node;
use crate::engine::shard::Shard;
use crate::net::ids::is_private;
use crate::socketio::socket::Socket;
use crate::top::{
    Asking, LEASE, MAX_LARGEST, NodeRates, NodeStatus, Report, RoomMembers, RoomName, RoomRates,
    Totals, UserRates, WINDOW, Wanted, largest, merged,
};

mod status;

/// What is busiest on all nodes that answered.
#[derive(Debug, Default)]
pub(crate) struct Top {
    pub(crate) nodes: Vec<NodeRates>,
    pub(crate) rooms: Vec<RoomRates>,
    pub(crate) users: Vec<UserRates>,
    /// How the nodes are, in their order, if that was asked and they told it.
    pub(crate) statuses: Vec<Option<NodeStatus>>,
    pub(crate) missing_nodes: Vec<String>,
    pub(crate) missing_others: usize,
}

/// What the other nodes answered.
#[derive(Default)]
struct Others {
    /// Nodes, and what each said.
    answers: Vec<(String, String)>,
    missing_nodes: Vec<String>,
    missing_others: usize,
}

impl Top {
    /// Asks all nodes. `None` if too many ask.
    pub(crate) async fn of(node: &Arc<Node>) -> Option<Self> {
        let patience = node.cluster().map(|cluster| cluster.patience());
        Self::ask(node, Wanted::Rates, patience.unwrap_or_default()).await
    }

    /// The same, and how they are. Nodes that do not answer within this time, once they have counted for a
    /// while, are missing.
    pub(crate) async fn with_status(node: &Arc<Node>, patience: Duration) -> Option<Self> {
        let mut top = Self::ask(node, Wanted::Status, patience).await?;
        if let Some(cluster) = node.cluster() {
            top.count_rooms(node, cluster, patience).await;
        }
        Some(top)
    }

    /// Has each node count the members of rooms of which only others told. A node tells of few.
    async fn count_rooms(&mut self, node: &Node, cluster: &Cluster, patience: Duration) {
        let told = self.statuses.iter().flatten();
        let rooms = largest(told.flat_map(|it| it.largest.iter().cloned()), MAX_LARGEST);
        let rooms: Vec<RoomName> = rooms.into_iter().map(RoomMembers::into_name).collect();
        let mut asked = HashSet::new();
        for (rates, status) in self.nodes.iter().zip(&mut self.statuses) {
            let Some(status) = status else { continue };
            let lacks = rooms.iter().any(|room| !status.tells(room));
            if !lacks || !status.counts_rooms {
                continue;
            }
            if rates.is_self {
                let members = status::members(node, rooms.clone()).await;
                status.add(&rooms, &members);
            } else {
                asked.insert(rates.id.clone());
            }
        }
        if asked.is_empty() {
            return;
        }
        let request = cluster.adapter().new_request();
        let Some(mut asking) = node.top().ask(request.as_str()) else {
            return;
        };
        let question = ClusterMessage::Trace(Wanted::Rooms(rooms.clone()).question());
        let adapter = cluster.adapter();
        adapter.request(cluster.carrier(), &request, &question);
        for (id, answer) in answers(&mut asking, &mut asked, patience).await {
            let members: Option<Vec<u64>> = serde_json::from_str(&answer).ok();
            let place = self.nodes.iter().position(|it| it.id == id);
            let status = place.and_then(|place| self.statuses[place].as_mut());
            if let (Some(status), Some(members)) = (status, members) {
                status.add(&rooms, &members);
            }
        }
    }

    async fn ask(node: &Arc<Node>, wanted: Wanted, patience: Duration) -> Option<Self> {
        let (own, others) = match node.cluster() {
            Some(cluster) => {
                let has_status = wanted == Wanted::Status;
                tokio::join!(
                    report(node, has_status),
                    ask(node, cluster, &wanted, patience)
                )
            }
            None => {
                let own = report(node, wanted == Wanted::Status).await;
                (own, Some(Others::default()))
            }
        };
        let others = others?;
        let mut own = own;
        own.node.is_self = true;
        let mut top = Self {
            missing_nodes: others.missing_nodes,
            missing_others: others.missing_others,
            ..Self::default()
        };
        let mut reports = vec![own];
        for (node, answer) in others.answers {
            match Report::of_other(node.clone(), &answer) {
                Some(report) => reports.push(report),
                // It is of an older version.
                None => top.missing_nodes.push(node),
            }
        }
        top.missing_nodes.sort();
        reports.sort_by(|a, b| a.node.id.cmp(&b.node.id));
        for report in reports {
            top.nodes.push(report.node);
            top.statuses.push(report.status);
            top.rooms.extend(report.rooms);
            top.users.extend(report.users);
        }
        (top.rooms, top.users) = merged(top.rooms, top.users);
        Some(top)
    }
}

/// What this node says. If nobody has asked lately, it begins to count, and says what it counted when there
/// is something to say.
async fn report(node: &Arc<Node>, has_status: bool) -> Report {
    let ready = node
        .top()
        .look(Instant::now(), totals(node), || begin(node));
    tokio::time::sleep_until(ready.into()).await;
    let now = Instant::now();
    let pieces = node.query(move |shard| shard.top().piece(now)).await;
    let totals = totals(node);
    let (seconds, lately) = node.top().lately(now, &totals).unwrap_or_default();
    let shards = node.shards().iter();
    let connections = shards.map(|shard| shard.counters.sessions.load(Ordering::Relaxed));
    let rates = NodeRates {
        id: node.name(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        up: node.cluster().is_none_or(|it| it.adapter().is_up()),
        draining: node.drain().has_begun(),
        connections: connections.sum::<usize>() as u64,
        outbox_bytes: node.outbox_held() as u64,
        ..NodeRates::of(&lately, seconds)
    };
    let mut report = Report::of(rates, pieces);
    if has_status {
        report.status = Some(status::of(node, &lately).await);
    }
    report
}

fn totals(node: &Node) -> Totals {
    let lag = node.cluster().map(|it| &it.adapter().counters().lag);
    Totals::of(node.shards().iter().map(|it| &*it.counters), lag)
}

/// Has the shards count until nobody has asked for a while.
fn begin(node: &Arc<Node>) {
    let now = Instant::now();
    node.run_everywhere(move |shard| shard.top().begin(now));
    // Also of events that concern nobody: the first shard counts them all.
    let told = node.tell_everything();
    let node = Arc::clone(node);
    tokio::spawn(async move {
        let _told = told;
        let mut look = now + LEASE;
        loop {
            tokio::time::sleep_until(look.into()).await;
            let end = || node.run_everywhere(|shard| shard.top().end());
            match node.top().end_if_over(Instant::now(), end) {
                Some(next) => look = next,
                None => return,
            }
        }
    });
}

/// Asks the other nodes. `None` if too many questions await answers.
async fn ask(
    node: &Node,
    cluster: &Cluster,
    wanted: &Wanted,
    patience: Duration,
) -> Option<Others> {
    let adapter = cluster.adapter();
    let request = adapter.new_request();
    let mut asking = node.top().ask(request.as_str())?;
    let question = ClusterMessage::Trace(wanted.question());
    adapter.request(cluster.carrier(), &request, &question);
    let peers = adapter.peers(cluster.carrier(), Question::Rooms).await;
    let Ok(Peers {
        nodes,
        absent,
        others: missing_others,
    }) = peers
    else {
        let missing_nodes = cluster.nobody_answered().missing_nodes;
        return Some(Others {
            missing_nodes,
            ..Others::default()
        });
    };
    let mut waiting: HashSet<String> = nodes.iter().map(ToString::to_string).collect();
    let mut missing_nodes: Vec<_> = absent.iter().map(ToString::to_string).collect();
    // They have to count for a while first.
    let answers = answers(&mut asking, &mut waiting, patience + WINDOW).await;
    missing_nodes.extend(waiting);
    Some(Others {
        answers,
        missing_nodes,
        missing_others,
    })
}

/// The answers of these nodes, one of each. Nodes that do not answer in time stay in the set.
async fn answers(
    asking: &mut Asking<'_>,
    waiting: &mut HashSet<String>,
    patience: Duration,
) -> Vec<(String, String)> {
    let mut answers = Vec::new();
    let answered = async {
        while !waiting.is_empty()
            && let Some((node, answer)) = asking.answers.recv().await
        {
            if waiting.remove(&node) {
                answers.push((node, answer));
            }
        }
    };
    let _late = tokio::time::timeout(patience, answered).await;
    answers
}

impl Node {
    /// Another node asks what is busiest here.
    pub(crate) fn tell_top(self: &Arc<Self>, cluster: &Arc<Cluster>, to: ReplyTo, wanted: Wanted) {
        let (node, carrying) = (Arc::clone(self), Arc::clone(cluster));
        cluster.spawn(async move {
            let text = match wanted {
                Wanted::Rooms(rooms) => serde_json::to_string(&status::members(&node, rooms).await),
                Wanted::Rates => serde_json::to_string(&report(&node, false).await),
                Wanted::Status => serde_json::to_string(&report(&node, true).await),
            };
            if let Ok(text) = text {
                let answer = Answer::Lines(vec![text]);
                carrying.adapter().respond(carrying.carrier(), &to, &answer);
            }
        });
    }
}

impl Shard {
    /// Counts an event by the rooms that it was for, while somebody looks.
    #[cold]
    pub(crate) fn count_broadcast(
        &self,
        namespace: &str,
        selection: &Selection,
        origin: Origin,
        recipients: u64,
    ) {
        // Every shard of every node handles it: one of the node that emits it counts the event.
        let events = u64::from(origin == Origin::Local && self.index() == 0);
        if events + recipients == 0 {
            return;
        }
        if selection.rooms.is_empty() {
            self.top().count_room(namespace, None, events, recipients);
        }
        for room in selection.rooms.iter().filter(|room| !is_private(room)) {
            self.top()
                .count_room(namespace, Some(room), events, recipients);
        }
    }
}

impl Socket {
    /// Counts an event that its client sent, while somebody looks.
    #[cold]
    pub(crate) fn count_received(&self) {
        if let Some(user) = self.user() {
            self.session().shard().top().count_received(&user);
        }
    }

    /// Counts an event that its client is sent, while somebody looks.
    #[cold]
    pub(crate) fn count_sent(&self, kind: PacketType) {
        if matches!(kind, PacketType::Event | PacketType::BinaryEvent) {
            self.session().shard().top().count_sent(|| self.user());
        }
    }
}
