use std::collections::VecDeque;
use std::time::{Duration, Instant};

use tokio::io::WriteHalf;
use tokio::time::{MissedTickBehavior, interval, sleep, sleep_until};

use crate::bus::lane::{self, Lane, Silence};
use crate::bus::receive;
use crate::bus::status::End;
use crate::cluster::interests::{Command, Confirmed, Refusal, Why};
use crate::link::backoff::Backoff;
use crate::link::connection::{Input, Link, LinkError, Stream, write};
use crate::link::refusal::words;
use crate::link::resp::{Family, Push, Stop, parse_push, push_command, push_list};
use crate::link::watchdog::Watchdog;

/// Bytes of commands that are put together before they are written.
const BATCH: usize = 64 << 10;

/// How long to wait before asking again whether the node can take more.
const FULL_PAUSE: Duration = Duration::from_millis(1);

/// Subscribes to what is wanted and receives it, for ever.
pub(crate) async fn run(lane: Lane) {
    let new_backoff = || Backoff::new(lane.shared.cluster.config.timing.backoff);
    let mut backoff = new_backoff();
    let mut next = None;
    let mut is_first = true;
    loop {
        let (link, endpoint) = match next.take() {
            Some(connected) => connected,
            None => lane.connect(End::Subscriber, &mut backoff).await,
        };
        let shared = &lane.shared;
        if !std::mem::take(&mut is_first) {
            shared.cluster.counters.reconnects.increment();
            shared.cluster.counters.gaps.increment();
        }
        let connected = Instant::now();
        let mut session = SubscriberSession::new(&lane, link);
        let (error, replaced) = lane.keep(&mut session, &endpoint, &mut backoff).await;
        drop(session);
        lane.handle_lost(End::Subscriber, &error);
        next = replaced;
        if connected.elapsed() > shared.cluster.config.timing.silence {
            backoff = new_backoff();
        }
        if next.is_none() {
            sleep(backoff.pause()).await;
        }
    }
}

/// One connection that subscribes. Dropping it makes its subscriptions wanting.
struct SubscriberSession<'a> {
    lane: &'a Lane,
    input: Input,
    writer: WriteHalf<Stream>,
    out: Vec<u8>,
    written: usize,
    flushed: bool,
    watchdog: Watchdog,
    /// Signs of life that were asked for and did not come yet.
    pings: VecDeque<Ping>,
    /// When the last of those was asked for that came.
    answered: Option<Instant>,
    /// A subscription was refused; it is told once.
    is_refused: bool,
}

/// A sign of life that was asked for.
struct Ping {
    asked: Instant,
    /// How many commands are answered before it.
    behind: u64,
}

/// Most signs of life that are asked for at a time.
const MAX_PINGS: usize = 16;

impl<'a> SubscriberSession<'a> {
    fn new(lane: &'a Lane, link: Link) -> Self {
        lane.shared.cluster.interests().handle_connected(lane.id);
        let timing = lane.shared.cluster.config.timing;
        Self {
            lane,
            input: link.input,
            writer: link.writer,
            out: Vec::new(),
            written: 0,
            flushed: true,
            watchdog: Watchdog::new(timing.silence, timing.probe, Instant::now()),
            pings: VecDeque::new(),
            answered: None,
            is_refused: false,
        }
    }

    async fn run(&mut self, silence: Silence) -> LinkError {
        let shared = self.lane.shared.clone();
        let timing = shared.cluster.config.timing;
        let mut changed = shared.cluster.interests_changed.subscribe();
        let mut ping = interval(timing.probe);
        ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            self.refill();
            self.note_whether_synced();
            if silence == Silence::Tolerated && self.watchdog.has_moved() {
                return LinkError::Alive;
            }
            let due = shared.cluster.interests().poll_timeout();
            let is_full = shared.cluster.inbox.is_full();
            let result = tokio::select! {
                result = self.input.fill(), if !is_full => result.and_then(|()| self.read()),
                () = sleep(FULL_PAUSE), if is_full => {
                    // It is this node that does not listen.
                    self.watchdog.handle_life();
                    Ok(())
                }
                result = write(&mut self.writer, &self.out[self.written..]), if self.has_output() => {
                    result.map(|count| {
                        self.flushed = count == 0;
                        self.written += count;
                    })
                }
                _ = changed.changed() => Ok(()),
                () = sleep_until(due.unwrap_or_else(Instant::now).into()), if due.is_some() => {
                    shared.cluster.interests().handle_timeout(Instant::now());
                    // Other lanes may have commands to send now.
                    shared.cluster.interests_changed.send_replace(());
                    Ok(())
                }
                _ = ping.tick() => self.watch(silence).await,
            };
            if let Err(error) = result {
                return error;
            }
        }
    }
}

