//! One Engine.IO connection on its shard: from its handshake to its end, over all its transports.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use protocol::engineio::{self, CloseReason, Output, Revision, Transport};
use protocol::{Dialect, Encoded};
use tracing::{debug, trace};

use crate::count::{PacketType, SlowCause, Upgraded};
use crate::engine::handshake::Handshake;
use crate::engine::layer::SessionHalf;
use crate::engine::outbox::{ENTRY, Outbox, Overflow, Parcel};
use crate::engine::shard::Shard;
use crate::net::ids::Sid;

mod leaving;
pub(crate) mod masked;
mod polling;
mod socket_task;
mod spans;
mod traced;
mod writing;

use masked::Masked;
use polling::Polling;

pub(crate) use polling::{Denied, PollReply};
pub(crate) use socket_task::{Order, SocketTask};
pub(crate) use writing::Drained;

/// A session. It is owned by its shard's registry and shared with its sockets and with the task of
/// its stream, all on one thread.
///
/// What a broadcast touches stands first: it comes to a recipient for a moment, long after the time
/// before, and waits for memory mostly.
#[repr(C)]
pub(crate) struct Session {
    /// The stream that is the transport or probes to become it.
    task: RefCell<Option<Rc<SocketTask>>>,
    outbox: RefCell<Outbox>,
    engine: RefCell<engineio::Session>,
    shard: Rc<Shard>,
    /// How the client wants packets.
    dialect: Cell<Dialect>,
    /// The layer above has seen a message of the client.
    heard: Cell<bool>,
    /// The node lets the client go: it is sent nothing more.
    leaving: Cell<Option<CloseReason>>,
    /// The gate counts it for its address.
    counted: Cell<bool>,
    /// If its client told a trace that its spans are in: whether that is sampled.
    told_trace: Option<bool>,
    /// The traces that it has to do with, by their places.
    traced: Cell<u16>,
    sid: Sid,
    /// Where it stands in the shard's registry.
    slot: Cell<Slot>,
    handshake: Handshake,
    /// What the layer above makes of it.
    half: Box<dyn SessionHalf>,
    polling: RefCell<Option<Box<Polling>>>,
    /// When the layer above must have a use for it.
    connect_deadline: Cell<Option<Instant>>,
    /// The earliest time for which the shard's timer has this session.
    armed: Cell<Option<Instant>>,
}

/// What became of a packet for the outbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Queued {
    /// The session is closed, or will be.
    No,
    /// It is sent soon.
    Now,
    /// The client has to poll first.
    ForNextPoll,
}

/// How slow a way to a polling client may be, in bytes per second, before the client counts as one
/// that takes nothing. Behind a proxy the gateway does not see how far a payload has come.
const SLOWEST_POLLS: u64 = 16_000;

/// If the node looks after a client later than this, it was the node that stood still.
const TOLERATED_LATENESS: Duration = Duration::from_secs(1);

/// A session's slot in its shard's registry; the number tells it from earlier sessions of the slot.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct Slot {
    pub(crate) index: u32,
    pub(crate) number: u32,
}

/// What the log calls a session, since its sid is a secret: its shard and its number there.
#[derive(Clone, Copy)]
pub(crate) struct LogName {
    shard: usize,
    number: u32,
}

impl std::fmt::Display for LogName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}", self.shard, self.number)
    }
}

impl Session {
    pub(crate) fn new(
        shard: Rc<Shard>,
        sid: Sid,
        mount: u8,
        transport: Transport,
        handshake: Handshake,
        dialect: Dialect,
    ) -> Self {
        let now = Instant::now();
        let config = shard.node().config();
        let timing = shard.timing();
        let engine = engineio::Session::open_as(now, transport, timing, dialect.revision());
        let layer = &shard.node().mounts()[usize::from(mount)].layer;
        let connect_timeout = layer.connect_timeout(config);
        let half = Arc::clone(layer).session_half();
        let otel = shard.otel();
        let told = otel.and_then(|it| it.told_by_client(handshake.header("traceparent")));
        Self {
            task: RefCell::default(),
            outbox: RefCell::default(),
            engine: RefCell::new(engine),
            dialect: Cell::new(dialect),
            heard: Cell::new(false),
            leaving: Cell::new(None),
            counted: Cell::new(false),
            told_trace: told.map(|it| it.is_sampled),
            traced: Cell::new(0),
            sid,
            slot: Cell::default(),
            handshake,
            half,
            polling: RefCell::new(match transport {
                Transport::Polling => Some(Box::default()),
                Transport::WebSocket | Transport::WebTransport => None,
            }),
            connect_deadline: Cell::new(connect_timeout.map(|timeout| now + timeout)),
            armed: Cell::new(None),
            shard,
        }
    }

