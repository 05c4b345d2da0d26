//! TLS on the clients' port: the certificate, and its renewal while the node serves.

use std::hash::{DefaultHasher, Hasher};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio_rustls::rustls::pki_types::pem::{self, PemObject};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::{ClientHello, ResolvesServerCert};
use tokio_rustls::rustls::sign::CertifiedKey;
use tokio_rustls::rustls::{self, ServerConfig};
use tracing::{info, warn};

use crate::config::Tls;
use crate::net::crypto::{Ticketer, provider};

/// How often the files are read to see whether they changed.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// The only protocol that clients are offered.
const ALPN: &[u8] = b"http/1.1";

/// Why a certificate cannot be used.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("cannot read {} ({setting}): {error}", .path.display())]
    Read {
        /// The setting that names it.
        setting: &'static str,
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        error: io::Error,
    },
    /// The file of the certificate is not one.
    #[error("{} ({setting}) is no PEM file of certificates: {error}", .path.display())]
    Certificate {
        /// The setting that names it.
        setting: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        error: pem::Error,
    },
    /// The file of the key is not one.
    #[error("{} ({setting}) is no PEM file of a private key: {error}", .path.display())]
    Key {
        /// The setting that names it.
        setting: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong with it; never its content.
        error: pem::Error,
    },
    /// The two do not belong together, or cannot be used.
    #[error("the certificate of {cert} cannot be used with the key of {key}: {error}")]
    Unusable {
        /// The setting that names the certificate.
        cert: &'static str,
        /// The setting that names the key.
        key: &'static str,
        /// What is wrong.
        error: rustls::Error,
    },
}

/// The certificate that new connections get, and where it comes from.
pub(crate) struct Certificate {
    files: Files,
    current: Arc<Current>,
    /// A fingerprint of the files that were read last, usable or not, so that one mistake is logged
    /// once.
    seen: Option<u64>,
}

/// Where a certificate and its key are, and the settings that say so.
#[derive(Debug, Clone)]
pub(crate) struct Files {
    pub(crate) tls: Tls,
    pub(crate) settings: [&'static str; 2],
}

impl Files {
    /// Those of the clients' port.
    pub(crate) fn of_clients(tls: &Tls) -> Self {
        Self {
            tls: tls.clone(),
            settings: ["tls.cert", "tls.key"],
        }
    }

    /// The two do not belong together, or cannot be used.
    fn unusable(&self, error: rustls::Error) -> TlsError {
        let [cert, key] = self.settings;
        TlsError::Unusable { cert, key, error }
    }
}

/// Of all shards; read once for each connection.
#[derive(Debug)]
struct Current(RwLock<Arc<CertifiedKey>>);

impl ResolvesServerCert for Current {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(
            &self.0.read().unwrap_or_else(PoisonError::into_inner),
        ))
    }
}

impl Certificate {
    /// Reads the files.
    pub(crate) fn load(files: Files) -> Result<Self, TlsError> {
        let content = Content::read(&files)?;
        let current = Current(RwLock::new(content.certificate(&files)?));
        Ok(Self {
            seen: Some(content.fingerprint()),
            files,
            current: Arc::new(current),
        })
    }

    /// What makes TLS of a connection of TCP.
    pub(crate) fn acceptor(&self) -> Result<Arc<ServerConfig>, TlsError> {
        self.server_config(ALPN).map(Arc::new)
    }

    /// TLS for a protocol, with the certificate that is current when a client comes.
    pub(crate) fn server_config(&self, alpn: &[u8]) -> Result<ServerConfig, TlsError> {
        let unusable = |error| self.files.unusable(error);
        let current = Arc::clone(&self.current);
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(unusable)?
            .with_no_client_auth()
            .with_cert_resolver(current);
        config.alpn_protocols = vec![alpn.to_vec()];
        config.ticketer = Ticketer::new().map_err(unusable)?;
        Ok(config)
    }

    /// Takes in what changes in the files, until the task is aborted; at once if somebody asks, who is
    /// told when it is done. What is wrong is logged, and the certificate before it stays.
    pub(crate) async fn renew(mut self, mut asked: mpsc::Receiver<oneshot::Sender<()>>) {
        loop {
            let waiting = tokio::select! {
                () = tokio::time::sleep(LOOK_EVERY) => None,
                Some(waiting) = asked.recv() => Some(waiting),
            };
            let looked = tokio::task::spawn_blocking(move || {
                self.look();
                self
            });
            match looked.await {
                Ok(certificate) => self = certificate,
                // The certificate would never be renewed again.
                Err(_) => return,
            }
            if let Some(waiting) = waiting {
                let _nobody_waits = waiting.send(());
            }
        }
    }

    fn look(&mut self) {
        let content = Content::read(&self.files);
        let seen = content.as_ref().ok().map(Content::fingerprint);
        if seen == self.seen {
            return;
        }
        self.seen = seen;
        match content.and_then(|content| content.certificate(&self.files)) {
            Ok(certificate) => {
                let mut current = self
                    .current
                    .0
                    .write()
                    .unwrap_or_else(PoisonError::into_inner);
                *current = certificate;
                info!(target: "gateway::tls", cert = %self.files.tls.cert.display(), "new certificate");
            }
            Err(error) => {
                warn!(target: "gateway::tls", %error, "new certificate not taken; the old one stays")
            }
        }
    }
}

/// Of both files.
struct Content {
    cert: Vec<u8>,
    key: Vec<u8>,
}

impl Content {
    fn read(files: &Files) -> Result<Self, TlsError> {
        let read = |setting, path: &Path| {
            std::fs::read(path).map_err(|error| TlsError::Read {
                setting,
                path: path.to_owned(),
                error,
            })
        };
        let [cert, key] = files.settings;
        Ok(Self {
            cert: read(cert, &files.tls.cert)?,
            key: read(key, &files.tls.key)?,
        })
    }

    fn fingerprint(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        hasher.write(&self.cert);
        hasher.write(&self.key);
        hasher.finish()
    }

    fn certificate(&self, files: &Files) -> Result<Arc<CertifiedKey>, TlsError> {
        let wrong_chain = |error| TlsError::Certificate {
            setting: files.settings[0],
            path: files.tls.cert.clone(),
            error,
        };
        let chain: Vec<_> = CertificateDer::pem_slice_iter(&self.cert)
            .collect::<Result<_, _>>()
            .map_err(wrong_chain)?;
        if chain.is_empty() {
            return Err(wrong_chain(pem::Error::NoItemsFound));
        }
        let key = PrivateKeyDer::from_pem_slice(&self.key).map_err(|error| TlsError::Key {
            setting: files.settings[1],
            path: files.tls.key.clone(),
            error,
        })?;
        let certificate = CertifiedKey::from_der(chain, key, &provider());
        let certificate = certificate.map_err(|error| files.unusable(error))?;
        Ok(Arc::new(certificate))
    }
}
