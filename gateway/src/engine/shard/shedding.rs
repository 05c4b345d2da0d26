//! Closing sessions when what waits for clients takes more memory than it may.

use std::cmp::Reverse;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use super::Shard;
use crate::count::SlowCause;
use crate::engine::node::Node;
use crate::engine::session::{Session, Slot};

/// Most sessions of a shard that are looked at in one go to find those that are furthest behind.
const MAX_SHED: usize = 256;

impl Shard {
    /// Has sessions be closed, if what waits on the node takes more memory than it may.
    pub(super) fn keep_memory(&self) {
        let memory = self.node.outbox_memory();
        if self.node.outbox_held() > memory.limit() && memory.begin_shedding() {
            tokio::task::spawn_local(shed(Arc::clone(&self.node)));
        }
    }

    /// The sessions that are furthest behind, for the longest time: how far, how many bytes, and where.
    fn furthest_behind(&self) -> Vec<(u128, usize, Slot)> {
        let now = Instant::now();
        let registry = self.registry.borrow();
        let sessions = registry.sessions.iter().map(|(_, session)| session);
        let lag = |session: &Rc<Session>| {
            let (lag, bytes) = session.lag(now)?;
            Some((lag, bytes, session.slot()))
        };
        let mut behind: Vec<_> = sessions.filter_map(lag).collect();
        behind.sort_unstable_by_key(|(lag, ..)| Reverse(*lag));
        behind.truncate(MAX_SHED);
        behind
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
        let behind = node.query(|shard| (shard.index(), shard.furthest_behind()));
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
        node.query(move |shard| {
            for slot in &by_shard[shard.index()] {
                if let Some(session) = shard.session_at(*slot) {
                    session.close_slow(SlowCause::Memory);
                }
            }
        })
        .await;
    }
    node.outbox_memory().end_shedding();
}
