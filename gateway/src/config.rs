//! The configuration: one name per setting in three spellings, checked once.
//!
//! [`SETTINGS`] is the table of all settings; flags, environment variables, file keys and the
//! reference come from it. [`Config::load`] takes what was given and returns either a
//! configuration in which nothing can be wrong, or all that is wrong.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;

mod address;
mod check;
mod error;
mod name;
mod pattern;
mod secret;
mod section;
mod setting;
mod table;
mod value;

pub use address::{HostPort, HttpUrl, Network, Origins, RedisUrl};
pub use error::{Error, Errors, Place};
pub use name::{Cookie, EnginePath, Level, NodeName, StreamName, Transports};
pub use pattern::Pattern;
pub use secret::Secret;
pub use section::{
    Api, Auth, Backend, Cluster, Cors, Engine, Limits, Log, LogFormat, Proxy, Redis, RedisMode,
    Shutdown, Tls, Webhook,
};
pub use setting::{Default, Setting};
pub use table::{SETTINGS, setting};

/// The whole configuration of a node, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Where clients connect.
    pub listen: SocketAddr,
    /// Where metrics, health, the API and other nodes connect; never the port of `listen`.
    pub internal_listen: SocketAddr,
    /// Threads that serve sessions; 1 to 64.
    pub shards: NonZeroUsize,
    /// Namespaces that clients may connect to; each begins with `/`.
    pub namespaces: Vec<Pattern>,
    /// Whether the demo page is served at `/`.
    pub demo: bool,
    /// Directory of the JavaScript client's files, when it is not to be looked for.
    pub client_dir: Option<PathBuf>,
    /// Engine.IO.
    pub engine: Engine,
    /// Other web origins.
    pub cors: Cors,
    /// Proxies in front.
    pub proxy: Proxy,
    /// Bounds.
    pub limits: Limits,
    /// The link between the nodes; without it there is one node.
    pub redis: Option<Redis>,
    /// How the other nodes know this one.
    pub cluster: Cluster,
    /// Clients' tokens.
    pub auth: Auth,
    /// The backend.
    pub backend: Backend,
    /// The HTTP API.
    pub api: Api,
    /// The end of the process.
    pub shutdown: Shutdown,
    /// TLS on `listen`; plain without it.
    pub tls: Option<Tls>,
    /// The log.
    pub log: Log,
}

impl std::default::Default for Config {
    fn default() -> Self {
        Self::from_table()
    }
}
