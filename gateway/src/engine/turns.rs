//! Looks at much that a shard has, in turns: after each the others of the shard get theirs.

use std::ops::Range;

use crate::engine::session::Session;
use crate::engine::shard::Shard;

/// Most looks in one turn: each is at a session or a room, and takes some ten nanoseconds.
pub(crate) const MAX_LOOKS: usize = 1000;

/// The turns of one who looks.
#[derive(Debug, Default)]
pub(crate) struct Turns {
    /// Looks in this turn.
    looks: usize,
    done: Work,
}

/// What it came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Work {
    /// All looks.
    pub(crate) looks: u64,
    pub(crate) turns: u64,
    /// Looks of the longest turn.
    pub(crate) longest: u64,
}

impl Turns {
    /// Looks that are left in this turn: one at least.
    pub(crate) fn left(&self) -> usize {
        MAX_LOOKS - self.looks
    }

    /// So many looks were taken. If none are left, returns in the next turn.
    pub(crate) async fn took(&mut self, looks: usize) {
        self.looks += looks;
        if self.looks >= MAX_LOOKS {
            self.close();
            tokio::task::yield_now().await;
        }
    }

    /// That was all.
    pub(crate) fn end(mut self) -> Work {
        self.close();
        self.done
    }

    fn close(&mut self) {
        let looks = std::mem::take(&mut self.looks) as u64;
        self.done.looks += looks;
        self.done.turns += u64::from(looks > 0);
        self.done.longest = self.done.longest.max(looks);
    }
}

impl Work {
    /// Of two shards.
    pub(crate) fn and(self, other: Self) -> Self {
        Self {
            looks: self.looks + other.looks,
            turns: self.turns + other.turns,
            longest: self.longest.max(other.longest),
        }
    }
}

/// A walk over a table, from its last place to the first, while entries come and go: what is taken out has the last
/// entry take its place. So none is missed that was there and stays; some come twice.
#[derive(Debug, Default)]
pub(crate) struct Backwards {
    /// The place behind the next ones; `None` before the first.
    end: Option<usize>,
}

impl Backwards {
    /// The next places, at most so many, of a table that has this length now.
    pub(crate) fn next(&mut self, length: usize, most: usize) -> Range<usize> {
        let end = self.end.unwrap_or(length).min(length);
        let start = end.saturating_sub(most);
        self.end = Some(start);
        start..end
    }
}

impl Shard {
    /// Calls `visit` with each session. It must neither open nor close any. Those that come or go meanwhile may be
    /// missed.
    pub(crate) async fn visit_sessions(&self, turns: &mut Turns, mut visit: impl FnMut(&Session)) {
        let mut from = 0;
        loop {
            let looks = self.some_sessions(from, turns.left(), &mut visit);
            if looks == 0 {
                return;
            }
            from += looks;
            turns.took(looks).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Waker};

    use indexmap::IndexSet;
    use rustc_hash::FxHashSet;

    use super::*;

    #[test]
    fn a_turn_has_so_many_looks_and_the_next_one_comes_later() {
        let mut turns = Turns::default();
        let mut context = Context::from_waker(Waker::noop());
        let mut pauses = 0;
        let mut left = 2 * MAX_LOOKS + MAX_LOOKS / 2;
        while left > 0 {
            let looks = left.min(turns.left()).min(300);
            assert!(looks > 0);
            left -= looks;
            let mut took = pin!(turns.took(looks));
            while took.as_mut().poll(&mut context).is_pending() {
                pauses += 1;
            }
        }
        assert_eq!(pauses, 2);
        let work = turns.end();
        let looks = (2 * MAX_LOOKS + MAX_LOOKS / 2) as u64;
        assert_eq!((work.looks, work.turns), (looks, 3));
        assert_eq!(work.longest, MAX_LOOKS as u64);
        assert_eq!(Turns::default().end(), Work::default());
    }

    #[test]
    fn a_walk_misses_nobody_who_stays() {
        let mut table: IndexSet<usize> = (0..1000).collect();
        let (mut walk, mut seen) = (Backwards::default(), FxHashSet::default());
        let mut random = 7_usize;
        loop {
            let places = walk.next(table.len(), 64);
            if places.is_empty() {
                break;
            }
            seen.extend(places.map(|place| table[place]));
            for come in 0..20 {
                random = random
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1);
                // Those below 500 stay.
                table.swap_remove(&(500 + (random >> 33) % 500));
                table.insert(10_000 + random % 100_000 + come);
            }
        }
        assert!((0..500).all(|it| seen.contains(&it)), "{}", seen.len());
        let mut none = Backwards::default();
        assert_eq!((none.next(0, 64), none.next(9, 64)), (0..0, 0..0));
    }
}
