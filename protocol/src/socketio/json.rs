//! Checks JSON without building a tree.
//!
//! ```
//! use protocol::socketio::json;
//!
//! assert!(json::is_value(r#"{"a":[1,"\u00e9"]}"#));
//! assert!(!json::is_value("{a:1}"));
//! assert_eq!(json::as_string(r#""caf\u00e9""#).as_deref(), Some("café"));
//! ```

use std::borrow::Cow;

use super::scanner::{Scanner, find_special};

/// Whether `text` is one JSON value, as `JSON.parse` accepts it, nested at most
/// [`MAX_DEPTH`](super::MAX_DEPTH) deep.
pub fn is_value(text: &str) -> bool {
    let mut scanner = Scanner::new(text);
    scanner.value().and_then(|()| scanner.end()).is_some()
}

/// Whether `text` is one JSON value that may have a packet's JSON inside: nested at most
/// [`ENVELOPE_DEPTH`](super::ENVELOPE_DEPTH) deeper.
pub fn is_message(text: &str) -> bool {
    let mut scanner = Scanner::of_message(text);
    scanner.value().and_then(|()| scanner.end()).is_some()
}

/// Whether `text` is a comma-separated list of JSON values, which may be empty, that together with
/// brackets around it is nested at most [`MAX_DEPTH`](super::MAX_DEPTH) deep.
pub(super) fn are_values(text: &str) -> bool {
    let mut scanner = Scanner::new(text);
    scanner.end().is_some() || scanner.values().is_some()
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

#[cfg(test)]
mod tests {
    use super::super::MAX_DEPTH;
    use super::*;

    #[test]
    fn values_are_accepted() {
        let table = [
            "null",
            "true",
            "false",
            "0",
            "-0",
            "10",
            "-1.5e+10",
            "1E2",
            "0.1",
            "0e0",
            "1e999",
            "123456789012345678901234567890",
            "\"\"",
            "\"plain\"",
            "\"é€😀\u{7f}\u{2028}\"",
            r#""\"\\\/\b\f\n\r\t\u00e9""#,
            r#""\ud83d\ude00""#,
            r#""\ud800""#,
            r#""\udc00\ud800x""#,
            "[]",
            "{}",
            " [ ] ",
            "\t{\n}\r",
            "[1,\"a\",null,[],{}]",
            "[[[[]]],{\"a\":{\"b\":[{}]}}]",
            "{\"a\":1,\"a\":2,\"__proto__\":{},\"\":3}",
            " { \"a\" : [ 1 , 2 ] , \"b\" : \"c\" } ",
            "\"1234567\"",
            "\"12345678\"",
            "\"123456789 123456789 \\n 123456789\"",
        ];
        for text in table {
            assert!(is_value(text), "{text:?}");
        }
    }

    #[test]
    fn what_is_no_value_is_refused() {
        let table = [
            "",
            " ",
            "nul",
            "nulll",
            "True",
            "undefined",
            "NaN",
            "Infinity",
            "00",
            "01",
            "-01",
            "-",
            "+1",
            ".5",
            "1.",
            "1.e1",
            "1e",
            "1e+",
            "0x10",
            "1 2",
            "'a'",
            "\"",
            "\"a",
            "\"\\\"",
            "\"\\",
            r#""\x""#,
            r#""\u12""#,
            r#""\u12g4""#,
            r#""\u+123""#,
            "\"\u{0}\"",
            "\"\n\"",
            "\"1234567\u{1f}9\"",
            "\"12345678\t\"",
            "[",
            "]",
            "[1",
            "[1,]",
            "[,1]",
            "[1 2]",
            "[1}",
            "{",
            "{]",
            "{\"a\"}",
            "{\"a\":}",
            "{\"a\":1,}",
            "{,}",
            "{a:1}",
            "{1:1}",
            "{\"a\" 1}",
            "{\"a\":1]",
            "[]]",
            "[],",
            "{}{}",
            "[1]x",
            "\u{a0}1",
            "\u{feff}1",
            "1\u{b}",
            "// a\n1",
        ];
        for text in table {
            assert!(!is_value(text), "{text:?}");
        }
    }

    #[test]
    fn every_control_character_is_refused_wherever_it_stands_in_a_string() {
        for byte in 0..0x20u8 {
            for before in 0..20 {
                let text = format!("\"{}{}456789\"", "x".repeat(before), char::from(byte));
                assert!(!is_value(&text), "{text:?}");
            }
        }
    }

    #[test]
    fn nesting_is_bounded() {
        let nested = |open: &str, close: &str, depth| {
            let text = open.repeat(depth) + "1" + &close.repeat(depth);
            is_value(&text)
        };
        assert!(nested("[", "]", MAX_DEPTH));
        assert!(!nested("[", "]", MAX_DEPTH + 1));
        assert!(nested("{\"a\":", "}", MAX_DEPTH));
        assert!(!nested("{\"a\":", "}", MAX_DEPTH + 1));
        assert!(nested("[{\"a\":", "}]", MAX_DEPTH / 2));
        assert!(!nested("[{\"a\":[", "]}]", MAX_DEPTH / 2));
        assert!(!is_value(&"[".repeat(1_000_000)));
        assert!(is_value(&format!("[{}1]", "[[]],".repeat(1000))));
    }

    #[test]
    fn strings_unescape() {
        let table = [
            (r#""""#, ""),
            (r#""plain""#, "plain"),
            (r#"  "a"  "#, "a"),
            (r#""\"\\\/\b\f\n\r\t""#, "\"\\/\u{8}\u{c}\n\r\t"),
            (r#""\u0041\u00e9\u20AC""#, "Aé€"),
            (r#""\ud83d\ude00""#, "😀"),
            (r#""\\u0041""#, "\\u0041"),
            (r#""\ud800""#, "\u{fffd}"),
            (r#""\ud800\u0041""#, "\u{fffd}A"),
            (r#""\ud800\ud83d\ude00""#, "\u{fffd}😀"),
            (r#""\ude00\ud83d""#, "\u{fffd}\u{fffd}"),
            (r#""\u0041\ud83d\ude00\n€""#, "A😀\n€"),
            (r#""\ud83d\\ude00""#, "\u{fffd}\\ude00"),
        ];
        for (json, text) in table {
            assert_eq!(as_string(json).as_deref(), Some(text), "{json:?}");
        }
        for json in [
            "", "1", "null", "[\"a\"]", "a", "\"", "\"a\"b", "\"\n\"", "\"\\\"",
        ] {
            assert_eq!(as_string(json), None, "{json:?}");
        }
    }

    /// The right column is what `JSON.stringify` gave in Node 20.
    #[test]
    fn strings_escape_as_in_node() {
        let table = [
            ("", r#""""#),
            ("chat message", r#""chat message""#),
            ("a\"b\\c/d", r#""a\"b\\c/d""#),
            ("\u{8}\u{c}\n\r\t", r#""\b\f\n\r\t""#),
            ("\u{0}\u{b}\u{1e}\u{1f}", r#""\u0000\u000b\u001e\u001f""#),
            ("\u{7f}\u{2028}é😀", "\"\u{7f}\u{2028}é😀\""),
        ];
        for (text, json) in table {
            let mut out = Vec::new();
            push_string(&mut out, text);
            assert_eq!(String::from_utf8(out).unwrap(), json);
            assert_eq!(as_string(json).as_deref(), Some(text));
        }
    }
}
