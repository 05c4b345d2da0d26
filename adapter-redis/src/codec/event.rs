use adapter::recovery::Offset;
use adapter::{ArgumentsBuf, EventBuf, SocketDetails};
use protocol::msgpack::{BinaryForm, Fidelity, append_arguments};
use protocol::socketio::is_reserved;

use super::json::JsonWriter;
use super::options::names;
use super::original::original;
use super::raw::Raw;
use super::{DecodeError, EncodeError, Writer};

/// Packet types of `socket.io-parser`.
const EVENT: u64 = 2;
const BINARY_EVENT: u64 = 5;

/// The event in a `packet`, `{type, data}`, its arguments as they were written if the message tells.
/// Anything that would make clients disconnect is refused.
pub(crate) fn packet_event(
    packet: Raw<'_>,
    told: Option<Raw<'_>>,
) -> Result<EventBuf, DecodeError> {
    let event = event(packet_data(packet)?)?;
    checked(event, told)
}

/// The same of an event in the order of a store: its last argument is its offset.
pub(crate) fn ordered_event(
    packet: Raw<'_>,
    told: Option<Raw<'_>>,
) -> Result<(EventBuf, Offset), DecodeError> {
    let data = packet_data(packet)?;
    let items = data.items().ok_or(DecodeError::WrongShape)?;
    let mut items: Vec<_> = items.collect();
    let offset = items.pop().and_then(Raw::text);
    let offset = offset.and_then(|text| Offset::parse(&text).ok());
    let mut items = items.into_iter();
    let name = items.next().filter(|it| it.text().is_some());
    let event = EventBuf {
        name: name.ok_or(DecodeError::BadEvent)?.name(),
        arguments: arguments(items, data.size())?,
    };
    let offset = offset.ok_or(DecodeError::WrongShape)?;
    Ok((checked(event, told)?, offset))
}

fn packet_data(packet: Raw<'_>) -> Result<Raw<'_>, DecodeError> {
    let mut kind = None;
    let mut data = None;
    packet
        .entries(|key, value| match key {
            "type" => kind = Some(value),
            "data" => data = Some(value),
            _ => {}
        })
        .ok_or(DecodeError::WrongShape)?;
    if !matches!(
        kind.map(Raw::count),
        None | Some(Some(EVENT | BINARY_EVENT))
    ) {
        return Err(DecodeError::WrongShape);
    }
    data.ok_or(DecodeError::WrongShape)
}

fn checked(event: EventBuf, told: Option<Raw<'_>>) -> Result<EventBuf, DecodeError> {
    let event = EventBuf {
        arguments: original(event.arguments, told),
        ..event
    };
    if is_reserved(&event.name) {
        return Err(DecodeError::BadEvent);
    }
    Ok(event)
}

/// The event that an array of its name and its arguments is.
pub(crate) fn event(data: Raw<'_>) -> Result<EventBuf, DecodeError> {
    let mut items = data.items().ok_or(DecodeError::WrongShape)?;
    let name = items.next().ok_or(DecodeError::BadEvent)?;
    if name.text().is_none() && name.number().is_none() {
        return Err(DecodeError::BadEvent);
    }
    let arguments = match items.json() {
        Some(json) => ArgumentsBuf::from_json(json),
        None => arguments(items, data.size())?,
    };
    Ok(EventBuf {
        name: name.name(),
        arguments,
    })
}

/// One value, or none if it is missing or undefined; as it was written if the message tells.
pub(crate) fn argument(
    value: Option<Raw<'_>>,
    told: Option<Raw<'_>>,
) -> Result<ArgumentsBuf, DecodeError> {
    let read = arguments(value.into_iter(), value.map_or(0, Raw::size))?;
    Ok(original(read, told))
}

/// The JSON of `values`, which take about `size` bytes.
fn arguments<'a>(
    values: impl Iterator<Item = Raw<'a>>,
    size: usize,
) -> Result<ArgumentsBuf, DecodeError> {
    let mut json = Vec::with_capacity(size + size / 4);
    let mut attachments = Vec::new();
    for value in values {
        if !json.is_empty() {
            json.push(b',');
        }
        value.append_json(&mut json, &mut BinaryForm::Attach(&mut attachments))?;
    }
    let json = String::from_utf8(json).map_err(|_| DecodeError::Malformed)?;
    let arguments = ArgumentsBuf { json, attachments };
    if !arguments.attachments.is_empty() && !arguments.as_arguments().are_legal() {
        return Err(DecodeError::IllegalPlaceholder);
    }
    Ok(arguments)
}

