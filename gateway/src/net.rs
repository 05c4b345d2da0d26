//! What nodes are made of that knows nothing of sessions: bytes and addresses, time and rates, ids.
//!
//! It may use [`count`](crate::count) and [`config`](crate::config). Every room above may use it.

pub mod assets;
pub(crate) mod budget;
pub(crate) mod crypto;
pub(crate) mod descriptors;
pub mod encoding;
pub mod ids;
pub(crate) mod listener;
pub(crate) mod outbound;
pub(crate) mod proxy;
pub(crate) mod query;
#[cfg(feature = "webtransport")]
pub(crate) mod quic;
pub(crate) mod rate;
pub(crate) mod scratch;
pub(crate) mod spell;
pub(crate) mod stream;
pub(crate) mod time;
pub(crate) mod tls;
pub(crate) mod tls_stream;
pub(crate) mod told;
pub mod trust;
pub(crate) mod vital;
