//! Cluster messages as Node puts them on Redis: channels and bytes, without I/O.
//!
//! ```
//! use adapter::{ArgumentsBuf, Broadcast, ClusterMessage, EventBuf, NodeId, Selection};
//! use adapter_redis::wire::{Channels, Content, Format, Kind, Uid, Wire};
//!
//! let format = Format::Classic { specific_responses: false };
//! let wire = Wire {
//!     format,
//!     namespace: "/".into(),
//!     channels: Channels::new("socket.io", "/"),
//!     uid: Uid::new(format, 7, "/"),
//!     node: NodeId::new("gw-1")?,
//!     max_message: 16 << 20,
//! };
//! let message = ClusterMessage::Broadcast(Broadcast {
//!     selection: Selection::room("news"),
//!     event: EventBuf {
//!         name: "message".to_owned(),
//!         arguments: ArgumentsBuf::from_json("1"),
//!     },
//! });
//! let outgoing = wire.encode(&message, None)?;
//! assert_eq!(outgoing.channel, "socket.io#/#news#");
//!
//! let mut text = String::new();
//! let envelope = format.open(Kind::Broadcast, &outgoing.payload, &mut text)?;
//! assert_eq!(envelope.content()?, Content::Message(message, None));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::borrow::Cow;
use std::sync::Arc;

use adapter::recovery::{Entry, Offset, Ordered, Position};
use adapter::{Answer, ClusterMessage, EventBuf, NodeId, ReplyTo, RequestId, Response, Selection};

use crate::codec::{DecodeError, EncodeError, Raw};

mod channels;
mod classic;
mod sharded;
mod uid;

#[cfg(test)]
mod tests;

pub use channels::{Channels, SubscriptionMode, escape_pattern};
pub use uid::Uid;

/// Which of Node's two formats is spoken.
#[expect(clippy::exhaustive_enums, reason = "Node has these")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// `createAdapter` of `@socket.io/redis-adapter` and `@socket.io/redis-emitter`: `PUBLISH`.
    Classic {
        /// Whether every answer goes to the channel of the node that asked, as with Node's option
        /// `publishOnSpecificResponseChannel`. Answers to gateway nodes do in any case.
        specific_responses: bool,
    },
    /// `createShardedAdapter`: `SPUBLISH`, since Redis 7.
    Sharded(SubscriptionMode),
}

/// How one node encodes and decodes in one namespace.
#[expect(
    clippy::exhaustive_structs,
    reason = "its users make it, field by field"
)]
#[derive(Debug, Clone)]
pub struct Wire {
    /// The format.
    pub format: Format,
    /// The namespace.
    pub namespace: Arc<str>,
    /// The channels of the namespace.
    pub channels: Channels,
    /// This node's name on the wire.
    pub uid: Uid,
    /// This node's id, which answers carry beside what Node knows.
    pub node: NodeId,
    /// Most bytes of a message.
    pub max_message: usize,
}

/// A message ready to be published.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outgoing {
    /// Where.
    pub channel: String,
    /// What.
    pub payload: Vec<u8>,
}

/// An event that a store is to publish: between `before` and `behind` it sets the offset, and behind these the order.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) channel: String,
    pub(crate) before: Vec<u8>,
    pub(crate) behind: Vec<u8>,
}

/// What kind of channel a message came by.
#[expect(clippy::exhaustive_enums, reason = "Node has these")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Classic broadcasts, and everything in the sharded format.
    Broadcast,
    /// Classic requests.
    Request,
    /// Classic responses.
    Response,
}

/// A message of which only the envelope was opened: enough to throw away one's own.
#[derive(Debug)]
pub struct Envelope<'a> {
    /// Who sent it; empty if it does not tell.
    pub uid: Cow<'a, str>,
    /// The namespace, where the message tells it.
    pub namespace: Option<Cow<'a, str>>,
    body: Body<'a>,
}

/// The end of a request that gateway nodes leave to others.
const OTHERS: &[u8] = b",\"others\":true}";

/// What was in an envelope.
#[expect(clippy::exhaustive_enums, reason = "nodes and adapters handle each")]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// A message, and where answers go if it wants any.
    Message(ClusterMessage, Option<ReplyTo>),
    /// An answer.
    Response(Response),
    /// Legal and without meaning here.
    Ignored,
}

