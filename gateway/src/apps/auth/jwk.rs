//! Sets of published keys (RFC 7517), and what is wrong with those that cannot be used.

use base64::Engine;
use base64::alphabet::URL_SAFE;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde_json::{Map, Value};

use super::algorithm::Algorithm;
use super::keys::Key;

/// Most keys that are looked at.
pub(super) const MAX_KEYS: usize = 100;

/// Longest part of an issuer's own words that is repeated.
const SHOWN: usize = 64;

/// What a set holds.
#[derive(Default)]
pub(super) struct Set {
    pub(super) keys: Vec<Key>,
    /// Keys that ought to be of use and are not: which, and why.
    pub(super) refused: Vec<String>,
    /// Keys that are for something else.
    pub(super) others: Vec<String>,
}

/// Why a key is not taken.
enum Passed {
    Refused(String),
    /// It is not for signatures.
    Other(String),
}

/// Base64 as issuers write it, after [`plain`] without padding and in the URL-safe alphabet.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &URL_SAFE,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

impl Set {
    /// Reads a set. The error says why it is none.
    pub(super) fn parse(body: &[u8]) -> Result<Self, String> {
        let set: Value = serde_json::from_slice(body).map_err(|error| {
            // Not serde's own words: they may repeat what stands there.
            let (line, column) = (error.line(), error.column());
            format!("it is not JSON (line {line}, column {column})")
        })?;
        let Some(jwks) = set.get("keys").and_then(Value::as_array) else {
            return Err("it is not a JSON object with a list `keys`".to_owned());
        };
        let mut read = Self::default();
        for (index, jwk) in jwks.iter().take(MAX_KEYS).enumerate() {
            let named = |why: String| format!("{}: {why}", name(index, jwk));
            match key(jwk) {
                Ok(key) => read.keys.push(key),
                Err(Passed::Refused(why)) => read.refused.push(named(why)),
                Err(Passed::Other(why)) => read.others.push(named(why)),
            }
        }
        if let Some(more) = jwks.len().checked_sub(MAX_KEYS).filter(|more| *more > 0) {
            let why = format!("{more} keys behind the first {MAX_KEYS}: too many");
            read.refused.push(why);
        }
        Ok(read)
    }
}

/// What a key is called in the log.
fn name(index: usize, jwk: &Value) -> String {
    match jwk.get("kid").and_then(Value::as_str) {
        Some(kid) => format!("kid {}", shown(kid)),
        None => format!("number {} (no kid)", index + 1),
    }
}

/// A stranger's words, short and on one line.
pub(super) fn shown(text: &str) -> String {
    let short: String = text.chars().take(SHOWN).collect();
    if short.len() < text.len() {
        format!("{short:?}..")
    } else {
        format!("{short:?}")
    }
}

/// Reads one key.
fn key(jwk: &Value) -> Result<Key, Passed> {
    let refused = |why: &str| Passed::Refused(why.to_owned());
    let jwk = jwk.as_object().ok_or_else(|| refused("it is no object"))?;
    if let Some(usage) = text(jwk, "use")?.filter(|usage| *usage != "sig") {
        let why = format!("use is {}, not \"sig\"", shown(usage));
        return Err(Passed::Other(why));
    }
    if let Some(operations) = jwk.get("key_ops").and_then(Value::as_array)
        && !operations.iter().any(|operation| operation == "verify")
    {
        return Err(Passed::Other("key_ops has no \"verify\"".to_owned()));
    }
    let kind = text(jwk, "kty")?.ok_or_else(|| refused("it has no kty"))?;
    let algorithm = text(jwk, "alg")?;
    if let Some(name) = algorithm.filter(|name| name.starts_with("RSA") || name.contains("ECDH")) {
        return Err(Passed::Other(format!("alg {} encrypts", shown(name))));
    }
    let curve = text(jwk, "crv")?.unwrap_or_default();
    let key = match kind {
        "RSA" => Key::rsa(&bytes(jwk, "n")?, &bytes(jwk, "e")?),
        "EC" => Key::elliptic(curve, &bytes(jwk, "x")?, &bytes(jwk, "y")?),
        "OKP" if curve == "Ed25519" => Key::ed25519(&bytes(jwk, "x")?),
        "OKP" => Err(format!("crv is {}, not Ed25519", shown(curve))),
        "oct" => Err("kty is oct: a published secret is no secret".to_owned()),
        _ => Err(format!("kty {} is not known", shown(kind))),
    };
    let mut key = key.map_err(Passed::Refused)?;
    if let Some(name) = algorithm {
        let known = Algorithm::parse(name).filter(|algorithm| key.verifies(*algorithm));
        let of = format!("alg {} does not fit such a key", shown(name));
        key.algorithms = vec![known.ok_or(Passed::Refused(of))?];
    }
    key.id = text(jwk, "kid")?.map(str::to_owned);
    Ok(key)
}

