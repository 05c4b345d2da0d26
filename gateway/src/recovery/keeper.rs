//! What puts a namespace in order on a node: the machines of [`adapter::recovery`], and what drives them.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::hash::Hash;
use std::pin::Pin;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, PoisonError, Weak};
use std::time::{Duration, Instant};

use adapter::recovery::{
    Act, Bounds, Call, Change, Effect, Floors, Heard, Link, LogName, Offset, Position, Process,
    Reads, Receiver, Request, Settings, Span, Ticket, Told, Writer, WriterLimits,
};
use adapter::{Adapter, Interest, Latch};
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::sync::{mpsc, oneshot};
use tokio::time::MissedTickBehavior;

use super::counters::Share;
use super::memory::MemoryLink;
use super::order::{Ask, MAX_WAITING};
use super::questions::{Asker, Question, Questions};
use super::rewinds::Rewinds;
use super::seats::Sitting;
use super::{
    Begun, HEARTBEAT, Order, Orders, Outlet, RecoveryCounters, Seat, Unpublished, rand_u64,
};

mod answers;
mod closing;
mod listening;

use listening::{Wanted, when_in_force};

/// How often a keeper looks at its clocks.
const TICK: Duration = Duration::from_millis(100);

/// Most asks that are taken before anything else is done.
const ASKS_AT_ONCE: usize = 512;

/// Most bytes, and most acts, of one call.
const CALL_BYTES: usize = 256 * 1024;
const CALL_ACTS: usize = 256;

/// Bytes of acts that may wait: events are refused long before, sessions have the rest.
const QUEUE_BYTES: usize = 4 * MAX_WAITING;

/// Bytes that are held while something before them is missing, and that are read to fill it.
const HELD_BYTES: usize = 32 * 1024 * 1024;

/// Most logs that are read by one call.
const LOGS_AT_ONCE: usize = 64;

/// How long after the window an order of a pattern stays that nobody uses.
const UNUSED: Duration = Duration::from_secs(60);

/// Logs whose last place a heartbeat asks for, if there are no more than it can ask for in a round of them.
const HEADS: usize = 64;

/// What a keeper is made with.
pub(super) struct Limits {
    pub(super) store: Settings,
    pub(super) proven: Duration,
    pub(super) comeback: Duration,
    pub(super) replay_bytes: usize,
    /// Bytes of events that were heard and wait for keepers.
    pub(super) heard: Arc<AtomicUsize>,
    /// Bytes of events that wait to be put in order.
    pub(super) waiting: Arc<AtomicUsize>,
    pub(super) orders: Orders,
}

/// Opens the order of a namespace. Its keeper is to be run.
pub(super) fn open(
    namespace: &str,
    process: Process,
    limits: Limits,
    begun: &Begun,
    counters: Arc<RecoveryCounters>,
) -> (Arc<Order>, Keeper) {
    let name: Arc<str> = namespace.into();
    let adapter = begun.adapter.clone();
    let interest = adapter.as_ref().map(|it| it.open_namespace(namespace));
    let in_force = interest.as_ref().map(Interest::in_force);
    let counted = Arc::clone(&counters);
    let (order, asks) = Order::new(
        Arc::clone(&name),
        begun.shards,
        interest,
        counted,
        limits.heard,
        limits.waiting,
    );
    let order = Arc::new(order);
    let link = adapter
        .as_ref()
        .and_then(|it| it.open_store(namespace, &limits.store));
    let link = link.unwrap_or_else(|| {
        let weak: Weak<Order> = Arc::downgrade(&order);
        order.tell(Told::Connected(1));
        order.tell(Told::Listening(true));
        Box::new(MemoryLink::new(limits.store, weak))
    });
    let coming = FuturesUnordered::new();
    if let Some(in_force) = in_force {
        coming.push(when_in_force(LogName::Everybody, in_force));
    }
    let everybody = Wanted {
        wants: 1,
        is_open: false,
        interest: None,
    };
    let keeper = Keeper {
        writer: Writer::new(
            process,
            WriterLimits {
                queue_bytes: QUEUE_BYTES,
                call_bytes: CALL_BYTES,
                call_acts: CALL_ACTS,
            },
        ),
        receiver: Receiver::new(Bounds {
            held_bytes: HELD_BYTES,
            fill_bytes: HELD_BYTES,
        }),
        reads: Reads::default(),
        floors: Floors::new(limits.proven, 2 * HEARTBEAT),
        link,
        connection: None,
        asked: VecDeque::new(),
        questions: Questions::default(),
        rewinds: Rewinds::default(),
        max_messages: limits.store.keep.messages,
        is_listening: false,
        adapter,
        wanted: HashMap::from([(LogName::Everybody, everybody)]),
        waiting: HashMap::new(),
        coming,
        seats: HashMap::new(),
        by_sid: BTreeSet::new(),
        joining: HashMap::new(),
        returning: BTreeSet::new(),
        returning_to: HashMap::new(),
        marking: BTreeSet::new(),
        is_mark_wanted: false,
        is_nudged: false,
        unsettled: BTreeSet::new(),
        tickets: HashMap::new(),
        overflow: VecDeque::new(),
        beat_due: Instant::now(),
        retiring: Vec::new(),
        is_retired: false,
        used: Instant::now(),
        unused: UNUSED + Duration::from_micros(limits.store.window),
        orders: limits.orders,
        replay_bytes: limits.replay_bytes,
        comeback: limits.comeback,
        outlet: Arc::clone(&begun.outlet),
        order: Arc::clone(&order),
        asks,
        share: Share::new(Arc::clone(&counters)),
        counters,
    };
    (order, keeper)
}

