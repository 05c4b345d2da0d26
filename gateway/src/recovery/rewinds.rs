//! Joins with history that are under way: the keeper drives their machines.

use std::collections::HashMap;
use std::sync::Arc;

use adapter::recovery::{Mark, PastPage, Rewind, RewindLimits, RewindNext, Rewinding};

use super::Seat;
use super::keeper::Keeper;
use super::questions::{Asker, Question};

/// Those of a keeper, each with its number.
#[derive(Default)]
pub(super) struct Rewinds {
    under_way: HashMap<Seat, (u64, Rewinding)>,
    marking: Vec<Seat>,
}

impl Rewinds {
    pub(super) fn forget(&mut self, seat: Seat) {
        self.under_way.remove(&seat);
        self.marking.retain(|it| *it != seat);
    }
}

impl Keeper {
    /// A socket joined rooms, and wants their past.
    pub(super) fn rewind(
        &mut self,
        seat: Seat,
        number: u64,
        rooms: impl IntoIterator<Item = Arc<str>>,
        wants: Rewind,
    ) {
        self.rewinds.forget(seat);
        if !self.seats.contains_key(&seat) {
            return;
        }
        let limits = RewindLimits {
            events: self.max_messages,
            bytes: self.replay_bytes,
        };
        let rewinding = Rewinding::new(wants, rooms, limits);
        self.rewinds.under_way.insert(seat, (number, rewinding));
        self.rewinds.marking.push(seat);
    }

    /// Makes the heartbeat that new ones wait for: one for all of them.
    pub(super) fn mark_rewinds(&mut self) {
        let next = self.writer.next_beat();
        for seat in &self.rewinds.marking {
            if let Some((_, rewinding)) = self.rewinds.under_way.get_mut(seat)
                && rewinding.wants_beat(next)
            {
                self.is_mark_wanted = true;
            }
        }
    }

    /// Everything up to a mark is released.
    pub(super) fn handle_mark_of_rewinds(&mut self, mark: &Mark) {
        for seat in std::mem::take(&mut self.rewinds.marking) {
            if let Some((_, rewinding)) = self.rewinds.under_way.get_mut(&seat) {
                let next = rewinding.handle_mark(mark);
                if rewinding.is_marking() {
                    self.rewinds.marking.push(seat);
                }
                self.go_on_rewinding(seat, next);
            }
        }
    }

    pub(super) fn handle_page_of_rewind(&mut self, seat: Seat, number: u64, page: &PastPage) {
        let rewinding = self.rewinds.under_way.get_mut(&seat);
        if let Some((_, rewinding)) = rewinding.filter(|it| it.0 == number) {
            let next = rewinding.handle_page(page);
            self.go_on_rewinding(seat, next);
        }
    }

    fn go_on_rewinding(&mut self, seat: Seat, next: RewindNext) {
        let Some((number, rewinding)) = self.rewinds.under_way.get(&seat) else {
            return;
        };
        match next {
            RewindNext::Wait => {}
            RewindNext::Ask(log, past) => {
                let asker = Asker::Rewind(seat, *number);
                let question = Question { log, past, asker };
                match rewinding.has_begun() {
                    true => self.questions.push_first(question),
                    false => self.questions.push(question),
                }
            }
            RewindNext::Done(rewound) => {
                let number = *number;
                self.rewinds.forget(seat);
                self.counters.rewound.add(rewound.events.len() as u64);
                self.outlet.rewound(seat, number, rewound);
            }
            RewindNext::GiveUp => self.rewinds.forget(seat),
        }
    }
}
