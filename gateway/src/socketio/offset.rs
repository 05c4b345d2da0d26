//! Events as clients of a namespace with recovery get them: the offset is their last argument.

use adapter::EventBuf;
use adapter::recovery::{Offset, Position};
use bytes::Bytes;
use protocol::Encoded;
use protocol::socketio::Arguments;

use crate::count::PacketType;

/// An event as clients get it, with its offset. `None` if the body is none.
pub(crate) fn encode(
    namespace: &str,
    body: &Bytes,
    offset: Offset,
) -> Option<(Encoded, PacketType)> {
    let event = EventBuf::from_body(body)?;
    Some(encode_event(namespace, &event, Some(offset)))
}

/// An event of the past as clients get it. They have everything up to `have`.
pub(super) fn encode_past(
    namespace: &str,
    body: &Bytes,
    offset: Offset,
    have: Position,
) -> Option<(Encoded, PacketType)> {
    let event = EventBuf::from_body(body)?;
    Some(encode_with(namespace, &event, &offset.text_of_past(have)))
}

/// The same of an event that is at hand, and may be without an offset.
pub(super) fn encode_event(
    namespace: &str,
    event: &EventBuf,
    offset: Option<Offset>,
) -> (Encoded, PacketType) {
    if let Some(offset) = offset {
        return encode_with(namespace, event, &offset.to_string());
    }
    encode_as_it_is(namespace, event)
}

fn encode_with(namespace: &str, event: &EventBuf, offset: &str) -> (Encoded, PacketType) {
    let (arguments, kind) = parts(event);
    let packet = Encoded::event_at(namespace, &event.name, arguments, offset);
    (packet, kind)
}

fn encode_as_it_is(namespace: &str, event: &EventBuf) -> (Encoded, PacketType) {
    let (arguments, kind) = parts(event);
    let packet = Encoded::event(namespace, None, &event.name, arguments);
    (packet, kind)
}

fn parts(event: &EventBuf) -> (Arguments<'_>, PacketType) {
    let EventBuf { arguments, .. } = event;
    let kind = PacketType::event(!arguments.attachments.is_empty());
    let arguments = Arguments::from_raw(&arguments.json, &arguments.attachments);
    (arguments, kind)
}

#[cfg(test)]
mod tests {
    use adapter::ArgumentsBuf;
    use adapter::recovery::Epoch;

    use super::*;

    #[test]
    fn the_offset_is_the_last_argument() {
        let offset = Offset {
            epoch: Epoch::new(0),
            position: Position::new(7),
        };
        for (json, expected) in [
            ("", r#"42["x","AAAAAAAA.0000000000000007"]"#),
            ("1,[2]", r#"42["x",1,[2],"AAAAAAAA.0000000000000007"]"#),
        ] {
            let event = EventBuf {
                name: "x".to_owned(),
                arguments: ArgumentsBuf::from_json(json),
            };
            let (packet, kind) = encode("/", &event.to_body(), offset).unwrap();
            assert_eq!(packet.text(), Some(expected));
            assert_eq!(kind, PacketType::Event);
        }
        assert!(encode("/", &Bytes::from_static(b"x"), offset).is_none());
    }

    #[test]
    fn the_past_tells_how_far_the_client_is_whole() {
        let event = EventBuf {
            name: "x".to_owned(),
            arguments: ArgumentsBuf::from_json("1"),
        };
        let offset = Offset {
            epoch: Epoch::new(0),
            position: Position::new(7),
        };
        let (packet, _) = encode_past("/", &event.to_body(), offset, Position::new(9)).unwrap();
        let text = r#"42["x",1,"AAAAAAAA.0000000000000007~0000000000000009"]"#;
        assert_eq!(packet.text(), Some(text));
    }
}
