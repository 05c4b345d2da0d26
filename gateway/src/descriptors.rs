//! How many descriptors clients may hold, so that some are left for everything else.

use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tracing::warn;

use crate::shard::Shard;

/// Descriptors that are kept back for the internal port, for Redis, for backends and for files; where
/// there are few, half of them.
const KEPT_BACK: u64 = 512;

/// The descriptors of a node's connections to clients, and of those to other nodes that clients'
/// requests are forwarded by.
#[derive(Debug)]
pub(crate) struct Descriptors {
    open: AtomicUsize,
    most: usize,
}

/// One descriptor that is held on a shard. Dropped, it is given back. It is no larger than the shard,
/// which whoever serves a connection keeps anyway.
pub(crate) struct Held(Rc<Shard>);

impl Descriptors {
    /// As many as the process may have open now, without those that are kept back.
    pub(crate) fn of_process() -> Self {
        let limit = match rlimit::Resource::NOFILE.get() {
            Ok((limit, _)) => limit,
            Err(error) => {
                warn!(%error, "the limit of open files is not known");
                u64::MAX
            }
        };
        Self::new(limit)
    }

    fn new(limit: u64) -> Self {
        let most = limit.saturating_sub(KEPT_BACK).max(limit / 2);
        Self {
            open: AtomicUsize::new(0),
            most: usize::try_from(most).unwrap_or(usize::MAX),
        }
    }

    /// How many there may be.
    pub(crate) fn most(&self) -> usize {
        self.most
    }

    /// Whether clients hold as many as they may.
    pub(crate) fn are_taken(&self) -> bool {
        self.open.load(Ordering::Relaxed) >= self.most
    }

    /// Counts one more. [`Held::counted`] is to hold it.
    pub(crate) fn count(&self) {
        self.open.fetch_add(1, Ordering::Relaxed);
    }
}

impl Held {
    /// Holds a descriptor that was counted.
    pub(crate) fn counted(shard: &Rc<Shard>) -> Self {
        Self(Rc::clone(shard))
    }

    /// Holds one more.
    pub(crate) fn new(shard: &Rc<Shard>) -> Self {
        shard.node().descriptors().count();
        Self::counted(shard)
    }

    /// The shard that it is held on.
    pub(crate) fn shard(&self) -> &Rc<Shard> {
        &self.0
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let open = &self.0.node().descriptors().open;
        open.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_are_kept_back() {
        for (limit, most) in [(1024, 512), (256, 128), (65_536, 65_024)] {
            assert_eq!(Descriptors::new(limit).most, most);
        }
        assert!(Descriptors::new(u64::MAX).most > 1 << 60);
        let two = Descriptors::new(2);
        assert!(!two.are_taken());
        two.count();
        assert!(two.are_taken());
    }
}
