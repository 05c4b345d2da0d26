//! Keys that an issuer publishes, fetched when they are needed.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hyper::Uri;
use tracing::{debug, info, warn};

use super::fault::Fault;
use super::jwk::{Set, shown};
use super::keys::Key;
use super::verifier::Header;
use crate::count::TokenReason;
use crate::net::outbound::Outbound;

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

/// Most keys that are named in the log because they cannot be used.
const MAX_NAMED: usize = 500;

/// The published keys.
pub(super) struct Jwks {
    url: Uri,
    refresh: Duration,
    outbound: Arc<Outbound>,
    state: Mutex<State>,
    /// Held while a fetch is under way, so that there is one at a time.
    fetching: tokio::sync::Mutex<()>,
}

#[derive(Clone, Default)]
struct State {
    keys: Arc<[Key]>,
    /// When the keys were fetched.
    fetched: Option<Instant>,
    /// When a fetch ended last, and whether it failed.
    attempted: Option<(Instant, bool)>,
    /// Counts the fetches.
    attempts: u64,
    /// Why the last fetch failed, if that was said.
    lament: Option<String>,
    /// The keys that were named as not usable, so that each is once.
    named: Vec<String>,
}

/// What is known about a token's key.
pub(super) enum Lookup {
    Keys(Arc<[Key]>),
    Fetch(Fetch),
    Unknown(Fault),
}

/// A fetch that is under way.
type Fetch = Pin<Box<dyn Future<Output = ()> + Send>>;

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

    /// Knows what another one knows of the same place.
    pub(super) fn remember(&self, other: &Self) {
        if self.url == other.url {
            let known = other.state().clone();
            *self.state() = known;
        }
    }

    /// The keys that may have signed a token, or a fetch that may bring them.
    pub(super) fn look_up(self: &Arc<Self>, header: &Header) -> Lookup {
        let now = Instant::now();
        let state = self.state();
        let found = state.known(now, self.refresh, header);
        let fresh = state.age(now).is_some_and(|age| age < self.refresh);
        drop(state);
        match found {
            Ok(keys) => {
                if !fresh {
                    // It goes on by itself.
                    drop(self.renew());
                }
                Lookup::Keys(keys)
            }
            Err(fault) => self.renew().map_or(Lookup::Unknown(fault), Lookup::Fetch),
        }
    }

    /// The same, without a fetch.
    pub(super) fn known(&self, header: &Header) -> Result<Arc<[Key]>, Fault> {
        self.state().known(Instant::now(), self.refresh, header)
    }

    /// Begins a fetch, unless one was made just now.
    pub(super) fn renew(self: &Arc<Self>) -> Option<Fetch> {
        let state = self.state();
        if !state.may_fetch(Instant::now()) {
            return None;
        }
        let seen = state.attempts;
        drop(state);
        let this = Arc::clone(self);
        let fetched = self.outbound.spawn(async move { this.fetch(seen).await });
        Some(Box::pin(async move {
            // A fetch that was aborted left the keys as they were.
            let _ended = fetched.await;
        }))
    }

    /// Fetches, unless somebody else did since `seen`.
    async fn fetch(&self, seen: u64) {
        let _turn = self.fetching.lock().await;
        if self.state().attempts != seen {
            return;
        }
        let body = self.outbound.get(&self.url, TIMEOUT, MAX_BYTES).await;
        let set = body
            .map_err(|error| error.to_string())
            .and_then(|body| Set::parse(&body));
        self.state().take(Instant::now(), set);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn age(&self, now: Instant) -> Option<Duration> {
        self.fetched.map(|fetched| now.duration_since(fetched))
    }

    /// What a fetch brought. Keys stay until there are others.
    fn take(&mut self, now: Instant, set: Result<Set, String>) {
        self.attempts += 1;
        let set = set.and_then(|set| {
            self.name(&set);
            if set.keys.is_empty() {
                let (refused, others) = (set.refused.len(), set.others.len());
                return Err(format!(
                    "it holds no key that can be used ({refused} refused, {others} for something else)"
                ));
            }
            Ok(set.keys)
        });
        self.attempted = Some((now, set.is_err()));
        match set {
            Ok(keys) => {
                if self.lament.take().is_some() {
                    info!(target: "gateway::auth::jwks",
                        keys = keys.len(),
                        "published keys fetched again (auth.jwks_url)"
                    );
                }
                debug!(target: "gateway::auth::jwks", keys = keys.len(), "published keys fetched");
                self.keys = keys.into();
                self.fetched = Some(now);
            }
            Err(error) if self.lament.as_ref() == Some(&error) => {
                debug!(target: "gateway::auth::jwks", %error, "published keys cannot be fetched");
            }
            Err(error) => {
                let kept = self.keys.len();
                warn!(target: "gateway::auth::jwks", %error, kept, "published keys cannot be fetched (auth.jwks_url); those that are known stay");
                self.lament = Some(error);
            }
        }
    }

    /// Names the keys that cannot be used, each once.
    fn name(&mut self, set: &Set) {
        for key in set.refused.iter().chain(&set.others) {
            if self.named.len() >= MAX_NAMED || self.named.contains(key) {
                continue;
            }
            self.named.push(key.clone());
            if set.refused.contains(key) {
                warn!(target: "gateway::auth::jwks", %key, "a published key cannot be used (auth.jwks_url)");
            } else {
                info!(target: "gateway::auth::jwks", %key, "a published key is not for tokens (auth.jwks_url)");
            }
        }
    }

    /// The keys that may have signed a token.
    fn known(&self, now: Instant, refresh: Duration, header: &Header) -> Result<Arc<[Key]>, Fault> {
        let failed = self.attempted.is_some_and(|(_, failed)| failed);
        let usable = self.age(now).is_some_and(|age| age < refresh + STALE);
        if !usable {
            let why = "the issuer's keys cannot be fetched (auth.jwks_url)";
            return Err(Fault::new(TokenReason::Unverifiable, why));
        }
        match self.find(header) {
            Some(keys) => Ok(keys),
            // It may be one of the keys that could not be fetched.
            None if failed => {
                let why = "its key is not known, and the issuer's keys cannot be fetched now";
                Err(Fault::of(TokenReason::Unverifiable, "kid", why))
            }
            None => Err(unknown(header)),
        }
    }

    fn may_fetch(&self, now: Instant) -> bool {
        self.attempted.is_none_or(|(at, failed)| {
            let pause = if failed { PAUSE_AFTER_FAILURE } else { PAUSE };
            now.duration_since(at) >= pause
        })
    }

    /// The keys of the token's name, or else those that have none; all of its algorithm.
    fn find(&self, header: &Header) -> Option<Arc<[Key]>> {
        let of = |name: Option<&String>| -> Arc<[Key]> {
            let named = |key: &&Key| name.is_none() || name == key.id.as_ref();
            let fits = |key: &&Key| named(key) && key.verifies(header.algorithm);
            self.keys.iter().filter(fits).cloned().collect()
        };
        let nameless = |key: &&Key| key.id.is_none() && key.verifies(header.algorithm);
        let mut found = of(header.key.as_ref());
        if found.is_empty() {
            found = self.keys.iter().filter(nameless).cloned().collect();
        }
        (!found.is_empty()).then_some(found)
    }
}

