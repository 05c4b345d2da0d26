//! Who will answer: counts of subscribers, compared with the members.

use std::collections::HashMap;
use std::sync::Arc;

use adapter::{Away, Peers, Question};
use tokio::sync::{mpsc, oneshot};

use crate::cluster::Cluster;
use crate::cluster::membership::Record;
use crate::link::commands::{CommandError, Commands};
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
    cluster: Arc<Cluster>,
    commands: Arc<Commands>,
    mut calls: mpsc::Receiver<PeersCall>,
) {
    let mut batch = Vec::with_capacity(BATCH);
    while calls.recv_many(&mut batch, BATCH).await > 0 {
        if let Err(error) = answer(&cluster, &commands, &mut batch).await {
            tracing::debug!(target: "adapter_redis::peers", %error, "Redis: cannot count Node's servers");
            for call in batch.drain(..) {
                // Who does not wait any more needs no answer.
                let _ = call.reply.send(Err(Away));
            }
        }
    }
}

async fn answer(
    cluster: &Cluster,
    commands: &Commands,
    batch: &mut Vec<PeersCall>,
) -> Result<(), CommandError> {
    let records = cluster.records();
    let others = records
        .iter()
        .filter(|it| it.member.id != cluster.config.node);
    let others: Vec<&Record> = others.collect();
    let mut channels: Vec<String> = Vec::new();
    let mut starts: HashMap<Arc<str>, usize> = HashMap::new();
    for call in &*batch {
        starts.entry(call.namespace.clone()).or_insert_with(|| {
            let start = channels.len();
            let wire = cluster.wire(&call.namespace);
            channels.push(counted(&wire).to_owned());
            let seeds = others.iter().map(|record| record.seed);
            let seeds = std::iter::once(cluster.seed).chain(seeds);
            channels.extend(seeds.map(|seed| answered(&wire, seed)));
            start
        });
    }
    let counts = subscribers(cluster, commands, &channels).await?;
    for call in batch.drain(..) {
        let start = starts.get(&call.namespace).copied().unwrap_or(0);
        let counts = counts
            .get(start..start + 2 + others.len())
            .unwrap_or_default();
        let peers = compare(counts, &others);
        let peers = match has_no_answer_from_node(cluster.config.format, call.question) {
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

/// How many subscribe to each of `channels`.
pub(crate) async fn subscribers(
    cluster: &Cluster,
    commands: &Commands,
    channels: &[String],
) -> Result<Vec<u64>, CommandError> {
    let is_sharded = matches!(cluster.config.format, Format::Sharded(_));
    commands.subscribers(is_sharded, channels).await
}
