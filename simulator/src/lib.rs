//! A cluster with recovery, in one thread and without time: nodes made of the real pure machines of
//! `adapter::recovery`, a Redis that loses what it may lose, clients after the official client's rules, and a
//! network that delays, cuts and forgets. Everything is drawn from a seed, so each failure is one command.
//!
//! - [`plan`]: what may go wrong, and which rule is broken on purpose;
//! - [`net`]: time, connections and what is on its way;
//! - [`redis`], [`node`], [`client`]: who takes part;
//! - [`model`]: what was promised to whom, and whether it is kept;
//! - [`world`]: a run; [`shrink`]: a shorter one that fails as well.

#![expect(
    clippy::exhaustive_enums,
    clippy::exhaustive_structs,
    reason = "nobody else uses it than its program and its tests"
)]

pub mod client;
pub mod model;
pub mod net;
pub mod node;
pub mod plan;
pub mod redis;
pub mod shrink;
pub mod world;

pub use model::Finding;
pub use plan::{Chaos, Plan, Planted};
pub use world::{Report, run};
