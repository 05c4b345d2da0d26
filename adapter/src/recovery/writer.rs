//! What a process tells the store.

use std::collections::VecDeque;

use super::call::Beat;
use super::{
    Act, Call, Change, Done, Generation, Known, LogName, Position, Process, Reply, Request, Taken,
};

/// What a process tells the store of one namespace: one call after the other, numbered, so that after a broken
/// connection the same call can be made again.
///
/// ```text
///           next_call             Done
///   idle ──────────────► asked ─────────► idle
///                        ▲   │
///      again, next_call  │   │ no answer, or BeatFirst
///                        │   ▼
///                     to be asked again
/// ```
///
/// While no other process knows of this one the store does not let it act. Then acts wait, and heartbeats go on.
#[derive(Debug)]
pub struct Writer {
    process: Process,
    limits: WriterLimits,
    queue: VecDeque<(Ticket, Act)>,
    bytes: usize,
    /// Acts that wait or are under way, and write that a client is away.
    aways: usize,
    under_way: Option<UnderWay>,
    acknowledged: u64,
    beats: u64,
    last_ticket: u64,
    known: Option<Known>,
    /// What heartbeats told that are not answered.
    told: VecDeque<(u64, Option<Known>)>,
    /// The floor that the last heartbeat told.
    floor: Position,
    seen: Position,
    must_beat: bool,
    /// Whether the store lets it act.
    may_act: bool,
}

/// What a writer holds, and puts into a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WriterLimits {
    /// Bytes that wait.
    pub queue_bytes: usize,
    /// Bytes of a call, or one act.
    pub call_bytes: usize,
    /// Acts of a call.
    pub call_acts: usize,
}

/// What an act is known by until it is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ticket(pub u64);

/// Too much waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too much waits for the store")]
pub struct Overfull;

/// What a reply settled.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Resolved {
    /// Acts that are done.
    pub done: Vec<(Ticket, Done)>,
    /// Sessions that are another's now.
    pub taken: Vec<Taken>,
}

#[derive(Debug)]
struct UnderWay {
    number: u64,
    acts: Vec<(Ticket, Act)>,
    /// What was seen of what was taken when the call was made first: what was taken since is still to be refused in
    /// it.
    seen: Position,
    is_asked: bool,
}

/// Acts for which there is room while nothing waits: what a rush took is given back.
const AT_REST: usize = 256;

/// What an act takes beside what it carries, about.
const OVERHEAD: usize = 128;

impl Writer {
    /// A writer without a past.
    pub fn new(process: Process, limits: WriterLimits) -> Self {
        Self {
            process,
            limits,
            queue: VecDeque::new(),
            bytes: 0,
            aways: 0,
            under_way: None,
            acknowledged: 0,
            beats: 0,
            last_ticket: 0,
            known: None,
            told: VecDeque::new(),
            floor: Position::ZERO,
            seen: Position::ZERO,
            must_beat: true,
            may_act: true,
        }
    }

    /// Its process.
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// Bytes that wait or are under way.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether nothing waits and nothing is under way.
    pub fn is_idle(&self) -> bool {
        self.queue.is_empty() && self.under_way.is_none()
    }

    /// Whether a heartbeat has to be made before anything else.
    pub fn must_beat(&self) -> bool {
        self.must_beat
    }

    /// The number of the next heartbeat.
    pub fn next_beat(&self) -> u64 {
        self.beats + 1
    }

    /// Wants something done. It is done in the order in which it was wanted.
    ///
    /// # Errors
    ///
    /// Too much waits.
    pub fn push(&mut self, act: Act) -> Result<Ticket, Overfull> {
        let size = size(&act);
        if self.bytes + size > self.limits.queue_bytes {
            return Err(Overfull);
        }
        self.bytes += size;
        self.aways += usize::from(is_away(&act));
        self.last_ticket += 1;
        let ticket = Ticket(self.last_ticket);
        self.queue.push_back((ticket, act));
        Ok(ticket)
    }

