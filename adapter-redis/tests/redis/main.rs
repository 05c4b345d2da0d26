//! The adapter on real Redis servers, beside real Node servers and emitters. Needs `redis-server`,
//! `node`, and `npm ci` in `tests/node`; nothing here is skipped when something is missing.

#![allow(clippy::unwrap_used, reason = "tests")]

mod gateway;
mod peer;
mod server;

mod classic;
mod clusters;
mod interest;
mod measure;
mod members;
mod outage;
mod panics;
mod presence;
mod records;
mod recovery;
mod security;
mod sharded;
