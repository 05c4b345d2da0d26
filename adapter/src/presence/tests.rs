//! The machines together: what is told step by step, and a world of nodes at random against what a receiver makes of it.

use std::collections::{BTreeMap, BTreeSet, HashSet, VecDeque};

use super::*;

const LEASE: u64 = 2_000;
const GRACE: u64 = 1_000;
const USERS: [&str; 4] = ["ann", "bob", "eve", "joe"];

fn settings() -> ReporterSettings {
    ReporterSettings {
        lease: LEASE,
        grace: GRACE,
        sinks: vec![Sink::Webhook],
    }
}

fn user(name: &str) -> Subject {
    Subject::new(SubjectKind::User, "/", name)
}

fn all(kind: SubjectKind) -> Lookup {
    Lookup {
        kind,
        namespace: "/".to_owned(),
        after: None,
        limit: 1000,
    }
}

/// One node and what it has.
struct Node {
    reporter: Reporter,
    has: BTreeMap<Subject, u64>,
}

impl Node {
    fn new(name: &str, fresh: &str) -> Self {
        Self {
            reporter: Reporter::new(name, fresh, settings()),
            has: BTreeMap::new(),
        }
    }

    fn join(&mut self, subject: &Subject) {
        self.reporter.add(subject);
        *self.has.entry(subject.clone()).or_default() += 1;
    }

    fn leave(&mut self, subject: &Subject) {
        let Some(count) = self.has.get_mut(subject) else {
            return;
        };
        self.reporter.remove(subject);
        *count -= 1;
        if *count == 0 {
            self.has.remove(subject);
        }
    }

    fn call(&mut self, ledger: &mut Ledger, now: u64) -> Receipt {
        let (was_known, reply) = self.call_once(ledger, now);
        match reply.reception == Reception::Known && !was_known {
            true => self.call_once(ledger, now).1,
            false => reply,
        }
    }

    fn call_once(&mut self, ledger: &mut Ledger, now: u64) -> (bool, Receipt) {
        let call = self.reporter.call(&format!("at{now}"));
        let reply = ledger.call(&call, now);
        let was_known = call.mode == Mode::Goes;
        self.reporter
            .answered(call, Some(&reply), &format!("again{now}"));
        (was_known, reply)
    }
}

fn take(told: usize, first: &str) -> Take {
    Take {
        sink: Sink::Webhook,
        teller: "a".to_owned(),
        lease: LEASE,
        first: first.to_owned(),
        told,
        most: 1000,
        clock: None,
    }
}

/// What is told, and taken away.
fn told(ledger: &mut Ledger, now: u64) -> Vec<What> {
    let events = ledger.take(&take(0, ""), now).unwrap().events;
    if let Some(first) = events.first() {
        let left = ledger.take(&take(events.len(), first), now).unwrap();
        assert_eq!(left.waiting, 0);
    }
    let events = events.iter().map(|it| Notice::parse(it).unwrap().what);
    events.collect()
}

#[test]
fn who_comes_first_and_goes_last_is_told_once_and_after_the_grace() {
    let (mut ledger, ann) = (Ledger::default(), user("ann"));
    let (mut a, mut b) = (Node::new("a", "1"), Node::new("b", "1"));
    a.join(&ann);
    a.join(&ann);
    b.join(&ann);
    a.call(&mut ledger, 1_000);
    b.call(&mut ledger, 1_010);
    assert_eq!(
        told(&mut ledger, 1_010),
        [What::Reset, What::First(ann.clone())]
    );
    let page = ledger.page(&all(SubjectKind::User));
    assert_eq!(page.found, [("ann".to_owned(), 3)]);
    a.leave(&ann);
    a.call(&mut ledger, 1_020);
    a.leave(&ann);
    a.call(&mut ledger, 1_030);
    b.leave(&ann);
    b.call(&mut ledger, 1_040);
    assert_eq!(
        ledger.page(&all(SubjectKind::User)).found,
        [("ann".to_owned(), 0)],
        "within the grace"
    );
    a.call(&mut ledger, 1_039 + GRACE);
    b.call(&mut ledger, 1_039 + GRACE);
    assert_eq!(told(&mut ledger, 1_039 + GRACE), []);
    a.call(&mut ledger, 1_040 + GRACE);
    assert_eq!(told(&mut ledger, 1_040 + GRACE), [What::Last(ann)]);
    assert_eq!(ledger.page(&all(SubjectKind::User)).count, 0);
}

