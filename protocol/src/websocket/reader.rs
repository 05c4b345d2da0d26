//! From the bytes of a connection to whole messages, keeping memory only for what is unfinished.

use std::borrow::Cow;
use std::mem;

use super::begun::Begun;
pub use super::frame::FrameError;
use super::frame::{CloseCode, Frame, MAX_HEAD, OpCode, Rules, decode_close, split_off};
use super::message::Message;

/// How many fragments a message may have, so that one that never ends does end.
///
/// Fragments are joined as they arrive and cost no memory of their own. Node's `ws`, where they do,
/// stops at 16384; Autobahn sends 65536.
pub const MAX_FRAGMENTS: u32 = 1 << 17;

/// Reads the frames of one client.
///
/// The shard reads a connection that became readable into its scratch buffer and calls
/// [`Reader::next`] until nothing is left of it. A frame that is all there is taken where it lies.
/// Only a frame or a message that is not all there is copied, and freed when it was handed out, so
/// that an idle connection holds one null pointer.
///
/// What a stream of bytes yields does not depend on how it was cut into pieces.
#[derive(Debug, Default)]
pub struct Reader {
    partial: Option<Box<Partial>>,
}

/// What the client sent: a whole message, or a control frame.
#[expect(
    clippy::exhaustive_enums,
    reason = "who drives the machine does something for each"
)]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Received<'a> {
    /// A text message.
    Text(Cow<'a, str>),
    /// A binary message.
    Binary(Cow<'a, [u8]>),
    /// To be answered with a [`pong_frame`](super::frame::pong_frame) of the same payload.
    Ping(Cow<'a, [u8]>),
    /// Nothing to do.
    Pong,
    /// To be answered with a [`close_frame`](super::frame::close_frame) of the same code, unless a
    /// close was sent before. What follows it is not to be read.
    Close(Option<CloseCode>),
}

impl Reader {
    /// A reader at the start of a connection.
    pub const fn new() -> Self {
        Self { partial: None }
    }

    /// Takes the next message or control frame out of `input`; if it is not all there, takes in
    /// everything and returns `None`.
    ///
    /// A message of exactly `limit` bytes is allowed, a longer one is refused as soon as the head
    /// of the frame that makes it so is there.
    ///
    /// # Errors
    ///
    /// If the client sends what is no frame of a client, or what the limits forbid. Nothing more can be read then: the
    /// rest of `input` is dropped, and the reader should be. [`FrameError::close_code`] tells the client.
    #[inline]
    pub fn next<'a>(
        &mut self,
        input: &mut &'a mut [u8],
        limit: usize,
    ) -> Result<Option<Received<'a>>, FrameError> {
        let next = self.read(input, limit);
        match &next {
            Ok(_) if self.partial.as_ref().is_some_and(|it| !it.is_empty()) => {}
            Ok(_) => self.partial = None,
            Err(_) => {
                self.partial = None;
                *input = &mut [];
            }
        }
        next
    }

    /// How many bytes the reader keeps on the heap: a constant, and at most twice the bytes of the
    /// unfinished message that it was given.
    pub fn held(&self) -> usize {
        self.partial.as_ref().map_or(0, |partial| {
            let message = partial.message.as_ref();
            size_of::<Partial>() + partial.control.capacity() + message.map_or(0, Message::capacity)
        })
    }

    #[inline]
    fn read<'a>(
        &mut self,
        input: &mut &'a mut [u8],
        limit: usize,
    ) -> Result<Option<Received<'a>>, FrameError> {
        while let Some(mut frame) = self.next_frame(input, limit)? {
            let piece = frame.take(input);
            let done = frame.rest == 0;
            if piece.is_empty() && !done {
                self.partial().frame = Some(frame);
                return Ok(None);
            }

            if frame.opcode.is_control() {
                let Some(payload) = self.join_control(piece, done) else {
                    self.partial().frame = Some(frame);
                    return Ok(None);
                };
                return received_control(frame.opcode, payload).map(Some);
            }

            if done && frame.fin && !self.is_amid_message() {
                return received_data(frame.opcode, piece).map(Some);
            }
            let partial = self.partial();
            let message = partial
                .message
                .get_or_insert_with(|| Message::new(frame.opcode));
            message.append(piece, frame, limit)?;
            if !done {
                partial.frame = Some(frame);
                return Ok(None);
            }
            message.fragments += 1;
            if !frame.fin {
                continue;
            }
            if let Some(message) = partial.message.take() {
                return message.finish().map(Some);
            }
        }
        Ok(None)
    }

    /// The frame whose payload comes next in `input`: the one that was begun, or a new one; `None`
    /// if not even its head is all there.
    #[inline]
    fn next_frame(
        &mut self,
        input: &mut &mut [u8],
        limit: usize,
    ) -> Result<Option<Frame>, FrameError> {
        let rules = self.rules(limit);
        let Some(partial) = &mut self.partial else {
            return self.new_frame(input, rules);
        };
        if let Some(frame) = partial.frame.take() {
            return Ok(Some(frame));
        }
        if partial.head.is_empty() {
            return self.new_frame(input, rules);
        }
        let before = partial.head.len();
        let added = partial.head.extend(input);
        let Some((frame, size)) = Frame::decode(partial.head.bytes(), rules)? else {
            split_off(input, added);
            return Ok(None);
        };
        partial.head = Begun::new();
        split_off(input, size - before);
        Ok(Some(frame))
    }

    #[inline]
    fn new_frame(
        &mut self,
        input: &mut &mut [u8],
        rules: Rules,
    ) -> Result<Option<Frame>, FrameError> {
        if let Some((frame, size)) = Frame::decode(input, rules)? {
            split_off(input, size);
            return Ok(Some(frame));
        }
        if !input.is_empty() {
            let added = self.partial().head.extend(input);
            split_off(input, added);
        }
        Ok(None)
    }

    #[inline]
    fn rules(&self, limit: usize) -> Rules {
        match self.partial.as_ref().and_then(|it| it.message.as_ref()) {
            Some(message) => Rules {
                continuations: Some(MAX_FRAGMENTS - message.fragments),
                room: limit.saturating_sub(message.len()),
            },
            None => Rules {
                continuations: None,
                room: limit,
            },
        }
    }

    /// The payload of a control frame once its last piece is here.
    #[inline]
    fn join_control<'a>(&mut self, piece: &'a [u8], done: bool) -> Option<Cow<'a, [u8]>> {
        let begun = self
            .partial
            .as_ref()
            .is_some_and(|it| !it.control.is_empty());
        if done && !begun {
            return Some(Cow::Borrowed(piece));
        }
        let control = &mut self.partial().control;
        control.extend_from_slice(piece);
        done.then(|| Cow::Owned(mem::take(control)))
    }

    #[inline]
    fn is_amid_message(&self) -> bool {
        self.partial.as_ref().is_some_and(|it| it.message.is_some())
    }

    fn partial(&mut self) -> &mut Partial {
        self.partial.get_or_insert_with(|| Box::new(Partial::new()))
    }
}

