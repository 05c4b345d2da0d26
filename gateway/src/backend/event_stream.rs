//! Events for consumer groups: entries of a Redis Stream.
//!
//! A node has one queue and one writer, so that entries stand in the stream in the order in which
//! the node took them:
//!
//! ```text
//!          append               the next batch               Redis says so
//!  entry --------> waiting ---------------------> written? --------------> done
//!    |                                             |    ^
//!    +--> full: refused, and whoever               |    +-- again, after a pause
//!         wanted it to be taken is told            +--> failed: nobody knows
//! ```
//!
//! What was taken is written sooner or later, as long as the process lives. An attempt that failed
//! may have been one that worked, so an entry can be there twice; it has the same `id` then. Each
//! attempt is half as large as the one that failed before it, down to one entry. So a Redis that is
//! too slow for many entries gets on with few. One that answers that it did nothing is asked again
//! for the same.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use adapter::Counter;
use bytes::Bytes;
use prometheus::proto::MetricFamily;
use tokio::sync::{Notify, oneshot};
use tracing::{info, warn};

use crate::count::Export;
use crate::count::families::{counter, gauge};

/// Bytes of entries that may wait; what comes beyond is refused.
const MAX_BYTES: usize = 32 * 1024 * 1024;

/// What one entry takes beside its texts.
const OVERHEAD: usize = 256;

/// Most entries of one attempt, and most bytes of them if there are several.
const MAX_BATCH: (usize, usize) = (256, 1024 * 1024);

/// The pause after an attempt that failed; doubled after each further one.
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// How often somebody who waits for the end looks whether it is there.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// One entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StreamEntry {
    /// The same whenever the entry is written.
    pub(crate) id: String,
    /// `connect`, `event` or `disconnect`.
    pub(crate) kind: &'static str,
    pub(crate) namespace: String,
    /// An event's name.
    pub(crate) event: Option<String>,
    /// What it is a part of, if its trace is sampled: a `traceparent`.
    pub(crate) trace: Option<String>,
    /// The JSON that a webhook would get.
    pub(crate) body: Bytes,
}

impl StreamEntry {
    fn size(&self) -> usize {
        let event = self.event.as_ref().map_or(0, String::len);
        let trace = self.trace.as_ref().map_or(0, String::len);
        OVERHEAD + self.id.len() + self.namespace.len() + event + trace + self.body.len()
    }

    /// Names and values, as they stand in the stream.
    pub(crate) fn fields(&self) -> Vec<(&'static str, &[u8])> {
        let mut fields = vec![
            ("id", self.id.as_bytes()),
            ("type", self.kind.as_bytes()),
            ("namespace", self.namespace.as_bytes()),
        ];
        if let Some(event) = &self.event {
            fields.push(("event", event.as_bytes()));
        }
        if let Some(trace) = &self.trace {
            fields.push(("traceparent", trace.as_bytes()));
        }
        fields.push(("body", &self.body));
        fields
    }
}

/// What entries are written to.
pub(crate) trait Append: Send + Sync {
    /// Appends all of them, in their order. After an error any of them may be there.
    fn append<'a>(&'a self, entries: &'a [StreamEntry]) -> Appending<'a>;
}

pub(crate) type Appending<'a> = Pin<Box<dyn Future<Output = Result<(), NotAppended>> + Send + 'a>>;

/// Why entries are not known to be in the stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NotAppended {
    /// In words, those of Redis if it said something.
    pub(crate) reason: String,
    /// None of them is there: a smaller batch would fare no better.
    pub(crate) is_refusal: bool,
}

/// Too much waits already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Full;

/// The queue. Shards append; one task, [`write`](Self::write), takes.
#[derive(Default)]
pub(crate) struct EventStream {
    queue: Mutex<VecDeque<Waiting>>,
    /// Entries that are not written, and their bytes, with those of the attempt under way.
    entries: AtomicUsize,
    bytes: AtomicUsize,
    filled: Notify,
    /// Why entries cannot be written now.
    trouble: Mutex<Option<String>>,
    pub(crate) written: Counter,
    pub(crate) refused: Counter,
    pub(crate) retries: Counter,
}

