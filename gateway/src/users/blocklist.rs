//! Who is kept out, as this node knows it. Pure: time comes from outside.
//!
//! ```text
//!                    a record with a higher stamp
//!  unknown --------------------------------------------> in force
//!     ^                                                   |    |
//!     |            a record that lifts it                 |    | its time is over
//!     |  lifted <-----------------------------------------+    |
//!     |     | a day later                                      |
//!     +-----+---------------- forgotten <---------------------+ a minute later
//! ```
//!
//! What was lifted is remembered for a while, so that a store that lost its last records does not bring it back.

use std::collections::btree_map::Entry as Place;
use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::time::Instant;

use adapter::{Record, RecordsMark};

use super::subject::{Body, Subject, token_name, tokens_name, user_name};

/// For how long, in milliseconds, what is over is remembered.
const AFTERWARDS: u64 = 60_000;

/// How far, in milliseconds, a stamp may be ahead of the clock.
const AHEAD: u64 = 24 * 60 * 60 * 1000;

/// Most records that a node holds.
const MAX_HELD: usize = 200_000;

/// Those who are kept out.
#[derive(Debug)]
pub(crate) struct Blocklist {
    entries: BTreeMap<String, Entry>,
    /// How many of them keep out a user, and a token.
    keeping_out: Counts,
    newest: u64,
    clock: Clock,
}

/// How many records keep somebody out, over or not.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) users: usize,
    pub(crate) tokens: usize,
}

#[derive(Debug, Clone)]
struct Entry {
    stamp: u64,
    until: Option<u64>,
    body: Body,
}

/// The clock of the store, as far as this node knows it.
#[derive(Debug, Clone, Copy)]
struct Clock {
    at: Instant,
    millis: u64,
}

/// Why somebody is kept out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Denial {
    pub(crate) cause: Cause,
    /// Until when, in milliseconds since 1970; `None` if nobody said so.
    pub(crate) until: Option<u64>,
    pub(crate) reason: Option<String>,
}

/// What is kept out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cause {
    /// The user is blocked.
    Blocked,
    /// The token is revoked.
    Revoked,
}

/// What a token says of itself.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Issue {
    /// Its name (`jti`).
    pub(crate) name: Option<String>,
    /// When it was issued (`iat`), in seconds since 1970.
    pub(crate) at: Option<f64>,
}

/// What is told of one who is kept out.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Listed {
    pub(crate) subject: Subject,
    pub(crate) until: Option<u64>,
    pub(crate) body: Body,
}

/// What came of a look at all records of the store.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Compared {
    /// Who is kept out and was not.
    pub(crate) denied: Vec<Subject>,
    /// Records that the store had and lost.
    pub(crate) lost: Vec<Record>,
    /// Records that are over.
    pub(crate) over: Vec<String>,
    /// Records that no node of this version can have written.
    pub(crate) odd: usize,
}

/// What came of one record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Taken {
    /// Somebody is kept out.
    Denies,
    /// Nobody is who was not.
    Nothing,
    /// No node of this version can have written it.
    Odd,
}

impl Blocklist {
    /// Nobody; `millis` is the time since 1970 until a store tells it.
    pub(crate) fn new(at: Instant, millis: u64) -> Self {
        Self {
            entries: BTreeMap::new(),
            keeping_out: Counts::default(),
            newest: 0,
            clock: Clock { at, millis },
        }
    }

    /// The highest stamp that is known.
    pub(crate) fn newest(&self) -> u64 {
        self.newest
    }

    /// How many records there are.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// How many records keep somebody out, over or not.
    pub(crate) fn keeping_out(&self) -> Counts {
        self.keeping_out
    }

    /// How many are kept out, users and tokens.
    pub(crate) fn counts(&self, now: Instant) -> (u64, u64) {
        let now = self.clock.now(now);
        let (mut users, mut tokens) = (0, 0);
        for (name, _) in self.entries.iter().filter(|(_, it)| it.is_in_force(now)) {
            match name.starts_with("user:") {
                true => users += 1,
                false => tokens += 1,
            }
        }
        (users, tokens)
    }

    /// The clock of the store says so.
    pub(crate) fn set_clock(&mut self, at: Instant, millis: u64) {
        self.clock = Clock { at, millis };
    }

