//! The sockets of a keeper, from their arrival to their end.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use adapter::Latch;
use adapter::recovery::{
    Act, Change, Claimed, Comeback, Done, Entry, Epoch, Generation, LogName, Mark, Next,
    NotClaimed, NotRecovered, Open, Part, Pid, PidSecret, Position, Taken, Welcome, Write,
};
use tokio::sync::oneshot;

use super::keeper::{Keeper, Pending, Reader};
use super::order::{Arrival, Returned, Shown};
use super::{SETTLE, Seat, Whom};

/// When a claim is made again of a store that is not settled.
const CLAIM_AGAIN: Duration = Duration::from_millis(200);

/// A socket as its keeper knows it.
pub(super) struct Sitting {
    stage: Stage,
    sid: Arc<str>,
    secret: Option<PidSecret>,
    generation: Generation,
    /// Logs that are kept for it, beside that of everybody.
    kept: Vec<LogName>,
    /// Joins that wait for their interests.
    joining: Vec<Joining>,
    since: Instant,
}

struct Joining {
    rooms: Arc<[Arc<str>]>,
    written: Arc<Latch>,
}

/// ```text
/// Opening ──in force──► Writing ──written──► Connected
/// Claiming ──claimed──► Returning ──in force──► Reading ──all read──► Deciding ──accepted──► Connected
/// ```
enum Stage {
    Opening(Box<Arrival>),
    Writing,
    Claiming {
        comeback: Box<Comeback>,
        again: Option<Instant>,
        answer: oneshot::Sender<Result<Returned, NotRecovered>>,
    },
    Returning(
        Box<Comeback>,
        oneshot::Sender<Result<Returned, NotRecovered>>,
    ),
    Reading(
        Box<Comeback>,
        oneshot::Sender<Result<Returned, NotRecovered>>,
    ),
    /// Everything is read; the application has not accepted the client yet.
    Deciding(Box<Deciding>),
    Connected,
}

struct Deciding {
    welcome: Welcome,
    /// What came since.
    held: VecDeque<Arc<Entry>>,
    bytes: usize,
}

impl Sitting {
    fn new(stage: Stage) -> Self {
        Self {
            stage,
            sid: "".into(),
            secret: None,
            generation: 0,
            kept: Vec::new(),
            joining: Vec::new(),
            since: Instant::now(),
        }
    }

    pub(super) fn keeps(&self, log: &LogName) -> bool {
        self.kept.contains(log)
    }
}

impl Keeper {
    /// A new client.
    pub(super) fn open_seat(&mut self, seat: Seat, arrival: Arrival, secret: PidSecret) {
        let mut sitting = Sitting::new(Stage::Writing);
        sitting.sid = Arc::clone(&arrival.sid);
        sitting.secret = Some(secret);
        sitting.generation = 1;
        let rooms = arrival.rooms.iter().chain([&arrival.sid]);
        sitting.kept = rooms.cloned().map(LogName::Room).collect();
        sitting.kept.sort_unstable();
        sitting.kept.dedup();
        sitting.stage = Stage::Opening(Box::new(arrival));
        self.seats.insert(seat, sitting);
        self.keep_all(seat);
    }

    /// A client comes back.
    pub(super) fn claim(
        &mut self,
        seat: Seat,
        shown: &Shown,
        user: Option<Arc<str>>,
        answer: oneshot::Sender<Result<Returned, NotRecovered>>,
    ) {
        let comeback = Comeback::new(&shown.pid, shown.offset.as_deref(), user, self.replay_bytes);
        let comeback = match comeback {
            Ok(comeback) => Box::new(comeback),
            Err(refusal) => {
                self.counters.note(refusal.as_str());
                let _gone = answer.send(Err(refusal));
                return;
            }
        };
        let claim = comeback.claim().clone();
        let secret = *claim.pid.secret();
        self.seats.insert(
            seat,
            Sitting::new(Stage::Claiming {
                comeback,
                again: None,
                answer,
            }),
        );
        self.push(Act::Claim(claim), Pending::Claim(seat, secret));
    }

