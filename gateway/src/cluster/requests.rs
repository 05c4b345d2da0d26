//! Questions to the other nodes.

use std::collections::HashMap;

use adapter::{Counter, Limits, Peers};

use super::*;
use crate::count::{Family, label};

/// The questions that await answers, and who waits for them.
pub(super) struct Requests {
    pending: Pending,
    waiting: HashMap<RequestId, oneshot::Sender<Outcome>>,
}

impl Default for Requests {
    fn default() -> Self {
        Self {
            pending: Pending::new(Limits::default()),
            waiting: HashMap::new(),
        }
    }
}

impl Requests {
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.pending.poll_timeout()
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) {
        self.pending.handle_timeout(now);
        self.hand_out();
    }

    pub(super) fn handle_response(&mut self, response: Response) {
        self.pending.handle_response(response);
        self.hand_out();
    }

    pub(super) fn handle_members(&mut self, members: &[Member]) {
        self.pending.handle_members(members);
        self.hand_out();
    }

    /// `None` if there are too many questions already.
    fn start(
        &mut self,
        request: &RequestId,
        question: Question,
        deadline: Instant,
    ) -> Option<oneshot::Receiver<Outcome>> {
        let started = self.pending.start(request.clone(), question, deadline);
        started.ok()?;
        let (sender, receiver) = oneshot::channel();
        self.waiting.insert(request.clone(), sender);
        Some(receiver)
    }

    fn cancel(&mut self, request: &RequestId) {
        self.pending.cancel(request);
        self.waiting.remove(request);
    }

    fn hand_out(&mut self) {
        while let Some(outcome) = self.pending.poll_outcome() {
            if let Some(waiting) = self.waiting.remove(&outcome.request) {
                let _gone = waiting.send(outcome);
            }
        }
    }
}

label! {
    /// What is asked.
    pub(crate) enum RequestKind: "type" {
        Broadcast = "broadcast",
        Sockets = "sockets",
        Rooms = "rooms",
        ServerSide = "server_side",
        Change = "change",
    }
}

label! {
    /// How a question ended.
    pub(crate) enum RequestResult: "result" {
        /// Everybody answered.
        Complete = "complete",
        /// Somebody did not.
        Partial = "partial",
        /// It could not be asked: no connection to the others.
        Away = "away",
        /// It could not be asked: too many questions await answers.
        Full = "full",
    }
}

impl From<Question> for RequestKind {
    fn from(question: Question) -> Self {
        match question {
            Question::Broadcast => Self::Broadcast,
            Question::Sockets => Self::Sockets,
            Question::Rooms => Self::Rooms,
            Question::ServerSide => Self::ServerSide,
            Question::Change => Self::Change,
        }
    }
}

/// How questions ended.
pub(crate) type RequestCounters = Family<(RequestKind, RequestResult), Counter>;

/// What the other nodes answered.
#[derive(Debug, Default)]
pub(crate) struct Asked {
    pub(crate) answers: Vec<(Option<NodeId>, Answer)>,
    pub(crate) missing_nodes: Vec<String>,
    pub(crate) missing_others: usize,
    /// How many sockets got a broadcast and did not acknowledge it.
    pub(crate) missing_acks: u64,
    pub(crate) truncated: bool,
}

impl Asked {
    /// The same answers, of which `found` was made.
    pub(crate) fn into_gathered<T>(self, found: T) -> Gathered<T> {
        Gathered {
            found,
            missing_nodes: self.missing_nodes,
            missing_others: self.missing_others,
            truncated: self.truncated,
        }
    }
}

/// Asks the other nodes at once; the future waits for their answers, at most for `patience`. Without a
/// cluster there is nobody to ask.
pub(crate) fn ask(
    cluster: Option<&Arc<Cluster>>,
    namespace: &str,
    question: Question,
    message: &ClusterMessage,
    patience: Duration,
) -> impl Future<Output = Asked> + Send + use<> {
    let is_local = message.selection().is_some_and(|it| it.flags.local);
    let sent = cluster.filter(|_| !is_local).map(|cluster| {
        let sent = cluster.send(namespace, question, message, patience);
        let peers = cluster.adapter.peers(namespace, question);
        (Arc::clone(cluster), sent, peers)
    });
    let namespace: Arc<str> = namespace.into();
    async move {
        match sent {
            Some((cluster, sent, peers)) => {
                cluster.collect(&namespace, question, sent, peers).await
            }
            None => Asked::default(),
        }
    }
}

/// A question that awaits its answers.
struct Started {
    request: RequestId,
    outcome: oneshot::Receiver<Outcome>,
    /// Whether it is on its way.
    publish: Publish,
}

