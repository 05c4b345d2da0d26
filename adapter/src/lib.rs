//! The contract between the nodes of a cluster, without I/O, clock or randomness.
//!
//! A node publishes [`ClusterMessage`]s to the others and answers their requests with [`Answer`]s.
//! An [`Adapter`] carries both and does nothing else. Rooms, delivery, acknowledgements and the
//! bookkeeping of requests are the node's. The major parts are:
//!
//! - [`ClusterMessage`], [`Selection`], [`Answer`]: what travels;
//! - [`Adapter`]: the wire, with two implementations: the one in `adapter-redis`, and
//!   [`memory::Cluster`], which joins several nodes in one process;
//! - [`Interest`]: which rooms a node wants to hear of, and since when it does;
//! - [`Pending`]: the requests that await answers from other nodes, as a state machine;
//! - [`Records`]: what the nodes keep together;
//! - [`presence`]: who is there, on any node;
//! - [`recovery`]: what is promised to a client is kept when nodes die.
//!
//! Two nodes in one process, one of which tells something to a room:
//!
//! ```
//! use std::sync::{Arc, Mutex};
//!
//! use adapter::memory::Cluster;
//! use adapter::{
//!     Adapter, ArgumentsBuf, BadId, Broadcast, ClusterMessage, EventBuf, Incoming, NodeId, NodeTag, Publish, Selection,
//! };
//!
//! let cluster = Cluster::default();
//! let heard = Arc::new(Mutex::new(Vec::new()));
//! let inbox = heard.clone();
//! let a = cluster.join(NodeId::new("a")?, NodeTag::new("aaaa")?, Arc::new(|_: Incoming| {}));
//! let b = cluster.join(NodeId::new("b")?, NodeTag::new("bbbb")?, Arc::new(move |incoming: Incoming| {
//!     if let Incoming::Message { message, .. } = incoming {
//!         inbox.lock().unwrap().push(message);
//!     }
//! }));
//!
//! let namespace = b.open_namespace("/chat");
//! let room = b.open_room("/chat", "news");
//! assert!(namespace.is_in_force() && room.is_in_force());
//!
//! let message = ClusterMessage::Broadcast(Broadcast {
//!     selection: Selection::room("news"),
//!     event: EventBuf {
//!         name: "message".to_owned(),
//!         arguments: ArgumentsBuf::from_json(r#""hello""#),
//!     },
//! });
//! assert_eq!(a.publish("/chat", &message), Publish::Queued);
//! assert_eq!(*heard.lock().unwrap(), [message]);
//! # Ok::<(), BadId>(())
//! ```

pub mod memory;
pub mod presence;
pub mod recovery;

mod answer;
mod contract;
mod counters;
mod id;
mod interest;
mod list;
mod message;
mod pending;
mod records;
mod selection;
mod trace_context;

pub use answer::{Answer, Response, SocketDetails};
pub use contract::{
    Adapter, Away, Inbox, Incoming, Member, NodeState, Peers, PeersFuture, Publish, Task,
};
pub use counters::{Counter, Counters, Histogram, HistogramSnapshot};
pub use id::{BadId, NodeId, NodeTag, RequestId};
pub use interest::{InForce, Interest, Latch};
pub use list::{Entries, List, ListRequest, Piece};
pub use message::{ArgumentsBuf, Broadcast, ClusterMessage, EventBuf, ReplyTo};
pub use pending::{Full, Limits, Outcome, Pending, Question};
pub use records::{Draft, Record, Records, RecordsError, RecordsFuture, RecordsMark};
pub use selection::{Flags, Selection};
pub use trace_context::{TraceContext, trace_state};
