use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::time::Instant;

use crate::{Answer, Member, NodeId, Peers, RequestId, Response};
use waiting::Waiting;

mod waiting;

/// The requests of a node that await answers from others.
///
/// ```
/// use std::time::{Duration, Instant};
///
/// use adapter::{Answer, Limits, NodeId, Peers, Pending, Question, RequestId, Response};
///
/// let mut pending = Pending::new(Limits::default());
/// let (now, request) = (Instant::now(), RequestId::new("1"));
/// pending.start(request.clone(), Question::Rooms, now + Duration::from_secs(5))?;
/// let node = NodeId::new("gw-2")?;
/// let nodes = vec![node.clone()];
/// pending.handle_peers(&request, Peers { nodes, ..Peers::default() });
/// pending.handle_response(Response {
///     request,
///     node: Some(node),
///     answer: Answer::Rooms(vec!["news".to_owned()]),
/// });
/// let outcome = pending.poll_outcome().expect("all have answered");
/// assert!(outcome.missing.is_empty());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// Answers, membership and time go in through `handle_*`, finished requests come out of
/// [`poll_outcome`](Self::poll_outcome); [`poll_timeout`](Self::poll_timeout) says when time has to
/// be handed in again.
///
/// ```text
///            handle_peers            all have answered, or none is expected
/// start ──► collecting ──► counting ──────────────────────────────────────► outcome
///               │              │      deadline: whoever is due is missing      ▲
///               └──────────────┴───────────────────────────────────────────────┘
/// ```
#[derive(Debug)]
pub struct Pending {
    limits: Limits,
    waiting: HashMap<RequestId, Waiting>,
    deadlines: BTreeSet<(Instant, RequestId)>,
    outcomes: VecDeque<Outcome>,
    /// Of the answers that are kept.
    bytes: usize,
}

/// What [`Pending`] holds at most.
#[expect(
    clippy::exhaustive_structs,
    reason = "its users make it, field by field"
)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Requests at a time.
    pub requests: usize,
    /// Bytes of the answers to one request; what exceeds them is left out.
    pub answer_bytes: usize,
    /// Bytes of the answers to all requests; what exceeds them is left out.
    pub all_bytes: usize,
}

/// What is asked, and so which answers count.
#[expect(clippy::exhaustive_enums, reason = "nodes and adapters handle each")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Question {
    /// A broadcast: each node tells a count, then as many acknowledgements follow.
    Broadcast,
    /// The sockets of a selection.
    Sockets,
    /// All rooms.
    Rooms,
    /// A server-side emit that wants an answer.
    ServerSide,
    /// A join, a leave or a disconnect whose sender wants to know when it is done. Node nodes do it
    /// and do not answer.
    Change,
}

/// A request that is over.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// Its id.
    pub request: RequestId,
    /// What was asked.
    pub question: Question,
    /// Whatever came in, in that order, counts left out, with the node that answered, if it told.
    pub answers: Vec<(Option<NodeId>, Answer)>,
    /// Gateway nodes that did not answer, or not in full.
    pub missing: Vec<NodeId>,
    /// How many other nodes did not answer.
    pub missing_others: usize,
    /// How many sockets got a broadcast and did not acknowledge it in time.
    pub missing_acks: u64,
    /// Whether answers were left out because they exceeded [`Limits`].
    pub truncated: bool,
}

/// There are [`Limits::requests`] requests already.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too many requests await answers")]
pub struct Full;

impl Default for Limits {
    fn default() -> Self {
        Self {
            requests: 10_000,
            answer_bytes: 64 << 20,
            all_bytes: 128 << 20,
        }
    }
}

