use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use adapter::recovery::{Call, Link, ServerId, Told};
use tokio::io::WriteHalf;
use tokio::time::{MissedTickBehavior, interval, sleep, sleep_until};

use crate::cluster::Cluster;
use crate::link::backoff::Backoff;
use crate::link::connection::{self, Input, LinkError, Stream, write};
use crate::link::directory::Directory;
use crate::link::refusal::Meaning;
use crate::link::resp::Reply;
use crate::link::servers::Endpoint;
use crate::link::watchdog::{Watchdog, within};
use crate::recovery::stores::{Store, Stores, Waiting};
use crate::recovery::{Answered, Asked, NoAnswer, Script};

/// Bytes that are put together before they are written.
const BATCH: usize = 256 << 10;
/// Most calls that await an answer.
const WINDOW: usize = 1024;
/// Bytes of an answer, beside an entry that is larger than what is read at a time.
const ANSWER: usize = 16 << 20;
/// How long the server may take to tell who it is, and to take the script.
const GREETING: Duration = Duration::from_secs(2);
/// How long to wait before asking again whether the node can take more.
const FULL_PAUSE: Duration = Duration::from_millis(1);
/// How often the same kind of refusal is logged.
const LOG_PAUSE: Duration = Duration::from_secs(60);

/// How long after a refusal a store is tried again.
const REFUSED_PAUSE: Duration = Duration::from_secs(1);

/// The way to one store. All stores of a node share a connection, of which each has its own idea: one that Redis
/// refuses has another one after a pause, and the others notice nothing.
pub(crate) struct StoreLink {
    store: Arc<Store>,
    stores: Arc<Stores>,
}

impl StoreLink {
    /// The way to `store`.
    pub(crate) fn new(store: Arc<Store>, stores: Arc<Stores>) -> Self {
        Self { store, stores }
    }
}

impl Link for StoreLink {
    fn call(&self, connection: u64, call: &Call) {
        let encoded = self.store.script.encode(call);
        self.stores.push(&self.store, connection, encoded);
    }
}

