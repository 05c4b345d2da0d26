//! A client that speaks Socket.IO: the upper half of its session.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use protocol::Encoded;
use protocol::engineio::{CloseReason, Message, Revision};
use protocol::msgpack;
use protocol::socketio::{DecodeError, Decoded, Decoder};
use tracing::debug;

use crate::count::PacketType;
use crate::engine::layer::SessionHalf;
use crate::engine::session::Session;
use crate::socketio::application::Application;
use crate::socketio::layer::SocketIo;
use crate::socketio::reason::DisconnectReason;
use crate::socketio::socket::Socket;
use crate::trace::{Line, What, cut};

mod admitting;
mod backlog;
mod old;
mod packets;
mod recoverable;

use backlog::Backlog;

/// The sockets of a session, one for each namespace that the client joined, and what waits for the
/// application.
pub(crate) struct Client {
    socket_io: Arc<SocketIo>,
    decoder: RefCell<Decoder>,
    sockets: RefCell<Vec<Socket>>,
    backlog: RefCell<Backlog>,
}

impl Client {
    pub(super) fn new(socket_io: Arc<SocketIo>) -> Self {
        Self {
            socket_io,
            decoder: RefCell::default(),
            sockets: RefCell::default(),
            backlog: RefCell::default(),
        }
    }

    /// That of a session.
    ///
    /// # Panics
    ///
    /// If its mount speaks Engine.IO alone, where nothing has a socket.
    fn of(session: &Session) -> &Self {
        session
            .half()
            .expect("the session of a socket is a client's")
    }

    /// Disconnects one socket; the session goes on.
    fn drop_socket(&self, session: &Session, socket: &Socket, reason: DisconnectReason) {
        let found = {
            let mut sockets = self.sockets.borrow_mut();
            let position = sockets.iter().position(|candidate| candidate == socket);
            position.map(|position| sockets.swap_remove(position))
        };
        if let Some(socket) = found {
            self.part_with(session, &socket, reason);
        }
    }

    fn part_with(&self, session: &Session, socket: &Socket, reason: DisconnectReason) {
        let was_connected = socket.is_present() || socket.is_accepted_in_vain();
        // A client of revision 3 knows nothing of coming back.
        let for_good = is_for_good(reason) || session.revision() == Revision::Three;
        self.unseat(session, socket, for_good);
        if was_connected {
            session.shard().counters().disconnects.increment();
            debug!(target: "gateway::session",
                session = %session.log_name(),
                socket = %socket.id(),
                namespace = socket.namespace(),
                reason = reason.as_node(),
                "socket disconnected"
            );
            if session.is_traced() {
                socket.trace_disconnected(reason);
            }
            self.socket_io.application.disconnecting(socket, reason);
        }
        socket.set_disconnected();
        session.shard().tidy_namespace(socket.namespace());
        if was_connected {
            if session.shard().show().is_on() {
                socket.show_disconnected(reason);
            }
            self.disconnected(socket.clone(), reason);
        }
    }

    fn find(&self, namespace: &str) -> Option<Socket> {
        let sockets = self.sockets.borrow();
        let mut sockets = sockets.iter();
        sockets
            .find(|socket| socket.namespace() == namespace)
            .cloned()
    }
}

/// Whether a client that ends so does not mean to come back to its session.
fn is_for_good(reason: DisconnectReason) -> bool {
    match reason {
        DisconnectReason::ClientNamespaceDisconnect
        | DisconnectReason::ServerNamespaceDisconnect => true,
        DisconnectReason::Closed(_) => false,
    }
}

impl SessionHalf for Client {
    fn opened(&self, session: &Rc<Session>) {
        if session.revision() == Revision::Three {
            self.open_old(session);
        }
    }

    fn message(&self, session: &Rc<Session>, message: Message<'_>) {
        let is_first = !session.hear();
        let revision = session.revision();
        if is_first && revision == Revision::Four && matches!(message, Message::Binary(_)) {
            session.speak_msgpack();
        }
        let limit = session.shard().node().config().engine.max_payload;
        let decoded = match (&message, session.dialect().is_msgpack()) {
            (Message::Text(text), false) => {
                self.decoder.borrow_mut().decode_text_of(revision, text)
            }
            (Message::Binary(data), false) => self.decoder.borrow_mut().decode_binary(data),
            (Message::Binary(data), true) => msgpack::decode(data, limit),
            (Message::Text(_), true) => Err(DecodeError::OtherParser),
        };
        if is_first {
            self.meet(session, decoded.is_ok());
        }
        let handled = match decoded {
            Ok(Decoded::Packet(packet)) => self.handle_packet_of(revision, session, packet),
            Ok(Decoded::Binary(packet)) => {
                self.handle_packet_of(revision, session, packet.packet())
            }
            Ok(Decoded::Incomplete | Decoded::Ignored) => Ok(()),
            Err(error) => Err(error.into()),
        };
        if let Err(violation) = handled {
            debug!(target: "gateway::session::packets", session = %session.log_name(), reason = %violation, "protocol violation");
            if session.is_traced() {
                session.trace(Line::with(What::Violation, |more| {
                    more.reason = Some(cut(&violation.to_string()));
                }));
            }
            session.close(CloseReason::ForcedClose);
        }
    }

    fn catch_up(&self, _session: &Rc<Session>) {
        let sockets = self.sockets.borrow().clone();
        Socket::catch_up_all(&sockets);
    }

    fn upgraded(&self, session: &Rc<Session>) {
        if session.shard().show().is_on() {
            let sockets = self.sockets.borrow();
            sockets.iter().for_each(Socket::show_transport);
        }
    }

    fn closed(&self, session: &Rc<Session>, reason: CloseReason) {
        for socket in self.sockets.take() {
            self.part_with(session, &socket, DisconnectReason::Closed(reason));
        }
    }

    fn is_socket_io(&self) -> bool {
        true
    }

    fn is_behind(&self) -> bool {
        self.backlog.borrow().is_long()
    }
}

impl Socket {
    /// Disconnects the client from this namespace; with `close` from all of them, and closes its
    /// session.
    pub fn disconnect(&self, close: bool) {
        let session = self.session();
        if close {
            self.leave_with_session(CloseReason::ForcedClose);
        } else if self.is_present() {
            self.welcome();
            self.push_control(
                Encoded::disconnect(self.namespace()),
                PacketType::Disconnect,
            );
            let reason = DisconnectReason::ServerNamespaceDisconnect;
            Client::of(session).drop_socket(session, self, reason);
        }
    }

    /// Disconnects the client from all namespaces, and closes its session.
    pub(crate) fn leave_with_session(&self, reason: CloseReason) {
        let session = self.session();
        let sockets = Client::of(session).sockets.borrow().clone();
        for socket in &sockets {
            socket.disconnect(false);
        }
        session.close(reason);
    }
}
