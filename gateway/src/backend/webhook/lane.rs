//! What waits for the backend, of one socket, in its order.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::sync::Arc;

use adapter::TraceContext;
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;
use tokio::sync::Notify;

use super::Data;
use super::call::CallKind;
use super::client::Backend;
use super::reply::Action;
use crate::socketio::event::Ack;

/// Bytes that may wait before the session is read no further.
const MAX_BYTES: usize = 128 * 1024;

/// What one waiting event takes beside its text.
const OVERHEAD: usize = 256;

/// Most bytes of a batch.
const MAX_BATCH_BYTES: usize = 256 * 1024;

/// A socket's lane, kept with it. Its JSON form is the backend's data.
#[derive(Default)]
pub(super) struct Lane {
    data: RefCell<Data>,
    waiting: RefCell<VecDeque<Queued>>,
    bytes: Cell<usize>,
    /// Somebody works on it.
    busy: Cell<bool>,
    roomy: Notify,
    /// What is to be done once the client is connected, and what that is a part of.
    postponed: RefCell<Vec<(Action, Option<TraceContext>)>>,
    /// The rooms that a socket was in when it went.
    last_rooms: RefCell<Option<Vec<String>>>,
}

/// Something that waits.
pub(super) enum Queued {
    Event {
        backend: Arc<Backend>,
        id: String,
        name: Box<str>,
        args: Box<RawValue>,
        ack: Option<Ack>,
        /// What it is a part of.
        trace: Option<TraceContext>,
    },
    Disconnect {
        backend: Arc<Backend>,
        id: String,
        reason: &'static str,
    },
}

/// What shares a request.
pub(super) struct Taken {
    pub(super) backend: Arc<Backend>,
    pub(super) queued: Vec<Queued>,
}

impl Taken {
    pub(super) fn kind(&self) -> CallKind {
        match self.queued.as_slice() {
            [Queued::Disconnect { .. }] => CallKind::Disconnect,
            [_] => CallKind::Event,
            _ => CallKind::Batch,
        }
    }
}

impl Taken {
    /// What a request for all of it is a part of: the first, and what else it has to do with.
    pub(super) fn traces(&self) -> (Option<TraceContext>, impl Iterator<Item = TraceContext>) {
        let mut traces = self.queued.iter().map(Queued::trace);
        let first = traces.next().flatten();
        (first, traces.flatten().filter(|it| it.is_sampled))
    }
}

impl Queued {
    fn backend(&self) -> &Arc<Backend> {
        match self {
            Self::Event { backend, .. } | Self::Disconnect { backend, .. } => backend,
        }
    }

    fn size(&self) -> usize {
        match self {
            Self::Event { name, args, .. } => OVERHEAD + name.len() + args.get().len(),
            Self::Disconnect { .. } => OVERHEAD,
        }
    }

    fn trace(&self) -> Option<TraceContext> {
        match self {
            Self::Event { trace, .. } => *trace,
            Self::Disconnect { .. } => None,
        }
    }

    /// The acknowledgement that a client waits for.
    pub(super) fn ack(self) -> Option<Ack> {
        match self {
            Self::Event { ack, .. } => ack,
            Self::Disconnect { .. } => None,
        }
    }
}

impl Lane {
    /// Adds something; `true` if nobody works on the lane yet.
    pub(super) fn push(&self, queued: Queued) -> bool {
        self.bytes.set(self.bytes.get() + queued.size());
        self.waiting.borrow_mut().push_back(queued);
        !self.busy.replace(true)
    }

    /// What comes next: one, or up to `most` events for the same backend. With `None` nobody works
    /// on the lane any more.
    pub(super) fn take(&self, most: usize) -> Option<Taken> {
        let mut waiting = self.waiting.borrow_mut();
        let Some(first) = waiting.pop_front() else {
            self.busy.set(false);
            return None;
        };
        let backend = Arc::clone(first.backend());
        let mut bytes = first.size();
        let mut queued = vec![first];
        if matches!(queued[0], Queued::Event { .. }) {
            while queued.len() < most
                && waiting.front().is_some_and(|next| {
                    matches!(next, Queued::Event { .. })
                        && Arc::ptr_eq(next.backend(), &backend)
                        && bytes + next.size() <= MAX_BATCH_BYTES
                })
                && let Some(next) = waiting.pop_front()
            {
                bytes += next.size();
                queued.push(next);
            }
        }
        self.bytes.set(self.bytes.get() - bytes);
        if !self.is_full() {
            self.roomy.notify_waiters();
        }
        Some(Taken { backend, queued })
    }

