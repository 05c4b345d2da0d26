//! What a shard does at the end of its turn.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Instant;

use super::Shard;
use super::pace::Written;
use crate::count::SlowCause;
use crate::engine::session::Session;

/// Sessions of a list whose memory is kept for the next turn.
const MAX_KEPT: usize = 16 * 1024;

impl Shard {
    /// Does what could not be done in the midst of something else, until nothing of it is left.
    pub(super) fn settle(&self) {
        loop {
            let doomed = self.doomed.take();
            let flushable = self.flushable.take();
            if doomed.is_empty() && flushable.is_empty() && !self.write() {
                break;
            }
            for session in doomed {
                session.close_slow(SlowCause::Behind);
            }
            for session in flushable {
                session.flush_poll();
            }
        }
        self.keep_memory();
    }

    /// Writes for sessions whose tasks rest, and what has gathered if it is time. Returns whether there was anything.
    fn write(&self) -> bool {
        if self.writable.borrow().is_empty() && self.gathered.borrow().is_empty() {
            return false;
        }
        let began = Instant::now();
        let some = !self.gathered.borrow().is_empty();
        let begins = self.pace.borrow_mut().begins_round(began, some);
        let round = self.pace.borrow().round();
        let mut listed = self.writable.take();
        let wrote = begins || !listed.is_empty();
        for session in listed.drain(..) {
            session.write_resting(round);
        }
        keep(&self.writable, listed);
        if begins {
            let written = self.write_gathered(round);
            self.pace
                .borrow_mut()
                .handle_round(began, Instant::now(), written);
        }
        wrote
    }

    fn write_gathered(&self, round: u16) -> Written {
        let mut gathered = self.gathered.take();
        let mut written = Written::default();
        for session in gathered.drain(..) {
            if let Some(packets) = session.write_gathered(round) {
                written.gathered += 1;
                written.packets += packets;
            }
        }
        keep(&self.gathered, gathered);
        written
    }

    /// The round in which events gather now.
    pub(crate) fn gathering(&self) -> Option<u16> {
        self.pace.borrow().gathering()
    }

    /// A broadcast came at `now` and was queued for clients.
    pub(crate) fn note_broadcast(&self, now: Instant) {
        self.pace.borrow_mut().handle_broadcast(now);
    }

    /// When what has gathered is to be written.
    pub(super) fn round_ends(&self) -> Option<Instant> {
        match self.gathered.borrow().is_empty() {
            true => None,
            false => self.pace.borrow().until(),
        }
    }

    /// Has what was queued for a WebSocket whose task rests be written soon, with all that comes until
    /// then.
    pub(crate) fn write_later(&self, session: &Rc<Session>) {
        self.writable.borrow_mut().push(Rc::clone(session));
        self.wake();
    }

    /// Has it be written when the round ends.
    pub(crate) fn let_gather(&self, session: &Rc<Session>) {
        self.gathered.borrow_mut().push(Rc::clone(session));
        self.wake();
    }
}

/// Uses the memory of a list again, unless it is much.
fn keep(place: &RefCell<Vec<Rc<Session>>>, list: Vec<Rc<Session>>) {
    let mut place = place.borrow_mut();
    if place.is_empty() && list.capacity() <= MAX_KEPT {
        *place = list;
    }
}
