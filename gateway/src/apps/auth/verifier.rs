//! Whether a token is good.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use super::algorithm::Algorithm;
use super::fault::Fault;
use super::jwk::shown;
use super::jwks::{Jwks, Lookup};
use super::keys::{Key, KeyError};
use super::{Later, unix_now};
use crate::config;
use crate::count::TokenReason;
use crate::net::outbound::Outbound;
use crate::socketio::claims::Claims;

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
    leeway: f64,
}

/// The verdict, or the promise of one.
pub(super) enum Verification {
    Now(Result<Claims, Fault>),
    Later(Later),
}

/// What a token's header says that matters.
#[derive(Clone, Debug)]
pub(super) struct Header {
    pub(super) algorithm: Algorithm,
    pub(super) key: Option<String>,
}

/// A token in its parts, none of which is believed yet.
struct Parts<'a> {
    header: Header,
    /// What is signed: the header and the payload as they came.
    message: &'a str,
    payload: &'a str,
    signature: &'a str,
}

impl Verifier {
    /// `None` if no keys are configured.
    pub(super) fn new(
        auth: &config::Auth,
        outbound: Option<&Arc<Outbound>>,
    ) -> Result<Option<Self>, KeyError> {
        let secrets = auth.jwt_secret.iter();
        let secrets = secrets.flat_map(|keys| keys.secrets().chain(keys.unparted()));
        let mut keys: Vec<_> = secrets.map(|secret| Key::secret(secret.expose())).collect();
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
                leeway: auth.leeway.as_secs_f64(),
            }),
        }))
    }

    /// Keeps the published keys that another one knows, if they are published at the same place.
    pub(super) fn remember(&mut self, other: &Self) {
        if let (Some(own), Some(other)) = (&self.jwks, &other.jwks) {
            own.remember(other);
        }
    }

    pub(super) fn verify(&self, token: &str) -> Verification {
        let parts = match Parts::read(token) {
            Ok(parts) => parts,
            Err(fault) => return Verification::Now(Err(fault)),
        };
        if parts.is_signed_by(&self.keys) {
            return Verification::Now(self.rules.check(parts.payload));
        }
        let Some(jwks) = &self.jwks else {
            return Verification::Now(Err(self.unsigned(parts.header.algorithm)));
        };
        let fetch = match jwks.look_up(&parts.header) {
            Lookup::Keys(keys) if parts.is_signed_by(&keys) => {
                return Verification::Now(self.rules.check(parts.payload));
            }
            // The issuer may have put another key in the place of this one.
            Lookup::Keys(_) => match jwks.renew() {
                Some(fetch) => fetch,
                None => return Verification::Now(Err(signature())),
            },
            Lookup::Unknown(fault) => return Verification::Now(Err(fault)),
            Lookup::Fetch(fetch) => fetch,
        };
        let (rules, jwks, token) = (Arc::clone(&self.rules), Arc::clone(jwks), token.to_owned());
        Verification::Later(Box::pin(async move {
            fetch.await;
            let parts = Parts::read(&token)?;
            if parts.is_signed_by(&jwks.known(&parts.header)?) {
                rules.check(parts.payload)
            } else {
                Err(signature())
            }
        }))
    }

    /// None of the configured keys signed it, and there are no published ones.
    fn unsigned(&self, algorithm: Algorithm) -> Fault {
        if self.keys.iter().any(|key| key.verifies(algorithm)) {
            return signature();
        }
        let why = format!("{algorithm} is none of the configured keys' algorithms");
        Fault::of(TokenReason::Algorithm, "alg", why)
    }
}

fn signature() -> Fault {
    let why = "the signature is no known key's: another secret or key, or a changed token";
    Fault::new(TokenReason::Signature, why)
}

impl<'a> Parts<'a> {
    /// Takes apart what may be a token.
    fn read(token: &'a str) -> Result<Self, Fault> {
        let malformed = |why| Fault::new(TokenReason::Malformed, why);
        if token.is_empty() {
            return Err(malformed("it is empty"));
        }
        if token.len() > MAX_TOKEN_BYTES {
            return Err(malformed("it has more than 8192 bytes"));
        }
        let mut parts = token.split('.');
        let (Some(header), Some(payload), Some(signature), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            let encrypted = token.split('.').count() == 5;
            return Err(malformed(if encrypted {
                "it is encrypted (five parts), not signed"
            } else {
                "it is no JSON Web Token: it has not three parts"
            }));
        };
        let object = decoded(header).ok_or_else(|| {
            malformed("it is no JSON Web Token: its header is not JSON in base64url")
        })?;
        Ok(Self {
            header: Header::read(&object)?,
            message: &token[..header.len() + 1 + payload.len()],
            payload,
            signature,
        })
    }

    fn is_signed_by(&self, keys: &[Key]) -> bool {
        let algorithm = self.header.algorithm;
        let signed = |key: &Key| key.has_signed(algorithm, self.message, self.signature);
        keys.iter().any(signed)
    }
}

