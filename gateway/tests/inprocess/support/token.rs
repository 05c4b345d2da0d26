//! Tokens, signed as an issuer would.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;
use serde_json::{Value, json};

/// A token with any header, any claims and any signature.
pub(crate) fn token_by(header: &Value, claims: &Value, sign: impl Fn(&[u8]) -> Vec<u8>) -> String {
    let part = |json: &Value| URL_SAFE_NO_PAD.encode(json.to_string());
    let message = format!("{}.{}", part(header), part(claims));
    let signature = URL_SAFE_NO_PAD.encode(sign(message.as_bytes()));
    format!("{message}.{signature}")
}

/// A token of HS256, HS384 or HS512.
pub(crate) fn token_of(algorithm: &str, secret: &[u8], claims: &Value) -> String {
    let hash = match algorithm {
        "HS256" => hmac::HMAC_SHA256,
        "HS384" => hmac::HMAC_SHA384,
        "HS512" => hmac::HMAC_SHA512,
        other => panic!("{other}"),
    };
    let key = hmac::Key::new(hash, secret);
    let sign = |message: &[u8]| hmac::sign(&key, message).as_ref().to_owned();
    token_by(&json!({"typ": "JWT", "alg": algorithm}), claims, sign)
}

/// A token of HS256.
pub(crate) fn token(secret: &str, claims: &Value) -> String {
    token_of("HS256", secret.as_bytes(), claims)
}
