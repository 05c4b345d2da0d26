//! A node with scripted clients: what its applications, limits, metrics and log promise.

mod emit;
mod handlers;
mod limits;
mod observe;
mod panics;
mod relay;
mod stop;
mod support;
