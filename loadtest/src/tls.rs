//! TLS as clients speak it: which servers are trusted, and how a connection begins.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use clap::ValueEnum;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, WebPkiServerVerifier, verify_server_name};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{
    CertificateError, ClientConfig, ClientConnection, DigitallySignedStruct, Error, RootCertStore,
    SignatureScheme,
};

/// What of a server's certificate counts; the words are those of `gateway doctor`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Check {
    /// Who signed it, when it is valid, and the name in it
    Full,
    /// All but the name
    Ca,
    /// Nothing
    None,
}

/// All connections of a run begin with it.
#[derive(Clone, Debug)]
pub(crate) struct Tls {
    config: Arc<ClientConfig>,
}

impl Tls {
    /// Trusts what the system trusts, and the certificates in the file `ca`.
    pub(crate) fn new(ca: Option<&Path>, check: Check) -> Result<Self> {
        let named = ca.map(certificates).transpose()?.unwrap_or_default();
        let provider = Arc::new(ring::default_provider());
        let verifier = Verifier::new(named, check, Arc::clone(&provider))?;
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_no_client_auth();
        // Nothing else is spoken here. A server that would rather speak HTTP/2 is told so.
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        // The clients of a run are strangers to the server: one does not go on with what another has agreed on.
        config.resumption = Resumption::disabled();
        Ok(Self {
            config: Arc::new(config),
        })
    }

    /// Begins to speak with the server of that name.
    pub(crate) fn connect(&self, name: &ServerName<'static>) -> Result<ClientConnection, Error> {
        ClientConnection::new(Arc::clone(&self.config), name.clone())
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let file = path.display();
    let pem = std::fs::read(path).with_context(|| format!("--ca: reading {file}"))?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let found = found.with_context(|| format!("--ca: {file} is no PEM file"))?;
    ensure!(!found.is_empty(), "--ca: {file} has no certificate");
    Ok(found)
}

/// Judges servers' certificates.
#[derive(Debug)]
struct Verifier {
    /// `None` without a single certificate to trust.
    strict: Option<Arc<WebPkiServerVerifier>>,
    named: Vec<CertificateDer<'static>>,
    check: Check,
    provider: Arc<CryptoProvider>,
}

impl Verifier {
    fn new(
        named: Vec<CertificateDer<'static>>,
        check: Check,
        provider: Arc<CryptoProvider>,
    ) -> Result<Self> {
        let mut roots = RootCertStore::empty();
        if check != Check::None {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
        for certificate in &named {
            let added = roots.add(certificate.clone());
            added.context("--ca: a certificate in it cannot be trusted")?;
        }
        let strict = if roots.is_empty() {
            None
        } else {
            let (roots, provider) = (Arc::new(roots), Arc::clone(&provider));
            Some(WebPkiServerVerifier::builder_with_provider(roots, provider).build()?)
        };
        Ok(Self {
            strict,
            named,
            check,
            provider,
        })
    }

    fn judge(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        now: UnixTime,
    ) -> Result<(), Error> {
        let Some(strict) = &self.strict else {
            return Err(CertificateError::UnknownIssuer.into());
        };
        match strict.verify_server_cert(certificate, intermediates, name, &[], now) {
            // It is one of those that --ca names, and signed by itself: `openssl req -x509` marks it as an authority.
            Err(Error::InvalidCertificate(
                CertificateError::Other(_) | CertificateError::UnknownIssuer,
            )) if self.named.iter().any(|it| it == certificate) => {
                verify_server_name(&ParsedCertificate::try_from(certificate)?, name)
            }
            judged => judged.map(drop),
        }
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        _ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if self.check == Check::None {
            return Ok(ServerCertVerified::assertion());
        }
        match self.judge(certificate, intermediates, name, now) {
            // The name is what is looked at last.
            Err(Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) if self.check == Check::Ca => Ok(ServerCertVerified::assertion()),
            judged => judged.map(|()| ServerCertVerified::assertion()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        let algorithms = &self.provider.signature_verification_algorithms;
        algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_certificates_is_named() {
        let missing = Path::new("/nowhere/ca.pem");
        let said = Tls::new(Some(missing), Check::Full).unwrap_err();
        assert_eq!(said.to_string(), "--ca: reading /nowhere/ca.pem");
        let manifest = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"));
        let said = Tls::new(Some(manifest), Check::Full).unwrap_err();
        assert!(said.to_string().ends_with("Cargo.toml has no certificate"));
    }

    #[test]
    fn only_http_1_is_offered() {
        let tls = Tls::new(None, Check::None).unwrap();
        assert_eq!(tls.config.alpn_protocols, [b"http/1.1"]);
    }
}
