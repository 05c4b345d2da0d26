//! Who is there, and what is to be told of it. Pure: time comes from outside. The script in `adapter-redis` does the
//! same, and a test holds one against the other.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::ops::Bound;

use super::{
    ASKED, Found, Lookup, MAX_DEAD, Mode, Notices, PART, Receipt, Reception, Sink, Statement,
    Subject, SubjectKind, Take,
};

/// What all nodes told.
#[derive(Debug, Clone, Default)]
pub struct Ledger {
    epoch: Option<String>,
    /// How many calls there were.
    turn: u64,
    /// When the last one came.
    called: Option<u64>,
    /// Until then no node counts as dead.
    spared: u64,
    /// Whether the nodes that knew another epoch are still to tell everything again.
    is_plain: bool,
    /// Of the last event.
    number: u64,
    /// Until then the nodes tell everything again; 0 if they do not.
    rebuilt: u64,
    nodes: BTreeMap<String, Node>,
    /// How many nodes have it, and how many sockets in all.
    here: HashMap<Subject, (u64, u64)>,
    /// Those whose first was told, and not their last.
    names: BTreeSet<Subject>,
    leaving: BTreeSet<(u64, Subject)>,
    due: HashMap<Subject, u64>,
    sinks: [Waiting; Sink::ALL.len()],
}

#[derive(Debug, Clone, Default)]
struct Node {
    /// When it called last.
    renewed: u64,
    /// That of its last call; `None` if it leaves or is being buried.
    version: Option<u64>,
    counts: HashMap<Subject, u64>,
}

#[derive(Debug, Clone, Default)]
struct Waiting {
    events: VecDeque<String>,
    /// When somebody last wanted them.
    asked: Option<u64>,
    /// Who tells them, and until when.
    teller: Option<(u64, String)>,
}

/// What one call leads to.
struct Turn {
    now: u64,
    most: u64,
    is_quiet: bool,
    reply: Receipt,
}

impl Ledger {
    /// Takes what a node tells.
    pub fn call(&mut self, call: &Statement, now: u64) -> Receipt {
        let now = call.clock.unwrap_or(now);
        for sink in &call.sinks {
            self.sinks[*sink as usize].asked = Some(now);
        }
        let mut turn = Turn {
            now,
            most: call.most,
            is_quiet: false,
            reply: Receipt {
                reception: Reception::Known,
                epoch: String::new(),
                turn: 0,
                events: [0; 4],
                resets: 0,
                buried: 0,
                dropped: 0,
                left: 0,
                dead: Vec::new(),
            },
        };
        self.begin(call, &mut turn);
        turn.reply.reception = self.take_node(call, &mut turn);
        self.bury(call, &mut turn);
        self.let_go(&mut turn);
        let dead = self.nodes.iter();
        let dead = dead.filter(|(_, it)| self.is_dead(it, call.lease, now));
        let mut dead: Vec<_> = dead.map(|(name, it)| (it.renewed, name.clone())).collect();
        dead.sort_unstable();
        dead.truncate(MAX_DEAD);
        turn.reply.dead = dead.into_iter().map(|(_, name)| name).collect();
        turn.reply.epoch = self.epoch.clone().unwrap_or_default();
        turn.reply.turn = self.turn;
        turn.reply
    }

    /// Gives events, and takes those away that were told.
    pub fn take(&mut self, take: &Take, now: u64) -> Option<Notices> {
        let now = take.clock.unwrap_or(now);
        let waiting = &mut self.sinks[take.sink as usize];
        let is_mine = match &waiting.teller {
            Some((until, teller)) if *teller != take.teller && *until > now => return None,
            Some((_, teller)) => *teller == take.teller,
            None => false,
        };
        if take.lease > 0 {
            waiting.teller = Some((now + take.lease, take.teller.clone()));
            waiting.asked = Some(now);
        } else if is_mine {
            waiting.teller = None;
        }
        if take.told > 0 && waiting.events.front() == Some(&take.first) {
            let told = take.told.min(waiting.events.len());
            waiting.events.drain(..told);
        }
        Some(Notices {
            waiting: waiting.events.len() as u64,
            events: waiting.events.iter().take(take.most).cloned().collect(),
        })
    }