/// The sockets that an array of their details is. What is not even an object with an id is left out.
pub(crate) fn sockets(value: Raw<'_>) -> Result<Vec<SocketDetails>, DecodeError> {
    let items = value.items().ok_or(DecodeError::WrongShape)?;
    items.filter_map(|item| socket(item).transpose()).collect()
}

fn socket(value: Raw<'_>) -> Result<Option<SocketDetails>, DecodeError> {
    let mut id = None;
    let mut rooms = None;
    let (mut handshake, mut data, mut extra) = (None, None, None);
    let _ = value.entries(|key, value| match key {
        "id" => id = value.text(),
        "rooms" => rooms = Some(value),
        "handshake" => handshake = Some(value),
        "data" => data = Some(value),
        EXTRA => extra = Some(value),
        _ => {}
    });
    let Some(id) = id else {
        return Ok(None);
    };
    Ok(Some(SocketDetails {
        id: id.into_owned(),
        handshake: handshake.map_or(Ok("null".to_owned()), text)?,
        rooms: rooms.map_or(Ok(Vec::new()), names)?,
        data: data.map_or(Ok("null".to_owned()), text)?,
        extra: extra.map(text).transpose()?,
    }))
}

fn text(value: Raw<'_>) -> Result<String, DecodeError> {
    let mut json = Vec::new();
    value.append_json(&mut json, &mut BinaryForm::Text)?;
    String::from_utf8(json).map_err(|_| DecodeError::Malformed)
}

/// The key of [`SocketDetails::extra`], which Node does not look at.
const EXTRA: &str = "gateway";

impl Writer {
    /// The packet of an event: `{type, data}`, and `nsp` if it is told.
    pub(crate) fn packet(
        &mut self,
        event: &EventBuf,
        namespace: Option<&str>,
        limit: usize,
    ) -> Result<Fidelity, EncodeError> {
        self.map(2 + usize::from(namespace.is_some()));
        self.text("type");
        self.unsigned(EVENT);
        self.text("data");
        let fidelity = self.event(event, limit)?;
        if let Some(namespace) = namespace {
            self.text("nsp");
            self.text(namespace);
        }
        Ok(fidelity)
    }

    /// The same, told its namespace, with an offset to come as the last argument: also where it is to be inserted.
    pub(crate) fn ordered_packet(
        &mut self,
        event: &EventBuf,
        namespace: &str,
        limit: usize,
    ) -> Result<(usize, Fidelity), EncodeError> {
        self.map(3);
        self.text("type");
        self.unsigned(EVENT);
        self.text("data");
        let start = self.open();
        self.text(&event.name);
        let (count, fidelity) = append_arguments(event.arguments.as_arguments(), self, limit)?;
        self.close(start, false, count + 2);
        self.text_head(Offset::LENGTH);
        let at = self.len();
        self.entry("nsp", namespace);
        Ok((at, fidelity))
    }

    /// The name and the arguments of an event as one array.
    pub(crate) fn event(
        &mut self,
        event: &EventBuf,
        limit: usize,
    ) -> Result<Fidelity, EncodeError> {
        let start = self.open();
        self.text(&event.name);
        let (count, fidelity) = append_arguments(event.arguments.as_arguments(), self, limit)?;
        self.close(start, false, count + 1);
        Ok(fidelity)
    }

    /// One value under `key`.
    pub(crate) fn argument(
        &mut self,
        key: &str,
        value: &ArgumentsBuf,
        limit: usize,
    ) -> Result<Fidelity, EncodeError> {
        self.text(key);
        match append_arguments(value.as_arguments(), self, limit)? {
            (1, fidelity) => Ok(fidelity),
            _ => Err(EncodeError::Malformed),
        }
    }
}

impl JsonWriter {
    /// The name and the arguments of an event as one array.
    pub(crate) fn event(&mut self, event: &EventBuf) {
        self.raw("[");
        self.string(&event.name);
        if !event.arguments.json.is_empty() {
            self.raw(",");
            self.raw(&event.arguments.json);
        }
        self.raw("]");
    }

    /// The details of sockets.
    pub(crate) fn sockets(&mut self, sockets: &[SocketDetails]) {
        self.array(sockets, |json, socket| {
            json.object(|json| {
                json.key("id").string(&socket.id);
                json.key("handshake").raw(&socket.handshake);
                json.key("rooms").strings(&socket.rooms);
                json.key("data").raw(&socket.data);
                if let Some(extra) = &socket.extra {
                    json.key(EXTRA).raw(extra);
                }
            });
        });
    }
}
