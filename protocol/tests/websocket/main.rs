//! The reader of WebSocket frames: exact outcomes, and the promise of the fuzz target `frames`.

#[path = "../../fuzz/src/lib.rs"]
pub mod properties;

mod frames;
mod reader;
