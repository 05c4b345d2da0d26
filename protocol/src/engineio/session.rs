use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::timer::{Timer, Timers};
use super::{CloseReason, Message, Packet, Revision};

/// How often a parked poll is let go while the client probes a stream, as in Node.
const NOOP_INTERVAL: Duration = Duration::from_millis(100);

/// How long a closed session keeps its last packets for a client that has no poll parked, and how
/// long a stream may take to read them, as in Node.
const CLOSE_GRACE: Duration = Duration::from_secs(30);

/// How long a poll may come after the close packet that overtook it. Client libraries send both at
/// once on two connections, and nothing says which is read first.
const LATE_POLL_GRACE: Duration = Duration::from_millis(200);

/// How long before the upgrade packet a poll may come that was sent after it: the two travel on
/// different connections.
const EARLY_POLL: Duration = Duration::from_millis(40);

/// A ping that is later than this starts the wait for its pong anew, so that a node that stood
/// still does not close everybody.
const TOLERATED_LATENESS: Duration = Duration::from_millis(10);

/// If the end of the wait for a pong is noticed later than this, the node stood still, and the pong may
/// lie where nobody has read it yet.
const STOOD_STILL: Duration = Duration::from_secs(1);

/// How long such a pong may take to be read, once.
const READ_FIRST: Duration = Duration::from_secs(1);

/// The times that a session keeps.
#[expect(
    clippy::exhaustive_structs,
    reason = "its users make it, field by field"
)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// From the handshake or a pong to the next ping.
    pub ping_interval: Duration,
    /// From a ping to its pong. A client of revision 3, which sends the pings, is to send something within both.
    pub ping_timeout: Duration,
    /// From a probing stream's handshake to the end of the upgrade.
    pub upgrade_timeout: Duration,
}

/// An Engine.IO session, from its handshake to its end.
///
/// A stream is a WebSocket, or the stream of a WebTransport session.
///
/// ```text
///   open(Polling)                                     open(a stream)
///        |                                                  |
///        v          attach             upgrade packet       v
///     Polling ----------------> Probing ------------> Streaming
///        ^                         |                        |
///        +--- detach, timeout, ----+                        |
///        |    wrong packet                                  |
///        |                                                  |
///        +--close--> Closing: the last packets and the close packet wait for a poll
///        |                                                  +--close--> Flushing: for the stream
///        +--client's close packet--> Leaving: a late poll may come
///        |                                                  |
///        +--error, timeout, second poll or post-------------+--> Closed
/// ```
///
/// [`Output::Closed`] comes once, on the way out of `Polling`, `Probing` or `Streaming`: from then
/// on the session receives nothing. [`Output::Finished`] comes once, on the way into `Closed`.
///
/// What is asked for each packet that is sent stands first, in one line of the cache.
#[derive(Debug)]
#[repr(C)]
pub struct Session {
    transport: Transport,
    /// What probes, or the last that did.
    probing: Transport,
    revision: Revision,
    state: State,
    timing: Timing,
    timers: Timers,
    pinged_at: Option<Instant>,
    extended: bool,
    excused: bool,
    outputs: VecDeque<Output>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Polling(Requests),
    Probing(Requests),
    Streaming,
    Closing { poll: bool, last: Answer },
    Flushing,
    Leaving,
    Closed,
}

/// The HTTP requests of a polling session that are under way: at most one of each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Requests {
    /// When the parked poll came.
    poll: Option<Instant>,
    post: bool,
}

/// The transport that a session uses.
#[expect(
    clippy::exhaustive_enums,
    reason = "a session goes from the one to the other"
)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Transport {
    /// HTTP long-polling.
    Polling,
    /// WebSocket.
    WebSocket,
    /// A stream of WebTransport.
    WebTransport,
}

impl Transport {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Polling, Self::WebSocket, Self::WebTransport];

    /// Its name in queries, handshakes and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Polling => "polling",
            Self::WebSocket => "websocket",
            Self::WebTransport => "webtransport",
        }
    }
}