    pub(crate) fn shard(&self) -> &Rc<Shard> {
        &self.shard
    }

    pub(crate) fn sid(&self) -> &Sid {
        &self.sid
    }

    pub(crate) fn slot(&self) -> Slot {
        self.slot.get()
    }

    pub(crate) fn set_slot(&self, slot: Slot) {
        self.slot.set(slot);
    }

    pub(crate) fn log_name(&self) -> LogName {
        LogName {
            shard: self.shard.index(),
            number: self.slot.get().number,
        }
    }

    pub(crate) fn handshake(&self) -> &Handshake {
        &self.handshake
    }

    pub(crate) fn transport(&self) -> Transport {
        self.engine.borrow().transport()
    }

    /// The revision of Engine.IO that its client speaks.
    pub(crate) fn revision(&self) -> Revision {
        self.dialect.get().revision()
    }

    /// How its client wants packets.
    pub(crate) fn dialect(&self) -> Dialect {
        self.dialect.get()
    }

    /// The client's first message is msgpack, and so is all that it sends and gets.
    pub(crate) fn speak_msgpack(&self) {
        self.dialect.set(self.dialect.get().with_msgpack());
    }

    /// Whether its layer has seen a message of the client before; it has from now on.
    pub(crate) fn hear(&self) -> bool {
        self.heard.replace(true)
    }

    /// Whether the gate counts it.
    pub(crate) fn set_counted(&self, counted: bool) {
        self.counted.set(counted);
    }

    /// Has the gate count it from now on, if it does not.
    pub(crate) fn count(&self) {
        if self.is_open() && !self.counted.replace(true) {
            let address = self.handshake.address().ip();
            self.shard.node().gate().count(address);
        }
    }

    pub(crate) fn is_open(&self) -> bool {
        self.engine.borrow().is_open()
    }

    /// A stream comes; the one before, if there was one, has its order to close.
    pub(crate) fn attach_task(&self) -> Rc<SocketTask> {
        let task = Rc::<SocketTask>::default();
        *self.task.borrow_mut() = Some(Rc::clone(&task));
        task
    }

    pub(crate) fn has_task(&self, task: &Rc<SocketTask>) -> bool {
        let attached = self.task.borrow();
        attached.as_ref().is_some_and(|it| Rc::ptr_eq(it, task))
    }

    fn wake_task(&self) {
        if let Some(task) = &*self.task.borrow() {
            task.rouse();
        }
    }

    /// The transport leaves something in the outbox; `taken` if it took some of it.
    pub(crate) fn waits(&self, taken: bool) {
        let mut outbox = self.outbox.borrow_mut();
        if taken || outbox.waiting().is_none() {
            outbox.wait_since(self.shard.tick(Instant::now()));
            drop(outbox);
            self.arm();
        }
    }

    /// Until when the client has to take something.
    fn patience_ends(&self) -> Option<Instant> {
        let since = self.shard.at_tick(self.outbox.borrow().waiting()?);
        let since = self.on_its_way().map_or(since, |until| since.max(until));
        Some(since + self.shard.limits().outbox_patience)
    }

    /// How long a polling client may take to fetch the payload that it got last, at
    /// [`SLOWEST_POLLS`]: what a proxy has taken for it does not show here.
    fn on_its_way(&self) -> Option<Instant> {
        if self.transport() != Transport::Polling {
            return None;
        }
        let (bytes, at) = self.polling.borrow().as_ref()?.last_payload()?;
        let takes = Duration::from_millis(bytes as u64 * 1000 / SLOWEST_POLLS);
        Some(self.shard.at_tick(at) + takes)
    }

    /// Whether the last ping waits behind something that the client is taking, so that it cannot have
    /// answered yet.
    fn keeps_ping(&self, now: Instant) -> bool {
        let outbox = self.outbox.borrow();
        outbox.keeps_ping()
            && match self.transport() {
                Transport::WebSocket | Transport::WebTransport => {
                    outbox.waiting().is_some_and(|since| {
                        self.shard.at_tick(since) + self.shard.timing().ping_timeout > now
                    })
                }
                Transport::Polling => self.on_its_way().is_some_and(|until| until > now),
            }
    }

