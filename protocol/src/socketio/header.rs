use super::{DecodeError, MAX_ATTACHMENTS, MAX_NAMESPACE};
use crate::engineio::Revision;

/// The parts of a packet's text: `type [attachments "-"] [namespace ","] [id] [payload]`.
pub(super) struct Header<'a> {
    pub(super) kind: Kind,
    /// Zero unless the packet is binary.
    pub(super) attachments: usize,
    /// `/` when the text names none.
    pub(super) namespace: &'a str,
    pub(super) id: Option<u64>,
    /// Not checked yet.
    pub(super) payload: &'a str,
}

#[derive(Clone, Copy, PartialEq)]
pub(super) enum Kind {
    Connect,
    Disconnect,
    Event,
    Ack,
}

impl<'a> Header<'a> {
    pub(super) fn decode(text: &'a str, revision: Revision) -> Result<Self, DecodeError> {
        let (kind, binary) = match text.as_bytes().first() {
            Some(b'0') => (Kind::Connect, false),
            Some(b'1') => (Kind::Disconnect, false),
            Some(b'2') => (Kind::Event, false),
            Some(b'3') => (Kind::Ack, false),
            Some(b'4') => return Err(DecodeError::UnexpectedConnectError),
            Some(b'5') => (Kind::Event, true),
            Some(b'6') => (Kind::Ack, true),
            _ => return Err(DecodeError::UnknownType),
        };
        let rest = &text[1..];
        let (attachments, rest) = if binary {
            attachments(rest)?
        } else {
            (0, rest)
        };
        let (namespace, rest) = namespace(rest, revision)?;
        let (id, payload) = id(rest)?;
        Ok(Self {
            kind,
            attachments,
            namespace,
            id,
            payload,
        })
    }
}

fn attachments(text: &str) -> Result<(usize, &str), DecodeError> {
    let (digits, rest) = split_digits(text);
    let rest = rest
        .strip_prefix('-')
        .ok_or(DecodeError::BadAttachmentCount)?;
    if digits.is_empty() {
        return Err(DecodeError::BadAttachmentCount);
    }
    match digits.parse() {
        Ok(0) => Err(DecodeError::BadAttachmentCount),
        Ok(count @ 1..=MAX_ATTACHMENTS) => Ok((count, rest)),
        _ => Err(DecodeError::TooManyAttachments),
    }
}

fn namespace(text: &str, revision: Revision) -> Result<(&str, &str), DecodeError> {
    if !text.starts_with('/') {
        return Ok(("/", text));
    }
    let (namespace, rest) = text.split_once(',').unwrap_or((text, ""));
    let name = match revision {
        Revision::Three => namespace.split('?').next().unwrap_or_default(),
        Revision::Four => namespace,
    };
    if name.len() > MAX_NAMESPACE {
        return Err(DecodeError::NamespaceTooLong);
    }
    Ok((namespace, rest))
}

fn id(text: &str) -> Result<(Option<u64>, &str), DecodeError> {
    let (digits, rest) = split_digits(text);
    if digits.is_empty() {
        return Ok((None, rest));
    }
    let id = digits.parse().map_err(|_| DecodeError::BadAckId)?;
    Ok((Some(id), rest))
}

fn split_digits(text: &str) -> (&str, &str) {
    let digits = text
        .bytes()
        .take_while(|byte| byte.is_ascii_digit())
        .count();
    text.split_at(digits)
}
