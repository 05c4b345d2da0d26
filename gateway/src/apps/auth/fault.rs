//! Why a token is not taken: what the client is told, what is counted, and what is logged.

use std::borrow::Cow;
use std::fmt;

use crate::count::Label;
use crate::count::{TokenReason, TokenResult};

/// What is wrong with a token. Clients learn its kind alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(super) reason: TokenReason,
    /// The claim, or the part of the header, that is at fault.
    pub(super) claim: Option<&'static str>,
    /// What is wrong with it. It never holds the token.
    pub(super) why: Cow<'static, str>,
}

impl Fault {
    pub(super) fn new(reason: TokenReason, why: impl Into<Cow<'static, str>>) -> Self {
        Self {
            reason,
            claim: None,
            why: why.into(),
        }
    }

    /// The same of a claim.
    pub(super) fn of(
        reason: TokenReason,
        claim: &'static str,
        why: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self {
            reason,
            claim: Some(claim),
            why: why.into(),
        }
    }

    /// Its reason as a metric has it.
    pub(super) fn label(&self) -> &'static str {
        self.reason.label()
    }

    /// What clients' programs are told.
    pub(super) fn code(&self) -> &'static str {
        match self.result() {
            TokenResult::Missing => "token_missing",
            TokenResult::Expired => "token_expired",
            TokenResult::Accepted | TokenResult::Invalid => "token_invalid",
            TokenResult::Unverifiable => "token_unverifiable",
            TokenResult::Forbidden if self.reason == TokenReason::User => "forbidden",
            TokenResult::Forbidden if self.reason == TokenReason::Revoked => "token_revoked",
            TokenResult::Forbidden => "namespace_forbidden",
        }
    }

    /// What people are told at the client.
    pub(super) fn message(&self) -> &'static str {
        match self.result() {
            TokenResult::Missing => "a token is needed",
            TokenResult::Expired => "the token has expired",
            TokenResult::Accepted | TokenResult::Invalid => "the token is not valid",
            TokenResult::Unverifiable => "the token cannot be verified now",
            TokenResult::Forbidden if self.reason == TokenReason::User => {
                "the token is another user's"
            }
            TokenResult::Forbidden if self.reason == TokenReason::Revoked => "the token is revoked",
            TokenResult::Forbidden => "the token does not allow this namespace",
        }
    }

    /// Whether all tokens may be refused for it, because issuer and gateway are not set up alike.
    pub(super) fn may_be_configuration(&self) -> bool {
        match self.reason {
            TokenReason::Algorithm
            | TokenReason::Key
            | TokenReason::Signature
            | TokenReason::NotYetValid
            | TokenReason::Issuer
            | TokenReason::Audience
            | TokenReason::Claim
            | TokenReason::Unverifiable => true,
            TokenReason::Missing
            | TokenReason::Malformed
            | TokenReason::Expired
            | TokenReason::Namespace
            | TokenReason::User
            | TokenReason::Revoked => false,
        }
    }

    pub(super) fn result(&self) -> TokenResult {
        match self.reason {
            TokenReason::Missing => TokenResult::Missing,
            TokenReason::Expired => TokenResult::Expired,
            TokenReason::Malformed
            | TokenReason::Algorithm
            | TokenReason::Key
            | TokenReason::Signature
            | TokenReason::NotYetValid
            | TokenReason::Issuer
            | TokenReason::Audience
            | TokenReason::Claim => TokenResult::Invalid,
            TokenReason::Unverifiable => TokenResult::Unverifiable,
            TokenReason::Namespace | TokenReason::User | TokenReason::Revoked => {
                TokenResult::Forbidden
            }
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.claim {
            Some(claim) => write!(f, "{claim}: {}", self.why),
            None => f.write_str(&self.why),
        }
    }
}