impl Drop for StoreLink {
    fn drop(&mut self) {
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

/// Keeps a connection to the server of the stores up while there are any, for ever.
pub(crate) async fn run(stores: &Stores, cluster: &Cluster, directory: &Directory) {
    let timing = cluster.config.timing;
    let mut backoff = Backoff::new(timing.backoff);
    let mut logged = Logged::default();
    loop {
        while stores.is_empty() {
            stores.wake.notified().await;
        }
        // What it reads of logs, and one entry that is as large as can be.
        let limit = ANSWER + 2 * cluster.config.limits.message_bytes;
        match greet(directory, limit).await {
            Ok((link, endpoint, server, hash)) => {
                let connected = Instant::now();
                let mut session = Session::new(stores, cluster, link, (server, hash));
                let error = session.keep(directory, &endpoint, &mut logged).await;
                drop(session);
                cluster.counters.store_breaks.increment();
                logged.warn("", "connection to the stores lost", &error.to_string());
                if connected.elapsed() > timing.silence {
                    backoff = Backoff::new(timing.backoff);
                }
            }
            Err(error) => logged.warn("", "cannot connect to the stores", &error.to_string()),
        }
        sleep(backoff.pause()).await;
    }
}

/// Connects, asks the server which one it is, and gives it the script.
async fn greet(
    directory: &Directory,
    limit: usize,
) -> Result<(connection::Link, Endpoint, ServerId, String), LinkError> {
    let (mut link, endpoint) = directory.connect(None, "store", limit).await?;
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

/// One connection to the server. Dropping it ends those of the stores.
struct Session<'a> {
    stores: &'a Stores,
    cluster: &'a Cluster,
    input: Input,
    writer: WriteHalf<Stream>,
    server: ServerId,
    hash: String,
    out: Vec<u8>,
    written: usize,
    flushed: bool,
    asked: VecDeque<Question>,
    /// Stores that Redis refused, and when they are tried again.
    refused: VecDeque<(Instant, Arc<Store>)>,
    watchdog: Watchdog,
}

struct Question {
    store: Arc<Store>,
    /// That of the store.
    connection: u64,
    asked: Asked,
    /// Whether this node listened when it was asked.
    was_listening: bool,
}

impl<'a> Session<'a> {
    fn new(
        stores: &'a Stores,
        cluster: &'a Cluster,
        link: connection::Link,
        (server, hash): (ServerId, String),
    ) -> Self {
        let timing = cluster.config.timing;
        stores.clear();
        stores.take_opened();
        stores.all().iter().for_each(|store| store.begin());
        Self {
            stores,
            cluster,
            input: link.input,
            writer: link.writer,
            server,
            hash,
            out: Vec::new(),
            written: 0,
            flushed: true,
            asked: VecDeque::new(),
            refused: VecDeque::new(),
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
        let pause = self.cluster.config.timing.topology * 2;
        let mut renewed = self.cluster.renewed.subscribe();
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
        let timing = self.cluster.config.timing;
        let mut tick = interval(timing.probe);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            self.welcome();
            self.refill();
            let retry = self.refused.front().map(|it| it.0);
            let is_full = self.cluster.inbox.is_full();
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
                () = self.stores.wake.notified() => {
                    self.end_overfull(logged);
                    Ok(())
                }
                () = sleep_until(retry.unwrap_or_else(Instant::now).into()), if retry.is_some() => Ok(()),
                _ = tick.tick() => self.watch(logged).await,
            };
            if let Err(error) = result {
                return error;
            }
        }
    }

    /// Connects the stores that were opened since, and those that were refused long enough ago.
    fn welcome(&mut self) {
        for store in self.stores.take_opened() {
            store.begin();
        }
        let now = Instant::now();
        while let Some((_, store)) = self.refused.pop_front_if(|it| it.0 <= now) {
            store.begin();
        }
    }

    fn end_overfull(&mut self, logged: &mut Logged) {
        for store in self.stores.take_overfull() {
            self.refuse(&store, "too many calls wait", logged);
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
            && let Some(Waiting {
                store,
                connection,
                call,
            }) = self.stores.pop()
        {
            let script = &store.script;
            script.push(&mut self.out, &call, &self.hash, self.server, None);
            if self.asked.is_empty() {
                self.watchdog.handle_life();
            }
            self.asked.push_back(Question {
                was_listening: store.is_listening(),
                store,
                connection,
                asked: call.asked,
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
            let script = &question.store.script;
            let (answer, used) = match script.read(&question.asked, self.input.bytes()) {
                Ok((answered, used)) => (Ok(answered), used),
                Err(NoAnswer::Refused(text, used)) => (Err(text), used),
                Err(NoAnswer::Incomplete) => return Ok(()),
                Err(NoAnswer::Malformed) => return Err(LinkError::Protocol),
            };
            self.input.consume(used);
            let Some(question) = self.asked.pop_front() else {
                return Err(LinkError::Protocol);
            };
            let is_awaited = question.store.is_at(question.connection);
            match answer {
                Ok(answered) if is_awaited => self.handle(&question, answered, logged),
                Err(text) => self.handle_refused(&question, text, logged)?,
                Ok(_) => {}
            }
        }
        Ok(())
    }

    fn handle(&mut self, question: &Question, answered: Answered, logged: &mut Logged) {
        let store = &question.store;
        if let Some(complaint) = answered.complaint {
            self.cluster.counters.store_refused.increment();
            let what = "an event is in its log and was not published";
            logged.warn(&store.namespace, what, &complaint);
        }
        if answered.reached == Some(0) && question.was_listening && store.is_listening() {
            store.handle_elsewhere();
        }
        store.tell(Told::Reply(answered.reply));
    }

    fn handle_refused(
        &mut self,
        question: &Question,
        text: String,
        logged: &mut Logged,
    ) -> Result<(), LinkError> {
        self.cluster.counters.store_refused.increment();
        match Meaning::of(&text) {
            Meaning::NoMaster | Meaning::Elsewhere => {
                // So may be the subscriber's.
                self.cluster.moved.send_replace(());
                return Err(LinkError::NotMaster(text));
            }
            Meaning::Never if text.starts_with("NOSCRIPT") => return Err(LinkError::Refused(text)),
            Meaning::Login => return Err(LinkError::Refused(text)),
            Meaning::Later | Meaning::WritesLater | Meaning::Never => {}
        }
        if question.store.is_at(question.connection) {
            self.refuse(&question.store, &text, logged);
        }
        Ok(())
    }

    /// Ends the connection of one store, for a while.
    fn refuse(&mut self, store: &Arc<Store>, text: &str, logged: &mut Logged) {
        logged.warn(&store.namespace, "a call of the store was refused", text);
        store.end();
        let retry = Instant::now() + REFUSED_PAUSE;
        self.refused.push_back((retry, store.clone()));
    }
}

impl Drop for Session<'_> {
    fn drop(&mut self) {
        self.stores.all().iter().for_each(|store| store.end());
    }
}

/// What was logged, and when: the same is not logged over and over.
#[derive(Default)]
struct Logged(VecDeque<(String, Instant)>);

/// Most kinds of lines that are remembered as logged.
const MAX_LOGGED: usize = 32;

impl Logged {
    fn warn(&mut self, namespace: &str, what: &str, error: &str) {
        let word = error.split(' ').next().unwrap_or_default();
        let kind = format!("{namespace} {what} {word}");
        self.0.retain(|(_, at)| at.elapsed() < LOG_PAUSE);
        if self.0.len() >= MAX_LOGGED || self.0.iter().any(|(known, _)| *known == kind) {
            tracing::debug!(target: "adapter_redis::recovery", namespace, error, "Redis: {what}");
            return;
        }
        tracing::warn!(target: "adapter_redis::recovery", namespace, error, "Redis: {what}");
        self.0.push_back((kind, Instant::now()));
    }
}
