use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tokio::io::WriteHalf;
use tokio::sync::Notify;
use tokio::time::{MissedTickBehavior, interval, sleep_until};

use crate::bus::lane::{self, Lane, LaneChannels, Silence};
use crate::bus::queue::Outbound;
use crate::bus::status::End;
use crate::link::backoff::Backoff;
use crate::link::connection::{Input, Link, LinkError, Stream, write};
use crate::link::lock::lock;
use crate::link::refusal::{Meaning, words};
use crate::link::resp::{Reply, Stop, parse_reply, push_command};
use crate::link::role::Role;
use crate::link::watchdog::Watchdog;

/// Bytes that are handed to the kernel at a time.
const BATCH: usize = 128 << 10;
/// Most messages that await confirmation on one connection.
const WINDOW: usize = 8192;
/// How long to wait before messages are sent again that went to the wrong server.
const RETRY: Duration = Duration::from_millis(100);
/// How soon after messages, at most, the server is asked whether it is still the master, so that they
/// can be counted as published.
const ROLE: Duration = Duration::from_millis(25);
/// Bytes per second of the slowest link that is not taken for a dead one.
const SLOWEST: u64 = 200_000;
/// Longest time that is given to what such a link still carries.
const MAX_ALLOWANCE: Duration = Duration::from_secs(30);
/// How many messages to oneself in a row have to reach nobody.
const MAX_UNREACHED: u32 = 3;

/// Publishes what waits for `lane`, for ever.
pub(crate) async fn run(lane: Lane, wake: Arc<Notify>) {
    let new_backoff = || Backoff::new(lane.shared.cluster.config.timing.backoff);
    let mut backoff = new_backoff();
    let mut next = None;
    let mut is_first = true;
    loop {
        let (link, endpoint) = match next.take() {
            Some(connected) => connected,
            None => lane.connect(End::Publisher, &mut backoff).await,
        };
        if !std::mem::take(&mut is_first) {
            lane.shared.cluster.counters.reconnects.increment();
        }
        let connected = Instant::now();
        let mut session = PublisherSession::new(&lane, link, &wake);
        let (error, replaced) = lane.keep(&mut session, &endpoint, &mut backoff).await;
        drop(session);
        lane.handle_lost(End::Publisher, &error);
        next = replaced;
        if connected.elapsed() > lane.shared.cluster.config.timing.silence {
            backoff = new_backoff();
        }
        if next.is_none() {
            tokio::time::sleep(backoff.pause()).await;
        }
    }
}

/// One connection that publishes. Dropping it puts back what was not sent and counts what was not confirmed.
struct PublisherSession<'a> {
    lane: &'a Lane,
    wake: &'a Notify,
    input: Input,
    writer: WriteHalf<Stream>,
    /// Commands to write, up to `written` already written.
    out: Vec<u8>,
    written: usize,
    flushed: bool,
    /// The kernel did not take all of it the last time.
    is_full: bool,
    /// Bytes ever put into `out`, and ever handed to the kernel.
    total_out: u64,
    total_written: u64,
    in_flight: VecDeque<InFlight>,
    /// Messages that went to the wrong server, in order. No others are sent before them.
    retry: Vec<Outbound>,
    resume: Option<Instant>,
    watchdog: Watchdog,
    /// Where the command ends that was answered last, in bytes ever put out.
    answered: u64,
    role: RoleCheck,
    /// Messages that the server executed and that wait for its word that it is the master.
    executed: u64,
    /// Whether messages to oneself ever reached somebody at the server, and how many of the last did
    /// not.
    reached: bool,
    unreached: u32,
    /// Refusals that begin with these words are logged already.
    logged: Vec<String>,
}

/// Whether the server can be asked for its role, and when it is.
#[derive(Debug, Clone, Copy, PartialEq)]
enum RoleCheck {
    /// It does not matter, or it may not be asked.
    Off,
    /// It was asked at this time.
    Idle(Instant),
    Asked,
}

