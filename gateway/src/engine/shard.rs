//! One thread of a node: its sessions, its namespaces, and what they wait for.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::num::NonZeroU32;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Waker, ready};
use std::time::{Duration, Instant};

use protocol::engineio::{CloseReason, Timing, Transport};
use protocol::{Dialect, Encoded};
use rustc_hash::FxBuildHasher;
use slab::Slab;
use tokio::time::Sleep;

use crate::config::Engine;
use crate::count::ShardCounters;
use crate::engine::handshake::Handshake;
use crate::engine::lateness::Lateness;
use crate::engine::mail::{Letterbox, Mail};
use crate::engine::node::Node;
use crate::engine::outbox::Parcel;
use crate::engine::session::{Session, Slot};
use crate::engine::strangers::Strangers;
use crate::engine::whereabouts::Whereabouts;
use crate::net::ids::{MAX_SHARDS, Sid};
use crate::net::scratch::Scratch;
use crate::net::spell::{Spell, after_the_others};
use crate::otel::{self, Otel};
use crate::peers::{Links, Means};
use crate::show::ShardShow;
use crate::top::ShardTop;
use crate::trace::ShardTraces;
use pace::Pace;
use settings::Settings;

pub(crate) use settling::FEW;

mod pace;
mod reloading;
mod settings;
mod settling;
mod shedding;

/// Most mail that is handled before sessions get their turn.
const MAIL_BATCH: usize = 256;

thread_local! {
    static CURRENT: RefCell<Option<Rc<Shard>>> = const { RefCell::new(None) };
}

/// The shard of the calling thread, if it is one of `node`.
pub(crate) fn current(node: &Node) -> Option<Rc<Shard>> {
    CURRENT.with_borrow(|shard| {
        shard
            .as_ref()
            .filter(|shard| std::ptr::eq(&*shard.node, node))
            .cloned()
    })
}

/// A shard. Everything in it belongs to one thread.
pub(crate) struct Shard {
    node: Arc<Node>,
    index: usize,
    counters: Arc<ShardCounters>,
    letterbox: RefCell<Letterbox>,
    timing: Timing,
    registry: RefCell<Registry>,
    /// What each mount's layer keeps here.
    halves: Box<[Box<dyn Any>]>,
    /// When which session wants to be called. A session that was armed earlier leaves its later
    /// entry behind, which then finds nothing due.
    timers: RefCell<BinaryHeap<Reverse<(Instant, Slot)>>>,
    /// Sessions whose outbox overflowed in the midst of a broadcast.
    doomed: RefCell<VecDeque<Rc<Session>>>,
    /// Polling sessions whose parked poll can be answered.
    flushable: RefCell<VecDeque<Rc<Session>>>,
    /// Sessions with packets for a WebSocket whose task rests.
    writable: RefCell<VecDeque<Rc<Session>>>,
    /// Sessions with packets that many others get as well.
    crowd: RefCell<VecDeque<Rc<Session>>>,
    /// What is queued now is for many.
    in_crowd: Cell<bool>,
    /// How many of the list of writable sessions are left of the round.
    left_of_round: Cell<usize>,
    /// Recipients of broadcasts since the last turn.
    reached: Cell<u64>,
    /// What takes broadcasts further that are on their way to some, a part in each turn.
    walker: Cell<Option<Walker>>,
    /// If the first of them waits: for the end of this round.
    walks_wait: Cell<Option<u16>>,
    /// Sessions that events gather for.
    gathered: RefCell<Vec<Rc<Session>>>,
    pace: RefCell<Pace>,
    /// The shard's own task runs, and settles at the end of its turn.
    in_turn: Cell<bool>,
    lateness: Cell<Lateness>,
    waker: RefCell<Option<Waker>>,
    /// How the packet ends that opens a session.
    open_tail: Box<str>,
    ping: Rc<Parcel>,
    pong: Rc<Parcel>,
    /// From which ticks are counted.
    epoch: Instant,
    scratch: Rc<Scratch>,
    last_request: Cell<u64>,
    /// Connections to the other nodes.
    links: Rc<Links>,
    /// Connections of clients that belong to no session.
    strangers: Strangers,
    traces: ShardTraces,
    settings: Settings,
    top: ShardTop,
    /// If the node makes spans.
    otel: Option<Arc<Otel>>,
    show: ShardShow,
}

