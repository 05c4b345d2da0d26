//! A polling body: packets joined by the record separator `0x1e`.
//!
//! ```
//! use protocol::engineio::{Message, Packet, payload};
//!
//! let packets: Result<Vec<_>, _> = payload::decode("2\u{1e}4hello").collect();
//! let hello = Packet::Message(Message::Text("hello"));
//! assert_eq!(packets, Ok(vec![Packet::Ping(""), hello]));
//! ```

use super::{DecodeError, Packet};

/// The byte between two packets of a payload.
pub const SEPARATOR: u8 = 0x1e;

/// The packets of a polling body in their order. An empty body, or an empty part of it, is
/// [`DecodeError::Empty`]; a reader stops at the first error, and the packets before it count.
pub fn decode(body: &str) -> impl Iterator<Item = Result<Packet<'_>, DecodeError>> {
    split(body).map(Packet::decode)
}

/// The same before they are decoded, for a reader that stops in between. A separator follows each
/// but the last.
pub fn split(body: &str) -> impl Iterator<Item = &str> {
    body.split(char::from(SEPARATOR))
}

#[cfg(test)]
mod tests {
    use super::super::Message;
    use super::*;

    #[test]
    fn packets_come_in_order() {
        let packets: Vec<_> = decode("2\u{1e}4hello\u{1e}4\u{1e}bAQID\u{1e}1").collect();
        assert_eq!(
            packets,
            [
                Ok(Packet::Ping("")),
                Ok(Packet::Message(Message::Text("hello"))),
                Ok(Packet::Message(Message::Text(""))),
                Ok(Packet::Message(Message::Binary(vec![1, 2, 3].into()))),
                Ok(Packet::Close),
            ]
        );
    }

    #[test]
    fn an_empty_part_is_an_error_in_its_place() {
        let table: [(&str, &[bool]); 6] = [
            ("", &[false]),
            ("\u{1e}", &[false, false]),
            ("4a\u{1e}", &[true, false]),
            ("\u{1e}4a", &[false, true]),
            ("4a\u{1e}\u{1e}4b", &[true, false, true]),
            ("4a\u{1e}4b", &[true, true]),
        ];
        for (body, expected) in table {
            let packets = decode(body);
            let found: Vec<_> = packets
                .map(|packet| packet != Err(DecodeError::Empty))
                .collect();
            assert_eq!(found, expected, "{body:?}");
        }
    }

    #[test]
    fn an_unknown_type_leaves_the_packets_before_it() {
        let packets: Vec<_> = decode("4a\u{1e}abc").collect();
        assert_eq!(
            packets,
            [
                Ok(Packet::Message(Message::Text("a"))),
                Err(DecodeError::UnknownType)
            ]
        );
    }
}
