//! What a node counts outside of its shards: any thread may write.

use adapter::{Counter, Histogram};

use super::{CallName, Code, Family, ReloadCounters, Suspect, Timed, TokenReason, TokenResult};

/// Everything that a node counts outside of its shards.
#[derive(Default)]
pub(crate) struct NodeCounters {
    pub(crate) tokens: Family<TokenResult, Counter>,
    pub(crate) token_refreshes: Family<TokenResult, Counter>,
    /// Why tokens were refused, those at connect and those sent later.
    pub(crate) token_faults: Timed<TokenReason, Counter>,
    pub(crate) tokens_expired: Counter,
    pub(crate) internal_refused: Family<Suspect, Counter>,
    /// Nodes that could not prove to each other that they know `cluster.secret`.
    pub(crate) secret_mismatches: Counter,
    pub(crate) api_requests: Family<CallName, Counter>,
    pub(crate) api_errors: Family<Code, Counter>,
    pub(crate) api_duration: Histogram,
    pub(crate) reloads: ReloadCounters,
}
