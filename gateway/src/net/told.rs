//! What an operator is told once.

use std::sync::atomic::{AtomicBool, Ordering};

/// Whether something was told.
#[derive(Debug, Default)]
pub(crate) struct Told(AtomicBool);

impl Told {
    /// Whether nobody has asked before.
    pub(crate) fn is_first(&self) -> bool {
        !self.0.swap(true, Ordering::Relaxed)
    }
}
