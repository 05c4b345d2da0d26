//! Users that are blocked, and tokens that are revoked.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use adapter::RecordsError;
#[cfg(test)]
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::backend::words::User;
use crate::config;
use crate::count::Code;
use crate::net::time::timestamp;
use crate::socketio::Gateway;
use crate::socketio::blocks::{Change, ChangeError};
use crate::users::{Body, Listed, MAX_TOKEN_NAME, Subject};

#[cfg(test)]
mod schemas;

/// The longest time for which somebody is kept out, unless it is for ever.
const MAX_LASTS: Duration = Duration::from_secs(10 * 366 * 24 * 3600);

/// The last second of the year 9999, as `date-time` can say it.
const MAX_TIME: f64 = 253_402_300_799.0;

/// Most characters of a reason.
const MAX_REASON: usize = 200;

/// A user that is kept out.
#[derive(Debug, Deserialize)]
#[cfg_attr(test, derive(JsonSchema))]
#[serde(deny_unknown_fields)]
pub(super) struct Block {
    user: User,
    /// For how long; without it until somebody unblocks the user.
    #[serde(rename = "for")]
    lasts: Option<Lasts>,
    /// What clients are told, as `reason` in the error's data.
    reason: Option<Reason>,
}

/// A user that is let in again.
#[derive(Debug, Deserialize)]
#[cfg_attr(test, derive(JsonSchema))]
#[serde(deny_unknown_fields)]
pub(super) struct Unblock {
    user: User,
}

/// Tokens that are not taken any more: one of `jti` and `user`.
#[derive(Debug, Deserialize)]
#[cfg_attr(test, derive(JsonSchema))]
#[serde(deny_unknown_fields)]
#[cfg_attr(test, schemars(extend("oneOf" = schemas::one_of_them())))]
pub(super) struct Revoke {
    /// The token of this name.
    jti: Option<TokenName>,
    /// The tokens of this user.
    user: Option<User>,
    /// With `user`: those that were issued (`iat`) until then, this second too, in seconds since 1970; without
    /// it until now. Tokens that do not say when they were issued are all refused.
    #[cfg_attr(test, schemars(extend("minimum" = 0, "maximum" = MAX_TIME)))]
    issued_until: Option<f64>,
    /// For how long this is remembered: at least as long as the tokens are good. Without it, for ever.
    #[serde(rename = "for")]
    lasts: Option<Lasts>,
}

/// Tokens that are taken again: one of `jti` and `user`.
#[derive(Debug, Deserialize)]
#[cfg_attr(test, derive(JsonSchema))]
#[serde(deny_unknown_fields)]
#[cfg_attr(test, schemars(extend("oneOf" = schemas::one_of_them())))]
pub(super) struct Unrevoke {
    /// The token of this name.
    jti: Option<TokenName>,
    /// The tokens of this user.
    user: Option<User>,
}

/// The name of a token.
#[derive(Debug, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct TokenName(String);

/// A duration of at least a second: `90s`, `12h`, `30d`.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Lasts(Duration);

/// A sentence for clients.
#[derive(Debug, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Reason(String);

/// It is in force on every node.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(JsonSchema))]
pub(super) struct Barred {
    /// Always true.
    ok: bool,
    /// When it ends by itself; null if it does not.
    #[cfg_attr(test, schemars(extend("format" = "date-time")))]
    until: Option<String>,
}

/// Users, by their names.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(JsonSchema))]
pub(super) struct Blocks {
    blocks: Vec<BlockEntry>,
    /// The cursor of the next page; null at the end.
    next: Option<String>,
}

/// A user that is blocked.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(JsonSchema))]
struct BlockEntry {
    user: String,
    /// When it ends by itself; null if it does not.
    #[cfg_attr(test, schemars(extend("format" = "date-time")))]
    until: Option<String>,
    reason: Option<String>,
}

/// Tokens, those with a name first.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(JsonSchema))]
pub(super) struct Revocations {
    revocations: Vec<RevocationEntry>,
    /// The cursor of the next page; null at the end.
    next: Option<String>,
}

/// Tokens that are revoked: of a name, or of a user.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(JsonSchema))]
struct RevocationEntry {
    jti: Option<String>,
    user: Option<String>,
    /// Of a user: those that were issued until then, in seconds since 1970.
    issued_until: Option<f64>,
    /// When it ends by itself; null if it does not.
    #[cfg_attr(test, schemars(extend("format" = "date-time")))]
    until: Option<String>,
}

/// Why it is not in force on every node.
#[derive(Debug)]
pub(super) enum NotChanged {
    /// The call is wrong.
    Call(&'static str),
    /// The call is right.
    Node(ChangeError),
}

impl NotChanged {
    pub(super) fn code(&self) -> Code {
        match self {
            Self::Call(_) => Code::BadRequest,
            Self::Node(ChangeError::Store(RecordsError::Full)) => Code::Full,
            Self::Node(ChangeError::Store(RecordsError::Away(_) | RecordsError::Refused(_))) => {
                Code::Unavailable
            }
            Self::Node(ChangeError::NotEverywhere(_)) => Code::NotEverywhere,
        }
    }
}

impl std::fmt::Display for NotChanged {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Call(why) => f.write_str(why),
            Self::Node(error) => error.fmt(f),
        }
    }
}

