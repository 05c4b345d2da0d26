//! What a node hears, put right.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::replay::Incomplete;
use super::{Entry, Epoch, Heard, Known, LogName, LogReader, Mark, Ordered, Part, Position, Span};

/// What a node hears of one namespace: released in order, each once, without a hole.
///
/// ```text
///            handle_up            a mark is heard          all is read, released
///   Away ──────────────► Marking ────────────────► Filling ─────────────────────► Live
///    ▲ ▲                  ▲ │ ▲  nothing was missed          held is too much │   │
///    │ │                  │ └─┼──────────────────────────────┐                │   │
///    │ └─ handle_down ────┼───┼──────── from every state ────┼────────────────┼───┤
///    │                    │   └──────────────────────────────┼────────────────┘   │
///    │                    └────── a hole, another era ───────┼────────────────────┘
///    │                                                       └──────────────────► Live
/// ```
///
/// It takes for granted that one connection brings what one server published in that order, without a hole, from
/// the time on when its subscriptions are in force. So all logs are complete up to the last place that was heard.
/// After a break a mark tells from where on that holds again. What is before the mark is read from the logs, and
/// released before anything else. That holds up the whole namespace, since clients remember one place for all rooms.
///
/// Each event also names its predecessor in each of its logs. So a hole shows that should not be. Then all logs are
/// read from the last place that is known to have come of each: what was lost of others shows later, or never. It is
/// filled if nothing behind it was released. Otherwise the members of the room are closed, and their sessions ended.
#[derive(Debug)]
pub struct Receiver {
    known: Option<Known>,
    /// The logs that are followed.
    rooms: BTreeMap<LogName, Room>,
    /// Something is missing, against what is taken for granted: of which logs is to be found out.
    is_suspect: bool,
    state: State,
    held: VecDeque<Heard>,
    held_bytes: usize,
    /// What is held was too much, and is to be read once more.
    is_behind: bool,
    output: VecDeque<Effect>,
    limits: Bounds,
    /// Where the check of quiet rooms goes on.
    checked: Option<LogName>,
}

/// What a receiver holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Bytes that wait until holes before them are filled.
    pub held_bytes: usize,
    /// Bytes that were read to fill holes.
    pub fill_bytes: usize,
}

/// A log that is followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Room {
    /// It is complete from the mark of this heartbeat on.
    Opening(u64),
    /// The last place of it that is known to have come.
    Last(Position),
}

/// How it stands.
#[derive(Debug, Default)]
pub enum State {
    /// Not all subscriptions are in force.
    #[default]
    Away,
    /// They are; a mark has to be heard.
    Marking,
    /// What is before the mark is read.
    Filling {
        /// What reads it.
        reader: LogReader,
        /// The mark.
        mark: Arc<Mark>,
    },
    /// Everything is released as it comes.
    Live,
}

/// What comes out, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// An event for those that it selects.
    Release(Arc<Entry>),
    /// A mark: everything before it is released, and everything behind it comes.
    Marked(Arc<Mark>),
    /// A heartbeat is wanted.
    Beat,
    /// A part of a log is wanted.
    Read(Span),
    /// What is missing of a log cannot be had: its members are to be closed.
    GiveUp(GaveUp),
    /// The log became another one: all sockets of the namespace are to be closed, they may lack something. That they
    /// are away is to be written: some may have begun in the new log before the node heard of it.
    Renewed(Epoch),
}

/// A log whose members are to be closed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GaveUp {
    /// Which.
    pub log: LogName,
    /// Why.
    pub why: Why,
}

/// Why a hole cannot be filled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Why {
    /// It is not kept any more. Members may come back: what they show tells whether they lack something.
    Trimmed,
    /// It is too much to hold. Members may come back.
    TooLarge,
    /// What is behind it was released. What members show would hide it, so their sessions are to be ended.
    Late,
}

impl Receiver {
    /// A receiver that heard nothing yet.
    pub fn new(limits: Bounds) -> Self {
        Self {
            known: None,
            rooms: BTreeMap::new(),
            is_suspect: false,
            state: State::Away,
            held: VecDeque::new(),
            held_bytes: 0,
            is_behind: false,
            output: VecDeque::new(),
            limits,
            checked: None,
        }
    }

    /// Up to where everything is released.
    pub fn released(&self) -> Option<Known> {
        self.known
    }

