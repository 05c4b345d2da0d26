//! What a packet says that a client is sent.

use protocol::Encoded;

/// An event or an acknowledgement, as its text has it.
pub(crate) struct Sent<'a> {
    /// `None` for an acknowledgement.
    pub(crate) event: Option<String>,
    pub(crate) id: Option<u64>,
    /// JSON, without brackets.
    pub(crate) arguments: &'a str,
    /// Of the arguments and of what is binary.
    pub(crate) bytes: usize,
}

impl<'a> Sent<'a> {
    /// `None` if it is a packet of another kind.
    pub(crate) fn parse(packet: &'a Encoded) -> Option<Self> {
        let text = packet.text()?;
        let (kind, rest) = text.strip_prefix('4')?.split_at_checked(1)?;
        let is_event = match kind {
            "2" | "5" => true,
            "3" | "6" => false,
            _ => return None,
        };
        let rest = match kind {
            "5" | "6" => rest.split_once('-')?.1,
            _ => rest,
        };
        let rest = match rest.starts_with('/') {
            true => rest.split_once(',')?.1,
            false => rest,
        };
        let (id, rest) = rest.split_once('[')?;
        let inside = rest.strip_suffix(']')?;
        let (event, arguments) = match is_event {
            true => named(inside)?,
            false => (None, inside),
        };
        let binary: usize = packet.attachments().map(<[u8]>::len).sum();
        Some(Self {
            event,
            id: id.parse().ok(),
            arguments,
            bytes: arguments.len() + binary,
        })
    }
}

/// An event's name, and its arguments.
fn named(inside: &str) -> Option<(Option<String>, &str)> {
    let mut values = serde_json::Deserializer::from_str(inside).into_iter::<String>();
    let name = values.next()?.ok()?;
    let rest = inside.get(values.byte_offset()..)?;
    Some((Some(name), rest.strip_prefix(',').unwrap_or(rest)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use protocol::socketio::Arguments;

    #[test]
    fn names_ids_and_sizes_are_found_in_what_is_sent() {
        let arguments = Arguments::from_raw(r#""[,]",1"#, &[]);
        for namespace in ["/", "/a[1"] {
            for id in [None, Some(12)] {
                let packet = Encoded::event(namespace, id, "say \"[\"", arguments);
                let sent = Sent::parse(&packet).unwrap();
                assert_eq!(sent.event.as_deref(), Some("say \"[\""));
                assert_eq!((sent.id, sent.arguments, sent.bytes), (id, r#""[,]",1"#, 7));
            }
        }
        let attachments = [Bytes::from_static(b"abc")];
        let placeholder = r#"{"_placeholder":true,"num":0}"#;
        let binary = Arguments::from_raw(placeholder, &attachments);
        let packet = Encoded::ack("/x", 3, binary);
        let sent = Sent::parse(&packet).unwrap();
        assert_eq!((sent.event, sent.id), (None, Some(3)));
        assert_eq!(sent.bytes, placeholder.len() + 3);
        let none = Encoded::event("/", None, "e", Arguments::from_raw("", &[]));
        assert_eq!(Sent::parse(&none).unwrap().bytes, 0);
        assert!(Sent::parse(&Encoded::disconnect("/")).is_none());
    }
}
