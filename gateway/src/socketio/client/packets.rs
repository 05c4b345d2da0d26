//! What a client's messages mean to Socket.IO.

use std::rc::Rc;
use std::time::Duration;

use protocol::engineio::CloseReason;
use protocol::socketio::{Arguments, DecodeError, Event, Packet};
use tracing::{debug, trace};

use super::Client;
use super::old::{self, refused_namespace};
use crate::count::PacketType;
use crate::engine::session::Session;
use crate::engine::session::masked::{self, Masked};
use crate::otel::{self, Begun};
use crate::socketio::application::{Application, Connect, LocalFuture, Refusal};
use crate::socketio::event::{self, Ack};
use crate::socketio::reason::DisconnectReason;
use crate::socketio::socket::{Socket, State, Waiter};
use crate::socketio::spans::Connected;
use crate::socketio::traced::trace_refusal;

/// How long a client is kept waiting until other nodes reach it, before it is told that it is
/// connected all the same.
const REACHABLE_WITHIN: Duration = Duration::from_secs(2);

/// Why the client's packet was legal and yet out of place.
#[derive(Debug, thiserror::Error)]
pub(super) enum Violation {
    #[error(transparent)]
    Decode(#[from] DecodeError),
    #[error("already connected to the namespace")]
    AlreadyConnected,
    #[error("not connected to the namespace")]
    NotConnected,
}

/// A connect that the application is to decide about. If its client goes before, the task that waits for the
/// decision ends, and the span with it.
struct Undecided {
    socket: Socket,
    begun: Option<Begun>,
}

impl Drop for Undecided {
    fn drop(&mut self) {
        if let Some(begun) = self.begun.take() {
            let (session, namespace) = (self.socket.session(), self.socket.namespace());
            session.finish_connect(begun, namespace, Connected::Gone);
        }
    }
}

impl Client {
    pub(super) fn handle_packet(
        &self,
        session: &Rc<Session>,
        packet: &Packet<'_>,
    ) -> Result<(), Violation> {
        trace_packet(session, packet);
        let received = &session.shard().counters().packets_received;
        match packet {
            Packet::Connect { namespace, auth } => {
                received.of(PacketType::Connect).increment();
                self.connect(session, namespace, *auth)
            }
            Packet::Event {
                namespace,
                id,
                event,
            } => {
                let binary = !event.arguments.attachments().is_empty();
                received.of(PacketType::event(binary)).increment();
                let socket = self.connected(namespace)?;
                if session.is_traced() {
                    socket.trace_event(&event.name, *id, event.arguments);
                }
                if session.shard().top().is_on() {
                    socket.count_received();
                }
                if session.shard().show().is_on() {
                    socket.show_received(&event.name, event.arguments);
                }
                if socket.may_emit() {
                    self.dispatch(session, socket, *id, event);
                } else {
                    self.refuse_event(session, &socket, *id, event);
                }
                Ok(())
            }
            Packet::Ack {
                namespace,
                id,
                arguments,
            } => {
                let binary = !arguments.attachments().is_empty();
                received.of(PacketType::ack(binary)).increment();
                let socket = self.connected(namespace)?;
                if session.is_traced() {
                    socket.trace_ack(*id, *arguments);
                }
                self.handle_ack(&socket, *id, *arguments);
                Ok(())
            }
            Packet::Disconnect { namespace } => {
                received.of(PacketType::Disconnect).increment();
                let socket = self.find(namespace).ok_or(Violation::NotConnected)?;
                self.drop_socket(
                    session,
                    &socket,
                    DisconnectReason::ClientNamespaceDisconnect,
                );
                Ok(())
            }
        }
    }

    /// The client acknowledged; an id that nobody waits for is ignored.
    fn handle_ack(&self, socket: &Socket, id: u64, arguments: Arguments<'_>) {
        match socket.take_ack_waiter(id) {
            Some(Waiter::One(sender)) => {
                let _gone = sender.send(arguments.into());
            }
            Some(Waiter::Many(awaited)) => self.socket_io.acks.answer(awaited, arguments),
            None => {}
        }
    }