/// What takes broadcasts further that are on their way, as far as they have their turn.
pub(crate) type Walker = fn(&Rc<Shard>);

/// Which of the timers that were due have fired.
enum Fired {
    All,
    Some,
}

/// What came of a look into the inbox.
enum Received {
    Some,
    /// Nobody can send any more.
    Ended,
}

#[derive(Default)]
struct Registry {
    sessions: Slab<Rc<Session>>,
    /// How many of them are open and not let go.
    staying: usize,
    /// Clients name ids, and find none but those that were drawn at random here: nobody chooses where they stand.
    by_sid: HashMap<Sid, u32, FxBuildHasher>,
    last_number: u32,
}

fn open_tail(engine: &Engine) -> Box<str> {
    let [interval, timeout] = [engine.ping_interval, engine.ping_timeout].map(|it| it.as_millis());
    let most = engine.max_payload;
    format!("],\"pingInterval\":{interval},\"pingTimeout\":{timeout},\"maxPayload\":{most}}}")
        .into()
}

impl Shard {
    pub(crate) fn new(node: Arc<Node>, index: usize, letterbox: Letterbox) -> Rc<Self> {
        let engine = &node.config().engine;
        let timing = Timing {
            ping_interval: engine.ping_interval,
            ping_timeout: engine.ping_timeout,
            upgrade_timeout: engine.upgrade_timeout,
        };
        let settings = Settings::new(node.config().clone());
        let most = settings.strangers(node.shard_count());
        let counters = Arc::clone(&node.shards()[index].counters);
        let scratch = Rc::<Scratch>::default();
        let links = Links::new(Means {
            counters: Arc::clone(&counters),
            node_counters: Arc::clone(node.counters()),
            descriptors: Arc::clone(node.descriptors()),
            scratch: Rc::clone(&scratch),
            secret: node.config().cluster.secret.clone(),
            cluster: node.cluster().cloned(),
        });
        let halves = node.mounts().iter().map(|mount| mount.layer.shard_half());
        let halves = halves.collect();
        let pace = Pace::new(node.config().websocket.coalesce);
        let open_tail = open_tail(&node.config().engine);
        let shard = Rc::new(Self {
            strangers: Strangers::new(most),
            traces: ShardTraces::default(),
            settings,
            top: ShardTop::default(),
            otel: node.otel().cloned(),
            show: ShardShow::default(),
            node,
            index,
            counters,
            letterbox: RefCell::new(letterbox),
            timing,
            registry: RefCell::default(),
            halves,
            timers: RefCell::default(),
            doomed: RefCell::default(),
            flushable: RefCell::default(),
            writable: RefCell::default(),
            crowd: RefCell::default(),
            in_crowd: Cell::new(false),
            left_of_round: Cell::new(0),
            reached: Cell::new(0),
            walker: Cell::new(None),
            walks_wait: Cell::new(None),
            gathered: RefCell::default(),
            pace: RefCell::new(pace),
            in_turn: Cell::new(false),
            lateness: Cell::default(),
            waker: RefCell::default(),
            open_tail,
            ping: Parcel::constant(Encoded::engine_text("2")),
            pong: Parcel::constant(Encoded::engine_text("3")),
            epoch: Instant::now(),
            scratch,
            last_request: Cell::new(index as u64),
            links,
        });
        otel::use_place(index);
        CURRENT.set(Some(Rc::clone(&shard)));
        shard
    }

    /// Serves until the inbox is closed.
    pub(crate) async fn run(self: Rc<Self>) {
        let mut sleep = Box::pin(tokio::time::sleep(Duration::from_secs(3600)));
        std::future::poll_fn(|context| self.poll(context, sleep.as_mut())).await;
        CURRENT.set(None);
    }

    fn poll(self: &Rc<Self>, context: &mut Context<'_>, sleep: Pin<&mut Sleep>) -> Poll<()> {
        self.set_waker(context.waker());
        self.in_turn.set(true);
        let polled = self.take_turn(context, sleep);
        self.in_turn.set(false);
        polled
    }

