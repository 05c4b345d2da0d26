//! What a node tells of its own sockets. Pure.
//!
//! ```text
//!          the store knows it                      it knows it not, or has lost something
//!   New ------------------------> Goes ------------------------------------------------+
//!   ^ | ^                           ^ |  changes, the newest count of each             |
//!   +-+ |                           +-+  a call that failed is told again              |
//!  failed: another name                                                                |
//!       +------------------- another name, everything is told again <------------------+
//! ```
//!
//! The first call of a name tells of nothing. So one that comes when nobody expects it any more makes a node that has
//! nothing.
//!
//! A call says how many sockets there are, not how many came. So it may be repeated, and only the last counts.

use std::collections::{HashMap, VecDeque};

use super::{MAX_TOLD, MAX_WAITING, Mode, Receipt, Reception, Sink, Statement, Subject};

/// What all nodes have in common.
#[expect(
    clippy::exhaustive_structs,
    reason = "its users make it, field by field"
)]
#[derive(Debug, Clone)]
pub struct ReporterSettings {
    /// After so many milliseconds without a call a node is dead.
    pub lease: u64,
    /// For so many milliseconds nobody is told that a subject is gone.
    pub grace: u64,
    /// Who is told of events.
    pub sinks: Vec<Sink>,
}

/// What a node has, and what of it is told.
#[derive(Debug)]
pub struct Reporter {
    node: String,
    name: String,
    settings: ReporterSettings,
    mode: Mode,
    epoch: String,
    seen: u64,
    version: u64,
    held: HashMap<Subject, Held>,
    /// What is to be told, in the order of its first change.
    changed: VecDeque<Subject>,
    dead: Vec<String>,
}

#[derive(Debug, Default)]
struct Held {
    count: u64,
    is_changed: bool,
    /// Whether the store may have something else than nothing.
    is_told: bool,
}

impl Reporter {
    /// A node of this name; what is `fresh` tells it from the same node in another life.
    #[must_use]
    pub fn new(node: &str, fresh: &str, settings: ReporterSettings) -> Self {
        Self {
            node: node.to_owned(),
            name: format!("{node}:{fresh}"),
            settings,
            mode: Mode::New,
            epoch: String::new(),
            seen: 0,
            version: 0,
            held: HashMap::new(),
            changed: VecDeque::new(),
            dead: Vec::new(),
        }
    }

    /// One socket more of a subject. Whether nothing was to be told before.
    pub fn add(&mut self, subject: &Subject) -> bool {
        let held = match self.held.get_mut(subject) {
            Some(held) => held,
            None => self.held.entry(subject.clone()).or_default(),
        };
        held.count += 1;
        let is_new = !std::mem::replace(&mut held.is_changed, true);
        is_new && self.queue(subject)
    }

    /// One less.
    pub fn remove(&mut self, subject: &Subject) -> bool {
        let Some(held) = self.held.get_mut(subject) else {
            return false;
        };
        held.count = held.count.saturating_sub(1);
        let is_new = !std::mem::replace(&mut held.is_changed, true);
        is_new && self.queue(subject)
    }

    fn queue(&mut self, subject: &Subject) -> bool {
        self.changed.push_back(subject.clone());
        self.changed.len() == 1
    }

    /// How many sockets of a subject there are.
    #[must_use]
    pub fn count(&self, subject: &Subject) -> u64 {
        self.held.get(subject).map_or(0, |it| it.count)
    }

    /// The subjects of which there is a socket.
    pub fn subjects(&self) -> impl Iterator<Item = &Subject> {
        let there = self.held.iter().filter(|(_, it)| it.count > 0);
        there.map(|(subject, _)| subject)
    }

    /// How it is called among the others, until it is buried.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether another call should follow at once.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        self.changed.len() >= MAX_TOLD.0 || !self.dead.is_empty()
    }

    /// Whether something is to be told.
    #[must_use]
    pub fn is_changed(&self) -> bool {
        !self.changed.is_empty()
    }

    /// The next call. To be [answered](Self::answered) before there is another one.
    pub fn call(&mut self, fresh: &str) -> Statement {
        self.version += 1;
        let (most, most_bytes) = MAX_TOLD;
        let (mut counts, mut bytes) = (Vec::new(), 0);
        let tells = self.mode == Mode::Goes;
        while tells && counts.len() < most && bytes < most_bytes {
            let Some(subject) = self.changed.pop_front() else {
                break;
            };
            let Some(held) = self.held.get_mut(&subject) else {
                continue;
            };
            held.is_changed = false;
            if held.count == 0 && !held.is_told {
                // It came and went, and nobody has to know.
                self.held.remove(&subject);
                continue;
            }
            held.is_told = true;
            bytes += subject.as_str().len();
            counts.push((subject, held.count));
        }
        self.made(counts, fresh)
    }

    /// The next call of a node that ends.
    pub fn leave(&mut self, fresh: &str) -> Statement {
        self.version += 1;
        let call = self.made(Vec::new(), fresh);
        Statement {
            mode: Mode::Leaves,
            ..call
        }
    }

    fn made(&mut self, counts: Vec<(Subject, u64)>, fresh: &str) -> Statement {
        Statement {
            node: self.name.clone(),
            version: self.version,
            mode: self.mode,
            epoch: self.epoch.clone(),
            seen: self.seen,
            candidate: fresh.to_owned(),
            lease: self.settings.lease,
            grace: self.settings.grace,
            most: MAX_WAITING,
            sinks: self.settings.sinks.clone(),
            dead: std::mem::take(&mut self.dead),
            counts,
            clock: None,
        }
    }

    /// What came of a call; `None` if nobody knows. Returns whether everything is told again.
    pub fn answered(&mut self, call: Statement, reply: Option<&Receipt>, fresh: &str) -> bool {
        let Some(reply) = reply else {
            if self.mode != Mode::Goes {
                self.rename(fresh);
            }
            self.again(call.counts.into_iter().map(|(subject, _)| subject));
            return false;
        };
        match reply.reception {
            Reception::Known => {
                self.mode = Mode::Goes;
                self.epoch.clone_from(&reply.epoch);
                self.seen = reply.turn;
                self.dead.clone_from(&reply.dead);
                for (subject, told) in call.counts {
                    let is_over = |it: &Held| it.count == 0 && !it.is_changed;
                    if told == 0 && self.held.get(&subject).is_some_and(is_over) {
                        self.held.remove(&subject);
                    }
                }
                return false;
            }
            Reception::Unknown | Reception::Stale => {}
        }
        self.mode = Mode::New;
        self.rename(fresh);
        self.changed.clear();
        self.held.retain(|_, held| held.count > 0);
        for (subject, held) in &mut self.held {
            (held.is_changed, held.is_told) = (true, false);
            self.changed.push_back(subject.clone());
        }
        true
    }

    fn rename(&mut self, fresh: &str) {
        self.name = format!("{}:{fresh}", self.node);
        self.version = 0;
    }

    /// What may not have been told.
    fn again(&mut self, subjects: impl Iterator<Item = Subject>) {
        for subject in subjects {
            if let Some(held) = self.held.get_mut(&subject)
                && !std::mem::replace(&mut held.is_changed, true)
            {
                self.changed.push_back(subject);
            }
        }
    }
}
