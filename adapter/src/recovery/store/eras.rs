//! Servers in a row, and who is awaited after one took over.
//!
//! A process that lived when the server before was heard last may know of something that this one lacks. The clock does
//! not tell which ones did. It may have jumped forward, and then all but the one that was heard last seem to be silent:
//!
//! ```text
//! the log's time   100.0     100.4         112.1      112.3
//!                  a beats   the clock     b beats    the server is gone, and a with it:
//!                            jumps                    a was silent for 12.1 of these seconds
//! rounds           7         7             7          a was silent for none
//! ```
//!
//! So heartbeats are counted, too. One that was due ends a *round* if its process made one in it before. No process
//! makes two of them within a heartbeat's time, so rounds are not shorter than that, whatever the clock says. A process
//! that counts as alive by either is awaited: one too many costs a new epoch, which everybody is told.

use super::{Known, Life, Peer, Position, Process, Settings};
use crate::recovery::{Epoch, ServerId};

/// The time of one server.
#[derive(Debug, Clone, Copy)]
pub(super) struct Era {
    /// Its first place.
    pub(super) start: Position,
    /// The last place of the era before that it knows of.
    pub(super) boundary: Position,
}

/// How many servers in a row are remembered. A process that was away for longer brings a new epoch.
const MAX_ERAS: usize = 8;

impl Era {
    /// That of an epoch's first server.
    pub(super) fn first(start: Position) -> Self {
        Self {
            start,
            boundary: Position::ZERO,
        }
    }
}

impl Life {
    pub(super) fn era(&self) -> Position {
        self.eras.last().map_or(Position::ZERO, |era| era.start)
    }

    /// Another server took over. Those who lived when the one before was heard last are awaited.
    pub(super) fn begin_era(&mut self, server: ServerId, now: u64, settings: &Settings) {
        let boundary = self.last;
        let start = self.advance(now);
        self.eras.push(Era { start, boundary });
        if self.eras.len() > MAX_ERAS {
            self.eras.remove(0);
        }
        self.server = server;
        let lived = self.lived(settings);
        for (process, peer) in &mut self.processes {
            if lived(peer) && !peer.is_retired {
                self.awaited.insert(process.clone());
                peer.beat = start.number();
            }
        }
        self.settle_until = now.saturating_add(settings.settle);
    }

    /// What was confirmed is missing: nothing of before counts any more.
    /// The next epoch is behind everything that is `known`.
    pub(super) fn renew(&mut self, random: u64, now: u64, known: Option<Known>) {
        self.epoch = Epoch::new(random);
        let known = known.map_or(Position::ZERO, |it| it.position);
        self.last = self.last.max(known);
        let start = self.advance(now);
        self.begin = start;
        self.eras = vec![Era::first(start)];
        self.logs.clear();
        self.forgotten = start;
        (self.passed, self.summed) = ((0, 0), (0, 0));
        self.sessions.clear();
        self.processes.values_mut().for_each(|it| it.taken.clear());
    }

    /// Whether `known` is in the log of this server, or belongs to an epoch before this one. An epoch may be lost
    /// as well: then the one that is here began before it.
    pub(super) fn has(&self, known: &Known) -> bool {
        if known.epoch != self.epoch {
            return known.position < self.begin;
        }
        let mut eras = self.eras.iter().skip_while(|era| era.start != known.era);
        let is_here = eras.next().is_some();
        let end = eras.next().map_or(self.last, |next| next.boundary);
        is_here && known.position <= end
    }

    /// Whether a client may have seen `position`.
    pub(super) fn may_have_been(&self, position: Position) -> bool {
        let is_lost = |era: &Era| position > era.boundary && position < era.start;
        position <= self.last && !self.eras.iter().skip(1).any(is_lost)
    }

    /// Which processes count as alive now.
    pub(super) fn lived(&self, settings: &Settings) -> impl Fn(&Peer) -> bool + use<> {
        let newest = self.processes.values().map(|peer| peer.beat).max();
        let lived = newest.unwrap_or(0).saturating_sub(settings.lease);
        let oldest = self.oldest_round(settings.rounds);
        move |peer| peer.beat >= lived || oldest.is_some_and(|it| peer.round >= it)
    }

    fn newest_round(&self) -> u64 {
        let rounds = self.processes.values().map(|peer| peer.round);
        rounds.max().unwrap_or(0)
    }

    /// The first round whose processes count as alive; none if rounds do not count.
    pub(super) fn oldest_round(&self, rounds: u64) -> Option<u64> {
        let back = rounds.checked_sub(1)?;
        Some(self.newest_round().saturating_sub(back))
    }

    /// The round of a heartbeat that a process makes now, because one is due or earlier.
    pub(super) fn round_of_beat(&self, process: &Process, is_due: bool) -> u64 {
        let newest = self.newest_round();
        let own = self.processes.get(process).map_or(0, |it| it.round);
        newest + u64::from(is_due && own == newest)
    }
}
