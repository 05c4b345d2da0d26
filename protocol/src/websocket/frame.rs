//! Frames: what stands before a payload, what may be wrong with it, and how frames are written.

mod close;
mod error;
mod head;
mod mask;
mod opcode;
mod write;

pub use self::close::{CloseCode, close_frame};
pub use self::error::FrameError;
pub use self::mask::apply_mask;
pub use self::opcode::OpCode;
pub use self::write::{
    MAX_CONTROL_PAYLOAD, ServerFrame, frame_len, pong_frame, push_frame, push_head,
    push_masked_frame,
};

pub(super) use self::close::decode_close;
pub(super) use self::head::{Frame, MAX_HEAD, Rules, split_off};
