use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use adapter::recovery::{Call, Link, ServerId, Told};
use tokio::io::WriteHalf;
use tokio::task::AbortHandle;
use tokio::time::{MissedTickBehavior, interval, sleep};

use crate::link::backoff::Backoff;
use crate::link::connection::{self, Input, LinkError, Stream, write};
use crate::link::directory::Directory;
use crate::link::refusal::Meaning;
use crate::link::resp::Reply;
use crate::link::servers::Endpoint;
use crate::link::watchdog::{Watchdog, within};
use crate::recovery::stores::{Store, Stores};
use crate::recovery::{Answered, Asked, NoAnswer, Script};

/// Bytes that are put together before they are written.
const BATCH: usize = 256 << 10;
/// Most calls that await an answer.
const WINDOW: usize = 1024;
/// Bytes of an answer beside what it reads of logs.
const ANSWER: usize = 16 << 20;
/// How long the server may take to tell who it is, and to take the script.
const GREETING: Duration = Duration::from_secs(2);
/// How long to wait before asking again whether the node can take more.
const FULL_PAUSE: Duration = Duration::from_millis(1);
/// How often the same kind of refusal is logged.
const LOG_PAUSE: Duration = Duration::from_secs(60);

/// The way to one store.
pub(crate) struct StoreLink {
    store: Arc<Store>,
    stores: Arc<Stores>,
    task: AbortHandle,
}

impl StoreLink {
    /// The way to `store`, whose connection `task` keeps up.
    pub(crate) fn new(store: Arc<Store>, stores: Arc<Stores>, task: AbortHandle) -> Self {
        Self {
            store,
            stores,
            task,
        }
    }
}

impl Link for StoreLink {
    fn call(&self, connection: u64, call: &Call) {
        self.store.push(connection, self.store.script.encode(call));
    }
}

impl Drop for StoreLink {
    fn drop(&mut self) {
        self.task.abort();
        self.stores.close(&self.store);
    }
}

impl fmt::Debug for StoreLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoreLink")
            .field("namespace", &self.store.namespace)
            .finish_non_exhaustive()
    }
}

/// Keeps a connection to the server of `store` up, for ever.
pub(crate) async fn run(store: Arc<Store>, directory: Arc<Directory>) {
    let timing = store.cluster.config.timing;
    let mut backoff = Backoff::new(timing.backoff);
    let mut logged = Logged::default();
    let mut number = 0;
    loop {
        match greet(&directory).await {
            Ok((link, endpoint, server, hash)) => {
                number += 1;
                let connected = Instant::now();
                store.begin(number);
                store.tell(Told::Connected(number));
                let mut session = Session::new(&store, link, server, hash);
                let error = session.keep(&directory, &endpoint, &mut logged).await;
                store.end();
                store.tell(Told::Broken);
                store.cluster.counters.store_breaks.increment();
                logged.warn(&store, "connection to the store lost", &error.to_string());
                if connected.elapsed() > timing.silence && !matches!(error, LinkError::Refused(_)) {
                    backoff = Backoff::new(timing.backoff);
                }
            }
            Err(error) => logged.warn(&store, "cannot connect to the store", &error.to_string()),
        }
        sleep(backoff.pause()).await;
    }
}

/// Connects, asks the server which one it is, and gives it the script.
async fn greet(
    directory: &Directory,
) -> Result<(connection::Link, Endpoint, ServerId, String), LinkError> {
    let (mut link, endpoint) = directory.connect(None, "store", ANSWER).await?;
    let greeting = async {
        let asked = link.call(&[b"INFO", b"server"], run_id);
        let server = asked.await?.ok_or(LinkError::Protocol)?;
        let command: [&[u8]; 3] = [b"SCRIPT", b"LOAD", Script::SOURCE.as_bytes()];
        let loaded = link.call(&command, |reply| match reply {
            Reply::Bulk(hash) => String::from_utf8(hash.to_vec()).ok(),
            Reply::Status(_)
            | Reply::Error(_)
            | Reply::Integer(_)
            | Reply::Nil
            | Reply::Array(_) => None,
        });
        Ok((server, loaded.await?.ok_or(LinkError::Protocol)?))
    };
    let greeted = within(GREETING, greeting).await;
    let (server, hash) = greeted.unwrap_or(Err(LinkError::Timeout))?;
    Ok((link, endpoint, server, hash))
}

/// One life of a server: what restarts has another id.
fn run_id(reply: &Reply<'_>) -> Option<ServerId> {
    let Reply::Bulk(text) = reply else {
        return None;
    };
    let text = std::str::from_utf8(text).ok()?;
    let id = text.lines().find_map(|line| line.strip_prefix("run_id:"))?;
    let id = u64::from_str_radix(id.trim().get(..16)?, 16).ok()?;
    Some(ServerId(id))
}

/// One connection to the server.
struct Session<'a> {
    store: &'a Store,
    input: Input,
    writer: WriteHalf<Stream>,
    server: ServerId,
    hash: String,
    out: Vec<u8>,
    written: usize,
    flushed: bool,
    asked: VecDeque<Question>,
    watchdog: Watchdog,
}

struct Question {
    asked: Asked,
    /// Whether this node listened when it was asked.
    was_listening: bool,
}

