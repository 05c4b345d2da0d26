//! Sessions without Socket.IO.

use std::rc::Rc;

use protocol::Encoded;
use protocol::engineio::{CloseReason, Transport};

use crate::engine::handshake::Handshake;
use crate::engine::session::Session;

/// An Engine.IO session, for an [`EngineApplication`](crate::application::EngineApplication).
#[derive(Clone)]
pub struct Connection(Rc<Session>);

/// The text holds the separator of polling payloads (`0x1e`), which nothing escapes, and the
/// session is on polling.
#[expect(clippy::exhaustive_structs, reason = "it says one thing")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a text message cannot hold the character U+001E on polling")]
pub struct SeparatorInText;

impl Connection {
    pub(crate) fn new(session: Rc<Session>) -> Self {
        Self(session)
    }

    /// Sends a text message.
    ///
    /// # Errors
    ///
    /// The text holds the character that separates packets of polling, and the session uses polling.
    pub fn send_text(&self, text: &str) -> Result<(), SeparatorInText> {
        if self.transport() == Transport::Polling
            && text
                .as_bytes()
                .contains(&protocol::engineio::payload::SEPARATOR)
        {
            return Err(SeparatorInText);
        }
        let mut packet = String::with_capacity(text.len() + 1);
        packet.push('4');
        packet.push_str(text);
        self.0
            .push_uncounted(&self.0.parcel(Encoded::engine_text(&packet)));
        Ok(())
    }

    /// Sends a binary message.
    pub fn send_binary(&self, data: &[u8]) {
        let parcel = self.0.parcel(Encoded::engine_binary(data));
        self.0.push_uncounted(&parcel);
    }

    /// Closes after what was sent before.
    pub fn close(&self) {
        self.0.close(CloseReason::ForcedClose);
    }

    /// What the request told that opened it.
    pub fn handshake(&self) -> &Handshake {
        self.0.handshake()
    }

    /// The transport that it uses now.
    pub fn transport(&self) -> Transport {
        self.0.transport()
    }
}
