//! Joins with history: what of the past of their rooms is read for them, up to where events come live.
//!
//! ```text
//! Marking ──a mark is released──► one room after the other is read up to there ──► the socket gets it
//! ```
//!
//! The join is written and its interests are in force before the mark, and the shard holds what comes for the socket
//! until then. So what is behind the mark comes live, and what is not behind it is in the log.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use adapter::recovery::{Entry, LogName, Mark, Offset, Past, PastPage, Position, Rewind};

use super::Seat;
use super::keeper::Keeper;
use super::questions::{Asker, Question};

/// What was read for a join.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Rewound {
    /// That of the rewind.
    pub(crate) number: u64,
    /// What is behind it comes live.
    pub(crate) mark: Offset,
    /// The past, in order.
    pub(crate) events: BTreeMap<Position, Arc<Entry>>,
    /// For each room the place from which on its past was wanted.
    pub(crate) from: Vec<(Arc<str>, Position)>,
    /// Whether nothing is missing of what was asked for.
    pub(crate) is_whole: bool,
}

/// A join with history that is under way.
pub(super) struct Rewinding {
    number: u64,
    wants: Rewind,
    /// Those that are not read yet; the first one is being read.
    rooms: VecDeque<Arc<str>>,
    stage: Stage,
}

enum Stage {
    /// No heartbeat was made for it yet, or this one.
    Marking(Option<u64>),
    Reading(Box<Reading>),
}

struct Reading {
    rewound: Rewound,
    bytes: usize,
    /// Of the room that is being read: where its first event is, and how many there are.
    first: Option<Position>,
    count: usize,
    /// What the last question was about.
    asked: Past,
}

/// What a page leads to.
#[derive(Debug, PartialEq)]
enum Next {
    Ask(LogName, Past),
    Done(Rewound),
    /// The log is another one: the socket is about to be closed.
    Nothing,
}

/// What bounds a rewind.
#[derive(Debug, Clone, Copy)]
struct Most {
    events: usize,
    bytes: usize,
}

/// Those of a keeper.
#[derive(Default)]
pub(super) struct Rewinds {
    under_way: HashMap<Seat, Rewinding>,
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
        let rewinding = Rewinding {
            number,
            wants,
            rooms: rooms.into_iter().collect(),
            stage: Stage::Marking(None),
        };
        self.rewinds.under_way.insert(seat, rewinding);
        self.rewinds.marking.push(seat);
    }

    /// Makes the heartbeat that new ones wait for: one for all of them.
    pub(super) fn mark_rewinds(&mut self) {
        let next = self.writer.next_beat();
        let mut is_wanted = false;
        for seat in &self.rewinds.marking {
            if let Some(rewinding) = self.rewinds.under_way.get_mut(seat)
                && let Stage::Marking(beat @ None) = &mut rewinding.stage
            {
                *beat = Some(next);
                is_wanted = true;
            }
        }
        if is_wanted {
            self.is_mark_wanted = true;
        }
    }

    /// Everything up to a mark is released.
    pub(super) fn handle_mark_of_rewinds(&mut self, mark: &Mark) {
        let most = self.most();
        for seat in std::mem::take(&mut self.rewinds.marking) {
            let Some(rewinding) = self.rewinds.under_way.get_mut(&seat) else {
                continue;
            };
            match rewinding.stage {
                Stage::Marking(Some(beat)) if beat <= mark.number => {
                    let offset = Offset {
                        epoch: mark.known.epoch,
                        position: mark.known.position,
                    };
                    let next = rewinding.begin(offset, most);
                    self.go_on_rewinding(seat, next);
                }
                Stage::Marking(_) => self.rewinds.marking.push(seat),
                Stage::Reading(_) => {}
            }
        }
    }

    pub(super) fn handle_page_of_rewind(&mut self, seat: Seat, number: u64, page: &PastPage) {
        let most = self.most();
        let rewinding = self.rewinds.under_way.get_mut(&seat);
        if let Some(rewinding) = rewinding.filter(|it| it.number == number) {
            let next = rewinding.take(page, most);
            self.go_on_rewinding(seat, next);
        }
    }

    fn most(&self) -> Most {
        Most {
            events: self.max_messages,
            bytes: self.replay_bytes,
        }
    }

    fn go_on_rewinding(&mut self, seat: Seat, next: Next) {
        let Some(rewinding) = self.rewinds.under_way.get(&seat) else {
            return;
        };
        match next {
            Next::Ask(log, past) => {
                let asker = Asker::Rewind(seat, rewinding.number);
                let question = Question { log, past, asker };
                match rewinding.has_begun() {
                    true => self.questions.push_first(question),
                    false => self.questions.push(question),
                }
            }
            Next::Done(rewound) => {
                self.rewinds.forget(seat);
                self.counters.rewound.add(rewound.events.len() as u64);
                self.outlet.rewound(seat, rewound);
            }
            Next::Nothing => self.rewinds.forget(seat),
        }
    }
}

