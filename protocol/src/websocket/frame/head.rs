use std::mem;

use super::error::FrameError;
use super::mask::apply_mask;
use super::opcode::OpCode;
use super::write::MAX_CONTROL_PAYLOAD;

/// The longest head: two bytes, eight of length, four of mask.
pub(crate) const MAX_HEAD: usize = 14;

/// A frame whose head was read and whose payload is being read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Frame {
    /// Whether it is the last of its message.
    pub(crate) fin: bool,
    pub(crate) opcode: OpCode,
    /// The mask, turned to where the next byte of payload is.
    mask: [u8; 4],
    /// How many bytes of payload are still to come.
    pub(crate) rest: usize,
}

impl Frame {
    /// Reads a head from the start of `bytes`, and says how many it took; `None` if it is not all
    /// there.
    ///
    /// A fault is found as soon as its bytes are there, whatever follows.
    #[inline]
    pub(crate) fn decode(bytes: &[u8], rules: Rules) -> Result<Option<(Self, usize)>, FrameError> {
        let Some(&first) = bytes.first() else {
            return Ok(None);
        };
        if first & 0x70 != 0 {
            return Err(FrameError::ReservedBits);
        }
        let fin = first & 0x80 != 0;
        let opcode = OpCode::of(first).ok_or(FrameError::ReservedOpcode)?;
        let control = opcode.is_control();
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
    #[inline]
    pub(crate) fn take<'a>(&mut self, input: &mut &'a mut [u8]) -> &'a [u8] {
        let piece = split_off(input, self.rest.min(input.len()));
        apply_mask(piece, self.mask);
        self.mask.rotate_left(piece.len() % 4);
        self.rest -= piece.len();
        piece
    }
}

/// Takes the first `count` bytes off `input`.
#[inline]
pub(crate) fn split_off<'a>(input: &mut &'a mut [u8], count: usize) -> &'a mut [u8] {
    let (piece, rest) = mem::take(input).split_at_mut(count);
    *input = rest;
    piece
}

/// The length and how many bytes it takes beyond the short one; `None` if they are not all there.
#[inline]
pub(super) fn decode_length(short: u8, bytes: &[u8]) -> Result<Option<(u64, usize)>, FrameError> {
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
pub(crate) struct Rules {
    /// How many fragments the unfinished message may still have; `None` if no message is
    /// unfinished.
    pub(crate) continuations: Option<u32>,
    /// How many bytes the message may still have.
    pub(crate) room: usize,
}

impl Rules {
    #[inline]
    fn check(self, opcode: OpCode) -> Result<(), FrameError> {
        match (opcode, self.continuations) {
            (OpCode::Continuation, None) => Err(FrameError::NothingToContinue),
            (OpCode::Continuation, Some(0)) => Err(FrameError::TooManyFragments),
            (OpCode::Text | OpCode::Binary, Some(_)) => Err(FrameError::UnfinishedMessage),
            _ => Ok(()),
        }
    }
}
