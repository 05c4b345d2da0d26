//! How a node is, for the page of the internal port: more than `gateway top` asks for.

use std::collections::HashMap;

use protocol::engineio::{CloseReason, Transport};
use serde::{Deserialize, Serialize};

use super::RoomName;
use crate::count::{Label, Refused, TokenReason};
use crate::users::UserRefusal;

/// Most rooms with many members that the page shows.
pub(crate) const MAX_LARGEST: usize = 20;

/// Most of them that a shard, or a node, tells of: one that is large on all nodes need not be of the largest anywhere.
pub(crate) const MAX_TOLD_ROOMS: usize = 50;

/// Most bytes of a text that another node tells.
const MAX_TEXT: usize = 256;

/// What a node says of itself beside its rates. Another node may say anything: see [`NodeStatus::checked`].
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct NodeStatus {
    pub(crate) polling: u64,
    pub(crate) websocket: u64,
    pub(crate) webtransport: u64,
    /// Of 100 pings, 99 were sent at most so much later than scheduled. `None` if none were sent lately.
    pub(crate) late_p99_ms: Option<f64>,
    /// Sessions closed because a ping was not answered, since the start.
    pub(crate) heartbeat_timeouts: u64,
    /// Whether it lets go of connections that other nodes have too few of.
    pub(crate) rebalancing: bool,
    /// What is wrong, in words for operators.
    pub(crate) trouble: Option<String>,
    pub(crate) closed: Vec<Counted>,
    pub(crate) refused: Vec<Counted>,
    /// Tokens that were refused.
    pub(crate) tokens: Vec<Counted>,
    /// Sockets that were refused because of their user, or its token.
    pub(crate) users: Vec<Counted>,
    /// Rooms with most members.
    pub(crate) largest: Vec<RoomMembers>,
    /// Whether it answers [`Wanted::Rooms`](super::Wanted).
    pub(crate) counts_rooms: bool,
    /// What it took to find that.
    pub(crate) look: Look,
}

/// What it took to look at sessions and rooms.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Look {
    /// Rooms on each shard.
    pub(crate) rooms: u64,
    /// Looks at sessions, namespaces and rooms.
    pub(crate) looks: u64,
    /// Turns of shards.
    pub(crate) turns: u64,
    /// Looks of the longest turn.
    pub(crate) longest: u64,
}

/// What only the registries of shards know.
#[derive(Debug, Clone, Default)]
pub(crate) struct Found {
    /// Open sessions by the index of their transport.
    pub(crate) sessions: [u64; Transport::ALL.len()],
    pub(crate) largest: Vec<RoomMembers>,
    pub(crate) look: Look,
}

/// How often something happened for one reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Counted {
    pub(crate) reason: String,
    /// Since the start of the node.
    pub(crate) count: u64,
    /// Milliseconds since the last time: another node has another clock.
    pub(crate) ago_ms: u64,
}

/// A room, and how many of its members are on one node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RoomMembers {
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) members: u64,
}

impl RoomMembers {
    pub(crate) fn into_name(self) -> RoomName {
        (self.namespace, self.name)
    }

    fn is(&self, (namespace, name): &RoomName) -> bool {
        self.namespace == *namespace && self.name == *name
    }
}

impl NodeStatus {
    /// Whether it says how many members a room has.
    pub(crate) fn tells(&self, room: &RoomName) -> bool {
        self.largest.iter().any(|it| it.is(room))
    }

    /// The node also has so many members of these rooms. What it told before stays.
    pub(crate) fn add(&mut self, rooms: &[RoomName], members: &[u64]) {
        for (room, members) in rooms.iter().zip(members) {
            // A name that is cut may be that of many.
            let is_whole = room.0.len() < MAX_TEXT && room.1.len() < MAX_TEXT;
            if *members > 0 && is_whole && !self.tells(room) {
                let (namespace, name) = room.clone();
                self.largest.push(RoomMembers {
                    namespace,
                    name,
                    members: *members,
                });
            }
        }
    }

    /// The same within bounds, with reasons that this program knows.
    pub(super) fn checked(mut self) -> Self {
        keep_known::<CloseReason>(&mut self.closed);
        keep_known::<Refused>(&mut self.refused);
        keep_known::<TokenReason>(&mut self.tokens);
        keep_known::<UserRefusal>(&mut self.users);
        self.largest.truncate(MAX_TOLD_ROOMS);
        for room in &mut self.largest {
            cut(&mut room.namespace);
            cut(&mut room.name);
        }
        if let Some(trouble) = &mut self.trouble {
            cut(trouble);
        }
        self
    }
}

