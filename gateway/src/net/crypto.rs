//! The library behind TLS: ring, or AWS-LC if the program is built with the feature `aws-lc`.

use std::sync::Arc;

use tokio_rustls::rustls::crypto::CryptoProvider;
#[cfg(feature = "aws-lc")]
use tokio_rustls::rustls::crypto::aws_lc_rs as library;
#[cfg(not(feature = "aws-lc"))]
use tokio_rustls::rustls::crypto::ring as library;

pub(crate) use library::Ticketer;

/// Its cipher suites, key exchanges and signatures.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(library::default_provider())
}
