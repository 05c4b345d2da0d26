//! A shard's connections to other nodes.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use adapter::Member;
use hyper::body::Incoming;
use hyper::{Request, Response};
use slab::Slab;
use tokio::sync::Notify;
use tracing::warn;

use super::in_flight::{Passage, Passages};
use super::link::{Blame, Broken, ConnectError, ForwardBody, Link};
use crate::cluster::Cluster;
use crate::config::Secret;
use crate::count::{NodeCounters, Outcome, ShardCounters};
use crate::net::descriptors::{Descriptor, Descriptors};
use crate::net::scratch::Scratch;

/// Most connections of a shard to one node. A parked poll holds one, a tunnel too.
const MAX_CONNECTIONS: usize = 8192;

/// Most connections to one shard of a node that are kept for later.
const MAX_IDLE: usize = 256;

/// How long a connection is kept for later; less than the owner waits for a request, so that it
/// does not close one that is about to be used.
const IDLE: Duration = Duration::from_secs(20);

/// How long no connection to a node is tried after one failed and while none is there.
const PAUSE: Duration = Duration::from_secs(1);

/// Where a request goes.
#[derive(Clone)]
pub(crate) struct Owner {
    pub(crate) member: Member,
    pub(crate) shard: usize,
}

/// A shard of a node, by the node's tag.
pub(crate) type Seat = (Rc<str>, usize);

impl Owner {
    pub(crate) fn seat(&self) -> Seat {
        (Rc::from(&*self.member.tag), self.shard)
    }
}

/// Why a request was not answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failure {
    Unreachable,
    Gone,
    /// The owner answered that it has no such shard, so that nobody issued the session's id.
    NeverIssued,
    Lost,
    Limit,
}

/// What the connections of a shard use.
pub(crate) struct Means {
    /// Where it is counted how many requests go through the shard.
    pub(crate) counters: Arc<ShardCounters>,
    pub(crate) node_counters: Arc<NodeCounters>,
    pub(crate) descriptors: Arc<Descriptors>,
    pub(crate) scratch: Rc<Scratch>,
    /// `cluster.secret`.
    pub(crate) secret: Option<Secret>,
    /// Knows who is a member.
    pub(crate) cluster: Option<Arc<Cluster>>,
}

/// The connections of one shard.
pub(crate) struct Links {
    means: Means,
    idle: RefCell<HashMap<Seat, Vec<Link>>>,
    nodes: RefCell<HashMap<Box<str>, Rc<Peer>>>,
    is_swept: Cell<bool>,
    /// How each tunnel is told to end.
    tunnels: RefCell<Slab<Rc<Notify>>>,
    /// Requests whose answers are not whole.
    passages: Passages,
}

/// How this shard stands with one node.
#[derive(Default)]
struct Peer {
    connections: Cell<usize>,
    /// Those of them that were welcomed.
    welcomed: Cell<usize>,
    /// No connection is tried before this.
    paused_until: Cell<Option<Instant>>,
    /// The operator was told of the trouble that lasts.
    was_told: Cell<bool>,
    /// How many shards it has, once it said so.
    shards: Cell<Option<usize>>,
}

/// One of the connections that a node may have from here.
pub(crate) struct Permit {
    peer: Rc<Peer>,
    is_welcomed: bool,
    _descriptor: Descriptor,
}

impl Permit {
    fn take(descriptors: &Arc<Descriptors>, peer: &Rc<Peer>) -> Option<Self> {
        let connections = peer.connections.get();
        let may = connections < MAX_CONNECTIONS && !descriptors.are_taken();
        may.then(|| {
            peer.connections.set(connections + 1);
            Self {
                peer: Rc::clone(peer),
                is_welcomed: false,
                _descriptor: descriptors.hold(),
            }
        })
    }

    pub(crate) fn welcome(&mut self) {
        self.is_welcomed = true;
        let welcomed = &self.peer.welcomed;
        welcomed.set(welcomed.get() + 1);
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let Peer {
            connections,
            welcomed,
            ..
        } = &*self.peer;
        connections.set(connections.get() - 1);
        welcomed.set(welcomed.get() - usize::from(self.is_welcomed));
    }
}

