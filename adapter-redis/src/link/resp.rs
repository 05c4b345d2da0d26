//! The protocol of Redis, version 2: commands out, replies and pushed messages in.

/// Appends a command.
pub(crate) fn push_command(out: &mut Vec<u8>, parts: &[&[u8]]) {
    push_header(out, b'*', parts.len());
    for part in parts {
        push_bulk(out, part);
    }
}

/// Appends a command of a name and many arguments.
pub(crate) fn push_list<'a>(
    out: &mut Vec<u8>,
    name: &str,
    arguments: impl ExactSizeIterator<Item = &'a str>,
) {
    push_header(out, b'*', arguments.len() + 1);
    push_bulk(out, name.as_bytes());
    for argument in arguments {
        push_bulk(out, argument.as_bytes());
    }
}

pub(crate) fn push_bulk(out: &mut Vec<u8>, bytes: &[u8]) {
    push_header(out, b'$', bytes.len());
    out.extend_from_slice(bytes);
    out.extend_from_slice(b"\r\n");
}

pub(crate) fn push_header(out: &mut Vec<u8>, kind: u8, length: usize) {
    out.push(kind);
    out.extend_from_slice(length.to_string().as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// A reply to a command.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Reply<'a> {
    Status(&'a [u8]),
    Error(&'a [u8]),
    Integer(i64),
    Bulk(&'a [u8]),
    Nil,
    Array(Vec<Self>),
}

/// What comes on a connection that subscribes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Push<'a> {
    /// By an exact subscription, sharded or not.
    Message {
        channel: &'a [u8],
        payload: &'a [u8],
    },
    /// By a pattern.
    PatternMessage {
        pattern: &'a [u8],
        channel: &'a [u8],
        payload: &'a [u8],
    },
    Subscribed(Family, &'a [u8]),
    Unsubscribed(Family, &'a [u8]),
    Pong,
    Error(&'a [u8]),
    /// Something else that is well-formed.
    Other,
}

/// The three kinds of subscriptions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Family {
    Exact,
    Pattern,
    Sharded,
}

/// Why there is no value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stop {
    /// More bytes are needed.
    Incomplete,
    /// A message is larger than allowed: move over `consumed` bytes and throw away the `skip` bytes
    /// that follow them.
    Oversized { consumed: usize, skip: usize },
    /// No RESP.
    Invalid,
}

const MAX_LINE: usize = 64 << 10;
/// Most bytes of a channel's name; that of a confirmation may be as long as any reply.
const MAX_NAME: usize = 16 << 20;
const MAX_DEPTH: usize = 8;
const MAX_ELEMENTS: usize = 1 << 20;
const MAX_REPLY: usize = 64 << 20;

/// The reply that `bytes` begin with, and how many of them it takes.
pub(crate) fn parse_reply(bytes: &[u8]) -> Result<(Reply<'_>, usize), Stop> {
    let mut cursor = Cursor { bytes, at: 0 };
    let reply = cursor.reply(0)?;
    Ok((reply, cursor.at))
}

/// What `bytes` begin with, and how many of them it takes. Messages have at most `limit` bytes.
pub(crate) fn parse_push(bytes: &[u8], limit: usize) -> Result<(Push<'_>, usize), Stop> {
    let mut cursor = Cursor { bytes, at: 0 };
    let push = cursor.push(limit)?;
    Ok((push, cursor.at))
}

impl<'a> Reply<'a> {
    /// The elements, if it is an array.
    pub(crate) fn items(&self) -> Option<&[Self]> {
        if let Self::Array(items) = self {
            Some(items)
        } else {
            None
        }
    }
}

struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    fn push(&mut self, limit: usize) -> Result<Push<'a>, Stop> {
        let (kind, line) = self.line()?;
        match kind {
            b'*' => {}
            b'+' if line == b"PONG" => return Ok(Push::Pong),
            b'-' => return Ok(Push::Error(line)),
            b'+' | b':' => return Ok(Push::Other),
            _ => return Err(Stop::Invalid),
        }
        let count = number(line)?;
        let name = self.bulk(MAX_LINE)?;
        let push = match (name, count) {
            (b"message" | b"smessage", 3) => Push::Message {
                channel: self.name(limit)?,
                payload: self.bulk(limit)?,
            },
            (b"pmessage", 4) => Push::PatternMessage {
                pattern: self.name(limit)?,
                channel: self.name(limit)?,
                payload: self.bulk(limit)?,
            },
            (b"subscribe", 3) => Push::Subscribed(Family::Exact, self.confirmed()?),
            (b"psubscribe", 3) => Push::Subscribed(Family::Pattern, self.confirmed()?),
            (b"ssubscribe", 3) => Push::Subscribed(Family::Sharded, self.confirmed()?),
            (b"unsubscribe", 3) => Push::Unsubscribed(Family::Exact, self.confirmed()?),
            (b"punsubscribe", 3) => Push::Unsubscribed(Family::Pattern, self.confirmed()?),
            (b"sunsubscribe", 3) => Push::Unsubscribed(Family::Sharded, self.confirmed()?),
            (b"pong", 2) => {
                self.bulk(MAX_LINE)?;
                Push::Pong
            }
            _ => {
                for _ in 1..count {
                    self.reply(1)?;
                }
                Push::Other
            }
        };
        Ok(push)
    }

    /// The channel of a confirmation, and past the number of subscriptions. It is nil if there was
    /// nothing to unsubscribe.
    fn confirmed(&mut self) -> Result<&'a [u8], Stop> {
        let channel = match self.reply(1)? {
            Reply::Bulk(channel) => channel,
            Reply::Nil => b"",
            Reply::Status(_) | Reply::Error(_) | Reply::Integer(_) | Reply::Array(_) => {
                return Err(Stop::Invalid);
            }
        };
        self.reply(1)?;
        Ok(channel)
    }

    fn reply(&mut self, depth: usize) -> Result<Reply<'a>, Stop> {
        if depth > MAX_DEPTH {
            return Err(Stop::Invalid);
        }
        let (kind, line) = self.line()?;
        match kind {
            b'+' => Ok(Reply::Status(line)),
            b'-' => Ok(Reply::Error(line)),
            b':' => Ok(Reply::Integer(integer(line)?)),
            b'$' if line == b"-1" => Ok(Reply::Nil),
            b'$' => Ok(Reply::Bulk(self.body(number(line)?, MAX_REPLY)?)),
            b'*' if line == b"-1" => Ok(Reply::Nil),
            b'*' => {
                let count = number(line)?;
                if count > MAX_ELEMENTS {
                    return Err(Stop::Invalid);
                }
                (0..count)
                    .map(|_| self.reply(depth + 1))
                    .collect::<Result<_, _>>()
                    .map(Reply::Array)
            }
            _ => Err(Stop::Invalid),
        }
    }

    fn bulk(&mut self, limit: usize) -> Result<&'a [u8], Stop> {
        let (kind, line) = self.line()?;
        if kind != b'$' {
            return Err(Stop::Invalid);
        }
        self.body(number(line)?, limit)
    }

    /// A channel or a pattern. This node may have subscribed to a long one, and another node's may
    /// be longer than any message here.
    fn name(&mut self, limit: usize) -> Result<&'a [u8], Stop> {
        self.bulk(limit.max(MAX_NAME))
    }

    fn body(&mut self, length: usize, limit: usize) -> Result<&'a [u8], Stop> {
        if length > limit {
            return Err(Stop::Oversized {
                consumed: self.at,
                skip: length + 2,
            });
        }
        let end = self.at + length;
        let body = self.bytes.get(self.at..end).ok_or(Stop::Incomplete)?;
        match self.bytes.get(end..end + 2) {
            None => Err(Stop::Incomplete),
            Some(b"\r\n") => {
                self.at = end + 2;
                Ok(body)
            }
            Some(_) => Err(Stop::Invalid),
        }
    }

    /// A line: its first byte and the others.
    fn line(&mut self) -> Result<(u8, &'a [u8]), Stop> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let Some(end) = memchr::memchr(b'\n', &rest[..rest.len().min(MAX_LINE)]) else {
            let too_long = rest.len() >= MAX_LINE;
            return Err(if too_long {
                Stop::Invalid
            } else {
                Stop::Incomplete
            });
        };
        self.at += end + 1;
        let line = rest[..end].strip_suffix(b"\r").ok_or(Stop::Invalid)?;
        let (kind, line) = line.split_first().ok_or(Stop::Invalid)?;
        Ok((*kind, line))
    }
}