    /// The call to make now, if there is one.
    pub fn next_call(&mut self, random: u64) -> Option<Call> {
        if self.must_beat || !self.may_act || self.under_way.as_ref().is_some_and(|it| it.is_asked)
        {
            return None;
        }
        if self.under_way.is_none() {
            let acts = self.take();
            if acts.is_empty() {
                return None;
            }
            self.under_way = Some(UnderWay {
                number: self.acknowledged + 1,
                acts,
                seen: self.seen,
                is_asked: false,
            });
        }
        let under_way = self.under_way.as_mut()?;
        under_way.is_asked = true;
        let acts = under_way.acts.iter().map(|it| it.1.clone()).collect();
        let (number, seen) = (under_way.number, under_way.seen);
        Some(self.call(Request::Acts { number, acts, seen }, random))
    }

    /// A heartbeat. While it is not written that a client is away, the floor stays: the store would take that one for
    /// connected still, and for whole up to there. One that is early, for its mark alone, asks for no heads.
    pub fn beat(&mut self, floor: Position, heads: Option<Vec<LogName>>, random: u64) -> Call {
        self.beats += 1;
        self.told.push_back((self.beats, self.known));
        if self.aways == 0 {
            self.floor = self.floor.max(floor);
        }
        let beat = Beat {
            number: self.beats,
            acknowledged: self.acknowledged,
            known: self.known,
            floor: self.floor,
            sweeps: heads.is_some(),
            heads: heads.unwrap_or_default(),
            seen: self.under_way.as_ref().map_or(self.seen, |it| it.seen),
        };
        self.call(Request::Beat(beat), random)
    }

    /// The connection broke: what was asked is to be asked again, behind a heartbeat, since the server may be
    /// another.
    pub fn handle_broken(&mut self) {
        self.told.clear();
        self.ask_again();
    }

    fn ask_again(&mut self) {
        self.must_beat = true;
        if let Some(under_way) = &mut self.under_way {
            under_way.is_asked = false;
        }
    }

    /// This was heard here, so that it is known to be in the order.
    pub fn note(&mut self, known: Known) {
        match &mut self.known {
            Some(it) if it.is_with(&known) => it.position = it.position.max(known.position),
            Some(_) | None => {}
        }
    }

    /// The store answered.
    pub fn handle(&mut self, reply: &Reply) -> Resolved {
        match reply {
            Reply::Beaten {
                number,
                known,
                taken,
                may_act,
                ..
            } => {
                // Several may be under way, on a slow way always.
                self.told.retain(|it| it.0 >= *number);
                let Some((_, told)) = self.told.pop_front_if(|it| it.0 == *number) else {
                    return Resolved::default();
                };
                // What was heard meanwhile of another era the store was not told yet.
                let is_told = self.known == told;
                let is_same = self.known.is_some_and(|it| it.is_with(known));
                if is_same {
                    self.note(*known);
                } else if is_told {
                    self.known = Some(*known);
                }
                self.must_beat = !(is_same || is_told);
                self.may_act = *may_act;
                self.take_over(taken, Vec::new())
            }
            Reply::Done {
                number,
                known,
                done,
                taken,
            } => {
                let is_awaited = |it: &mut UnderWay| it.number == *number;
                let Some(under_way) = self.under_way.take_if(is_awaited) else {
                    return Resolved::default();
                };
                self.note(*known);
                self.acknowledged = *number;
                let tickets = under_way.acts.into_iter().map(|(ticket, act)| {
                    self.bytes -= size(&act);
                    self.aways -= usize::from(is_away(&act));
                    ticket
                });
                let done = tickets.zip(done.iter().cloned()).collect();
                self.take_over(taken, done)
            }
            Reply::BeatFirst => {
                self.ask_again();
                Resolved::default()
            }
            Reply::Outdated | Reply::Pieces { .. } | Reply::Page(_) => Resolved::default(),
        }
    }

