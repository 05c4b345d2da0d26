//! Requests to other services, made on a thread of their own so that no shard waits for them.

use std::future::Future;
use std::io::ErrorKind;
use std::sync::{Arc, PoisonError, RwLock};
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::{Request, Response, StatusCode, Uri};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::{HttpConnector, capture_connection};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_rustls::rustls::ClientConfig;
use tracing::warn;

use crate::config::{Auth, Backend, HttpUrl, Otel, Target, Trust};
use crate::net::trust::{TrustError, client_config, trusting_nobody, without_tls};

mod reuse;

use reuse::{Marking, Use};

/// A connection that ends so soon after a request was made on it had been closed before the request
/// arrived. One that ends later may have ended because of it, as when its handler crashed.
const CROSSING: Duration = Duration::from_secs(1);

/// How long connecting may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// How long a connection is kept that nobody uses.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);

/// A thread with a client for HTTP/1.1 and HTTP/2, whose connections are pooled. Dropped, it ends
/// with all that is under way.
pub(crate) struct Outbound {
    handle: Handle,
    clients: RwLock<Arc<Clients>>,
    _stop: oneshot::Sender<()>,
}

/// The clients. Each trusts those that its settings name.
pub(crate) struct Clients {
    backends: HttpClient,
    /// Speaks HTTP/2 without asking.
    backends_http2: HttpClient,
    /// For the keys of issuers, who may be trusted otherwise.
    issuers: HttpClient,
    /// For the collector of spans.
    collector: HttpClient,
}

type HttpClient = Client<Marking<HttpsConnector<HttpConnector>>, Full<Bytes>>;

/// Which protocol a request is made in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// HTTP/1.1, or HTTP/2 if TLS agrees on it.
    Negotiated,
    /// HTTP/2.
    Http2,
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CallError {
    /// The request never left.
    #[error("cannot connect: {0}")]
    Connect(String),
    /// The other end closed a connection that had rested, at the moment when the request was on its
    /// way: it has not read it.
    #[error("the other side had closed the connection: {0}")]
    Ended(String),
    /// It may have arrived.
    #[error("the connection failed: {0}")]
    Broken(String),
    /// It may have arrived.
    #[error("no answer in time")]
    Timeout,
    /// The answer is too large.
    #[error("the answer is larger than {0} bytes")]
    TooLarge(usize),
    /// The answer is none that was hoped for.
    #[error("the answer is {0}")]
    Status(StatusCode),
}

/// Why nothing can be requested.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum OutboundError {
    /// The settings of certificates to trust cannot be fulfilled.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// There is no thread.
    #[error(transparent)]
    Thread(#[from] std::io::Error),
}

impl Outbound {
    /// For backends, if there are any, for the keys of issuers, and for a collector of spans.
    pub(crate) fn start(
        backend: Option<&Backend>,
        auth: &Auth,
        otel: Option<&Otel>,
    ) -> Result<Arc<Self>, OutboundError> {
        Ok(Self::with(Clients::new(backend, auth, otel)?)?)
    }

    fn with(clients: Clients) -> std::io::Result<Arc<Self>> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel::<()>();
        thread::Builder::new()
            .name("outbound".to_owned())
            .spawn(move || {
                let _told_or_dropped = runtime.block_on(stopped);
            })?;
        Ok(Arc::new(Self {
            handle,
            clients: RwLock::new(Arc::new(clients)),
            _stop: stop,
        }))
    }

    /// Makes requests by other clients from now on. Those under way end as they began.
    pub(crate) fn take_over(&self, clients: Clients) {
        let mut current = self.clients.write().unwrap_or_else(PoisonError::into_inner);
        *current = Arc::new(clients);
    }

    fn clients(&self) -> Arc<Clients> {
        let current = self.clients.read();
        Arc::clone(&current.unwrap_or_else(PoisonError::into_inner))
    }

    /// Runs a future on the thread.
    pub(crate) fn spawn<T: Send + 'static>(
        &self,
        future: impl Future<Output = T> + Send + 'static,
    ) -> JoinHandle<T> {
        self.handle.spawn(future)
    }

    /// Makes a request, in a future that was spawned here.
    pub(crate) async fn call(
        &self,
        protocol: Protocol,
        request: Request<Full<Bytes>>,
        timeout: Duration,
        max_bytes: usize,
    ) -> Result<Response<Bytes>, CallError> {
        let clients = self.clients();
        let client = match protocol {
            Protocol::Negotiated => &clients.backends,
            Protocol::Http2 => &clients.backends_http2,
        };
        Self::call_by(client, request, timeout, max_bytes).await
    }

    /// Makes a request to the collector of spans, in a future that was spawned here.
    pub(crate) async fn call_collector(
        &self,
        request: Request<Full<Bytes>>,
        timeout: Duration,
        max_bytes: usize,
    ) -> Result<Response<Bytes>, CallError> {
        let clients = self.clients();
        Self::call_by(&clients.collector, request, timeout, max_bytes).await
    }

    async fn call_by(
        client: &HttpClient,
        request: Request<Full<Bytes>>,
        timeout: Duration,
        max_bytes: usize,
    ) -> Result<Response<Bytes>, CallError> {
        let answered = async {
            let mut request = request;
            let connection = capture_connection(&mut request);
            let begun = Instant::now();
            let response = client.request(request).await.map_err(|error| {
                let was_used = error
                    .connect_info()
                    .is_some_and(|it| Use::of(it).is_some_and(|it| it.was_used()));
                if error.is_connect() {
                    CallError::Connect(innermost(&error))
                } else if was_used && is_closed(&error) && begun.elapsed() < CROSSING {
                    CallError::Ended(innermost(&error))
                } else {
                    CallError::Broken(innermost(&error))
                }
            })?;
            Use::note(&connection, response.headers());
            let (head, body) = response.into_parts();
            let body = Limited::new(body, max_bytes).collect().await;
            let body = body.map_err(|error| {
                if error.is::<LengthLimitError>() {
                    CallError::TooLarge(max_bytes)
                } else {
                    CallError::Broken(error.to_string())
                }
            })?;
            Ok(Response::from_parts(head, body.to_bytes()))
        };
        match tokio::time::timeout(timeout, answered).await {
            Ok(answered) => answered,
            Err(_) => Err(CallError::Timeout),
        }
    }

    /// The body of an issuer's resource, in a future that was spawned here.
    pub(crate) async fn get(
        &self,
        url: &Uri,
        timeout: Duration,
        max_bytes: usize,
    ) -> Result<Bytes, CallError> {
        let mut request = Request::new(Full::default());
        *request.uri_mut() = url.clone();
        let clients = self.clients();
        let response = Self::call_by(&clients.issuers, request, timeout, max_bytes);
        let response = response.await?;
        if response.status().is_success() {
            Ok(response.into_body())
        } else {
            Err(CallError::Status(response.status()))
        }
    }
}

