//! How this node is.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use protocol::engineio::{CloseReason, Transport};

use crate::count::{Label, Refused, ShardCounters, TokenReason, now_millis};
use crate::engine::node::{Node, Unready};
use crate::engine::session::Session;
use crate::engine::shard::Shard;
use crate::engine::turns::{Backwards, Turns, Work};
use crate::net::ids::is_private;
use crate::top::{
    Counted, FRESH, Found, Look, MAX_TOLD_ROOMS, NodeStatus, RoomMembers, RoomName, Totals, largest,
};
use crate::users::UserRefusal;

/// What only the registries of a shard know.
struct Census {
    sessions: [u64; Transport::ALL.len()],
    largest: Vec<RoomMembers>,
    rooms: u64,
    work: Work,
}

/// What this node tells; `lately` is what it counted within the last seconds.
pub(super) async fn of(node: &Arc<Node>, lately: &Totals) -> NodeStatus {
    let found = found(node).await;
    let sessions = |transport| found.sessions[Label::index(transport)];
    let shards = || node.shards().iter().map(|shard| &*shard.counters);
    NodeStatus {
        polling: sessions(Transport::Polling),
        websocket: sessions(Transport::WebSocket),
        webtransport: sessions(Transport::WebTransport),
        late_p99_ms: lately.late_p99_ms(),
        heartbeat_timeouts: shards().map(|it| it.heartbeat_timeouts.value()).sum(),
        rebalancing: node.spreading().is_under_way(),
        trouble: trouble(node),
        closed: counted(|reason| closed(shards(), reason)),
        refused: counted(|reason| refused(shards(), reason)),
        tokens: counted(|reason| tokens(node, reason)),
        users: counted(|reason| users(node, reason)),
        largest: found.largest.clone(),
        counts_rooms: true,
        look: found.look.clone(),
    }
}

/// What is in the registries of the shards. It is looked at in turns, and once for all who ask within a second.
async fn found(node: &Arc<Node>) -> Arc<Found> {
    let mut kept = node.top().found.lock().await;
    if let Some((at, found)) = &*kept
        && at.elapsed() < FRESH
    {
        return Arc::clone(found);
    }
    let (mut found, mut work, mut rooms) = (Found::default(), Work::default(), Vec::new());
    for census in node.query_in_turns(Census::of).await {
        for (sum, sessions) in found.sessions.iter_mut().zip(census.sessions) {
            *sum += sessions;
        }
        rooms.extend(census.largest);
        found.look.rooms += census.rooms;
        work = work.and(census.work);
    }
    found.largest = counted_everywhere(node, largest(rooms.into_iter(), MAX_TOLD_ROOMS)).await;
    found.look = Look {
        looks: work.looks,
        turns: work.turns,
        longest: work.longest,
        ..found.look
    };
    let found = Arc::new(found);
    *kept = Some((Instant::now(), Arc::clone(&found)));
    found
}

impl Census {
    async fn of(shard: Rc<Shard>) -> Self {
        let mut turns = Turns::default();
        let mut sessions = [0; Transport::ALL.len()];
        let count = |session: &Session| {
            sessions[Label::index(session.transport())] += u64::from(session.is_open());
        };
        shard.visit_sessions(&mut turns, count).await;
        let (mut rooms, mut largest) = (0, Largest::default());
        let mut walk = Backwards::default();
        while let Some(namespace) = shard.next_namespace(&mut walk) {
            let visit = |room: &str, members| {
                rooms += 1;
                largest.take(namespace.name(), room, members);
            };
            namespace.visit_rooms(&mut turns, visit).await;
            turns.took(1).await;
        }
        Self {
            sessions,
            largest: largest.into_rooms(),
            rooms,
            work: turns.end(),
        }
    }
}

/// The rooms with most members of a shard: one look at each, and copies of few.
#[derive(Default)]
struct Largest(BinaryHeap<Reverse<(usize, String, String)>>);

impl Largest {
    fn take(&mut self, namespace: &str, room: &str, members: usize) {
        let least = self.0.peek().map_or(0, |Reverse((least, ..))| *least);
        let is_large = self.0.len() < MAX_TOLD_ROOMS || members > least;
        if !is_large || is_private(room) || self.has(namespace, room) {
            return;
        }
        let (namespace, room) = (namespace.to_owned(), room.to_owned());
        self.0.push(Reverse((members, namespace, room)));
        if self.0.len() > MAX_TOLD_ROOMS {
            self.0.pop();
        }
    }

    /// A room may come twice.
    fn has(&self, namespace: &str, room: &str) -> bool {
        let mut all = self.0.iter();
        all.any(|Reverse((_, of, name))| name == room && of == namespace)
    }

