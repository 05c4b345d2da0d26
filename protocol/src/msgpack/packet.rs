//! Packets of clients with `socket.io-msgpack-parser`: each is one binary message, a map of `type`, `data`, `id` and `nsp`.

use bytes::Bytes;

use super::{BinaryForm, Packer, ReadError, Token, Unpacker, append_arguments, append_json, lossy};
use crate::socketio::{
    Arguments, BinaryPacket, Content, DecodeError, Decoded, MAX_NAMESPACE, is_reserved, json,
};

const CONNECT: u64 = 0;
const DISCONNECT: u64 = 1;
const EVENT: u64 = 2;
const ACK: u64 = 3;
const CONNECT_ERROR: u64 = 4;

/// Reads a binary message of a client. The packet becomes what it would be in JSON, of at most `limit` bytes.
///
/// # Errors
///
/// If it is no packet that a client may send. The session has to be closed.
pub fn decode(data: &[u8], limit: usize) -> Result<Decoded<'static>, DecodeError> {
    if !Unpacker::new(data).is_one_value() {
        return Err(DecodeError::InvalidMsgpack);
    }
    let fields = Fields::of(data).ok_or(DecodeError::InvalidMsgpack)?;
    let namespace = namespace(fields.namespace)?;
    let id = id(fields.id)?;
    let (content, arguments) = match kind(fields.kind)? {
        CONNECT => (Content::Connect(auth(fields.data, limit)?), None),
        DISCONNECT if is_absent(fields.data) => (Content::Disconnect, None),
        EVENT => {
            let (name, arguments) = event(fields.data, limit)?;
            let content = Content::Event {
                id,
                name: name.0.into(),
                name_is_string: name.1,
            };
            (content, Some(arguments))
        }
        ACK => {
            let mut items = items(fields.data)?;
            let arguments = arguments(&mut items, limit)?;
            let Some(id) = id else {
                return Ok(Decoded::Ignored);
            };
            (Content::Ack { id }, Some(arguments))
        }
        CONNECT_ERROR => return Err(DecodeError::UnexpectedConnectError),
        DISCONNECT => return Err(DecodeError::InvalidPayload),
        _ => return Err(DecodeError::UnknownType),
    };
    let (json, attachments) = arguments.unwrap_or_default();
    let packet = BinaryPacket::new_whole(namespace, content, json, attachments);
    Ok(Decoded::Binary(Box::new(packet)))
}

/// The values that a packet has; of a key that comes again the last.
#[derive(Default)]
struct Fields<'a> {
    kind: Option<&'a [u8]>,
    data: Option<&'a [u8]>,
    id: Option<&'a [u8]>,
    namespace: Option<&'a [u8]>,
}

impl<'a> Fields<'a> {
    fn of(data: &'a [u8]) -> Option<Self> {
        let mut reader = Unpacker::new(data);
        let Token::Map(count) = reader.token()? else {
            return None;
        };
        let mut fields = Self::default();
        for _ in 0..count {
            let key = value(&mut reader)?;
            let value = value(&mut reader)?;
            let (Token::Text(key) | Token::Binary(key)) = Unpacker::new(key).token()? else {
                continue;
            };
            let field = match key {
                b"type" => &mut fields.kind,
                b"data" => &mut fields.data,
                b"id" => &mut fields.id,
                b"nsp" => &mut fields.namespace,
                _ => continue,
            };
            *field = Some(value);
        }
        Some(fields)
    }
}

/// The bytes of the next value.
fn value<'a>(reader: &mut Unpacker<'a>) -> Option<&'a [u8]> {
    let (rest, start) = (reader.rest(), reader.position());
    reader.skip()?;
    rest.get(..reader.position() - start)
}

fn token(value: Option<&[u8]>) -> Option<Token<'_>> {
    Unpacker::new(value?).token()
}

fn is_absent(value: Option<&[u8]>) -> bool {
    matches!(token(value), None | Some(Token::Undefined | Token::Nil))
}

fn kind(value: Option<&[u8]>) -> Result<u64, DecodeError> {
    whole(token(value)).ok_or(DecodeError::UnknownType)
}

