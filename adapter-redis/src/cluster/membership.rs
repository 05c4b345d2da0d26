//! Who lives: every node writes a key that expires, and reads those of the others.

use std::collections::BTreeMap;
use std::string::FromUtf8Error;
use std::sync::Arc;
use std::time::{Duration, Instant};

use adapter::{Member, NodeId, NodeState};
use redis::Pipeline;
use serde::{Deserialize, Serialize};

use crate::cluster::Cluster;
use crate::link::commands::{CommandError, Commands};
use crate::link::refusal::Meaning;

/// A live node, with what its uids are made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) member: Member,
    pub(crate) seed: u64,
}

/// Why a node cannot take part in the cluster, beside its connections.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// It could not tell yet that it lives.
    #[error("this node has not written its heartbeat to Redis yet")]
    NotRegistered,
    /// Another node has the same tag: socket ids would not tell them apart.
    #[error("node {0} has the same tag; restart this node to draw another one")]
    TagTaken(String),
    /// Another process has the same node id.
    #[error("another node has the same cluster.node_id")]
    IdTaken,
}

/// A record as it stands in Redis. Later versions may add keys; none is taken away.
#[derive(Debug, Serialize, Deserialize)]
struct Json {
    id: String,
    tag: String,
    address: String,
    version: String,
    connections: u64,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    draining: bool,
    #[serde(default, skip_serializing_if = "is_zero")]
    spread: u64,
    /// In hexadecimal, for those whose numbers have 53 bits.
    seed: String,
}

/// Tells that this node lives, and learns who else does.
pub(crate) struct Membership {
    cluster: Arc<Cluster>,
    commands: Arc<Commands>,
    keys: Keys,
    /// Members, by id.
    known: BTreeMap<NodeId, Record>,
    /// Since when Redis answers without a break.
    reachable: Option<Instant>,
    /// Members whose key is gone, to be struck off the index.
    gone: Vec<Raw>,
}

/// What came of a heartbeat.
pub(crate) struct Beat {
    /// Why this node cannot take part, if it cannot; `None` if Redis did not say who is there.
    pub(crate) problem: Option<Option<Problem>>,
    /// What Redis said, or what happened, where it did not take the heartbeat.
    pub(crate) refusal: Option<String>,
}

/// How long a heartbeat may take. A link that is slow or congested must not make a node seem gone.
const PATIENCE: Duration = Duration::from_secs(3);

/// In one slot, so that one command can name several.
struct Keys {
    index: String,
    own: String,
    tag: String,
}

impl Keys {
    /// The key of the record of node `id`.
    fn of(&self, id: &str) -> String {
        format!("{}#{id}", self.index)
    }
}

/// What stands in Redis: others may have written it, and it need not be text.
type Raw = Vec<u8>;

/// What a heartbeat reads first: who has our id and our tag, and who may be there.
type First = (Option<Raw>, Option<Raw>, Vec<Raw>);

impl Membership {
    pub(crate) fn new(cluster: Arc<Cluster>, commands: Arc<Commands>) -> Self {
        let config = &cluster.config;
        let index = format!("{}-gateway{{nodes}}", config.prefix);
        let keys = Keys {
            own: String::new(),
            tag: format!("{index}tag#{}", config.tag),
            index,
        };
        let own = keys.of(config.node.as_str());
        let keys = Keys { own, ..keys };
        Self {
            cluster,
            commands,
            keys,
            known: BTreeMap::new(),
            reachable: None,
            gone: Vec::new(),
        }
    }

    /// Tells that this node lives, and reads what the others told.
    pub(crate) async fn beat(&mut self) -> Beat {
        let mut beaten = self.write().await;
        if beaten.as_ref().is_err_and(is_replica) {
            // Perhaps another server has become the master, and this connection is an old one.
            self.commands.forget();
            self.cluster.suspected.send_replace(());
            beaten = self.write().await;
        }
        let refusal = match &beaten {
            Err(error) if error.meaning() == Some(Meaning::WritesLater) => {
                let refusal = error.to_string();
                beaten = self.look().await;
                Some(refusal)
            }
            Err(error) => Some(error.to_string()),
            Ok(_) => None,
        };
        if beaten.is_err() {
            self.reachable = None;
        }
        Beat {
            problem: beaten.ok(),
            refusal,
        }
    }

