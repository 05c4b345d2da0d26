//! What a node counts outside of its shards: any thread may write.

use std::sync::atomic::{AtomicU64, Ordering};

use super::{CallName, Code, DURATIONS, Label, Suspect};

/// Counts one thing.
#[derive(Debug, Default)]
pub(crate) struct Tally(AtomicU64);

impl Tally {
    pub(crate) fn increment(&self) {
        self.add(1);
    }

    /// Counts one, and says whether it is the first.
    pub(crate) fn is_first(&self) -> bool {
        self.0.fetch_add(1, Ordering::Relaxed) == 0
    }

    pub(crate) fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    pub(crate) fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// One tally for each value of a label.
#[derive(Debug)]
pub(crate) struct Tallies<L> {
    tallies: Box<[Tally]>,
    label: std::marker::PhantomData<L>,
}

impl<L: Label> Default for Tallies<L> {
    fn default() -> Self {
        Self {
            tallies: L::ALL.iter().map(|_| Tally::default()).collect(),
            label: std::marker::PhantomData,
        }
    }
}

impl<L: Label> Tallies<L> {
    pub(crate) fn of(&self, label: L) -> &Tally {
        &self.tallies[label.index()]
    }
}

/// How often durations fell into which bucket of [`DURATIONS`].
#[derive(Debug, Default)]
pub(crate) struct Durations {
    buckets: [Tally; DURATIONS.len() + 1],
    sum: Tally,
}

impl Durations {
    pub(crate) fn observe(&self, duration: std::time::Duration) {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        let bucket = DURATIONS.partition_point(|bound| *bound < nanos);
        self.buckets[bucket].increment();
        self.sum.add(nanos);
    }

    pub(crate) fn counts(&self) -> impl Iterator<Item = u64> {
        self.buckets.iter().map(Tally::value)
    }

    pub(crate) fn sum(&self) -> u64 {
        self.sum.value()
    }
}

/// What became of a token, as a metric label.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TokenResult {
    Accepted,
    Missing,
    Expired,
    Invalid,
    Forbidden,
    Unverifiable,
}

impl Label for TokenResult {
    const ALL: &'static [Self] = &[
        Self::Accepted,
        Self::Missing,
        Self::Expired,
        Self::Invalid,
        Self::Forbidden,
        Self::Unverifiable,
    ];

    fn index(self) -> usize {
        self as usize
    }

    fn label(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Missing => "missing",
            Self::Expired => "expired",
            Self::Invalid => "invalid",
            Self::Forbidden => "forbidden",
            Self::Unverifiable => "unverifiable",
        }
    }
}

/// Why a token is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TokenReason {
    Missing,
    /// It is no signed JSON Web Token.
    Malformed,
    /// It is signed in a way that no key is for.
    Algorithm,
    /// It names a key that is not published.
    Key,
    /// No key made its signature.
    Signature,
    Expired,
    NotYetValid,
    Issuer,
    Audience,
    /// A claim is missing or of the wrong type.
    Claim,
    Namespace,
    /// It is another user's.
    User,
    /// The keys cannot be had.
    Unverifiable,
}

impl Label for TokenReason {
    const ALL: &'static [Self] = &[
        Self::Missing,
        Self::Malformed,
        Self::Algorithm,
        Self::Key,
        Self::Signature,
        Self::Expired,
        Self::NotYetValid,
        Self::Issuer,
        Self::Audience,
        Self::Claim,
        Self::Namespace,
        Self::User,
        Self::Unverifiable,
    ];

    fn index(self) -> usize {
        self as usize
    }

    fn label(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Malformed => "malformed",
            Self::Algorithm => "algorithm",
            Self::Key => "key",
            Self::Signature => "signature",
            Self::Expired => "expired",
            Self::NotYetValid => "not_yet_valid",
            Self::Issuer => "issuer",
            Self::Audience => "audience",
            Self::Claim => "claim",
            Self::Namespace => "namespace",
            Self::User => "user",
            Self::Unverifiable => "unverifiable",
        }
    }
}

/// Everything that a node counts outside of its shards.
#[derive(Default)]
pub(crate) struct NodeTallies {
    pub(crate) tokens: Tallies<TokenResult>,
    pub(crate) token_refreshes: Tallies<TokenResult>,
    /// Why tokens were refused, those at connect and those sent later.
    pub(crate) token_faults: Tallies<TokenReason>,
    pub(crate) tokens_expired: Tally,
    pub(crate) internal_refused: Tallies<Suspect>,
    /// Nodes that could not prove to each other that they know `cluster.secret`.
    pub(crate) secret_mismatches: Tally,
    pub(crate) api_requests: Tallies<CallName>,
    pub(crate) api_errors: Tallies<Code>,
    pub(crate) api_duration: Durations,
}
