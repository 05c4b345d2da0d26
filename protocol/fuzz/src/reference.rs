use std::fmt;

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use protocol::socketio::{MAX_ATTACHMENTS, MAX_DEPTH, MAX_NAMESPACE, is_reserved};
use serde::Deserialize;
use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

/// Whether a client may send `text`, slowly and step by step in the order of `socket.io-parser`.
pub(super) fn accepts(text: &str) -> bool {
    let Some(kind @ '0'..='6') = text.chars().next() else {
        return false;
    };
    let mut rest = &text[1..];

    let mut attachments = 0;
    if let '5' | '6' = kind {
        let Some((count, after)) = rest.split_once('-') else {
            return false;
        };
        let significant = count.trim_start_matches('0');
        if !count.bytes().all(|byte| byte.is_ascii_digit()) || significant.len() > 2 {
            return false;
        }
        attachments = significant.parse().unwrap_or(0);
        if !(1..=MAX_ATTACHMENTS).contains(&attachments) {
            return false;
        }
        rest = after;
    }

    if rest.starts_with('/') {
        let end = rest.find(',').unwrap_or(rest.len());
        if end > MAX_NAMESPACE {
            return false;
        }
        rest = rest.get(end + 1..).unwrap_or("");
    }

    let payload = rest.trim_start_matches(|character: char| character.is_ascii_digit());
    let id = &rest[..rest.len() - payload.len()];
    if !id.is_empty() && id.parse::<u64>().is_err() {
        return false;
    }

    if payload.is_empty() {
        return kind != '4';
    }
    if serde_json::from_str::<IgnoredAny>(payload).is_err() || super::depth(payload) > MAX_DEPTH {
        return false;
    }
    let array: Option<Vec<&RawValue>> = serde_json::from_str(payload).ok();
    let shape = match kind {
        '0' => payload.trim_start().starts_with('{'),
        '2' | '5' => array.is_some_and(|array| is_name(array.first().map(|name| name.get()))),
        '3' | '6' => array.is_some(),
        _ => false,
    };
    let placeholders = || placeholders(without_surrogates(payload).trim(), attachments);
    shape && (attachments == 0 || placeholders().is_some_and(|count| count <= MAX_ATTACHMENTS))
}

fn is_name(name: Option<&str>) -> bool {
    match name {
        Some(name) if name.starts_with('"') => match serde_json::from_str::<String>(name) {
            Ok(name) => !is_reserved(&name),
            // Lone surrogates; no reserved name has any.
            Err(_) => true,
        },
        Some(name) => name.starts_with(|first: char| first == '-' || first.is_ascii_digit()),
        None => false,
    }
}

/// `json` with all surrogate escapes, which `serde_json` only takes in pairs, replaced by one
/// character: no key that counts has any.
fn without_surrogates(json: &str) -> String {
    let mut out = String::new();
    let mut rest = json;
    while let Some(at) = rest.find('\\') {
        let (plain, escape) = rest.split_at(at);
        let len = if escape.starts_with("\\u") { 6 } else { 2 };
        let (escape, after) = escape.split_at(len);
        out.push_str(plain);
        let digits = escape.get(2..4).unwrap_or("").to_ascii_lowercase();
        let surrogate = len == 6 && digits.as_str() >= "d8" && digits.as_str() <= "df";
        out.push_str(if surrogate { "\u{fffd}" } else { escape });
        rest = after;
    }
    out + rest
}

/// How many placeholders there are, if all are legal.
fn placeholders(json: &str, count: usize) -> Option<usize> {
    if json.starts_with('[') {
        let values: Vec<&RawValue> = serde_json::from_str(json).expect("checked JSON");
        return values
            .iter()
            .map(|value| placeholders(value.get(), count))
            .sum();
    }
    if !json.starts_with('{') {
        return Some(0);
    }
    let Members(members) = serde_json::from_str(json).expect("checked JSON");
    let last = |name| {
        let mut named = members.iter().filter(|(key, _)| key == name);
        named.next_back().map(|(_, value)| value.get())
    };
    let own = match (last("_placeholder"), last("num")) {
        (Some("true"), Some(num)) => {
            let digits = num.bytes().all(|byte| byte.is_ascii_digit());
            let points = num.parse::<u128>().is_ok_and(|num| num < count as u128);
            (digits && points).then_some(1)?
        }
        (Some("true"), None) => return None,
        _ => 0,
    };
    let within = members
        .iter()
        .map(|(_, value)| placeholders(value.get(), count));
    within.sum::<Option<usize>>().map(|within| own + within)
}

/// The members of an object in their order, equal keys included.
struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(MembersVisitor)
    }
}

struct MembersVisitor;

impl<'de> Visitor<'de> for MembersVisitor {
    type Value = Members<'de>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members = Vec::new();
        while let Some(member) = map.next_entry()? {
            members.push(member);
        }
        Ok(Members(members))
    }
}

/// Node's reading of base64: the same for both alphabets, until the first padding, skipping what
/// is in neither and dropping what is less than a byte.
pub(super) fn base64(text: &str) -> Vec<u8> {
    let end = text.find('=').unwrap_or(text.len());
    let mut sextets: String = text[..end]
        .replace('-', "+")
        .replace('_', "/")
        .chars()
        .filter(|character| character.is_ascii_alphanumeric() || matches!(character, '+' | '/'))
        .collect();
    if sextets.len() % 4 == 1 {
        sextets.pop();
    }
    let config = GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::RequireNone);
    GeneralPurpose::new(&STANDARD, config)
        .decode(sextets)
        .expect("only the alphabet is left")
}
