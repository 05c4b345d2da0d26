//! A message that is not all there: joined, and its text checked, piece by piece.

use std::str;

use super::begun::Begun;
use super::frame::{Frame, FrameError, OpCode};
use super::reader::Received;

/// What is there of a message.
#[derive(Debug)]
pub(super) struct Message {
    body: Body,
    /// How many of its frames are whole.
    pub(super) fragments: u32,
}

#[derive(Debug)]
enum Body {
    /// Text that was checked, and the beginning of a character after it.
    Text(String, Begun<4>),
    Binary(Vec<u8>),
}

impl Message {
    pub(super) const fn new(opcode: OpCode) -> Self {
        let body = if matches!(opcode, OpCode::Text) {
            Body::Text(String::new(), Begun::new())
        } else {
            Body::Binary(Vec::new())
        };
        Self { body, fragments: 0 }
    }

    pub(super) fn len(&self) -> usize {
        match &self.body {
            Body::Text(text, begun) => text.len() + begun.len(),
            Body::Binary(bytes) => bytes.len(),
        }
    }

    pub(super) fn capacity(&self) -> usize {
        match &self.body {
            Body::Text(text, _) => text.capacity(),
            Body::Binary(bytes) => bytes.capacity(),
        }
    }

    /// Adds a piece of the payload of `frame`; `limit` is how long the message may become.
    pub(super) fn append(
        &mut self,
        piece: &[u8],
        frame: Frame,
        limit: usize,
    ) -> Result<(), FrameError> {
        let room = self.room_for(piece.len(), frame, limit);
        match &mut self.body {
            Body::Text(text, begun) => {
                text.reserve_exact(room - text.len());
                append_text(text, begun, piece)
            }
            Body::Binary(bytes) => {
                bytes.reserve_exact(room - bytes.len());
                bytes.extend_from_slice(piece);
                Ok(())
            }
        }
    }

    pub(super) fn finish<'a>(self) -> Result<Received<'a>, FrameError> {
        match self.body {
            Body::Text(text, begun) if begun.is_empty() => Ok(Received::Text(text.into())),
            Body::Text(..) => Err(FrameError::InvalidUtf8),
            Body::Binary(bytes) => Ok(Received::Binary(bytes.into())),
        }
    }

    /// How many bytes to have room for when `count` more are there. At most twice of what is there,
    /// since the rest is only a claim, and no bytes that cannot come.
    fn room_for(&self, count: usize, frame: Frame, limit: usize) -> usize {
        let needed = self.len() + count;
        if needed <= self.capacity() {
            return needed;
        }
        let most = if frame.fin {
            needed + frame.rest
        } else {
            limit
        };
        needed.max(most.min(2 * self.len()))
    }
}

fn append_text(
    text: &mut String,
    begun: &mut Begun<4>,
    mut piece: &[u8],
) -> Result<(), FrameError> {
    while !begun.is_empty() && !piece.is_empty() {
        begun.extend(&piece[..1]);
        piece = &piece[1..];
        if let Some(character) = check_begun(begun.bytes())? {
            text.push_str(character);
            *begun = Begun::new();
        }
    }
    let (whole, rest) = piece.split_at(piece.len() - count_begun(piece));
    text.push_str(simdutf8::basic::from_utf8(whole).map_err(|_| FrameError::InvalidUtf8)?);
    if !rest.is_empty() {
        check_begun(rest)?;
        begun.extend(rest);
    }
    Ok(())
}

/// The character that these bytes are, or `None` if they only begin one.
fn check_begun(bytes: &[u8]) -> Result<Option<&str>, FrameError> {
    match str::from_utf8(bytes) {
        Ok(character) => Ok(Some(character)),
        Err(error) if error.error_len().is_none() => Ok(None),
        Err(_) => Err(FrameError::InvalidUtf8),
    }
}

/// How many bytes at the end of `piece` may begin a character.
fn count_begun(piece: &[u8]) -> usize {
    let is_first = |byte: &u8| byte & 0xc0 != 0x80;
    let Some(after) = piece.iter().rev().take(3).position(is_first) else {
        return 0;
    };
    let length = match piece[piece.len() - 1 - after] {
        0xc0..=0xdf => 2,
        0xe0..=0xef => 3,
        0xf0..=0xff => 4,
        _ => 1,
    };
    if length > after + 1 { after + 1 } else { 0 }
}
