//! What a socket is sent, and the acknowledgements that it owes.

use std::rc::Rc;
use std::time::Duration;

use protocol::Encoded;
use tokio::sync::oneshot;

use super::{Inner, Socket, State, Waiter};
use crate::count::PacketType;
use crate::engine::outbox::Parcel;
use crate::socketio::arguments::{EmitError, IntoArguments, OwnedArguments, check_name};
use crate::socketio::layer::SocketIo;

/// Why an acknowledgement did not come.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AckError {
    /// It took too long.
    #[error("no acknowledgement in time")]
    Timeout,
    /// The client went away.
    #[error("the client disconnected")]
    Disconnected,
}

/// Most acknowledgements that one socket may owe; an event beyond is answered with
/// [`AckError::Disconnected`] at once.
const MAX_PENDING_ACKS: usize = 10_000;

impl Socket {
    /// Emits to this client. A client that is gone gets nothing.
    ///
    /// # Errors
    ///
    /// A reserved name, or arguments that clients do not take: see [`EmitError`].
    pub fn emit(&self, event: &str, arguments: impl IntoArguments) -> Result<(), EmitError> {
        self.send_event(event, None, &arguments.into_arguments()?, false)
            .map(drop)
    }

    /// Emits to this client if it can be written to at once, and else not at all.
    ///
    /// # Errors
    ///
    /// A reserved name, or arguments that clients do not take: see [`EmitError`].
    pub fn emit_volatile(
        &self,
        event: &str,
        arguments: impl IntoArguments,
    ) -> Result<(), EmitError> {
        self.send_event(event, None, &arguments.into_arguments()?, true)
            .map(drop)
    }

