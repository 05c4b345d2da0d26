//! Socket.IO packets as scenarios see them, and as they travel.
//!
//! Scenarios know neither namespaces nor attachments. Their packet is one text, such as `42["publish","r0","m",..]`, and a
//! binary argument stands in it between [`OPEN`] and [`CLOSE`], which no JSON holds as they are.

use super::engine::{self, Event, Failure, Reply};

/// What stands in front of a binary argument.
pub(crate) const OPEN: u8 = 0x02;
/// What stands behind it.
pub(crate) const CLOSE: u8 = 0x03;

/// Most attachments that one packet may announce. The tool's own have one.
const MOST_ATTACHMENTS: usize = 16;

/// Where events belong.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Namespace {
    /// What stands in front of the id and the arguments: nothing for `/`, else `/name,`.
    prefix: Box<str>,
}

impl Namespace {
    /// Reads `/name` or `name`.
    pub(crate) fn parse(name: &str) -> Result<Self, String> {
        if name.contains(|c: char| c == ',' || c.is_control()) {
            return Err("a namespace has neither commas nor control characters".to_owned());
        }
        let prefix = match name.strip_prefix('/').unwrap_or(name) {
            "" => String::new(),
            name => format!("/{name},"),
        };
        Ok(Self {
            prefix: prefix.into(),
        })
    }

    fn is_root(&self) -> bool {
        self.prefix.is_empty()
    }

    /// The packet that asks to join it. `payload` is empty or JSON.
    pub(crate) fn connect(&self, payload: &[u8]) -> Box<[u8]> {
        [b"40", self.prefix.as_bytes(), payload].concat().into()
    }

    /// What a packet says, if it belongs here.
    fn strip<'a>(&self, rest: &'a [u8]) -> Option<&'a [u8]> {
        if self.is_root() {
            return (rest.first() != Some(&b'/')).then_some(rest);
        }
        if let Some(rest) = rest.strip_prefix(self.prefix.as_bytes()) {
            return Some(rest);
        }
        // A DISCONNECT, for example, says nothing more, and may leave the comma out.
        let bare = self.prefix.trim_end_matches(',').as_bytes();
        (rest == bare).then_some(&[])
    }

    /// Sends an event to what takes texts and what takes attachments.
    pub(crate) fn encode<'a>(&self, packet: &'a [u8]) -> Encoded<'a> {
        let argument = binary_argument(packet);
        if self.is_root() && argument.is_none() {
            return Encoded::AsItIs(packet);
        }
        let (kind, body) = packet.split_at(packet.len().min(2));
        let prefix = self.prefix.as_bytes();
        match argument {
            None => Encoded::Text([kind, prefix, body].concat()),
            Some((before, content)) => Encoded::Binary(
                [b"451-", prefix, &before[kind.len()..], PLACEHOLDER, b"0}]"].concat(),
                content,
            ),
        }
    }
}