fn id(value: Option<&[u8]>) -> Result<Option<u64>, DecodeError> {
    match token(value) {
        None | Some(Token::Undefined) => Ok(None),
        number => Ok(Some(whole(number).ok_or(DecodeError::BadAckId)?)),
    }
}

/// A number that is whole and not negative, in whatever form.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "within the bounds that the condition names"
)]
fn whole(token: Option<Token<'_>>) -> Option<u64> {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    let token = token?;
    if let Token::Unsigned(number) = token {
        return Some(number);
    }
    let number = token.number()?;
    (number.fract() == 0.0 && (0.0..=EXACT).contains(&number)).then_some(number as u64)
}

/// The namespace. One that JSON could not name is refused: clients of both parsers share namespaces.
fn namespace(value: Option<&[u8]>) -> Result<String, DecodeError> {
    let Some(Token::Text(text)) = token(value) else {
        return Err(DecodeError::InvalidNamespace);
    };
    if text.len() > MAX_NAMESPACE {
        return Err(DecodeError::NamespaceTooLong);
    }
    let name = lossy(text);
    if !name.starts_with('/') || name.contains(',') {
        return Err(DecodeError::InvalidNamespace);
    }
    Ok(name.into_owned())
}

fn auth(value: Option<&[u8]>, limit: usize) -> Result<Option<Box<str>>, DecodeError> {
    let bytes = match (token(value), value) {
        (None | Some(Token::Undefined | Token::Nil), _) => return Ok(None),
        (Some(Token::Map(_)), Some(bytes)) => bytes,
        _ => return Err(DecodeError::InvalidPayload),
    };
    let mut out = Vec::with_capacity(bytes.len().min(limit));
    append_json(bytes, &mut out, &mut BinaryForm::Text)?;
    let text = text(out, limit)?;
    if !json::is_value(&text) {
        return Err(DecodeError::InvalidMsgpack);
    }
    Ok(Some(text.into()))
}

/// The values of an array.
fn items(value: Option<&[u8]>) -> Result<Items<'_>, DecodeError> {
    let bytes = value.ok_or(DecodeError::InvalidPayload)?;
    let mut reader = Unpacker::new(bytes);
    match reader.token() {
        Some(Token::Array(left)) => Ok(Items { reader, left }),
        _ => Err(DecodeError::InvalidPayload),
    }
}

struct Items<'a> {
    reader: Unpacker<'a>,
    left: u32,
}

impl<'a> Iterator for Items<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        self.left = self.left.checked_sub(1)?;
        value(&mut self.reader)
    }
}

type Named = ((String, bool), (String, Vec<Bytes>));

/// The name, whether that is a text, and the arguments.
fn event(value: Option<&[u8]>, limit: usize) -> Result<Named, DecodeError> {
    let mut items = items(value)?;
    let first = items.next().ok_or(DecodeError::InvalidEventName)?;
    let name = match token(Some(first)) {
        Some(Token::Text(name)) => (lossy(name).into_owned(), true),
        // What is not finite is null in JSON, which is no name.
        Some(Token::Float(number)) if !number.is_finite() => {
            return Err(DecodeError::InvalidEventName);
        }
        Some(Token::Unsigned(_) | Token::Signed(_) | Token::Float(_)) => {
            let mut digits = Vec::new();
            append_json(first, &mut digits, &mut BinaryForm::Text)?;
            (text(digits, limit)?, false)
        }
        _ => return Err(DecodeError::InvalidEventName),
    };
    if is_reserved(&name.0) {
        return Err(DecodeError::InvalidEventName);
    }
    Ok((name, arguments(&mut items, limit)?))
}

fn arguments(values: &mut Items<'_>, limit: usize) -> Result<(String, Vec<Bytes>), DecodeError> {
    let (mut json, mut attachments) = (Vec::new(), Vec::new());
    for value in values {
        if !json.is_empty() {
            json.push(b',');
        }
        append_json(value, &mut json, &mut BinaryForm::Attach(&mut attachments))?;
        if json.len() > limit {
            return Err(DecodeError::TooLarge);
        }
    }
    let json = text(json, limit)?;
    if Arguments::from_raw(&json, &attachments).are_legal() {
        Ok((json, attachments))
    } else {
        Err(DecodeError::IllegalAttachments)
    }
}

