use std::io::Write;

use super::date::push_date;
use super::number::push_number;
use super::{MAX_DEPTH, ReadError, Token, Unpacker, lossy};
use crate::socketio::{MAX_ATTACHMENTS, json};
use bytes::Bytes;

/// What becomes of binary values.
#[expect(clippy::exhaustive_enums, reason = "who reads chooses one")]
#[derive(Debug)]
pub enum BinaryForm<'a> {
    /// They are attached, with placeholders in their places.
    Attach(&'a mut Vec<Bytes>),
    /// They become what `JSON.stringify` makes of a `Buffer`.
    Text,
}

/// Appends the value that `bytes` are as JSON, written as `JSON.stringify` would.
///
/// # Errors
///
/// What is no msgpack, and what clients could not be given.
pub fn append_json(
    bytes: &[u8],
    out: &mut Vec<u8>,
    binary: &mut BinaryForm<'_>,
) -> Result<(), ReadError> {
    let reader = Unpacker::new(bytes);
    Transcoder {
        reader,
        out,
        binary,
    }
    .value(0)
}

struct Transcoder<'a, 'o, 'b, 'c> {
    reader: Unpacker<'a>,
    out: &'o mut Vec<u8>,
    binary: &'b mut BinaryForm<'c>,
}

/// Whether a value was appended.
#[derive(PartialEq)]
enum Appended {
    Value,
    /// Nothing: `undefined` is no JSON.
    Undefined,
}

impl<'a> Transcoder<'a, '_, '_, '_> {
    /// A value that has to be one: `null` if it is undefined.
    fn value(&mut self, depth: usize) -> Result<(), ReadError> {
        if self.optional_value(depth)? == Appended::Undefined {
            self.out.extend_from_slice(b"null");
        }
        Ok(())
    }

    fn optional_value(&mut self, depth: usize) -> Result<Appended, ReadError> {
        if depth > MAX_DEPTH {
            return Err(ReadError::Malformed);
        }
        match self.token()? {
            Token::Nil => self.out.extend_from_slice(b"null"),
            Token::Undefined => return Ok(Appended::Undefined),
            Token::Boolean(true) => self.out.extend_from_slice(b"true"),
            Token::Boolean(false) => self.out.extend_from_slice(b"false"),
            Token::Unsigned(number) => self.push_display(number),
            Token::Signed(number) => self.push_display(number),
            Token::Float(number) => push_number(self.out, number),
            Token::Text(text) => json::push_string(self.out, &lossy(text)),
            Token::Binary(bytes) => self.binary(bytes)?,
            Token::Date(milliseconds) => push_date(self.out, milliseconds),
            Token::Extension(kind, bytes) => {
                self.out.push(b'[');
                self.push_display(kind);
                self.out.push(b',');
                self.binary(bytes)?;
                self.out.push(b']');
            }
            Token::Array(count) => self.array(count, depth)?,
            Token::Map(count) => self.map(count, depth)?,
        }
        Ok(Appended::Value)
    }

    fn array(&mut self, count: u32, depth: usize) -> Result<(), ReadError> {
        self.out.push(b'[');
        for index in 0..count {
            if index > 0 {
                self.out.push(b',');
            }
            self.value(depth + 1)?;
        }
        self.out.push(b']');
        Ok(())
    }

    fn map(&mut self, count: u32, depth: usize) -> Result<(), ReadError> {
        self.out.push(b'{');
        let start = self.out.len();
        for _ in 0..count {
            let before = self.out.len();
            if before > start {
                self.out.push(b',');
            }
            self.key()?;
            self.out.push(b':');
            if self.optional_value(depth + 1)? == Appended::Undefined {
                self.out.truncate(before);
            }
        }
        self.out.push(b'}');
        Ok(())
    }

    /// A key as JavaScript makes it a property name.
    fn key(&mut self) -> Result<(), ReadError> {
        let mut name = Vec::new();
        match self.token()? {
            Token::Text(text) | Token::Binary(text) => {
                json::push_string(self.out, &lossy(text));
                return Ok(());
            }
            Token::Nil => name.extend_from_slice(b"null"),
            Token::Undefined => name.extend_from_slice(b"undefined"),
            Token::Boolean(value) => name.extend_from_slice(value.to_string().as_bytes()),
            Token::Unsigned(number) => name.extend_from_slice(number.to_string().as_bytes()),
            Token::Signed(number) => name.extend_from_slice(number.to_string().as_bytes()),
            Token::Float(number) => push_number(&mut name, number),
            Token::Array(_) | Token::Map(_) | Token::Date(_) | Token::Extension(..) => {
                return Err(ReadError::WrongShape);
            }
        }
        json::push_string(self.out, &lossy(&name));
        Ok(())
    }

    fn binary(&mut self, bytes: &[u8]) -> Result<(), ReadError> {
        match self.binary {
            BinaryForm::Attach(attachments) => {
                if attachments.len() == MAX_ATTACHMENTS {
                    return Err(ReadError::TooManyAttachments);
                }
                let number = attachments.len();
                write!(self.out, "{{\"_placeholder\":true,\"num\":{number}}}")
                    .expect("a Vec takes everything");
                attachments.push(Bytes::copy_from_slice(bytes));
            }
            BinaryForm::Text => push_buffer(self.out, bytes),
        }
        Ok(())
    }

    fn push_display(&mut self, number: impl std::fmt::Display) {
        write!(self.out, "{number}").expect("a Vec takes everything");
    }

    fn token(&mut self) -> Result<Token<'a>, ReadError> {
        self.reader.token().ok_or(ReadError::Malformed)
    }
}

