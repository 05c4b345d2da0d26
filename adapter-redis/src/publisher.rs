use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tokio::io::WriteHalf;
use tokio::sync::Notify;
use tokio::time::{MissedTickBehavior, interval, sleep_until};

use crate::directory::Backoff;
use crate::lane::Lane;
use crate::link::{Input, Link, LinkError, Stream, write};
use crate::queue::Outbound;
use crate::resp::{Reply, Stop, parse_reply};
use crate::shared::lock;

/// Bytes that are handed to the kernel at a time.
const BATCH: usize = 128 << 10;
/// Most messages that await confirmation on one connection.
const WINDOW: usize = 8192;
/// How long to wait before messages are sent again that went to the wrong server.
const RETRY: Duration = Duration::from_millis(100);

/// Publishes what waits for `lane`, for ever.
pub(crate) async fn run(lane: Lane, wake: Arc<Notify>) {
    let mut backoff = Backoff::new(lane.shared.config.timing.backoff);
    let mut is_first = true;
    loop {
        let (link, endpoint) = lane.connect("publisher", &mut backoff).await;
        if !std::mem::take(&mut is_first) {
            lane.shared.counters.reconnects.increment();
        }
        let connected = Instant::now();
        let mut session = Session::new(&lane, link);
        let error = tokio::select! {
            error = session.run(&wake) => error,
            error = lane.displaced(&endpoint) => error,
        };
        drop(session);
        lane.lament("publisher", "connection lost", &error);
        if connected.elapsed() > lane.shared.config.timing.silence {
            backoff = Backoff::new(lane.shared.config.timing.backoff);
        }
        tokio::time::sleep(backoff.pause()).await;
    }
}

/// One connection. Dropping it puts back what was not sent and counts what was not confirmed.
struct Session<'a> {
    lane: &'a Lane,
    input: Input,
    writer: WriteHalf<Stream>,
    /// Commands to write, up to `written` already written.
    out: Vec<u8>,
    written: usize,
    flushed: bool,
    /// Bytes ever put into `out`, and ever handed to the kernel.
    total_out: u64,
    total_written: u64,
    in_flight: VecDeque<InFlight>,
    /// Messages that went to the wrong server, in order. No others are sent before them.
    retry: Vec<Outbound>,
    resume: Option<Instant>,
    /// A message was refused; it is told once.
    is_refused: bool,
}

struct InFlight {
    what: What,
    /// Where its command ends, in bytes ever put out.
    end: u64,
    sent: Instant,
}

enum What {
    Message(Outbound),
    Probe(u64),
}

impl<'a> Session<'a> {
    fn new(lane: &'a Lane, link: Link) -> Self {
        let mut status = lane.shared.status();
        status.handle_publisher(lane.id, true, Instant::now());
        drop(status);
        lane.shared.handle_status_change();
        Self {
            lane,
            input: link.input,
            writer: link.writer,
            out: Vec::with_capacity(BATCH),
            written: 0,
            flushed: true,
            total_out: 0,
            total_written: 0,
            in_flight: VecDeque::new(),
            retry: Vec::new(),
            resume: None,
            is_refused: false,
        }
    }

