//! The frame reader on any bytes, whole and in pieces.
//!
//! It takes the reader's files and not the gateway, which would take minutes to build instrumented.

#![no_main]

#[allow(dead_code)]
#[path = "../../src/engine/websocket"]
mod websocket {
    mod begun;
    pub mod frame;
    mod message;
    pub mod pieces;
    pub mod reader;
}

libfuzzer_sys::fuzz_target!(|data: &[u8]| websocket::pieces::check(data));
