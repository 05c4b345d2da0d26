//! What a shard does at the end of its turn, in portions.
//!
//! ```text
//!   an answer, a ping, an event for few --> writable --+
//!                                                      +--> written, some of each list in a turn
//!   an event for many ---------------------> crowd ----+
//!                                              ^
//!   an event while events gather -> gathered --+ the round ends
//!                                              |
//!   .. that is for many -------> run ----------+
//! ```
//!
//! So clients that get an event together with 100,000 others wait for each other, and the rest of the shard does not
//! wait for them.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::pace::Written;
use super::{Shard, Walker};
use crate::count::SlowCause;
use crate::engine::session::Session;
use crate::net::spell::Portion;

/// Most sessions of each list that are written, answered or closed in one turn.
const MAX_SETTLED: usize = 128;

/// Recipients of a broadcast on one shard that do not wait for the others.
pub(crate) const FEW: u64 = 64;

/// Sockets that a turn's broadcasts reach before no more mail is handled in it.
const MAX_REACHED: u64 = 8192;

/// Sessions of a list whose memory is kept for the next turn.
const MAX_KEPT: usize = 16 * 1024;

/// From so many sessions on it is measured how long the thread ran for them, so that other threads on its core do not
/// count. To ask the kernel for that costs a tenth of a write.
const MANY: usize = 32;

/// What is done in one turn.
struct Portions {
    writable: Portion,
    crowd: Portion,
    others: Portion,
    /// Writes of the turn.
    writes: u64,
}

impl Shard {
    /// Does what could not be done in the midst of something else, as much of it as has its turn; whether that was all.
    pub(super) fn settle(&self) -> bool {
        let mut portions = Portions {
            writable: Portion::of(MAX_SETTLED),
            crowd: Portion::of(MAX_SETTLED),
            others: Portion::of(MAX_SETTLED),
            writes: 0,
        };
        while self.close_doomed(&mut portions)
            | self.flush_polls(&mut portions)
            | self.write(&mut portions)
        {}
        if portions.writes > 0 {
            self.counters().turn_writes.observe(portions.writes);
        }
        let reached = self.reached.take();
        if reached > 0 {
            self.counters().turn_recipients.observe(reached);
        }
        self.keep_memory();
        self.is_settled()
    }

    fn is_settled(&self) -> bool {
        let waits = self.pace.borrow().until().is_some();
        self.doomed.borrow().is_empty()
            && self.flushable.borrow().is_empty()
            && self.writable.borrow().is_empty()
            && self.crowd.borrow().is_empty()
            && (waits || self.gathered.borrow().is_empty())
    }

    /// Closes sessions that fell behind; whether there were any.
    fn close_doomed(&self, portions: &mut Portions) -> bool {
        self.each(&self.doomed, &mut portions.others, |session| {
            session.close_slow(SlowCause::Behind);
        })
    }

    fn flush_polls(&self, portions: &mut Portions) -> bool {
        self.each(&self.flushable, &mut portions.others, |session| {
            session.flush_poll();
        })
    }

    /// Does something for a portion of a list; whether there was anything.
    fn each(
        &self,
        list: &RefCell<VecDeque<Rc<Session>>>,
        portion: &mut Portion,
        mut act: impl FnMut(&Rc<Session>),
    ) -> bool {
        let mut some = false;
        while portion.allows() {
            let Some(session) = list.borrow_mut().pop_front() else {
                break;
            };
            act(&session);
            portion.take();
            some = true;
        }
        let mut list = list.borrow_mut();
        if list.is_empty() && list.capacity() > MAX_KEPT {
            *list = VecDeque::new();
        }
        some
    }

    /// Writes for sessions whose tasks rest, and what has gathered if it is time. Returns whether there was anything.
    fn write(&self, portions: &mut Portions) -> bool {
        let listed = self.writable.borrow().len();
        let gathered = self.gathered.borrow().len();
        let waits = self.walks_wait();
        if listed + gathered == 0 && self.crowd.borrow().is_empty() && !waits {
            return false;
        }
        let wall = Instant::now();
        let some = gathered > 0 || waits;
        let begins = self.pace.borrow_mut().begins_round(wall, some);
        if begins {
            self.begin_round(listed);
        }
        let round = self.pace.borrow().round();
        let is_measured = begins || self.pace.borrow().is_writing();
        let clock = is_measured.then(|| Clock::begin(wall, listed + self.crowd.borrow().len()));
        let mut writes = 0;
        let mut wrote = self.each(&self.writable, &mut portions.writable, |session| {
            session.write_resting(round);
            writes += 1;
        });
        let left = self.left_of_round.get().saturating_sub(writes);
        self.left_of_round.set(left);
        let mut written = Written::default();
        wrote |= self.each(&self.crowd, &mut portions.crowd, |session| {
            writes += 1;
            if let Some(packets) = session.write_held(round) {
                written.gathered += 1;
                written.packets += packets;
            }
        });
        portions.writes += writes as u64;
        if let Some(clock) = clock {
            let now = Instant::now();
            let is_done = left == 0 && self.crowd.borrow().is_empty();
            let now = (now, is_done.then_some(now));
            let mut pace = self.pace.borrow_mut();
            pace.handle_written(clock.took(now.0), written, now.1);
        }
        wrote
    }

