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
