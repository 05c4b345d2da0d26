use bytes::Bytes;

use super::error::FrameError;
use super::head::decode_length;
use super::mask::apply_mask;
use super::opcode::OpCode;

/// The longest payload of a control frame, in bytes.
pub const MAX_CONTROL_PAYLOAD: usize = 125;

/// The bit of the last frame of a message, in the first byte.
const FIN: u8 = 0x80;

/// The bit that says that a mask follows, in the second byte.
const MASKED: u8 = 0x80;

/// How many bytes a server's frame has whose payload has that many.
pub const fn frame_len(payload: usize) -> usize {
    let head = match payload {
        ..126 => 2,
        126..=0xffff => 4,
        _ => 10,
    };
    head + payload
}

/// Appends a server's frame, a whole message: its head and `parts` one after the other.
pub fn push_frame(frames: &mut Vec<u8>, opcode: OpCode, parts: &[&[u8]]) {
    push_head(frames, opcode, parts.iter().map(|part| part.len()).sum());
    for part in parts {
        frames.extend_from_slice(part);
    }
}

/// Appends the head of a server's frame, a whole message whose payload has that many bytes.
pub fn push_head(frames: &mut Vec<u8>, opcode: OpCode, payload: usize) {
    push_start(frames, opcode, payload, 0);
}

/// Appends a client's frame, a whole message under this mask.
///
/// A client takes another random mask for each frame.
pub fn push_masked_frame(frames: &mut Vec<u8>, opcode: OpCode, payload: &[u8], mask: [u8; 4]) {
    push_start(frames, opcode, payload.len(), MASKED);
    frames.extend_from_slice(&mask);
    let start = frames.len();
    frames.extend_from_slice(payload);
    apply_mask(&mut frames[start..], mask);
}

fn push_start(frames: &mut Vec<u8>, opcode: OpCode, payload: usize, masked: u8) {
    frames.push(FIN | opcode as u8);
    match payload {
        ..126 => frames.push(masked | payload as u8),
        126..=0xffff => {
            frames.push(masked | 126);
            frames.extend_from_slice(&(payload as u16).to_be_bytes());
        }
        _ => {
            frames.push(masked | 127);
            frames.extend_from_slice(&(payload as u64).to_be_bytes());
        }
    }
}

/// The bytes of a pong that answers a ping with this payload, of which at most
/// [`MAX_CONTROL_PAYLOAD`] bytes are taken.
pub fn pong_frame(payload: &[u8]) -> Bytes {
    control_frame(OpCode::Pong, payload)
}

pub(super) fn control_frame(opcode: OpCode, payload: &[u8]) -> Bytes {
    let payload = &payload[..payload.len().min(MAX_CONTROL_PAYLOAD)];
    let mut frame = Vec::with_capacity(frame_len(payload.len()));
    push_frame(&mut frame, opcode, &[payload]);
    frame.into()
}

/// A frame of a server that does not split its messages, as a client reads it.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServerFrame<'a> {
    /// What the frame is.
    pub opcode: OpCode,
    /// What it carries.
    pub payload: &'a [u8],
}

impl<'a> ServerFrame<'a> {
    /// Reads the frame at the start of `bytes`, and gives what follows it; `None` if it is not all there.
    ///
    /// # Errors
    ///
    /// If the bytes are no frame of a server, if the frame is a fragment of a message, or if its payload has more than
    /// `limit` bytes.
    #[inline]
    pub fn decode(bytes: &'a [u8], limit: usize) -> Result<Option<(Self, &'a [u8])>, FrameError> {
        let Some((&first, rest)) = bytes.split_first() else {
            return Ok(None);
        };
        if first & 0x70 != 0 {
            return Err(FrameError::ReservedBits);
        }
        if first & FIN == 0 {
            return Err(FrameError::Fragmented);
        }
        let opcode = OpCode::of(first).ok_or(FrameError::ReservedOpcode)?;
        let Some((&short, rest)) = rest.split_first() else {
            return Ok(None);
        };
        if short & MASKED != 0 {
            return Err(FrameError::Masked);
        }
        let Some((len, size)) = decode_length(short, rest)? else {
            return Ok(None);
        };
        let len = usize::try_from(len).unwrap_or(usize::MAX);
        if len > limit {
            return Err(FrameError::TooBig);
        }
        let frame = rest[size..].split_at_checked(len);
        Ok(frame.map(|(payload, rest)| (Self { opcode, payload }, rest)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_frames_are_short_and_unmasked() {
        assert_eq!(pong_frame(b"hi"), &b"\x8a\x02hi"[..]);
        assert_eq!(pong_frame(b""), &b"\x8a\x00"[..]);
        let longest = [&b"\x8a\x7d"[..], &[7; 125]].concat();
        assert_eq!(pong_frame(&[7; 126]), longest);
    }

    #[test]
    fn a_clients_frame_is_the_rfcs() {
        let mut frames = Vec::new();
        push_masked_frame(
            &mut frames,
            OpCode::Text,
            b"Hello",
            [0x37, 0xfa, 0x21, 0x3d],
        );
        assert_eq!(frames, b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58");
    }

    #[test]
    fn lengths_take_seven_sixteen_or_sixty_four_bits() {
        let table: [(usize, &[u8], &[u8]); 5] = [
            (0, &[0], &[0x80]),
            (125, &[125], &[0x80 | 125]),
            (126, &[126, 0, 126], &[0x80 | 126, 0, 126]),
            (65_535, &[126, 0xff, 0xff], &[0x80 | 126, 0xff, 0xff]),
            (
                65_536,
                &[127, 0, 0, 0, 0, 0, 1, 0, 0],
                &[0x80 | 127, 0, 0, 0, 0, 0, 1, 0, 0],
            ),
        ];
        for (len, server, client) in table {
            let data = vec![7; len];
            let mut frame = Vec::new();
            push_frame(&mut frame, OpCode::Binary, &[&data]);
            assert_eq!(frame, [&[0x82], server, &data].concat());
            assert_eq!(frame.len(), frame_len(len));

            let read = ServerFrame {
                opcode: OpCode::Binary,
                payload: &data,
            };
            for end in 0..frame.len() {
                assert_eq!(ServerFrame::decode(&frame[..end], len), Ok(None));
            }
            let whole = ServerFrame::decode(&frame, len);
            assert_eq!(whole, Ok(Some((read, &[][..]))));

            let mut masked = Vec::new();
            push_masked_frame(&mut masked, OpCode::Binary, &data, [0; 4]);
            assert_eq!(masked, [&[0x82], client, &[0; 4], &data].concat());
        }
    }

    #[test]
    fn a_client_refuses_what_is_no_frame_of_a_server() {
        for (bytes, error) in [
            (&[0xc1][..], FrameError::ReservedBits),
            (&[0x01][..], FrameError::Fragmented),
            (&[0x83][..], FrameError::ReservedOpcode),
            (&[0x81, 0x85][..], FrameError::Masked),
            (&[0x81, 126, 0, 125][..], FrameError::LongLength),
            (&[0x81, 11][..], FrameError::TooBig),
            (
                &[0x81, 127, 0x80, 0, 0, 0, 0, 0, 0, 0][..],
                FrameError::HugeLength,
            ),
        ] {
            assert_eq!(ServerFrame::decode(bytes, 10), Err(error), "{bytes:x?}");
        }
    }
}
