use std::borrow::Cow;

use super::number::push_number;
use super::{Packer, WriteError};
use crate::socketio::{Arguments, json};
use bytes::Bytes;

/// What msgpack says of a text, to who makes text of it again.
#[expect(
    clippy::exhaustive_enums,
    reason = "who writes does something for each"
)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fidelity {
    /// The same.
    Exact,
    /// Other text that means the same to JavaScript, with the same attachments in the same order.
    Text,
    /// Other attachments, too: some were named twice, in another order, or not at all.
    Neither,
}

/// Appends a comma-separated list of JSON values as msgpack values, binary in the place of
/// placeholders, and returns how many and how well. Fails when `writer` exceeds `limit` bytes.
///
/// # Errors
///
/// What is no JSON, and what exceeds the limit.
pub fn append_arguments(
    arguments: Arguments<'_>,
    writer: &mut Packer,
    limit: usize,
) -> Result<(usize, Fidelity), WriteError> {
    let mut transcoder = Transcoder {
        bytes: arguments.json().as_bytes(),
        text: arguments.json(),
        at: 0,
        attachments: arguments.attachments(),
        writer,
        limit,
        is_exact: true,
        attached: 0,
        in_order: true,
    };
    let mut count = 0;
    transcoder.skip_whitespace();
    while transcoder.at < transcoder.bytes.len() {
        if count > 0 {
            transcoder.take(b',')?;
        }
        transcoder.value(0)?;
        transcoder.skip_whitespace();
        count += 1;
    }
    Ok((count, transcoder.fidelity()))
}

/// Moves over JSON that somebody vouches for: what is no JSON yields an error or something else, but
/// no panic.
struct Transcoder<'a, 'w> {
    bytes: &'a [u8],
    text: &'a str,
    at: usize,
    attachments: &'a [Bytes],
    writer: &'w mut Packer,
    limit: usize,
    /// Whether the text comes back as it is.
    is_exact: bool,
    /// How many attachments were written.
    attached: usize,
    /// Whether each was written once and in its place.
    in_order: bool,
}

/// Whether the object at hand is a placeholder: its last `_placeholder` and its last `num` count.
#[derive(Default)]
struct Placeholder {
    is_one: bool,
    index: Option<usize>,
}

