//! What pages are sent: numbers again and again, lists of sockets, and what happens.

use std::collections::BTreeSet;
use std::num::NonZeroU32;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use adapter::{Broadcast, ClusterMessage, EventBuf, Interest, Question, Selection};
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;
use tracing::{debug, warn};

use super::stats::Stats;
use crate::cluster::Cluster;
use crate::config::Pattern;
use crate::engine::node::Node;
use crate::show::{Call, Line, MAX_NAMESPACES, NAMESPACE, Reach, Wanted};
use crate::socketio::Gateway;
use crate::socketio::event::OwnedArguments;

/// How often a node looks after its pages.
const TURN: Duration = Duration::from_secs(1);

/// Turns between two times that numbers are told, as Node's servers do it.
const NUMBERS: u64 = 2;

/// Turns between two times that the other nodes are told that pages are open.
const CALLS: u64 = 3;

/// Turns between two looks for Node's servers with pages.
const SCOUTS: u64 = 5;

/// Turns between two lists that make good for what was left out.
const REPAIRS: u64 = 10;

/// How long a question to Node's servers is prepared.
const PATIENCE: Duration = Duration::from_secs(2);

/// Most sockets of pages that Node's servers are asked for.
const MAX_PAGES: usize = 100;

/// Shows pages what there is, for as long as the node lives.
pub(super) async fn run(node: Arc<Node>) {
    let Some(lines) = node.show().open() else {
        return;
    };
    let showing = Showing {
        stats: Stats::begin(&node),
        told: Told::default(),
        was_wanted: false,
        is_short: false,
        stay: Arc::default(),
        node,
    };
    showing.run(lines).await;
}

struct Showing {
    node: Arc<Node>,
    stats: Stats,
    told: Told,
    /// Whether somebody wanted numbers in the turn before.
    was_wanted: bool,
    /// Whether it is logged that lines are left out.
    is_short: bool,
    stay: Stay,
}

/// What has the node hear the namespace of pages, from its first page on until it ends. Node's server with a page
/// counts who is there and then asks them; it crashes if one that it counted leaves in between.
type Stay = Arc<OnceLock<Interest>>;

/// What shards and others were told last.
#[derive(Debug, Default)]
struct Told {
    per_second: Option<NonZeroU32>,
    reach: Option<Reach>,
    here: usize,
    /// How far the pages of this node reach, as the others were told.
    own: Option<Reach>,
}

impl Showing {
    async fn run(mut self, mut lines: mpsc::Receiver<Line>) {
        let mut turns = tokio::time::interval(TURN);
        turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut turn = 0;
        let mut scouting: Option<tokio::task::JoinHandle<()>> = None;
        loop {
            tokio::select! {
                _ = turns.tick() => {
                    turn += 1;
                    self.take_turn(turn).await;
                    let is_idle = scouting.as_ref().is_none_or(|it| it.is_finished());
                    if turn % SCOUTS == 1 && is_idle && let Some(cluster) = self.node.cluster() {
                        let stay = Arc::clone(&self.stay);
                        let scout = scout(Arc::clone(&self.node), Arc::clone(cluster), stay);
                        scouting = Some(tokio::spawn(scout));
                    }
                }
                () = self.node.show().changed() => {
                    self.look().await;
                }
                Some(line) = lines.recv() => self.pass(line),
            }
        }
    }

    async fn take_turn(&mut self, turn: u64) {
        let wanted = self.look().await;
        if turn.is_multiple_of(NUMBERS) && wanted.numbers() && self.was_wanted {
            self.tell_numbers().await;
        }
        self.was_wanted = wanted.numbers();
        if turn.is_multiple_of(CALLS) && wanted.here > 0 {
            call(&self.node, self.node.show().call());
        }
        let is_short = wanted.here > 0 && self.node.show().gate().is_short();
        let lacks = is_short || (wanted.here > 0 && self.node.show().has_room());
        if lacks && turn.is_multiple_of(REPAIRS) && self.details() {
            tokio::spawn(send_list(Gateway::of_node(Arc::clone(&self.node)), None));
        }
        if is_short && !self.is_short {
            warn!(target: "gateway::admin",
                "more happens than admin.events_per_second; the pages get the list of sockets anew, and \
                 gateway_admin_events_total counts what is left out"
            );
        }
        self.is_short = is_short;
    }

