//! What is said with Redis on the connection of a lane: the commands that go out, and what their answers mean.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::subscription::State;
use super::{Interests, index};
use crate::link::resp::Family;
use crate::link::route::LaneId;

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

#[derive(Debug, Default)]
pub(super) struct Lane {
    pub(super) connected: bool,
    pub(super) todo: VecDeque<(Family, Arc<str>)>,
    pub(super) todo_last: VecDeque<(Family, Arc<str>)>,
    /// Parts of commands that Redis refused as a whole; they come first.
    parts: VecDeque<(Family, bool, Vec<Arc<str>>)>,
    /// Commands that await confirmation, with the names that do.
    sent: VecDeque<(Family, bool, VecDeque<Arc<str>>)>,
    /// How many commands were answered on this connection.
    answered: u64,
    /// How many those names are.
    unconfirmed: usize,
    /// How many of the subscriptions that were wanted at the connect are not in force yet.
    pub(super) initial: usize,
}

impl Lane {
    /// One that is connected, and on which nothing was said.
    pub(super) fn connected() -> Self {
        Self {
            connected: true,
            ..Self::default()
        }
    }
}

/// Most names in one command; for sharded channels there is one, since they differ in slot.
pub(super) const CHUNK: usize = 500;
/// Most names that await confirmation on one connection.
pub(super) const WINDOW: usize = 4 * CHUNK;
/// How long to wait after a refusal; twice as long after each further one of the same name.
pub(super) const RETRY: Duration = Duration::from_secs(2);
/// How often that doubles.
pub(super) const MAX_DOUBLINGS: u32 = 5;

impl Interests {
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
}
