//! Connections to Redis: where the servers are, what is said on a connection, and whether it lives.
//!
//! - [`servers`]: the URL; [`directory`] and [`role`]: which server is the master, who serves which slot;
//! - [`connection`], [`resp`]: one connection that publishes or subscribes, and its protocol;
//! - [`commands`], [`connections`]: plain commands, each with an answer; [`script`]: scripts among them;
//! - [`route`]: which server carries a channel;
//! - [`watchdog`], [`refusal`], [`backoff`]: whether a server lives, what its errors mean, when to try again. Pure.
//!
//! This room knows nothing of nodes and messages. [`cluster`](crate::cluster) and [`bus`](crate::bus) use it.

pub(crate) mod backoff;
pub(crate) mod commands;
pub(crate) mod connection;
pub(crate) mod directory;
pub(crate) mod lock;
pub(crate) mod refusal;
pub(crate) mod resp;
pub(crate) mod role;
pub(crate) mod route;
pub(crate) mod script;
pub(crate) mod servers;
pub(crate) mod watchdog;

mod connections;
