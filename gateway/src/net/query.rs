//! Query strings.

use std::borrow::Cow;

/// The pairs of a query string, percent-decoded, in their order.
pub(crate) fn pairs(query: &str) -> impl Iterator<Item = (String, String)> {
    raw_pairs(query).map(|(name, value)| (decode(name).into_owned(), decode(value).into_owned()))
}

fn raw_pairs(query: &str) -> impl Iterator<Item = (&str, &str)> {
    query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
}

/// The parameters of a query that Engine.IO itself reads. Of a repeated one the last counts.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct EngineQuery<'a> {
    pub(crate) revision: Option<Cow<'a, str>>,
    pub(crate) transport: Option<Cow<'a, str>>,
    /// `None` when absent or empty: a handshake.
    pub(crate) sid: Option<Cow<'a, str>>,
    /// The client wants no binary frames.
    pub(crate) base64: bool,
    /// The client polls by script tags (`j` and a number).
    pub(crate) jsonp: bool,
}

impl<'a> EngineQuery<'a> {
    pub(crate) fn parse(query: &'a str) -> Self {
        let mut parsed = Self::default();
        for (name, value) in raw_pairs(query) {
            match &*decode(name) {
                "EIO" => parsed.revision = Some(decode(value)),
                "transport" => parsed.transport = Some(decode(value)),
                "sid" => parsed.sid = Some(decode(value)).filter(|sid| !sid.is_empty()),
                "b64" => parsed.base64 = !value.is_empty(),
                "j" => {
                    let is_digits = value.bytes().all(|byte| byte.is_ascii_digit());
                    parsed.jsonp = !value.is_empty() && is_digits;
                }
                _ => {}
            }
        }
        parsed
    }
}

/// Percent-decodes `text`; `+` is a space. What is no escape stays as it is, and what is not UTF-8
/// becomes U+FFFD.
fn decode(text: &str) -> Cow<'_, str> {
    if !text.contains(['%', '+']) {
        return Cow::Borrowed(text);
    }
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        rest = tail;
        match first {
            b'+' => decoded.push(b' '),
            b'%' => match escape(tail) {
                Some(byte) => {
                    decoded.push(byte);
                    rest = &tail[2..];
                }
                None => decoded.push(b'%'),
            },
            _ => decoded.push(first),
        }
    }
    Cow::Owned(String::from_utf8_lossy(&decoded).into_owned())
}

fn escape(tail: &[u8]) -> Option<u8> {
    let digit = |index: usize| {
        tail.get(index)
            .and_then(|byte| char::from(*byte).to_digit(16))
    };
    u8::try_from(digit(0)? * 16 + digit(1)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_of_a_repeated_parameter_counts() {
        let query = EngineQuery::parse("EIO=3&transport=polling&EIO=4&sid=&b64=1");
        assert_eq!(query.revision.as_deref(), Some("4"));
        assert_eq!(query.transport.as_deref(), Some("polling"));
        assert_eq!(query.sid, None);
        assert!(query.base64);
    }

    #[test]
    fn only_a_number_asks_for_script_tags() {
        for (query, jsonp) in [("j=0", true), ("j=17", true), ("j=", false), ("j=x", false)] {
            assert_eq!(EngineQuery::parse(query).jsonp, jsonp, "{query}");
        }
    }

    #[test]
    fn escapes_are_decoded_and_rubbish_stays() {
        assert_eq!(decode("a%20b+c"), "a b c");
        assert_eq!(decode("100%"), "100%");
        assert_eq!(decode("%zz%4"), "%zz%4");
        assert_eq!(decode("%ff"), "\u{fffd}");
    }
}
