//! The table of settings, from which flags, variables, file keys and the reference come.

use std::net::SocketAddr;
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;
use std::time::Duration;

use adapter::NodeId;

use super::address::{HostPort, Network, Origins};
use super::listen::{InternalListen, Listen};
use super::name::{Cookie, EnginePath, Level, PagePath, StreamName, Transports};
use super::password::PasswordHash;
use super::pattern::{NamespacePattern, Pattern};
use super::route::Route;
use super::secret::{Keys, Secret, SecretHeaders};
use super::section::{
    AdminMode, InternalPage, LogFormat, Rebalancing, RedisInterest, RedisMode, SameSite,
    SubscriptionMode, TlsVerify,
};
use super::setting::Setting;
use super::url::{HttpUrl, RedisUrl};
use super::value::{Share, Size};

/// Every setting there is, in the order of the reference. Building a feature means to take away
/// its `.unbuilt()` here.
pub static SETTINGS: &[Setting] = &[
    Setting::with::<Listen>(
        "listen",
        "0.0.0.0:3000",
        "localhost:8080,unix:/run/gateway/clients.sock:0666",
        "Where clients connect, one place or several. `127.0.0.1:8080` is an address and a port. \
         `localhost:8080` is a port of all addresses that the system knows by a name. `8080` and \
         `:8080` are a port of every address of the machine, IPv6 included. `unix:PATH` is a socket in \
         the file system; `unix:PATH:MODE` gives it another mode than 0660. The default, `0.0.0.0:3000`, also hears IPv6 where the system \
         has it. `[::]:8080` hears IPv4 too, unless another place names an IPv4 address with that port.",
    ),
    Setting::optional::<PagePath>(
        "listen_health",
        "the clients' port has no such page",
        "/health",
        "Path at which the clients' port says whether the node is ready, for platforms that reach one \
         port alone. It answers 200 or 503, as `/ready` of the internal port does, and says no more.",
    ),
    Setting::with::<InternalListen>(
        "internal_listen",
        "127.0.0.1:3001",
        "0.0.0.0:9100",
        "Where metrics, health, the API and the other nodes connect, written as `listen` is. But a \
         number alone is a port of 127.0.0.1. Never to be reached by clients.",
    ),
    Setting::with::<Vec<String>>(
        "internal_hosts",
        "",
        "gateway.example.com",
        "Names by which the internal port may be called to change something (`POST /drain`; the \
         API from a page of the node's own). By these names one also sees its page at `/`. Addresses, names without a dot, the host of \
         `cluster.advertise`, and names that end in `.local`, `.localhost`, `.internal`, `.svc`, \
         `.test` or `.home.arpa` need not be listed. The node refuses others, since a web page \
         may have such a name point to the node.",
    ),
    Setting::with::<InternalPage>(
        "internal_page",
        "full",
        "no_rooms",
        "The page at `/` of the internal port, which shows how all nodes are. Everybody who reaches the port sees \
         it, without a key. `no_rooms`: without the names of rooms. `off`: there is no page.",
    ),
    Setting::optional::<NonZeroUsize>(
        "shards",
        "the number of cores, at most 64",
        "2",
        "Threads that serve sessions.",
    )
    .between("1", "64"),
    Setting::with::<Vec<NamespacePattern>>(
        "namespaces",
        "/",
        "/,/chat-*",
        "Namespaces that clients may connect to. A `*` matches any run of characters; a name \
         without `/` before it gets one. For all others they get \"Invalid namespace\".",
    ),
    Setting::optional::<bool>(
        "demo",
        "true if clients without a token reach the relay in the namespace `/`, else false",
        "false",
        "Whether the node serves the demo page at `/`.",
    ),
    Setting::optional::<PathBuf>(
        "client_dir",
        "those of version 4.8.4, which the program brings along, without source maps",
        "/usr/share/socket.io-client",
        "Directory of the JavaScript client's files, which the node serves below `engine.path`.",
    ),
    Setting::with::<EnginePath>(
        "engine.path",
        "/socket.io/",
        "/realtime/",
        "Path of every Engine.IO request. The node adds a missing `/` at its end.",
    ),
    Setting::with::<Duration>(
        "engine.ping_interval",
        "25s",
        "20s",
        "Time between two pings of a session. Idle timeouts of balancers must be longer.",
    )
    .between("1ms", "1d"),
    Setting::with::<Duration>(
        "engine.ping_timeout",
        "20s",
        "10s",
        "How long a client may take to answer a ping before its session is closed.",
    )
    .between("1ms", "1d"),
    Setting::with::<Duration>(
        "engine.upgrade_timeout",
        "10s",
        "5s",
        "How long the upgrade from polling to WebSocket may take.",
    )
    .between("1ms", "1d"),
    Setting::with::<Duration>(
        "engine.connect_timeout",
        "45s",
        "15s",
        "How long a session may go without a socket in any namespace before it is closed.",
    )
    .between("1ms", "1d"),
    Setting::with::<Size>(
        "engine.max_payload",
        "1MB",
        "256KiB",
        "Largest polling request body and largest WebSocket message. A larger body gets 413, and \
         a larger message closes the session with code 1009.",
    )
    .between("1KiB", "1GiB"),
    Setting::with::<Transports>(
        "engine.transports",
        "polling,websocket",
        "websocket",
        "Transports on which sessions may be opened.",
    ),
    Setting::with::<bool>(
        "engine.allow_upgrades",
        "true",
        "false",
        "Whether sessions that begin with polling are offered the upgrade to WebSocket.",
    ),
    Setting::with::<bool>(
        "engine.allow_eio3",
        "false",
        "true",
        "Whether clients of Engine.IO 3 (Socket.IO 1 and 2) are let in, beside those of Engine.IO 4. \
         A request that names no revision (`EIO`) is theirs then.",
    ),
    Setting::with::<NonZeroUsize>(
        "engine.poll_packets",
        "16",
        "1000",
        "Most packets of Engine.IO in the answer to one poll, or one event with its binary data. The next \
         poll gets the rest at once. Clients in Python close their connection after a poll with more than \
         16, and clients of Engine.IO 3 never get more. A client far away that stays on polling gets more \
         events a second if this is larger.",
    )
    .between("1", "65536"),
    Setting::optional::<Cookie>(
        "engine.cookie",
        "no cookie is set",
        "io",
        "Name of a cookie with the session's id, for balancers that keep a session on one node by it.",
    ),
    Setting::with::<bool>(
        "engine.cookie_secure",
        "false",
        "true",
        "Whether browsers send that cookie by TLS only.",
    ),
    Setting::with::<SameSite>(
        "engine.cookie_same_site",
        "lax",
        "strict",
        "Whether browsers send that cookie for pages of other sites: `lax`, `strict`, or `none` for all, \
         which needs `engine.cookie_secure`.",
    ),
    Setting::with::<Origins>(
        "cors.origins",
        "",
        "https://example.com,http://localhost:8080",
        "Web origins whose pages may connect from a browser, or `*` for all. A page of the \
         gateway's own origin always may. `https://*.example.com` stands for all hosts below it, \
         `capacitor://` for all origins of a scheme, `null` for pages of files and sandboxes.",
    )
    .reloadable(),
    Setting::with::<bool>(
        "cors.enforce",
        "false",
        "true",
        "Whether handshakes from pages of other origins are refused with 403. Browsers keep such pages from \
         polling by themselves, and not from opening WebSockets.",
    )
    .reloadable(),
    Setting::with::<bool>(
        "cors.credentials",
        "false",
        "true",
        "Whether those pages may send cookies. Not together with the origin `*`.",
    )
    .reloadable(),
    Setting::with::<Vec<Network>>(
        "proxy.trusted",
        "",
        "10.0.0.0/8,127.0.0.1",
        "Addresses and networks of the proxies in front, whose `X-Forwarded-For` and PROXY protocol count. \
         `unix` stands for connections by a socket in the file system.",
    )
    .reloadable(),
    Setting::with::<bool>(
        "proxy.protocol",
        "false",
        "true",
        "Whether connections on `listen` begin with a PROXY protocol header, of version 1 or 2. With \
         `proxy.trusted` those of the others do not; without it all do, so that nobody else may reach \
         the port.",
    )
    .reloadable(),
    Setting::optional::<NonZeroUsize>(
        "limits.connections",
        "no limit",
        "100000",
        "Sessions that this node serves at a time; it keeps no more connections without a session either.",
    )
    .reloadable(),
    Setting::optional::<NonZeroUsize>(
        "limits.connections_per_ip",
        "no limit",
        "100",
        "Sessions of one client address at a time; an IPv6 network of 64 bits counts as one address. \
         Behind a proxy, set `proxy.trusted`, or all clients share its address.",
    )
    .reloadable(),
    Setting::optional::<NonZeroUsize>(
        "limits.connections_per_user",
        "no limit",
        "20",
        "Sessions of one user on this node at a time; further ones get `connect_error` with the code `too_many_connections`. \
         A reload changes the number; to set it at all, or to take it away, needs a restart. See users.md.",
    )
    .reloadable(),
    Setting::optional::<NonZeroU32>(
        "limits.handshakes_per_second",
        "no limit",
        "500",
        "New sessions of this node per second; as many may come at once.",
    )
    .reloadable(),
    Setting::optional::<NonZeroU32>(
        "limits.events_per_second",
        "no limit",
        "50",
        "Events of one socket per second; as many may come at once. The gateway drops those above \
         it; the relay says so in the acknowledgement.",
    )
    .reloadable(),
    Setting::with::<Size>(
        "limits.outbox_bytes",
        "16MiB",
        "1MiB",
        "By how much a client may be behind: what waits for one session after everything that its \
         connection takes was written. A client that passes it is disconnected. Should be more than \
         `engine.max_payload`.",
    )
    .between("1KiB", "1GiB")
    .reloadable(),
    Setting::with::<Duration>(
        "limits.outbox_patience",
        "10s",
        "30s",
        "How long a client may take nothing while something waits for it, before it is disconnected. \
         A polling client has the time on top that its last payload takes at 16 kB/s.",
    )
    .between("1ms", "1h")
    .reloadable(),
    Setting::optional::<Size>(
        "limits.outbox_total",
        "a quarter of the memory that the process may use",
        "1GiB",
        "Memory that everything may take that waits for clients of this node; the content of a \
         broadcast counts once. Above it the clients that are furthest behind for the longest are \
         disconnected.",
    )
    .between("1MiB", "1024GiB")
    .reloadable(),
    Setting::with::<usize>(
        "limits.rooms_per_socket",
        "1000",
        "20",
        "Rooms that one socket may be in, beside its own.",
    )
    .between("0", "1000000")
    .reloadable(),
    Setting::with::<NonZeroUsize>(
        "limits.namespaces_per_session",
        "100",
        "5",
        "Namespaces that one session may be connected to.",
    )
    .between("1", "100000")
    .reloadable(),
    Setting::with::<Size>(
        "limits.request_headers",
        "16KiB",
        "32KiB",
        "Size of a request's head: its first line and its headers.",
    )
    .between("8KiB", "1MiB")
    .reloadable(),
    Setting::with::<Duration>(
        "limits.header_timeout",
        "10s",
        "5s",
        "How long a request's head may take to arrive, and what comes before it: a PROXY protocol \
         header, a TLS handshake.",
    )
    .between("1ms", "1d")
    .reloadable(),
    Setting::with::<Duration>(
        "limits.body_timeout",
        "30s",
        "15s",
        "How long a request's body may take to arrive.",
    )
    .between("1ms", "1d")
    .reloadable(),
    Setting::optional::<RedisUrl>(
        "redis.url",
        "in-memory, a single node",
        "redis://localhost:6379",
        "Redis, which joins the nodes. `redis://`, or `rediss://` with TLS; `redis+sentinel://` and \
         `redis+cluster://` take several hosts with commas between them.",
    )
    .secret(),
    Setting::with::<String>(
        "redis.prefix",
        "socket.io",
        "my-app",
        "Beginning of the name of every channel. The same on all nodes and emitters.",
    )
    .needs(&["redis.url"]),
    Setting::with::<RedisMode>(
        "redis.mode",
        "pubsub",
        "sharded",
        "The wire format: `pubsub`, or `sharded` for Redis 7. The same on all nodes.",
    )
    .needs(&["redis.url"]),
    Setting::with::<SubscriptionMode>(
        "redis.subscription_mode",
        "dynamic",
        "static",
        "Which rooms have a channel of their own when `redis.mode` is `sharded`: none (`static`), \
         all but those of single sockets (`dynamic`), or all (`dynamic-private`). The same on all \
         nodes.",
    )
    .needs(&["redis.url"]),
    Setting::with::<RedisInterest>(
        "redis.interest",
        "rooms",
        "all",
        "Which rooms this node hears of when `redis.mode` is `pubsub`: those with members here \
         (`rooms`), or all, by one pattern as Node's servers do (`all`). Use `all` in a cluster \
         in which Node's servers call `socketsJoin`, until they are gone. `all` needs a Redis \
         user that may use `PSUBSCRIBE`.",
    )
    .needs(&["redis.url"]),
    Setting::with::<bool>(
        "redis.specific_responses",
        "false",
        "true",
        "Whether answers to Node servers go to the channel of the one that asked, as with Node's \
         `publishOnSpecificResponseChannel`. Answers to gateway nodes always do.",
    )
    .needs(&["redis.url"]),
    Setting::with::<usize>(
        "redis.private_patterns",
        "4",
        "0",
        "In how many namespaces one pattern subscription covers the private rooms of this node's \
         sockets; beyond, each is a subscription of its own. 0 for a Redis user that may not use \
         `PSUBSCRIBE`.",
    )
    .between("0", "64")
    .needs(&["redis.url"]),
    Setting::with::<Size>(
        "redis.buffer_bytes",
        "64MiB",
        "16MiB",
        "Bytes of messages that may wait while Redis is away. The node drops and counts messages \
         beyond.",
    )
    .between("64KiB", "16GiB")
    .needs(&["redis.url"]),
    Setting::optional::<PathBuf>(
        "redis.ca_file",
        "what this system trusts",
        "/etc/gateway/redis-ca.crt",
        "PEM file of the certificates to trust for Redis, in place of the system's roots. They \
         are authorities, or the server's own certificate, if it signed itself.",
    )
    .needs(&["redis.url"]),
    Setting::with::<TlsVerify>(
        "redis.tls_verify",
        "full",
        "ca",
        "How the node checks the certificate of Redis: `full`, `ca` (who signed it, but not its \
         name), or `none`. With `none` anybody in between can read and change everything.",
    )
    .needs(&["redis.url"]),
    Setting::optional::<PathBuf>(
        "redis.tls_cert",
        "no certificate is shown",
        "/etc/gateway/redis-client.crt",
        "PEM file with the certificate chain that the gateway shows Redis.",
    )
    .needs(&["redis.tls_key", "redis.url"]),
    Setting::optional::<PathBuf>(
        "redis.tls_key",
        "no certificate is shown",
        "/etc/gateway/redis-client.key",
        "PEM file with the private key of that certificate.",
    )
    .needs(&["redis.tls_cert", "redis.url"]),
    Setting::optional::<NodeId>(
        "cluster.node_id",
        "random",
        "gateway-0",
        "Name of this node among the others.",
    )
    .needs(&["redis.url"]),
    Setting::optional::<HostPort>(
        "cluster.advertise",
        "`internal_listen`",
        "gateway-0.gateway:3001",
        "Where the other nodes reach the internal port of this one.",
    )
    .needs(&["redis.url"]),
    Setting::optional::<Secret>(
        "cluster.secret",
        "none; only when `cluster.advertise` is this machine",
        "a secret of the cluster",
        "Secret by which the nodes authenticate each other. The same on all nodes.",
    )
    .needs(&["redis.url"])
    .secret(),
    Setting::with::<Duration>(
        "cluster.request_timeout",
        "5s",
        "2s",
        "How long a question to the other nodes may take, such as which sockets are in a room. The \
         answer then holds what came until then and names the nodes that are missing.",
    )
    .between("1ms", "1h")
    .needs(&["redis.url"]),
    Setting::with::<Rebalancing>(
        "cluster.rebalance",
        "off",
        "auto",
        "`auto`: a node with over a tenth more connections than the mean of all nodes lets go of some, and \
         their clients come back elsewhere. `off`: it does so only after `POST /api/v1/rebalance`.",
    )
    .reloadable()
    .needs(&["redis.url", "recovery.window"]),
    Setting::with::<NonZeroU32>(
        "cluster.rebalance_per_second",
        "200",
        "50",
        "How many connections such a node lets go in a second.",
    )
    .reloadable()
    .between("1", "10000")
    .needs(&["redis.url"]),
    Setting::optional::<Duration>(
        "recovery.window",
        "clients that come back are new ones",
        "2m",
        "For how long a client may be away and come back to its session (`maxDisconnectionDuration` of Node). It \
         has its socket id, rooms and data, and gets the events that it missed. Listeners then see one argument more, the \
         offset, as with Node. Without Redis the node's memory keeps it until the node ends.",
    )
    .between("1s", "1d"),
    Setting::with::<Vec<NamespacePattern>>(
        "recovery.namespaces",
        "/*",
        "/,/chat-*",
        "In which namespaces clients are recovered.",
    )
    .needs(&["recovery.window"]),
    Setting::with::<NonZeroUsize>(
        "recovery.max_messages",
        "1000",
        "200",
        "Events that are kept for one room; up to an eighth more may stay. A client that missed more is not recovered.",
    )
    .between("1", "1000000")
    .needs(&["recovery.window"]),
    Setting::with::<Size>(
        "recovery.max_bytes",
        "4MiB",
        "1MiB",
        "Bytes of events that are kept for one room; up to an eighth more may stay. A client that missed more is not recovered.",
    )
    .between("1KiB", "1GiB")
    .needs(&["recovery.window"]),
    Setting::with::<Size>(
        "recovery.replay_bytes",
        "4MiB",
        "512KiB",
        "Most bytes of events that one client is sent again. A client that missed more is not recovered.",
    )
    .between("1KiB", "1GiB")
    .needs(&["recovery.window"]),
    Setting::with::<bool>(
        "recovery.ask_backend",
        "true",
        "false",
        "Whether the gateway asks backends about the `connect` of a client that is recovered. Node's \
         `skipMiddlewares` is the opposite. The gateway verifies tokens either way.",
    )
    .needs(&["recovery.window"]),
    Setting::with::<bool>(
        "presence.users",
        "false",
        "true",
        "Whether the gateway tells the backend and the stream of the first and the last connection of each user in a namespace. \
         `GET presence` answers from the same records then. The same on all nodes.",
    ),
    Setting::with::<Vec<Pattern>>(
        "presence.rooms",
        "",
        "chat:*,lobby",
        "Of which rooms the gateway tells when the first member came and the last one went. Names, or patterns in \
         which `*` stands for anything. The same on all nodes.",
    ),
    Setting::with::<Duration>(
        "presence.grace",
        "10s",
        "30s",
        "For how long nobody is told that a user or a room is gone. Somebody who is back within that time was never away, \
         as in a rollout.",
    )
    .between("0s", "1h")
    .needs_any(&["presence.users", "presence.rooms"]),
    Setting::with::<Duration>(
        "presence.lease",
        "15s",
        "30s",
        "After how long without a sign of life a node counts as dead, and its users and rooms as gone.",
    )
    .between("2s", "10m")
    .needs_any(&["presence.users", "presence.rooms"]),
    Setting::optional::<Keys>(
        "auth.jwt_secret",
        "tokens of this kind are not taken",
        "a secret of the token issuer",
        "Shared secret of tokens signed with HMAC (HS256, HS384, HS512). With it, or with one of \
         the two settings below, every client needs a token. Several, with commas between them, are \
         equally good, so that an issuer can change from one to another. The text as a whole is one \
         of them.",
    )
    .secret()
    .reloadable(),
    Setting::optional::<PathBuf>(
        "auth.jwt_public_key",
        "tokens of this kind are not taken",
        "/etc/gateway/issuer.pem",
        "PEM file with the public key of signed tokens: RSA (RS256, RS384, RS512, PS256, PS384, \
         PS512), P-256 (ES256), P-384 (ES384), P-521 (ES512) or Ed25519 (EdDSA).",
    )
    .reloadable(),
    Setting::optional::<HttpUrl>(
        "auth.jwks_url",
        "tokens of this kind are not taken",
        "https://issuer.example.com/jwks.json",
        "Where the public keys of signed tokens are published.",
    )
    .reloadable(),
    Setting::with::<Duration>(
        "auth.jwks_refresh",
        "5m",
        "1h",
        "How long published keys are used before they are fetched again. A token with an unknown \
         key has them fetched at once, but not twice within 10 seconds.",
    )
    .between("1s", "1d")
    .needs(&["auth.jwks_url"])
    .reloadable(),
    Setting::optional::<String>(
        "auth.issuer",
        "any issuer",
        "https://issuer.example.com/",
        "The issuer (`iss`) that every token has to name.",
    )
    .needs_any(KEYS)
    .reloadable(),
    Setting::with::<Vec<String>>(
        "auth.audience",
        "",
        "chat,https://chat.example.com",
        "Audiences (`aud`) of which every token has to name one. Without any, a token that names \
         an audience is refused: it is meant for somebody else.",
    )
    .needs_any(KEYS)
    .reloadable(),
    Setting::optional::<Cookie>(
        "auth.cookie",
        "cookies are not looked at",
        "session",
        "Name of a cookie that holds the token of a client that shows none in another place. A page \
         of another origin needs to be listed in `cors.origins` for it.",
    )
    .needs_any(KEYS)
    .reloadable(),
    Setting::with::<Duration>(
        "auth.leeway",
        "10s",
        "1m",
        "How far the issuer's clock and this one may differ.",
    )
    .between("0", "10m")
    .needs_any(KEYS)
    .reloadable(),
    Setting::with::<Duration>(
        "auth.grace",
        "30s",
        "1m",
        "How long a socket stays after its token expired, for the client to send another.",
    )
    .between("0", "1d")
    .needs_any(KEYS)
    .reloadable(),
    Setting::optional::<PathBuf>(
        "auth.ca_file",
        "what this system trusts",
        "/etc/gateway/auth-ca.crt",
        "PEM file of the certificates to trust for the issuer, in place of the system's roots. \
         They are authorities, or the server's own certificate, if it signed itself.",
    )
    .needs(&["auth.jwks_url"])
    .reloadable(),
    Setting::with::<TlsVerify>(
        "auth.tls_verify",
        "full",
        "ca",
        "How the node checks the certificate of the issuer: `full`, `ca` (who signed it, but not \
         its name), or `none`. With `none` anybody in between can read and change everything.",
    )
    .needs(&["auth.jwks_url"])
    .reloadable(),
    Setting::optional::<PathBuf>(
        "auth.tls_cert",
        "no certificate is shown",
        "/etc/gateway/auth-client.crt",
        "PEM file with the certificate chain that the gateway shows the issuer.",
    )
    .needs(&["auth.tls_key", "auth.jwks_url"])
    .reloadable(),
    Setting::optional::<PathBuf>(
        "auth.tls_key",
        "no certificate is shown",
        "/etc/gateway/auth-client.key",
        "PEM file with the private key of that certificate.",
    )
    .needs(&["auth.tls_cert", "auth.jwks_url"])
    .reloadable(),
    Setting::optional::<HttpUrl>(
        "backend.url",
        "the relay application, without a backend",
        "http://backend:8000/socket",
        "The backend that is told about connects and events and answers what to do.",
    )
    .needs(&["backend.secret"])
    .reloadable(),
    Setting::optional::<Secret>(
        "backend.secret",
        "none",
        "a secret of the backend",
        "Secret that signs requests to the backend.",
    )
    .needs(&["backend.url"])
    .secret()
    .reloadable(),
    Setting::with::<Vec<Route>>(
        "backend.routes",
        "",
        "/orders * http://orders:8000/hook,/ typing relay,/ debug-* nowhere",
        "Events that go elsewhere than to `backend.url` and `backend.stream`; the first route \
         that matches counts. Each route has a namespace and an event, both with `*` for any run \
         of characters, and a target. A target is a URL, `relay` (the relay application does it) \
         or `nowhere`. The events `connect` and `disconnect` are those of the socket itself.",
    )
    .needs_any(BACKENDS)
    .reloadable(),
    Setting::with::<bool>(
        "backend.http2",
        "false",
        "true",
        "Whether the backend is spoken to in HTTP/2 without asking. With `https` the two agree on \
         it by themselves.",
    )
    .needs(&["backend.url"])
    .reloadable(),
    Setting::with::<Duration>(
        "backend.timeout",
        "5s",
        "2s",
        "How long the backend may take for one request, or Redis for an entry that a client waits for.",
    )
    .between("10ms", "10m")
    .needs_any(BACKENDS)
    .reloadable(),
    Setting::with::<NonZeroUsize>(
        "backend.concurrency",
        "64",
        "256",
        "Requests to the backend that are under way at a time.",
    )
    .between("1", "10000")
    .needs(&["backend.url"])
    .reloadable(),
    Setting::with::<usize>(
        "backend.queue",
        "10000",
        "1000",
        "Requests that may wait for their turn; what comes beyond is refused at once.",
    )
    .between("0", "1000000")
    .needs(&["backend.url"])
    .reloadable(),
    Setting::with::<NonZeroUsize>(
        "backend.batch",
        "1",
        "16",
        "Events of one socket that may share a request when they wait anyway. The backend has to \
         know batches.",
    )
    .between("1", "1000")
    .needs(&["backend.url"])
    .reloadable(),
    Setting::with::<u32>(
        "backend.retries",
        "2",
        "5",
        "Further attempts after one that failed.",
    )
    .between("0", "20")
    .needs(&["backend.url"])
    .reloadable(),
    Setting::with::<bool>(
        "backend.idempotent",
        "false",
        "true",
        "Whether the backend remembers the ids of requests, so that an event may be sent again \
         when nobody knows whether it arrived.",
    )
    .needs(&["backend.url"])
    .reloadable(),
    Setting::with::<NonZeroU32>(
        "backend.breaker_failures",
        "5",
        "20",
        "Failures in a row after which the backend is left alone for a while.",
    )
    .between("1", "100000")
    .needs(&["backend.url"])
    .reloadable(),
    Setting::with::<Duration>(
        "backend.breaker_pause",
        "500ms",
        "2s",
        "How long it is left alone before one request tries it; doubled with each try that fails, \
         up to 16 times as long.",
    )
    .between("10ms", "10m")
    .needs(&["backend.url"])
    .reloadable(),
    Setting::optional::<PathBuf>(
        "backend.ca_file",
        "what this system trusts",
        "/etc/gateway/backend-ca.crt",
        "PEM file of the certificates to trust for backends, in place of the system's roots. They \
         are authorities, or the server's own certificate, if it signed itself.",
    )
    .needs(&["backend.url"])
    .reloadable(),
    Setting::with::<TlsVerify>(
        "backend.tls_verify",
        "full",
        "ca",
        "How the node checks the certificates of backends: `full`, `ca` (who signed it, but not \
         its name), or `none`. With `none` anybody in between can read and change everything.",
    )
    .needs(&["backend.url"])
    .reloadable(),
    Setting::optional::<PathBuf>(
        "backend.tls_cert",
        "no certificate is shown",
        "/etc/gateway/backend-client.crt",
        "PEM file with the certificate chain that the gateway shows backends.",
    )
    .needs(&["backend.tls_key", "backend.url"])
    .reloadable(),
    Setting::optional::<PathBuf>(
        "backend.tls_key",
        "no certificate is shown",
        "/etc/gateway/backend-client.key",
        "PEM file with the private key of that certificate.",
    )
    .needs(&["backend.tls_cert", "backend.url"])
    .reloadable(),
    Setting::optional::<StreamName>(
        "backend.stream",
        "none",
        "events",
        "Key of a Redis Stream that connects, events and disconnects are appended to, for consumer \
         groups. With `backend.url` it gets what the backend gets; without it, it is the backend.",
    )
    .needs(&["redis.url"]),
    Setting::with::<NonZeroUsize>(
        "backend.stream_length",
        "100000",
        "1000000",
        "About how many entries the stream keeps.",
    )
    .between("1", "1000000000")
    .needs(&["backend.stream"]),
    Setting::optional::<Keys>(
        "api.key",
        "the API is off",
        "a key for the HTTP API",
        "Bearer key of the HTTP API on the internal port. Several, with commas between them, are \
         equally good, so that callers can change from one to another.",
    )
    .secret()
    .reloadable(),
    Setting::with::<Size>(
        "api.max_body",
        "1MiB",
        "256KiB",
        "Largest body of a request to the HTTP API.",
    )
    .between("1KiB", "1GiB")
    .needs(&["api.key"])
    .reloadable(),
    Setting::optional::<String>(
        "admin.user",
        "no admin page",
        "admin",
        "The user of Socket.IO's admin page (`@socket.io/admin-ui`), which connects to the namespace `/admin`. \
         Without it that namespace is one like others.",
    )
    .needs(&["admin.password"])
    .reloadable(),
    Setting::optional::<PasswordHash>(
        "admin.password",
        "no admin page",
        "$2b$10$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy",
        "Hash of that user's password, by bcrypt (`$2a$`, `$2b$`, `$2y$`) or by Argon2. Bcrypt may have the cost 14, and \
         Argon2 64 MiB of memory and 10 passes. Another hash ends all logins.",
    )
    .needs(&["admin.user"])
    .secret()
    .reloadable(),
    Setting::with::<AdminMode>(
        "admin.mode",
        "production",
        "development",
        "`production`: the page shows the numbers of servers and namespaces. `development`: it also shows sockets, rooms \
         and events with their arguments.",
    )
    .needs(&["admin.user"])
    .reloadable(),
    Setting::with::<bool>(
        "admin.read_only",
        "false",
        "true",
        "Whether the page only shows. Otherwise it can emit, disconnect sockets, and have them join and leave rooms.",
    )
    .needs(&["admin.user"])
    .reloadable(),
    Setting::with::<NonZeroUsize>(
        "admin.sockets",
        "1000",
        "200",
        "Most sockets that a page shows in the mode `development`. It counts all of them in any case.",
    )
    .between("1", "5000")
    .needs(&["admin.user"])
    .reloadable(),
    Setting::with::<NonZeroU32>(
        "admin.events_per_second",
        "100",
        "20",
        "About how many events all nodes together tell the pages in a second, in the mode `development`. They leave out \
         what is more.",
    )
    .between("1", "10000")
    .needs(&["admin.user"])
    .reloadable(),
    Setting::optional::<PathBuf>(
        "admin.ui_dir",
        "the node serves no such page",
        "/usr/share/socket.io-admin-ui",
        "Directory of the page's files (`ui/dist` of the package `@socket.io/admin-ui`), which the node serves at \
         `/admin/`. If it has a folder `mdi` (the package `@mdi/font`), the page has its icons from there.",
    )
    .needs(&["admin.user"]),
    Setting::with::<Duration>(
        "shutdown.drain",
        "30s",
        "1m",
        "Time over which the node closes its sessions at the end, as many in each second. The \
         node lets new ones in for the first half. Zero closes all at once.",
    )
    .between("0", "1d"),
    Setting::optional::<PathBuf>(
        "tls.cert",
        "no TLS",
        "/etc/gateway/tls.crt",
        "PEM file with the certificate chain. Read again when it changes.",
    )
    .needs(&["tls.key"]),
    Setting::optional::<PathBuf>(
        "tls.key",
        "no TLS",
        "/etc/gateway/tls.key",
        "PEM file with the certificate's private key. Read again when it changes.",
    )
    .needs(&["tls.cert"]),
    Setting::with::<Duration>(
        "websocket.coalesce",
        "10ms",
        "5ms",
        "How long an event for a client on WebSocket may wait for others, so that one write takes them all. At a shard that \
         is idle nothing waits. At a busy one events wait eight times as long as it wrote before, and at most this. \
         Acknowledgements never wait, nor does the first event after a pause. By polling and with `tls.cert` only events \
         for more than 64 members of a room wait. `0s`: nothing waits.",
    )
    .between("0s", "1s"),
    Setting::optional::<SocketAddr>(
        "webtransport.listen",
        "no WebTransport",
        "[::]:3000",
        "Where clients connect by WebTransport, an address and a port of UDP. Clients expect the number of the port by \
         which they poll. `[::]:3000` hears IPv4 too.",
    )
    .needs_any(&["tls.cert", "webtransport.cert"])
    .of_feature("webtransport", cfg!(feature = "webtransport")),
    Setting::optional::<PathBuf>(
        "webtransport.cert",
        "that of `tls.cert`",
        "/etc/gateway/quic.crt",
        "PEM file with the certificate chain of WebTransport. Read again when it changes.",
    )
    .needs(&["webtransport.key", "webtransport.listen"])
    .of_feature("webtransport", cfg!(feature = "webtransport")),
    Setting::optional::<PathBuf>(
        "webtransport.key",
        "that of `tls.key`",
        "/etc/gateway/quic.key",
        "PEM file with the private key of that certificate. Read again when it changes.",
    )
    .needs(&["webtransport.cert", "webtransport.listen"])
    .of_feature("webtransport", cfg!(feature = "webtransport")),
    Setting::with::<NonZeroUsize>(
        "webtransport.connections",
        "10000",
        "2000",
        "Most connections of WebTransport of this node. One takes many times the memory of a WebSocket. The node refuses \
         further ones, and their clients use other transports.",
    )
    .needs(&["webtransport.listen"])
    .of_feature("webtransport", cfg!(feature = "webtransport")),
    Setting::with::<bool>(
        "metrics.socket_io_aliases",
        "false",
        "true",
        "Whether the node also exports the metrics under the names of the Prometheus exporter for \
         Socket.IO's server (`socket_io_connected` and others). Existing boards then keep \
         working.",
    ),
    Setting::optional::<HttpUrl>(
        "otel.endpoint",
        "no spans",
        "http://localhost:4318",
        "The OpenTelemetry collector that gets spans, by OTLP over HTTP. If the path does not end with \
         `/v1/traces`, the node adds that.",
    ),
    Setting::optional::<SecretHeaders>(
        "otel.headers",
        "none",
        "x-api-key=a key of the collector",
        "Headers of requests to the collector, as `NAME=VALUE`, several with commas between them.",
    )
    .needs(&["otel.endpoint"])
    .secret(),
    Setting::with::<Share>(
        "otel.sample",
        "0.01",
        "1",
        "How many of the traces that begin at this node are sampled: 0 is none, 1 all. The node always keeps spans that \
         failed or were slow.",
    )
    .needs(&["otel.endpoint"])
    .reloadable(),
    Setting::with::<Duration>(
        "otel.slow",
        "1s",
        "250ms",
        "A span that takes longer is kept although its trace is not sampled.",
    )
    .between("1ms", "1d")
    .needs(&["otel.endpoint"])
    .reloadable(),
    Setting::with::<bool>(
        "otel.trust_parent",
        "false",
        "true",
        "Whether the `traceparent` of a client's request says if its trace is sampled. Then any client can have all of \
         its spans kept. If not, the node samples such traces as it does others, and their ids stay.",
    )
    .needs(&["otel.endpoint"])
    .reloadable(),
    Setting::optional::<PathBuf>(
        "otel.ca_file",
        "the system's roots",
        "/etc/gateway/collector-ca.crt",
        "PEM file with the certificates that the node trusts for the collector, in place of the system's.",
    )
    .needs(&["otel.endpoint"]),
    Setting::with::<LogFormat>(
        "log.format",
        "text",
        "json",
        "The shape of a line of the log, which goes to standard error: `text` or `json`.",
    ),
    Setting::with::<Level>(
        "log.level",
        "info",
        "info,gateway::session=debug",
        "Which lines are logged: `off`, `error`, `warn`, `info`, `debug` or `trace`, for all or per \
         component.",
    )
    .reloadable(),
    Setting::optional::<PathBuf>(
        "config.env_file",
        "no such file is read",
        "/etc/gateway/gateway.env",
        "File with lines such as `GATEWAY_REDIS_URL=redis://localhost`, which are read as if they were in the \
         environment. The environment itself counts more. Other names than `GATEWAY_*` have no effect.",
    ),
    Setting::with::<bool>(
        "config.watch",
        "false",
        "true",
        "Whether the node reloads by itself when its file, the file with variables, or a file that these name has \
         changed. It looks every 2 seconds, and takes what stays the same for as long.",
    ),
];

