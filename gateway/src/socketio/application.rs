//! What decides about connects and events.

use crate::engine::handshake::Handshake;
use crate::socketio::event::Event;
use crate::socketio::gateway::Gateway;
use crate::socketio::socket::Socket;

mod guard;
mod server_side;

pub use crate::engine::admission::{Admission, LocalFuture};
pub use crate::engine::application::EngineApplication;
pub use crate::socketio::reason::DisconnectReason;
pub(crate) use guard::Guarded;
pub use server_side::{ServerSideAck, ServerSideEvent};

/// The application behind the Socket.IO clients: who may connect, what an event does, what happens
/// after.
///
/// Every shard calls it on its own thread. What concerns one session comes in the order of its
/// packets, and one at a time: while a [`Flow::Pending`] is under way the session's next event
/// waits.
///
/// ```
/// use gateway::Socket;
/// use gateway::application::{Application, Connect, Flow, Refusal};
/// use gateway::event::Event;
///
/// /// Who tells a name may speak, to everybody else.
/// struct Chat;
///
/// impl Application for Chat {
///     fn has_namespace(&self, namespace: &str) -> bool {
///         namespace == "/"
///     }
///
///     fn connect(&self, socket: &Socket) -> Connect {
///         match socket.handshake().query_value("name") {
///             Some(name) => {
///                 socket.set_data(name);
///                 Connect::Accept
///             }
///             None => Connect::Refuse(Refusal::new("who are you?")),
///         }
///     }
///
///     fn event(&self, socket: &Socket, mut event: Event<'_>) -> Flow {
///         let name = socket.data::<String>().unwrap_or_default();
///         if let Ok((text,)) = event.parse::<(String,)>() {
///             let sent = socket.broadcast().emit("said", (&*name, text));
///             event.ack((sent.is_ok(),)).ok();
///         }
///         Flow::Done
///     }
/// }
/// ```
pub trait Application: Send + Sync + 'static {
    /// Whether a session may be opened at all; asked before a handshake is answered.
    fn admit(&self, handshake: &Handshake) -> Admission {
        let _ = handshake;
        Admission::Admit
    }

    /// Whether clients may ask for this namespace. Others are told "Invalid namespace".
    fn has_namespace(&self, namespace: &str) -> bool;

    /// Who a client is that asks to connect: called before [`connect`](Self::connect), and before the session of a
    /// client that comes back is given to it.
    fn identify(&self, socket: &Socket) -> Connect {
        let _ = socket;
        Connect::Accept
    }

    /// A client asks to connect to the socket's namespace. One that comes back says
    /// [`recovered`](Socket::recovered).
    fn connect(&self, socket: &Socket) -> Connect {
        let _ = socket;
        Connect::Accept
    }

    /// A client came back, and the configuration wants nobody asked whether it may: called in place of
    /// [`connect`](Self::connect).
    fn recovered(&self, socket: &Socket) {
        let _ = socket;
    }

    /// The client was accepted. It is told once the rooms that it was made to join, here too, are in force on
    /// every node.
    fn connected(&self, socket: &Socket) {
        let _ = socket;
    }

    /// The client emitted an event.
    fn event(&self, socket: &Socket, event: Event<'_>) -> Flow;

    /// The client emitted an event above `limits.events_per_second`. It is dropped; this is the
    /// place to say so in its acknowledgement, which is not sent otherwise.
    fn rate_limited(&self, socket: &Socket, event: Event<'_>) {
        let _ = (socket, event);
    }

    /// The socket is about to leave its rooms.
    fn disconnecting(&self, socket: &Socket, reason: DisconnectReason) {
        let _ = (socket, reason);
    }

    /// The socket is gone. Its last event came before.
    fn disconnect(&self, socket: &Socket, reason: DisconnectReason) {
        let _ = (socket, reason);
    }

    /// Another server of the cluster emitted an event to the servers themselves.
    fn server_side_event(&self, gateway: &Gateway, event: ServerSideEvent<'_>) {
        let _ = (gateway, event);
    }
}

/// Whether a client may connect to a namespace.
#[expect(clippy::exhaustive_enums, reason = "an application gives one of these")]
pub enum Connect {
    /// It may.
    Accept,
    /// It may not.
    Refuse(Refusal),
    /// It takes time to tell. The future is dropped when the client goes away meanwhile.
    Pending(LocalFuture<Result<(), Refusal>>),
}

impl Connect {
    /// What is decided in the end.
    pub(crate) async fn decided(self) -> Result<(), Refusal> {
        match self {
            Self::Accept => Ok(()),
            Self::Refuse(refusal) => Err(refusal),
            Self::Pending(decision) => decision.await,
        }
    }
}

/// What a refused client gets as its `connect_error`.
#[expect(
    clippy::exhaustive_structs,
    reason = "its users make it, field by field"
)]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The error's message.
    pub message: String,
    /// The error's `data`: JSON text.
    pub data: Option<String>,
    /// It may be otherwise in a moment. Clients do not come back after a `connect_error`, and they
    /// do after a close, so the session is closed in its place. If the session has a socket in
    /// another namespace, it stays open, since that socket would have to come back as well.
    pub for_now: bool,
}

impl Refusal {
    /// A refusal without data.
    pub fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            data: None,
            for_now: false,
        }
    }

    /// The same as one that may be otherwise in a moment.
    pub fn for_now(mut self) -> Self {
        self.for_now = true;
        self
    }

    /// The same with `data`; left out if it is not representable in JSON.
    pub fn with_data(mut self, data: &impl serde::Serialize) -> Self {
        self.data = serde_json::to_string(data).ok();
        self
    }
}

/// How far an event is handled.
#[expect(clippy::exhaustive_enums, reason = "an application gives one of these")]
pub enum Flow {
    /// Wholly.
    Done,
    /// The session's next event waits for this.
    Pending(LocalFuture<()>),
}
