//! Broadcasts to so many sockets of a shard that the others get their turn meanwhile, or that it pays to come to each
//! socket once for several of them. [Changes](changes) of many are among them.
//!
//! ```text
//!   begun --> some of the selected in each turn --> all: it ends, and the next one goes on
//!     ^           |
//!     |           +-- something else is about to be done to a socket that the walk has not come to:
//!     |           |   an emit, an acknowledgement, a join, a leave, an end
//!     |           |      --> the socket catches up: it gets the event first, out of turn
//!     |           |
//!   open: a run that waits for the end of a round, and takes events for the same rooms meanwhile
//! ```
//!
//! The walks of a shard go on one after the other, in the order in which they began. So a socket gets an event if it was
//! selected when the walk began, and it gets everything in the order in which it was emitted. `Socket::walked` says
//! how far a socket is: it has what came before, and who enters the namespace meanwhile has it as well.
//!
//! A run is a walk of several events. While events gather at a busy shard, the first event of a round for a room goes
//! at once, and opens none; those that follow do. A run takes events for the same rooms until it has enough, its round
//! ends, or another walk begins behind it. Each event has a number of its own:
//!
//! ```text
//!   a socket that has nothing of the run --> gets all of it in one piece, which all such sockets share
//!   .. that caught up with a part        --> gets the rest, one event after the other
//!   .. that an event leaves out          --> catches up when that is emitted, and counts as one that has it
//! ```
//!
//! Polling, other dialects, clients that are watched, and outboxes that are nearly full get the events one by one, too.

use std::cell::{Cell, OnceCell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

use adapter::Selection;

use crate::count::PacketType;
use crate::engine::outbox::Parcel;
use crate::engine::shard::{FEW, Shard};
use crate::socketio::names::Names;
use crate::socketio::namespace::{Namespace, Place};
use crate::socketio::socket::Socket;
use changes::Changes;

pub(crate) use changes::{Effect, change};

mod changes;

/// Sockets that walks come to in one turn. What has more to come to is a walk.
const PART: usize = 1000;

/// Walks of a shard that are under way. If there is another one, the first is brought to its end.
const MAX_WALKS: usize = 16;

/// Most events of a run.
const MAX_EVENTS: usize = 256;

/// Most bytes of a run, unless it is a single event.
const MAX_RUN_BYTES: usize = 64 * 1024;

/// Most sockets that an event of a run leaves out.
const MAX_LEFT_OUT: usize = 16;

/// What is done to each of many sockets.
pub(crate) trait Errand {
    /// Does it; whether the socket is one of the recipients.
    fn reach(&self, socket: &Socket) -> bool;

    /// What it brings to all of them, if others may come together with it.
    fn event(&self) -> Option<(&Rc<Parcel>, PacketType)> {
        None
    }

    /// What it changes. Such an errand has no event.
    fn effect(&self) -> Effect<'_> {
        Effect::Nothing
    }

    /// It was done to all, and took so long.
    fn end(&self, shard: &Rc<Shard>, namespace: &Namespace, recipients: u64, took: Duration);
}

/// One that is under way, or several for the same rooms.
pub(super) struct Walk {
    namespace: Rc<Namespace>,
    rooms: Names,
    except: Names,
    /// Those of the namespace are numbered in their order: the first and the last of its events.
    numbers: Cell<(u32, u32)>,
    events: RefCell<Vec<Event>>,
    /// If more than one errand may come together.
    run: Option<Run>,
    changes: Option<Changes>,
    place: RefCell<Place>,
    began: Cell<Instant>,
}

/// One of the events of a walk.
struct Event {
    number: u32,
    /// Those that it came to alone.
    recipients: Cell<u64>,
    errand: Box<dyn Errand>,
}

/// What a walk of several events has.
struct Run {
    /// It waits for the end of this round; `None` if it waits for the walks before it alone.
    round: Cell<Option<u16>>,
    /// It takes more.
    is_open: Cell<bool>,
    kind: PacketType,
    bytes: Cell<usize>,
    /// All of it side by side, once it takes no more.
    whole: OnceCell<Rc<Parcel>>,
    /// Those that got all of it in one piece.
    recipients: Cell<u64>,
}

