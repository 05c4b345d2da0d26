//! The algorithms that tokens are signed with.

use std::fmt;

use ring::hmac;
use ring::signature::{
    RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512,
    RSA_PSS_2048_8192_SHA256, RSA_PSS_2048_8192_SHA384, RSA_PSS_2048_8192_SHA512, RsaParameters,
};

/// How a token is signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Algorithm {
    /// By a shared secret.
    Hmac(Hash),
    /// By RSA with the padding of PKCS #1.
    Pkcs1(Hash),
    /// By RSA with the padding of PSS.
    Pss(Hash),
    /// On P-256, P-384 or P-521, as the hash is.
    Ecdsa(Hash),
    /// On Ed25519.
    EdDsa,
}

/// What is signed is a hash of the token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hash {
    Sha256,
    Sha384,
    Sha512,
}

/// The names of all algorithms, the first of each the usual one.
const NAMES: &[(&str, Algorithm)] = {
    use Hash::{Sha256, Sha384, Sha512};
    &[
        ("HS256", Algorithm::Hmac(Sha256)),
        ("HS384", Algorithm::Hmac(Sha384)),
        ("HS512", Algorithm::Hmac(Sha512)),
        ("RS256", Algorithm::Pkcs1(Sha256)),
        ("RS384", Algorithm::Pkcs1(Sha384)),
        ("RS512", Algorithm::Pkcs1(Sha512)),
        ("PS256", Algorithm::Pss(Sha256)),
        ("PS384", Algorithm::Pss(Sha384)),
        ("PS512", Algorithm::Pss(Sha512)),
        ("ES256", Algorithm::Ecdsa(Sha256)),
        ("ES384", Algorithm::Ecdsa(Sha384)),
        ("ES512", Algorithm::Ecdsa(Sha512)),
        ("EdDSA", Algorithm::EdDsa),
        // RFC 9864 names the curve; it is the only one of EdDSA that is taken.
        ("Ed25519", Algorithm::EdDsa),
    ]
};

impl Algorithm {
    /// Reads the `alg` of a token or a key.
    pub(super) fn parse(name: &str) -> Option<Self> {
        let found = NAMES.iter().find(|(known, _)| *known == name);
        found.map(|(_, algorithm)| *algorithm)
    }

    /// What RSA verifies with, if it is one of RSA.
    pub(super) fn rsa(self) -> Option<&'static RsaParameters> {
        Some(match self {
            Self::Pkcs1(Hash::Sha256) => &RSA_PKCS1_2048_8192_SHA256,
            Self::Pkcs1(Hash::Sha384) => &RSA_PKCS1_2048_8192_SHA384,
            Self::Pkcs1(Hash::Sha512) => &RSA_PKCS1_2048_8192_SHA512,
            Self::Pss(Hash::Sha256) => &RSA_PSS_2048_8192_SHA256,
            Self::Pss(Hash::Sha384) => &RSA_PSS_2048_8192_SHA384,
            Self::Pss(Hash::Sha512) => &RSA_PSS_2048_8192_SHA512,
            Self::Hmac(_) | Self::Ecdsa(_) | Self::EdDsa => return None,
        })
    }
}

impl Hash {
    /// For a shared secret.
    pub(super) fn hmac(self) -> hmac::Algorithm {
        match self {
            Self::Sha256 => hmac::HMAC_SHA256,
            Self::Sha384 => hmac::HMAC_SHA384,
            Self::Sha512 => hmac::HMAC_SHA512,
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let found = NAMES.iter().find(|(_, algorithm)| algorithm == self);
        f.write_str(found.map_or("", |(name, _)| name))
    }
}
