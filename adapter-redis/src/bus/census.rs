use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use crate::bus::lane::Lane;
use crate::cluster::Cluster;
use crate::cluster::peers::{counted, subscribers};
use crate::link::commands::{CommandError, Commands};
use crate::link::lock::lock;

/// How many peers there were when all was well, so that after Redis was away publishing may wait
/// until they are back.
///
/// A peer that is not counted any more is waited for as long as a member counts as one that lives
/// ([`member_ttl`](crate::config::Timing::member_ttl)). Who finds first that the master is another one
/// leaves the old one first, and those who still count there would wait for nobody.
#[derive(Debug, Default)]
pub(crate) struct Census {
    counts: HashMap<String, RecentCounts>,
    /// Whether this node was ever counted where commands go, and how often in a row it was not.
    was_counted: bool,
    uncounted: u32,
}

/// How often in a row a node has to be missing.
const MAX_UNCOUNTED: u32 = 3;

impl Census {
    /// Counts, to be called while the node is up.
    pub(crate) async fn take(
        &mut self,
        cluster: &Cluster,
        commands: &Commands,
        lanes: &[Lane],
    ) -> Result<(), CommandError> {
        let channels: Vec<String> = lanes.iter().flat_map(census_channels).collect();
        let counts = subscribers(cluster, commands, &channels).await?;
        let (now, ttl) = (Instant::now(), cluster.config.timing.member_ttl);
        let mut before = std::mem::take(&mut self.counts);
        for (channel, count) in channels.into_iter().zip(counts) {
            let mut counts = before.remove(&channel).unwrap_or_default();
            counts.add(count, now, ttl);
            self.counts.insert(channel, counts);
        }
        Ok(())
    }

    /// The lane whose subscriptions are not at the server that commands go to, if there is one; after
    /// [`take`](Self::take). It is the same server unless a master was replaced and connections to the old
    /// one are still open.
    pub(crate) fn misplaced<'a>(&mut self, lanes: &'a [Lane]) -> Option<&'a Lane> {
        let lane = lanes.first()?;
        if !lane.directory.has_one_master() {
            return None;
        }
        let presence = lock(&lane.channels).presence.clone();
        match self.counts.get(&presence).and_then(RecentCounts::last) {
            Some(0) => self.uncounted += 1,
            Some(_) => (self.was_counted, self.uncounted) = (true, 0),
            None => {}
        }
        let is_misplaced = self.was_counted && self.uncounted >= MAX_UNCOUNTED;
        self.uncounted %= MAX_UNCOUNTED;
        is_misplaced.then_some(lane)
    }

    /// Whether as many peers as before hear what `lane` publishes.
    pub(crate) async fn is_complete(
        &self,
        cluster: &Cluster,
        commands: &Commands,
        lane: &Lane,
    ) -> Result<bool, CommandError> {
        let channels = census_channels(lane);
        let counts = subscribers(cluster, commands, &channels).await?;
        let is_back = |(channel, count): (&String, &u64)| {
            self.counts
                .get(channel)
                .is_none_or(|before| *count >= before.most())
        };
        Ok(channels.iter().zip(&counts).all(is_back))
    }
}

/// The counts of one channel that were not followed by as high a one, the highest first. So there are
/// at most as many as peers.
#[derive(Debug, Default)]
struct RecentCounts(VecDeque<(u64, Instant)>);

impl RecentCounts {
    /// Adds what was counted at `now`, and forgets what was counted more than `ttl` before.
    fn add(&mut self, count: u64, now: Instant, ttl: Duration) {
        while self.0.back().is_some_and(|(lower, _)| *lower <= count) {
            self.0.pop_back();
        }
        while self.0.front().is_some_and(|(_, at)| now > *at + ttl) {
            self.0.pop_front();
        }
        self.0.push_back((count, now));
    }

    fn last(&self) -> Option<u64> {
        self.0.back().map(|(count, _)| *count)
    }

    fn most(&self) -> u64 {
        self.0.front().map_or(0, |(count, _)| *count)
    }
}

/// The channel of all gateway nodes on `lane`, and those by which Node nodes are counted.
fn census_channels(lane: &Lane) -> Vec<String> {
    let cluster = &lane.shared.cluster;
    let wires = cluster.some_namespaces();
    let counted = wires.iter().map(|wire| counted(wire).to_owned());
    let here = counted.filter(|channel| cluster.interests().lane_of(channel) == Some(lane.id));
    let presence = lock(&lane.channels).presence.clone();
    std::iter::once(presence).chain(here).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_not_counted_any_more_is_waited_for_as_long_as_a_member_lives() {
        let start = Instant::now();
        let ttl = Duration::from_secs(4);
        let mut counts = RecentCounts::default();
        assert_eq!((counts.last(), counts.most()), (None, 0));
        let table = [
            // seconds, counted, most
            (0, 3, 3),
            (1, 3, 3),
            (2, 1, 3),
            (3, 2, 3),
            (5, 1, 3),
            (6, 1, 2),
            (7, 1, 2),
            (8, 1, 1),
            (9, 5, 5),
        ];
        for (second, counted, most) in table {
            let now = start + Duration::from_secs(second);
            counts.add(counted, now, ttl);
            assert_eq!(
                (counts.last(), counts.most()),
                (Some(counted), most),
                "after {second} s"
            );
            assert!(counts.0.len() <= 3);
        }
    }
}
