use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use crate::route::LaneId;

/// What is known of the connections of each lane, and whether the node hears its peers. Pure: time
/// is an argument.
///
/// A lane is up when it can publish, has all its subscriptions, and a message to itself came back
/// since. It may publish what waits once it is up and its peers are back, or after a while.
#[derive(Debug)]
pub(crate) struct Status {
    lanes: BTreeMap<LaneId, Lane>,
    problem: Option<Problem>,
    settle: Duration,
    silence: Duration,
}

/// Why a node cannot take part in the cluster, beside its connections.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// It could not tell yet that it lives.
    #[error("not registered with the cluster yet")]
    NotRegistered,
    /// Another node has the same tag: socket ids would not tell them apart.
    #[error("node {0} has the same tag")]
    TagTaken(String),
    /// Another process has the same node id.
    #[error("another node has the same id")]
    IdTaken,
}

#[derive(Debug, Default)]
struct Lane {
    /// Whether it can publish.
    publisher: bool,
    /// When one of the connections came or went: what waits is held back for a while from then on.
    held: Option<Instant>,
    /// Whether all subscriptions that were wanted at the connect are in force.
    synced: bool,
    /// A message to oneself came back since it is both.
    heard: bool,
    /// Whether what waits may be published.
    is_open: bool,
    /// Messages to oneself that did not come back yet.
    probes: VecDeque<Probe>,
    next_probe: u64,
}

#[derive(Debug)]
struct Probe {
    number: u64,
    sent: Instant,
    /// When Redis confirmed to have passed it on.
    confirmed: Option<Instant>,
}

/// Most probes that are remembered; by then the watchdogs have bitten.
const MAX_PROBES: usize = 64;

impl Status {
    pub(crate) fn new(settle: Duration, silence: Duration) -> Self {
        Self {
            lanes: BTreeMap::new(),
            problem: Some(Problem::NotRegistered),
            settle,
            silence,
        }
    }

    /// Keeps these lanes and no others.
    pub(crate) fn set_lanes(&mut self, lanes: &[LaneId]) {
        self.lanes.retain(|lane, _| lanes.contains(lane));
        for lane in lanes {
            self.lanes.entry(*lane).or_default();
        }
    }

    /// Whether every lane is up.
    pub(crate) fn is_up(&self) -> bool {
        let hears = !self.lanes.is_empty() && self.lanes.values().all(|lane| lane.heard);
        hears && self.problem.is_none()
    }

    /// Why it is not up, in words.
    pub(crate) fn trouble(&self) -> Option<String> {
        if self.is_up() {
            return None;
        }
        let lanes = || self.lanes.values();
        let text = if lanes().any(|lane| !lane.publisher) || self.lanes.is_empty() {
            "no connection to Redis".to_owned()
        } else if lanes().any(|lane| !lane.synced) {
            "subscriptions are not in force".to_owned()
        } else if lanes().any(|lane| !lane.heard) {
            "a message to oneself did not come back yet".to_owned()
        } else {
            self.problem.as_ref()?.to_string()
        };
        Some(text)
    }

    /// Lanes that are up and must not publish yet, because their peers may not be back.
    pub(crate) fn settling(&self) -> Vec<LaneId> {
        let lanes = self.lanes.iter();
        lanes
            .filter(|(_, lane)| lane.heard && !lane.is_open)
            .map(|(id, _)| *id)
            .collect()
    }

    pub(crate) fn handle_publisher(&mut self, lane: LaneId, connected: bool, now: Instant) {
        if let Some(lane) = self.lanes.get_mut(&lane) {
            lane.publisher = connected;
            lane.hold(now);
        }
    }

    /// Returns whether that is news. When the subscriber is lost the server may have died: then it
    /// is better to keep messages than to hand them to a connection that is about to break.
    pub(crate) fn handle_synced(&mut self, lane: LaneId, synced: bool, now: Instant) -> bool {
        let Some(lane) = self.lanes.get_mut(&lane) else {
            return false;
        };
        let is_news = lane.synced != synced;
        if is_news {
            lane.synced = synced;
            lane.hold(now);
        }
        is_news
    }

    /// Why the node must not be up whatever its connections are; `None` if there is no reason.
    pub(crate) fn set_problem(&mut self, problem: Option<Problem>) {
        self.problem = problem;
    }

