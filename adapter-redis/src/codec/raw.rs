use std::borrow::Cow;

use bytes::Bytes;
use protocol::msgpack::{self, BinaryForm, Token, Unpacker, lossy, push_number};
use protocol::socketio::{Arguments, json};

use super::DecodeError;

/// One value as it stands in a message. Made from a message that was checked whole; what a value
/// contains is looked at only when asked for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Raw<'a> {
    Json(&'a str),
    Msgpack(&'a [u8]),
}

/// The values of an array.
pub(crate) enum Items<'a> {
    Json(Arguments<'a>),
    Msgpack(Unpacker<'a>, u32),
}

impl<'a> Raw<'a> {
    /// The one value in `bytes`: JSON if it begins with `{`, else msgpack. Invalid UTF-8 in JSON is
    /// replaced, for which `text` keeps the copy.
    pub(crate) fn parse(bytes: &'a [u8], text: &'a mut String) -> Result<Self, DecodeError> {
        if bytes.first() != Some(&b'{') {
            if !Unpacker::new(bytes).is_one_value() {
                return Err(DecodeError::Malformed);
            }
            return Ok(Self::Msgpack(bytes));
        }
        let json = match lossy(bytes) {
            Cow::Borrowed(json) => json,
            Cow::Owned(replaced) => {
                *text = replaced;
                text
            }
        };
        if !json::is_message(json) {
            return Err(DecodeError::Malformed);
        }
        Ok(Self::Json(json))
    }

    /// Bytes that it takes in the message.
    pub(crate) fn size(self) -> usize {
        match self {
            Self::Json(json) => json.len(),
            Self::Msgpack(bytes) => bytes.len(),
        }
    }

    /// The values of an array; `None` if it is none.
    pub(crate) fn items(self) -> Option<Items<'a>> {
        match self {
            Self::Json(json) => {
                let inner = json.trim().strip_prefix('[')?.strip_suffix(']')?;
                Some(Items::Json(Arguments::from_raw(inner, &[])))
            }
            Self::Msgpack(bytes) => {
                let mut reader = Unpacker::new(bytes);
                let Token::Array(count) = reader.token()? else {
                    return None;
                };
                Some(Items::Msgpack(reader, count))
            }
        }
    }

    /// Calls `see` with each key and value of an object; `None` if it is none.
    pub(crate) fn entries(self, mut see: impl FnMut(&str, Self)) -> Option<()> {
        match self {
            Self::Json(json) => {
                let inner = json.trim().strip_prefix('{')?.strip_suffix('}')?;
                for entry in Arguments::from_raw(inner, &[]).iter() {
                    let (key, value) = split_key(entry)?;
                    see(&json::as_string(key)?, Self::Json(value));
                }
            }
            Self::Msgpack(bytes) => {
                let mut reader = Unpacker::new(bytes);
                let Token::Map(count) = reader.token()? else {
                    return None;
                };
                for _ in 0..count {
                    let key = Self::next(&mut reader)?;
                    let value = Self::next(&mut reader)?;
                    see(&key.text().unwrap_or_default(), value);
                }
            }
        }
        Some(())
    }

    /// The text, if it is one.
    pub(crate) fn text(self) -> Option<Cow<'a, str>> {
        match self {
            Self::Json(json) => json::as_string(json),
            Self::Msgpack(_) => {
                let Token::Text(text) = self.token()? else {
                    return None;
                };
                Some(lossy(text))
            }
        }
    }

    /// The bytes, if it is binary.
    pub(crate) fn binary(self) -> Option<Bytes> {
        let Token::Binary(bytes) = self.token()? else {
            return None;
        };
        Some(Bytes::copy_from_slice(bytes))
    }

    /// The bytes, if it is binary, or text: in Lua it is one.
    pub(crate) fn bytes(self) -> Option<&'a [u8]> {
        match self.token()? {
            Token::Binary(bytes) | Token::Text(bytes) => Some(bytes),
            Token::Nil
            | Token::Undefined
            | Token::Boolean(_)
            | Token::Unsigned(_)
            | Token::Signed(_)
            | Token::Float(_)
            | Token::Array(_)
            | Token::Map(_)
            | Token::Date(_)
            | Token::Extension(..) => None,
        }
    }

    /// The name of a room or of an event, which may be a number in JavaScript. What cannot be a name
    /// becomes some text all the same: leaving it out could select everybody.
    pub(crate) fn name(self) -> String {
        if let Some(text) = self.text() {
            return text.into_owned();
        }
        let mut out = Vec::new();
        if let Some(number) = self.number() {
            push_number(&mut out, number);
        } else if self.append_json(&mut out, &mut BinaryForm::Text).is_err() {
            out.clear();
        }
        String::from_utf8_lossy(&out).into_owned()
    }

    /// The number, if it is one.
    pub(crate) fn number(self) -> Option<f64> {
        match self {
            Self::Json(json) => {
                let json = json.trim();
                let begins = json.starts_with(|first: char| first == '-' || first.is_ascii_digit());
                if begins { json.parse().ok() } else { None }
            }
            Self::Msgpack(_) => self.token()?.number(),
        }
    }

    /// The number, if it is whole and not negative; beyond 2^53 about.
    pub(crate) fn count(self) -> Option<u64> {
        let number = self.number()?;
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "saturates"
        )]
        (number >= 0.0 && number.fract() == 0.0).then_some(number as u64)
    }

    /// Whether JavaScript takes it for true.
    pub(crate) fn is_truthy(self) -> bool {
        if let Some(number) = self.number() {
            return number != 0.0 && !number.is_nan();
        }
        if let Some(text) = self.text() {
            return !text.is_empty();
        }
        match self {
            Self::Json(json) => !matches!(json.trim(), "false" | "null"),
            Self::Msgpack(_) => !matches!(
                self.token(),
                Some(Token::Boolean(false) | Token::Nil | Token::Undefined)
            ),
        }
    }

    /// Whether it is `null` or `undefined`.
    pub(crate) fn is_null(self) -> bool {
        match self {
            Self::Json(json) => json.trim() == "null",
            Self::Msgpack(_) => matches!(self.token(), Some(Token::Nil | Token::Undefined)),
        }
    }

    /// The value that `reader` is at.
    fn next(reader: &mut Unpacker<'a>) -> Option<Self> {
        let (rest, start) = (reader.rest(), reader.position());
        reader.skip()?;
        rest.get(..reader.position() - start).map(Self::Msgpack)
    }

    /// Appends it as JSON, written as `JSON.stringify` would if it is msgpack.
    pub(crate) fn append_json(
        self,
        out: &mut Vec<u8>,
        binary: &mut BinaryForm<'_>,
    ) -> Result<(), DecodeError> {
        match self {
            Self::Json(json) => out.extend_from_slice(json.as_bytes()),
            Self::Msgpack(bytes) => msgpack::append_json(bytes, out, binary)?,
        }
        Ok(())
    }

    fn token(self) -> Option<Token<'a>> {
        match self {
            Self::Json(_) => None,
            Self::Msgpack(bytes) => Unpacker::new(bytes).token(),
        }
    }
}

impl<'a> Items<'a> {
    /// What is left, if the message is JSON: as it stands there, without the commas around it.
    pub(crate) fn json(&self) -> Option<&'a str> {
        match self {
            Self::Json(rest) => Some(rest.json()),
            Self::Msgpack(..) => None,
        }
    }
}

impl<'a> Iterator for Items<'a> {
    type Item = Raw<'a>;

    fn next(&mut self) -> Option<Raw<'a>> {
        match self {
            Self::Json(rest) => {
                let (first, after) = rest.split_first()?;
                *rest = after;
                Some(Raw::Json(first))
            }
            Self::Msgpack(reader, count) => {
                *count = count.checked_sub(1)?;
                Raw::next(reader)
            }
        }
    }
}

/// The key, in quotes, and the value of `"key": value`.
fn split_key(entry: &str) -> Option<(&str, &str)> {
    let bytes = entry.as_bytes();
    let mut at = 1;
    loop {
        match bytes.get(at)? {
            b'"' => break,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    let (key, rest) = entry.split_at_checked(at + 1)?;
    Some((key, rest.trim_start().strip_prefix(':')?.trim_start()))
}
