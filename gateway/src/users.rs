//! Users as a node knows them: who is kept out, and how many connections each has.
//!
//! Blocks and revocations are records that all nodes keep together ([`adapter::Records`]). Each node has all of
//! them in memory, so that a client that connects costs no question. A node that has none pays a look at a number.
//!
//! This room knows tables and what stands in them. [`socketio`](crate::socketio) asks them, and keeps nodes and
//! the store in step. It may use what is below it.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError, RwLock, RwLockReadGuard};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use adapter::{Counter, Record, RecordsMark};
use tokio::sync::Notify;

use crate::count::{Family, Timed, label};

mod blocklist;
mod connections;
mod subject;
mod words;

use blocklist::Blocklist;
pub(crate) use blocklist::{Cause, Compared, Denial, Issue, Listed, Taken};
pub(crate) use connections::{Connections, Permit};
pub(crate) use subject::{Body, MAX_TOKEN_NAME, Subject};
pub(crate) use words::{is_told, told, untold};

label! {
    /// Why a socket may not connect, or stay.
    pub(crate) enum UserRefusal: "reason" {
        /// Its user is blocked.
        Blocked = "blocked",
        /// Its token is revoked.
        Revoked = "revoked",
        /// Its user has `limits.connections_per_user` connections.
        TooMany = "too_many_connections",
    }
}

impl From<Cause> for UserRefusal {
    fn from(cause: Cause) -> Self {
        match cause {
            Cause::Blocked => Self::Blocked,
            Cause::Revoked => Self::Revoked,
        }
    }
}

/// What a node knows of users.
pub(crate) struct Users {
    list: RwLock<Blocklist>,
    /// How many records keep somebody out, so that most need not take the lock.
    count: AtomicUsize,
    /// How many of these are about tokens.
    tokens: AtomicUsize,
    /// How often it was changed who is kept out.
    changes: AtomicU64,
    /// Why the records of the other nodes are not here yet; set while they are to come.
    waits: Mutex<Option<String>>,
    /// Whether the store refuses, which is told.
    refused: Mutex<Option<String>>,
    is_waiting: AtomicBool,
    /// Whether the last look found no difference to the store.
    is_in_step: AtomicBool,
    pub(crate) connections: Connections,
    /// Tells the task that compares that there may be something to do.
    pub(crate) wake: Notify,
    pub(crate) counters: UserCounters,
}

/// What a node counts of users.
#[derive(Default)]
pub(crate) struct UserCounters {
    /// Sockets that were refused.
    pub(crate) refused: Timed<UserRefusal, Counter>,
    /// Sockets that were there and had to go.
    pub(crate) shut_out: Family<UserRefusal, Counter>,
    /// Records that the store lost and that this node wrote again.
    pub(crate) restored: Counter,
    /// Records that no node can have written.
    pub(crate) odd: Counter,
}

impl Default for Users {
    fn default() -> Self {
        Self {
            list: RwLock::new(Blocklist::new(Instant::now(), wall())),
            count: AtomicUsize::new(0),
            tokens: AtomicUsize::new(0),
            changes: AtomicU64::new(0),
            waits: Mutex::default(),
            refused: Mutex::default(),
            is_waiting: AtomicBool::new(false),
            is_in_step: AtomicBool::new(true),
            connections: Connections::default(),
            wake: Notify::new(),
            counters: UserCounters::default(),
        }
    }
}

impl Users {
    /// Whether nobody is kept out, so that nobody need be looked up.
    pub(crate) fn are_all_welcome(&self) -> bool {
        self.count.load(Ordering::Acquire) == 0
    }

    /// Whether what tokens say of themselves matters.
    pub(crate) fn are_tokens_revoked(&self) -> bool {
        self.tokens.load(Ordering::Acquire) > 0
    }

    /// A number for who is kept out: it is another one when somebody changed that.
    pub(crate) fn changes(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }

    /// Whether the time of a denial is not over.
    pub(crate) fn is_in_force(&self, denial: &Denial) -> bool {
        let now = || self.list().now(Instant::now());
        denial.until.is_none_or(|until| now() < until)
    }

    /// Why a user, or the bearer of a token, is kept out, if that is so.
    pub(crate) fn denial(&self, user: Option<&str>, token: Option<&Issue>) -> Option<Denial> {
        self.list().denial(user, token, Instant::now())
    }

