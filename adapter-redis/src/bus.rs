//! The bus: one thread with all the connections of a node, and what flows over them.
//!
//! - [`lanes`], [`lane`]: for each Redis server one connection that publishes and one that subscribes;
//! - [`publisher`], [`subscriber`], [`receive`]: what goes over the two;
//! - [`queue`]: what waits to be published; [`status`]: whether the node hears its peers. Pure;
//! - [`heartbeat`], [`census`]: this node tells that it lives, and counts its peers;
//! - [`shared`]: what the adapter's callers and the bus share.
//!
//! This room uses [`cluster`](crate::cluster) and [`link`](crate::link). [`RedisAdapter`](crate::RedisAdapter) starts it.

pub(crate) mod queue;
pub(crate) mod shared;
pub(crate) mod status;

mod census;
mod heartbeat;
mod lane;
mod lanes;
mod publisher;
mod receive;
mod subscriber;

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};

use self::census::Census;
use self::lane::Lane;
use self::lanes::Lanes;
use self::shared::Shared;
use crate::cluster::membership::{self, Membership};
use crate::cluster::peers::{self, PeersCall};
use crate::link::commands::Commands;
use crate::link::directory::Directory;
use crate::link::lock::lock;
use crate::link::servers::Kind;
use crate::recovery::link;
use crate::wire::Format;

/// How long a stopping bus tries to get rid of what waits.
const STOP: Duration = Duration::from_secs(1);
/// How often peers are counted at most, while they come back and when nodes tell that they are new.
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
        let cluster = shared.cluster.clone();
        let mut lanes = Lanes::new(shared.clone(), directory.clone(), commands.clone());
        let current = lanes.current();
        let is_sharded_cluster = matches!(cluster.config.format, Format::Sharded(_))
            && matches!(cluster.config.servers.kind, Kind::Cluster(_));
        if !is_sharded_cluster {
            lanes.apply_single().await;
        }
        tokio::select! {
            // A closed channel means the same.
            _ = stop.wait_for(|stop| *stop) => {}
            () = peers::run(cluster.clone(), commands.clone(), calls) => {}
            () = heartbeat::run(&shared, Membership::new(cluster.clone(), commands.clone())) => {}
            () = settle(&shared, &commands, &current) => {}
            () = lanes.follow(), if is_sharded_cluster => {}
            () = link::run(&shared.stores, &cluster, &directory) => {}
            () = shared.panicked.notified() => {
                tracing::error!(target: "adapter_redis::bus", "a task of the link to Redis panicked");
                return;
            }
        }
        let deadline = Instant::now() + STOP;
        while Instant::now() < deadline && shared.with_queue(|queue| queue.len()) > 0
            || Instant::now() < deadline && shared.in_flight.load(Ordering::Relaxed) > 0
        {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        let is_member = shared.status().problem().is_none();
        if is_member {
            // Else what is there may be another's.
            membership::leave(&cluster, &commands).await;
        }
        lanes.close().await;
    }
}

/// Counts peers while all is well, and lets lanes publish when their peers are back.
async fn settle(shared: &Arc<Shared>, commands: &Commands, lanes: &Mutex<Vec<Lane>>) {
    let mut census = Census::default();
    let mut changed = shared.status_changed.subscribe();
    loop {
        let began = Instant::now();
        let settling = shared.status().settling();
        let all = lock(lanes).clone();
        for lane in all.iter().filter(|lane| settling.contains(&lane.id)) {
            // Without an answer the lane opens after a while by itself.
            if let Ok(true) = census.is_complete(&shared.cluster, commands, lane).await {
                shared.status().open(lane.id);
                shared.handle_status_change();
            }
        }
        let is_settled = shared.status().settling().is_empty();
        if is_settled && shared.is_up() {
            // Counts that could not be taken are taken the next time.
            let _ = census.take(&shared.cluster, commands, &all).await;
            if let Some(lane) = census.misplaced(&all) {
                tracing::warn!(target: "adapter_redis::bus",
                    "Redis: subscriber and publisher are at different servers; the subscriber connects again"
                );
                lane.renew();
            }
        }
        let pause = match is_settled {
            true => shared.cluster.config.timing.heartbeat,
            false => RECOUNT,
        };
        tokio::select! {
            // Its sender is kept here.
            _ = changed.changed() => {}
            () = shared.announced.notified() => tokio::time::sleep_until((began + RECOUNT).into()).await,
            () = tokio::time::sleep(pause) => {}
        }
    }
}
