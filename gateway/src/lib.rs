//! A horizontally scaled Socket.IO gateway.

pub mod assets;
pub mod config;
pub mod encoding;
pub mod websocket;
