//! The task of one session of WebTransport. Its frames are [`protocol::webtransport`]'s.

use std::sync::Arc;

use wtransport::{Connection, RecvStream, SendStream, VarInt};

use crate::engine::node::Node;

pub(crate) mod driver;

/// The code that closes a connection without fault: `H3_NO_ERROR`.
pub(crate) const NO_ERROR: VarInt = VarInt::from_u32(0x100);

/// A connection of WebTransport and the one stream of it that carries a session. It may move to another shard; what
/// QUIC does for it stays on the shard where it came in.
pub(crate) struct Pipe {
    pub(crate) connection: Connection,
    pub(crate) send: SendStream,
    pub(crate) receive: RecvStream,
    pub(crate) _seat: Seat,
}

/// The place of one connection among those that `webtransport.connections` allows. Dropped, it is given back.
pub(crate) struct Seat(Arc<Node>);

impl Seat {
    /// Takes a place, if one is left.
    pub(crate) fn take(node: &Arc<Node>) -> Option<Self> {
        let most = node.config().webtransport.as_ref()?.connections;
        node.gate().take_seat(most).then(|| Self(Arc::clone(node)))
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.gate().leave_seat();
    }
}
