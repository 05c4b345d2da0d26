//! Applications that are built in: the relay, which needs no code, and the one of Rust handlers. Before any
//! application stand the verification of tokens and the admin page.
//!
//! This room may use [`socketio`](crate::socketio) and what is below.

pub(crate) mod admin;
pub mod auth;
pub mod handlers;
pub mod relay;
