//! Saying what a token holds and whether it is taken, for those who look for a fault.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

use super::presented::bare;
use super::verifier::{Verification, Verifier};
use super::{Fault, KeyError};
use crate::config::Auth;
use crate::net::outbound::{Outbound, OutboundError};

/// What a token holds, and why it is not taken.
#[non_exhaustive]
#[derive(Debug)]
pub struct Verdict {
    /// Its header as it is written, if it can be read.
    pub header: Option<String>,
    /// Its claims as they are written, if they can be read.
    pub claims: Option<String>,
    /// What is wrong with it, if anything is: the metric's reason, and a sentence.
    pub fault: Option<(&'static str, String)>,
    /// What in its claims gives nothing, and perhaps was to give something.
    pub notes: Vec<String>,
}

/// Why nothing can be said.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// There are no keys.
    #[error(
        "neither auth.jwt_secret, auth.jwt_public_key nor auth.jwks_url is set; tokens are not looked at"
    )]
    NoKeys,
    /// A key cannot be used.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// Nothing can be fetched.
    #[error(transparent)]
    Outbound(#[from] OutboundError),
    /// It cannot be read, or nothing can be fetched.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

/// Looks at a token as a node of this configuration would. Published keys are fetched.
///
/// # Errors
///
/// The configuration has no keys, or they cannot be read. That a token is refused, or that published keys
/// cannot be fetched, is no error but a [`Verdict`].
pub fn verify(auth: &Auth, token: &str) -> Result<Verdict, VerifyError> {
    let outbound = match auth.jwks_url {
        Some(_) => Some(Outbound::start(None, auth, None)?),
        None => None,
    };
    let verifier = Verifier::new(auth, outbound.as_ref())?.ok_or(VerifyError::NoKeys)?;
    let token = bare(token);
    let result = match verifier.verify(token) {
        Verification::Now(result) => result,
        Verification::Later(result) => {
            let runtime = tokio::runtime::Builder::new_current_thread().build()?;
            runtime.block_on(result)
        }
    };
    drop(verifier);
    drop::<Option<Arc<Outbound>>>(outbound);
    let said = |fault: Fault| (fault.label(), fault.to_string());
    let mut parts = token.split('.').map(json);
    let (header, claims) = (parts.next().flatten(), parts.next().flatten());
    let text = |part: &Value| serde_json::to_string_pretty(part).ok();
    Ok(Verdict {
        header: header.as_ref().and_then(text),
        claims: claims.as_ref().and_then(text),
        fault: result.err().map(said),
        notes: claims.as_ref().map(without_effect).unwrap_or_default(),
    })
}

/// The JSON in a part of a token.
fn json(part: &str) -> Option<Value> {
    let bytes = URL_SAFE_NO_PAD.decode(part).ok()?;
    serde_json::from_slice(&bytes).ok()
}

/// A node takes a right that it does not know for somebody else's. Here it may be a slip.
fn without_effect(claims: &Value) -> Vec<String> {
    let mut notes = Vec::new();
    let rules = claims.get("rooms").and_then(Value::as_object);
    for (rooms, rights) in rules.into_iter().flatten() {
        let rights = rights.as_array().into_iter().flatten();
        let unknown = rights.filter(|right| *right != "join" && *right != "publish");
        notes.extend(unknown.map(|right| {
            format!("rooms: {right} for {rooms:?} is neither join nor publish, and gives nothing")
        }));
    }
    let namespaces = claims.get("namespaces").and_then(Value::as_array);
    for name in namespaces.into_iter().flatten().filter_map(Value::as_str) {
        if !name.starts_with(['/', '*']) {
            notes.push(format!(
                "namespaces: {name:?} does not begin with /, and allows none"
            ));
        }
    }
    notes
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::issue::signed;
    use super::super::unix_now;
    use super::*;
    use crate::config::Config;

    const SECRET: &str = "a secret that only tests know";

    fn token(secret: &str, claims: &Value) -> String {
        signed(secret.as_bytes(), claims.to_string().as_bytes())
    }

    #[test]
    fn every_fault_has_a_line_of_its_own() {
        let toml =
            format!("[auth]\njwt_secret = \"{SECRET}\"\nissuer = \"me\"\naudience = [\"chat\"]");
        let auth = Config::from_toml(&toml).unwrap().auth;
        let now = unix_now() as i64;
        let with = |more: Value| {
            let mut claims = json!({"iss": "me", "aud": "chat", "exp": now + 60});
            let more = more.as_object().unwrap().clone();
            claims.as_object_mut().unwrap().extend(more);
            token(SECRET, &claims)
        };
        let header = |header: Value| {
            let part = |json: &Value| URL_SAFE_NO_PAD.encode(json.to_string());
            format!("{}.{}.c2ln", part(&header), part(&json!({"exp": now + 60})))
        };
        let long = format!("a.b.{}", "c".repeat(9000));
        for (token, reason, why) in [
            (String::new(), "malformed", "it is empty"),
            (long, "malformed", "it has more than 8192 bytes"),
            (
                "x".to_owned(),
                "malformed",
                "it is no JSON Web Token: it has not three parts",
            ),
            (
                "a.b.c".to_owned(),
                "malformed",
                "it is no JSON Web Token: its header is not JSON in base64url",
            ),
            (
                header(json!({"alg": "none"})),
                "algorithm",
                "alg: \"none\" is no algorithm that is taken",
            ),
            (
                header(json!({"alg": "ES512"})),
                "algorithm",
                "alg: ES512 is none of the configured keys' algorithms",
            ),
            (
                header(json!({"alg": "HS256", "crit": ["b64"]})),
                "malformed",
                "crit: extensions that must be understood are not",
            ),
            (
                header(json!({"alg": "HS256", "kid": 7})),
                "malformed",
                "kid: it is no string",
            ),
            (
                token("another secret of somebody", &json!({"exp": now + 60})),
                "signature",
                "the signature is no known key's: another secret or key, or a changed token",
            ),
            (with(json!({"exp": null})), "claim", "exp: it is missing"),
            (
                with(json!({"exp": "soon"})),
                "claim",
                "exp: it is no number",
            ),
            (with(json!({"nbf": [1]})), "claim", "nbf: it is no number"),
            (
                with(json!({"iss": null})),
                "issuer",
                "iss: it is missing; auth.issuer is \"me\"",
            ),
            (
                with(json!({"iss": "you"})),
                "issuer",
                "iss: it is [\"you\"], auth.issuer is \"me\"",
            ),
            (
                with(json!({"aud": null})),
                "audience",
                "aud: it is missing; auth.audience is set",
            ),
            (
                with(json!({"aud": ["a", "b"]})),
                "audience",
                "aud: it is for [\"a\", \"b\"], which is not in auth.audience",
            ),
            (
                with(json!({"aud": 7})),
                "claim",
                "aud: it is no string and no list of them",
            ),
            (
                with(json!({"rooms": ["a"]})),
                "claim",
                "rooms: it is no object of rooms with lists of rights",
            ),
        ] {
            let fault = verify(&auth, &token).unwrap().fault;
            assert_eq!(fault, Some((reason, why.to_owned())), "{token:.60}");
        }
        let (reason, why) = verify(&auth, &with(json!({"exp": now - 100})))
            .unwrap()
            .fault
            .unwrap();
        assert!(
            reason == "expired" && why.starts_with("exp: it was over 10"),
            "{why}"
        );
        let (reason, why) = verify(&auth, &with(json!({"nbf": now + 100})))
            .unwrap()
            .fault
            .unwrap();
        assert!(
            reason == "not_yet_valid" && why.starts_with("nbf: it is good in "),
            "{why}"
        );
        let good = verify(&auth, &format!("Bearer {}", with(json!({"sub": 7})))).unwrap();
        assert_eq!((good.fault, good.notes), (None, Vec::new()));
        let spelled = json!({"rooms": {"chat:*": ["read", "join"]}, "namespaces": ["chat", "*"]});
        let verdict = verify(&auth, &with(spelled)).unwrap();
        assert_eq!(verdict.fault, None);
        assert_eq!(
            verdict.notes,
            [
                "rooms: \"read\" for \"chat:*\" is neither join nor publish, and gives nothing",
                "namespaces: \"chat\" does not begin with /, and allows none",
            ]
        );
        assert!(good.claims.unwrap().contains("\"sub\": 7"));
    }
}