    fn take_turn(
        self: &Rc<Self>,
        context: &mut Context<'_>,
        mut sleep: Pin<&mut Sleep>,
    ) -> Poll<()> {
        loop {
            let began = Instant::now();
            let received = self.receive(context);
            let fired = self.fire_timers();
            self.walk();
            let is_settled = self.settle();
            let took = began.elapsed();
            self.counters().turn.observe(took.as_nanos() as u64);
            match (received, fired) {
                (Poll::Ready(Received::Ended), _) => return Poll::Ready(()),
                (Poll::Pending, Fired::All) if is_settled && !self.has_to_walk() => {}
                (Poll::Ready(Received::Some) | Poll::Pending, _) => {
                    after_the_others(context);
                    return Poll::Pending;
                }
            }
            let timer = self.timers.borrow().peek().map(|Reverse((at, _))| *at);
            let Some(next) = timer.into_iter().chain(self.round_ends()).min() else {
                return Poll::Pending;
            };
            if sleep.deadline().into_std() != next {
                sleep.as_mut().reset(next.into());
            }
            ready!(sleep.as_mut().poll(context));
        }
    }

    /// Handles some mail; pending when nothing is left of it.
    fn receive(self: &Rc<Self>, context: &mut Context<'_>) -> Poll<Received> {
        let mut spell = Spell::begin();
        if self.lateness.get() != Lateness::OnTime {
            self.set_lateness(self.lateness.get().handle_time(Instant::now()));
        }
        for _ in 0..MAIL_BATCH {
            let next = self.letterbox.borrow_mut().poll_recv(context);
            match next {
                Poll::Ready(Some(mail)) => self.handle(mail),
                Poll::Ready(None) => return Poll::Ready(Received::Ended),
                Poll::Pending => {
                    // The runtime says so as well when the task has had its share.
                    if self.letterbox.borrow().is_empty() {
                        self.set_lateness(Lateness::OnTime);
                    }
                    return Poll::Pending;
                }
            }
            if spell.is_over() || self.has_reached_many() {
                break;
            }
        }
        Poll::Ready(Received::Some)
    }

    /// Notes whether broadcasts are handled much later than they were posted, and lets clients be read
    /// again if not.
    fn set_lateness(&self, lateness: Lateness) {
        let late = lateness.is_late();
        if self.lateness.replace(lateness).is_late() != late {
            self.counters().late.store(late, Ordering::Relaxed);
            if !late {
                self.node.relieved().notify_waiters();
            }
        }
    }

    /// Handles what is in the inbox by now. To be called before what a client sent is handled: it may
    /// have sent it because of something that was posted here before.
    pub(crate) fn take_mail(self: &Rc<Self>) {
        let waiting = self.letterbox.borrow().len();
        for _ in 0..waiting {
            let next = self.letterbox.borrow_mut().try_recv();
            match next {
                Ok(mail) => self.handle(mail),
                Err(_) => break,
            }
        }
    }

    fn handle(self: &Rc<Self>, mail: Mail) {
        let size = mail.size();
        match mail {
            Mail::Shared(job) => {
                let now = Instant::now();
                let waited = now.saturating_duration_since(job.since());
                self.set_lateness(self.lateness.get().handle_broadcast(now, waited));
                job.run(self);
            }
            Mail::Run(job) => job(self),
        }
        if size > 0 && self.node.shards()[self.index].took(size) {
            self.node.relieved().notify_waiters();
        }
    }

    /// Calls sessions whose time has come, as many as have their turn.
    fn fire_timers(self: &Rc<Self>) -> Fired {
        let now = Instant::now();
        let mut spell = Spell::begin();
        while !spell.is_over() {
            let slot = {
                let mut timers = self.timers.borrow_mut();
                match timers.peek() {
                    Some(Reverse((at, _))) if *at <= now => {
                        timers.pop().map(|Reverse((_, slot))| slot)
                    }
                    _ => None,
                }
            };
            let Some(slot) = slot else {
                return Fired::All;
            };
            if let Some(session) = self.session_at(slot) {
                session.handle_timeout(now);
            }
        }
        Fired::Some
    }

    pub(crate) fn node(&self) -> &Arc<Node> {
        &self.node
    }

    pub(crate) fn index(&self) -> usize {
        self.index
    }

    pub(crate) fn timing(&self) -> Timing {
        self.timing
    }

    /// The traces that it has to do with.
    pub(crate) fn traces(&self) -> &ShardTraces {
        &self.traces
    }