/// A member that is a string; null stands for absent.
fn text<'a>(jwk: &'a Map<String, Value>, name: &str) -> Result<Option<&'a str>, Passed> {
    match jwk.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(Passed::Refused(format!("{name} is no string"))),
    }
}

/// A member that holds bytes in base64.
fn bytes(jwk: &Map<String, Value>, name: &str) -> Result<Vec<u8>, Passed> {
    let text = text(jwk, name)?.ok_or_else(|| {
        let beside = if jwk.contains_key("x5c") {
            "; x5c is not read"
        } else {
            ""
        };
        Passed::Refused(format!("it has no {name}{beside}"))
    })?;
    let plain = plain(text);
    let bytes = LENIENT.decode(plain.trim_end_matches('='));
    bytes.map_err(|_| Passed::Refused(format!("{name} is not base64")))
}

/// The URL-safe spelling of what may be the standard one, with line breaks taken out.
fn plain(text: &str) -> String {
    let letters = text.chars().filter(|letter| !letter.is_ascii_whitespace());
    letters
        .map(|letter| match letter {
            '+' => '-',
            '/' => '_',
            other => other,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::{STANDARD, URL_SAFE, URL_SAFE_NO_PAD};
    use serde_json::json;

    use super::*;

    fn parse(keys: &Value) -> Set {
        Set::parse(json!({"keys": keys}).to_string().as_bytes()).unwrap()
    }

    #[test]
    fn keys_are_read_in_every_spelling_of_base64() {
        let modulus = [0xfb; 257];
        let zeroed = [&[0][..], &[0xff; 256]].concat();
        for n in [
            URL_SAFE.encode(modulus),
            URL_SAFE_NO_PAD.encode(modulus),
            STANDARD.encode(modulus),
            format!("\n{}\r\n", STANDARD.encode(modulus)),
            URL_SAFE.encode(zeroed),
        ] {
            let set = parse(
                &json!([{"kty": "RSA", "kid": "k", "n": n, "e": "AQAB="}, {"kty": "RSA", "n": n, "e": "AQAB"}]),
            );
            assert_eq!(set.refused, Vec::<String>::new(), "{n}");
            assert_eq!(set.keys.len(), 2);
        }
        let (x, y) = (STANDARD.encode([0xfb; 32]), URL_SAFE.encode([0xfe; 31]));
        let set = parse(&json!([
            {"kty": "EC", "crv": "P-256", "x": x, "y": y},
            {"kty": "OKP", "crv": "Ed25519", "alg": "Ed25519", "x": x},
            {"kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "x": x, "kid": null, "use": null},
            // The point of tests/keys/p521.pem.
            {"kty": "EC", "crv": "P-521", "alg": "ES512",
             "x": "AIIpn6rFq4xxe+r0F9GGDQ17nCAqRpPBGKLZO5t6czRnjYroqlSigKXLFyuENjq+28cNjk/cMe5/0wD9kJ6fwSPB",
             "y": "AS3I50biHQIIOpu_HlwDAMhSC_mAsAZSZlXxXxGy9yXlMFt3QG_pe2ku1THvtTXKBM27m9Iner1MSkuyjnX2Sbp1"},
        ]));
        assert_eq!(set.refused, Vec::<String>::new());
        assert_eq!(set.keys.len(), 4);
    }

    #[test]
    fn what_is_wrong_with_a_key_is_said() {
        let n = URL_SAFE_NO_PAD.encode([0xfb; 256]);
        for (jwk, why) in [
            (
                json!({"kty": "RSA", "kid": "a", "n": "AQAB", "e": "AQAB"}),
                "kid \"a\": n has 24 bits; 2048 to 8192 are taken",
            ),
            (
                json!({"kty": "RSA", "n": "?", "e": "AQAB"}),
                "number 1 (no kid): n is not base64",
            ),
            (
                json!({"kty": "RSA", "kid": "a", "x5c": ["AQAB"]}),
                "kid \"a\": it has no n; x5c is not read",
            ),
            (
                json!({"kty": "RSA", "kid": "a", "n": n, "e": 3}),
                "kid \"a\": e is no string",
            ),
            (
                json!({"kty": "RSA", "kid": "a", "n": n, "e": "AQAB", "alg": "ES256"}),
                "kid \"a\": alg \"ES256\" does not fit such a key",
            ),
            (
                json!({"kty": "EC", "kid": "a", "crv": "secp256k1", "x": "AQAB", "y": "AQAB"}),
                "kid \"a\": crv is neither P-256, P-384 nor P-521",
            ),
            (
                json!({"kty": "EC", "kid": "a", "crv": "P-256", "x": n, "y": "AQAB"}),
                "kid \"a\": x has 256 bytes; a coordinate of P-256 has 32",
            ),
            (
                json!({"kty": "EC", "kid": "a", "crv": "P-521", "x": "AQAB", "y": "AQAB"}),
                "kid \"a\": x and y are no point",
            ),
            (
                json!({"kty": "OKP", "kid": "a", "crv": "X25519", "x": "AQAB"}),
                "kid \"a\": crv is \"X25519\", not Ed25519",
            ),
            (
                json!({"kty": "OKP", "kid": "a", "crv": "Ed25519", "x": "AQAB"}),
                "kid \"a\": x has 3 bytes; that of Ed25519 has 32",
            ),
            (
                json!({"kty": "oct", "kid": "a", "k": "AQAB"}),
                "kid \"a\": kty is oct: a published secret is no secret",
            ),
            (
                json!({"kty": "new", "kid": "a"}),
                "kid \"a\": kty \"new\" is not known",
            ),
            (json!({"kid": "a"}), "kid \"a\": it has no kty"),
            (json!(7), "number 1 (no kid): it is no object"),
        ] {
            let set = parse(&json!([jwk]));
            assert_eq!(set.refused, [why]);
            assert!(set.keys.is_empty() && set.others.is_empty());
        }
    }

    #[test]
    fn keys_for_something_else_are_not_refused() {
        let set = parse(&json!([
            {"kty": "RSA", "kid": "c", "use": "enc", "n": "AQAB", "e": "AQAB"},
            {"kty": "RSA", "kid": "d", "alg": "RSA-OAEP", "n": "AQAB", "e": "AQAB"},
            {"kty": "RSA", "kid": "e", "key_ops": ["encrypt"], "n": "AQAB", "e": "AQAB"},
        ]));
        assert_eq!((set.keys.len(), set.refused.len()), (0, 0));
        assert_eq!(set.others.len(), 3);
    }

    #[test]
    fn a_set_is_bounded_and_what_is_none_is_an_error() {
        let key = json!({"kty": "OKP", "crv": "Ed25519", "x": URL_SAFE.encode([1; 32])});
        let set = parse(&Value::Array(vec![key; MAX_KEYS + 2]));
        assert_eq!(set.keys.len(), MAX_KEYS);
        assert_eq!(set.refused, ["2 keys behind the first 100: too many"]);
        for none in ["", "[]", "{}", r#"{"keys":{}}"#, r#"{"keys":null}"#] {
            assert!(Set::parse(none.as_bytes()).is_err(), "{none}");
        }
    }
}
