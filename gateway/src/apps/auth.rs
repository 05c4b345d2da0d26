//! Clients' tokens: who may connect, and what the application lets them do.
//!
//! `Authenticated` wraps any application. It decides in `connect`, and keeps the user and the
//! claims with the socket. It takes a new token by the event `token`, and closes the session of a
//! socket whose token has expired.
//!
//! ```text
//!             token valid                    exp                     exp + grace
//! Connecting ------------> Valid ---------------------> Expired ------------------> closed
//!      |                   ^   | `token` event           | (the client is told)
//!      |                   +---+---------<---------------+ `token` event
//!      +--no token, bad, expired, wrong namespace--> connect_error
//! ```

use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde::Deserialize;
use serde_json::json;
use tracing::{debug, info};

use crate::config;
use crate::count::{TokenReason, TokenResult};
use crate::engine::handshake::Handshake;
use crate::net::outbound::Outbound;
use crate::socketio::Gateway;
use crate::socketio::application::{
    Admission, Application, Connect, DisconnectReason, Flow, LocalFuture, Refusal, ServerSideEvent,
};
use crate::socketio::event::{Ack, Event};
use crate::socketio::socket::Socket;

mod algorithm;
pub mod claims;
mod expiry;
mod fault;
pub mod issue;
mod jwk;
mod jwks;
mod kept_out;
mod keys;
mod presented;
mod verifier;
pub mod verify;

pub use crate::socketio::claims::{Claims, Right};
use fault::Fault;
pub use keys::KeyError;
pub(crate) use presented::bearer;
use presented::{Sources, bare};
use verifier::{Verification, Verifier};

/// The event by which a client sends a new token, and by which it is told that its own expired.
const TOKEN_EVENT: &str = "token";

/// Longest time in seconds for which an expiry is waited: three years.
const LONGEST: f64 = 1e8;

/// An application whose clients need a token.
#[derive(Clone)]
pub(crate) struct Authenticated(Arc<Shared>);

struct Shared {
    application: Arc<dyn Application>,
    rules: RwLock<Arc<Rules>>,
}

/// What tokens have to be like, which a reload changes.
pub(crate) struct Rules {
    verifier: Verifier,
    /// Where clients may show their tokens.
    sources: Sources,
    /// How long a socket stays after its token expired.
    grace: Duration,
}

impl Authenticated {
    /// Wraps an application, if the configuration wants tokens.
    pub(crate) fn wrap(
        application: &Arc<dyn Application>,
        config: &config::Config,
        outbound: Option<&Arc<Outbound>>,
    ) -> Result<Option<Self>, KeyError> {
        let Some(verifier) = Verifier::new(&config.auth, outbound)? else {
            return Ok(None);
        };
        let rules = Rules::new(verifier, config);
        Ok(Some(Self(Arc::new(Shared {
            application: Arc::clone(application),
            rules: RwLock::new(Arc::new(rules)),
        }))))
    }

    /// The rules of another configuration. Keys that are published at the same place stay known. `None` if
    /// it wants no tokens.
    pub(crate) fn prepare(
        &self,
        config: &config::Config,
        outbound: Option<&Arc<Outbound>>,
    ) -> Result<Option<Rules>, KeyError> {
        let Some(mut verifier) = Verifier::new(&config.auth, outbound)? else {
            return Ok(None);
        };
        verifier.remember(&self.0.rules().verifier);
        Ok(Some(Rules::new(verifier, config)))
    }

    /// Has other rules for tokens that come from now on.
    pub(crate) fn take_over(&self, rules: Rules) {
        let mut current = self.0.rules.write().unwrap_or_else(PoisonError::into_inner);
        *current = Arc::new(rules);
    }
}

impl Rules {
    fn new(verifier: Verifier, config: &config::Config) -> Self {
        Self {
            verifier,
            sources: Sources::new(config),
            grace: config.auth.grace,
        }
    }
}

impl Shared {
    fn rules(&self) -> Arc<Rules> {
        let rules = self.rules.read();
        Arc::clone(&rules.unwrap_or_else(PoisonError::into_inner))
    }

