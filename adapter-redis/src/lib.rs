//! The Redis wire between nodes, compatible with `@socket.io/redis-adapter` 8.3 and
//! `@socket.io/redis-emitter` 5.1.
//!
//! [`RedisAdapter`] is an [`adapter::Adapter`]. Behind it one thread, the bus, holds a node's
//! connections: to each Redis server one that publishes and one that subscribes. The major parts are:
//!
//! - [`wire`]: cluster messages as bytes and channels, in Node's classic and sharded format. Pure;
//! - `namespaces`, `interests`, `queue`, `status`: what to subscribe to, what waits to be published, whether the
//!   node hears its peers. Pure, and shared between the callers and the bus;
//! - `publisher`, `subscriber`, `receive`: the two connections; `lane` draws what becomes of them;
//! - `watchdog`, `refusal`: whether a server lives, and what its errors mean. Pure;
//! - `directory`, `route`: where the servers are, and which of them carries a channel;
//! - `membership`, `peers`, `commands`: who lives, and who will answer.
//!
//! [`StreamWriter`] stands beside it: it appends entries to a Redis Stream.

mod bus;
mod codec;
mod commands;
mod config;
mod directory;
mod interests;
mod lane;
mod link;
mod membership;
mod namespaces;
mod peers;
mod publisher;
mod queue;
mod receive;
mod redis_adapter;
mod refusal;
mod resp;
mod role;
mod route;
mod secured;
mod servers;
mod shared;
mod status;
mod stream_writer;
mod subscriber;
mod watchdog;
pub mod wire;

pub use codec::{DecodeError, EncodeError};
pub use config::{Config, Limits, RoomInterest, Timing};
pub use redis_adapter::{RedisAdapter, StartError};
pub use servers::{BadUrl, Servers};
pub use status::Problem;
pub use stream_writer::{AppendError, StreamWriter};