    /// Closes the session if it took nothing for too long, even now that it can.
    fn check_patience(self: &Rc<Self>, now: Instant) {
        let is_due = |due: Option<Instant>| due.is_some_and(|due| due <= now);
        if !is_due(self.patience_ends()) || !self.is_open() {
            return;
        }
        let due = self.patience_ends().unwrap_or(now);
        self.write_now();
        if now - due > TOLERATED_LATENESS || self.engine.borrow().is_probing() {
            // The node stood still, and so did what the client wanted to take; or it is changing over,
            // which has a deadline of its own.
            self.waits(true);
        }
        if is_due(self.patience_ends()) {
            self.close_slow(SlowCause::Stalled);
        }
    }

    /// Closes a session whose client does not take what it is sent.
    pub(crate) fn close_slow(self: &Rc<Self>, cause: SlowCause) {
        if self.is_open() {
            self.shard.counters().slow_causes.of(cause).increment();
            let behind = self.outbox.borrow().behind();
            debug!(target: "gateway::session", session = %self.log_name(), ?cause, behind, "client is too slow");
            self.abort(CloseReason::SlowConsumer);
        }
    }

    /// How far the client is behind, for the longer the worse: bytes that wait, times seconds since it
    /// took something. `None` if nothing waits that its transport could have taken.
    pub(crate) fn lag(&self, now: Instant) -> Option<(u128, usize)> {
        let outbox = self.outbox.borrow();
        let since = self.shard.at_tick(outbox.waiting()?);
        let behind = outbox.behind();
        let waited = now.saturating_duration_since(since).as_millis() + 1000;
        self.is_open().then_some((behind as u128 * waited, behind))
    }

    fn order_task(&self, order: Order) {
        if let Some(task) = &*self.task.borrow() {
            task.give(order);
        }
    }

    pub(crate) fn outbox(&self) -> &RefCell<Outbox> {
        &self.outbox
    }

    pub(crate) fn outbox_bytes(&self) -> usize {
        self.outbox.borrow().bytes()
    }

    /// What its layer keeps with it; `None` if another layer does.
    pub(crate) fn half<H: SessionHalf>(&self) -> Option<&H> {
        (&*self.half as &dyn Any).downcast_ref()
    }

    /// The layer has a use for the session, which may be idle now.
    pub(crate) fn set_used(&self) {
        self.connect_deadline.set(None);
    }

    /// Whether so much waits for the application that the client should not be read.
    pub(crate) fn is_behind(&self) -> bool {
        self.half.is_behind()
    }

    /// The application keeps up again, so that the client is read further.
    pub(crate) fn resume(&self) {
        self.wake_task();
        if self.is_open() {
            self.answer_post_late();
        }
    }

    /// What the layer above makes of the session.
    pub(crate) fn upper_half(&self) -> &dyn SessionHalf {
        &*self.half
    }

    pub(crate) fn log_opened(&self) {
        debug!(target: "gateway::session",
            session = %self.log_name(),
            transport = self.transport().name(),
            revision = self.revision().name(),
            address = %self.handshake.address(),
            "session opened"
        );
        if self.shard.traces().has_addresses() {
            self.trace_opened();
        }
    }

    /// Tells the layer above that the handshake is answered.
    pub(crate) fn announce(self: &Rc<Self>) {
        self.half.opened(self);
    }

    /// Queues a packet of Socket.IO; `false` if it was not, because the session is closed or the
    /// packet volatile and the client not writable.
    pub(crate) fn push(
        self: &Rc<Self>,
        packet: &Rc<Parcel>,
        kind: PacketType,
        volatile: bool,
    ) -> bool {
        self.catch_up_with_walks();
        if volatile && !self.is_writable() {
            self.shard.counters().volatile_dropped.increment();
            return false;
        }
        trace!(target: "gateway::session",
            session = %self.log_name(),
            packet = %Masked(packet.packet().text().unwrap_or_default()),
            "packet queued"
        );
        let queued = self.enqueue(packet, kind.is_event());
        self.await_poll(queued);
        if queued != Queued::No {
            self.shard.counters().packets_sent.of(kind).increment();
        }
        queued != Queued::No
    }

    /// Queues a packet that is none of Socket.IO's.
    pub(crate) fn push_uncounted(self: &Rc<Self>, packet: &Rc<Parcel>) {
        let queued = self.enqueue(packet, false);
        self.await_poll(queued);
    }

    /// The client has to come for what waits for its next poll.
    fn await_poll(&self, queued: Queued) {
        if queued == Queued::ForNextPoll {
            self.waits(false);
            self.shard.look_after_memory();
        }
    }