    /// The token is good: is it for this namespace? Keeps what it says with the socket.
    fn accept(&self, socket: &Socket, claims: Claims) -> Result<(), Fault> {
        if !claims.allows_namespace(socket.namespace()) {
            let why = "the token does not name this namespace";
            return Err(Fault::of(TokenReason::Namespace, "namespaces", why));
        }
        socket.set_claims(claims);
        Ok(())
    }

    /// A client that is connected sent another token.
    fn replace(&self, socket: &Socket, claims: Claims) -> Result<(), Fault> {
        let before = socket.user();
        if before.as_deref() != claims.user() {
            let why = "the token is another user's than the one before";
            return Err(Fault::of(TokenReason::User, "sub", why));
        }
        if socket.is_denied_with(&claims) {
            let why = "it is revoked, or its user is blocked";
            return Err(Fault::new(TokenReason::Revoked, why));
        }
        self.accept(socket, claims)?;
        self.watch(socket);
        Ok(())
    }

    /// Has the socket told and closed when its token is over.
    fn watch(&self, socket: &Socket) {
        if let Some(claims) = socket.claims()
            && socket.is_connected()
        {
            let left =
                Duration::from_secs_f64((claims.expires_at() - unix_now()).clamp(0.0, LONGEST));
            expiry::watch(socket, Instant::now() + left, self.rules().grace);
        }
    }

    fn answer(&self, socket: &Socket, ack: Option<Ack>, result: Result<(), Fault>) {
        let gateway = socket.gateway();
        let tokens = &gateway.node().counters().token_refreshes;
        match result {
            Ok(()) => {
                tokens.of(TokenResult::Accepted).increment();
                let expires = socket.claims().map_or(0.0, |claims| claims.expires_at());
                // Rounded down: whole seconds are what tokens are made with.
                if let Some(ack) = ack {
                    ack.send_json(&json!({"ok": true, "expires_at": expires as u64}));
                }
            }
            Err(fault) => {
                tokens.of(fault.result()).increment();
                refused(socket, &fault, "new token refused");
                if let Some(ack) = ack {
                    ack.refuse(fault.code(), fault.message());
                }
            }
        }
    }

    fn refresh(self: &Arc<Self>, socket: &Socket, mut event: Event<'_>) -> Flow {
        let ack = event.take_ack();
        let Ok((Sent::Token(token) | Sent::Object { token },)) = event.parse::<(Sent,)>() else {
            let why = "the event holds no token: a string, or an object with `token`";
            let missing = Fault::new(TokenReason::Missing, why);
            self.answer(socket, ack, Err(missing));
            return Flow::Done;
        };
        match self.rules().verifier.verify(bare(&token)) {
            Verification::Now(result) => {
                let replaced = result.and_then(|claims| self.replace(socket, claims));
                self.answer(socket, ack, replaced);
                Flow::Done
            }
            Verification::Later(result) => {
                let (shared, socket) = (Arc::clone(self), socket.clone());
                Flow::Pending(Box::pin(async move {
                    let replaced = result
                        .await
                        .and_then(|claims| shared.replace(&socket, claims));
                    shared.answer(&socket, ack, replaced);
                }))
            }
        }
    }

    /// The same of a token that there is. Its bearer may be kept out all the same.
    fn decided_by(
        &self,
        socket: &Socket,
        token: &str,
        result: Result<Claims, Fault>,
    ) -> Result<(), Refusal> {
        self.decided(socket, result)?;
        if let Some(denial) = socket.denial() {
            kept_out::remember(socket.gateway().node().users(), token, denial);
        }
        Ok(())
    }

    fn decided(&self, socket: &Socket, result: Result<Claims, Fault>) -> Result<(), Refusal> {
        let accepted = result.and_then(|claims| self.accept(socket, claims));
        let gateway = socket.gateway();
        let tokens = &gateway.node().counters().tokens;
        match accepted {
            Ok(()) => {
                tokens.of(TokenResult::Accepted).increment();
                Ok(())
            }
            Err(fault) => {
                tokens.of(fault.result()).increment();
                refused(socket, &fault, "token refused");
                let data = json!({"code": fault.code()});
                let refusal = Refusal::new(fault.message()).with_data(&data);
                Err(match fault.result() {
                    TokenResult::Unverifiable => refusal.for_now(),
                    TokenResult::Accepted
                    | TokenResult::Missing
                    | TokenResult::Expired
                    | TokenResult::Invalid
                    | TokenResult::Forbidden => refusal,
                })
            }
        }
    }
}