impl lane::Session for SubscriberSession<'_> {
    fn end(&self) -> End {
        End::Subscriber
    }

    async fn run(&mut self, silence: Silence) -> LinkError {
        Self::run(self, silence).await
    }
}

impl SubscriberSession<'_> {
    fn has_output(&self) -> bool {
        self.written < self.out.len() || !self.flushed
    }

    /// Takes the commands that are due, as far as there is room.
    fn refill(&mut self) {
        if self.written == self.out.len() {
            self.out.clear();
            self.written = 0;
        }
        let mut interests = self.lane.shared.cluster.interests();
        while self.out.len() - self.written < BATCH
            && let Some(command) = interests.next_command(self.lane.id)
        {
            let names = command.names.iter().map(|name| &**name);
            push_list(&mut self.out, command_name(&command), names);
        }
    }

    fn note_whether_synced(&self) {
        let shared = &self.lane.shared;
        let interests = shared.cluster.interests();
        let (is_synced, is_whole) = (interests.is_synced(self.lane.id), interests.is_whole());
        drop(interests);
        let mut status = shared.status();
        let mut is_news = status.handle_synced(self.lane.id, is_synced, Instant::now());
        is_news |= status.handle_whole(is_whole);
        drop(status);
        if is_news {
            shared.handle_status_change();
        }
        shared.stores.note_synced(is_synced && is_whole);
    }

    /// Asks for a sign of life, and gives up where there was none for long.
    async fn watch(&mut self, silence: Silence) -> Result<(), LinkError> {
        let now = Instant::now();
        self.watchdog.handle_tick(now);
        if silence == Silence::Ends && self.watchdog.has_expired(Duration::ZERO) {
            // What came while this node was frozen or busy is a sign of life.
            if !self.input.fill_now().await? {
                return Err(LinkError::Silent);
            }
            self.read()?;
        }
        let shared = &self.lane.shared;
        let (id, answered) = (self.lane.id, self.answered);
        if shared.status().is_deaf(id, answered, now) {
            return Err(LinkError::Deaf);
        }
        if self.pings.len() < MAX_PINGS {
            push_command(&mut self.out, &[b"PING"]);
            let behind = shared.cluster.interests().commands_sent(id);
            self.pings.push_back(Ping { asked: now, behind });
        }
        Ok(())
    }

    /// A sign of life came.
    fn handle_pong(&mut self) {
        if let Some(ping) = self.pings.pop_front() {
            self.answered = Some(ping.asked);
        }
    }

    /// Redis refused a command: the oldest that was not answered.
    fn handle_error(&mut self, text: &str) {
        let id = self.lane.id;
        let answered = self.lane.shared.cluster.interests().commands_answered(id);
        if self.pings.front().is_some_and(|it| it.behind <= answered) {
            // Of one that is busy, or that cannot save, this is a sign of life like any other.
            tracing::debug!(target: "adapter_redis::subscriber", error = text, "Redis answered a PING with an error, which is a sign of life");
            return self.handle_pong();
        }
        let is_first = !std::mem::replace(&mut self.is_refused, true);
        refuse(self.lane, text, is_first);
    }

    fn read(&mut self) -> Result<(), LinkError> {
        self.watchdog.handle_life();
        let shared = &self.lane.shared;
        let limit = shared.cluster.config.limits.message_bytes;
        let mut has_changed = false;
        loop {
            let used = match parse_push(self.input.bytes(), limit) {
                Ok((Push::Error(text), used)) => {
                    let text = words(text);
                    self.handle_error(&text);
                    has_changed = true;
                    used
                }
                Ok((Push::Pong, used)) => {
                    self.handle_pong();
                    used
                }
                Ok((push, used)) => {
                    has_changed |= handle(self.lane, push);
                    used
                }
                Err(Stop::Oversized { consumed, skip }) => {
                    tracing::warn!(target: "adapter_redis::subscriber", bytes = skip - 2, "message from Redis dropped: it is larger than this node takes");
                    shared.cluster.counters.in_undecodable.increment();
                    self.input.skip(consumed + skip);
                    continue;
                }
                Err(Stop::Invalid) => return Err(LinkError::Protocol),
                Err(Stop::Incomplete) => break,
            };
            self.input.consume(used);
        }
        if has_changed {
            shared.cluster.handle_interests_change();
        }
        Ok(())
    }
}

