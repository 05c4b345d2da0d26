//! Panics of applications. Unguarded they would end whatever task they come in, and with it a shard.

use std::panic::{AssertUnwindSafe, catch_unwind};

use tracing::warn;

/// Calls an application; `None` if it panicked, which is told in the log.
pub(crate) fn guard<T>(handler: &'static str, call: impl FnOnce() -> T) -> Option<T> {
    let called = catch_unwind(AssertUnwindSafe(call));
    if called.is_err() {
        tell(handler);
    }
    called.ok()
}

/// Tells that a handler of the application panicked.
pub(crate) fn tell(handler: &'static str) {
    warn!(target: "gateway::application::guard", handler, "the application panicked");
}
