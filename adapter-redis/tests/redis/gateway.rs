//! A node of ours without a gateway: it keeps what comes in and answers for a made-up socket.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, OnceLock, Weak};
use std::time::{Duration, Instant};

use adapter::{
    Adapter, Answer, ArgumentsBuf, Broadcast, ClusterMessage, Entries, EventBuf, Incoming,
    Interest, NodeId, NodeTag, Peers, Piece, Question, ReplyTo, Response, Selection, SocketDetails,
};
use adapter_redis::wire::Format;
use adapter_redis::{Config, RedisAdapter};
use testkit::wait::{PATIENCE, soon, until};

/// The node. Dropping it leaves the cluster.
pub(crate) struct Gateway {
    pub(crate) adapter: Arc<RedisAdapter>,
    inbox: Arc<Inbox>,
    /// Its interest in `/`.
    pub(crate) main: Option<Interest>,
}

#[derive(Default)]
struct Inbox {
    messages: Mutex<VecDeque<Incoming>>,
    more: Condvar,
    /// Who answers requests.
    adapter: OnceLock<Weak<RedisAdapter>>,
}

impl Gateway {
    /// A node `id` that takes part in `/` and is up.
    pub(crate) fn start(url: &str, id: &str) -> Self {
        Self::start_with(url, id, |_| {})
    }

    pub(crate) fn start_with(url: &str, id: &str, change: impl FnOnce(&mut Config)) -> Self {
        let gateway = Self::launch(url, id, change);
        gateway.wait_until_up();
        gateway
    }

    /// The same, perhaps not up yet.
    pub(crate) fn launch(url: &str, id: &str, change: impl FnOnce(&mut Config)) -> Self {
        let inbox = Arc::new(Inbox::default());
        let filled = inbox.clone();
        let handle = move |incoming| filled.handle(incoming);
        let adapter =
            Arc::new(RedisAdapter::start(config(url, id, change), Arc::new(handle)).unwrap());
        inbox.adapter.set(Arc::downgrade(&adapter)).unwrap();
        let main = Some(adapter.open_namespace("/"));
        Self {
            adapter,
            inbox,
            main,
        }
    }

    pub(crate) fn wait_until_up(&self) {
        self.wait_until("up", || self.adapter.is_up());
    }

    pub(crate) fn wait_until(&self, what: &str, condition: impl Fn() -> bool) {
        until(what, condition);
    }

    /// Waits until what is published to `room` arrives here.
    pub(crate) fn join(&self, room: &str) -> Interest {
        let interest = self.adapter.open_room("/", room);
        self.wait_until("in force", || interest.is_in_force());
        interest
    }

    pub(crate) fn emit(&self, selection: Selection, event: &str, json: &str) {
        self.emit_event(selection, event, ArgumentsBuf::from_json(json));
    }

    pub(crate) fn emit_event(&self, selection: Selection, event: &str, arguments: ArgumentsBuf) {
        let message = broadcast(selection, event, arguments);
        self.adapter.publish("/", &message);
    }

    /// Sends a request, and returns answers as they come.
    pub(crate) fn ask(&self, message: &ClusterMessage) -> Asked<'_> {
        let request = self.adapter.new_request();
        self.adapter.request("/", &request, message);
        Asked {
            gateway: self,
            request: request.as_str().to_owned(),
        }
    }

    pub(crate) fn peers(&self) -> Peers {
        self.peers_for(Question::Sockets).unwrap()
    }

    pub(crate) fn peers_for(&self, question: Question) -> Result<Peers, adapter::Away> {
        block_on(self.adapter.peers("/", question))
    }

    /// The next message or response, without the news of members and of being up.
    pub(crate) fn next(&self) -> Incoming {
        self.try_next(PATIENCE).expect("a message")
    }

    pub(crate) fn try_next(&self, patience: Duration) -> Option<Incoming> {
        self.take(patience, |it| {
            matches!(it, Incoming::Message { .. } | Incoming::Response { .. })
        })
    }

    /// The next event that is broadcast.
    pub(crate) fn next_event(&self) -> (Selection, String, ArgumentsBuf) {
        let Incoming::Message {
            message: ClusterMessage::Broadcast(Broadcast { selection, event }),
            ..
        } = self.next()
        else {
            panic!("no broadcast");
        };
        (selection, event.name, event.arguments)
    }

    /// Takes the first of what came in that `is_wanted`.
    pub(crate) fn take(
        &self,
        patience: Duration,
        is_wanted: impl Fn(&Incoming) -> bool,
    ) -> Option<Incoming> {
        let deadline = Instant::now() + patience;
        let mut messages = self.inbox.messages.lock().unwrap();
        loop {
            if let Some(index) = messages.iter().position(&is_wanted) {
                return messages.remove(index);
            }
            let left = deadline.checked_duration_since(Instant::now())?;
            messages = self.inbox.more.wait_timeout(messages, left).unwrap().0;
        }
    }

    /// Everything that came in so far.
    pub(crate) fn drain(&self) -> Vec<Incoming> {
        self.inbox.messages.lock().unwrap().drain(..).collect()
    }

    /// Leaves the cluster, and waits until it has.
    pub(crate) fn close(self) {
        let Self { adapter, main, .. } = self;
        drop(main);
        Arc::into_inner(adapter)
            .expect("nobody else holds it")
            .close();
    }
}

