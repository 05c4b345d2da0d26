//! The format of `createAdapter` and of the emitter: broadcasts are msgpack arrays
//! `[uid, packet, opts]`, requests and responses are JSON objects, or msgpack maps where binary may
//! be inside.

use std::borrow::Cow;
use std::sync::Arc;

use adapter::recovery::{Entry, LogName, Ordered, Position};
use adapter::{
    Answer, Broadcast, ClusterMessage, EventBuf, ListRequest, NodeId, ReplyTo, RequestId, Response,
    Selection,
};

use super::{Body as AnyBody, Content, Envelope, Kind};
use crate::codec::{
    DecodeError, Raw, argument, bound, event, list_named, names, options, ordered_event, original,
    packet_event, piece, sockets, traced,
};

mod encode;

const SOCKETS: u64 = 0;
const ALL_ROOMS: u64 = 1;
const REMOTE_JOIN: u64 = 2;
const REMOTE_LEAVE: u64 = 3;
const REMOTE_DISCONNECT: u64 = 4;
const REMOTE_FETCH: u64 = 5;
const SERVER_SIDE_EMIT: u64 = 6;
const BROADCAST: u64 = 7;
const CLIENT_COUNT: u64 = 8;
const ACK: u64 = 9;
/// A part of a list, and the answer: what Node's adapter has no messages for. It ignores them.
const GATEWAY_LIST: u64 = 111;
const GATEWAY_PIECE: u64 = 112;
/// What is to be traced, and lines of the trace.
const GATEWAY_TRACE: u64 = 113;
const GATEWAY_LINES: u64 = 114;

/// The key under which a gateway node tells its id; Node does not look at it.
const NODE: &str = "node";

/// The key under which a gateway node tells arguments that msgpack cannot; in a broadcast they are
/// the fourth element. Node does not look at them.
const ORIGINAL: &str = "original";

#[derive(Debug)]
pub(super) enum Body<'a> {
    Broadcast {
        packet: Raw<'a>,
        opts: Raw<'a>,
        original: Option<Raw<'a>>,
        order: Option<Raw<'a>>,
    },
    Request(Box<Fields<'a>>),
    Response(Box<Fields<'a>>),
}

/// The keys of requests and responses.
#[derive(Debug, Default)]
pub(super) struct Fields<'a> {
    kind: Option<u64>,
    request: Option<RequestId>,
    node: Option<NodeId>,
    opts: Option<Raw<'a>>,
    rooms: Option<Raw<'a>>,
    packet: Option<Raw<'a>>,
    original: Option<Raw<'a>>,
    data: Option<Raw<'a>>,
    sockets: Option<Raw<'a>>,
    client_count: Option<u64>,
    close: bool,
    sid: Option<Raw<'a>>,
    room: Option<Raw<'a>>,
    of_others: bool,
    list: Option<Raw<'a>>,
    after: Option<Raw<'a>>,
    limit: Option<u64>,
    bytes: Option<u64>,
    counts: Option<Raw<'a>>,
    more: bool,
    cut: bool,
    trace: Option<Raw<'a>>,
    lines: Option<Raw<'a>>,
}