/// What stands in the `token` event: the token itself, or an object as in `auth`.
#[derive(Deserialize)]
#[serde(untagged)]
enum Sent {
    Token(String),
    Object { token: String },
}

impl Application for Authenticated {
    fn admit(&self, handshake: &Handshake) -> Admission {
        self.0.application.admit(handshake)
    }

    fn has_namespace(&self, namespace: &str) -> bool {
        self.0.application.has_namespace(namespace)
    }

    fn identify(&self, socket: &Socket) -> Connect {
        let rules = self.0.rules();
        let token = match rules.sources.presented(socket) {
            Ok(token) => token,
            Err(error) => {
                let refused = self.0.decided(socket, Err(error));
                return refused.map_or_else(Connect::Refuse, |()| Connect::Accept);
            }
        };
        let gateway = socket.gateway();
        // A trace wants to know whose token it is.
        let is_traced = socket.session().shard().traces().is_any();
        let known = || kept_out::known(gateway.node().users(), &token);
        if let Some(refusal) = (!is_traced).then(known).flatten() {
            return Connect::Refuse(refusal);
        }
        let verification = rules.verifier.verify(bare(&token));
        match verification {
            Verification::Now(result) => match self.0.decided_by(socket, &token, result) {
                Ok(()) => self.0.application.identify(socket),
                Err(refusal) => Connect::Refuse(refusal),
            },
            Verification::Later(result) => {
                let (shared, socket) = (Arc::clone(&self.0), socket.clone());
                Connect::Pending(Box::pin(async move {
                    shared.decided_by(&socket, &token, result.await)?;
                    shared.application.identify(&socket).decided().await
                }))
            }
        }
    }

    fn connect(&self, socket: &Socket) -> Connect {
        self.0.application.connect(socket)
    }

    fn recovered(&self, socket: &Socket) {
        self.0.application.recovered(socket);
    }

    fn connected(&self, socket: &Socket) {
        self.0.watch(socket);
        self.0.application.connected(socket);
    }

    fn event(&self, socket: &Socket, event: Event<'_>) -> Flow {
        if event.name() == TOKEN_EVENT {
            self.0.refresh(socket, event)
        } else {
            self.0.application.event(socket, event)
        }
    }

    fn rate_limited(&self, socket: &Socket, event: Event<'_>) {
        self.0.application.rate_limited(socket, event);
    }

    fn disconnecting(&self, socket: &Socket, reason: DisconnectReason) {
        expiry::forget(socket);
        self.0.application.disconnecting(socket, reason);
    }

    fn disconnect(&self, socket: &Socket, reason: DisconnectReason) {
        self.0.application.disconnect(socket, reason);
    }

    fn server_side_event(&self, gateway: &Gateway, event: ServerSideEvent<'_>) {
        self.0.application.server_side_event(gateway, event);
    }
}

/// Counts a token that is refused, and says why. What may be wrong with the configuration, and not
/// with the client, is said where everybody reads it, once.
fn refused(socket: &Socket, fault: &Fault, what: &'static str) {
    let gateway = socket.gateway();
    let counters = gateway.node().counters();
    let first = counters.token_faults.now(fault.reason).is_first();
    let reason = fault.label();
    let (socket_id, namespace) = (socket.id(), socket.namespace());
    let claim = fault.claim.unwrap_or_default();
    debug!(target: "gateway::auth", socket = %socket_id, namespace, reason, claim, why = %fault.why, "{what}");
    if first && fault.may_be_configuration() {
        info!(target: "gateway::auth",
            reason,
            claim,
            why = %fault.why,
            "a token was refused for this reason, the first of this node; the others are counted \
             by gateway_tokens_refused_total and logged at debug"
        );
    }
}

/// Seconds since 1970.
pub(crate) fn unix_now() -> f64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs_f64()
}

/// A decision that takes time.
type Later = LocalFuture<Result<Claims, Fault>>;
