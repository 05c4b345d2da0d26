//! A polling body of revision 3, as text or binary.
//!
//! Text: for each packet its length in UTF-16 code units, a colon, and the packet; binary data is `b4` and base64.
//! Binary: for each packet a byte 0 (text) or 1 (binary), then its length, a byte 255, and the packet.
//! The length is in bytes, each decimal digit a byte 0 to 9. The first byte of binary data is 4.
//!
//! ```
//! use protocol::engineio::{Message, Packet, old_payload};
//!
//! let hello = Packet::Message(Message::Text("h€llo"));
//! let mut packets = old_payload::Packets::of_text("6:4h€llo1:2");
//! assert_eq!(packets.next(), Some(Ok(hello)));
//! assert_eq!(packets.next(), Some(Ok(Packet::Ping(""))));
//! assert_eq!(packets.next(), None);
//! ```

use std::borrow::Cow;

use super::packet::{base64_len, push_base64};
use super::{DecodeError, Packet};

/// Most packets of a payload that every client takes: Python's refuse one with more.
pub const MAX_PACKETS: usize = 16;

/// Digits of a length that are read: that of any body that fits into memory has fewer.
const MAX_DIGITS: usize = 20;

/// Ends the length of a packet in a binary payload.
const END_OF_LENGTH: u8 = 255;

/// The first byte of a binary message.
pub(crate) const BINARY_MESSAGE: u8 = 4;

/// The packets of a body in their order. A reader stops at the first error, and the packets before it count.
#[derive(Debug, Clone)]
pub struct Packets<'a> {
    rest: Rest<'a>,
}

#[derive(Debug, Clone)]
enum Rest<'a> {
    /// No body at all, which is none of the legal ones.
    Missing,
    Text(&'a str),
    Binary(&'a [u8]),
}

impl<'a> Packets<'a> {
    /// Those of a text payload.
    pub fn of_text(body: &'a str) -> Self {
        let rest = match body {
            "" => Rest::Missing,
            _ => Rest::Text(body),
        };
        Self { rest }
    }

    /// Those of a binary payload.
    pub fn of_binary(body: &'a [u8]) -> Self {
        Self {
            rest: Rest::Binary(body),
        }
    }

    /// Bytes that were not read yet.
    pub fn remaining(&self) -> usize {
        match self.rest {
            Rest::Missing => 0,
            Rest::Text(rest) => rest.len(),
            Rest::Binary(rest) => rest.len(),
        }
    }

    fn next_text(&mut self, body: &'a str) -> Option<Result<Packet<'a>, DecodeError>> {
        if body.is_empty() {
            return None;
        }
        let Some((packet, rest)) = split_text(body) else {
            return Some(Err(DecodeError::BadLength));
        };
        self.rest = Rest::Text(rest);
        Some(match packet {
            // Node skips it.
            "" => Ok(Packet::Noop),
            _ => Packet::decode_old(packet),
        })
    }

    fn next_binary(&mut self, body: &'a [u8]) -> Option<Result<Packet<'a>, DecodeError>> {
        let (&kind, after) = body.split_first()?;
        let Some((packet, rest)) = split_binary(after) else {
            return Some(Err(DecodeError::BadLength));
        };
        self.rest = Rest::Binary(rest);
        Some(match kind {
            _ if packet.is_empty() => Ok(Packet::Noop),
            0 => match std::str::from_utf8(packet) {
                Ok(text) => Packet::decode_old(text),
                Err(_) => Err(DecodeError::NotUtf8),
            },
            _ => Packet::decode_old_binary(Cow::Borrowed(packet)),
        })
    }
}

impl<'a> Iterator for Packets<'a> {
    type Item = Result<Packet<'a>, DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        match self.rest {
            Rest::Missing => {
                self.rest = Rest::Text("");
                Some(Err(DecodeError::Empty))
            }
            Rest::Text(body) => self.next_text(body),
            Rest::Binary(body) => self.next_binary(body),
        }
    }
}

/// The first packet of a text payload and what follows it.
fn split_text(body: &str) -> Option<(&str, &str)> {
    let digits = body.bytes().take_while(u8::is_ascii_digit).count();
    let (digits, rest) = body.split_at(digits);
    let rest = rest.strip_prefix(':')?;
    if digits.len() > MAX_DIGITS {
        return None;
    }
    rest.split_at_checked(utf16_offset(rest, digits.parse().ok()?)?)
}

/// Where in `text` so many UTF-16 code units end; `None` if it has fewer, or if that is within a character.
fn utf16_offset(text: &str, units: usize) -> Option<usize> {
    let (mut left, mut at) = (units, 0);
    // What is ASCII has as many bytes as units.
    let ascii = text.as_bytes().iter().take(units);
    let ascii = ascii.take_while(|byte| byte.is_ascii()).count();
    left -= ascii;
    at += ascii;
    let mut rest = text.get(at..)?.chars();
    while left > 0 {
        let next = rest.next()?;
        left = left.checked_sub(next.len_utf16())?;
        at += next.len_utf8();
    }
    Some(at)
}

/// The packet whose length comes first, and what follows it. One that is cut short is taken as it is, as in Node.
fn split_binary(body: &[u8]) -> Option<(&[u8], &[u8])> {
    let head = body.iter().take(MAX_DIGITS + 1);
    let end = head.clone().position(|byte| *byte == END_OF_LENGTH)?;
    let digits = body.get(..end)?.iter();
    let length = digits.into_iter().try_fold(0usize, |length, digit| {
        let digit = Some(usize::from(*digit)).filter(|digit| *digit <= 9)?;
        length.checked_mul(10)?.checked_add(digit)
    })?;
    let rest = body.get(end + 1..)?;
    Some(rest.split_at(length.min(rest.len())))
}

/// The text payload of one packet.
pub fn single(packet: &str) -> String {
    let mut body = Vec::with_capacity(packet.len() + 8);
    push_text(&mut body, Form::Text, packet);
    String::from_utf8(body).unwrap_or_default()
}

/// What a payload is written as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// Text, for a client that cannot read the other form, or has no binary packet to read.
    Text,
    /// Binary.
    Binary,
}

