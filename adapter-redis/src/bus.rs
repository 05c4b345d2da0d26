//! The bus: one thread with all the connections of a node.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::commands::Commands;
use crate::directory::{Directory, Topology};
use crate::interests::Purpose;
use crate::lane::{Lane, LaneChannels};
use crate::membership::{self, Membership};
use crate::peers::{self, Census, PeersCall};
use crate::resp::Family;
use crate::route::{LaneId, Route};
use crate::servers::{Endpoint, Kind};
use crate::shared::{Shared, lock};
use crate::wire::Format;
use crate::{publisher, subscriber};

/// How long a stopping bus tries to get rid of what waits.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// How long messages under way hold up a change of the slots.
const DRAIN: Duration = Duration::from_secs(1);
/// Shortest pause between two looks at the slots.
const MOMENT: Duration = Duration::from_millis(100);
/// How often peers are counted while they come back.
const RECOUNT: Duration = Duration::from_millis(50);

/// What the thread needs.
pub(crate) struct Bus {
    pub(crate) shared: Arc<Shared>,
    pub(crate) directory: Arc<Directory>,
    pub(crate) commands: Arc<Commands>,
    pub(crate) calls: mpsc::Receiver<PeersCall>,
    /// Becomes true, or its sender is gone, when the bus has to stop.
    pub(crate) stop: watch::Receiver<bool>,
}

impl Bus {
    /// Runs until it is told to stop.
    pub(crate) async fn run(self) {
        let Self {
            shared,
            directory,
            commands,
            calls,
            mut stop,
        } = self;
        let lanes = Arc::new(Mutex::new(Vec::new()));
        let mut roads = Roads {
            shared: shared.clone(),
            directory: directory.clone(),
            commands: commands.clone(),
            tasks: BTreeMap::new(),
            lanes: lanes.clone(),
            next: 0,
        };
        let is_sharded_cluster = matches!(shared.config.format, Format::Sharded(_))
            && matches!(shared.config.servers.kind, Kind::Cluster(_));
        if !is_sharded_cluster {
            roads.apply_single().await;
        }
        tokio::select! {
            // A closed channel means the same.
            _ = stop.wait_for(|stop| *stop) => {}
            () = peers::run(shared.clone(), commands.clone(), calls) => {}
            () = Membership::new(shared.clone(), commands.clone()).run() => {}
            () = settle(&shared, &commands, &lanes) => {}
            () = roads.follow(), if is_sharded_cluster => {}
            () = shared.panicked.notified() => {
                tracing::error!(target: "adapter_redis::bus", "Redis: a task of a connection has panicked");
                return;
            }
        }
        let deadline = Instant::now() + LAST_WORDS;
        while Instant::now() < deadline && shared.with_queue(|queue| queue.len()) > 0
            || Instant::now() < deadline && shared.in_flight.load(Ordering::Relaxed) > 0
        {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        membership::leave(&shared, &commands).await;
        roads.close().await;
    }
}

/// The lanes and their tasks.
struct Roads {
    shared: Arc<Shared>,
    directory: Arc<Directory>,
    commands: Arc<Commands>,
    tasks: BTreeMap<LaneId, (Option<Endpoint>, [JoinHandle<()>; 2])>,
    lanes: Arc<Mutex<Vec<Lane>>>,
    next: u32,
}

impl Roads {
    async fn apply_single(&mut self) {
        let endpoint = match &self.shared.config.servers.kind {
            Kind::Single(endpoint) => Some(endpoint.clone()),
            Kind::Sentinel { .. } | Kind::Cluster(_) => None,
        };
        let lane = self.new_id();
        self.apply(Route::Single(lane), &[(lane, endpoint)]).await;
    }

