//! When a busy shard writes: several events to a client in one call to the kernel cost little more than one.

use std::time::{Duration, Instant};

/// How many times as long as it wrote a shard lets events gather: it writes for a ninth of its time then.
const SHARE: u32 = 8;

/// A shorter time is not waited for: timers count milliseconds.
const LEAST: Duration = Duration::from_millis(1);

/// After how many times the usual pause between two broadcasts the next one is late: whether it pays to wait for it
/// shows.
const PAUSES: u32 = 4;

/// By which part of itself the usual pause follows the last one.
const FOLLOWS: u32 = 8;

/// Most rounds in which nothing gathers, after rounds in which it was of no use. With 64, more than one event in a
/// hundred waited in vain where clients wait for each other.
const MOST_SKIPPED: u32 = 256;

/// Most rounds that no late broadcast is waited for in, after rounds in which none came.
const MOST_IMPATIENT: u32 = 256;

/// The rounds in which a shard writes what gathers.
///
/// ```text
///                       there is something to write
///             Open --------------------------------------> Writing, for some turns
///              ^                                             |  |        ^
///              |   it took little, or gathering is of no use |  |        | the time is over,
///              +---------------------------------------------+  |        | or no broadcast comes
///                                                               v        |
///                                                it took long: Gathering until ..
/// ```
///
/// If a broadcast is late, a round ends before its time when others waited in vain: who publishes may wait for what has
/// gathered. Such rounds last from one to many, as long as none of the patient ones between them sees a late one come.
///
/// `Open`, an event is written at the end of the turn. While events gather, a client still gets the first event of a
/// round at once, and so what is no event. `Writing`, who was written already waits for the end of the round.
#[derive(Debug)]
pub(super) struct Pace {
    /// Longest time that an event waits; zero if none does.
    most: Duration,
    until: Option<Instant>,
    /// What was written in the round so far, if some is left, and how long that took.
    writing: Option<(Duration, Written)>,
    /// When the last broadcast came.
    came: Option<Instant>,
    /// The usual pause between two broadcasts.
    pause: Duration,
    round: u16,
    /// Something has waited in this round.
    waited: bool,
    /// Rounds for which nothing gathers yet.
    skips: u32,
    /// How many rounds are skipped when the next one is of no use.
    next_skips: u32,
    /// A broadcast came while this round waited.
    came_some: bool,
    /// Another one followed it late.
    came_late: bool,
    /// Rounds that wait for no late broadcast yet.
    impatient: u32,
    /// How many they are when the next patient one waits in vain.
    next_impatient: u32,
}

/// What was written in a round.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Written {
    /// Clients that events had gathered for.
    pub(super) gathered: usize,
    /// Packets that they got.
    pub(super) packets: usize,
}

impl Pace {
    pub(super) fn new(most: Duration) -> Self {
        Self {
            most,
            until: None,
            writing: None,
            came: None,
            pause: Duration::ZERO,
            round: 0,
            waited: false,
            skips: 0,
            next_skips: 1,
            came_some: false,
            came_late: false,
            impatient: 0,
            next_impatient: 1,
        }
    }

    /// The round in which events gather now.
    pub(super) fn gathering(&self) -> Option<u16> {
        let gathers = self.until.is_some() || self.writing.is_some();
        gathers.then_some(self.round)
    }

    /// When what has gathered is to be written, if no other broadcast comes until then.
    pub(super) fn until(&self) -> Option<Instant> {
        let until = self.until?;
        match self.late() {
            Some(late) if self.impatient > 0 => Some(until.min(late)),
            Some(_) | None => Some(until),
        }
    }

    /// From when on the next broadcast is late.
    fn late(&self) -> Option<Instant> {
        let patience = (self.pause * PAUSES).max(LEAST);
        Some(self.came? + patience)
    }

    /// A broadcast came.
    pub(super) fn handle_broadcast(&mut self, now: Instant) {
        self.came_late |= self.came_some && self.late().is_some_and(|late| late <= now);
        self.came_some |= self.until.is_some();
        if let Some(came) = self.came.replace(now) {
            let pause = now.saturating_duration_since(came).min(self.most);
            self.pause = (self.pause * (FOLLOWS - 1) + pause) / FOLLOWS;
        }
    }

