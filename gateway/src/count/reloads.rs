//! What is counted of reloads.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use adapter::Counter;

use super::{Family, label};

label! {
    /// Who asks for a reload.
    pub(crate) enum Asker: "by" {
        /// SIGHUP, or the program that runs the node.
        Program = "program",
        Api = "api",
        /// A file that changed.
        File = "file",
    }
}

label! {
    /// What came of a reload.
    pub(crate) enum ReloadResult: "result" {
        Applied = "applied",
        /// Nothing differs that a reload changes.
        Unchanged = "unchanged",
        /// Something is wrong, so nothing was changed.
        Refused = "refused",
    }
}

/// What came of reloads, and of the last one.
pub(crate) struct ReloadCounters {
    pub(crate) results: Family<ReloadResult, Counter>,
    /// Whether the last one was refused.
    failed: AtomicU64,
    /// When settings were read last and were right, in seconds since 1970.
    succeeded_at: AtomicU64,
    /// Settings that wait for a restart.
    waiting: AtomicU64,
}

/// The settings of the start were right.
impl Default for ReloadCounters {
    fn default() -> Self {
        Self {
            results: Family::default(),
            failed: AtomicU64::new(0),
            succeeded_at: AtomicU64::new(now()),
            waiting: AtomicU64::new(0),
        }
    }
}

impl ReloadCounters {
    /// The settings were right, and so many of them wait for a restart.
    pub(crate) fn succeeded(&self, result: ReloadResult, waiting: usize) {
        self.results.of(result).increment();
        self.failed.store(0, Ordering::Relaxed);
        self.succeeded_at.store(now(), Ordering::Relaxed);
        self.waiting.store(waiting as u64, Ordering::Relaxed);
    }

    /// The settings are right and as they were, but for those that wait for a restart.
    pub(crate) fn wait(&self, waiting: usize) {
        self.failed.store(0, Ordering::Relaxed);
        self.waiting.store(waiting as u64, Ordering::Relaxed);
    }

    pub(crate) fn failed(&self) {
        self.results.of(ReloadResult::Refused).increment();
        self.failed.store(1, Ordering::Relaxed);
    }

    pub(crate) fn last_failed(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }

    pub(crate) fn succeeded_at(&self) -> u64 {
        self.succeeded_at.load(Ordering::Relaxed)
    }

    pub(crate) fn waiting(&self) -> u64 {
        self.waiting.load(Ordering::Relaxed)
    }
}

fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.unwrap_or_default().as_secs()
}
