//! The span that what a thread does now is a part of.

use std::cell::Cell;
use std::future::poll_fn;
use std::pin::pin;

use adapter::TraceContext;

thread_local! {
    static CURRENT: Cell<Option<TraceContext>> = const { Cell::new(None) };
}

/// What the calling code is a part of.
#[inline]
pub(crate) fn current() -> Option<TraceContext> {
    CURRENT.get()
}

/// Has what `call` does be a part of something.
pub(crate) fn within<T>(context: Option<TraceContext>, call: impl FnOnce() -> T) -> T {
    struct Restore(Option<TraceContext>);

    impl Drop for Restore {
        fn drop(&mut self) {
            CURRENT.set(self.0);
        }
    }

    let _restore = Restore(CURRENT.replace(context));
    call()
}

/// The same for all of a future.
pub(crate) async fn in_context<F: Future>(context: Option<TraceContext>, future: F) -> F::Output {
    let mut future = pin!(future);
    poll_fn(|task| within(context, || future.as_mut().poll(task))).await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn context(byte: u8) -> TraceContext {
        TraceContext {
            trace: [byte; 16],
            span: [byte; 8],
            is_sampled: true,
        }
    }

    #[test]
    fn a_context_ends_with_its_call_even_if_that_panics() {
        let seen = within(Some(context(1)), || {
            let inner = within(Some(context(2)), current);
            (inner, current())
        });
        assert_eq!(seen, (Some(context(2)), Some(context(1))));
        let panicked = std::panic::catch_unwind(|| within(Some(context(1)), || panic!("no")));
        assert!(panicked.is_err());
        assert_eq!(current(), None);
    }

    #[tokio::test]
    async fn a_future_has_its_context_whenever_it_is_polled() {
        let work = async {
            tokio::task::yield_now().await;
            current()
        };
        let (seen, outside) = tokio::join!(in_context(Some(context(1)), work), async { current() });
        assert_eq!((seen, outside), (Some(context(1)), None));
    }
}