impl Header {
    fn read(object: &Map<String, Value>) -> Result<Self, Fault> {
        let malformed = |name, why: &'static str| Fault::of(TokenReason::Malformed, name, why);
        for (name, why) in [
            ("crit", "extensions that must be understood are not"),
            ("enc", "encrypted tokens are not taken"),
            ("zip", "compressed tokens are not taken"),
        ] {
            if object.get(name).is_some_and(|value| !value.is_null()) {
                return Err(malformed(name, why));
            }
        }
        let key = match object.get("kid") {
            None | Some(Value::Null) => None,
            Some(Value::String(key)) if key.len() <= MAX_KEY_ID_BYTES => Some(key.clone()),
            Some(Value::String(_)) => return Err(malformed("kid", "longer than 256 bytes")),
            Some(_) => return Err(malformed("kid", "it is no string")),
        };
        let Some(Value::String(name)) = object.get("alg") else {
            return Err(malformed("alg", "it is missing or no string"));
        };
        let algorithm = Algorithm::parse(name).ok_or_else(|| {
            let why = format!("{} is no algorithm that is taken", shown(name));
            Fault::of(TokenReason::Algorithm, "alg", why)
        })?;
        Ok(Self { algorithm, key })
    }
}

/// The JSON object in a part of a token.
fn decoded(part: &str) -> Option<Map<String, Value>> {
    let bytes = URL_SAFE_NO_PAD.decode(part).ok()?;
    serde_json::from_slice(&bytes).ok()
}

impl Rules {
    /// What a token says whose signature is good.
    fn check(&self, payload: &str) -> Result<Claims, Fault> {
        let object = decoded(payload).ok_or_else(|| {
            Fault::new(
                TokenReason::Malformed,
                "its claims are not JSON in base64url",
            )
        })?;
        let mut claims = Claims::read(&object)?;
        claims.keep_text_of(payload);
        let now = unix_now();
        let over = now - claims.expires_at();
        if over > self.leeway {
            let why = format!("it was over {over:.0} seconds ago");
            return Err(Fault::of(TokenReason::Expired, "exp", why));
        }
        if let Some(from) = number(&object, "nbf")?
            && from - now > self.leeway
        {
            let why = format!("it is good in {:.0} seconds only", from - now);
            return Err(Fault::of(TokenReason::NotYetValid, "nbf", why));
        }
        self.check_issuer(&object)?;
        self.check_audience(&object)?;
        Ok(claims)
    }

    fn check_issuer(&self, object: &Map<String, Value>) -> Result<(), Fault> {
        let Some(issuer) = &self.issuer else {
            return Ok(());
        };
        let fault = |why: String| Err(Fault::of(TokenReason::Issuer, "iss", why));
        match names(object, "iss")? {
            None => fault(format!("it is missing; auth.issuer is {issuer:?}")),
            Some(named) if named.contains(&issuer.as_str()) => Ok(()),
            Some(named) => fault(format!("it is {}, auth.issuer is {issuer:?}", list(&named))),
        }
    }

    fn check_audience(&self, object: &Map<String, Value>) -> Result<(), Fault> {
        let fault = |why: String| Err(Fault::of(TokenReason::Audience, "aud", why));
        match names(object, "aud")? {
            None if self.audience.is_empty() => Ok(()),
            None => fault("it is missing; auth.audience is set".to_owned()),
            Some(named) if self.audience.is_empty() => fault(format!(
                "it is for {}, and auth.audience is not set",
                list(&named)
            )),
            Some(named) if self.audience.iter().any(|it| named.contains(&it.as_str())) => Ok(()),
            Some(named) => fault(format!(
                "it is for {}, which is not in auth.audience",
                list(&named)
            )),
        }
    }
}

/// A claim that is a time in seconds since 1970.
pub(super) fn number(
    object: &Map<String, Value>,
    claim: &'static str,
) -> Result<Option<f64>, Fault> {
    match object.get(claim) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => match value.as_f64().filter(|number| number.is_finite()) {
            Some(number) => Ok(Some(number)),
            None => Err(Fault::of(TokenReason::Claim, claim, "it is no number")),
        },
    }
}

/// A claim that is a string or a list of strings.
fn names<'a>(
    object: &'a Map<String, Value>,
    claim: &'static str,
) -> Result<Option<Vec<&'a str>>, Fault> {
    let wrong = || {
        Fault::of(
            TokenReason::Claim,
            claim,
            "it is no string and no list of them",
        )
    };
    match object.get(claim) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(name)) => Ok(Some(vec![name])),
        Some(Value::Array(names)) => {
            let names = names.iter().map(|name| name.as_str().ok_or_else(wrong));
            names.collect::<Result<_, _>>().map(Some)
        }
        Some(_) => Err(wrong()),
    }
}

/// The first of several names, for the log.
fn list(names: &[&str]) -> String {
    let first: Vec<_> = names.iter().take(3).map(|name| shown(name)).collect();
    let more = if names.len() > 3 { ", .." } else { "" };
    format!("[{}{more}]", first.join(", "))
}
