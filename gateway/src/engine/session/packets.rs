//! What a client's messages mean to Socket.IO.

use std::rc::Rc;
use std::time::Duration;

use protocol::Encoded;
use protocol::engineio::{CloseReason, Message};
use protocol::socketio::{DecodeError, Decoded, Event, Packet};
use tracing::{debug, trace};

use super::Session;
use super::masked::{self, Masked};
use crate::count::PacketType;
use crate::engine::Connection;
use crate::engine::node::Layer;
use crate::socketio::application::{Connect, DisconnectReason, Refusal};
use crate::socketio::event::{self, Ack};
use crate::socketio::socket::{Socket, State};

/// How long a client is kept waiting until other nodes reach it, before it is told that it is
/// connected all the same.
const REACHABLE_WITHIN: Duration = Duration::from_secs(2);

/// Why the client's packet was legal and yet out of place.
#[derive(Debug, thiserror::Error)]
enum Violation {
    #[error(transparent)]
    Decode(#[from] DecodeError),
    #[error("already connected to the namespace")]
    AlreadyConnected,
    #[error("not connected to the namespace")]
    NotConnected,
}

impl Session {
    /// A message came by whatever transport.
    pub(crate) fn handle_message(self: &Rc<Self>, message: Message<'_>) {
        match self.layer() {
            Layer::Engine(application) => {
                application.message(&Connection::new(Rc::clone(self)), message)
            }
            Layer::SocketIo(_) => {
                if let Err(violation) = self.decode(&message) {
                    debug!(target: "gateway::session::packets", session = %self.log_name(), reason = %violation, "protocol violation");
                    self.close(CloseReason::ForcedClose);
                }
            }
        }
    }

    fn decode(self: &Rc<Self>, message: &Message<'_>) -> Result<(), Violation> {
        let decoded = match message {
            Message::Text(text) => self.decoder.borrow_mut().decode_text(text)?,
            Message::Binary(data) => self.decoder.borrow_mut().decode_binary(data)?,
        };
        match decoded {
            Decoded::Packet(packet) => self.handle_packet(&packet),
            Decoded::Binary(packet) => self.handle_packet(&packet.packet()),
            Decoded::Incomplete | Decoded::Ignored => Ok(()),
        }
    }

    fn handle_packet(self: &Rc<Self>, packet: &Packet<'_>) -> Result<(), Violation> {
        self.trace(packet);
        let received = &self.shard.counters().packets_received;
        match packet {
            Packet::Connect { namespace, auth } => {
                received.of(PacketType::Connect).increment();
                self.connect(namespace, *auth)
            }
            Packet::Event {
                namespace,
                id,
                event,
            } => {
                let binary = !event.arguments.attachments().is_empty();
                received
                    .of(if binary {
                        PacketType::BinaryEvent
                    } else {
                        PacketType::Event
                    })
                    .increment();
                let socket = self.connected(namespace)?;
                if socket.may_emit() {
                    self.dispatch(socket, *id, event);
                } else {
                    self.refuse_event(&socket, *id, event);
                }
                Ok(())
            }
            Packet::Ack {
                namespace,
                id,
                arguments,
            } => {
                let binary = !arguments.attachments().is_empty();
                received
                    .of(if binary {
                        PacketType::BinaryAck
                    } else {
                        PacketType::Ack
                    })
                    .increment();
                self.connected(namespace)?.handle_ack(*id, *arguments);
                Ok(())
            }
            Packet::Disconnect { namespace } => {
                received.of(PacketType::Disconnect).increment();
                let socket = self.find(namespace).ok_or(Violation::NotConnected)?;
                self.drop_socket(&socket, DisconnectReason::ClientNamespaceDisconnect);
                Ok(())
            }
        }
    }

