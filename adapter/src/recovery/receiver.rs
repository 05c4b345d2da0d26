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
mod tests {
    use bytes::Bytes;

    use super::super::Process;
    use super::*;
    use crate::{NodeId, Selection};

    #[test]
    fn live_messages_are_released_as_they_come_and_once() {
        let mut test = Test::live(100);
        test.hear("a", 110, 0);
        test.hear("a", 120, 110);
        test.hear("a", 120, 110);
        assert_eq!(test.outputs(), ["release 110", "release 120"]);
    }

    #[test]
    fn what_was_missed_is_read_and_released_before_what_goes_on() {
        let mut test = Test::live(100);
        test.receiver.handle_down();
        test.hear("a", 130, 110);
        test.receiver.handle_up();
        test.hear("a", 140, 130);
        test.mark(150, 140);
        assert_eq!(test.outputs(), ["beat", "read a 100..150"]);
        test.hear("a", 160, 140);
        test.mark(170, 160);
        assert_eq!(test.outputs(), [""; 0]);
        test.piece("a", 100, &[110, 130, 140], 150, 0);
        assert_eq!(
            test.outputs(),
            [
                "release 110",
                "release 130",
                "release 140",
                "marked 150",
                "release 160",
                "marked 170"
            ]
        );
    }

    #[test]
    fn nothing_is_read_if_nothing_was_missed() {
        let mut test = Test::live(100);
        test.receiver.handle_down();
        test.receiver.handle_up();
        test.mark(150, 100);
        assert_eq!(test.outputs(), ["beat", "marked 150"]);
    }

    #[test]
    fn a_hole_that_shows_by_a_predecessor_is_filled() {
        let mut test = Test::live(100);
        test.hear("a", 120, 110);
        test.mark(130, 120);
        assert_eq!(test.outputs(), ["beat", "read a 100..130"]);
        test.piece("a", 100, &[110, 120], 130, 0);
        assert_eq!(test.outputs(), ["release 110", "release 120", "marked 130"]);
    }

    #[test]
    fn a_hole_behind_which_something_was_released_closes_the_members() {
        let mut test = Test::live(100);
        test.receiver.open(LogName::room("b"), 1);
        test.mark(105, 100);
        test.hear("b", 115, 0);
        test.outputs();
        test.hear("a", 120, 110);
        test.mark(130, 120);
        assert_eq!(
            test.outputs(),
            ["beat", "read a 100..130", "read b 115..130"]
        );
        test.piece("b", 115, &[], 130, 0);
        test.piece("a", 100, &[110, 120], 130, 0);
        assert_eq!(
            test.outputs(),
            ["give up a Late", "release 120", "marked 130"]
        );
    }

    #[test]
    fn a_hole_in_one_room_has_all_rooms_looked_at() {
        let mut test = Test::live(100);
        test.receiver.open(LogName::room("b"), 1);
        test.mark(105, 100);
        test.outputs();
        // 110 of room b is lost as well, and nothing of it shows that.
        test.receiver.open(LogName::room("c"), 1);
        test.hear("c", 112, 0);
        test.hear("a", 120, 108);
        test.mark(130, 120);
        assert_eq!(
            test.outputs(),
            [
                "release 112",
                "beat",
                "read a 100..130",
                "read b 105..130",
                "read c 112..130"
            ]
        );
        test.piece("a", 100, &[108, 120], 130, 0);
        test.piece("b", 105, &[110], 130, 0);
        test.piece("c", 112, &[], 130, 0);
        assert_eq!(
            test.outputs(),
            [
                "give up b Late",
                "give up a Late",
                "release 120",
                "marked 130"
            ]
        );
    }

