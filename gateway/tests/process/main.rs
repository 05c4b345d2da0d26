//! The program as processes: signals and its end, its log, and the commands that ask another one.

#![allow(clippy::unwrap_used, reason = "the helpers of tests are tests, too")]

mod descriptors;
mod doctor;
mod listen;
mod log;
mod proxy;
mod signals;
mod support;
