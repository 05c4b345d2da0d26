//! The few kinds of fields that OTLP's messages need, as protobuf writes them.

/// Appends a field of bytes or of text.
pub(super) fn bytes(to: &mut Vec<u8>, field: u32, value: &[u8]) {
    key(to, field, 2);
    varint(to, value.len() as u64);
    to.extend_from_slice(value);
}

/// Appends a field that is a number.
pub(super) fn number(to: &mut Vec<u8>, field: u32, value: u64) {
    key(to, field, 0);
    varint(to, value);
}

/// Appends a field that is a number of eight bytes.
pub(super) fn fixed64(to: &mut Vec<u8>, field: u32, value: u64) {
    key(to, field, 1);
    to.extend_from_slice(&value.to_le_bytes());
}

/// Appends a field that is a number of four bytes.
pub(super) fn fixed32(to: &mut Vec<u8>, field: u32, value: u32) {
    key(to, field, 5);
    to.extend_from_slice(&value.to_le_bytes());
}

/// Appends a field that is a message; `fill` writes its fields.
pub(super) fn message(to: &mut Vec<u8>, field: u32, fill: impl FnOnce(&mut Vec<u8>)) {
    let start = open(to, field);
    fill(to);
    close(to, start);
}

/// Begins a field that is a message, whose fields follow: where they do.
pub(super) fn open(to: &mut Vec<u8>, field: u32) -> usize {
    key(to, field, 2);
    to.len()
}

/// Ends it: its length goes in front of it.
pub(super) fn close(to: &mut Vec<u8>, start: usize) {
    let length = to.len() - start;
    varint(to, length as u64);
    let digits = to.len() - start - length;
    to[start..].rotate_right(digits);
}

/// Appends the head of a field whose content, of so many bytes, comes from elsewhere.
pub(super) fn head(to: &mut Vec<u8>, field: u32, length: usize) {
    key(to, field, 2);
    varint(to, length as u64);
}

fn key(to: &mut Vec<u8>, field: u32, wire: u32) {
    varint(to, u64::from(field << 3 | wire));
}

fn varint(to: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        to.push(value as u8 | 0x80);
        value >>= 7;
    }
    to.push(value as u8);
}

/// The first number of this field in a message that somebody else wrote; `None` if there is none.
pub(super) fn find_number(message: &[u8], field: u64) -> Option<u64> {
    match find(message, field)? {
        Found::Number(number) => Some(number),
        Found::Bytes(_) => None,
    }
}

/// The same of bytes.
pub(super) fn find_bytes(message: &[u8], field: u64) -> Option<&[u8]> {
    match find(message, field)? {
        Found::Number(_) => None,
        Found::Bytes(bytes) => Some(bytes),
    }
}

enum Found<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

fn find(mut message: &[u8], wanted: u64) -> Option<Found<'_>> {
    loop {
        let key = read_varint(&mut message)?;
        let found = match key & 7 {
            0 => Found::Number(read_varint(&mut message)?),
            1 => Found::Bytes(take(&mut message, 8)?),
            2 => {
                let length = usize::try_from(read_varint(&mut message)?).ok()?;
                Found::Bytes(take(&mut message, length)?)
            }
            5 => Found::Bytes(take(&mut message, 4)?),
            _ => return None,
        };
        if key >> 3 == wanted {
            return Some(found);
        }
    }
}

fn take<'a>(message: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (taken, rest) = message.split_at_checked(length)?;
    *message = rest;
    Some(taken)
}

fn read_varint(message: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let [byte] = *take(message, 1)? else {
            return None;
        };
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The examples of protobuf's own description of its encoding.
    #[test]
    fn fields_are_written_as_protobuf_describes() {
        let mut to = Vec::new();
        number(&mut to, 1, 150);
        assert_eq!(to, [0x08, 0x96, 0x01]);
        to.clear();
        bytes(&mut to, 2, b"testing");
        assert_eq!(to, b"\x12\x07testing");
        to.clear();
        message(&mut to, 3, |to| number(to, 1, 150));
        assert_eq!(to, [0x1a, 0x03, 0x08, 0x96, 0x01]);
        to.clear();
        fixed64(&mut to, 1, 1);
        fixed32(&mut to, 16, 2);
        assert_eq!(to, [9, 1, 0, 0, 0, 0, 0, 0, 0, 0x85, 1, 2, 0, 0, 0]);
    }

    #[test]
    fn a_long_message_has_a_long_length() {
        let mut to = b"before".to_vec();
        message(&mut to, 1, |to| bytes(to, 1, &[7; 300]));
        assert_eq!(to[..12], *b"before\x0a\xaf\x02\x0a\xac\x02");
        assert_eq!(to.len(), 12 + 300);
        let mut other = b"before".to_vec();
        head(&mut other, 1, 303);
        bytes(&mut other, 1, &[7; 300]);
        assert_eq!(other, to);
    }

    #[test]
    fn what_others_write_is_read_whatever_it_is() {
        let mut answer = Vec::new();
        fixed64(&mut answer, 9, 1);
        fixed32(&mut answer, 8, 1);
        message(&mut answer, 1, |to| {
            bytes(to, 2, b"too many");
            number(to, 1, 300);
        });
        let partial = find_bytes(&answer, 1).unwrap();
        assert_eq!(find_number(partial, 1), Some(300));
        assert_eq!(find_number(&answer, 1), None);
        assert_eq!(find_bytes(partial, 1), None);
        for end in 0..answer.len() {
            for byte in [0, 0x0a, 0x7f, 0xff] {
                let mut changed = answer[..end].to_vec();
                changed.push(byte);
                let found = find_bytes(&changed, 1);
                let _ = found.and_then(|it| find_number(it, 1));
            }
        }
    }
}
