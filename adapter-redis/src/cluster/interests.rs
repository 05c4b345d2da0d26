use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use adapter::Latch;

use crate::link::resp::Family;
use crate::link::route::{LaneId, Route};
use crate::wire::Kind;

/// What a node subscribes to: which subscriptions are wanted, which are in force, and what has to be
/// sent to Redis to make the two agree. Pure: time is an argument, commands come out of
/// [`next_command`](Self::next_command).
///
/// ```text
///         wanted            confirmed            nobody wants it
///  idle ─────────► asked ─────────────► in force ◄──────────────► lingering
///   ▲                │ refused,            │         wanted again     │
///   ├────────────────┘ disconnected        │ lost, disconnected       │ late
///   ├──────────────────────────────────────┘                          ▼
///   └───────────────────────────────────────────────────────────── leaving
///                              confirmed
/// ```
#[derive(Debug)]
pub(crate) struct Interests {
    entries: [HashMap<Arc<str>, Entry>; 3],
    lanes: BTreeMap<LaneId, Lane>,
    route: Route,
    lingering: VecDeque<(Instant, Family, Arc<str>)>,
    /// What Redis refused, and when it is asked for again.
    refused: BTreeSet<(Instant, Family, Arc<str>)>,
    /// What Redis took away, was in force and is wanted, and is not back yet.
    lost: HashSet<(Family, Arc<str>)>,
    settings: Settings,
    in_force: usize,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Settings {
    /// How long a subscription is kept that nobody wants.
    pub(crate) linger: Duration,
    /// How many of them are.
    pub(crate) lingering: usize,
}

/// What a subscription is for.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Purpose {
    /// Messages of this kind, of this namespace; a channel of a room tells its namespace itself.
    Messages(Kind, Option<Arc<str>>),
    /// A node's messages to itself, by this lane.
    Probe(LaneId),
    /// Being counted.
    Presence,
}

impl Purpose {
    /// Whether it is for one room only.
    fn is_room(&self) -> bool {
        matches!(self, Self::Messages(_, None))
    }
}

/// A command that changes subscriptions.
#[derive(Debug, PartialEq)]
pub(crate) struct Command {
    pub(crate) family: Family,
    pub(crate) subscribe: bool,
    pub(crate) names: Vec<Arc<str>>,
}

/// Why Redis refused a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Why {
    /// Because of its names: a user may not use one of them, say.
    Names,
    /// Because of Redis: another time, or another server, takes it.
    NotNow,
}

/// What a refusal meant.
#[derive(Debug, PartialEq)]
pub(crate) enum Refusal {
    /// One name is refused. It is asked for again, by itself and at growing intervals.
    Name {
        name: Arc<str>,
        /// It was not refused before, as far as is known.
        is_news: bool,
    },
    /// One of several names is: each half is asked for by itself.
    Split,
    /// All names are asked for again after a while; this is one of them.
    Later(Arc<str>),
    /// Nothing that matters any more.
    Stale,
}

/// What a confirmation meant.
#[derive(Debug, PartialEq)]
pub(crate) enum Confirmed {
    /// What was asked for.
    Expected,
    /// A subscription was taken away by the server: its slot has moved.
    Lost,
    /// Nothing that matters any more.
    Stale,
}