/// Handles what came in; whether subscriptions have changed.
fn handle(lane: &Lane, push: Push<'_>) -> bool {
    let shared = &lane.shared;
    match push {
        Push::Message { channel, payload } => receive::message(shared, None, channel, payload),
        Push::PatternMessage {
            pattern,
            channel,
            payload,
        } => receive::message(shared, Some(pattern), channel, payload),
        Push::Subscribed(family, name) => {
            let mut interests = shared.cluster.interests();
            interests.handle_confirmed(lane.id, family, true, name);
            return true;
        }
        Push::Unsubscribed(family, name) => {
            let mut interests = shared.cluster.interests();
            let confirmed = interests.handle_confirmed(lane.id, family, false, name);
            if confirmed == Confirmed::Lost {
                shared.topology_wanted.notify_one();
            }
            return true;
        }
        Push::Error(_) | Push::Pong | Push::Other => {}
    }
    false
}

/// Handles that Redis refused a subscription. Each name is told once.
fn refuse(lane: &Lane, error: &str, is_first: bool) {
    let shared = &lane.shared;
    let why = match error.split(' ').next() {
        Some("NOPERM" | "ERR") => Why::Names,
        Some(_) | None => Why::NotNow,
    };
    let refusal = shared
        .cluster
        .interests()
        .handle_refused(lane.id, why, Instant::now());
    match refusal {
        Refusal::Name { name, is_news } => {
            let name = shown(&name);
            if is_news {
                shared.cluster.counters.subscriptions_refused.increment();
                tracing::warn!(target: "adapter_redis::subscriber", name, error, "Redis refuses a subscription");
            } else {
                tracing::debug!(target: "adapter_redis::subscriber", name, error, "Redis still refuses a subscription");
            }
        }
        Refusal::Later(name) if is_first => {
            tracing::warn!(target: "adapter_redis::subscriber",
                name = shown(&name),
                error,
                "Redis refused a subscription for now"
            );
        }
        Refusal::Later(_) | Refusal::Split | Refusal::Stale => {
            tracing::debug!(target: "adapter_redis::subscriber", error, ?why, "Redis refused subscriptions");
        }
    }
    shared.status().handle_unsubscribed(lane.id, error);
    if why == Why::NotNow {
        shared.topology_wanted.notify_one();
    }
}

/// As much of a name as a line of the log should hold.
fn shown(name: &str) -> &str {
    &name[..name.floor_char_boundary(200)]
}

fn command_name(command: &Command) -> &'static str {
    match (command.family, command.subscribe) {
        (Family::Exact, true) => "SUBSCRIBE",
        (Family::Exact, false) => "UNSUBSCRIBE",
        (Family::Pattern, true) => "PSUBSCRIBE",
        (Family::Pattern, false) => "PUNSUBSCRIBE",
        (Family::Sharded, true) => "SSUBSCRIBE",
        (Family::Sharded, false) => "SUNSUBSCRIBE",
    }
}

impl Drop for SubscriberSession<'_> {
    fn drop(&mut self) {
        let shared = &self.lane.shared;
        shared.stores.handle_down();
        shared.cluster.interests().handle_disconnected(self.lane.id);
        shared.cluster.handle_interests_change();
        let mut status = shared.status();
        status.handle_synced(self.lane.id, false, Instant::now());
        drop(status);
        shared.handle_status_change();
    }
}
