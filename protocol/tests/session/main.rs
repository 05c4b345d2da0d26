//! The session as a machine: scripted inputs, a virtual clock, exact outputs.

mod closing;
mod deadline;
mod heartbeat;
mod pair;
mod polling;
mod upgrade;
