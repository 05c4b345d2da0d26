use bytes::Bytes;

use super::super::{Epoch, Known};
use super::*;
use crate::Selection;

const MOST: RewindLimits = RewindLimits {
    events: 100,
    bytes: 10_000,
};

#[test]
fn rooms_are_read_one_after_the_other_up_to_the_mark() {
    let mut rewinding = rewinding(Rewind::Last(3), &["a", "b"], MOST);
    assert!(!rewinding.has_begun());
    let next = rewinding.handle_page(&page("a", &[10, 20], 20));
    let behind = Past::After {
        after: Position::new(20),
        count: 100,
        until: Position::new(100),
    };
    assert_eq!(next, RewindNext::Ask(LogName::room("a"), behind));
    assert!(rewinding.has_begun());
    let next = rewinding.handle_page(&page("a", &[40], 100));
    let last = Past::Last {
        count: 3,
        until: Position::new(100),
    };
    assert_eq!(next, RewindNext::Ask(LogName::room("b"), last));
    let next = rewinding.handle_page(&page("b", &[20, 30], 100));
    let RewindNext::Done(rewound) = &next else {
        panic!("{next:?}");
    };
    let from = rewound.from.iter().map(|it| it.1.number());
    assert_eq!(
        from.collect::<Vec<_>>(),
        [10, 20],
        "b has fewer than asked for"
    );
    assert_eq!(done(next), (vec![10, 20, 30, 40], true));
}

#[test]
fn a_mark_from_before_its_heartbeat_is_not_its_own() {
    let mut rewinding = Rewinding::new(Rewind::Last(1), ["a".into()], MOST);
    assert_eq!(rewinding.handle_mark(&mark(7)), RewindNext::Wait);
    assert!(rewinding.wants_beat(8));
    assert!(!rewinding.wants_beat(9), "one is on its way");
    assert_eq!(rewinding.handle_mark(&mark(7)), RewindNext::Wait);
    assert!(rewinding.is_marking());
    assert!(matches!(
        rewinding.handle_mark(&mark(8)),
        RewindNext::Ask(..)
    ));
    assert!(!rewinding.is_marking());
}

#[test]
fn a_past_is_not_whole_while_the_store_does_not_know_what_it_lacks() {
    for is_settled in [true, false] {
        let page = PastPage {
            is_settled,
            ..page("a", &[10, 30], 100)
        };
        for wants in [Rewind::Last(9), Rewind::After(offset(5))] {
            let next = rewinding(wants, &["a"], MOST).handle_page(&page);
            assert_eq!(done(next), (vec![10, 30], is_settled));
        }
    }
}

#[test]
fn what_is_gone_is_told_and_leaves_no_hole() {
    let after = Rewind::After(offset(5));
    let cut = PastPage {
        is_cut: true,
        ..page("a", &[30], 100)
    };
    let next = rewinding(after, &["a"], MOST).handle_page(&cut);
    assert_eq!(done(next), (vec![30], false));
    // It was trimmed between two pages.
    let mut between = rewinding(Rewind::Last(9), &["a"], MOST);
    assert!(matches!(
        between.handle_page(&page("a", &[10], 10)),
        RewindNext::Ask(..)
    ));
    assert_eq!(done(between.handle_page(&cut)), (vec![30], false));
    let elsewhere = Rewind::After(Offset {
        epoch: Epoch::new(2),
        ..offset(50)
    });
    let mut elsewhere = rewinding(elsewhere, &["a"], MOST);
    let next = elsewhere.handle_page(&page("a", &[30, 60], 100));
    assert_eq!(done(next), (vec![30, 60], false));
    let renewed = PastPage {
        epoch: Epoch::new(2),
        ..page("a", &[30], 100)
    };
    let next = rewinding(Rewind::Last(1), &["a"], MOST).handle_page(&renewed);
    assert_eq!(next, RewindNext::GiveUp);
}

#[test]
fn of_too_much_the_newest_stay() {
    let most = RewindLimits {
        bytes: 2 * entry("a", 1).size(),
        ..MOST
    };
    let mut rewinding = rewinding(Rewind::Last(5), &["a", "b"], most);
    let next = rewinding.handle_page(&page("a", &[10, 30, 50], 100));
    assert!(matches!(next, RewindNext::Ask(..)));
    let next = rewinding.handle_page(&page("b", &[20, 40], 100));
    assert_eq!(done(next), (vec![40, 50], false));
}

