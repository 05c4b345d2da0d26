#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "one answer is expected, and all others fail"
)]

use bytes::Bytes;

use super::super::{Change, Open, Past};
use super::*;
use crate::{NodeId, Selection};

const SECOND: u64 = 1_000_000;
const ONE: ServerId = ServerId(1);
const TWO: ServerId = ServerId(2);

#[test]
fn positions_rise_and_name_their_predecessors() {
    let mut test = Test::new();
    test.beat("a", None);
    let first = test.publish("a", 1, "r");
    test.now -= 5 * SECOND;
    let handled = test.acts("a", 2, vec![publish("r", true)]);
    let Heard::Ordered(second) = &handled.heard[0] else {
        panic!("{handled:?}");
    };
    assert_eq!(second.entry.position.number(), first.number() + 1);
    assert_eq!(second.before, [(LogName::room("r"), first)]);
}

#[test]
fn a_call_that_is_made_again_is_answered_again_and_done_once() {
    let mut test = Test::new();
    test.beat("a", None);
    let acts = vec![publish("r", true), publish("r", false)];
    let first = test.acts("a", 1, acts.clone());
    assert_eq!(first.heard.len(), 2);
    let again = test.acts("a", 1, acts.clone());
    assert_eq!((again.reply, again.heard.len()), (first.reply, 0));
    assert_eq!(test.store.sizes().2, 1, "what is not logged has no entry");
    test.acts("a", 2, acts.clone());
    assert_eq!(test.acts("a", 1, acts.clone()).reply, Reply::Outdated);
    assert_eq!(test.acts("a", 4, acts).reply, Reply::BeatFirst);
}

#[test]
fn a_session_goes_to_who_claims_it_and_its_old_owner_is_refused() {
    let mut test = Test::new();
    test.beat("a", None);
    test.meet("b", "a");
    let pid = test.open("a", 1);
    let claimed = test.claim("b", 1, pid).unwrap();
    assert_eq!((claimed.generation, claimed.start), (2, pid.start.position));
    let away = test.write("a", 2, pid, 1, Change::Away);
    assert_eq!(away, Done::NotOwned);
    let Reply::Beaten { taken, .. } = test.beat("a", None) else {
        panic!("no answer");
    };
    assert_eq!((&*taken[0].sid, taken[0].generation), ("sid", 2));
    let late = Publication {
        sender: Some(("sid".into(), 1)),
        ..to("r")
    };
    let handled = test.acts("a", 3, vec![Act::Publish(late)]);
    assert_eq!(done(&handled), [Done::NotOwned]);
    let back = test.claim("a", 4, pid).unwrap();
    assert_eq!(back.generation, 3);
}

#[test]
fn a_claim_is_refused_with_a_reason() {
    let mut test = Test::new();
    test.beat("a", None);
    let pid = test.open("a", 1);
    let unknown = Pid::new(PidSecret::new([9; PidSecret::LENGTH]), pid.start);
    assert_eq!(test.claim("a", 2, unknown), Err(NotClaimed::Unknown));
    let mut claim = claim(pid);
    claim.user = Some("another".into());
    let handled = test.acts("a", 3, vec![Act::Claim(claim.clone())]);
    assert_eq!(done(&handled), [Done::NotClaimed(NotClaimed::WrongUser)]);
    claim.user = None;
    claim.offset = Some(Offset {
        position: Position::MAX,
        ..pid.start
    });
    let handled = test.acts("a", 4, vec![Act::Claim(claim)]);
    assert_eq!(done(&handled), [Done::NotClaimed(NotClaimed::Lost)]);
    let elsewhere = Offset {
        epoch: Epoch::new(99),
        ..pid.start
    };
    let other = Pid::new(*pid.secret(), elsewhere);
    assert_eq!(test.claim("a", 5, other), Err(NotClaimed::Epoch));
    test.write("a", 6, pid, 1, Change::Away);
    test.now += settings().window + SECOND;
    assert_eq!(test.claim("a", 7, pid), Err(NotClaimed::Expired));
}

#[test]
fn an_offset_of_an_earlier_session_is_none() {
    let mut test = Test::new();
    test.beat("a", None);
    let pid = test.open("a", 1);
    let mut claim = claim(pid);
    claim.offset = Some(Offset {
        epoch: Epoch::new(99),
        position: Position::new(5),
    });
    let handled = test.acts("a", 2, vec![Act::Claim(claim)]);
    assert!(matches!(&done(&handled)[0], Done::Claimed(it) if it.start == pid.start.position));
}

