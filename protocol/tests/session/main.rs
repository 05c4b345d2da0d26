//! The session as a machine: scripted inputs, a virtual clock, exact outputs.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod closing;
mod deadline;
mod heartbeat;
mod pair;
mod polling;
mod upgrade;
