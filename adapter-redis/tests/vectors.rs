//! Messages captured from Node: each is read for what it says, and written again as Node wrote it.

#![allow(clippy::unwrap_used, reason = "a test")]

use adapter::{Answer, ArgumentsBuf, ClusterMessage, NodeId, ReplyTo, Response, Selection};
use adapter_redis::wire::{Channels, Content, Format, Kind, SubscriptionMode, Uid, Wire};
use serde_json::{Value, json};

const CLASSIC: Format = Format::Classic {
    specific_responses: false,
};
const SHARDED: Format = Format::Sharded(SubscriptionMode::Dynamic);

/// What these vectors hold is not written as Node does: dates and what is not a number come out as
/// JSON shows them, room names are text, and the emitter orders the options in another way.
const WRITTEN_OTHERWISE: [&str; 11] = [
    "emit-date",
    "emit-nan",
    "emit-numeric-room",
    "emitter-emit",
    "emitter-to",
    "emitter-to-two-except",
    "emitter-except",
    "emitter-volatile-compress",
    "emitter-of",
    "emitter-binary",
    "emitter-numeric-room",
];

#[test]
fn every_vector_says_what_node_meant() {
    let vectors = vectors();
    assert_eq!(vectors.len(), 136);
    for vector in &vectors {
        let content = vector.content();
        assert_eq!(vector.shown(&content), vector.meant(), "{vector:?}");
    }
}

#[test]
fn what_was_read_is_written_as_node_wrote_it() {
    let mut equal = 0;
    for vector in vectors() {
        let op = vector.text("op");
        let is_otherwise = match vector.format() {
            Format::Classic { .. } => WRITTEN_OTHERWISE.contains(&op),
            Format::Sharded(_) => op == "emit-numeric-room",
        };
        if is_otherwise || vector.text("adapter") == "streams" {
            continue;
        }
        let (channel, payload) = vector.rewritten();
        assert_eq!(channel, vector.text("channel"), "{op}");
        assert_eq!(
            String::from_utf8_lossy(&payload),
            String::from_utf8_lossy(&vector.payload()),
            "{op}"
        );
        assert_eq!(payload, vector.payload(), "{op}");
        equal += 1;
    }
    assert_eq!(equal, 105);
}

#[test]
fn what_is_written_otherwise_says_the_same() {
    for vector in vectors() {
        let content = vector.content();
        let (channel, payload) = vector.rewritten();
        let again = vector.read(&payload);
        assert_eq!(vector.shown(&again), vector.shown(&content), "{vector:?}");
        if vector.text("adapter") != "streams" {
            assert_eq!(channel, vector.text("channel"), "{vector:?}");
        }
    }
}

#[derive(Debug)]
struct Vector(Value);

impl Vector {
    fn text(&self, key: &str) -> &str {
        self.0[key].as_str().unwrap()
    }

    fn payload(&self) -> Vec<u8> {
        let hex = self.text("hex").as_bytes();
        let digits = hex.chunks(2).map(|pair| std::str::from_utf8(pair).unwrap());
        digits
            .map(|pair| u8::from_str_radix(pair, 16).unwrap())
            .collect()
    }

    fn format(&self) -> Format {
        match self.text("adapter") {
            "classic" => CLASSIC,
            _ => SHARDED,
        }
    }

    fn kind(&self) -> Kind {
        let channel = self.text("channel");
        if channel.starts_with("socket.io-request#") {
            Kind::Request
        } else if channel.starts_with("socket.io-response#") {
            Kind::Response
        } else {
            Kind::Broadcast
        }
    }

    fn namespace(&self) -> &str {
        let channel = self.text("channel");
        channel.split('#').nth(1).unwrap()
    }

    fn content(&self) -> Content {
        self.read(&self.payload())
    }

    fn read(&self, payload: &[u8]) -> Content {
        let mut text = String::new();
        let envelope = self
            .format()
            .open(self.kind(), payload, &mut text)
            .unwrap_or_else(|error| panic!("{error}: {self:?}"));
        if let Some(namespace) = &envelope.namespace {
            assert_eq!(namespace, self.namespace());
        }
        envelope.content().unwrap()
    }

