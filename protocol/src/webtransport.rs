//! Frames of Engine.IO on a stream of WebTransport, which has no messages of its own.
//!
//! ```text
//! bit 7: binary; bits 0 to 6: length, or 126 and 16 bits, or 127 and 64 bits, big endian; then the payload
//! ```
//!
//! A text frame carries a packet with its type digit, a binary frame the content of a binary message.
//! [`StreamReader`] reads the frames of a peer; [`Encoded::pieces`](crate::Encoded::pieces) writes a packet.
//!
//! ```
//! use protocol::webtransport::{StreamError, StreamReader, StreamFrame};
//!
//! let mut reader = StreamReader::new();
//! let limit = 1_000_000;
//! // `40` and one byte of binary, cut somewhere.
//! assert_eq!(reader.next(&mut &b"\x024"[..], limit)?, None);
//! let mut rest = &b"0\x81\x07"[..];
//! assert_eq!(reader.next(&mut rest, limit)?, Some(StreamFrame::Text("40".into())));
//! assert_eq!(reader.next(&mut rest, limit)?, Some(StreamFrame::Binary((&[7][..]).into())));
//! # Ok::<(), StreamError>(())
//! ```

use std::borrow::Cow;

use crate::websocket::begun::Begun;

/// The bit of a binary frame, in the first byte.
const BINARY: u8 = 0x80;

/// The longest head: one byte, and eight of length.
const MAX_HEAD: usize = 9;

/// Reads the frames of one peer.
///
/// A frame that is all there is taken where it lies. Only what is not all there is copied, and freed when it was
/// handed out, so that an idle session holds one null pointer. What a stream yields does not depend on how it was cut
/// into pieces.
#[derive(Debug, Default)]
pub struct StreamReader {
    partial: Option<Box<Partial>>,
}

/// What the peer sent.
#[expect(
    clippy::exhaustive_enums,
    reason = "who drives the machine does something for each"
)]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StreamFrame<'a> {
    /// A packet, with its type digit.
    Text(Cow<'a, str>),
    /// The content of a binary message.
    Binary(Cow<'a, [u8]>),
}

/// Why nothing more of a stream can be read.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum StreamError {
    /// A text frame without a type digit.
    #[error("empty text frame")]
    Empty,
    /// The frame is longer than the limit.
    #[error("frame is longer than the limit")]
    TooBig,
    /// A text frame is not UTF-8.
    #[error("text is not UTF-8")]
    InvalidUtf8,
}

impl StreamReader {
    /// A reader at the start of a stream.
    pub const fn new() -> Self {
        Self { partial: None }
    }

