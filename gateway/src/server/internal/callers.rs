//! Connections to the internal port.
//!
//! None has to wait for another to end. Beyond the bound the one that was silent for longest is
//! closed, so that idle connections keep no place from a probe or from another node.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// Most connections to the internal port at a time. It is more than calls of the API that are
/// handled at a time, which alone are never closed.
const MAX_CONNECTIONS: usize = 256;

/// The connections that there are.
#[derive(Debug)]
pub(super) struct Callers {
    most: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    last: u64,
    callers: HashMap<u64, Entry>,
}

#[derive(Debug)]
struct Entry {
    /// When it last did something, as a number that grows.
    seen: u64,
    /// A call of it is being handled.
    is_busy: bool,
    leave: Arc<Notify>,
}

/// One connection. Dropped, its place is free.
pub(super) struct Caller {
    callers: Arc<Callers>,
    id: u64,
    leave: Arc<Notify>,
}

impl Callers {
    /// With room for so many, if so many descriptors are kept back: they are for others, too.
    pub(super) fn new(kept_back: usize) -> Self {
        Self {
            most: MAX_CONNECTIONS.min(kept_back / 2).max(1),
            state: Mutex::default(),
        }
    }

    /// A place for a connection more; if there is none, that of the one which was silent for
    /// longest.
    pub(super) fn enter(self: &Arc<Self>) -> Caller {
        let leave = Arc::new(Notify::new());
        let mut state = self.state();
        while state.callers.len() >= self.most {
            let idle = state.callers.iter().filter(|(_, it)| !it.is_busy);
            let Some(oldest) = idle.min_by_key(|(_, it)| it.seen).map(|(id, _)| *id) else {
                break;
            };
            if let Some(entry) = state.callers.remove(&oldest) {
                entry.leave.notify_one();
            }
        }
        state.last += 1;
        let id = state.last;
        let entry = Entry {
            seen: id,
            is_busy: false,
            leave: Arc::clone(&leave),
        };
        state.callers.insert(id, entry);
        Caller {
            callers: Arc::clone(self),
            id,
            leave,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Caller {
    /// Waits until it has to make room for another.
    pub(super) async fn leaves(&self) {
        self.leave.notified().await;
    }

    /// It asks for something. If `is_kept`, it is not closed before that is done.
    pub(super) fn asks(&self, is_kept: bool) {
        let mut state = self.callers.state();
        state.last += 1;
        let seen = state.last;
        if let Some(entry) = state.callers.get_mut(&self.id) {
            (entry.seen, entry.is_busy) = (seen, is_kept);
        }
    }
}

impl Drop for Caller {
    fn drop(&mut self) {
        self.callers.state().callers.remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn has_to_leave(caller: &Caller) -> bool {
        use futures_util::FutureExt as _;
        caller.leaves().now_or_never().is_some()
    }

    #[test]
    fn the_one_that_was_silent_for_longest_makes_room() {
        let callers = Arc::new(Callers::new(10_000));
        let mut inside: Vec<Caller> = (0..MAX_CONNECTIONS).map(|_| callers.enter()).collect();
        inside[0].asks(true);
        inside[1].asks(false);
        assert!(!inside.iter().any(has_to_leave));
        let newest = [callers.enter(), callers.enter()];
        assert_eq!(callers.state().callers.len(), MAX_CONNECTIONS);
        let leaving: Vec<_> = (0..MAX_CONNECTIONS)
            .filter(|index| has_to_leave(&inside[*index]))
            .collect();
        assert_eq!(leaving, [2, 3]);
        assert!(!newest.iter().any(has_to_leave));
        drop(inside.drain(2..4));
        assert_eq!(callers.state().callers.len(), MAX_CONNECTIONS);
        drop(inside);
        assert_eq!(callers.state().callers.len(), 2);
    }
}
