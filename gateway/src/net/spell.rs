//! How long one client is served before the others get their turn.

use std::pin::pin;
use std::task::Context;
use std::time::{Duration, Instant};

/// How long one connection, one body or the inbox is served in one go, once [`BETWEEN_LOOKS`] messages
/// were.
const SPELL: Duration = Duration::from_millis(1);

/// Messages between two looks at the clock.
const BETWEEN_LOOKS: u32 = 8;

/// One go. A client's messages are small or dear, and how dear they are nobody knows before, so their
/// bytes say nothing: what counts is the time that they take.
#[derive(Debug)]
pub(crate) struct Spell {
    until_look: u32,
    began: Option<Instant>,
}

impl Spell {
    pub(crate) const fn begin() -> Self {
        Self {
            until_look: BETWEEN_LOOKS,
            began: None,
        }
    }

    /// A message was handled; `true` if the others are to have their turn now.
    pub(crate) fn is_over(&mut self) -> bool {
        self.until_look -= 1;
        if self.until_look > 0 {
            return false;
        }
        self.until_look = BETWEEN_LOOKS;
        let now = Instant::now();
        now.duration_since(*self.began.get_or_insert(now)) >= SPELL
    }
}

/// A part of much work for one turn: as much as a spell has, and no more than a number.
#[derive(Debug)]
pub(crate) struct Portion {
    left: usize,
    /// `None` if it does not end with its time.
    spell: Option<Spell>,
}

impl Portion {
    pub(crate) const fn of(most: usize) -> Self {
        Self {
            left: most,
            spell: Some(Spell::begin()),
        }
    }

    /// All of it, however long that takes.
    pub(crate) const fn all() -> Self {
        Self {
            left: usize::MAX,
            spell: None,
        }
    }

    /// Whether one more is to be done in this turn.
    pub(crate) fn allows(&self) -> bool {
        self.left > 0
    }

    /// One was done.
    pub(crate) fn take(&mut self) {
        self.left = match self.spell.as_mut().is_some_and(Spell::is_over) {
            true => 0,
            false => self.left.saturating_sub(1),
        };
    }
}

/// Has the calling task run again after all others, and after those that sockets woke meanwhile. To wake
/// it would not do: the runtime runs 61 tasks before it looks at its sockets, be they the same four.
pub(crate) fn after_the_others(context: &mut Context<'_>) {
    let once_more = pin!(tokio::task::yield_now());
    let polled = once_more.poll(context);
    debug_assert!(polled.is_pending());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_messages_are_always_handled_and_many_only_for_a_while() {
        let began = Instant::now();
        let mut spell = Spell::begin();
        for _ in 0..BETWEEN_LOOKS {
            assert!(!spell.is_over());
        }
        while !spell.is_over() {}
        assert!(began.elapsed() >= SPELL);
    }

    #[test]
    fn a_portion_ends_with_its_number_or_with_its_time() {
        for most in [0, 1, 5] {
            let mut portion = Portion::of(most);
            for _ in 0..most {
                assert!(portion.allows());
                portion.take();
            }
            assert!(!portion.allows());
        }
        let (mut portion, began) = (Portion::of(usize::MAX), Instant::now());
        while portion.allows() {
            portion.take();
        }
        assert!(began.elapsed() >= SPELL);
    }
}