struct InFlight {
    what: What,
    /// Where its command ends, in bytes ever put out.
    end: u64,
}

enum What {
    Message(Outbound),
    Probe(u64),
    Announcement,
    Role,
}

/// Most kinds of refusals that are remembered as logged.
const MAX_LOGGED: usize = 32;

impl<'a> PublisherSession<'a> {
    fn new(lane: &'a Lane, link: Link, wake: &'a Notify) -> Self {
        let mut status = lane.shared.status();
        status.handle_publisher(lane.id, true, Instant::now());
        drop(status);
        lane.shared.handle_status_change();
        let now = Instant::now();
        let timing = lane.shared.cluster.config.timing;
        Self {
            lane,
            wake,
            input: link.input,
            writer: link.writer,
            out: Vec::with_capacity(BATCH),
            written: 0,
            flushed: true,
            is_full: false,
            total_out: 0,
            total_written: 0,
            in_flight: VecDeque::new(),
            retry: Vec::new(),
            resume: None,
            watchdog: Watchdog::new(timing.silence, timing.probe, now),
            answered: 0,
            role: match lane.directory.has_one_master() {
                true => RoleCheck::Idle(now),
                false => RoleCheck::Off,
            },
            executed: 0,
            reached: false,
            unreached: 0,
            logged: Vec::new(),
        }
    }

