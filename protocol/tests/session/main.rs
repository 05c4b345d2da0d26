//! The session as a machine: scripted inputs, a virtual clock, exact outputs.

#![allow(clippy::unwrap_used, reason = "the helpers of tests are tests, too")]

mod closing;
mod deadline;
mod heartbeat;
mod old;
mod pair;
mod polling;
mod upgrade;
