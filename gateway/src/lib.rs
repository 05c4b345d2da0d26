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
mod claims;
mod cluster;
pub mod config;
mod count;
mod descriptors;
mod drain;
mod draining;
pub mod emitter;
pub mod encoding;
pub mod engine;
pub mod event;
mod event_stream;
mod forward;
mod gate;
pub mod handlers;
pub mod handshake;
mod held;
mod http;
pub mod ids;
mod incoming;
mod internal;
mod lateness;
mod list;
mod metrics;
mod namespace;
mod node;
mod outbound;
mod outbox;
mod peers;
mod proxy;
mod query;
mod rate;
mod redis;
pub mod relay;
mod scratch;
mod server;
mod session;
mod shard;
pub mod socket;
mod spell;
mod strangers;
mod stream;
mod tls;
mod told;
pub mod trust;
mod vital;
mod webhook;
pub mod websocket;

pub use adapter::Selection;
pub use cluster::Gathered;
pub use config::Config;
pub use list::Page;
pub use node::Gateway;
pub use server::{Running, Server, StartError};
pub use socket::{Socket, SocketInfo};
pub use tls::TlsError;
