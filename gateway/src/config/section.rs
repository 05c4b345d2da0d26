//! The sections of the configuration, as the rest of the gateway reads them.

use std::net::{IpAddr, SocketAddr};
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;
use std::time::Duration;

use adapter::NodeId;
pub use adapter_redis::wire::SubscriptionMode;

use super::address::{HostPort, Network, Origins};
use super::name::{Cookie, EnginePath, Level, StreamName, Transports};
use super::password::PasswordHash;
use super::pattern::Pattern;
use super::route::Route;
use super::secret::{Keys, Secret, SecretHeaders};
use super::url::{HttpUrl, RedisUrl};
use super::value::Share;

/// Engine.IO: transports, heartbeat and the first request (`engine.*`).
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Engine {
    /// Path prefix of every Engine.IO request; begins and ends with `/`.
    pub path: EnginePath,
    /// Time between two pings of a session; at least 1 ms.
    pub ping_interval: Duration,
    /// How long a session may take to answer a ping; at least 1 ms.
    pub ping_timeout: Duration,
    /// How long an upgrade may take from its first probe; at least 1 ms.
    pub upgrade_timeout: Duration,
    /// How long a session may live without a socket in any namespace; at least 1 ms.
    pub connect_timeout: Duration,
    /// Largest polling body and largest WebSocket message in bytes; announced to clients.
    pub max_payload: usize,
    /// Transports on which a session may be opened.
    pub transports: Transports,
    /// Whether WebSocket is offered to sessions that began with polling.
    pub allow_upgrades: bool,
    /// Whether clients of Engine.IO 3 (Socket.IO 1 and 2) are let in.
    pub allow_eio3: bool,
    /// Most packets that one poll is answered with, unless a single event has more.
    pub poll_packets: NonZeroUsize,
    /// Name of the cookie that carries the session's id, when one is wanted.
    pub cookie: Option<Cookie>,
    /// Whether browsers send that cookie by TLS only.
    pub cookie_secure: bool,
    /// To which pages' requests browsers add that cookie.
    pub cookie_same_site: SameSite,
}

/// What other web origins may do from a browser (`cors.*`).
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cors {
    /// Origins that may read our answers.
    pub origins: Origins,
    /// Whether they may send cookies; never together with [`Origins::Any`].
    pub credentials: bool,
    /// Whether pages of other origins are refused, by WebSocket as well.
    pub enforce: bool,
}

/// What stands in front of `listen` (`proxy.*`).
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proxy {
    /// Peers whose `X-Forwarded-For` is believed.
    pub trusted: Vec<Network>,
    /// Whether connections on `listen` begin with a PROXY protocol header: those of trusted peers,
    /// or all if none are named.
    pub protocol: bool,
}

impl Proxy {
    /// Whether what `peer` says about its client is believed.
    #[must_use]
    pub fn trusts(&self, peer: IpAddr) -> bool {
        self.trusted.iter().any(|network| network.contains(peer))
    }

    /// Whether a connection of `peer` begins with a PROXY protocol header.
    #[must_use]
    pub fn announces(&self, peer: IpAddr) -> bool {
        self.protocol && (self.trusted.is_empty() || self.trusts(peer))
    }
}

/// Bounds; what passes one is refused with a reason (`limits.*`).
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Sessions of this node.
    pub connections: Option<NonZeroUsize>,
    /// Sessions of one address.
    pub connections_per_ip: Option<NonZeroUsize>,
    /// Sessions of one user on this node.
    pub connections_per_user: Option<NonZeroUsize>,
    /// New sessions per second of this node.
    pub handshakes_per_second: Option<NonZeroU32>,
    /// Events per second of one socket.
    pub events_per_second: Option<NonZeroU32>,
    /// Bytes that may wait for one session, after everything that its transport takes was written,
    /// before it is closed as too slow.
    pub outbox_bytes: usize,
    /// How long a session may take nothing of what waits for it.
    pub outbox_patience: Duration,
    /// Bytes of memory that may wait for all sessions of this node.
    pub outbox_total: usize,
    /// Rooms that one socket may be in, beside the room of its own id.
    pub rooms_per_socket: usize,
    /// Namespaces that one session may be connected to.
    pub namespaces_per_session: NonZeroUsize,
    /// Size of a request's head (request line and headers) in bytes; at least 8 KiB.
    pub request_headers: usize,
    /// How long a request's head may take to arrive; also how long an idle kept-alive connection
    /// is kept.
    pub header_timeout: Duration,
    /// How long a request's body may take to arrive.
    pub body_timeout: Duration,
}

/// What clients that come back are given again (`recovery.*`).
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recovery {
    /// For how long a client may be away; without it there is no recovery.
    pub window: Option<Duration>,
    /// In which namespaces.
    pub namespaces: Vec<Pattern>,
    /// Most events that are kept for one room.
    pub max_messages: NonZeroUsize,
    /// Most bytes of events that are kept for one room.
    pub max_bytes: usize,
    /// Most bytes that one client is sent again.
    pub replay_bytes: usize,
    /// Whether backends are asked about a `connect` of a client that is recovered.
    pub ask_backend: bool,
}

