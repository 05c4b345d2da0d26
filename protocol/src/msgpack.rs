//! msgpack, as `notepack.io` writes and reads it: its values, the way between them and JSON with attachments, and the
//! packets of clients with `socket.io-msgpack-parser`.

use std::borrow::Cow;

use crate::socketio;

mod date;
mod from_json;
mod number;
mod packet;
mod to_json;

pub use from_json::{Fidelity, append_arguments};
pub use number::push_number;
pub use packet::decode;
pub(crate) use packet::encode;
pub use to_json::{BinaryForm, append_json};

/// Deepest nesting of arrays and maps in a message: that of a packet, and of what is around it.
pub const MAX_DEPTH: usize = socketio::MAX_DEPTH + socketio::ENVELOPE_DEPTH;

/// Why msgpack does not become JSON.
#[expect(
    clippy::exhaustive_enums,
    reason = "who reads says each in its own words"
)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// No msgpack, or nested too deep.
    #[error("malformed msgpack")]
    Malformed,
    /// A key of a map that is no name.
    #[error("a key that is no name")]
    WrongShape,
    /// More binary values than clients accept.
    #[error("too many attachments")]
    TooManyAttachments,
}

/// Why JSON does not become msgpack.
#[expect(
    clippy::exhaustive_enums,
    reason = "who writes says each in its own words"
)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    /// No JSON, or nested too deep.
    #[error("malformed arguments")]
    Malformed,
    /// It exceeds the limit, such as by naming one attachment many times.
    #[error("message too large")]
    TooLarge,
}

/// A cursor over msgpack. Its methods return `None` where the input ends too early or is no msgpack.
#[derive(Debug, Clone)]
pub struct Unpacker<'a> {
    bytes: &'a [u8],
    at: usize,
}