#[derive(Debug)]
struct Entry {
    wants: usize,
    latch: Arc<Latch>,
    purpose: Purpose,
    /// Which lane carries it.
    lane: Option<LaneId>,
    /// Subscribed after all others, so that who is counted hears everything.
    last: bool,
    state: State,
    /// Its lane is not synced before it is in force.
    initial: bool,
    /// How often Redis refused it since it was in force. If it did, no other name shares a command
    /// with it.
    refusals: u32,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum State {
    Idle,
    Asked,
    InForce,
    Lingering(Instant),
    Leaving,
}

#[derive(Debug, Default)]
struct Lane {
    connected: bool,
    todo: VecDeque<(Family, Arc<str>)>,
    todo_last: VecDeque<(Family, Arc<str>)>,
    /// Parts of commands that Redis refused as a whole; they come first.
    parts: VecDeque<(Family, bool, Vec<Arc<str>>)>,
    /// Commands that await confirmation, with the names that do.
    sent: VecDeque<(Family, bool, VecDeque<Arc<str>>)>,
    /// How many commands were answered on this connection.
    answered: u64,
    /// How many those names are.
    unconfirmed: usize,
    /// How many of the subscriptions that were wanted at the connect are not in force yet.
    initial: usize,
}

/// Most names in one command; for sharded channels there is one, since they differ in slot.
const CHUNK: usize = 500;
/// Most names that await confirmation on one connection.
const WINDOW: usize = 4 * CHUNK;
/// How long to wait after a refusal; twice as long after each further one of the same name.
const RETRY: Duration = Duration::from_secs(2);
/// How often that doubles.
const MAX_DOUBLINGS: u32 = 5;

impl Interests {
    pub(crate) fn new(route: Route, settings: Settings) -> Self {
        Self {
            entries: Default::default(),
            lanes: BTreeMap::new(),
            route,
            lingering: VecDeque::new(),
            refused: BTreeSet::new(),
            lost: HashSet::new(),
            settings,
            in_force: 0,
        }
    }

    pub(crate) fn add_lane(&mut self, lane: LaneId) {
        self.lanes.entry(lane).or_default();
    }

    /// Wants `name`. The latch is open while it is in force.
    pub(crate) fn acquire(
        &mut self,
        family: Family,
        name: &str,
        purpose: Purpose,
        last: bool,
    ) -> Arc<Latch> {
        let map = &mut self.entries[index(family)];
        if let Some(entry) = map.get_mut(name) {
            entry.wants += 1;
            entry.purpose = purpose;
            if let State::Lingering(_) = entry.state {
                entry.state = State::InForce;
            }
            return entry.latch.clone();
        }
        let latch = Arc::new(Latch::default());
        let name: Arc<str> = name.into();
        let lane = self.route.lane(&name);
        map.insert(
            name.clone(),
            Entry {
                wants: 1,
                latch: latch.clone(),
                purpose,
                lane,
                last,
                state: State::Idle,
                initial: false,
                refusals: 0,
            },
        );
        self.enqueue(family, name);
        latch
    }

    /// Wants `name` no more.
    pub(crate) fn release(&mut self, family: Family, name: &str, now: Instant) {
        let map = &mut self.entries[index(family)];
        let Some((name, _)) = map.get_key_value(name) else {
            return;
        };
        let name = name.clone();
        let Some(entry) = map.get_mut(&name) else {
            return;
        };
        entry.wants = entry.wants.saturating_sub(1);
        if entry.wants > 0 {
            return;
        }
        match entry.state {
            State::Idle => self.remove(family, &name),
            State::InForce => {
                let until = now + self.settings.linger;
                entry.state = State::Lingering(until);
                self.lingering.push_back((until, family, name));
                while self.lingering.len() > self.settings.lingering {
                    self.end_oldest_lingering();
                }
            }
            State::Asked | State::Lingering(_) | State::Leaving => {}
        }
    }

    /// The connection of `lane` is there, without subscriptions.
    pub(crate) fn handle_connected(&mut self, lane: LaneId) {
        let Some(connection) = self.lanes.get_mut(&lane) else {
            return;
        };
        *connection = Lane {
            connected: true,
            ..Lane::default()
        };
        let mut wanted = Vec::new();
        for (index, family) in FAMILIES.into_iter().enumerate() {
            for (name, entry) in &mut self.entries[index] {
                if entry.lane == Some(lane) && entry.wants > 0 {
                    entry.initial = true;
                    wanted.push((family, name.clone()));
                }
            }
        }
        if let Some(connection) = self.lanes.get_mut(&lane) {
            connection.initial = wanted.len();
        }
        for (family, name) in wanted {
            self.enqueue(family, name);
        }
    }

