//! What the tests of all crates share.
//!
//! - [`ports`]: ports of loopback that nobody listens on;
//! - [`program`]: a program that a test starts, and that ends with it;
//! - [`wait`]: waiting for what is expected, with an end;
//! - [`proxy`]: a proxy that a test bends between two sides.
//!
//! A failure is a panic, as in a test.

#![allow(clippy::unwrap_used, reason = "the helpers of tests are tests, too")]

pub mod ports;
pub mod program;
pub mod proxy;
pub mod wait;
