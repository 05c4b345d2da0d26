use super::commands::{CHUNK, RETRY, WINDOW};
use super::*;
use crate::link::route::SLOTS;
use crate::wire::Kind;

const A: LaneId = LaneId(1);
const B: LaneId = LaneId(2);

#[test]
fn what_is_wanted_is_subscribed_and_then_in_force() {
    let mut pair = Pair::new();
    let latch = pair.want("a");
    pair.expect(&["+a"]);
    assert!(!is_open(&latch));
    pair.confirm();
    assert!(is_open(&latch));
    assert_eq!(pair.interests.in_force(), 1);
    pair.expect(&[]);
}

#[test]
fn what_is_wanted_twice_is_subscribed_once() {
    let mut pair = Pair::new();
    pair.want("a");
    pair.want("a");
    pair.expect(&["+a"]);
    pair.confirm();
    pair.release("a");
    pair.wait(LINGER);
    pair.expect(&[]);
    pair.release("a");
    pair.wait(LINGER);
    pair.expect(&["-a"]);
    pair.confirm();
    assert_eq!(pair.interests.in_force(), 0);
    pair.expect_forgotten();
}

#[test]
fn what_is_wanted_again_soon_was_never_left() {
    let mut pair = Pair::in_force("a");
    pair.release("a");
    pair.wait(LINGER / 2);
    let latch = pair.want("a");
    assert!(is_open(&latch));
    pair.wait(LINGER * 2);
    pair.expect(&[]);
    pair.release("a");
    pair.wait(LINGER - Duration::from_nanos(1));
    pair.expect(&[]);
    pair.wait(Duration::from_nanos(1));
    pair.expect(&["-a"]);
}

#[test]
fn what_is_wanted_while_it_is_left_comes_back() {
    let mut pair = Pair::in_force("a");
    pair.release("a");
    pair.wait(LINGER);
    pair.expect(&["-a"]);
    let latch = pair.want("a");
    assert!(!is_open(&latch));
    pair.confirm();
    pair.expect(&["+a"]);
    pair.confirm();
    assert!(is_open(&latch));
}

#[test]
fn what_is_not_wanted_any_more_when_it_comes_into_force_is_left() {
    let mut pair = Pair::new();
    let latch = pair.want("a");
    pair.expect(&["+a"]);
    pair.release("a");
    pair.expect(&[]);
    pair.confirm();
    pair.expect(&["-a"]);
    pair.confirm();
    pair.expect_forgotten();
    assert!(is_open(&latch), "whoever waits has nothing to wait for");
}

#[test]
fn lingering_subscriptions_are_bounded() {
    let mut pair = Pair::new();
    for name in ["a", "b", "c", "d"] {
        pair.want(name);
    }
    pair.expect(&["+a b c d"]);
    pair.confirm();
    for name in ["a", "b", "c", "d"] {
        pair.release(name);
    }
    pair.expect(&["-a"]);
}

#[test]
fn everything_wanted_is_subscribed_again_after_a_reconnect() {
    let mut pair = Pair::in_force("a");
    let latch = pair.want("b");
    pair.expect(&["+b"]);
    pair.interests.handle_disconnected(A);
    pair.sent.clear();
    assert_eq!(pair.interests.in_force(), 0);
    assert!(!pair.interests.is_synced(A));
    let other = pair.want("c");
    pair.expect(&[]);

    pair.interests.handle_connected(A);
    let mut names = pair.commands();
    names.sort();
    assert_eq!(names.concat().len(), "+a b c".len());
    assert!(!pair.interests.is_synced(A));
    pair.confirm();
    assert!(pair.interests.is_synced(A));
    assert!(is_open(&latch) && is_open(&other));
    assert_eq!(pair.interests.in_force(), 3);
}

#[test]
fn what_was_lingering_is_not_subscribed_again() {
    let mut pair = Pair::in_force("a");
    pair.release("a");
    pair.interests.handle_disconnected(A);
    pair.interests.handle_connected(A);
    pair.expect(&[]);
    pair.wait(LINGER);
    pair.expect(&[]);
    assert!(pair.interests.is_synced(A));
    pair.expect_forgotten();
}

#[test]
fn the_last_ones_come_last() {
    let mut pair = Pair::new();
    pair.interests
        .acquire(Family::Exact, "z", Purpose::Presence, true);
    pair.want("a");
    let room = Purpose::Messages(Kind::Broadcast, None);
    pair.interests.acquire(Family::Pattern, "p", room, false);
    pair.expect(&["+a", "+*p", "+z"]);
}

#[test]
fn many_names_go_in_chunks_and_wait_for_confirmations() {
    let mut pair = Pair::new();
    pair.interests.handle_disconnected(A);
    for number in 0..WINDOW + CHUNK + 1 {
        pair.want(&number.to_string());
    }
    pair.interests.handle_connected(A);
    let sizes = |pair: &mut Pair| {
        let commands = std::iter::from_fn(|| pair.interests.next_command(A));
        let sizes: Vec<_> = commands
            .map(|command| {
                let size = command.names.len();
                pair.sent.push((A, command));
                size
            })
            .collect();
        sizes
    };
    assert_eq!(sizes(&mut pair), [CHUNK; 4]);
    pair.confirm();
    assert_eq!(sizes(&mut pair), [CHUNK, 1]);
    assert!(!pair.interests.is_synced(A));
    pair.confirm();
    assert!(pair.interests.is_synced(A));
}

