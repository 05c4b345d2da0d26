//! A stream's hold on its session: what the tasks of WebSockets and of WebTransport have in common.

use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Context;
use std::time::Instant;

use protocol::engineio::{CloseReason, DecodeError, Packet, Transport};
use tokio::sync::futures::OwnedNotified;

use crate::engine::session::{Session, SocketTask};

/// A stream's hold on its session: the session learns when it is gone, however that happens.
pub(crate) struct Attached {
    pub(super) session: Rc<Session>,
    pub(super) task: Rc<SocketTask>,
}

impl Attached {
    pub(crate) fn new(session: Rc<Session>) -> Self {
        let task = session.attach_task();
        Self { session, task }
    }

    /// Whether the session still travels by polling.
    pub(super) fn is_probing(&self) -> bool {
        self.session.transport() == Transport::Polling
    }

    pub(super) fn handle_decoded(&self, decoded: Result<Packet<'_>, DecodeError>) {
        match decoded {
            Ok(packet) => self.handle_packet(packet),
            Err(_) if self.is_probing() => self.lose(CloseReason::TransportError),
            Err(_) => self
                .session
                .drive(protocol::engineio::Session::handle_undecodable),
        }
    }

    fn handle_packet(&self, packet: Packet<'_>) {
        let now = Instant::now();
        if self.is_probing() {
            self.session
                .drive(|engine| engine.handle_probe_packet(now, &packet));
        } else if let Some(message) = self
            .session
            .drive(|engine| engine.handle_stream_packet(now, packet))
        {
            self.session.upper_half().message(&self.session, message);
        }
    }

    pub(super) fn lose(&self, reason: CloseReason) {
        let reason = self.session.leaves_for().unwrap_or(reason);
        if self.session.has_task(&self.task) {
            self.session.drive(|engine| {
                if engine.transport() == Transport::Polling {
                    engine.handle_probe_lost();
                } else {
                    engine.handle_stream_lost(reason);
                }
            });
        }
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        self.lose(CloseReason::TransportClose);
    }
}

/// Waited for before more is read, while some shard is far behind.
#[derive(Default)]
pub(super) struct Relief(Option<Pin<Box<OwnedNotified>>>);

impl Relief {
    /// Whether the application or another shard is so far behind that nothing more is read.
    pub(super) fn must_wait(&mut self, session: &Session, context: &mut Context<'_>) -> bool {
        if session.is_behind() {
            return true;
        }
        let node = session.shard().node();
        while node.is_behind() {
            let relief = self
                .0
                .get_or_insert_with(|| Box::pin(Arc::clone(node.relieved()).notified_owned()));
            if relief.as_mut().poll(context).is_pending() {
                if !node.is_behind() {
                    break;
                }
                return true;
            }
            self.0 = None;
        }
        self.0 = None;
        false
    }
}
