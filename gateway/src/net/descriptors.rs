//! How many descriptors clients may hold, so that some are left for everything else.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tracing::warn;

use crate::config::Backend;

/// Descriptors that are kept back for the internal port, for Redis and for files, beside one for each
/// request to a backend that may be under way.
const KEPT_BACK: u64 = 512;

/// Where there are few, one in so many is kept back.
const ONE_IN: u64 = 6;

/// The descriptors of a node's connections to clients, and of those to other nodes that clients'
/// requests are forwarded by.
#[derive(Debug)]
pub(crate) struct Descriptors {
    open: AtomicUsize,
    most: usize,
    kept_back: usize,
}

/// One descriptor that is held. Dropped, it is given back.
pub(crate) struct Descriptor(Arc<Descriptors>);

impl Drop for Descriptor {
    fn drop(&mut self) {
        self.0.release();
    }
}

impl Descriptors {
    /// As many as the process may have open now, without those that are kept back.
    pub(crate) fn of_process(backend: &Backend) -> Self {
        let limit = match rlimit::Resource::NOFILE.get() {
            Ok((limit, _)) => limit,
            Err(error) => {
                warn!(target: "gateway::descriptors", %error, "cannot read the limit of open files");
                u64::MAX
            }
        };
        let concurrency = backend
            .webhook
            .as_ref()
            .map_or(0, |it| it.concurrency.get());
        let requests = concurrency.saturating_mul(1 + backend.routes.len());
        Self::new(limit, requests as u64)
    }

    fn new(limit: u64, requests: u64) -> Self {
        let kept_back = KEPT_BACK.saturating_add(requests).min(limit / ONE_IN);
        let size = |number| usize::try_from(number).unwrap_or(usize::MAX);
        Self {
            open: AtomicUsize::new(0),
            most: size(limit - kept_back),
            kept_back: size(kept_back),
        }
    }

    /// How many are kept back.
    pub(crate) fn kept_back(&self) -> usize {
        self.kept_back
    }

    /// How many there may be.
    pub(crate) fn most(&self) -> usize {
        self.most
    }

    /// Whether clients hold as many as they may.
    pub(crate) fn are_taken(&self) -> bool {
        self.open.load(Ordering::Relaxed) >= self.most
    }

    /// Counts one more, which [`release`](Self::release) gives back.
    pub(crate) fn count(&self) {
        self.open.fetch_add(1, Ordering::Relaxed);
    }

    /// One that was counted is free again.
    pub(crate) fn release(&self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
    }

    /// Holds one more.
    pub(crate) fn hold(self: &Arc<Self>) -> Descriptor {
        self.count();
        Descriptor(Arc::clone(self))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_are_kept_back() {
        for (limit, requests, most) in [
            (1024, 0, 854),
            (256, 0, 214),
            (65_536, 0, 65_024),
            (65_536, 1000, 64_024),
            (4096, 1_000_000, 3414),
        ] {
            let descriptors = Descriptors::new(limit, requests);
            assert_eq!(descriptors.most(), most);
            assert_eq!(descriptors.kept_back() + most, limit as usize);
        }
        assert!(Descriptors::new(u64::MAX, u64::MAX).most() > 1 << 60);
        let two = Descriptors::new(2, 0);
        two.count();
        assert!(!two.are_taken());
        two.count();
        assert!(two.are_taken());
    }
}
