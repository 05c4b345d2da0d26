//! What a keeper hears: the interests of its logs.

use std::collections::BTreeSet;

use adapter::Interest;
use adapter::recovery::LogName;

use super::{Coming, Keeper};

/// A log that somebody here is to hear.
pub(in crate::recovery) struct Wanted {
    pub(super) wants: u32,
    /// It is heard without a hole.
    pub(in crate::recovery) is_open: bool,
    /// Its own interest, if it has one. The others are heard with the namespace.
    pub(super) interest: Option<Box<Interest>>,
}

pub(super) fn when_in_force(log: LogName, in_force: adapter::InForce) -> Coming {
    Box::pin(async move {
        in_force.await;
        log
    })
}

impl Keeper {
    pub(super) fn handle_listening(&mut self) {
        self.is_listening = true;
        let next_beat = self.writer.next_beat();
        let mut waiting = BTreeSet::new();
        for (log, wanted) in &mut self.wanted {
            let is_in_force = wanted.interest.as_ref().is_none_or(|it| it.is_in_force());
            if is_in_force && !wanted.is_open {
                wanted.is_open = true;
                self.receiver.open(log.clone(), next_beat);
                waiting.append(&mut self.waiting.remove(log).unwrap_or_default());
            } else if let Some(interest) = &wanted.interest {
                // What told that it is in force before may have told the connection before.
                let in_force = interest.in_force();
                self.coming.push(when_in_force(log.clone(), in_force));
            }
        }
        self.receiver.handle_up();
        self.go_on(waiting);
    }

    /// A subscription is in force, or refused.
    pub(super) fn handle_in_force(&mut self, log: &LogName) {
        let Some(wanted) = self.wanted.get_mut(log) else {
            return;
        };
        if !self.is_listening || wanted.is_open {
            return;
        }
        if let Some(interest) = &wanted.interest
            && !interest.is_in_force()
        {
            let in_force = interest.in_force();
            if in_force.is_refused() {
                let waiting = self.waiting.remove(log).unwrap_or_default();
                return self.refuse_room(log, waiting);
            }
            self.coming.push(when_in_force(log.clone(), in_force));
            return;
        }
        wanted.is_open = true;
        self.receiver.open(log.clone(), self.writer.next_beat());
        let waiting = self.waiting.remove(log).unwrap_or_default();
        self.go_on(waiting);
    }

    /// Wants to hear of a log, for one more.
    pub(in crate::recovery) fn keep(&mut self, log: &LogName) {
        if let Some(wanted) = self.wanted.get_mut(log) {
            wanted.wants += 1;
            return;
        }
        let mut wanted = Wanted {
            wants: 1,
            is_open: false,
            interest: None,
        };
        if let (Some(adapter), LogName::Room(room)) = (&self.adapter, log) {
            let interest = adapter.open_room(self.order.namespace(), room);
            let in_force = interest.in_force();
            match self.is_listening && in_force.is_open() {
                true => wanted.is_open = true,
                false => self.coming.push(when_in_force(log.clone(), in_force)),
            }
            wanted.interest = (!interest.is_covered()).then(|| Box::new(interest));
        } else {
            wanted.is_open = self.is_listening;
        }
        if wanted.is_open {
            self.receiver.open(log.clone(), self.writer.next_beat());
        }
        self.wanted.insert(log.clone(), wanted);
    }

    pub(in crate::recovery) fn release(&mut self, log: &LogName) {
        let Some(wanted) = self.wanted.get_mut(log) else {
            return;
        };
        wanted.wants -= 1;
        if wanted.wants == 0 {
            self.wanted.remove(log);
            self.waiting.remove(log);
            self.receiver.close(log);
        }
    }
}
