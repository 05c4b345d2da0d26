//! Spans that wait for the collector.
//!
//! They are bytes already, in the place of the thread that wrote them, so that threads hardly meet.

use std::cell::Cell;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use adapter::Counter;
use tokio::sync::Notify;

use crate::count::{Family, label};

/// Most spans of a node that wait, those on their way to the collector among them.
const MAX_SPANS: usize = 32_768;

/// Most bytes of them.
const MAX_BYTES: usize = 16 * 1024 * 1024;

/// Most spans of a request.
const MAX_BATCH: usize = 512;

/// Most bytes of them, but for the last one.
const MAX_BATCH_BYTES: usize = 512 * 1024;

/// How often somebody who waits for the end looks whether it is there.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

thread_local! {
    static PLACE: Cell<usize> = const { Cell::new(usize::MAX) };
}

/// The calling thread is that of a shard, and writes in its place from now on.
pub(crate) fn use_place(shard: usize) {
    PLACE.set(shard);
}

label! {
    /// What became of a span.
    pub(super) enum SpanResult: "result" {
        /// The collector has it.
        Exported = "exported",
        /// Too much waited.
        Full = "full",
        /// The collector does not want it.
        Refused = "refused",
        /// The collector could not be reached for long.
        Unreachable = "unreachable",
    }
}

/// The queue of a node.
pub(super) struct Queue {
    /// One for each shard, and the last one for all other threads.
    places: Box<[Mutex<Place>]>,
    spans: AtomicUsize,
    bytes: AtomicUsize,
    filled: Notify,
    results: Family<SpanResult, Counter>,
    /// Why the collector does not get them now.
    trouble: Mutex<Option<String>>,
}

#[derive(Default)]
struct Place {
    whole: VecDeque<Batch>,
    last: Batch,
}

/// Spans, one behind the other.
#[derive(Default)]
pub(super) struct Batch {
    pub(super) spans: usize,
    pub(super) bytes: Vec<u8>,
}

impl Batch {
    fn is_full(&self) -> bool {
        self.spans >= MAX_BATCH || self.bytes.len() >= MAX_BATCH_BYTES
    }

    fn has_room_for(&self, other: &Self) -> bool {
        self.spans == 0
            || (self.spans + other.spans <= MAX_BATCH
                && self.bytes.len() + other.bytes.len() <= MAX_BATCH_BYTES)
    }
}

impl Queue {
    pub(super) fn new(shards: usize) -> Self {
        Self {
            places: (0..=shards).map(|_| Mutex::default()).collect(),
            spans: AtomicUsize::new(0),
            bytes: AtomicUsize::new(0),
            filled: Notify::new(),
            results: Family::default(),
            trouble: Mutex::default(),
        }
    }

    /// Takes the span that `write` writes, unless too much waits.
    pub(super) fn put(&self, write: impl FnOnce(&mut Vec<u8>)) {
        let before = self.spans.fetch_add(1, Ordering::Relaxed);
        if before >= MAX_SPANS || self.waiting_bytes() >= MAX_BYTES {
            self.spans.fetch_sub(1, Ordering::Relaxed);
            return self.results.of(SpanResult::Full).increment();
        }
        let last = self.places.len() - 1;
        let mut place = lock(&self.places[PLACE.get().min(last)]);
        let length = place.last.bytes.len();
        write(&mut place.last.bytes);
        place.last.spans += 1;
        let written = place.last.bytes.len() - length;
        if place.last.is_full() {
            let whole = std::mem::take(&mut place.last);
            place.whole.push_back(whole);
        }
        drop(place);
        self.bytes.fetch_add(written, Ordering::Relaxed);
        if (before + 1).is_multiple_of(MAX_BATCH) {
            self.filled.notify_one();
        }
    }

    /// What a request may carry of that; nothing if nothing waits.
    pub(super) fn take(&self) -> Option<Batch> {
        let mut taken = Batch::default();
        for place in &self.places {
            let mut place = lock(place);
            while let Some(next) = place.whole.pop_front() {
                if !taken.has_room_for(&next) {
                    place.whole.push_front(next);
                    break;
                }
                taken.take_in(next);
            }
            if place.whole.is_empty() && taken.has_room_for(&place.last) {
                let last = std::mem::take(&mut place.last);
                taken.take_in(last);
            }
        }
        (taken.spans > 0).then_some(taken)
    }