impl Pending {
    /// No requests yet.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            waiting: HashMap::new(),
            deadlines: BTreeSet::new(),
            outcomes: VecDeque::new(),
            bytes: 0,
        }
    }

    /// How many requests await answers.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether none does.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Begins to collect the answers to `request`, at the latest until `deadline`. Call it before
    /// the request is published, and [`handle_peers`](Self::handle_peers) when it is known who will
    /// answer.
    ///
    /// # Errors
    ///
    /// If [`Limits::requests`] requests await answers already.
    pub fn start(
        &mut self,
        request: RequestId,
        question: Question,
        deadline: Instant,
    ) -> Result<(), Full> {
        if self.waiting.len() >= self.limits.requests {
            return Err(Full);
        }
        self.cancel(&request);
        self.deadlines.insert((deadline, request.clone()));
        self.waiting
            .insert(request, Waiting::new(question, deadline));
        Ok(())
    }

    /// Says who will answer. The own node may be among them: its answers are handed in like those of
    /// others.
    pub fn handle_peers(&mut self, request: &RequestId, peers: Peers) {
        if let Some(waiting) = self.waiting.get_mut(request) {
            waiting.expect(peers);
            self.finish_if_complete(request);
        }
    }

    /// Takes an answer. Answers to unknown requests are ignored: they come late.
    pub fn handle_response(&mut self, response: Response) {
        let Response {
            request,
            node,
            answer,
        } = response;
        let left = self.limits.all_bytes.saturating_sub(self.bytes);
        if let Some(waiting) = self.waiting.get_mut(&request) {
            let before = waiting.bytes();
            let limit = self.limits.answer_bytes.min(before + left);
            waiting.take(node, answer, limit);
            self.bytes += waiting.bytes() - before;
            self.finish_if_complete(&request);
        }
    }

    /// Takes the live nodes: who is not among them will not answer any more.
    pub fn handle_members(&mut self, members: &[Member]) {
        let live: HashSet<&NodeId> = members.iter().map(|member| &member.id).collect();
        let mut concerned = Vec::new();
        for (request, waiting) in &mut self.waiting {
            if waiting.drop_dead(&live) {
                concerned.push(request.clone());
            }
        }
        for request in concerned {
            self.finish_if_complete(&request);
        }
    }

    /// Takes the time.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some((deadline, _)) = self.deadlines.first()
            && *deadline <= now
            && let Some((_, request)) = self.deadlines.pop_first()
        {
            self.finish(&request);
        }
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.deadlines.first().map(|(deadline, _)| *deadline)
    }

    /// The next request that is over.
    pub fn poll_outcome(&mut self) -> Option<Outcome> {
        self.outcomes.pop_front()
    }

    /// Forgets a request.
    pub fn cancel(&mut self, request: &RequestId) {
        if let Some(waiting) = self.waiting.remove(request) {
            self.bytes -= waiting.bytes();
            self.deadlines
                .remove(&(waiting.deadline(), request.clone()));
        }
    }

    fn finish_if_complete(&mut self, request: &RequestId) {
        if self.waiting.get(request).is_some_and(Waiting::is_complete) {
            self.finish(request);
        }
    }

    fn finish(&mut self, request: &RequestId) {
        if let Some(waiting) = self.waiting.remove(request) {
            self.bytes -= waiting.bytes();
            self.deadlines
                .remove(&(waiting.deadline(), request.clone()));
            self.outcomes.push_back(waiting.into_outcome(request));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::ArgumentsBuf;
    use crate::NodeState;

    #[test]
    fn a_request_is_over_when_every_named_node_has_answered() {
        let mut pair = Asked::new(Question::Rooms, &["b", "c"], 0);
        pair.rooms("b", &["r1"]);
        pair.expect_nothing();
        pair.rooms("c", &["r2"]);
        let outcome = pair.expect_outcome();
        assert_eq!(outcome.answers.len(), 2);
        assert_eq!(outcome.missing, []);
        assert_eq!(pair.pending.poll_timeout(), None);
    }

    #[test]
    fn a_second_answer_of_one_node_is_no_answer_of_another() {
        let mut pair = Asked::new(Question::Rooms, &["b", "c"], 0);
        pair.rooms("b", &["r1"]);
        pair.rooms("b", &["r1"]);
        pair.expect_nothing();
        pair.rooms("c", &[]);
        assert_eq!(pair.expect_outcome().answers.len(), 2);
    }

    #[test]
    fn unnamed_nodes_are_only_counted() {
        let mut pair = Asked::new(Question::Rooms, &["b"], 2);
        pair.rooms("b", &[]);
        pair.answer(None, Answer::Rooms(vec![]));
        pair.expect_nothing();
        pair.answer(None, Answer::Rooms(vec![]));
        assert_eq!(pair.expect_outcome().missing_others, 0);
    }

    #[test]
    fn a_node_too_new_to_be_a_member_counts_as_an_unnamed_one() {
        let mut pair = Asked::new(Question::Rooms, &["b"], 1);
        pair.rooms("new", &["r"]);
        pair.expect_nothing();
        pair.rooms("b", &[]);
        let outcome = pair.expect_outcome();
        assert_eq!((outcome.missing_others, outcome.answers.len()), (0, 2));
    }

    #[test]
    fn answers_may_come_before_it_is_known_who_will_answer() {
        let mut pair = Asked::unknown(Question::Rooms);
        pair.rooms("b", &["r"]);
        pair.answer(None, Answer::Rooms(vec![]));
        pair.expect_nothing();
        pair.peers(&["b"], &[], 1);
        assert_eq!(pair.expect_outcome().answers.len(), 2);
    }

    #[test]
    fn the_deadline_names_who_is_missing() {
        let mut pair = Asked::new(Question::Sockets, &["b", "c"], 1);
        pair.answer(Some("b"), Answer::Sockets(vec![]));
        let deadline = pair.pending.poll_timeout().unwrap();
        pair.pending
            .handle_timeout(deadline - Duration::from_nanos(1));
        pair.expect_nothing();
        pair.pending.handle_timeout(deadline);
        let outcome = pair.expect_outcome();
        assert_eq!(outcome.missing, [node("c")]);
        assert_eq!(outcome.missing_others, 1);
        assert_eq!(outcome.answers.len(), 1);
    }

    #[test]
    fn a_node_that_leaves_is_not_waited_for() {
        let mut pair = Asked::new(Question::Sockets, &["b", "c"], 0);
        pair.answer(Some("b"), Answer::Sockets(vec![]));
        pair.pending.handle_members(&[member("a"), member("b")]);
        assert_eq!(pair.expect_outcome().missing, [node("c")]);
    }

    #[test]
    fn a_member_that_does_not_listen_is_missing_without_waiting() {
        let mut pair = Asked::unknown(Question::Sockets);
        pair.peers(&["b"], &["c"], 0);
        pair.answer(Some("b"), Answer::Sockets(vec![]));
        assert_eq!(pair.expect_outcome().missing, [node("c")]);
    }

    #[test]
    fn an_absent_member_that_answers_after_all_is_not_missing() {
        let mut pair = Asked::unknown(Question::Sockets);
        pair.answer(Some("c"), Answer::Sockets(vec![]));
        pair.peers(&["b"], &["c"], 0);
        pair.answer(Some("b"), Answer::Sockets(vec![]));
        assert_eq!(pair.expect_outcome().missing, []);
    }

    #[test]
    fn nobody_else_means_no_waiting() {
        let mut pair = Asked::unknown(Question::ServerSide);
        pair.peers(&[], &[], 0);
        assert_eq!(pair.expect_outcome().answers, []);
    }

    #[test]
    fn a_broadcast_is_over_when_as_many_acks_as_counted_are_in() {
        let mut pair = Asked::new(Question::Broadcast, &["b"], 1);
        pair.answer(Some("b"), Answer::ClientCount(2));
        pair.answer(None, Answer::ClientCount(1));
        pair.ack(Some("b"));
        pair.ack(None);
        pair.expect_nothing();
        pair.ack(Some("b"));
        let outcome = pair.expect_outcome();
        assert_eq!(outcome.answers.len(), 3);
        assert_eq!(outcome.missing_acks, 0);
    }

    #[test]
    fn acks_of_one_node_do_not_stand_for_those_of_another() {
        let mut pair = Asked::new(Question::Broadcast, &["b", "c"], 0);
        pair.answer(Some("b"), Answer::ClientCount(1));
        pair.answer(Some("c"), Answer::ClientCount(1));
        pair.ack(Some("b"));
        pair.ack(Some("b"));
        pair.expect_nothing();
        pair.ack(Some("c"));
        pair.expect_outcome();
    }

    #[test]
    fn acks_of_a_dead_node_are_not_waited_for() {
        let mut pair = Asked::new(Question::Broadcast, &["b", "c"], 0);
        pair.answer(Some("b"), Answer::ClientCount(2));
        pair.answer(Some("c"), Answer::ClientCount(1));
        pair.ack(Some("c"));
        pair.ack(Some("b"));
        pair.pending.handle_members(&[member("c")]);
        let outcome = pair.expect_outcome();
        assert_eq!(outcome.missing, [node("b")]);
        assert_eq!(outcome.missing_acks, 1);
        assert_eq!(outcome.answers.len(), 2);
    }

    #[test]
    fn a_node_that_dies_after_its_whole_answer_is_not_missing() {
        let mut pair = Asked::new(Question::Broadcast, &["b", "c"], 0);
        pair.answer(Some("b"), Answer::ClientCount(0));
        pair.pending.handle_members(&[member("c")]);
        pair.expect_nothing();
        pair.answer(Some("c"), Answer::ClientCount(0));
        assert_eq!(pair.expect_outcome().missing, []);
    }

    #[test]
    fn the_deadline_of_a_broadcast_counts_missing_acks() {
        let mut pair = Asked::new(Question::Broadcast, &["b"], 0);
        pair.answer(Some("b"), Answer::ClientCount(3));
        pair.ack(Some("b"));
        let deadline = pair.pending.poll_timeout().unwrap();
        pair.pending.handle_timeout(deadline);
        let outcome = pair.expect_outcome();
        assert_eq!(outcome.missing_acks, 2);
        assert_eq!(outcome.missing, [node("b")]);
    }

    #[test]
    fn answers_to_another_question_do_not_count() {
        let mut pair = Asked::new(Question::Rooms, &["b"], 0);
        pair.answer(Some("b"), Answer::Sockets(vec![]));
        pair.answer(Some("b"), Answer::Done);
        pair.expect_nothing();
    }

    #[test]
    fn late_answers_and_unknown_requests_are_ignored() {
        let mut pair = Asked::new(Question::Rooms, &["b"], 0);
        pair.pending.cancel(&pair.request.clone());
        pair.rooms("b", &[]);
        pair.peers(&["b"], &[], 0);
        pair.expect_nothing();
        assert_eq!(pair.pending.poll_timeout(), None);
    }

    #[test]
    fn requests_and_answers_are_bounded() {
        let limits = Limits {
            requests: 1,
            answer_bytes: 300,
            all_bytes: 1000,
        };
        let mut pending = Pending::new(limits);
        let request = RequestId::new("r");
        let deadline = Instant::now();
        assert_eq!(
            pending.start(request.clone(), Question::Rooms, deadline),
            Ok(())
        );
        assert_eq!(
            pending.start(RequestId::new("s"), Question::Rooms, deadline),
            Err(Full)
        );
        for room in ["x".repeat(10), "y".repeat(300)] {
            pending.handle_response(Response {
                request: request.clone(),
                node: None,
                answer: Answer::Rooms(vec![room]),
            });
        }
        pending.handle_timeout(deadline);
        let outcome = pending.poll_outcome().unwrap();
        assert_eq!(outcome.answers.len(), 1);
        assert!(outcome.truncated);
    }

    #[test]
    fn the_answers_to_all_requests_together_are_bounded() {
        let limits = Limits {
            requests: 10,
            answer_bytes: 600,
            all_bytes: 900,
        };
        let mut pending = Pending::new(limits);
        let deadline = Instant::now();
        let requests = ["r", "s", "t"].map(RequestId::new);
        let answer = |pending: &mut Pending, request: &RequestId| {
            pending.handle_response(Response {
                request: request.clone(),
                node: None,
                answer: Answer::Rooms(vec!["x".repeat(400)]),
            });
        };
        for request in &requests[..2] {
            let started = pending.start(request.clone(), Question::Rooms, deadline);
            started.unwrap();
            answer(&mut pending, request);
        }
        pending.handle_timeout(deadline);
        let first = pending.poll_outcome().unwrap();
        let second = pending.poll_outcome().unwrap();
        assert_eq!((first.answers.len(), first.truncated), (1, false));
        assert_eq!((second.answers.len(), second.truncated), (0, true));
        // What was handed out makes room.
        let third = &requests[2];
        pending
            .start(third.clone(), Question::Rooms, deadline)
            .unwrap();
        answer(&mut pending, third);
        pending.handle_timeout(deadline);
        assert!(!pending.poll_outcome().unwrap().truncated);
    }

    /// One request and those who answer it.
    struct Asked {
        pending: Pending,
        request: RequestId,
    }

    impl Asked {
        fn unknown(question: Question) -> Self {
            let mut pending = Pending::new(Limits::default());
            let request = RequestId::new("q");
            let deadline = Instant::now() + Duration::from_secs(1);
            pending.start(request.clone(), question, deadline).unwrap();
            Self { pending, request }
        }

        fn new(question: Question, nodes: &[&str], others: usize) -> Self {
            let mut asked = Self::unknown(question);
            asked.peers(nodes, &[], others);
            asked
        }

        fn peers(&mut self, nodes: &[&str], absent: &[&str], others: usize) {
            let peers = Peers {
                nodes: nodes.iter().map(|id| node(id)).collect(),
                absent: absent.iter().map(|id| node(id)).collect(),
                others,
            };
            self.pending.handle_peers(&self.request, peers);
        }

        fn answer(&mut self, from: Option<&str>, answer: Answer) {
            self.pending.handle_response(Response {
                request: self.request.clone(),
                node: from.map(node),
                answer,
            });
        }

        fn rooms(&mut self, from: &str, rooms: &[&str]) {
            let rooms = rooms.iter().map(|&room| room.to_owned()).collect();
            self.answer(Some(from), Answer::Rooms(rooms));
        }

        fn ack(&mut self, from: Option<&str>) {
            self.answer(from, Answer::Ack(ArgumentsBuf::from_json("1")));
        }

        fn expect_nothing(&mut self) {
            assert_eq!(self.pending.poll_outcome(), None);
        }

        fn expect_outcome(&mut self) -> Outcome {
            let outcome = self.pending.poll_outcome().unwrap();
            assert_eq!(self.pending.poll_outcome(), None);
            assert!(self.pending.is_empty());
            outcome
        }
    }

    fn node(id: &str) -> NodeId {
        NodeId::new(id).unwrap()
    }

    fn member(id: &str) -> Member {
        Member {
            id: node(id),
            tag: String::new(),
            address: String::new(),
            version: String::new(),
            state: NodeState::default(),
        }
    }
}