fn unknown(header: &Header) -> Fault {
    let algorithm = header.algorithm;
    match &header.key {
        Some(key) => {
            let why = format!("no published key {} for {algorithm}", shown(key));
            Fault::of(TokenReason::Key, "kid", why)
        }
        None => Fault::new(
            TokenReason::Key,
            format!("no published key for {algorithm}"),
        ),
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use serde_json::json;

    use super::super::algorithm::Algorithm;
    use super::*;

    const REFRESH: Duration = Duration::from_secs(300);

    fn set() -> Set {
        let n = URL_SAFE_NO_PAD.encode([0xfb; 256]);
        let x = URL_SAFE_NO_PAD.encode([1; 32]);
        let keys = json!([
            {"kty": "RSA", "kid": "r", "use": "sig", "n": n, "e": "AQAB"},
            {"kty": "RSA", "kid": "r", "n": n, "e": "AQAB", "alg": "RS256"},
            {"kty": "EC", "kid": "e", "crv": "P-256", "alg": "ES256", "x": x, "y": x},
            {"kty": "OKP", "crv": "Ed25519", "x": x},
            {"kty": "oct", "kid": "s", "k": "AQAB"},
        ]);
        Set::parse(json!({"keys": keys}).to_string().as_bytes()).unwrap()
    }

    fn state(fetched: Instant) -> State {
        let mut state = State::default();
        state.take(fetched, Ok(set()));
        state
    }

    fn header(algorithm: &str, key: Option<&str>) -> Header {
        Header {
            algorithm: Algorithm::parse(algorithm).unwrap(),
            key: key.map(Into::into),
        }
    }

    #[test]
    fn a_key_is_found_by_its_name_and_its_algorithm() {
        let state = state(Instant::now());
        let found = |algorithm, id| state.find(&header(algorithm, id)).map(|keys| keys.len());
        assert_eq!(found("RS256", Some("r")), Some(2));
        assert_eq!(found("PS512", None), Some(1));
        assert_eq!(found("ES256", Some("r")), None);
        assert_eq!(found("HS256", Some("s")), None);
        assert_eq!(found("RS256", Some("../../etc/passwd")), None);
        // A key without a name may be any token's.
        assert_eq!(found("EdDSA", Some("new")), Some(1));
    }

    #[test]
    fn keys_are_used_until_they_are_too_old() {
        let now = Instant::now();
        let state = state(now);
        let wanted = header("RS256", Some("r"));
        let reason = |state: &State, at| {
            let known = state.known(at, REFRESH, &wanted);
            known.map(|_| ()).map_err(|fault| fault.reason)
        };
        assert_eq!(reason(&state, now + REFRESH), Ok(()));
        let late = now + REFRESH + STALE;
        assert_eq!(reason(&state, late), Err(TokenReason::Unverifiable));
        let none = State::default();
        assert_eq!(reason(&none, now), Err(TokenReason::Unverifiable));
        assert!(none.may_fetch(now) && !state.may_fetch(now + Duration::from_secs(9)));
        assert!(state.may_fetch(now + PAUSE));
    }

    #[test]
    fn good_keys_stay_when_an_answer_holds_none() {
        let now = Instant::now();
        let mut state = state(now);
        let wanted = header("RS256", Some("r"));
        for body in [
            r#"{"keys":[]}"#,
            "{}",
            r#"{"keys":[{"kty":"RSA","kid":"x"}]}"#,
        ] {
            state.take(now, Set::parse(body.as_bytes()));
            assert!(state.known(now, REFRESH, &wanted).is_ok(), "{body}");
            // Soon again, and what is not known may be among what could not be had.
            assert!(state.may_fetch(now + PAUSE_AFTER_FAILURE));
            let other = state.known(now, REFRESH, &header("RS256", Some("new")));
            assert_eq!(
                other.err().map(|fault| fault.reason),
                Some(TokenReason::Unverifiable)
            );
        }
        assert_eq!(state.named.len(), 2, "{:?}", state.named);
    }
}
