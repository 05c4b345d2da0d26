//! Processes that are new, or were silent for so long that they do not count as alive.
//!
//! A server that takes over may lack all that it ever heard of such a one. If the process is gone as well, nobody
//! awaits it. So it does nothing until another one, which a new server would await, knows of its heartbeat:
//!
//! ```text
//!   new process          store               a process that acts
//!       │── heartbeat ────►│── its mark ─────────────►│
//!       │◄─ may not act ───│◄──────── heartbeat ──────│
//!       │                  │─────── a place ─────────►│  (behind that of the mark)
//!       │                  │◄──────── heartbeat ──────│  (it knows of that place)
//!       │◄── the mark ─────│
//!       │── heartbeat ────►│
//!       │◄──── may act ────│
//! ```
//!
//! The mark only makes the other one ask. It does not believe what the mark says: any program that may publish can make
//! one up, and a place that is not there would cost all clients their sessions.
//!
//! What is lost now is missed by the other one, or that one is silent, and is awaited in vain. If that one was new
//! itself, it is the same with the one that knew of it: the first in the row was there before.
//!
//! If nobody else counts as alive it waits for nobody. Of several that are new the first one goes on.

use super::{Known, Life, Position, Process, Settings};

impl Life {
    /// Whether a process counts as alive, before the heartbeat that it makes now.
    pub(super) fn has_lived(&self, process: &Process, settings: &Settings) -> bool {
        let lived = self.lived(settings);
        self.processes.get(process).is_some_and(lived)
    }

    /// A process makes a heartbeat, and tells what it knows of this log. Who is to make one now: those to which it is
    /// new, or those that are new and of which it knows.
    pub(super) fn introduce(
        &mut self,
        process: &Process,
        knows: Option<Known>,
        settings: &Settings,
    ) -> Vec<Process> {
        let since = self.processes.get(process).and_then(|it| it.since);
        let Some(since) = since else {
            let known = knows.map_or(Position::ZERO, |it| it.position);
            let peers = self.processes.iter_mut();
            let met = peers.filter_map(|(name, peer)| {
                let is_known = peer.since.take_if(|it| *it <= known);
                is_known.map(|_| name.clone())
            });
            return met.collect();
        };
        let lived = self.lived(settings);
        // Of what restarts under its name the life before is over.
        let others = self.processes.iter().filter(|(name, peer)| {
            let is_senior = peer.since.is_none_or(|it| it < since);
            name.node != process.node && lived(peer) && !peer.is_retired && is_senior
        });
        let others: Vec<_> = others.collect();
        if others.is_empty() {
            self.peer(process).since = None;
            return Vec::new();
        }
        let acting = others.into_iter().filter(|(_, peer)| peer.since.is_none());
        acting.map(|(name, _)| name.clone()).collect()
    }
}