impl<'a> Transcoder<'a, '_> {
    fn value(&mut self, depth: usize) -> Result<(), WriteError> {
        if self.writer.len() > self.limit {
            return Err(WriteError::TooLarge);
        }
        if depth > crate::socketio::MAX_DEPTH {
            return Err(WriteError::Malformed);
        }
        self.skip_whitespace();
        match self.peek()? {
            b'"' => {
                let string = self.unescaped()?;
                self.writer.text(&string);
            }
            b'[' => self.array(depth)?,
            b'{' => self.object(depth)?,
            b't' => self.literal("true", |writer| writer.boolean(true))?,
            b'f' => self.literal("false", |writer| writer.boolean(false))?,
            b'n' => self.literal("null", Packer::nil)?,
            _ => self.number()?,
        }
        Ok(())
    }

    fn array(&mut self, depth: usize) -> Result<(), WriteError> {
        self.take(b'[')?;
        let start = self.writer.open();
        let mut count = 0;
        while !self.ends(b']', count)? {
            self.value(depth + 1)?;
            count += 1;
        }
        self.writer.close(start, false, count);
        Ok(())
    }

    fn object(&mut self, depth: usize) -> Result<(), WriteError> {
        let (begin, attached) = (self.at, self.attached);
        self.take(b'{')?;
        let start = self.writer.open();
        let mut placeholder = Placeholder::default();
        let mut count = 0;
        while !self.ends(b'}', count)? {
            self.skip_whitespace();
            let key = self.unescaped()?;
            self.writer.text(&key);
            self.skip_whitespace();
            self.take(b':')?;
            self.skip_whitespace();
            let from = self.at;
            self.value(depth + 1)?;
            placeholder.see(&key, self.text.get(from..self.at).unwrap_or_default());
            count += 1;
        }
        match placeholder.attachment(self.attachments) {
            Some((index, attachment)) => {
                // What is inside of a placeholder is not written.
                self.in_order &= index == attached && self.attached == attached;
                let text = self.text.get(begin..self.at).unwrap_or_default();
                let plain = format!("{{\"_placeholder\":true,\"num\":{}}}", self.attached);
                self.is_exact &= text == plain;
                self.attached += 1;
                if self.writer.len() + attachment.len() > self.limit {
                    return Err(WriteError::TooLarge);
                }
                self.writer.truncate(start);
                self.writer.binary(attachment);
            }
            None => self.writer.close(start, true, count),
        }
        Ok(())
    }

    /// Whether the container ends here; else moves over the comma before the next of its values.
    fn ends(&mut self, bracket: u8, count: usize) -> Result<bool, WriteError> {
        self.skip_whitespace();
        if self.peek()? == bracket {
            self.at += 1;
            return Ok(true);
        }
        if count > 0 {
            self.take(b',')?;
        }
        Ok(false)
    }

    /// A string without its quotes and escapes.
    fn unescaped(&mut self) -> Result<Cow<'a, str>, WriteError> {
        let string = self.string()?;
        let unescaped = json::as_string(string).ok_or(WriteError::Malformed)?;
        // Without an escape it is written as it stands.
        if let Cow::Owned(unescaped) = &unescaped
            && self.is_exact
        {
            let mut again = Vec::with_capacity(string.len());
            json::push_string(&mut again, unescaped);
            self.is_exact = again == string.as_bytes();
        }
        Ok(unescaped)
    }

    fn fidelity(&self) -> Fidelity {
        if !self.in_order || self.attached != self.attachments.len() {
            Fidelity::Neither
        } else if !self.is_exact {
            Fidelity::Text
        } else {
            Fidelity::Exact
        }
    }

    /// A string with its quotes.
    fn string(&mut self) -> Result<&'a str, WriteError> {
        let start = self.at;
        self.take(b'"')?;
        loop {
            match self.peek()? {
                b'"' => break,
                b'\\' => self.at += 2,
                _ => self.at += 1,
            }
        }
        self.at += 1;
        self.text.get(start..self.at).ok_or(WriteError::Malformed)
    }

    /// A number as JavaScript's `Number` holds it, and written as an integer if it is whole. Integers
    /// that fit 64 bits keep all their digits.
    fn number(&mut self) -> Result<(), WriteError> {
        let start = self.at;
        while let Some(b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E') = self.bytes.get(self.at) {
            self.at += 1;
        }
        let text = self.text.get(start..self.at).unwrap_or_default();
        if let Ok(number) = text.parse::<u64>() {
            self.writer.unsigned(number);
        } else if let Ok(number) = text.parse::<i64>() {
            self.writer.signed(number);
            self.is_exact &= number != 0;
        } else {
            let number = text.parse::<f64>().map_err(|_| WriteError::Malformed)?;
            self.float(number);
            self.is_exact = self.is_exact && is_plain(text, number);
        }
        Ok(())
    }

    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "within the bounds that the conditions name"
    )]
    fn float(&mut self, number: f64) {
        const TWO_TO_63: f64 = 9_223_372_036_854_775_808.0;
        if number.fract() != 0.0 || number.abs() >= TWO_TO_63 * 2.0 || number < -TWO_TO_63 {
            self.writer.float(number);
        } else if number >= 0.0 {
            self.writer.unsigned(number as u64);
        } else {
            self.writer.signed(number as i64);
        }
    }

    fn literal(&mut self, literal: &str, write: fn(&mut Packer)) -> Result<(), WriteError> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        if !rest.starts_with(literal.as_bytes()) {
            return Err(WriteError::Malformed);
        }
        self.at += literal.len();
        write(self.writer);
        Ok(())
    }

    fn skip_whitespace(&mut self) {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.bytes.get(self.at) {
            self.at += 1;
            self.is_exact = false;
        }
    }

    fn peek(&self) -> Result<u8, WriteError> {
        let byte = self.bytes.get(self.at).copied();
        byte.ok_or(WriteError::Malformed)
    }

    fn take(&mut self, byte: u8) -> Result<(), WriteError> {
        if self.peek()? != byte {
            return Err(WriteError::Malformed);
        }
        self.at += 1;
        Ok(())
    }
}

impl Placeholder {
    fn see(&mut self, key: &str, value: &str) {
        match key {
            "_placeholder" => self.is_one = value == "true",
            "num" => self.index = value.parse().ok(),
            _ => {}
        }
    }

    fn attachment(self, attachments: &[Bytes]) -> Option<(usize, &Bytes)> {
        let index = self.index.filter(|_| self.is_one)?;
        Some((index, attachments.get(index)?))
    }
}

