//! So much of something that the tasks of a node may hold together.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// What is left of it. Cloning shares it.
#[derive(Debug, Clone)]
pub(crate) struct Budget(Arc<AtomicUsize>);

/// What somebody holds of it. Dropped, it is given back.
#[derive(Debug)]
pub(crate) struct Share {
    budget: Budget,
    amount: usize,
}

impl Budget {
    pub(crate) fn new(all: usize) -> Self {
        Self(Arc::new(AtomicUsize::new(all)))
    }

    /// Takes so much, if it is left.
    pub(crate) fn take(&self, amount: usize) -> Option<Share> {
        let rest = |left: usize| left.checked_sub(amount);
        let taken = self
            .0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, rest);
        taken.ok().map(|_| Share {
            budget: self.clone(),
            amount,
        })
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.budget.0.fetch_add(self.amount, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_is_held_than_there_is_and_all_of_it_comes_back() {
        let budget = Budget::new(10);
        let share = budget.take(7).unwrap();
        assert!(budget.take(4).is_none());
        let rest = budget.take(3).unwrap();
        drop(share);
        assert!(budget.take(8).is_none());
        drop(rest);
        assert!(budget.take(10).is_some());
    }
}
