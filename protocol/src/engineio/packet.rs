use std::borrow::Cow;

/// An Engine.IO packet.
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
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message<'a> {
    /// What follows the `4`.
    Text(&'a str),
    /// The bytes themselves; owned when they came as base64.
    Binary(Cow<'a, [u8]>),
}

/// Why bytes are not an Engine.IO packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// A packet without its type.
    #[error("empty packet")]
    Empty,
    /// The first character is no packet type.
    #[error("unknown packet type")]
    UnknownType,
}

impl<'a> Packet<'a> {
    /// Decodes a text packet: a digit and its data, or `b` and base64.
    ///
    /// Base64 is read as Node reads it: rubbish yields fewer bytes, never an error.
    pub fn decode(text: &'a str) -> Result<Self, DecodeError> {
        let _ = text;
        todo!()
    }
}
