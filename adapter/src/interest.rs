use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

/// A node's interest in a namespace or a room. Dropping it ends the interest.
///
/// ```
/// use std::sync::Arc;
///
/// use adapter::{InForce, Interest, Latch};
///
/// // The adapter's side: it opens the latch when it is subscribed.
/// let latch = Arc::new(Latch::default());
/// let interest = Interest::new(InForce::when([latch.clone()]), || println!("unsubscribe"));
/// assert!(!interest.is_in_force());
/// latch.open();
/// assert!(interest.is_in_force());
/// ```
#[must_use = "dropping the interest ends it"]
pub struct Interest {
    in_force: InForce,
    end: Option<Box<dyn FnOnce() + Send + Sync>>,
}

/// Resolves once everything published afterwards arrives. While the adapter is away that may take
/// long: who waits sets a limit. It resolves as well when the interest has ended, and when what is
/// behind the adapter refuses it.
#[derive(Debug, Default)]
pub struct InForce {
    /// What has to be open. With each, under which key it keeps this future's waker.
    latches: Vec<(Arc<Latch>, Option<u64>)>,
}

/// What an adapter opens when an interest comes into force, and closes when the connection behind
/// it is gone.
#[derive(Default)]
pub struct Latch(Mutex<State>);

#[derive(Default)]
struct State {
    open: bool,
    refused: bool,
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

    /// Whether something else covers it, so that it ends nothing and need not be kept.
    pub fn is_covered(&self) -> bool {
        self.end.is_none()
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

    /// In force while all of `latches` are open.
    pub fn when(latches: impl IntoIterator<Item = Arc<Latch>>) -> Self {
        let latches = latches.into_iter();
        Self {
            latches: latches.map(|latch| (latch, None)).collect(),
        }
    }

    /// Whether it is in force now.
    pub fn is_open(&self) -> bool {
        self.latches.iter().all(|(latch, _)| latch.lock().open)
    }

    /// Whether it is not, because what is behind the adapter refused it.
    pub fn is_refused(&self) -> bool {
        self.latches.iter().any(|(latch, _)| latch.lock().refused)
    }
}

impl Clone for InForce {
    fn clone(&self) -> Self {
        Self::when(self.latches.iter().map(|(latch, _)| latch.clone()))
    }
}

impl Future for InForce {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        for (latch, key) in &mut self.latches {
            let mut state = latch.lock();
            if state.open || state.refused {
                continue;
            }
            let waker = context.waker();
            let mut waiting = state.waiting.iter_mut();
            match waiting.find(|(other, _)| Some(*other) == *key) {
                Some((_, kept)) => kept.clone_from(waker),
                None => {
                    let new = state.next_key;
                    state.next_key += 1;
                    state.waiting.push((new, waker.clone()));
                    *key = Some(new);
                }
            }
            return Poll::Pending;
        }
        Poll::Ready(())
    }
}

impl Drop for InForce {
    fn drop(&mut self) {
        for (latch, key) in &self.latches {
            if key.is_some() {
                let mut state = latch.lock();
                state.waiting.retain(|(other, _)| Some(*other) != *key);
            }
        }
    }
}

impl Latch {
    /// Lets everybody through, those who wait too.
    pub fn open(&self) {
        self.end_waiting(true);
    }

    /// Tells those who wait, and newcomers, that it cannot be opened.
    pub fn refuse(&self) {
        self.end_waiting(false);
    }

    fn end_waiting(&self, open: bool) {
        let waiting = {
            let mut state = self.lock();
            (state.open, state.refused) = (open, !open);
            std::mem::take(&mut state.waiting)
        };
        waiting.into_iter().for_each(|(_, waker)| waker.wake());
    }

    /// Whether it is open.
    pub fn is_open(&self) -> bool {
        self.lock().open
    }

    /// Makes newcomers wait.
    pub fn close(&self) {
        let mut state = self.lock();
        (state.open, state.refused) = (false, false);
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
        let mut in_force = InForce::when([latch.clone()]);
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
        let mut in_force = InForce::when([latch]);
        let mut context = Context::from_waker(Waker::noop());
        assert!(Pin::new(&mut in_force).poll(&mut context).is_pending());
    }

    #[test]
    fn all_latches_have_to_be_open() {
        let latches = [Arc::new(Latch::default()), Arc::new(Latch::default())];
        let mut in_force = InForce::when(latches.clone());
        let mut context = Context::from_waker(Waker::noop());
        latches[0].open();
        assert!(Pin::new(&mut in_force).poll(&mut context).is_pending());
        latches[1].open();
        assert!(Pin::new(&mut in_force).poll(&mut context).is_ready());
    }

    #[test]
    fn whoever_stops_waiting_is_forgotten() {
        let latch = Arc::new(Latch::default());
        let mut in_force = InForce::when([latch.clone()]);
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