    /// The same content, written by a node that has the vector's uid.
    fn rewritten(&self) -> (String, Vec<u8>) {
        let wire = Wire {
            format: self.format(),
            namespace: self.namespace().into(),
            channels: Channels::new("socket.io", self.namespace()),
            uid: Uid::new(self.format(), 1, self.namespace()),
            node: NodeId::new("n").unwrap(),
            max_message: 1 << 20,
        };
        let outgoing = match self.content() {
            Content::Message(message, reply_to) => {
                let request = reply_to.as_ref().map(|it| &it.request);
                wire.encode(&message, request)
            }
            Content::Response(response) => {
                let channel = self.text("channel");
                let to = ReplyTo {
                    request: response.request.clone(),
                    uid: channel.split('#').nth(2).unwrap().to_owned(),
                    node: None,
                };
                wire.encode_answer(&to, &response.answer)
            }
            Content::Ignored => panic!("ignored: {self:?}"),
        };
        let outgoing = outgoing.unwrap();
        let payload = without_node(outgoing.payload);
        let uid = self.uid();
        let payload = match uid.len() == wire.uid.as_str().len() {
            true => replace(&payload, wire.uid.as_str(), uid),
            false => payload,
        };
        let payload = match uid {
            "" if self.kind() == Kind::Request => {
                let ours = format!("\"uid\":\"{}\",", wire.uid);
                replace(&payload, &ours, "")
            }
            "emitter" if payload[0] == b'{' => replace(&payload, wire.uid.as_str(), "emitter"),
            _ => payload,
        };
        (outgoing.channel, payload)
    }

    fn uid(&self) -> &str {
        let decoded = &self.0["decoded"];
        let uid = if decoded.is_array() {
            &decoded[0]
        } else {
            &decoded["uid"]
        };
        uid.as_str().unwrap_or("")
    }

    /// The content in the form of [`meant`](Self::meant).
    fn shown(&self, content: &Content) -> Value {
        match content {
            Content::Message(message, reply_to) => {
                let mut shown = show_message(message);
                if let Some(reply_to) = reply_to {
                    assert_eq!(reply_to.uid, self.uid());
                    shown["request"] = json!(reply_to.request.as_str());
                }
                shown
            }
            Content::Response(response) => show_response(response),
            Content::Ignored => json!("ignored"),
        }
    }

    /// What the capture says that the message means.
    fn meant(&self) -> Value {
        let decoded = &self.0["decoded"];
        if decoded.is_array() {
            return json!({"emit": decoded[1]["data"], "to": selection(&decoded[2])});
        }
        let sharded = self.format() == SHARDED;
        let fields = if sharded { &decoded["data"] } else { decoded };
        let kind = decoded["type"].as_u64();
        let opts = || selection(&fields["opts"]);
        let mut meant = match (sharded, self.kind(), kind) {
            (true, _, Some(3)) | (false, Kind::Request, Some(7)) => {
                json!({"emit": fields["packet"]["data"], "to": opts()})
            }
            (true, _, Some(4)) | (false, Kind::Request, Some(2)) => {
                json!({"join": fields["rooms"], "to": opts()})
            }
            (true, _, Some(5)) | (false, Kind::Request, Some(3)) => {
                json!({"leave": fields["rooms"], "to": opts()})
            }
            (true, _, Some(6)) | (false, Kind::Request, Some(4)) => {
                json!({"disconnect": fields["close"], "to": opts()})
            }
            (true, _, Some(7)) | (false, Kind::Request, Some(5)) => {
                json!({"fetch": null, "to": opts()})
            }
            (true, _, Some(9)) => json!({"serverSide": fields["packet"]}),
            (false, Kind::Request, Some(6)) => json!({"serverSide": fields["data"]}),
            (false, Kind::Request, Some(1)) => json!({"allRooms": null}),
            (true, _, Some(11)) | (false, Kind::Response, Some(8)) => {
                json!({"count": fields["clientCount"]})
            }
            (true, _, Some(10 | 12)) | (false, Kind::Response, Some(9)) => {
                json!({"value": fields["packet"]})
            }
            (false, Kind::Response, Some(6)) => json!({"value": fields["data"]}),
            (true, _, Some(8)) => json!({"sockets": fields["sockets"]}),
            (false, Kind::Response, None) if fields["sockets"].is_array() => {
                json!({"sockets": fields["sockets"]})
            }
            (false, Kind::Response, None) => json!({"rooms": fields["rooms"]}),
            other => panic!("{other:?}"),
        };
        if let Some(request) = fields["requestId"].as_str() {
            meant["request"] = json!(request);
        }
        meant
    }
}

fn vectors() -> Vec<Vector> {
    let file = include_str!("vectors/node.json");
    let Value::Object(mut file) = serde_json::from_str(file).unwrap() else {
        panic!("no object");
    };
    let vectors = file["vectors"].as_array_mut().unwrap();
    std::mem::take(vectors).into_iter().map(Vector).collect()
}

fn selection(opts: &Value) -> Value {
    let names = |key: &str| {
        let names = opts[key].as_array().unwrap().iter();
        names
            .map(|name| name.as_str().map_or(name.to_string(), str::to_owned))
            .collect::<Vec<_>>()
    };
    let flags = opts.get("flags").cloned().unwrap_or_else(|| json!({}));
    json!({"rooms": names("rooms"), "except": names("except"), "flags": flags})
}

