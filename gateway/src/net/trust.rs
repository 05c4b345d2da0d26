//! The certificates that the gateway trusts when it connects by TLS: to Redis, backends and issuers
//! of tokens.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio_rustls::rustls::client::danger::{
    HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier,
};
use tokio_rustls::rustls::client::{WebPkiServerVerifier, verify_server_name};
use tokio_rustls::rustls::crypto::CryptoProvider;
use tokio_rustls::rustls::pki_types::pem::{self, PemObject};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use tokio_rustls::rustls::server::ParsedCertificate;
use tokio_rustls::rustls::{
    self, CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
};

use crate::config::{Config, TlsVerify, Trust};
use crate::net::crypto::provider;

/// Why a setting about trust cannot be fulfilled.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// A file cannot be read, or holds something else.
    #[error("{setting}: {} {error}", .path.display())]
    File {
        /// The setting or flag that names it.
        setting: String,
        /// The file.
        path: PathBuf,
        /// What is wrong with it; never its content.
        error: String,
    },
    /// TLS cannot be set up with it.
    #[error("{setting}: {error}")]
    Unusable {
        /// The setting or flag.
        setting: String,
        /// What is wrong.
        error: rustls::Error,
    },
    /// Nothing that is connected to speaks TLS.
    #[error(
        "{section}.ca_file, {section}.tls_verify, {section}.tls_cert and {section}.tls_key have no effect: no URL \
         begins with {scheme}"
    )]
    WithoutTls {
        /// The section of settings.
        section: String,
        /// What URLs with TLS begin with.
        scheme: String,
    },
    /// Nothing to check a certificate against.
    #[error(
        "{0}: no trusted root certificates were found on this system, and none are named: no server can be trusted"
    )]
    NoRoots(String),
}

/// How to connect by TLS, as the settings of `section` say.
pub(crate) fn client_config(trust: &Trust, section: &str) -> Result<ClientConfig, TrustError> {
    let mut anchors = Vec::new();
    if let Some(path) = &trust.ca_file {
        anchors = read_certificates(path, &format!("{section}.ca_file"))?;
    }
    let verifier = Verifier::new(anchors, trust.ca_file.is_none(), trust.verify)
        .map_err(|error| wrong(&format!("{section}.ca_file"), error))?;
    if !verifier.can_trust() {
        return Err(TrustError::NoRoots(section.to_owned()));
    }
    configured(
        Arc::new(verifier),
        trust.client.as_ref().map(|client| {
            let names = ["tls_cert", "tls_key"].map(|key| format!("{section}.{key}"));
            ((client.cert.as_path(), client.key.as_path()), names)
        }),
    )
}

/// A server that nobody has to reach need not be trusted.
pub(crate) fn trusting_nobody() -> Result<ClientConfig, TrustError> {
    let nobody = Verifier::new(Vec::new(), false, TlsVerify::Full);
    configured(Arc::new(nobody.map_err(|error| wrong("TLS", error))?), None)
}

/// Refuses settings that would have no effect.
pub(crate) fn without_tls(trust: &Trust, section: &str, scheme: &str) -> Result<(), TrustError> {
    if *trust == Trust::default() {
        return Ok(());
    }
    Err(TrustError::WithoutTls {
        section: section.to_owned(),
        scheme: scheme.to_owned(),
    })
}

/// Returns a warning for each setting by which certificates of other servers are not checked.
pub fn unchecked(config: &Config) -> Vec<String> {
    let sections = [
        ("redis", config.redis.as_ref().map(|redis| &redis.trust)),
        (
            "auth",
            config.auth.jwks_url.as_ref().map(|_| &config.auth.trust),
        ),
        (
            "backend",
            config
                .backend
                .webhook
                .as_ref()
                .map(|_| &config.backend.trust),
        ),
    ];
    let is_unchecked = |trust: Option<&Trust>| trust.is_some_and(|it| it.verify == TlsVerify::None);
    let unchecked = sections.iter().filter(|(_, it)| is_unchecked(*it));
    unchecked
        .map(|(section, _)| {
            format!(
                "{section}.tls_verify is none: certificates are NOT checked, and whoever is between here and there \
                 can read and change everything"
            )
        })
        .collect()
}

