//! The head of a client's frame, checked as RFC 6455 section 5 wants it, and the control frames
//! that the gateway sends.

use std::mem;

use bytes::Bytes;
use fastwebsockets::{CloseCode, OpCode, unmask};

/// The longest payload of a control frame.
pub const MAX_CONTROL_PAYLOAD: usize = 125;

/// The longest head: two bytes, eight of length, four of mask.
pub(super) const MAX_HEAD: usize = 14;

/// Why a connection must be closed: what its peer sent is not WebSocket, or not wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// A reserved bit is set, and no extension was negotiated.
    #[error("reserved bits are set")]
    ReservedBits,
    /// The opcode means nothing.
    #[error("reserved opcode")]
    ReservedOpcode,
    /// A control frame came in fragments.
    #[error("fragmented control frame")]
    FragmentedControl,
    /// A control frame is longer than [`MAX_CONTROL_PAYLOAD`].
    #[error("control frame of more than 125 bytes")]
    LongControl,
    /// A continuation came although no message was begun.
    #[error("continuation of nothing")]
    NothingToContinue,
    /// A new message began before the last one was finished.
    #[error("new message amid the fragments of another")]
    UnfinishedMessage,
    /// The frame is not masked.
    #[error("unmasked frame")]
    Unmasked,
    /// The length is written with more bytes than it needs.
    #[error("length is not in its shortest form")]
    LongLength,
    /// The length has its highest bit set.
    #[error("length of more than 63 bits")]
    HugeLength,
    /// A close frame with half a code.
    #[error("close frame of one byte")]
    ShortClose,
    /// A close code that must not be on the wire.
    #[error("close code {0} is not allowed")]
    CloseCode(u16),
    /// A text message or a close reason is not UTF-8.
    #[error("text is not UTF-8")]
    InvalidUtf8,
    /// The message is longer than the limit.
    #[error("message is longer than the limit")]
    TooBig,
    /// The message has more fragments than
    /// [`MAX_FRAGMENTS`](super::reader::MAX_FRAGMENTS).
    #[error("too many fragments")]
    TooManyFragments,
}

impl FrameError {
    /// The close code that tells the peer.
    pub const fn close_code(self) -> CloseCode {
        match self {
            Self::InvalidUtf8 => CloseCode::Invalid,
            Self::TooBig => CloseCode::Size,
            Self::TooManyFragments => CloseCode::Policy,
            Self::ReservedBits
            | Self::ReservedOpcode
            | Self::FragmentedControl
            | Self::LongControl
            | Self::NothingToContinue
            | Self::UnfinishedMessage
            | Self::Unmasked
            | Self::LongLength
            | Self::HugeLength
            | Self::ShortClose
            | Self::CloseCode(_) => CloseCode::Protocol,
        }
    }
}

/// A frame whose head was read and whose payload is being read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Frame {
    /// Whether it is the last of its message.
    pub(super) fin: bool,
    pub(super) opcode: OpCode,
    /// The mask, turned to where the next byte of payload is.
    mask: [u8; 4],
    /// How many bytes of payload are still to come.
    pub(super) rest: usize,
}

impl Frame {
    /// Reads a head from the start of `bytes`, and says how many it took; `None` if it is not all
    /// there.
    ///
    /// A fault is found as soon as its bytes are there, whatever follows.
    pub(super) fn decode(bytes: &[u8], rules: Rules) -> Result<Option<(Self, usize)>, FrameError> {
        let Some(&first) = bytes.first() else {
            return Ok(None);
        };
        if first & 0x70 != 0 {
            return Err(FrameError::ReservedBits);
        }
        let fin = first & 0x80 != 0;
        let opcode = OpCode::try_from(first & 0x0f).map_err(|_| FrameError::ReservedOpcode)?;
        let control = is_control(opcode);
        if control && !fin {
            return Err(FrameError::FragmentedControl);
        }
        rules.check(opcode)?;

        let Some(&second) = bytes.get(1) else {
            return Ok(None);
        };
        if second & 0x80 == 0 {
            return Err(FrameError::Unmasked);
        }
        let short = second & 0x7f;
        if control && usize::from(short) > MAX_CONTROL_PAYLOAD {
            return Err(FrameError::LongControl);
        }

        let Some((length, size)) = decode_length(short, &bytes[2..])? else {
            return Ok(None);
        };
        let rest = usize::try_from(length).unwrap_or(usize::MAX);
        if !control && rest > rules.room {
            return Err(FrameError::TooBig);
        }
        let Some(&mask) = bytes[2 + size..].first_chunk() else {
            return Ok(None);
        };
        let frame = Self {
            fin,
            opcode,
            mask,
            rest,
        };
        Ok(Some((frame, 2 + size + mask.len())))
    }

    /// Takes as much of the payload out of `input` as is there, unmasked in place.
    pub(super) fn take<'a>(&mut self, input: &mut &'a mut [u8]) -> &'a [u8] {
        let piece = split_off(input, self.rest.min(input.len()));
        unmask(piece, self.mask);
        self.mask.rotate_left(piece.len() % 4);
        self.rest -= piece.len();
        piece
    }
}