    async fn run(&mut self, wake: &Notify) -> LinkError {
        let timing = self.lane.shared.config.timing;
        let mut status_changed = self.lane.shared.status_changed.subscribe();
        let mut probe = interval(timing.probe);
        probe.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            self.refill();
            let result = tokio::select! {
                result = self.input.fill() => result.and_then(|()| self.read_replies()),
                result = write(&mut self.writer, &self.out[self.written..]), if self.has_output() => {
                    result.map(|count| self.handle_written(count))
                }
                () = wake.notified(), if self.takes_more() => Ok(()),
                () = sleep_until(self.resume.unwrap_or_else(Instant::now).into()),
                    if self.resume.is_some() => { self.resume = None; Ok(()) }
                _ = status_changed.changed() => {
                    if self.lane.shared.status().wants_probe(self.lane.id) {
                        self.send_probe();
                    }
                    Ok(())
                }
                _ = probe.tick() => {
                    self.send_probe();
                    self.check_silence(timing.silence)
                }
            };
            if let Err(error) = result {
                return error;
            }
        }
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
                self.put_out(&command, What::Message(message), now);
            }
        });
    }

    fn put_out(&mut self, command: &[u8], what: What, now: Instant) {
        self.out.extend_from_slice(command);
        self.total_out += command.len() as u64;
        self.lane.shared.in_flight.fetch_add(1, Ordering::Relaxed);
        self.in_flight.push_back(InFlight {
            what,
            end: self.total_out,
            sent: now,
        });
    }

    fn send_probe(&mut self) {
        let now = Instant::now();
        let shared = &self.lane.shared;
        let number = shared.status().next_probe(self.lane.id, now);
        if let Some(number) = number {
            let payload = number.to_string();
            let channel = lock(&self.lane.channels).probe.clone();
            let command = shared.publish_command(&channel, payload.as_bytes());
            self.put_out(&command, What::Probe(number), now);
        }
    }

    fn check_silence(&self, silence: Duration) -> Result<(), LinkError> {
        let oldest = self.in_flight.front();
        match oldest {
            Some(oldest) if oldest.sent.elapsed() > silence => Err(LinkError::Silent),
            Some(_) | None => Ok(()),
        }
    }

    fn handle_written(&mut self, count: usize) {
        self.flushed = count == 0;
        self.written += count;
        self.total_written += count as u64;
    }

    fn read_replies(&mut self) -> Result<(), LinkError> {
        loop {
            match parse_reply(self.input.bytes()) {
                Ok((reply, used)) => {
                    let Some(answered) = self.in_flight.pop_front() else {
                        return Err(LinkError::Protocol);
                    };
                    let error = match reply {
                        Reply::Error(text) => Some(String::from_utf8_lossy(text).into_owned()),
                        Reply::Status(_)
                        | Reply::Integer(_)
                        | Reply::Bulk(_)
                        | Reply::Nil
                        | Reply::Array(_) => None,
                    };
                    self.input.consume(used);
                    self.handle_reply(answered.what, error);
                }
                Err(Stop::Incomplete) => return Ok(()),
                Err(Stop::Invalid | Stop::Oversized { .. }) => return Err(LinkError::Protocol),
            }
        }
    }

    fn handle_reply(&mut self, what: What, error: Option<String>) {
        let shared = &self.lane.shared;
        let is_retried = error.as_deref().is_some_and(was_not_executed);
        if !(is_retried && matches!(what, What::Message(_))) {
            shared.in_flight.fetch_sub(1, Ordering::Relaxed);
        }
        match (what, error) {
            (What::Message(message), None) => {
                shared.counters.out_ok.increment();
                shared
                    .counters
                    .publish_duration
                    .observe(message.at.elapsed());
            }
            (What::Probe(number), None) => {
                let mut status = shared.status();
                status.handle_probe_confirmed(self.lane.id, number, Instant::now());
            }
            (What::Message(message), Some(_)) if is_retried => {
                self.retry.push(message);
                shared.topology_wanted.notify_one();
            }
            (What::Message(message), Some(error)) => {
                if !std::mem::replace(&mut self.is_refused, true) {
                    tracing::warn!(channel = %message.channel, %error, "Redis refuses messages");
                }
                shared.counters.out_refused.increment();
            }
            (What::Probe(_), Some(error)) => {
                tracing::debug!(%error, "Redis refused a message to oneself");
                shared.topology_wanted.notify_one();
            }
        }
    }
}

/// Whether an error means that another server, or the same one later, will accept the command.
fn was_not_executed(error: &str) -> bool {
    let kind = error.split(' ').next().unwrap_or_default();
    matches!(
        kind,
        "MOVED" | "ASK" | "TRYAGAIN" | "CLUSTERDOWN" | "LOADING" | "MASTERDOWN" | "READONLY"
    )
}

impl Drop for Session<'_> {
    fn drop(&mut self) {
        let shared = &self.lane.shared;
        let mut status = shared.status();
        status.handle_publisher(self.lane.id, false, Instant::now());
        drop(status);
        shared.handle_status_change();
        let count = self.retry.len() + self.in_flight.len();
        shared.in_flight.fetch_sub(count as u64, Ordering::Relaxed);
        let mut unsent = std::mem::take(&mut self.retry);
        for in_flight in self.in_flight.drain(..) {
            let What::Message(message) = in_flight.what else {
                continue;
            };
            // What the kernel did not take whole cannot have been executed.
            if in_flight.end > self.total_written {
                unsent.push(message);
            } else {
                shared.counters.out_unconfirmed.increment();
            }
        }
        shared.with_queue(|queue| queue.put_back(unsent.into_iter()));
    }
}