#[test]
fn time_counts_from_the_last_heartbeat_of_a_dead_node() {
    let mut test = Test::new();
    test.beat("a", None);
    let pid = test.open("a", 1);
    test.meet("b", "a");
    test.now += settings().window - SECOND;
    test.beat("b", None);
    assert!(test.claim("b", 1, pid).is_ok());
    test.now += settings().window + settings().lease + 2 * SECOND;
    for _ in 0..=settings().rounds {
        test.beat("c", None);
    }
    assert_eq!(
        test.claim("c", 1, pid),
        Err(NotClaimed::Unknown),
        "it was swept"
    );
    assert_eq!(test.store.sizes().0, 0);
}

#[test]
fn clients_are_whole_up_to_the_floor_only_if_they_were_attached_before_it() {
    let mut test = Test::new();
    test.beat("a", None);
    let pid = test.open("a", 1);
    test.now += SECOND;
    let floor = test.publish("a", 2, "r");
    test.beat_at("a", None, floor);
    let claimed = test.claim("b", 0, pid);
    assert_eq!(claimed, Err(NotClaimed::Unknown), "nobody beat for b");
    test.meet("b", "a");
    test.beat_at("b", None, floor.after(test.now));
    assert_eq!(test.claim("b", 1, pid).unwrap().start, floor);
    // What b said of its clients it did not say of this one.
    assert_eq!(test.claim("a", 3, pid).unwrap().start, floor);
}

#[test]
fn a_clock_that_ran_back_hides_nobody_who_lived() {
    let mut test = Test::new();
    let known = test.known("a");
    test.now -= 60 * SECOND;
    test.beat("b", None);
    test.server = TWO;
    test.beat("a", Some(known));
    test.now += settings().settle + SECOND;
    test.beat("a", Some(known));
    let epoch = test.store.epoch().unwrap();
    assert_ne!(
        epoch, known.epoch,
        "what b knew may be missing, and b is silent"
    );
}

#[test]
fn a_clock_that_jumped_forward_hides_nobody_who_lived() {
    let mut test = Test::new();
    let known = test.known("b");
    for _ in 0..3 {
        test.now += SECOND;
        test.beat("a", None);
        test.beat("b", Some(known));
    }
    test.now += settings().lease + settings().window + 2 * SECOND;
    test.beat("b", Some(known));
    test.server = TWO;
    test.beat("b", Some(known));
    test.now += settings().settle + SECOND;
    test.beat("b", Some(known));
    let epoch = test.store.epoch().unwrap();
    assert_ne!(
        epoch, known.epoch,
        "what a knew may be missing, and a is silent"
    );
}

#[test]
fn who_made_no_heartbeat_for_many_rounds_is_not_awaited() {
    let mut test = Test::new();
    test.beat("a", None);
    let known = test.known("b");
    for _ in 0..settings().rounds {
        test.now += 2 * SECOND;
        test.beat("b", Some(known));
    }
    test.server = TWO;
    test.beat("b", Some(known));
    test.now += settings().settle + SECOND;
    test.beat("b", Some(known));
    assert_eq!(test.store.epoch(), Some(known.epoch));
}

#[test]
fn heartbeats_that_are_made_early_end_no_round() {
    let mut test = Test::new();
    test.beat("a", None);
    let known = test.known("b");
    for number in 0..20 {
        test.beat_early("b", number);
    }
    test.now += settings().lease + SECOND;
    test.beat("b", Some(known));
    test.server = TWO;
    test.beat("b", Some(known));
    test.now += settings().settle + SECOND;
    test.beat("b", Some(known));
    assert_ne!(
        test.store.epoch(),
        Some(known.epoch),
        "a may have lived until the change"
    );
}

#[test]
fn a_server_that_lost_nothing_goes_on() {
    let mut test = Test::new();
    let known = test.known("a");
    test.meet("b", "a");
    let pid = test.open("a", 1);
    let place = test.publish("a", 2, "r");
    let epoch = test.store.epoch();
    test.server = TWO;
    let refused = test.acts("a", 3, vec![publish("r", true)]);
    assert_eq!(
        refused.reply,
        Reply::BeatFirst,
        "it has to tell what it knows"
    );
    test.beat("b", None);
    assert_eq!(test.claim("b", 1, pid), Err(NotClaimed::Unsettled));
    let page = test.past("b", "r");
    assert!(!page.is_settled, "a may know of more");
    let known = Known {
        position: place,
        ..known
    };
    test.beat("a", Some(known));
    assert_eq!(test.store.epoch(), epoch);
    assert!(test.claim("b", 2, pid).is_ok());
    assert!(test.past("b", "r").is_settled);
}

