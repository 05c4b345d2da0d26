//! The keys that tokens are verified with, each for the algorithms of its own kind alone: a public
//! key is never taken for a shared secret.

use std::path::{Path, PathBuf};

use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey};

/// A key, and what it verifies.
#[derive(Clone)]
pub(super) struct Key {
    /// The key's name, when it was published with one.
    pub(super) id: Option<String>,
    pub(super) algorithms: &'static [Algorithm],
    pub(super) key: DecodingKey,
}

/// Why a configured key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file cannot be read.
    #[error("auth.jwt_public_key: cannot read {path}: {error}", path = .0.display(), error = .1)]
    Unreadable(PathBuf, std::io::Error),
    /// It holds a private key, which has no business here.
    #[error("auth.jwt_public_key: {path} holds a private key; give the public one", path = .0.display())]
    Private(PathBuf),
    /// It holds no public key of a known kind.
    #[error(
        "auth.jwt_public_key: {path} is not the PEM file of a public key for RS256, RS384, RS512, ES256, ES384 or EdDSA",
        path = .0.display()
    )]
    Unknown(PathBuf),
}

pub(super) const HMAC: &[Algorithm] = &[Algorithm::HS256, Algorithm::HS384, Algorithm::HS512];
const RSA: &[Algorithm] = &[Algorithm::RS256, Algorithm::RS384, Algorithm::RS512];
const P256: &[Algorithm] = &[Algorithm::ES256];
const P384: &[Algorithm] = &[Algorithm::ES384];
const ED25519: &[Algorithm] = &[Algorithm::EdDSA];

/// Bytes of an uncompressed point: its form, and two coordinates.
const P256_POINT: usize = 65;
const P384_POINT: usize = 97;

impl Key {
    pub(super) fn secret(secret: &[u8]) -> Self {
        Self {
            id: None,
            algorithms: HMAC,
            key: DecodingKey::from_secret(secret),
        }
    }

    pub(super) fn read(path: &Path) -> Result<Self, KeyError> {
        let pem = std::fs::read(path);
        let pem = pem.map_err(|error| KeyError::Unreadable(path.to_owned(), error))?;
        if String::from_utf8_lossy(&pem).contains("PRIVATE KEY") {
            return Err(KeyError::Private(path.to_owned()));
        }
        Self::from_pem(&pem).ok_or_else(|| KeyError::Unknown(path.to_owned()))
    }

    fn from_pem(pem: &[u8]) -> Option<Self> {
        let (algorithms, key) = if let Ok(key) = DecodingKey::from_rsa_pem(pem) {
            (RSA, key)
        } else if let Ok(key) = DecodingKey::from_ec_pem(pem) {
            let point = key.try_get_as_bytes().ok()?.len();
            match point {
                P256_POINT => (P256, key),
                P384_POINT => (P384, key),
                _ => return None,
            }
        } else {
            (ED25519, DecodingKey::from_ed_pem(pem).ok()?)
        };
        Some(Self {
            id: None,
            algorithms,
            key,
        })
    }

    /// A published key; `None` for what is not a public signature key of a known kind.
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "what is not known, now or later, is not taken"
    )]
    pub(super) fn from_jwk(jwk: &Jwk) -> Option<Self> {
        match &jwk.common.public_key_use {
            None | Some(PublicKeyUse::Signature) => {}
            Some(_) => return None,
        }
        let algorithms = match &jwk.algorithm {
            AlgorithmParameters::RSA(_) => RSA,
            AlgorithmParameters::EllipticCurve(key) => match key.curve {
                EllipticCurve::P256 => P256,
                EllipticCurve::P384 => P384,
                _ => return None,
            },
            AlgorithmParameters::OctetKeyPair(key) if key.curve == EllipticCurve::Ed25519 => {
                ED25519
            }
            _ => return None,
        };
        let algorithms = match jwk.common.key_algorithm.map(|named| named.to_string()) {
            None => algorithms,
            Some(named) => algorithms
                .iter()
                .position(|algorithm| format!("{algorithm:?}") == named)
                .map(|index| &algorithms[index..=index])?,
        };
        Some(Self {
            id: jwk.common.key_id.clone(),
            algorithms,
            key: DecodingKey::from_jwk(jwk).ok()?,
        })
    }

    pub(super) fn verifies(&self, algorithm: Algorithm) -> bool {
        self.algorithms.contains(&algorithm)
    }
}