    /// Now by the clock of the store.
    pub(crate) fn now(&self, at: Instant) -> u64 {
        self.clock.now(at)
    }

    /// Takes a record.
    pub(crate) fn take(&mut self, record: &Record, now: Instant) -> Taken {
        let now = self.clock.now(now);
        let body = serde_json::from_str::<Body>(&record.body);
        let (Some(_), Ok(body)) = (Subject::of_name(&record.name), body) else {
            return Taken::Odd;
        };
        let is_full = self.entries.len() >= MAX_HELD && !self.entries.contains_key(&record.name);
        if record.stamp > now.saturating_add(AHEAD) || is_full {
            return Taken::Odd;
        }
        self.newest = self.newest.max(record.stamp);
        let entry = Entry {
            stamp: record.stamp,
            until: record.until,
            body,
        };
        let (denies, lifted) = (entry.is_in_force(now), entry.body.lifted);
        let before = match self.entries.entry(record.name.clone()) {
            Place::Occupied(place) if place.get().stamp >= record.stamp => return Taken::Nothing,
            Place::Occupied(mut place) => Some(place.insert(entry)),
            Place::Vacant(_) if entry.is_forgotten(now) => return Taken::Nothing,
            Place::Vacant(place) => {
                place.insert(entry);
                None
            }
        };
        let count = self.keeping_out.of(&record.name);
        *count += usize::from(!lifted);
        *count -= usize::from(before.is_some_and(|before| !before.body.lifted));
        match denies {
            true => Taken::Denies,
            false => Taken::Nothing,
        }
    }

    /// Takes all records of a store that was as `mark` says before they were read. This node knew those up
    /// to `known` before that. What the store does not have, it lost: what is lifted stays there for long, and
    /// what is over is no loss.
    pub(crate) fn compare(
        &mut self,
        records: &[Record],
        known: u64,
        mark: RecordsMark,
        at: Instant,
    ) -> Compared {
        let mut compared = Compared::default();
        for record in records {
            match self.take(record, at) {
                Taken::Denies => compared.denied.extend(Subject::of_name(&record.name)),
                Taken::Nothing => {}
                Taken::Odd => compared.odd += 1,
            }
        }
        self.newest = self.newest.max(mark.newest);
        let now = self.clock.now(at);
        let forgotten = |it: &&Record| is_forgotten(it.until, now);
        let over = records.iter().filter(forgotten);
        compared.over = over.map(|record| record.name.clone()).collect();
        let there: HashMap<&str, u64> = records
            .iter()
            .map(|it| (it.name.as_str(), it.stamp))
            .collect();
        let newest = mark.newest.max(known);
        let lost = self.entries.iter().filter(|(name, entry)| {
            let there = there.get(name.as_str());
            let has_it = there.is_some_and(|stamp| *stamp >= entry.stamp);
            // What came while it was read need not be there.
            !has_it && !entry.is_over(now) && entry.stamp <= newest
        });
        compared.lost = lost.map(|(name, it)| it.to_record(name)).collect();
        compared
    }

    /// Forgets what has been over for a while: its names.
    pub(crate) fn forget(&mut self, at: Instant) -> Vec<String> {
        let now = self.clock.now(at);
        let over = self.entries.extract_if(.., |_, it| it.is_forgotten(now));
        let names = over.map(|(name, entry)| {
            *self.keeping_out.of(&name) -= usize::from(!entry.body.lifted);
            name
        });
        names.collect()
    }

    /// Why a user, or the bearer of a token, is kept out, if that is so.
    pub(crate) fn denial(
        &self,
        user: Option<&str>,
        token: Option<&Issue>,
        at: Instant,
    ) -> Option<Denial> {
        let now = self.clock.now(at);
        let found = |name: String| self.entries.get(&name).filter(|it| it.is_in_force(now));
        if let Some(entry) = user.and_then(|user| found(user_name(user))) {
            return Some(entry.denial(Cause::Blocked));
        }
        let token = token?;
        let named = token
            .name
            .as_deref()
            .and_then(|name| found(token_name(name)));
        let issued = || {
            let entry = found(tokens_name(user?))?;
            let until = entry.body.issued_until?;
            // One that does not tell may be as old as can be.
            let is_old = token.at.is_none_or(|at| at.floor() <= until);
            is_old.then_some(entry)
        };
        let entry = named.or_else(issued)?;
        Some(entry.denial(Cause::Revoked))
    }

