use std::borrow::Cow;

use base64::{Engine as _, engine::general_purpose::STANDARD};

use super::old_payload::BINARY_MESSAGE;

/// An Engine.IO packet.
#[expect(
    clippy::exhaustive_enums,
    reason = "the protocol has these, and no others in this version"
)]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Packet<'a> {
    /// `0`, with what follows the digit.
    Open(&'a str),
    /// `1`.
    Close,
    /// `2`, with what follows the digit (`probe` on a probing transport).
    Ping(&'a str),
    /// `3`, with what follows the digit.
    Pong(&'a str),
    /// `4`, or a binary message.
    Message(Message<'a>),
    /// `5`.
    Upgrade,
    /// `6`.
    Noop,
}

/// The content of a message packet.
#[expect(
    clippy::exhaustive_enums,
    reason = "the protocol has these, and no others in this version"
)]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message<'a> {
    /// What follows the `4`.
    Text(&'a str),
    /// The bytes themselves; owned when they came as base64.
    Binary(Cow<'a, [u8]>),
}

/// Why bytes are not an Engine.IO packet.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// A packet without its type.
    #[error("empty packet")]
    Empty,
    /// The first character is no packet type.
    #[error("unknown packet type")]
    UnknownType,
    /// A payload of revision 3 with a length that is no number, or more than there is.
    #[error("bad length of a packet")]
    BadLength,
    /// Text that is no UTF-8.
    #[error("text is not UTF-8")]
    NotUtf8,
}

impl<'a> Packet<'a> {
    /// Decodes a text packet: a digit and its data, or `b` and base64.
    ///
    /// Base64 is read as Node reads it: rubbish yields fewer bytes, never an error. Data behind a
    /// type that has none is ignored.
    ///
    /// # Errors
    ///
    /// If `text` is empty, or does not begin with the digit of a type or with `b`.
    pub fn decode(text: &'a str) -> Result<Self, DecodeError> {
        let kind = *text.as_bytes().first().ok_or(DecodeError::Empty)?;
        let data = text.get(1..).ok_or(DecodeError::UnknownType)?;
        match kind {
            b'0' => Ok(Self::Open(data)),
            b'1' => Ok(Self::Close),
            b'2' => Ok(Self::Ping(data)),
            b'3' => Ok(Self::Pong(data)),
            b'4' => Ok(Self::Message(Message::Text(data))),
            b'5' => Ok(Self::Upgrade),
            b'6' => Ok(Self::Noop),
            b'b' => Ok(Self::Message(Message::Binary(Cow::Owned(decode_base64(
                data,
            ))))),
            _ => Err(DecodeError::UnknownType),
        }
    }

    /// Decodes a text packet of revision 3: a digit and its data, or `b`, a digit and base64. Binary packets of a
    /// type that there is not are [`Noop`](Self::Noop): they have no effect, as in Node.
    ///
    /// # Errors
    ///
    /// If `text` is empty, or does not begin with the digit of a type or with `b`.
    pub fn decode_old(text: &'a str) -> Result<Self, DecodeError> {
        let Some(binary) = text.strip_prefix('b') else {
            return Self::decode(text);
        };
        match binary.strip_prefix('4') {
            Some(data) => {
                let data = Cow::Owned(decode_base64(data));
                Ok(Self::Message(Message::Binary(data)))
            }
            None => Ok(Self::without_data(
                binary.bytes().next().unwrap_or_default(),
            )),
        }
    }

    /// Decodes a binary packet of revision 3, whose first byte is its type.
    ///
    /// # Errors
    ///
    /// If it is empty.
    pub fn decode_old_binary(data: Cow<'a, [u8]>) -> Result<Self, DecodeError> {
        let kind = *data.first().ok_or(DecodeError::Empty)?;
        if kind != BINARY_MESSAGE {
            return Ok(Self::without_data(kind.saturating_add(b'0')));
        }
        let data = match data {
            Cow::Borrowed(data) => Cow::Borrowed(data.get(1..).unwrap_or_default()),
            Cow::Owned(mut data) => {
                data.remove(0);
                Cow::Owned(data)
            }
        };
        Ok(Self::Message(Message::Binary(data)))
    }

    fn without_data(kind: u8) -> Self {
        match kind {
            b'0' => Self::Open(""),
            b'1' => Self::Close,
            b'2' => Self::Ping(""),
            b'3' => Self::Pong(""),
            b'5' => Self::Upgrade,
            _ => Self::Noop,
        }
    }
}

fn decode_base64(text: &str) -> Vec<u8> {
    STANDARD
        .decode(text)
        .unwrap_or_else(|_| decode_base64_leniently(text))
}

/// As `Buffer.from(text, "base64")` in Node: both alphabets, anything else skipped, over at the
/// first padding, and whatever does not fill a byte dropped.
fn decode_base64_leniently(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3 + 2);
    let mut bits = 0u32;
    let mut count = 0;
    for byte in text.bytes().take_while(|byte| *byte != b'=') {
        let sextet = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' | b'-' => 62,
            b'/' | b'_' => 63,
            _ => continue,
        };
        bits = bits << 6 | u32::from(sextet);
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
        }
    }
    bytes
}

