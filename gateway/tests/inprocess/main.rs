//! A node with scripted clients: what its applications, limits, metrics and log promise.

#![allow(clippy::unwrap_used, reason = "the helpers of tests are tests, too")]

mod admin;
mod admission;
mod allocations;
mod api;
mod auth;
mod changes;
mod cluster;
mod coalesce;
mod edges;
mod emit;
mod forward;
mod handlers;
mod history;
mod joins;
mod limits;
mod listen;
mod lists;
mod log_targets;
mod metrics_reference;
mod observe;
mod old_sessions;
mod openings;
mod otel;
mod pages;
mod panics;
mod presence;
mod rebalance;
mod relay;
mod reload;
mod runs;
mod status;
mod stop;
mod support;
mod tail;
mod tls;
mod top;
mod traces;
mod users;
mod vital;
mod webhook;
#[cfg(feature = "webtransport")]
mod webtransport;
mod whereabouts;