    async fn write(&mut self) -> Result<Option<Problem>, CommandError> {
        let config = &self.cluster.config;
        let ttl = milliseconds(config.timing.member_ttl);
        let claims = self.claims(ttl);
        let (record, holder, ids): First = self.commands.run_within(PATIENCE, &claims).await?;
        let problem = self.problem(record.as_deref(), holder.as_deref());
        let (ids, illegible) = self.legible(ids);
        let mut commands = redis::pipe();
        commands.atomic();
        self.confirm(&mut commands, problem.as_ref(), ttl);
        commands.cmd("MGET").arg(self.records_of(&ids));
        let (mut texts,): (Vec<Option<Raw>>,) =
            self.commands.run_within(PATIENCE, &commands).await?;
        texts.drain(..texts.len().min(1));

        let now = Instant::now();
        let reachable = *self.reachable.get_or_insert(now);
        // After Redis was away, perhaps restarted empty, nodes need a while to come back.
        let is_patient = now < reachable + config.timing.member_ttl;
        self.gone = illegible;
        self.update(&ids, &texts, is_patient);
        self.finish(problem.as_ref());
        Ok(problem)
    }

    /// Reads what the others told, while Redis refuses what this node tells. Nobody's records are
    /// renewed then, so one that is missing says nothing.
    async fn look(&mut self) -> Result<Option<Problem>, CommandError> {
        let mut commands = redis::pipe();
        commands.cmd("GET").arg(&self.keys.own);
        commands.cmd("GET").arg(&self.keys.tag);
        commands.cmd("SMEMBERS").arg(&self.keys.index);
        let (record, holder, ids): First = self.commands.run_within(PATIENCE, &commands).await?;
        let problem = self.problem(record.as_deref(), holder.as_deref());
        let (ids, _) = self.legible(ids);
        let mut commands = redis::pipe();
        commands.cmd("MGET").arg(self.records_of(&ids));
        let (mut texts,): (Vec<Option<Raw>>,) =
            self.commands.run_within(PATIENCE, &commands).await?;
        texts.drain(..texts.len().min(1));
        self.reachable = None;
        self.update(&ids, &texts, true);
        self.gone.clear();
        self.finish(problem.as_ref());
        Ok(problem)
    }

    /// Ids of members, and what stands among them and is none.
    fn legible(&self, ids: Vec<Raw>) -> (Vec<String>, Vec<Raw>) {
        let ids = ids.into_iter().take(self.cluster.config.limits.members);
        let (ids, illegible): (Vec<_>, Vec<_>) =
            ids.map(String::from_utf8).partition(Result::is_ok);
        let illegible = illegible.into_iter().filter_map(Result::err);
        let illegible = illegible.map(FromUtf8Error::into_bytes).collect();
        (ids.into_iter().flatten().collect(), illegible)
    }

    /// The keys of the records of `ids`, after this node's own: a command without a key would be an
    /// error.
    fn records_of(&self, ids: &[String]) -> Vec<String> {
        let keys = ids.iter().map(|id| self.keys.of(id));
        std::iter::once(self.keys.own.clone()).chain(keys).collect()
    }

    /// Tells who lives, this node among them.
    fn finish(&mut self, problem: Option<&Problem>) {
        if problem != Some(&Problem::IdTaken)
            && let Some(own) = Record::parse(self.json().as_bytes())
        {
            self.known.insert(own.member.id.clone(), own);
        }
        let records = self.known.values().cloned().collect();
        self.cluster.set_records(records);
    }

    /// Claims the id and the tag, unless another process has them.
    fn claims(&self, ttl: u64) -> Pipeline {
        let mut commands = redis::pipe();
        commands.atomic();
        let node = self.cluster.config.node.as_str().to_owned();
        for (key, value) in [(&self.keys.own, self.json()), (&self.keys.tag, node)] {
            let claim = commands.cmd("SET").arg(key).arg(value);
            claim.arg("NX").arg("PX").arg(ttl).ignore();
            commands.cmd("GET").arg(key);
        }
        commands.cmd("SMEMBERS").arg(&self.keys.index);
        commands
    }