impl Clients {
    /// For backends, if there are any, for the keys of issuers, and for a collector of spans.
    pub(crate) fn new(
        backend: Option<&Backend>,
        auth: &Auth,
        otel: Option<&Otel>,
    ) -> Result<Self, TrustError> {
        let issuers = tls(&auth.trust, "auth", auth.jwks_url.iter())?;
        let backends = match backend {
            Some(backend) => tls(&backend.trust, "backend", backend_urls(backend))?,
            None => trusting_nobody()?,
        };
        let collector = match otel {
            Some(otel) => tls(&otel.trust, "otel", std::iter::once(&otel.endpoint))?,
            None => trusting_nobody()?,
        };
        let mut builder = Client::builder(TokioExecutor::new());
        builder
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_TIMEOUT);
        Ok(Self {
            issuers: builder.build(connector(issuers)),
            collector: builder.build(connector(collector)),
            backends: builder.build(connector(backends.clone())),
            backends_http2: builder.http2_only(true).build(connector(backends)),
        })
    }
}

/// What went wrong at the bottom, in one sentence.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut inner = error;
    while let Some(source) = inner.source() {
        inner = source;
    }
    inner.to_string()
}

/// Whether the other end closed the connection without an answer.
fn is_closed(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut inner = Some(error);
    while let Some(error) = inner {
        if let Some(error) = error.downcast_ref::<hyper::Error>()
            && error.is_incomplete_message()
        {
            return true;
        }
        if let Some(error) = error.downcast_ref::<std::io::Error>()
            && matches!(
                error.kind(),
                ErrorKind::ConnectionReset | ErrorKind::BrokenPipe
            )
        {
            return true;
        }
        inner = error.source();
    }
    false
}

fn backend_urls(backend: &Backend) -> impl Iterator<Item = &HttpUrl> {
    let webhook = backend.webhook.iter().map(|webhook| &webhook.url);
    let routed = backend
        .routes
        .iter()
        .filter_map(|route| match &route.target {
            Target::Backend(url) => Some(url),
            Target::Relay | Target::Nowhere => None,
        });
    webhook.chain(routed)
}

/// How to speak TLS with the services at `urls`.
fn tls<'a>(
    trust: &Trust,
    section: &str,
    mut urls: impl Iterator<Item = &'a HttpUrl>,
) -> Result<ClientConfig, TrustError> {
    if !urls.any(|url| url.uri().scheme_str() == Some("https")) {
        without_tls(trust, section, "https")?;
        return trusting_nobody();
    }
    match client_config(trust, section) {
        Err(TrustError::NoRoots(_)) => {
            warn!(target: "gateway::outbound", "the system has no trusted root certificates: the node cannot reach https services");
            trusting_nobody()
        }
        built => built,
    }
}

fn connector(tls: ClientConfig) -> Marking<HttpsConnector<HttpConnector>> {
    let mut http = HttpConnector::new();
    http.enforce_http(false);
    http.set_nodelay(true);
    http.set_connect_timeout(Some(CONNECT_TIMEOUT));
    let https = HttpsConnectorBuilder::new()
        .with_tls_config(tls)
        .https_or_http()
        .enable_all_versions()
        .wrap_connector(http);
    Marking(https)
}
