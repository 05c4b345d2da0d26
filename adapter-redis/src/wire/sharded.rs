//! The format of `createShardedAdapter`: every message is a map `{type, data, uid, nsp}`, in JSON
//! unless binary is inside.

use std::borrow::Cow;

use adapter::{
    Answer, ArgumentsBuf, Broadcast, ClusterMessage, EventBuf, ListRequest, NodeId, ReplyTo,
    RequestId, Response,
};

use super::{Body, Content, Envelope, Outgoing, SubscriptionMode, Wire};
use crate::codec::{
    DecodeError, EncodeError, JsonWriter, Raw, Writer, argument, bound, event, list_named, names,
    options, original, packet_event, piece, sockets, traced,
};

const BROADCAST: u64 = 3;
const SOCKETS_JOIN: u64 = 4;
const SOCKETS_LEAVE: u64 = 5;
const DISCONNECT_SOCKETS: u64 = 6;
const FETCH_SOCKETS: u64 = 7;
const FETCH_SOCKETS_RESPONSE: u64 = 8;
const SERVER_SIDE_EMIT: u64 = 9;
const SERVER_SIDE_EMIT_RESPONSE: u64 = 10;
const BROADCAST_CLIENT_COUNT: u64 = 11;
const BROADCAST_ACK: u64 = 12;
/// All rooms: what Node's sharded adapter has no message for. It ignores unknown types.
const GATEWAY_ALL_ROOMS: u64 = 101;
const GATEWAY_ALL_ROOMS_RESPONSE: u64 = 102;
/// A part of a list, and the answer.
const GATEWAY_LIST: u64 = 111;
const GATEWAY_PIECE: u64 = 112;
/// What is to be traced, and lines of the trace.
const GATEWAY_TRACE: u64 = 113;
const GATEWAY_LINES: u64 = 114;
/// A join, a leave or a disconnect is done, which Node's adapter does not tell.
const GATEWAY_DONE: u64 = 103;

/// The key under which a gateway node tells arguments that msgpack cannot; Node does not look at it.
const ORIGINAL: &str = "original";

/// The key under which a gateway node tells its id; Node does not look at it.
const NODE: &str = "node";