/// What comes next: a scalar, or how many values a container holds.
#[expect(clippy::exhaustive_enums, reason = "msgpack has these, and no others")]
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Token<'a> {
    /// `null`.
    Nil,
    /// JavaScript's `undefined`, from old versions of `notepack.io`.
    Undefined,
    /// A boolean.
    Boolean(bool),
    /// Not negative.
    Unsigned(u64),
    /// Negative.
    Signed(i64),
    /// A number in 32 or 64 bits.
    Float(f64),
    /// Text that may be invalid UTF-8.
    Text(&'a [u8]),
    /// Bytes.
    Binary(&'a [u8]),
    /// How many values follow.
    Array(u32),
    /// How many pairs of key and value follow.
    Map(u32),
    /// Milliseconds since 1970.
    Date(f64),
    /// Of a type that is not known here.
    Extension(i8, &'a [u8]),
}

/// Writes msgpack in the shortest form, as `notepack.io` does.
#[derive(Debug)]
pub struct Packer {
    bytes: Vec<u8>,
}

/// Bytes that most messages take.
const USUAL: usize = 512;

impl<'a> Unpacker<'a> {
    /// Begins at the first byte.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// Bytes that were read.
    pub fn position(&self) -> usize {
        self.at
    }

    /// What was not read yet.
    pub fn rest(&self) -> &'a [u8] {
        self.bytes.get(self.at..).unwrap_or_default()
    }

    /// What comes next.
    pub fn token(&mut self) -> Option<Token<'a>> {
        let prefix = self.take(1)?[0];
        Some(match prefix {
            0x00..=0x7f => Token::Unsigned(prefix.into()),
            0x80..=0x8f => Token::Map((prefix & 0x0f).into()),
            0x90..=0x9f => Token::Array((prefix & 0x0f).into()),
            0xa0..=0xbf => Token::Text(self.take((prefix & 0x1f).into())?),
            0xc0 => Token::Nil,
            0xc1 => return None,
            0xc2 => Token::Boolean(false),
            0xc3 => Token::Boolean(true),
            0xc4..=0xc6 => {
                let length = self.length(prefix - 0xc4)?;
                Token::Binary(self.take(length)?)
            }
            0xc7..=0xc9 => {
                let length = self.length(prefix - 0xc7)?;
                self.extension(length, true)?
            }
            0xca => Token::Float(f32::from_be_bytes(self.array()?).into()),
            0xcb => Token::Float(f64::from_be_bytes(self.array()?)),
            0xcc..=0xcf => Token::Unsigned(self.unsigned(1 << (prefix - 0xcc))?),
            0xd0 => signed(i8::from_be_bytes(self.array()?).into()),
            0xd1 => signed(i16::from_be_bytes(self.array()?).into()),
            0xd2 => signed(i32::from_be_bytes(self.array()?).into()),
            0xd3 => signed(i64::from_be_bytes(self.array()?)),
            0xd4..=0xd8 => self.extension(1 << (prefix - 0xd4), false)?,
            0xd9..=0xdb => {
                let length = self.length(prefix - 0xd9)?;
                Token::Text(self.take(length)?)
            }
            0xdc => Token::Array(self.unsigned(2)?.try_into().ok()?),
            0xdd => Token::Array(self.unsigned(4)?.try_into().ok()?),
            0xde => Token::Map(self.unsigned(2)?.try_into().ok()?),
            0xdf => Token::Map(self.unsigned(4)?.try_into().ok()?),
            0xe0..=0xff => Token::Signed(i8::from_be_bytes([prefix]).into()),
        })
    }

    /// Moves over a value. Not recursive, and so without a limit to the nesting.
    pub fn skip(&mut self) -> Option<()> {
        let mut due = 1u64;
        while due > 0 {
            due = due - 1 + self.pass()?;
        }
        Some(())
    }

    /// Whether all that is left is one value, nested at most [`MAX_DEPTH`] deep.
    pub fn is_one_value(&self) -> bool {
        let mut reader = self.clone();
        // How many values each open container awaits: few messages need more than the first ones.
        let mut due = Vec::with_capacity(16);
        loop {
            let Some(values) = reader.pass() else {
                return false;
            };
            if values > 0 {
                if due.len() == MAX_DEPTH {
                    return false;
                }
                due.push(values);
                continue;
            }
            while let Some(last) = due.last_mut() {
                *last -= 1;
                if *last > 0 {
                    break;
                }
                due.pop();
            }
            if due.is_empty() {
                return reader.rest().is_empty();
            }
        }
    }

    /// Moves over what [`token`](Self::token) reads, and returns how many values follow that belong
    /// to it.
    fn pass(&mut self) -> Option<u64> {
        let prefix = self.take(1)?[0];
        let (length, values) = match prefix {
            0x00..=0x7f | 0xc0 | 0xc2 | 0xc3 | 0xe0..=0xff => (0, 0),
            0x80..=0x8f => (0, 2 * u64::from(prefix & 0x0f)),
            0x90..=0x9f => (0, u64::from(prefix & 0x0f)),
            0xa0..=0xbf => (usize::from(prefix & 0x1f), 0),
            0xc1 => return None,
            0xc4..=0xc6 => (self.length(prefix - 0xc4)?, 0),
            0xc7..=0xc9 => (self.length(prefix - 0xc7)?.checked_add(1)?, 0),
            0xca | 0xcb => (4 << (prefix - 0xca), 0),
            0xcc..=0xcf => (1 << (prefix - 0xcc), 0),
            0xd0..=0xd3 => (1 << (prefix - 0xd0), 0),
            0xd4..=0xd8 => (1 + (1 << (prefix - 0xd4)), 0),
            0xd9..=0xdb => (self.length(prefix - 0xd9)?, 0),
            0xdc | 0xdd => (0, self.unsigned(2 << (prefix - 0xdc))?),
            0xde | 0xdf => (0, 2 * self.unsigned(2 << (prefix - 0xde))?),
        };
        self.take(length)?;
        Some(values)
    }

    /// An extension of `length` bytes, from its type on. `notepack.io` knows some types in some
    /// lengths only.
    fn extension(&mut self, length: usize, has_length: bool) -> Option<Token<'a>> {
        let [kind] = self.array()?;
        let kind = i8::from_be_bytes([kind]);
        let body = self.take(length)?;
        Some(match (kind, body) {
            (0, _) if has_length => Token::Binary(body),
            (0, [_]) => Token::Undefined,
            (0, &[a, b, c, d, e, f, g, h]) => {
                #[allow(clippy::cast_precision_loss, reason = "as Number does")]
                let milliseconds = i64::from_be_bytes([a, b, c, d, e, f, g, h]) as f64;
                Token::Date(milliseconds)
            }
            (-1, &[a, b, c, d]) if !has_length => {
                Token::Date(f64::from(u32::from_be_bytes([a, b, c, d])) * 1e3)
            }
            (-1, &[a, b, c, d, e, f, g, h]) if !has_length => {
                let high = u32::from_be_bytes([a, b, c, d]);
                let low = u32::from_be_bytes([e, f, g, h]);
                let seconds = f64::from(high & 3) * 4_294_967_296.0 + f64::from(low);
                Token::Date(seconds * 1e3 + f64::from(high >> 2) / 1e6)
            }
            (-1, &[a, b, c, d, e, f, g, h, i, j, k, l]) if has_length => {
                let nanoseconds = u32::from_be_bytes([a, b, c, d]);
                let high = i32::from_be_bytes([e, f, g, h]);
                let low = u32::from_be_bytes([i, j, k, l]);
                let seconds = f64::from(high) * 4_294_967_296.0 + f64::from(low);
                Token::Date(seconds * 1e3 + f64::from(nanoseconds) / 1e6)
            }
            (kind, body) => Token::Extension(kind, body),
        })
    }

    /// A length of 1, 2 or 4 bytes.
    fn length(&mut self, power: u8) -> Option<usize> {
        self.unsigned(1 << power)?.try_into().ok()
    }

    fn unsigned(&mut self, bytes: usize) -> Option<u64> {
        let bytes = self.take(bytes)?.iter();
        Some(bytes.fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let end = self.at.checked_add(count)?;
        let taken = self.bytes.get(self.at..end)?;
        self.at = end;
        Some(taken)
    }
}

