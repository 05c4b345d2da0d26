use std::sync::Arc;
use std::time::Instant;

use adapter::Latch;

use crate::link::route::LaneId;
use crate::wire::Kind;

/// What a subscription is for.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Purpose {
    /// Messages of this kind, of this namespace; a channel of a room tells its namespace itself.
    Messages(Kind, Option<Arc<str>>),
    /// Heartbeats that come back from the store of a namespace.
    Mark(Arc<str>),
    /// A node's messages to itself, by this lane.
    Probe(LaneId),
    /// Being counted.
    Presence,
}

impl Purpose {
    /// Whether it is for one room only.
    pub(super) fn is_room(&self) -> bool {
        matches!(self, Self::Messages(_, None))
    }
}

#[derive(Debug)]
pub(super) struct Entry {
    /// How many want it.
    pub(super) wants: usize,
    pub(super) latch: Arc<Latch>,
    pub(super) purpose: Purpose,
    /// Which lane carries it.
    pub(super) lane: Option<LaneId>,
    /// Subscribed after all others, so that who is counted hears everything.
    pub(super) last: bool,
    pub(super) state: State,
    /// Its lane is not synced before it is in force.
    pub(super) initial: bool,
    /// How often Redis refused it since it was in force. If it did, no other name shares a command
    /// with it.
    pub(super) refusals: u32,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum State {
    Idle,
    Asked,
    InForce,
    Lingering(Instant),
    Leaving,
}

impl Entry {
    /// It is not in force any more.
    pub(super) fn reset(&mut self, in_force: &mut usize) {
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
