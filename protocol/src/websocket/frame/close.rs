use bytes::Bytes;

use super::error::FrameError;
use super::opcode::OpCode;
use super::write::control_frame;

/// Why a side closes, as a close frame says it: a code that may be on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CloseCode(u16);

impl CloseCode {
    /// The side has done what it wanted to do.
    pub const NORMAL: Self = Self(1000);
    /// What the peer sent is not WebSocket.
    pub const PROTOCOL: Self = Self(1002);
    /// A text that the peer sent is not UTF-8.
    pub const INVALID: Self = Self(1007);
    /// What the peer does is not allowed here.
    pub const POLICY: Self = Self(1008);
    /// A message of the peer is longer than the limit.
    pub const SIZE: Self = Self(1009);

    /// The code of that number; `None` if it must not be on the wire.
    ///
    /// Allowed is what RFC 6455 and IANA's register name, and what they leave to libraries and applications (3000 to
    /// 4999).
    pub const fn new(code: u16) -> Option<Self> {
        match code {
            1000..=1003 | 1007..=1014 | 3000..=4999 => Some(Self(code)),
            _ => None,
        }
    }
}

impl From<CloseCode> for u16 {
    fn from(code: CloseCode) -> Self {
        code.0
    }
}

/// The bytes of a close frame with this code, or with none.
///
/// An answer echoes the peer's code.
pub fn close_frame(code: Option<CloseCode>) -> Bytes {
    match code {
        Some(CloseCode(code)) => control_frame(OpCode::Close, &code.to_be_bytes()),
        None => control_frame(OpCode::Close, &[]),
    }
}

/// Reads the payload of a close frame: the code, if it has one.
pub(crate) fn decode_close(payload: &[u8]) -> Result<Option<CloseCode>, FrameError> {
    let Some((code, reason)) = payload.split_first_chunk() else {
        return if payload.is_empty() {
            Ok(None)
        } else {
            Err(FrameError::ShortClose)
        };
    };
    let code = u16::from_be_bytes(*code);
    let Some(code) = CloseCode::new(code) else {
        return Err(FrameError::CloseCode(code));
    };
    if simdutf8::basic::from_utf8(reason).is_err() {
        return Err(FrameError::InvalidUtf8);
    }
    Ok(Some(code))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn close_frames_have_a_code_or_nothing() {
        assert_eq!(close_frame(None), &b"\x88\x00"[..]);
        let normal = close_frame(Some(CloseCode::NORMAL));
        assert_eq!(normal, &b"\x88\x02\x03\xe8"[..]);
    }
}
