//! Connections to other nodes: who may have one, the proof that it is asked for by a node, what is on
//! its way through them, and tunnels.
//!
//! It may use the cluster, which knows the nodes. Forwarding uses it; each shard has its own pool.

mod in_flight;
mod link;
mod pool;
pub(crate) mod proof;
mod tunnel;

pub(crate) use in_flight::{Client, Passage};
pub(crate) use link::{ForwardBody, Link, prepare};
pub(crate) use pool::{Failure, InFlightGuard, Links, Means, Owner};
pub(crate) use tunnel::{Tunnel, run as run_tunnel};