/// What the driver has to do.
#[expect(
    clippy::exhaustive_enums,
    reason = "who drives the machine does something for each"
)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output {
    /// Put a ping into the outbox.
    Ping {
        /// How much later than scheduled.
        lateness: Duration,
    },
    /// A ping was answered.
    Pong {
        /// Since the ping went into the outbox.
        round_trip: Duration,
    },
    /// Put a pong into the outbox: the client pinged.
    AnswerPing,
    /// Answer the parked poll, whatever the outbox holds.
    AnswerPoll(Answer),
    /// Write `3probe` on the probing stream.
    AnswerProbe,
    /// Close the probing stream; the session stays on polling.
    DropProbe(ProbeFailure),
    /// The probing stream is the transport now; the outbox flows there.
    Upgraded,
    /// Write the outbox, then close the stream.
    FlushStream,
    /// Close the stream at once.
    CloseStream,
    /// The session receives nothing any more; its sockets disconnect.
    Closed(CloseReason),
    /// Forget the session and answer every request of it.
    Finished,
}

/// Why an upgrade came to nothing.
#[expect(
    clippy::exhaustive_enums,
    reason = "who drives the machine does something for each"
)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ProbeFailure {
    /// [`Timing::upgrade_timeout`] passed.
    Timeout,
    /// A packet that does not belong into a probe.
    UnexpectedPacket,
    /// The stream went away.
    Disconnected,
    /// The session closed meanwhile.
    SessionClosed,
}

/// What a poll is answered with.
#[expect(
    clippy::exhaustive_enums,
    reason = "who drives the machine does something for each"
)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// `6`.
    Noop,
    /// `1`.
    Close,
    /// `6` and `1`.
    NoopThenClose,
    /// 400, code 3: the session has left polling.
    Mismatch,
    /// 400, code 1: the session is over, and the client to open another.
    Gone,
}

/// What becomes of a poll (GET).
#[expect(
    clippy::exhaustive_enums,
    reason = "who drives the machine does something for each"
)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Poll {
    /// It waits. The driver answers it as soon as the outbox holds something, and says so with
    /// [`Session::handle_poll_answered`].
    Parked,
    /// 400 without a body: another poll was waiting. The session is closed.
    Overlap,
    /// 400, code 3: not on polling.
    Mismatch,
    /// 400, code 1: closed.
    Unknown,
}

/// What becomes of a post, before its body is read.
#[expect(
    clippy::exhaustive_enums,
    reason = "who drives the machine does something for each"
)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Post {
    /// Read the body and hand in its packets, then call [`Session::handle_post_end`].
    Accepted,
    /// 400 without a body: another post is being read. The session is closed.
    Overlap,
    /// 400, code 3: not on polling.
    Mismatch,
    /// 400, code 1: closed.
    Unknown,
}

/// Whether a stream with the id of an open session may probe.
#[expect(
    clippy::exhaustive_enums,
    reason = "who drives the machine does something for each"
)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attach {
    /// It may; its packets go to [`Session::handle_probe_packet`].
    Probing,
    /// Another one probes, or the session is on a stream already: close it, the session goes on.
    Refused,
}

impl Session {
    /// A session of revision 4 whose handshake is being answered now.
    pub fn open(now: Instant, transport: Transport, timing: Timing) -> Self {
        Self::open_as(now, transport, timing, Revision::Four)
    }

    /// A session whose handshake is being answered now.
    pub fn open_as(now: Instant, transport: Transport, timing: Timing, revision: Revision) -> Self {
        let mut timers = Timers::default();
        match revision {
            Revision::Three => timers.set(Timer::Pong, now + silence(timing)),
            Revision::Four => timers.set(Timer::Ping, now + timing.ping_interval),
        }
        let state = match transport {
            Transport::Polling => State::Polling(Requests::default()),
            Transport::WebSocket | Transport::WebTransport => State::Streaming,
        };
        Self {
            state,
            transport,
            probing: transport,
            revision,
            timing,
            timers,
            pinged_at: None,
            extended: false,
            excused: false,
            outputs: VecDeque::new(),
        }
    }

