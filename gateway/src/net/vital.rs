//! The threads and tasks without which a node is no node.
//!
//! Each of them holds a [`Part`]. If it ends before the node does,
//! [`Running::failure`](crate::Running::failure) resolves, and the program ends the process. Half a
//! node would take connections that nobody serves.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::watch;
use tracing::error;

/// The parts of one node.
#[derive(Clone)]
pub(crate) struct Vitals(Arc<Shared>);

struct Shared {
    /// The part that ended first.
    failed: watch::Sender<Option<Box<str>>>,
    /// The node ends, and its parts with it.
    is_ending: AtomicBool,
}

/// Held by a part for as long as it lives.
pub(crate) struct Part {
    name: Box<str>,
    vitals: Vitals,
}

impl Default for Vitals {
    fn default() -> Self {
        Self(Arc::new(Shared {
            failed: watch::channel(None).0,
            is_ending: AtomicBool::new(false),
        }))
    }
}

impl Vitals {
    /// A part that begins.
    pub(crate) fn part(&self, name: impl Into<Box<str>>) -> Part {
        Part {
            name: name.into(),
            vitals: self.clone(),
        }
    }

    /// A future that is a part, until it is dropped.
    pub(crate) fn watch<F: Future>(
        &self,
        name: &str,
        future: F,
    ) -> impl Future<Output = F::Output> + use<F> {
        let part = self.part(name);
        async move {
            let ended = future.await;
            drop(part);
            ended
        }
    }

    /// From now on parts may end.
    pub(crate) fn end(&self) {
        self.0.is_ending.store(true, Ordering::Relaxed);
    }

    /// Waits for a part that ends too early, and names it.
    pub(crate) fn failure(&self) -> impl Future<Output = Box<str>> + Send + 'static {
        let mut failed = self.0.failed.subscribe();
        async move {
            let name = match failed.wait_for(Option::is_some).await {
                Ok(name) => name.clone(),
                Err(_) => None,
            };
            match name {
                Some(name) => name,
                // The node is gone, and in good order.
                None => std::future::pending().await,
            }
        }
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        let shared = &self.vitals.0;
        let panicked = std::thread::panicking();
        if shared.is_ending.load(Ordering::Relaxed) && !panicked {
            return;
        }
        error!(target: "gateway::vital", part = %self.name, panicked, "a vital part of the node has ended");
        shared.failed.send_if_modified(|failed| {
            let first = failed.is_none();
            failed.get_or_insert_with(|| self.name.clone());
            first
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_part_that_ends_early_is_named() {
        let vitals = Vitals::default();
        let failure = vitals.failure();
        drop(vitals.part("first"));
        drop(vitals.part("second"));
        assert_eq!(&*failure.await, "first");
    }

    #[tokio::test]
    async fn a_panic_of_a_task_names_it_even_at_the_end() {
        let vitals = Vitals::default();
        vitals.end();
        let well = tokio::spawn(vitals.watch("well", async {}));
        well.await.unwrap();
        let task = tokio::spawn(vitals.watch("task", async { panic!("as the test wants it") }));
        assert!(task.await.is_err());
        assert_eq!(&*vitals.failure().await, "task");
    }
}
