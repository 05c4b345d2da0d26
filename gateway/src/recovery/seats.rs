//! The sockets of a keeper, from their arrival to their end.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use adapter::recovery::{
    Act, Change, Claimed, Comeback, Done, Entry, Epoch, Generation, LogName, Mark, Next,
    NotClaimed, NotRecovered, Open, Part, Pid, PidSecret, Taken, Welcome, Write,
};
use tokio::sync::oneshot;

use super::keeper::{Keeper, Pending, Reader};
use super::order::{Arrival, Returned, Shown};
use super::{SETTLE, Seat, Whom};

/// When a claim is made again of a store that is not settled.
const CLAIM_AGAIN: Duration = Duration::from_millis(200);

/// A socket as its keeper knows it.
pub(super) struct Sitting {
    pub(super) stage: Stage,
    sid: Arc<str>,
    secret: PidSecret,
    generation: Generation,
    /// Logs that are kept for it, beside that of everybody.
    pub(super) kept: Vec<LogName>,
}

/// ```text
/// Opening ──in force──► Writing ──written──► Connected
/// Claiming ──claimed──► Returning ──in force──► Reading ──all read──► Deciding ──accepted──► Connected
/// ```
pub(super) enum Stage {
    Opening(Box<Arrival>),
    Writing,
    Claiming(Box<Claimant>),
    Returning(Box<Claimant>),
    Reading(Box<Claimant>),
    /// Everything is read; the application has not accepted the client yet.
    Deciding(Box<Deciding>),
    Connected,
}

/// A client that comes back.
pub(super) struct Claimant {
    comeback: Comeback,
    pub(super) since: Instant,
    /// Since when the store answers that it is not settled: before, it may have been away for long.
    unsettled_since: Option<Instant>,
    /// When its claim is made again.
    again: Option<Instant>,
    answer: oneshot::Sender<Result<Returned, NotRecovered>>,
}

pub(super) struct Deciding {
    welcome: Welcome,
    since: Instant,
    /// What came since.
    held: VecDeque<Arc<Entry>>,
    bytes: usize,
}

impl Sitting {
    pub(super) fn keeps(&self, log: &LogName) -> bool {
        self.kept.contains(log)
    }

    fn is_claiming(&self) -> bool {
        matches!(self.stage, Stage::Claiming(_))
    }

    /// Since when its client comes back, if it is not let in yet.
    fn returns_since(&self) -> Option<Instant> {
        match &self.stage {
            Stage::Claiming(claimant) | Stage::Returning(claimant) | Stage::Reading(claimant) => {
                Some(claimant.since)
            }
            Stage::Deciding(deciding) => Some(deciding.since),
            Stage::Opening(_) | Stage::Writing | Stage::Connected => None,
        }
    }
}

