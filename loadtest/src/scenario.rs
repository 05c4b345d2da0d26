//! What clients do. A scenario is a set of reactions; a [`crate::driver::Driver`] owns the connections and calls it.

pub(crate) mod avalanche;
pub(crate) mod connect;
pub(crate) mod echo;
pub(crate) mod fanout;
pub(crate) mod flow;
pub(crate) mod greeting;
pub(crate) mod idle;
pub(crate) mod jitter;
pub(crate) mod load;
pub(crate) mod nodes;
pub(crate) mod rollout;

use std::sync::Arc;
use std::sync::mpsc::Sender;

use mio::Waker;

use crate::stats::{Count, Series, Tally, Times};
use crate::timers::{Timer, Timers};

/// What a run goes through. The reporting thread sets it, every generator thread hears of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Clients connect and get ready.
    Connect,
    /// The load runs, nothing is recorded yet.
    Warmup,
    /// The load runs and is measured.
    Measure,
    /// Nothing new is sent; what is under way may arrive.
    Drain,
    /// All clients leave.
    Leave,
}

impl Phase {
    /// Whether messages are sent.
    pub(crate) fn is_loaded(self) -> bool {
        matches!(self, Self::Warmup | Self::Measure)
    }
}

/// Tries again in half a second to a second, as a crowd of real clients would.
pub(crate) fn reconnect_soon(client: u32, io: &mut Io) {
    let delay = 500_000_000.0 * (1.0 + io.random());
    io.timers.set(io.now + delay as u64, Timer::Connect(client));
}

/// One thread's part of a scenario. Clients are named by their index within the thread.
pub(crate) trait Scenario: Send + 'static {
    /// What is left of it at the end.
    type Part: Send + 'static;

    /// Which of the URLs a client uses first.
    fn node(&self, client: u32) -> usize;

    /// Another phase has begun.
    fn handle_phase(&mut self, phase: Phase, io: &mut Io);

    /// A client has sent CONNECT.
    fn handle_opened(&mut self, _client: u32, _io: &mut Io) {}

    /// A client has joined the namespace; `reply` is the JSON of the server's CONNECT.
    fn handle_joined(&mut self, client: u32, reply: &[u8], io: &mut Io);

    /// A client got a Socket.IO packet: `2["event",..]` or `3id[..]`.
    fn handle_message(&mut self, client: u32, message: &[u8], io: &mut Io);

    /// A client's session ended without being asked to. It does not come back by itself.
    fn handle_closed(&mut self, client: u32, io: &mut Io);

    /// A deadline that the scenario has set; `at` is when it was due.
    fn handle_timer(&mut self, at: u64, timer: Timer, io: &mut Io);

    /// Another thread has received the last of its deliveries of a room's message.
    fn handle_completion(&mut self, _room: u32, _io: &mut Io) {}

    /// The end.
    fn finish(self) -> Self::Part;
}

/// Which clients belong to a thread: every `threads`-th.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Share {
    /// This thread.
    pub(crate) thread: usize,
    /// All of them.
    pub(crate) threads: usize,
}

impl Share {
    /// How many of `total` clients.
    pub(crate) fn count(&self, total: usize) -> usize {
        total.saturating_sub(self.thread).div_ceil(self.threads)
    }

    /// The number of a client among all.
    pub(crate) fn global(&self, client: u32) -> usize {
        client as usize * self.threads + self.thread
    }

    /// The index within its thread of a client, when it is this thread's.
    pub(crate) fn local(&self, global: usize) -> Option<u32> {
        (global % self.threads == self.thread).then_some((global / self.threads) as u32)
    }
}

/// What one thread tells another.
#[derive(Debug)]
pub(crate) enum Mail {
    /// See [`Scenario::handle_phase`].
    Phase(Phase),
    /// See [`Scenario::handle_completion`].
    Completion(u32),
    /// Finish and end.
    Stop,
}

/// Where a thread takes its mail.
#[derive(Clone)]
pub(crate) struct Mailbox {
    /// Its queue.
    pub(crate) sender: Sender<Mail>,
    /// Ends its wait.
    pub(crate) waker: Arc<Waker>,
}