pub(super) async fn block(gateway: &Gateway, call: Block) -> Result<Barred, NotChanged> {
    let body = Body {
        reason: call.reason.map(|reason| reason.0),
        ..Body::default()
    };
    let change = Change {
        subject: Subject::User(call.user.0),
        lasts: call.lasts.map(|lasts| lasts.0),
        body,
    };
    changed(gateway, change).await
}

pub(super) async fn unblock(gateway: &Gateway, call: Unblock) -> Result<Barred, NotChanged> {
    lifted(gateway, Subject::User(call.user.0)).await
}

pub(super) async fn revoke(gateway: &Gateway, call: Revoke) -> Result<Barred, NotChanged> {
    let subject = tokens(call.jti, call.user)?;
    let issued_until = match (&subject, call.issued_until) {
        (Subject::TokensOf(_), Some(until)) if !(0.0..=MAX_TIME).contains(&until) => {
            return Err(NotChanged::Call(
                "issued_until: it is not between 1970 and the year 9999, in seconds",
            ));
        }
        (Subject::TokensOf(_), until) => Some(until.unwrap_or_else(now)),
        (Subject::Token(_) | Subject::User(_), None) => None,
        (Subject::Token(_) | Subject::User(_), Some(_)) => {
            return Err(NotChanged::Call("issued_until goes with user"));
        }
    };
    let change = Change {
        subject,
        lasts: call.lasts.map(|lasts| lasts.0),
        body: Body {
            issued_until,
            ..Body::default()
        },
    };
    changed(gateway, change).await
}

pub(super) async fn unrevoke(gateway: &Gateway, call: Unrevoke) -> Result<Barred, NotChanged> {
    lifted(gateway, tokens(call.jti, call.user)?).await
}

pub(super) fn blocks(gateway: &Gateway, after: Option<&str>, most: usize) -> Blocks {
    let (listed, next) = page(gateway, &["user:"], after, most);
    let entries = listed.into_iter().map(|it| BlockEntry {
        user: match it.subject {
            Subject::User(user) | Subject::TokensOf(user) | Subject::Token(user) => user,
        },
        until: it.until.map(timestamp),
        reason: it.body.reason,
    });
    Blocks {
        blocks: entries.collect(),
        next,
    }
}

pub(super) fn revocations(gateway: &Gateway, after: Option<&str>, most: usize) -> Revocations {
    let (listed, next) = page(gateway, &["token:", "tokens:"], after, most);
    let entries = listed.into_iter().map(|it| {
        let (jti, user) = match it.subject {
            Subject::Token(name) => (Some(name), None),
            Subject::TokensOf(user) | Subject::User(user) => (None, Some(user)),
        };
        RevocationEntry {
            jti,
            user,
            issued_until: it.body.issued_until,
            until: it.until.map(timestamp),
        }
    });
    Revocations {
        revocations: entries.collect(),
        next,
    }
}

fn page(
    gateway: &Gateway,
    kinds: &[&str],
    after: Option<&str>,
    most: usize,
) -> (Vec<Listed>, Option<String>) {
    let users = gateway.node().users();
    let (listed, more) = users.list_of(kinds, after, most);
    let last = listed.last().filter(|_| more);
    let next = last.map(|last| last.subject.to_name());
    (listed, next)
}

fn tokens(jti: Option<TokenName>, user: Option<User>) -> Result<Subject, NotChanged> {
    match (jti, user) {
        (Some(name), None) => Ok(Subject::Token(name.0)),
        (None, Some(user)) => Ok(Subject::TokensOf(user.0)),
        (None, None) | (Some(_), Some(_)) => Err(NotChanged::Call("one of jti and user is needed")),
    }
}

async fn lifted(gateway: &Gateway, subject: Subject) -> Result<Barred, NotChanged> {
    changed(gateway, Change::lift(subject)).await?;
    Ok(Barred {
        ok: true,
        until: None,
    })
}

async fn changed(gateway: &Gateway, change: Change) -> Result<Barred, NotChanged> {
    let until = gateway.node().change_users(change).await;
    Ok(Barred {
        ok: true,
        until: until.map_err(NotChanged::Node)?.map(timestamp),
    })
}

/// In seconds since 1970.
fn now() -> f64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.unwrap_or_default().as_secs_f64().floor()
}

impl TryFrom<String> for TokenName {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match (1..=MAX_TOKEN_NAME).contains(&text.chars().count()) {
            true => Ok(Self(text)),
            false => Err(format!(
                "a token has a name of 1 to {MAX_TOKEN_NAME} characters"
            )),
        }
    }
}

impl TryFrom<String> for Lasts {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let lasts = config::duration(&text)?;
        match (Duration::from_secs(1)..=MAX_LASTS).contains(&lasts) {
            true => Ok(Self(lasts)),
            false => Err("it is not between 1s and 3660d".to_owned()),
        }
    }
}

impl TryFrom<String> for Reason {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match text.chars().count() <= MAX_REASON {
            true => Ok(Self(text)),
            false => Err(format!("a reason has at most {MAX_REASON} characters")),
        }
    }
}
