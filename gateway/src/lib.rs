//! A horizontally scaled Socket.IO gateway.

pub mod config;
pub mod websocket;
