//! A client that is let go: what it has sent by then is still handled.

use std::rc::Rc;
use std::time::Duration;

use protocol::Encoded;
use protocol::engineio::{CloseReason, Transport};
use protocol::websocket::frame::close_frame;

use super::Session;

/// How long a client may take to close its side.
const FAREWELL: Duration = Duration::from_secs(1);

/// ```text
///  open ──send_off: a close frame behind what is queued──► leaving ──the client's close frame, or FAREWELL──► closed
/// ```
///
/// A session that leaves is read and sends nothing. A session on polling closes at once, and so does one on
/// WebTransport, whose clients take the end of a stream for nothing.
impl Session {
    pub(crate) fn send_off(self: &Rc<Self>, reason: CloseReason) {
        if !self.stays() {
            return;
        }
        let is_probing = self.engine.borrow().is_probing();
        if self.transport() != Transport::WebSocket || is_probing {
            return self.close(reason);
        }
        self.catch_up_with_walks();
        let goodbye = Encoded::control_frame(close_frame(None));
        self.push_uncounted(&self.parcel(goodbye));
        if !self.is_open() {
            return;
        }
        self.leaving.set(Some(reason));
        self.shard.note_parting();
        let session = Rc::downgrade(self);
        tokio::task::spawn_local(async move {
            tokio::time::sleep(FAREWELL).await;
            if let Some(session) = session.upgrade() {
                session.close(reason);
            }
        });
    }

    /// Whether it is let go.
    pub(crate) fn is_leaving(&self) -> bool {
        self.leaving.get().is_some()
    }

    /// Why it is let go, if it is.
    pub(crate) fn leaves_for(&self) -> Option<CloseReason> {
        self.leaving.get()
    }

    /// Whether it is open, and is to stay so.
    pub(crate) fn stays(&self) -> bool {
        self.is_open() && !self.is_leaving()
    }
}
