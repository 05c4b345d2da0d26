use std::time::{Duration, Instant};

use tokio::io::WriteHalf;
use tokio::time::{MissedTickBehavior, interval, sleep, sleep_until};

use crate::directory::Backoff;
use crate::interests::{Command, Confirmed};
use crate::lane::Lane;
use crate::link::{Input, Link, LinkError, Stream, write};
use crate::receive;
use crate::resp::{Family, Push, Stop, parse_push, push_command, push_list};

/// Bytes of commands that are put together before they are written.
const BATCH: usize = 64 << 10;

/// How long to wait before asking again whether the node can take more.
const FULL_PAUSE: Duration = Duration::from_millis(1);

/// Subscribes to what is wanted and receives it, for ever.
pub(crate) async fn run(lane: Lane) {
    let mut backoff = Backoff::new(lane.shared.config.timing.backoff);
    let mut is_first = true;
    loop {
        let (link, endpoint) = lane.connect("subscriber", &mut backoff).await;
        let shared = &lane.shared;
        if !std::mem::take(&mut is_first) {
            shared.counters.reconnects.increment();
            shared.counters.gaps.increment();
        }
        let connected = Instant::now();
        let mut session = Session::new(&lane, link);
        let error = tokio::select! {
            error = session.run() => error,
            error = lane.displaced(&endpoint) => error,
        };
        drop(session);
        lane.lament("subscriber", "connection lost", &error);
        if connected.elapsed() > shared.config.timing.silence {
            backoff = Backoff::new(shared.config.timing.backoff);
        }
        tokio::time::sleep(backoff.pause()).await;
    }
}

/// One connection. Dropping it makes its subscriptions wanting.
struct Session<'a> {
    lane: &'a Lane,
    input: Input,
    writer: WriteHalf<Stream>,
    out: Vec<u8>,
    written: usize,
    flushed: bool,
    /// When something came in last.
    heard: Instant,
    /// A subscription was refused; it is told once.
    is_refused: bool,
}

impl<'a> Session<'a> {
    fn new(lane: &'a Lane, link: Link) -> Self {
        lane.shared.interests().handle_connected(lane.id);
        Self {
            lane,
            input: link.input,
            writer: link.writer,
            out: Vec::new(),
            written: 0,
            flushed: true,
            heard: Instant::now(),
            is_refused: false,
        }
    }

    async fn run(&mut self) -> LinkError {
        let shared = self.lane.shared.clone();
        let timing = shared.config.timing;
        let mut changed = shared.interests_changed.subscribe();
        let mut ping = interval(timing.probe);
        ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            self.refill();
            self.note_whether_synced();
            let due = shared.interests().poll_timeout();
            let is_full = shared.inbox.is_full();
            let result = tokio::select! {
                result = self.input.fill(), if !is_full => result.and_then(|()| self.read()),
                () = sleep(FULL_PAUSE), if is_full => {
                    self.heard = Instant::now();
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
                    shared.interests().handle_timeout(Instant::now());
                    // Other lanes may have commands to send now.
                    shared.interests_changed.send_replace(());
                    Ok(())
                }
                _ = ping.tick() => self.watch(),
            };
            if let Err(error) = result {
                return error;
            }
        }
    }

    fn has_output(&self) -> bool {
        self.written < self.out.len() || !self.flushed
    }

    /// Takes the commands that are due, as far as there is room.
    fn refill(&mut self) {
        if self.written == self.out.len() {
            self.out.clear();
            self.written = 0;
        }
        let mut interests = self.lane.shared.interests();
        while self.out.len() - self.written < BATCH
            && let Some(command) = interests.next_command(self.lane.id)
        {
            let names = command.names.iter().map(|name| &**name);
            push_list(&mut self.out, command_name(&command), names);
        }
    }

    fn note_whether_synced(&self) {
        let shared = &self.lane.shared;
        let is_synced = shared.interests().is_synced(self.lane.id);
        let mut status = shared.status();
        let is_news = status.handle_synced(self.lane.id, is_synced, Instant::now());
        drop(status);
        if is_news {
            shared.handle_status_change();
        }
    }

    /// Asks for a sign of life, and gives up where there was none for long.
    fn watch(&mut self) -> Result<(), LinkError> {
        let shared = &self.lane.shared;
        if self.heard.elapsed() > shared.config.timing.silence {
            return Err(LinkError::Silent);
        }
        if shared.status().is_deaf(self.lane.id, Instant::now()) {
            return Err(LinkError::Deaf);
        }
        if self.heard.elapsed() > shared.config.timing.probe / 2 {
            push_command(&mut self.out, &[b"PING"]);
        }
        Ok(())
    }

    fn read(&mut self) -> Result<(), LinkError> {
        self.heard = Instant::now();
        let shared = &self.lane.shared;
        let limit = shared.config.limits.message_bytes;
        let mut has_changed = false;
        loop {
            let used = match parse_push(self.input.bytes(), limit) {
                Ok((Push::Error(text), used)) => {
                    let is_first = !std::mem::replace(&mut self.is_refused, true);
                    refuse(self.lane, text, is_first);
                    has_changed = true;
                    used
                }
                Ok((push, used)) => {
                    has_changed |= handle(self.lane, push);
                    used
                }
                Err(Stop::Oversized { consumed, skip }) => {
                    tracing::warn!(bytes = skip - 2, "message from Redis too large");
                    shared.counters.in_undecodable.increment();
                    self.input.skip(consumed + skip);
                    continue;
                }
                Err(Stop::Invalid) => return Err(LinkError::Protocol),
                Err(Stop::Incomplete) => break,
            };
            self.input.consume(used);
        }
        if has_changed {
            shared.handle_interests_change();
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
            let mut interests = shared.interests();
            interests.handle_confirmed(lane.id, family, true, name);
            return true;
        }
        Push::Unsubscribed(family, name) => {
            let mut interests = shared.interests();
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

/// Handles that Redis refused a subscription.
fn refuse(lane: &Lane, text: &[u8], is_first: bool) {
    let shared = &lane.shared;
    let name = shared.interests().handle_refused(lane.id, Instant::now());
    let (name, error) = (name.as_deref(), String::from_utf8_lossy(text));
    if is_first {
        tracing::warn!(name, %error, "Redis refused a subscription");
    } else {
        tracing::debug!(name, %error, "Redis refused a subscription");
    }
    shared.topology_wanted.notify_one();
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

impl Drop for Session<'_> {
    fn drop(&mut self) {
        let shared = &self.lane.shared;
        shared.interests().handle_disconnected(self.lane.id);
        shared.handle_interests_change();
        let mut status = shared.status();
        status.handle_synced(self.lane.id, false, Instant::now());
        drop(status);
        shared.handle_status_change();
    }
}
