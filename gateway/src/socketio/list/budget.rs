//! How many lists a node makes at a time.

use std::sync::Arc;

use adapter::Counter;
use tokio::sync::Semaphore;

use crate::net::budget::Budget;

/// Lists that a node walks through at a time for its callers; others wait.
const WALKS: usize = 4;

/// Parts that a node collects at a time for other nodes; others wait.
const ANSWERS: usize = 4;

/// Questions of other nodes that may wait for that.
const WAITING: usize = 1024;

/// What a node spends on lists at a time.
pub(crate) struct Lists {
    pub(crate) walks: Arc<Semaphore>,
    pub(crate) answers: Arc<Semaphore>,
    /// Answers that hold all sockets, as Node servers want them: one at a time.
    pub(crate) whole: Arc<Semaphore>,
    pub(crate) waiting: Budget,
    /// Questions of other nodes that were not answered.
    pub(crate) refused: Counter,
}

impl Default for Lists {
    fn default() -> Self {
        Self {
            walks: Arc::new(Semaphore::new(WALKS)),
            answers: Arc::new(Semaphore::new(ANSWERS)),
            whole: Arc::new(Semaphore::new(1)),
            waiting: Budget::new(WAITING),
            refused: Counter::default(),
        }
    }
}