    /// The connection of `lane` is gone, and with it its subscriptions.
    pub(crate) fn handle_disconnected(&mut self, lane: LaneId) {
        if let Some(connection) = self.lanes.get_mut(&lane) {
            *connection = Lane::default();
        }
        let mut gone = Vec::new();
        for (index, family) in FAMILIES.into_iter().enumerate() {
            for (name, entry) in &mut self.entries[index] {
                if entry.lane == Some(lane) {
                    entry.reset(&mut self.in_force);
                    if entry.wants == 0 {
                        gone.push((family, name.clone()));
                    }
                }
            }
        }
        for (family, name) in gone {
            self.remove(family, &name);
        }
    }

    /// The next command to send by the connection of `lane`.
    pub(crate) fn next_command(&mut self, lane: LaneId) -> Option<Command> {
        let connection = self.lanes.get(&lane)?;
        if !connection.connected || connection.unconfirmed >= WINDOW {
            return None;
        }
        let command = match self.next_part(lane) {
            Some(part) => part,
            None => self.next_due(lane)?,
        };
        let connection = self.lanes.get_mut(&lane)?;
        let names = command.names.iter().cloned().collect();
        connection.unconfirmed += command.names.len();
        connection
            .sent
            .push_back((command.family, command.subscribe, names));
        Some(command)
    }

    /// What waits, as much of it as goes into one command.
    fn next_due(&mut self, lane: LaneId) -> Option<Command> {
        let connection = self.lanes.get_mut(&lane)?;
        let mut command: Option<Command> = None;
        // Whether the command holds a name that was refused before.
        let mut is_alone = false;
        loop {
            let is_last = connection.todo.is_empty();
            let queue = if is_last {
                &mut connection.todo_last
            } else {
                &mut connection.todo
            };
            let Some((family, name)) = queue.front() else {
                break;
            };
            let family = *family;
            let entry = self.entries[index(family)].get_mut(name);
            let subscribe = match &entry {
                Some(it) if it.lane == Some(lane) => match it.state {
                    State::Idle if it.wants > 0 => Some(true),
                    State::Leaving => Some(false),
                    State::Idle | State::Asked | State::InForce | State::Lingering(_) => None,
                },
                Some(_) | None => None,
            };
            if let (Some(subscribe), Some(command)) = (subscribe, &command) {
                let is_same = (command.family, command.subscribe) == (family, subscribe);
                let chunk = if family == Family::Sharded { 1 } else { CHUNK };
                let is_refused = entry.as_ref().is_some_and(|it| it.refusals > 0);
                if !is_same || is_alone || is_refused || command.names.len() >= chunk {
                    break;
                }
            }
            let Some((_, name)) = queue.pop_front() else {
                break;
            };
            let (Some(subscribe), Some(entry)) = (subscribe, entry) else {
                continue;
            };
            if subscribe {
                entry.state = State::Asked;
            }
            is_alone = entry.refusals > 0;
            command
                .get_or_insert_with(|| Command {
                    family,
                    subscribe,
                    names: Vec::new(),
                })
                .names
                .push(name);
        }
        command
    }

    /// What is still to be sent of the first part of a command that was refused.
    fn next_part(&mut self, lane: LaneId) -> Option<Command> {
        while let Some((family, subscribe, names)) = self.lanes.get_mut(&lane)?.parts.pop_front() {
            let entries = &mut self.entries[index(family)];
            let mut due = |name: &Arc<str>| match entries.get_mut(name) {
                Some(entry) if entry.lane == Some(lane) => match entry.state {
                    State::Idle if subscribe && entry.wants > 0 => {
                        entry.state = State::Asked;
                        true
                    }
                    State::Leaving => !subscribe,
                    State::Idle | State::Asked | State::InForce | State::Lingering(_) => false,
                },
                Some(_) | None => false,
            };
            let names: Vec<_> = names.into_iter().filter(|name| due(name)).collect();
            if !names.is_empty() {
                return Some(Command {
                    family,
                    subscribe,
                    names,
                });
            }
        }
        None
    }