/// A log comes into force.
type Coming = Pin<Box<dyn Future<Output = LogName> + Send>>;

/// The task behind an [`Order`].
pub(super) struct Keeper {
    pub(super) writer: Writer,
    pub(super) receiver: Receiver,
    pub(super) reads: Reads<Reader>,
    floors: Floors,
    link: Box<dyn Link>,
    connection: Option<u64>,
    /// What was asked by this connection and is not answered.
    asked: VecDeque<Asked>,
    /// What of the past is to be asked.
    pub(super) questions: Questions,
    /// Joins with history.
    pub(super) rewinds: Rewinds,
    pub(super) max_messages: usize,
    is_listening: bool,
    adapter: Option<Arc<dyn Adapter>>,
    pub(super) wanted: HashMap<LogName, Wanted>,
    /// Who goes on once a log is open.
    pub(super) waiting: HashMap<LogName, BTreeSet<Seat>>,
    coming: FuturesUnordered<Coming>,
    pub(super) seats: HashMap<Seat, Box<Sitting>>,
    /// The same by the ids of their sockets, as far as these are known.
    pub(super) by_sid: BTreeSet<(Arc<str>, Seat)>,
    /// Joins that wait for their interests, in their order.
    pub(super) joining: HashMap<Seat, Vec<Joining>>,
    /// Clients that come back and are not welcome yet.
    pub(super) returning: BTreeSet<Seat>,
    /// Those of them that are to hear of a log.
    pub(super) returning_to: HashMap<LogName, BTreeSet<Seat>>,
    /// Those of them that wait for a mark.
    pub(super) marking: BTreeSet<Seat>,
    /// A heartbeat is to be made: many may wait for its mark.
    pub(super) is_mark_wanted: bool,
    /// Another one is to be made behind that, and tells what the store answered.
    is_nudged: bool,
    /// Those whose claim is to be made again.
    pub(super) unsettled: BTreeSet<Seat>,
    tickets: HashMap<Ticket, Pending>,
    /// Acts that must not be lost, for which the writer has no room now.
    overflow: VecDeque<(Act, Pending)>,
    beat_due: Instant,
    retiring: Vec<oneshot::Sender<()>>,
    /// The store knows that this process ends, and awaits no more of it.
    is_retired: bool,
    /// When somebody asked for something last.
    used: Instant,
    /// After so long without that it ends.
    unused: Duration,
    orders: Orders,
    pub(super) replay_bytes: usize,
    comeback: Duration,
    pub(super) outlet: Arc<dyn Outlet>,
    pub(super) order: Arc<Order>,
    asks: mpsc::UnboundedReceiver<Ask>,
    pub(super) counters: Arc<RecoveryCounters>,
    share: Share,
}

/// A join that waits for its interests.
pub(super) struct Joining {
    pub(super) rooms: Arc<[Arc<str>]>,
    pub(super) written: Arc<Latch>,
}

enum Asked {
    Beat,
    Acts,
    Read(Vec<Span>),
    History(Question),
}

/// Gives back what is much more than what is needed.
fn shrink<K: Eq + Hash, V>(map: &mut HashMap<K, V>) {
    if map.capacity() > 1024.max(8 * map.len()) {
        map.shrink_to(2 * map.len());
    }
}

/// Who reads.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Reader {
    Receiver,
    Comeback(Seat),
}