    /// Says who is there.
    #[must_use]
    pub fn page(&self, page: &Lookup) -> Found {
        let prefix = Subject::prefix(page.kind, &page.namespace);
        let from = (Bound::Included(prefix.as_str()), Bound::Unbounded);
        let all = self.names.range::<str, _>(from);
        let all = all.take_while(|it| it.as_str().starts_with(&prefix));
        let is_behind = |it: &&Subject| page.after.as_deref().is_none_or(|name| it.name() > name);
        let found = all.clone().filter(is_behind);
        let sockets = |subject: &Subject| self.here.get(subject).map_or(0, |it| it.1);
        let of_all = |kind| sockets(&Subject::new(kind, &page.namespace, ""));
        Found {
            found: found
                .take(page.limit)
                .map(|it| (it.name().to_owned(), sockets(it)))
                .collect(),
            count: all.count() as u64,
            sockets: of_all(SubjectKind::Sockets),
            anonymous: of_all(SubjectKind::Anonymous),
        }
    }

    /// Whether the store is what the node knew, and whether the nodes told everything again.
    fn begin(&mut self, call: &Statement, turn: &mut Turn) {
        let (now, known) = (turn.now, call.epoch.as_str());
        let is_fresh = self.epoch.is_none();
        let is_same = self.epoch.as_deref() == Some(known);
        let is_lost = match is_fresh {
            true => !known.is_empty(),
            false => is_same && call.seen > self.turn,
        };
        let is_late = call.mode == Mode::New && !known.is_empty() && !is_same;
        self.turn += 1;
        if is_fresh || is_lost {
            self.epoch = Some(call.candidate.clone());
            self.is_plain = !is_lost;
        }
        if is_lost || (is_late && self.is_plain) {
            self.is_plain = false;
            self.rebuilt = now + call.lease;
        } else if is_fresh {
            self.reset(turn);
        }
        let before = self.called.replace(now);
        if before.is_some_and(|before| now >= before + call.lease / 2) {
            self.spared = now + call.lease;
        }
        if self.rebuilt > 0 && now >= self.rebuilt {
            self.rebuilt = 0;
            for waiting in &mut self.sinks {
                waiting.events.clear();
            }
            self.reset(turn);
        }
        turn.is_quiet = self.rebuilt > 0;
    }

    fn take_node(&mut self, call: &Statement, turn: &mut Turn) -> Reception {
        let due = turn.now + call.grace;
        let known = self.nodes.get(&call.node).and_then(|it| it.version);
        if known.is_some_and(|known| known >= call.version) {
            return Reception::Stale;
        }
        match (call.mode, known) {
            (Mode::Leaves, _) => {
                let Some(node) = self.nodes.get_mut(&call.node) else {
                    return Reception::Unknown;
                };
                node.version = None;
                let gone = node.lowest();
                let left = node.counts.len();
                for (subject, count) in gone {
                    self.set(&subject, (count, 0), due, turn);
                }
                turn.reply.left = left as u64;
                if left == 0 {
                    self.nodes.remove(&call.node);
                }
                return Reception::Known;
            }
            (Mode::Goes, None) => return Reception::Unknown,
            (Mode::Goes, Some(_)) if self.epoch.as_ref() != Some(&call.epoch) => {
                return Reception::Unknown;
            }
            (Mode::Goes | Mode::New, _) => {}
        }
        let node = self.nodes.entry(call.node.clone()).or_default();
        node.version = Some(call.version);
        node.renewed = turn.now;
        for (subject, new) in &call.counts {
            let Some(node) = self.nodes.get_mut(&call.node) else {
                continue;
            };
            let old = match new {
                0 => node.counts.remove(subject),
                new => node.counts.insert(subject.clone(), *new),
            };
            self.set(subject, (old.unwrap_or(0), *new), due, turn);
        }
        Reception::Known
    }

    fn is_dead(&self, node: &Node, lease: u64, now: u64) -> bool {
        node.renewed + lease <= now && now >= self.spared
    }

