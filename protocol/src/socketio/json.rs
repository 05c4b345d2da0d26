//! Checks JSON without building a tree.

use std::borrow::Cow;

use super::scanner::{Scanner, find_special};

/// Whether `text` is one JSON value, as `JSON.parse` accepts it, nested at most
/// [`MAX_DEPTH`](super::MAX_DEPTH) deep.
pub fn is_value(text: &str) -> bool {
    let mut scanner = Scanner::new(text);
    scanner.value().and_then(|()| scanner.end()).is_some()
}

/// The string that the JSON text `json` is, unescaped; `None` if it is no string. Lone surrogates
/// become U+FFFD.
pub fn as_string(json: &str) -> Option<Cow<'_, str>> {
    let json = trim(json);
    let mut scanner = Scanner::new(json);
    let escaped = scanner.string()?;
    scanner.end()?;
    let inner = json.get(1..json.len() - 1)?;
    Some(if escaped {
        Cow::Owned(unescape(inner))
    } else {
        Cow::Borrowed(inner)
    })
}

/// Appends `text` as a JSON string, quotes included, escaped as `JSON.stringify` does.
pub fn push_string(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    push_escaped(out, text);
    out.push(b'"');
}

/// `text` as it stands between the quotes of a JSON string.
pub(crate) fn escaped(text: &str) -> Cow<'_, [u8]> {
    if find_special(text.as_bytes(), 0) == text.len() {
        return Cow::Borrowed(text.as_bytes());
    }
    let mut out = Vec::with_capacity(text.len() + 16);
    push_escaped(&mut out, text);
    Cow::Owned(out)
}

/// `json` without the whitespace around it.
pub(super) fn trim(json: &str) -> &str {
    json.trim_matches([' ', '\n', '\r', '\t'])
}

/// What stands between the quotes of a checked JSON string, without its escapes.
pub(super) fn unescape(inner: &str) -> String {
    let mut out = String::with_capacity(inner.len());
    let mut rest = inner;
    while let Some((plain, escape)) = rest.split_once('\\') {
        out.push_str(plain);
        let mut chars = escape.chars();
        match chars.next() {
            Some('b') => out.push('\u{8}'),
            Some('f') => out.push('\u{c}'),
            Some('n') => out.push('\n'),
            Some('r') => out.push('\r'),
            Some('t') => out.push('\t'),
            Some('u') => {
                let (character, after) = unescape_unicode(chars.as_str());
                out.push(character);
                chars = after.chars();
            }
            Some(itself) => out.push(itself),
            None => {}
        }
        rest = chars.as_str();
    }
    out.push_str(rest);
    out
}

/// The character that an escape is, from behind its `\u`, and what follows it.
fn unescape_unicode(text: &str) -> (char, &str) {
    let Some((first, rest)) = code_unit(text) else {
        return (char::REPLACEMENT_CHARACTER, text);
    };
    if let Some((second, after)) = rest.strip_prefix("\\u").and_then(code_unit)
        && let Some(Ok(pair)) = char::decode_utf16([first, second]).next()
        && pair > '\u{ffff}'
    {
        return (pair, after);
    }
    let character = char::from_u32(first.into()).unwrap_or(char::REPLACEMENT_CHARACTER);
    (character, rest)
}

fn code_unit(text: &str) -> Option<(u16, &str)> {
    let (digits, rest) = text.split_at_checked(4)?;
    Some((u16::from_str_radix(digits, 16).ok()?, rest))
}

fn push_escaped(out: &mut Vec<u8>, text: &str) {
    const HEX: &[u8; 16] = b"0123456789abcdef";

    let bytes = text.as_bytes();
    let mut start = 0;
    loop {
        let at = find_special(bytes, start);
        out.extend_from_slice(&bytes[start..at]);
        let Some(&byte) = bytes.get(at) else {
            return;
        };
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            0x08 => out.extend_from_slice(b"\\b"),
            0x0c => out.extend_from_slice(b"\\f"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            _ => {
                out.extend_from_slice(b"\\u00");
                out.push(HEX[usize::from(byte >> 4)]);
                out.push(HEX[usize::from(byte & 0xf)]);
            }
        }
        start = at + 1;
    }
}