struct Waiting {
    entry: StreamEntry,
    /// Who waits until it is written.
    done: Option<oneshot::Sender<()>>,
}

impl Export for EventStream {
    fn families(&self) -> Vec<MetricFamily> {
        vec![
            counter(
                "gateway_stream_written_total",
                "Entries that Redis confirmed to be in the stream.",
                self.written.value(),
            ),
            counter(
                "gateway_stream_refused_total",
                "Entries that were not taken because too much waited.",
                self.refused.value(),
            ),
            counter(
                "gateway_stream_retries_total",
                "Attempts to write to the stream that failed and were repeated.",
                self.retries.value(),
            ),
            gauge(
                "gateway_stream_waiting",
                "Entries that are not in the stream yet.",
                self.waiting() as u64,
            ),
            gauge(
                "gateway_stream_waiting_bytes",
                "Bytes of entries that are not in the stream yet.",
                self.waiting_bytes() as u64,
            ),
        ]
    }

    fn concern(&self) -> Option<String> {
        let trouble = self.trouble()?;
        Some(format!("events cannot be written to the stream: {trouble}"))
    }

    fn status(&self) -> Option<(&'static str, serde_json::Value)> {
        let status = serde_json::json!({
            "trouble": self.trouble(),
            "written": self.written.value(),
            "refused": self.refused.value(),
            "retries": self.retries.value(),
            "waiting": self.waiting(),
            "waiting_bytes": self.waiting_bytes(),
        });
        Some(("stream", status))
    }
}

impl EventStream {
    /// Whether there is room for what comes later. If not, that counts as refused.
    pub(crate) fn has_room(&self) -> bool {
        let is_full = self.is_full();
        if is_full {
            self.refused.increment();
        }
        !is_full
    }

    /// Entries that wait.
    pub(crate) fn waiting(&self) -> usize {
        self.entries.load(Ordering::Relaxed)
    }