    /// Redis confirmed a change on the connection of `lane`.
    pub(crate) fn handle_confirmed(
        &mut self,
        lane: LaneId,
        family: Family,
        subscribed: bool,
        name: &[u8],
    ) -> Confirmed {
        let Some(connection) = self.lanes.get_mut(&lane) else {
            return Confirmed::Stale;
        };
        let is_next = connection.sent.front().is_some_and(|(sent, op, names)| {
            let next = names.front().map(|it| it.as_bytes());
            (*sent, *op, next) == (family, subscribed, Some(name))
        });
        if is_next && let Some((.., names)) = connection.sent.front_mut() {
            connection.unconfirmed -= 1;
            names.pop_front();
            if names.is_empty() {
                connection.sent.pop_front();
                connection.answered += 1;
            }
        }
        let Some((name, entry)) = self.entry(family, name) else {
            return Confirmed::Stale;
        };
        if entry.lane != Some(lane) {
            return Confirmed::Stale;
        }
        match (entry.state, subscribed) {
            (State::Asked, true) => {
                entry.state = State::InForce;
                entry.refusals = 0;
                entry.latch.open();
                let (was_initial, wants) = (std::mem::take(&mut entry.initial), entry.wants);
                self.in_force += 1;
                self.lost.remove(&(family, name.clone()));
                if was_initial {
                    self.count_initial(lane);
                }
                if wants == 0 {
                    self.leave(family, &name);
                }
                Confirmed::Expected
            }
            (State::Leaving, false) => {
                self.become_idle(family, &name);
                Confirmed::Expected
            }
            (State::InForce | State::Lingering(_), false) => {
                if entry.wants > 0 {
                    self.lost.insert((family, name.clone()));
                }
                self.become_idle(family, &name);
                Confirmed::Lost
            }
            (State::Idle | State::InForce | State::Lingering(_) | State::Leaving, true)
            | (State::Idle | State::Asked, false) => Confirmed::Stale,
        }
    }

    /// Redis refused the oldest command on the connection of `lane` that awaits confirmation. A name
    /// that cannot be had hurts no other: the command is halved until it stands alone.
    pub(crate) fn handle_refused(&mut self, lane: LaneId, why: Why, now: Instant) -> Refusal {
        let Some(connection) = self.lanes.get_mut(&lane) else {
            return Refusal::Stale;
        };
        let Some((family, subscribe, names)) = connection.sent.pop_front() else {
            return Refusal::Stale;
        };
        connection.answered += 1;
        connection.unconfirmed -= names.len();
        let mut names = Vec::from(names);
        if why == Why::Names && names.len() > 1 {
            for name in &names {
                let entry = self.entries[index(family)].get_mut(name);
                if let Some(entry) = entry.filter(|it| it.lane == Some(lane))
                    && subscribe
                    && entry.state == State::Asked
                {
                    entry.state = State::Idle;
                    if entry.wants == 0 {
                        self.remove(family, name);
                    }
                }
            }
            let half = names.split_off(names.len() / 2);
            if let Some(connection) = self.lanes.get_mut(&lane) {
                connection.parts.push_back((family, subscribe, names));
                connection.parts.push_back((family, subscribe, half));
            }
            return Refusal::Split;
        }
        let mut is_news = false;
        for name in &names {
            is_news |= self.handle_name_refused(lane, (family, subscribe), name, why, now);
        }
        match (names.into_iter().next(), why) {
            (Some(name), Why::Names) => Refusal::Name { name, is_news },
            (Some(name), Why::NotNow) => Refusal::Later(name),
            (None, _) => Refusal::Stale,
        }
    }