fn text(json: Vec<u8>, limit: usize) -> Result<String, DecodeError> {
    if json.len() > limit {
        return Err(DecodeError::TooLarge);
    }
    String::from_utf8(json).map_err(|_| DecodeError::InvalidMsgpack)
}

impl From<ReadError> for DecodeError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Malformed | ReadError::WrongShape => Self::InvalidMsgpack,
            ReadError::TooManyAttachments => Self::TooManyAttachments,
        }
    }
}

/// A server's packet for such a client, made of the one for a client with JSON: its text, from the Engine.IO `4` on,
/// and its attachments. `None` for what is no packet of Socket.IO.
pub(crate) fn encode(text: &str, attachments: &[Bytes]) -> Option<Vec<u8>> {
    let rest = text.strip_prefix('4')?;
    let (kind, rest) = rest.split_at_checked(1)?;
    let kind = match kind {
        "0" => CONNECT,
        "1" => DISCONNECT,
        "2" | "5" => EVENT,
        "3" | "6" => ACK,
        "4" => CONNECT_ERROR,
        _ => return None,
    };
    let rest = match attachments {
        [] => rest,
        _ => rest.split_once('-')?.1,
    };
    let (namespace, rest) = match rest.starts_with('/') {
        true => rest.split_once(',').unwrap_or((rest, "")),
        false => ("/", rest),
    };
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    let (id, payload) = rest.split_at(digits);
    let id = (!id.is_empty())
        .then(|| id.parse::<u64>())
        .transpose()
        .ok()?;

    let mut writer = Packer::default();
    writer.map(2 + usize::from(id.is_some()) + usize::from(!payload.is_empty()));
    writer.text("type");
    writer.unsigned(kind);
    if !payload.is_empty() {
        writer.text("data");
        append_payload(&mut writer, payload, attachments)?;
    }
    if let Some(id) = id {
        writer.text("id");
        writer.unsigned(id);
    }
    writer.entry("nsp", namespace);
    Some(writer.into_bytes())
}

/// The payload of a packet. It is an array, or the object of a `CONNECT`.
fn append_payload(writer: &mut Packer, payload: &str, attachments: &[Bytes]) -> Option<()> {
    let arguments = Arguments::from_raw(payload, attachments);
    let (count, _) = append_arguments(arguments, writer, usize::MAX).ok()?;
    (count == 1).then_some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_json_makes_longer_is_bounded() {
        let mut writer = Packer::default();
        writer.map(3);
        writer.text("type");
        writer.unsigned(EVENT);
        writer.entry("nsp", "/");
        writer.text("data");
        writer.array(1001);
        writer.text("a");
        (0..1000).for_each(|_| writer.boolean(false));
        let bytes = writer.into_bytes();
        assert!(matches!(decode(&bytes, 6000), Ok(Decoded::Binary(_))));
        assert_eq!(decode(&bytes, 5000), Err(DecodeError::TooLarge));
    }

    #[test]
    fn a_name_is_one_that_json_can_write() {
        let named = |name: f64| {
            let mut writer = Packer::default();
            writer.map(3);
            writer.text("type");
            writer.unsigned(EVENT);
            writer.entry("nsp", "/");
            writer.text("data");
            writer.array(1);
            writer.float(name);
            decode(&writer.into_bytes(), 1000)
        };
        assert!(matches!(named(1.5), Ok(Decoded::Binary(_))));
        for name in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            assert_eq!(named(name), Err(DecodeError::InvalidEventName), "{name}");
        }
    }

    #[test]
    fn a_namespace_is_one_that_json_can_name() {
        for name in ["", "chat", "/a,b"] {
            let mut writer = Packer::default();
            writer.map(2);
            writer.text("type");
            writer.unsigned(CONNECT);
            writer.entry("nsp", name);
            let decoded = decode(&writer.into_bytes(), 1000);
            assert_eq!(decoded, Err(DecodeError::InvalidNamespace), "{name}");
        }
    }
}