    async fn run(&mut self, silence: Silence) -> LinkError {
        let timing = self.lane.shared.cluster.config.timing;
        let mut status_changed = self.lane.shared.status_changed.subscribe();
        let mut suspected = self.lane.shared.cluster.suspected.subscribe();
        let mut probe = interval(timing.probe);
        probe.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            self.refill();
            if silence == Silence::Tolerated && self.watchdog.has_moved() {
                return LinkError::Alive;
            }
            let due = self.due();
            let result = tokio::select! {
                result = self.input.fill() => result.and_then(|()| self.read_replies()),
                result = write(&mut self.writer, &self.out[self.written..]), if self.has_output() => {
                    result.map(|count| self.handle_written(count))
                }
                () = self.wake.notified(), if self.takes_more() => Ok(()),
                () = sleep_until(due.unwrap_or_else(Instant::now).into()), if due.is_some() => {
                    self.handle_due(Instant::now());
                    Ok(())
                }
                _ = status_changed.changed() => {
                    if self.lane.shared.status().wants_probe(self.lane.id) {
                        self.send_probe();
                    }
                    Ok(())
                }
                _ = suspected.changed() => self.handle_suspicion(),
                _ = probe.tick() => self.handle_tick(silence).await,
            };
            if let Err(error) = result {
                return error;
            }
        }
    }

    async fn handle_tick(&mut self, silence: Silence) -> Result<(), LinkError> {
        self.watchdog.handle_tick(Instant::now());
        if self.in_flight.is_empty() {
            self.watchdog.handle_life();
        }
        if silence == Silence::Ends && self.watchdog.has_expired(self.allowance()) {
            // What came while this node was frozen or busy is a sign of life.
            if !self.input.fill_now().await? {
                return Err(LinkError::Silent);
            }
            self.read_replies()?;
        }
        self.send_probe();
        self.ask_role();
        Ok(())
    }

    /// How long a slow link may take for what it carries.
    fn allowance(&self) -> Duration {
        let bytes = self.total_written.saturating_sub(self.answered);
        Duration::from_millis(bytes * 1000 / SLOWEST).min(MAX_ALLOWANCE)
    }

    /// When [`handle_due`](Self::handle_due) has something to do.
    fn due(&self) -> Option<Instant> {
        let role = match self.role {
            RoleCheck::Idle(asked) if self.executed > 0 => Some(asked + ROLE),
            RoleCheck::Idle(_) | RoleCheck::Asked | RoleCheck::Off => None,
        };
        self.resume.into_iter().chain(role).min()
    }

    fn handle_due(&mut self, now: Instant) {
        if self.resume.is_some_and(|resume| resume <= now) {
            self.resume = None;
        }
        match self.role {
            RoleCheck::Idle(asked) if self.executed > 0 && asked + ROLE <= now => self.ask_role(),
            RoleCheck::Idle(_) | RoleCheck::Asked | RoleCheck::Off => {}
        }
    }

    fn ask_role(&mut self) {
        if let RoleCheck::Idle(_) = self.role {
            self.role = RoleCheck::Asked;
            let mut command = Vec::new();
            push_command(&mut command, &[b"ROLE"]);
            self.put_out(&command, What::Role);
        }
    }

    /// A heartbeat came to a replica. Whether this connection is at one, too, it is about to be told,
    /// if it may ask.
    fn handle_suspicion(&mut self) -> Result<(), LinkError> {
        if self.role == RoleCheck::Off && self.lane.directory.has_one_master() {
            let reason = "a heartbeat came to a replica".to_owned();
            return Err(LinkError::NotMaster(reason));
        }
        self.ask_role();
        Ok(())
    }

    fn has_output(&self) -> bool {
        self.written < self.out.len() || !self.flushed
    }

    fn takes_more(&self) -> bool {
        self.retry.is_empty()
            && self.resume.is_none()
            && self.in_flight.len() < WINDOW
            && self.out.len() - self.written < BATCH
    }

    /// Takes what waits in the queue, as far as there is room.
    fn refill(&mut self) {
        if self.written == self.out.len() {
            self.out.clear();
            self.written = 0;
        }
        if self.in_flight.is_empty() && !self.retry.is_empty() {
            let retry = std::mem::take(&mut self.retry);
            let shared = &self.lane.shared;
            let count = retry.len() as u64;
            shared.with_queue(|queue| queue.put_back(retry.into_iter()));
            shared.in_flight.fetch_sub(count, Ordering::Relaxed);
            self.resume = Some(Instant::now() + RETRY);
        }
        let now = Instant::now();
        let id = self.lane.id;
        if !self.takes_more() || !self.lane.shared.status().is_open(id, now) {
            return;
        }
        let lane = self.lane;
        lane.shared.with_queue(|queue| {
            while self.takes_more()
                && let Some(message) = queue.pop(id)
            {
                let command = message.command.clone();
                self.put_out(&command, What::Message(message));
            }
        });
    }

    fn put_out(&mut self, command: &[u8], what: What) {
        self.out.extend_from_slice(command);
        self.total_out += command.len() as u64;
        self.lane.shared.in_flight.fetch_add(1, Ordering::Relaxed);
        self.in_flight.push_back(InFlight {
            what,
            end: self.total_out,
        });
    }

    /// Sends a message to oneself, if one is useful. Before one that would bring the lane up it tells all nodes
    /// to count their peers. Nothing waits until they have.
    fn send_probe(&mut self) {
        let now = Instant::now();
        let shared = &self.lane.shared;
        let mut status = shared.status();
        let is_new = status.is_about_to_be_up(self.lane.id);
        let number = status.next_probe(self.lane.id, now);
        drop(status);
        let Some(number) = number else { return };
        let LaneChannels { probe, presence } = lock(&self.lane.channels).clone();
        if is_new {
            let command = shared.publish_command(&presence, b"");
            self.put_out(&command, What::Announcement);
        }
        let command = shared.publish_command(&probe, number.to_string().as_bytes());
        self.put_out(&command, What::Probe(number));
    }

    fn handle_written(&mut self, count: usize) {
        // The kernel had taken all that it can hold, and takes more: the link moves.
        if self.is_full && count > 0 {
            self.watchdog.handle_life();
        }
        self.flushed = count == 0;
        self.written += count;
        self.total_written += count as u64;
        self.is_full = count > 0 && self.written < self.out.len();
    }

    fn read_replies(&mut self) -> Result<(), LinkError> {
        self.watchdog.handle_life();
        loop {
            match parse_reply(self.input.bytes()) {
                Ok((reply, used)) => {
                    let Some(answered) = self.in_flight.pop_front() else {
                        return Err(LinkError::Protocol);
                    };
                    self.answered = answered.end;
                    let reply = Answer::read(&reply);
                    self.input.consume(used);
                    self.handle_reply(answered.what, reply)?;
                }
                Err(Stop::Incomplete) => return Ok(()),
                Err(Stop::Invalid | Stop::Oversized { .. }) => return Err(LinkError::Protocol),
            }
        }
    }

    fn handle_reply(&mut self, what: What, answer: Answer) -> Result<(), LinkError> {
        match (what, answer) {
            (What::Message(message), Answer::Refused(text)) => self.handle_refused(message, &text),
            (What::Message(message), _) => {
                let counters = &self.lane.shared.cluster.counters;
                counters.publish_duration.observe(message.at.elapsed());
                self.executed += 1;
                if self.role == RoleCheck::Off {
                    self.count_executed();
                }
                Ok(())
            }
            (What::Announcement, _) => {
                // Peers that do not hear it count with their next heartbeat.
                self.count_answered(1);
                Ok(())
            }
            (What::Probe(number), answer) => {
                self.count_answered(1);
                self.handle_probe(number, answer)
            }
            (What::Role, answer) => {
                self.count_answered(1);
                self.handle_role(answer)
            }
        }
    }

    fn handle_probe(&mut self, number: u64, answer: Answer) -> Result<(), LinkError> {
        let shared = &self.lane.shared;
        let (now, id) = (Instant::now(), self.lane.id);
        let Answer::Refused(text) = answer else {
            let is_news = shared.status().handle_probe_confirmed(id, number, now);
            if is_news {
                tracing::info!(target: "adapter_redis::publisher", "Redis takes messages again");
                shared.handle_status_change();
            }
            return self.handle_reach(&answer);
        };
        shared.status().handle_probe_refused(id, number);
        self.handle_refusal(&text, true)
    }

    /// A message to oneself that reached nobody at the server to which it was sent means that the
    /// subscriber is at another.
    fn handle_reach(&mut self, answer: &Answer) -> Result<(), LinkError> {
        let Answer::Count(count) = *answer else {
            return Ok(());
        };
        self.reached |= count > 0;
        self.unreached = match count {
            0 if self.lane.shared.is_up() => self.unreached + 1,
            _ => 0,
        };
        let is_telling = self.reached && self.lane.directory.has_one_master();
        if is_telling && self.unreached >= MAX_UNREACHED {
            return Err(LinkError::Split);
        }
        Ok(())
    }

    fn handle_role(&mut self, answer: Answer) -> Result<(), LinkError> {
        self.role = RoleCheck::Idle(Instant::now());
        match answer {
            Answer::Role(Role::Replica(of)) => return Err(LinkError::NotMaster(of)),
            Answer::Refused(text) if Meaning::of(&text) != Meaning::Never => return Ok(()),
            Answer::Refused(text) => {
                tracing::debug!(target: "adapter_redis::publisher", error = text, "Redis: cannot ask the server for its role");
                self.role = RoleCheck::Off;
            }
            Answer::Role(Role::Master | Role::Unknown) | Answer::Count(_) | Answer::Other => {}
        }
        self.count_executed();
        Ok(())
    }

    /// The server that executed messages is the master, as far as can be known.
    fn count_executed(&mut self) {
        let count = std::mem::take(&mut self.executed);
        self.lane.shared.cluster.counters.out_ok.add(count);
        self.count_answered(count);
    }

    fn count_answered(&self, count: u64) {
        let in_flight = &self.lane.shared.in_flight;
        in_flight.fetch_sub(count, Ordering::Relaxed);
    }

    fn handle_refused(&mut self, message: Outbound, text: &str) -> Result<(), LinkError> {
        if Meaning::of(text).is_kept() {
            self.retry.push(message);
            return self.handle_refusal(text, false);
        }
        self.count_answered(1);
        self.lane.shared.cluster.counters.out_refused.increment();
        if self.is_new_kind(text) {
            tracing::warn!(target: "adapter_redis::publisher", channel = %message.channel, error = text, "Redis refuses messages for good");
        }
        Ok(())
    }

    /// Something was refused, which nobody will execute: a message that is kept, or one to oneself.
    fn handle_refusal(&mut self, text: &str, is_probe: bool) -> Result<(), LinkError> {
        let shared = &self.lane.shared;
        let (id, now) = (self.lane.id, Instant::now());
        shared.topology_wanted.notify_one();
        let meaning = Meaning::of(text);
        let is_passing = match meaning {
            Meaning::Later | Meaning::WritesLater => true,
            Meaning::Never if is_probe => false,
            // It goes to the right server as soon as the slots are read again.
            Meaning::Elsewhere | Meaning::Never => return Ok(()),
            Meaning::NoMaster if !self.lane.directory.has_one_master() => return Ok(()),
            Meaning::NoMaster => return Err(LinkError::NotMaster(text.to_owned())),
            Meaning::Login => return Err(LinkError::Refused(text.to_owned())),
        };
        let is_news = shared.status().handle_refused(id, text, is_passing, now);
        if is_news {
            tracing::warn!(target: "adapter_redis::publisher", error = text, is_passing, "Redis refuses messages");
            shared.handle_status_change();
        }
        Ok(())
    }

    /// Whether a refusal of this kind was not logged yet.
    fn is_new_kind(&mut self, text: &str) -> bool {
        let kind = text.split(' ').next().unwrap_or_default();
        let is_new =
            self.logged.len() < MAX_LOGGED && self.logged.iter().all(|logged| logged != kind);
        if is_new {
            self.logged.push(kind.to_owned());
        }
        is_new
    }
}

