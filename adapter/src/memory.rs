//! Nodes that are joined within one process, for tests.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::presence::PresenceStore;
use crate::{
    Adapter, Answer, Away, ClusterMessage, Counters, InForce, Inbox, Incoming, Interest, Member,
    NodeId, NodeState, NodeTag, Peers, PeersFuture, Publish, Question, Records, ReplyTo, RequestId,
    Response,
};

mod presence;
mod records;

pub use presence::MemoryPresence;
use records::MemoryRecords;

/// Nodes that hear each other, by calls instead of a wire: what is published has arrived when
/// [`Adapter::publish`] returns. Cloning shares it.
#[derive(Clone, Default)]
pub struct Cluster(Arc<Shared>);

/// One node's adapter. Dropping it leaves the cluster.
pub struct MemoryAdapter {
    id: NodeId,
    cluster: Cluster,
    counters: Arc<Counters>,
}

#[derive(Default)]
struct Shared {
    nodes: Mutex<Vec<Node>>,
    requests: AtomicU64,
    records: MemoryRecords,
    presence: MemoryPresence,
}

struct Node {
    member: Member,
    inbox: Arc<dyn Inbox>,
    counters: Arc<Counters>,
    /// A killed node hears nothing and is a member still.
    alive: bool,
    /// Whether nobody hears what it answers.
    unanswered: bool,
    /// How many interests there are in each namespace, and in it in each room.
    namespaces: HashMap<String, Namespace>,
}

#[derive(Default)]
struct Namespace {
    interests: usize,
    rooms: HashMap<String, usize>,
}

impl Cluster {
    /// Adds a node.
    pub fn join(&self, id: NodeId, tag: NodeTag, inbox: Arc<dyn Inbox>) -> MemoryAdapter {
        let counters = Arc::new(Counters::default());
        self.nodes().push(Node {
            member: Member {
                id: id.clone(),
                tag: tag.as_str().to_owned(),
                address: String::new(),
                version: String::new(),
                state: NodeState::default(),
            },
            inbox,
            counters: counters.clone(),
            alive: true,
            unanswered: false,
            namespaces: HashMap::new(),
        });
        self.tell_members();
        MemoryAdapter {
            id,
            cluster: self.clone(),
            counters,
        }
    }

    /// Makes a node deaf and mute, as a crash does. The others keep it as a member.
    pub fn kill(&self, id: &NodeId) {
        let mut nodes = self.nodes();
        for node in nodes.iter_mut().filter(|node| node.member.id == *id) {
            node.alive = false;
        }
    }

    /// Drops what a node answers from now on, as a queue does that is full; or no longer.
    pub fn drop_answers(&self, id: &NodeId, dropped: bool) {
        self.with_node(id, |node| node.unanswered = dropped);
    }

    /// Loses what the nodes keep together, as a server does that is emptied.
    pub fn clear_records(&self) {
        self.0.records.clear();
    }

    /// Loses who is there.
    pub fn clear_presence(&self) {
        self.0.presence.clear();
    }

    /// Has nobody reach what the nodes keep together; or again.
    pub fn set_records_away(&self, is_away: bool) {
        self.0.records.set_away(is_away);
        self.0.presence.set_away(is_away);
    }

    /// Says where a node is reached.
    pub fn set_address(&self, id: &NodeId, address: impl Into<String>) {
        self.with_node(id, |node| node.member.address = address.into());
        self.tell_members();
    }

    /// Strikes a node off the members.
    pub fn forget(&self, id: &NodeId) {
        self.nodes().retain(|node| node.member.id != *id);
        self.tell_members();
    }

    fn members(&self) -> Arc<[Member]> {
        let nodes = self.nodes();
        nodes.iter().map(|node| node.member.clone()).collect()
    }

    fn tell_members(&self) {
        let members = self.members();
        for inbox in self.inboxes(|node| node.alive) {
            inbox.handle(Incoming::Members(members.clone()));
        }
    }

    /// The inboxes of the nodes that pass `filter`. They are called without the lock, so that they
    /// may call back.
    fn inboxes(&self, mut filter: impl FnMut(&Node) -> bool) -> Vec<Arc<dyn Inbox>> {
        let nodes = self.nodes();
        let passed = nodes.iter().filter(|node| filter(node));
        passed.map(|node| node.inbox.clone()).collect()
    }

    fn with_node(&self, id: &NodeId, change: impl FnOnce(&mut Node)) {
        if let Some(node) = self.nodes().iter_mut().find(|node| node.member.id == *id) {
            change(node);
        }
    }