    /// Tells that this node lives, where its claims are good.
    fn confirm(&self, commands: &mut Pipeline, problem: Option<&Problem>, ttl: u64) {
        let node = self.cluster.config.node.as_str();
        if problem != Some(&Problem::IdTaken) {
            let set = commands.cmd("SET").arg(&self.keys.own);
            set.arg(self.json()).arg("PX").arg(ttl).ignore();
            let add = commands.cmd("SADD").arg(&self.keys.index);
            add.arg(node).ignore();
        }
        if problem.is_none() {
            let extend = commands.cmd("PEXPIRE").arg(&self.keys.tag);
            extend.arg(ttl).ignore();
        }
        if !self.gone.is_empty() {
            let remove = commands.cmd("SREM").arg(&self.keys.index);
            remove.arg(&self.gone).ignore();
        }
    }

    /// Whether the claims are good, as the keys say.
    fn problem(&self, record: Option<&[u8]>, holder: Option<&[u8]>) -> Option<Problem> {
        let record = record.and_then(Record::parse);
        if record.is_some_and(|record| record.seed != self.cluster.seed) {
            return Some(Problem::IdTaken);
        }
        let holder = holder.filter(|it| *it != self.cluster.config.node.as_str().as_bytes())?;
        let holder = String::from_utf8_lossy(holder).into_owned();
        Some(Problem::TagTaken(holder))
    }

    fn update(&mut self, ids: &[String], texts: &[Option<Raw>], is_patient: bool) {
        let records: BTreeMap<NodeId, Record> = texts
            .iter()
            .flatten()
            .filter_map(|text| Record::parse(text))
            .map(|record| (record.member.id.clone(), record))
            .collect();
        let missing = ids.iter().zip(texts).filter(|(_, text)| text.is_none());
        let own = self.cluster.config.node.as_str();
        let missing = missing.map(|(id, _)| id).filter(|id| *id != own);
        self.gone.extend(missing.map(|id| id.clone().into_bytes()));
        if !is_patient {
            self.known.clear();
        }
        self.known.extend(records);
    }

    fn json(&self) -> String {
        let config = &self.cluster.config;
        let state = self.cluster.state();
        let json = Json {
            id: config.node.as_str().to_owned(),
            tag: config.tag.as_str().to_owned(),
            address: config.address.clone(),
            version: config.version.clone(),
            connections: state.connections,
            draining: state.is_draining,
            spread: state.spread,
            seed: format!("{:016x}", self.cluster.seed),
        };
        serde_json::to_string(&json).expect("strings and numbers are JSON")
    }
}

/// Strikes this node off the members, among which it is.
pub(crate) async fn leave(cluster: &Arc<Cluster>, commands: &Arc<Commands>) {
    let membership = Membership::new(cluster.clone(), commands.clone());
    let keys = &membership.keys;
    let mut pipeline = redis::pipe();
    pipeline.atomic();
    pipeline.cmd("DEL").arg(&keys.own).ignore();
    pipeline.cmd("DEL").arg(&keys.tag).ignore();
    let node = cluster.config.node.as_str();
    pipeline.cmd("SREM").arg(&keys.index).arg(node).ignore();
    if let Err(error) = commands.run::<()>(&pipeline).await {
        tracing::debug!(target: "adapter_redis::membership", %error, "Redis: cannot say that this node leaves");
    }
}

impl Record {
    fn parse(text: &[u8]) -> Option<Self> {
        let json: Json = serde_json::from_slice(text).ok()?;
        Some(Self {
            member: Member {
                id: NodeId::new(&json.id).ok()?,
                tag: json.tag,
                address: json.address,
                version: json.version,
                state: NodeState {
                    connections: json.connections,
                    is_draining: json.draining,
                    spread: json.spread,
                },
            },
            seed: u64::from_str_radix(&json.seed, 16).ok()?,
        })
    }
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

fn is_replica(error: &CommandError) -> bool {
    error.meaning() == Some(Meaning::NoMaster)
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis())
        .unwrap_or(u64::MAX)
        .max(1)
}