    /// Waits until there is a batch, or somebody wants everything to be sent.
    pub(super) async fn filled(&self) {
        self.filled.notified().await;
    }

    /// What was taken is not under way any more; `lost` of it did not arrive.
    pub(super) fn done(&self, batch: &Batch, result: SpanResult, lost: usize) {
        let lost = lost.min(batch.spans);
        let of = |result| self.results.of(result);
        of(result).add((batch.spans - lost) as u64);
        of(SpanResult::Refused).add(lost as u64);
        self.spans.fetch_sub(batch.spans, Ordering::Relaxed);
        self.bytes.fetch_sub(batch.bytes.len(), Ordering::Relaxed);
    }

    /// Waits until nothing is left, at most `patience`; says how many spans are.
    pub(super) async fn flushed(&self, patience: Duration) -> usize {
        let deadline = Instant::now() + patience;
        while self.waiting() > 0 && Instant::now() < deadline {
            self.filled.notify_one();
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        self.waiting()
    }

    pub(super) fn waiting(&self) -> usize {
        self.spans.load(Ordering::Relaxed)
    }

    pub(super) fn waiting_bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    pub(super) fn count(&self, result: SpanResult) -> u64 {
        self.results.of(result).value()
    }

    /// Why the collector does not get spans now; `None` while it does.
    pub(super) fn trouble(&self) -> Option<String> {
        lock(&self.trouble).clone()
    }

    /// Says whether that was otherwise before.
    pub(super) fn set_trouble(&self, trouble: Option<String>) -> bool {
        let mut current = lock(&self.trouble);
        let is_other = current.is_some() != trouble.is_some();
        *current = trouble;
        is_other
    }
}

impl Batch {
    fn take_in(&mut self, other: Self) {
        self.spans += other.spans;
        if self.bytes.is_empty() {
            self.bytes = other.bytes;
        } else {
            self.bytes.extend_from_slice(&other.bytes);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(queue: &Queue, spans: usize, bytes: usize) {
        for _ in 0..spans {
            queue.put(|to| to.extend(std::iter::repeat_n(7, bytes)));
        }
    }

    fn batches(queue: &Queue) -> Vec<usize> {
        std::iter::from_fn(|| queue.take())
            .inspect(|it| queue.done(it, SpanResult::Exported, 0))
            .map(|it| it.spans)
            .collect()
    }

    #[test]
    fn batches_are_bounded_by_spans_and_by_bytes() {
        let queue = Queue::new(2);
        assert_eq!(batches(&queue), [0; 0]);
        put(&queue, 2 * MAX_BATCH + 5, 1);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                use_place(1);
                put(&queue, 7, 1);
            });
        });
        assert_eq!(batches(&queue), [7, MAX_BATCH, MAX_BATCH, 5]);
        put(&queue, 3, MAX_BATCH_BYTES / 2);
        assert_eq!(batches(&queue), [2, 1]);
        assert_eq!((queue.waiting(), queue.waiting_bytes()), (0, 0));
    }

    #[test]
    fn what_is_too_much_is_dropped_and_counted() {
        let queue = Queue::new(1);
        put(&queue, MAX_SPANS + 3, 1);
        assert_eq!(queue.count(SpanResult::Full), 3);
        assert_eq!(queue.waiting(), MAX_SPANS);
        let sent: usize = batches(&queue).iter().sum();
        assert_eq!(sent, MAX_SPANS);
        put(&queue, 18, MAX_BYTES / 16);
        assert_eq!(queue.count(SpanResult::Full), 5);
        assert_eq!(batches(&queue).iter().sum::<usize>(), 16);
        put(&queue, 4, 1);
        let batch = queue.take().unwrap();
        queue.done(&batch, SpanResult::Exported, 3);
        assert_eq!(queue.count(SpanResult::Refused), 3);
        assert_eq!(
            queue.count(SpanResult::Exported) as usize,
            MAX_SPANS + 16 + 1
        );
    }
}