/// Each of them is told about connects and events.
const BACKENDS: &[&str] = &["backend.url", "backend.stream"];

/// Each of them makes clients need a token.
const KEYS: &[&str] = &["auth.jwt_secret", "auth.jwt_public_key", "auth.jwks_url"];

/// The names of all settings.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    SETTINGS.iter().map(|setting| setting.name)
}

/// The setting of that name.
#[must_use]
pub fn setting(name: &str) -> Option<&'static Setting> {
    SETTINGS.iter().find(|setting| setting.name == name)
}

/// What others call some settings, without dots, dashes and underscores.
const ELSEWHERE: &[(&str, &str)] = &[
    ("address", "listen"),
    ("bind", "listen"),
    ("connectionstaterecovery", "recovery.window"),
    ("debug", "log.level"),
    ("host", "listen"),
    ("httpport", "listen"),
    ("maxdisconnectionduration", "recovery.window"),
    ("maxhttpbuffersize", "engine.max_payload"),
    ("metricsport", "internal_listen"),
    ("port", "listen"),
    ("requeststimeout", "cluster.request_timeout"),
    ("threads", "shards"),
    ("verbose", "log.level"),
    ("workers", "shards"),
];

/// Returns the known name that is nearest to one that is not known, if one is near.
///
/// A near one is a slip of the finger away, or has the same words with more or fewer behind them.
///
/// Names may have dots, dashes or underscores. The last part alone is nearly as good as the whole name.
///
/// ```
/// use gateway::config::nearest;
///
/// assert_eq!(nearest("pingIntervall", ["engine.ping_interval"]), Some("engine.ping_interval"));
/// assert_eq!(nearest("port", ["tls.cert"]), None);
/// ```
pub fn nearest<'a>(unknown: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let plain = |name: &str| name.to_lowercase().replace(['.', '-'], "_");
    let unknown = plain(unknown);
    let elsewhere = unknown.replace('_', "");
    let elsewhere = ELSEWHERE.iter().find(|(name, _)| *name == elsewhere);
    let most = (unknown.chars().count() / 3).max(1);
    let distance = |name: &str| {
        if elsewhere.is_some_and(|(_, ours)| *ours == name) {
            return Some(0);
        }
        let whole = plain(name);
        let key = name.rsplit('.').next().unwrap_or(name);
        let slips = strsim::osa_distance(&unknown, &whole);
        let slips = slips.min(strsim::osa_distance(&unknown, key) + 1);
        let same_words = begins_with_words(&unknown, &whole)
            || begins_with_words(&whole, &unknown)
            || (key.contains('_') && begins_with_words(&unknown, key))
            || are_short_for_another(&unknown, &whole);
        (slips <= most || same_words).then_some(slips)
    };
    let near = known.into_iter().filter_map(|it| Some((distance(it)?, it)));
    near.min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

