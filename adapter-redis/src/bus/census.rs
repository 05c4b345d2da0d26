use std::collections::HashMap;

use crate::bus::lane::Lane;
use crate::cluster::Cluster;
use crate::cluster::peers::{counted, subscribers};
use crate::link::commands::{CommandError, Commands};
use crate::link::lock::lock;

/// How many peers there were when all was well, so that after Redis was away publishing may wait
/// until they are back.
#[derive(Debug, Default)]
pub(crate) struct Census {
    counts: HashMap<String, u64>,
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
        self.counts = channels.into_iter().zip(counts).collect();
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
        match self.counts.get(&presence) {
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
        let is_back = |(channel, count)| {
            self.counts
                .get(channel)
                .is_none_or(|before| count >= before)
        };
        Ok(channels.iter().zip(&counts).all(is_back))
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