    pub(super) fn handle_claim(&mut self, seat: Seat, secret: PidSecret, done: &Done) {
        let sitting = self.seats.get_mut(&seat);
        let is_claiming = |it: &&mut Sitting| matches!(it.stage, Stage::Claiming { .. });
        let Some(sitting) = sitting.filter(is_claiming) else {
            // Nobody waits for it any more: its client is away.
            if let Done::Claimed(claimed) = done {
                self.write_of(secret, claimed.generation, Change::Away, Pending::Nothing);
            }
            return;
        };
        let is_early = sitting.since.elapsed() < SETTLE;
        if let Stage::Claiming { again, .. } = &mut sitting.stage
            && matches!(done, Done::NotClaimed(NotClaimed::Unsettled))
            && is_early
        {
            *again = Some(Instant::now() + CLAIM_AGAIN);
            self.unsettled.insert(seat);
            return;
        }
        let Stage::Claiming {
            mut comeback,
            answer,
            ..
        } = std::mem::replace(&mut sitting.stage, Stage::Writing)
        else {
            return;
        };
        let next = comeback.handle_claim(done);
        match (next, comeback.claimed()) {
            (Next::Open(logs), Some(claimed)) => {
                sitting.sid = Arc::clone(&claimed.sid);
                sitting.secret = Some(secret);
                sitting.generation = claimed.generation;
                sitting.kept = logs;
                sitting.kept.retain(|log| *log != LogName::Everybody);
                sitting.stage = Stage::Returning(comeback, answer);
                for log in &sitting.kept {
                    self.returning_to
                        .entry(log.clone())
                        .or_default()
                        .insert(seat);
                }
                self.returning.insert(seat);
                self.keep_all(seat);
            }
            (Next::Refuse(refusal), _) => {
                self.seats.remove(&seat);
                self.counters.note(refusal.as_str());
                let _gone = answer.send(Err(refusal));
            }
            (_, _) => {
                self.seats.remove(&seat);
            }
        }
    }

    /// Wants to hear of everything that a socket is in, and goes on when it does.
    fn keep_all(&mut self, seat: Seat) {
        let Some(sitting) = self.seats.get(&seat) else {
            return;
        };
        let logs = sitting.kept.clone();
        for log in &logs {
            self.keep(log);
        }
        if !self.wait_for(seat, logs.iter().chain([&LogName::Everybody])) {
            self.go_on(vec![seat]);
        }
    }

