use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::Position;

/// Up to where all clients of a node are whole that it has had for long enough, without asking them. A pong proves
/// that everything before its ping arrived, and the node closes a client that does not answer in time. So they are
/// whole up to where the node was so long ago.
///
/// A node that stood still closes late. It knows nothing then until the time has passed once more.
#[derive(Debug)]
pub struct Floors {
    /// The longest time from a ping that was answered to the close of a connection that answers no more.
    proven: Duration,
    /// A longer pause between two heartbeats is a standstill.
    pause: Duration,
    samples: VecDeque<(Instant, Position)>,
    floor: Position,
}

/// Most samples: those of a heartbeat each second for longer than connections are silent.
const MAX_SAMPLES: usize = 1024;

impl Floors {
    /// `proven` is the interval of pings and all the time that a pong may take; `pause` the longest time between
    /// two heartbeats of a node that works.
    pub fn new(proven: Duration, pause: Duration) -> Self {
        Self {
            proven,
            pause,
            samples: VecDeque::new(),
            floor: Position::ZERO,
        }
    }

    /// At a heartbeat: everything up to `released` was handed to the connections. Returns the floor to tell.
    pub fn beat(&mut self, now: Instant, released: Position) -> Position {
        if let Some((last, _)) = self.samples.back()
            && now.saturating_duration_since(*last) > self.pause
        {
            self.samples.clear();
        }
        self.samples.push_back((now, released));
        if self.samples.len() > MAX_SAMPLES {
            // Every other one is enough.
            let mut index = 0;
            self.samples.retain(|_| {
                index += 1;
                index % 2 == 0
            });
        }
        while let Some((at, position)) = self.samples.front()
            && now.saturating_duration_since(*at) >= self.proven
        {
            self.floor = self.floor.max(*position);
            self.samples.pop_front();
        }
        self.floor
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_floor_is_where_the_node_was_long_enough_ago() {
        let start = Instant::now();
        let mut floors = Floors::new(Duration::from_secs(10), Duration::from_secs(2));
        for second in 0..10 {
            let now = start + Duration::from_secs(second);
            assert_eq!(
                floors.beat(now, Position::new(100 + second)),
                Position::ZERO
            );
        }
        let now = start + Duration::from_secs(11);
        assert_eq!(floors.beat(now, Position::new(200)), Position::new(101));
    }

    #[test]
    fn a_node_that_stood_still_knows_nothing_for_a_while() {
        let start = Instant::now();
        let mut floors = Floors::new(Duration::from_secs(10), Duration::from_secs(2));
        floors.beat(start, Position::new(1));
        for second in 20..30 {
            let now = start + Duration::from_secs(second);
            assert_eq!(floors.beat(now, Position::new(second)), Position::ZERO);
        }
        let now = start + Duration::from_secs(30);
        assert_eq!(floors.beat(now, Position::new(99)), Position::new(20));
    }

    #[test]
    fn samples_are_bounded() {
        let start = Instant::now();
        let mut floors = Floors::new(Duration::from_secs(10), Duration::from_secs(2));
        for millisecond in 0..5000 {
            floors.beat(start + Duration::from_millis(millisecond), Position::new(1));
        }
        assert!(floors.samples.len() <= MAX_SAMPLES);
    }
}