#[test]
fn who_comes_back_within_the_grace_was_never_away() {
    let (mut ledger, ann) = (Ledger::default(), user("ann"));
    let (mut a, mut b) = (Node::new("a", "1"), Node::new("b", "1"));
    a.join(&ann);
    a.call(&mut ledger, 0);
    told(&mut ledger, 0);
    a.leave(&ann);
    a.call(&mut ledger, 100);
    b.join(&ann);
    b.call(&mut ledger, 99 + GRACE);
    b.call(&mut ledger, 200 + GRACE);
    assert_eq!(told(&mut ledger, 200 + GRACE), []);
}

#[test]
fn a_dead_node_has_nothing_after_its_lease() {
    let (mut ledger, ann) = (Ledger::default(), user("ann"));
    let (mut a, mut b) = (Node::new("a", "1"), Node::new("b", "1"));
    a.join(&ann);
    a.call(&mut ledger, 0);
    b.call(&mut ledger, 0);
    told(&mut ledger, 0);
    for now in [LEASE / 3, 2 * LEASE / 3, LEASE - 1] {
        assert_eq!(b.call(&mut ledger, now).dead, [""; 0]);
    }
    let reply = b.call(&mut ledger, LEASE);
    assert_eq!(reply.dead, ["a:1"]);
    let reply = b.call(&mut ledger, LEASE);
    assert_eq!((reply.buried, reply.events), (1, [0, 1, 0, 0]));
    assert_eq!(told(&mut ledger, LEASE), [What::Last(ann.clone())]);
    // It only stood still.
    a.call(&mut ledger, LEASE + 10);
    assert_eq!(a.reporter.name(), "a:again2010");
    a.call(&mut ledger, LEASE + 20);
    assert_eq!(told(&mut ledger, LEASE + 20), [What::First(ann)]);
}

#[test]
fn a_store_that_was_away_takes_nobody_for_dead_at_once() {
    let (mut ledger, ann) = (Ledger::default(), user("ann"));
    let (mut a, mut b) = (Node::new("a", "1"), Node::new("b", "1"));
    a.join(&ann);
    a.call(&mut ledger, 0);
    b.call(&mut ledger, 0);
    told(&mut ledger, 0);
    let back = 5 * LEASE;
    assert_eq!(b.call(&mut ledger, back).dead, [""; 0]);
    assert_eq!(b.call(&mut ledger, back + 10).dead, [""; 0]);
    assert_eq!(a.call(&mut ledger, back + 20).reception, Reception::Known);
    assert_eq!(told(&mut ledger, back + 20), []);
    // One that does not come back is dead after a lease.
    for now in (back + 20..back + LEASE).step_by(100) {
        assert_eq!(b.call(&mut ledger, now).dead, [""; 0]);
    }
    for now in [back + 20 + LEASE, back + 30 + LEASE] {
        b.call(&mut ledger, now);
    }
    assert_eq!(told(&mut ledger, back + 30 + LEASE), [What::Last(ann)]);
}

#[test]
fn a_store_that_lost_the_last_of_it_begins_anew() {
    let (mut ledger, ann, bob) = (Ledger::default(), user("ann"), user("bob"));
    let (mut a, mut b) = (Node::new("a", "1"), Node::new("b", "1"));
    a.join(&ann);
    a.call(&mut ledger, 0);
    let before = ledger.clone();
    b.join(&bob);
    b.call(&mut ledger, 10);
    told(&mut ledger, 10);
    ledger = before;
    // It does not know this node at all, and the other node cannot know that something is lost.
    b.call(&mut ledger, 20);
    a.call(&mut ledger, 30);
    b.call(&mut ledger, 40);
    assert_eq!(a.reporter.name(), "a:again30");
    a.call(&mut ledger, 50);
    for now in [LEASE / 3, 2 * LEASE / 3, LEASE, 20 + LEASE] {
        a.call(&mut ledger, now);
        b.call(&mut ledger, now);
    }
    assert_eq!(told(&mut ledger, 20 + LEASE), [What::Reset]);
    let page = ledger.page(&all(SubjectKind::User));
    assert_eq!(page.found, [("ann".to_owned(), 1), ("bob".to_owned(), 1)]);
}