    /// Tokens are left out, and a client's `auth` as a whole.
    fn trace(&self, packet: &Packet<'_>) {
        let session = self.log_name();
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

    /// The client emits more than it may.
    fn refuse_event(&self, socket: &Socket, id: Option<u64>, event: &Event<'_>) {
        self.shard.counters().events_rate_limited.increment();
        debug!(target: "gateway::session::packets", socket = %socket.id(), reason = "rate_limited", "event refused");
        if let Layer::SocketIo(application) = self.layer() {
            let ack = id.map(|id| Ack::new(socket.clone(), id));
            let event = event::Event::new(&event.name, event.arguments, ack);
            application.rate_limited(socket, event);
        }
    }

    fn find(&self, namespace: &str) -> Option<Socket> {
        self.sockets
            .borrow()
            .iter()
            .find(|socket| socket.namespace() == namespace)
            .cloned()
    }

    fn connected(&self, namespace: &str) -> Result<Socket, Violation> {
        self.find(namespace)
            .filter(|socket| socket.state() == State::Connected)
            .ok_or(Violation::NotConnected)
    }

    fn connect(self: &Rc<Self>, namespace: &str, auth: Option<&str>) -> Result<(), Violation> {
        if self.find(namespace).is_some() {
            return Err(Violation::AlreadyConnected);
        }
        let Layer::SocketIo(application) = self.layer() else {
            return Ok(());
        };
        if !application.has_namespace(namespace) {
            self.refuse(namespace, &Refusal::new("Invalid namespace"));
            return Ok(());
        }
        let limit = self
            .shard
            .node()
            .config()
            .limits
            .namespaces_per_session
            .get();
        if self.sockets.borrow().len() >= limit {
            self.refuse(namespace, &Refusal::new("Too many namespaces"));
            return Ok(());
        }
        let socket = Socket::new(Rc::clone(self), self.shard.namespace(namespace), auth);
        self.sockets.borrow_mut().push(socket.clone());
        match application.connect(&socket) {
            Connect::Accept => self.decided(&socket, Ok(())),
            Connect::Refuse(refusal) => self.decided(&socket, Err(refusal)),
            Connect::Pending(decision) => {
                let (session, connecting) = (Rc::clone(self), socket.clone());
                let task = tokio::task::spawn_local(async move {
                    let decision = decision.await;
                    session.decided(&connecting, decision);
                });
                socket.set_waiting(task.abort_handle());
            }
        }
        Ok(())
    }

    /// The application decided about a socket that may be gone by now.
    fn decided(self: &Rc<Self>, socket: &Socket, decision: Result<(), Refusal>) {
        if socket.state() != State::Connecting {
            return;
        }
        match decision {
            Ok(()) => self.admit(socket),
            Err(refusal) => {
                self.sockets
                    .borrow_mut()
                    .retain(|candidate| candidate != socket);
                socket.set_disconnected();
                self.shard.tidy_namespace(socket.namespace());
                if refusal.for_now && !self.sockets.borrow().iter().any(Socket::is_connected) {
                    debug!(target: "gateway::session::packets",
                        session = %self.log_name(),
                        namespace = socket.namespace(),
                        reason = refusal.message,
                        "connect refused for now; the session closes, so that the client comes back"
                    );
                    self.close(CloseReason::TransportError);
                    return;
                }
                self.refuse(socket.namespace(), &refusal);
            }
        }
    }

    /// The socket is one of the namespace now. Its client is told as soon as what other nodes emit
    /// to it and to the rooms that it was made to join arrives, those of `connected` too.
    fn admit(self: &Rc<Self>, socket: &Socket) {
        let Layer::SocketIo(application) = self.layer() else {
            return;
        };
        self.connect_deadline.set(None);
        socket.set_accepted();
        debug!(target: "gateway::session::packets",
            session = %self.log_name(),
            socket = %socket.id(),
            namespace = socket.namespace(),
            "socket connected"
        );
        application.connected(socket);
        if socket.reachable().is_everywhere() {
            self.welcome(socket);
            return;
        }
        let (session, waiting) = (Rc::clone(self), socket.clone());
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
            session.welcome(&waiting);
        });
        socket.set_waiting(task.abort_handle());
    }

    /// The client is told that it is connected, unless it was told before or is gone.
    pub(crate) fn welcome(self: &Rc<Self>, socket: &Socket) {
        let Some(held) = socket.set_connected() else {
            return;
        };
        let reply = Encoded::connect(socket.namespace(), socket.id().as_str());
        socket.push_control(reply, PacketType::Connect);
        self.outbox.borrow_mut().part();
        for (packet, kind) in held {
            self.push(&packet, kind, false);
        }
    }

    fn refuse(self: &Rc<Self>, namespace: &str, refusal: &Refusal) {
        debug!(target: "gateway::session::packets", session = %self.log_name(), namespace, reason = refusal.message, "connect refused");
        let packet = Encoded::connect_error(namespace, &refusal.message, refusal.data.as_deref());
        self.push(&self.parcel(packet), PacketType::ConnectError, false);
    }
}