    /// See [`set_problem`](Self::set_problem).
    pub(crate) fn problem(&self) -> Option<&Problem> {
        self.problem.as_ref()
    }

    /// The peers of `lane` are back.
    pub(crate) fn open(&mut self, lane: LaneId) {
        if let Some(lane) = self.lanes.get_mut(&lane) {
            lane.is_open = lane.publisher && lane.heard;
        }
    }

    /// Whether `lane` may publish what waits.
    pub(crate) fn is_open(&mut self, lane: LaneId, now: Instant) -> bool {
        let settle = self.settle;
        self.lanes.get_mut(&lane).is_some_and(|lane| {
            let has_waited = lane.held.is_some_and(|since| now >= since + settle);
            lane.is_open |= lane.publisher && has_waited;
            lane.is_open
        })
    }

    /// Whether a probe would bring `lane` up.
    pub(crate) fn wants_probe(&self, lane: LaneId) -> bool {
        let lane = self.lanes.get(&lane);
        lane.is_some_and(|it| it.publisher && it.synced && !it.heard && it.probes.is_empty())
    }

    /// The number of a probe to send now, if one can come back.
    pub(crate) fn next_probe(&mut self, lane: LaneId, now: Instant) -> Option<u64> {
        let lane = self.lanes.get_mut(&lane)?;
        if !lane.publisher || !lane.synced || lane.probes.len() >= MAX_PROBES {
            return None;
        }
        lane.next_probe += 1;
        lane.probes.push_back(Probe {
            number: lane.next_probe,
            sent: now,
            confirmed: None,
        });
        Some(lane.next_probe)
    }

    pub(crate) fn handle_probe_confirmed(&mut self, lane: LaneId, number: u64, now: Instant) {
        if let Some(lane) = self.lanes.get_mut(&lane) {
            let mut probes = lane.probes.iter_mut();
            if let Some(probe) = probes.find(|probe| probe.number == number) {
                probe.confirmed = Some(now);
            }
        }
    }

    /// A probe came back: how long it took, if it is one that counts.
    pub(crate) fn handle_probe_heard(
        &mut self,
        lane: LaneId,
        number: u64,
        now: Instant,
    ) -> Option<Duration> {
        let lane = self.lanes.get_mut(&lane)?;
        let index = lane.probes.iter().position(|it| it.number == number)?;
        let lag = now - lane.probes[index].sent;
        lane.probes.drain(..=index);
        lane.heard = true;
        Some(lag)
    }

    /// Whether Redis passed a message to oneself on and it did not come.
    pub(crate) fn is_deaf(&self, lane: LaneId, now: Instant) -> bool {
        let oldest = self.lanes.get(&lane).and_then(|lane| lane.probes.front());
        let confirmed = oldest.and_then(|probe| probe.confirmed);
        confirmed.is_some_and(|confirmed| now >= confirmed + self.silence)
    }
}

