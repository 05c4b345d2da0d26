use std::collections::{BTreeSet, HashMap, HashSet};
use std::time::Instant;

use super::{Outcome, Question};
use crate::{Answer, NodeId, Peers, RequestId};

/// A request that awaits answers.
#[derive(Debug)]
pub(super) struct Waiting {
    question: Question,
    deadline: Instant,
    /// `None` until it is known who will answer.
    expected: Option<Expected>,
    answers: Vec<(Option<NodeId>, Answer)>,
    bytes: usize,
    truncated: bool,
    /// What each gateway node told.
    told: HashMap<NodeId, Told>,
    /// What nodes without a name told, together.
    others: Others,
}

#[derive(Debug, Default)]
struct Expected {
    /// Gateway nodes whose answer is due.
    due: HashSet<NodeId>,
    others: usize,
    missing: BTreeSet<NodeId>,
}

/// What one gateway node told.
#[derive(Debug, Default, Clone, Copy)]
struct Told {
    answered: bool,
    count: u64,
    acks: u64,
}

#[derive(Debug, Default, Clone, Copy)]
struct Others {
    answers: usize,
    count: u64,
    acks: u64,
}

impl Waiting {
    pub(super) fn new(question: Question, deadline: Instant) -> Self {
        Self {
            question,
            deadline,
            expected: None,
            answers: Vec::new(),
            bytes: 0,
            truncated: false,
            told: HashMap::new(),
            others: Others::default(),
        }
    }

    pub(super) fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Bytes of the answers that are kept.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn expect(&mut self, peers: Peers) {
        self.expected = Some(Expected {
            due: peers.nodes.into_iter().collect(),
            others: peers.others,
            missing: peers.absent.into_iter().collect(),
        });
    }

    /// Takes an answer; what exceeds `limit` bytes is left out.
    pub(super) fn take(&mut self, node: Option<NodeId>, answer: Answer, limit: usize) {
        if !self.is_asked(&answer) {
            return;
        }
        let kept = match &node {
            Some(node) => self.told.entry(node.clone()).or_default().take(&answer),
            None => self.others.take(&answer),
        };
        if !kept {
            return;
        }
        let bytes = self.bytes + answer.size();
        if bytes > limit {
            self.truncated = true;
        } else {
            self.bytes = bytes;
            self.answers.push((node, answer));
        }
    }

    fn is_asked(&self, answer: &Answer) -> bool {
        match self.question {
            Question::Broadcast => matches!(answer, Answer::ClientCount(_) | Answer::Ack(_)),
            Question::Sockets => {
                matches!(
                    answer,
                    Answer::Sockets(_) | Answer::SocketIds(_) | Answer::Piece(_)
                )
            }
            Question::Rooms => matches!(answer, Answer::Rooms(_) | Answer::Piece(_)),
            Question::ServerSide => matches!(answer, Answer::ServerSide(_)),
            Question::Change => matches!(answer, Answer::Done),
        }
    }

    /// Gives up those who are due and not live; whether there are any.
    pub(super) fn drop_dead(&mut self, live: &HashSet<&NodeId>) -> bool {
        let (told, Some(expected)) = (&self.told, &mut self.expected) else {
            return false;
        };
        let dead: Vec<NodeId> = expected
            .due
            .iter()
            .filter(|node| !live.contains(node))
            .filter(|node| !told.get(node).is_some_and(Told::is_complete))
            .cloned()
            .collect();
        for node in &dead {
            expected.due.remove(node);
            expected.missing.insert(node.clone());
        }
        !dead.is_empty()
    }

    pub(super) fn is_complete(&self) -> bool {
        let Some(expected) = &self.expected else {
            return false;
        };
        let told = |node| self.told.get(node).is_some_and(Told::is_complete);
        self.answers_of_others(expected) >= expected.others
            && self.others.acks >= self.others.count
            && expected.due.iter().all(told)
    }

    /// Gateway nodes that answer and were not known to be members count as others: they are new.
    fn answers_of_others(&self, expected: &Expected) -> usize {
        let is_new = |node| !expected.due.contains(node) && !expected.missing.contains(node);
        let told = self.told.iter();
        let new = told.filter(|(node, told)| is_new(node) && told.is_complete());
        self.others.answers + new.count()
    }

    pub(super) fn into_outcome(self, request: &RequestId) -> Outcome {
        let expected = self.expected.as_ref();
        let missing_others = expected.map_or(0, |expected| {
            expected
                .others
                .saturating_sub(self.answers_of_others(expected))
        });
        let Expected {
            due, mut missing, ..
        } = self.expected.unwrap_or_default();
        let complete = |node: &NodeId| self.told.get(node).is_some_and(Told::is_complete);
        missing.extend(due.into_iter().filter(|node| !complete(node)));
        missing.retain(|node| !complete(node));
        let unacknowledged = self.told.values().map(Told::unacknowledged).sum::<u64>();
        Outcome {
            request: request.clone(),
            question: self.question,
            answers: self.answers,
            missing: missing.into_iter().collect(),
            missing_others,
            missing_acks: unacknowledged + self.others.count.saturating_sub(self.others.acks),
            truncated: self.truncated,
        }
    }
}

impl Told {
    /// Whether `answer` is to be kept: it is no count, and not the second one of its kind.
    fn take(&mut self, answer: &Answer) -> bool {
        match answer {
            Answer::Ack(_) => {
                self.acks += 1;
                true
            }
            Answer::ClientCount(count) => {
                if !self.answered {
                    self.count = *count;
                }
                self.answered = true;
                false
            }
            Answer::Sockets(_)
            | Answer::SocketIds(_)
            | Answer::Rooms(_)
            | Answer::Piece(_)
            | Answer::Lines(_)
            | Answer::ServerSide(_)
            | Answer::Done => !std::mem::replace(&mut self.answered, true),
        }
    }

    fn is_complete(&self) -> bool {
        self.answered && self.unacknowledged() == 0
    }

    fn unacknowledged(&self) -> u64 {
        self.count.saturating_sub(self.acks)
    }
}

impl Others {
    fn take(&mut self, answer: &Answer) -> bool {
        match answer {
            Answer::Ack(_) => {
                self.acks += 1;
                true
            }
            Answer::ClientCount(count) => {
                self.answers += 1;
                self.count = self.count.saturating_add(*count);
                false
            }
            Answer::Sockets(_)
            | Answer::SocketIds(_)
            | Answer::Rooms(_)
            | Answer::Piece(_)
            | Answer::Lines(_)
            | Answer::ServerSide(_)
            | Answer::Done => {
                self.answers += 1;
                true
            }
        }
    }
}