    /// Queues a packet and sees to it that it is sent; `waits`: others may go with it.
    fn enqueue(self: &Rc<Self>, packet: &Rc<Parcel>, waits: bool) -> Queued {
        if self.is_leaving() {
            return Queued::No;
        }
        let (transport, has_poll) = {
            let engine = self.engine.borrow();
            if !engine.is_open() {
                return Queued::No;
            }
            (engine.transport(), engine.has_poll())
        };
        let form = match self.dialect.get() {
            Dialect::Json => None,
            other @ (Dialect::JsonBase64
            | Dialect::Old
            | Dialect::OldBase64
            | Dialect::Msgpack
            | Dialect::MsgpackBase64) => packet.form(other),
        };
        let packet = form.as_ref().unwrap_or(packet);
        let limit = self.shard.limits().outbox_bytes;
        let mut pushed = self.outbox.borrow_mut().push(packet, limit);
        if pushed.is_err() {
            self.write_now();
            pushed = self.outbox.borrow_mut().push(packet, limit);
        }
        if let Err(Overflow) = pushed {
            self.shard.doom(self);
            return Queued::No;
        }
        self.shard.counters().outbox_held.add(ENTRY as u64);
        match transport {
            Transport::WebSocket | Transport::WebTransport => self.write_soon(waits),
            Transport::Polling if has_poll => self.shard.flush_later(self),
            Transport::Polling => return Queued::ForNextPoll,
        }
        Queued::Now
    }

    /// Queues a ping. If it waits for a poll, that is a matter of the heartbeat and not of patience.
    fn push_ping(self: &Rc<Self>) {
        if self.enqueue(&self.shard.ping(), false) != Queued::No {
            self.outbox.borrow_mut().mark_ping();
        }
    }

    /// A packet for this session alone.
    pub(crate) fn parcel(&self, packet: Encoded) -> Rc<Parcel> {
        Parcel::own(&self.shard, packet)
    }

    /// Queues the packet that opens a session whose WebSocket does not run yet.
    pub(crate) fn push_open(self: &Rc<Self>, packet: &str) {
        self.push_uncounted(&self.parcel(Encoded::engine_text(packet)));
    }

    /// Node's rule for volatile packets: nothing waits, and the transport would take it at once.
    fn is_writable(&self) -> bool {
        let engine = self.engine.borrow();
        let gathers = || self.task.borrow().as_ref().is_some_and(|it| it.gathers());
        (self.outbox.borrow().is_empty() || gathers())
            && match engine.transport() {
                Transport::WebSocket | Transport::WebTransport => true,
                Transport::Polling => engine.has_poll(),
            }
    }

    /// What was emitted before is queued before.
    fn catch_up_with_walks(self: &Rc<Self>) {
        if self.shard.is_walking() {
            self.half.catch_up(self);
        }
    }

    /// Closes after what is queued was sent.
    pub(crate) fn close(self: &Rc<Self>, reason: CloseReason) {
        self.catch_up_with_walks();
        let buffered = !self.outbox.borrow().is_empty();
        self.engine
            .borrow_mut()
            .close(Instant::now(), reason, buffered);
        self.pump();
    }

    /// Closes at once and discards what is queued.
    pub(crate) fn abort(self: &Rc<Self>, reason: CloseReason) {
        self.engine.borrow_mut().abort(reason);
        self.pump();
    }

    /// What the session's timer is due for.
    pub(crate) fn handle_timeout(self: &Rc<Self>, now: Instant) {
        self.armed.set(None);
        if self
            .connect_deadline
            .get()
            .is_some_and(|deadline| deadline <= now)
        {
            self.connect_deadline.set(None);
            self.close(CloseReason::ConnectTimeout);
        }
        self.check_patience(now);
        if self.keeps_ping(now) {
            self.engine.borrow_mut().handle_ping_unsent(now);
        }
        self.engine.borrow_mut().handle_timeout(now);
        self.pump();
    }

    /// Does what is due already, before the shard's timer comes to it.
    pub(crate) fn catch_up(self: &Rc<Self>) {
        let now = Instant::now();
        let due = self.engine.borrow().poll_timeout();
        if due.is_some_and(|due| due <= now) {
            self.handle_timeout(now);
        }
    }

    /// Hands something to the state machine and does what comes out of it.
    pub(crate) fn drive<T>(self: &Rc<Self>, input: impl FnOnce(&mut engineio::Session) -> T) -> T {
        let result = input(&mut self.engine.borrow_mut());
        self.pump();
        result
    }