    /// Looks who wants what, and has it told at once to pages that are new.
    async fn look(&mut self) -> Wanted {
        let node = Arc::clone(&self.node);
        let wanted = node.show().wanted(Instant::now());
        let per_second = wanted.details.then(|| self.share()).flatten();
        if per_second != self.told.per_second || wanted.reach != self.told.reach {
            debug!(target: "gateway::admin", per_second = per_second.map_or(0, NonZeroU32::get), is_cut = wanted.reach.is_some(), "what is told of sockets changes");
            node.tell_pages(per_second, wanted.reach.clone());
            self.told.per_second = per_second;
            self.told.reach.clone_from(&wanted.reach);
        }
        let own = node.show().call();
        let reaches_elsewhere = wanted.here > 0 && own.reach != self.told.own;
        if wanted.here > self.told.here || reaches_elsewhere {
            self.told.own.clone_from(&own.reach);
            if let Some(cluster) = node.cluster() {
                let _stays = self
                    .stay
                    .get_or_init(|| cluster.adapter().open_namespace(NAMESPACE));
            }
            call(&node, own);
        }
        let is_new = wanted.here > self.told.here || (wanted.numbers() && !self.was_wanted);
        self.told.here = wanted.here;
        if is_new {
            if !self.was_wanted {
                self.stats.skip(&node);
            }
            self.was_wanted = true;
            self.tell_numbers().await;
        }
        wanted
    }

    fn details(&self) -> bool {
        self.node.show().tells_pages()
    }

    /// The part of the events of all nodes that this one may tell.
    fn share(&self) -> Option<NonZeroU32> {
        let bounds = self.node.show().bounds()?;
        let nodes = self
            .node
            .cluster()
            .map_or(1, |it| it.adapter().members().len());
        let nodes = u32::try_from(nodes).unwrap_or(u32::MAX).max(1);
        NonZeroU32::new((bounds.events_per_second.get() / nodes).max(1))
    }

    async fn tell_numbers(&mut self) {
        let node = Arc::clone(&self.node);
        let stats = self.stats.tell(&node).await;
        self.pass(Line::new("server_stats", stats.to_string()));
    }

    /// Shows a line to the pages of this node, and to those of others.
    fn pass(&self, line: Line) {
        let (show, now) = (self.node.show(), Instant::now());
        let wanted = show.wanted(now);
        if wanted.here > 0 && show.admits(line.event, &line.arguments) {
            emit_here(
                &Gateway::of_node(Arc::clone(&self.node)),
                line.event,
                &line.arguments,
            );
        }
        let is_for_others = match line.event {
            "server_stats" => wanted.elsewhere || wanted.details_elsewhere,
            _ => wanted.details_elsewhere,
        };
        if let Some(cluster) = self.node.cluster().filter(|_| is_for_others) {
            let event = EventBuf {
                name: line.event.to_owned(),
                arguments: adapter::ArgumentsBuf::from_json(line.arguments),
            };
            let selection = Selection::everybody();
            let message = ClusterMessage::Broadcast(Broadcast { selection, event });
            cluster.publish(NAMESPACE, &message);
        }
    }
}

/// Emits to the pages of this node.
fn emit_here(gateway: &Gateway, event: &str, arguments: &str) {
    let arguments = adapter::ArgumentsBuf::from_json(arguments);
    let pages = gateway.of(NAMESPACE).local();
    if let Err(error) = pages.emit(event, OwnedArguments::from(arguments)) {
        debug!(target: "gateway::admin", event, %error, "not told to the pages");
    }
}

/// Tells the other nodes that pages are open.
fn call(node: &Node, call: Call) {
    if let Some(cluster) = node.cluster() {
        let words = ClusterMessage::Trace(call.into_words());
        let adapter = cluster.adapter();
        let request = adapter.new_request();
        adapter.request(cluster.carrier(), &request, &words);
    }
}