    /// What dead nodes had is gone, of all together so much.
    fn bury(&mut self, call: &Statement, turn: &mut Turn) {
        for name in &call.dead {
            let node = self.nodes.get(name);
            if !node.is_some_and(|it| self.is_dead(it, call.lease, turn.now)) {
                continue;
            }
            let Some(node) = self.nodes.get_mut(name) else {
                continue;
            };
            node.version = None;
            let due = turn.now.max(node.renewed + call.grace);
            let gone = node.lowest();
            if node.counts.is_empty() {
                self.nodes.remove(name);
                turn.reply.buried += 1;
            }
            for (subject, count) in gone {
                self.set(&subject, (count, 0), due, turn);
            }
        }
    }

    /// The grace of some is over.
    fn let_go(&mut self, turn: &mut Turn) {
        if turn.is_quiet {
            return;
        }
        for _ in 0..PART {
            match self.leaving.first() {
                Some((due, _)) if *due <= turn.now => {}
                Some(_) | None => break,
            }
            if let Some((_, subject)) = self.leaving.pop_first() {
                self.due.remove(&subject);
                self.names.remove(&subject);
                self.say("last", &subject, turn);
                turn.count(&subject, 1);
            }
        }
    }

    /// A node has another number of sockets of a subject.
    fn set(&mut self, subject: &Subject, (old, new): (u64, u64), due: u64, turn: &mut Turn) {
        if old == new {
            return;
        }
        let (before, count) = self.here.get(subject).copied().unwrap_or_default();
        let nodes = (before + u64::from(new > 0)).saturating_sub(u64::from(old > 0));
        let count = (count + new).saturating_sub(old);
        match nodes {
            0 => self.here.remove(subject),
            nodes => self.here.insert(subject.clone(), (nodes, count)),
        };
        if !subject.kind().is_told() {
            return;
        }
        if nodes == 0 {
            if self.names.contains(subject) {
                self.stay(subject);
                self.leaving.insert((due, subject.clone()));
                self.due.insert(subject.clone(), due);
            }
        } else if before == 0 {
            self.stay(subject);
            if self.names.insert(subject.clone()) && !turn.is_quiet {
                self.say("first", subject, turn);
                turn.count(subject, 0);
            }
        }
    }

    /// It leaves no more.
    fn stay(&mut self, subject: &Subject) {
        if let Some(due) = self.due.remove(subject) {
            self.leaving.remove(&(due, subject.clone()));
        }
    }

    fn reset(&mut self, turn: &mut Turn) {
        turn.reply.resets += 1;
        let event = self.event("reset", "", turn.now);
        self.push(&event, turn);
    }

    fn say(&mut self, what: &str, subject: &Subject, turn: &mut Turn) {
        let event = self.event(what, subject.as_str(), turn.now);
        self.push(&event, turn);
    }

    fn event(&mut self, what: &str, subject: &str, now: u64) -> String {
        self.number += 1;
        let epoch = self.epoch.as_deref().unwrap_or_default();
        format!("{epoch}:{}:{now}:{what}:{subject}", self.number)
    }

    fn push(&mut self, event: &str, turn: &mut Turn) {
        for sink in Sink::ALL {
            let waiting = &mut self.sinks[sink as usize];
            if waiting.asked.is_none_or(|asked| asked + ASKED <= turn.now) {
                continue;
            }
            waiting.events.push_back(event.to_owned());
            if waiting.events.len() as u64 > turn.most {
                turn.reply.dropped += waiting.events.len() as u64;
                waiting.events.clear();
                let reset = self.event("reset", "", turn.now);
                self.sinks[sink as usize].events.push_back(reset);
                turn.reply.resets += 1;
            }
        }
    }
}

impl Node {
    /// Takes the subjects of which it has fewest sockets.
    fn lowest(&mut self) -> Vec<(Subject, u64)> {
        let counts = self.counts.iter();
        let mut all: Vec<_> = counts.map(|(it, count)| (*count, it.clone())).collect();
        all.sort_unstable();
        all.truncate(PART);
        for (_, subject) in &all {
            self.counts.remove(subject);
        }
        all.into_iter().map(|(count, it)| (it, count)).collect()
    }
}

impl Turn {
    /// An event of a user or a room; `place` is 0 for its first and 1 for its last.
    fn count(&mut self, subject: &Subject, place: usize) {
        let first = match subject.kind() {
            SubjectKind::User => 0,
            SubjectKind::Room | SubjectKind::Sockets | SubjectKind::Anonymous => 2,
        };
        self.reply.events[first + place] += 1;
    }
}
