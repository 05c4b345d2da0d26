//! Closing sessions when what waits for clients takes more memory than it may.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;
use std::time::Instant;

use super::Shard;
use crate::count::SlowCause;
use crate::engine::node::Node;
use crate::engine::session::{Session, Slot};
use crate::engine::turns::Turns;
use crate::net::spell::Spell;

/// Most sessions of a shard of which it is compared at a time who is furthest behind.
const MAX_SHED: usize = 256;

impl Shard {
    /// Has sessions be closed, if what waits on the node takes more memory than it may.
    pub(super) fn keep_memory(&self) {
        let memory = self.node.outbox_memory();
        if self.node.outbox_held() > memory.limit() && memory.begin_shedding() {
            tokio::task::spawn_local(shed(Arc::clone(&self.node)));
        }
    }
}

/// The sessions of a shard that are furthest behind, for the longest time: how far, how many bytes, and where.
async fn furthest_behind(shard: &Shard) -> Vec<(u128, usize, Slot)> {
    let now = Instant::now();
    let (mut behind, mut turns) = (BinaryHeap::new(), Turns::default());
    let look = |session: &Session| {
        if let Some((lag, bytes)) = session.lag(now) {
            behind.push(Reverse((lag, bytes, session.slot())));
        }
        if behind.len() > MAX_SHED {
            behind.pop();
        }
    };
    shard.visit_sessions(&mut turns, look).await;
    behind.into_iter().map(|Reverse(found)| found).collect()
}

/// Closes these sessions of a shard, some in each turn.
async fn close(shard: &Shard, slots: &[Slot]) {
    let mut spell = Spell::begin();
    for slot in slots {
        if let Some(session) = shard.session_at(*slot) {
            session.close_slow(SlowCause::Memory);
        }
        if spell.is_over() {
            tokio::task::yield_now().await;
            spell = Spell::begin();
        }
    }
}

/// Closes the sessions that are furthest behind for the longest, wherever they are, until what waits
/// takes nine tenths of what it may.
async fn shed(node: Arc<Node>) {
    let target = node.outbox_memory().limit() / 10 * 9;
    loop {
        let excess = node.outbox_held().saturating_sub(target);
        if excess == 0 {
            break;
        }
        let behind = node.query_in_turns(|shard| async move {
            let behind = furthest_behind(&shard).await;
            (shard.index(), behind)
        });
        let mut behind: Vec<_> = behind
            .await
            .into_iter()
            .flat_map(|(index, found)| found.into_iter().map(move |it| (index, it)))
            .collect();
        behind.sort_unstable_by_key(|(_, (lag, ..))| Reverse(*lag));
        let mut closed = 0;
        let worst = behind.into_iter().take_while(|(_, (_, bytes, _))| {
            let enough = closed >= excess;
            closed += bytes;
            !enough
        });
        let mut by_shard = vec![Vec::new(); node.shard_count()];
        worst.for_each(|(index, (.., slot))| by_shard[index].push(slot));
        if by_shard.iter().all(Vec::is_empty) {
            break;
        }
        let by_shard = Arc::new(by_shard);
        let closed = node.query_in_turns(move |shard| {
            let by_shard = Arc::clone(&by_shard);
            async move { close(&shard, &by_shard[shard.index()]).await }
        });
        closed.await;
    }
    node.outbox_memory().end_shedding();
}