    /// Some of those who are kept out and have names behind `after`, at most `most`; and whether there are more.
    pub(crate) fn list(
        &self,
        kinds: &[&str],
        after: Option<&str>,
        most: usize,
        at: Instant,
    ) -> (Vec<Listed>, bool) {
        let now = self.clock.now(at);
        let mut listed = Vec::new();
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        for (name, entry) in self.entries.range::<str, _>((from, Bound::Unbounded)) {
            let is_wanted = kinds.iter().any(|kind| name.starts_with(kind));
            let Some(subject) = Subject::of_name(name) else {
                continue;
            };
            if !is_wanted || !entry.is_in_force(now) {
                continue;
            }
            if listed.len() == most {
                return (listed, true);
            }
            listed.push(Listed {
                subject,
                until: entry.until,
                body: entry.body.clone(),
            });
        }
        (listed, false)
    }
}

impl Counts {
    fn of(&mut self, name: &str) -> &mut usize {
        match name.starts_with("user:") {
            true => &mut self.users,
            false => &mut self.tokens,
        }
    }
}

impl Clock {
    fn now(self, at: Instant) -> u64 {
        let since = at.saturating_duration_since(self.at).as_millis();
        let since = u64::try_from(since).unwrap_or(u64::MAX);
        self.millis.saturating_add(since)
    }
}

impl Entry {
    fn is_over(&self, now: u64) -> bool {
        self.until.is_some_and(|until| until <= now)
    }

    fn is_forgotten(&self, now: u64) -> bool {
        is_forgotten(self.until, now)
    }

    fn is_in_force(&self, now: u64) -> bool {
        !self.body.lifted && !self.is_over(now)
    }

    fn denial(&self, cause: Cause) -> Denial {
        Denial {
            cause,
            until: self.until,
            reason: self.body.reason.clone(),
        }
    }

    fn to_record(&self, name: &str) -> Record {
        Record {
            name: name.to_owned(),
            stamp: self.stamp,
            until: self.until,
            body: self.body.to_json(),
        }
    }
}

