//! Joins, leaves and disconnects of so many sockets that the others of a shard get their turn meanwhile.
//!
//! ```text
//!   begun --> some of the selected in each turn, a millisecond at most --> all: it ends, and is told
//!     ^          |
//!     |          +-- something else is about to be done to a socket that the change has not come to
//!     |               a join, a leave: the socket catches up, it is done to it out of turn
//!     |               an end:          the socket is going: it gets nothing more, and ends in its turn
//!     |
//!   behind it: what is emitted to rooms that it changes, to however few, and changes of those
//! ```
//!
//! A change is a walk among those of broadcasts. An event for a room behind a join comes to all who were selected, as
//! if all had joined at once. A leave behind a join comes behind it for each of them.
//!
//! Only ends call the application. Events and changes of its handlers are put behind. If as many walks wait as may, they
//! are done at once, since the walk that called them cannot be brought to its end from there.

use std::rc::Rc;
use std::time::Instant;

use adapter::Selection;

use super::{Errand, MAX_LEFT_OUT, PART, Walk};
use crate::engine::shard::{FEW, Shard};
use crate::net::spell::Portion;
use crate::socketio::names::Names;
use crate::socketio::namespace::Namespace;
use crate::socketio::socket::Socket;

/// Up to so many sockets are changed at once, unless a change is under way that is before them.
const FEW_CHANGED: usize = 8;

/// What an errand changes.
pub(crate) enum Effect<'a> {
    /// Nothing but what waits for clients.
    Nothing,
    /// Who is in these rooms.
    Rooms(&'a [String]),
    /// Sockets end.
    Ends,
}

/// What a walk changes.
pub(super) enum Changes {
    Rooms(Names),
    Ends,
}

impl Changes {
    pub(super) fn of(errand: &dyn Errand) -> Option<Self> {
        match errand.effect() {
            Effect::Nothing => None,
            Effect::Rooms(rooms) => Some(Self::Rooms(Names::new(rooms))),
            Effect::Ends => Some(Self::Ends),
        }
    }

    /// Whether others are in these rooms once it is done. Who is about to end counts as gone at once.
    fn affect(&self, rooms: &[String]) -> bool {
        match self {
            Self::Rooms(changed) => changed.have_any(rooms),
            Self::Ends => false,
        }
    }
}

/// Changes the selected sockets of a shard: now if they are few, and else some in each turn.
pub(crate) fn change(
    shard: &Rc<Shard>,
    namespace: Rc<Namespace>,
    selection: &Selection,
    errand: impl Errand + 'static,
) {
    let are_few = !namespace.has_more(FEW_CHANGED, selection);
    if are_few && !shard.is_affected(&namespace, selection) {
        return reach_now(shard, &namespace, selection, Instant::now(), &errand);
    }
    let is_first = shard.walks().borrow().is_empty();
    Walk::begin(shard, namespace, selection, None, Box::new(errand));
    if is_first && !shard.is_in_change() {
        shard.go_on_with_first(FEW as usize);
    }
}

/// Sends something behind changes of a namespace that are under way.
pub(super) fn send_behind(
    shard: &Rc<Shard>,
    namespace: Rc<Namespace>,
    selection: &Selection,
    began: Instant,
    errand: impl Errand + 'static,
) {
    let is_affected = shard.is_affected(&namespace, selection);
    if !is_affected && !namespace.has_more(PART, selection) {
        return reach_now(shard, &namespace, selection, began, &errand);
    }
    shard.note_broadcast(began);
    let may_wait = errand.event().is_some()
        && !shard.traces().is_any()
        && !shard.are_affected(&namespace, &selection.except);
    let left_out = may_wait.then(|| namespace.few_of(&selection.except, MAX_LEFT_OUT));
    match left_out.flatten() {
        // Many of them for a room that is being filled are one walk.
        Some(left_out) => {
            Walk::wait(
                shard,
                namespace,
                selection,
                None,
                left_out,
                Box::new(errand),
            );
        }
        None => Walk::begin(shard, namespace, selection, None, Box::new(errand)),
    }
}

/// Does something to all of them now.
pub(super) fn reach_now(
    shard: &Rc<Shard>,
    namespace: &Rc<Namespace>,
    selection: &Selection,
    began: Instant,
    errand: &dyn Errand,
) {
    let mut recipients = 0;
    for socket in namespace.select(selection) {
        socket.catch_up();
        shard.reach(recipients);
        recipients += u64::from(!socket.is_going() && errand.reach(&socket));
    }
    shard.end_reaching(recipients);
    if recipients > 0 && errand.event().is_some() {
        shard.note_broadcast(began);
    }
    errand.end(shard, namespace, recipients, began.elapsed());
}

