//! A horizontally scaled Socket.IO gateway.
