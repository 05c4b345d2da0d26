//! A scripted client and a session, with a clock that only the script moves.

use std::time::{Duration, Instant};

use protocol::engineio::{
    Attach, CloseReason, Message, Output, Packet, Poll, Post, Revision, Session, Timing, Transport,
    payload,
};

/// Milliseconds from the handshake or a pong to the next ping.
pub(crate) const PING_INTERVAL: u64 = 300;

/// Milliseconds from a ping to its pong.
pub(crate) const PING_TIMEOUT: u64 = 200;

/// Milliseconds that an upgrade may take.
pub(crate) const UPGRADE_TIMEOUT: u64 = 1000;

/// A ping that comes on time.
pub(crate) const PING: Output = Output::Ping {
    lateness: Duration::ZERO,
};

/// A pong that came so many milliseconds after its ping.
pub(crate) fn pong(round_trip: u64) -> Output {
    Output::Pong {
        round_trip: Duration::from_millis(round_trip),
    }
}

/// What comes out of a session must be asserted with [`expect`](Self::expect) before anything else
/// happens, and before the end of the test.
pub(crate) struct Pair {
    session: Session,
    now: Instant,
    unasserted: Vec<Output>,
}

impl Pair {
    pub(crate) fn open(transport: Transport) -> Self {
        Self::open_as(transport, Revision::Four)
    }