#[test]
fn what_was_held_comes_in_its_place_and_once() {
    let mut rewinding = rewinding(Rewind::Last(2), &["new"], MOST);
    let RewindNext::Done(rewound) = rewinding.handle_page(&page("new", &[50, 60], 100)) else {
        panic!("one page is all");
    };
    let held = [
        held("new", 40),
        held("new", 60),
        held("old", 55),
        held("new", 110),
    ];
    let rooms = RewoundRooms {
        all: vec!["new".into()],
        new: vec!["new".into()],
    };
    let merged = rewound.merge(held.into(), &rooms, |_| true);
    let merged = merged.iter().map(|it| match it {
        Passed::Past(entry) => (entry.position.number(), "past"),
        Passed::Held(held) => (held.position.number(), "held"),
    });
    assert_eq!(
        merged.collect::<Vec<_>>(),
        [(50, "past"), (55, "held"), (60, "held"), (110, "held")],
        "40 is not among the last two"
    );
}

#[test]
fn what_was_held_and_is_gone_from_the_log_leaves_no_hole() {
    // An event to several rooms comes by another channel than those to one, and may be held before these are heard.
    let cut = PastPage {
        is_cut: true,
        ..page("a", &[50], 100)
    };
    let two = RewindLimits {
        bytes: entry("a", 1).size(),
        ..MOST
    };
    for (wants, limits, page) in [
        (Rewind::After(offset(10)), MOST, cut),
        (Rewind::Last(9), MOST, page("a", &[50], 100)),
        (Rewind::Last(9), two, page("a", &[40, 50], 100)),
    ] {
        let mut rewinding = rewinding(wants, &["a"], limits);
        let RewindNext::Done(rewound) = rewinding.handle_page(&page) else {
            panic!("one page is all");
        };
        let rooms = RewoundRooms {
            all: vec!["a".into()],
            new: vec!["a".into()],
        };
        let merged = rewound.merge(vec![held("a", 30)], &rooms, |_| true);
        let places = merged.iter().map(|it| match it {
            Passed::Past(entry) => entry.position.number(),
            Passed::Held(held) => held.position.number(),
        });
        assert_eq!(places.collect::<Vec<_>>(), [50]);
    }
}

#[test]
fn what_is_not_for_the_socket_is_left_out() {
    let mut rewinding = rewinding(Rewind::Last(9), &["a", "left"], MOST);
    let mut all = page("a", &[10, 20], 100);
    let mut except = Entry::clone(&all.entries[1]);
    except.selection.except.push("me".to_owned());
    all.entries[1] = Arc::new(except);
    rewinding.handle_page(&all);
    let RewindNext::Done(rewound) = rewinding.handle_page(&page("left", &[30], 100)) else {
        panic!("these are all rooms");
    };
    let rooms = RewoundRooms {
        all: vec!["a".into(), "left".into()],
        new: Vec::new(),
    };
    let merged = rewound.merge(Vec::<Held<()>>::new(), &rooms, |it| it != "left");
    let places = merged.iter().map(|it| match it {
        Passed::Past(entry) => entry.position.number(),
        Passed::Held(_) => 0,
    });
    assert_eq!(places.collect::<Vec<_>>(), [10]);
}

fn offset(position: u64) -> Offset {
    Offset {
        epoch: Epoch::new(1),
        position: Position::new(position),
    }
}

fn entry(room: &str, position: u64) -> Arc<Entry> {
    Arc::new(Entry {
        position: Position::new(position),
        selection: Selection::room(room),
        body: Bytes::from_static(b"body"),
    })
}

fn held(room: &str, position: u64) -> Held<()> {
    Held {
        position: Position::new(position),
        entry: Some(entry(room, position)),
        packet: (),
    }
}

fn page(room: &str, positions: &[u64], through: u64) -> PastPage {
    PastPage {
        epoch: Epoch::new(1),
        entries: positions.iter().map(|it| entry(room, *it)).collect(),
        through: Position::new(through),
        newest: Position::new(through),
        is_cut: false,
        is_settled: true,
    }
}

fn mark(number: u64) -> Mark {
    Mark {
        number,
        known: Known {
            epoch: Epoch::new(1),
            era: Position::new(1),
            position: Position::new(100),
        },
        previous: Position::ZERO,
        heads: Vec::new(),
    }
}

fn rewinding(wants: Rewind, rooms: &[&str], most: RewindLimits) -> Rewinding {
    let rooms = rooms.iter().map(|it| Arc::from(*it));
    let mut rewinding = Rewinding::new(wants, rooms, most);
    assert!(rewinding.wants_beat(1));
    assert!(matches!(
        rewinding.handle_mark(&mark(1)),
        RewindNext::Ask(..)
    ));
    rewinding
}

fn done(next: RewindNext) -> (Vec<u64>, bool) {
    let RewindNext::Done(rewound) = next else {
        panic!("{next:?}");
    };
    let places = rewound.events.keys().map(|it| it.number());
    (places.collect(), rewound.is_whole)
}
