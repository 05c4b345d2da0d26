//! Lets go of connections that other nodes have too few of. What is decided when is in
//! [`rebalance`](crate::cluster::rebalance).

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use adapter::Member;
use protocol::engineio::CloseReason;
use tracing::{info, warn};

use crate::cluster::Cluster;
use crate::cluster::rebalance::{Decision, End, Own, Rebalance, Run};
use crate::config::Rebalancing;
use crate::engine::node::Node;
use crate::engine::shard::Shard;

/// How often the nodes are looked at.
const LOOK: Duration = Duration::from_secs(1);

/// In how many parts the connections of a second are let go.
const PARTS: u64 = 10;

/// Looks at the nodes, and lets go of connections when there are too many here. It never ends.
pub(super) async fn run(node: Arc<Node>, cluster: Arc<Cluster>) {
    let mut rebalance = Rebalance::new(Instant::now());
    let mut looks = tokio::time::interval(LOOK);
    looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let gone = Arc::new(AtomicU64::new(0));
    let mut was_to_let_go = false;
    loop {
        looks.tick().await;
        let members = cluster.adapter().members();
        let name = node.name();
        let others: Vec<&Member> = members.iter().filter(|it| it.id.as_str() != name).collect();
        let settings = node.current();
        let settings = &settings.cluster;
        let own = Own {
            connections: node.session_count() as u64,
            is_draining: node.drain().has_begun(),
            request: node.spreading().request(),
            is_auto: settings.rebalance == Rebalancing::Auto,
            most: u64::from(settings.rebalance_per_second.get()),
            has_let_go: gone.swap(0, Ordering::Relaxed) > 0 || !was_to_let_go,
        };
        let decision = rebalance.look(Instant::now(), own, &others);
        node.spreading().set_under_way(rebalance.is_letting_go());
        was_to_let_go = matches!(decision, Decision::LetGo(..));
        match decision {
            Decision::Nothing => {}
            Decision::Begin(_, mean) => {
                info!(target: "gateway::rebalance", connections = own.connections, mean,
                    per_second = own.most,
                    "this node has more connections than the others; it lets go of some"
                );
            }
            Decision::LetGo(run, count) => let_go(&node, run, count, &gone).await,
            Decision::End(end) => tell(end, own.connections),
        }
    }
}

fn tell(end: End, connections: u64) {
    match end {
        End::Even => {
            info!(target: "gateway::rebalance", connections, "this node has its share of the connections");
        }
        End::Unsettled => {
            info!(target: "gateway::rebalance", connections,
                "no more connections are let go: a node came, went or drains"
            );
        }
        End::InVain => {
            warn!(target: "gateway::rebalance", connections,
                "all connections were let go and came back here; does the balancer send clients where they were?"
            );
        }
    }
}

/// Lets go of `count` connections within a look.
async fn let_go(node: &Arc<Node>, run: Run, count: u64, gone: &Arc<AtomicU64>) {
    let shards = node.shard_count() as u64;
    let mut left = count;
    for part in 0..PARTS {
        let now = left.div_ceil(PARTS - part);
        left -= now;
        let gone = Arc::clone(gone);
        node.run_everywhere(move |shard| {
            // In each part another shard has one more.
            let turn = (shard.index() as u64 + part) % shards;
            let share = now / shards + u64::from(turn < now % shards);
            let count = shed(shard, run, share as usize);
            gone.fetch_add(count as u64, Ordering::Relaxed);
        });
        tokio::time::sleep(LOOK / (2 * PARTS as u32)).await;
    }
}

/// Lets go of at most `count` connections of before the run; returns of how many.
fn shed(shard: &Rc<Shard>, run: Run, count: usize) -> usize {
    let sessions = shard.first_open(count, |session| session.handshake().issued() < run.before);
    for session in &sessions {
        match shard.node().config().recovery.window {
            Some(_) => session.send_off(CloseReason::Rebalanced),
            None => session.close(CloseReason::Rebalanced),
        }
    }
    sessions.len()
}
