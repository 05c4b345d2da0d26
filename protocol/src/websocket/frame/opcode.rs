/// What a frame is: the low four bits of its first byte.
#[expect(
    clippy::exhaustive_enums,
    reason = "the protocol has these, and no others in this version"
)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum OpCode {
    /// A further fragment of a message.
    Continuation = 0x0,
    /// A text message, or its first fragment.
    Text = 0x1,
    /// A binary message, or its first fragment.
    Binary = 0x2,
    /// The last frame of a side.
    Close = 0x8,
    /// Wants a [`Pong`](Self::Pong) with the same payload.
    Ping = 0x9,
    /// Answers a [`Ping`](Self::Ping).
    Pong = 0xa,
}

impl OpCode {
    /// The opcode in the first byte of a frame; `None` if it is reserved.
    ///
    /// The other bits of `first` change nothing.
    pub const fn of(first: u8) -> Option<Self> {
        match first & 0x0f {
            0x0 => Some(Self::Continuation),
            0x1 => Some(Self::Text),
            0x2 => Some(Self::Binary),
            0x8 => Some(Self::Close),
            0x9 => Some(Self::Ping),
            0xa => Some(Self::Pong),
            _ => None,
        }
    }

    /// Whether frames of this opcode may stand between the fragments of a message.
    pub const fn is_control(self) -> bool {
        matches!(self, Self::Close | Self::Ping | Self::Pong)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_low_bits_are_the_opcode() {
        let table = [
            (0x00, OpCode::Continuation, false),
            (0x81, OpCode::Text, false),
            (0x02, OpCode::Binary, false),
            (0x88, OpCode::Close, true),
            (0xf9, OpCode::Ping, true),
            (0x8a, OpCode::Pong, true),
        ];
        for (first, opcode, control) in table {
            assert_eq!(OpCode::of(first), Some(opcode));
            assert_eq!(opcode as u8, first & 0x0f);
            assert_eq!(opcode.is_control(), control);
        }
        for reserved in [0x3, 0x4, 0x5, 0x6, 0x7, 0xb, 0xc, 0xd, 0xe, 0xf] {
            assert_eq!(OpCode::of(0x80 | reserved), None);
        }
    }
}
