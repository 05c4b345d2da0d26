//! Applications that are built in: the relay, which needs no code, and the one of Rust handlers; and
//! the verification of tokens, which stands before any application.
//!
//! This room may use [`socketio`](crate::socketio) and what is below.

pub mod auth;
pub mod handlers;
pub mod relay;
