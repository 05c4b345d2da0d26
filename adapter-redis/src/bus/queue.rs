use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use adapter::RequestId;
use bytes::Bytes;
use tokio::sync::Notify;

use crate::link::route::{LaneId, Route};

/// Messages that await being sent, in order, bounded in bytes.
#[derive(Debug)]
pub(crate) struct Queue {
    route: Route,
    lanes: BTreeMap<LaneId, Lane>,
    /// Messages whose slot nobody serves now.
    unplaced: VecDeque<Outbound>,
    bytes: usize,
    limit: usize,
    /// Nothing comes out, since messages are about to change lanes.
    frozen: bool,
}

/// One publishing command.
#[derive(Debug, Clone)]
pub(crate) struct Outbound {
    /// Where to.
    pub(crate) channel: Arc<str>,
    /// The whole command.
    pub(crate) command: Bytes,
    /// What it asks, if it is a request.
    pub(crate) request: Option<RequestId>,
    /// When it was published.
    pub(crate) at: Instant,
}

#[derive(Debug, Default)]
struct Lane {
    messages: VecDeque<Outbound>,
    wake: Arc<Notify>,
}

/// What a message takes beside its command, about.
const OVERHEAD: usize = 128;

impl Outbound {
    fn size(&self) -> usize {
        self.command.len() + OVERHEAD
    }
}

/// The queue is full.
#[derive(Debug)]
pub(crate) struct QueueFull;

impl Queue {
    pub(crate) fn new(route: Route, limit: usize) -> Self {
        Self {
            route,
            lanes: BTreeMap::new(),
            unplaced: VecDeque::new(),
            bytes: 0,
            limit,
            frozen: false,
        }
    }

    /// What tells the publisher of `lane` that there is something to do.
    pub(crate) fn add_lane(&mut self, lane: LaneId) -> Arc<Notify> {
        self.lanes.entry(lane).or_default().wake.clone()
    }

    /// Messages waiting.
    pub(crate) fn len(&self) -> usize {
        let lanes = self.lanes.values();
        lanes.map(|lane| lane.messages.len()).sum::<usize>() + self.unplaced.len()
    }