fn show_message(message: &ClusterMessage) -> Value {
    match message {
        ClusterMessage::Broadcast(it) => {
            json!({"emit": show_event(&it.event), "to": show_selection(&it.selection)})
        }
        ClusterMessage::Join { selection, rooms } => {
            json!({"join": rooms, "to": show_selection(selection)})
        }
        ClusterMessage::Leave { selection, rooms } => {
            json!({"leave": rooms, "to": show_selection(selection)})
        }
        ClusterMessage::Disconnect { selection, close } => {
            json!({"disconnect": close, "to": show_selection(selection)})
        }
        ClusterMessage::FetchSockets { selection } => {
            json!({"fetch": null, "to": show_selection(selection)})
        }
        ClusterMessage::SocketIds { selection } => {
            json!({"ids": null, "to": show_selection(selection)})
        }
        ClusterMessage::AllRooms => json!({"allRooms": null}),
        ClusterMessage::List(list) => json!({"list": list.list.name()}),
        ClusterMessage::Trace(words) => json!({"trace": words}),
        ClusterMessage::ServerSideEmit(event) => json!({"serverSide": show_event(event)}),
    }
}

fn show_response(response: &Response) -> Value {
    let mut shown = match &response.answer {
        Answer::ClientCount(count) => json!({"count": count}),
        Answer::Ack(value) | Answer::ServerSide(value) => json!({"value": show_values(value)[0]}),
        Answer::Sockets(sockets) => {
            let sockets = sockets.iter().map(|socket| {
                json!({
                    "id": socket.id,
                    "handshake": serde_json::from_str::<Value>(&socket.handshake).unwrap(),
                    "rooms": socket.rooms,
                    "data": serde_json::from_str::<Value>(&socket.data).unwrap(),
                })
            });
            json!({"sockets": sockets.collect::<Vec<_>>()})
        }
        Answer::SocketIds(ids) => json!({"sockets": ids}),
        Answer::Piece(piece) => json!({"more": piece.more}),
        Answer::Rooms(rooms) => json!({"rooms": rooms}),
        Answer::Lines(lines) => json!({"lines": lines}),
        Answer::Done => json!({"done": null}),
    };
    shown["request"] = json!(response.request.as_str());
    shown
}

fn show_event(event: &adapter::EventBuf) -> Value {
    let mut values = vec![json!(event.name)];
    values.extend(show_values(&event.arguments));
    json!(values)
}

fn show_values(arguments: &ArgumentsBuf) -> Vec<Value> {
    let array = format!("[{}]", arguments.json);
    let Value::Array(mut values) = serde_json::from_str(&array).unwrap() else {
        panic!("no array");
    };
    for value in &mut values {
        fill_placeholders(value, arguments);
    }
    values
}

fn fill_placeholders(value: &mut Value, arguments: &ArgumentsBuf) {
    if value["_placeholder"] == json!(true) && !arguments.attachments.is_empty() {
        let index = usize::try_from(value["num"].as_u64().unwrap()).unwrap();
        let bytes = &arguments.attachments[index];
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        *value = json!({ "$bin": hex });
        return;
    }
    match value {
        Value::Array(values) => values
            .iter_mut()
            .for_each(|it| fill_placeholders(it, arguments)),
        Value::Object(values) => values
            .values_mut()
            .for_each(|it| fill_placeholders(it, arguments)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn show_selection(selection: &Selection) -> Value {
    let mut flags = json!({});
    if let Some(compress) = selection.flags.compress {
        flags["compress"] = json!(compress);
    }
    if selection.flags.volatile {
        flags["volatile"] = json!(true);
    }
    if selection.flags.expect_single_response {
        flags["expectSingleResponse"] = json!(true);
    }
    if let Some(timeout) = selection.flags.timeout {
        flags["timeout"] = json!(timeout.as_millis());
    }
    json!({"rooms": selection.rooms, "except": selection.except, "flags": flags})
}

/// The message without the id of our node, which Node's messages do not have.
fn without_node(payload: Vec<u8>) -> Vec<u8> {
    if payload[0] == b'{' {
        return replace(&payload, ",\"node\":\"n\"", "");
    }
    match payload.strip_suffix(b"\xa4node\xa1n") {
        Some(rest) => [&[rest[0] - 1], &rest[1..]].concat(),
        None => payload,
    }
}

fn replace(payload: &[u8], from: &str, to: &str) -> Vec<u8> {
    let at = payload
        .windows(from.len())
        .position(|window| window == from.as_bytes());
    match at {
        Some(at) => [&payload[..at], to.as_bytes(), &payload[at + from.len()..]].concat(),
        None => payload.to_vec(),
    }
}