/// Does something to the selected sockets of a shard: now, or as a walk if they are many, or in a run.
pub(crate) fn send(
    shard: &Rc<Shard>,
    namespace: Rc<Namespace>,
    selection: &Selection,
    began: Instant,
    errand: impl Errand + 'static,
) {
    if shard.is_changing(&namespace) {
        return changes::send_behind(shard, namespace, selection, began, errand);
    }
    let are_many = namespace.has_more(FEW as usize, selection);
    let may_share = are_many && errand.event().is_some();
    if may_share && let Some((round, left_out)) = Run::waits(shard, &namespace, selection) {
        shard.note_broadcast(began);
        return Walk::wait(
            shard,
            namespace,
            selection,
            Some(round),
            left_out,
            Box::new(errand),
        );
    }
    if are_many {
        Walk::close_last(shard);
    }
    if are_many && namespace.has_more(PART, selection) {
        shard.note_broadcast(began);
        return Walk::begin(shard, namespace, selection, None, Box::new(errand));
    }
    let mut recipients = 0;
    namespace.for_each(selection, |socket| {
        shard.reach(recipients);
        recipients += u64::from(errand.reach(socket));
    });
    shard.end_reaching(recipients);
    if recipients > 0 {
        shard.note_broadcast(began);
    }
    if may_share {
        namespace.set_reached(&selection.rooms, shard.next_written());
    }
    errand.end(shard, &namespace, recipients, began.elapsed());
}

impl Run {
    /// The round whose end an event may wait for, and who it leaves out; `None` if it is not to wait.
    fn waits(
        shard: &Rc<Shard>,
        namespace: &Namespace,
        selection: &Selection,
    ) -> Option<(u16, Vec<Socket>)> {
        let round = shard.gathering()?;
        if shard.traces().is_any() || !namespace.was_reached(&selection.rooms, round) {
            return None;
        }
        let left_out = namespace.few_of(&selection.except, MAX_LEFT_OUT)?;
        Some((round, left_out))
    }

    fn of(round: Option<u16>, errand: &dyn Errand) -> Option<Self> {
        let (parcel, kind) = errand.event()?;
        Some(Self {
            round: Cell::new(round),
            is_open: Cell::new(true),
            kind,
            bytes: Cell::new(parcel.packet().frames().len()),
            whole: OnceCell::new(),
            recipients: Cell::new(0),
        })
    }
}

impl Walk {
    /// Begins one, which goes on in the turns of the shard; or a run, which waits.
    fn begin(
        shard: &Rc<Shard>,
        namespace: Rc<Namespace>,
        selection: &Selection,
        run: Option<Run>,
        errand: Box<dyn Errand>,
    ) {
        if shard.is_in_change() {
            if shard.walks().borrow().len() >= MAX_WALKS {
                return changes::reach_now_behind(shard, &namespace, selection, &*errand);
            }
        } else {
            Self::make_place(shard, &namespace);
        }
        let mut walks = shard.walks().borrow_mut();
        let number = namespace.next_walk(walks.is_empty());
        if run.is_none() {
            // It goes on now, and those before it go first.
            walks.iter().for_each(|walk| walk.let_go());
        }
        let except: &[String] = match run {
            Some(_) => &[],
            None => &selection.except,
        };
        walks.push_back(Rc::new(Self {
            rooms: Names::new(&selection.rooms),
            except: Names::new(except),
            numbers: Cell::new((number, number)),
            changes: Changes::of(&*errand),
            events: RefCell::new(vec![Event::new(number, errand)]),
            run,
            namespace,
            place: RefCell::default(),
            began: Cell::new(Instant::now()),
        }));
        drop(walks);
        shard.go_on_later();
    }

    /// Brings the first walks to their end, if another one has no place or no number.
    fn make_place(shard: &Rc<Shard>, namespace: &Namespace) {
        while shard.walks().borrow().len() >= MAX_WALKS
            || (namespace.has_few_numbers() && !shard.walks().borrow().is_empty())
        {
            shard.go_on_with_first(usize::MAX);
        }
    }