    /// Has a seat go on when logs are open; `false` if they are.
    fn wait_for<'a>(&mut self, seat: Seat, logs: impl Iterator<Item = &'a LogName>) -> bool {
        let mut is_waiting = false;
        for log in logs {
            if let Some(wanted) = self.wanted.get_mut(log)
                && !wanted.is_open
            {
                is_waiting = true;
                if !wanted.waiting.contains(&seat) {
                    wanted.waiting.push(seat);
                }
            }
        }
        is_waiting
    }

    fn is_open(&self, log: &LogName) -> bool {
        self.wanted.get(log).is_some_and(|wanted| wanted.is_open)
    }

    /// Interests of these came into force.
    pub(super) fn go_on(&mut self, mut seats: Vec<Seat>) {
        seats.sort_unstable();
        seats.dedup();
        for seat in seats {
            let Some(sitting) = self.seats.get(&seat) else {
                continue;
            };
            match &sitting.stage {
                Stage::Opening(_) | Stage::Returning(..) => {
                    let kept = sitting.kept.clone();
                    let logs = kept.iter().chain([&LogName::Everybody]);
                    if !self.wait_for(seat, logs) {
                        self.go_on_arriving(seat);
                    }
                }
                Stage::Connected => self.go_on_joining(seat),
                Stage::Writing
                | Stage::Claiming { .. }
                | Stage::Reading(..)
                | Stage::Deciding(_) => {}
            }
        }
    }

    /// All interests of a client that arrives are in force.
    fn go_on_arriving(&mut self, seat: Seat) {
        let next_beat = self.writer.next_beat();
        let Some(sitting) = self.seats.get_mut(&seat) else {
            return;
        };
        match std::mem::replace(&mut sitting.stage, Stage::Writing) {
            Stage::Opening(arrival) => {
                let Some(secret) = sitting.secret else {
                    return;
                };
                let Arrival {
                    sid,
                    user,
                    data,
                    rooms,
                } = *arrival;
                let open = Open {
                    secret,
                    sid,
                    user,
                    data,
                    rooms,
                };
                self.push(Act::Open(open), Pending::Open(seat));
            }
            Stage::Returning(mut comeback, answer) => {
                comeback.handle_in_force(next_beat);
                sitting.stage = Stage::Reading(comeback, answer);
                self.marking.insert(seat);
                self.is_mark_wanted = true;
            }
            other @ (Stage::Writing
            | Stage::Claiming { .. }
            | Stage::Reading(..)
            | Stage::Deciding(_)
            | Stage::Connected) => {
                sitting.stage = other;
            }
        }
    }

    fn go_on_joining(&mut self, seat: Seat) {
        let Some(sitting) = self.seats.get_mut(&seat) else {
            return;
        };
        for joining in std::mem::take(&mut sitting.joining) {
            let logs: Vec<_> = joining.rooms.iter().cloned().map(LogName::Room).collect();
            if self.wait_for(seat, logs.iter()) {
                if let Some(sitting) = self.seats.get_mut(&seat) {
                    sitting.joining.push(joining);
                }
                continue;
            }
            // What was left meanwhile is left.
            let rooms = joining.rooms.iter();
            let rooms = rooms.filter(|room| self.is_open(&LogName::Room(Arc::clone(room))));
            let change = Change::Join(rooms.cloned().collect());
            let pending = Pending::Join {
                seat,
                rooms: joining.rooms,
                written: joining.written,
            };
            self.write(seat, change, pending);
        }
    }

    pub(super) fn handle_opened(&mut self, seat: Seat, pid: Pid) {
        let Some(sitting) = self.seats.get_mut(&seat) else {
            self.write_of(*pid.secret(), 1, Change::End, Pending::Nothing);
            return;
        };
        self.counters.session_writes.increment();
        sitting.stage = Stage::Connected;
        self.outlet.opened(seat, pid);
        self.go_on_joining(seat);
    }

    /// The application accepted a client that came back.
    pub(super) fn enter(&mut self, seat: Seat) {
        let Some(sitting) = self.seats.get_mut(&seat) else {
            return;
        };
        let Stage::Deciding(deciding) = std::mem::replace(&mut sitting.stage, Stage::Connected)
        else {
            return;
        };
        let kept = sitting.kept.clone();
        let since = sitting.since;
        self.end_return(seat, &kept);
        self.counters.note("recovered");
        self.counters.duration.observe(since.elapsed());
        let Deciding { welcome, held, .. } = *deciding;
        let through = held.back().map_or(welcome.through, |it| it.position);
        let events: Vec<_> = welcome.events.into_iter().chain(held).collect();
        self.counters.replayed.add(events.len() as u64);
        self.outlet.welcome(seat, events, through);
        self.go_on_joining(seat);
    }

    pub(super) fn join(&mut self, seat: Seat, rooms: Arc<[Arc<str>]>, written: Arc<Latch>) {
        let Some(sitting) = self.seats.get_mut(&seat) else {
            written.refuse();
            return;
        };
        let mut new = Vec::new();
        for room in rooms.iter() {
            let log = LogName::Room(Arc::clone(room));
            if !sitting.kept.contains(&log) {
                sitting.kept.push(log.clone());
                new.push(log);
            }
        }
        sitting.joining.push(Joining { rooms, written });
        let is_connected = matches!(sitting.stage, Stage::Connected);
        for log in &new {
            self.keep(log);
        }
        if is_connected {
            self.go_on_joining(seat);
        }
    }

    pub(super) fn leave(&mut self, seat: Seat, rooms: Vec<Arc<str>>, until: Position) {
        let Some(sitting) = self.seats.get_mut(&seat) else {
            return;
        };
        let mut left = Vec::new();
        for room in &rooms {
            let log = LogName::Room(Arc::clone(room));
            if let Some(place) = sitting.kept.iter().position(|it| *it == log) {
                sitting.kept.swap_remove(place);
                left.push(log);
            }
        }
        self.write(seat, Change::Leave { rooms, until }, Pending::Nothing);
        for log in &left {
            self.release(log);
        }
    }

    /// Redis does not let this node hear a room.
    pub(super) fn refuse_room(&mut self, log: &LogName, waiting: Vec<Seat>) {
        let LogName::Room(room) = log else {
            return;
        };
        for seat in waiting {
            let Some(sitting) = self.seats.get_mut(&seat) else {
                continue;
            };
            sitting.joining.retain(|joining| {
                let is_refused = joining.rooms.contains(room);
                if is_refused {
                    joining.written.refuse();
                }
                !is_refused
            });
            if let Some(place) = sitting.kept.iter().position(|it| it == log) {
                sitting.kept.swap_remove(place);
                self.end_return_to(seat, log);
                self.release(log);
            }
            self.go_on(vec![seat]);
        }
    }

    /// A socket is gone. What is to be written of its session is.
    pub(super) fn leave_seat(&mut self, seat: Seat, change: Option<Change>) {
        if let Some(change) = change {
            self.write(seat, change, Pending::Nothing);
        }
        let Some(sitting) = self.seats.remove(&seat) else {
            return;
        };
        self.returning.remove(&seat);
        self.rewinds.forget(seat);
        self.reads.forget(&Reader::Comeback(seat));
        for joining in &sitting.joining {
            joining.written.refuse();
        }
        if !matches!(sitting.stage, Stage::Claiming { .. }) {
            for log in &sitting.kept {
                self.release(log);
            }
        }
    }

    /// A client is welcome, or gone.
    fn end_return(&mut self, seat: Seat, kept: &[LogName]) {
        if !self.returning.remove(&seat) {
            return;
        }
        self.marking.remove(&seat);
        for log in kept {
            self.end_return_to(seat, log);
        }
    }

    fn end_return_to(&mut self, seat: Seat, log: &LogName) {
        if let Some(seats) = self.returning_to.get_mut(log) {
            seats.remove(&seat);
            if seats.is_empty() {
                self.returning_to.remove(log);
            }
        }
    }

    /// Another node, or another connection to this one, has the session now.
    pub(super) fn handle_taken(&mut self, taken: &Taken) {
        let seats = self.seats.iter();
        let of = seats.filter(|(_, it)| it.sid == taken.sid && it.generation < taken.generation);
        let seats: Vec<_> = of.map(|(seat, _)| *seat).collect();
        for seat in seats {
            self.leave_seat(seat, None);
            self.close_whom(
                Whom::Taken(Arc::clone(&taken.sid), taken.generation),
                "the client came back by another connection",
            );
        }
    }

    pub(super) fn write(&mut self, seat: Seat, change: Change, pending: Pending) {
        if let Some(sitting) = self.seats.get(&seat)
            && let Some(secret) = sitting.secret
        {
            // A session that is not opened yet is not written either: it ends when it is opened.
            if matches!(sitting.stage, Stage::Opening(_)) {
                return;
            }
            self.write_of(secret, sitting.generation, change, pending);
        }
    }

    fn write_of(
        &mut self,
        secret: PidSecret,
        generation: Generation,
        change: Change,
        pending: Pending,
    ) {
        let write = Write {
            secret,
            generation,
            changes: vec![change],
        };
        self.push(Act::Write(write), pending);
    }

    pub(super) fn tick_seats(&mut self) {
        let now = Instant::now();
        for seat in std::mem::take(&mut self.unsettled) {
            let Some(sitting) = self.seats.get_mut(&seat) else {
                continue;
            };
            let Stage::Claiming {
                comeback, again, ..
            } = &mut sitting.stage
            else {
                continue;
            };
            if again.is_some_and(|at| now < at) {
                self.unsettled.insert(seat);
                continue;
            }
            *again = None;
            let claim = comeback.claim().clone();
            let secret = *claim.pid.secret();
            self.push(Act::Claim(claim), Pending::Claim(seat, secret));
        }
    }

    pub(super) fn handle_mark(&mut self, mark: &Mark) {
        for seat in std::mem::take(&mut self.marking) {
            if let Some(sitting) = self.seats.get_mut(&seat)
                && let Stage::Reading(comeback, _) = &mut sitting.stage
            {
                let (epoch, position) = (mark.known.epoch, mark.known.position);
                let next = comeback.handle_mark(mark.number, epoch, position);
                if matches!(next, Next::Wait) {
                    self.marking.insert(seat);
                }
                self.follow(seat, next);
            }
        }
    }

    pub(super) fn handle_piece(&mut self, seat: Seat, epoch: Epoch, piece: &Part) {
        if let Some(sitting) = self.seats.get_mut(&seat)
            && let Stage::Reading(comeback, _) = &mut sitting.stage
        {
            let next = comeback.handle_piece(epoch, piece);
            self.follow(seat, next);
        }
    }

    /// An event is released: those that come back get it behind what they missed.
    pub(super) fn hold(&mut self, entry: &Arc<Entry>) {
        if self.returning.is_empty() {
            return;
        }
        let limit = self.replay_bytes;
        let is_for = |claimed: &Claimed| claimed.is_for(&entry.selection, entry.position);
        let (mut next, mut too_much) = (Vec::new(), Vec::new());
        let concerned: BTreeSet<Seat> = match entry.selection.rooms.is_empty() {
            true => self.returning.clone(),
            false => {
                let logs = LogName::of(&entry.selection);
                let seats = logs.iter().filter_map(|log| self.returning_to.get(log));
                seats.flatten().copied().collect()
            }
        };
        for seat in &concerned {
            let Some(sitting) = self.seats.get_mut(seat) else {
                continue;
            };
            match &mut sitting.stage {
                Stage::Reading(comeback, _) if comeback.claimed().is_some_and(is_for) => {
                    next.push((*seat, comeback.hold(entry)));
                }
                Stage::Deciding(deciding) if is_for(&deciding.welcome.claimed) => {
                    deciding.bytes += entry.size();
                    deciding.held.push_back(Arc::clone(entry));
                    if deciding.bytes > limit {
                        too_much.push(*seat);
                    }
                }
                Stage::Opening(_)
                | Stage::Writing
                | Stage::Claiming { .. }
                | Stage::Returning(..)
                | Stage::Reading(..)
                | Stage::Deciding(_)
                | Stage::Connected => {}
            }
        }
        for (seat, next) in next {
            self.follow(seat, next);
        }
        for seat in too_much {
            self.leave_seat(seat, Some(Change::Away));
            self.close_whom(Whom::Seat(seat), "too much waits for the client");
        }
    }

    /// Does what a comeback wants done next.
    fn follow(&mut self, seat: Seat, next: Next) {
        match next {
            Next::Wait | Next::Open(_) => {}
            Next::Read(spans) => {
                for span in spans {
                    self.reads.want(Reader::Comeback(seat), span);
                }
            }
            Next::Refuse(refusal) => {
                self.counters.note(refusal.as_str());
                let answer = self.take_answer(seat);
                self.leave_seat(seat, Some(Change::End));
                if let Some(answer) = answer {
                    let _gone = answer.send(Err(refusal));
                }
            }
            Next::Welcome(welcome) => {
                let Some(answer) = self.take_answer(seat) else {
                    return;
                };
                let returned = Returned::from(&welcome.claimed);
                if let Some(sitting) = self.seats.get_mut(&seat) {
                    sitting.stage = Stage::Deciding(Box::new(Deciding {
                        welcome: *welcome,
                        held: VecDeque::new(),
                        bytes: 0,
                    }));
                }
                if answer.send(Ok(returned)).is_err() {
                    self.leave_seat(seat, Some(Change::Away));
                }
            }
        }
    }

    fn take_answer(
        &mut self,
        seat: Seat,
    ) -> Option<oneshot::Sender<Result<Returned, NotRecovered>>> {
        let sitting = self.seats.get_mut(&seat)?;
        match std::mem::replace(&mut sitting.stage, Stage::Connected) {
            Stage::Reading(_, answer) => Some(answer),
            other @ (Stage::Opening(_)
            | Stage::Writing
            | Stage::Claiming { .. }
            | Stage::Returning(..)
            | Stage::Deciding(_)
            | Stage::Connected) => {
                sitting.stage = other;
                None
            }
        }
    }
}
