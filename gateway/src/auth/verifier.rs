//! Whether a token is good.

use std::sync::Arc;

use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Header, Validation, decode, decode_header};

use super::Later;
use super::claims::Claims;
use super::jwks::{Jwks, Lookup};
use super::keys::{Key, KeyError};
use crate::config;
use crate::outbound::Outbound;

/// Longest token that is looked at.
pub(crate) const MAX_TOKEN_BYTES: usize = 8 * 1024;

/// Longest name of a key.
const MAX_KEY_ID_BYTES: usize = 256;

/// Verifies tokens with the configured keys.
pub(super) struct Verifier {
    keys: Vec<Key>,
    jwks: Option<Arc<Jwks>>,
    rules: Arc<Rules>,
}

/// What every token has to fulfil beside its signature.
struct Rules {
    issuer: Option<String>,
    audience: Vec<String>,
    leeway: u64,
}

/// Why a token is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// It was good once.
    #[error("the token has expired")]
    Expired,
    /// It is not, or not yet.
    #[error("the token is not valid")]
    Invalid,
    /// The issuer's keys cannot be had now; another time it may be good.
    #[error("the token cannot be verified now")]
    Unverifiable,
}

impl TokenError {
    /// Its name for clients.
    pub fn code(self) -> &'static str {
        match self {
            Self::Expired => "token_expired",
            Self::Invalid => "token_invalid",
            Self::Unverifiable => "token_unverifiable",
        }
    }
}

/// The verdict, or the promise of one.
pub(super) enum Verification {
    Now(Result<Claims, TokenError>),
    Later(Later),
}

impl Verifier {
    /// `None` if no keys are configured.
    pub(super) fn new(
        auth: &config::Auth,
        outbound: Option<&Arc<Outbound>>,
    ) -> Result<Option<Self>, KeyError> {
        let secret = auth.jwt_secret.as_ref().map(config::Secret::expose);
        let mut keys: Vec<_> = secret.map(Key::secret).into_iter().collect();
        if let Some(path) = &auth.jwt_public_key {
            keys.push(Key::read(path)?);
        }
        let jwks = auth.jwks_url.as_ref().zip(outbound).map(|(url, outbound)| {
            let url = url.uri().clone();
            Arc::new(Jwks::new(url, auth.jwks_refresh, Arc::clone(outbound)))
        });
        if keys.is_empty() && jwks.is_none() {
            return Ok(None);
        }
        Ok(Some(Self {
            keys,
            jwks,
            rules: Arc::new(Rules {
                issuer: auth.issuer.clone(),
                audience: auth.audience.clone(),
                leeway: auth.leeway.as_secs(),
            }),
        }))
    }

    pub(super) fn verify(&self, token: &str) -> Verification {
        let header = match header(token) {
            Ok(header) => header,
            Err(error) => return Verification::Now(Err(error)),
        };
        let mut fixed = self.keys.iter().filter(|key| key.verifies(header.alg));
        if let Some(key) = fixed.next() {
            let claims = self.rules.verify(token, &header, std::slice::from_ref(key));
            // What the file's key does not verify may have been signed with a published one.
            match (&claims, &self.jwks) {
                (Err(TokenError::Invalid), Some(_)) => {}
                _ => return Verification::Now(claims),
            }
        }
        let Some(jwks) = &self.jwks else {
            return Verification::Now(Err(TokenError::Invalid));
        };
        match jwks.look_up(&header) {
            Lookup::Keys(keys) => Verification::Now(self.rules.verify(token, &header, &keys)),
            Lookup::Unknown(error) => Verification::Now(Err(error)),
            Lookup::Fetch(fetched) => {
                let (rules, token) = (Arc::clone(&self.rules), token.to_owned());
                Verification::Later(Box::pin(async move {
                    rules.verify(&token, &header, &fetched.await?)
                }))
            }
        }
    }
}

/// The header of what may be a token.
fn header(token: &str) -> Result<Header, TokenError> {
    if token.len() > MAX_TOKEN_BYTES {
        return Err(TokenError::Invalid);
    }
    let header = decode_header(token).map_err(|_| TokenError::Invalid)?;
    let critical = header.crit.is_some();
    let encrypted = header.enc.is_some() || header.zip.is_some();
    let long = |id: &String| id.len() > MAX_KEY_ID_BYTES;
    if critical || encrypted || header.kid.as_ref().is_some_and(long) {
        return Err(TokenError::Invalid);
    }
    Ok(header)
}

impl Rules {
    /// What the token says, if one of the keys signed it.
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "every other error means the same"
    )]
    fn verify(&self, token: &str, header: &Header, keys: &[Key]) -> Result<Claims, TokenError> {
        let mut validation = Validation::new(header.alg);
        validation.leeway = self.leeway;
        validation.validate_nbf = true;
        let mut required = vec!["exp"];
        if let Some(issuer) = &self.issuer {
            validation.set_issuer(&[issuer]);
            required.push("iss");
        }
        if !self.audience.is_empty() {
            validation.set_audience(&self.audience);
            required.push("aud");
        }
        validation.set_required_spec_claims(&required);
        for key in keys.iter().filter(|key| key.verifies(header.alg)) {
            match decode::<Claims>(token, &key.key, &validation) {
                Ok(verified) if verified.claims.expires_at().is_finite() => {
                    let mut claims = verified.claims;
                    claims.keep_text_of(token);
                    return Ok(claims);
                }
                Ok(_) => return Err(TokenError::Invalid),
                Err(error) => match error.kind() {
                    ErrorKind::ExpiredSignature => return Err(TokenError::Expired),
                    ErrorKind::InvalidSignature => {}
                    _ => return Err(TokenError::Invalid),
                },
            }
        }
        Err(TokenError::Invalid)
    }
}