/// How to connect by TLS to a server that is examined: every certificate passes, and
/// [`Verifier::found_wrong`] tells what would be wrong with it. The flags name the file of `trust`'s
/// authorities, and those of the certificate and the key that the program shows of itself.
///
/// # Errors
///
/// A file that cannot be read or used, by the name of its flag.
pub fn examining(
    trust: &Trust,
    flags: [&str; 3],
) -> Result<(ClientConfig, Arc<Verifier>), TrustError> {
    let [ca, cert, key] = flags.map(str::to_owned);
    let named = match &trust.ca_file {
        Some(path) => read_certificates(path, &ca)?,
        None => Vec::new(),
    };
    let mut verifier = Verifier::new(named, true, trust.verify).map_err(|it| wrong(&ca, it))?;
    verifier.examined = Some(Mutex::default());
    let verifier = Arc::new(verifier);
    let client = trust.client.as_ref();
    let client = client.map(|it| ((it.cert.as_path(), it.key.as_path()), [cert, key]));
    Ok((configured(Arc::clone(&verifier), client)?, verifier))
}

/// With a verifier; the client shows a certificate if it is to.
///
/// # Errors
///
/// If a file cannot be read, or the certificate does not belong to the key; names the setting.
fn configured(
    verifier: Arc<Verifier>,
    client: Option<((&Path, &Path), [String; 2])>,
) -> Result<ClientConfig, TrustError> {
    let builder = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| wrong("TLS", error))?
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    let Some(((cert, key), [cert_setting, key_setting])) = client else {
        return Ok(builder.with_no_client_auth());
    };
    let chain = read_certificates(cert, &cert_setting)?;
    let key = PrivateKeyDer::from_pem_file(key)
        .map_err(|error| unreadable(key, &key_setting, &error, "a private key"))?;
    builder.with_client_auth_cert(chain, key).map_err(|error| {
        if !matches!(error, rustls::Error::InconsistentKeys(_)) {
            return wrong(&cert_setting, error);
        }
        TrustError::File {
            error: format!("does not belong to the key of {key_setting}"),
            setting: cert_setting,
            path: cert.to_owned(),
        }
    })
}

/// The certificates of a PEM file; at least one.
///
/// # Errors
///
/// If the file cannot be read, or has no certificate in it; names `setting`.
fn read_certificates(
    path: &Path,
    setting: &str,
) -> Result<Vec<CertificateDer<'static>>, TrustError> {
    let wrong = |error: &pem::Error| unreadable(path, setting, error, "certificates");
    let found = CertificateDer::pem_file_iter(path).map_err(|error| wrong(&error))?;
    let found: Vec<_> = found.collect::<Result<_, _>>().map_err(|it| wrong(&it))?;
    if found.is_empty() {
        return Err(wrong(&pem::Error::NoItemsFound));
    }
    Ok(found)
}

fn unreadable(path: &Path, setting: &str, error: &pem::Error, what: &str) -> TrustError {
    let error = if let pem::Error::Io(error) = error {
        format!("cannot be read: {error}")
    } else {
        format!("is no PEM file of {what}: {error}")
    };
    TrustError::File {
        setting: setting.to_owned(),
        path: path.to_owned(),
        error,
    }
}

fn wrong(setting: &str, error: rustls::Error) -> TrustError {
    TrustError::Unusable {
        setting: setting.to_owned(),
        error,
    }
}

/// Checks the certificates of servers as strictly as [`TlsVerify`] says.
#[derive(Debug)]
pub struct Verifier {
    provider: Arc<CryptoProvider>,
    verify: TlsVerify,
    /// A server that shows one of these is the one that is meant, also if it is marked as an
    /// authority.
    named: Vec<CertificateDer<'static>>,
    /// `None` without a single certificate to trust.
    strict: Option<Arc<WebPkiServerVerifier>>,
    /// What the strict one trusts.
    roots: Arc<RootCertStore>,
    /// What was found about the last certificate, if every one is let pass.
    examined: Option<Mutex<Examined>>,
}

/// What was found about a certificate.
#[derive(Debug, Default)]
struct Examined {
    wrong: Option<rustls::Error>,
    /// It is marked as an authority, which rustls refuses of a server and others do not.
    is_authority: bool,
}

impl Verifier {
    /// Trusts `named`, and, with `system`, what this system trusts.
    ///
    /// # Errors
    ///
    /// If a certificate in `named` is none.
    fn new(
        named: Vec<CertificateDer<'static>>,
        system: bool,
        verify: TlsVerify,
    ) -> Result<Self, rustls::Error> {
        let provider = provider();
        let mut roots = RootCertStore::empty();
        if system {
            let found = rustls_native_certs::load_native_certs().certs;
            roots.add_parsable_certificates(found);
        }
        for certificate in &named {
            roots.add(certificate.clone())?;
        }
        let roots = Arc::new(roots);
        let strict = (!roots.is_empty()).then(|| {
            WebPkiServerVerifier::builder_with_provider(Arc::clone(&roots), Arc::clone(&provider))
                .build()
        });
        let strict = strict
            .transpose()
            .map_err(|error| rustls::Error::General(error.to_string()))?;
        Ok(Self {
            provider,
            verify,
            named,
            strict,
            roots,
            examined: None,
        })
    }

