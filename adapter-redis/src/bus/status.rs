use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use crate::cluster::membership::Problem;
use crate::link::route::LaneId;

/// What is known of the connections of each lane, and whether the node hears its peers. Pure: time
/// is an argument.
///
/// A lane is up when it can publish, has all its subscriptions, and a message to itself came back
/// since. It may publish what waits once it is up and its peers are back, or after a while; not while
/// Redis says that it will take messages later.
#[derive(Debug)]
pub(crate) struct Status {
    lanes: BTreeMap<LaneId, Lane>,
    problem: Option<Problem>,
    /// What Redis said to the last heartbeat, if it refused it.
    unregistered: Option<String>,
    /// Redis took subscriptions away that are not back yet.
    has_lost: bool,
    settle: Duration,
    silence: Duration,
}

/// One of the two connections of a lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Publisher,
    Subscriber,
}

#[derive(Debug, Default)]
struct Lane {
    /// Whether it can publish.
    publisher: bool,
    /// Which connections have been silent for too long, and are kept until there is a better one.
    is_silent: [bool; 2],
    /// Why the connections were lost or cannot be made, in words.
    publisher_failure: Option<String>,
    subscriber_failure: Option<String>,
    /// Redis refuses what is published.
    refusal: Option<Refusal>,
    /// What Redis said when it refused a subscription, while not all are in force.
    unsubscribed: Option<String>,
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

/// Why nothing can be published, or not everything.
#[derive(Debug)]
struct Refusal {
    /// In Redis' words.
    text: String,
    /// Later it can, and what waits is not tried before a probe was executed.
    is_passing: bool,
}

#[derive(Debug)]
struct Probe {
    number: u64,
    sent: Instant,
    /// When Redis confirmed to have passed it on.
    confirmed: Option<Instant>,
}

/// Most probes that are remembered; by then the watchdogs have expired.
const MAX_PROBES: usize = 64;

impl Status {
    pub(crate) fn new(settle: Duration, silence: Duration) -> Self {
        Self {
            lanes: BTreeMap::new(),
            problem: Some(Problem::NotRegistered),
            unregistered: None,
            has_lost: false,
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

    /// Tells whether all is there that was in force once and is wanted. Returns whether that is news.
    pub(crate) fn handle_whole(&mut self, is_whole: bool) -> bool {
        std::mem::replace(&mut self.has_lost, !is_whole) == is_whole
    }

    /// Whether every lane is up.
    pub(crate) fn is_up(&self) -> bool {
        let hears = !self.lanes.is_empty() && self.lanes.values().all(|lane| lane.heard);
        hears && self.problem.is_none() && !self.has_lost
    }

    /// Why it is not up, in words.
    pub(crate) fn trouble(&self) -> Option<String> {
        if self.is_up() {
            return None;
        }
        let lanes = || self.lanes.values();
        let because = |text: &str, reasons: [Option<&String>; 2]| {
            let reason = reasons.into_iter().flatten().next();
            reason.map_or_else(|| text.to_owned(), |reason| format!("{text}: {reason}"))
        };
        if self.lanes.is_empty() {
            let reasons = [self.unregistered.as_ref(), None];
            return Some(because("no connection to Redis", reasons));
        }
        if lanes().any(|lane| lane.is_silent.contains(&true)) {
            return Some("Redis gives no sign of life".to_owned());
        }
        if let Some(lane) = lanes().find(|lane| !lane.publisher) {
            let reasons = [&lane.publisher_failure, &lane.subscriber_failure];
            let reasons = reasons.map(Option::as_ref);
            return Some(because("no connection to Redis", reasons));
        }
        if let Some(refusal) = lanes().find_map(|lane| lane.refusal.as_ref()) {
            return Some(format!("Redis refuses messages: {}", refusal.text));
        }
        if let Some(lane) = lanes().find(|lane| !lane.synced) {
            let reasons = [&lane.unsubscribed, &lane.subscriber_failure];
            let reasons = reasons.map(Option::as_ref);
            return Some(because("subscriptions are not in force", reasons));
        }
        if self.has_lost {
            return Some("subscriptions that Redis took away are not back yet".to_owned());
        }
        if lanes().any(|lane| !lane.heard) {
            return Some("a message to oneself did not come back yet".to_owned());
        }
        let problem = self.problem.as_ref()?;
        let reason = self.unregistered.as_ref();
        let reason = reason.filter(|_| *problem == Problem::NotRegistered);
        Some(because(&problem.to_string(), [reason, None]))
    }

    /// What is wrong although it is up, in words.
    pub(crate) fn concern(&self) -> Option<String> {
        let refusal = self.unregistered.as_ref().filter(|_| self.is_up())?;
        Some(format!("Redis refuses the heartbeat: {refusal}"))
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
            lane.is_silent[End::Publisher as usize] = false;
            lane.refusal = None;
            if connected {
                lane.publisher_failure = None;
            }
            lane.hold(now);
        }
    }

    /// A connection was silent for too long, or has come back to life.
    pub(crate) fn handle_silent(&mut self, lane: LaneId, end: End, silent: bool, now: Instant) {
        if let Some(lane) = self.lanes.get_mut(&lane) {
            lane.is_silent[end as usize] = silent;
            lane.hold(now);
        }
    }

    /// A connection was lost or could not be made.
    pub(crate) fn handle_failure(&mut self, lane: LaneId, end: End, reason: String) {
        if let Some(lane) = self.lanes.get_mut(&lane) {
            match end {
                End::Publisher => lane.publisher_failure = Some(reason),
                End::Subscriber => lane.subscriber_failure = Some(reason),
            }
        }
    }

    /// Redis refused to publish; `is_passing` if it will not for ever. Returns whether that is news.
    pub(crate) fn handle_refused(
        &mut self,
        lane: LaneId,
        text: &str,
        is_passing: bool,
        now: Instant,
    ) -> bool {
        let Some(lane) = self.lanes.get_mut(&lane) else {
            return false;
        };
        let was_passing = lane.refusal.as_ref().map(|it| it.is_passing);
        lane.refusal = Some(Refusal {
            text: text.to_owned(),
            is_passing,
        });
        let is_news = was_passing != Some(is_passing);
        if is_news {
            lane.hold(now);
        }
        is_news
    }

    /// Redis refused a subscription.
    pub(crate) fn handle_unsubscribed(&mut self, lane: LaneId, text: &str) {
        if let Some(lane) = self.lanes.get_mut(&lane) {
            lane.unsubscribed = Some(text.to_owned());
        }
    }

    /// What Redis said to the last heartbeat, if it refused it. Returns whether that is news.
    pub(crate) fn set_unregistered(&mut self, text: Option<String>) -> bool {
        let is_news = self.unregistered.is_some() != text.is_some();
        self.unregistered = text;
        is_news
    }

    /// Returns whether that is news. When the subscriber is lost the server may have died: then it
    /// is better to keep messages than to hand them to a connection that is about to break.
    pub(crate) fn handle_synced(&mut self, lane: LaneId, synced: bool, now: Instant) -> bool {
        let Some(lane) = self.lanes.get_mut(&lane) else {
            return false;
        };
        let is_news = lane.synced != synced;
        if !synced {
            lane.is_silent[End::Subscriber as usize] = false;
        }
        if is_news {
            lane.synced = synced;
            lane.hold(now);
        }
        if synced {
            lane.subscriber_failure = None;
            lane.unsubscribed = None;
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
            lane.is_open = lane.publisher && lane.heard && !lane.is_put_off();
        }
    }

    /// Whether `lane` may publish what waits.
    pub(crate) fn is_open(&mut self, lane: LaneId, now: Instant) -> bool {
        let settle = self.settle;
        self.lanes.get_mut(&lane).is_some_and(|lane| {
            let has_waited = lane.held.is_some_and(|since| now >= since + settle);
            let may = lane.publisher && !lane.is_put_off();
            lane.is_open = may && (lane.is_open || has_waited);
            lane.is_open
        })
    }

    /// Whether a probe would bring `lane` up.
    pub(crate) fn wants_probe(&self, lane: LaneId) -> bool {
        let lane = self.lanes.get(&lane);
        lane.is_some_and(|it| {
            let is_refused = it.refusal.is_some() || it.is_put_off();
            it.publisher && it.synced && !it.heard && !is_refused && it.probes.is_empty()
        })
    }

    /// Whether a probe that comes back would bring `lane` up.
    pub(crate) fn is_about_to_be_up(&self, lane: LaneId) -> bool {
        let lane = self.lanes.get(&lane);
        lane.is_some_and(|it| it.publisher && it.synced && !it.heard)
    }

    /// The number of a probe to send now, if one can come back, or can tell that Redis takes
    /// messages again.
    pub(crate) fn next_probe(&mut self, lane: LaneId, now: Instant) -> Option<u64> {
        let lane = self.lanes.get_mut(&lane)?;
        let is_useful = lane.synced || lane.is_put_off();
        if !lane.publisher || !is_useful || lane.probes.len() >= MAX_PROBES {
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

    /// Redis passed a probe on. Returns whether that is news: it takes messages again.
    pub(crate) fn handle_probe_confirmed(
        &mut self,
        lane: LaneId,
        number: u64,
        now: Instant,
    ) -> bool {
        let Some(lane) = self.lanes.get_mut(&lane) else {
            return false;
        };
        let mut probes = lane.probes.iter_mut();
        if let Some(probe) = probes.find(|probe| probe.number == number) {
            probe.confirmed = Some(now);
        }
        lane.handle_executed(now)
    }

    /// Redis did not pass a probe on, which will not come back.
    pub(crate) fn handle_probe_refused(&mut self, lane: LaneId, number: u64) {
        if let Some(lane) = self.lanes.get_mut(&lane) {
            lane.probes.retain(|probe| probe.number != number);
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
        lane.handle_executed(now);
        lane.heard = true;
        Some(lag)
    }

    /// Whether Redis passed a message to oneself on and it did not come. The subscriber asked for a
    /// sign of life at `answered`, and everything that Redis had sent before has come. So the message
    /// is not still on its way, however slow the link is.
    pub(crate) fn is_deaf(&self, lane: LaneId, answered: Option<Instant>, now: Instant) -> bool {
        let Some((lane, answered)) = self.lanes.get(&lane).zip(answered) else {
            return false;
        };
        let mut confirmed = lane.probes.iter().filter_map(|probe| probe.confirmed);
        let silence = self.silence;
        lane.synced && confirmed.any(|it| it <= answered && now >= it + silence)
    }
}

impl End {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Publisher => "publisher",
            Self::Subscriber => "subscriber",
        }
    }
}

impl Lane {
    /// Whether messages are not to be sent, since Redis takes them later, or says nothing.
    fn is_put_off(&self) -> bool {
        let is_refused = self.refusal.as_ref().is_some_and(|it| it.is_passing);
        is_refused || self.is_silent.contains(&true)
    }

    /// A message was executed: whatever Redis refused before, it does no more. Returns whether that
    /// is news. Probes under way still count.
    fn handle_executed(&mut self, now: Instant) -> bool {
        let is_news = self.refusal.take().is_some();
        if is_news {
            self.held = Some(now);
        }
        is_news
    }

    fn hold(&mut self, now: Instant) {
        self.held = Some(now);
        self.is_open = false;
        self.heard = false;
        self.probes.clear();
    }
}

#[cfg(test)]
mod tests;
