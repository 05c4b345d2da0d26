//! The threads of the shards.

use std::sync::{Arc, mpsc};
use std::thread;

use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::oneshot;
use tracing::warn;

use crate::engine::mail::Letterbox;
use crate::engine::node::Node;
use crate::engine::shard::Shard;

/// The thread of a shard. Dropped, it is told to end and waited for.
pub(super) struct ShardThread {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl ShardThread {
    /// One for each letterbox. After an error none of them is left.
    pub(super) fn start_all(
        node: &Arc<Node>,
        letterboxes: Vec<Letterbox>,
    ) -> std::io::Result<Vec<Self>> {
        let letterboxes = letterboxes.into_iter().enumerate();
        letterboxes
            .map(|(index, letterbox)| Self::start(node, index, letterbox))
            .collect()
    }

    fn start(node: &Arc<Node>, index: usize, letterbox: Letterbox) -> std::io::Result<Self> {
        let (stop, stopped) = oneshot::channel();
        let (tell, told) = mpsc::channel();
        let node = Arc::clone(node);
        let thread = thread::Builder::new()
            .name(format!("shard-{index}"))
            .spawn(move || {
                let built = Builder::new_current_thread()
                    .enable_all()
                    .build_local(LocalOptions::default());
                let runtime = match built {
                    Ok(runtime) => runtime,
                    Err(error) => {
                        let _gone = tell.send(Err(error));
                        return;
                    }
                };
                let _gone = tell.send(Ok(()));
                let part = node.vitals().part(format!("shard {index}"));
                runtime.block_on(async {
                    let shard = Shard::new(node, index, letterbox);
                    let turns = tokio::task::spawn_local(std::rc::Rc::clone(&shard).run());
                    tokio::select! {
                        _ended_or_panicked = turns => {}
                        _told_or_dropped = stopped => shard.end(),
                    }
                });
                drop(part);
            })?;
        told.recv().map_err(std::io::Error::other)??;
        Ok(Self {
            stop: Some(stop),
            thread: Some(thread),
        })
    }
}

impl Drop for ShardThread {
    fn drop(&mut self) {
        self.stop.take();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            warn!(target: "gateway::server", "a shard panicked");
        }
    }
}