    fn take(&mut self) -> Vec<(Ticket, Act)> {
        let mut acts = Vec::new();
        let mut bytes = 0;
        while let Some((_, act)) = self.queue.front() {
            bytes += size(act);
            if acts.len() >= self.limits.call_acts
                || bytes > self.limits.call_bytes && !acts.is_empty()
            {
                break;
            }
            acts.extend(self.queue.pop_front());
        }
        if self.queue.is_empty() && self.queue.capacity() > 2 * AT_REST {
            self.queue.shrink_to(AT_REST);
        }
        acts
    }

    /// Drops what waits of sessions that are another's now.
    fn take_over(&mut self, taken: &[Taken], mut done: Vec<(Ticket, Done)>) -> Resolved {
        let new: Vec<_> = taken
            .iter()
            .filter(|it| it.at > self.seen)
            .cloned()
            .collect();
        self.seen = new.iter().map(|it| it.at).fold(self.seen, Position::max);
        let is_of = |sid: &str, generation: Generation| {
            let mut new = new.iter();
            new.any(|it| *it.sid == *sid && it.generation > generation)
        };
        if !new.is_empty() {
            let bytes = &mut self.bytes;
            self.queue.retain(|(ticket, act)| {
                let sender = match act {
                    Act::Publish(publish) => publish.sender.as_ref(),
                    Act::Open(_) | Act::Write(_) | Act::Claim(_) | Act::Retire => None,
                };
                let is_gone = sender.is_some_and(|(sid, generation)| is_of(sid, *generation));
                if is_gone {
                    *bytes -= size(act);
                    done.push((*ticket, Done::NotOwned));
                }
                !is_gone
            });
        }
        Resolved { done, taken: new }
    }

    fn call(&self, request: Request, random: u64) -> Call {
        Call {
            process: self.process.clone(),
            request,
            random,
        }
    }
}

impl Known {
    /// Whether both are places of one server.
    fn is_with(&self, other: &Self) -> bool {
        (self.epoch, self.era) == (other.epoch, other.era)
    }
}

/// Whether it writes that a client is away.
fn is_away(act: &Act) -> bool {
    match act {
        Act::Write(write) => write.changes.contains(&Change::Away),
        Act::Publish(_) | Act::Open(_) | Act::Claim(_) | Act::Retire => false,
    }
}

