use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures_util::FutureExt;
use protocol::engineio::CloseReason;

use super::{Admission, Application, Connect, DisconnectReason, Flow, Refusal, ServerSideEvent};
use crate::engine::guard::{guard, tell};
use crate::engine::handshake::Handshake;
use crate::socketio::event::Event;
use crate::socketio::gateway::Gateway;
use crate::socketio::socket::Socket;

/// What a client is told whose request made the application panic.
const INTERNAL_ERROR: &str = "Internal error";

/// An application whose panics hurt nobody but the client that they concern: it is refused, or its
/// session is closed.
pub(crate) struct Guarded(Arc<dyn Application>);

impl Guarded {
    pub(crate) fn new(application: Arc<dyn Application>) -> Self {
        Self(application)
    }
}

impl Application for Guarded {
    fn admit(&self, handshake: &Handshake) -> Admission {
        match guard("admit", || self.0.admit(handshake)) {
            Some(Admission::Pending(decision)) => Admission::Pending(Box::pin(async {
                let decided = AssertUnwindSafe(decision).catch_unwind().await;
                decided.unwrap_or_else(|_| {
                    tell("admit");
                    Err(INTERNAL_ERROR.to_owned())
                })
            })),
            Some(admission) => admission,
            None => Admission::Forbid(INTERNAL_ERROR.to_owned()),
        }
    }

    fn has_namespace(&self, namespace: &str) -> bool {
        guard("has_namespace", || self.0.has_namespace(namespace)).unwrap_or(false)
    }

    fn identify(&self, socket: &Socket) -> Connect {
        decide("identify", || self.0.identify(socket))
    }

    fn connect(&self, socket: &Socket) -> Connect {
        decide("connect", || self.0.connect(socket))
    }

    fn recovered(&self, socket: &Socket) {
        guard("recovered", || self.0.recovered(socket)).unwrap_or_else(|| close(socket));
    }

    fn connected(&self, socket: &Socket) {
        guard("connected", || self.0.connected(socket)).unwrap_or_else(|| close(socket));
    }

    fn event(&self, socket: &Socket, event: Event<'_>) -> Flow {
        match guard("event", || self.0.event(socket, event)) {
            Some(Flow::Pending(work)) => {
                let socket = socket.clone();
                Flow::Pending(Box::pin(async move {
                    if AssertUnwindSafe(work).catch_unwind().await.is_err() {
                        tell("event");
                        close(&socket);
                    }
                }))
            }
            Some(Flow::Done) => Flow::Done,
            None => {
                close(socket);
                Flow::Done
            }
        }
    }

    fn rate_limited(&self, socket: &Socket, event: Event<'_>) {
        guard("rate_limited", || self.0.rate_limited(socket, event))
            .unwrap_or_else(|| close(socket));
    }

    fn disconnecting(&self, socket: &Socket, reason: DisconnectReason) {
        guard("disconnecting", || self.0.disconnecting(socket, reason))
            .unwrap_or_else(|| close(socket));
    }

    fn disconnect(&self, socket: &Socket, reason: DisconnectReason) {
        guard("disconnect", || self.0.disconnect(socket, reason)).unwrap_or_else(|| close(socket));
    }

    fn server_side_event(&self, gateway: &Gateway, event: ServerSideEvent<'_>) {
        guard("server_side_event", || {
            self.0.server_side_event(gateway, event)
        });
    }
}

fn decide(name: &'static str, ask: impl FnOnce() -> Connect) -> Connect {
    match guard(name, ask) {
        Some(Connect::Pending(decision)) => Connect::Pending(Box::pin(async move {
            let decided = AssertUnwindSafe(decision).catch_unwind().await;
            decided.unwrap_or_else(|_| {
                tell(name);
                Err(Refusal::new(INTERNAL_ERROR))
            })
        })),
        Some(connect) => connect,
        None => Connect::Refuse(Refusal::new(INTERNAL_ERROR)),
    }
}

fn close(socket: &Socket) {
    socket.close_session(CloseReason::ForcedClose);
}
