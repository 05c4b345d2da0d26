//! Making a token, for development.

use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;
use serde::Serialize;

use super::unix_now;
use crate::config::{Auth, Keys};
use crate::socketio::claims::Right;

/// What a token shall say. Empty lists are left out, which allows everything.
#[expect(
    clippy::exhaustive_structs,
    reason = "its users make it, field by field"
)]
#[derive(Debug, Default, Serialize)]
pub struct Wanted {
    /// The user.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sub: Option<String>,
    /// Namespaces, with `*` for any run of characters.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub namespaces: Vec<String>,
    /// Rights by room, with `*` for any run of characters.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub rooms: BTreeMap<String, Vec<Right>>,
    /// Events, with `*` for any run of characters.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub events: Vec<String>,
}

/// Why no token can be made.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum IssueError {
    /// There is no secret to sign with.
    #[error("auth.jwt_secret is not set; a token is signed with it")]
    NoSecret,
    /// It cannot be written.
    #[error(transparent)]
    Encode(#[from] serde_json::Error),
}

/// A token that this configuration takes, signed with the (first) `auth.jwt_secret` by HS256.
///
/// # Errors
///
/// There is no `auth.jwt_secret`, or what is wanted cannot be written as claims.
pub fn issue(auth: &Auth, wanted: &Wanted, ttl: Duration) -> Result<String, IssueError> {
    #[derive(Serialize)]
    struct Whole<'a> {
        #[serde(flatten)]
        wanted: &'a Wanted,
        iat: u64,
        exp: u64,
        #[serde(skip_serializing_if = "Option::is_none")]
        iss: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        aud: Option<&'a str>,
    }
    let secret = auth.jwt_secret.as_ref().and_then(Keys::first);
    let secret = secret.ok_or(IssueError::NoSecret)?;
    let now = unix_now() as u64;
    let whole = Whole {
        wanted,
        iat: now,
        exp: now + ttl.as_secs(),
        iss: auth.issuer.as_deref(),
        aud: auth.audience.first().map(String::as_str),
    };
    Ok(signed(secret.expose(), &serde_json::to_vec(&whole)?))
}

/// A token with these claims.
pub(super) fn signed(secret: &[u8], claims: &[u8]) -> String {
    let header = URL_SAFE_NO_PAD.encode(r#"{"typ":"JWT","alg":"HS256"}"#);
    let message = format!("{header}.{}", URL_SAFE_NO_PAD.encode(claims));
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
    let signature = URL_SAFE_NO_PAD.encode(hmac::sign(&key, message.as_bytes()));
    format!("{message}.{signature}")
}
