//! Keys that an issuer publishes, fetched when they are needed.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hyper::Uri;
use jsonwebtoken::Header;
use jsonwebtoken::jwk::Jwk;
use serde::Deserialize;
use tracing::{debug, warn};

use super::keys::Key;
use super::verifier::TokenError;
use crate::outbound::Outbound;

/// Shortest time between two fetches for keys that are not known.
const PAUSE: Duration = Duration::from_secs(10);

/// The same after a fetch that failed.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_secs(1);

/// How long keys are used beyond their time when the issuer cannot be reached.
const STALE: Duration = Duration::from_secs(3600);

/// How long a fetch may take.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Largest set that is read, in bytes.
const MAX_BYTES: usize = 256 * 1024;

/// Most keys that are kept.
const MAX_KEYS: usize = 100;

/// The published keys.
pub(super) struct Jwks {
    url: Uri,
    refresh: Duration,
    outbound: Arc<Outbound>,
    state: Mutex<State>,
    /// Held while a fetch is under way, so that there is one at a time.
    fetching: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct State {
    keys: Arc<[Key]>,
    /// When the keys were fetched.
    fetched: Option<Instant>,
    /// When a fetch ended last, and whether it failed.
    attempted: Option<(Instant, bool)>,
    /// Counts the fetches.
    attempts: u64,
}

/// What is known about a token's key.
pub(super) enum Lookup {
    Keys(Arc<[Key]>),
    Fetch(Fetch),
    Unknown(TokenError),
}

/// The keys of a token, or why there are none.
type Fetch = Pin<Box<dyn Future<Output = Result<Arc<[Key]>, TokenError>> + Send>>;

impl Jwks {
    pub(super) fn new(url: Uri, refresh: Duration, outbound: Arc<Outbound>) -> Self {
        Self {
            url,
            refresh,
            outbound,
            state: Mutex::default(),
            fetching: tokio::sync::Mutex::new(()),
        }
    }

    /// The keys that may have signed a token, or a fetch that may bring them.
    pub(super) fn look_up(self: &Arc<Self>, header: &Header) -> Lookup {
        let now = Instant::now();
        let state = self.state();
        let found = state
            .usable(now, self.refresh)
            .and_then(|()| state.find(header));
        let fresh = state.age(now).is_some_and(|age| age < self.refresh);
        let may_fetch = state.may_fetch(now);
        let seen = state.attempts;
        drop(state);
        match found {
            Ok(keys) if fresh => Lookup::Keys(keys),
            Ok(keys) => {
                if may_fetch {
                    let this = Arc::clone(self);
                    self.outbound.spawn(async move { this.fetch(seen).await });
                }
                Lookup::Keys(keys)
            }
            Err(_) if may_fetch => {
                let this = Arc::clone(self);
                let fetched = self.outbound.spawn({
                    let this = Arc::clone(&this);
                    async move { this.fetch(seen).await }
                });
                let header = header.clone();
                Lookup::Fetch(Box::pin(async move {
                    // A fetch that was aborted left the keys as they were.
                    let _ended = fetched.await;
                    let state = this.state();
                    state.usable(Instant::now(), this.refresh)?;
                    state.find(&header)
                }))
            }
            Err(error) => Lookup::Unknown(error),
        }
    }