/// Appends `bytes` as `JSON.stringify` writes a `Buffer`.
fn push_buffer(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(b"{\"type\":\"Buffer\",\"data\":[");
    for (index, byte) in bytes.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        write!(out, "{byte}").expect("a Vec takes everything");
    }
    out.extend_from_slice(b"]}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_become_the_json_that_node_would_send() {
        let table: [(&[u8], &str); 20] = [
            (&[0xc0], "null"),
            (&[0xd4, 0, 0], "null"),
            (&[0xc3], "true"),
            (&[0xcf, 0, 0x20, 0, 0, 0, 0, 0, 1], "9007199254740993"),
            (&[0xff], "-1"),
            (&[0xd3, 0x80, 0, 0, 0, 0, 0, 0, 0], "-9223372036854775808"),
            (&[0xca, 0x3f, 0x80, 0, 0], "1"),
            (&[0xcb, 0x3f, 0xf8, 0, 0, 0, 0, 0, 0], "1.5"),
            (&[0xcb, 0x7f, 0xf8, 0, 0, 0, 0, 0, 0], "null"),
            (&[0xa3, b'a', b'"', 0x1e], r#""a\"\u001e""#),
            (&[0xa3, 0xed, 0xa0, 0x80], "\"\u{fffd}\u{fffd}\u{fffd}\""),
            (&[0xd6, 0xff, 0, 0, 0, 0], r#""1970-01-01T00:00:00.000Z""#),
            (&[0x92, 1, 0x90], "[1,[]]"),
            (&[0x92, 0xd4, 0, 0, 1], "[null,1]"),
            (
                &[0x82, 0xa1, b'a', 1, 0xa1, b'b', 0x80],
                r#"{"a":1,"b":{}}"#,
            ),
            (&[0x82, 0xa1, b'a', 0xd4, 0, 0, 0xa1, b'b', 1], r#"{"b":1}"#),
            (&[0x82, 0xa1, b'a', 1, 0xa1, b'b', 0xd4, 0, 0], r#"{"a":1}"#),
            (
                &[0x83, 7, 1, 0xc0, 2, 0xc2, 3],
                r#"{"7":1,"null":2,"false":3}"#,
            ),
            (&[0xde, 0, 1, 0xc4, 1, b'x', 0xc2], r#"{"x":false}"#),
            (&[0xd4, 5, 9], r#"[5,{"_placeholder":true,"num":0}]"#),
        ];
        for (bytes, expected) in table {
            let (json, _) = attach(bytes).unwrap();
            assert_eq!(json, expected, "{bytes:x?}");
        }
    }

    #[test]
    fn binary_is_attached_or_shown_as_a_buffer() {
        let bytes = [0x92, 0xc4, 2, 1, 2, 0x81, 0xa1, b'a', 0xc4, 0];
        let (json, attachments) = attach(&bytes).unwrap();
        assert_eq!(
            json,
            r#"[{"_placeholder":true,"num":0},{"a":{"_placeholder":true,"num":1}}]"#
        );
        assert_eq!(attachments, [&b"\x01\x02"[..], b""]);

        let mut out = Vec::new();
        append_json(&bytes, &mut out, &mut BinaryForm::Text).unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            r#"[{"type":"Buffer","data":[1,2]},{"a":{"type":"Buffer","data":[]}}]"#
        );
    }

    #[test]
    fn what_clients_would_choke_on_is_refused() {
        let eleven = [&[0x9b][..], &[0xc4, 0].repeat(11)].concat();
        assert_eq!(attach(&eleven), Err(ReadError::TooManyAttachments));
        assert_eq!(attach(&[0x81, 0x90, 1]), Err(ReadError::WrongShape));
        assert_eq!(attach(&[0x92, 1]), Err(ReadError::Malformed));
    }

    fn attach(bytes: &[u8]) -> Result<(String, Vec<Bytes>), ReadError> {
        let mut attachments = Vec::new();
        let mut out = Vec::new();
        let mut binary = BinaryForm::Attach(&mut attachments);
        append_json(bytes, &mut out, &mut binary)?;
        Ok((String::from_utf8(out).unwrap(), attachments))
    }
}