pub(super) fn open(kind: Kind, raw: Raw<'_>) -> Result<Envelope<'_>, DecodeError> {
    match kind {
        Kind::Broadcast => open_broadcast(raw),
        Kind::Request | Kind::Response => open_fields(kind, raw),
    }
}

fn open_broadcast(raw: Raw<'_>) -> Result<Envelope<'_>, DecodeError> {
    let mut items = raw.items().ok_or(DecodeError::WrongShape)?;
    let (Some(uid), Some(packet), Some(opts)) = (items.next(), items.next(), items.next()) else {
        return Err(DecodeError::WrongShape);
    };
    let mut namespace = Cow::Borrowed("/");
    packet
        .entries(|key, value| {
            if key == "nsp"
                && let Some(text) = value.text()
            {
                namespace = text;
            }
        })
        .ok_or(DecodeError::WrongShape)?;
    Ok(Envelope {
        uid: uid.text().unwrap_or_default(),
        namespace: Some(namespace),
        body: AnyBody::Classic(Body::Broadcast {
            packet,
            opts,
            original: items.next(),
            order: items.next(),
        }),
    })
}

fn open_fields(kind: Kind, raw: Raw<'_>) -> Result<Envelope<'_>, DecodeError> {
    let mut fields = Fields::default();
    let mut uid = Cow::Borrowed("");
    raw.entries(|key, value| match key {
        "uid" => uid = value.text().unwrap_or_default(),
        "requestId" => fields.request = value.text().map(|it| RequestId::new(it.into_owned())),
        "type" => fields.kind = value.count(),
        NODE => fields.node = value.text().and_then(|it| NodeId::new(&it).ok()),
        "opts" => fields.opts = Some(value).filter(|it| !it.is_null()),
        "rooms" => fields.rooms = Some(value),
        "packet" => fields.packet = Some(value),
        ORIGINAL => fields.original = Some(value),
        "data" => fields.data = Some(value),
        "sockets" => fields.sockets = Some(value),
        "clientCount" => fields.client_count = value.count(),
        "close" => fields.close = value.is_truthy(),
        "sid" => fields.sid = Some(value),
        "room" => fields.room = Some(value),
        "others" => fields.of_others = value.is_truthy(),
        "list" => fields.list = Some(value),
        "after" => fields.after = Some(value),
        "limit" => fields.limit = value.count(),
        "bytes" => fields.bytes = value.count(),
        "counts" => fields.counts = Some(value),
        "more" => fields.more = value.is_truthy(),
        "cut" => fields.cut = value.is_truthy(),
        "trace" => fields.trace = Some(value),
        "lines" => fields.lines = Some(value),
        _ => {}
    })
    .ok_or(DecodeError::WrongShape)?;
    let fields = Box::new(fields);
    Ok(Envelope {
        uid,
        namespace: None,
        body: AnyBody::Classic(match kind {
            Kind::Response => Body::Response(fields),
            Kind::Broadcast | Kind::Request => Body::Request(fields),
        }),
    })
}

impl Body<'_> {
    /// The event, if a store put it in order and tells where: Node does not look at the fifth element.
    pub(super) fn ordered(&self) -> Option<Result<Ordered, DecodeError>> {
        let Self::Broadcast {
            packet,
            opts,
            original,
            order: Some(order),
        } = self
        else {
            return None;
        };
        let order = order.bytes()?;
        Some(ordered(*packet, *opts, *original, order))
    }

    pub(super) fn content(&self, uid: &str) -> Result<Content, DecodeError> {
        match self {
            Self::Broadcast {
                packet,
                opts,
                original,
                ..
            } => {
                let message = ClusterMessage::Broadcast(Broadcast {
                    selection: options(*opts)?,
                    event: packet_event(*packet, *original)?,
                });
                Ok(Content::Message(message, None))
            }
            Self::Request(fields) => fields.request(uid),
            Self::Response(fields) => fields.response(),
        }
    }
}

/// `order` has the era, and for each log the place of the entry before.
fn ordered(
    packet: Raw<'_>,
    opts: Raw<'_>,
    original: Option<Raw<'_>>,
    order: &[u8],
) -> Result<Ordered, DecodeError> {
    let selection = options(opts)?;
    let (event, offset) = ordered_event(packet, original)?;
    let logs = LogName::of(&selection);
    if order.len() != (1 + logs.len()) * Position::LENGTH {
        return Err(DecodeError::WrongShape);
    }
    let places = order.chunks(Position::LENGTH).map(|digits| {
        let digits = std::str::from_utf8(digits).ok();
        digits
            .and_then(Position::parse)
            .ok_or(DecodeError::WrongShape)
    });
    let mut places = places.collect::<Result<Vec<_>, _>>()?.into_iter();
    Ok(Ordered {
        epoch: offset.epoch,
        era: places.next().unwrap_or_default(),
        entry: Arc::new(Entry {
            position: offset.position,
            selection,
            body: event.to_body(),
        }),
        before: logs.into_iter().zip(places).collect(),
    })
}

impl Fields<'_> {
    fn request(&self, uid: &str) -> Result<Content, DecodeError> {
        if self.of_others {
            return Ok(Content::Ignored);
        }
        let message = match self.kind {
            Some(SOCKETS) => ClusterMessage::SocketIds {
                selection: Selection {
                    rooms: self.rooms.map_or(Ok(Vec::new()), names)?,
                    ..Selection::default()
                },
            },
            Some(ALL_ROOMS) => ClusterMessage::AllRooms,
            Some(REMOTE_JOIN) => {
                let (selection, rooms) = self.selection_and_rooms()?;
                ClusterMessage::Join { selection, rooms }
            }
            Some(REMOTE_LEAVE) => {
                let (selection, rooms) = self.selection_and_rooms()?;
                ClusterMessage::Leave { selection, rooms }
            }
            Some(REMOTE_DISCONNECT) => ClusterMessage::Disconnect {
                selection: self.selection()?,
                close: self.close,
            },
            Some(REMOTE_FETCH) => ClusterMessage::FetchSockets {
                selection: self.options()?,
            },
            Some(SERVER_SIDE_EMIT) => {
                let event = event(self.data.ok_or(DecodeError::WrongShape)?)?;
                ClusterMessage::ServerSideEmit(EventBuf {
                    arguments: original(event.arguments, self.original),
                    ..event
                })
            }
            Some(BROADCAST) => ClusterMessage::Broadcast(Broadcast {
                selection: self.options()?,
                event: packet_event(self.packet.ok_or(DecodeError::WrongShape)?, self.original)?,
            }),
            Some(GATEWAY_LIST) => ClusterMessage::List(ListRequest {
                list: list_named(self.list)?,
                selection: self.options()?,
                after: self.after.map(|after| after.name()),
                limit: bound(self.limit),
                bytes: bound(self.bytes),
            }),
            Some(GATEWAY_TRACE) => ClusterMessage::Trace(traced(self.trace)?),
            Some(_) => return Ok(Content::Ignored),
            None => return Err(DecodeError::WrongShape),
        };
        let reply_to = self.request.as_ref().map(|request| ReplyTo {
            request: request.clone(),
            uid: uid.to_owned(),
            node: self.node.clone(),
        });
        Ok(Content::Message(message, reply_to))
    }

    fn options(&self) -> Result<Selection, DecodeError> {
        options(self.opts.ok_or(DecodeError::WrongShape)?)
    }

    /// By `opts`, or, from old nodes, by `sid`.
    fn selection(&self) -> Result<Selection, DecodeError> {
        match (self.opts, self.sid) {
            (Some(opts), _) => options(opts),
            (None, Some(sid)) => Ok(Selection::room(sid.name())),
            (None, None) => Err(DecodeError::WrongShape),
        }
    }

    fn selection_and_rooms(&self) -> Result<(Selection, Vec<String>), DecodeError> {
        let rooms = self.rooms.or(self.room).ok_or(DecodeError::WrongShape)?;
        Ok((self.selection()?, names(rooms)?))
    }

    fn response(&self) -> Result<Content, DecodeError> {
        let Some(request) = &self.request else {
            return Err(DecodeError::WrongShape);
        };
        let answer = match (self.kind, self.sockets, self.rooms) {
            (Some(CLIENT_COUNT), ..) => {
                Answer::ClientCount(self.client_count.ok_or(DecodeError::WrongShape)?)
            }
            (Some(ACK), ..) => Answer::Ack(argument(self.packet, self.original)?),
            (Some(SERVER_SIDE_EMIT), ..) => Answer::ServerSide(argument(self.data, self.original)?),
            (Some(GATEWAY_PIECE), ..) => {
                Answer::Piece(piece(self.sockets, self.counts, self.more, self.cut)?)
            }
            (Some(GATEWAY_LINES), ..) => {
                Answer::Lines(names(self.lines.ok_or(DecodeError::WrongShape)?)?)
            }
            (Some(_), ..) => return Ok(Content::Ignored),
            (None, Some(list), _) => {
                let is_ids = list
                    .items()
                    .and_then(|mut items| items.next())
                    .is_some_and(|first| first.text().is_some());
                if is_ids {
                    Answer::SocketIds(names(list)?)
                } else {
                    Answer::Sockets(sockets(list)?)
                }
            }
            (None, None, Some(rooms)) => Answer::Rooms(names(rooms)?),
            (None, None, None) => Answer::Done,
        };
        Ok(Content::Response(Response {
            request: request.clone(),
            node: self.node.clone(),
            answer,
        }))
    }
}