/// A tunnel, as long as it lasts.
pub(crate) struct Listed {
    links: Rc<Links>,
    key: usize,
    end: Rc<Notify>,
}

impl Listed {
    /// Waits until the tunnel is to end.
    pub(crate) async fn ending(&self) {
        self.end.notified().await;
    }
}

impl Drop for Listed {
    fn drop(&mut self) {
        self.links.tunnels.borrow_mut().remove(self.key);
        self.links.count_passing();
    }
}

/// A request, until its answer is whole or nobody wants it any more.
pub(crate) struct InFlightGuard {
    links: Rc<Links>,
    key: usize,
}

impl Drop for InFlightGuard {
    fn drop(&mut self) {
        self.links.passages.remove(self.key);
        self.links.count_passing();
    }
}

impl Links {
    pub(crate) fn new(means: Means) -> Rc<Self> {
        Rc::new(Self {
            means,
            idle: RefCell::default(),
            nodes: RefCell::default(),
            is_swept: Cell::new(false),
            tunnels: RefCell::default(),
            passages: Passages::default(),
        })
    }

    pub(crate) fn scratch(&self) -> &Scratch {
        &self.means.scratch
    }

    /// WebSockets of other nodes' sessions that go through this shard.
    pub(crate) fn tunnel_count(&self) -> usize {
        self.tunnels.borrow().len()
    }

    /// Ends so many of them; their clients come back elsewhere.
    pub(crate) fn close_tunnels(&self, count: usize) {
        let tunnels = self.tunnels.borrow();
        for (_, end) in tunnels.iter().take(count) {
            end.notify_one();
        }
    }

    /// Whether a node is known to have no such shard, so that no session of it can be there.
    pub(crate) fn lacks(&self, owner: &Owner) -> bool {
        let nodes = self.nodes.borrow();
        let shards = nodes.get(&*owner.member.tag).and_then(|it| it.shards.get());
        shards.is_some_and(|shards| owner.shard >= shards)
    }

    /// Remembers a request until what is returned is dropped.
    pub(crate) fn pass(self: &Rc<Self>, passage: Passage) -> InFlightGuard {
        let key = self.passages.add(passage);
        self.count_passing();
        let links = Rc::clone(self);
        InFlightGuard { links, key }
    }

    /// Tells the node how much goes through it here.
    fn count_passing(&self) {
        let passing = self.tunnel_count() + self.passage_count();
        let counters = &self.means.counters;
        counters.passing.store(passing, Ordering::Relaxed);
    }

    /// Requests of other nodes' sessions whose answers are not whole.
    pub(crate) fn passage_count(&self) -> usize {
        self.passages.len()
    }

    pub(crate) fn passages(&self) -> &Passages {
        &self.passages
    }

    pub(crate) fn list(self: &Rc<Self>) -> Listed {
        let end = Rc::new(Notify::new());
        let key = self.tunnels.borrow_mut().insert(Rc::clone(&end));
        self.count_passing();
        let links = Rc::clone(self);
        Listed { links, key, end }
    }

    /// Sends a request by a connection that is there, or by a new one.
    pub(crate) async fn send(
        self: &Rc<Self>,
        owner: &Owner,
        mut request: Request<ForwardBody>,
    ) -> Result<(Link, Response<Incoming>), Failure> {
        let seat = owner.seat();
        if let Some(mut link) = self.take(&seat) {
            match link.send(request).await {
                Ok(answer) => return Ok((link, answer)),
                Err(Broken::Unsent(unsent)) => request = *unsent,
                Err(Broken::Lost) => return Err(Failure::Lost),
            }
            // What one of them met the others did as well.
            self.idle.borrow_mut().remove(&seat);
        }
        let mut link = self.connect(owner).await?;
        match link.send(request).await {
            Ok(answer) => Ok((link, answer)),
            Err(Broken::Unsent(_)) => Err(Failure::Unreachable),
            Err(Broken::Lost) => Err(Failure::Lost),
        }
    }

