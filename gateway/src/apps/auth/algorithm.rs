//! The algorithms that tokens are signed with.

use std::fmt;

/// How a token is signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Algorithm {
    /// One that the library for tokens verifies.
    Library(jsonwebtoken::Algorithm),
    /// ECDSA on P-521 with SHA-512, which it does not know.
    Es512,
}

/// The names of all algorithms, the first of each the usual one.
const NAMES: &[(&str, Algorithm)] = {
    use jsonwebtoken::Algorithm as Known;
    &[
        ("HS256", Algorithm::Library(Known::HS256)),
        ("HS384", Algorithm::Library(Known::HS384)),
        ("HS512", Algorithm::Library(Known::HS512)),
        ("RS256", Algorithm::Library(Known::RS256)),
        ("RS384", Algorithm::Library(Known::RS384)),
        ("RS512", Algorithm::Library(Known::RS512)),
        ("PS256", Algorithm::Library(Known::PS256)),
        ("PS384", Algorithm::Library(Known::PS384)),
        ("PS512", Algorithm::Library(Known::PS512)),
        ("ES256", Algorithm::Library(Known::ES256)),
        ("ES384", Algorithm::Library(Known::ES384)),
        ("ES512", Algorithm::Es512),
        ("EdDSA", Algorithm::Library(Known::EdDSA)),
        // RFC 9864 names the curve; it is the only one of EdDSA that is taken.
        ("Ed25519", Algorithm::Library(Known::EdDSA)),
    ]
};

impl Algorithm {
    /// Reads the `alg` of a token or a key.
    pub(super) fn parse(name: &str) -> Option<Self> {
        let found = NAMES.iter().find(|(known, _)| *known == name);
        found.map(|(_, algorithm)| *algorithm)
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let found = NAMES.iter().find(|(_, algorithm)| algorithm == self);
        f.write_str(found.map_or("", |(name, _)| name))
    }
}
