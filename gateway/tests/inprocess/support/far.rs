//! A node whose subscriptions take time, as behind a slow link to Redis.

use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use adapter::memory::{Cluster, MemoryAdapter};
use adapter::{
    Adapter, Answer, ClusterMessage, Counters, InForce, Interest, Latch, Member, NodeId, NodeState,
    PeersFuture, Publish, Question, ReplyTo, RequestId,
};
use gateway::{Config, Server};

/// A node named `name`, which hears of a room once `delay` is over; never without one.
pub(crate) fn far(
    cluster: &Cluster,
    name: &str,
    delay: Option<Duration>,
    config: Config,
) -> Server {
    let (cluster, id) = (cluster.clone(), NodeId::new(name).unwrap());
    Server::new(config).adapter(move |tag, inbox| {
        let near = Arc::new(cluster.join(id, tag, inbox));
        Arc::new(Far { near, delay })
    })
}

struct Far {
    near: Arc<MemoryAdapter>,
    delay: Option<Duration>,
}

impl Adapter for Far {
    fn open_room(&self, namespace: &str, room: &str) -> Interest {
        let latch = Arc::new(Latch::default());
        let kept = Arc::new(Mutex::new(Kept::Awaited));
        if let Some(delay) = self.delay {
            let (near, latch, kept) = (self.near.clone(), latch.clone(), kept.clone());
            let (namespace, room) = (namespace.to_owned(), room.to_owned());
            std::thread::spawn(move || {
                std::thread::sleep(delay);
                let mut kept = kept.lock().unwrap();
                if matches!(*kept, Kept::Awaited) {
                    *kept = Kept::InForce(near.open_room(&namespace, &room));
                }
                latch.open();
            });
        }
        Interest::new(InForce::when([latch]), move || {
            *kept.lock().unwrap() = Kept::Ended;
        })
    }

    fn node(&self) -> &NodeId {
        self.near.node()
    }

    fn open_namespace(&self, namespace: &str) -> Interest {
        self.near.open_namespace(namespace)
    }

    fn publish(&self, namespace: &str, message: &ClusterMessage) -> Publish {
        self.near.publish(namespace, message)
    }

    fn publish_to_namespace(&self, namespace: &str, message: &ClusterMessage) -> Publish {
        self.near.publish_to_namespace(namespace, message)
    }

    fn request(&self, namespace: &str, request: &RequestId, message: &ClusterMessage) -> Publish {
        self.near.request(namespace, request, message)
    }

    fn new_request(&self) -> RequestId {
        self.near.new_request()
    }

    fn respond(&self, namespace: &str, to: &ReplyTo, answer: &Answer) -> Publish {
        self.near.respond(namespace, to, answer)
    }

    fn peers(&self, namespace: &str, question: Question) -> PeersFuture {
        self.near.peers(namespace, question)
    }

    fn members(&self) -> Arc<[Member]> {
        self.near.members()
    }

    fn set_state(&self, state: NodeState) {
        self.near.set_state(state);
    }

    fn is_up(&self) -> bool {
        self.near.is_up()
    }

    fn trouble(&self) -> Option<String> {
        self.near.trouble()
    }

    fn counters(&self) -> &Counters {
        self.near.counters()
    }

    fn close(&self) {
        self.near.close();
    }
}

impl fmt::Debug for Far {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Far").finish_non_exhaustive()
    }
}

enum Kept {
    Awaited,
    InForce(#[expect(dead_code, reason = "ends when it is dropped")] Interest),
    Ended,
}
