//! The Redis wire between nodes.

mod codec;
pub mod wire;

pub use codec::{DecodeError, EncodeError};