    fn nodes(&self) -> MutexGuard<'_, Vec<Node>> {
        self.0.nodes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl MemoryAdapter {
    fn send(
        &self,
        namespace: &str,
        message: &ClusterMessage,
        reply_to: Option<&ReplyTo>,
        hears: impl Fn(&Node) -> bool,
    ) -> Publish {
        if message.selection().is_some_and(|it| it.flags.local) {
            return Publish::Queued;
        }
        let alive = self.is_up();
        let inboxes = self.cluster.inboxes(|node| {
            let heard = alive && node.alive && node.member.id != self.id && hears(node);
            if heard {
                node.counters.in_ok.increment();
            }
            heard
        });
        if !alive {
            self.counters.out_dropped.increment();
            return Publish::Dropped;
        }
        self.counters.out_ok.increment();
        for inbox in inboxes {
            inbox.handle(Incoming::Message {
                namespace: namespace.into(),
                message: message.clone(),
                reply_to: reply_to.cloned(),
            });
        }
        Publish::Queued
    }
}

impl Node {
    fn is_in(&self, namespace: &str) -> bool {
        self.namespaces.contains_key(namespace)
    }

    fn hears(&self, namespace: &str, message: &ClusterMessage) -> bool {
        let Some(namespace) = self.namespaces.get(namespace) else {
            return false;
        };
        match message {
            ClusterMessage::Broadcast(broadcast) => {
                let room = broadcast.selection.only_room();
                room.is_none_or(|room| namespace.rooms.contains_key(room))
            }
            ClusterMessage::Join { .. }
            | ClusterMessage::Leave { .. }
            | ClusterMessage::Disconnect { .. }
            | ClusterMessage::FetchSockets { .. }
            | ClusterMessage::SocketIds { .. }
            | ClusterMessage::AllRooms
            | ClusterMessage::List(_)
            | ClusterMessage::Trace(_)
            | ClusterMessage::ServerSideEmit(_) => true,
        }
    }

    fn count_subscriptions(&self) {
        let rooms = self.namespaces.values().map(|it| 1 + it.rooms.len());
        self.counters.subscriptions.set(rooms.sum::<usize>() as u64);
    }
}

impl Adapter for MemoryAdapter {
    fn node(&self) -> &NodeId {
        &self.id
    }

    fn open_namespace(&self, namespace: &str) -> Interest {
        self.cluster.with_node(&self.id, |node| {
            let entry = node.namespaces.entry(namespace.to_owned()).or_default();
            entry.interests += 1;
            node.count_subscriptions();
        });
        let (cluster, id, namespace) =
            (self.cluster.clone(), self.id.clone(), namespace.to_owned());
        Interest::new(InForce::now(), move || {
            cluster.with_node(&id, |node| {
                if let Some(entry) = node.namespaces.get_mut(&namespace) {
                    entry.interests -= 1;
                    if entry.interests == 0 {
                        node.namespaces.remove(&namespace);
                    }
                }
                node.count_subscriptions();
            });
        })
    }

    fn open_room(&self, namespace: &str, room: &str) -> Interest {
        self.cluster.with_node(&self.id, |node| {
            if let Some(entry) = node.namespaces.get_mut(namespace) {
                *entry.rooms.entry(room.to_owned()).or_default() += 1;
            }
            node.count_subscriptions();
        });
        let (cluster, id) = (self.cluster.clone(), self.id.clone());
        let (namespace, room) = (namespace.to_owned(), room.to_owned());
        Interest::new(InForce::now(), move || {
            cluster.with_node(&id, |node| {
                if let Some(entry) = node.namespaces.get_mut(&namespace)
                    && let Some(interests) = entry.rooms.get_mut(&room)
                {
                    *interests -= 1;
                    if *interests == 0 {
                        entry.rooms.remove(&room);
                    }
                }
                node.count_subscriptions();
            });
        })
    }

    fn publish(&self, namespace: &str, message: &ClusterMessage) -> Publish {
        self.send(namespace, message, None, |node| {
            node.hears(namespace, message)
        })
    }

    fn publish_to_namespace(&self, namespace: &str, message: &ClusterMessage) -> Publish {
        self.send(namespace, message, None, |node| node.is_in(namespace))
    }

