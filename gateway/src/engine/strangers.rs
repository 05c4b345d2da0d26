//! Connections that belong to no session: nobody knows yet, or ever, what they are for.
//!
//! One that asks for something is served. While it is silent it may have to make room: beyond the
//! bound, the one that was silent for longest is closed. So a peer that opens connections and says
//! nothing takes places from others like it, and not from clients.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use tokio::sync::Notify;

use crate::engine::shard::Shard;

/// Fewest silent strangers that a shard has room for.
const FEWEST: usize = 8;

/// The silent strangers of a shard, the one that was silent for longest first.
pub(crate) struct Strangers {
    silent: RefCell<BTreeMap<u64, Rc<Notify>>>,
    last: Cell<u64>,
    most: Cell<usize>,
}

/// One connection, while it speaks HTTP.
pub(crate) struct Stranger {
    shard: Rc<Shard>,
    state: Cell<State>,
    sent_away: Rc<Notify>,
}

/// ```text
/// New --nothing came with it--> Silent --a request--> Busy --no session's--> Silent
///  +-------------a request----------------------------^ +----a session's---> Known
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    New,
    Silent(u64),
    Busy,
    Known,
}

impl Strangers {
    /// With room for `most` of them, if that is not very few.
    pub(crate) fn new(most: usize) -> Self {
        Self {
            silent: RefCell::default(),
            last: Cell::new(0),
            most: Cell::new(most.max(FEWEST)),
        }
    }

    /// Has room for so many from the next one on.
    pub(crate) fn set_most(&self, most: usize) {
        self.most.set(most.max(FEWEST));
    }

    /// Sends away those that were silent for longest, so many at most.
    pub(crate) fn send_away(&self, count: usize) {
        for _ in 0..count {
            let Some((_, oldest)) = self.silent.borrow_mut().pop_first() else {
                return;
            };
            oldest.notify_one();
        }
    }

    fn add(&self, stranger: &Rc<Notify>) -> u64 {
        let number = self.last.get() + 1;
        self.last.set(number);
        self.silent.borrow_mut().insert(number, Rc::clone(stranger));
        let excess = self.silent.borrow().len().saturating_sub(self.most.get());
        self.send_away(excess);
        number
    }
}

impl Stranger {
    pub(crate) fn new(shard: &Rc<Shard>) -> Self {
        Self {
            state: Cell::new(State::New),
            shard: Rc::clone(shard),
            sent_away: Rc::default(),
        }
    }

    /// Waits until it has to make room. To be polled when what came with the connection was read.
    pub(crate) async fn sent_away(&self) {
        if self.state.get() == State::New {
            self.falls_silent();
        }
        self.sent_away.notified().await;
    }

    fn falls_silent(&self) {
        let number = self.shard.strangers().add(&self.sent_away);
        self.state.set(State::Silent(number));
    }

    /// It asks for something.
    pub(crate) fn asks(&self) {
        match self.state.get() {
            State::Silent(number) => {
                self.shard.strangers().silent.borrow_mut().remove(&number);
            }
            State::New => {}
            State::Busy | State::Known => return,
        }
        self.state.set(State::Busy);
    }

    /// What it asked for is answered; whether that was a session's.
    pub(crate) fn was_answered(&self, of_session: bool) {
        match self.state.get() {
            State::Busy if of_session => self.state.set(State::Known),
            State::Busy => self.falls_silent(),
            State::New | State::Silent(_) | State::Known => {}
        }
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        self.asks();
    }
}
