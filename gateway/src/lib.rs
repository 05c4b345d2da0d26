//! A horizontally scaled Socket.IO gateway.

pub mod assets;
pub mod encoding;
