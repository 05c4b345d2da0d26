//! The Redis wire between nodes, compatible with `@socket.io/redis-adapter` 8.3 and
//! `@socket.io/redis-emitter` 5.1.
//!
//! [`RedisAdapter`] is an [`adapter::Adapter`]. Behind it one thread, the bus, holds a node's
//! connections: to each Redis server one that publishes and one that subscribes. The source is a house of rooms, of
//! which each uses those below it alone:
//!
//! ```text
//! redis_adapter, stream_writer -> presence, records -> bus -> recovery -> cluster -> config -> link -> wire -> codec
//! ```
//!
//! - `bus`: what flows, and over which connections;
//! - `presence`: who is there, as the nodes keep it together;
//! - `records`: what else they keep together beside messages;
//! - [`recovery`]: the store of recovery as a script, and the way to it;
//! - `cluster`: who is there, and who wants what;
//! - `link`: connections, commands, and where the servers are;
//! - [`wire`]: cluster messages as bytes and channels, in Node's classic and sharded format. Pure;
//! - `codec`: MessagePack and JSON, as Node's libraries write them. Pure.
//!
//! [`StreamWriter`] stands beside the adapter: it appends entries to a Redis Stream.
//!
//! ```no_run
//! use std::sync::Arc;
//!
//! use adapter::{Adapter, Incoming, NodeId, NodeTag};
//! use adapter_redis::{Config, RedisAdapter, Servers};
//!
//! let servers: Servers = "redis://127.0.0.1:6379".parse()?;
//! let config = Config::new(servers, NodeId::new("gw-1")?, NodeTag::new("gw01")?);
//! let inbox = Arc::new(|incoming: Incoming| println!("{incoming:?}"));
//! let adapter = RedisAdapter::start(config, inbox)?;
//! let namespace = adapter.open_namespace("/");
//! // .. until the node stops:
//! drop(namespace);
//! adapter.close();
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod bus;
mod cluster;
mod codec;
mod config;
mod link;
mod presence;
mod records;
pub mod recovery;
mod redis_adapter;
mod stream_writer;
pub mod wire;

pub use cluster::membership::Problem;
pub use codec::{DecodeError, EncodeError};
pub use config::{Config, Limits, RoomInterest, Timing};
pub use link::servers::{BadUrl, Servers};
pub use redis_adapter::{RedisAdapter, StartError};
pub use stream_writer::{AppendError, StreamWriter};