    /// Takes records, of which some may deny something.
    pub(crate) fn take(&self, records: &[Record]) -> Vec<Taken> {
        let taken = self.change(|list, now| {
            let taken = records.iter().map(|record| list.take(record, now));
            taken.collect::<Vec<_>>()
        });
        self.changes.fetch_add(1, Ordering::Release);
        let odd = taken.iter().filter(|it| **it == Taken::Odd).count();
        self.counters.odd.add(odd as u64);
        taken
    }

    /// Takes all records of a store that was as `mark` says before they were read.
    pub(crate) fn compare(&self, records: &[Record], known: u64, mark: RecordsMark) -> Compared {
        let compared = self.change(|list, now| list.compare(records, known, mark, now));
        self.changes.fetch_add(1, Ordering::Release);
        self.counters.odd.add(compared.odd as u64);
        compared
    }

    /// A record that no store gives its stamp.
    pub(crate) fn record_here(&self, draft: adapter::Draft) -> Record {
        let list = self.list();
        let now = list.now(Instant::now());
        let lasts = draft
            .lasts
            .map(|it| u64::try_from(it.as_millis()).unwrap_or(u64::MAX));
        Record {
            name: draft.name,
            stamp: now.max(list.newest() + 1),
            until: lasts.map(|lasts| now.saturating_add(lasts)),
            body: draft.body,
        }
    }

    /// The names of what has been over for a while, which is forgotten.
    pub(crate) fn forget(&self) -> Vec<String> {
        self.change(Blocklist::forget)
    }

    /// The clock of the store says so.
    pub(crate) fn set_clock(&self, millis: u64) {
        self.change(|list, now| list.set_clock(now, millis));
    }

    /// The highest stamp that is known, and how many records there are.
    pub(crate) fn known(&self) -> (u64, usize) {
        let list = self.list();
        (list.newest(), list.len())
    }

    /// How many users and tokens are kept out.
    pub(crate) fn counts(&self) -> (u64, u64) {
        self.list().counts(Instant::now())
    }

    /// Some of those who are kept out, and whether there are more.
    pub(crate) fn list_of(
        &self,
        kinds: &[&str],
        after: Option<&str>,
        most: usize,
    ) -> (Vec<Listed>, bool) {
        self.list().list(kinds, after, most, Instant::now())
    }

    /// Why the records of the other nodes are not all here; `None` if they are.
    pub(crate) fn waits(&self) -> Option<String> {
        let is_waiting = self.is_waiting.load(Ordering::Acquire);
        is_waiting.then(|| lock(&self.waits).clone().unwrap_or_default())
    }

    /// The records of the other nodes are still to come, and why; or all of them are here.
    pub(crate) fn set_waits(&self, why: Option<String>) {
        let mut waits = lock(&self.waits);
        self.is_waiting.store(why.is_some(), Ordering::Release);
        *waits = why;
    }

    /// Whether the last look found no difference to the store. Without one there is none.
    pub(crate) fn is_in_step(&self) -> bool {
        self.is_in_step.load(Ordering::Relaxed)
    }

    /// What a look at the store found.
    pub(crate) fn set_in_step(&self, is_in_step: bool) {
        self.is_in_step.store(is_in_step, Ordering::Relaxed);
    }

    /// What the store says that refuses.
    pub(crate) fn refused(&self) -> Option<String> {
        lock(&self.refused).clone()
    }

    /// The store refuses, as it says; or it does not. Whether it did not before.
    pub(crate) fn set_refused(&self, why: Option<String>) -> bool {
        let is_new = why.is_some();
        let before = std::mem::replace(&mut *lock(&self.refused), why);
        is_new && before.is_none()
    }

    fn change<T>(&self, change: impl FnOnce(&mut Blocklist, Instant) -> T) -> T {
        let mut list = self.list.write().unwrap_or_else(PoisonError::into_inner);
        let changed = change(&mut list, Instant::now());
        let keeping_out = list.keeping_out();
        self.tokens.store(keeping_out.tokens, Ordering::Release);
        let all = keeping_out.users + keeping_out.tokens;
        self.count.store(all, Ordering::Release);
        changed
    }

    fn list(&self) -> RwLockReadGuard<'_, Blocklist> {
        self.list.read().unwrap_or_else(PoisonError::into_inner)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Now, in milliseconds since 1970.
fn wall() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |it| u64::try_from(it.as_millis()).unwrap_or(u64::MAX))
}