#[test]
fn a_server_that_lost_something_begins_anew() {
    let mut test = Test::new();
    let known = test.known("a");
    test.meet("b", "a");
    let pid = test.open("a", 1);
    let old = test.store.clone();
    let lost = test.publish("a", 2, "r");
    let epoch = test.store.epoch();
    test.store = old;
    test.server = TWO;
    test.beat("b", None);
    let known = Known {
        position: lost,
        ..known
    };
    test.beat("a", Some(known));
    assert_ne!(test.store.epoch(), epoch);
    test.beat("b", None);
    assert_eq!(test.claim("b", 1, pid), Err(NotClaimed::Epoch));
    // Who comes later and knows as much finds it told.
    let renewed = test.store.epoch();
    test.beat("c", Some(known));
    assert_eq!(test.store.epoch(), renewed);
}

#[test]
fn who_does_not_tell_in_time_may_have_known_more() {
    let mut test = Test::new();
    test.beat("a", None);
    test.beat("b", None);
    let epoch = test.store.epoch();
    test.server = TWO;
    test.beat("b", None);
    test.now += settings().settle + SECOND;
    test.beat("b", None);
    assert_ne!(test.store.epoch(), epoch);
}

#[test]
fn who_is_new_acts_once_another_one_knows_of_it() {
    let mut test = Test::new();
    let before = test.known("a");
    let beaten = test.tell_early("b", 1, None);
    let [Heard::Mark(_, mark)] = beaten.heard.as_slice() else {
        panic!("{beaten:?}");
    };
    assert_eq!(beaten.nudged, [process("a", 1)], "it is to know of b");
    let refused = test.acts("b", 1, vec![publish("r", true)]);
    assert_eq!(refused.reply, Reply::BeatFirst);
    let told = test.tell_early("a", 1, Some(before));
    assert_eq!(told.nudged, [], "it knows of what was before b");
    assert!(!test.may_act("b"));
    let told = test.tell_early("a", 1, Some(mark.known));
    assert_eq!(told.nudged, [process("b", 1)]);
    assert!(test.may_act("b"));
    test.publish("b", 1, "r");
}

#[test]
fn what_a_new_process_did_and_was_lost_with_it_is_missed() {
    let mut test = Test::new();
    let known = test.known("a");
    let old = test.store.clone();
    assert!(!test.may_act("b"));
    let knows = test.store.life.as_ref().unwrap().known();
    test.tell_early("a", 1, Some(knows));
    assert!(test.may_act("b"));
    test.publish("b", 1, "r");
    test.store = old;
    test.server = TWO;
    test.beat("a", Some(knows));
    assert_ne!(test.store.epoch(), Some(known.epoch));
}

#[test]
fn of_several_that_are_new_the_first_one_goes_on_when_all_others_are_gone() {
    let mut test = Test::new();
    test.beat("a", None);
    assert!(!test.may_act("b") && !test.may_act("c"));
    for _ in 0..settings().rounds {
        test.now += 2 * SECOND;
        assert!(!test.may_act("c"), "b is before it");
        if test.may_act("b") {
            break;
        }
    }
    assert!(test.may_act("b"));
    assert!(!test.may_act("c"), "now b has to know of it");
    let known = test.store.life.as_ref().unwrap().known();
    test.tell_early("b", 1, Some(known));
    assert!(test.may_act("c"));
}

#[test]
fn what_restarts_or_follows_one_that_ended_waits_for_nobody() {
    let mut test = Test::new();
    test.beat("a", None);
    let beat = Beat {
        number: 1,
        acknowledged: 0,
        known: None,
        floor: Position::ZERO,
        heads: Vec::new(),
        sweeps: true,
        seen: Position::ZERO,
    };
    let call = Call {
        process: process("a", 2),
        request: Request::Beat(beat),
        random: 1,
    };
    let again = test.store.handle(&call, test.server, test.now).reply;
    assert!(matches!(again, Reply::Beaten { may_act: true, .. }));
    let mut test = Test::new();
    test.beat("a", None);
    test.acts("a", 1, vec![Act::Retire]);
    assert!(test.may_act("b"));
}

#[test]
fn who_ended_and_goes_on_is_new_again() {
    let mut test = Test::new();
    test.beat("a", None);
    test.meet("b", "a");
    let acts = vec![Act::Retire];
    let ended = test.acts("b", 1, acts.clone());
    let late = test.acts("b", 2, vec![publish("r", true)]);
    assert_eq!(late.reply, Reply::BeatFirst, "nobody would await it");
    assert_eq!(test.acts("b", 1, acts).reply, ended.reply);
    test.meet("b", "a");
    test.publish("b", 2, "r");
}