    #[test]
    fn a_mark_from_before_a_room_was_opened_says_nothing_of_it() {
        let mut test = Test::live(100);
        test.receiver.open(LogName::room("b"), 2);
        // It was made before the interest was in force, and comes late.
        test.mark(105, 100);
        // So 110 of the room is not missing, although it did not come.
        test.hear("b", 115, 110);
        test.mark(120, 115);
        assert_eq!(test.outputs(), ["marked 105", "release 115", "marked 120"]);
        let behind = Mark {
            number: 2,
            ..mark(125, 120)
        };
        test.receiver.handle(heard(behind));
        test.hear("b", 135, 130);
        assert_eq!(test.outputs(), ["marked 125", "beat"]);
        // The same where it is opened while something is read.
        let mut test = Test::live(100);
        test.receiver.handle_down();
        test.receiver.handle_up();
        test.mark(150, 140);
        test.receiver.open(LogName::room("b"), 2);
        test.piece("a", 100, &[140], 150, 0);
        test.hear("b", 165, 160);
        assert_eq!(
            test.outputs(),
            [
                "beat",
                "read a 100..150",
                "release 140",
                "marked 150",
                "release 165"
            ]
        );
    }

    #[test]
    fn a_quiet_room_is_checked_by_its_head() {
        let mut test = Test::live(100);
        assert_eq!(test.receiver.heads(9), [LogName::room("a")]);
        let mark = Mark {
            heads: vec![(LogName::room("a"), Position::new(110))],
            ..mark(130, 100)
        };
        test.receiver.handle(heard(mark));
        assert_eq!(test.outputs(), ["read a 100..130"]);
        test.piece("a", 100, &[110], 130, 0);
        assert_eq!(test.outputs(), ["release 110", "marked 130"]);
    }

    #[test]
    fn all_rooms_are_checked_before_their_logs_may_be_forgotten() {
        let mut test = Test::live(100);
        let count = ROUND * MOST_HEADS - 1;
        (0..count).for_each(|index| test.receiver.open(LogName::room(&index.to_string()), 1));
        test.mark(1000, 100);
        for beat in 1..=ROUND as u64 {
            let heads = test.receiver.heads(64);
            let mark = Mark {
                heads: heads.into_iter().map(|it| (it, Position::ZERO)).collect(),
                ..mark(2000 + beat, 1999 + beat)
            };
            test.receiver.handle(heard(mark));
        }
        let lasts = test.receiver.rooms.values();
        let old = lasts.filter(|it| matches!(it, Room::Last(last) if last.number() <= 2000));
        assert_eq!(old.count(), 0);
    }

    #[test]
    fn long_names_take_no_more_than_a_mark_can_carry() {
        let mut test = Test::live(100);
        let name = |index: u32| LogName::room(&format!("{index}{}", "n".repeat(50_000)));
        (0..8).for_each(|index| test.receiver.open(name(index), 1));
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..4 {
            let heads = test.receiver.heads(64);
            assert!(heads.len() <= 3, "{}", heads.len());
            seen.extend(heads);
        }
        assert_eq!(seen.len(), 9);
    }

    #[test]
    fn what_is_trimmed_closes_the_members() {
        let mut test = Test::live(100);
        test.receiver.handle_down();
        test.receiver.handle_up();
        test.mark(150, 140);
        test.outputs();
        test.piece("a", 100, &[140], 150, 120);
        assert_eq!(test.outputs(), ["give up a Trimmed", "marked 150"]);
    }

    #[test]
    fn what_is_held_is_bounded_and_read_once_more() {
        let mut test = Test::live(100);
        test.receiver.handle_down();
        test.receiver.handle_up();
        test.mark(150, 140);
        test.outputs();
        for position in 160..260 {
            test.hear("a", position, position - 1);
            assert!(test.receiver.bytes() <= BOUNDS.held_bytes);
        }
        test.piece("a", 100, &[140], 150, 0);
        assert_eq!(test.outputs(), ["release 140", "marked 150", "beat"]);
        test.mark(300, 259);
        assert_eq!(test.outputs(), ["read a 150..300"]);
    }

