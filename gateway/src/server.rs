//! Starting and stopping a node: its ports, its connection to Redis, its metrics, and its drain.
//!
//! This room may use every other one. The program uses it.

mod acceptor;
mod draining;
mod internal;
mod metrics;
mod redis;
mod start;

pub use start::{Running, Server, StartError};
