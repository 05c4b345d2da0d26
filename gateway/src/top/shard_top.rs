//! What a shard counts while somebody looks.

use std::cell::{Cell, RefCell};
use std::time::{Duration, Instant};

use super::MAX_BUSIEST;
use super::sketch::Sketch;

/// How often what was counted is halved, at the earliest.
const FADES: Duration = Duration::from_secs(2);

/// So many deliveries are counted one by one before only one in [`STRIDE`] is, which stands for as many.
const MAX_EXACT: u32 = 2000;

const STRIDE: u32 = 16;

/// What a shard counts of rooms and users. What asks whether it does reads one flag.
#[derive(Debug, Default)]
pub(crate) struct ShardTop {
    is_on: Cell<bool>,
    counts: RefCell<Option<Box<Counts>>>,
    /// Deliveries that are passed over before the next one is counted.
    skips: Cell<u32>,
}

#[derive(Debug)]
struct Counts {
    rooms: Sketch,
    users: Sketch,
    /// Memory for the name of a room with its namespace.
    name: String,
    /// Deliveries that were counted one by one since the last answer.
    exact: u32,
    random: u32,
    since: Instant,
    /// The seconds before, which weigh as little as what was counted in them.
    seconds: f64,
}

/// What a shard counted, per second.
#[derive(Debug, Default)]
pub(crate) struct Piece {
    /// Namespace, room if there is one, events, deliveries.
    pub(crate) rooms: Vec<(String, Option<String>, [f64; 2])>,
    /// User, events in, events out.
    pub(crate) users: Vec<(String, [f64; 2])>,
}

impl ShardTop {
    pub(crate) fn begin(&self, now: Instant) {
        self.counts.replace(Some(Box::new(Counts {
            rooms: Sketch::default(),
            users: Sketch::default(),
            name: String::new(),
            exact: 0,
            random: 0x9E37_79B9,
            since: now,
            seconds: 0.0,
        })));
        self.skips.set(0);
        self.is_on.set(true);
    }

    pub(crate) fn end(&self) {
        self.is_on.set(false);
        self.counts.replace(None);
    }

    pub(crate) fn is_on(&self) -> bool {
        self.is_on.get()
    }

    /// An event was for a room, or for everybody.
    pub(crate) fn count_room(
        &self,
        namespace: &str,
        room: Option<&str>,
        events: u64,
        deliveries: u64,
    ) {
        if let Some(counts) = &mut *self.counts.borrow_mut() {
            let Counts { name, rooms, .. } = &mut **counts;
            name.clear();
            name.push_str(namespace);
            if let Some(room) = room {
                name.push('\0');
                name.push_str(room);
            }
            rooms.add(name, [events as f64, deliveries as f64]);
        }
    }

    /// A user sent an event.
    pub(crate) fn count_received(&self, user: &str) {
        if let Some(counts) = &mut *self.counts.borrow_mut() {
            counts.users.add(user, [1.0, 0.0]);
        }
    }

    /// Somebody is sent an event. Calls `user` if this one is counted.
    pub(crate) fn count_sent(&self, user: impl FnOnce() -> Option<Box<str>>) {
        let skips = self.skips.get();
        if skips > 0 {
            return self.skips.set(skips - 1);
        }
        if let Some(counts) = &mut *self.counts.borrow_mut() {
            let weight = counts.weight(&self.skips);
            if let Some(user) = user() {
                counts.users.add(&user, [0.0, f64::from(weight)]);
            }
        }
    }

    /// What is busiest, per second. What was counted fades behind it.
    pub(crate) fn piece(&self, now: Instant) -> Piece {
        let mut counts = self.counts.borrow_mut();
        match &mut *counts {
            Some(counts) => counts.piece(now),
            None => Piece::default(),
        }
    }
}

impl Counts {
    /// For how many deliveries this one stands; sets how many are passed over behind it.
    fn weight(&mut self, skips: &Cell<u32>) -> u32 {
        if self.exact < MAX_EXACT {
            self.exact += 1;
            return 1;
        }
        // Steps of the same length would meet the same member of a room again and again.
        self.random ^= self.random << 13;
        self.random ^= self.random >> 17;
        self.random ^= self.random << 5;
        skips.set(self.random % (2 * STRIDE - 1));
        STRIDE
    }

    fn piece(&mut self, now: Instant) -> Piece {
        let lately = now - self.since;
        let seconds = self.seconds + lately.as_secs_f64();
        let per_second = |counts: [f64; 2]| counts.map(|count| count / seconds.max(0.001));
        let rooms = self.rooms.busiest(MAX_BUSIEST).into_iter();
        let rooms = rooms.map(|(name, counts)| {
            let (namespace, room) = match name.split_once('\0') {
                Some((namespace, room)) => (namespace, Some(room.to_owned())),
                None => (name, None),
            };
            (namespace.to_owned(), room, per_second(counts))
        });
        let users = self.users.busiest(MAX_BUSIEST).into_iter();
        let users = users.map(|(user, counts)| (user.to_owned(), per_second(counts)));
        let piece = Piece {
            rooms: rooms.collect(),
            users: users.collect(),
        };
        self.exact = 0;
        if lately >= FADES {
            self.rooms.fade();
            self.users.fade();
            (self.since, self.seconds) = (now, seconds / 2.0);
        }
        piece
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shard_counts_only_while_somebody_looks() {
        let top = ShardTop::default();
        top.count_room("/", Some("r"), 1, 1);
        top.count_sent(|| panic!("nobody looks"));
        let mut now = Instant::now();
        top.begin(now);
        for _ in 0..10 {
            top.count_room("/", Some("r"), 1, 3);
            top.count_room("/", None, 0, 1);
            top.count_received("ann");
            top.count_sent(|| Some("ann".into()));
            top.count_sent(|| None);
        }
        now += Duration::from_secs(2);
        let piece = top.piece(now);
        let rooms = [
            ("/".to_owned(), Some("r".to_owned()), [5.0, 15.0]),
            ("/".to_owned(), None, [0.0, 5.0]),
        ];
        assert_eq!(piece.rooms, rooms);
        assert_eq!(piece.users, [("ann".to_owned(), [5.0, 5.0])]);
        // The same time again without events, at half the weight of what was before.
        now += Duration::from_secs(1);
        assert_eq!(top.piece(now).users, [("ann".to_owned(), [2.5, 2.5])]);
        top.end();
        assert!(!top.is_on() && top.piece(now).users.is_empty());
    }

    #[test]
    fn of_many_deliveries_some_stand_for_all() {
        let top = ShardTop::default();
        let now = Instant::now();
        top.begin(now);
        let (mut asked, all) = (0, 1_600_000);
        for number in 0..all {
            top.count_sent(|| {
                asked += 1;
                Some(format!("user {}", number % 16).into())
            });
        }
        let users = top.piece(now + Duration::from_secs(1)).users;
        assert!(asked < MAX_EXACT + 2 * all / STRIDE, "{asked}");
        assert_eq!(users.len(), 16);
        let each = f64::from(all) / 16.0;
        for (user, [_, sent]) in users {
            assert!((sent / each - 1.0).abs() < 0.1, "{user} {sent} {each}");
        }
    }
}