/// Whether `text` is how `number` is written again.
fn is_plain(text: &str, number: f64) -> bool {
    // What at most 15 digits say, a float says, and its shortest digits are these.
    const SURE: usize = 15;
    let digits = text.strip_prefix('-').unwrap_or(text);
    if let Some((whole, fraction)) = digits.split_once('.')
        && digits.len() <= SURE
        && !fraction.ends_with('0')
        && (whole != "0" || fraction.len() < 6)
        && fraction.bytes().all(|byte| byte.is_ascii_digit())
    {
        return true;
    }
    let mut again = Vec::new();
    push_number(&mut again, number);
    again == text.as_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_become_the_msgpack_that_node_would_send() {
        let table: [(&str, &[u8]); 19] = [
            ("null", &[0xc0]),
            ("true", &[0xc3]),
            ("-0", &[0]),
            ("1.0", &[1]),
            ("1E2", &[100]),
            (
                "1e-1",
                &[0xcb, 0x3f, 0xb9, 0x99, 0x99, 0x99, 0x99, 0x99, 0x9a],
            ),
            ("-1.5", &[0xcb, 0xbf, 0xf8, 0, 0, 0, 0, 0, 0]),
            (
                "18446744073709551615",
                &[0xcf, 255, 255, 255, 255, 255, 255, 255, 255],
            ),
            ("-9223372036854775808", &[0xd3, 0x80, 0, 0, 0, 0, 0, 0, 0]),
            (
                "18446744073709551616",
                &[0xcb, 0x43, 0xf0, 0, 0, 0, 0, 0, 0],
            ),
            ("1e999", &[0xcb, 0x7f, 0xf0, 0, 0, 0, 0, 0, 0]),
            (r#""a\u00e9\n""#, &[0xa4, b'a', 0xc3, 0xa9, b'\n']),
            (r#""\ud83d\ude00""#, &[0xa4, 0xf0, 0x9f, 0x98, 0x80]),
            (r#""\ud800""#, &[0xa3, 0xef, 0xbf, 0xbd]),
            ("[]", &[0x90]),
            (" [ 1 , [ ] ] ", &[0x92, 1, 0x90]),
            (
                r#"{"a":{"b":[1]}}"#,
                &[0x81, 0xa1, b'a', 0x81, 0xa1, b'b', 0x91, 1],
            ),
            ("{ }", &[0x80]),
            (r#""\"]""#, &[0xa2, b'"', b']']),
        ];
        for (json, bytes) in table {
            assert_eq!(pack(json, &[]).unwrap(), bytes, "{json}");
        }
    }

    #[test]
    fn placeholders_become_binary() {
        let attachments = [Bytes::from_static(b"\x01"), Bytes::from_static(b"")];
        let table: [(&str, &[u8]); 6] = [
            (r#"{"_placeholder":true,"num":0}"#, &[0xc4, 1, 1]),
            (
                r#"{ "num" : 1 , "x":[2], "_placeholder" : true }"#,
                &[0xc4, 0],
            ),
            (
                r#"[{"a":{"_placeholder":true,"num":0}},3]"#,
                &[0x92, 0x81, 0xa1, b'a', 0xc4, 1, 1, 3],
            ),
            (
                r#"{"num":0,"_placeholder":1}"#,
                b"\x82\xa3num\x00\xac_placeholder\x01",
            ),
            (
                r#"{"num":2,"_placeholder":true}"#,
                b"\x82\xa3num\x02\xac_placeholder\xc3",
            ),
            (
                r#"{"num":0,"_placeholder":true,"_placeholder":false}"#,
                b"\x83\xa3num\x00\xac_placeholder\xc3\xac_placeholder\xc2",
            ),
        ];
        for (json, bytes) in table {
            assert_eq!(pack(json, &attachments).unwrap(), bytes, "{json}");
        }
        assert_eq!(
            pack(r#"{"_placeholder":true,"num":0}"#, &[]).unwrap(),
            b"\x82\xac_placeholder\xc3\xa3num\x00"
        );
    }

    #[test]
    fn one_attachment_named_many_times_does_not_exceed_the_limit() {
        let attachments = [Bytes::from(vec![0; 1000])];
        let json = [r#"{"_placeholder":true,"num":0}"#; 200].join(",");
        assert_eq!(pack(&json, &attachments), Err(WriteError::TooLarge));
    }

    #[test]
    fn what_is_no_json_does_no_harm() {
        for json in [
            "[", "{", "\"", "{\"a\"", "{\"a\":", "[1", "tru", "x", "1 2", "\"\\", "{1:2}",
        ] {
            assert_eq!(pack(json, &[]), Err(WriteError::Malformed), "{json}");
        }
        let deep = "[".repeat(100_000);
        assert_eq!(pack(&deep, &[]), Err(WriteError::Malformed));
    }

    fn pack(json: &str, attachments: &[Bytes]) -> Result<Vec<u8>, WriteError> {
        let mut writer = Packer::default();
        let arguments = Arguments::from_raw(json, attachments);
        append_arguments(arguments, &mut writer, 10_000)?;
        Ok(writer.into_bytes())
    }
}
