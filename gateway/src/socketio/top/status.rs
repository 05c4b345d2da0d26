//! How this node is.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;

use protocol::engineio::{CloseReason, Transport};

use crate::count::{Label, Refused, ShardCounters, TokenReason, now_millis};
use crate::engine::node::{Node, Unready};
use crate::engine::shard::Shard;
use crate::net::ids::is_private;
use crate::top::{Counted, MAX_LARGEST, NodeStatus, RoomMembers, Totals, largest};

/// What only the registries of a shard know.
struct Census {
    sessions: [u64; Transport::ALL.len()],
    largest: Vec<RoomMembers>,
}

/// What this node tells; `lately` is what it counted within the last seconds.
pub(super) async fn of(node: &Arc<Node>, lately: &Totals) -> NodeStatus {
    let found = node.query(Census::of).await;
    let sessions = |transport| -> u64 {
        let on = |census: &Census| census.sessions[Label::index(transport)];
        found.iter().map(on).sum()
    };
    let [polling, websocket, webtransport] = [
        Transport::Polling,
        Transport::WebSocket,
        Transport::WebTransport,
    ]
    .map(sessions);
    let largest = largest(found.into_iter().flat_map(|census| census.largest));
    let shards = || node.shards().iter().map(|shard| &*shard.counters);
    NodeStatus {
        polling,
        websocket,
        webtransport,
        late_p99_ms: lately.late_p99_ms(),
        heartbeat_timeouts: shards().map(|it| it.heartbeat_timeouts.value()).sum(),
        rebalancing: node.spreading().is_under_way(),
        trouble: trouble(node),
        closed: counted(|reason| closed(shards(), reason)),
        refused: counted(|reason| refused(shards(), reason)),
        tokens: counted(|reason| tokens(node, reason)),
        largest: counted_everywhere(node, largest).await,
    }
}

impl Census {
    fn of(shard: &Shard) -> Self {
        let mut sessions = [0; Transport::ALL.len()];
        shard.for_each_session(|session| {
            sessions[Label::index(session.transport())] += u64::from(session.is_open());
        });
        Self {
            sessions,
            largest: largest_here(shard),
        }
    }
}

/// The rooms with most members on a shard: one look at each, and copies of few.
fn largest_here(shard: &Shard) -> Vec<RoomMembers> {
    let mut found = BinaryHeap::with_capacity(MAX_LARGEST + 1);
    shard.for_each_namespace(|namespace| {
        namespace.for_each_room(false, |room, members| {
            let least = found.peek().map_or(0, |Reverse((least, _, _))| *least);
            if (found.len() < MAX_LARGEST || members > least) && !is_private(room) {
                found.push(Reverse((
                    members,
                    namespace.name().to_owned(),
                    room.to_owned(),
                )));
                if found.len() > MAX_LARGEST {
                    found.pop();
                }
            }
        });
    });
    let rooms = found.into_iter();
    rooms
        .map(|Reverse((members, namespace, name))| RoomMembers {
            namespace,
            name,
            members: members as u64,
        })
        .collect()
}

/// With the members of all shards, also of those where a room is none of the largest.
async fn counted_everywhere(node: &Node, rooms: Vec<RoomMembers>) -> Vec<RoomMembers> {
    if node.shard_count() == 1 || rooms.is_empty() {
        return rooms;
    }
    let rooms: Arc<[RoomMembers]> = rooms.into();
    let asked = Arc::clone(&rooms);
    let counts = node.query(move |shard| {
        let members = |room: &RoomMembers| {
            let namespace = shard.found_namespace(&room.namespace);
            namespace.and_then(|it| it.members(&room.name))
        };
        asked.iter().map(members).collect::<Vec<_>>()
    });
    let counts = counts.await;
    largest(rooms.iter().enumerate().map(|(place, room)| RoomMembers {
        members: counts.iter().filter_map(|it| it[place]).sum::<usize>() as u64,
        ..room.clone()
    }))
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