pub(super) fn open(raw: Raw<'_>) -> Result<Envelope<'_>, DecodeError> {
    let mut uid = Cow::Borrowed("");
    let mut namespace = None;
    raw.entries(|key, value| match key {
        "uid" => uid = value.text().unwrap_or_default(),
        "nsp" => namespace = value.text(),
        _ => {}
    })
    .ok_or(DecodeError::WrongShape)?;
    Ok(Envelope {
        uid,
        namespace: Some(namespace.ok_or(DecodeError::WrongShape)?),
        body: Body::Sharded(raw),
    })
}

/// The keys of `data`.
#[derive(Default)]
struct Fields<'a> {
    request: Option<RequestId>,
    opts: Option<Raw<'a>>,
    rooms: Option<Raw<'a>>,
    packet: Option<Raw<'a>>,
    original: Option<Raw<'a>>,
    sockets: Option<Raw<'a>>,
    client_count: Option<u64>,
    close: bool,
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

pub(super) fn content(raw: Raw<'_>, uid: &str) -> Result<Content, DecodeError> {
    let (mut kind, mut data, mut node) = (None, None, None);
    let mut of_others = false;
    raw.entries(|key, value| match key {
        "others" => of_others = value.is_truthy(),
        "type" => kind = value.count(),
        "data" => data = Some(value),
        NODE => node = value.text().and_then(|it| NodeId::new(&it).ok()),
        _ => {}
    })
    .ok_or(DecodeError::WrongShape)?;
    if of_others {
        return Ok(Content::Ignored);
    }
    let fields = match data {
        Some(data) => Fields::new(data)?,
        None => Fields::default(),
    };
    let message = match kind.ok_or(DecodeError::WrongShape)? {
        BROADCAST => ClusterMessage::Broadcast(Broadcast {
            selection: options(fields.opts.ok_or(DecodeError::WrongShape)?)?,
            event: packet_event(
                fields.packet.ok_or(DecodeError::WrongShape)?,
                fields.original,
            )?,
        }),
        SOCKETS_JOIN => ClusterMessage::Join {
            selection: options(fields.opts.ok_or(DecodeError::WrongShape)?)?,
            rooms: names(fields.rooms.ok_or(DecodeError::WrongShape)?)?,
        },
        SOCKETS_LEAVE => ClusterMessage::Leave {
            selection: options(fields.opts.ok_or(DecodeError::WrongShape)?)?,
            rooms: names(fields.rooms.ok_or(DecodeError::WrongShape)?)?,
        },
        DISCONNECT_SOCKETS => ClusterMessage::Disconnect {
            selection: options(fields.opts.ok_or(DecodeError::WrongShape)?)?,
            close: fields.close,
        },
        FETCH_SOCKETS => ClusterMessage::FetchSockets {
            selection: options(fields.opts.ok_or(DecodeError::WrongShape)?)?,
        },
        SERVER_SIDE_EMIT => {
            let event = event(fields.packet.ok_or(DecodeError::WrongShape)?)?;
            ClusterMessage::ServerSideEmit(EventBuf {
                arguments: original(event.arguments, fields.original),
                ..event
            })
        }
        GATEWAY_ALL_ROOMS => ClusterMessage::AllRooms,
        GATEWAY_LIST => ClusterMessage::List(ListRequest {
            list: list_named(fields.list)?,
            selection: options(fields.opts.ok_or(DecodeError::WrongShape)?)?,
            after: fields.after.map(|after| after.name()),
            limit: bound(fields.limit),
            bytes: bound(fields.bytes),
        }),
        GATEWAY_TRACE => ClusterMessage::Trace(traced(fields.trace)?),
        kind => return fields.response(kind, node),
    };
    let reply_to = fields.request.map(|request| ReplyTo {
        request,
        uid: uid.to_owned(),
        node,
    });
    Ok(Content::Message(message, reply_to))
}

impl<'a> Fields<'a> {
    fn new(data: Raw<'a>) -> Result<Self, DecodeError> {
        let mut fields = Self::default();
        data.entries(|key, value| match key {
            "requestId" => fields.request = value.text().map(|it| RequestId::new(it.into_owned())),
            "opts" => fields.opts = Some(value).filter(|it| !it.is_null()),
            "rooms" => fields.rooms = Some(value),
            "packet" => fields.packet = Some(value),
            ORIGINAL => fields.original = Some(value),
            "sockets" => fields.sockets = Some(value),
            "clientCount" => fields.client_count = value.count(),
            "close" => fields.close = value.is_truthy(),
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
        Ok(fields)
    }

    fn response(self, kind: u64, node: Option<NodeId>) -> Result<Content, DecodeError> {
        let answer = match kind {
            FETCH_SOCKETS_RESPONSE => {
                Answer::Sockets(sockets(self.sockets.ok_or(DecodeError::WrongShape)?)?)
            }
            SERVER_SIDE_EMIT_RESPONSE => Answer::ServerSide(argument(self.packet, self.original)?),
            BROADCAST_CLIENT_COUNT => {
                Answer::ClientCount(self.client_count.ok_or(DecodeError::WrongShape)?)
            }
            BROADCAST_ACK => Answer::Ack(argument(self.packet, self.original)?),
            GATEWAY_ALL_ROOMS_RESPONSE => {
                Answer::Rooms(names(self.rooms.ok_or(DecodeError::WrongShape)?)?)
            }
            GATEWAY_PIECE => Answer::Piece(piece(self.sockets, self.counts, self.more, self.cut)?),
            GATEWAY_LINES => Answer::Lines(names(self.lines.ok_or(DecodeError::WrongShape)?)?),
            GATEWAY_DONE => Answer::Done,
            _ => return Ok(Content::Ignored),
        };
        Ok(Content::Response(Response {
            request: self.request.ok_or(DecodeError::WrongShape)?,
            node,
            answer,
        }))
    }
}

impl Wire {
    pub(super) fn encode_sharded(
        &self,
        mode: SubscriptionMode,
        message: &ClusterMessage,
        request: Option<&RequestId>,
    ) -> Result<Outgoing, EncodeError> {
        let mut channel = self.channels.main.clone();
        let request_id = |json: &mut JsonWriter| {
            if let Some(request) = request {
                json.key("requestId").string(request.as_str());
            }
        };
        let optional = usize::from(request.is_some());
        let payload = match message {
            ClusterMessage::Broadcast(broadcast) => {
                let room = broadcast.selection.only_room();
                if let Some(room) = room.filter(|room| request.is_none() && mode.has_channel(room))
                {
                    channel = self.channels.room(room);
                }
                let event = &broadcast.event;
                if event.arguments.attachments.is_empty() {
                    self.sharded_json(BROADCAST, |json| {
                        json.key("packet").object(|json| {
                            json.key("type").display(2);
                            json.key("data").event(event);
                        });
                        request_id(json);
                        json.key("opts").options(&broadcast.selection);
                    })
                } else {
                    self.sharded_msgpack(BROADCAST, 2 + optional, |writer| {
                        writer.text("packet");
                        let limit = self.max_message;
                        let fidelity = writer.packet(event, None, limit)?;
                        if let Some(request) = request {
                            writer.entry("requestId", request.as_str());
                        }
                        writer.text("opts");
                        writer.options(&broadcast.selection);
                        Ok(writer.original(Some(ORIGINAL), &event.arguments, fidelity, limit))
                    })?
                }
            }
            ClusterMessage::Join { selection, rooms } => self.sharded_json(SOCKETS_JOIN, |json| {
                json.key("opts").options(selection);
                json.key("rooms").strings(rooms);
                request_id(json);
            }),
            ClusterMessage::Leave { selection, rooms } => {
                self.sharded_json(SOCKETS_LEAVE, |json| {
                    json.key("opts").options(selection);
                    json.key("rooms").strings(rooms);
                    request_id(json);
                })
            }
            ClusterMessage::Disconnect { selection, close } => {
                self.sharded_json(DISCONNECT_SOCKETS, |json| {
                    json.key("opts").options(selection);
                    json.key("close").display(close);
                    request_id(json);
                })
            }
            ClusterMessage::FetchSockets { selection }
            | ClusterMessage::SocketIds { selection } => self.sharded_json(FETCH_SOCKETS, |json| {
                json.key("opts").options(selection);
                request_id(json);
            }),
            ClusterMessage::AllRooms => self.sharded_json(GATEWAY_ALL_ROOMS, request_id),
            ClusterMessage::List(list) => self.sharded_json(GATEWAY_LIST, |json| {
                json.key("opts").options(&list.selection);
                request_id(json);
                json.list(list);
            }),
            ClusterMessage::Trace(trace) => self.sharded_json(GATEWAY_TRACE, |json| {
                request_id(json);
                json.key("trace").string(trace);
            }),
            ClusterMessage::ServerSideEmit(event) if event.arguments.attachments.is_empty() => self
                .sharded_json(SERVER_SIDE_EMIT, |json| {
                    request_id(json);
                    json.key("packet").event(event);
                }),
            ClusterMessage::ServerSideEmit(event) => {
                self.sharded_msgpack(SERVER_SIDE_EMIT, 1 + optional, |writer| {
                    if let Some(request) = request {
                        writer.entry("requestId", request.as_str());
                    }
                    writer.text("packet");
                    let limit = self.max_message;
                    let fidelity = writer.event(event, limit)?;
                    Ok(writer.original(Some(ORIGINAL), &event.arguments, fidelity, limit))
                })?
            }
        };
        Ok(Outgoing { channel, payload })
    }

    pub(super) fn encode_sharded_answer(
        &self,
        to: &ReplyTo,
        answer: &Answer,
    ) -> Result<Outgoing, EncodeError> {
        let request_id = |json: &mut JsonWriter| {
            json.key("requestId").string(to.request.as_str());
        };
        let payload = match answer {
            Answer::ClientCount(count) => self.sharded_json(BROADCAST_CLIENT_COUNT, |json| {
                request_id(json);
                json.key("clientCount").display(count);
            }),
            Answer::Ack(value) => self.sharded_value(BROADCAST_ACK, to, value)?,
            Answer::ServerSide(value) => {
                self.sharded_value(SERVER_SIDE_EMIT_RESPONSE, to, value)?
            }
            Answer::Sockets(sockets) => self.sharded_json(FETCH_SOCKETS_RESPONSE, |json| {
                request_id(json);
                json.key("sockets").sockets(sockets);
            }),
            Answer::Rooms(rooms) => self.sharded_json(GATEWAY_ALL_ROOMS_RESPONSE, |json| {
                request_id(json);
                json.key("rooms").strings(rooms);
            }),
            Answer::Piece(piece) => self.sharded_json(GATEWAY_PIECE, |json| {
                request_id(json);
                json.piece(piece);
            }),
            Answer::Lines(lines) => self.sharded_json(GATEWAY_LINES, |json| {
                request_id(json);
                json.key("lines").strings(lines);
            }),
            Answer::Done => self.sharded_json(GATEWAY_DONE, request_id),
            // Nobody asks for these in this format.
            Answer::SocketIds(_) => return Err(EncodeError::Malformed),
        };
        Ok(Outgoing {
            channel: self.channels.room(&to.uid),
            payload,
        })
    }

    fn sharded_value(
        &self,
        kind: u64,
        to: &ReplyTo,
        value: &ArgumentsBuf,
    ) -> Result<Vec<u8>, EncodeError> {
        if !value.attachments.is_empty() {
            return self.sharded_msgpack(kind, 2, |writer| {
                writer.entry("requestId", to.request.as_str());
                let limit = self.max_message;
                let fidelity = writer.argument("packet", value, limit)?;
                Ok(writer.original(Some(ORIGINAL), value, fidelity, limit))
            });
        }
        Ok(self.sharded_json(kind, |json| {
            json.key("requestId").string(to.request.as_str());
            if !value.json.is_empty() {
                json.key("packet").raw(&value.json);
            }
        }))
    }

    /// `{type, data, uid, nsp}`. `fill` writes what is in `data`.
    fn sharded_json(&self, kind: u64, fill: impl FnOnce(&mut JsonWriter)) -> Vec<u8> {
        let mut json = JsonWriter::default();
        json.object(|json| {
            json.key("type").display(kind);
            json.key("data").object(fill);
            json.key("uid").string(self.uid.as_str());
            json.key("nsp").string(&self.namespace);
            if tells_node(kind) {
                json.key(NODE).string(self.node.as_str());
            }
        });
        json.into_bytes()
    }

    /// The same in msgpack; `fill` writes `entries` entries, or one more if it says so.
    fn sharded_msgpack(
        &self,
        kind: u64,
        entries: usize,
        fill: impl FnOnce(&mut Writer) -> Result<bool, EncodeError>,
    ) -> Result<Vec<u8>, EncodeError> {
        let tells_node = tells_node(kind);
        let mut writer = Writer::default();
        writer.map(4 + usize::from(tells_node));
        writer.text("type");
        writer.unsigned(kind);
        writer.text("data");
        let start = writer.open();
        let has_more = fill(&mut writer)?;
        writer.close(start, true, entries + usize::from(has_more));
        writer.entry("uid", self.uid.as_str());
        writer.entry("nsp", &self.namespace);
        if tells_node {
            writer.entry(NODE, self.node.as_str());
        }
        Ok(writer.into_bytes())
    }
}

/// Whether messages of `kind` tell the sender's node: answers do.
fn tells_node(kind: u64) -> bool {
    matches!(
        kind,
        FETCH_SOCKETS_RESPONSE
            | SERVER_SIDE_EMIT_RESPONSE
            | BROADCAST_CLIENT_COUNT
            | BROADCAST_ACK
            | GATEWAY_ALL_ROOMS_RESPONSE
            | GATEWAY_PIECE
            | GATEWAY_LINES
            | GATEWAY_DONE
    )
}
