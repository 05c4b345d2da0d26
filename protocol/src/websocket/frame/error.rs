use super::close::CloseCode;

/// Why a connection must be closed: what its peer sent is not WebSocket, or not wanted.
#[non_exhaustive]
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
    /// A control frame is longer than [`MAX_CONTROL_PAYLOAD`](super::MAX_CONTROL_PAYLOAD).
    #[error("control frame of more than 125 bytes")]
    LongControl,
    /// A continuation came although no message was begun.
    #[error("continuation frame without a message")]
    NothingToContinue,
    /// A new message began before the last one was finished.
    #[error("a message begins before the fragments of another have ended")]
    UnfinishedMessage,
    /// A client's frame is not masked.
    #[error("unmasked frame")]
    Unmasked,
    /// A server's frame is masked.
    #[error("masked frame of a server")]
    Masked,
    /// A server's message came in fragments, which [`ServerFrame`](super::ServerFrame) does not join.
    #[error("fragmented message of a server")]
    Fragmented,
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
    /// [`MAX_FRAGMENTS`](crate::websocket::reader::MAX_FRAGMENTS).
    #[error("too many fragments")]
    TooManyFragments,
}

impl FrameError {
    /// The close code that tells the peer.
    pub const fn close_code(self) -> CloseCode {
        match self {
            Self::InvalidUtf8 => CloseCode::INVALID,
            Self::TooBig => CloseCode::SIZE,
            Self::TooManyFragments => CloseCode::POLICY,
            Self::ReservedBits
            | Self::ReservedOpcode
            | Self::FragmentedControl
            | Self::LongControl
            | Self::NothingToContinue
            | Self::UnfinishedMessage
            | Self::Unmasked
            | Self::Masked
            | Self::Fragmented
            | Self::LongLength
            | Self::HugeLength
            | Self::ShortClose
            | Self::CloseCode(_) => CloseCode::PROTOCOL,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
            FrameError::Masked,
            FrameError::Fragmented,
            FrameError::LongLength,
            FrameError::HugeLength,
            FrameError::ShortClose,
            FrameError::CloseCode(1005),
        ] {
            assert_eq!(code(error), 1002, "{error}");
        }
    }
}
