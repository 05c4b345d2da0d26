//! The keys that tokens are verified with, each for the algorithms of its own kind alone: a public
//! key is never taken for a shared secret.

use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use p521::ecdsa::signature::Verifier;
use p521::ecdsa::{Signature, VerifyingKey};
use ring::hmac;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519, RsaPublicKeyComponents,
    UnparsedPublicKey, VerificationAlgorithm,
};
use spki::{ObjectIdentifier, SubjectPublicKeyInfoRef};
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::server::ParsedCertificate;

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
    Secret(Box<[u8]>),
    Rsa(RsaPublicKeyComponents<Box<[u8]>>),
    /// As `RSAPublicKey` of PKCS #1.
    RsaDer(Box<[u8]>),
    /// On P-256 or P-384, an uncompressed point; on Ed25519 a compressed one.
    Point(&'static dyn VerificationAlgorithm, Box<[u8]>),
    P521(Box<VerifyingKey>),
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
const EDWARDS: &[&str] = &["EdDSA"];

/// What a `SubjectPublicKeyInfo` says its key is for.
const OF_RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const OF_CURVE: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const OF_ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");

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
        Self::new(HMAC, Material::Secret(secret.into()))
    }

    pub(super) fn read(path: &Path) -> Result<Self, KeyError> {
        let pem = std::fs::read(path);
        let pem = pem.map_err(|error| KeyError::Unreadable(path.to_owned(), error))?;
        if String::from_utf8_lossy(&pem).contains("PRIVATE KEY") {
            return Err(KeyError::Private(path.to_owned()));
        }
        Self::from_pem(&pem).ok_or_else(|| KeyError::Unknown(path.to_owned()))
    }

    /// A public key, by itself or in a certificate.
    fn from_pem(pem: &[u8]) -> Option<Self> {
        let pem = pem::parse(pem).ok()?;
        let der = pem.contents();
        match pem.tag() {
            "RSA PUBLIC KEY" => Some(Self::new(RSA, Material::RsaDer(der.into()))),
            "PUBLIC KEY" => Self::from_der(der),
            "CERTIFICATE" => {
                let certificate = CertificateDer::from(der);
                let certificate = ParsedCertificate::try_from(&certificate).ok()?;
                Self::from_der(&certificate.subject_public_key_info())
            }
            _ => None,
        }
    }

    /// From a `SubjectPublicKeyInfo`.
    fn from_der(der: &[u8]) -> Option<Self> {
        let key = SubjectPublicKeyInfoRef::try_from(der).ok()?;
        let public = key.subject_public_key.as_bytes()?;
        match key.algorithm.oid {
            OF_RSA => Some(Self::new(RSA, Material::RsaDer(public.into()))),
            OF_CURVE => Self::from_point(public),
            OF_ED25519 => Self::ed25519(public).ok(),
            _ => None,
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
        let key = RsaPublicKeyComponents {
            n: modulus.into(),
            e: exponent.into(),
        };
        Ok(Self::new(RSA, Material::Rsa(key)))
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
        let (first, coordinates) = point.split_first()?;
        if *first != UNCOMPRESSED {
            return None;
        }
        let material = |kind| Material::Point(kind, point.into());
        Some(match coordinates.len() / 2 {
            P256_BYTES => Self::new(P256, material(&ECDSA_P256_SHA256_FIXED)),
            P384_BYTES => Self::new(P384, material(&ECDSA_P384_SHA384_FIXED)),
            P521_BYTES => {
                let key = VerifyingKey::from_sec1_bytes(point).ok()?;
                Self::new(P521, Material::P521(key.into()))
            }
            _ => return None,
        })
    }

    /// From the bytes of a public key of Ed25519.
    pub(super) fn ed25519(public: &[u8]) -> Result<Self, String> {
        if public.len() != ED25519_BYTES {
            let given = public.len();
            return Err(format!("x has {given} bytes; that of Ed25519 has 32"));
        }
        let material = Material::Point(&ED25519, public.into());
        Ok(Self::new(EDWARDS, material))
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
        let Ok(signature) = URL_SAFE_NO_PAD.decode(signature) else {
            return false;
        };
        let (message, signature) = (message.as_bytes(), signature.as_slice());
        match (&self.material, algorithm) {
            (Material::Secret(secret), Algorithm::Hmac(hash)) => {
                let key = hmac::Key::new(hash.hmac(), secret);
                hmac::verify(&key, message, signature).is_ok()
            }
            (Material::Rsa(key), _) => {
                let of = algorithm.rsa();
                of.is_some_and(|of| key.verify(of, message, signature).is_ok())
            }
            (Material::RsaDer(key), _) => algorithm.rsa().is_some_and(|of| {
                let key = UnparsedPublicKey::new(of, key);
                key.verify(message, signature).is_ok()
            }),
            (Material::Point(of, point), Algorithm::Ecdsa(_) | Algorithm::EdDsa) => {
                let key = UnparsedPublicKey::new(*of, point);
                key.verify(message, signature).is_ok()
            }
            (Material::P521(key), Algorithm::Ecdsa(_)) => Signature::from_slice(signature)
                .is_ok_and(|signature| key.verify(message, &signature).is_ok()),
            (Material::Secret(_) | Material::Point(..) | Material::P521(_), _) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/keys");

    fn read(name: &str) -> Key {
        Key::read(&Path::new(FOLDER).join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    /// Name of the key, algorithm, and signature of `message`, as OpenSSL made them.
    fn signatures() -> Vec<[String; 3]> {
        let text = std::fs::read_to_string(Path::new(FOLDER).join("signatures.txt")).unwrap();
        let words = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let lines = text.lines().map(|line| words(line).try_into().unwrap());
        lines.collect()
    }

    #[test]
    fn every_kind_of_key_verifies_what_openssl_signed_with_it_and_nothing_else() {
        let files = |name: &str| match name {
            "rsa" => vec!["rsa.pem", "rsa_pkcs1.pem", "rsa.crt"],
            "p256" => vec!["p256.pem", "p256.crt"],
            "p384" => vec!["p384.pem", "p384.crt"],
            "p521" => vec!["p521.pem", "p521.crt"],
            "ed25519" => vec!["ed25519.pem"],
            other => panic!("{other}"),
        };
        let signatures = signatures();
        assert_eq!(signatures.len(), 10);
        for [name, algorithm, signature] in &signatures {
            let algorithm = Algorithm::parse(algorithm).unwrap();
            for file in files(name) {
                let key = read(file);
                assert!(
                    key.has_signed(algorithm, "message", signature),
                    "{file} {algorithm}"
                );
                assert!(!key.has_signed(algorithm, "another", signature), "{file}");
                for [other, of, wrong] in &signatures {
                    if wrong != signature {
                        let taken = key.has_signed(algorithm, "message", wrong);
                        assert!(!taken, "{file} {algorithm} {other} {of}");
                    }
                }
                for wrong in ["", "AAAA", "=", &signature[1..]] {
                    assert!(!key.has_signed(algorithm, "message", wrong), "{file}");
                }
            }
        }
    }

    #[test]
    fn a_key_is_taken_for_the_algorithms_of_its_own_kind_alone() {
        for (file, names) in [
            ("rsa.pem", RSA),
            ("p256.pem", P256),
            ("p384.pem", P384),
            ("p521.pem", P521),
            ("ed25519.pem", EDWARDS),
        ] {
            let expected: Vec<_> = names.iter().map(|it| Algorithm::parse(it)).collect();
            let found: Vec<_> = read(file).algorithms.into_iter().map(Some).collect();
            assert_eq!(found, expected, "{file}");
        }
    }

    #[test]
    fn what_is_no_public_key_is_refused_by_name() {
        let folder = Path::new(FOLDER);
        for (path, expected) in [
            (
                folder.join("README.md"),
                "is not the PEM file of a public key",
            ),
            (
                folder.join("../certificates/one.key"),
                "holds a private key",
            ),
            (folder.join("nothing"), "cannot read"),
        ] {
            let error = Key::read(&path).err().unwrap().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn a_point_beside_its_curve_is_refused_or_verifies_nothing() {
        for (curve, bytes, signature) in [("P-256", 32, 64), ("P-384", 48, 96), ("P-521", 66, 132)]
        {
            let Ok(key) = Key::elliptic(curve, &vec![1; bytes], &vec![1; bytes]) else {
                continue;
            };
            let signature = URL_SAFE_NO_PAD.encode(vec![1; signature]);
            for algorithm in key.algorithms.clone() {
                assert!(!key.has_signed(algorithm, "message", &signature), "{curve}");
            }
        }
    }
}
