//! Starting and stopping a node: its ports, its connection to Redis, its metrics, and its drain.
//!
//! This room may use every other one. The program uses it.

mod acceptor;
mod draining;
mod error;
mod internal;
mod layers;
mod metrics;
mod ports;
mod rebalancing;
mod redis;
mod reload;
mod running;
mod shard_thread;
mod start;
mod telling;
mod watching;
#[cfg_attr(not(feature = "webtransport"), path = "server/webtransport/absent.rs")]
mod webtransport;

pub use error::StartError;
pub use running::{Pulse, ReloadHandle, Running};
pub use start::Server;
