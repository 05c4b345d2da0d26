//! The end of a node's service, step by step. Its state is [`Drain`](crate::engine::drain::Drain).

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use protocol::engineio::CloseReason;
use tokio::sync::mpsc;
use tracing::info;

use crate::engine::drain::{Ending, Period, Purpose, STEP};
use crate::engine::node::Node;
use crate::engine::shard::Shard;
use crate::forward;

/// How long a drained node waits for its last packets to be read.
const GRACE: Duration = Duration::from_secs(2);

/// How often somebody who waits for the end looks whether it is there.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// Begins to drain, unless it was begun before. To be called in a Tokio runtime.
pub(crate) fn begin(node: &Arc<Node>, over: Duration, purpose: Purpose) {
    let Some(period) = node.drain().begin(over, purpose) else {
        return;
    };
    info!(target: "gateway::drain", over = ?over, sessions = node.session_count(), "draining");
    node.run_everywhere(move |shard| {
        tokio::task::spawn_local(close_evenly(Rc::clone(shard), period));
    });
    let node = Arc::clone(node);
    tokio::spawn(async move {
        while node.drain().is_within(period) && !is_done(&node) {
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        if node.drain().is_within(period) {
            emptied(&node).await;
            info!(target: "gateway::drain", sessions = node.session_count(), "drained");
        }
    });
}

/// Takes back a drain that was asked for; `false` if there was none.
pub(crate) fn cancel(node: &Node) -> Result<bool, Ending> {
    let cancelled = node.drain().cancel()?;
    if cancelled {
        info!(target: "gateway::drain",
            sessions = node.session_count(),
            "the drain is taken back; the node serves again"
        );
    }
    Ok(cancelled)
}

/// Waits until the last drain is over: nothing is left and nothing can come, or what is left had its
/// time.
pub(crate) async fn finished(node: &Node) {
    while !is_done(node) {
        tokio::time::sleep(LOOK_AGAIN).await;
    }
    emptied(node).await;
}

fn is_done(node: &Node) -> bool {
    node.drain().refuses() && is_idle(node) || node.drain().is_over()
}

/// Whether nobody is served, by a session of this node or through it.
pub(crate) fn is_idle(node: &Node) -> bool {
    node.session_count() == 0 && node.passing_count() == 0
}

/// Closes all sessions now, those that a drain has not come to as well.
pub(crate) async fn cut_short(node: &Arc<Node>) {
    begin(node, Duration::ZERO, Purpose::End);
    node.run_everywhere(|shard| {
        close(shard, usize::MAX);
        shard.links().close_tunnels(usize::MAX);
    });
    emptied(node).await;
}

/// Lets go of what goes through this node to others, when no more of it can come.
pub(crate) async fn take_leave(node: &Node) {
    let (sender, mut all) = mpsc::channel::<()>(1);
    node.run_everywhere(move |shard| {
        let (links, done) = (shard.links(), sender.clone());
        tokio::task::spawn_local(async move {
            forward::take_leave(links, GRACE).await;
            drop(done);
        });
    });
    let _all_dropped = all.recv().await;
}

async fn emptied(node: &Node) {
    let deadline = Instant::now() + GRACE;
    while node.session_count() > 0 && Instant::now() < deadline {
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

/// Closes the sessions of one shard, those that come meanwhile among them, and the WebSockets of
/// other nodes' sessions that go through it.
async fn close_evenly(shard: Rc<Shard>, period: Period) {
    let mut pace = Pace::new(period.began, period.end());
    let mut tunnels = Pace::new(period.began, period.end());
    let links = shard.links();
    while shard.node().drain().is_within(period) {
        let now = Instant::now();
        let_go(&shard, pace.due(now, shard.open_count()));
        links.close_tunnels(tunnels.due(now, links.tunnel_count()));
        if pace.is_over() {
            return;
        }
        tokio::time::sleep(STEP.min(period.end().saturating_duration_since(Instant::now()))).await;
    }
}

/// Closes sessions, where there is recovery so that what their clients have sent by then is still handled.
fn let_go(shard: &Rc<Shard>, count: usize) {
    if shard.node().config().recovery.window.is_none() {
        return close(shard, count);
    }
    for session in shard.first_open(count, |_| true) {
        session.send_off(CloseReason::ServerShuttingDown);
    }
}

fn close(shard: &Rc<Shard>, count: usize) {
    for session in shard.first_open(count, |_| true) {
        session.close(CloseReason::ServerShuttingDown);
    }
}

/// How many sessions are to be closed by now, so that as many are closed in each second.
#[derive(Debug)]
struct Pace {
    last: Instant,
    end: Instant,
    /// The part of a session that was due last time and could not be closed.
    owed: f64,
}

impl Pace {
    fn new(began: Instant, end: Instant) -> Self {
        Self {
            last: began,
            end,
            owed: 0.0,
        }
    }

    fn is_over(&self) -> bool {
        self.last >= self.end
    }

    /// Of `open` sessions.
    fn due(&mut self, now: Instant, open: usize) -> usize {
        let left = self.end.saturating_duration_since(self.last);
        let passed = now.saturating_duration_since(self.last);
        self.last = now;
        if passed >= left {
            return open;
        }
        self.owed += open as f64 * passed.as_secs_f64() / left.as_secs_f64();
        let due = self.owed.floor();
        self.owed -= due;
        (due as usize).min(open)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many of `open` sessions are open after each step of `step` until `over` has passed.
    fn open_after_steps(mut open: usize, over: Duration, step: Duration) -> Vec<usize> {
        let began = Instant::now();
        let mut pace = Pace::new(began, began + over);
        let mut now = began;
        let mut after = Vec::new();
        while !pace.is_over() {
            now += step;
            open -= pace.due(now, open);
            after.push(open);
        }
        after
    }

    #[test]
    fn as_many_are_closed_in_each_part_of_the_time() {
        let (minute, step) = (Duration::from_secs(60), Duration::from_millis(50));
        for sessions in [1, 7, 150, 100_000] {
            let open = open_after_steps(sessions, minute, step);
            assert_eq!(open.len(), 1200);
            for (index, open) in open.into_iter().enumerate() {
                let even = sessions as f64 * (1.0 - (index + 1) as f64 / 1200.0);
                assert!((open as f64 - even).abs() <= 1.0, "{open} after {index}");
            }
        }
    }

    #[test]
    fn a_late_step_makes_up_for_what_was_missed() {
        let began = Instant::now();
        let mut pace = Pace::new(began, began + Duration::from_secs(10));
        assert_eq!(pace.due(began + Duration::from_secs(5), 100), 50);
        assert_eq!(pace.due(began + Duration::from_secs(5), 50), 0);
        assert_eq!(pace.due(began + Duration::from_secs(11), 50), 50);
        assert!(pace.is_over());
    }

    #[test]
    fn without_time_all_are_closed_at_once() {
        let began = Instant::now();
        let mut pace = Pace::new(began, began);
        assert_eq!(pace.due(began, 100), 100);
        assert!(pace.is_over());
    }
}