    /// Their bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn push(&mut self, message: Outbound) -> Result<(), QueueFull> {
        if self.bytes + message.size() > self.limit {
            return Err(QueueFull);
        }
        self.bytes += message.size();
        self.place(message);
        Ok(())
    }

    /// The next message for `lane`.
    pub(crate) fn pop(&mut self, lane: LaneId) -> Option<Outbound> {
        if self.frozen {
            return None;
        }
        let message = self.lanes.get_mut(&lane)?.messages.pop_front()?;
        self.bytes -= message.size();
        Some(message)
    }

    /// Takes out `request`, which goes to `channel`; whether it was still there. It is searched from
    /// the end, since nobody waits long for an answer.
    pub(crate) fn withdraw(&mut self, channel: &str, request: &RequestId) -> bool {
        let lane = self.route.lane(channel);
        let messages = match lane.and_then(|lane| self.lanes.get_mut(&lane)) {
            Some(lane) => &mut lane.messages,
            None => &mut self.unplaced,
        };
        let mut waiting = messages.iter();
        let index = waiting.rposition(|message| message.request.as_ref() == Some(request));
        let withdrawn = index.and_then(|index| messages.remove(index));
        if let Some(message) = &withdrawn {
            self.bytes -= message.size();
        }
        withdrawn.is_some()
    }

    /// Puts messages back that were not sent, before all others, wherever they belong by now. They
    /// may exceed the limit: they were accepted once.
    pub(crate) fn put_back(&mut self, messages: impl DoubleEndedIterator<Item = Outbound>) {
        for message in messages.rev() {
            self.bytes += message.size();
            let lane = self.route.lane(&message.channel);
            match lane.and_then(|lane| self.lanes.get_mut(&lane)) {
                Some(lane) => {
                    lane.messages.push_front(message);
                    lane.wake.notify_one();
                }
                None => self.unplaced.push_front(message),
            }
        }
    }

    /// Lets nothing out until [`reroute`](Self::reroute).
    pub(crate) fn freeze(&mut self) {
        self.frozen = true;
    }

    /// Spreads what waits over other lanes. Messages of one channel stay in order, if none of them
    /// is under way.
    pub(crate) fn reroute(&mut self, route: Route, lanes: &[LaneId]) {
        self.frozen = false;
        self.route = route;
        let old = std::mem::take(&mut self.lanes);
        let mut waiting = std::mem::take(&mut self.unplaced);
        for lane in lanes {
            self.add_lane(*lane);
        }
        for (id, lane) in old {
            waiting.extend(lane.messages);
            if let Some(kept) = self.lanes.get_mut(&id) {
                kept.wake = lane.wake;
            }
        }
        waiting.into_iter().for_each(|message| self.place(message));
    }

    fn place(&mut self, message: Outbound) {
        let lane = self.route.lane(&message.channel);
        match lane.and_then(|lane| self.lanes.get_mut(&lane)) {
            Some(lane) => {
                lane.messages.push_back(message);
                lane.wake.notify_one();
            }
            None => self.unplaced.push_back(message),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::route::SLOTS;

    const A: LaneId = LaneId(1);
    const B: LaneId = LaneId(2);
    /// Channels in the lower and the upper half of the slots.
    const X: &str = "{user1000}";
    const Y: &str = "foo";

    #[test]
    fn messages_come_out_in_order() {
        let mut queue = single();
        queue.push(message("c", 1)).unwrap();
        queue.push(message("d", 2)).unwrap();
        let first = queue.pop(A).unwrap();
        queue.push(message("c", 3)).unwrap();
        queue.put_back([first].into_iter());
        assert_eq!(drain(&mut queue, A), [1, 2, 3]);
        assert_eq!((queue.len(), queue.bytes()), (0, 0));
    }

    #[test]
    fn what_exceeds_the_limit_is_refused() {
        let mut queue = single();
        for number in 0..100 {
            queue.push(message("c", number)).unwrap();
        }
        assert!(queue.push(message("c", 100)).is_err());
        queue.pop(A).unwrap();
        assert!(queue.push(message("c", 101)).is_ok());
        assert_eq!(queue.len(), 100);
    }

    #[test]
    fn a_request_is_withdrawn() {
        let mut queue = single();
        let asked = RequestId::new("asked");
        let request = Outbound {
            request: Some(asked.clone()),
            ..message("c", 2)
        };
        queue.push(message("c", 1)).unwrap();
        queue.push(request).unwrap();
        queue.push(message("c", 3)).unwrap();
        assert!(!queue.withdraw("c", &RequestId::new("another")));
        assert!(queue.withdraw("c", &asked));
        assert!(!queue.withdraw("c", &asked));
        assert_eq!(drain(&mut queue, A), [1, 3]);
        assert_eq!((queue.len(), queue.bytes()), (0, 0));
    }

    #[test]
    fn channels_keep_their_order_when_their_lane_changes() {
        let mut queue = Queue::new(slots(|_| None), 1000);
        queue.push(message(X, 1)).unwrap();
        queue.push(message(Y, 2)).unwrap();
        queue.push(message(X, 3)).unwrap();
        assert_eq!(drain(&mut queue, A), [0; 0]);
        let split = slots(|slot| Some(if slot < SLOTS / 2 { A } else { B }));
        let (x, y) = (split.lane(X), split.lane(Y));
        assert_ne!(x, y);
        queue.reroute(split, &[A, B]);
        assert_eq!(drain(&mut queue, y.unwrap()), [2]);
        let mut first = vec![queue.pop(x.unwrap()).unwrap()];
        queue.reroute(slots(|_| Some(B)), &[B]);
        queue.put_back(first.drain(..));
        assert_eq!(drain(&mut queue, B), [1, 3]);
    }

    fn single() -> Queue {
        let mut queue = Queue::new(Route::Single(A), 100 * (OVERHEAD + 1));
        queue.add_lane(A);
        queue
    }

    fn slots(lane: impl Fn(usize) -> Option<LaneId>) -> Route {
        Route::Slots((0..SLOTS).map(lane).collect())
    }

    fn message(channel: &str, number: u8) -> Outbound {
        Outbound {
            channel: channel.into(),
            command: Bytes::from(vec![number]),
            request: None,
            at: Instant::now(),
        }
    }

    fn drain(queue: &mut Queue, lane: LaneId) -> Vec<u8> {
        std::iter::from_fn(|| queue.pop(lane))
            .map(|message| message.command[0])
            .collect()
    }
}
