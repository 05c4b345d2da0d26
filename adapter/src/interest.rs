use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

/// A node's interest in a namespace or a room. Dropping it ends the interest.
#[must_use = "dropping the interest ends it"]
pub struct Interest {
    in_force: InForce,
    end: Option<Box<dyn FnOnce() + Send + Sync>>,
}

/// Resolves once everything published afterwards arrives. While the adapter is away that may take
/// long: who waits sets a limit. It resolves as well when the interest has ended.
#[derive(Debug, Default)]
pub struct InForce {
    /// `None`: in force already, and always.
    latch: Option<Arc<Latch>>,
    /// Under which key the latch keeps this future's waker.
    key: Option<u64>,
}

/// What an adapter opens when an interest comes into force, and closes when the connection behind
/// it is gone.
#[derive(Default)]
pub struct Latch(Mutex<State>);

#[derive(Default)]
struct State {
    open: bool,
    next_key: u64,
    waiting: Vec<(u64, Waker)>,
}

impl Interest {
    /// An interest that `end` ends.
    pub fn new(in_force: InForce, end: impl FnOnce() + Send + Sync + 'static) -> Self {
        Self {
            in_force,
            end: Some(Box::new(end)),
        }
    }

    /// An interest that something else covers already and that needs no end.
    pub fn covered(in_force: InForce) -> Self {
        Self {
            in_force,
            end: None,
        }
    }

    /// Resolves once it is in force.
    pub fn in_force(&self) -> InForce {
        self.in_force.clone()
    }

    /// Whether it is in force now.
    pub fn is_in_force(&self) -> bool {
        self.in_force.is_open()
    }
}

impl Drop for Interest {
    fn drop(&mut self) {
        if let Some(end) = self.end.take() {
            end();
        }
    }
}

impl fmt::Debug for Interest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Interest")
            .field("in_force", &self.is_in_force())
            .finish_non_exhaustive()
    }
}

impl InForce {
    /// Already in force, and always.
    pub fn now() -> Self {
        Self::default()
    }

    /// In force while `latch` is open.
    pub fn when(latch: Arc<Latch>) -> Self {
        Self {
            latch: Some(latch),
            key: None,
        }
    }

    fn is_open(&self) -> bool {
        self.latch.as_ref().is_none_or(|latch| latch.lock().open)
    }
}

impl Clone for InForce {
    fn clone(&self) -> Self {
        Self {
            latch: self.latch.clone(),
            key: None,
        }
    }
}

impl Future for InForce {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let Some(latch) = &self.latch else {
            return Poll::Ready(());
        };
        let mut state = latch.lock();
        if state.open {
            return Poll::Ready(());
        }
        let waker = context.waker();
        let known = self.key.and_then(|key| {
            let mut waiting = state.waiting.iter_mut();
            waiting.find(|(other, _)| *other == key)
        });
        match known {
            Some((_, kept)) => kept.clone_from(waker),
            None => {
                let key = state.next_key;
                state.next_key += 1;
                state.waiting.push((key, waker.clone()));
                drop(state);
                self.key = Some(key);
            }
        }
        Poll::Pending
    }
}

impl Drop for InForce {
    fn drop(&mut self) {
        if let (Some(latch), Some(key)) = (&self.latch, self.key) {
            latch.lock().waiting.retain(|(other, _)| *other != key);
        }
    }
}

impl Latch {
    /// Lets everybody through, those who wait too.
    pub fn open(&self) {
        let waiting = {
            let mut state = self.lock();
            state.open = true;
            std::mem::take(&mut state.waiting)
        };
        waiting.into_iter().for_each(|(_, waker)| waker.wake());
    }

    /// Makes newcomers wait.
    pub fn close(&self) {
        self.lock().open = false;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Latch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Latch").field(&self.lock().open).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    use super::*;

    #[test]
    fn whoever_waits_is_woken_when_the_latch_opens() {
        let latch = Arc::new(Latch::default());
        let mut in_force = InForce::when(latch.clone());
        let wakes = Arc::new(Wakes::default());
        let waker = Waker::from(wakes.clone());
        let mut context = Context::from_waker(&waker);

        assert!(Pin::new(&mut in_force).poll(&mut context).is_pending());
        assert!(Pin::new(&mut in_force).poll(&mut context).is_pending());
        latch.open();

        assert_eq!(wakes.0.load(Ordering::Relaxed), 1);
        assert!(Pin::new(&mut in_force).poll(&mut context).is_ready());
    }

    #[test]
    fn a_closed_latch_makes_newcomers_wait() {
        let latch = Arc::new(Latch::default());
        latch.open();
        latch.close();
        let mut in_force = InForce::when(latch);
        let mut context = Context::from_waker(Waker::noop());
        assert!(Pin::new(&mut in_force).poll(&mut context).is_pending());
    }

    #[test]
    fn whoever_stops_waiting_is_forgotten() {
        let latch = Arc::new(Latch::default());
        let mut in_force = InForce::when(latch.clone());
        let mut context = Context::from_waker(Waker::noop());
        assert!(Pin::new(&mut in_force).poll(&mut context).is_pending());
        assert_eq!(latch.lock().waiting.len(), 1);
        drop(in_force);
        assert_eq!(latch.lock().waiting.len(), 0);
    }

    #[test]
    fn dropping_an_interest_ends_it_once() {
        let ends = Arc::new(AtomicUsize::new(0));
        let counted = ends.clone();
        let interest = Interest::new(InForce::now(), move || {
            counted.fetch_add(1, Ordering::Relaxed);
        });
        assert!(interest.is_in_force());
        drop(interest);
        assert_eq!(ends.load(Ordering::Relaxed), 1);
    }

    #[derive(Default)]
    struct Wakes(AtomicUsize);

    impl Wake for Wakes {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
}
