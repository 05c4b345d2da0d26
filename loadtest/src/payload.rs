//! The stamped argument that travels through the server and back: intended send time, sequence number and room, as
//! 32 hexadecimal digits, then padding. It is one JSON string, so every server returns it byte by byte. Or it is binary,
//! with the same bytes.

use crate::client::packet::{CLOSE, OPEN};

/// Digits of a stamp; the smallest payload.
pub(crate) const STAMP_LEN: usize = 32;

/// What a delivered message says about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    /// When the message should have been sent, by [`crate::clock::now`]. In a paced run this is the schedule's time,
    /// not the time at which the generator found the time to send: that corrects coordinated omission.
    pub(crate) sent: u64,
    /// Number of the message in its room, from 0.
    pub(crate) sequence: u32,
    /// Number of the room, or of the client for an echo.
    pub(crate) room: u32,
}

/// How the argument travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// As a JSON string.
    Text,
    /// As an attachment.
    Binary,
}

impl Form {
    /// Appends the last argument of a packet, and the end of the packet.
    pub(crate) fn write_last(self, packet: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
        let [open, close] = self.marks();
        packet.push(open);
        write(packet);
        packet.extend_from_slice(&[close, b']']);
    }

    /// What an argument holds that begins here, and what is behind it; `None` if it travelled otherwise.
    pub(crate) fn read(self, argument: &[u8]) -> Option<&[u8]> {
        let [open, _] = self.marks();
        argument.strip_prefix(&[open])
    }

    fn marks(self) -> [u8; 2] {
        match self {
            Self::Text => [b'"', b'"'],
            Self::Binary => [OPEN, CLOSE],
        }
    }

    /// A size, in words.
    pub(crate) fn describe(self, size: usize) -> String {
        match self {
            Self::Text => format!("{size} B"),
            Self::Binary => format!("{size} B binary"),
        }
    }
}

/// Appends the stamp, padded to `size` characters.
pub(crate) fn write(stamp: Stamp, size: usize, out: &mut Vec<u8>) {
    push_hex(stamp.sent, TIME_LEN as u32, out);
    push_hex(u64::from(stamp.sequence), 8, out);
    push_hex(u64::from(stamp.room), 8, out);
    let len = out.len() + size.saturating_sub(STAMP_LEN);
    out.resize(len, b'.');
}

/// The same with the time at which it really is sent, in 16 digits behind the stamp.
pub(crate) fn write_with_time(stamp: Stamp, time: u64, size: usize, out: &mut Vec<u8>) {
    let len = out.len() + size;
    write(stamp, STAMP_LEN, out);
    push_hex(time, TIME_LEN as u32, out);
    out.resize(len.max(out.len()), b'.');
}

/// Reads the stamp at the beginning of `bytes`, and the time behind it.
pub(crate) fn read_with_time(bytes: &[u8]) -> Option<(Stamp, u64)> {
    let time = bytes.get(STAMP_LEN..STAMP_LEN + TIME_LEN)?;
    Some((read(bytes)?, parse_time(time)?))
}

/// Digits of a time.
const TIME_LEN: usize = 16;

/// Reads the stamp at the beginning of `bytes`.
pub(crate) fn read(bytes: &[u8]) -> Option<Stamp> {
    let (sent, rest) = bytes.get(..STAMP_LEN)?.split_at(TIME_LEN);
    let (sequence, room) = rest.split_at(8);
    Some(Stamp {
        sent: parse_time(sent)?,
        sequence: parse_hex(sequence)?,
        room: parse_hex(room)?,
    })
}

fn parse_time(digits: &[u8]) -> Option<u64> {
    let (high, low) = digits.split_at(TIME_LEN / 2);
    Some(u64::from(parse_hex(high)?) << 32 | u64::from(parse_hex(low)?))
}

fn push_hex(value: u64, digits: u32, out: &mut Vec<u8>) {
    for digit in (0..digits).rev() {
        let nibble = (value >> (4 * digit)) & 0xf;
        out.push(b"0123456789abcdef"[nibble as usize]);
    }
}

/// Eight lower-case digits at once: this runs once or more per delivery.
fn parse_hex(digits: &[u8]) -> Option<u32> {
    let word = u64::from_be_bytes(digits.try_into().ok()?);
    let letters = (word >> 6) & 0x0101_0101_0101_0101;
    let nibbles = (word & 0x0f0f_0f0f_0f0f_0f0f) + letters * 9;
    let pairs = (nibbles | nibbles >> 4) & 0x00ff_00ff_00ff_00ff;
    let quads = (pairs | pairs >> 8) & 0x0000_ffff_0000_ffff;
    Some((quads | quads >> 16) as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_survives_the_journey() {
        for sent in [0, 1, 0x0123_4567_89ab_cdef, u64::MAX] {
            let stamp = Stamp {
                sent,
                sequence: 0xdead_beef,
                room: 9,
            };
            let mut text = Vec::new();
            write(stamp, 128, &mut text);
            assert_eq!(text.len(), 128);
            assert_eq!(read(&text), Some(stamp));
        }
    }

    #[test]
    fn a_time_travels_behind_the_stamp() {
        let stamp = Stamp {
            sent: 1,
            sequence: 2,
            room: 3,
        };
        let mut text = Vec::new();
        write_with_time(stamp, u64::MAX - 1, 64, &mut text);
        assert_eq!(text.len(), 64);
        assert_eq!(read_with_time(&text), Some((stamp, u64::MAX - 1)));
        assert_eq!(read_with_time(&text[..40]), None);
    }

    #[test]
    fn an_argument_is_read_in_its_own_form_only() {
        for (form, other) in [(Form::Text, Form::Binary), (Form::Binary, Form::Text)] {
            let mut packet = b"42[\"m\",".to_vec();
            form.write_last(&mut packet, |packet| packet.extend_from_slice(b"abc"));
            assert_eq!(packet.last(), Some(&b']'));
            let argument = &packet[b"42[\"m\",".len()..];
            assert!(form.read(argument).unwrap().starts_with(b"abc"));
            assert_eq!(other.read(argument), None);
        }
    }

    #[test]
    fn a_short_text_is_no_stamp() {
        assert_eq!(read(b"0123"), None);
    }
}