impl<'a> Session<'a> {
    fn new(store: &'a Store, link: connection::Link, server: ServerId, hash: String) -> Self {
        let timing = store.cluster.config.timing;
        Self {
            store,
            input: link.input,
            writer: link.writer,
            server,
            hash,
            out: Vec::new(),
            written: 0,
            flushed: true,
            asked: VecDeque::new(),
            watchdog: Watchdog::new(timing.silence, timing.probe, Instant::now()),
        }
    }

    /// Runs until the connection is to be given up.
    async fn keep(
        &mut self,
        directory: &Directory,
        endpoint: &Endpoint,
        logged: &mut Logged,
    ) -> LinkError {
        let pause = self.store.cluster.config.timing.topology * 2;
        let mut renewed = self.store.cluster.renewed.subscribe();
        let displaced = async {
            loop {
                sleep(pause).await;
                if !directory.is_current(endpoint).await {
                    return LinkError::NotMaster("there is another one".to_owned());
                }
            }
        };
        tokio::select! {
            error = self.run(logged) => error,
            error = displaced => error,
            _ = renewed.changed() => LinkError::Renewed,
        }
    }

    async fn run(&mut self, logged: &mut Logged) -> LinkError {
        let timing = self.store.cluster.config.timing;
        let mut tick = interval(timing.probe);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            if self.store.is_overfull() {
                return LinkError::Refused("too many calls wait".to_owned());
            }
            self.refill();
            let is_full = self.store.cluster.inbox.is_full();
            let result = tokio::select! {
                result = self.input.fill(), if !is_full => result.and_then(|()| self.read(logged)),
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
                () = self.store.wake.notified() => Ok(()),
                _ = tick.tick() => self.watch(logged).await,
            };
            if let Err(error) = result {
                return error;
            }
        }
    }

    fn has_output(&self) -> bool {
        self.written < self.out.len() || !self.flushed
    }

    fn refill(&mut self) {
        if self.written == self.out.len() {
            self.out.clear();
            self.written = 0;
        }
        while self.out.len() - self.written < BATCH
            && self.asked.len() < WINDOW
            && let Some(call) = self.store.pop()
        {
            let script = &self.store.script;
            script.push(&mut self.out, &call, &self.hash, self.server, None);
            if self.asked.is_empty() {
                self.watchdog.handle_life();
            }
            self.asked.push_back(Question {
                asked: call.asked,
                was_listening: self.store.is_listening(),
            });
        }
    }

    /// Gives up if what was asked has had no answer for long.
    async fn watch(&mut self, logged: &mut Logged) -> Result<(), LinkError> {
        self.watchdog.handle_tick(Instant::now());
        if self.asked.is_empty() {
            self.watchdog.handle_life();
        }
        if self.watchdog.has_expired(Duration::ZERO) {
            // What came while this node was frozen or busy is a sign of life.
            if !self.input.fill_now().await? {
                return Err(LinkError::Silent);
            }
            self.read(logged)?;
        }
        Ok(())
    }

    fn read(&mut self, logged: &mut Logged) -> Result<(), LinkError> {
        self.watchdog.handle_life();
        while !self.input.bytes().is_empty() {
            let question = self.asked.front().ok_or(LinkError::Protocol)?;
            let read = self.store.script.read(&question.asked, self.input.bytes());
            match read {
                Ok((answered, used)) => {
                    self.input.consume(used);
                    let was_listening = question.was_listening;
                    self.asked.pop_front();
                    self.handle(answered, was_listening, logged);
                }
                Err(NoAnswer::Incomplete) => return Ok(()),
                Err(NoAnswer::Malformed) => return Err(LinkError::Protocol),
                Err(NoAnswer::Refused(text)) => return Err(self.refused(text)),
            }
        }
        Ok(())
    }

    fn handle(&mut self, answered: Answered, was_listening: bool, logged: &mut Logged) {
        if let Some(complaint) = answered.complaint {
            self.store.cluster.counters.store_refused.increment();
            logged.warn(
                self.store,
                "an event is in its log and was not published",
                &complaint,
            );
        }
        if answered.reached == Some(0) && was_listening && self.store.is_listening() {
            self.store.handle_elsewhere();
        }
        self.store.tell(Told::Reply(answered.reply));
    }

    fn refused(&self, text: String) -> LinkError {
        self.store.cluster.counters.store_refused.increment();
        match Meaning::of(&text) {
            Meaning::NoMaster | Meaning::Elsewhere => {
                // So may be the subscriber's.
                self.store.cluster.moved.send_replace(());
                LinkError::NotMaster(text)
            }
            Meaning::Later | Meaning::WritesLater | Meaning::Login | Meaning::Never => {
                LinkError::Refused(text)
            }
        }
    }
}

/// What was logged last, and when: the same is not logged over and over.
#[derive(Default)]
struct Logged(Option<(String, Instant)>);

impl Logged {
    fn warn(&mut self, store: &Store, what: &str, error: &str) {
        let namespace = &*store.namespace;
        let kind = format!("{what} {}", error.split(' ').next().unwrap_or_default());
        let is_known = |(known, at): &(String, Instant)| *known == kind && at.elapsed() < LOG_PAUSE;
        if self.0.as_ref().is_some_and(is_known) {
            tracing::debug!(target: "adapter_redis::recovery", namespace, error, "Redis: {what}");
            return;
        }
        tracing::warn!(target: "adapter_redis::recovery", namespace, error, "Redis: {what}");
        self.0 = Some((kind, Instant::now()));
    }
}