/// A request that was sent.
pub(crate) struct Asked<'a> {
    gateway: &'a Gateway,
    request: String,
}

impl Asked<'_> {
    pub(crate) fn next(&self) -> Response {
        let is_answer = |incoming: &Incoming| {
            matches!(incoming, Incoming::Response { response, .. }
                if response.request.as_str() == self.request)
        };
        match self.gateway.take(PATIENCE, is_answer) {
            Some(Incoming::Response { response, .. }) => response,
            other => panic!("no answer: {other:?}"),
        }
    }
}

impl Inbox {
    fn handle(&self, incoming: Incoming) {
        if let Incoming::Message {
            namespace,
            message,
            reply_to: Some(reply_to),
        } = &incoming
            && let Some(adapter) = self.adapter.get().and_then(Weak::upgrade)
        {
            for answer in answers(&adapter, message) {
                adapter.respond(namespace, reply_to, &answer);
            }
        }
        self.messages.lock().unwrap().push_back(incoming);
        self.more.notify_all();
    }
}

/// What a node with one socket answers.
fn answers(adapter: &RedisAdapter, message: &ClusterMessage) -> Vec<Answer> {
    let node = adapter.node().as_str();
    match message {
        ClusterMessage::Broadcast(broadcast) if broadcast.event.name == "silent" => {
            vec![Answer::ClientCount(1)]
        }
        ClusterMessage::Broadcast(broadcast) if broadcast.event.name == "binary" => vec![
            Answer::ClientCount(1),
            Answer::Ack(broadcast.event.arguments.clone()),
        ],
        ClusterMessage::Broadcast(_) => vec![
            Answer::ClientCount(1),
            Answer::Ack(ArgumentsBuf::from_json(format!("\"{node}-ack\""))),
        ],
        ClusterMessage::FetchSockets { .. } => vec![Answer::Sockets(vec![socket(node)])],
        ClusterMessage::SocketIds { .. } => vec![Answer::SocketIds(vec![socket(node).id])],
        ClusterMessage::List(_) => vec![Answer::Piece(Piece {
            entries: Entries::Sockets(vec![socket(node)]),
            more: false,
            cut: false,
        })],
        ClusterMessage::AllRooms => vec![Answer::Rooms(vec![format!("{node}-room")])],
        ClusterMessage::ServerSideEmit(_) => {
            let json = format!("{{\"from\":\"{node}\"}}");
            vec![Answer::ServerSide(ArgumentsBuf::from_json(json))]
        }
        ClusterMessage::Join { .. }
        | ClusterMessage::Leave { .. }
        | ClusterMessage::Disconnect { .. } => vec![Answer::Done],
        ClusterMessage::Trace(words) => vec![Answer::Lines(vec![words.clone()])],
    }
}

pub(crate) fn socket(node: &str) -> SocketDetails {
    SocketDetails {
        id: format!("{node:x<20}"),
        handshake: r#"{"headers":{},"time":"now","address":"::1","xdomain":false,"secure":false,"issued":1,"url":"/","query":{},"auth":{}}"#.to_owned(),
        rooms: vec![format!("{node:x<20}"), "room".to_owned()],
        data: format!("{{\"user\":\"{node}\"}}"),
        extra: Some("{\"transport\":\"websocket\"}".to_owned()),
    }
}

pub(crate) fn config(url: &str, id: &str, change: impl FnOnce(&mut Config)) -> Config {
    let tag = NodeTag::new(&format!("{id:_<4}")[..4]).unwrap();
    let mut config = Config::new(url.parse().unwrap(), NodeId::new(id).unwrap(), tag);
    config.address = format!("{id}:3001");
    config.version = "0.1.0".to_owned();
    config.timing.heartbeat = Duration::from_millis(200);
    config.timing.member_ttl = Duration::from_secs(1);
    config.timing.probe = Duration::from_millis(200);
    config.timing.silence = Duration::from_secs(2);
    config.timing.linger = Duration::from_millis(100);
    change(&mut config);
    config
}

pub(crate) const SPECIFIC: Format = Format::Classic {
    specific_responses: true,
};

pub(crate) fn broadcast(
    selection: Selection,
    event: &str,
    arguments: ArgumentsBuf,
) -> ClusterMessage {
    let event = EventBuf {
        name: event.to_owned(),
        arguments,
    };
    ClusterMessage::Broadcast(Broadcast { selection, event })
}

pub(crate) fn rooms(names: &[&str]) -> Selection {
    Selection {
        rooms: names.iter().map(|&it| it.to_owned()).collect(),
        ..Selection::default()
    }
}

/// Waits for `future`, which another thread completes.
pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = { runtime }.enable_all().build().unwrap();
    runtime.block_on(async { soon(future).await })
}

pub(crate) fn reply_to(incoming: &Incoming) -> Option<&ReplyTo> {
    match incoming {
        Incoming::Message { reply_to, .. } => reply_to.as_ref(),
        Incoming::Response { .. }
        | Incoming::Members(_)
        | Incoming::Up(_)
        | Incoming::Store { .. } => None,
    }
}
