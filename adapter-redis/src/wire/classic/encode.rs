use adapter::recovery::{Offset, Position};
use adapter::{
    Answer, ArgumentsBuf, Broadcast, ClusterMessage, EventBuf, ReplyTo, RequestId, Selection,
};

use super::{
    ACK, ALL_ROOMS, BROADCAST, CLIENT_COUNT, GATEWAY_LINES, GATEWAY_LIST, GATEWAY_PIECE,
    GATEWAY_TRACE, NODE, ORIGINAL, REMOTE_DISCONNECT, REMOTE_FETCH, REMOTE_JOIN, REMOTE_LEAVE,
    SERVER_SIDE_EMIT, SOCKETS,
};
use crate::codec::{EncodeError, JsonWriter, Writer};
use crate::wire::{Outgoing, Prepared, Wire};

impl Wire {
    pub(in crate::wire) fn encode_classic(
        &self,
        message: &ClusterMessage,
        request: Option<&RequestId>,
    ) -> Result<Outgoing, EncodeError> {
        let payload = match message {
            ClusterMessage::Broadcast(broadcast) => {
                return match request {
                    None => self.classic_broadcast(broadcast),
                    Some(request) => self.classic_broadcast_with_ack(broadcast, request),
                };
            }
            ClusterMessage::ServerSideEmit(event) if !event.arguments.attachments.is_empty() => {
                self.binary_server_side_emit(event, request)?
            }
            ClusterMessage::Join { selection, rooms } => self.json(request, REMOTE_JOIN, |json| {
                json.key("opts").selection(selection);
                json.key("rooms").strings(rooms);
            }),
            ClusterMessage::Leave { selection, rooms } => {
                self.json(request, REMOTE_LEAVE, |json| {
                    json.key("opts").selection(selection);
                    json.key("rooms").strings(rooms);
                })
            }
            ClusterMessage::Disconnect { selection, close } => {
                self.json(request, REMOTE_DISCONNECT, |json| {
                    json.key("opts").selection(selection);
                    json.key("close").display(close);
                })
            }
            ClusterMessage::FetchSockets { selection } => {
                self.json(request, REMOTE_FETCH, |json| {
                    json.key("opts").selection(selection);
                })
            }
            ClusterMessage::SocketIds { selection } => self.json(request, SOCKETS, |json| {
                json.key("rooms").strings(&selection.rooms);
            }),
            ClusterMessage::AllRooms => self.json(request, ALL_ROOMS, |_| {}),
            ClusterMessage::List(list) => self.json(request, GATEWAY_LIST, |json| {
                json.key("opts").selection(&list.selection);
                json.list(list);
            }),
            ClusterMessage::Trace(trace) => self.json(request, GATEWAY_TRACE, |json| {
                json.key("trace").string(trace);
            }),
            ClusterMessage::ServerSideEmit(event) => self.json(request, SERVER_SIDE_EMIT, |json| {
                json.key("data").event(event);
            }),
        };
        Ok(Outgoing {
            channel: self.channels.requests.clone(),
            payload,
        })
    }

    fn classic_broadcast(&self, broadcast: &Broadcast) -> Result<Outgoing, EncodeError> {
        let mut writer = Writer::default();
        let start = writer.open();
        writer.text(self.uid.as_str());
        let event = &broadcast.event;
        let fidelity = writer.packet(event, Some(&self.namespace), self.max_message)?;
        writer.options(&broadcast.selection);
        let limit = self.max_message;
        let has_original = writer.original(None, &event.arguments, fidelity, limit);
        writer.close(start, false, 3 + usize::from(has_original));
        let channel = match broadcast.selection.only_room() {
            Some(room) => self.channels.room(room),
            None => self.channels.main.clone(),
        };
        Ok(Outgoing {
            channel,
            payload: writer.into_bytes(),
        })
    }

    /// The parts of a broadcast that a store publishes in its order, which names `logs` logs.
    pub(in crate::wire) fn classic_ordered(
        &self,
        selection: &Selection,
        event: &EventBuf,
        logs: usize,
    ) -> Result<Prepared, EncodeError> {
        let limit = self.max_message;
        let mut writer = Writer::default();
        writer.array(5);
        writer.text(self.uid.as_str());
        let (at, fidelity) = writer.ordered_packet(event, &self.namespace, limit)?;
        writer.options(selection);
        if !writer.original(None, &event.arguments, fidelity, limit) {
            writer.nil();
        }
        writer.long_binary_head((1 + logs) * Position::LENGTH);
        let mut before = writer.into_bytes();
        let behind = before.split_off(at);
        if before.len() + behind.len() + Offset::LENGTH + (1 + logs) * Position::LENGTH > limit {
            return Err(EncodeError::TooLarge);
        }
        let channel = match selection.only_room() {
            Some(room) => self.channels.room(room),
            None => self.channels.main.clone(),
        };
        Ok(Prepared {
            channel,
            before,
            behind,
        })
    }

