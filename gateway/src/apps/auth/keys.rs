//! The keys that tokens are verified with, each for the algorithms of its own kind alone: a public
//! key is never taken for a shared secret.

use std::path::{Path, PathBuf};

use aws_lc_rs::signature::{ECDSA_P521_SHA512_FIXED, UnparsedPublicKey};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::DecodingKey;

use super::algorithm::Algorithm;

/// A key, and what it verifies.
#[derive(Clone)]
pub(super) struct Key {
    /// The key's name, when it was published with one.
    pub(super) id: Option<String>,
    pub(super) algorithms: Vec<Algorithm>,
    material: Material,
}

#[derive(Clone)]
enum Material {
    Library(DecodingKey),
    /// An uncompressed point.
    P521(Box<[u8]>),
}

/// Why a configured key cannot be used.
#[non_exhaustive]
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
        "auth.jwt_public_key: {path} is not the PEM file of a public key of RSA, P-256, P-384, P-521 or Ed25519",
        path = .0.display()
    )]
    Unknown(PathBuf),
}

const HMAC: &[&str] = &["HS256", "HS384", "HS512"];
const RSA: &[&str] = &["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"];
const P256: &[&str] = &["ES256"];
const P384: &[&str] = &["ES384"];
const P521: &[&str] = &["ES512"];
const ED25519: &[&str] = &["EdDSA"];

/// Bytes of a coordinate, by curve.
const P256_BYTES: usize = 32;
const P384_BYTES: usize = 48;
const P521_BYTES: usize = 66;
const ED25519_BYTES: usize = 32;

/// Bytes of the shortest and of the longest modulus that RSA is verified with: 2048 and 8192 bits.
const RSA_BYTES: std::ops::RangeInclusive<usize> = 256..=1024;

/// What an uncompressed point begins with.
const UNCOMPRESSED: u8 = 4;

impl Key {
    fn new(algorithms: &[&str], material: Material) -> Self {
        let algorithms = algorithms.iter();
        Self {
            id: None,
            algorithms: algorithms
                .filter_map(|name| Algorithm::parse(name))
                .collect(),
            material,
        }
    }

    pub(super) fn secret(secret: &[u8]) -> Self {
        let key = DecodingKey::from_secret(secret);
        Self::new(HMAC, Material::Library(key))
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
        if let Ok(key) = DecodingKey::from_rsa_pem(pem) {
            return Some(Self::new(RSA, Material::Library(key)));
        }
        match DecodingKey::from_ec_pem(pem) {
            Ok(key) => Self::from_point(key.try_get_as_bytes().ok()?),
            Err(_) => {
                let key = DecodingKey::from_ed_pem(pem).ok()?;
                Some(Self::new(ED25519, Material::Library(key)))
            }
        }
    }

    /// From its modulus and its exponent.
    pub(super) fn rsa(modulus: &[u8], exponent: &[u8]) -> Result<Self, String> {
        // Java writes a zero byte before a modulus whose first bit is set.
        let zeros = modulus.iter().take_while(|byte| **byte == 0).count();
        let modulus = &modulus[zeros..];
        if !RSA_BYTES.contains(&modulus.len()) {
            let bits = modulus.len() * 8;
            return Err(format!("n has {bits} bits; 2048 to 8192 are taken"));
        }
        if exponent.iter().all(|byte| *byte == 0) {
            return Err("e is zero".to_owned());
        }
        let key = DecodingKey::from_rsa_raw_components(modulus, exponent);
        Ok(Self::new(RSA, Material::Library(key)))
    }

    /// From the coordinates of a point on a curve.
    pub(super) fn elliptic(curve: &str, x: &[u8], y: &[u8]) -> Result<Self, String> {
        let length = match curve {
            "P-256" => P256_BYTES,
            "P-384" => P384_BYTES,
            "P-521" => P521_BYTES,
            _ => return Err("crv is neither P-256, P-384 nor P-521".to_owned()),
        };
        let mut point = vec![UNCOMPRESSED];
        for (name, coordinate) in [("x", x), ("y", y)] {
            let missing = length.checked_sub(coordinate.len()).ok_or_else(|| {
                let given = coordinate.len();
                format!("{name} has {given} bytes; a coordinate of {curve} has {length}")
            })?;
            // Some issuers leave zeros at the beginning out.
            point.resize(point.len() + missing, 0);
            point.extend_from_slice(coordinate);
        }
        Self::from_point(&point).ok_or_else(|| "x and y are no point".to_owned())
    }

    fn from_point(point: &[u8]) -> Option<Self> {
        let library = || Material::Library(DecodingKey::from_ec_der(point));
        let (first, coordinates) = point.split_first()?;
        if *first != UNCOMPRESSED {
            return None;
        }
        Some(match coordinates.len() / 2 {
            P256_BYTES => Self::new(P256, library()),
            P384_BYTES => Self::new(P384, library()),
            P521_BYTES => Self::new(P521, Material::P521(point.into())),
            _ => return None,
        })
    }

    /// From the bytes of a public key of Ed25519.
    pub(super) fn ed25519(public: &[u8]) -> Result<Self, String> {
        if public.len() != ED25519_BYTES {
            let given = public.len();
            return Err(format!("x has {given} bytes; that of Ed25519 has 32"));
        }
        let key = DecodingKey::from_ed_der(public);
        Ok(Self::new(ED25519, Material::Library(key)))
    }

    /// Whether it is one for this algorithm.
    pub(super) fn verifies(&self, algorithm: Algorithm) -> bool {
        self.algorithms.contains(&algorithm)
    }

    /// Whether `signature`, in base64, is this key's for `message`.
    pub(super) fn has_signed(&self, algorithm: Algorithm, message: &str, signature: &str) -> bool {
        if !self.verifies(algorithm) {
            return false;
        }
        let message = message.as_bytes();
        match (&self.material, algorithm) {
            (Material::Library(key), Algorithm::Library(algorithm)) => {
                jsonwebtoken::crypto::verify(signature, message, key, algorithm).unwrap_or(false)
            }
            (Material::P521(point), Algorithm::Es512) => {
                let key = UnparsedPublicKey::new(&ECDSA_P521_SHA512_FIXED, point);
                let signature = URL_SAFE_NO_PAD.decode(signature);
                signature.is_ok_and(|signature| key.verify(message, &signature).is_ok())
            }
            (Material::Library(_), Algorithm::Es512)
            | (Material::P521(_), Algorithm::Library(_)) => false,
        }
    }
}