impl lane::Session for PublisherSession<'_> {
    fn end(&self) -> End {
        End::Publisher
    }

    async fn run(&mut self, silence: Silence) -> LinkError {
        Self::run(self, silence).await
    }
}

/// What matters of a reply.
enum Answer {
    /// How many received a message at this server.
    Count(i64),
    Role(Role),
    Refused(String),
    Other,
}

impl Answer {
    fn read(reply: &Reply<'_>) -> Self {
        match reply {
            Reply::Error(text) => Self::Refused(words(text)),
            Reply::Integer(count) => Self::Count(*count),
            Reply::Array(_) => Self::Role(Role::read(reply)),
            Reply::Status(_) | Reply::Bulk(_) | Reply::Nil => Self::Other,
        }
    }
}

impl Drop for PublisherSession<'_> {
    fn drop(&mut self) {
        let shared = &self.lane.shared;
        let mut status = shared.status();
        status.handle_publisher(self.lane.id, false, Instant::now());
        drop(status);
        shared.handle_status_change();
        let count = self.retry.len() as u64 + self.in_flight.len() as u64 + self.executed;
        shared.in_flight.fetch_sub(count, Ordering::Relaxed);
        // Whether the server was still the master nobody knows.
        shared.cluster.counters.out_unconfirmed.add(self.executed);
        let mut unsent = std::mem::take(&mut self.retry);
        for in_flight in self.in_flight.drain(..) {
            let What::Message(message) = in_flight.what else {
                continue;
            };
            // What the kernel did not take whole cannot have been executed.
            if in_flight.end > self.total_written {
                unsent.push(message);
            } else {
                shared.cluster.counters.out_unconfirmed.increment();
            }
        }
        shared.with_queue(|queue| queue.put_back(unsent.into_iter()));
    }
}