fn size(act: &Act) -> usize {
    let names = |names: &[std::sync::Arc<str>]| names.iter().map(|it| it.len() + 16).sum::<usize>();
    let data = |data: &Option<bytes::Bytes>| data.as_ref().map_or(0, bytes::Bytes::len);
    OVERHEAD
        + match act {
            Act::Publish(publish) => {
                let selection = publish
                    .selection
                    .rooms
                    .iter()
                    .chain(&publish.selection.except);
                publish.body.len() + selection.map(|it| it.len() + 24).sum::<usize>()
            }
            Act::Open(open) => names(&open.rooms) + data(&open.data),
            Act::Write(write) => {
                let changes = write.changes.iter().map(|change| match change {
                    Change::Join(rooms) | Change::Leave { rooms, .. } => names(rooms),
                    Change::Data(it) => data(it),
                    Change::Away | Change::End => 0,
                });
                changes.sum()
            }
            Act::Claim(_) | Act::Retire => 0,
        }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;

    use super::super::{Epoch, Publication};
    use super::*;
    use crate::{NodeId, Selection};

    #[test]
    fn one_call_is_under_way_and_is_made_again_after_a_break() {
        let mut writer = ready();
        let first = writer.push(publish("a", 1)).unwrap();
        let call = writer.next_call(0).unwrap();
        let second = writer.push(publish("b", 1)).unwrap();
        assert_eq!(writer.next_call(0), None);
        writer.handle_broken();
        assert_eq!(writer.next_call(0), None, "a heartbeat first");
        beat(&mut writer, known(20), vec![]);
        let again = writer.next_call(0).unwrap();
        assert_eq!(number(&again), (1, 1));
        assert_eq!(number(&call), (1, 1));
        let resolved = writer.handle(&done(1, &[21], vec![]));
        assert_eq!(resolved.done, [(first, Done::Published(Position::new(21)))]);
        assert_eq!(writer.handle(&done(1, &[21], vec![])), Resolved::default());
        assert_eq!(number(&writer.next_call(0).unwrap()), (2, 1));
        let resolved = writer.handle(&done(2, &[22], vec![]));
        assert_eq!(resolved.done[0].0, second);
        assert!(writer.is_idle() && writer.bytes() == 0);
    }

    #[test]
    fn the_answer_to_a_heartbeat_counts_while_another_one_is_under_way() {
        let mut writer = ready();
        writer.push(publish("a", 1)).unwrap();
        writer.handle_broken();
        let mut number = || {
            let call = writer.beat(Position::ZERO, Some(vec![]), 0);
            let Request::Beat(beat) = call.request else {
                panic!("no beat");
            };
            beat.number
        };
        let numbers = [number(), number()];
        writer.handle(&beaten(numbers[0], known(20), vec![]));
        assert!(!writer.must_beat());
        assert!(writer.next_call(0).is_some());
        writer.handle(&beaten(numbers[1], known(21), vec![]));
        writer.handle(&beaten(numbers[1], known(9), vec![]));
        assert!(!writer.must_beat());
    }

    #[test]
    fn the_floor_stays_while_it_is_not_written_that_a_client_is_away() {
        let mut writer = ready();
        let told = |writer: &mut Writer, floor| {
            let call = writer.beat(Position::new(floor), Some(vec![]), 0);
            let Request::Beat(beat) = call.request else {
                panic!("no beat");
            };
            beat.floor.number()
        };
        assert_eq!(told(&mut writer, 5), 5);
        let write = super::super::Write {
            secret: super::super::PidSecret::new([0; 22]),
            generation: 1,
            changes: vec![Change::Away],
        };
        writer.push(Act::Write(write)).unwrap();
        assert_eq!(told(&mut writer, 6), 5);
        writer.next_call(0).unwrap();
        assert_eq!(told(&mut writer, 7), 5);
        writer.handle(&done(1, &[21], vec![]));
        assert_eq!(told(&mut writer, 8), 8);
    }

    #[test]
    fn acts_wait_while_nobody_knows_of_the_process() {
        let mut writer = ready();
        writer.push(publish("a", 1)).unwrap();
        for may_act in [false, false, true] {
            let Request::Beat(beat) = writer.beat(Position::ZERO, None, 0).request else {
                panic!("no beat");
            };
            let Reply::Beaten {
                number,
                known,
                taken,
                sizes,
                ..
            } = beaten(beat.number, known(20), vec![])
            else {
                panic!("no answer");
            };
            writer.handle(&Reply::Beaten {
                number,
                known,
                taken,
                may_act,
                sizes,
            });
            assert!(!writer.must_beat(), "the next one is not due yet");
            assert_eq!(writer.next_call(0).is_some(), may_act);
        }
    }

    #[test]
    fn what_waits_and_what_is_called_is_bounded() {
        let mut writer = ready();
        let pushed = (0..100).filter(|_| writer.push(publish("a", 1)).is_ok());
        assert_eq!(pushed.count(), 7);
        assert_eq!(number(&writer.next_call(0).unwrap()), (1, 3));
    }

    #[test]
    fn what_a_taken_session_sent_is_dropped_and_what_was_asked_is_still_to_be_refused() {
        let mut writer = ready();
        writer.push(publish("a", 1)).unwrap();
        writer.next_call(0).unwrap();
        writer.handle_broken();
        let late = writer.push(publish("a", 1)).unwrap();
        let new = writer.push(publish("a", 3)).unwrap();
        let taken = Taken {
            at: Position::new(15),
            sid: "a".into(),
            generation: 2,
        };
        let resolved = beat(&mut writer, known(20), vec![taken.clone()]);
        assert_eq!(resolved.done, [(late, Done::NotOwned)]);
        assert_eq!(resolved.taken, std::slice::from_ref(&taken));
        let resolved = beat(&mut writer, known(20), vec![taken]);
        assert_eq!(resolved, Resolved::default(), "told once");
        let Request::Acts { seen, .. } = writer.next_call(0).unwrap().request else {
            panic!("no acts");
        };
        assert_eq!(seen, Position::ZERO, "the call was made before it was seen");
        writer.handle(&done(1, &[21], vec![]));
        let Request::Acts { seen, .. } = writer.next_call(0).unwrap().request else {
            panic!("no acts");
        };
        assert_eq!(seen, Position::new(15));
        let resolved = writer.handle(&done(2, &[22], vec![]));
        assert_eq!(resolved.done[0].0, new);
    }

    #[test]
    fn what_it_knows_of_an_era_is_told_before_it_believes_in_another() {
        let mut writer = ready();
        writer.note(known(20));
        let call = writer.beat(Position::ZERO, Some(vec![]), 0);
        let Request::Beat(told) = call.request else {
            panic!("no beat");
        };
        assert_eq!(told.known, Some(known(20)));
        writer.note(known(25));
        let next = Known {
            era: Position::new(30),
            ..known(31)
        };
        writer.handle(&beaten(told.number, next, vec![]));
        assert!(writer.must_beat(), "25 was not told");
        beat(&mut writer, next, vec![]);
        assert!(!writer.must_beat());
        writer.note(known(40));
        let Request::Beat(told) = writer.beat(Position::ZERO, Some(vec![]), 0).request else {
            panic!("no beat");
        };
        assert_eq!(told.known, Some(next));
    }

    fn ready() -> Writer {
        let process = Process {
            node: NodeId::new("n").unwrap(),
            seed: 1,
        };
        let limits = WriterLimits {
            queue_bytes: 1200,
            call_bytes: 500,
            call_acts: 10,
        };
        let mut writer = Writer::new(process, limits);
        assert!(writer.must_beat());
        beat(&mut writer, known(10), vec![]);
        writer
    }

    fn beat(writer: &mut Writer, known: Known, taken: Vec<Taken>) -> Resolved {
        let Request::Beat(beat) = writer.beat(Position::ZERO, Some(vec![]), 0).request else {
            panic!("no beat");
        };
        writer.handle(&beaten(beat.number, known, taken))
    }

    fn beaten(number: u64, known: Known, taken: Vec<Taken>) -> Reply {
        Reply::Beaten {
            number,
            known,
            taken,
            may_act: true,
            sizes: super::super::Sizes::default(),
        }
    }

    fn done(number: u64, places: &[u64], taken: Vec<Taken>) -> Reply {
        let done = places.iter().map(|it| Done::Published(Position::new(*it)));
        Reply::Done {
            number,
            known: known(places[0]),
            done: done.collect::<Arc<[_]>>(),
            taken,
        }
    }

    fn number(call: &Call) -> (u64, usize) {
        match &call.request {
            Request::Acts { number, acts, .. } => (*number, acts.len()),
            Request::Beat(_) | Request::Read(_) | Request::History { .. } => panic!("{call:?}"),
        }
    }

    fn known(position: u64) -> Known {
        Known {
            epoch: Epoch::new(1),
            era: Position::new(1),
            position: Position::new(position),
        }
    }

    fn publish(sid: &str, generation: Generation) -> Act {
        Act::Publish(Publication {
            selection: Selection::everybody(),
            body: Bytes::from_static(&[0; 32]),
            is_logged: true,
            sender: Some((sid.into(), generation)),
        })
    }
}