/// Appends a text packet.
pub(crate) fn push_text(body: &mut Vec<u8>, form: Form, packet: &str) {
    match form {
        Form::Text => {
            let units = match packet.is_ascii() {
                true => packet.len(),
                false => packet.chars().map(char::len_utf16).sum(),
            };
            body.extend_from_slice(units.to_string().as_bytes());
            body.push(b':');
        }
        Form::Binary => push_binary_head(body, 0, packet.len()),
    }
    body.extend_from_slice(packet.as_bytes());
}

/// Appends a binary packet, whose first byte is its type.
pub(crate) fn push_binary(body: &mut Vec<u8>, form: Form, packet: &[u8]) {
    match form {
        Form::Text => {
            let data = packet.get(1..).unwrap_or_default();
            body.extend_from_slice((2 + base64_len(data)).to_string().as_bytes());
            body.extend_from_slice(b":b4");
            push_base64(body, data);
        }
        Form::Binary => {
            push_binary_head(body, 1, packet.len());
            body.extend_from_slice(packet);
        }
    }
}

fn push_binary_head(body: &mut Vec<u8>, kind: u8, length: usize) {
    body.push(kind);
    body.extend(length.to_string().bytes().map(|digit| digit - b'0'));
    body.push(END_OF_LENGTH);
}