    #[test]
    fn another_epoch_is_told_and_another_era_is_read() {
        let mut test = Test::live(100);
        let era = Known {
            era: Position::new(105),
            ..known(110)
        };
        let mark = |known, previous| Mark {
            known,
            ..mark(0, previous)
        };
        test.receiver.handle(heard(mark(era, 105)));
        assert_eq!(test.outputs(), ["read a 100..110"]);
        test.piece("a", 100, &[], 110, 0);
        assert_eq!(test.outputs(), ["marked 110"]);
        let epoch = Known {
            epoch: Epoch::new(2),
            ..known(90)
        };
        test.receiver.handle(heard(mark(epoch, 80)));
        assert_eq!(test.outputs(), ["renewed", "marked 90"]);
    }

    const BOUNDS: Bounds = Bounds {
        held_bytes: 1000,
        fill_bytes: 10_000,
    };

    struct Test {
        receiver: Receiver,
    }

    impl Test {
        /// In room `a`, with everything up to `position`.
        fn live(position: u64) -> Self {
            let mut receiver = Receiver::new(BOUNDS);
            receiver.begin(known(position));
            receiver.open(LogName::room("a"), 1);
            receiver.handle_up();
            receiver.handle(heard(mark(position, position)));
            while receiver.poll().is_some() {}
            assert!(matches!(receiver.state(), State::Live));
            Self { receiver }
        }

        fn hear(&mut self, room: &str, position: u64, before: u64) {
            let message = Ordered {
                epoch: known(0).epoch,
                era: known(0).era,
                entry: entry(room, position),
                before: vec![(LogName::room(room), Position::new(before))],
            };
            self.receiver.handle(Heard::Ordered(Arc::new(message)));
        }

        fn mark(&mut self, position: u64, previous: u64) {
            self.receiver.handle(heard(mark(position, previous)));
        }

        fn piece(&mut self, room: &str, after: u64, places: &[u64], through: u64, trimmed: u64) {
            let piece = Part {
                log: LogName::room(room),
                after: Position::new(after),
                entries: places.iter().map(|it| entry(room, *it)).collect(),
                through: Position::new(through),
                trimmed: Position::new(trimmed),
            };
            self.receiver.handle_piece(known(0).epoch, &piece);
        }

        fn outputs(&mut self) -> Vec<String> {
            let name = |log: &LogName| match log {
                LogName::Everybody => "everybody".to_owned(),
                LogName::Room(room) => room.to_string(),
            };
            let outputs = std::iter::from_fn(|| self.receiver.poll());
            let outputs = outputs.map(|output| match output {
                Effect::Release(entry) => format!("release {}", entry.position.number()),
                Effect::Marked(mark) => format!("marked {}", mark.known.position.number()),
                Effect::Beat => "beat".to_owned(),
                Effect::Read(span) => {
                    let (after, until) = (span.after.number(), span.until.number());
                    format!("read {} {after}..{until}", name(&span.log))
                }
                Effect::GiveUp(gave_up) => {
                    format!("give up {} {:?}", name(&gave_up.log), gave_up.why)
                }
                Effect::Renewed(_) => "renewed".to_owned(),
            });
            outputs.collect()
        }
    }

    fn known(position: u64) -> Known {
        Known {
            epoch: Epoch::new(1),
            era: Position::new(1),
            position: Position::new(position),
        }
    }

    fn mark(position: u64, previous: u64) -> Mark {
        Mark {
            number: 1,
            known: known(position),
            previous: Position::new(previous),
            heads: Vec::new(),
        }
    }

    fn heard(mark: Mark) -> Heard {
        let process = Process {
            node: NodeId::new("n").unwrap(),
            seed: 1,
        };
        Heard::Mark(process, Arc::new(mark))
    }

    fn entry(room: &str, position: u64) -> Arc<Entry> {
        Arc::new(Entry {
            position: Position::new(position),
            selection: Selection::room(room),
            body: Bytes::new(),
        })
    }
}
