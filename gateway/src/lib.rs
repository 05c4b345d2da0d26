//! A horizontally scaled Socket.IO gateway.
//!
//! A [`Server`] is one node. It serves unmodified Socket.IO clients over WebSocket and HTTP
//! long-polling, with the relay application (clients join rooms and publish to them, no code), or
//! with an [`Application`](application::Application) of its own.
//!
//! The major parts are:
//!
//! - [`config`]: every setting, checked once;
//! - [`application`]: what decides about connects and events, with [`relay`] as the one that needs
//!   no code, and [`handlers`] as the one made of Rust closures;
//! - [`socket`] and [`emitter`]: emitting to one client and to many;
//! - [`websocket`]: frames, read on demand.

mod acceptor;
mod acks;
mod api;
pub mod application;
pub mod assets;
pub mod auth;
mod binary;
mod budget;
mod change;
mod cluster;
pub mod config;
mod counters;
mod descriptors;
mod drain;
pub mod emitter;
pub mod encoding;
pub mod engine;
pub mod event;
mod event_stream;
mod forward;
mod gate;
pub mod handlers;
pub mod handshake;
mod http;
pub mod ids;
mod internal;
mod lateness;
mod list;
mod metrics;
mod namespace;
mod node;
mod outbound;
mod outbox;
mod proxy;
mod query;
mod rate;
mod redis;
pub mod relay;
mod server;
mod session;
mod shard;
pub mod socket;
mod spell;
mod stream;
mod tally;
mod tls;
pub mod trust;
mod vital;
mod webhook;
pub mod websocket;

pub use adapter::Selection;
pub use cluster::{Gathered, Page};
pub use config::Config;
pub use node::Gateway;
pub use server::{Running, Server, StartError};
pub use socket::{Socket, SocketInfo};
pub use tls::TlsError;
