//! Why sockets are gone.

use protocol::engineio::CloseReason;

/// Why a socket is gone.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DisconnectReason {
    /// Its session ended.
    Closed(CloseReason),
    /// The client left the namespace.
    ClientNamespaceDisconnect,
    /// The server disconnected the socket.
    ServerNamespaceDisconnect,
}

impl DisconnectReason {
    /// What Node's `disconnect` event calls it.
    pub fn as_node(self) -> &'static str {
        match self {
            Self::Closed(reason) => reason.as_node(),
            Self::ClientNamespaceDisconnect => "client namespace disconnect",
            Self::ServerNamespaceDisconnect => "server namespace disconnect",
        }
    }
}
