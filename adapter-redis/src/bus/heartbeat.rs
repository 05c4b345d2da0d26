use tokio::time::{MissedTickBehavior, interval};

use crate::bus::shared::Shared;
use crate::cluster::membership::{Beat, Membership};

/// Tells for ever that this node lives.
pub(crate) async fn run(shared: &Shared, mut membership: Membership) {
    let mut beat = interval(shared.cluster.config.timing.heartbeat);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut is_refused = false;
    loop {
        beat.tick().await;
        let Beat { problem, refusal } = membership.beat().await;
        if let Some(problem) = problem {
            shared.handle_problem(problem);
        }
        if let Some(error) = refusal.as_ref().filter(|_| !is_refused) {
            tracing::warn!(target: "adapter_redis::membership", error, "Redis: cannot write this node's heartbeat");
        }
        is_refused = refusal.is_some();
        shared.status().set_unregistered(refusal);
    }
}