    /// An idle connection that can be used at once, the one that was used last.
    fn take(&self, seat: &Seat) -> Option<Link> {
        let mut idle = self.idle.borrow_mut();
        let links = idle.get_mut(seat)?;
        // A node that stood still may have kept what its owner has closed meanwhile.
        links.retain(|link| !link.is_closed() && link.idle_since.elapsed() < IDLE);
        let ready = links.iter().rposition(Link::is_ready)?;
        Some(links.remove(ready))
    }

    /// Keeps a connection whose answer is whole.
    pub(crate) fn give_back(self: &Rc<Self>, seat: Seat, mut link: Link) {
        if link.is_closed() {
            return;
        }
        link.idle_since = Instant::now();
        let mut idle = self.idle.borrow_mut();
        let links = idle.entry(seat).or_default();
        if links.len() < MAX_IDLE {
            links.push(link);
        }
        drop(idle);
        if !self.is_swept.replace(true) {
            tokio::task::spawn_local(Rc::clone(self).sweep());
        }
    }

    /// Closes what is not used, until nothing is left.
    async fn sweep(self: Rc<Self>) {
        while self.is_swept.get() {
            tokio::time::sleep(IDLE / 4).await;
            let mut idle = self.idle.borrow_mut();
            idle.retain(|_, links| {
                links.retain(|link| !link.is_closed() && link.idle_since.elapsed() < IDLE);
                !links.is_empty()
            });
            self.is_swept.set(!idle.is_empty());
        }
    }

    async fn connect(&self, owner: &Owner) -> Result<Link, Failure> {
        let peer = self.peer(&owner.member.tag);
        if peer.is_paused() {
            return Err(Failure::Unreachable);
        }
        let permit = Permit::take(&self.means.descriptors, &peer).ok_or(Failure::Limit)?;
        let secret = self.means.secret.as_ref();
        match Link::connect(owner, secret, permit).await {
            Ok(link) => {
                peer.paused_until.set(None);
                peer.was_told.set(false);
                Ok(link)
            }
            Err(error) => {
                if let ConnectError::NoSuchShard(shards) = error {
                    peer.shards.set(Some(shards));
                    return Err(Failure::NeverIssued);
                }
                if error.is_mismatch() {
                    self.means.node_counters.secret_mismatches.increment();
                }
                if error.blame() == Blame::Node && peer.welcomed.get() == 0 {
                    peer.paused_until.set(Some(Instant::now() + PAUSE));
                }
                if !peer.was_told.replace(true) {
                    let (node, address) = (&owner.member.id, &owner.member.address);
                    warn!(target: "gateway::forward::links", %node, address, %error, "cannot forward requests to another node");
                }
                Err(match (error.blame(), error) {
                    (_, ConnectError::Misdirected) => Failure::Gone,
                    (Blame::Ourselves, _) => Failure::Limit,
                    (Blame::Node | Blame::Request, _) => Failure::Unreachable,
                })
            }
        }
    }

    /// How this shard stands with a member; those that left are forgotten when another comes.
    fn peer(&self, tag: &str) -> Rc<Peer> {
        let mut nodes = self.nodes.borrow_mut();
        if let Some(peer) = nodes.get(tag) {
            return Rc::clone(peer);
        }
        let cluster = self.means.cluster.as_deref();
        nodes.retain(|tag, peer| {
            let is_member = cluster.is_some_and(|it| it.is_member(tag));
            is_member || Rc::strong_count(peer) > 1
        });
        let peer = Rc::<Peer>::default();
        nodes.insert(tag.into(), Rc::clone(&peer));
        peer
    }
}

impl Peer {
    fn is_paused(&self) -> bool {
        self.paused_until
            .get()
            .is_some_and(|until| Instant::now() < until)
    }
}

impl Failure {
    pub(crate) fn outcome(self) -> Outcome {
        match self {
            Self::Unreachable => Outcome::Unreachable,
            Self::Gone => Outcome::Gone,
            Self::NeverIssued => Outcome::Answered,
            Self::Lost => Outcome::Lost,
            Self::Limit => Outcome::Limit,
        }
    }
}
