//! Clients' tokens: who may connect, and what the application lets them do.
//!
//! [`Authenticated`] wraps any application. It decides in `connect`, keeps the user and the claims
//! with the socket, takes a new token by the event `token`, and closes the session of a socket
//! whose token has expired.
//!
//! ```text
//!             token valid                    exp                     exp + grace
//! Connecting ------------> Valid ---------------------> Expired ------------------> closed
//!      |                   ^   | `token` event           | (the client is told)
//!      |                   +---+---------<---------------+ `token` event
//!      +--no token, bad, expired, wrong namespace--> connect_error
//! ```

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde::Deserialize;
use serde_json::json;
use tracing::debug;

use crate::application::{
    Admission, Application, Connect, DisconnectReason, Flow, LocalFuture, Refusal, ServerSideEvent,
};
use crate::config;
use crate::event::{Ack, Event};
use crate::handshake::Handshake;
use crate::node::Gateway;
use crate::outbound::Outbound;
use crate::socket::Socket;
use crate::tally::TokenResult;

pub mod claims;
mod expiry;
pub mod issue;
mod jwks;
mod keys;
mod verifier;

pub use claims::{Claims, Right};
pub use keys::KeyError;
pub use verifier::TokenError;
use verifier::{Verification, Verifier};

/// The event by which a client sends a new token, and by which it is told that its own expired.
const TOKEN_EVENT: &str = "token";

/// Longest time in seconds for which an expiry is waited: three years.
const LONGEST: f64 = 1e8;

/// An application whose clients need a token.
pub(crate) struct Authenticated(Arc<Shared>);

struct Shared {
    application: Arc<dyn Application>,
    verifier: Verifier,
    /// How long a socket stays after its token expired.
    grace: Duration,
}

/// Why a client may not connect, or its new token is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
enum AuthError {
    #[error("a token is needed")]
    Missing,
    #[error(transparent)]
    Token(#[from] TokenError),
    #[error("the token does not allow this namespace")]
    Namespace,
    #[error("the token is another user's")]
    OtherUser,
}

impl AuthError {
    fn code(self) -> &'static str {
        match self {
            Self::Missing => "token_missing",
            Self::Token(error) => error.code(),
            Self::Namespace => "namespace_forbidden",
            Self::OtherUser => "forbidden",
        }
    }

    fn result(self) -> TokenResult {
        match self {
            Self::Missing => TokenResult::Missing,
            Self::Token(TokenError::Expired) => TokenResult::Expired,
            Self::Token(TokenError::Invalid) => TokenResult::Invalid,
            Self::Token(TokenError::Unverifiable) => TokenResult::Unverifiable,
            Self::Namespace | Self::OtherUser => TokenResult::Forbidden,
        }
    }

    fn refusal(self) -> Refusal {
        let refusal = Refusal::new(self.to_string()).with_data(&json!({"code": self.code()}));
        match self {
            Self::Token(TokenError::Unverifiable) => refusal.for_now(),
            Self::Missing | Self::Token(_) | Self::Namespace | Self::OtherUser => refusal,
        }
    }
}

impl Authenticated {
    /// Wraps an application, if the configuration wants tokens.
    pub(crate) fn wrap(
        application: Arc<dyn Application>,
        auth: &config::Auth,
        outbound: Option<&Arc<Outbound>>,
    ) -> Result<Arc<dyn Application>, KeyError> {
        let Some(verifier) = Verifier::new(auth, outbound)? else {
            return Ok(application);
        };
        Ok(Arc::new(Self(Arc::new(Shared {
            application,
            verifier,
            grace: auth.grace,
        }))))
    }
}

impl Shared {
    /// The token is good: is it for this namespace? Keeps what it says with the socket.
    fn accept(&self, socket: &Socket, claims: Claims) -> Result<(), AuthError> {
        if !claims.allows_namespace(socket.namespace()) {
            return Err(AuthError::Namespace);
        }
        socket.set_claims(claims);
        Ok(())
    }

    /// A client that is connected sent another token.
    fn replace(&self, socket: &Socket, claims: Claims) -> Result<(), AuthError> {
        let before = socket.user();
        if before.as_deref() != claims.user() {
            return Err(AuthError::OtherUser);
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
            expiry::watch(socket, Instant::now() + left, self.grace);
        }
    }