    fn request(&self, namespace: &str, request: &RequestId, message: &ClusterMessage) -> Publish {
        let reply_to = ReplyTo {
            request: request.clone(),
            uid: self.id.as_str().to_owned(),
            node: Some(self.id.clone()),
        };
        self.send(namespace, message, Some(&reply_to), |node| {
            node.is_in(namespace)
        })
    }

    fn new_request(&self) -> RequestId {
        let number = self.cluster.0.requests.fetch_add(1, Ordering::Relaxed);
        RequestId::new(number.to_string())
    }

    fn respond(&self, namespace: &str, to: &ReplyTo, answer: &Answer) -> Publish {
        let own = |node: &Node| node.member.id == self.id && node.unanswered;
        if self.cluster.nodes().iter().any(own) {
            self.counters.out_dropped.increment();
            return Publish::Dropped;
        }
        let alive = self.is_up();
        let asker = |node: &Node| alive && node.alive && Some(&node.member.id) == to.node.as_ref();
        for inbox in self.cluster.inboxes(asker) {
            inbox.handle(Incoming::Response {
                namespace: namespace.into(),
                response: Response {
                    request: to.request.clone(),
                    node: Some(self.id.clone()),
                    answer: answer.clone(),
                },
            });
        }
        Publish::Queued
    }

    fn peers(&self, namespace: &str, _: Question) -> PeersFuture {
        let mut peers = Peers::default();
        for node in self.cluster.nodes().iter() {
            let id = node.member.id.clone();
            if id == self.id {
                continue;
            } else if node.alive && node.namespaces.contains_key(namespace) {
                peers.nodes.push(id);
            } else {
                peers.absent.push(id);
            }
        }
        let result = if self.is_up() { Ok(peers) } else { Err(Away) };
        Box::pin(std::future::ready(result))
    }

    fn members(&self) -> Arc<[Member]> {
        self.cluster.members()
    }

    fn set_state(&self, state: NodeState) {
        self.cluster
            .with_node(&self.id, |node| node.member.state = state);
    }

    fn is_up(&self) -> bool {
        let nodes = self.cluster.nodes();
        nodes.iter().any(|it| it.member.id == self.id && it.alive)
    }

    fn records(&self) -> Option<Arc<dyn Records>> {
        Some(Arc::new(self.cluster.0.records.clone()))
    }

    fn presence(&self) -> Option<Arc<dyn PresenceStore>> {
        Some(Arc::new(self.cluster.0.presence.clone()))
    }

    fn trouble(&self) -> Option<String> {
        (!self.is_up()).then(|| "not in the cluster".to_owned())
    }

    fn counters(&self) -> &Counters {
        &self.counters
    }

    fn close(&self) {
        self.cluster.forget(&self.id);
    }
}

impl Drop for MemoryAdapter {
    fn drop(&mut self) {
        self.cluster.forget(&self.id);
    }
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let members = self.members();
        f.debug_list()
            .entries(members.iter().map(|it| &it.id))
            .finish()
    }
}