    /// Whether no more should be taken from the client.
    pub(super) fn is_full(&self) -> bool {
        self.bytes.get() > MAX_BYTES
    }

    pub(super) async fn until_roomy(&self) {
        while self.is_full() {
            self.roomy.notified().await;
        }
    }

    pub(super) fn data(&self) -> Data {
        self.data.borrow().clone()
    }

    /// Keeps other data; `None` leaves what there is.
    pub(super) fn set_data(&self, data: Data) {
        if data.is_some() {
            *self.data.borrow_mut() = data;
        }
    }

    pub(super) fn postpone(&self, action: Action, trace: Option<TraceContext>) {
        self.postponed.borrow_mut().push((action, trace));
    }

    /// What was postponed, all of it by one request.
    pub(super) fn postponed(&self) -> (Vec<Action>, Option<TraceContext>) {
        let postponed = self.postponed.take();
        let trace = postponed.first().and_then(|(_, trace)| *trace);
        (
            postponed.into_iter().map(|(action, _)| action).collect(),
            trace,
        )
    }

    pub(super) fn set_last_rooms(&self, rooms: Vec<String>) {
        *self.last_rooms.borrow_mut() = Some(rooms);
    }

    pub(super) fn last_rooms(&self) -> Option<Vec<String>> {
        self.last_rooms.borrow().clone()
    }
}

impl Serialize for Lane {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.data.borrow().serialize(serializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn backend() -> Arc<Backend> {
        let text = "backend = { url = \"http://b\", secret = \"0123456789abcdef\" }";
        let webhook = crate::Config::from_toml(text).unwrap().backend.webhook;
        Arc::new(Backend::new(webhook.unwrap(), Arc::default()))
    }

    fn event(backend: &Arc<Backend>, name: &str, size: usize) -> Queued {
        let text = format!("[\"{}\"]", "x".repeat(size));
        Queued::Event {
            backend: Arc::clone(backend),
            id: String::new(),
            name: name.into(),
            args: RawValue::from_string(text).unwrap(),
            ack: None,
            trace: None,
        }
    }

    fn names(taken: Option<Taken>) -> Vec<String> {
        let queued = taken.map(|taken| taken.queued).unwrap_or_default();
        let name = |queued: Queued| match queued {
            Queued::Event { name, .. } => name.into(),
            Queued::Disconnect { .. } => "gone".to_owned(),
        };
        queued.into_iter().map(name).collect()
    }

    #[test]
    fn events_of_one_backend_share_a_request_in_their_order() {
        let lane = Lane::default();
        let (one, other) = (&backend(), &backend());
        assert!(lane.push(event(one, "a", 1)));
        for queued in [event(one, "b", 1), event(other, "c", 1), event(one, "d", 1)] {
            assert!(!lane.push(queued));
        }
        lane.push(Queued::Disconnect {
            backend: Arc::clone(one),
            id: String::new(),
            reason: "",
        });
        assert_eq!(names(lane.take(10)), ["a", "b"]);
        assert_eq!(names(lane.take(10)), ["c"]);
        assert_eq!(names(lane.take(10)), ["d"]);
        assert_eq!(names(lane.take(10)), ["gone"]);
        assert!(lane.take(10).is_none());
        assert_eq!(lane.bytes.get(), 0);
        assert!(lane.push(event(one, "e", 1)));
    }

    #[test]
    fn a_batch_has_a_size() {
        let lane = Lane::default();
        for name in ["a", "b", "c"] {
            lane.push(event(&backend(), name, MAX_BATCH_BYTES / 2));
        }
        assert!(lane.is_full());
        assert_eq!(names(lane.take(10)), ["a"]);
        assert_eq!(names(lane.take(1)), ["b"]);
        assert_eq!(names(lane.take(10)), ["c"]);
        assert!(!lane.is_full());
    }
}