    fn classic_broadcast_with_ack(
        &self,
        broadcast: &Broadcast,
        request: &RequestId,
    ) -> Result<Outgoing, EncodeError> {
        let mut writer = Writer::default();
        let start = writer.open();
        writer.entry("uid", self.uid.as_str());
        writer.entry("requestId", request.as_str());
        writer.text("type");
        writer.unsigned(BROADCAST);
        writer.text("packet");
        let event = &broadcast.event;
        let fidelity = writer.packet(event, Some(&self.namespace), self.max_message)?;
        writer.text("opts");
        writer.options(&broadcast.selection);
        writer.entry(NODE, self.node.as_str());
        let limit = self.max_message;
        let has_original = writer.original(Some(ORIGINAL), &event.arguments, fidelity, limit);
        writer.close(start, true, 6 + usize::from(has_original));
        Ok(Outgoing {
            channel: self.channels.requests.clone(),
            payload: writer.into_bytes(),
        })
    }

    /// Node writes JSON, in which a `Buffer` is an object of numbers; it reads msgpack as well.
    fn binary_server_side_emit(
        &self,
        event: &EventBuf,
        request: Option<&RequestId>,
    ) -> Result<Vec<u8>, EncodeError> {
        let mut writer = Writer::default();
        let start = writer.open();
        writer.entry("uid", self.uid.as_str());
        if let Some(request) = request {
            writer.entry("requestId", request.as_str());
            writer.entry(NODE, self.node.as_str());
        }
        writer.text("type");
        writer.unsigned(SERVER_SIDE_EMIT);
        writer.text("data");
        let limit = self.max_message;
        let fidelity = writer.event(event, limit)?;
        let has_original = writer.original(Some(ORIGINAL), &event.arguments, fidelity, limit);
        let entries = 3 + if request.is_some() { 2 } else { 0 };
        writer.close(start, true, entries + usize::from(has_original));
        Ok(writer.into_bytes())
    }

    /// A request in JSON. Only what wants an answer tells who asks.
    fn json(
        &self,
        request: Option<&RequestId>,
        kind: u64,
        fill: impl FnOnce(&mut JsonWriter),
    ) -> Vec<u8> {
        let mut json = JsonWriter::default();
        json.object(|json| {
            json.key("uid").string(self.uid.as_str());
            if let Some(request) = request {
                json.key("requestId").string(request.as_str());
            }
            json.key("type").display(kind);
            fill(json);
            if request.is_some() {
                json.key(NODE).string(self.node.as_str());
            }
        });
        json.into_bytes()
    }

    pub(in crate::wire) fn encode_classic_answer(
        &self,
        specific_responses: bool,
        to: &ReplyTo,
        answer: &Answer,
    ) -> Result<Outgoing, EncodeError> {
        let request = to.request.as_str();
        let payload = match answer {
            Answer::Ack(value) => self.binary_answer(request, ACK, "packet", value)?,
            Answer::ServerSide(value) if !value.attachments.is_empty() => {
                self.binary_answer(request, SERVER_SIDE_EMIT, "data", value)?
            }
            Answer::ClientCount(count) => self.json_answer(|json| {
                json.key("type").display(CLIENT_COUNT);
                json.key("requestId").string(request);
                json.key("clientCount").display(count);
            }),
            Answer::ServerSide(value) => self.json_answer(|json| {
                json.key("type").display(SERVER_SIDE_EMIT);
                json.key("requestId").string(request);
                if !value.json.is_empty() {
                    json.key("data").raw(&value.json);
                }
            }),
            Answer::Sockets(sockets) => self.json_answer(|json| {
                json.key("requestId").string(request);
                json.key("sockets").sockets(sockets);
            }),
            Answer::SocketIds(ids) => self.json_answer(|json| {
                json.key("requestId").string(request);
                json.key("sockets").strings(ids);
            }),
            Answer::Rooms(rooms) => self.json_answer(|json| {
                json.key("requestId").string(request);
                json.key("rooms").strings(rooms);
            }),
            Answer::Piece(piece) => self.json_answer(|json| {
                json.key("type").display(GATEWAY_PIECE);
                json.key("requestId").string(request);
                json.piece(piece);
            }),
            Answer::Lines(lines) => self.json_answer(|json| {
                json.key("type").display(GATEWAY_LINES);
                json.key("requestId").string(request);
                json.key("lines").strings(lines);
            }),
            Answer::Done => self.json_answer(|json| {
                json.key("requestId").string(request);
            }),
        };
        let specific = (specific_responses || to.node.is_some()) && !to.uid.is_empty();
        let channel = if specific {
            self.channels.responses_to(&to.uid)
        } else {
            self.channels.responses.clone()
        };
        Ok(Outgoing { channel, payload })
    }

    fn json_answer(&self, fill: impl FnOnce(&mut JsonWriter)) -> Vec<u8> {
        let mut json = JsonWriter::default();
        json.object(|json| {
            fill(json);
            json.key(NODE).string(self.node.as_str());
        });
        json.into_bytes()
    }

    fn binary_answer(
        &self,
        request: &str,
        kind: u64,
        key: &str,
        value: &ArgumentsBuf,
    ) -> Result<Vec<u8>, EncodeError> {
        let mut writer = Writer::default();
        let start = writer.open();
        let mut entries = 3;
        writer.text("type");
        writer.unsigned(kind);
        writer.entry("requestId", request);
        if !value.json.is_empty() {
            let fidelity = writer.argument(key, value, self.max_message)?;
            let limit = self.max_message;
            let has_original = writer.original(Some(ORIGINAL), value, fidelity, limit);
            entries += 1 + usize::from(has_original);
        }
        writer.entry(NODE, self.node.as_str());
        writer.close(start, true, entries);
        Ok(writer.into_bytes())
    }
}
