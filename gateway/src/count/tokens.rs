//! What tokens are counted under.

use super::label;

label! {
    /// What became of a token.
    pub(crate) enum TokenResult: "result" {
        Accepted = "accepted",
        Missing = "missing",
        Expired = "expired",
        Invalid = "invalid",
        Forbidden = "forbidden",
        Unverifiable = "unverifiable",
    }
}

label! {
    /// Why a token is refused.
    pub(crate) enum TokenReason: "reason" {
        Missing = "missing",
        /// It is no signed JSON Web Token.
        Malformed = "malformed",
        /// It is signed in a way that no key is for.
        Algorithm = "algorithm",
        /// It names a key that is not published.
        Key = "key",
        /// No key made its signature.
        Signature = "signature",
        Expired = "expired",
        NotYetValid = "not_yet_valid",
        Issuer = "issuer",
        Audience = "audience",
        /// A claim is missing or of the wrong type.
        Claim = "claim",
        Namespace = "namespace",
        /// It is another user's.
        User = "user",
        /// It is revoked, or its user is blocked.
        Revoked = "revoked",
        /// The keys cannot be had.
        Unverifiable = "unverifiable",
    }
}