#[test]
fn a_node_that_ends_gives_its_subjects_up_in_parts() {
    let mut ledger = Ledger::default();
    let mut a = Node::new("a", "1");
    for number in 0..PART + 1 {
        a.join(&user(&format!("{number:04}")));
    }
    while a.reporter.is_changed() {
        a.call(&mut ledger, 0);
    }
    let call = a.reporter.leave("");
    assert_eq!(ledger.call(&call, 10).left, 1);
    let call = a.reporter.leave("");
    assert_eq!(ledger.call(&call, 10).left, 0);
    let mut b = Node::new("b", "1");
    let gone = |it: Receipt| it.events[1];
    assert_eq!(gone(b.call(&mut ledger, 9 + GRACE)), 0);
    assert_eq!(gone(b.call(&mut ledger, 10 + GRACE)), PART as u64);
    assert_eq!(gone(b.call(&mut ledger, 10 + GRACE)), 1);
}

#[test]
fn a_call_that_comes_late_does_nothing() {
    let (mut ledger, ann) = (Ledger::default(), user("ann"));
    let mut a = Node::new("a", "1");
    a.call(&mut ledger, 0);
    a.join(&ann);
    let late = a.reporter.call("");
    a.reporter.answered(late.clone(), None, "");
    a.leave(&ann);
    a.call(&mut ledger, 10);
    let reply = ledger.call(&late, 20);
    assert_eq!(reply.reception, Reception::Stale);
    assert_eq!(ledger.page(&all(SubjectKind::User)).count, 0);
}

#[test]
fn a_first_call_that_comes_late_revives_nobody_who_was_buried() {
    let (mut ledger, ann) = (Ledger::default(), user("ann"));
    let (mut a, mut b) = (Node::new("a", "1"), Node::new("b", "1"));
    a.join(&ann);
    let late = a.reporter.call("x");
    a.reporter.answered(late.clone(), None, "2");
    a.call(&mut ledger, 0);
    for now in [0, LEASE / 3, 2 * LEASE / 3, LEASE, LEASE + 10] {
        b.call(&mut ledger, now);
    }
    assert_eq!(ledger.page(&all(SubjectKind::User)).count, 0);
    ledger.call(&late, LEASE + 20);
    a.call(&mut ledger, LEASE + 30);
    a.call(&mut ledger, LEASE + 40);
    let page = ledger.page(&all(SubjectKind::User));
    assert_eq!(page.found, [("ann".to_owned(), 1)]);
}

#[test]
fn a_store_that_was_emptied_says_reset_and_tells_nobody_twice() {
    let (mut ledger, ann, bob) = (Ledger::default(), user("ann"), user("bob"));
    let mut a = Node::new("a", "1");
    a.join(&ann);
    a.call(&mut ledger, 0);
    told(&mut ledger, 0);
    let mut ledger = Ledger::default();
    a.call(&mut ledger, 100);
    a.call(&mut ledger, 110);
    a.join(&bob);
    a.call(&mut ledger, 120);
    assert_eq!(told(&mut ledger, 120), []);
    a.call(&mut ledger, 110 + LEASE);
    assert_eq!(told(&mut ledger, 110 + LEASE), [What::Reset]);
    let page = ledger.page(&all(SubjectKind::User));
    assert_eq!(page.found, [("ann".to_owned(), 1), ("bob".to_owned(), 1)]);
    a.leave(&bob);
    a.call(&mut ledger, 200 + LEASE);
    a.call(&mut ledger, 200 + LEASE + GRACE);
    assert_eq!(told(&mut ledger, 200 + LEASE + GRACE), [What::Last(bob)]);
}

#[test]
fn too_many_events_give_way_to_a_reset() {
    let mut ledger = Ledger::default();
    let mut a = Node::new("a", "1");
    for name in USERS {
        a.join(&user(name));
    }
    a.call_once(&mut ledger, 0);
    let mut call = a.reporter.call("");
    call.most = 3;
    let reply = ledger.call(&call, 0);
    assert_eq!((reply.dropped, reply.resets), (4, 1));
    assert_eq!(
        told(&mut ledger, 0),
        [What::Reset, What::First(user("joe"))]
    );
}

