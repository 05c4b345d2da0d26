use adapter::{NodeId, ReplyTo};
use adapter_redis::wire::{Channels, Content, Format, Kind, SubscriptionMode, Uid, Wire};

/// Reads a message: the first byte says how, the others are the message. Reading never panics, and
/// what was read from msgpack can be written and read again as the same.
pub(crate) fn check(input: &[u8]) {
    let Some((selector, payload)) = input.split_first() else {
        return;
    };
    let (format, kind) = match selector % 4 {
        0 => (CLASSIC, Kind::Broadcast),
        1 => (CLASSIC, Kind::Request),
        2 => (CLASSIC, Kind::Response),
        _ => (SHARDED, Kind::Broadcast),
    };
    let Some((uid, content)) = read(format, kind, payload) else {
        return;
    };
    let wire = Wire {
        format,
        namespace: "/".into(),
        channels: Channels::new("socket.io", "/"),
        uid: Uid::new(format, 1, "/"),
        node: NodeId::new("gw-1").expect("a legal id"),
        max_message: 64 << 20,
    };
    let outgoing = match &content {
        Content::Message(message, reply_to) => {
            wire.encode(message, reply_to.as_ref().map(|it| &it.request))
        }
        Content::Response(response) => {
            let request = response.request.clone();
            let (uid, node) = (uid, None);
            wire.encode_answer(&ReplyTo { request, uid, node }, &response.answer)
        }
        Content::Ignored => return,
    };
    if payload.first() == Some(&b'{') {
        return;
    }
    let Ok(outgoing) = outgoing else {
        panic!("{outgoing:?} for {content:?}");
    };
    let kind = match outgoing.channel.split_once('#').map(|(prefix, _)| prefix) {
        Some("socket.io-request") => Kind::Request,
        Some("socket.io-response") => Kind::Response,
        _ => Kind::Broadcast,
    };
    let again = read(format, kind, &outgoing.payload).map(|(_, content)| without_sender(content));
    assert_eq!(again, Some(without_sender(content)));
}

const CLASSIC: Format = Format::Classic {
    specific_responses: false,
};
const SHARDED: Format = Format::Sharded(SubscriptionMode::Dynamic);

fn read(format: Format, kind: Kind, payload: &[u8]) -> Option<(String, Content)> {
    let mut text = String::new();
    let envelope = format.open(kind, payload, &mut text).ok()?;
    // What a store would have put in order is read by other rules.
    let _ = envelope.ordered();
    let content = envelope.content().ok()?;
    Some((envelope.uid.into_owned(), content))
}

/// The content without what names its sender, and without what a format has no place for.
fn without_sender(content: Content) -> Content {
    match content {
        Content::Message(message, reply_to) => {
            let reply_to = reply_to.map(|it| ReplyTo {
                request: it.request,
                uid: String::new(),
                node: None,
            });
            Content::Message(message, reply_to)
        }
        Content::Response(mut response) => {
            response.node = None;
            Content::Response(response)
        }
        Content::Ignored => Content::Ignored,
    }
}
