//! Tokens that are good and whose bearers are kept out, so that those who try again and again cost no signature.
//!
//! A shard keeps what tells them apart. It is as good as verifying them again: as long as nobody changes who is
//! kept out, a token in it would be refused, whatever else has become of it. Off, it costs a look at a number.

use std::cell::RefCell;
use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};

use crate::socketio::application::Refusal;
use crate::users::{Denial, Users};

/// Most tokens that a shard remembers so.
const MAX_KEPT_OUT: usize = 1024;

thread_local! {
    static KEPT_OUT: RefCell<KeptOut> = RefCell::default();
}

#[derive(Default)]
struct KeptOut {
    /// Two keys of this thread's own, so that nobody finds two tokens that look alike.
    keys: (RandomState, RandomState),
    /// How often the node had changed who is kept out.
    changes: u64,
    tokens: HashMap<(u64, u64), Denial>,
}

/// Why the bearer of a token is kept out, if this is known already.
pub(super) fn known(users: &Users, token: &str) -> Option<Refusal> {
    if users.are_all_welcome() {
        return None;
    }
    KEPT_OUT.with_borrow_mut(|kept_out| {
        kept_out.keep_up(users);
        if kept_out.tokens.is_empty() {
            return None;
        }
        let denial = kept_out.tokens.get(&kept_out.look(token))?;
        users.is_in_force(denial).then(|| {
            users.counters.refused.now(denial.cause.into()).increment();
            denial.refusal()
        })
    })
}

/// The bearer of a token that is good is kept out.
pub(super) fn remember(users: &Users, token: &str, denial: Denial) {
    KEPT_OUT.with_borrow_mut(|kept_out| {
        kept_out.keep_up(users);
        if kept_out.tokens.len() >= MAX_KEPT_OUT {
            kept_out.tokens.clear();
        }
        let look = kept_out.look(token);
        kept_out.tokens.insert(look, denial);
    });
}

impl KeptOut {
    fn keep_up(&mut self, users: &Users) {
        let changes = users.changes();
        if self.changes != changes {
            self.changes = changes;
            self.tokens.clear();
        }
    }

    /// What tells a token from others.
    fn look(&self, token: &str) -> (u64, u64) {
        (self.keys.0.hash_one(token), self.keys.1.hash_one(token))
    }
}

#[cfg(test)]
mod tests {
    use adapter::Record;

    use super::*;

    #[test]
    fn a_token_is_known_until_somebody_changes_who_is_kept_out() {
        let users = Users::default();
        let record = |stamp, body: &str| Record {
            name: "user:ann".to_owned(),
            stamp,
            until: None,
            body: body.to_owned(),
        };
        assert!(known(&users, "t").is_none());
        users.take(&[record(1, "{}")]);
        let denial = users.denial(Some("ann"), None).unwrap();
        assert!(known(&users, "t").is_none());
        remember(&users, "t", denial.clone());
        assert!(known(&users, "t").is_some() && known(&users, "u").is_none());
        let over = Denial {
            until: Some(1),
            ..denial.clone()
        };
        remember(&users, "over", over);
        assert!(known(&users, "over").is_none());
        for number in 0..2 * MAX_KEPT_OUT {
            remember(&users, &number.to_string(), denial.clone());
        }
        let held = KEPT_OUT.with_borrow(|it| it.tokens.len());
        assert!(held <= MAX_KEPT_OUT, "{held}");
        remember(&users, "t", denial);
        users.take(&[
            record(2, "{\"lifted\":true}"),
            Record {
                name: "user:bob".into(),
                ..record(3, "{}")
            },
        ]);
        assert!(known(&users, "t").is_none());
    }
}