    /// Has an event wait for the end of a round, or for the walks before it, in a run that others are in or may join.
    fn wait(
        shard: &Rc<Shard>,
        namespace: Rc<Namespace>,
        selection: &Selection,
        round: Option<u16>,
        left_out: Vec<Socket>,
        errand: Box<dyn Errand>,
    ) {
        left_out.iter().for_each(Socket::catch_up);
        let last = shard.walks().borrow().back().cloned();
        let open = last.filter(|walk| walk.takes(&namespace, selection, round, &*errand));
        match open {
            Some(walk) => walk.add(errand),
            None => {
                let run = Run::of(round, &*errand);
                Self::begin(shard, Rc::clone(&namespace), selection, run, errand);
            }
        }
        let number = namespace.last_walk();
        left_out
            .iter()
            .for_each(|socket| socket.note_walked(number));
    }

    /// Whether it is a run that has a place for an event.
    fn takes(
        &self,
        namespace: &Rc<Namespace>,
        selection: &Selection,
        round: Option<u16>,
        errand: &dyn Errand,
    ) -> bool {
        let (Some(run), Some((parcel, kind))) = (&self.run, errand.event()) else {
            return false;
        };
        let bytes = run.bytes.get() + parcel.packet().frames().len();
        run.is_open.get()
            && run.round.get() == round
            && run.kind == kind
            && bytes <= MAX_RUN_BYTES
            && self.events.borrow().len() < MAX_EVENTS
            && Rc::ptr_eq(&self.namespace, namespace)
            && self.rooms.all() == selection.rooms
            && !namespace.has_few_numbers()
    }

    fn add(&self, errand: Box<dyn Errand>) {
        if let (Some(run), Some((parcel, _))) = (&self.run, errand.event()) {
            let size = parcel.packet().frames().len();
            run.bytes.update(|bytes| bytes + size);
        }
        let number = self.namespace.next_walk(false);
        self.numbers.update(|(first, _)| (first, number));
        self.events.borrow_mut().push(Event::new(number, errand));
    }

    /// Has the run that is last take no more, so that who catches up gets it in one piece.
    fn close_last(shard: &Rc<Shard>) {
        if shard.is_walking()
            && let Some(last) = shard.walks().borrow().back()
        {
            last.close();
        }
    }

    fn close(&self) {
        if let Some(run) = &self.run {
            run.is_open.set(false);
        }
    }

    /// It waits for no round any more.
    fn let_go(&self) {
        self.close();
        if let Some(run) = &self.run {
            run.round.set(None);
        }
    }

    /// Whether it is one of those that events wait in.
    pub(super) fn is_run(&self) -> bool {
        self.run.is_some()
    }

    /// The round that it waits for, if it does.
    fn round(&self) -> Option<u16> {
        self.run.as_ref()?.round.get()
    }

    /// Does it to a socket that is a member of its rooms, if the socket was not come to before.
    fn reach_member(&self, socket: &Socket) {
        let came = socket.walked();
        let (first, last) = self.numbers.get();
        if came >= last || !socket.is_of(&self.namespace) {
            return;
        }
        let is_meant = !self.except.have(socket);
        if is_meant && self.ends_sockets() {
            return socket.set_going();
        }
        socket.set_walked(last);
        if !is_meant {
            return;
        }
        if came < first
            && let Some((run, whole)) = self.whole(socket.session().shard())
            && socket.push_run(whole, run.kind)
        {
            return run.recipients.update(|count| count + 1);
        }
        for event in &*self.events.borrow() {
            if event.number > came && event.errand.reach(socket) {
                event.recipients.update(|count| count + 1);
            }
        }
    }

    /// Does it to a socket, if that is selected and was not come to before.
    fn reach(&self, socket: &Socket) {
        match self.rooms.all().is_empty() || self.rooms.have(socket) {
            true => self.reach_member(socket),
            false if socket.is_of(&self.namespace) => {
                let number = socket.walked().max(self.numbers.get().1);
                socket.set_walked(number);
            }
            false => {}
        }
    }

