//! Reading what a token says.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::fault::Fault;
use super::verifier::number;
use crate::config::Pattern;
use crate::count::TokenReason;
use crate::socketio::claims::{Claims, MAX_USER_BYTES, Patterns, Right, Rule};

impl Claims {
    /// Reads what a token says; null stands for absent.
    pub(super) fn read(object: &Map<String, Value>) -> Result<Self, Fault> {
        let exp = number(object, "exp")?;
        let exp = exp.ok_or_else(|| wrong("exp", "it is missing"))?;
        Ok(Self {
            sub: user(object)?,
            exp,
            namespaces: patterns(object, "namespaces")?,
            rooms: rooms(object)?,
            events: patterns(object, "events")?,
            text: None,
        })
    }

    /// Keeps the text of the claims, of a token's payload in base64url.
    pub(super) fn keep_text_of(&mut self, payload: &str) {
        let payload = URL_SAFE_NO_PAD.decode(payload.trim_end_matches('=')).ok();
        let text = payload.and_then(|payload| String::from_utf8(payload).ok());
        self.text = text.and_then(|text| RawValue::from_string(text).ok());
    }
}

fn wrong(claim: &'static str, why: &'static str) -> Fault {
    Fault::of(TokenReason::Claim, claim, why)
}

/// A claim that there is; null stands for absent.
fn claim<'a>(object: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    object.get(name).filter(|value| !value.is_null())
}

/// The user: a name, or a whole number, which is the name that it is written as.
fn user(object: &Map<String, Value>) -> Result<Option<Box<str>>, Fault> {
    let Some(user) = claim(object, "sub") else {
        return Ok(None);
    };
    let whole = |number: &serde_json::Number| number.is_i64() || number.is_u64();
    let name: Box<str> = match user {
        Value::String(name) => name.as_str().into(),
        Value::Number(number) if whole(number) => number.to_string().into(),
        Value::Number(_) => return Err(wrong("sub", "it is no whole number of up to 64 bits")),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => {
            return Err(wrong("sub", "it is neither a string nor a whole number"));
        }
    };
    if (1..=MAX_USER_BYTES).contains(&name.len()) {
        Ok(Some(name))
    } else {
        Err(wrong("sub", "a user has a name of 1 to 256 bytes"))
    }
}

fn patterns(object: &Map<String, Value>, name: &'static str) -> Result<Option<Patterns>, Fault> {
    let no_list = || wrong(name, "it is no list of strings");
    let Some(value) = claim(object, name) else {
        return Ok(None);
    };
    let names = value.as_array().ok_or_else(no_list)?.iter();
    let patterns = names.map(|name| Ok(Pattern::new(name.as_str().ok_or_else(no_list)?)));
    Ok(Some(Patterns(patterns.collect::<Result<_, Fault>>()?)))
}

/// Rights that are not known are somebody else's.
fn rooms(object: &Map<String, Value>) -> Result<Option<Vec<Rule>>, Fault> {
    let no_rules = || wrong("rooms", "it is no object of rooms with lists of rights");
    let Some(value) = claim(object, "rooms") else {
        return Ok(None);
    };
    let right = |name: &Value| {
        Ok(match name.as_str().ok_or_else(no_rules)? {
            "join" => Some(Right::Join),
            "publish" => Some(Right::Publish),
            _ => None,
        })
    };
    let rules = value.as_object().ok_or_else(no_rules)?.iter();
    let rules = rules.map(|(rooms, rights)| {
        let rights = rights.as_array().ok_or_else(no_rules)?.iter();
        Ok(Rule {
            rooms: Pattern::new(rooms),
            rights: rights
                .filter_map(|name| right(name).transpose())
                .collect::<Result<_, Fault>>()?,
        })
    });
    rules.collect::<Result<_, Fault>>().map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<Claims, Fault> {
        Claims::read(&serde_json::from_str(json).unwrap())
    }

    fn claims(json: &str) -> Claims {
        read(json).unwrap()
    }

    #[test]
    fn a_user_may_be_a_whole_number() {
        for (sub, user) in [
            ("7", "7"),
            ("-1", "-1"),
            ("18446744073709551615", "18446744073709551615"),
        ] {
            let claims = claims(&format!(r#"{{"exp":1,"sub":{sub}}}"#));
            assert_eq!(claims.user(), Some(user));
        }
    }

    #[test]
    fn null_stands_for_absent() {
        let claims = claims(r#"{"exp":1,"sub":null,"namespaces":null,"rooms":null,"events":null}"#);
        assert_eq!(claims.user(), None);
        assert!(claims.allows_broadcast() && claims.allows_namespace("/x"));
    }

    #[test]
    fn a_token_without_lists_allows_everything() {
        let claims = claims(r#"{"exp":1}"#);
        assert_eq!(claims.user(), None);
        assert!(claims.allows_namespace("/x") && claims.allows_event("e"));
        assert!(claims.allows(Right::Join, "r") && claims.allows_broadcast());
    }

    #[test]
    fn what_a_list_does_not_name_is_forbidden() {
        let claims = claims(
            r#"{"sub":"ann","exp":1.5,"namespaces":["/","/chat-*"],"events":["say"],
                "rooms":{"chat:*":["join","publish","own"],"news":["join"],"*":["join"]}}"#,
        );
        assert_eq!((claims.user(), claims.expires_at()), (Some("ann"), 1.5));
        assert!(claims.allows_namespace("/chat-1") && !claims.allows_namespace("/admin"));
        assert!(claims.allows_event("say") && !claims.allows_event("shout"));
        assert!(claims.allows(Right::Publish, "chat:1") && !claims.allows(Right::Publish, "news"));
        assert!(claims.allows(Right::Join, "anything") && !claims.allows_broadcast());
    }

    #[test]
    fn claims_of_another_type_are_no_claims() {
        for (json, fault) in [
            (r#"{}"#, "exp: it is missing"),
            (r#"{"exp":"1"}"#, "exp: it is no number"),
            (
                r#"{"exp":1,"sub":7.5}"#,
                "sub: it is no whole number of up to 64 bits",
            ),
            (
                r#"{"exp":1,"sub":1e3}"#,
                "sub: it is no whole number of up to 64 bits",
            ),
            (
                r#"{"exp":1,"sub":true}"#,
                "sub: it is neither a string nor a whole number",
            ),
            (
                r#"{"exp":1,"sub":""}"#,
                "sub: a user has a name of 1 to 256 bytes",
            ),
            (
                r#"{"exp":1,"namespaces":"/"}"#,
                "namespaces: it is no list of strings",
            ),
            (
                r#"{"exp":1,"rooms":["a"]}"#,
                "rooms: it is no object of rooms with lists of rights",
            ),
            (
                r#"{"exp":1,"rooms":{"a":"join"}}"#,
                "rooms: it is no object of rooms with lists of rights",
            ),
            (
                r#"{"exp":1,"rooms":{"a":[1]}}"#,
                "rooms: it is no object of rooms with lists of rights",
            ),
            (
                r#"{"exp":1,"events":{}}"#,
                "events: it is no list of strings",
            ),
        ] {
            assert_eq!(read(json).unwrap_err().to_string(), fault, "{json}");
        }
    }
}
