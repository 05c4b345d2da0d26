//! TLS on the clients' port: the certificate, and its renewal while the node serves.

use std::hash::{DefaultHasher, Hasher};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio_rustls::TlsAcceptor;
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
    #[error("{} (tls.cert) is no PEM file of certificates: {error}", .path.display())]
    Certificate {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        error: pem::Error,
    },
    /// The file of the key is not one.
    #[error("{} (tls.key) is no PEM file of a private key: {error}", .path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// What is wrong with it; never its content.
        error: pem::Error,
    },
    /// The two do not belong together, or cannot be used.
    #[error("the certificate of tls.cert cannot be used with the key of tls.key: {0}")]
    Unusable(#[from] rustls::Error),
}

/// The certificate that new connections get, and where it comes from.
pub(crate) struct Certificate {
    files: Tls,
    current: Arc<Current>,
    /// A fingerprint of the files that were read last, usable or not, so that one mistake is logged
    /// once.
    seen: Option<u64>,
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
    pub(crate) fn load(files: &Tls) -> Result<(Self, TlsAcceptor), TlsError> {
        let files = files.clone();
        let content = Content::read(&files)?;
        let current = Current(RwLock::new(content.certificate(&files)?));
        let certificate = Self {
            seen: Some(content.fingerprint()),
            files,
            current: Arc::new(current),
        };
        let acceptor = certificate.acceptor()?;
        Ok((certificate, acceptor))
    }

    fn acceptor(&self) -> Result<TlsAcceptor, TlsError> {
        let current = Arc::clone(&self.current);
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_cert_resolver(current);
        config.alpn_protocols = vec![ALPN.to_vec()];
        config.ticketer = Ticketer::new()?;
        Ok(TlsAcceptor::from(Arc::new(config)))
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
                info!(target: "gateway::tls", cert = %self.files.cert.display(), "new certificate");
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
    fn read(files: &Tls) -> Result<Self, TlsError> {
        let read = |setting, path: &Path| {
            std::fs::read(path).map_err(|error| TlsError::Read {
                setting,
                path: path.to_owned(),
                error,
            })
        };
        Ok(Self {
            cert: read("tls.cert", &files.cert)?,
            key: read("tls.key", &files.key)?,
        })
    }

    fn fingerprint(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        hasher.write(&self.cert);
        hasher.write(&self.key);
        hasher.finish()
    }

    fn certificate(&self, files: &Tls) -> Result<Arc<CertifiedKey>, TlsError> {
        let wrong_chain = |error| TlsError::Certificate {
            path: files.cert.clone(),
            error,
        };
        let chain: Vec<_> = CertificateDer::pem_slice_iter(&self.cert)
            .collect::<Result<_, _>>()
            .map_err(wrong_chain)?;
        if chain.is_empty() {
            return Err(wrong_chain(pem::Error::NoItemsFound));
        }
        let key = PrivateKeyDer::from_pem_slice(&self.key).map_err(|error| TlsError::Key {
            path: files.key.clone(),
            error,
        })?;
        let certificate = CertifiedKey::from_der(chain, key, &provider())?;
        Ok(Arc::new(certificate))
    }
}