    /// Whether it was refused for the first time.
    fn handle_name_refused(
        &mut self,
        lane: LaneId,
        (family, subscribe): (Family, bool),
        name: &Arc<str>,
        why: Why,
        now: Instant,
    ) -> bool {
        let Some(entry) = self.entries[index(family)].get_mut(name) else {
            return false;
        };
        if entry.lane != Some(lane) {
            return false;
        }
        if !subscribe {
            if entry.state == State::Leaving {
                self.become_idle(family, name);
            }
            return false;
        }
        if entry.state != State::Asked {
            return false;
        }
        entry.state = State::Idle;
        if entry.wants == 0 {
            self.remove(family, name);
            return false;
        }
        let mut pause = RETRY;
        let mut is_news = false;
        if why == Why::Names {
            is_news = entry.refusals == 0;
            // Who waits for a room is told. Without what all of the namespace goes by, the node is deaf.
            if entry.purpose.is_room() {
                pause *= 1 << entry.refusals.min(MAX_DOUBLINGS);
                entry.latch.refuse();
                let was_initial = std::mem::take(&mut entry.initial);
                self.lost.remove(&(family, name.clone()));
                entry.refusals = entry.refusals.saturating_add(1);
                if was_initial {
                    self.count_initial(lane);
                }
            } else {
                entry.refusals = 1;
            }
        }
        self.refused.insert((now + pause, family, name.clone()));
        is_news
    }

    /// How many commands were sent by the connection of `lane`.
    pub(crate) fn commands_sent(&self, lane: LaneId) -> u64 {
        let lane = self.lanes.get(&lane);
        lane.map_or(0, |lane| lane.answered + lane.sent.len() as u64)
    }

    /// How many of them were answered.
    pub(crate) fn commands_answered(&self, lane: LaneId) -> u64 {
        self.lanes.get(&lane).map_or(0, |lane| lane.answered)
    }

    /// Time has passed.
    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        while let Some((until, ..)) = self.lingering.front()
            && *until <= now
        {
            self.end_oldest_lingering();
        }
        while let Some((until, ..)) = self.refused.first()
            && *until <= now
            && let Some((_, family, name)) = self.refused.pop_first()
        {
            self.enqueue(family, name);
        }
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let times = [self.lingering.front(), self.refused.first()];
        times.into_iter().flatten().map(|(until, ..)| *until).min()
    }

    /// Moves subscriptions to other lanes.
    pub(crate) fn reroute(&mut self, route: Route, lanes: &[LaneId]) {
        self.route = route;
        self.lanes.retain(|lane, _| lanes.contains(lane));
        lanes.iter().for_each(|lane| self.add_lane(*lane));
        let mut moved = Vec::new();
        for (index, family) in FAMILIES.into_iter().enumerate() {
            for (name, entry) in &mut self.entries[index] {
                let lane = self.route.lane(name);
                if entry.lane == lane {
                    continue;
                }
                if entry.initial
                    && let Some(connection) = entry.lane.and_then(|it| self.lanes.get_mut(&it))
                {
                    connection.initial = connection.initial.saturating_sub(1);
                }
                if matches!(entry.state, State::InForce) {
                    self.lost.insert((family, name.clone()));
                }
                entry.reset(&mut self.in_force);
                entry.lane = lane;
                moved.push((family, name.clone()));
            }
        }
        for (family, name) in moved {
            self.enqueue_or_remove(family, name);
        }
    }

    /// Whether everything that was wanted at the connect of `lane` is in force.
    pub(crate) fn is_synced(&self, lane: LaneId) -> bool {
        let lane = self.lanes.get(&lane);
        lane.is_some_and(|lane| lane.connected && lane.initial == 0)
    }

    /// Whether nothing that is wanted was taken away by Redis without being back.
    pub(crate) fn is_whole(&self) -> bool {
        self.lost.is_empty()
    }