    /// Takes the next frame out of `input`; if it is not all there, takes in everything and returns `None`.
    ///
    /// A frame of exactly `limit` bytes is allowed, a longer one is refused as soon as its head is there.
    ///
    /// # Errors
    ///
    /// If the peer sends what is no frame, or what the limit forbids. Nothing more can be read then: the rest of
    /// `input` is dropped, and the reader should be.
    pub fn next<'a>(
        &mut self,
        input: &mut &'a [u8],
        limit: usize,
    ) -> Result<Option<StreamFrame<'a>>, StreamError> {
        let next = self.read(input, limit);
        if next.is_err() {
            self.partial = None;
            *input = &[];
        }
        next
    }

    /// How many bytes the reader keeps on the heap: a constant, and at most twice the bytes of the unfinished frame
    /// that it was given.
    pub fn held(&self) -> usize {
        match self.partial.as_deref() {
            None => 0,
            Some(Partial::Head(_)) => size_of::<Partial>(),
            Some(Partial::Payload(_, payload)) => size_of::<Partial>() + payload.capacity(),
        }
    }

    fn read<'a>(
        &mut self,
        input: &mut &'a [u8],
        limit: usize,
    ) -> Result<Option<StreamFrame<'a>>, StreamError> {
        let head = match self.partial.take().map(|partial| *partial) {
            None => Head::take(input, limit)?,
            Some(Partial::Head(mut begun)) => {
                let before = begun.len();
                let added = begun.extend(input);
                match Head::decode(begun.bytes(), limit)? {
                    Some((head, size)) => {
                        *input = &input[size - before..];
                        Ok(head)
                    }
                    None => {
                        *input = &input[added..];
                        Err(begun)
                    }
                }
            }
            Some(Partial::Payload(head, payload)) => return self.go_on(head, payload, input),
        };
        match head {
            Ok(head) => match input.split_off(..head.len) {
                Some(payload) => head.received(payload.into()).map(Some),
                None => self.go_on(head, Vec::new(), input),
            },
            Err(begun) => {
                self.partial = (!begun.is_empty()).then(|| Partial::Head(begun).into());
                Ok(None)
            }
        }
    }

    /// Takes in what is there of a payload of which the beginning is there.
    fn go_on<'a>(
        &mut self,
        head: Head,
        mut payload: Vec<u8>,
        input: &mut &'a [u8],
    ) -> Result<Option<StreamFrame<'a>>, StreamError> {
        let (piece, rest) = input.split_at(input.len().min(head.len - payload.len()));
        *input = rest;
        let needed = payload.len() + piece.len();
        if needed > payload.capacity() {
            // At most twice of what is there, since the rest is only a claim.
            let room = needed.max(head.len.min(2 * payload.len()));
            payload.reserve_exact(room - payload.len());
        }
        payload.extend_from_slice(piece);
        if payload.len() == head.len {
            return head.received(payload.into()).map(Some);
        }
        self.partial = Some(Partial::Payload(head, payload).into());
        Ok(None)
    }
}

/// What is kept of a frame that is not all there.
#[derive(Debug)]
enum Partial {
    /// The beginning of a head.
    Head(Begun<MAX_HEAD>),
    /// The beginning of a payload.
    Payload(Head, Vec<u8>),
}

/// The head of a frame.
#[derive(Debug, Clone, Copy)]
struct Head {
    binary: bool,
    len: usize,
}

impl Head {
    /// Takes a head off `input`, or the beginning of one.
    fn take(input: &mut &[u8], limit: usize) -> Result<Result<Self, Begun<MAX_HEAD>>, StreamError> {
        if let Some((head, size)) = Self::decode(input, limit)? {
            *input = &input[size..];
            return Ok(Ok(head));
        }
        let mut begun = Begun::new();
        begun.extend(input);
        *input = &[];
        Ok(Err(begun))
    }

    /// Reads a head from the start of `bytes`, and says how many it took; `None` if it is not all there.
    fn decode(bytes: &[u8], limit: usize) -> Result<Option<(Self, usize)>, StreamError> {
        let Some((&first, rest)) = bytes.split_first() else {
            return Ok(None);
        };
        let (len, size) = match first & !BINARY {
            126 => match rest.first_chunk() {
                Some(len) => (u64::from(u16::from_be_bytes(*len)), 3),
                None => return Ok(None),
            },
            127 => match rest.first_chunk() {
                Some(len) => (u64::from_be_bytes(*len), 9),
                None => return Ok(None),
            },
            short => (u64::from(short), 1),
        };
        let binary = first & BINARY != 0;
        if len == 0 && !binary {
            return Err(StreamError::Empty);
        }
        match usize::try_from(len) {
            Ok(len) if len <= limit => Ok(Some((Self { binary, len }, size))),
            Ok(_) | Err(_) => Err(StreamError::TooBig),
        }
    }

    fn received(self, payload: Cow<'_, [u8]>) -> Result<StreamFrame<'_>, StreamError> {
        if self.binary {
            return Ok(StreamFrame::Binary(payload));
        }
        let text = match payload {
            Cow::Borrowed(bytes) => simdutf8::basic::from_utf8(bytes).ok().map(Cow::Borrowed),
            Cow::Owned(bytes) => String::from_utf8(bytes).ok().map(Cow::Owned),
        };
        text.map(StreamFrame::Text).ok_or(StreamError::InvalidUtf8)
    }
}
