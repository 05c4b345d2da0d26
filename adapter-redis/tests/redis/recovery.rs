//! The store of recovery as a script, on real servers.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "one thing is expected, and all others are not"
)]

mod agree;
mod breaks;
mod measure;
pub(crate) mod wire;