impl Token<'_> {
    /// The number that it is, as `Number` holds it.
    #[allow(clippy::cast_precision_loss, reason = "as Number does")]
    pub fn number(&self) -> Option<f64> {
        match *self {
            Self::Unsigned(number) => Some(number as f64),
            Self::Signed(number) => Some(number as f64),
            Self::Float(number) => Some(number),
            Self::Nil
            | Self::Undefined
            | Self::Boolean(_)
            | Self::Text(_)
            | Self::Binary(_)
            | Self::Array(_)
            | Self::Map(_)
            | Self::Date(_)
            | Self::Extension(..) => None,
        }
    }
}

/// `bytes` as text, what is no UTF-8 replaced.
pub fn lossy(bytes: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => String::from_utf8_lossy(bytes),
    }
}

fn signed(number: i64) -> Token<'static> {
    u64::try_from(number).map_or(Token::Signed(number), Token::Unsigned)
}

impl Default for Packer {
    fn default() -> Self {
        let bytes = Vec::with_capacity(USUAL);
        Self { bytes }
    }
}

impl Packer {
    /// What was written.
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// Bytes written so far.
    #[expect(clippy::len_without_is_empty, reason = "nobody asks")]
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// `null`.
    pub fn nil(&mut self) {
        self.bytes.push(0xc0);
    }

    /// A boolean.
    pub fn boolean(&mut self, value: bool) {
        self.bytes.push(if value { 0xc3 } else { 0xc2 });
    }

    /// An integer.
    pub fn unsigned(&mut self, number: u64) {
        match number {
            0..=0x7f => self.number::<1>(None, number),
            0x80..=0xff => self.number::<1>(Some(0xcc), number),
            0x100..=0xffff => self.number::<2>(Some(0xcd), number),
            0x1_0000..=0xffff_ffff => self.number::<4>(Some(0xce), number),
            _ => self.number::<8>(Some(0xcf), number),
        }
    }