/// A packet of Socket.IO whose JSON is ASCII. Clients of revision 3 count what is not ASCII in three ways, and two of them
/// are wrong. A namespace stays as it is, since only JSON has escapes.
pub(crate) fn escaped(packet: &str) -> Cow<'_, str> {
    if packet.is_ascii() {
        return Cow::Borrowed(packet);
    }
    let slash = packet.find(|letter: char| !letter.is_ascii_digit() && letter != '-');
    let json = match slash.and_then(|at| packet.get(at..)) {
        Some(rest) if rest.starts_with('/') => {
            packet.len() - rest.len() + rest.find(',').map_or(rest.len(), |comma| comma + 1)
        }
        Some(_) | None => 0,
    };
    let (head, json) = packet.split_at(json);
    let mut escaped = String::with_capacity(packet.len() * 2);
    escaped.push_str(head);
    for letter in json.chars() {
        if letter.is_ascii() {
            escaped.push(letter);
            continue;
        }
        for unit in letter.encode_utf16(&mut [0; 2]) {
            escaped.push_str(&format!("\\u{unit:04x}"));
        }
    }
    Cow::Owned(escaped)
}

#[cfg(test)]
mod tests {
    use super::super::Message;
    use super::*;

    #[test]
    fn lengths_of_text_count_utf16_units() {
        let table = [
            ("1:2", vec![Ok(Packet::Ping(""))]),
            (
                "10:42[\"é€😀\"]1:2",
                vec![
                    Ok(Packet::Message(Message::Text("2[\"é€😀\"]"))),
                    Ok(Packet::Ping("")),
                ],
            ),
            ("", vec![Err(DecodeError::Empty)]),
            ("0:", vec![Ok(Packet::Noop)]),
            ("01:2", vec![Ok(Packet::Ping(""))]),
            ("-1:2", vec![Err(DecodeError::BadLength)]),
            ("2:4", vec![Err(DecodeError::BadLength)]),
            (
                "1:2abc",
                vec![Ok(Packet::Ping("")), Err(DecodeError::BadLength)],
            ),
            // The length ends within a character.
            ("2:4😀", vec![Err(DecodeError::BadLength)]),
            ("99999999999999999999:4", vec![Err(DecodeError::BadLength)]),
            (
                "0000000000000000000001:2",
                vec![Err(DecodeError::BadLength)],
            ),
        ];
        for (body, expected) in table {
            assert_eq!(first_error(Packets::of_text(body)), expected, "{body:?}");
        }
    }

    #[test]
    fn a_binary_body_has_lengths_in_bytes() {
        let table: [(&[u8], Read<'_>); 7] = [
            (b"", vec![]),
            (b"\x00\x01\xff2", vec![Ok(Packet::Ping(""))]),
            (b"\x01\x01\xff\x02", vec![Ok(Packet::Ping(""))]),
            (b"\x07\x01\xff2", vec![Ok(Packet::Noop)]),
            (
                b"\x00\x03\xff4\xc3\xa9\x01\x02\xff\x04\x09",
                vec![
                    Ok(Packet::Message(Message::Text("é"))),
                    Ok(Packet::Message(Message::Binary(vec![9].into()))),
                ],
            ),
            (
                b"\x00\x05\xff4",
                vec![Ok(Packet::Message(Message::Text("")))],
            ),
            (b"\x00\x01\x02\x03", vec![Err(DecodeError::BadLength)]),
        ];
        for (body, expected) in table {
            assert_eq!(first_error(Packets::of_binary(body)), expected, "{body:?}");
        }
    }

    #[test]
    fn only_json_is_escaped() {
        for (packet, expected) in [
            ("42[\"a\"]", "42[\"a\"]"),
            ("42[\"€😀\"]", "42[\"\\u20ac\\ud83d\\ude00\"]"),
            ("451-/é€,12[\"é\"]", "451-/é€,12[\"\\u00e9\"]"),
            ("40/é", "40/é"),
            ("44/é,\"é,\"", "44/é,\"\\u00e9,\""),
        ] {
            assert_eq!(escaped(packet), expected);
        }
    }

    type Read<'a> = Vec<Result<Packet<'a>, DecodeError>>;

    fn first_error(packets: Packets<'_>) -> Read<'_> {
        let mut read = Vec::new();
        for packet in packets {
            let is_error = packet.is_err();
            read.push(packet);
            if is_error {
                break;
            }
        }
        read
    }
}
