//! What is counted, and the families of metrics that it makes.
//!
//! A shard counts for itself ([`Counters`]); whatever any thread may count is a [`Tally`]. The labels
//! stand here, so that who counts and who exports need not know each other.

mod calls;
mod counter;
pub(crate) mod families;
mod forwarding;
mod tally;

pub(crate) use calls::{CallName, Code, Suspect};
pub(crate) use counter::{
    Counter, Counters, DURATIONS, Distribution, Family, Label, Origin, PacketType, Refused,
    SlowCause, Upgraded,
};
pub(crate) use families::Export;
pub(crate) use forwarding::{Kind, Outcome, Unknown};
pub(crate) use tally::{Durations, NodeTallies, Tallies, Tally, TokenReason, TokenResult};