impl fmt::Debug for MemoryAdapter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryAdapter")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ArgumentsBuf, Broadcast, EventBuf, Flags, Selection};

    #[test]
    fn a_broadcast_reaches_the_other_nodes_of_the_namespace() {
        let [a, b, c] = nodes(["a", "b", "c"]);
        let _open = [a.open("/"), b.open("/"), c.open("/chat")];
        a.publish("/", &event(Selection::everybody()));
        assert_eq!(a.messages(), []);
        assert_eq!(b.messages(), [event(Selection::everybody())]);
        assert_eq!(c.messages(), []);
    }

    #[test]
    fn a_broadcast_to_a_room_by_the_namespace_reaches_all_its_nodes() {
        let [a, b, c] = nodes(["a", "b", "c"]);
        let _open = [b.open("/"), c.open("/chat")];
        let message = event(Selection::room("r"));
        a.adapter.publish_to_namespace("/", &message);
        assert_eq!(b.messages(), [message]);
        assert_eq!(c.messages(), []);
    }

    #[test]
    fn a_broadcast_to_a_room_reaches_nodes_that_are_interested() {
        let [a, b, c] = nodes(["a", "b", "c"]);
        let _open = [b.open("/"), c.open("/")];
        let room = b.adapter.open_room("/", "r");
        let again = b.adapter.open_room("/", "r");
        a.publish("/", &event(Selection::room("r")));
        drop(room);
        a.publish("/", &event(Selection::room("r")));
        drop(again);
        a.publish("/", &event(Selection::room("r")));
        assert_eq!(b.messages().len(), 2);
        assert_eq!(c.messages(), []);
    }

    #[test]
    fn a_local_broadcast_stays() {
        let [a, b] = nodes(["a", "b"]);
        let _open = b.open("/");
        let mut selection = Selection::everybody();
        selection.flags = Flags {
            local: true,
            ..Flags::default()
        };
        a.publish("/", &event(selection));
        assert_eq!(b.messages(), []);
    }

    #[test]
    fn an_answer_goes_to_the_node_that_asked() {
        let [a, b, c] = nodes(["a", "b", "c"]);
        let _open = [a.open("/"), b.open("/"), c.open("/")];
        let request = a.adapter.new_request();
        a.adapter.request("/", &request, &ClusterMessage::AllRooms);
        let Some(Incoming::Message { reply_to, .. }) = b.incoming().pop() else {
            panic!("no message");
        };
        b.incoming();
        b.adapter
            .respond("/", &reply_to.unwrap(), &Answer::Rooms(vec![]));
        let answers = a.incoming();
        let [Incoming::Response { response, .. }] = answers.as_slice() else {
            panic!("{answers:?}");
        };
        assert_eq!(response.node.as_ref().unwrap().as_str(), "b");
        assert_eq!(response.request, request);
    }

    #[test]
    fn a_killed_node_is_an_absent_member_until_it_is_forgotten() {
        let [a, b, c] = nodes(["a", "b", "c"]);
        let _open = [a.open("/"), b.open("/"), c.open("/")];
        let cluster = &a.adapter.cluster;
        cluster.kill(&b.adapter.id);
        let peers = now(a.adapter.peers("/", Question::Rooms)).unwrap();
        assert_eq!(peers.nodes, std::slice::from_ref(&c.adapter.id));
        assert_eq!(peers.absent, std::slice::from_ref(&b.adapter.id));
        assert_eq!(b.publish("/", &ClusterMessage::AllRooms), Publish::Dropped);
        assert!(b.adapter.trouble().is_some() && a.adapter.trouble().is_none());
        assert_eq!(now(b.adapter.peers("/", Question::Rooms)), Err(Away));

        cluster.forget(&b.adapter.id);
        assert_eq!(
            now(a.adapter.peers("/", Question::Rooms)).unwrap().absent,
            []
        );
        let told = a.incoming();
        assert!(matches!(told.as_slice(), [Incoming::Members(it)] if it.len() == 2));
    }

    struct TestNode {
        adapter: MemoryAdapter,
        inbox: Arc<Mutex<Vec<Incoming>>>,
    }

    impl TestNode {
        fn open(&self, namespace: &str) -> Interest {
            self.adapter.open_namespace(namespace)
        }

        fn publish(&self, namespace: &str, message: &ClusterMessage) -> Publish {
            self.adapter.publish(namespace, message)
        }

        fn incoming(&self) -> Vec<Incoming> {
            std::mem::take(&mut self.inbox.lock().unwrap())
        }

        fn messages(&self) -> Vec<ClusterMessage> {
            let incoming = self.incoming().into_iter();
            let messages = incoming.map(|incoming| {
                let Incoming::Message { message, .. } = incoming else {
                    panic!("{incoming:?}");
                };
                message
            });
            messages.collect()
        }
    }

    fn nodes<const N: usize>(ids: [&str; N]) -> [TestNode; N] {
        let cluster = Cluster::default();
        let nodes = ids.map(|id| {
            let inbox = Arc::new(Mutex::new(Vec::new()));
            let filled = inbox.clone();
            let handle = move |incoming| filled.lock().unwrap().push(incoming);
            let tag = NodeTag::new(&id.repeat(4)).unwrap();
            let adapter = cluster.join(NodeId::new(id).unwrap(), tag, Arc::new(handle));
            TestNode { adapter, inbox }
        });
        for node in &nodes {
            node.incoming();
        }
        nodes
    }

    fn event(selection: Selection) -> ClusterMessage {
        ClusterMessage::Broadcast(Broadcast {
            selection,
            event: EventBuf {
                name: "hello".to_owned(),
                arguments: ArgumentsBuf::from_json("1"),
            },
        })
    }

    fn now<T>(mut future: std::pin::Pin<Box<dyn Future<Output = T> + Send>>) -> T {
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        match future.as_mut().poll(&mut context) {
            std::task::Poll::Ready(value) => value,
            std::task::Poll::Pending => panic!("not ready"),
        }
    }
}