#[test]
fn who_ends_puts_some_of_its_sessions_away_at_a_time() {
    let mut test = Test::new();
    test.beat("a", None);
    let open = |number: u8| {
        Act::Open(Open {
            secret: PidSecret::new([number; PidSecret::LENGTH]),
            sid: "sid".into(),
            user: None,
            data: None,
            rooms: Vec::new(),
        })
    };
    test.acts("a", 1, (1..=5).map(open).collect());
    let steps = [(2, Done::Retiring), (3, Done::Retiring), (4, Done::Retired)];
    for (number, expected) in steps {
        assert_eq!(done(&test.acts("a", number, vec![Act::Retire])), [expected]);
    }
    // It lives on, and its sessions do not.
    test.now += settings().window + SECOND;
    test.beat("a", None);
    assert_eq!(test.store.sizes().0, 0);
}

#[test]
fn who_was_silent_for_long_is_new_again() {
    let mut test = Test::new();
    test.beat("a", None);
    test.meet("b", "a");
    test.now += settings().lease + SECOND;
    test.beat("a", None);
    let late = test.acts("b", 1, vec![publish("r", true)]);
    assert_eq!(late.reply, Reply::BeatFirst, "it may not count as alive");
    assert!(test.may_act("b"), "by rounds it does");
    for _ in 0..=settings().rounds {
        test.now += 2 * SECOND;
        test.beat("a", None);
    }
    assert!(!test.may_act("b"));
    test.meet("b", "a");
}

#[test]
fn an_epoch_that_was_lost_is_missed() {
    let mut test = Test::new();
    let known = test.known("a");
    let old = test.store.clone();
    test.now += SECOND;
    let lost = Known {
        position: known.position.after(u64::MAX / 4096),
        ..known
    };
    test.beat("a", Some(lost));
    let renewed = test.known("a");
    assert_ne!(renewed.epoch, known.epoch);
    test.store = old;
    test.server = TWO;
    test.beat("a", Some(renewed));
    let now = test.store.epoch().unwrap();
    assert!(now != renewed.epoch && now != known.epoch);
}

#[test]
fn rooms_that_were_left_are_remembered_and_forgotten() {
    let mut test = Test::new();
    test.beat("a", None);
    let pid = test.open("a", 1);
    let mut number = 1;
    for room in 0..4 {
        let room: Arc<str> = room.to_string().into();
        number += 2;
        test.write("a", number - 1, pid, 1, Change::Join(vec![room.clone()]));
        let until = test.store.life.as_ref().unwrap().last.after(0);
        let rooms = vec![room];
        test.write("a", number, pid, 1, Change::Leave { rooms, until });
    }
    assert_eq!(test.claim("a", number + 1, pid), Err(NotClaimed::Trimmed));
    let mut claim = claim(pid);
    claim.offset = Some(Offset {
        position: test.store.life.as_ref().unwrap().last,
        ..pid.start
    });
    let handled = test.acts("a", number + 2, vec![Act::Claim(claim)]);
    assert!(matches!(&done(&handled)[0], Done::Claimed(it) if it.stays.len() == 2));
}

#[test]
fn logs_end_when_nobody_can_come_back_for_them() {
    let mut test = Test::new();
    test.beat("a", None);
    test.publish("a", 1, "r");
    assert_eq!(test.past("a", "r").entries.len(), 1);
    test.now += settings().keep.back + SECOND;
    test.beat("a", None);
    assert_eq!(test.store.sizes(), (0, 0, 0, 0));
    assert_eq!(test.past("a", "r").entries, []);
}

struct Test {
    store: Store,
    server: ServerId,
    now: u64,
    random: u64,
}

impl Test {
    fn new() -> Self {
        Self {
            store: Store::new(settings()),
            server: ONE,
            now: 1_790_000_000 * SECOND,
            random: 0,
        }
    }

    fn handle(&mut self, node: &str, request: Request) -> Handled {
        self.random += 1;
        let call = Call {
            process: process(node, 1),
            request,
            random: self.random,
        };
        self.store.handle(&call, self.server, self.now)
    }

    fn beat(&mut self, node: &str, known: Option<Known>) -> Reply {
        self.beat_at(node, known, Position::ZERO)
    }

    fn beat_at(&mut self, node: &str, known: Option<Known>, floor: Position) -> Reply {
        let beat = Beat {
            number: 1,
            acknowledged: 0,
            known,
            floor,
            heads: Vec::new(),
            sweeps: true,
            seen: Position::ZERO,
        };
        self.handle(node, Request::Beat(beat)).reply
    }

