//! The two encodings on the wire, msgpack as `notepack.io` writes it and JSON, and the way between
//! them. Here the arguments of an event are JSON text with placeholders and attachments.

mod event;
mod json;
mod list;
mod options;
mod original;
mod raw;
mod writer;

use protocol::msgpack::{ReadError, WriteError};

pub(crate) use event::{argument, event, ordered_event, packet_event, sockets};
pub(crate) use json::JsonWriter;
pub(crate) use list::{bound, list_named, piece, traced};
pub(crate) use options::{names, options};
pub(crate) use original::original;
pub(crate) use raw::Raw;
pub(crate) use writer::Writer;

/// Why a message from Redis cannot be read. It is counted and dropped.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Neither JSON nor msgpack, or more than one value.
    #[error("malformed message")]
    Malformed,
    /// A key is missing whose absence cannot be made up for, or has a value of the wrong kind.
    #[error("message of the wrong shape")]
    WrongShape,
    /// A packet that clients must not get: its event name is reserved, or no name.
    #[error("bad event")]
    BadEvent,
    /// More binary values than clients accept.
    #[error("too many attachments")]
    TooManyAttachments,
    /// Beside binary values, something that clients would take for a placeholder.
    #[error("illegal placeholder")]
    IllegalPlaceholder,
}

/// Why a message cannot be sent.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// The arguments are not what their type says: JSON, nested not too deep.
    #[error("malformed arguments")]
    Malformed,
    /// The message exceeds the limit, such as by naming one attachment many times.
    #[error("message too large")]
    TooLarge,
}

impl From<ReadError> for DecodeError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Malformed => Self::Malformed,
            ReadError::WrongShape => Self::WrongShape,
            ReadError::TooManyAttachments => Self::TooManyAttachments,
        }
    }
}

impl From<WriteError> for EncodeError {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::Malformed => Self::Malformed,
            WriteError::TooLarge => Self::TooLarge,
        }
    }
}