/// Whether something has been over for so long that nobody remembers it.
fn is_forgotten(until: Option<u64>, now: u64) -> bool {
    let afterwards = |until: u64| until.saturating_add(AFTERWARDS) <= now;
    until.is_some_and(afterwards)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn record(name: &str, stamp: u64, until: Option<u64>, body: &str) -> Record {
        Record {
            name: name.to_owned(),
            stamp,
            until,
            body: body.to_owned(),
        }
    }

    fn list(records: &[Record]) -> (Blocklist, Instant) {
        let at = Instant::now();
        let mut list = Blocklist::new(at, 1000);
        for record in records {
            list.take(record, at);
        }
        (list, at)
    }

    fn cause(list: &Blocklist, user: &str, token: Option<Issue>, at: Instant) -> Option<Cause> {
        let denial = list.denial(Some(user), token.as_ref(), at);
        denial.map(|denial| denial.cause)
    }

    #[test]
    fn a_block_lasts_until_its_time_is_over_or_it_is_lifted() {
        let (mut list, at) = list(&[
            record("user:ann", 1, Some(3000), r#"{"reason":"spam"}"#),
            record("user:bob", 2, None, "{}"),
        ]);
        let denial = list.denial(Some("ann"), None, at).unwrap();
        assert_eq!(
            (denial.until, denial.reason),
            (Some(3000), Some("spam".into()))
        );
        assert_eq!(cause(&list, "eve", None, at), None);
        let later = at + Duration::from_secs(2);
        assert_eq!(cause(&list, "ann", None, later), None);
        assert_eq!(cause(&list, "bob", None, later), Some(Cause::Blocked));
        list.take(&record("user:bob", 3, None, r#"{"lifted":true}"#), later);
        assert_eq!(cause(&list, "bob", None, later), None);
        // What arrives late does not bring it back.
        list.take(&record("user:bob", 2, None, "{}"), later);
        assert_eq!(cause(&list, "bob", None, later), None);
        assert_eq!((list.newest(), list.counts(later)), (3, (0, 0)));
        assert_eq!(list.keeping_out().users, 1, "one is over and not forgotten");
    }

    #[test]
    fn a_token_is_revoked_by_its_name_and_by_when_it_was_issued() {
        let (list, at) = list(&[
            record("token:t1", 1, None, "{}"),
            record("tokens:ann", 2, None, r#"{"issued_until":500}"#),
        ]);
        let token = |name: &str, at: Option<f64>| {
            Some(Issue {
                name: Some(name.to_owned()),
                at,
            })
        };
        for (user, token, revoked) in [
            ("bob", token("t1", Some(900.0)), true),
            ("bob", token("t2", Some(100.0)), false),
            ("ann", token("t2", Some(499.0)), true),
            ("ann", token("t2", Some(500.9)), true),
            ("ann", token("t2", Some(501.0)), false),
            ("ann", token("t2", None), true),
            ("ann", None, false),
        ] {
            let expected = revoked.then_some(Cause::Revoked);
            assert_eq!(
                cause(&list, user, token.clone(), at),
                expected,
                "{user} {token:?}"
            );
        }
    }

    #[test]
    fn what_no_node_can_have_written_is_left_out() {
        let (mut list, at) = list(&[]);
        for odd in [
            record("other:ann", 1, None, "{}"),
            record("user:ann", 1, None, "x"),
            record("user:ann", u64::MAX, None, "{}"),
        ] {
            assert_eq!(list.take(&odd, at), Taken::Odd, "{odd:?}");
        }
        assert_eq!((list.len(), list.newest()), (0, 0));
    }

    #[test]
    fn what_a_store_lost_is_brought_back() {
        let ann = record("user:ann", 1, None, "{}");
        let bob = record("user:bob", 2, None, r#"{"lifted":true}"#);
        let eve = record("user:eve", 3, Some(1000), "{}");
        let (mut knows, at) = list(&[ann.clone(), bob.clone(), eve]);
        // It was emptied.
        let compared = knows.compare(&[], 3, store(0), at);
        assert_eq!(
            compared.lost,
            [ann.clone(), bob.clone()],
            "what is over is no loss"
        );
        assert_eq!(cause(&knows, "ann", None, at), Some(Cause::Blocked));
        // It lost its last record: what was lifted stays so.
        let before = record("user:bob", 1, None, "{}");
        let compared = knows.compare(&[ann.clone(), before], 3, store(1), at);
        assert_eq!(compared.lost, std::slice::from_ref(&bob));
        assert_eq!(cause(&knows, "bob", None, at), None);
        // Another node wrote something since it lost that.
        let newer = record("user:joe", 9, None, "{}");
        let compared = knows.compare(&[newer], 3, store(9), at);
        assert_eq!(compared.lost, [ann, bob]);
        assert_eq!(knows.newest(), 9);
    }

    fn store(newest: u64) -> RecordsMark {
        RecordsMark {
            newest,
            count: 0,
            now: 1000,
        }
    }

    #[test]
    fn what_came_while_the_store_was_read_stays() {
        let (mut knows, at) = list(&[]);
        let came = record("user:ann", 7, None, "{}");
        knows.take(&came, at);
        let compared = knows.compare(&[], 6, store(6), at);
        assert_eq!(compared, Compared::default());
        assert_eq!(cause(&knows, "ann", None, at), Some(Cause::Blocked));
    }

    #[test]
    fn what_is_over_is_forgotten_a_minute_later() {
        let (mut list, at) = list(&[record("user:ann", 1, Some(2000), "{}")]);
        assert!(list.forget(at + Duration::from_secs(60)).is_empty());
        assert_eq!(list.forget(at + Duration::from_secs(61)), ["user:ann"]);
        assert_eq!((list.len(), list.keeping_out()), (0, Counts::default()));
    }

    #[test]
    fn a_list_comes_in_pages() {
        let names = ["user:a", "tokens:a", "user:b", "token:x", "user:c"];
        let records: Vec<_> = names
            .iter()
            .map(|name| record(name, 1, None, "{}"))
            .collect();
        let (list, at) = list(&records);
        let (page, more) = list.list(&["user:"], None, 2, at);
        assert_eq!((page.len(), more), (2, true));
        let (page, more) = list.list(&["user:"], Some("user:b"), 2, at);
        assert_eq!(page[0].subject, Subject::User("c".to_owned()));
        assert!(!more);
        assert_eq!(list.list(&["token:", "tokens:"], None, 9, at).0.len(), 2);
    }
}
