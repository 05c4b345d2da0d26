//! What is counted, and the families of metrics that it makes.
//!
//! A shard counts for itself ([`ShardCounters`]); what any thread may count is in [`NodeCounters`] or
//! stands beside the code that counts it. The labels stand here, so that counting and exporting need
//! not know each other.

mod calls;
mod counter;
pub(crate) mod families;
mod forwarding;
mod histogram;
mod label;
mod node;
mod reloads;
mod shard;
mod timed;
mod tokens;
mod traffic;

pub(crate) use calls::{CallName, Code, Suspect};
pub(crate) use counter::{Family, ShardCounter};
pub(crate) use families::Export;
pub(crate) use forwarding::{Kind, Outcome, Unknown};
pub(crate) use histogram::ShardHistogram;
pub(crate) use label::{Label, Labels, Series, label};
pub(crate) use node::NodeCounters;
pub(crate) use reloads::{Asker, ReloadCounters, ReloadResult};
pub(crate) use shard::ShardCounters;
pub(crate) use timed::{Timed, now_millis};
pub(crate) use tokens::{TokenReason, TokenResult};
pub(crate) use traffic::{
    Origin, PacketType, ParserName, Refused, RevisionName, SlowCause, Upgraded,
};