    /// What it counts while somebody looks.
    pub(crate) fn top(&self) -> &ShardTop {
        &self.top
    }

    /// What makes spans, if anything does.
    pub(crate) fn otel(&self) -> Option<&Otel> {
        self.otel.as_deref()
    }

    /// What it tells while an admin page is open somewhere.
    pub(crate) fn show(&self) -> &ShardShow {
        &self.show
    }

    /// Which rooms others think that it has members of.
    pub(crate) fn whereabouts(&self) -> &Whereabouts {
        &self.node.shards()[self.index].whereabouts
    }

    pub(crate) fn strangers(&self) -> &Strangers {
        &self.strangers
    }

    pub(crate) fn links(&self) -> Rc<Links> {
        Rc::clone(&self.links)
    }

    pub(crate) fn counters(&self) -> &ShardCounters {
        &self.counters
    }

    /// How the packet ends that opens a session, behind the names of upgrades. It is the same for all of them.
    pub(crate) fn open_tail(&self) -> &str {
        &self.open_tail
    }

    pub(crate) fn ping(&self) -> Rc<Parcel> {
        Rc::clone(&self.ping)
    }

    /// The pong that all clients of revision 3 are sent.
    pub(crate) fn pong(&self) -> Rc<Parcel> {
        Rc::clone(&self.pong)
    }

    /// From when its times are counted.
    pub(crate) fn epoch(&self) -> Instant {
        self.epoch
    }

    /// A time in four bytes, in milliseconds. It begins anew after 49 days, long after everything that
    /// is measured with it.
    pub(crate) fn tick(&self, at: Instant) -> NonZeroU32 {
        let millis = at.saturating_duration_since(self.epoch).as_millis();
        // The low bits are what is meant.
        NonZeroU32::new(millis as u32).unwrap_or(NonZeroU32::MIN)
    }

    /// The time of a tick that was not long ago.
    pub(crate) fn at_tick(&self, tick: NonZeroU32) -> Instant {
        let now = Instant::now();
        let millis = now.saturating_duration_since(self.epoch).as_millis() as u32;
        let since = millis.wrapping_sub(tick.get());
        // The very first tick is rounded up, and may be ahead.
        let since = if since > u32::MAX / 2 { 0 } else { since };
        now.checked_sub(Duration::from_millis(since.into()))
            .unwrap_or(self.epoch)
    }

    /// Opens a session; the caller answers its handshake.
    pub(crate) fn open(
        self: &Rc<Self>,
        mount: u8,
        transport: Transport,
        handshake: Handshake,
        dialect: Dialect,
    ) -> Rc<Session> {
        let sid = Sid::random(self.node.tag(), self.index);
        let session = Rc::new(Session::new(
            Rc::clone(self),
            sid,
            mount,
            transport,
            handshake,
            dialect,
        ));
        let mut registry = self.registry.borrow_mut();
        registry.last_number = registry.last_number.wrapping_add(1);
        registry.staying += 1;
        let number = registry.last_number;
        let index = registry.sessions.insert(Rc::clone(&session)) as u32;
        registry.by_sid.insert(sid, index);
        session.set_slot(Slot { index, number });
        self.counters()
            .sessions
            .store(registry.sessions.len(), Ordering::Relaxed);
        drop(registry);
        self.counters().opened.of(transport).increment();
        session.log_opened();
        session.arm();
        session
    }

    /// Removes a session that is finished.
    pub(crate) fn forget(&self, session: &Session) {
        let mut registry = self.registry.borrow_mut();
        if registry.by_sid.remove(session.sid()).is_none() {
            return;
        }
        let removed = registry.sessions.try_remove(session.slot().index as usize);
        if registry.by_sid.len() * 4 < registry.by_sid.capacity() {
            registry.by_sid.shrink_to_fit();
            registry.sessions.shrink_to_fit();
        }
        self.counters()
            .sessions
            .store(registry.sessions.len(), Ordering::Relaxed);
        drop(registry);
        drop(removed);
    }

    /// The session of this id, if it lives here. What was due for it by now has been done, so that
    /// a request cannot overtake a timer.
    pub(crate) fn session(&self, sid: &Sid) -> Option<Rc<Session>> {
        let session = {
            let registry = self.registry.borrow();
            let index = registry.by_sid.get(sid)?;
            registry.sessions.get(*index as usize).cloned()?
        };
        session.catch_up();
        Some(session)
    }