    #[allow(
        clippy::disallowed_methods,
        reason = "an instant to count from; nothing depends on which"
    )]
    fn open_as(transport: Transport, revision: Revision) -> Self {
        let now = Instant::now();
        let timing = Timing {
            ping_interval: Duration::from_millis(PING_INTERVAL),
            ping_timeout: Duration::from_millis(PING_TIMEOUT),
            upgrade_timeout: Duration::from_millis(UPGRADE_TIMEOUT),
        };
        Self {
            session: Session::open_as(now, transport, timing, revision),
            now,
            unasserted: Vec::new(),
        }
    }

    pub(crate) fn polling() -> Self {
        Self::open(Transport::Polling)
    }

    pub(crate) fn websocket() -> Self {
        Self::open(Transport::WebSocket)
    }

    /// A polling session of a client of revision 3.
    pub(crate) fn old_polling() -> Self {
        Self::open_as(Transport::Polling, Revision::Three)
    }

    /// The same on a WebSocket.
    pub(crate) fn old_websocket() -> Self {
        Self::open_as(Transport::WebSocket, Revision::Three)
    }

    /// A polling session with a WebSocket that was answered `3probe`.
    pub(crate) fn probing() -> Self {
        let mut pair = Self::polling();
        assert_eq!(pair.attach(), Attach::Probing);
        pair.probe("2probe");
        pair.expect(&[Output::AnswerProbe]);
        pair
    }

    /// What came out since the last call is exactly this.
    #[track_caller]
    pub(crate) fn expect(&mut self, outputs: &[Output]) {
        assert_eq!(std::mem::take(&mut self.unasserted), outputs);
    }

    /// Lets time pass. What comes out must come at its end, not before.
    #[track_caller]
    pub(crate) fn wait(&mut self, millis: u64) {
        let end = self.now + Duration::from_millis(millis);
        while let Some(due) = self.session.poll_timeout().filter(|due| *due <= end) {
            assert!(due >= self.now, "a timer is set in the past");
            let early = end - due;
            self.now = due;
            self.input(|session| session.handle_timeout(due));
            assert!(
                early.is_zero() || self.unasserted.is_empty(),
                "{early:?} too early: {:?}",
                self.unasserted
            );
        }
        self.now = end;
    }

    /// Lets time pass while the node stands still, so that all timers fire late.
    #[track_caller]
    pub(crate) fn stand_still(&mut self, millis: u64) {
        self.now += Duration::from_millis(millis);
        let now = self.now;
        self.input(|session| session.handle_timeout(now));
    }

    /// Lets time pass to the next deadline, while the ping still waits in the outbox.
    #[track_caller]
    pub(crate) fn wait_with_the_ping_unsent(&mut self, millis: u64) {
        self.now += Duration::from_millis(millis);
        let now = self.now;
        self.input(|session| {
            session.handle_ping_unsent(now);
            session.handle_timeout(now);
        });
    }

    /// A poll that finds nothing to take.
    #[track_caller]
    pub(crate) fn poll(&mut self) -> Poll {
        let now = self.now;
        self.input(|session| session.handle_poll(now, false))
    }

    /// A poll that takes what the outbox holds.
    #[track_caller]
    pub(crate) fn poll_buffered(&mut self) -> Poll {
        let now = self.now;
        self.input(|session| {
            let outcome = session.handle_poll(now, true);
            if session.has_poll() {
                session.handle_poll_answered();
            }
            outcome
        })
    }

    /// The parked poll takes what was just put into the outbox.
    #[track_caller]
    pub(crate) fn answer_poll(&mut self) {
        assert!(self.session.has_poll());
        self.input(Session::handle_poll_answered);
    }

    /// A whole post; returns the messages in it.
    #[track_caller]
    pub(crate) fn post(&mut self, body: &str) -> Vec<String> {
        assert_eq!(self.post_head(), Post::Accepted);
        let now = self.now;
        self.input(|session| {
            let messages = hand_in(session, now, body);
            session.handle_post_end();
            messages
        })
    }

    #[track_caller]
    pub(crate) fn post_head(&mut self) -> Post {
        self.input(Session::handle_post)
    }

    #[track_caller]
    pub(crate) fn post_body(&mut self, body: &str) -> Vec<String> {
        let now = self.now;
        self.input(|session| hand_in(session, now, body))
    }

    #[track_caller]
    pub(crate) fn post_end(&mut self) {
        self.input(Session::handle_post_end);
    }

    /// A packet on the WebSocket that is the transport; returns the message in it.
    #[track_caller]
    pub(crate) fn frame(&mut self, packet: &str) -> Option<String> {
        let (now, packet) = (self.now, decode(packet));
        self.input(|session| {
            let message = session.handle_stream_packet(now, packet);
            message.map(|message| content(&message))
        })
    }

    /// A packet on the WebSocket that probes.
    #[track_caller]
    pub(crate) fn probe(&mut self, packet: &str) {
        let (now, packet) = (self.now, decode(packet));
        self.input(|session| session.handle_probe_packet(now, &packet));
    }

    #[track_caller]
    pub(crate) fn attach(&mut self) -> Attach {
        self.attach_as(Transport::WebSocket)
    }

    #[track_caller]
    pub(crate) fn attach_as(&mut self, transport: Transport) -> Attach {
        let now = self.now;
        self.input(|session| session.handle_attach(now, transport))
    }

    #[track_caller]
    pub(crate) fn close(&mut self, buffered: bool) {
        self.close_because(CloseReason::ForcedClose, buffered);
    }

    #[track_caller]
    pub(crate) fn close_because(&mut self, reason: CloseReason, buffered: bool) {
        let now = self.now;
        self.input(|session| session.close(now, reason, buffered));
    }

    /// Any other input.
    #[track_caller]
    pub(crate) fn input<T>(&mut self, input: impl FnOnce(&mut Session) -> T) -> T {
        assert_eq!(self.unasserted, [], "nobody asserted these");
        let result = input(&mut self.session);
        self.unasserted
            .extend(std::iter::from_fn(|| self.session.poll_output()));
        result
    }

    pub(crate) fn session(&self) -> &Session {
        &self.session
    }

    /// The session is over: it knows nobody and waits for nothing.
    #[track_caller]
    pub(crate) fn is_gone(&mut self) {
        assert_eq!(self.session.poll_timeout(), None);
        assert!(!self.session.is_open());
        assert_eq!(self.poll(), Poll::Unknown);
        assert_eq!(self.post_head(), Post::Unknown);
        assert_eq!(self.attach(), Attach::Refused);
        assert_eq!(self.frame("4late"), None);
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            assert_eq!(self.unasserted, [], "nobody asserted these");
        }
    }
}

fn hand_in(session: &mut Session, now: Instant, body: &str) -> Vec<String> {
    payload::decode(body)
        .map(|packet| packet.expect("the script posts packets"))
        .filter_map(|packet| session.handle_polling_packet(now, packet))
        .map(|message| content(&message))
        .collect()
}

fn decode(packet: &str) -> Packet<'_> {
    Packet::decode(packet).expect("the script sends packets")
}

fn content(message: &Message<'_>) -> String {
    match message {
        Message::Text(text) => (*text).to_owned(),
        Message::Binary(data) => format!("{data:?}"),
    }
}