    /// Does what the state machine put out.
    fn pump(self: &Rc<Self>) {
        loop {
            let output = self.engine.borrow_mut().poll_output();
            match output {
                Some(output) => self.perform(output),
                None => break,
            }
        }
        self.flush_poll();
        self.arm();
    }

    fn perform(self: &Rc<Self>, output: Output) {
        let counters = self.shard.counters();
        match output {
            Output::Ping { lateness } => {
                counters.heartbeats_sent.increment();
                counters
                    .heartbeat_lateness
                    .observe(lateness.as_nanos() as u64);
                self.push_ping();
            }
            Output::Pong { round_trip } => {
                counters.heartbeats_answered.increment();
                counters.heartbeat_rtt.observe(round_trip.as_nanos() as u64);
            }
            Output::AnswerPing => self.push_uncounted(&self.shard.pong()),
            Output::AnswerPoll(answer) => self.answer_poll(answer),
            Output::AnswerProbe => self.order_task(Order::AnswerProbe),
            Output::DropProbe(failure) => {
                counters.upgrades.of(Upgraded::Failed(failure)).increment();
                debug!(target: "gateway::session", session = %self.log_name(), reason = ?failure, "upgrade failed");
                if self.is_traced() {
                    self.trace_upgrade(Some(failure));
                }
                self.order_task(Order::Close);
                self.task.take();
            }
            Output::Upgraded => {
                counters.upgrades.of(Upgraded::Completed).increment();
                debug!(target: "gateway::session", session = %self.log_name(), "upgraded");
                if self.is_traced() {
                    self.trace_upgrade(None);
                }
                self.take_dialect_of_task();
                self.wake_task();
                self.upper_half().upgraded(self);
            }
            Output::FlushStream => self.order_task(Order::Flush),
            Output::CloseStream => self.order_task(Order::Close),
            Output::Closed(reason) => self.handle_closed(reason),
            Output::Finished => self.finish(),
        }
    }

    /// A client of revision 3 says of each transport anew whether it takes binary there.
    fn take_dialect_of_task(&self) {
        if self.revision() == Revision::Three
            && let Some(task) = &*self.task.borrow()
        {
            let dialect = Dialect::of(Revision::Three, task.base64.get());
            self.dialect.set(dialect);
        }
    }

    /// Has the shard's timer call when the next thing is due.
    pub(crate) fn arm(&self) {
        let due = [
            self.engine.borrow().poll_timeout(),
            self.connect_deadline.get(),
            self.patience_ends(),
        ];
        let Some(due) = due.into_iter().flatten().min() else {
            return;
        };
        if self.armed.get().is_none_or(|armed| due < armed) {
            self.armed.set(Some(due));
            self.shard.wake_at(due, self.slot.get());
        }
    }

    /// The session receives nothing any more.
    fn handle_closed(self: &Rc<Self>, reason: CloseReason) {
        let transport = self.transport();
        if !self.is_leaving() {
            self.shard.note_parting();
        }
        let counters = self.shard.counters();
        counters.closed.now((transport, reason)).increment();
        match reason {
            CloseReason::PingTimeout => counters.heartbeat_timeouts.increment(),
            CloseReason::SlowConsumer => counters.slow_consumers.increment(),
            CloseReason::TransportError
            | CloseReason::TransportClose
            | CloseReason::ForcedClose
            | CloseReason::ParseError
            | CloseReason::ConnectTimeout
            | CloseReason::ServerShuttingDown
            | CloseReason::Rebalanced
            | CloseReason::Blocked
            | CloseReason::TokenExpired => {}
        }
        debug!(target: "gateway::session",
            session = %self.log_name(),
            transport = transport.name(),
            reason = reason.label(),
            address = %self.handshake.address(),
            "session closed"
        );
        self.connect_deadline.set(None);
        if self.counted.take() {
            let address = self.handshake.address().ip();
            self.shard.node().gate().leave(address);
        }
        self.half.closed(self, reason);
        if self.is_traced() {
            self.trace_closed(transport, reason);
        }
    }

    /// Forgets the session.
    fn finish(self: &Rc<Self>) {
        let memory = self.outbox.borrow().memory();
        self.shard.counters().outbox_held.subtract(memory as u64);
        self.outbox.borrow_mut().clear();
        self.answer_post_late();
        self.polling.take();
        self.shard.forget(self);
    }
}