/// Looks whether Node's servers have pages, which do not say so: the first gateway node does it for all.
async fn scout(node: Arc<Node>, cluster: Arc<Cluster>, stay: Stay) {
    let adapter = cluster.adapter();
    let members = adapter.members();
    let first = members.iter().map(|member| &member.id).min();
    if first != Some(adapter.node()) {
        return;
    }
    let peers = adapter.peers(NAMESPACE, Question::Sockets).await;
    if !peers.is_ok_and(|peers| peers.others > 0) {
        return;
    }
    let mut details = false;
    if node.show().tells_pages() {
        let interest = stay.get_or_init(|| adapter.open_namespace(NAMESPACE));
        let _late = tokio::time::timeout(PATIENCE, interest.in_force()).await;
        let pages = Gateway::of_node(Arc::clone(&node)).of(NAMESPACE);
        let found = pages
            .fetch_sockets_page(None, MAX_PAGES)
            .await
            .found
            .entries;
        details = found.iter().any(|page| page.node.is_none());
    }
    // They show everything.
    let theirs = Call {
        details,
        reach: None,
        foreign: true,
    };
    call(&node, theirs.clone());
    node.show()
        .handle_call(theirs, &node.name(), Instant::now());
}

/// Sends a list of the sockets of all nodes to one page of this node, or to all of them.
pub(super) async fn send_list(gateway: Gateway, page: Option<String>) {
    let node = Arc::clone(gateway.node());
    let Some(bounds) = node.show().bounds() else {
        return;
    };
    node.show().gate().begin_list();
    let (mut list, mut ids) = (Vec::<Value>::new(), Vec::<String>::new());
    let mut last = None;
    for namespace in namespaces(&node).await {
        let left = bounds.sockets.saturating_sub(list.len());
        if left == 0 {
            break;
        }
        let found = gateway.of(&namespace).fetch_sockets_page(None, left).await;
        if !found.missing_nodes.is_empty() || found.missing_others > 0 {
            debug!(target: "gateway::admin", namespace, missing = ?found.missing_nodes, "a list of sockets is without those of some nodes");
        }
        for socket in found.found.entries.into_iter().take(left) {
            list.push(socket.to_page());
            last = Some(Reach::new(&namespace, &socket.id));
            ids.push(socket.id);
        }
    }
    let reach = last.filter(|_| list.len() >= bounds.sockets);
    let is_for_all = node.show().list_reaches(reach, page.is_none());
    let page = page.filter(|_| !is_for_all);
    let ended = node
        .show()
        .gate()
        .end_list(ids.iter().map(String::as_str), is_for_all);
    let (went, behind) = ended;
    let mut there = ids.iter().map(|id| !went.contains(&**id));
    list.retain(|_| there.next().unwrap_or(true));
    let to = |it: crate::socketio::emitter::Emitter| match &page {
        Some(page) => it.to(page.clone()),
        None => it,
    };
    let pages = to(gateway.of(NAMESPACE).local());
    if let Err(error) = pages.emit("all_sockets", (list,)) {
        debug!(target: "gateway::admin", %error, "a list of sockets is not shown");
    }
    for told in behind {
        let told = OwnedArguments::from(adapter::ArgumentsBuf::from_json(told));
        let _overloaded = pages.emit("socket_connected", told);
    }
}

/// The namespaces that may have sockets: the main one first, and the pages' own last.
async fn namespaces(node: &Arc<Node>) -> Vec<String> {
    let here = node.query(|shard| {
        let all = shard.all_namespaces();
        let names = all.iter().take(MAX_NAMESPACES);
        names.map(|it| it.name().to_owned()).collect::<Vec<_>>()
    });
    let named = node.config().namespaces.iter().filter_map(Pattern::as_name);
    let mut names: BTreeSet<String> = named.map(str::to_owned).collect();
    names.extend(here.await.into_iter().flatten());
    names.extend(node.show().gate().namespaces().iter().cloned());
    names.remove(NAMESPACE);
    let most = MAX_NAMESPACES - 1;
    let names = names.into_iter().take(most);
    names.chain([NAMESPACE.to_owned()]).collect()
}