    /// All that waits now is to be written in the round; `listed` of it is in the list of what is to be written soon.
    fn begin_round(&self, listed: usize) {
        self.left_of_round.set(listed);
        let mut gathered = self.gathered.borrow_mut();
        self.crowd.borrow_mut().extend(gathered.drain(..));
        gathered.shrink_to(MAX_KEPT);
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
        match self.gathered.borrow().is_empty() && !self.walks_wait() {
            true => None,
            false => self.pace.borrow().until(),
        }
    }

    /// The round in which is written what is queued now.
    pub(crate) fn next_written(&self) -> u16 {
        self.pace.borrow().next_written(Instant::now())
    }

    /// Whether the end of a round is still awaited.
    pub(crate) fn is_awaited(&self, round: Option<u16>) -> bool {
        let pace = self.pace.borrow();
        round.is_some() && pace.gathering() == round && !pace.is_due(Instant::now())
    }

    /// Whether broadcasts wait for the end of the round that is on.
    fn walks_wait(&self) -> bool {
        let round = self.walks_wait.get();
        self.is_walking() && round.is_some() && round == self.gathering()
    }

    /// The first of the broadcasts that are on their way waits for the end of this round, if it waits.
    pub(crate) fn set_walks_wait(&self, round: Option<u16>) {
        self.walks_wait.set(round);
    }

    /// Whether broadcasts that are on their way have their turn.
    pub(crate) fn has_to_walk(&self) -> bool {
        self.is_walking() && !self.is_awaited(self.walks_wait.get())
    }

    /// Closes a session soon: not now, since the caller walks the rooms.
    pub(crate) fn doom(&self, session: &Rc<Session>) {
        self.doomed.borrow_mut().push_back(Rc::clone(session));
        self.wake();
    }

    /// Something waits for a client that has to come for it: the end of a turn looks at the node's
    /// memory.
    pub(crate) fn look_after_memory(&self) {
        self.wake();
    }

    /// Answers a parked poll soon, with all that comes until then.
    pub(crate) fn flush_later(&self, session: &Rc<Session>) {
        self.flushable.borrow_mut().push_back(Rc::clone(session));
        self.wake();
    }

    /// Has what was queued for a WebSocket whose task rests be written soon, with all that comes until
    /// then.
    pub(crate) fn write_later(&self, session: &Rc<Session>) {
        self.writable.borrow_mut().push_back(Rc::clone(session));
        self.wake();
    }

    /// Has it be written after others that it waits with.
    pub(crate) fn write_with_others(&self, session: &Rc<Session>) {
        self.crowd.borrow_mut().push_back(Rc::clone(session));
        self.wake();
    }

    /// Has it be written when the round ends.
    pub(crate) fn let_gather(&self, session: &Rc<Session>) {
        self.gathered.borrow_mut().push(Rc::clone(session));
        self.wake();
    }

    /// A broadcast had so many recipients before the next one.
    pub(crate) fn reach(&self, before: u64) {
        self.in_crowd.set(before >= FEW);
    }

    /// What is queued next is for many.
    pub(crate) fn reach_crowd(&self) {
        self.in_crowd.set(true);
    }

    /// A broadcast has had all its recipients, or had some of them.
    pub(crate) fn end_reaching(&self, recipients: u64) {
        self.in_crowd.set(false);
        self.reached.set(self.reached.get() + recipients);
    }

    /// How many broadcasts and changes came to since the last turn.
    pub(crate) fn reached(&self) -> usize {
        self.reached.get() as usize
    }

    /// Whether broadcasts reached so many in this turn that others get theirs.
    pub(super) fn has_reached_many(&self) -> bool {
        self.reached.get() >= MAX_REACHED
    }

    /// Whether broadcasts are on their way to some of this shard, so that these catch up before something else is done
    /// to them.
    pub(crate) fn is_walking(&self) -> bool {
        self.walker.get().is_some()
    }

    /// Says what takes them further, if anything does, and returns what did before.
    pub(crate) fn set_walker(&self, walker: Option<Walker>) -> Option<Walker> {
        if walker.is_some() {
            self.wake();
        }
        self.walker.replace(walker)
    }

    /// Takes broadcasts further that are on their way.
    pub(super) fn walk(self: &Rc<Self>) {
        if self.has_to_walk()
            && let Some(walker) = self.walker.get()
        {
            walker(self);
        }
    }

    /// Whether what is queued now is for many.
    pub(crate) fn is_in_crowd(&self) -> bool {
        self.in_crowd.get()
    }
}

/// How long the thread works.
struct Clock {
    wall: Instant,
    thread: Option<Duration>,
}

impl Clock {
    /// To measure the work for so many sessions, which begins at `wall`.
    fn begin(wall: Instant, sessions: usize) -> Self {
        let thread = (sessions >= MANY).then(thread_time);
        Self { wall, thread }
    }

    fn took(&self, now: Instant) -> Duration {
        match self.thread {
            Some(began) => thread_time().saturating_sub(began),
            None => now.saturating_duration_since(self.wall),
        }
    }
}

/// For how long the calling thread has run.
fn thread_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::try_from(time).unwrap_or_default()
}
