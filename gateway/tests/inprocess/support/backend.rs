use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{HeaderMap, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::task::{AbortHandle, JoinSet};

/// An HTTP server that does what the test says. Dropped, it is gone with its connections.
pub(crate) struct Backend {
    address: SocketAddr,
    calls: Arc<Mutex<Vec<Value>>>,
    task: AbortHandle,
}

/// What it answers: a status, and JSON or nothing.
pub(super) type Answer = Pin<Box<dyn Future<Output = (u16, Value)> + Send>>;

type Handler = dyn Fn(HeaderMap, Bytes) -> Answer + Send + Sync;

impl Backend {
    /// Answers at once.
    pub(crate) async fn start(
        answer: impl Fn(&Value) -> (u16, Value) + Send + Sync + 'static,
    ) -> Self {
        Self::start_at(([127, 0, 0, 1], 0).into(), answer).await
    }

    pub(crate) async fn start_at(
        address: SocketAddr,
        answer: impl Fn(&Value) -> (u16, Value) + Send + Sync + 'static,
    ) -> Self {
        Self::serve(address, move |_, body| {
            let body = serde_json::from_slice(&body).unwrap_or_default();
            Box::pin(std::future::ready(answer(&body)))
        })
        .await
    }

    /// Answers in its own time.
    pub(crate) async fn serve(
        address: SocketAddr,
        handler: impl Fn(HeaderMap, Bytes) -> Answer + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let calls = Arc::<Mutex<Vec<Value>>>::default();
        let (handler, kept): (Arc<Handler>, _) = (Arc::new(handler), Arc::clone(&calls));
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (handler, calls) = (Arc::clone(&handler), Arc::clone(&kept));
                let service = service_fn(move |request: Request<Incoming>| {
                    let (handler, calls) = (Arc::clone(&handler), Arc::clone(&calls));
                    async move {
                        let (head, body) = request.into_parts();
                        let body = body.collect().await.unwrap().to_bytes();
                        let call = serde_json::from_slice(&body).unwrap_or_default();
                        calls.lock().unwrap().push(call);
                        let (status, answer) = handler(head.headers, body).await;
                        let text = if answer.is_null() {
                            String::new()
                        } else {
                            answer.to_string()
                        };
                        let mut response = Response::new(Full::new(Bytes::from(text)));
                        *response.status_mut() = StatusCode::from_u16(status).unwrap();
                        Ok::<_, Infallible>(response)
                    }
                });
                let served = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
                connections.spawn(served);
            }
        });
        Self {
            address,
            calls,
            task: task.abort_handle(),
        }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/hook", self.address)
    }

    /// The bodies that came so far.
    pub(crate) fn calls(&self) -> Vec<Value> {
        self.calls.lock().unwrap().clone()
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.task.abort();
    }
}