/// What an act is for.
pub(super) enum Pending {
    Publish {
        size: usize,
        done: Option<oneshot::Sender<Result<(), Unpublished>>>,
        since: Instant,
    },
    Open(Seat),
    Join {
        seat: Seat,
        rooms: Arc<[Arc<str>]>,
        written: Arc<Latch>,
    },
    Claim(Seat, adapter::recovery::PidSecret),
    Retire,
    Nothing,
}

impl Keeper {
    pub(super) async fn run(mut self) {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                ask = self.asks.recv() => {
                    let Some(ask) = ask else {
                        return;
                    };
                    self.handle(ask);
                    for _ in 1..ASKS_AT_ONCE {
                        let Ok(ask) = self.asks.try_recv() else {
                            break;
                        };
                        self.handle(ask);
                    }
                }
                Some(log) = self.coming.next(), if !self.coming.is_empty() => {
                    self.handle_in_force(&log);
                }
                _ = tick.tick() => {
                    self.tick();
                    if self.is_over() {
                        return;
                    }
                }
            }
            self.pump();
            self.share
                .set_waiting(self.tickets.len() + self.overflow.len());
        }
    }

    /// Whether nobody uses it any more: then it is no order of the node either. It tells the store first, or a process
    /// of another node that is new would wait to be known here. Without a connection it stays until there is one, unless
    /// the store never heard of it.
    fn is_over(&mut self) -> bool {
        let is_idle = self.seats.is_empty() && self.tickets.is_empty() && self.overflow.is_empty();
        if self.order.is_kept() || !is_idle || self.used.elapsed() < self.unused {
            return false;
        }
        let is_known = self.writer.next_beat() > 1;
        if !self.is_retired && is_known {
            self.push(Act::Retire, Pending::Retire);
            return false;
        }
        let mut orders = self.orders.lock().unwrap_or_else(PoisonError::into_inner);
        // The node's and this one: who takes another takes it from the node's, under its lock.
        let is_unused = Arc::strong_count(&self.order) == 2;
        if is_unused {
            orders.remove(self.order.namespace());
        }
        is_unused
    }

    fn handle(&mut self, ask: Ask) {
        if !matches!(ask, Ask::Told(_)) {
            self.used = Instant::now();
        }
        match ask {
            Ask::Publish {
                publication,
                size,
                done,
                since,
            } => {
                let pending = Pending::Publish { size, done, since };
                self.push(Act::Publish(publication), pending);
            }
            Ask::Open {
                seat,
                arrival,
                secret,
            } => self.open_seat(seat, arrival, secret),
            Ask::Claim {
                seat,
                shown,
                user,
                answer,
            } => self.claim(seat, &shown, user, answer),
            Ask::Enter(seat) => self.enter(seat),
            Ask::Join {
                seat,
                rooms,
                written,
            } => self.join(seat, rooms, written),
            Ask::Leave { seat, rooms, until } => self.leave(seat, rooms, until),
            Ask::Data { seat, data } => self.write(seat, Change::Data(data), Pending::Nothing),
            Ask::Gone { seat, change } => self.leave_seat(seat, Some(change)),
            Ask::History { log, past, answer } => self.questions.push(Question {
                log,
                past,
                asker: Asker::Caller(answer),
            }),
            Ask::Rewind {
                seat,
                number,
                rooms,
                wants,
            } => self.rewind(seat, number, rooms.iter().cloned(), wants),
            Ask::EndRewind(seat) => self.rewinds.forget(seat),
            Ask::Told(told) => {
                self.order.took(&told);
                self.handle_told(told);
            }
            Ask::Retire(done) => {
                if self.retiring.is_empty() {
                    self.push(Act::Retire, Pending::Retire);
                }
                self.retiring.push(done);
            }
        }
    }

    fn handle_told(&mut self, told: Told) {
        match told {
            Told::Connected(number) => {
                self.lose_questions();
                self.connection = Some(number);
                self.asked.clear();
                self.beat();
            }
            Told::Broken => self.lose_connection(),
            Told::Reply(reply) => self.handle_reply(&reply),
            Told::Heard(heard) => {
                if let Heard::Mark(process, _) = &heard
                    && process != self.writer.process()
                {
                    return self.handle_nudge();
                }
                self.receiver.handle(heard);
            }
            Told::Listening(true) => self.handle_listening(),
            Told::Listening(false) => {
                self.is_listening = false;
                self.receiver.handle_down();
                self.reads.forget(&Reader::Receiver);
                self.wanted.values_mut().for_each(|it| it.is_open = false);
            }
        }
    }

    /// The mark of another process, which is new, or knows of this one that is new: the store is to hear of it.
    ///
    /// Any program that may publish can make such a mark up, so what it says is not told. The store answers a heartbeat
    /// with a place behind that of the mark, and the next heartbeat tells that one.
    fn handle_nudge(&mut self) {
        self.is_mark_wanted = true;
        self.is_nudged = true;
    }

    /// Makes a heartbeat. What is done once in a while is done when one is due, and not when it is made early.
    pub(super) fn beat(&mut self) {
        let is_due = Instant::now() >= self.beat_due;
        if is_due {
            self.beat_due = Instant::now() + HEARTBEAT;
        }
        if self.connection.is_none() || self.is_retired && self.writer.is_idle() {
            return;
        }
        let floor = match self.receiver.released() {
            Some(known) => {
                self.writer.note(known);
                let given = self.order.given_by_all(known.epoch);
                self.floors.beat(Instant::now(), given)
            }
            None => Position::ZERO,
        };
        let heads = is_due.then(|| self.receiver.heads(HEADS));
        let call = self.writer.beat(floor, heads, rand_u64());
        self.ask(&call, Asked::Beat);
    }

    fn ask(&mut self, call: &Call, asked: Asked) {
        if let Some(connection) = self.connection {
            self.asked.push_back(asked);
            self.link.call(connection, call);
        }
    }

    pub(super) fn push(&mut self, act: Act, pending: Pending) {
        self.is_retired = false;
        if !self.overflow.is_empty() {
            return self.overflow.push_back((act, pending));
        }
        match self.writer.push(act.clone()) {
            Ok(ticket) => {
                self.tickets.insert(ticket, pending);
            }
            Err(_full) => self.overflow.push_back((act, pending)),
        }
    }

    fn tick(&mut self) {
        // Floors count on it. Heartbeats that others want may come before each one that is due here.
        self.close_late(self.comeback);
        if Instant::now() >= self.beat_due {
            self.beat();
        }
        self.tick_seats();
        // What a rush took is given back.
        shrink(&mut self.tickets);
        shrink(&mut self.seats);
        shrink(&mut self.wanted);
        shrink(&mut self.waiting);
        shrink(&mut self.joining);
    }

    /// Does what the machines want done.
    fn pump(&mut self) {
        while let Some((act, _)) = self.overflow.front() {
            let Ok(ticket) = self.writer.push(act.clone()) else {
                break;
            };
            if let Some((_, pending)) = self.overflow.pop_front() {
                self.tickets.insert(ticket, pending);
            }
        }
        while let Some(effect) = self.receiver.poll() {
            match effect {
                Effect::Release(entry) => {
                    if let Some(known) = self.receiver.released() {
                        self.hold(&entry);
                        self.outlet.release(&self.order, known.epoch, &entry);
                    }
                }
                Effect::Marked(mark) => {
                    let offset = Offset {
                        epoch: mark.known.epoch,
                        position: mark.known.position,
                    };
                    self.outlet.marked(&self.order, offset);
                    self.handle_mark(&mark);
                    self.handle_mark_of_rewinds(&mark);
                }
                Effect::Beat => self.beat(),
                Effect::Read(span) => {
                    self.counters.fills.increment();
                    self.reads.want(Reader::Receiver, span);
                }
                Effect::GiveUp(gave_up) => self.give_up(&gave_up.log, gave_up.why),
                Effect::Renewed(_) => self.handle_renewed(),
            }
        }
        if self.connection.is_none() {
            return;
        }
        self.mark_rewinds();
        let is_beating = self.asked.iter().any(|it| matches!(it, Asked::Beat));
        if self.is_mark_wanted && !is_beating {
            self.is_mark_wanted = std::mem::take(&mut self.is_nudged);
            self.beat();
        }
        if let Some(call) = self.writer.next_call(rand_u64()) {
            self.ask(&call, Asked::Acts);
        }
        while let Some(question) = self.questions.next() {
            let call = Call {
                process: self.writer.process().clone(),
                request: Request::History {
                    log: question.log.clone(),
                    past: question.past,
                },
                random: rand_u64(),
            };
            self.ask(&call, Asked::History(question));
        }
        let is_reading = self.asked.iter().any(|it| matches!(it, Asked::Read(_)));
        if !is_reading {
            let spans = self.reads.next(LOGS_AT_ONCE);
            if !spans.is_empty() {
                let call = Call {
                    process: self.writer.process().clone(),
                    request: Request::Read(spans.clone()),
                    random: rand_u64(),
                };
                self.ask(&call, Asked::Read(spans));
            }
        }
    }
}

#[cfg(test)]
mod tests;