#[test]
fn one_node_tells_at_a_time() {
    let mut ledger = Ledger::default();
    let mut a = Node::new("a", "1");
    a.call(&mut ledger, 0);
    let other = Take {
        teller: "b".to_owned(),
        ..take(0, "")
    };
    let events = ledger.take(&take(0, ""), 0).unwrap().events;
    assert_eq!(events.len(), 1);
    assert_eq!(ledger.take(&other, LEASE - 1), None);
    let taken = ledger.take(&other, LEASE).unwrap();
    assert_eq!(taken.events, events, "not told yet");
    assert_eq!(ledger.take(&take(1, &events[0]), LEASE), None);
    let given_up = Take {
        lease: 0,
        told: 1,
        first: events[0].clone(),
        ..other
    };
    assert_eq!(ledger.take(&given_up, LEASE).unwrap().waiting, 0);
    assert!(ledger.take(&take(0, ""), LEASE).is_some());
}

/// Random numbers that a seed repeats.
struct Random(u64);

impl Random {
    fn below(&mut self, most: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % most
    }
}

/// What a backend makes of what it is told.
#[derive(Default)]
struct Receiver {
    there: BTreeSet<Subject>,
    /// The last number of each epoch.
    heard: BTreeMap<String, u64>,
    /// Of each that it was told of since the last reset, whether it came.
    last: BTreeMap<Subject, bool>,
    /// Those that came, or went, twice in a row.
    odd: Vec<Subject>,
    resets: usize,
}

impl Receiver {
    fn hear(&mut self, text: &str, ledger: &Ledger) {
        let event = Notice::parse(text).unwrap();
        let last = self.heard.entry(event.epoch).or_default();
        if event.number <= *last {
            return;
        }
        *last = event.number;
        match event.what {
            What::Reset => {
                let page = ledger.page(&all(SubjectKind::User));
                self.there = page.found.iter().map(|(name, _)| user(name)).collect();
                self.resets += 1;
                self.last.clear();
                self.odd.clear();
            }
            What::First(subject) => self.turn(subject, true),
            What::Last(subject) => self.turn(subject, false),
        }
    }

    fn turn(&mut self, subject: Subject, came: bool) {
        match came {
            true => self.there.insert(subject.clone()),
            false => self.there.remove(&subject),
        };
        if self.last.insert(subject.clone(), came) == Some(came) {
            self.odd.push(subject);
        }
    }
}

/// What may happen to the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Store {
    Safe,
    Emptied,
    /// A replica takes over that lacks the last of it.
    Behind,
}

struct World {
    random: Random,
    now: u64,
    ledger: Ledger,
    nodes: Vec<(Node, u64)>,
    late: VecDeque<Statement>,
    receiver: Receiver,
    /// What the receiver got and the store does not know that it did.
    unconfirmed: (usize, String),
    /// The store as it was, and who was answered since.
    before: (Ledger, HashSet<String>),
    lives: u64,
}

impl World {
    fn new(seed: u64) -> Self {
        let nodes = (0..3).map(|it| (Node::new(&format!("n{it}"), "0"), 0));
        Self {
            random: Random(seed),
            now: 1_000_000,
            ledger: Ledger::default(),
            nodes: nodes.collect(),
            late: VecDeque::new(),
            receiver: Receiver::default(),
            unconfirmed: (0, String::new()),
            before: Default::default(),
            lives: 0,
        }
    }

    fn step(&mut self, store: Store) {
        self.now += self.random.below(100);
        let count = self.nodes.len() as u64;
        let place = self.random.below(count) as usize;
        let subject = user(USERS[self.random.below(4) as usize]);
        let is_still = self.nodes[place].1 > self.now;
        match self.random.below(100) {
            0..=24 if !is_still => self.nodes[place].0.join(&subject),
            25..=49 if !is_still => self.nodes[place].0.leave(&subject),
            50..=79 if !is_still => self.call(place),
            80..=82 => self.nodes[place].1 = self.now + self.random.below(3 * LEASE),
            83 => self.start_again(place),
            84 if !is_still => self.end(place),
            85..=88 => {
                if let Some(call) = self.late.pop_front() {
                    self.ledger.call(&call, self.now);
                }
            }
            89 if store == Store::Emptied => self.ledger = Ledger::default(),
            90 if store == Store::Behind => self.before = (self.ledger.clone(), HashSet::new()),
            91 if store == Store::Behind => self.fall_behind(),
            _ => self.tell(),
        }
    }