impl Lane {
    fn hold(&mut self, now: Instant) {
        self.held = Some(now);
        self.is_open = false;
        self.heard = false;
        self.probes.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: LaneId = LaneId(1);
    const B: LaneId = LaneId(2);
    const SETTLE: Duration = Duration::from_secs(3);
    const SILENCE: Duration = Duration::from_secs(5);

    #[test]
    fn a_lane_is_up_when_a_probe_came_back() {
        let (mut status, now) = status(&[A]);
        assert_eq!(status.next_probe(A, now), None);
        status.handle_publisher(A, true, now);
        assert_eq!(status.next_probe(A, now), None);
        status.handle_synced(A, true, now);
        assert!(status.wants_probe(A));
        let probe = status.next_probe(A, now).unwrap();
        assert!(!status.wants_probe(A));
        assert!(!status.is_up());
        let later = now + Duration::from_millis(3);
        let lag = status.handle_probe_heard(A, probe, later);
        assert_eq!(lag, Some(Duration::from_millis(3)));
        assert!(status.is_up());
        assert_eq!(status.handle_probe_heard(A, probe, later), None);
    }

    #[test]
    fn a_problem_keeps_it_down() {
        let (mut status, now) = status(&[A]);
        bring_up(&mut status, A, now);
        status.set_problem(Some(Problem::TagTaken("gw-2".to_owned())));
        assert!(!status.is_up());
        status.set_problem(None);
        assert!(status.is_up());
    }

    #[test]
    fn what_is_wrong_is_told() {
        let (mut status, now) = status(&[A]);
        let trouble = |status: &Status| status.trouble().unwrap_or_default();
        assert_eq!(trouble(&status), "no connection to Redis");
        status.handle_publisher(A, true, now);
        assert_eq!(trouble(&status), "subscriptions are not in force");
        status.handle_synced(A, true, now);
        assert_eq!(
            trouble(&status),
            "a message to oneself did not come back yet"
        );
        bring_up(&mut status, A, now);
        assert_eq!(status.trouble(), None);
        status.set_problem(Some(Problem::IdTaken));
        assert_eq!(trouble(&status), "another node has the same id");
    }

    #[test]
    fn every_lane_has_to_be_up() {
        let (mut status, now) = status(&[A, B]);
        bring_up(&mut status, A, now);
        assert!(!status.is_up());
        bring_up(&mut status, B, now);
        assert!(status.is_up());
        status.set_lanes(&[A]);
        assert!(status.is_up());
        status.set_lanes(&[]);
        assert!(!status.is_up());
    }

    #[test]
    fn a_lost_connection_takes_it_down_until_the_next_probe() {
        for lose in [
            |status: &mut Status, now| status.handle_publisher(A, false, now),
            |status: &mut Status, now| assert!(status.handle_synced(A, false, now)),
        ] {
            let (mut status, now) = status(&[A]);
            bring_up(&mut status, A, now);
            let old = status.next_probe(A, now).unwrap();
            lose(&mut status, now);
            assert!(!status.is_up());
            status.handle_publisher(A, true, now);
            status.handle_synced(A, true, now);
            assert_eq!(status.handle_probe_heard(A, old, now), None);
            assert!(!status.is_up());
            bring_up(&mut status, A, now);
            assert!(status.is_up());
        }
    }

    #[test]
    fn what_waits_is_published_when_the_peers_are_back_or_after_a_while() {
        let (mut status, now) = status(&[A]);
        status.handle_publisher(A, true, now);
        assert!(!status.is_open(A, now));
        assert_eq!(status.settling(), []);
        bring_up(&mut status, A, now);
        assert_eq!(status.settling(), [A]);
        status.open(A);
        assert!(status.is_open(A, now));
        assert_eq!(status.settling(), []);

        status.handle_publisher(A, false, now);
        status.open(A);
        assert!(!status.is_open(A, now));
        assert!(!status.is_open(A, now + SETTLE));
        status.handle_publisher(A, true, now);
        assert!(!status.is_open(A, now + SETTLE - Duration::from_nanos(1)));
        assert!(status.is_open(A, now + SETTLE));
    }

    #[test]
    fn nothing_is_published_for_a_while_when_the_subscriber_is_lost() {
        let (mut status, now) = status(&[A]);
        bring_up(&mut status, A, now);
        status.open(A);
        status.handle_synced(A, false, now);
        assert!(!status.is_open(A, now));
        assert!(status.is_open(A, now + SETTLE));
    }

    #[test]
    fn who_does_not_hear_what_redis_passed_on_is_deaf() {
        let (mut status, now) = status(&[A]);
        bring_up(&mut status, A, now);
        let probe = status.next_probe(A, now).unwrap();
        assert!(!status.is_deaf(A, now + SILENCE * 2), "not confirmed");
        status.handle_probe_confirmed(A, probe, now);
        assert!(!status.is_deaf(A, now + SILENCE - Duration::from_nanos(1)));
        assert!(status.is_deaf(A, now + SILENCE));
        status.handle_probe_heard(A, probe, now);
        assert!(!status.is_deaf(A, now + SILENCE));
    }

    fn status(lanes: &[LaneId]) -> (Status, Instant) {
        let mut status = Status::new(SETTLE, SILENCE);
        status.set_lanes(lanes);
        assert!(!status.is_up());
        status.set_problem(None);
        (status, Instant::now())
    }

    fn bring_up(status: &mut Status, lane: LaneId, now: Instant) {
        status.handle_publisher(lane, true, now);
        status.handle_synced(lane, true, now);
        let probe = status.next_probe(lane, now).unwrap();
        status.handle_probe_heard(lane, probe, now).unwrap();
    }
}