#[inline]
fn received_control(opcode: OpCode, payload: Cow<'_, [u8]>) -> Result<Received<'_>, FrameError> {
    if opcode == OpCode::Close {
        decode_close(&payload).map(Received::Close)
    } else if opcode == OpCode::Ping {
        Ok(Received::Ping(payload))
    } else {
        Ok(Received::Pong)
    }
}

#[inline]
fn received_data(opcode: OpCode, payload: &[u8]) -> Result<Received<'_>, FrameError> {
    if opcode == OpCode::Text {
        let text = simdutf8::basic::from_utf8(payload).map_err(|_| FrameError::InvalidUtf8)?;
        Ok(Received::Text(text.into()))
    } else {
        Ok(Received::Binary(payload.into()))
    }
}

/// What is kept of a frame or a message that is not all there.
#[derive(Debug)]
struct Partial {
    /// The head of a frame, not all there.
    head: Begun<MAX_HEAD>,
    /// A frame whose head is there and whose payload is not.
    frame: Option<Frame>,
    /// The payload of `frame` as far as it is there, if it is a control frame, which may stand
    /// between the fragments of `message`.
    control: Vec<u8>,
    /// The message as far as it is there.
    message: Option<Message>,
}

impl Partial {
    const fn new() -> Self {
        Self {
            head: Begun::new(),
            frame: None,
            control: Vec::new(),
            message: None,
        }
    }

    fn is_empty(&self) -> bool {
        self.head.is_empty()
            && self.frame.is_none()
            && self.control.is_empty()
            && self.message.is_none()
    }
}
