//! What programs of other languages use: webhooks, the stream of events, and the HTTP API.
//!
//! This room may use [`apps`](crate::apps) and what is below. The server starts it.

pub(crate) mod api;
pub(crate) mod binary;
pub(crate) mod event_stream;
pub(crate) mod webhook;
pub(crate) mod words;
