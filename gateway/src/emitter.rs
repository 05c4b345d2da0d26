//! Emitting to many.

use std::sync::Arc;
use std::time::Duration;

use protocol::Encoded;
use tokio::sync::mpsc;

use crate::counters::{Origin, PacketType};
use crate::event::{EmitError, IntoArguments, OwnedArguments, check_name};
use crate::node::Gateway;
use crate::selection::Selection;
use crate::socket::SocketInfo;

/// Emits to a namespace, or to some of its sockets: `gateway.of("/").to("room").emit("hi", ())?`.
///
/// Each method returns another emitter; one can be kept and used again. It can be used on any
/// thread.
#[derive(Clone)]
pub struct Emitter {
    gateway: Gateway,
    namespace: Arc<str>,
    selection: Selection,
    volatile: bool,
}

/// An emit to many, encoded once for all of them.
pub(crate) struct Broadcast {
    pub(crate) namespace: Arc<str>,
    pub(crate) selection: Selection,
    pub(crate) packet: Encoded,
    pub(crate) kind: PacketType,
    pub(crate) volatile: bool,
    pub(crate) origin: Origin,
    pub(crate) ack: Option<AckRequest>,
}

/// What a broadcast needs so that its recipients' acknowledgements come together.
pub(crate) struct AckRequest {
    pub(crate) id: u64,
    pub(crate) timeout: Duration,
    pub(crate) answers: mpsc::UnboundedSender<Gathered>,
}

/// What shards report of a broadcast with acknowledgements.
pub(crate) enum Gathered {
    /// A shard's number of recipients.
    Recipients(usize),
    /// One recipient's answer.
    Ack(OwnedArguments),
}

/// Not every recipient acknowledged.
#[derive(Debug, thiserror::Error)]
#[error("{} of {expected} recipients acknowledged in time", answers.len())]
pub struct MissingAcks {
    /// The answers that came.
    pub answers: Vec<OwnedArguments>,
    /// How many sockets were asked.
    pub expected: usize,
}

impl Emitter {
    pub(crate) fn new(gateway: Gateway, namespace: &str) -> Self {
        Self {
            gateway,
            namespace: namespace.into(),
            selection: Selection::all(),
            volatile: false,
        }
    }

    /// Also to the members of this room. Who is in several gets one copy.
    pub fn to(mut self, room: impl Into<String>) -> Self {
        self.selection = self.selection.to(room);
        self
    }

    /// Not to the members of this room, or to the socket of this id.
    pub fn except(mut self, room: impl Into<String>) -> Self {
        self.selection = self.selection.except(room);
        self
    }

    /// Only to clients that can be written to at once.
    pub fn volatile(mut self) -> Self {
        self.volatile = true;
        self
    }

    /// Emits.
    pub fn emit(&self, event: &str, arguments: impl IntoArguments) -> Result<(), EmitError> {
        let broadcast = self.broadcast(event, &arguments.into_arguments()?, None)?;
        self.gateway.node().broadcast(broadcast)
    }

    /// Emits and waits until all recipients have acknowledged, at most for `timeout`.
    ///
    /// # Errors
    ///
    /// The future's error holds the answers that came in time.
    pub fn emit_with_ack(
        &self,
        event: &str,
        arguments: impl IntoArguments,
        timeout: Duration,
    ) -> Result<
        impl Future<Output = Result<Vec<OwnedArguments>, MissingAcks>> + Send + 'static,
        EmitError,
    > {
        let (answers, gathered) = mpsc::unbounded_channel();
        let ack = AckRequest {
            id: self.gateway.node().next_ack_id(),
            timeout,
            answers,
        };
        let broadcast = self.broadcast(event, &arguments.into_arguments()?, Some(ack))?;
        let shards = self.gateway.node().shard_count();
        self.gateway.node().broadcast(broadcast)?;
        Ok(gather(gathered, shards, timeout))
    }

    /// The selected sockets, as they are now.
    pub async fn fetch_sockets(&self) -> Vec<SocketInfo> {
        let (namespace, selection) = (Arc::clone(&self.namespace), self.selection.clone());
        let found = self.gateway.node().query(move |shard| {
            shard
                .select(&namespace, &selection)
                .iter()
                .map(crate::socket::Socket::snapshot)
                .collect::<Vec<_>>()
        });
        found.await.into_iter().flatten().collect()
    }

    /// Makes the selected sockets join rooms.
    pub fn join(&self, rooms: impl IntoIterator<Item = impl Into<String>>) {
        let rooms: Vec<String> = rooms.into_iter().map(Into::into).collect();
        self.change(move |socket| socket.join(&rooms));
    }

    /// Makes the selected sockets leave rooms.
    pub fn leave(&self, rooms: impl IntoIterator<Item = impl Into<String>>) {
        let rooms: Vec<String> = rooms.into_iter().map(Into::into).collect();
        self.change(move |socket| rooms.iter().for_each(|room| socket.leave(room)));
    }

    /// Disconnects the selected sockets; with `close` their sessions as well.
    pub fn disconnect(&self, close: bool) {
        self.change(move |socket| socket.disconnect(close));
    }

    fn change(&self, change: impl Fn(&crate::socket::Socket) + Send + Sync + 'static) {
        let (namespace, selection) = (Arc::clone(&self.namespace), self.selection.clone());
        self.gateway.node().run_everywhere(move |shard| {
            shard
                .select(&namespace, &selection)
                .iter()
                .for_each(&change);
        });
    }

    fn broadcast(
        &self,
        event: &str,
        arguments: &OwnedArguments,
        ack: Option<AckRequest>,
    ) -> Result<Broadcast, EmitError> {
        check_name(event)?;
        let arguments = arguments.as_ref();
        let id = ack.as_ref().map(|ack| ack.id);
        Ok(Broadcast {
            namespace: Arc::clone(&self.namespace),
            selection: self.selection.clone(),
            packet: Encoded::event(&self.namespace, id, event, arguments),
            kind: if arguments.attachments().is_empty() {
                PacketType::Event
            } else {
                PacketType::BinaryEvent
            },
            volatile: self.volatile,
            origin: Origin::Local,
            ack,
        })
    }
}

async fn gather(
    mut gathered: mpsc::UnboundedReceiver<Gathered>,
    shards: usize,
    timeout: Duration,
) -> Result<Vec<OwnedArguments>, MissingAcks> {
    let (mut answers, mut expected, mut reports) = (Vec::new(), 0, 0);
    let all = async {
        while reports < shards || answers.len() < expected {
            match gathered.recv().await {
                Some(Gathered::Recipients(count)) => {
                    expected += count;
                    reports += 1;
                }
                Some(Gathered::Ack(answer)) => answers.push(answer),
                None => return false,
            }
        }
        true
    };
    match tokio::time::timeout(timeout, all).await {
        Ok(true) => Ok(answers),
        Ok(false) | Err(_) => Err(MissingAcks { answers, expected }),
    }
}