    /// Whether it is time for all to be written that has gathered.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.writing.is_none() && self.until().is_none_or(|until| until <= now)
    }

    /// The round in which is written what is queued now.
    pub(super) fn next_written(&self, now: Instant) -> u16 {
        match self.is_due(now) {
            true => self.round.wrapping_add(1),
            false => self.round,
        }
    }

    /// Whether it is time for all to be written. A round begins then. `some`: something has gathered.
    pub(super) fn begins_round(&mut self, now: Instant, some: bool) -> bool {
        let begins = self.is_due(now);
        if begins {
            self.judge_patience(some);
            self.until = None;
            self.round = self.round.wrapping_add(1);
        } else {
            self.waited |= some;
        }
        begins
    }

    /// What has gathered is written now, if it is some. Was it of use to wait for late broadcasts?
    fn judge_patience(&mut self, some: bool) {
        self.came_some = false;
        let came_late = std::mem::take(&mut self.came_late);
        let (Some(until), true) = (self.until, some) else {
            return;
        };
        let waited_in_vain = self.late().is_some_and(|late| late < until) && !came_late;
        if let Some(left) = self.impatient.checked_sub(1) {
            self.impatient = left;
        } else if waited_in_vain {
            self.impatient = self.next_impatient;
            self.next_impatient = (self.next_impatient * 2).min(MOST_IMPATIENT);
        } else {
            self.next_impatient = 1;
        }
    }

    /// The number of the round, by which a client's last write is known.
    pub(super) fn round(&self) -> u16 {
        self.round
    }

    /// Whether some of the round is left to be written.
    pub(super) fn is_writing(&self) -> bool {
        self.writing.is_some()
    }

    /// Some of the round was written, which took so long; `now`, if nothing is left of it.
    pub(super) fn handle_written(
        &mut self,
        took: Duration,
        written: Written,
        now: Option<Instant>,
    ) {
        let (before, mut all) = self.writing.take().unwrap_or_default();
        let took = before + took;
        all.gathered += written.gathered;
        all.packets += written.packets;
        match now {
            Some(now) => self.end_round(took, all, now),
            None => self.writing = Some((took, all)),
        }
    }

    fn end_round(&mut self, took: Duration, written: Written, now: Instant) {
        if std::mem::take(&mut self.waited) && written.gathered > 0 {
            let of_use = written.packets * 4 >= written.gathered * 5;
            self.skips = if of_use { 0 } else { self.next_skips };
            self.next_skips = match of_use {
                true => 1,
                false => (self.next_skips * 2).min(MOST_SKIPPED),
            };
        }
        let wait = (took * SHARE).min(self.most);
        if wait < LEAST {
            return;
        }
        match self.skips.checked_sub(1) {
            Some(left) => self.skips = left,
            None => self.until = Some(now + wait),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOST: Duration = Duration::from_millis(10);
    const USE: Written = Written {
        gathered: 100,
        packets: 200,
    };
    const NO_USE: Written = Written {
        gathered: 100,
        packets: 110,
    };

    /// Writes a round that takes `micros`, and says how long events gather then.
    fn round(pace: &mut Pace, now: &mut Instant, micros: u64, written: Written) -> Duration {
        pace.begins_round(*now - Duration::from_micros(1), true);
        assert!(pace.begins_round(*now, true));
        let took = Duration::from_micros(micros);
        *now += took;
        pace.handle_written(took, written, Some(*now));
        let wait = pace
            .until()
            .map_or(Duration::ZERO, |it| it.duration_since(*now));
        *now += wait;
        wait
    }

    #[test]
    fn a_shard_that_is_idle_holds_nothing_and_a_busy_one_up_to_the_bound() {
        let (mut pace, mut now) = (Pace::new(MOST), Instant::now());
        for (micros, wait) in [(0, 0), (120, 0), (125, 1000), (1000, 8000), (9000, 10_000)] {
            let expected = Duration::from_micros(wait);
            assert_eq!(round(&mut pace, &mut now, micros, USE), expected);
        }
    }

    #[test]
    fn zero_holds_nothing() {
        let (mut pace, mut now) = (Pace::new(Duration::ZERO), Instant::now());
        assert_eq!(round(&mut pace, &mut now, 9000, USE), Duration::ZERO);
        assert_eq!(pace.gathering(), None);
    }

    #[test]
    fn a_round_begins_when_the_time_is_over_and_not_before() {
        let (mut pace, mut now) = (Pace::new(MOST), Instant::now());
        round(&mut pace, &mut now, 1000, Written::default());
        let first = pace.gathering().unwrap();
        assert!(!pace.begins_round(now - Duration::from_micros(1), true));
        assert_eq!(pace.gathering(), Some(first));
        assert!(pace.begins_round(now, true));
        assert_eq!(pace.gathering(), None);
        assert_ne!(pace.round(), first);
    }

    #[test]
    fn a_round_that_takes_several_turns_is_judged_as_a_whole() {
        let (mut pace, mut now) = (Pace::new(MOST), Instant::now());
        assert!(pace.begins_round(now, true));
        let round = pace.round();
        let step = Duration::from_micros(100);
        for _ in 0..4 {
            now += step;
            pace.handle_written(step, USE, None);
            // Who was written already waits, and nothing is written anew.
            assert!(pace.is_writing());
            assert_eq!(pace.gathering(), Some(round));
            assert!(!pace.begins_round(now, true));
            assert_eq!(pace.next_written(now), round);
        }
        pace.handle_written(Duration::ZERO, NO_USE, Some(now));
        assert!(!pace.is_writing());
        assert_eq!(pace.until(), Some(now + step * 4 * SHARE));
        assert_eq!(pace.next_written(now), round);
        assert_eq!(pace.next_written(now + MOST), round + 1);
        // What took little as a whole holds nobody up.
        assert!(pace.begins_round(now + MOST, false));
        let step = LEAST / (2 * SHARE + 1);
        pace.handle_written(step, USE, None);
        pace.handle_written(Duration::ZERO, USE, Some(now));
        assert_eq!(pace.gathering(), None);
    }

    #[test]
    fn what_is_of_no_use_is_tried_less_and_less_often() {
        let (mut pace, mut now) = (Pace::new(MOST), Instant::now());
        let mut waited = 0;
        for _ in 0..1000 {
            let wait = round(&mut pace, &mut now, 1000, NO_USE);
            waited += u32::from(!wait.is_zero());
        }
        assert!((5..15).contains(&waited), "{waited}");
        let last = (0..1000).filter(|_| !round(&mut pace, &mut now, 1000, NO_USE).is_zero());
        assert!((1..10).contains(&last.count()));
        for _ in 0..=MOST_SKIPPED {
            round(&mut pace, &mut now, 1000, USE);
        }
        assert!(pace.until().is_some());
        assert_eq!(
            round(&mut pace, &mut now, 1000, USE),
            Duration::from_millis(8)
        );
    }

    /// Has a round gather what comes at these times after it began to, in microseconds. Returns how long it waited.
    fn gather(pace: &mut Pace, now: &mut Instant, micros: &[u64]) -> Duration {
        let began = *now;
        pace.handle_written(MOST, USE, Some(began));
        for at in micros {
            let at = began + Duration::from_micros(*at);
            if pace.until().is_none_or(|until| until <= at) {
                break;
            }
            pace.handle_broadcast(at);
        }
        let until = pace.until().unwrap();
        assert!(pace.begins_round(until, true));
        *now = until;
        until - began
    }

    #[test]
    fn a_stream_is_gathered_to_the_end_though_some_of_it_is_late() {
        let (mut pace, mut now) = (Pace::new(MOST), Instant::now());
        let stream = [0, 1000, 2000, 3000, 8500, 8600, 9500];
        for _ in 0..50 {
            assert_eq!(gather(&mut pace, &mut now, &stream), MOST);
        }
    }

    #[test]
    fn nobody_waits_for_broadcasts_that_do_not_come() {
        let (mut pace, mut now) = (Pace::new(MOST), Instant::now());
        let window: Vec<u64> = (0..32).map(|it| 20 * it).collect();
        let mut rounds = || gather(&mut pace, &mut now, &window);
        let waits: Vec<Duration> = (0..5000).map(|_| rounds()).collect();
        let whole = waits.iter().filter(|wait| **wait == MOST).count();
        assert!((20..50).contains(&whole), "{whole}");
        let short = waits.iter().filter(|wait| **wait < MOST / 2).count();
        assert_eq!(short + whole, waits.len());
        // A stream is known again once a patient round meets it.
        let stream = [0, 1000, 2000, 3000, 8500, 8600, 9500];
        let mut rounds = || gather(&mut pace, &mut now, &stream);
        let waits: Vec<Duration> = (0..2 * MOST_IMPATIENT).map(|_| rounds()).collect();
        let last = waits.iter().rposition(|wait| *wait < MOST).unwrap();
        assert!(last <= MOST_IMPATIENT as usize, "{last}");
    }

    #[test]
    fn a_broadcast_is_late_after_some_usual_pauses() {
        let micros = Duration::from_micros;
        for (pause, waits) in [
            (0, 1000),
            (20, 1000),
            (1000, 4000),
            (2000, 8000),
            (9000, 10_000),
        ] {
            let (mut pace, mut now) = (Pace::new(MOST), Instant::now());
            pace.impatient = 1;
            for _ in 0..100 {
                now += micros(pause);
                pace.handle_broadcast(now);
            }
            pace.handle_written(MOST, Written::default(), Some(now));
            let ends = pace.until().unwrap();
            let off = ends.duration_since(now).abs_diff(micros(waits));
            assert!(off < micros(10), "{pause}: {off:?}");
            // Another one that comes has it wait longer, up to the bound.
            pace.handle_broadcast(now + micros(900));
            assert!(pace.until().unwrap() >= ends.min(now + MOST));
            assert!(pace.until().unwrap() <= now + MOST);
        }
    }
}