impl Keeper {
    /// A new client.
    pub(super) fn open_seat(&mut self, seat: Seat, arrival: Arrival, secret: PidSecret) {
        let rooms = arrival.rooms.iter().chain([&arrival.sid]);
        let mut kept: Vec<_> = rooms.cloned().map(LogName::Room).collect();
        kept.sort_unstable();
        kept.dedup();
        let sitting = Sitting {
            sid: Arc::clone(&arrival.sid),
            secret,
            generation: 1,
            kept,
            stage: Stage::Opening(Box::new(arrival)),
        };
        self.by_sid.insert((Arc::clone(&sitting.sid), seat));
        self.seats.insert(seat, Box::new(sitting));
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
            Ok(comeback) => comeback,
            Err(refusal) => {
                self.counters.note(refusal.as_str());
                let _gone = answer.send(Err(refusal));
                return;
            }
        };
        let claim = comeback.claim().clone();
        let secret = *claim.pid.secret();
        let claimant = Claimant {
            comeback,
            since: Instant::now(),
            unsettled_since: None,
            again: None,
            answer,
        };
        let sitting = Sitting {
            stage: Stage::Claiming(Box::new(claimant)),
            sid: "".into(),
            secret,
            generation: 0,
            kept: Vec::new(),
        };
        self.seats.insert(seat, Box::new(sitting));
        self.push(Act::Claim(claim), Pending::Claim(seat, secret));
    }

    pub(super) fn handle_claim(&mut self, seat: Seat, secret: PidSecret, done: &Done) {
        let Some(sitting) = self.seats.get_mut(&seat).filter(|it| it.is_claiming()) else {
            // Nobody waits for it any more: its client is away.
            if let Done::Claimed(claimed) = done {
                self.write_of(secret, claimed.generation, Change::Away, Pending::Nothing);
            }
            return;
        };
        let Stage::Claiming(mut claimant) = std::mem::replace(&mut sitting.stage, Stage::Writing)
        else {
            return;
        };
        let now = Instant::now();
        if matches!(done, Done::NotClaimed(NotClaimed::Unsettled))
            && now < *claimant.unsettled_since.get_or_insert(now) + SETTLE
        {
            claimant.again = Some(now + CLAIM_AGAIN);
            sitting.stage = Stage::Claiming(claimant);
            self.unsettled.insert(seat);
            return;
        }
        let next = claimant.comeback.handle_claim(done);
        match (next, claimant.comeback.claimed()) {
            (Next::Open(logs), Some(claimed)) => {
                sitting.sid = Arc::clone(&claimed.sid);
                sitting.generation = claimed.generation;
                sitting.kept = logs;
                sitting.kept.retain(|log| *log != LogName::Everybody);
                sitting.stage = Stage::Returning(claimant);
                self.by_sid.insert((Arc::clone(&sitting.sid), seat));
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
                let _gone = claimant.answer.send(Err(refusal));
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
            self.go_on([seat]);
        }
    }

    /// Has a seat go on when logs are open; `false` if they are.
    pub(super) fn wait_for<'a>(
        &mut self,
        seat: Seat,
        logs: impl Iterator<Item = &'a LogName>,
    ) -> bool {
        let mut is_waiting = false;
        for log in logs {
            if self.wanted.get(log).is_some_and(|wanted| !wanted.is_open) {
                is_waiting = true;
                self.waiting.entry(log.clone()).or_default().insert(seat);
            }
        }
        is_waiting
    }

    pub(super) fn is_open(&self, log: &LogName) -> bool {
        self.wanted.get(log).is_some_and(|wanted| wanted.is_open)
    }

    /// Interests of these came into force.
    pub(super) fn go_on(&mut self, seats: impl IntoIterator<Item = Seat>) {
        for seat in seats {
            let Some(sitting) = self.seats.get(&seat) else {
                continue;
            };
            match &sitting.stage {
                Stage::Opening(_) | Stage::Returning(_) => {
                    let kept = sitting.kept.clone();
                    let logs = kept.iter().chain([&LogName::Everybody]);
                    if !self.wait_for(seat, logs) {
                        self.go_on_arriving(seat);
                    }
                }
                Stage::Connected => self.go_on_joining(seat),
                Stage::Writing | Stage::Claiming(_) | Stage::Reading(_) | Stage::Deciding(_) => {}
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
                let Arrival {
                    sid,
                    user,
                    data,
                    rooms,
                } = *arrival;
                let open = Open {
                    secret: sitting.secret,
                    sid,
                    user,
                    data,
                    rooms,
                };
                self.push(Act::Open(open), Pending::Open(seat));
            }
            Stage::Returning(mut claimant) => {
                claimant.comeback.handle_in_force(next_beat);
                sitting.stage = Stage::Reading(claimant);
                self.marking.insert(seat);
                self.is_mark_wanted = true;
            }
            other @ (Stage::Writing
            | Stage::Claiming(_)
            | Stage::Reading(_)
            | Stage::Deciding(_)
            | Stage::Connected) => {
                sitting.stage = other;
            }
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
        self.end_return(seat, &kept);
        self.counters.note("recovered");
        self.counters.duration.observe(deciding.since.elapsed());
        let Deciding { welcome, held, .. } = *deciding;
        let through = held.back().map_or(welcome.through, |it| it.position);
        let events: Vec<_> = welcome.events.into_iter().chain(held).collect();
        self.counters.replayed.add(events.len() as u64);
        self.outlet.welcome(seat, events, through);
        self.go_on_joining(seat);
    }

    /// A socket is gone. What is to be written of its session is.
    pub(super) fn leave_seat(&mut self, seat: Seat, change: Option<Change>) {
        if let Some(change) = change {
            self.write(seat, change, Pending::Nothing);
        }
        let Some(sitting) = self.seats.remove(&seat) else {
            return;
        };
        self.by_sid.remove(&(Arc::clone(&sitting.sid), seat));
        if self.returning.contains(&seat) {
            let logs = sitting.kept.iter().chain([&LogName::Everybody]);
            self.reads.forget_of(&Reader::Comeback(seat), logs);
            self.end_return(seat, &sitting.kept);
        }
        self.rewinds.forget(seat);
        self.refuse_joins(seat);
        for log in &sitting.kept {
            self.release(log);
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

    pub(super) fn end_return_to(&mut self, seat: Seat, log: &LogName) {
        if let Some(seats) = self.returning_to.get_mut(log) {
            seats.remove(&seat);
            if seats.is_empty() {
                self.returning_to.remove(log);
            }
        }
    }

    /// Another node, or another connection to this one, has the session now.
    pub(super) fn handle_taken(&mut self, taken: &Taken) {
        let from = (Arc::clone(&taken.sid), Seat::FIRST);
        let of = self.by_sid.range(from..);
        let of = of.take_while(|(sid, _)| *sid == taken.sid);
        let of: Vec<_> = of.map(|(_, seat)| *seat).collect();
        for seat in of {
            let generation = self.seats.get(&seat).map(|it| it.generation);
            if generation.is_none_or(|it| it >= taken.generation) {
                continue;
            }
            self.leave_seat(seat, None);
            self.close_whom(
                Whom::Taken(Arc::clone(&taken.sid), taken.generation),
                "the client came back by another connection",
            );
        }
    }

    pub(super) fn write(&mut self, seat: Seat, change: Change, pending: Pending) {
        let Some(sitting) = self.seats.get(&seat) else {
            return;
        };
        // A session that is not opened yet is not written either: it ends when it is opened. And one that is not
        // claimed yet is not this node's.
        if !matches!(sitting.stage, Stage::Opening(_) | Stage::Claiming(_)) {
            self.write_of(sitting.secret, sitting.generation, change, pending);
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
            let Stage::Claiming(claimant) = &mut sitting.stage else {
                continue;
            };
            if claimant.again.is_some_and(|at| now < at) {
                self.unsettled.insert(seat);
                continue;
            }
            claimant.again = None;
            let claim = claimant.comeback.claim().clone();
            let secret = *claim.pid.secret();
            self.push(Act::Claim(claim), Pending::Claim(seat, secret));
        }
    }

    /// Lets those go who are coming back for longer than that. What is said of all clients of the node would soon
    /// cover them, and nothing was sent to them yet.
    pub(super) fn close_late(&mut self, longest: Duration) {
        let is_late = |seat: &&Seat| {
            let since = self.seats.get(seat).and_then(|it| it.returns_since());
            since.is_some_and(|since| since.elapsed() > longest)
        };
        let late: Vec<_> = self.returning.iter().filter(is_late).copied().collect();
        for seat in late {
            self.leave_seat(seat, Some(Change::Away));
            self.close_whom(
                Whom::Seat(seat),
                "the client could not be let in for too long",
            );
        }
    }

    pub(super) fn handle_mark(&mut self, mark: &Mark) {
        for seat in std::mem::take(&mut self.marking) {
            if let Some(sitting) = self.seats.get_mut(&seat)
                && let Stage::Reading(claimant) = &mut sitting.stage
            {
                let (epoch, position) = (mark.known.epoch, mark.known.position);
                let next = claimant.comeback.handle_mark(mark.number, epoch, position);
                if matches!(next, Next::Wait) {
                    self.marking.insert(seat);
                }
                self.follow(seat, next);
            }
        }
    }

    pub(super) fn handle_piece(&mut self, seat: Seat, epoch: Epoch, piece: &Part) {
        if let Some(sitting) = self.seats.get_mut(&seat)
            && let Stage::Reading(claimant) = &mut sitting.stage
        {
            let next = claimant.comeback.handle_piece(epoch, piece);
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
                Stage::Reading(claimant) if claimant.comeback.claimed().is_some_and(is_for) => {
                    next.push((*seat, claimant.comeback.hold(entry)));
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
                | Stage::Claiming(_)
                | Stage::Returning(_)
                | Stage::Reading(_)
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
                let claimant = self.take_claimant(seat);
                self.leave_seat(seat, Some(Change::End));
                if let Some(claimant) = claimant {
                    let _gone = claimant.answer.send(Err(refusal));
                }
            }
            Next::Welcome(welcome) => {
                let Some(claimant) = self.take_claimant(seat) else {
                    return;
                };
                let returned = Returned::from(&welcome.claimed);
                if let Some(sitting) = self.seats.get_mut(&seat) {
                    sitting.stage = Stage::Deciding(Box::new(Deciding {
                        welcome: *welcome,
                        since: claimant.since,
                        held: VecDeque::new(),
                        bytes: 0,
                    }));
                }
                if claimant.answer.send(Ok(returned)).is_err() {
                    self.leave_seat(seat, Some(Change::Away));
                }
            }
        }
    }

    /// Takes what a client that reads came with.
    fn take_claimant(&mut self, seat: Seat) -> Option<Box<Claimant>> {
        let sitting = self.seats.get_mut(&seat)?;
        match std::mem::replace(&mut sitting.stage, Stage::Connected) {
            Stage::Reading(claimant) => Some(claimant),
            other @ (Stage::Opening(_)
            | Stage::Writing
            | Stage::Claiming(_)
            | Stage::Returning(_)
            | Stage::Deciding(_)
            | Stage::Connected) => {
                sitting.stage = other;
                None
            }
        }
    }
}