    /// The client emits more than it may.
    fn refuse_event(&self, session: &Session, socket: &Socket, id: Option<u64>, event: &Event<'_>) {
        session.shard().counters().events_rate_limited.increment();
        debug!(target: "gateway::session::packets", socket = %socket.id(), reason = "rate_limited", "event refused");
        if session.is_traced() {
            socket.trace_refused_event(&event.name, "rate_limited");
        }
        let ack = id.map(|id| Ack::new(socket.clone(), id));
        let event = event::Event::new(&event.name, event.arguments, ack);
        self.socket_io.application.rate_limited(socket, event);
    }

    fn connected(&self, namespace: &str) -> Result<Socket, Violation> {
        self.find(namespace)
            .filter(|socket| socket.state() == State::Connected)
            .ok_or(Violation::NotConnected)
    }

    pub(super) fn connect(
        &self,
        session: &Rc<Session>,
        namespace: &str,
        auth: Option<&str>,
    ) -> Result<(), Violation> {
        if self.find(namespace).is_some() {
            return Err(Violation::AlreadyConnected);
        }
        let application = &self.socket_io.application;
        if !application.has_namespace(namespace) {
            let refusal = refused_namespace(session.revision(), "Invalid namespace");
            refuse(session, namespace, &refusal);
            return Ok(());
        }
        let shard = session.shard();
        let limit = shard.limits().namespaces_per_session.get();
        if self.sockets.borrow().len() >= limit {
            let refusal = refused_namespace(session.revision(), "Too many namespaces");
            refuse(session, namespace, &refusal);
            return Ok(());
        }
        if self.socket_io.is_full(namespace) {
            let refusal = refused_namespace(session.revision(), "Too many namespaces");
            refuse(session, namespace, &refusal);
            return Ok(());
        }
        let begun = session.begin_connect(namespace);
        match self.socket_io.order(namespace) {
            None => {
                let socket =
                    Socket::new(Rc::clone(session), shard.namespace(namespace, false), auth);
                self.begin(session, socket, begun);
            }
            Some(order) => self.begin_recoverable(session, namespace, auth, order, begun),
        }
        Ok(())
    }

    /// Asks the application about a client that may come back to nothing.
    fn begin(&self, session: &Rc<Session>, socket: Socket, begun: Option<Begun>) {
        let application = &self.socket_io.application;
        self.sockets.borrow_mut().push(socket.clone());
        let decided = |decision| self.decided(session, &socket, decision, begun);
        let pending = match otel::during(begun.as_ref(), || application.identify(&socket)) {
            Connect::Refuse(refusal) => return decided(Err(refusal)),
            Connect::Accept => {
                if let Err(refusal) = self.may_connect(session, &socket) {
                    return decided(Err(refusal));
                }
                match otel::during(begun.as_ref(), || application.connect(&socket)) {
                    Connect::Accept => return decided(Ok(())),
                    Connect::Refuse(refusal) => return decided(Err(refusal)),
                    Connect::Pending(decision) => decision,
                }
            }
            Connect::Pending(identified) => {
                let (session, socket) = (Rc::clone(session), socket.clone());
                Box::pin(async move {
                    identified.await?;
                    let client = Self::of(&session);
                    client.may_connect(&session, &socket)?;
                    let application = &client.socket_io.application;
                    application.connect(&socket).decided().await
                })
            }
        };
        self.decide_later(session, &socket, pending, begun);
    }

    pub(super) fn decide_later(
        &self,
        session: &Rc<Session>,
        socket: &Socket,
        pending: LocalFuture<Result<(), Refusal>>,
        begun: Option<Begun>,
    ) {
        let session = Rc::clone(session);
        let undecided = Undecided {
            socket: socket.clone(),
            begun,
        };
        let task = tokio::task::spawn_local(async move {
            let mut undecided = undecided;
            let context = undecided.begun.map(|begun| begun.context);
            let decision = otel::in_context(context, pending).await;
            let begun = undecided.begun.take();
            Self::of(&session).decided(&session, &undecided.socket, decision, begun);
        });
        socket.set_waiting(task.abort_handle());
    }