impl Mailbox {
    /// Posts; a thread that has ended needs nothing any more.
    pub(crate) fn post(&self, mail: Mail) {
        if self.sender.send(mail).is_ok() {
            let _ = self.waker.wake();
        }
    }
}

/// What the driver does once the scenario has reacted.
#[derive(Debug)]
pub(crate) enum Command {
    /// Send the packet that ends here in the buffer of packets.
    Send {
        /// Who sends.
        client: u32,
        /// End of the packet; it begins where the last one ended.
        end: usize,
    },
    /// Connect as soon as the ramp allows.
    Connect {
        /// Who connects.
        client: u32,
        /// Payload of CONNECT, when it is not that of the run.
        payload: Option<Box<[u8]>>,
    },
    /// Cut the TCP connection, without a word.
    Cut(u32),
    /// Turn to nothing, without a word, and leave the TCP connection open: the server sees no end of it.
    Abandon(u32),
}

/// A scenario's hands.
pub(crate) struct Io {
    /// The clock, read once per wake-up or per read.
    pub(crate) now: u64,
    /// The phase of the run.
    pub(crate) phase: Phase,
    /// This thread's counters.
    pub(crate) tally: Arc<Tally>,
    /// This thread's histograms of the current interval.
    pub(crate) times: Times,
    /// Deadlines.
    pub(crate) timers: Timers,
    /// Connect without the ramp's limits.
    pub(crate) hurry: bool,
    /// All threads' mailboxes, by thread.
    pub(crate) mailboxes: Arc<[Mailbox]>,
    /// Orders to the driver, in their order.
    pub(crate) commands: Vec<Command>,
    /// The packets to send, one behind the other.
    pub(crate) packets: Vec<u8>,
    random: u64,
}

impl Io {
    /// Empty hands.
    pub(crate) fn new(tally: Arc<Tally>, mailboxes: Arc<[Mailbox]>, seed: u64) -> Self {
        Self {
            now: crate::clock::now(),
            phase: Phase::Connect,
            tally,
            times: Times::default(),
            timers: Timers::default(),
            hurry: false,
            mailboxes,
            commands: Vec::new(),
            packets: Vec::new(),
            random: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
        }
    }

    /// Sends the packet that `write` appends.
    pub(crate) fn send(&mut self, client: u32, write: impl FnOnce(&mut Vec<u8>)) {
        write(&mut self.packets);
        let end = self.packets.len();
        self.commands.push(Command::Send { client, end });
    }

    /// Connects a client.
    pub(crate) fn connect(&mut self, client: u32) {
        let payload = None;
        self.commands.push(Command::Connect { client, payload });
    }

    /// Connects a client, with a CONNECT payload of its own.
    pub(crate) fn connect_with(&mut self, client: u32, payload: Box<[u8]>) {
        let payload = Some(payload);
        self.commands.push(Command::Connect { client, payload });
    }

    /// Cuts a client's connection.
    pub(crate) fn cut(&mut self, client: u32) {
        self.commands.push(Command::Cut(client));
    }

    /// Leaves a client's connection open and forgets it.
    pub(crate) fn abandon(&mut self, client: u32) {
        self.commands.push(Command::Abandon(client));
    }

    /// Adds to a count.
    pub(crate) fn count(&self, count: Count, amount: u64) {
        self.tally.add(count, amount);
    }

    /// Records a time in the measured phase; earlier and later ones would blur the figure.
    pub(crate) fn record(&mut self, series: Series, nanoseconds: u64) {
        if self.phase == Phase::Measure {
            self.times.record(series, nanoseconds);
        }
    }

    /// A number from 0 to below 1.
    pub(crate) fn random(&mut self) -> f64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random >> 11) as f64 / (1_u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_cover_all_clients_once() {
        for (total, threads) in [(10, 3), (2, 4), (0, 1), (7, 1)] {
            let shares: Vec<_> = (0..threads)
                .map(|thread| Share { thread, threads })
                .collect();
            let mut seen = vec![0; total];
            for share in &shares {
                for client in 0..share.count(total) {
                    let global = share.global(client as u32);
                    assert_eq!(share.local(global), Some(client as u32));
                    seen[global] += 1;
                }
            }
            assert!(seen.iter().all(|&times| times == 1));
        }
    }
}