#[derive(Debug)]
enum Body<'a> {
    Classic(classic::Body<'a>),
    Sharded(Raw<'a>),
}

impl Wire {
    /// What to publish for `message`; as a request if `request` is given.
    ///
    /// # Errors
    ///
    /// If Node's format has no such message, or if it has more than [`max_message`](Self::max_message) bytes.
    pub fn encode(
        &self,
        message: &ClusterMessage,
        request: Option<&RequestId>,
    ) -> Result<Outgoing, EncodeError> {
        let outgoing = match self.format {
            Format::Classic { .. } => self.encode_classic(message, request),
            Format::Sharded(mode) => self.encode_sharded(mode, message, request),
        }?;
        self.check_size(outgoing)
    }

    /// The same; a broadcast goes by the channel of the namespace, also if it is to one room.
    ///
    /// # Errors
    ///
    /// As [`encode`](Self::encode) has them.
    pub fn encode_to_namespace(&self, message: &ClusterMessage) -> Result<Outgoing, EncodeError> {
        let mut outgoing = self.encode(message, None)?;
        if let ClusterMessage::Broadcast(_) = message {
            outgoing.channel.clone_from(&self.channels.main);
        }
        Ok(outgoing)
    }

    /// The same for servers that are no gateway nodes: those know such a request by a key that others
    /// do not look at, and leave it alone.
    ///
    /// # Errors
    ///
    /// As [`encode`](Self::encode) has them, and if the message is no JSON object.
    pub fn encode_for_others(
        &self,
        message: &ClusterMessage,
        request: &RequestId,
    ) -> Result<Outgoing, EncodeError> {
        let mut outgoing = self.encode(message, Some(request))?;
        if outgoing.payload.pop() != Some(b'}') {
            return Err(EncodeError::Malformed);
        }
        outgoing.payload.extend_from_slice(OTHERS);
        Ok(outgoing)
    }

    /// What to publish for an answer.
    ///
    /// # Errors
    ///
    /// As [`encode`](Self::encode) has them.
    pub fn encode_answer(&self, to: &ReplyTo, answer: &Answer) -> Result<Outgoing, EncodeError> {
        let outgoing = match self.format {
            Format::Classic { specific_responses } => {
                self.encode_classic_answer(specific_responses, to, answer)
            }
            Format::Sharded(_) => self.encode_sharded_answer(to, answer),
        }?;
        self.check_size(outgoing)
    }

    /// What a store publishes for `event`, whose order names so many logs. Only the classic format has it.
    pub(crate) fn encode_ordered(
        &self,
        selection: &Selection,
        event: &EventBuf,
        logs: usize,
    ) -> Result<Prepared, EncodeError> {
        self.classic_ordered(selection, event, logs)
    }

    fn check_size(&self, outgoing: Outgoing) -> Result<Outgoing, EncodeError> {
        if outgoing.payload.len() > self.max_message {
            return Err(EncodeError::TooLarge);
        }
        Ok(outgoing)
    }
}

/// Reads what a store keeps of what it published: the message without its offset, and without what told the order,
/// whose length stands last.
pub(crate) fn read_logged(before: &[u8], offset: Offset, behind: &[u8]) -> Option<Arc<Entry>> {
    let length = usize::try_from(u32::from_be_bytes(*behind.last_chunk()?)).ok()?;
    // The name of each log is in it.
    if length > (before.len() + behind.len()).saturating_mul(Position::LENGTH) {
        return None;
    }
    let order = vec![b'0'; length];
    let message = [before, offset.to_string().as_bytes(), behind, &order].concat();
    let mut text = String::new();
    let raw = Raw::parse(&message, &mut text).ok()?;
    let envelope = classic::open(Kind::Broadcast, raw).ok()?;
    Some(envelope.ordered()?.ok()?.entry)
}

impl Format {
    /// Opens the envelope of a message. `text` is scratch space.
    ///
    /// # Errors
    ///
    /// If `payload` is not what Node sends by such a channel.
    pub fn open<'a>(
        self,
        kind: Kind,
        payload: &'a [u8],
        text: &'a mut String,
    ) -> Result<Envelope<'a>, DecodeError> {
        let raw = Raw::parse(payload, text)?;
        match self {
            Self::Classic { .. } => classic::open(kind, raw),
            Self::Sharded(_) => sharded::open(raw),
        }
    }
}

impl Envelope<'_> {
    /// The event, if a store put it in order; `None` if it is none of such. Gateway nodes alone look at that, others
    /// find in [`content`](Self::content) an event with its offset as its last argument.
    pub fn ordered(&self) -> Option<Result<Ordered, DecodeError>> {
        match &self.body {
            Body::Classic(body) => body.ordered(),
            Body::Sharded(_) => None,
        }
    }

    /// Reads what is in it.
    ///
    /// # Errors
    ///
    /// If it is not what Node sends.
    pub fn content(&self) -> Result<Content, DecodeError> {
        match &self.body {
            Body::Classic(body) => body.content(&self.uid),
            Body::Sharded(raw) => sharded::content(*raw, &self.uid),
        }
    }
}