/// How long the text packet of a binary message is.
pub(crate) fn base64_packet_len(data: &[u8]) -> usize {
    1 + base64_len(data)
}

/// Appends a binary message as a text packet.
pub(crate) fn push_base64_packet(out: &mut Vec<u8>, data: &[u8]) {
    out.push(b'b');
    push_base64(out, data);
}

/// How long `data` is as padded base64.
pub(crate) fn base64_len(data: &[u8]) -> usize {
    data.len().div_ceil(3) * 4
}

/// Appends `data` as padded base64.
pub(crate) fn push_base64(out: &mut Vec<u8>, data: &[u8]) {
    let start = out.len();
    out.resize(start + base64_len(data), b'=');
    STANDARD
        .encode_slice(data, &mut out[start..])
        .expect("the line above made room for padded base64");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn binary(text: &str) -> Vec<u8> {
        match Packet::decode(text) {
            Ok(Packet::Message(Message::Binary(data))) => data.into_owned(),
            other => panic!("{text:?} is {other:?}"),
        }
    }

    #[test]
    fn text_packets_decode() {
        let table = [
            ("0", Packet::Open("")),
            ("0{\"sid\":\"x\"}", Packet::Open("{\"sid\":\"x\"}")),
            ("1", Packet::Close),
            ("2", Packet::Ping("")),
            ("2probe", Packet::Ping("probe")),
            ("3", Packet::Pong("")),
            ("3probe", Packet::Pong("probe")),
            ("4", Packet::Message(Message::Text(""))),
            ("4hello €", Packet::Message(Message::Text("hello €"))),
            ("42[\"a\"]", Packet::Message(Message::Text("2[\"a\"]"))),
            ("5", Packet::Upgrade),
            ("6", Packet::Noop),
        ];
        for (text, packet) in table {
            assert_eq!(Packet::decode(text), Ok(packet), "{text:?}");
        }
    }

    #[test]
    fn data_behind_a_type_without_data_is_ignored() {
        assert_eq!(Packet::decode("1xyz"), Ok(Packet::Close));
        assert_eq!(Packet::decode("5€"), Ok(Packet::Upgrade));
        assert_eq!(Packet::decode("6abc"), Ok(Packet::Noop));
    }

    #[test]
    fn what_has_no_type_is_refused() {
        assert_eq!(Packet::decode(""), Err(DecodeError::Empty));
        for text in ["7", "9abc", "a", "B", " 4", "€", "\u{1e}", "-1"] {
            assert_eq!(
                Packet::decode(text),
                Err(DecodeError::UnknownType),
                "{text:?}"
            );
        }
    }

    /// The right column is what `Buffer.from(text, "base64")` gave in Node 20.
    #[test]
    fn base64_decodes_as_in_node() {
        let table: [(&str, &[u8]); 20] = [
            ("b", b""),
            ("bAQIDBA==", &[1, 2, 3, 4]),
            ("bAQIDBA=", &[1, 2, 3, 4]),
            ("bAQIDBA", &[1, 2, 3, 4]),
            ("b+/+/", &[0xfb, 0xff, 0xbf]),
            ("b-_-_", &[0xfb, 0xff, 0xbf]),
            ("b+_-/", &[0xfb, 0xff, 0xbf]),
            ("bAQ ID\r\nBA==", &[1, 2, 3, 4]),
            ("b!A*Q(I)D", &[1, 2, 3]),
            ("bA", b""),
            ("bAQ", &[1]),
            ("bAQI", &[1, 2]),
            ("bAR", &[1]),
            ("bAQIDB", &[1, 2, 3]),
            ("b=bad", b""),
            ("bAQID=BAUG", &[1, 2, 3]),
            ("bAQ==AgM=", &[1]),
            ("b====", b""),
            ("b\u{0}AQID", &[1, 2, 3]),
            ("b{}", b""),
        ];
        for (text, expected) in table {
            assert_eq!(binary(text), expected, "{text:?}");
        }
    }

    #[test]
    fn binary_encodes_as_padded_base64() {
        let table: [(&[u8], &str); 5] = [
            (b"", "b"),
            (&[1], "bAQ=="),
            (&[1, 2], "bAQI="),
            (&[1, 2, 3], "bAQID"),
            (&[0xfb, 0xff, 0xbf], "b+/+/"),
        ];
        for (data, text) in table {
            let mut out = b"before".to_vec();
            push_base64_packet(&mut out, data);
            assert_eq!(out, [b"before", text.as_bytes()].concat());
            assert_eq!(base64_packet_len(data), text.len());
            assert_eq!(binary(text), data);
        }
    }
}
