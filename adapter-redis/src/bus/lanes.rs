use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::bus::lane::{Lane, LaneChannels};
use crate::bus::shared::Shared;
use crate::bus::{publisher, subscriber};
use crate::cluster::interests::Purpose;
use crate::link::commands::Commands;
use crate::link::directory::{Directory, Topology};
use crate::link::lock::lock;
use crate::link::resp::Family;
use crate::link::route::{LaneId, Route};
use crate::link::servers::{Endpoint, Kind};
use crate::wire::Format;

/// How long messages under way hold up a change of the slots.
const DRAIN: Duration = Duration::from_secs(1);
/// Shortest pause between two looks at the slots.
const MIN_PAUSE: Duration = Duration::from_millis(100);

/// The lanes and their tasks.
pub(crate) struct Lanes {
    shared: Arc<Shared>,
    directory: Arc<Directory>,
    commands: Arc<Commands>,
    tasks: BTreeMap<LaneId, (Option<Endpoint>, [JoinHandle<()>; 2])>,
    lanes: Arc<Mutex<Vec<Lane>>>,
    next: u32,
}

impl Lanes {
    pub(crate) fn new(
        shared: Arc<Shared>,
        directory: Arc<Directory>,
        commands: Arc<Commands>,
    ) -> Self {
        Self {
            shared,
            directory,
            commands,
            tasks: BTreeMap::new(),
            lanes: Arc::default(),
            next: 0,
        }
    }

    /// The lanes that there are, now and later.
    pub(crate) fn current(&self) -> Arc<Mutex<Vec<Lane>>> {
        self.lanes.clone()
    }

    /// Makes the only lane that there is without a cluster.
    pub(crate) async fn apply_single(&mut self) {
        let endpoint = match &self.shared.cluster.config.servers.kind {
            Kind::Single(endpoint) => Some(endpoint.clone()),
            Kind::Sentinel { .. } | Kind::Cluster(_) => None,
        };
        let lane = self.new_id();
        self.apply(Route::Single(lane), &[(lane, endpoint)]).await;
    }

    /// Reads the slots of the cluster again and again, for ever.
    pub(crate) async fn follow(&mut self) {
        let mut last = None;
        let mut is_failing = false;
        loop {
            let topology = self.directory.topology().await;
            let was_failing = std::mem::replace(&mut is_failing, topology.is_err());
            match topology {
                Ok(topology) => {
                    if last.as_ref() != Some(&topology) {
                        tracing::info!(target: "adapter_redis::bus", masters = topology.masters.len(), "Redis: the slots of the cluster are known");
                        self.apply_topology(&topology).await;
                        last = Some(topology);
                    }
                }
                Err(error) => {
                    self.shared
                        .status()
                        .set_unregistered(Some(error.to_string()));
                    match was_failing {
                        true => {
                            tracing::debug!(target: "adapter_redis::bus", %error, "Redis: cannot read the slots of the cluster")
                        }
                        false => {
                            tracing::warn!(target: "adapter_redis::bus", %error, "Redis: cannot read the slots of the cluster")
                        }
                    }
                }
            }
            let wanted = self.shared.topology_wanted.notified();
            let pause = self.shared.cluster.config.timing.topology;
            if tokio::time::timeout(pause, wanted).await.is_ok() {
                // Whatever made somebody ask takes a moment to settle.
                tokio::time::sleep(MIN_PAUSE).await;
            }
        }
    }

    async fn apply_topology(&mut self, topology: &Topology) {
        let lanes: Vec<(LaneId, Option<Endpoint>)> = topology
            .masters
            .iter()
            .map(|master| (self.id_of(master), Some(master.clone())))
            .collect();
        let lane = |master: &Option<usize>| master.and_then(|it| lanes.get(it)).map(|it| it.0);
        let slots = topology.slots.iter().map(lane);
        self.apply(Route::Slots(slots.collect()), &lanes).await;
    }

    fn id_of(&mut self, master: &Endpoint) -> LaneId {
        let mut tasks = self.tasks.iter();
        let known = tasks.find(|(_, (endpoint, _))| endpoint.as_ref() == Some(master));
        match known {
            Some((id, _)) => *id,
            None => self.new_id(),
        }
    }

    fn new_id(&mut self) -> LaneId {
        self.next += 1;
        LaneId(self.next)
    }