    /// The application decided about a socket that may be gone by now.
    pub(super) fn decided(
        &self,
        session: &Rc<Session>,
        socket: &Socket,
        decision: Result<(), Refusal>,
        begun: Option<Begun>,
    ) {
        if socket.state() != State::Connecting {
            if let Some(begun) = begun {
                session.finish_connect(begun, socket.namespace(), Connected::Gone);
            }
            return;
        }
        // The application may have said whose socket it is.
        let decision = decision.and_then(|()| self.may_connect(session, socket));
        if let Some(begun) = begun {
            let refusal = decision.as_ref().err();
            let outcome = refusal.map_or(Connected::Accepted, Connected::Refused);
            session.finish_connect(begun, socket.namespace(), outcome);
        }
        let Err(refusal) = decision else {
            return otel::during(begun.as_ref(), || match socket.place() {
                Some((order, seat)) => self.admit_recoverable(session, socket, &order, seat),
                None => self.admit(session, socket),
            });
        };
        if session.shard().traces().is_any() {
            socket.trace_arrival();
        }
        self.unseat(session, socket, true);
        self.sockets
            .borrow_mut()
            .retain(|candidate| candidate != socket);
        socket.set_disconnected();
        session.shard().tidy_namespace(socket.namespace());
        if refusal.for_now && !self.sockets.borrow().iter().any(Socket::is_present) {
            debug!(target: "gateway::session::packets",
                session = %session.log_name(),
                namespace = socket.namespace(),
                reason = refusal.message,
                "connect refused for now; the session closes, so that the client comes back"
            );
            if session.is_traced() {
                trace_refusal(session, socket.namespace(), &refusal);
            }
            session.close(CloseReason::TransportError);
        } else {
            refuse(session, socket.namespace(), &refusal);
        }
    }

    /// The socket is one of the namespace now. Its client is told as soon as what other nodes emit
    /// to it and to the rooms that it was made to join arrives, those of `connected` too.
    fn admit(&self, session: &Rc<Session>, socket: &Socket) {
        session.set_used();
        socket.set_accepted();
        self.let_in(session, socket);
    }

    /// The application hears of a socket that has entered its namespace; its client does once what it is made to join
    /// is in force.
    pub(super) fn let_in(&self, session: &Rc<Session>, socket: &Socket) {
        debug!(target: "gateway::session::packets",
            session = %session.log_name(),
            socket = %socket.id(),
            namespace = socket.namespace(),
            "socket connected"
        );
        if session.shard().traces().is_any() {
            socket.trace_connected();
        }
        if session.shard().show().is_on() {
            socket.show_connected();
        }
        self.socket_io.application.connected(socket);
        // Who was blocked since it was accepted.
        if socket.go_if_denied() {
            return;
        }
        if socket.reachable().is_everywhere() {
            socket.welcome();
            return;
        }
        let waiting = socket.clone();
        let task = tokio::task::spawn_local(async move {
            let reachable = async {
                loop {
                    // What Redis refuses does not come by waiting.
                    let reachable = waiting.reachable().without_refused();
                    if reachable.is_everywhere() {
                        break;
                    }
                    reachable.await;
                }
            };
            let _late = tokio::time::timeout(REACHABLE_WITHIN, reachable).await;
            waiting.welcome();
        });
        socket.set_waiting(task.abort_handle());
    }
}

/// Tokens are left out, and a client's `auth` as a whole.
fn trace_packet(session: &Session, packet: &Packet<'_>) {
    let session = session.log_name();
    match packet {
        Packet::Connect { namespace, .. } => {
            trace!(target: "gateway::session::packets", %session, %namespace, kind = "connect", "packet received");
        }
        Packet::Event {
            namespace,
            id,
            event,
        } => trace!(target: "gateway::session::packets",
            %session,
            %namespace,
            kind = "event",
            id,
            event = %event.name,
            arguments = %masked::arguments(&event.name, event.arguments.json()),
            attachments = event.arguments.attachments().len(),
            "packet received"
        ),
        Packet::Ack {
            namespace,
            id,
            arguments,
        } => trace!(target: "gateway::session::packets",
            %session,
            %namespace,
            kind = "ack",
            id,
            arguments = %Masked(arguments.json()),
            attachments = arguments.attachments().len(),
            "packet received"
        ),
        Packet::Disconnect { namespace } => {
            trace!(target: "gateway::session::packets", %session, %namespace, kind = "disconnect", "packet received");
        }
    }
}

pub(super) fn refuse(session: &Rc<Session>, namespace: &str, refusal: &Refusal) {
    debug!(target: "gateway::session::packets", session = %session.log_name(), namespace, reason = refusal.message, "connect refused");
    if session.is_traced() {
        trace_refusal(session, namespace, refusal);
    }
    let packet = old::refusal(session.revision(), namespace, refusal);
    session.push(&session.parcel(packet), PacketType::ConnectError, false);
}