    /// How it stands.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        let read = match &self.state {
            State::Filling { reader, .. } => reader.bytes(),
            State::Away | State::Marking | State::Live => 0,
        };
        self.held_bytes + read
    }

    /// Logs that are followed.
    pub fn rooms(&self) -> usize {
        self.rooms.len()
    }

    /// Follows a log: its interest is in force. The heartbeat of this number is made behind that. What was heard
    /// before may still be on its way to here, so marks before that one say nothing of this log.
    pub fn open(&mut self, log: LogName, number: u64) {
        self.rooms.entry(log).or_insert(Room::Opening(number));
    }

    /// Follows it no more.
    pub fn close(&mut self, log: &LogName) {
        self.rooms.remove(log);
        if let State::Filling { reader, .. } = &mut self.state {
            reader.give_up(log);
        }
        self.fill();
    }

    /// The first heartbeat was answered. Before that nothing of this process is in the order.
    pub fn begin(&mut self, known: Known) {
        self.known.get_or_insert(known);
    }

    /// Logs to ask a heartbeat for, each in turn: so many that all are asked for in half a minute, but not fewer than
    /// `fewest`. There are no more than a mark can carry.
    pub fn heads(&mut self, fewest: usize) -> Vec<LogName> {
        let count = (self.rooms.len().div_ceil(ROUND))
            .max(fewest)
            .min(MOST_HEADS);
        let from = match &self.checked {
            Some(log) => std::ops::Bound::Excluded(log.clone()),
            None => std::ops::Bound::Unbounded,
        };
        let mut names = 0;
        let rooms = self.rooms.range((from, std::ops::Bound::Unbounded));
        let heads: Vec<_> = rooms
            .map(|it| it.0.clone())
            .take(count)
            .take_while(|log| {
                let is_room_left = names < MOST_NAMES;
                names += log.name_length();
                is_room_left
            })
            .collect();
        let is_end = heads.len() < count && names < MOST_NAMES;
        self.checked = (!is_end).then(|| heads.last().cloned()).flatten();
        heads
    }

    /// A subscription is not in force any more.
    pub fn handle_down(&mut self) {
        self.drop_held();
        self.state = State::Away;
    }

    /// All subscriptions are in force, at one server.
    pub fn handle_up(&mut self) {
        self.resync();
    }

    /// Something is heard.
    pub fn handle(&mut self, heard: Heard) {
        match &self.state {
            State::Away => {}
            State::Marking => {
                if let Heard::Mark(_, mark) = heard {
                    self.begin_fill(mark);
                }
            }
            State::Filling { .. } => self.hold(heard),
            State::Live => self.accept(heard),
        }
    }

    /// A part of a log was read.
    pub fn handle_piece(&mut self, epoch: Epoch, piece: &Part) {
        let State::Filling { reader, mark } = &mut self.state else {
            return;
        };
        if mark.known.epoch != epoch {
            return self.resync();
        }
        let wanted = match reader.handle(piece, |_| true) {
            Ok(()) => reader.wanted_of(&piece.log),
            Err(incomplete) => {
                reader.give_up(&piece.log);
                let why = match incomplete {
                    Incomplete::Trimmed => Why::Trimmed,
                    Incomplete::TooLarge => Why::TooLarge,
                };
                // Of a hole that should not be, nobody knows where it ends.
                let why = if self.is_suspect { Why::Late } else { why };
                let log = piece.log.clone();
                self.output.push_back(Effect::GiveUp(GaveUp { log, why }));
                None
            }
        };
        if let Some(span) = wanted {
            self.output.push_back(Effect::Read(span));
        }
        self.fill();
    }

    /// What is to be done next.
    pub fn poll(&mut self) -> Option<Effect> {
        self.output.pop_front()
    }

    fn resync(&mut self) {
        self.drop_held();
        self.state = State::Marking;
        self.output.push_back(Effect::Beat);
    }

    fn drop_held(&mut self) {
        self.held.clear();
        self.held_bytes = 0;
        self.is_behind = false;
    }

    fn begin_fill(&mut self, mark: Arc<Mark>) {
        let known = *self.known.get_or_insert(mark.known);
        if known.epoch != mark.known.epoch {
            self.output.push_back(Effect::Renewed(mark.known.epoch));
            return self.finish(mark);
        }
        if mark.previous == known.position && !self.is_suspect {
            return self.finish(mark);
        }
        let logs = self.rooms.iter().map(|(log, room)| {
            let after = match room {
                Room::Last(last) if self.is_suspect => *last,
                Room::Last(_) | Room::Opening(_) => known.position,
            };
            (log.clone(), after.min(known.position))
        });
        let reader = LogReader::new(logs, mark.known.position, self.limits.fill_bytes);
        let spans = reader.wanted().into_iter();
        self.output.extend(spans.map(Effect::Read));
        self.state = State::Filling { reader, mark };
        self.fill();
    }

    /// Releases what was read, once it is all.
    fn fill(&mut self) {
        if !matches!(&self.state, State::Filling { reader, .. } if reader.is_complete()) {
            return;
        }
        let State::Filling { reader, mark } = std::mem::take(&mut self.state) else {
            return;
        };
        let released = self.known.map_or(Position::ZERO, |it| it.position);
        for entry in reader.into_entries() {
            if entry.position > released {
                self.output.push_back(Effect::Release(entry));
                continue;
            }
            for log in LogName::of(&entry.selection) {
                let room = self.rooms.get(&log);
                if matches!(room, Some(Room::Last(last)) if *last < entry.position) {
                    let why = Why::Late;
                    let given_up = Effect::GiveUp(GaveUp { log, why });
                    // Before anything is released.
                    if !self.output.contains(&given_up) {
                        self.output.push_front(given_up);
                    }
                }
            }
        }
        self.finish(mark);
    }

    /// Everything up to the mark is released.
    fn finish(&mut self, mark: Arc<Mark>) {
        self.known = Some(mark.known);
        for room in self.rooms.values_mut() {
            if room.is_complete_at(mark.number) {
                *room = Room::Last(mark.known.position);
            }
        }
        self.is_suspect = false;
        self.output.push_back(Effect::Marked(mark));
        if self.is_behind {
            return self.resync();
        }
        self.state = State::Live;
        let held = std::mem::take(&mut self.held);
        self.held_bytes = 0;
        for heard in held {
            match self.state {
                State::Live => self.accept(heard),
                // It is read once more.
                State::Away | State::Marking | State::Filling { .. } => break,
            }
        }
    }

    fn hold(&mut self, heard: Heard) {
        if self.is_behind {
            return;
        }
        self.held_bytes += match &heard {
            Heard::Ordered(message) => message.entry.size(),
            Heard::Mark(_, mark) => 64 + 64 * mark.heads.len(),
        };
        self.held.push_back(heard);
        if self.held_bytes > self.limits.held_bytes {
            self.drop_held();
            self.is_behind = true;
        }
    }

    fn accept(&mut self, heard: Heard) {
        match heard {
            Heard::Ordered(message) => self.accept_message(&message),
            Heard::Mark(_, mark) => self.accept_mark(mark),
        }
    }

    fn accept_message(&mut self, message: &Ordered) {
        let Some(known) = &mut self.known else {
            return self.resync();
        };
        if (known.epoch, known.era) != (message.epoch, message.era) {
            return self.resync();
        }
        let position = message.entry.position;
        if position <= known.position {
            return;
        }
        let mut is_hole = false;
        for (log, before) in &message.before {
            is_hole |= matches!(self.rooms.get(log), Some(Room::Last(last)) if before > last);
        }
        if is_hole {
            self.is_suspect = true;
            return self.resync();
        }
        known.position = position;
        for (log, _) in &message.before {
            if let Some(Room::Last(last)) = self.rooms.get_mut(log) {
                *last = position;
            }
        }
        self.output
            .push_back(Effect::Release(message.entry.clone()));
    }

    fn accept_mark(&mut self, mark: Arc<Mark>) {
        let is_same = self
            .known
            .is_some_and(|it| (it.epoch, it.era) == (mark.known.epoch, mark.known.era));
        if !is_same {
            return self.begin_fill(mark);
        }
        let mut is_hole = false;
        for (log, head) in &mark.heads {
            if let Some(Room::Last(last)) = self.rooms.get_mut(log) {
                is_hole |= head > last;
                if head <= last {
                    *last = mark.known.position;
                }
            }
        }
        if is_hole {
            self.is_suspect = true;
            return self.begin_fill(mark);
        }
        // A log that was opened since is complete from here on.
        for room in self.rooms.values_mut() {
            if matches!(room, Room::Opening(_)) && room.is_complete_at(mark.number) {
                *room = Room::Last(mark.known.position);
            }
        }
        self.known = Some(mark.known);
        self.output.push_back(Effect::Marked(mark));
    }
}

/// In how many heartbeats each log is asked for. What is in it is kept for longer: for as long as a client may be away
/// and a ping be late.
const ROUND: usize = 30;

/// Most logs whose last place a heartbeat asks for, and bytes of their names.
const MOST_HEADS: usize = 2048;
const MOST_NAMES: usize = 128 * 1024;

impl Room {
    /// Whether nothing is missing of it behind the mark of this heartbeat.
    fn is_complete_at(self, number: u64) -> bool {
        match self {
            Self::Opening(awaited) => awaited <= number,
            Self::Last(_) => true,
        }
    }
}

#[cfg(test)]
mod tests;