/// The same, if others may be selected once what is under way is done.
pub(super) fn reach_now_behind(
    shard: &Rc<Shard>,
    namespace: &Rc<Namespace>,
    selection: &Selection,
    errand: &dyn Errand,
) {
    if shard.is_affected(namespace, selection) {
        let all = namespace.select(&Selection::everybody());
        all.iter().for_each(Socket::catch_up);
    }
    reach_now(shard, namespace, selection, Instant::now(), errand);
}

impl Walk {
    /// Changes some of those that it has not come to; returns how many it came to.
    fn go_on_changing(&self, shard: &Rc<Shard>, mut portion: Portion) -> usize {
        let (mut count, mut next) = (0, Vec::new());
        while portion.allows() && !self.is_over() {
            // No room is borrowed while a socket changes.
            let (rooms, mut place) = (self.rooms.all(), self.place.borrow_mut());
            let visit = |socket: &Socket| next.push(socket.clone());
            self.namespace.visit_some(rooms, &mut place, 1, visit);
            drop(place);
            for socket in next.drain(..) {
                self.change_member(shard, &socket);
                count += 1;
            }
            portion.take();
        }
        count
    }

    /// Changes one in its turn.
    fn change_member(&self, shard: &Rc<Shard>, socket: &Socket) {
        let (_, last) = self.numbers.get();
        let waits_for_its_end = socket.is_going() && self.ends_sockets();
        let has_come = socket.walked() >= last && !waits_for_its_end;
        if has_come || !socket.is_of(&self.namespace) {
            return;
        }
        if self.except.have(socket) {
            return socket.set_walked(socket.walked().max(last));
        }
        // It gets nothing that walks behind this one bring before it is done.
        socket.set_busy();
        let before = shard.set_in_change(true);
        for event in &*self.events.borrow() {
            if event.errand.reach(socket) {
                event.recipients.update(|count| count + 1);
            }
        }
        shard.set_in_change(before);
        if !self.ends_sockets() {
            socket.set_walked(last);
        }
    }

    /// Whether it ends those that it comes to.
    pub(super) fn ends_sockets(&self) -> bool {
        matches!(self.changes, Some(Changes::Ends))
    }
}

impl Shard {
    /// Whether a change of a namespace is under way.
    pub(super) fn is_changing(&self, namespace: &Rc<Namespace>) -> bool {
        self.is_walking()
            && self
                .walks()
                .borrow()
                .iter()
                .any(|walk| walk.changes.is_some() && Rc::ptr_eq(&walk.namespace, namespace))
    }

    /// Whether others may be selected once the changes are done that are under way.
    fn is_affected(&self, namespace: &Rc<Namespace>, selection: &Selection) -> bool {
        let names = [&selection.rooms, &selection.except];
        names
            .iter()
            .any(|rooms| self.are_affected(namespace, rooms))
    }

    /// Whether others are in these rooms once the changes are done that are under way.
    fn are_affected(&self, namespace: &Rc<Namespace>, rooms: &[String]) -> bool {
        let affects = |walk: &Rc<Walk>| {
            let changes = walk.changes.as_ref();
            let is_here = Rc::ptr_eq(&walk.namespace, namespace);
            is_here && changes.is_some_and(|it| it.affect(rooms))
        };
        self.is_walking() && self.walks().borrow().iter().any(affects)
    }

    /// Goes on with a change; returns how many of `most` it took.
    pub(super) fn go_on_with_change(self: &Rc<Self>, walk: &Walk, most: usize) -> usize {
        let portion = match most {
            usize::MAX => Portion::all(),
            most => Portion::of(most),
        };
        self.reach_crowd();
        let count = walk.go_on_changing(self, portion);
        self.end_reaching(count as u64);
        match walk.is_over() {
            true => count,
            // Its time is over, and that of the others with it.
            false => most,
        }
    }

    /// Waits until the changes that are under way are done.
    pub(crate) async fn changes_end(&self) {
        let last = {
            let walks = self.walks().borrow();
            let mut changes = walks.iter().rev().filter(|walk| walk.changes.is_some());
            changes.next().cloned()
        };
        if let Some(last) = last {
            while !last.is_over() {
                tokio::task::yield_now().await;
            }
        }
    }
}
