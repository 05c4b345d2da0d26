//! Events as clients of a namespace with recovery get them: the offset is their last argument.

use adapter::EventBuf;
use adapter::recovery::Offset;
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
    Some(encode_event(namespace, event, Some(offset)))
}

/// The same of an event that is at hand, and may be without an offset.
pub(super) fn encode_event(
    namespace: &str,
    event: EventBuf,
    offset: Option<Offset>,
) -> (Encoded, PacketType) {
    let EventBuf {
        name,
        mut arguments,
    } = event;
    if let Some(offset) = offset {
        let comma = if arguments.json.is_empty() { "" } else { "," };
        arguments.json.push_str(&format!("{comma}\"{offset}\""));
    }
    let kind = PacketType::event(!arguments.attachments.is_empty());
    let arguments = Arguments::from_raw(&arguments.json, &arguments.attachments);
    (Encoded::event(namespace, None, &name, arguments), kind)
}

#[cfg(test)]
mod tests {
    use adapter::ArgumentsBuf;
    use adapter::recovery::{Epoch, Position};

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
}
