//! Joins with history: the past of a room comes without a hole up to what is live, each event once and in order, or
//! the client is told that something is missing.

use adapter::recovery::{Epoch, Offset, Position, Rewind};

use super::{Chain, Event, EventId, Model, Rule, Stay};
use crate::plan::SECOND;

/// What a client asked of the past with a join, and got.
#[derive(Debug)]
pub(super) struct Past {
    wants: Rewind,
    /// The place of the last event of the past that came.
    last: Position,
    /// The first place that it covers.
    first: Option<Position>,
    /// Once it is told: from where on the client has everything.
    told: Option<(Epoch, Position)>,
}

/// For how long an event is in a log of a run whose logs are ample, whatever the clock does.
const KEPT: u64 = 20 * SECOND;

/// After so long an event that nobody acknowledged is in no log.
const FORGOTTEN: u64 = 120 * SECOND;

impl Past {
    pub(super) fn new(wants: Rewind) -> Self {
        Self {
            wants,
            last: Position::ZERO,
            first: None,
            told: None,
        }
    }

    /// Whether the client waits for it.
    fn is_open(&self) -> bool {
        self.told.is_none()
    }

    fn cover(&mut self, place: Position) {
        self.first = Some(self.first.map_or(place, |first| first.min(place)));
    }

    /// Whether an event at this place is among what the client was told to have.
    fn promises(&self, place: (Epoch, Position)) -> bool {
        self.told
            .is_some_and(|(epoch, from)| place.0 == epoch && place.1 >= from)
    }
}

impl Stay {
    fn open_past(&mut self) -> Option<&mut Past> {
        self.past.as_mut().filter(|it| it.is_open())
    }
}

impl Chain {
    /// An event of the past came, with the place up to which the client has everything. Which rule that breaks, if any.
    pub(super) fn take_past(
        &mut self,
        (id, event): (EventId, &Event),
        place: Position,
        have: Position,
    ) -> Option<Rule> {
        let last = self.last;
        let is_excepted = event.except.as_ref() == Some(&self.sid);
        let mut stays = self.stays.iter_mut();
        let stay = stays.find(|it| it.past.as_ref().is_some_and(Past::is_open));
        let Some(stay) = stay else {
            return Some(Rule::Stray);
        };
        if !event.rooms.contains(&stay.room) || is_excepted || !event.is_logged {
            return Some(Rule::Stray);
        }
        let past = stay.open_past()?;
        let is_in_order = place > past.last && last <= have;
        past.last = place;
        past.cover(place);
        self.got.insert(id);
        (!is_in_order).then_some(Rule::Order)
    }

    /// Whether an event comes again with the past of a room, that was the last one to come.
    pub(super) fn has_come_back_to(&self, id: EventId, place: Position) -> bool {
        let mut pasts = self.stays.iter().filter_map(|it| it.past.as_ref());
        place == self.last && self.got.contains(&id) && pasts.any(Past::is_open)
    }

    /// An event came live, perhaps while a past is open.
    pub(super) fn note_live(&mut self, event: &Event, place: Position) {
        let is_open = |stay: &Stay| stay.past.as_ref().is_some_and(Past::is_open);
        let Some(open) = self.stays.iter().position(is_open) else {
            return;
        };
        // One that comes for another stay as well may come before the past is read.
        let is_of = |stay: &Stay| event.rooms.contains(&stay.room);
        let mut others = self.stays.iter().enumerate().filter(|it| it.0 != open);
        let is_of_other = event.rooms.contains(&self.sid) || others.any(|(_, stay)| is_of(stay));
        if event.is_logged
            && is_of(&self.stays[open])
            && !is_of_other
            && let Some(past) = self.stays[open].open_past()
        {
            past.cover(place);
        }
    }

    /// What it waits for does not come any more.
    pub(super) fn forget_past(&mut self) {
        for stay in &mut self.stays {
            let was_open = stay.past.take_if(|it| it.is_open()).is_some();
            stay.is_refused |= was_open;
        }
    }

    /// Whether an event is in a past that it was told to have, or behind that.
    pub(super) fn was_told_of(&self, event: &Event) -> bool {
        let Some(place) = event.place else {
            return false;
        };
        let is_of = |stay: &Stay| {
            stay.past.as_ref().is_some_and(|it| it.promises(place))
                && stay.leaving.is_none()
                && event.rooms.contains(&stay.room)
        };
        event.is_logged && event.except.as_ref() != Some(&self.sid) && self.stays.iter().any(is_of)
    }
}

impl Model {
    /// A client is told that the past of a room came, up to a mark.
    pub fn rewound(
        &mut self,
        client: usize,
        room: &str,
        (is_whole, mark): (bool, Offset),
        is_ample: bool,
        now: u64,
    ) {
        self.joined(client, room, now);
        if !is_whole {
            self.count("histories told to be incomplete");
        }
        let events = &self.events;
        let Some(chain) = self.current.get(&client) else {
            return;
        };
        let chain = &mut self.chains[*chain];
        let mut stays = chain.stays.iter_mut();
        let stay = stays.find(|it| it.room == *room && it.leaving.is_none());
        let Some(past) = stay.and_then(Stay::open_past) else {
            return;
        };
        let behind = |position: Position| Position::new(position.number() + 1);
        let from = match &past.wants {
            Rewind::After(offset) if is_whole => behind(offset.position),
            Rewind::After(_) | Rewind::Last(_) => past.first.unwrap_or(behind(mark.position)),
        };
        past.told = Some((mark.epoch, from));
        let last = match &past.wants {
            Rewind::Last(count) if is_whole && is_ample => *count,
            Rewind::Last(_) | Rewind::After(_) => 0,
        };
        let of_room = |event: &&Event| event.is_logged && event.rooms.iter().any(|it| it == room);
        let mut known: Vec<_> = (0..)
            .zip(events)
            .filter(|(_, event)| of_room(event))
            .filter_map(|(id, event)| {
                let (epoch, place) = event.place?;
                let is_up_to_mark = epoch == mark.epoch && place <= mark.position;
                is_up_to_mark.then_some((place, id, event))
            })
            .collect();
        known.sort_by_key(|it| it.0);
        // Those of which nobody heard whether they are in the log may be among the last ones.
        let unsure = events.iter().filter(of_room);
        let unsure = unsure.filter(|it| it.place.is_none() && it.submitted + FORGOTTEN > now);
        let first_of_last = known.len() - last.saturating_sub(unsure.count()).min(known.len());
        let missing = known
            .iter()
            .enumerate()
            .filter(|(index, (place, id, event))| {
                let is_due =
                    *place >= from || *index >= first_of_last && event.submitted + KEPT > now;
                is_due && event.except.as_ref() != Some(&chain.sid) && !chain.got.contains(id)
            });
        let missing: Vec<_> = missing.map(|(_, (place, id, _))| (*id, *place)).collect();
        let is_said = is_whole && now >= self.divided;
        if now < self.unsettled && !is_said {
            // What Redis lost may not be noticed yet. If it is not, this client is owed it.
            chain.owed.extend(missing.iter().map(|it| it.0));
        } else if let Some((id, place)) = missing.first() {
            let what = format!("event {id} at {place} of the past of {room} to client {client}");
            self.find(Rule::Lost, now, what);
        }
    }
}
