//! The way from a node to the store of a namespace, over whatever wire.

use std::fmt;

use super::{Call, Heard, Reply};

/// The way to the store of one namespace. It has one connection after the other, each with a number.
///
/// ```text
///              Told::Connected(n)              Told::Broken
///   away ──────────────────────────► connected ────────────► away
/// ```
///
/// What it tells comes as [`Incoming::Store`](crate::Incoming::Store), in order. Dropping it ends it.
pub trait Link: fmt::Debug + Send + Sync {
    /// Makes a call by the connection of this number, without waiting for it. Each is answered by one
    /// [`Told::Reply`], in the order of the calls, or by none if [`Told::Broken`] comes first. A call for a
    /// connection that is gone is dropped, since [`Told::Broken`] was told for it.
    fn call(&self, connection: u64, call: &Call);
}

/// What a [`Link`] tells, and what the subscription brings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    /// Calls can be made by the connection of this number, which no connection before it had.
    Connected(u64),
    /// The connection is gone. What was asked and not answered gets no answer.
    Broken,
    /// To the call that was asked first of those that are not answered.
    Reply(Reply),
    /// The subscription brings this, from the store's namespace. Also what this node published itself.
    Heard(Heard),
    /// Whether all subscriptions that are wanted are in force, by one connection to the server that orders. What is
    /// heard between `true` and `false` has no hole. Before another connection brings anything, `false` is told.
    Listening(bool),
}