/// An event ready to travel.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Encoded<'a> {
    /// Nothing had to be done.
    AsItIs(&'a [u8]),
    /// With a namespace.
    Text(Vec<u8>),
    /// A text, and the attachment that follows it.
    Binary(Vec<u8>, &'a [u8]),
}

/// A packet of another namespace, which no scenario takes for its own: it begins with that one's name.
fn foreign(kind: u8, rest: &[u8]) -> Vec<u8> {
    let root: &[u8] = if rest.first() == Some(&b'/') {
        b""
    } else {
        b"/,"
    };
    [&[kind], root, rest].concat()
}

/// The beginning of what stands in a text for an attachment.
const PLACEHOLDER: &[u8] = br#"{"_placeholder":true,"num":"#;

/// What stands in front of the last argument, and its content, if it is binary.
fn binary_argument(packet: &[u8]) -> Option<(&[u8], &[u8])> {
    let rest = packet.strip_suffix(&[CLOSE, b']'])?;
    let open = rest.iter().position(|&byte| byte == OPEN)?;
    Some((&rest[..open], &rest[open + 1..]))
}

/// Reads the packets of one session, and waits for their attachments.
#[derive(Debug, Default)]
pub(crate) struct Decoder {
    awaited: Option<Box<Awaited>>,
}

/// A packet whose attachments are not all there.
#[derive(Debug)]
struct Awaited {
    /// As scenarios see it, but for the attachments that are missing.
    text: Vec<u8>,
    /// Whether it belongs to the session's namespace.
    is_ours: bool,
    announced: usize,
    arrived: usize,
}

impl Decoder {
    /// Takes one text packet of Engine.IO.
    pub(crate) fn handle_text(
        &mut self,
        packet: &[u8],
        namespace: &Namespace,
        on: &mut impl FnMut(Event<'_>),
    ) -> Result<Reply, Failure> {
        let [b'4', message @ ..] = packet else {
            return engine::handle_packet(packet, on);
        };
        // Attachments follow their packet at once.
        let ([kind, rest @ ..], None) = (message, &self.awaited) else {
            return Err(Failure::Protocol);
        };
        let ours = namespace.strip(rest);
        match kind {
            b'2' | b'3' => match ours {
                Some(_) if namespace.is_root() => on(Event::Message(message)),
                Some(rest) => on(Event::Message(&[&[*kind], rest].concat())),
                None => on(Event::Message(&foreign(*kind, rest))),
            },
            b'0' => match ours {
                Some(reply) => on(Event::Joined(reply)),
                None => on(Event::Message(&foreign(*kind, rest))),
            },
            b'1' if ours.is_some() => return Err(Failure::Dismissed),
            b'4' => {
                if let Some(reason) = ours {
                    on(Event::Refused(reason));
                    return Err(Failure::Refused);
                }
            }
            b'1' => {}
            b'5' | b'6' => self.announce(*kind - 3, rest, namespace)?,
            _ => return Err(Failure::Protocol),
        }
        Ok(Reply::Nothing)
    }

    /// Takes the head of a packet with attachments: their number, a dash, and the rest.
    fn announce(&mut self, kind: u8, rest: &[u8], namespace: &Namespace) -> Result<(), Failure> {
        let dash = rest.iter().position(|&byte| byte == b'-');
        let (number, rest) = rest.split_at(dash.ok_or(Failure::Protocol)?);
        let number = std::str::from_utf8(number).ok();
        let announced: usize = number
            .and_then(|number| number.parse().ok())
            .filter(|number| (1..=MOST_ATTACHMENTS).contains(number))
            .ok_or(Failure::Protocol)?;
        let rest = &rest[1..];
        let ours = namespace.strip(rest);
        self.awaited = Some(Box::new(Awaited {
            text: match ours {
                Some(rest) => [&[kind], rest].concat(),
                None => foreign(kind, rest),
            },
            is_ours: ours.is_some(),
            announced,
            arrived: 0,
        }));
        Ok(())
    }

    /// Takes an attachment.
    pub(crate) fn handle_binary(
        &mut self,
        content: &[u8],
        on: &mut impl FnMut(Event<'_>),
    ) -> Result<(), Failure> {
        let awaited = self.awaited.as_mut().ok_or(Failure::Protocol)?;
        if awaited.is_ours {
            awaited.text = awaited.filled(content).ok_or(Failure::Protocol)?;
        }
        awaited.arrived += 1;
        if awaited.arrived == awaited.announced {
            on(Event::Message(&awaited.text));
            self.awaited = None;
        }
        Ok(())
    }
}

impl Awaited {
    /// The text with the next attachment in its place.
    fn filled(&self, content: &[u8]) -> Option<Vec<u8>> {
        let placeholder = [PLACEHOLDER, self.arrived.to_string().as_bytes(), b"}"].concat();
        let mut places = self.text.windows(placeholder.len());
        let place = places.position(|window| window == placeholder)?;
        let (before, rest) = self.text.split_at(place);
        let behind = &rest[placeholder.len()..];
        Some([before, &[OPEN], content, &[CLOSE], behind].concat())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn namespace(name: &str) -> Namespace {
        Namespace::parse(name).unwrap()
    }

    /// What the packets of a session lead to: texts, and attachments behind a `b`.
    fn take(name: &str, packets: &[&str]) -> (Result<(), Failure>, Vec<String>) {
        let (namespace, mut decoder) = (namespace(name), Decoder::default());
        let mut events = Vec::new();
        for packet in packets {
            let on = &mut |event: Event<'_>| {
                events.push(match event {
                    Event::Message(text) => String::from_utf8(text.into()).unwrap(),
                    Event::Joined(reply) => format!("joined {}", reply.escape_ascii()),
                    other @ (Event::Opened { .. } | Event::Refused(_) | Event::Ping) => {
                        format!("{other:?}")
                    }
                });
            };
            let taken = match packet.strip_prefix('b') {
                Some(content) => decoder.handle_binary(content.as_bytes(), on),
                None => decoder
                    .handle_text(packet.as_bytes(), &namespace, on)
                    .map(drop),
            };
            if taken.is_err() {
                return (taken, events);
            }
        }
        (Ok(()), events)
    }

    #[test]
    fn names_have_one_form() {
        assert_eq!(namespace("/"), Namespace::default());
        assert_eq!(namespace(""), Namespace::default());
        assert_eq!(namespace("chat"), namespace("/chat"));
        assert_eq!(&*namespace("/chat").connect(b"{}"), b"40/chat,{}");
        assert_eq!(&*namespace("/").connect(b""), b"40");
        assert!(Namespace::parse("/a,b").is_err());
        assert!(Namespace::parse("/a\nb").is_err());
    }

    #[test]
    fn what_is_sent_has_the_namespace_and_its_attachment() {
        let text = |text: &[u8]| Encoded::Text(text.to_vec());
        let plain = br#"427["echo","x"]"#;
        assert_eq!(namespace("/").encode(plain), Encoded::AsItIs(plain));
        assert_eq!(
            namespace("/chat").encode(plain),
            text(br#"42/chat,7["echo","x"]"#)
        );
        let binary = b"427[\"echo\",\x02x]y\x03]";
        assert_eq!(
            namespace("/").encode(binary),
            Encoded::Binary(
                br#"451-7["echo",{"_placeholder":true,"num":0}]"#.to_vec(),
                b"x]y"
            )
        );
        assert_eq!(
            namespace("/chat").encode(binary),
            Encoded::Binary(
                br#"451-/chat,7["echo",{"_placeholder":true,"num":0}]"#.to_vec(),
                b"x]y"
            )
        );
    }

    #[test]
    fn what_is_sent_comes_back_as_it_was() {
        for name in ["/", "/chat"] {
            for packet in [&b"42[\"m\",1]"[..], b"42[\"m\",\x02x\x03]"] {
                let namespace = namespace(name);
                let mut decoder = Decoder::default();
                let mut seen = Vec::new();
                let on = &mut |event: Event<'_>| {
                    if let Event::Message(message) = event {
                        seen.push([b"4", message].concat());
                    }
                };
                let encoded = namespace.encode(packet);
                let (text, content) = match &encoded {
                    Encoded::AsItIs(text) => (*text, None),
                    Encoded::Text(text) => (&text[..], None),
                    Encoded::Binary(text, content) => (&text[..], Some(*content)),
                };
                decoder.handle_text(text, &namespace, on).unwrap();
                if let Some(content) = content {
                    decoder.handle_binary(content, on).unwrap();
                }
                assert_eq!(seen, [packet]);
            }
        }
    }

    #[test]
    fn packets_of_the_namespace_lose_its_name_and_others_keep_theirs() {
        let (taken, events) = take(
            "/chat",
            &[
                r#"40/chat,{"sid":"a"}"#,
                r#"42/chat,["m",1]"#,
                r#"43/chat,7[]"#,
                r#"42["m",1]"#,
                r#"42/chats,["m",1]"#,
                r#"40{"sid":"b"}"#,
                "41/other,",
                r#"44/other,{"message":"no"}"#,
            ],
        );
        assert_eq!(taken, Ok(()));
        assert_eq!(
            events,
            [
                r#"joined {\"sid\":\"a\"}"#,
                r#"2["m",1]"#,
                "37[]",
                r#"2/,["m",1]"#,
                r#"2/chats,["m",1]"#,
                r#"0/,{"sid":"b"}"#,
            ]
        );
        let (taken, events) = take("/", &[r#"42/chat,["m",1]"#, r#"40/chat,{"sid":"a"}"#]);
        assert_eq!(taken, Ok(()));
        assert_eq!(events, [r#"2/chat,["m",1]"#, r#"0/chat,{"sid":"a"}"#]);
    }

    #[test]
    fn the_namespace_is_refused_and_left_by_its_name() {
        let (taken, events) = take("/chat", &[r#"44/chat,{"message":"no"}"#]);
        assert_eq!(taken, Err(Failure::Refused));
        assert_eq!(events.len(), 1);
        assert_eq!(take("/chat", &["41/chat,"]).0, Err(Failure::Dismissed));
        assert_eq!(take("/chat", &["41/chat"]).0, Err(Failure::Dismissed));
        assert_eq!(take("/", &["41"]).0, Err(Failure::Dismissed));
    }

    #[test]
    fn attachments_stand_in_their_places() {
        let event =
            r#"452-["m",{"_placeholder":true,"num":1},{"_placeholder":true,"num":0},"offset"]"#;
        let (taken, events) = take("/", &[event, "bzero", "2", "bone"]);
        assert_eq!(taken, Ok(()));
        let whole = "2[\"m\",\x02one\x03,\x02zero\x03,\"offset\"]";
        assert_eq!(events, ["Ping", whole]);
        let answer = r#"461-/chat,7[{"_placeholder":true,"num":0}]"#;
        assert_eq!(take("/chat", &[answer, "bx"]).1, ["37[\x02x\x03]"]);
        // Of another namespace, it is nothing that anybody waits for; but its attachments are.
        assert_eq!(take("/", &[answer, "bx"]).1.len(), 1);
    }

    #[test]
    fn attachments_that_are_none_and_too_many_are_refused() {
        for packets in [
            &["bx"][..],
            &[r#"451-["m",{"_placeholder":true,"num":0}]"#, "42[]"],
            &[r#"451-["m",{"_placeholder":true,"num":0}]"#, "bx", "by"],
            &[r#"451-["m",{"_placeholder":true,"num":1}]"#, "bx"],
            &[r#"451["m"]"#],
            &[r#"45-["m"]"#],
            &[r#"450-["m"]"#],
            &[r#"4517-["m"]"#],
            &["4"],
            &["47[]"],
        ] {
            assert_eq!(take("/", packets).0, Err(Failure::Protocol), "{packets:?}");
        }
    }
}