    /// Bytes of them.
    pub(crate) fn waiting_bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Why entries cannot be written now, in words for operators; `None` while they can.
    pub(crate) fn trouble(&self) -> Option<String> {
        let trouble = self.trouble.lock();
        trouble.unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set_trouble(&self, trouble: Option<String>) {
        let mut current = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        *current = trouble;
    }

    /// Takes an entry. `done` gets word when Redis has it.
    pub(crate) fn append(
        &self,
        entry: StreamEntry,
        done: Option<oneshot::Sender<()>>,
    ) -> Result<(), Full> {
        let mut queue = self.queue();
        if self.is_full() {
            self.refused.increment();
            return Err(Full);
        }
        self.bytes.fetch_add(entry.size(), Ordering::Relaxed);
        self.entries.fetch_add(1, Ordering::Relaxed);
        queue.push_back(Waiting { entry, done });
        drop(queue);
        self.filled.notify_one();
        Ok(())
    }

    /// Writes what comes, for ever.
    pub(crate) async fn write(self: Arc<Self>, to: impl Append) {
        loop {
            let (entries, waiters) = self.take();
            if entries.is_empty() {
                self.filled.notified().await;
            } else {
                self.write_batch(&to, entries, waiters).await;
            }
        }
    }

    /// Waits until everything is written, at most `patience`; says how much is not.
    pub(crate) async fn flushed(&self, patience: Duration) -> usize {
        let deadline = Instant::now() + patience;
        while self.waiting() > 0 && Instant::now() < deadline {
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        self.waiting()
    }

    /// The next batch, and who waits for each entry of it.
    fn take(&self) -> (Vec<StreamEntry>, Vec<Option<oneshot::Sender<()>>>) {
        let (most, most_bytes) = MAX_BATCH;
        let mut queue = self.queue();
        let (mut entries, mut waiters, mut bytes) = (Vec::new(), Vec::new(), 0);
        while let Some(next) = queue.front() {
            bytes += next.entry.size();
            if entries.len() == most || (!entries.is_empty() && bytes > most_bytes) {
                break;
            }
            let Some(Waiting { entry, done }) = queue.pop_front() else {
                break;
            };
            entries.push(entry);
            waiters.push(done);
        }
        if queue.is_empty() {
            queue.shrink_to(most);
        }
        (entries, waiters)
    }

    async fn write_batch(
        &self,
        to: &impl Append,
        mut entries: Vec<StreamEntry>,
        mut waiters: Vec<Option<oneshot::Sender<()>>>,
    ) {
        let mut most = entries.len();
        let mut pause = FIRST_PAUSE;
        let mut was_told = false;
        while !entries.is_empty() {
            let count = most.min(entries.len());
            match to.append(&entries[..count]).await {
                Ok(()) => {
                    self.are_written(entries.drain(..count));
                    for done in waiters.drain(..count).flatten() {
                        let _gone = done.send(());
                    }
                    pause = FIRST_PAUSE;
                    self.set_trouble(None);
                }
                Err(NotAppended { reason, is_refusal }) => {
                    self.retries.increment();
                    let error = &reason;
                    if !was_told {
                        warn!(target: "gateway::event_stream",
                            error,
                            waiting = self.waiting(),
                            "events cannot be written to the stream; they wait"
                        );
                        was_told = true;
                    }
                    self.set_trouble(Some(reason));
                    if !is_refusal {
                        most = (count / 2).max(1);
                    }
                    tokio::time::sleep(jittered(pause)).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
            }
        }
        if was_told {
            info!(target: "gateway::event_stream",
                waiting = self.waiting(),
                "Redis takes entries of the stream again"
            );
        }
    }

    fn are_written(&self, entries: impl ExactSizeIterator<Item = StreamEntry>) {
        let count = entries.len();
        let bytes = entries.map(|entry| entry.size()).sum();
        self.written.add(count as u64);
        self.entries.fetch_sub(count, Ordering::Relaxed);
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    fn is_full(&self) -> bool {
        self.bytes.load(Ordering::Relaxed) >= MAX_BYTES
    }

    fn queue(&self) -> MutexGuard<'_, VecDeque<Waiting>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Between half of a pause and all of it.
pub(crate) fn jittered(pause: Duration) -> Duration {
    let random = getrandom::u32().unwrap_or(u32::MAX);
    pause.mul_f64(0.5 + 0.5 * f64::from(random) / f64::from(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Keeps what is written to it, and fails as often as it is told, after writing the first.
    #[derive(Clone, Default)]
    struct Kept {
        ids: Arc<Mutex<Vec<String>>>,
        failures: Arc<AtomicUsize>,
    }

    impl Append for Kept {
        fn append<'a>(&'a self, entries: &'a [StreamEntry]) -> Appending<'a> {
            Box::pin(async move {
                let fails = self
                    .failures
                    .try_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
                        left.checked_sub(1)
                    })
                    .is_ok();
                let count = if fails { 1 } else { entries.len() };
                let ids = entries.iter().take(count).map(|entry| entry.id.clone());
                self.ids.lock().unwrap().extend(ids);
                if fails { Err(unknown()) } else { Ok(()) }
            })
        }
    }

    fn unknown() -> NotAppended {
        NotAppended {
            reason: "timed out".to_owned(),
            is_refusal: false,
        }
    }

    fn entry(id: &str, size: usize) -> StreamEntry {
        StreamEntry {
            id: id.to_owned(),
            kind: "event",
            namespace: "/".to_owned(),
            event: Some("say".to_owned()),
            trace: None,
            body: vec![b'x'; size].into(),
        }
    }

    #[tokio::test]
    async fn what_was_taken_is_written_in_its_order_after_failures() {
        let stream = Arc::<EventStream>::default();
        let kept = Kept::default();
        kept.failures.store(3, Ordering::Relaxed);
        let (done, is_done) = oneshot::channel();
        stream.append(entry("a", 1), None).unwrap();
        stream.append(entry("b", 1), Some(done)).unwrap();
        let writer = tokio::spawn(Arc::clone(&stream).write(kept.clone()));
        is_done.await.unwrap();
        stream.append(entry("c", 1), None).unwrap();
        assert_eq!(stream.flushed(Duration::from_secs(60)).await, 0);
        assert_eq!(*kept.ids.lock().unwrap(), ["a", "a", "a", "a", "b", "c"]);
        assert_eq!((stream.written.value(), stream.retries.value()), (3, 3));
        assert_eq!(stream.waiting_bytes(), 0);
        writer.abort();
    }

    #[tokio::test]
    async fn what_does_not_fit_is_refused_until_something_was_written() {
        let stream = Arc::<EventStream>::default();
        let size = MAX_BYTES / 8;
        for _ in 0..8 {
            stream.append(entry("a", size), None).unwrap();
        }
        assert_eq!(stream.append(entry("b", 1), None), Err(Full));
        assert!(!stream.has_room());
        assert_eq!(stream.refused.value(), 2);
        let writer = tokio::spawn(Arc::clone(&stream).write(Kept::default()));
        assert_eq!(stream.flushed(Duration::from_secs(60)).await, 0);
        assert!(stream.has_room());
        stream.append(entry("c", 1), None).unwrap();
        writer.abort();
    }

    #[tokio::test]
    async fn a_batch_that_is_too_large_is_written_in_smaller_ones() {
        /// Takes no more than two at a time.
        struct Slow(Kept);

        impl Append for Slow {
            fn append<'a>(&'a self, entries: &'a [StreamEntry]) -> Appending<'a> {
                if entries.len() > 2 {
                    Box::pin(async { Err(unknown()) })
                } else {
                    self.0.append(entries)
                }
            }
        }

        let stream = Arc::<EventStream>::default();
        let ids: Vec<_> = (0..11).map(|number| number.to_string()).collect();
        for id in &ids {
            stream.append(entry(id, 1), None).unwrap();
        }
        let kept = Kept::default();
        let writer = tokio::spawn(Arc::clone(&stream).write(Slow(kept.clone())));
        while stream.waiting() > 0 {
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        assert_eq!(*kept.ids.lock().unwrap(), ids);
        assert_eq!((stream.written.value(), stream.retries.value()), (11, 2));
        writer.abort();
    }

    #[tokio::test]
    async fn what_redis_refuses_is_tried_again_as_it_was_and_told() {
        /// Says that it is busy as long as it is.
        #[derive(Clone)]
        struct Busy(Kept, Arc<Mutex<Vec<usize>>>);

        impl Append for Busy {
            fn append<'a>(&'a self, entries: &'a [StreamEntry]) -> Appending<'a> {
                let mut tried = self.1.lock().unwrap();
                tried.push(entries.len());
                if tried.len() < 3 {
                    let reason = "BUSY a script".to_owned();
                    let is_refusal = true;
                    Box::pin(async move { Err(NotAppended { reason, is_refusal }) })
                } else {
                    self.0.append(entries)
                }
            }
        }

        let stream = Arc::<EventStream>::default();
        for number in 0..8 {
            stream.append(entry(&number.to_string(), 1), None).unwrap();
        }
        let busy = Busy(Kept::default(), Arc::default());
        assert_eq!(stream.trouble(), None);
        let writer = tokio::spawn(Arc::clone(&stream).write(busy.clone()));
        while stream.trouble().is_none() {
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        assert_eq!(stream.trouble().as_deref(), Some("BUSY a script"));
        assert_eq!(stream.flushed(Duration::from_secs(60)).await, 0);
        assert_eq!(stream.trouble(), None);
        assert_eq!(*busy.1.lock().unwrap(), [8, 8, 8]);
        assert_eq!(busy.0.ids.lock().unwrap().len(), 8);
        writer.abort();
    }

    #[test]
    fn an_attempt_has_a_size() {
        let stream = EventStream::default();
        for _ in 0..300 {
            stream.append(entry("a", 1), None).unwrap();
        }
        assert_eq!(stream.take().0.len(), 256);
        assert_eq!(stream.take().0.len(), 44);
        for _ in 0..3 {
            stream.append(entry("a", 600_000), None).unwrap();
        }
        assert_eq!(stream.take().0.len(), 1);
    }

    #[test]
    fn fields_stand_in_their_order() {
        let entry = entry("i", 2);
        let names: Vec<_> = entry.fields().into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["id", "type", "namespace", "event", "body"]);
    }
}