    fn call(&mut self, place: usize) {
        let fresh = self.random.below(u64::MAX).to_string();
        let chance = self.random.below(20);
        let node = &mut self.nodes[place].0;
        let call = node.reporter.call(&fresh);
        let reply = match chance {
            0 => None,
            1 => {
                self.late.push_back(call.clone());
                None
            }
            2 => {
                self.ledger.call(&call, self.now);
                None
            }
            _ => Some(self.ledger.call(&call, self.now)),
        };
        if let Some(reply) = &reply
            && reply.reception == Reception::Known
        {
            self.before.1.insert(call.node.clone());
        }
        node.reporter.answered(call, reply.as_ref(), &fresh);
    }

    /// Killed; another one takes its name.
    fn start_again(&mut self, place: usize) {
        self.lives += 1;
        let (name, fresh) = (format!("n{place}"), self.lives.to_string());
        self.nodes[place] = (Node::new(&name, &fresh), 0);
    }

    fn end(&mut self, place: usize) {
        let fresh = self.random.below(u64::MAX).to_string();
        let call = self.nodes[place].0.reporter.leave(&fresh);
        self.ledger.call(&call, self.now);
        self.start_again(place);
    }

    /// Only what somebody who lives had been told it has can be missed.
    fn fall_behind(&mut self) {
        let (before, answered) = std::mem::take(&mut self.before);
        let nodes = self.nodes.iter_mut();
        let mut nodes = nodes.filter(|(it, _)| answered.contains(it.reporter.name()));
        if let Some((node, _)) = nodes.next() {
            self.ledger = before;
            node.call(&mut self.ledger, self.now);
            node.call(&mut self.ledger, self.now);
        }
    }

    fn tell(&mut self) {
        let (count, first) = std::mem::take(&mut self.unconfirmed);
        let taken = self.ledger.take(&take(count, &first), self.now);
        let Some(Notices { events, .. }) = taken else {
            return;
        };
        let most = self.random.below(events.len() as u64 + 1) as usize;
        for event in &events[..most] {
            self.receiver.hear(event, &self.ledger);
        }
        // What it heard is not always known to be heard.
        if most > 0 && self.random.below(4) > 0 {
            self.unconfirmed = (most, events[0].clone());
        }
    }

    /// Nothing happens any more, but what goes on by itself.
    fn settle(&mut self) {
        while let Some(call) = self.late.pop_front() {
            self.ledger.call(&call, self.now);
        }
        let until = self.now + 3 * LEASE + 2 * GRACE;
        while self.now < until {
            self.now += 100;
            for place in 0..self.nodes.len() {
                self.nodes[place].1 = 0;
                self.nodes[place].0.call(&mut self.ledger, self.now);
            }
        }
        for _ in 0..200 {
            self.tell();
        }
    }

    fn check(&self, seed: u64, store: Store) {
        let mut there = BTreeMap::<String, u64>::new();
        for (node, _) in &self.nodes {
            for (subject, count) in &node.has {
                *there.entry(subject.name().to_owned()).or_default() += count;
            }
        }
        let page = self.ledger.page(&all(SubjectKind::User));
        let expected: Vec<_> = there.clone().into_iter().collect();
        assert_eq!(page.found, expected, "{seed} {store:?}");
        let heard: Vec<_> = self.receiver.there.iter().map(Subject::name).collect();
        let names: Vec<_> = there.keys().map(String::as_str).collect();
        assert_eq!(heard, names, "{seed} {store:?}");
        assert_eq!(self.receiver.odd, [], "{seed} {store:?}");
        if store == Store::Safe {
            assert_eq!(self.receiver.resets, 1, "{seed}");
        }
    }
}

/// A receiver that does what docs/presence.md says knows who is there, whatever happened; and each that it is told
/// of comes and goes by turns.
#[test]
fn what_a_receiver_hears_is_what_is_there() {
    for store in [Store::Safe, Store::Emptied, Store::Behind] {
        for seed in 0..300 {
            let mut world = World::new(seed);
            for _ in 0..600 {
                world.step(store);
            }
            world.settle();
            world.check(seed, store);
        }
    }
}
