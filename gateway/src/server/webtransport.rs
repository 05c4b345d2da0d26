//! WebTransport of a node: one endpoint of QUIC on each shard's thread, all at one address.

use std::net::{SocketAddr, UdpSocket};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio_rustls::rustls::ServerConfig;
use tracing::info;

use super::error::StartError;
use crate::config::Config;
use crate::engine::mail::Mail;
use crate::engine::node::Node;
use crate::engine::webtransport::NO_ERROR;
use crate::http::webtransport;
use crate::net::quic;
use crate::net::tls::{Certificate, Files};

/// How long the end waits until clients have been told that their connections are closed.
const FAREWELL: Duration = Duration::from_millis(500);

/// The certificate, if there is to be WebTransport.
pub(super) fn certificate(config: &Config) -> Result<Option<Certificate>, StartError> {
    let Some(webtransport) = &config.webtransport else {
        return Ok(None);
    };
    let own = webtransport.tls.as_ref().map(|tls| Files {
        tls: tls.clone(),
        settings: ["webtransport.cert", "webtransport.key"],
    });
    let files = own.or_else(|| config.tls.as_ref().map(Files::of_clients));
    let certificate = files.map(Certificate::load).transpose()?;
    if let Some(certificate) = &certificate {
        certificate.server_config(quic::ALPN)?;
    }
    Ok(certificate)
}

/// Sockets that are bound, and what they are to serve.
pub(super) struct Entrance {
    address: SocketAddr,
    sockets: Vec<UdpSocket>,
    tls: ServerConfig,
}

impl Entrance {
    /// Binds the sockets, one for each shard.
    pub(super) fn open(
        config: &Config,
        certificate: &Certificate,
    ) -> Result<Option<Self>, StartError> {
        let Some(webtransport) = &config.webtransport else {
            return Ok(None);
        };
        // Elsewhere the kernel would give all to one of the sockets.
        let count = if cfg!(target_os = "linux") {
            config.shards.get()
        } else {
            1
        };
        let failed = |error| StartError::Listen {
            setting: "webtransport.listen",
            address: webtransport.listen.to_string().into(),
            error,
        };
        let sockets = quic::bind(webtransport.listen, count).map_err(failed)?;
        let address = sockets.first().map(UdpSocket::local_addr).transpose();
        Ok(Some(Self {
            address: address.map_err(failed)?.unwrap_or(webtransport.listen),
            sockets,
            tls: certificate.server_config(quic::ALPN)?,
        }))
    }

    /// Accepts clients.
    pub(super) async fn serve(self, node: &Arc<Node>) -> Result<Serving, StartError> {
        let engine = &node.config().engine;
        let silence = engine.ping_interval + engine.ping_timeout;
        let (tell, mut started) = mpsc::channel(self.sockets.len());
        let (tell_ended, ended) = mpsc::channel(1);
        let mut stops = Vec::new();
        for (socket, shard) in self.sockets.into_iter().zip(node.shards()) {
            let (stop, stopped) = oneshot::channel::<()>();
            stops.push(stop);
            let (tell, ended, tls) = (tell.clone(), tell_ended.clone(), self.tls.clone());
            shard.post(Mail::Run(Box::new(move |shard| {
                let endpoint = match quic::endpoint(socket, tls, silence) {
                    Ok(endpoint) => endpoint,
                    Err(error) => {
                        let _nobody_waits = tell.try_send(Err(error));
                        return;
                    }
                };
                let _nobody_waits = tell.try_send(Ok(()));
                let shard = Rc::clone(shard);
                tokio::task::spawn_local(async move {
                    tokio::select! {
                        () = webtransport::accept(&shard, &endpoint) => {}
                        _stopped_or_dropped = stopped => {}
                    }
                    endpoint.close(NO_ERROR, b"");
                    let _told_or_gone = tokio::time::timeout(FAREWELL, endpoint.wait_idle()).await;
                    drop(ended);
                });
            })));
        }
        drop(tell);
        while let Some(result) = started.recv().await {
            result.map_err(|error| StartError::Listen {
                setting: "webtransport.listen",
                address: self.address.to_string().into(),
                error,
            })?;
        }
        info!(target: "gateway::server", address = %self.address, "listening for WebTransport");
        Ok(Serving {
            address: self.address,
            stops,
            ended,
        })
    }
}

/// Endpoints that serve. Dropped, they end.
pub(super) struct Serving {
    address: SocketAddr,
    stops: Vec<oneshot::Sender<()>>,
    /// Ends when all of them have.
    ended: mpsc::Receiver<()>,
}

impl Serving {
    /// Where clients connect.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Closes all connections, and waits until their clients know or had time to.
    pub(super) async fn end(mut self) {
        self.stops.clear();
        let _all_ended = self.ended.recv().await;
    }
}
