//! The configuration: one name per setting in three spellings, checked once.
//!
//! [`SETTINGS`] is the table of all settings; flags, environment variables, file keys and the
//! reference come from it. [`Config::load`] takes what was given and returns either a
//! configuration, or all that is wrong. Programs may set fields of it; a node takes a
//! [`CheckedConfig`] alone, which [`Config::check`] makes and nobody can change.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

mod address;
mod check;
mod checked;
mod contents;
mod difference;
mod error;
mod from_file;
mod listen;
pub mod log;
mod memory;
mod name;
mod password;
mod pattern;
pub mod reference;
mod route;
mod secret;
mod section;
mod setting;
mod source;
mod table;
mod url;
mod value;

pub use adapter::NodeId;
pub use address::{HostPort, Network, Origins};
pub use checked::CheckedConfig;
pub use error::{Error, Errors, Place};
pub use listen::{Endpoint, Listen, UnixSocket};
pub use name::{Cookie, EnginePath, Level, PagePath, StreamName, Transports};
pub use password::PasswordHash;
pub use pattern::Pattern;
pub use route::{Route, Target};
pub use secret::{Keys, Secret, SecretHeaders};
pub use section::{
    Admin, AdminMode, Api, Auth, Backend, Cluster, Cors, Engine, InternalPage, Limits, Log,
    LogFormat, Metrics, Otel, Presence, Proxy, Rebalancing, Recovery, Redis, RedisInterest,
    RedisMode, SameSite, Shutdown, SubscriptionMode, Tls, TlsVerify, Trust, WebSocket,
    WebTransport, Webhook,
};
pub use setting::{ChangesBy, Default, Setting};
pub use source::{Foreign, Sources};
pub use table::{SETTINGS, nearest, setting};
pub use url::{HttpUrl, RedisUrl};
pub use value::{Share, duration};

use check::{Effective, Given};
pub(crate) use contents::Contents;
pub(crate) use difference::Change;

/// The whole configuration of a node.
///
/// [`load`](Self::load) reads it; a program may also begin with the default and set fields.
/// [`Server::start`](crate::Server::start) checks it once more, so that a node never runs with a value
/// that its setting refuses.
///
/// ```
/// use gateway::Config;
///
/// let mut config = Config::from_toml("engine.ping_interval = \"10s\"")?;
/// config.listen = ([127, 0, 0, 1], 8080).into();
/// # Ok::<(), gateway::config::Errors>(())
/// ```
#[expect(
    clippy::exhaustive_structs,
    reason = "its users make it from the default, field by field"
)]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Where clients connect.
    pub listen: Listen,
    /// Path at which the clients' port says whether the node is ready; none without it.
    pub listen_health: Option<PagePath>,
    /// Where metrics, health, the API and other nodes connect; never the port of `listen`.
    pub internal_listen: Listen,
    /// Names by which changing calls may come to the internal port, beside those that no public DNS has.
    pub internal_hosts: Vec<String>,
    /// What the page at `/` of the internal port shows.
    pub internal_page: InternalPage,
    /// Threads that serve sessions; 1 to 64.
    pub shards: NonZeroUsize,
    /// Namespaces that clients may connect to; each begins with `/`.
    pub namespaces: Vec<Pattern>,
    /// Whether the demo page is served at `/`; without a word it is where it [works](Self::is_open_relay).
    pub demo: Option<bool>,
    /// Directory of the JavaScript client's files, in place of those that are built in.
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
    /// Clients that come back.
    pub recovery: Recovery,
    /// Whose coming and going is told.
    pub presence: Presence,
    /// Clients' tokens.
    pub auth: Auth,
    /// The backend.
    pub backend: Backend,
    /// The HTTP API.
    pub api: Api,
    /// The admin page; none without it.
    pub admin: Option<Admin>,
    /// Directory of the admin page's files.
    pub admin_ui_dir: Option<PathBuf>,
    /// The end of the process.
    pub shutdown: Shutdown,
    /// TLS on `listen`; plain without it.
    pub tls: Option<Tls>,
    /// WebSocket.
    pub websocket: WebSocket,
    /// WebTransport; none without it. Only a program with the feature `webtransport` has it.
    pub webtransport: Option<WebTransport>,
    /// The metrics.
    pub metrics: Metrics,
    /// Spans for OpenTelemetry; none without it.
    pub otel: Option<Otel>,
    /// The log.
    pub log: Log,
    /// The file with variables that was read as if they were in the environment.
    pub env_file: Option<PathBuf>,
    /// Whether the node reloads by itself when files change.
    pub watch: bool,
}

impl Config {
    /// Reads the configuration from everywhere.
    ///
    /// # Errors
    ///
    /// All that is wrong with it.
    pub fn load(sources: &Sources) -> Result<Self, Errors> {
        let mut errors = Vec::new();
        let given = sources.read(&mut errors);
        Self::choose(given, |setting| setting.built, errors)
    }

    /// Reads the text of a `gateway.toml` and nothing else.
    ///
    /// # Errors
    ///
    /// All that is wrong with it.
    pub fn from_toml(text: &str) -> Result<Self, Errors> {
        let mut errors = Vec::new();
        let given = source::file(Path::new("gateway.toml"), text, &mut errors);
        Self::choose(given, |setting| setting.built, errors)
    }

    /// Returns whether clients without a token reach the relay in the namespace `/`, which the demo page needs.
    ///
    /// A node whose backend leaves some events to the relay counts as one that does not.
    #[must_use]
    pub fn is_open_relay(&self) -> bool {
        let asks_backend = self.backend.webhook.is_some() || self.backend.stream.is_some();
        let has_main = self.namespaces.iter().any(|it| it.matches("/"));
        !asks_backend && !self.wants_tokens() && has_main
    }

    /// Whether clients need a token.
    pub(crate) fn wants_tokens(&self) -> bool {
        let auth = &self.auth;
        auth.jwt_secret.is_some() || auth.jwt_public_key.is_some() || auth.jwks_url.is_some()
    }

    /// Sets where the node listens in fact. If nothing else was set, it is also where the other nodes
    /// reach it.
    pub(crate) fn replace_places(&mut self, clients: Option<Listen>, internal: Option<Listen>) {
        if let Some(clients) = clients {
            self.listen = clients;
        }
        if let Some(internal) = internal {
            let advertised = self.internal_listen.advertised();
            if advertised.is_none_or(|it| it == self.cluster.advertise) {
                let advertise = internal.advertised();
                self.cluster.advertise = advertise.unwrap_or_else(HostPort::nowhere);
            }
            self.internal_listen = internal;
        }
    }

    fn choose(
        given: Vec<Given>,
        built: fn(&Setting) -> bool,
        mut errors: Vec<Error>,
    ) -> Result<Self, Errors> {
        let config = Effective::choose(given, built, &mut errors).build(&mut errors);
        if errors.is_empty() {
            Ok(config)
        } else {
            Err(errors.into())
        }
    }
}

/// Every setting at its default.
impl std::default::Default for Config {
    fn default() -> Self {
        Effective::default().build(&mut Vec::new())
    }
}