#[test]
fn sharded_channels_are_subscribed_one_by_one() {
    let mut pair = Pair::new();
    for name in ["a", "b"] {
        let purpose = Purpose::Messages(Kind::Broadcast, None);
        pair.interests
            .acquire(Family::Sharded, name, purpose, false);
    }
    pair.expect(&["+$a", "+$b"]);
}

#[test]
fn what_is_refused_is_tried_again_later() {
    let mut pair = Pair::new();
    pair.interests.handle_disconnected(A);
    let latch = pair.want("a");
    pair.interests.handle_connected(A);
    pair.expect(&["+a"]);
    pair.sent.clear();
    let refusal = pair.interests.handle_refused(A, Why::NotNow, pair.now);
    assert_eq!(refusal, Refusal::Later("a".into()));
    pair.expect(&[]);
    assert!(!pair.interests.is_synced(A));
    pair.wait(RETRY);
    pair.expect(&["+a"]);
    pair.confirm();
    assert!(is_open(&latch) && pair.interests.is_synced(A));
}

#[test]
fn a_subscription_that_the_server_took_away_is_asked_for_again() {
    let mut pair = Pair::new();
    let purpose = Purpose::Messages(Kind::Broadcast, None);
    let latch = pair.interests.acquire(Family::Sharded, "a", purpose, false);
    pair.expect(&["+$a"]);
    pair.confirm();
    let confirmed = pair
        .interests
        .handle_confirmed(A, Family::Sharded, false, b"a");
    assert_eq!(confirmed, Confirmed::Lost);
    assert!(!is_open(&latch));
    assert!(!pair.interests.is_whole(), "the node does not hear all");
    pair.expect(&["+$a"]);
    pair.confirm();
    assert!(is_open(&latch) && pair.interests.is_whole());
}

#[test]
fn what_nobody_wants_is_no_loss() {
    let mut pair = Pair::new();
    let purpose = Purpose::Messages(Kind::Broadcast, None);
    pair.interests.acquire(Family::Sharded, "a", purpose, false);
    pair.expect(&["+$a"]);
    pair.confirm();
    pair.interests.release(Family::Sharded, "a", pair.now);
    let lost = pair
        .interests
        .handle_confirmed(A, Family::Sharded, false, b"a");
    assert_eq!(lost, Confirmed::Lost);
    assert!(pair.interests.is_whole());
    pair.expect_forgotten();
}

/// Like Redis with an ACL: a command with a name that begins with `bad` is refused as a whole.
fn answer(pair: &mut Pair) -> usize {
    let mut answered = 0;
    loop {
        pair.commands();
        if pair.sent.is_empty() {
            return answered;
        }
        for (lane, command) in std::mem::take(&mut pair.sent) {
            answered += 1;
            if command.names.iter().any(|name| name.starts_with("bad")) {
                pair.interests.handle_refused(lane, Why::Names, pair.now);
                continue;
            }
            for name in command.names {
                let name = name.as_bytes();
                let (family, subscribe) = (command.family, command.subscribe);
                pair.interests
                    .handle_confirmed(lane, family, subscribe, name);
            }
        }
    }
}

#[test]
fn a_name_that_is_refused_takes_no_other_with_it() {
    let mut pair = Pair::new();
    pair.interests.handle_disconnected(A);
    let good: Vec<_> = (0..1500).map(|n| pair.want(&format!("a{n}"))).collect();
    let bad: Vec<_> = (0..3).map(|n| pair.want(&format!("bad{n}"))).collect();
    pair.interests.handle_connected(A);
    let commands = answer(&mut pair);
    assert!(commands < 80, "{commands}");
    assert!(good.iter().all(is_open));
    let is_refused = |it: &Arc<Latch>| adapter::InForce::when([it.clone()]).is_refused();
    assert!(bad.iter().all(is_refused), "who waits is told");
    assert!(
        pair.interests.is_synced(A),
        "a room of clients stops nobody"
    );

    // They are tried again, each alone, and no good name with them; after the second time, later.
    pair.want("late");
    let late = answer(&mut pair);
    assert_eq!(late, 1);
    pair.wait(RETRY);
    assert_eq!(answer(&mut pair), 3);
    pair.wait(RETRY);
    assert_eq!(answer(&mut pair), 0);
    pair.wait(RETRY);
    assert_eq!(answer(&mut pair), 3);

    // After a reconnect they do not stop the others either.
    pair.interests.handle_disconnected(A);
    pair.interests.handle_connected(A);
    let again = answer(&mut pair);
    assert!(again < 20, "{again}");
    assert!(good.iter().all(is_open) && pair.interests.is_synced(A));

    // The name may be good one day.
    pair.wait(RETRY * 64);
    pair.commands();
    pair.confirm();
    assert!(bad.iter().all(is_open));
}