impl Rewinding {
    /// A mark was released: its rooms are read up to there.
    fn begin(&mut self, mark: Offset, most: Most) -> Next {
        let is_of_this_log = match &self.wants {
            Rewind::Last(_) => true,
            Rewind::After(offset) => offset.epoch == mark.epoch,
        };
        if !is_of_this_log {
            // Of that life of the log nothing is left. What there is comes all the same.
            self.wants = Rewind::After(Offset {
                position: Position::ZERO,
                ..mark
            });
        }
        let asked = self.wants.past(mark.position, most.events);
        self.stage = Stage::Reading(Box::new(Reading {
            rewound: Rewound {
                number: self.number,
                mark,
                events: BTreeMap::new(),
                from: Vec::new(),
                is_whole: is_of_this_log,
            },
            bytes: 0,
            first: None,
            count: 0,
            asked,
        }));
        self.ask()
    }

    /// Whether something was read for it.
    fn has_begun(&self) -> bool {
        match &self.stage {
            Stage::Reading(reading) => reading.count > 0 || !reading.rewound.from.is_empty(),
            Stage::Marking(_) => false,
        }
    }

    fn ask(&self) -> Next {
        match (&self.stage, self.rooms.front()) {
            (Stage::Reading(reading), Some(room)) => {
                Next::Ask(LogName::Room(Arc::clone(room)), reading.asked)
            }
            (Stage::Reading(reading), None) => Next::Done(reading.rewound.clone()),
            (Stage::Marking(_), _) => Next::Nothing,
        }
    }

    /// A page of the room that is being read.
    fn take(&mut self, page: &PastPage, most: Most) -> Next {
        let (Stage::Reading(reading), Some(room)) = (&mut self.stage, self.rooms.front()) else {
            return Next::Nothing;
        };
        let mark = reading.rewound.mark;
        if page.epoch != mark.epoch {
            return Next::Nothing;
        }
        if page.is_cut {
            // The log lost what comes before the page: that is no past without a hole.
            reading.rewound.is_whole = false;
            reading.forget(room);
        }
        for entry in &page.entries {
            reading.first.get_or_insert(entry.position);
            reading.count += 1;
            let known = reading
                .rewound
                .events
                .insert(entry.position, Arc::clone(entry));
            if known.is_none() {
                reading.bytes += entry.size();
            }
        }
        reading.keep_within(most.bytes);
        let is_stuck = page.entries.is_empty();
        if page.through < mark.position && !is_stuck {
            reading.asked = Past::After {
                after: page.through,
                count: most.events,
                until: mark.position,
            };
            return self.ask();
        }
        reading.rewound.is_whole &= page.through >= mark.position;
        let from = match &self.wants {
            Rewind::Last(0) => Position::MAX,
            Rewind::Last(count) if reading.count >= (*count).min(most.events) => {
                reading.first.unwrap_or(Position::ZERO)
            }
            Rewind::Last(_) => Position::ZERO,
            Rewind::After(offset) => offset.position,
        };
        reading.rewound.from.push((Arc::clone(room), from));
        (reading.first, reading.count) = (None, 0);
        reading.asked = self.wants.past(mark.position, most.events);
        self.rooms.pop_front();
        self.ask()
    }
}

impl Reading {
    /// Of too much the newest stay, so that nothing is missing between them and what comes live.
    fn keep_within(&mut self, bytes: usize) {
        while self.bytes > bytes
            && let Some((_, entry)) = self.rewound.events.pop_first()
        {
            self.bytes -= entry.size();
            self.rewound.is_whole = false;
        }
    }

    /// Forgets what was read of a room.
    fn forget(&mut self, room: &str) {
        let bytes = &mut self.bytes;
        self.rewound.events.retain(|_, entry| {
            let stays = !entry.selection.rooms.iter().any(|it| it == room);
            if !stays {
                *bytes -= entry.size();
            }
            stays
        });
        (self.first, self.count) = (None, 0);
    }
}

