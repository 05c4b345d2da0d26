//! A client's first event, sent again until it is acknowledged: some servers answer CONNECT before their handlers are
//! in place, and lose what comes at once.

use crate::client::Failure;
use crate::scenario::Io;
use crate::timers::Timer;

/// The first events of a thread's clients.
#[derive(Debug)]
pub(crate) struct Greeting {
    clients: Vec<State>,
}

#[derive(Clone, Copy, Debug, Default)]
struct State {
    attempt: u32,
    waiting: bool,
}

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Greeted {
    /// The client's first event is acknowledged.
    Now,
    /// It is refused. As long as the client is not forgotten, it asks again.
    Refused,
    /// Not the ack that was waited for.
    No,
}

impl Greeting {
    /// Nobody has connected yet.
    pub(crate) fn new(clients: usize) -> Self {
        Self {
            clients: vec![State::default(); clients],
        }
    }

    /// Sends the first event of a client that has just joined. It has to carry the ack id 0.
    pub(crate) fn begin(&mut self, client: u32, io: &mut Io, write: impl FnOnce(&mut Vec<u8>)) {
        let state = &mut self.clients[client as usize];
        state.attempt += 1;
        state.waiting = true;
        let attempt = state.attempt;
        io.send(client, write);
        io.timers
            .set(io.now + AGAIN_AFTER, Timer::Greeting { client, attempt });
    }

    /// A deadline has come; sends again when the ack has not.
    pub(crate) fn handle_timer(
        &mut self,
        timer: Timer,
        io: &mut Io,
        write: impl FnOnce(&mut Vec<u8>),
    ) {
        let Timer::Greeting { client, attempt } = timer else {
            return;
        };
        let state = self.clients[client as usize];
        if state.waiting && state.attempt == attempt {
            self.begin(client, io, write);
        }
    }

    /// Looks whether a message is the ack.
    pub(crate) fn handle_message(&mut self, client: u32, message: &[u8], io: &mut Io) -> Greeted {
        let state = &mut self.clients[client as usize];
        let Some(answer) = message.strip_prefix(b"30[") else {
            return Greeted::No;
        };
        if !state.waiting {
            return Greeted::No;
        }
        if answer.starts_with(br#"{"ok":false"#) {
            io.tally.failed(Failure::Refused);
            return Greeted::Refused;
        }
        state.waiting = false;
        Greeted::Now
    }

    /// The client is gone, and whatever it waited for.
    pub(crate) fn forget(&mut self, client: u32) {
        self.clients[client as usize].waiting = false;
    }
}

/// How long a first event may take.
const AGAIN_AFTER: u64 = 1_000_000_000;