    /// Emits and waits for the client's acknowledgement, at most for `timeout`.
    ///
    /// It is sent at once; the future only waits. Do not await it in a handler whose session must
    /// handle other events meanwhile: its acknowledgement comes, but its next event waits.
    ///
    /// # Errors
    ///
    /// At once as [`emit`](Self::emit). Later [`AckError`], if the acknowledgement does not come.
    pub fn emit_with_ack(
        &self,
        event: &str,
        arguments: impl IntoArguments,
        timeout: Duration,
    ) -> Result<impl Future<Output = Result<OwnedArguments, AckError>> + 'static, EmitError> {
        let id = SocketIo::of(self.0.session.shard().node()).next_ack_id();
        let (sender, receiver) = oneshot::channel();
        let arguments = arguments.into_arguments()?;
        check_name(event)?;
        if self.expect_ack(id, Waiter::One(sender)) {
            self.send_event(event, Some(id), &arguments, false)?;
        }
        let owed = OwedAck {
            socket: Rc::downgrade(&self.0),
            id,
        };
        Ok(async move {
            let _owed = owed;
            match tokio::time::timeout(timeout, receiver).await {
                Ok(Ok(answer)) => Ok(answer),
                Ok(Err(_)) => Err(AckError::Disconnected),
                Err(_) => Err(AckError::Timeout),
            }
        })
    }

    fn send_event(
        &self,
        event: &str,
        ack: Option<u64>,
        arguments: &OwnedArguments,
        volatile: bool,
    ) -> Result<bool, EmitError> {
        check_name(event)?;
        if ack.is_none()
            && let Some((order, _)) = self.place()
        {
            let _nobody_waits = self.publish_to_it(&order, (event, arguments), volatile)?;
            return Ok(true);
        }
        let arguments = arguments.as_ref();
        let kind = PacketType::event(!arguments.attachments().is_empty());
        let packet = Encoded::event(self.namespace(), ack, event, arguments);
        Ok(self.push(&self.0.session.parcel(packet), kind, volatile))
    }

    pub(crate) fn push_ack(&self, packet: Encoded, binary: bool) {
        self.push(
            &self.0.session.parcel(packet),
            PacketType::ack(binary),
            false,
        );
    }

    pub(crate) fn push_control(&self, packet: Encoded, kind: PacketType) {
        let parcel = self.0.session.parcel(packet);
        self.0.session.push(&parcel, kind, false);
    }

    /// Queues a packet, unless the socket is not connected.
    pub(crate) fn push(&self, packet: &Rc<Parcel>, kind: PacketType, volatile: bool) -> bool {
        self.catch_up();
        if self.is_going() {
            return false;
        }
        match self.0.state.get() {
            State::Connected => {
                let pushed = self.0.session.push(packet, kind, volatile);
                if self.0.session.is_traced() {
                    self.trace_push(packet.packet(), pushed);
                }
                if pushed && self.0.session.shard().top().is_on() {
                    self.count_sent(kind);
                }
                if pushed && self.0.session.shard().show().is_on() {
                    self.show_sent(packet.packet(), kind);
                }
                pushed
            }
            State::Accepted => self.hold(packet, kind, volatile),
            State::Connecting | State::Disconnected => false,
        }
    }

    /// Queues several events as one packet; `false` if they have to come one by one.
    pub(crate) fn push_run(&self, run: &Rc<Parcel>, kind: PacketType) -> bool {
        let shard = self.0.session.shard();
        let is_watched = shard.top().is_on() || shard.show().is_on();
        self.0.state.get() == State::Connected && !is_watched && self.0.session.push_run(run, kind)
    }

    /// Keeps a packet until the client is told that it is connected. If it is too much to be kept,
    /// the client is told now.
    fn hold(&self, packet: &Rc<Parcel>, kind: PacketType, volatile: bool) -> bool {
        let shard = self.0.session.shard();
        if volatile {
            shard.counters().volatile_dropped.increment();
            return false;
        }
        let is_too_much = {
            let mut extra = self.0.extra.borrow_mut();
            let arrival = extra.arrival.get_or_insert_default();
            arrival.bytes += packet.packet().frames().len();
            arrival.held.push((Rc::clone(packet), kind));
            arrival.bytes > shard.limits().outbox_bytes
        };
        if is_too_much {
            self.welcome();
        }
        true
    }

    /// Whether one acknowledgement more may be awaited of it.
    pub(crate) fn may_owe_ack(&self) -> bool {
        let extra = self.0.extra.borrow();
        let owed = extra.acks.as_ref().map_or(0, |acks| acks.len());
        self.is_present() && owed < MAX_PENDING_ACKS
    }

    /// Notes who waits for an acknowledgement; `false` if the socket cannot owe it.
    pub(crate) fn expect_ack(&self, id: u64, waiter: Waiter) -> bool {
        let may = self.may_owe_ack();
        if may {
            let mut extra = self.0.extra.borrow_mut();
            extra.acks.get_or_insert_default().insert(id, waiter);
        }
        may
    }

    pub(crate) fn forget_ack(&self, id: u64) {
        drop(self.take_ack_waiter(id));
    }

    /// Who waits for an acknowledgement, which has come.
    pub(crate) fn take_ack_waiter(&self, id: u64) -> Option<Waiter> {
        let mut extra = self.0.extra.borrow_mut();
        let acks = extra.acks.as_mut()?;
        let waiter = acks.remove(&id);
        if acks.is_empty() {
            extra.acks = None;
        }
        waiter
    }

    /// The client is told that it is connected, unless it was told before or is gone, and then what
    /// was held for it.
    pub(crate) fn welcome(&self) {
        if self.0.state.get() != State::Accepted {
            return;
        }
        self.0.state.set(State::Connected);
        let arrival = self.0.extra.borrow_mut().arrival.take();
        let reply = self.greeting();
        self.push_control(reply, PacketType::Connect);
        self.0.session.outbox().borrow_mut().part();
        for (packet, kind) in arrival.map_or_else(Vec::new, |arrival| arrival.held) {
            self.push(&packet, kind, false);
        }
    }
}

/// An acknowledgement that somebody waits for. Dropped, nobody does, and it keeps no socket.
struct OwedAck {
    socket: std::rc::Weak<Inner>,
    id: u64,
}

impl Drop for OwedAck {
    fn drop(&mut self) {
        if let Some(socket) = self.socket.upgrade() {
            Socket(socket).forget_ack(self.id);
        }
    }
}