/// Takes the first `count` bytes off `input`.
pub(super) fn split_off<'a>(input: &mut &'a mut [u8], count: usize) -> &'a mut [u8] {
    let (piece, rest) = mem::take(input).split_at_mut(count);
    *input = rest;
    piece
}

/// The length and how many bytes it takes beyond the short one; `None` if they are not all there.
fn decode_length(short: u8, bytes: &[u8]) -> Result<Option<(u64, usize)>, FrameError> {
    let (length, size, least) = match short {
        126 => match bytes.first_chunk() {
            Some(length) => (u64::from(u16::from_be_bytes(*length)), 2, 126),
            None => return Ok(None),
        },
        127 => match bytes.first_chunk() {
            Some(length) => (u64::from_be_bytes(*length), 8, 1 << 16),
            None => return Ok(None),
        },
        short => (u64::from(short), 0, 0),
    };
    if length >> 63 != 0 {
        return Err(FrameError::HugeLength);
    }
    if length < least {
        return Err(FrameError::LongLength);
    }
    Ok(Some((length, size)))
}

/// What a frame may be, given the frames before it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rules {
    /// How many fragments the unfinished message may still have; `None` if no message is
    /// unfinished.
    pub(super) continuations: Option<u32>,
    /// How many bytes the message may still have.
    pub(super) room: usize,
}

impl Rules {
    fn check(self, opcode: OpCode) -> Result<(), FrameError> {
        match (opcode, self.continuations) {
            (OpCode::Continuation, None) => Err(FrameError::NothingToContinue),
            (OpCode::Continuation, Some(0)) => Err(FrameError::TooManyFragments),
            (OpCode::Text | OpCode::Binary, Some(_)) => Err(FrameError::UnfinishedMessage),
            _ => Ok(()),
        }
    }
}

/// Whether frames of this opcode may stand between the fragments of a message.
pub(super) const fn is_control(opcode: OpCode) -> bool {
    matches!(opcode, OpCode::Close | OpCode::Ping | OpCode::Pong)
}

/// Reads the payload of a close frame: the code, if it has one.
pub(super) fn decode_close(payload: &[u8]) -> Result<Option<u16>, FrameError> {
    let Some((code, reason)) = payload.split_first_chunk() else {
        return if payload.is_empty() {
            Ok(None)
        } else {
            Err(FrameError::ShortClose)
        };
    };
    let code = u16::from_be_bytes(*code);
    // CloseCode::is_allowed does not know 1014, which is registered since.
    if !matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999) {
        return Err(FrameError::CloseCode(code));
    }
    if simdutf8::basic::from_utf8(reason).is_err() {
        return Err(FrameError::InvalidUtf8);
    }
    Ok(Some(code))
}

/// The bytes of a close frame with this code, or with none, as its answer echoes it.
pub fn close_frame(code: Option<u16>) -> Bytes {
    match code {
        Some(code) => control_frame(OpCode::Close, &code.to_be_bytes()),
        None => control_frame(OpCode::Close, &[]),
    }
}

/// The bytes of a pong that answers a ping with this payload, of which at most
/// [`MAX_CONTROL_PAYLOAD`] bytes are taken.
pub fn pong_frame(payload: &[u8]) -> Bytes {
    control_frame(OpCode::Pong, payload)
}

fn control_frame(opcode: OpCode, payload: &[u8]) -> Bytes {
    let payload = &payload[..payload.len().min(MAX_CONTROL_PAYLOAD)];
    let mut frame = Vec::with_capacity(2 + payload.len());
    frame.extend_from_slice(&[0x80 | opcode as u8, payload.len() as u8]);
    frame.extend_from_slice(payload);
    frame.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_frames_are_short_and_unmasked() {
        assert_eq!(close_frame(None), &b"\x88\x00"[..]);
        assert_eq!(close_frame(Some(1000)), &b"\x88\x02\x03\xe8"[..]);
        assert_eq!(pong_frame(b"hi"), &b"\x8a\x02hi"[..]);
        assert_eq!(pong_frame(b""), &b"\x8a\x00"[..]);
        let longest = [&b"\x8a\x7d"[..], &[7; 125]].concat();
        assert_eq!(pong_frame(&[7; 126]), longest);
    }

    #[test]
    fn errors_have_the_close_code_of_their_kind() {
        let code = |error: FrameError| u16::from(error.close_code());
        assert_eq!(code(FrameError::InvalidUtf8), 1007);
        assert_eq!(code(FrameError::TooManyFragments), 1008);
        assert_eq!(code(FrameError::TooBig), 1009);
        for error in [
            FrameError::ReservedBits,
            FrameError::ReservedOpcode,
            FrameError::FragmentedControl,
            FrameError::LongControl,
            FrameError::NothingToContinue,
            FrameError::UnfinishedMessage,
            FrameError::Unmasked,
            FrameError::LongLength,
            FrameError::HugeLength,
            FrameError::ShortClose,
            FrameError::CloseCode(1005),
        ] {
            assert_eq!(code(error), 1002, "{error}");
        }
    }
}