    /// An integer.
    pub fn signed(&mut self, number: i64) {
        let bits = number.cast_unsigned();
        match number {
            0.. => self.unsigned(bits),
            -0x20..=-1 => self.number::<1>(None, bits),
            -0x80..=-0x21 => self.number::<1>(Some(0xd0), bits),
            -0x8000..=-0x81 => self.number::<2>(Some(0xd1), bits),
            -0x8000_0000..=-0x8001 => self.number::<4>(Some(0xd2), bits),
            _ => self.number::<8>(Some(0xd3), bits),
        }
    }

    /// A number in 64 bits.
    pub fn float(&mut self, number: f64) {
        self.number::<8>(Some(0xcb), number.to_bits());
    }

    /// Text.
    pub fn text(&mut self, text: &str) {
        self.lua_string(text.as_bytes());
    }

    /// Bytes as Redis' scripts read and write them: as text, whatever they are.
    pub fn lua_string(&mut self, bytes: &[u8]) {
        self.text_head(bytes.len());
        self.bytes.extend_from_slice(bytes);
    }

    /// What stands before `length` bytes of text, which somebody else inserts.
    pub fn text_head(&mut self, length: usize) {
        let length = length as u64;
        match length {
            0..=0x1f => self.number::<1>(None, 0xa0 | length),
            0x20..=0xff => self.number::<1>(Some(0xd9), length),
            0x100..=0xffff => self.number::<2>(Some(0xda), length),
            _ => self.number::<4>(Some(0xdb), length),
        }
    }

    /// Bytes.
    pub fn binary(&mut self, bytes: &[u8]) {
        self.binary_head(bytes.len());
        self.bytes.extend_from_slice(bytes);
    }

    /// What stands before `length` bytes of binary, which somebody else appends.
    pub fn binary_head(&mut self, length: usize) {
        let length = length as u64;
        match length {
            0..=0xff => self.number::<1>(Some(0xc4), length),
            0x100..=0xffff => self.number::<2>(Some(0xc5), length),
            _ => self.number::<4>(Some(0xc6), length),
        }
    }

    /// The same in its longest form: its last four bytes tell the length.
    pub fn long_binary_head(&mut self, length: usize) {
        self.number::<4>(Some(0xc6), length as u64);
    }

    /// An entry of a map whose value is text.
    pub fn entry(&mut self, key: &str, value: &str) {
        self.text(key);
        self.text(value);
    }

    /// An array of `count` values, which the caller writes next.
    pub fn array(&mut self, count: usize) {
        self.container(0x90, 0xdc, count);
    }

    /// A map of `count` entries, which the caller writes next.
    pub fn map(&mut self, count: usize) {
        self.container(0x80, 0xde, count);
    }

    /// Begins an array or a map whose size is not known yet.
    pub fn open(&mut self) -> usize {
        self.bytes.push(0);
        self.bytes.len() - 1
    }

    /// Ends the array or map that was begun at `start`.
    pub fn close(&mut self, start: usize, is_map: bool, count: usize) {
        if let Ok(count @ 0..=0xf) = u8::try_from(count) {
            self.bytes[start] = if is_map { 0x80 } else { 0x90 } | count;
            return;
        }
        let mut head = Self { bytes: Vec::new() };
        if is_map {
            head.map(count);
        } else {
            head.array(count);
        }
        match head.bytes.as_slice() {
            [byte] => self.bytes[start] = *byte,
            bytes => drop(self.bytes.splice(start..=start, bytes.iter().copied())),
        }
    }

    /// Takes back what was written since `start`.
    pub fn truncate(&mut self, start: usize) {
        self.bytes.truncate(start);
    }

    fn container(&mut self, short: u64, long: u8, count: usize) {
        let count = count as u64;
        match count {
            0..=0xf => self.number::<1>(None, short | count),
            0x10..=0xffff => self.number::<2>(Some(long), count),
            _ => self.number::<4>(Some(long + 1), count),
        }
    }

    /// Writes the lowest `N` bytes of `number`.
    fn number<const N: usize>(&mut self, prefix: Option<u8>, number: u64) {
        self.bytes.extend(prefix);
        self.bytes.extend_from_slice(&number.to_be_bytes()[8 - N..]);
    }
}

#[cfg(test)]
mod tests;