/// A length or a count.
fn number(digits: &[u8]) -> Result<usize, Stop> {
    if digits.is_empty() || digits.len() > 10 {
        return Err(Stop::Invalid);
    }
    digits.iter().try_fold(0, |number, byte| match byte {
        b'0'..=b'9' => Ok(number * 10 + usize::from(byte - b'0')),
        _ => Err(Stop::Invalid),
    })
}

fn integer(digits: &[u8]) -> Result<i64, Stop> {
    let digits = std::str::from_utf8(digits).map_err(|_| Stop::Invalid)?;
    digits.parse().map_err(|_| Stop::Invalid)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn commands_are_arrays_of_bulk_strings() {
        let mut out = Vec::new();
        push_command(&mut out, &[b"PUBLISH", b"a", b"\r\n"]);
        push_list(&mut out, "SUBSCRIBE", ["x", "yz"].into_iter());
        assert_eq!(
            out.escape_ascii().to_string(),
            "*3\\r\\n$7\\r\\nPUBLISH\\r\\n$1\\r\\na\\r\\n$2\\r\\n\\r\\n\\r\\n\
             *3\\r\\n$9\\r\\nSUBSCRIBE\\r\\n$1\\r\\nx\\r\\n$2\\r\\nyz\\r\\n"
        );
    }

    #[test]
    fn names_may_be_longer_than_a_line() {
        let name = "x".repeat(2 * MAX_LINE);
        let message = format!(
            "*3\r\n$7\r\nmessage\r\n${}\r\n{name}\r\n$1\r\ny\r\n",
            name.len()
        );
        let push = Push::Message {
            channel: name.as_bytes(),
            payload: b"y",
        };
        assert_eq!(
            parse_push(message.as_bytes(), 10),
            Ok((push, message.len()))
        );
    }

    #[test]
    fn pushed_messages_are_read() {
        let table: [(&[u8], Push); 10] = [
            (
                b"*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$3\r\na\r\n\r\n",
                Push::Message {
                    channel: b"c",
                    payload: b"a\r\n",
                },
            ),
            (
                b"*3\r\n$8\r\nsmessage\r\n$1\r\nc\r\n$0\r\n\r\n",
                Push::Message {
                    channel: b"c",
                    payload: b"",
                },
            ),
            (
                b"*4\r\n$8\r\npmessage\r\n$2\r\nc*\r\n$2\r\ncd\r\n$1\r\nx\r\n",
                Push::PatternMessage {
                    pattern: b"c*",
                    channel: b"cd",
                    payload: b"x",
                },
            ),
            (
                b"*3\r\n$9\r\nsubscribe\r\n$1\r\nc\r\n:1\r\n",
                Push::Subscribed(Family::Exact, b"c"),
            ),
            (
                b"*3\r\n$12\r\nsunsubscribe\r\n$1\r\nc\r\n:0\r\n",
                Push::Unsubscribed(Family::Sharded, b"c"),
            ),
            (
                b"*3\r\n$12\r\npunsubscribe\r\n$-1\r\n:0\r\n",
                Push::Unsubscribed(Family::Pattern, b""),
            ),
            (b"*2\r\n$4\r\npong\r\n$0\r\n\r\n", Push::Pong),
            (b"+PONG\r\n", Push::Pong),
            (b"-MOVED 1 a:2\r\n", Push::Error(b"MOVED 1 a:2")),
            (b"*2\r\n$4\r\nwhat\r\n*1\r\n:1\r\n", Push::Other),
        ];
        for (bytes, push) in table {
            assert_eq!(parse_push(bytes, 10), Ok((push, bytes.len())));
            for end in 0..bytes.len() {
                assert_eq!(parse_push(&bytes[..end], 10), Err(Stop::Incomplete));
            }
        }
    }

    #[test]
    fn oversized_messages_are_skipped() {
        let bytes = b"*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$11\r\n";
        let stop = Stop::Oversized {
            consumed: bytes.len(),
            skip: 13,
        };
        assert_eq!(parse_push(bytes, 10), Err(stop));
    }

    #[test]
    fn replies_are_read() {
        let bytes = b"*5\r\n:-7\r\n$2\r\nab\r\n$-1\r\n*0\r\n-ERR x\r\n+OK\r\n";
        let (reply, used) = parse_reply(bytes).unwrap();
        assert_eq!(used, bytes.len() - 5);
        let values = vec![
            Reply::Integer(-7),
            Reply::Bulk(b"ab"),
            Reply::Nil,
            Reply::Array(vec![]),
            Reply::Error(b"ERR x"),
        ];
        assert_eq!(reply, Reply::Array(values));
    }

    #[test]
    fn what_is_no_resp_is_told() {
        for bytes in [
            &b"x\r\n"[..],
            b"*1\n",
            b"*x\r\n",
            b"*3\r\n:1\r\n",
            b"$1\r\nab\r\n",
            b"*3\r\n$7\r\nmessage\r\n$1\r\ncc\r\n",
            b"*99999999999\r\n",
        ] {
            assert_eq!(parse_push(bytes, 10), Err(Stop::Invalid));
        }
        assert_eq!(parse_push(&[b'+'; MAX_LINE], 10), Err(Stop::Invalid));
        let deep = b"*1\r\n".repeat(100);
        assert_eq!(parse_reply(&deep), Err(Stop::Invalid));
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in "[*$:+\\-0-9a-c\r\n]{0,60}") {
            let _ = parse_push(bytes.as_bytes(), 5);
            let _ = parse_reply(bytes.as_bytes());
        }
    }
}
