//! The other nodes, as the node knows them whose reader a trace has.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

/// Most other nodes of a trace that are remembered.
const MAX_NODES: usize = 1024;

/// Stands before lines that go to another node: how many this node has told it of, lost ones among them,
/// without these and with them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Mark {
    pub(crate) told_before: u64,
    pub(crate) told: u64,
}

/// Which of the other nodes answer, and how many of their lines came.
#[derive(Debug, Default)]
pub(crate) struct Others {
    nodes: BTreeMap<String, Other>,
    /// The members when the nodes were last told that the trace goes on.
    expected: BTreeSet<String>,
}

#[derive(Debug, Default)]
struct Other {
    /// How many lines it told of so far.
    told: u64,
    /// Whether it said something since it was last told that the trace goes on.
    is_heard: bool,
    /// Whether the reader knows that it does not answer.
    is_silent: bool,
}

/// What is to be said of a node that said something.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Heard {
    /// Lines that did not come.
    pub(crate) lost: u64,
    /// Whether it answers again, after the reader heard that it does not.
    pub(crate) is_back: bool,
}

impl Mark {
    pub(crate) fn to_json(self) -> String {
        serde_json::to_string(&self).expect("numbers are JSON")
    }

    pub(crate) fn parse(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }
}

impl Others {
    /// A node said something, behind this mark if it is of a version that has them.
    pub(crate) fn hear(&mut self, node: &str, mark: Option<Mark>) -> Heard {
        if !self.nodes.contains_key(node) {
            if self.nodes.len() >= MAX_NODES {
                let (lost, is_back) = (0, false);
                return Heard { lost, is_back };
            }
            self.nodes.insert(node.to_owned(), Other::default());
        }
        let other = self.nodes.entry(node.to_owned()).or_default();
        other.is_heard = true;
        let was_silent = std::mem::take(&mut other.is_silent);
        let Some(mark) = mark else {
            let (lost, is_back) = (0, was_silent);
            return Heard { lost, is_back };
        };
        // One that forgot the trace begins anew, and says so itself.
        let lost = mark.told_before.saturating_sub(other.told);
        let is_back = was_silent && mark.told_before > 0;
        other.told = mark.told;
        Heard { lost, is_back }
    }

    /// These nodes are told now that the trace goes on.
    pub(crate) fn expect(&mut self, members: impl Iterator<Item = String>) {
        self.expected = members.take(MAX_NODES).collect();
        self.nodes
            .values_mut()
            .for_each(|other| other.is_heard = false);
    }

    /// The nodes that do not answer although they were members, or said something earlier. Each is named
    /// once, until it answers again.
    pub(crate) fn newly_silent(&mut self) -> Vec<String> {
        let expected = std::mem::take(&mut self.expected);
        let known = self.nodes.keys().cloned();
        let asked: BTreeSet<_> = expected.iter().cloned().chain(known).collect();
        let mut silent = Vec::new();
        for node in asked.into_iter().take(MAX_NODES) {
            let other = self.nodes.entry(node.clone()).or_default();
            if other.is_heard {
                continue;
            }
            if !std::mem::replace(&mut other.is_silent, true) {
                silent.push(node);
            } else if !expected.contains(&node) {
                self.nodes.remove(&node);
            }
        }
        silent
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(told_before: u64, told: u64) -> Option<Mark> {
        let mark = Mark { told_before, told };
        assert_eq!(Mark::parse(&mark.to_json()), Some(mark));
        Some(mark)
    }

    fn members(others: &mut Others, members: &[&str]) {
        others.expect(members.iter().map(|&it| it.to_owned()));
    }

    #[test]
    fn lines_between_two_marks_are_lost() {
        let mut others = Others::default();
        let lost = |others: &mut Others, node, mark| others.hear(node, mark).lost;
        assert_eq!(lost(&mut others, "b", mark(0, 3)), 0);
        assert_eq!(lost(&mut others, "b", mark(3, 3)), 0);
        assert_eq!(lost(&mut others, "b", mark(7, 9)), 4);
        assert_eq!(lost(&mut others, "c", mark(2, 4)), 2);
        // It began anew, and is of an old version after that.
        assert_eq!(lost(&mut others, "b", mark(0, 1)), 0);
        assert_eq!(lost(&mut others, "b", None), 0);
        assert_eq!(
            lost(&mut others, "b", mark(u64::MAX, u64::MAX)),
            u64::MAX - 1
        );
        assert_eq!(Mark::parse(r#"{"at":"","node":"b","what":"sent"}"#), None);
    }

    #[test]
    fn a_node_is_silent_once_until_it_answers_again() {
        let mut others = Others::default();
        members(&mut others, &["b", "c"]);
        others.hear("b", mark(0, 1));
        assert_eq!(others.newly_silent(), ["c"]);
        members(&mut others, &["b", "c"]);
        assert_eq!(others.newly_silent(), ["b"]);
        members(&mut others, &["b", "c"]);
        assert!(others.newly_silent().is_empty());
        assert!(others.hear("b", mark(5, 6)).is_back);
        assert!(!others.hear("c", mark(0, 1)).is_back, "it says so itself");
        assert!(!others.hear("b", mark(6, 6)).is_back);
        // It is no member any more when it falls silent again.
        members(&mut others, &["c"]);
        assert_eq!(others.newly_silent(), ["b", "c"]);
        members(&mut others, &[]);
        assert!(others.newly_silent().is_empty());
        assert!(others.nodes.is_empty());
    }

    #[test]
    fn so_many_nodes_are_remembered_and_no_more() {
        let mut others = Others::default();
        for node in 0..2 * MAX_NODES {
            others.hear(&node.to_string(), mark(0, 1));
        }
        assert_eq!(others.nodes.len(), MAX_NODES);
    }
}
