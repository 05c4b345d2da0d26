//! How an event stands in a log.

use bytes::{BufMut, Bytes, BytesMut};

use crate::{ArgumentsBuf, EventBuf};

/// Bytes of a length in the encoding.
const LENGTH: usize = 4;

impl EventBuf {
    /// The body of an [`Entry`](super::Entry): the lengths of the name and of the arguments' JSON, each as four bytes
    /// (big-endian), these two, and each attachment behind its length.
    ///
    /// ```
    /// use adapter::{ArgumentsBuf, EventBuf};
    ///
    /// let event = EventBuf {
    ///     name: "hi".to_owned(),
    ///     arguments: ArgumentsBuf::from_json("1,[2]"),
    /// };
    /// assert_eq!(EventBuf::from_body(&event.to_body()), Some(event));
    /// ```
    pub fn to_body(&self) -> Bytes {
        let attachments = &self.arguments.attachments;
        let size = self.name.len() + self.arguments.size() + (2 + attachments.len()) * LENGTH;
        let mut body = BytesMut::with_capacity(size);
        put_length(&mut body, self.name.len());
        put_length(&mut body, self.arguments.json.len());
        body.put_slice(self.name.as_bytes());
        body.put_slice(self.arguments.json.as_bytes());
        for attachment in attachments {
            put_length(&mut body, attachment.len());
            body.put_slice(attachment);
        }
        body.freeze()
    }

    /// Reads it; `None` if it is none. That the JSON is JSON is for the caller to see.
    pub fn from_body(body: &Bytes) -> Option<Self> {
        let mut rest = body.clone();
        let name = take_length(&mut rest)?;
        let json = take_length(&mut rest)?;
        let name = take_text(&mut rest, name)?;
        let json = take_text(&mut rest, json)?;
        let mut attachments = Vec::new();
        while !rest.is_empty() {
            let length = take_length(&mut rest)?;
            attachments.push(take(&mut rest, length)?);
        }
        let arguments = ArgumentsBuf { json, attachments };
        Some(Self { name, arguments })
    }
}

fn put_length(body: &mut BytesMut, length: usize) {
    body.put_u32(u32::try_from(length).expect("no event is so large"));
}

fn take_length(rest: &mut Bytes) -> Option<usize> {
    let length = take(rest, LENGTH)?;
    let length: [u8; LENGTH] = length.as_ref().try_into().ok()?;
    usize::try_from(u32::from_be_bytes(length)).ok()
}

fn take(rest: &mut Bytes, length: usize) -> Option<Bytes> {
    (rest.len() >= length).then(|| rest.split_to(length))
}

fn take_text(rest: &mut Bytes, length: usize) -> Option<String> {
    String::from_utf8(take(rest, length)?.to_vec()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_read_back() {
        let event = EventBuf {
            name: "löschen".to_owned(),
            arguments: ArgumentsBuf {
                json: r#"{"_placeholder":true,"num":0},"x""#.to_owned(),
                attachments: vec![Bytes::from_static(b"\0\x01"), Bytes::new()],
            },
        };
        assert_eq!(EventBuf::from_body(&event.to_body()), Some(event));
        let empty = EventBuf::default();
        assert_eq!(EventBuf::from_body(&empty.to_body()), Some(empty));
    }

    #[test]
    fn hostile_bodies_are_none() {
        let event = EventBuf {
            name: "a".to_owned(),
            arguments: ArgumentsBuf::from_json("1"),
        };
        let body = event.to_body();
        for end in 0..body.len() {
            assert_eq!(EventBuf::from_body(&body.slice(..end)), None, "{end}");
        }
        let longer = [&body[..], &[0, 0, 0, 9, 1]].concat();
        assert_eq!(EventBuf::from_body(&longer.into()), None);
        assert_eq!(EventBuf::from_body(&Bytes::from_static(&[255; 12])), None);
    }
}