    /// Returns how much it checks.
    pub fn verify(&self) -> TlsVerify {
        self.verify
    }

    /// Returns what was wrong with the last certificate that a server showed, if servers are
    /// [examined](examining).
    pub fn found_wrong(&self) -> Option<rustls::Error> {
        self.examined()?.wrong.clone()
    }

    /// Returns whether the last certificate that an [examined](examining) server showed is marked as an
    /// authority. Clients that are built with rustls refuse such a one, while others take it.
    pub fn found_authority(&self) -> bool {
        self.examined().is_some_and(|found| found.is_authority)
    }

    fn examined(&self) -> Option<MutexGuard<'_, Examined>> {
        let examined = self.examined.as_ref()?.lock();
        Some(examined.unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether there is any server that it would trust.
    fn can_trust(&self) -> bool {
        self.strict.is_some() || self.verify == TlsVerify::None
    }

    fn judge(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        now: UnixTime,
    ) -> Result<(), rustls::Error> {
        let Some(strict) = &self.strict else {
            return Err(CertificateError::UnknownIssuer.into());
        };
        let judged = strict.verify_server_cert(certificate, intermediates, name, &[], now);
        let is_authority = judged.as_ref().is_err_and(is_of_authority);
        if let Some(mut examined) = self.examined() {
            examined.is_authority = is_authority;
        }
        match judged {
            Ok(_) => Ok(()),
            // Its time was looked at before. What is left is that it is marked as an authority, as
            // `openssl req -x509` does, or that who signed it is not named.
            Err(rustls::Error::InvalidCertificate(
                CertificateError::Other(_) | CertificateError::UnknownIssuer,
            )) if self.named.iter().any(|it| it == certificate) => {
                verify_server_name(&ParsedCertificate::try_from(certificate)?, name)
            }
            Err(_) if is_authority && self.examined.is_some() => {
                if !self.knows_issuer(certificate, intermediates) {
                    return Err(CertificateError::UnknownIssuer.into());
                }
                verify_server_name(&ParsedCertificate::try_from(certificate)?, name)
            }
            Err(error) => Err(error),
        }
    }

    /// Whether the name of who signed a certificate is that of somebody who is trusted, or was shown with it.
    fn knows_issuer(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
    ) -> bool {
        let mut shown = RootCertStore::empty();
        shown.add_parsable_certificates(
            intermediates
                .iter()
                .cloned()
                .map(CertificateDer::into_owned),
        );
        let Some(issuer) = issuer(certificate) else {
            return false;
        };
        let mut known = self.roots.roots.iter().chain(&shown.roots);
        known.any(|anchor| *anchor.subject == *issuer)
    }
}

fn is_of_authority(error: &rustls::Error) -> bool {
    matches!(error, rustls::Error::InvalidCertificate(CertificateError::Other(other))
        if other.to_string().contains("CaUsedAsEndEntity"))
}

/// The name of who signed a certificate, as its content is encoded.
fn issuer<'a>(certificate: &'a CertificateDer<'_>) -> Option<&'a [u8]> {
    const VERSION: u8 = 0xa0;
    let (_, certificate, _) = der_element(certificate)?;
    let (_, signed, _) = der_element(certificate)?;
    let (tag, _, behind_version) = der_element(signed)?;
    let serial = if tag == VERSION {
        behind_version
    } else {
        signed
    };
    let (_, _, algorithm) = der_element(serial)?;
    let (_, _, issuer) = der_element(algorithm)?;
    der_element(issuer).map(|(_, issuer, _)| issuer)
}

/// The tag and the content of what DER begins with, and what comes behind it.
fn der_element(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = der.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81..=0x83 => {
            let (bytes, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            let number = |number, byte: &u8| number << 8 | usize::from(*byte);
            (bytes.iter().fold(0, number), rest)
        }
        _ => return None,
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((tag, content, rest))
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        _ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if self.verify == TlsVerify::None {
            return Ok(ServerCertVerified::assertion());
        }
        match self.judge(certificate, intermediates, name, now) {
            Ok(()) => Ok(ServerCertVerified::assertion()),
            // The name is what is looked at last.
            Err(rustls::Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) if self.verify == TlsVerify::Ca => Ok(ServerCertVerified::assertion()),
            Err(error) => match &self.examined {
                Some(examined) => {
                    let examined = examined.lock();
                    examined.unwrap_or_else(PoisonError::into_inner).wrong = Some(error);
                    Ok(ServerCertVerified::assertion())
                }
                None => Err(error),
            },
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(
            message,
            certificate,
            signature,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(
            message,
            certificate,
            signature,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

#[cfg(test)]
mod tests;