    /// All sessions.
    pub(crate) fn sessions(&self) -> Vec<Rc<Session>> {
        let registry = self.registry.borrow();
        let sessions = registry.sessions.iter();
        sessions.map(|(_, session)| Rc::clone(session)).collect()
    }

    /// Calls `visit` with the sessions in at most `most` places from this one on. Returns how many places there were.
    pub(crate) fn some_sessions(
        &self,
        from: usize,
        most: usize,
        mut visit: impl FnMut(&Session),
    ) -> usize {
        let sessions = &self.registry.borrow().sessions;
        let places = from..sessions.capacity().min(from + most);
        let found = places.clone().filter_map(|place| sessions.get(place));
        found.for_each(|session| visit(session));
        places.len()
    }

    /// How many sessions are open and not let go.
    pub(crate) fn open_count(&self) -> usize {
        let registry = self.registry.borrow();
        debug_assert_eq!(registry.staying, {
            let stay = |(_, session): &(usize, &Rc<Session>)| session.stays();
            registry.sessions.iter().filter(stay).count()
        });
        registry.staying
    }

    /// A session closed, or is let go.
    pub(crate) fn note_parting(&self) {
        self.registry.borrow_mut().staying -= 1;
    }

    /// At most `count` open sessions of a kind that are not let go yet.
    pub(crate) fn first_open(
        &self,
        count: usize,
        of: impl Fn(&Session) -> bool,
    ) -> Vec<Rc<Session>> {
        let registry = self.registry.borrow();
        let sessions = registry.sessions.iter().map(|(_, session)| session);
        let open = sessions.filter(|session| session.stays() && of(session));
        open.take(count).cloned().collect()
    }

    fn session_at(&self, slot: Slot) -> Option<Rc<Session>> {
        let registry = self.registry.borrow();
        let session = registry.sessions.get(slot.index as usize)?;
        (session.slot() == slot).then(|| Rc::clone(session))
    }

    /// A number for a request; no other shard of the node gives the same.
    pub(crate) fn next_request(&self) -> u64 {
        let number = self.last_request.get() + MAX_SHARDS as u64;
        self.last_request.set(number);
        number
    }

    /// Runs `job` where the session of this id lives, here at once; with `None` if there is none.
    pub(crate) fn with_session(
        self: &Rc<Self>,
        sid: Sid,
        job: impl FnOnce(Option<&Rc<Session>>) + Send + 'static,
    ) {
        let owner = sid.shard();
        if sid.node() != self.node.tag() {
            job(None);
        } else if owner == self.index {
            self.take_mail();
            job(self.session(&sid).as_ref());
        } else if let Some(owner) = self.node.shards().get(owner) {
            owner.post(Mail::Run(Box::new(move |shard| {
                job(shard.session(&sid).as_ref())
            })));
        } else {
            job(None);
        }
    }

    /// What a layer keeps here.
    ///
    /// # Panics
    ///
    /// If no mount has a layer that keeps this.
    pub(crate) fn half<T: 'static>(&self) -> &T {
        let found = self.halves.iter().find_map(|half| half.downcast_ref());
        found.expect("the node was started with this layer")
    }

    /// Has a session called at a time.
    pub(crate) fn wake_at(&self, at: Instant, slot: Slot) {
        let mut timers = self.timers.borrow_mut();
        let is_next = timers.peek().is_none_or(|Reverse((next, _))| at < *next);
        timers.push(Reverse((at, slot)));
        drop(timers);
        if is_next {
            self.wake();
        }
    }

    fn wake(&self) {
        if self.in_turn.get() {
            return;
        }
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    fn set_waker(&self, waker: &Waker) {
        *self.waker.borrow_mut() = Some(waker.clone());
    }

    /// The buffer that connections are read into; to be given back.
    pub(crate) fn take_scratch(&self) -> Box<[u8]> {
        self.scratch.take()
    }

    pub(crate) fn give_scratch(&self, scratch: Box<[u8]>) {
        self.scratch.give_back(scratch);
    }

    /// Drops what holds the shard alive in a circle.
    pub(crate) fn end(&self) {
        for session in self.sessions() {
            session.abort(CloseReason::ServerShuttingDown);
        }
    }
}
