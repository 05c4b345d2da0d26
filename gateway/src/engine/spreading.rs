//! Whether somebody asked to have connections spread evenly over the nodes, and whether this node is doing it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// What is told of it to other nodes, and to those who look.
#[derive(Debug, Default)]
pub(crate) struct Spreading {
    request: AtomicU64,
    is_under_way: AtomicBool,
}

impl Spreading {
    /// The number of the last request; 0 if there was none.
    pub(crate) fn request(&self) -> u64 {
        self.request.load(Ordering::Relaxed)
    }

    /// Asks all nodes. Each request has another number, also after the process was started again.
    pub(crate) fn ask(&self) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = now.map_or(0, |it| u64::try_from(it.as_millis()).unwrap_or(0));
        let next = |before: u64| Some(now.max(before.saturating_add(1)));
        let _always = self
            .request
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, next);
    }

    /// Whether this node lets go of connections.
    pub(crate) fn is_under_way(&self) -> bool {
        self.is_under_way.load(Ordering::Relaxed)
    }

    pub(crate) fn set_under_way(&self, is_under_way: bool) {
        self.is_under_way.store(is_under_way, Ordering::Relaxed);
    }
}
