use crate::link::resp::Reply;

/// What a server says that it is, when it is asked for its `ROLE`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Role {
    Master,
    /// Of this master, in words.
    Replica(String),
    Unknown,
}

impl Role {
    pub(crate) fn read(reply: &Reply<'_>) -> Self {
        match reply.items() {
            Some([Reply::Bulk(b"master"), ..]) => Self::Master,
            Some([Reply::Bulk(b"slave"), rest @ ..]) => match rest {
                [Reply::Bulk(host), Reply::Integer(port), ..] => {
                    let host = String::from_utf8_lossy(host);
                    Self::Replica(format!("it is a replica of {host}:{port}"))
                }
                _ => Self::Replica("it is a replica".to_owned()),
            },
            _ => Self::Unknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::resp::parse_reply;

    #[test]
    fn roles_are_read() {
        let table = [
            (&b"*3\r\n$6\r\nmaster\r\n:0\r\n*0\r\n"[..], Role::Master),
            (
                b"*5\r\n$5\r\nslave\r\n$9\r\n127.0.0.1\r\n:6379\r\n$9\r\nconnected\r\n:14\r\n",
                Role::Replica("it is a replica of 127.0.0.1:6379".to_owned()),
            ),
            (
                b"*1\r\n$5\r\nslave\r\n",
                Role::Replica("it is a replica".to_owned()),
            ),
            (b"*2\r\n$8\r\nsentinel\r\n*0\r\n", Role::Unknown),
            (b"+OK\r\n", Role::Unknown),
        ];
        for (text, role) in table {
            assert_eq!(Role::read(&parse_reply(text).unwrap().0), role);
        }
    }
}