#[test]
fn a_channel_of_the_namespace_that_is_refused_keeps_the_node_unready() {
    let mut pair = Pair::new();
    pair.interests.handle_disconnected(A);
    let purpose = Purpose::Messages(Kind::Broadcast, Some("/".into()));
    pair.interests
        .acquire(Family::Pattern, "bad*", purpose, false);
    let good = pair.want("a");
    pair.interests.handle_connected(A);
    answer(&mut pair);
    assert!(is_open(&good) && !pair.interests.is_synced(A));
}

#[test]
fn subscriptions_move_with_their_slots() {
    let halves = |low: LaneId, high: LaneId| {
        let slots = (0..SLOTS).map(|slot| Some(if slot < SLOTS / 2 { low } else { high }));
        Route::Slots(slots.collect())
    };
    let mut pair = Pair::with_route(halves(A, B));
    pair.interests.add_lane(B);
    pair.interests.handle_connected(B);
    let latch = pair.want("x");
    let first = pair.interests.route.lane("x").unwrap();
    let second = if first == A { B } else { A };
    assert!(pair.interests.next_command(second).is_none());
    let command = pair.interests.next_command(first).unwrap();
    pair.sent.push((first, command));
    pair.confirm();
    assert!(is_open(&latch));

    pair.interests.reroute(halves(second, second), &[second]);
    assert!(!is_open(&latch));
    assert_eq!(pair.interests.in_force(), 0);
    let command = pair.interests.next_command(second).unwrap();
    pair.sent.push((second, command));
    pair.confirm();
    assert!(is_open(&latch));
    let stale = pair
        .interests
        .handle_confirmed(first, Family::Exact, false, b"x");
    assert_eq!(stale, Confirmed::Stale);
}

#[test]
fn confirmations_of_nothing_do_no_harm() {
    let mut pair = Pair::new();
    for name in [&b""[..], b"a", b"\xff"] {
        for subscribed in [true, false] {
            let confirmed = pair
                .interests
                .handle_confirmed(A, Family::Exact, subscribed, name);
            assert_eq!(confirmed, Confirmed::Stale);
        }
    }
    let refusal = pair.interests.handle_refused(A, Why::Names, pair.now);
    assert_eq!(refusal, Refusal::Stale);
    pair.release("never wanted");
}

const LINGER: Duration = Duration::from_secs(1);

/// Interests, a clock, and a server that confirms.
struct Pair {
    interests: Interests,
    now: Instant,
    sent: Vec<(LaneId, Command)>,
}

impl Pair {
    fn new() -> Self {
        Self::with_route(Route::Single(A))
    }

    fn with_route(route: Route) -> Self {
        let settings = Settings {
            linger: LINGER,
            lingering: 3,
        };
        let mut interests = Interests::new(route, settings);
        interests.add_lane(A);
        interests.handle_connected(A);
        Self {
            interests,
            now: Instant::now(),
            sent: Vec::new(),
        }
    }

    fn in_force(name: &str) -> Self {
        let mut pair = Self::new();
        pair.want(name);
        pair.expect(&[&format!("+{name}")]);
        pair.confirm();
        pair
    }

    fn want(&mut self, name: &str) -> Arc<Latch> {
        let purpose = Purpose::Messages(Kind::Broadcast, None);
        self.interests.acquire(Family::Exact, name, purpose, false)
    }

    fn release(&mut self, name: &str) {
        self.interests.release(Family::Exact, name, self.now);
    }

    fn wait(&mut self, time: Duration) {
        self.now += time;
        if self
            .interests
            .poll_timeout()
            .is_some_and(|at| at <= self.now)
        {
            self.interests.handle_timeout(self.now);
        }
        assert!(self.interests.poll_timeout().is_none_or(|at| at > self.now));
    }

    fn commands(&mut self) -> Vec<String> {
        let mut shown = Vec::new();
        while let Some(command) = self.interests.next_command(A) {
            let sign = if command.subscribe { "+" } else { "-" };
            let family = match command.family {
                Family::Exact => "",
                Family::Pattern => "*",
                Family::Sharded => "$",
            };
            shown.push(format!("{sign}{family}{}", command.names.join(" ")));
            self.sent.push((A, command));
        }
        shown
    }

    fn expect(&mut self, commands: &[&str]) {
        assert_eq!(self.commands(), commands);
    }

    fn confirm(&mut self) {
        for (lane, command) in std::mem::take(&mut self.sent) {
            for name in command.names {
                let Command {
                    family, subscribe, ..
                } = command;
                let name = name.as_bytes();
                let confirmed = self
                    .interests
                    .handle_confirmed(lane, family, subscribe, name);
                assert_eq!(confirmed, Confirmed::Expected);
            }
        }
    }

    fn expect_forgotten(&self) {
        assert!(self.interests.entries.iter().all(HashMap::is_empty));
    }
}

fn is_open(latch: &Arc<Latch>) -> bool {
    adapter::Interest::covered(adapter::InForce::when([latch.clone()])).is_in_force()
}