    /// The next thing to do, until there is none.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When [`handle_timeout`](Self::handle_timeout) wants to be called.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.timers.next()
    }

    /// The transport that messages travel by now, or travelled by last.
    pub fn transport(&self) -> Transport {
        self.transport
    }

    /// The revision that its client speaks.
    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// Whether messages are still received and sent.
    pub fn is_open(&self) -> bool {
        matches!(
            self.state,
            State::Polling(_) | State::Probing(_) | State::Streaming
        )
    }

    /// Whether a stream probes to become the transport.
    pub fn is_probing(&self) -> bool {
        matches!(self.state, State::Probing(_))
    }

    /// Whether a poll waits for an answer.
    pub fn has_poll(&self) -> bool {
        match self.state {
            State::Polling(requests) | State::Probing(requests) => requests.poll.is_some(),
            State::Closing { poll, .. } => poll,
            State::Streaming | State::Flushing | State::Leaving | State::Closed => false,
        }
    }

    /// A poll came; `buffered` says whether the outbox holds something for it.
    pub fn handle_poll(&mut self, now: Instant, buffered: bool) -> Poll {
        match &mut self.state {
            State::Polling(requests) | State::Probing(requests) if requests.poll.is_some() => {
                self.abort(CloseReason::TransportError);
                Poll::Overlap
            }
            State::Polling(requests) | State::Probing(requests) => {
                requests.poll = Some(now);
                Poll::Parked
            }
            State::Closing { poll, last } => {
                *poll = true;
                if !buffered {
                    let last = *last;
                    self.outputs.push_back(Output::AnswerPoll(last));
                    self.finish();
                }
                Poll::Parked
            }
            State::Leaving => {
                self.outputs.push_back(Output::AnswerPoll(Answer::Noop));
                self.finish();
                Poll::Parked
            }
            State::Streaming | State::Flushing => Poll::Mismatch,
            State::Closed => Poll::Unknown,
        }
    }

    /// The driver answered the parked poll with what the outbox held.
    pub fn handle_poll_answered(&mut self) {
        match &mut self.state {
            State::Polling(requests) | State::Probing(requests) => requests.poll = None,
            State::Closing { poll, .. } => *poll = false,
            State::Streaming | State::Flushing | State::Leaving | State::Closed => {}
        }
    }

    /// The client gave the parked poll up.
    pub fn handle_poll_aborted(&mut self) {
        match &mut self.state {
            State::Polling(requests) | State::Probing(requests) if requests.poll.is_some() => {
                requests.poll = None;
                self.abort(CloseReason::TransportError);
            }
            State::Closing { poll: true, .. } => self.finish(),
            State::Polling(_)
            | State::Probing(_)
            | State::Closing { .. }
            | State::Streaming
            | State::Flushing
            | State::Leaving
            | State::Closed => {}
        }
    }

    /// The node that brings the parked poll cannot wait any longer: the client is to poll again.
    pub fn handle_poll_released(&mut self) {
        if let State::Polling(requests) | State::Probing(requests) = &mut self.state
            && requests.poll.take().is_some()
        {
            self.outputs.push_back(Output::AnswerPoll(Answer::Noop));
        }
    }

    /// The head of a post came.
    pub fn handle_post(&mut self) -> Post {
        match &mut self.state {
            State::Polling(requests) | State::Probing(requests) if requests.post => {
                self.abort(CloseReason::TransportError);
                Post::Overlap
            }
            State::Polling(requests) | State::Probing(requests) => {
                requests.post = true;
                Post::Accepted
            }
            State::Streaming | State::Flushing => Post::Mismatch,
            State::Closing { .. } => Post::Accepted,
            State::Leaving | State::Closed => Post::Unknown,
        }
    }

    /// All packets of the post were handed in, or its body was refused.
    pub fn handle_post_end(&mut self) {
        if let State::Polling(requests) | State::Probing(requests) = &mut self.state {
            requests.post = false;
        }
    }

    /// The client gave up amid the body of a post, or sent one that is not allowed.
    pub fn handle_post_aborted(&mut self) {
        if let State::Polling(requests) | State::Probing(requests) = &mut self.state
            && requests.post
        {
            self.abort(CloseReason::TransportError);
        }
    }

    /// Whether the post that is being read still may hand in packets: not after an upgrade that
    /// did not wait for it.
    pub fn accepts_post(&self) -> bool {
        matches!(self.state, State::Polling(_) | State::Probing(_))
    }

    /// Whether the client closed by a post and its poll may still be on the way: the post is
    /// answered when the session is finished.
    pub fn waits_for_late_poll(&self) -> bool {
        self.state == State::Leaving
    }

    /// A packet of a polling body.
    pub fn handle_polling_packet<'a>(
        &mut self,
        now: Instant,
        packet: Packet<'a>,
    ) -> Option<Message<'a>> {
        let (State::Polling(requests) | State::Probing(requests)) = self.state else {
            return None;
        };
        match packet {
            Packet::Close => {
                if requests.poll.is_some() {
                    self.outputs.push_back(Output::AnswerPoll(Answer::Noop));
                }
                self.drop_probe(ProbeFailure::SessionClosed);
                self.outputs
                    .push_back(Output::Closed(CloseReason::TransportClose));
                self.timers.stop_all();
                if requests.poll.is_some() {
                    self.finish();
                } else {
                    self.state = State::Leaving;
                    self.timers.set(Timer::Close, now + LATE_POLL_GRACE);
                }
                None
            }
            Packet::Open(_) | Packet::Upgrade | Packet::Noop => {
                self.hear(now);
                None
            }
            Packet::Ping(_) | Packet::Pong(_) | Packet::Message(_) => {
                self.handle_packet(now, packet)
            }
        }
    }

    /// A packet on the stream that is the session's transport.
    pub fn handle_stream_packet<'a>(
        &mut self,
        now: Instant,
        packet: Packet<'a>,
    ) -> Option<Message<'a>> {
        if self.state != State::Streaming {
            return None;
        }
        match packet {
            Packet::Close => {
                self.abort(CloseReason::TransportClose);
                None
            }
            Packet::Open(_) | Packet::Upgrade | Packet::Noop => {
                self.hear(now);
                None
            }
            Packet::Ping(_) | Packet::Pong(_) | Packet::Message(_) => {
                self.handle_packet(now, packet)
            }
        }
    }

    /// A packet on the probing stream.
    pub fn handle_probe_packet(&mut self, now: Instant, packet: &Packet<'_>) {
        let State::Probing(requests) = self.state else {
            return;
        };
        match packet {
            Packet::Ping("probe") => {
                self.outputs.push_back(Output::AnswerProbe);
                self.timers.set(Timer::Noop, now + NOOP_INTERVAL);
            }
            Packet::Upgrade => {
                self.timers.stop(Timer::Upgrade);
                self.timers.stop(Timer::Noop);
                match requests.poll {
                    Some(at) if now < at + EARLY_POLL => {
                        self.outputs.push_back(Output::AnswerPoll(Answer::Mismatch));
                    }
                    Some(_) => self.outputs.push_back(Output::AnswerPoll(Answer::Close)),
                    None => {}
                }
                self.state = State::Streaming;
                self.transport = self.probing;
                self.hear(now);
                self.outputs.push_back(Output::Upgraded);
            }
            Packet::Open(_)
            | Packet::Close
            | Packet::Ping(_)
            | Packet::Pong(_)
            | Packet::Message(_)
            | Packet::Noop => self.fail_probe(ProbeFailure::UnexpectedPacket),
        }
    }

    /// Bytes that are no packet came by the session's transport.
    pub fn handle_undecodable(&mut self) {
        if self.is_open() {
            self.abort(CloseReason::ParseError);
        }
    }

    /// A stream with this session's id finished its handshake; `transport` is what it is.
    pub fn handle_attach(&mut self, now: Instant, transport: Transport) -> Attach {
        match self.state {
            State::Polling(requests) => {
                self.probing = transport;
                self.state = State::Probing(requests);
                self.timers
                    .set(Timer::Upgrade, now + self.timing.upgrade_timeout);
                Attach::Probing
            }
            State::Probing(_)
            | State::Streaming
            | State::Closing { .. }
            | State::Flushing
            | State::Leaving
            | State::Closed => Attach::Refused,
        }
    }

    /// The probing stream went away or broke its protocol.
    pub fn handle_probe_lost(&mut self) {
        self.fail_probe(ProbeFailure::Disconnected);
    }

    /// The stream that is the transport went away (`TransportClose`), or broke its protocol (`TransportError`).
    pub fn handle_stream_lost(&mut self, reason: CloseReason) {
        match self.state {
            State::Streaming => self.abort(reason),
            State::Flushing => self.finish(),
            State::Polling(_)
            | State::Probing(_)
            | State::Closing { .. }
            | State::Leaving
            | State::Closed => {}
        }
    }

    /// The stream has taken all of the outbox after [`Output::FlushStream`].
    pub fn handle_flushed(&mut self) {
        if self.state == State::Flushing {
            self.outputs.push_back(Output::CloseStream);
            self.finish();
        }
    }

    /// The transport has not taken the last ping yet, so that the client cannot answer it: the wait for
    /// its pong begins anew. How long the transport may take, the driver has to bound.
    pub fn handle_ping_unsent(&mut self, now: Instant) {
        if self.timers.get(Timer::Pong).is_some_and(|due| due <= now) {
            self.timers.set(Timer::Pong, now + self.timing.ping_timeout);
        }
    }

    /// Closes after what is queued was sent; `buffered` says whether the outbox holds something.
    pub fn close(&mut self, now: Instant, reason: CloseReason, buffered: bool) {
        match self.state {
            State::Polling(requests) | State::Probing(requests) => {
                self.drop_probe(ProbeFailure::SessionClosed);
                self.outputs.push_back(Output::Closed(reason));
                self.timers.stop_all();
                if requests.poll.is_some() && !buffered {
                    self.outputs
                        .push_back(Output::AnswerPoll(parting(reason, Answer::Close)));
                    self.finish();
                } else {
                    self.state = State::Closing {
                        poll: requests.poll.is_some(),
                        last: parting(reason, Answer::NoopThenClose),
                    };
                    self.timers.set(Timer::Close, now + CLOSE_GRACE);
                }
            }
            State::Streaming => {
                self.outputs.push_back(Output::Closed(reason));
                self.outputs.push_back(Output::FlushStream);
                self.state = State::Flushing;
                self.timers.stop_all();
                self.timers.set(Timer::Close, now + CLOSE_GRACE);
            }
            State::Closing { .. } | State::Flushing | State::Leaving | State::Closed => {}
        }
    }

    /// Closes at once and discards what is queued.
    pub fn abort(&mut self, reason: CloseReason) {
        if self.has_poll() {
            self.outputs
                .push_back(Output::AnswerPoll(parting(reason, Answer::Close)));
        }
        self.drop_probe(ProbeFailure::SessionClosed);
        if matches!(self.state, State::Streaming | State::Flushing) {
            self.outputs.push_back(Output::CloseStream);
        }
        if self.is_open() {
            self.outputs.push_back(Output::Closed(reason));
        }
        self.finish();
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some((timer, scheduled)) = self.timers.expire(now) {
            match timer {
                Timer::Ping => {
                    let lateness = now - scheduled;
                    let from = if lateness > TOLERATED_LATENESS {
                        now
                    } else {
                        scheduled
                    };
                    self.pinged_at = Some(now);
                    self.extended = false;
                    self.excused = false;
                    self.timers
                        .set(Timer::Pong, from + self.timing.ping_timeout);
                    self.outputs.push_back(Output::Ping { lateness });
                }
                Timer::Pong if now - scheduled > STOOD_STILL && !self.excused => {
                    self.excused = true;
                    let grace = READ_FIRST.min(self.timing.ping_timeout);
                    self.timers.set(Timer::Pong, now + grace);
                }
                Timer::Pong => self.abort(CloseReason::PingTimeout),
                Timer::Upgrade => self.fail_probe(ProbeFailure::Timeout),
                Timer::Noop => {
                    if let State::Probing(requests) = &mut self.state {
                        if requests.poll.take().is_some() {
                            self.outputs.push_back(Output::AnswerPoll(Answer::Noop));
                        }
                        self.timers.set(Timer::Noop, now + NOOP_INTERVAL);
                    }
                }
                Timer::Close => {
                    if self.state == State::Flushing {
                        self.outputs.push_back(Output::CloseStream);
                    }
                    self.finish();
                }
            }
        }
    }

    /// A client of revision 3 sent something, so it is there.
    fn hear(&mut self, now: Instant) {
        if self.revision == Revision::Three {
            self.excused = false;
            self.timers.set(Timer::Pong, now + silence(self.timing));
        }
    }

    fn handle_packet<'a>(&mut self, now: Instant, packet: Packet<'a>) -> Option<Message<'a>> {
        self.hear(now);
        match packet {
            Packet::Ping(_) if self.revision == Revision::Three => {
                self.outputs.push_back(Output::AnswerPing);
                None
            }
            Packet::Pong(_) if self.revision == Revision::Three => {
                self.abort(CloseReason::TransportError);
                None
            }
            Packet::Pong(_) => {
                if let Some(pinged_at) = self.pinged_at.take() {
                    self.timers.stop(Timer::Pong);
                    self.timers
                        .set(Timer::Ping, now + self.timing.ping_interval);
                    self.outputs.push_back(Output::Pong {
                        round_trip: now - pinged_at,
                    });
                }
                None
            }
            Packet::Message(message) => {
                if self.pinged_at.is_some() && !self.extended {
                    self.extended = true;
                    self.timers.set(Timer::Pong, now + self.timing.ping_timeout);
                }
                Some(message)
            }
            Packet::Ping(_) => {
                self.abort(CloseReason::TransportError);
                None
            }
            Packet::Open(_) | Packet::Close | Packet::Upgrade | Packet::Noop => None,
        }
    }

    fn fail_probe(&mut self, failure: ProbeFailure) {
        self.drop_probe(failure);
        if let State::Probing(requests) = self.state {
            self.state = State::Polling(requests);
        }
    }

    fn drop_probe(&mut self, failure: ProbeFailure) {
        if matches!(self.state, State::Probing(_)) {
            self.timers.stop(Timer::Upgrade);
            self.timers.stop(Timer::Noop);
            self.outputs.push_back(Output::DropProbe(failure));
        }
    }

    fn finish(&mut self) {
        if self.state != State::Closed {
            self.state = State::Closed;
            self.timers.stop_all();
            self.outputs.push_back(Output::Finished);
        }
    }
}

/// How long a client of revision 3 may send nothing.
fn silence(timing: Timing) -> Duration {
    timing.ping_interval + timing.ping_timeout
}

/// What the last poll is answered with.
fn parting(reason: CloseReason, close: Answer) -> Answer {
    if reason.invites_back() {
        Answer::Gone
    } else {
        close
    }
}
