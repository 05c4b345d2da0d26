//! What an admin page shows in place of the password when it comes back.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use ring::hmac;

use crate::config::Config;
use crate::net::ids::random_bytes;

/// How long a login lasts, as with Node's store of sessions.
const LIFETIME: Duration = Duration::from_secs(24 * 60 * 60);

/// Random bytes of an id: 128 bits.
const RANDOM: usize = 16;

/// The time behind them.
const TIME: usize = 8;

/// Issues ids of sessions, and knows them again. Nothing is kept of them: an id holds its end, and is signed. All nodes
/// of a cluster sign with the same key, so that a page may come back to any of them.
pub(super) struct Sessions {
    key: hmac::Key,
}

impl Sessions {
    /// The key comes from `cluster.secret`; a node that stands alone draws one. Another user or another password
    /// makes another key, so that sessions end with the password.
    pub(super) fn new(config: &Config, own: &[u8; 32]) -> Self {
        let secret = config.cluster.secret.as_ref();
        let secret = secret.map_or(&own[..], |secret| secret.expose());
        let admin = config.admin.as_ref();
        let (user, hash) = admin.map_or(("", ""), |admin| (&admin.user, admin.password.expose()));
        let of = hmac::Key::new(hmac::HMAC_SHA256, secret);
        let text = format!("gateway-admin-session/1\n{user}\n{hash}");
        let key = hmac::sign(&of, text.as_bytes());
        Self {
            key: hmac::Key::new(hmac::HMAC_SHA256, key.as_ref()),
        }
    }

    /// An id that is good from now on.
    pub(super) fn issue(&self, now: SystemTime) -> String {
        let mut id = Vec::with_capacity(RANDOM + TIME + 32);
        id.extend(random_bytes::<RANDOM>());
        id.extend(seconds(now + LIFETIME).to_be_bytes());
        let tag = hmac::sign(&self.key, &id);
        id.extend(tag.as_ref());
        BASE64_URL_SAFE_NO_PAD.encode(id)
    }

    /// Whether an id is one of this cluster, and not over. All that are wrong take the same time.
    pub(super) fn verify(&self, id: &str, now: SystemTime) -> bool {
        let Ok(id) = BASE64_URL_SAFE_NO_PAD.decode(id) else {
            return false;
        };
        let Some((text, tag)) = id.split_at_checked(RANDOM + TIME) else {
            return false;
        };
        let Some(end) = text.last_chunk::<TIME>() else {
            return false;
        };
        let is_signed = hmac::verify(&self.key, text, tag).is_ok();
        is_signed && seconds(now) < u64::from_be_bytes(*end)
    }
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(secret: &str, hash: &str) -> Config {
        Config::from_toml(&format!(
            "redis.url = \"redis://127.0.0.1\"\ncluster.secret = \"{secret}\"\n\
             admin.user = \"ann\"\nadmin.password = \"{hash}\"\n"
        ))
        .unwrap()
    }

    const SECRET: &str = "0123456789abcdef";
    const HASH: &str = "$2b$10$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy";
    const OTHER: &str = "$2b$10$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWe";

    #[test]
    fn every_node_of_a_cluster_knows_a_session_until_it_is_over() {
        let (one, other) = (
            Sessions::new(&config(SECRET, HASH), &[1; 32]),
            Sessions::new(&config(SECRET, HASH), &[2; 32]),
        );
        let now = SystemTime::now();
        let id = one.issue(now);
        assert!(one.verify(&id, now) && other.verify(&id, now));
        assert_ne!(id, one.issue(now));
        assert!(other.verify(&id, now + LIFETIME - Duration::from_secs(2)));
        assert!(!other.verify(&id, now + LIFETIME + Duration::from_secs(1)));
    }

    #[test]
    fn another_secret_or_another_password_ends_all_sessions() {
        let now = SystemTime::now();
        let id = Sessions::new(&config(SECRET, HASH), &[1; 32]).issue(now);
        for (secret, hash) in [("another secret of it", HASH), (SECRET, OTHER)] {
            let sessions = Sessions::new(&config(secret, hash), &[1; 32]);
            assert!(!sessions.verify(&id, now));
        }
        let alone = |own| {
            let mut config = config(SECRET, HASH);
            (config.redis, config.cluster.secret) = (None, None);
            Sessions::new(&config, &own)
        };
        let id = alone([1; 32]).issue(now);
        assert!(alone([1; 32]).verify(&id, now) && !alone([2; 32]).verify(&id, now));
    }

    #[test]
    fn what_is_made_up_is_no_session() {
        let sessions = Sessions::new(&config(SECRET, HASH), &[1; 32]);
        let now = SystemTime::now();
        let id = sessions.issue(now);
        let mut turned = BASE64_URL_SAFE_NO_PAD.decode(&id).unwrap();
        turned[RANDOM] = 0xff;
        let later = BASE64_URL_SAFE_NO_PAD.encode(turned);
        for wrong in [
            "",
            "zzz",
            "874ac7cc4b064911",
            &id[1..],
            &later,
            &"A".repeat(75),
        ] {
            assert!(!sessions.verify(wrong, now), "{wrong}");
        }
    }
}