/// Leaves out reasons of another version, which has remedies for them.
fn keep_known<L: Label>(all: &mut Vec<Counted>) {
    let is_known = |reason: &str| L::ALL.iter().any(|it| it.label() == reason);
    all.retain(|counted| is_known(&counted.reason));
    all.truncate(L::ALL.len());
}

fn cut(text: &mut String) {
    text.truncate(text.floor_char_boundary(MAX_TEXT));
}

/// The counts of several nodes by reason, the last that happened first.
pub(crate) fn summed<'a>(all: impl Iterator<Item = &'a Counted>) -> Vec<Counted> {
    let mut sums: HashMap<&str, Counted> = HashMap::new();
    for counted in all {
        let sum = sums.entry(&counted.reason).or_insert_with(|| Counted {
            count: 0,
            ..counted.clone()
        });
        sum.count = sum.count.saturating_add(counted.count);
        sum.ago_ms = sum.ago_ms.min(counted.ago_ms);
    }
    let mut sums: Vec<_> = sums.into_values().collect();
    sums.sort_by(|a, b| (a.ago_ms, &a.reason).cmp(&(b.ago_ms, &b.reason)));
    sums
}

/// The largest rooms of several shards or nodes, at most so many, the first one first.
pub(crate) fn largest(all: impl Iterator<Item = RoomMembers>, most: usize) -> Vec<RoomMembers> {
    let mut sums: HashMap<(String, String), u64> = HashMap::new();
    for room in all {
        let sum = sums.entry((room.namespace, room.name)).or_default();
        *sum = sum.saturating_add(room.members);
    }
    let rooms = sums.into_iter();
    let mut rooms: Vec<_> = rooms
        .map(|((namespace, name), members)| RoomMembers {
            namespace,
            name,
            members,
        })
        .collect();
    rooms.sort_by(|a, b| {
        let names = || (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name));
        b.members.cmp(&a.members).then_with(names)
    });
    rooms.truncate(most);
    rooms
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(reason: &str, count: u64, ago_ms: u64) -> Counted {
        Counted {
            reason: reason.to_owned(),
            count,
            ago_ms,
        }
    }

    fn room(name: &str, members: u64) -> RoomMembers {
        RoomMembers {
            namespace: "/".to_owned(),
            name: name.to_owned(),
            members,
        }
    }

    #[test]
    fn the_same_reason_of_several_nodes_is_one_and_the_last_is_first() {
        let all = [
            counted("tls", 1, 900),
            counted("http", 2, 300),
            counted("tls", u64::MAX, 200),
        ];
        let sums = summed(all.iter());
        assert_eq!(
            sums,
            [counted("tls", u64::MAX, 200), counted("http", 2, 300)]
        );
    }

    #[test]
    fn the_same_room_of_several_shards_is_one_and_the_largest_is_first() {
        let all = [room("a", 2), room("b", 3), room("a", 2)].into_iter();
        assert_eq!(largest(all, 9), [room("a", 4), room("b", 3)]);
        let many = (0..100).map(|number| room(&format!("{number:03}"), 1));
        let kept = largest(many, 7);
        assert_eq!((kept.len(), &*kept[0].name), (7, "000"));
    }

    #[test]
    fn rooms_that_a_node_did_not_tell_of_are_added_once() {
        let mut status = NodeStatus {
            largest: vec![room("a", 3)],
            ..NodeStatus::default()
        };
        let long = "x".repeat(MAX_TEXT);
        let rooms = ["a", "b", "empty", &long].map(|name| room(name, 0).into_name());
        assert!(status.tells(&rooms[0]) && !status.tells(&rooms[1]));
        for _ in 0..2 {
            // One that says more than it was asked for is not believed.
            status.add(&rooms, &[9, 2, 0, 7, 5, 5]);
        }
        assert_eq!(status.largest, [room("a", 3), room("b", 2)]);
    }

    #[test]
    fn what_another_node_says_is_bounded_and_its_reasons_are_known() {
        let status = NodeStatus {
            trouble: Some("é".repeat(1000)),
            closed: vec![counted("<script>", 1, 1), counted("ping_timeout", 1, 1)],
            refused: vec![counted("tls", 1, 1); 1000],
            largest: vec![room(&"x".repeat(1000), 1); 1000],
            ..NodeStatus::default()
        };
        let checked = status.checked();
        assert_eq!(checked.closed, [counted("ping_timeout", 1, 1)]);
        assert_eq!(checked.refused.len(), Refused::ALL.len());
        assert_eq!(checked.largest.len(), MAX_TOLD_ROOMS);
        assert_eq!(checked.largest[0].name.len(), MAX_TEXT);
        assert_eq!(checked.trouble.map(|it| it.len()), Some(MAX_TEXT));
    }
}
