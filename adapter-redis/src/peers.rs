//! Who will answer: counts of subscribers, compared with the members.

use std::collections::HashMap;
use std::sync::Arc;

use adapter::{Away, Peers, Question};
use tokio::sync::{mpsc, oneshot};

use crate::commands::{CommandError, Commands};
use crate::lane::Lane;
use crate::membership::Record;
use crate::shared::Shared;
use crate::wire::{Format, Uid, Wire};

/// A question of a caller.
#[derive(Debug)]
pub(crate) struct PeersCall {
    pub(crate) namespace: Arc<str>,
    pub(crate) question: Question,
    pub(crate) reply: oneshot::Sender<Result<Peers, Away>>,
}

/// Questions that are answered by one command.
const BATCH: usize = 64;
/// Questions that may wait.
pub(crate) const WAITING: usize = 10_000;

/// Answers questions for ever, those that came meanwhile together.
pub(crate) async fn run(
    shared: Arc<Shared>,
    commands: Arc<Commands>,
    mut calls: mpsc::Receiver<PeersCall>,
) {
    let mut batch = Vec::with_capacity(BATCH);
    while calls.recv_many(&mut batch, BATCH).await > 0 {
        if let Err(error) = answer(&shared, &commands, &mut batch).await {
            tracing::debug!(target: "adapter_redis::peers", %error, "Redis: peers not counted");
            for call in batch.drain(..) {
                // Who does not wait any more needs no answer.
                let _ = call.reply.send(Err(Away));
            }
        }
    }
}

async fn answer(
    shared: &Shared,
    commands: &Commands,
    batch: &mut Vec<PeersCall>,
) -> Result<(), CommandError> {
    let records = shared.records();
    let others = records
        .iter()
        .filter(|it| it.member.id != shared.config.node);
    let others: Vec<&Record> = others.collect();
    let mut channels: Vec<String> = Vec::new();
    let mut starts: HashMap<Arc<str>, usize> = HashMap::new();
    for call in &*batch {
        starts.entry(call.namespace.clone()).or_insert_with(|| {
            let start = channels.len();
            let wire = shared.wire(&call.namespace);
            channels.push(counted(&wire).to_owned());
            let seeds = others.iter().map(|record| record.seed);
            let seeds = std::iter::once(shared.seed).chain(seeds);
            channels.extend(seeds.map(|seed| answered(&wire, seed)));
            start
        });
    }
    let counts = subscribers(shared, commands, &channels).await?;
    for call in batch.drain(..) {
        let start = starts.get(&call.namespace).copied().unwrap_or(0);
        let counts = counts
            .get(start..start + 2 + others.len())
            .unwrap_or_default();
        let peers = compare(counts, &others);
        let peers = match has_no_answer_from_node(shared.config.format, call.question) {
            true => Peers { others: 0, ..peers },
            false => peers,
        };
        // Who does not wait any more needs no answer.
        let _ = call.reply.send(Ok(peers));
    }
    Ok(())
}

/// `counts` are the subscribers that count as nodes, then whether this node listens, then whether
/// each of `others` does.
fn compare(counts: &[u64], others: &[&Record]) -> Peers {
    let mut peers = Peers::default();
    let Some((all, listening)) = counts.split_first() else {
        return peers;
    };
    let known = listening.iter().filter(|count| **count > 0).count() as u64;
    peers.others = usize::try_from(all.saturating_sub(known)).unwrap_or(0);
    for (record, count) in others.iter().zip(listening.get(1..).unwrap_or_default()) {
        let id = record.member.id.clone();
        if *count > 0 {
            peers.nodes.push(id);
        } else {
            peers.absent.push(id);
        }
    }
    peers
}

/// Node's adapters do not answer joins, leaves and disconnects, and the sharded one cannot be asked
/// for all rooms.
fn has_no_answer_from_node(format: Format, question: Question) -> bool {
    matches!(
        (format, question),
        (_, Question::Change) | (Format::Sharded(_), Question::Rooms)
    )
}

/// The channel by whose subscribers nodes are counted; questions go by it.
pub(crate) fn counted(wire: &Wire) -> &str {
    match wire.format {
        Format::Classic { .. } => &wire.channels.requests,
        Format::Sharded(_) => &wire.channels.main,
    }
}

/// The channel that only the gateway node with `seed` subscribes to.
fn answered(wire: &Wire, seed: u64) -> String {
    let uid = Uid::new(wire.format, seed, &wire.namespace);
    match wire.format {
        Format::Classic { .. } => wire.channels.responses_to(uid.as_str()),
        Format::Sharded(_) => wire.channels.room(uid.as_str()),
    }
}

async fn subscribers(
    shared: &Shared,
    commands: &Commands,
    channels: &[String],
) -> Result<Vec<u64>, CommandError> {
    let is_sharded = matches!(shared.config.format, Format::Sharded(_));
    commands.subscribers(is_sharded, channels).await
}

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
const ASTRAY: u32 = 3;

impl Census {
    /// Counts, to be called while the node is up.
    pub(crate) async fn take(
        &mut self,
        shared: &Shared,
        commands: &Commands,
        lanes: &[Lane],
    ) -> Result<(), CommandError> {
        let channels: Vec<String> = lanes.iter().flat_map(census_channels).collect();
        let counts = subscribers(shared, commands, &channels).await?;
        self.counts = channels.into_iter().zip(counts).collect();
        Ok(())
    }

    /// The lane whose subscriptions are not at the server that commands go to, if there is one; after
    /// [`take`](Self::take). It is the same server unless a master was replaced and connections to the old
    /// one are still open.
    pub(crate) fn astray<'a>(&mut self, lanes: &'a [Lane]) -> Option<&'a Lane> {
        let lane = lanes.first()?;
        if !lane.directory.has_one_master() {
            return None;
        }
        let presence = crate::shared::lock(&lane.channels).presence.clone();
        match self.counts.get(&presence) {
            Some(0) => self.uncounted += 1,
            Some(_) => (self.was_counted, self.uncounted) = (true, 0),
            None => {}
        }
        let is_astray = self.was_counted && self.uncounted >= ASTRAY;
        self.uncounted %= ASTRAY;
        is_astray.then_some(lane)
    }

    /// Whether as many peers as before hear what `lane` publishes.
    pub(crate) async fn is_complete(
        &self,
        shared: &Shared,
        commands: &Commands,
        lane: &Lane,
    ) -> Result<bool, CommandError> {
        let channels = census_channels(lane);
        let counts = subscribers(shared, commands, &channels).await?;
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
    let shared = &lane.shared;
    let wires = shared.some_namespaces();
    let counted = wires.iter().map(|wire| counted(wire).to_owned());
    let here = counted.filter(|channel| shared.interests().lane_of(channel) == Some(lane.id));
    let presence = crate::shared::lock(&lane.channels).presence.clone();
    std::iter::once(presence).chain(here).collect()
}
