mod commands;
mod subscription;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use adapter::Latch;

pub(crate) use self::commands::{Command, Confirmed, Refusal, Why};
pub(crate) use self::subscription::Purpose;

use self::commands::Lane;
use self::subscription::{Entry, State};
use crate::link::resp::Family;
use crate::link::route::{LaneId, Route};

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
        *connection = Lane::connected();
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

const FAMILIES: [Family; 3] = [Family::Exact, Family::Pattern, Family::Sharded];

fn index(family: Family) -> usize {
    match family {
        Family::Exact => 0,
        Family::Pattern => 1,
        Family::Sharded => 2,
    }
}
