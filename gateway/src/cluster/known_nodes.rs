//! Which nodes there were, so that a session of one that left can be told from one that never was.

use adapter::Member;
use indexmap::IndexMap;

use crate::net::ids::NodeTag;

/// Most nodes that are remembered after they left; who left longest ago is forgotten first.
const MAX_DEPARTED: usize = 1024;

/// The nodes that are by their tags, behind the tags of those that were, in the order in which they
/// left.
#[derive(Debug, Default)]
pub(crate) struct KnownNodes(IndexMap<Box<str>, Option<Member>>);

impl KnownNodes {
    /// These are the nodes now.
    pub(crate) fn note(&mut self, members: &[Member]) {
        for member in members {
            self.0.shift_remove(&*member.tag);
        }
        let excess = self.0.len().saturating_sub(MAX_DEPARTED);
        self.0.drain(..excess);
        self.0.values_mut().for_each(|member| *member = None);
        let members = members.iter().cloned();
        self.0
            .extend(members.map(|member| (Box::from(&*member.tag), Some(member))));
    }

    /// The node with this tag, if it is a member now.
    pub(crate) fn member(&self, tag: &str) -> Option<&Member> {
        self.0.get(tag)?.as_ref()
    }

    /// Whether a node with this tag is or was a member.
    pub(crate) fn knows(&self, tag: NodeTag) -> bool {
        self.0.contains_key(tag.as_str())
    }
}

#[cfg(test)]
mod tests {
    use adapter::{NodeId, NodeState};

    use super::*;
    use crate::net::ids::random_tag;

    fn members(tags: &[NodeTag]) -> Vec<Member> {
        let member = |tag: &NodeTag| Member {
            id: NodeId::new(tag.as_str().trim_matches('-')).unwrap_or(NodeId::new("x").unwrap()),
            tag: tag.as_str().to_owned(),
            address: String::new(),
            version: String::new(),
            state: NodeState::default(),
        };
        tags.iter().map(member).collect()
    }

    #[test]
    fn who_left_is_remembered_up_to_a_bound() {
        let mut roll = KnownNodes::default();
        let stays = random_tag();
        let first = random_tag();
        roll.note(&members(&[stays, first]));
        assert!(!roll.knows(random_tag()));
        assert!(roll.member(first.as_str()).is_some());
        roll.note(&members(&[stays]));
        assert!(roll.knows(first) && roll.member(first.as_str()).is_none());
        assert!(roll.member(stays.as_str()).is_some());
        // A few more than enough: some of so many random tags are the same.
        for _ in 0..MAX_DEPARTED + 16 {
            roll.note(&members(&[stays, random_tag()]));
        }
        assert!(roll.knows(stays));
        assert!(!roll.knows(first));
        assert!(roll.0.len() <= MAX_DEPARTED + 2);
    }
}