#[cfg(test)]
mod tests {
    use adapter::Selection;
    use adapter::recovery::Epoch;
    use bytes::Bytes;

    use super::*;

    const MOST: Most = Most {
        events: 100,
        bytes: 10_000,
    };

    fn epoch() -> Epoch {
        Epoch::new(1)
    }

    fn offset(position: u64) -> Offset {
        Offset {
            epoch: epoch(),
            position: Position::new(position),
        }
    }

    fn entry(room: &str, position: u64) -> Arc<Entry> {
        Arc::new(Entry {
            position: Position::new(position),
            selection: Selection::room(room),
            body: Bytes::from_static(b"body"),
        })
    }

    fn page(room: &str, positions: &[u64], through: u64) -> PastPage {
        PastPage {
            epoch: epoch(),
            entries: positions.iter().map(|it| entry(room, *it)).collect(),
            through: Position::new(through),
            newest: Position::new(through),
            is_cut: false,
        }
    }

    fn rewinding(wants: Rewind, rooms: &[&str], most: Most) -> Rewinding {
        let mut rewinding = Rewinding {
            number: 1,
            wants,
            rooms: rooms.iter().map(|it| Arc::from(*it)).collect(),
            stage: Stage::Marking(Some(1)),
        };
        assert!(matches!(rewinding.begin(offset(100), most), Next::Ask(..)));
        rewinding
    }

    fn done(next: Next) -> (Vec<u64>, bool) {
        let Next::Done(rewound) = next else {
            panic!("{next:?}");
        };
        let places = rewound.events.keys().map(|it| it.number());
        (places.collect(), rewound.is_whole)
    }

    #[test]
    fn rooms_are_read_one_after_the_other_up_to_the_mark() {
        let mut rewinding = rewinding(Rewind::Last(3), &["a", "b"], MOST);
        let next = rewinding.take(&page("a", &[10, 20], 20), MOST);
        let behind = Past::After {
            after: Position::new(20),
            count: 100,
            until: Position::new(100),
        };
        assert_eq!(next, Next::Ask(LogName::room("a"), behind));
        let next = rewinding.take(&page("a", &[40], 100), MOST);
        let last = Past::Last {
            count: 3,
            until: Position::new(100),
        };
        assert_eq!(next, Next::Ask(LogName::room("b"), last));
        let next = rewinding.take(&page("b", &[20, 30], 100), MOST);
        let Next::Done(rewound) = &next else {
            panic!("{next:?}");
        };
        let from = rewound.from.iter().map(|it| it.1.number());
        assert_eq!(
            from.collect::<Vec<_>>(),
            [10, 0],
            "b has fewer than asked for"
        );
        assert_eq!(done(next), (vec![10, 20, 30, 40], true));
    }

    #[test]
    fn what_is_gone_is_told_and_leaves_no_hole() {
        let after = Rewind::After(offset(5));
        let cut = PastPage {
            is_cut: true,
            ..page("a", &[30], 100)
        };
        let next = rewinding(after, &["a"], MOST).take(&cut, MOST);
        assert_eq!(done(next), (vec![30], false));
        // It was trimmed between two pages.
        let mut between = rewinding(Rewind::Last(9), &["a"], MOST);
        assert!(matches!(
            between.take(&page("a", &[10], 10), MOST),
            Next::Ask(..)
        ));
        assert_eq!(done(between.take(&cut, MOST)), (vec![30], false));
        let elsewhere = Rewind::After(Offset {
            epoch: Epoch::new(2),
            ..offset(50)
        });
        let mut elsewhere = rewinding(elsewhere, &["a"], MOST);
        let next = elsewhere.take(&page("a", &[30, 60], 100), MOST);
        assert_eq!(done(next), (vec![30, 60], false));
        let renewed = PastPage {
            epoch: Epoch::new(2),
            ..page("a", &[30], 100)
        };
        let next = rewinding(Rewind::Last(1), &["a"], MOST).take(&renewed, MOST);
        assert_eq!(next, Next::Nothing);
    }

    #[test]
    fn of_too_much_the_newest_stay() {
        let most = Most {
            bytes: 2 * entry("a", 1).size(),
            ..MOST
        };
        let mut rewinding = rewinding(Rewind::Last(5), &["a", "b"], most);
        let next = rewinding.take(&page("a", &[10, 30, 50], 100), most);
        assert!(matches!(next, Next::Ask(..)));
        let next = rewinding.take(&page("b", &[20, 40], 100), most);
        assert_eq!(done(next), (vec![40, 50], false));
    }
}