    fn into_rooms(self) -> Vec<RoomMembers> {
        let rooms = self.0.into_iter();
        rooms
            .map(|Reverse((members, namespace, name))| RoomMembers {
                namespace,
                name,
                members: members as u64,
            })
            .collect()
    }
}

/// With the members of all shards, also of those where a room is none of the largest.
async fn counted_everywhere(node: &Node, rooms: Vec<RoomMembers>) -> Vec<RoomMembers> {
    if node.shard_count() == 1 || rooms.is_empty() {
        return rooms;
    }
    let names = rooms
        .iter()
        .map(|it| (it.namespace.clone(), it.name.clone()));
    let counts = members(node, names.collect()).await;
    let rooms = rooms.into_iter().zip(counts);
    let counted = rooms.map(|(room, members)| RoomMembers { members, ..room });
    largest(counted, MAX_TOLD_ROOMS)
}

/// How many members these rooms have on this node, in their order.
pub(super) async fn members(node: &Node, rooms: Vec<RoomName>) -> Vec<u64> {
    let rooms: Arc<[RoomName]> = rooms.into();
    let asked = Arc::clone(&rooms);
    let counts = node.query(move |shard| {
        let members = |(namespace, name): &RoomName| {
            let namespace = shard.found_namespace(namespace);
            namespace.and_then(|it| it.members(name))
        };
        asked.iter().map(members).collect::<Vec<_>>()
    });
    let counts = counts.await;
    let of = |place: usize| counts.iter().filter_map(|it| it[place]).sum::<usize>() as u64;
    (0..rooms.len()).map(of).collect()
}

/// What is wrong with this node.
fn trouble(node: &Node) -> Option<String> {
    match node.unready() {
        Some(Unready::Adapter(trouble) | Unready::Users(trouble)) => Some(trouble),
        // The rates tell that already.
        Some(Unready::Draining) => None,
        None => node.cluster()?.adapter().concern(),
    }
}

/// The reasons for which something was counted. `of` says how often, and when last.
fn counted<L: Label>(of: impl Fn(L) -> (u64, u64)) -> Vec<Counted> {
    let now = now_millis();
    let all = L::ALL.iter().map(|reason| (reason.label(), of(*reason)));
    all.filter(|(_, (count, _))| *count > 0)
        .map(|(reason, (count, last))| Counted {
            reason: reason.to_owned(),
            count,
            ago_ms: now.saturating_sub(last),
        })
        .collect()
}

fn closed<'a>(shards: impl Iterator<Item = &'a ShardCounters>, reason: CloseReason) -> (u64, u64) {
    let (mut count, mut last) = (0, 0);
    for shard in shards {
        for transport in Transport::ALL {
            let series = (transport, reason);
            count += shard.closed.family().of(series).value();
            last = last.max(shard.closed.last(series));
        }
    }
    (count, last)
}

fn refused<'a>(shards: impl Iterator<Item = &'a ShardCounters>, reason: Refused) -> (u64, u64) {
    let (mut count, mut last) = (0, 0);
    for shard in shards {
        count += shard.refused.family().of(reason).value();
        last = last.max(shard.refused.last(reason));
    }
    (count, last)
}

fn tokens(node: &Node, reason: TokenReason) -> (u64, u64) {
    let faults = &node.counters().token_faults;
    (faults.family().of(reason).value(), faults.last(reason))
}

fn users(node: &Node, reason: UserRefusal) -> (u64, u64) {
    let refused = &node.users().counters.refused;
    (refused.family().of(reason).value(), refused.last(reason))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_rooms_are_kept_each_once_and_no_private_ones() {
        let mut kept = Largest::default();
        let own = crate::net::ids::user_room("ann");
        kept.take("/", &own, 1_000_000);
        for round in 0..2 {
            for number in 0..5000 {
                kept.take("/", &format!("room {number}"), number + round);
            }
        }
        kept.take("/other", "room 4999", 7000);
        let rooms = largest(kept.into_rooms().into_iter(), usize::MAX);
        assert_eq!(rooms.len(), MAX_TOLD_ROOMS);
        let first: Vec<_> = rooms
            .iter()
            .take(2)
            .map(|it| (&*it.namespace, &*it.name))
            .collect();
        assert_eq!(first, [("/other", "room 4999"), ("/", "room 4999")]);
        let names = rooms.iter().map(|it| (&it.namespace, &it.name));
        let names: std::collections::HashSet<_> = names.collect();
        assert_eq!(names.len(), MAX_TOLD_ROOMS);
    }
}