impl Recovery {
    /// Whether clients of a namespace are recovered.
    #[must_use]
    pub fn covers(&self, namespace: &str) -> bool {
        self.window.is_some() && self.namespaces.iter().any(|it| it.matches(namespace))
    }
}

/// Whose coming and going is told (`presence.*`).
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Presence {
    /// Whether that of users is.
    pub users: bool,
    /// That of which rooms is.
    pub rooms: Vec<Pattern>,
    /// For how long nobody is told that somebody is gone.
    pub grace: Duration,
    /// After how long without a sign of life a node counts as dead.
    pub lease: Duration,
}

impl Presence {
    /// Whether any is told.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.users || !self.rooms.is_empty()
    }
}

/// The link between the nodes (`redis.*`); there is none without `redis.url`.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redis {
    /// Where Redis is.
    pub url: RedisUrl,
    /// What every channel begins with.
    pub prefix: String,
    /// Which of the two wire formats of Node's adapters is spoken.
    pub mode: RedisMode,
    /// Which rooms have a channel of their own in the sharded format.
    pub subscription_mode: SubscriptionMode,
    /// Which rooms are heard of.
    pub interest: RedisInterest,
    /// Whether every answer goes to the channel of the node that asked.
    pub specific_responses: bool,
    /// In how many namespaces one pattern covers the private rooms of this node's sockets.
    pub private_patterns: usize,
    /// Bytes of messages that may wait while Redis is away.
    pub buffer_bytes: usize,
    /// The certificates to trust and to show with `rediss`.
    pub trust: Trust,
}

/// Which rooms a node hears of (`redis.interest`).
#[expect(clippy::exhaustive_enums, reason = "a setting has these values")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RedisInterest {
    /// Those that have members here.
    Rooms,
    /// All, as Node's servers.
    All,
}

/// The wire format between the nodes (`redis.mode`).
#[expect(clippy::exhaustive_enums, reason = "a setting has these values")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RedisMode {
    /// `PUBLISH` and `SUBSCRIBE`, as `@socket.io/redis-adapter`'s `createAdapter`.
    PubSub,
    /// `SPUBLISH` and `SSUBSCRIBE` of Redis 7, as its `createShardedAdapter`.
    Sharded,
}

/// How this node is known to the others (`cluster.*`).
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cluster {
    /// This node's name; a random one is drawn at the start when there is none.
    pub node_id: Option<NodeId>,
    /// Where the other nodes reach this node's internal port.
    pub advertise: HostPort,
    /// What the nodes authenticate each other with.
    pub secret: Option<Secret>,
    /// How long a question to the other nodes may take.
    pub request_timeout: Duration,
    /// When a node lets go of connections that others have too few of.
    pub rebalance: Rebalancing,
    /// How many it lets go in a second.
    pub rebalance_per_second: NonZeroU32,
}

/// When a node with more than its share of the connections lets go of some (`cluster.rebalance`).
#[expect(clippy::exhaustive_enums, reason = "a setting has these values")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rebalancing {
    /// When somebody asks for it.
    Off,
    /// Whenever it has had more for a while.
    Auto,
}

/// The page at `/` of the internal port (`internal_page`).
#[expect(clippy::exhaustive_enums, reason = "a setting has these values")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InternalPage {
    /// With all that there is to show.
    Full,
    /// Without the names of rooms.
    NoRooms,
    /// There is none.
    Off,
}

/// How clients' tokens are verified (`auth.*`).
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Auth {
    /// Shared secrets of HMAC-signed tokens, each as good as the others.
    pub jwt_secret: Option<Keys>,
    /// PEM file with the public key of signed tokens.
    pub jwt_public_key: Option<PathBuf>,
    /// Where the public keys are published.
    pub jwks_url: Option<HttpUrl>,
    /// How long published keys are used before they are fetched again.
    pub jwks_refresh: Duration,
    /// The only issuer whose tokens are taken.
    pub issuer: Option<String>,
    /// Audiences of which a token has to name one.
    pub audience: Vec<String>,
    /// Name of a cookie that may hold a token.
    pub cookie: Option<Cookie>,
    /// How far the issuer's clock and ours may differ.
    pub leeway: Duration,
    /// How long a socket stays after its token expired.
    pub grace: Duration,
    /// The certificates to trust and to show when the gateway fetches keys.
    pub trust: Trust,
}

/// Who is told about connects and events (`backend.*`).
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backend {
    /// Who is asked over HTTP.
    pub webhook: Option<Webhook>,
    /// What goes elsewhere; the first that matches counts.
    pub routes: Vec<Route>,
    /// How long a client waits for a backend that it wants an acknowledgement of.
    pub timeout: Duration,
    /// Redis Stream that events are appended to. The relay application serves clients when there is
    /// neither this nor a webhook.
    pub stream: Option<StreamName>,
    /// About how many entries the stream keeps.
    pub stream_length: NonZeroUsize,
    /// The certificates to trust and to show with `https`.
    pub trust: Trust,
}