impl Cluster {
    fn send(
        &self,
        namespace: &str,
        question: Question,
        message: &ClusterMessage,
        patience: Duration,
    ) -> Option<Started> {
        let request = self.adapter.new_request();
        let deadline = Instant::now() + patience;
        self.note_join(namespace, message);
        let Some(outcome) = self.requests().start(&request, question, deadline) else {
            // It is done all the same, only nobody tells.
            if question == Question::Change {
                self.adapter.publish(namespace, message);
            }
            return None;
        };
        self.requests_changed.notify_one();
        let publish = self.adapter.request(namespace, &request, message);
        match publish {
            Publish::Queued => {}
            Publish::Dropped => {
                tracing::debug!(target: "gateway::cluster::requests", namespace, "question not published to the other nodes")
            }
        }
        Some(Started {
            request,
            outcome,
            publish,
        })
    }

    async fn collect(
        &self,
        namespace: &str,
        question: Question,
        sent: Option<Started>,
        peers: PeersFuture,
    ) -> Asked {
        let count = |result| self.counters.of((question.into(), result)).increment();
        let Some(Started {
            request,
            outcome,
            publish,
        }) = sent
        else {
            count(RequestResult::Full);
            return self.nobody_answered();
        };
        match peers.await {
            Ok(peers) => {
                let mut requests = self.requests();
                requests.pending.handle_peers(&request, peers);
                requests.hand_out();
            }
            Err(Away) => {
                self.requests().cancel(&request);
                let is_waiting = publish == Publish::Queued;
                // Else it would go out when the connection is back, and everybody would answer it:
                // answers that nobody hears take the place of messages. The others do more than ask.
                if is_waiting && matches!(question, Question::Sockets | Question::Rooms) {
                    self.adapter.withdraw(namespace, &request);
                }
                count(RequestResult::Away);
                return self.nobody_answered();
            }
        }
        self.answered(question, outcome).await
    }

    /// Asks those who are known to listen: gateway nodes by `message`, others by `of_others`.
    pub(crate) async fn ask_peers(
        &self,
        namespace: &str,
        question: Question,
        (message, of_others): (Option<&ClusterMessage>, Option<&ClusterMessage>),
        peers: Peers,
        patience: Duration,
    ) -> Asked {
        let nobody = |result| {
            self.counters.of((question.into(), result)).increment();
            Asked {
                missing_others: peers.others,
                ..self.nobody_answered()
            }
        };
        let request = self.adapter.new_request();
        let deadline = Instant::now() + patience;
        let started = self.requests().start(&request, question, deadline);
        let Some(outcome) = started else {
            return nobody(RequestResult::Full);
        };
        self.requests_changed.notify_one();
        let listen = !peers.nodes.is_empty() || peers.others > 0;
        let mut published = Publish::Queued;
        if let Some(message) = message.filter(|_| listen) {
            published = self.adapter.request(namespace, &request, message);
        }
        if let (Publish::Queued, Some(of_others)) = (published, of_others) {
            published = self.adapter.request_others(namespace, &request, of_others);
        }
        if published == Publish::Dropped {
            self.requests().cancel(&request);
            return nobody(RequestResult::Away);
        }
        {
            let mut requests = self.requests();
            requests.pending.handle_peers(&request, peers);
            requests.hand_out();
        }
        self.answered(question, outcome).await
    }

    /// Whether servers listen that are no gateway nodes, or gateway nodes of another version, which may
    /// not know of lists.
    pub(crate) fn has_others(&self, peers: &Peers) -> bool {
        let members = self.adapter.members();
        let mut others = members.iter().filter(|it| peers.nodes.contains(&it.id));
        peers.others > 0 || others.any(|it| it.version != env!("CARGO_PKG_VERSION"))
    }

    async fn answered(&self, question: Question, outcome: oneshot::Receiver<Outcome>) -> Asked {
        let count = |result| self.counters.of((question.into(), result)).increment();
        let Ok(outcome) = outcome.await else {
            count(RequestResult::Away);
            return self.nobody_answered();
        };
        let missing_nodes: Vec<_> = outcome.missing.iter().map(ToString::to_string).collect();
        let is_complete = missing_nodes.is_empty() && outcome.missing_others == 0;
        count(if is_complete && outcome.missing_acks == 0 {
            RequestResult::Complete
        } else {
            RequestResult::Partial
        });
        Asked {
            answers: outcome.answers,
            missing_nodes,
            missing_others: outcome.missing_others,
            missing_acks: outcome.missing_acks,
            truncated: outcome.truncated,
        }
    }

    pub(crate) fn nobody_answered(&self) -> Asked {
        let members = self.adapter.members();
        let others = members.iter().filter(|it| it.id != *self.adapter.node());
        Asked {
            missing_nodes: others.map(|member| member.id.to_string()).collect(),
            ..Asked::default()
        }
    }
}