    /// What a subscription that is in force at Redis is for.
    pub(crate) fn purpose(&self, family: Family, name: &str) -> Option<&Purpose> {
        let entry = self.entries[index(family)].get(name)?;
        match entry.state {
            State::InForce | State::Lingering(_) | State::Leaving => Some(&entry.purpose),
            State::Idle | State::Asked => None,
        }
    }

    /// The lane that carries `channel`.
    pub(crate) fn lane_of(&self, channel: &str) -> Option<LaneId> {
        self.route.lane(channel)
    }

    /// How many subscriptions are in force.
    pub(crate) fn in_force(&self) -> usize {
        self.in_force
    }

    fn entry(&mut self, family: Family, name: &[u8]) -> Option<(Arc<str>, &mut Entry)> {
        let name = std::str::from_utf8(name).ok()?;
        let map = &mut self.entries[index(family)];
        let (name, _) = map.get_key_value(name)?;
        let name = name.clone();
        let entry = map.get_mut(&name)?;
        Some((name, entry))
    }

    /// The subscription is gone at Redis: away with it, or asked for again.
    fn become_idle(&mut self, family: Family, name: &Arc<str>) {
        if let Some(entry) = self.entries[index(family)].get_mut(name) {
            entry.reset(&mut self.in_force);
        }
        self.enqueue_or_remove(family, name.clone());
    }

    fn enqueue_or_remove(&mut self, family: Family, name: Arc<str>) {
        let entry = self.entries[index(family)].get(&name);
        if entry.is_some_and(|entry| entry.wants > 0) {
            self.enqueue(family, name);
        } else {
            self.remove(family, &name);
        }
    }

    fn end_oldest_lingering(&mut self) {
        let Some((until, family, name)) = self.lingering.pop_front() else {
            return;
        };
        let entry = self.entries[index(family)].get(&name);
        if entry.is_some_and(|entry| entry.state == State::Lingering(until)) {
            self.leave(family, &name);
        }
    }

    fn leave(&mut self, family: Family, name: &Arc<str>) {
        if let Some(entry) = self.entries[index(family)].get_mut(name) {
            entry.state = State::Leaving;
            entry.latch.close();
            self.enqueue(family, name.clone());
        }
    }

    fn enqueue(&mut self, family: Family, name: Arc<str>) {
        let Some(entry) = self.entries[index(family)].get(&name) else {
            return;
        };
        let lane = entry.lane.and_then(|lane| self.lanes.get_mut(&lane));
        if let Some(lane) = lane.filter(|lane| lane.connected) {
            if entry.last {
                lane.todo_last.push_back((family, name));
            } else {
                lane.todo.push_back((family, name));
            }
        }
    }

    fn remove(&mut self, family: Family, name: &Arc<str>) {
        if let Some(entry) = self.entries[index(family)].remove(name) {
            // Whoever still waits has nothing to wait for.
            entry.latch.open();
            self.lost.remove(&(family, name.clone()));
            if let (true, Some(lane)) = (entry.initial, entry.lane) {
                self.count_initial(lane);
            }
        }
    }

    fn count_initial(&mut self, lane: LaneId) {
        if let Some(lane) = self.lanes.get_mut(&lane) {
            lane.initial = lane.initial.saturating_sub(1);
        }
    }
}

impl Entry {
    fn reset(&mut self, in_force: &mut usize) {
        if matches!(
            self.state,
            State::InForce | State::Lingering(_) | State::Leaving
        ) {
            *in_force -= 1;
        }
        self.state = State::Idle;
        self.initial = false;
        self.latch.close();
    }
}

const FAMILIES: [Family; 3] = [Family::Exact, Family::Pattern, Family::Sharded];

fn index(family: Family) -> usize {
    match family {
        Family::Exact => 0,
        Family::Pattern => 1,
        Family::Sharded => 2,
    }
}

#[cfg(test)]
mod tests;