    /// Fetches, unless somebody else did since `seen`.
    async fn fetch(&self, seen: u64) {
        let _turn = self.fetching.lock().await;
        if self.state().attempts != seen {
            return;
        }
        let body = self.outbound.get(&self.url, TIMEOUT, MAX_BYTES).await;
        let keys = body
            .map_err(|error| error.to_string())
            .and_then(|body| parse(&body).map_err(|error| error.to_string()));
        let now = Instant::now();
        let mut state = self.state();
        state.attempts += 1;
        state.attempted = Some((now, keys.is_err()));
        match keys {
            Ok(keys) => {
                debug!(keys = keys.len(), "published keys fetched");
                state.keys = keys.into();
                state.fetched = Some(now);
            }
            Err(error) => warn!(%error, "published keys cannot be fetched (auth.jwks_url)"),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn age(&self, now: Instant) -> Option<Duration> {
        self.fetched.map(|fetched| now.duration_since(fetched))
    }

    /// Whether there are keys that are not too old.
    fn usable(&self, now: Instant, refresh: Duration) -> Result<(), TokenError> {
        match self.age(now) {
            Some(age) if age < refresh + STALE => Ok(()),
            Some(_) | None => Err(TokenError::Unverifiable),
        }
    }

    fn may_fetch(&self, now: Instant) -> bool {
        self.attempted.is_none_or(|(at, failed)| {
            let pause = if failed { PAUSE_AFTER_FAILURE } else { PAUSE };
            now.duration_since(at) >= pause
        })
    }

    /// The keys of the token's name; without a name, all of its algorithm.
    fn find(&self, header: &Header) -> Result<Arc<[Key]>, TokenError> {
        let named = |key: &&Key| header.kid.is_none() || header.kid == key.id;
        let fits = |key: &&Key| named(key) && key.verifies(header.alg);
        let found: Arc<[Key]> = self.keys.iter().filter(fits).cloned().collect();
        if found.is_empty() {
            Err(TokenError::Invalid)
        } else {
            Ok(found)
        }
    }
}

/// The usable keys of a set; others are passed over.
fn parse(body: &[u8]) -> Result<Vec<Key>, serde_json::Error> {
    #[derive(Deserialize)]
    struct Set {
        keys: Vec<serde_json::Value>,
    }
    let set: Set = serde_json::from_slice(body)?;
    let jwks = set.keys.into_iter().take(MAX_KEYS);
    let jwks = jwks.filter_map(|key| serde_json::from_value::<Jwk>(key).ok());
    Ok(jwks.filter_map(|jwk| Key::from_jwk(&jwk)).collect())
}

#[cfg(test)]
mod tests {
    use jsonwebtoken::Algorithm;

    use super::*;

    const SET: &str = r#"{"keys":[
        {"kty":"RSA","kid":"r","use":"sig","n":"AQAB","e":"AQAB"},
        {"kty":"EC","kid":"e","crv":"P-256","alg":"ES256","x":"AQAB","y":"AQAB"},
        {"kty":"OKP","kid":"d","crv":"Ed25519","x":"AQAB"},
        {"kty":"oct","kid":"s","k":"AQAB"},
        {"kty":"RSA","kid":"c","use":"enc","n":"AQAB","e":"AQAB"},
        {"kty":"new","kid":"n"}, 7]}"#;

    fn state(fetched: Instant) -> State {
        State {
            keys: parse(SET.as_bytes()).unwrap().into(),
            fetched: Some(fetched),
            attempted: Some((fetched, false)),
            attempts: 1,
        }
    }

    fn header(algorithm: Algorithm, id: Option<&str>) -> Header {
        let mut header = Header::new(algorithm);
        header.kid = id.map(Into::into);
        header
    }

    #[test]
    fn only_public_signature_keys_are_kept() {
        let keys = parse(SET.as_bytes()).unwrap();
        let ids: Vec<_> = keys.iter().filter_map(|key| key.id.as_deref()).collect();
        assert_eq!(ids, ["r", "e", "d"]);
        assert!(parse(b"[]").is_err());
    }

    #[test]
    fn a_key_is_found_by_its_name_and_its_algorithm() {
        let state = state(Instant::now());
        let found = |algorithm, id| state.find(&header(algorithm, id)).map(|keys| keys.len());
        assert_eq!(found(Algorithm::RS256, Some("r")), Ok(1));
        assert_eq!(found(Algorithm::RS512, None), Ok(1));
        assert_eq!(found(Algorithm::ES256, Some("r")), Err(TokenError::Invalid));
        assert_eq!(found(Algorithm::HS256, Some("s")), Err(TokenError::Invalid));
        assert_eq!(
            found(Algorithm::RS256, Some("../../etc/passwd")),
            Err(TokenError::Invalid)
        );
    }

    #[test]
    fn keys_are_used_until_they_are_too_old() {
        let now = Instant::now();
        let refresh = Duration::from_secs(300);
        let state = state(now);
        assert_eq!(state.usable(now + refresh, refresh), Ok(()));
        let late = now + refresh + STALE;
        assert_eq!(state.usable(late, refresh), Err(TokenError::Unverifiable));
        let none = State::default();
        assert_eq!(none.usable(now, refresh), Err(TokenError::Unverifiable));
        assert!(none.may_fetch(now) && !state.may_fetch(now + Duration::from_secs(9)));
        assert!(state.may_fetch(now + PAUSE));
    }
}