/// Whether the first words of a name are those of the other.
fn begins_with_words(name: &str, words: &str) -> bool {
    let rest = name.strip_prefix(words);
    rest.is_some_and(|rest| !words.is_empty() && rest.starts_with('_'))
}

/// Whether each word of a name begins with that of the other, or the other way round: `cert` is short for `certificate`.
fn are_short_for_another(name: &str, other: &str) -> bool {
    let is_short = |(one, another): (&str, &str)| {
        let least = one.len().min(another.len());
        least >= 3 && (one.starts_with(another) || another.starts_with(one))
    };
    let same_count = name.split('_').count() == other.split('_').count();
    same_count && name.split('_').zip(other.split('_')).all(is_short)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_found_from_a_slip_of_the_finger() {
        for (unknown, expected) in [
            ("lisen", "listen"),
            ("engine.ping_intervall", "engine.ping_interval"),
            ("engine.pingInterval", "engine.ping_interval"),
            ("ping_interval", "engine.ping_interval"),
            ("redis_uri", "redis.url"),
            ("cors-origin", "cors.origins"),
            ("limit.connections", "limits.connections"),
            ("max_payload_size", "engine.max_payload"),
            ("sahrds", "shards"),
            ("maxHttpBufferSize", "engine.max_payload"),
            ("port", "listen"),
            ("redis", "redis.url"),
            ("tls_certificate", "tls.cert"),
            ("log", "log.level"),
        ] {
            assert_eq!(nearest(unknown, names()), Some(expected), "{unknown}");
        }
    }

    #[test]
    fn what_is_far_from_every_name_has_none_near() {
        for unknown in ["", "interface", "colour", "x", "sticky-sessions", "--"] {
            assert_eq!(nearest(unknown, names()), None, "{unknown}");
        }
    }

    #[test]
    fn what_others_call_a_setting_leads_to_one_that_exists() {
        for (name, ours) in ELSEWHERE {
            assert!(setting(ours).is_some(), "{name}: {ours}");
        }
    }

    #[test]
    fn no_name_is_given_twice_in_any_spelling() {
        let spellings: [fn(&Setting) -> String; 3] =
            [|s| s.name.to_owned(), Setting::variable, Setting::flag];
        for spelling in spellings {
            let all: std::collections::BTreeSet<_> = SETTINGS.iter().map(spelling).collect();
            assert_eq!(all.len(), SETTINGS.len());
        }
    }

    #[test]
    fn what_a_setting_needs_exists() {
        let needs = |setting: &Setting| [setting.needs, setting.needs_any].concat();
        for name in SETTINGS.iter().flat_map(needs) {
            assert!(setting(name).is_some(), "{name}");
        }
    }
}