    /// All of its events in one piece, once it takes no more, and if they are several.
    fn whole(&self, shard: &Rc<Shard>) -> Option<(&Run, &Rc<Parcel>)> {
        let run = self.run.as_ref().filter(|run| !run.is_open.get())?;
        let (first, last) = self.numbers.get();
        if first == last {
            return None;
        }
        let whole = run.whole.get_or_init(|| {
            let events = self.events.borrow();
            let parcels = events.iter().filter_map(|event| event.errand.event());
            let parcels: Vec<&Rc<Parcel>> = parcels.map(|(parcel, _)| parcel).collect();
            Parcel::run(shard, &parcels)
        });
        Some((run, whole))
    }

    /// Goes on; returns how many it came to.
    fn go_on(&self, most: usize) -> usize {
        if self.run.as_ref().is_some_and(|run| run.is_open.get()) {
            self.began.set(Instant::now());
            self.close();
        }
        let rooms = self.rooms.all();
        let mut place = self.place.borrow_mut();
        // Who is there without having been at the begin has caught up.
        self.namespace
            .visit_some(rooms, &mut place, most, |socket| self.reach_member(socket))
    }

    fn is_over(&self) -> bool {
        self.place.borrow().is_behind(self.rooms.all().len())
    }

    fn end(&self, shard: &Rc<Shard>) {
        let together = self.run.as_ref().map_or(0, |run| run.recipients.get());
        let took = self.began.get().elapsed();
        let events = self.events.take();
        if events.iter().all(|event| event.errand.event().is_some()) {
            let round = shard.next_written();
            self.namespace.set_reached(self.rooms.all(), round);
        }
        for event in events {
            let recipients = event.recipients.get() + together;
            event.errand.end(shard, &self.namespace, recipients, took);
        }
    }
}

impl Event {
    fn new(number: u32, errand: Box<dyn Errand>) -> Self {
        Self {
            number,
            recipients: Cell::new(0),
            errand,
        }
    }
}

impl Shard {
    /// Goes on with walks as far as they have their turn.
    pub(crate) fn go_on_walking(self: &Rc<Self>) {
        // What was done at once counts, but not so that nothing goes on.
        let mut left = PART.saturating_sub(self.reached()).max(PART / 2);
        while left > 0 && self.has_to_walk() {
            left = left.saturating_sub(self.go_on_with_first(left));
        }
    }

    /// Comes to at most about `most` sockets more, and at least to one if there is one; returns how many.
    fn go_on_with_first(self: &Rc<Self>, most: usize) -> usize {
        let first = self.walks().borrow().front().cloned();
        let Some(walk) = first else {
            self.set_walker(None);
            return most;
        };
        let count = match &walk.changes {
            Some(_) => self.go_on_with_change(&walk, most),
            None => {
                // What it queues is in order.
                self.set_walker(None);
                self.reach_crowd();
                let count = walk.go_on(most);
                self.end_reaching(count as u64);
                count
            }
        };
        if walk.is_over() {
            self.walks().borrow_mut().pop_front();
            walk.end(self);
        }
        if self.walks().borrow().iter().all(|it| it.is_run()) {
            self.note_all_given();
        }
        self.go_on_later();
        count
    }

    /// Goes on with the walks that are left, once the first has its turn.
    fn go_on_later(&self) {
        let (round, is_left) = {
            let walks = self.walks().borrow();
            let first = walks.front();
            (first.and_then(|it| it.round()), first.is_some())
        };
        self.set_walks_wait(round);
        self.set_walker(is_left.then_some(Self::go_on_walking));
    }

    fn catch_up(&self, sockets: &[Socket]) {
        if sockets.iter().all(Socket::is_walked) {
            return;
        }
        let walks: Vec<Rc<Walk>> = self.walks().borrow().iter().cloned().collect();
        // What the walks queue themselves is in order.
        let walker = self.set_walker(None);
        for walk in walks {
            sockets.iter().for_each(|socket| walk.reach(socket));
        }
        self.set_walker(walker);
    }
}

impl Socket {
    /// Has walks come to it now, before something is done that they were before.
    pub(crate) fn catch_up(&self) {
        let shard = self.session().shard();
        if shard.is_walking() {
            shard.catch_up(std::slice::from_ref(self));
        }
    }

    /// Has walks come to the sockets of one session now.
    pub(crate) fn catch_up_all(sockets: &[Self]) {
        if let Some(first) = sockets.first() {
            first.session().shard().catch_up(sockets);
        }
    }
}