/// A backend that is asked over HTTP (`backend.*`).
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Webhook {
    /// Where requests are posted.
    pub url: HttpUrl,
    /// What requests are signed with.
    pub secret: Secret,
    /// Whether HTTP/2 is spoken without asking.
    pub http2: bool,
    /// How long one attempt may take.
    pub timeout: Duration,
    /// Requests under way at a time.
    pub concurrency: NonZeroUsize,
    /// Requests that may wait for their turn.
    pub queue: usize,
    /// Events of one socket that may share a request.
    pub batch: NonZeroUsize,
    /// Further attempts after a failed one.
    pub retries: u32,
    /// Whether the backend remembers ids, so that an event may be sent twice.
    pub idempotent: bool,
    /// Failures in a row after which the backend is left alone.
    pub breaker_failures: NonZeroU32,
    /// For how long, at first.
    pub breaker_pause: Duration,
}

/// The HTTP API on the internal port (`api.*`).
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Api {
    /// The bearer keys that callers present; the API is off when there are none.
    pub keys: Option<Keys>,
    /// Largest body of a request in bytes.
    pub max_body: usize,
}

/// The admin page of Socket.IO (`admin.*`); there is none without `admin.user`.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admin {
    /// Who logs in.
    pub user: String,
    /// With what.
    pub password: PasswordHash,
    /// How much pages are shown.
    pub mode: AdminMode,
    /// Whether pages change nothing.
    pub read_only: bool,
    /// Most sockets that a page is shown.
    pub sockets: NonZeroUsize,
    /// Most events that pages are shown in a second.
    pub events_per_second: NonZeroU32,
}

/// How much an admin page is shown (`admin.mode`).
#[expect(clippy::exhaustive_enums, reason = "a setting has these values")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AdminMode {
    /// Numbers of servers and namespaces.
    Production,
    /// Sockets, rooms and events as well.
    Development,
}

/// The end of the process (`shutdown.*`).
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shutdown {
    /// Over how long sessions are closed; zero closes all at once.
    pub drain: Duration,
}

/// How servers that the gateway connects to by TLS are told (`redis.*`, `backend.*`, `auth.*`).
#[expect(
    clippy::exhaustive_structs,
    reason = "its users make it, field by field"
)]
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trust {
    /// PEM file of what is trusted in place of the system's roots.
    pub ca_file: Option<PathBuf>,
    /// How much is checked.
    pub verify: TlsVerify,
    /// What the gateway shows of itself.
    pub client: Option<Tls>,
}

/// How much of a server's certificate is checked (`redis.tls_verify` and others).
#[expect(clippy::exhaustive_enums, reason = "a setting has these values")]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TlsVerify {
    /// Who signed it, its time, and its name.
    #[default]
    Full,
    /// Who signed it, and its time.
    Ca,
    /// Nothing.
    None,
}

/// WebSocket (`websocket.*`).
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebSocket {
    /// How long an event may wait for others that one write takes along; none waits if it is zero.
    pub coalesce: Duration,
}

/// WebTransport (`webtransport.*`); there is none without `webtransport.listen`.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebTransport {
    /// Where clients connect, by UDP.
    pub listen: SocketAddr,
    /// Its certificate; that of `tls` if there is none.
    pub tls: Option<Tls>,
    /// Most connections of WebTransport of this node.
    pub connections: NonZeroUsize,
}

/// TLS on `listen` (`tls.*`).
#[expect(
    clippy::exhaustive_structs,
    reason = "its users make it, field by field"
)]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// PEM file with the certificate chain.
    pub cert: PathBuf,
    /// PEM file with its private key.
    pub key: PathBuf,
}

/// What Prometheus is told (`metrics.*`).
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metrics {
    /// Whether some metrics have a second name, the one that boards for Socket.IO's own server use.
    pub socket_io_aliases: bool,
}

/// Spans for OpenTelemetry (`otel.*`).
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Otel {
    /// The collector, which speaks OTLP over HTTP.
    pub endpoint: HttpUrl,
    /// What requests to it carry besides.
    pub headers: Option<SecretHeaders>,
    /// How many of all traces are sampled.
    pub sample: Share,
    /// A span that took longer is kept although its trace is not sampled.
    pub slow: Duration,
    /// Whether a client says whether its trace is sampled.
    pub trust_parent: bool,
    /// The certificates to trust with `https`.
    pub trust: Trust,
}

/// What is logged, and how (`log.*`).
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// Lines for people or for machines.
    pub format: LogFormat,
    /// Levels per component.
    pub level: Level,
}

/// To which pages' requests a browser adds a cookie (`engine.cookie_same_site`).
#[expect(clippy::exhaustive_enums, reason = "a setting has these values")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SameSite {
    /// To those of the same site, and to links.
    Lax,
    /// To those of the same site.
    Strict,
    /// To all; only with [`Engine::cookie_secure`].
    None,
}

impl SameSite {
    /// Its name in `Set-Cookie`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Lax => "Lax",
            Self::Strict => "Strict",
            Self::None => "None",
        }
    }
}

/// The shape of a log line (`log.format`).
#[expect(clippy::exhaustive_enums, reason = "a setting has these values")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// One line of text.
    Text,
    /// One JSON object per line.
    Json,
}