    /// Makes `route` the way of messages. What is under way gets a moment to arrive or to come back,
    /// so that nothing overtakes it.
    async fn apply(&mut self, route: Route, lanes: &[(LaneId, Option<Endpoint>)]) {
        let shared = self.shared.clone();
        shared.with_queue(|queue| queue.freeze());
        let deadline = Instant::now() + DRAIN;
        while shared.in_flight.load(Ordering::Relaxed) > 0 && Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let ids: Vec<LaneId> = lanes.iter().map(|(id, _)| *id).collect();
        let gone = self.tasks.extract_if(.., |id, _| !ids.contains(id));
        for (_, (_, tasks)) in gone.collect::<Vec<_>>() {
            stop(tasks).await;
        }
        shared.cluster.interests().reroute(route.clone(), &ids);
        shared.status().set_lanes(&ids);
        self.rename_channels(&route, lanes);
        shared.with_queue(|queue| queue.reroute(route, &ids));
        for lane in lock(&self.lanes).iter() {
            if self.tasks.contains_key(&lane.id) {
                continue;
            }
            let wake = shared.with_queue(|queue| queue.add_lane(lane.id));
            let tasks = [
                tokio::spawn(guarded(shared.clone(), publisher::run(lane.clone(), wake))),
                tokio::spawn(guarded(shared.clone(), subscriber::run(lane.clone()))),
            ];
            self.tasks.insert(lane.id, (lane.endpoint.clone(), tasks));
        }
        shared.cluster.interests_changed.send_replace(());
        shared.handle_status_change();
    }

    /// Gives each lane channels that it carries, and subscribes to them.
    fn rename_channels(&self, route: &Route, lanes: &[(LaneId, Option<Endpoint>)]) {
        let config = &self.shared.cluster.config;
        let mut interests = self.shared.cluster.interests();
        let family = family(config.format);
        let mut current = lock(&self.lanes);
        let old = std::mem::take(&mut *current);
        let old_channels: Vec<_> = old
            .iter()
            .map(|lane| lock(&lane.channels).clone())
            .collect();
        for (id, endpoint) in lanes {
            let presence = format!("{}-gateway#nodes", config.prefix);
            let probe = format!(
                "{}-gateway#probe#{}",
                config.prefix, self.shared.cluster.seed
            );
            let (Some(presence), Some(probe)) = (
                route.channel_of(*id, &presence),
                route.channel_of(*id, &probe),
            ) else {
                // A master without slots carries nothing.
                continue;
            };
            let channels = LaneChannels { probe, presence };
            let known = old.iter().find(|lane| lane.id == *id);
            interests.acquire(family, &channels.probe, Purpose::Probe(*id), true);
            interests.acquire(family, &channels.presence, Purpose::Presence, true);
            match known {
                Some(lane) => {
                    *lock(&lane.channels) = channels;
                    current.push(lane.clone());
                }
                None => current.push(Lane {
                    id: *id,
                    endpoint: endpoint.clone(),
                    channels: Arc::new(Mutex::new(channels)),
                    shared: self.shared.clone(),
                    directory: self.directory.clone(),
                    commands: self.commands.clone(),
                    renewal: watch::channel(()).0,
                }),
            }
        }
        // Wanted anew above where they stay.
        for LaneChannels { probe, presence } in old_channels {
            interests.release(family, &probe, Instant::now());
            interests.release(family, &presence, Instant::now());
        }
    }

    /// Ends all tasks.
    pub(crate) async fn close(self) {
        for (_, (_, tasks)) in self.tasks {
            stop(tasks).await;
        }
    }
}

fn family(format: Format) -> Family {
    match format {
        Format::Classic { .. } => Family::Exact,
        Format::Sharded(_) => Family::Sharded,
    }
}

/// A task of a lane, which runs until it is aborted. If it panics, the bus ends.
async fn guarded(shared: Arc<Shared>, task: impl Future<Output = ()>) {
    let guard = PanicGuard(shared);
    task.await;
    drop(guard);
}

struct PanicGuard(Arc<Shared>);

impl Drop for PanicGuard {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.panicked.notify_one();
        }
    }
}

/// Ends tasks and waits until what they held is put back.
async fn stop(tasks: [JoinHandle<()>; 2]) {
    for task in tasks {
        task.abort();
        // It was aborted.
        let _ = task.await;
    }
}
