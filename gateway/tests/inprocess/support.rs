//! A gateway of one's own, and clients that do what the test says.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::time::Duration;

use gateway::handlers::{Handlers, Namespace};
use gateway::{Config, Gateway, Running, Server};

pub(crate) use testkit::wait::{soon, until_async as until};

pub(crate) use self::backend::Backend;
pub(crate) use self::collector::{Collector, Span};
pub(crate) use self::far::far;
pub(crate) use self::http::{Connection, Response, request, request_with};
pub(crate) use self::polling::Polling;
pub(crate) use self::token::{token, token_by, token_of};
pub(crate) use self::websocket::{Frame, WebSocket};
#[cfg(feature = "webtransport")]
pub(crate) use self::webtransport::{Frame as WebTransportFrame, WebTransport};

mod backend;
mod collector;
mod far;
mod http;
mod polling;
mod token;
mod websocket;
#[cfg(feature = "webtransport")]
mod webtransport;

/// Two shards on ports of the system's choice.
pub(crate) fn config() -> Config {
    let mut config = Config {
        demo: Some(false),
        ..Config::default()
    };
    config.listen = ([127, 0, 0, 1], 0).into();
    config.internal_listen = ([127, 0, 0, 1], 0).into();
    config.shards = NonZeroUsize::new(2).unwrap();
    config.shutdown.drain = Duration::ZERO;
    config
}

/// A node that ends with its test.
pub(crate) struct TestGateway(Running);

impl TestGateway {
    pub(crate) async fn start(server: Server) -> Self {
        Self(server.start().await.unwrap())
    }

    pub(crate) async fn relay() -> Self {
        Self::start(Server::new(config())).await
    }

    /// With handlers for `/`.
    pub(crate) async fn handlers(define: impl FnOnce(Namespace) -> Namespace) -> Self {
        Self::configured(config(), define).await
    }

    pub(crate) async fn configured(
        config: Config,
        define: impl FnOnce(Namespace) -> Namespace,
    ) -> Self {
        let handlers = Handlers::new().namespace("/", define);
        Self::start(Server::new(config).application(handlers)).await
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.0.address()
    }

    pub(crate) fn internal_address(&self) -> SocketAddr {
        self.0.internal_address()
    }

    pub(crate) fn running(&self) -> &Running {
        &self.0
    }

    #[cfg(feature = "webtransport")]
    pub(crate) fn webtransport_address(&self) -> SocketAddr {
        self.0.webtransport_address().unwrap()
    }

    pub(crate) fn gateway(&self) -> Gateway {
        self.0.gateway().clone()
    }

    pub(crate) async fn stop(self) {
        self.0.stop().await;
    }

    pub(crate) async fn stop_at_once(self) {
        self.0.stop_at_once().await;
    }

    /// A WebSocket client in no namespace.
    pub(crate) async fn websocket(&self) -> WebSocket {
        WebSocket::open(self.address()).await
    }

    /// A polling client in no namespace.
    pub(crate) async fn polling(&self) -> Polling {
        Polling::open(self.address()).await
    }

    /// A WebSocket client in `/`, and the id of its socket.
    pub(crate) async fn client(&self) -> (WebSocket, String) {
        let mut client = self.websocket().await;
        let id = client.connect().await;
        (client, id)
    }

    /// `count` clients in `/`; with two of them there is one on each shard.
    pub(crate) async fn clients(&self, count: usize) -> Vec<WebSocket> {
        let mut clients = Vec::new();
        let mut shards = std::collections::HashSet::new();
        for _ in 0..count {
            let (client, id) = self.client().await;
            shards.insert(id.as_bytes()[4]);
            clients.push(client);
        }
        assert_eq!(shards.len(), count.min(2), "clients on one shard only");
        clients
    }

    /// All that Prometheus would read.
    pub(crate) async fn metrics(&self) -> String {
        request(self.internal_address(), "GET /metrics", "")
            .await
            .body
    }

    /// The value of a series, named as Prometheus writes it.
    pub(crate) async fn metric(&self, series: &str) -> f64 {
        value(&self.metrics().await, series).unwrap_or_else(|| panic!("no series {series}"))
    }

    pub(crate) async fn until_metric(&self, series: &str, expected: f64) {
        until(async || self.metric(series).await == expected).await;
    }
}

/// A series of a text of metrics.
pub(crate) fn value(metrics: &str, series: &str) -> Option<f64> {
    let mut lines = metrics.lines();
    let value = lines.find_map(|line| line.strip_prefix(series)?.strip_prefix(' '))?;
    value.parse().ok()
}

/// The `sid` of an open packet or of a reply to `CONNECT`.
pub(crate) fn sid(packet: &str) -> String {
    let (_, rest) = packet.split_once("\"sid\":\"").expect("a sid");
    rest.split('"').next().unwrap_or_default().to_owned()
}