    fn beat_early(&mut self, node: &str, number: u64) {
        self.tell_early(node, number, None);
    }

    fn tell_early(&mut self, node: &str, number: u64, known: Option<Known>) -> Handled {
        let beat = Beat {
            number,
            acknowledged: 0,
            known,
            floor: Position::ZERO,
            heads: Vec::new(),
            sweeps: false,
            seen: Position::ZERO,
        };
        self.handle(node, Request::Beat(beat))
    }

    /// Whether a process may act, once it made a heartbeat.
    fn may_act(&mut self, node: &str) -> bool {
        match self.beat(node, None) {
            Reply::Beaten { may_act, .. } => may_act,
            _ => panic!("another answer"),
        }
    }

    /// A process that is new makes a heartbeat, and another one knows of it.
    fn meet(&mut self, new: &str, other: &str) {
        assert!(!self.may_act(new), "nobody knows of it");
        let known = self.store.life.as_ref().unwrap().known();
        self.tell_early(other, 1, Some(known));
        assert!(self.may_act(new));
    }

    fn past(&mut self, node: &str, room: &str) -> PastPage {
        let past = Past::Last {
            count: 9,
            until: Position::MAX,
        };
        let log = LogName::room(room);
        match self.handle(node, Request::History { log, past }).reply {
            Reply::Page(page) => page,
            _ => panic!("another answer"),
        }
    }

    fn known(&mut self, node: &str) -> Known {
        match self.beat(node, None) {
            Reply::Beaten { known, .. } => known,
            _ => panic!("another answer"),
        }
    }

    fn acts(&mut self, node: &str, number: u64, acts: Vec<Act>) -> Handled {
        let seen = Position::ZERO;
        self.handle(node, Request::Acts { number, acts, seen })
    }

    fn publish(&mut self, node: &str, number: u64, room: &str) -> Position {
        let handled = self.acts(node, number, vec![publish(room, true)]);
        match done(&handled)[0] {
            Done::Published(position) => position,
            _ => panic!("another answer"),
        }
    }

    fn open(&mut self, node: &str, number: u64) -> Pid {
        let open = Open {
            secret: PidSecret::new([1; PidSecret::LENGTH]),
            sid: "sid".into(),
            user: None,
            data: None,
            rooms: Vec::new(),
        };
        match done(&self.acts(node, number, vec![Act::Open(open)]))[0] {
            Done::Opened(pid) => pid,
            _ => panic!("another answer"),
        }
    }

    fn write(&mut self, node: &str, number: u64, pid: Pid, by: Generation, it: Change) -> Done {
        let write = Write {
            secret: *pid.secret(),
            generation: by,
            changes: vec![it],
        };
        done(&self.acts(node, number, vec![Act::Write(write)]))[0].clone()
    }

    fn claim(&mut self, node: &str, number: u64, pid: Pid) -> Result<Claimed, NotClaimed> {
        let handled = self.acts(node, number, vec![Act::Claim(claim(pid))]);
        if handled.reply == Reply::BeatFirst {
            return Err(NotClaimed::Unknown);
        }
        match done(&handled)[0].clone() {
            Done::Claimed(claimed) => Ok(claimed),
            Done::NotClaimed(reason) => Err(reason),
            _ => panic!("another answer"),
        }
    }
}

fn process(node: &str, seed: u64) -> Process {
    Process {
        node: NodeId::new(node).unwrap(),
        seed,
    }
}

fn done(handled: &Handled) -> Vec<Done> {
    match &handled.reply {
        Reply::Done { done, .. } => done.to_vec(),
        _ => panic!("another answer"),
    }
}

fn claim(pid: Pid) -> Claim {
    Claim {
        pid,
        offset: None,
        user: None,
    }
}

fn publish(room: &str, is_logged: bool) -> Act {
    Act::Publish(Publication {
        is_logged,
        ..to(room)
    })
}

fn to(room: &str) -> Publication {
    Publication {
        selection: Selection::room(room),
        body: Bytes::from_static(b"x"),
        is_logged: true,
        sender: None,
    }
}

fn settings() -> Settings {
    Settings {
        keep: Keep {
            messages: 100,
            bytes: 100_000,
            back: 200 * SECOND,
        },
        window: 120 * SECOND,
        lease: 5 * SECOND,
        rounds: 5,
        settle: 10 * SECOND,
        read_bytes: 10_000,
        stays: 2,
        sweep: 100,
        departed: 10,
        retire: 2,
    }
}