    /// Reads the slots of the cluster again and again, for ever.
    async fn follow(&mut self) {
        let mut last = None;
        let mut is_lamented = false;
        loop {
            let topology = self.directory.topology().await;
            let was_lamented = std::mem::replace(&mut is_lamented, topology.is_err());
            match topology {
                Ok(topology) => {
                    if last.as_ref() != Some(&topology) {
                        tracing::info!(target: "adapter_redis::bus", masters = topology.masters.len(), "Redis: cluster slots");
                        self.apply_topology(&topology).await;
                        last = Some(topology);
                    }
                }
                Err(error) => {
                    self.shared
                        .status()
                        .set_unregistered(Some(error.to_string()));
                    match was_lamented {
                        true => {
                            tracing::debug!(target: "adapter_redis::bus", %error, "Redis: no cluster slots")
                        }
                        false => {
                            tracing::warn!(target: "adapter_redis::bus", %error, "Redis: no cluster slots")
                        }
                    }
                }
            }
            let wanted = self.shared.topology_wanted.notified();
            let pause = self.shared.config.timing.topology;
            if tokio::time::timeout(pause, wanted).await.is_ok() {
                // Whatever made somebody ask takes a moment to settle.
                tokio::time::sleep(MOMENT).await;
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
        shared.interests().reroute(route.clone(), &ids);
        shared.status().set_lanes(&ids);
        self.rename_channels(&route, lanes);
        shared.with_queue(|queue| queue.reroute(route, &ids));
        for lane in lock(&self.lanes).iter() {
            if self.tasks.contains_key(&lane.id) {
                continue;
            }
            let wake = shared.with_queue(|queue| queue.add_lane(lane.id));
            let tasks = [
                tokio::spawn(watched(shared.clone(), publisher::run(lane.clone(), wake))),
                tokio::spawn(watched(shared.clone(), subscriber::run(lane.clone()))),
            ];
            self.tasks.insert(lane.id, (lane.endpoint.clone(), tasks));
        }
        shared.interests_changed.send_replace(());
        shared.handle_status_change();
    }

    /// Gives each lane channels that it carries, and subscribes to them.
    fn rename_channels(&self, route: &Route, lanes: &[(LaneId, Option<Endpoint>)]) {
        let config = &self.shared.config;
        let mut interests = self.shared.interests();
        let family = family(config.format);
        let mut current = lock(&self.lanes);
        let old = std::mem::take(&mut *current);
        let old_channels: Vec<_> = old
            .iter()
            .map(|lane| lock(&lane.channels).clone())
            .collect();
        for (id, endpoint) in lanes {
            let presence = format!("{}-gateway#nodes", config.prefix);
            let probe = format!("{}-gateway#probe#{}", config.prefix, self.shared.seed);
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

    async fn close(self) {
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
async fn watched(shared: Arc<Shared>, task: impl Future<Output = ()>) {
    let watch = Watch(shared);
    task.await;
    drop(watch);
}

struct Watch(Arc<Shared>);

impl Drop for Watch {
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

/// Counts peers while all is well, and lets lanes publish when their peers are back.
async fn settle(shared: &Arc<Shared>, commands: &Commands, lanes: &Mutex<Vec<Lane>>) {
    let mut census = Census::default();
    let mut changed = shared.status_changed.subscribe();
    loop {
        let settling = shared.status().settling();
        let all = lock(lanes).clone();
        for lane in all.iter().filter(|lane| settling.contains(&lane.id)) {
            // Without an answer the lane opens after a while by itself.
            if let Ok(true) = census.is_complete(shared, commands, lane).await {
                shared.status().open(lane.id);
                shared.handle_status_change();
            }
        }
        let is_settled = shared.status().settling().is_empty();
        if is_settled && shared.is_up() {
            // Counts that could not be taken are taken the next time.
            let _ = census.take(shared, commands, &all).await;
            if let Some(lane) = census.astray(&all) {
                tracing::warn!(target: "adapter_redis::bus",
                    "Redis: subscriptions are in force at another server than commands go to"
                );
                lane.renew();
            }
        }
        let pause = match is_settled {
            true => shared.config.timing.heartbeat,
            false => RECOUNT,
        };
        // The end of the pause and a change mean the same.
        let _ = tokio::time::timeout(pause, changed.changed()).await;
    }
}
