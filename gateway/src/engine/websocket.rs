//! The task of one WebSocket. Its frames are [`protocol::websocket`]'s.

pub(crate) mod driver;