    fn answer(&self, socket: &Socket, ack: Option<Ack>, result: Result<(), AuthError>) {
        let gateway = socket.gateway();
        let tokens = &gateway.node().tallies().token_refreshes;
        let answer = match result {
            Ok(()) => {
                tokens.of(TokenResult::Accepted).increment();
                let expires = socket.claims().map_or(0.0, |claims| claims.expires_at());
                // Rounded down: whole seconds are what tokens are made with.
                json!({"ok": true, "expires_at": expires as u64})
            }
            Err(error) => {
                tokens.of(error.result()).increment();
                debug!(socket = %socket.id(), %error, "new token refused");
                json!({"ok": false, "error": {"code": error.code(), "message": error.to_string()}})
            }
        };
        if let Some(ack) = ack
            && let Err(error) = ack.send((answer,))
        {
            debug!(socket = %socket.id(), %error, "acknowledgement not sent");
        }
    }

    fn refresh(self: &Arc<Self>, socket: &Socket, mut event: Event<'_>) -> Flow {
        let ack = event.take_ack();
        let Ok((Sent::Token(token) | Sent::Object { token },)) = event.parse::<(Sent,)>() else {
            self.answer(socket, ack, Err(AuthError::Missing));
            return Flow::Done;
        };
        match self.verifier.verify(&token) {
            Verification::Now(result) => {
                let result = result.map_err(AuthError::from);
                let replaced = result.and_then(|claims| self.replace(socket, claims));
                self.answer(socket, ack, replaced);
                Flow::Done
            }
            Verification::Later(result) => {
                let (shared, socket) = (Arc::clone(self), socket.clone());
                Flow::Pending(Box::pin(async move {
                    let result = result.await.map_err(AuthError::from);
                    let replaced = result.and_then(|claims| shared.replace(&socket, claims));
                    shared.answer(&socket, ack, replaced);
                }))
            }
        }
    }

    fn decided(&self, socket: &Socket, result: Result<Claims, AuthError>) -> Result<(), Refusal> {
        let accepted = result.and_then(|claims| self.accept(socket, claims));
        let gateway = socket.gateway();
        let tokens = &gateway.node().tallies().tokens;
        match accepted {
            Ok(()) => {
                tokens.of(TokenResult::Accepted).increment();
                Ok(())
            }
            Err(error) => {
                tokens.of(error.result()).increment();
                debug!(namespace = socket.namespace(), %error, "token refused");
                Err(error.refusal())
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

    fn connect(&self, socket: &Socket) -> Connect {
        let verification = match presented(socket) {
            Ok(token) => self.0.verifier.verify(&token),
            Err(error) => {
                let refused = self.0.decided(socket, Err(error));
                return refused.map_or_else(Connect::Refuse, |()| Connect::Accept);
            }
        };
        match verification {
            Verification::Now(result) => {
                match self.0.decided(socket, result.map_err(AuthError::from)) {
                    Ok(()) => self.0.application.connect(socket),
                    Err(refusal) => Connect::Refuse(refusal),
                }
            }
            Verification::Later(result) => {
                let (shared, socket) = (Arc::clone(&self.0), socket.clone());
                Connect::Pending(Box::pin(async move {
                    let result = result.await.map_err(AuthError::from);
                    shared.decided(&socket, result)?;
                    match shared.application.connect(&socket) {
                        Connect::Accept => Ok(()),
                        Connect::Refuse(refusal) => Err(refusal),
                        Connect::Pending(decision) => decision.await,
                    }
                }))
            }
        }
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

/// The token that a client shows: in `auth`, else in the header, else in the query.
fn presented(socket: &Socket) -> Result<String, AuthError> {
    #[derive(Deserialize)]
    struct Shown {
        token: Option<serde_json::Value>,
    }
    let shown = socket.auth::<Shown>().ok().and_then(|shown| shown.token);
    match shown {
        Some(serde_json::Value::String(token)) => return Ok(token),
        Some(serde_json::Value::Null) | None => {}
        Some(_) => return Err(TokenError::Invalid.into()),
    }
    let handshake = socket.handshake();
    let header = handshake.header("authorization").and_then(bearer);
    let token = header.map(str::to_owned);
    token
        .or_else(|| handshake.query_value("token"))
        .ok_or(AuthError::Missing)
}

/// The token of an `Authorization` header, if it is one of `Bearer`.
pub(crate) fn bearer(header: &[u8]) -> Option<&str> {
    let (scheme, token) = std::str::from_utf8(header).ok()?.split_once(' ')?;
    scheme
        .eq_ignore_ascii_case("bearer")
        .then_some(token.trim())
        .filter(|token| !token.is_empty())
}

/// Seconds since 1970.
pub(crate) fn unix_now() -> f64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs_f64()
}

/// A decision that takes time.
type Later = LocalFuture<Result<Claims, TokenError>>;
