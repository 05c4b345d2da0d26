//! What a backend replies.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::Data;
use crate::backend::binary::{BadArguments, ack_from_backend, from_backend};
use crate::backend::words::{Emit, List, SharedRoomName, User, or_default};
use crate::socketio::event::OwnedArguments;

/// Most bytes of a backend's data that are kept with a socket.
const MAX_DATA: usize = 64 * 1024;

/// What a backend replies, read and checked. What is missing changes nothing.
#[derive(Debug, Default)]
pub(super) struct Reply {
    /// The acknowledgement's arguments.
    pub(super) ack: OwnedArguments,
    /// To a connect: it may not.
    pub(super) refuse: Option<Refuse>,
    /// To a connect: whose socket it is.
    pub(super) user: Option<User>,
    /// What is kept with the socket.
    pub(super) data: Data,
    pub(super) actions: Vec<Action>,
    /// To a batch: one reply for each event.
    pub(super) replies: Vec<Self>,
}

/// The same as it is written. Fields of a later version are left alone; null is as if it were absent.
#[derive(Debug, Default, Deserialize)]
struct ReplyText {
    ack: Option<Box<RawValue>>,
    refuse: Option<Refuse>,
    user: Option<User>,
    data: Data,
    #[serde(default, deserialize_with = "or_default")]
    actions: Vec<ActionText>,
    #[serde(default, deserialize_with = "or_default")]
    replies: Vec<Self>,
}

/// Why a client may not connect.
#[derive(Debug, Deserialize)]
pub(super) struct Refuse {
    pub(super) message: String,
    pub(super) data: Data,
}

/// What is to be done.
#[derive(Debug)]
pub(super) enum Action {
    Emit(Box<Emit>, OwnedArguments),
    Join(List<SharedRoomName>),
    Leave(List<SharedRoomName>),
    Disconnect(bool),
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum ActionText {
    Emit(Box<Emit>),
    Join(List<SharedRoomName>),
    Leave(List<SharedRoomName>),
    Disconnect(bool),
}

/// Why a reply is none.
#[derive(Debug, thiserror::Error)]
pub(super) enum BadReply {
    #[error(transparent)]
    Json(#[from] serde_json::Error),
    #[error("ack: {0}")]
    Ack(BadArguments),
    #[error("action {number}: {problem}")]
    Action {
        number: usize,
        problem: BadArguments,
    },
    #[error("{found} replies to a batch of {expected}")]
    Replies { found: usize, expected: usize },
    #[error("data is larger than {MAX_DATA} bytes")]
    Data,
}

/// What frameworks send when a handler returns nothing, or only that it is done.
const NOTHING: [&[u8]; 6] = [b"", b"ok", b"\"ok\"", b"null", b"true", b"[]"];

impl Reply {
    /// Reads the reply to a request, or to a batch of so many events. Nothing is a reply, too. What is
    /// returned can be done: it was checked whole.
    pub(super) fn read(body: &[u8], batch: Option<usize>) -> Result<Self, BadReply> {
        let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
        let body = body.trim_ascii();
        let text = if NOTHING.iter().any(|text| body.eq_ignore_ascii_case(text)) {
            ReplyText::default()
        } else {
            serde_json::from_slice(body)?
        };
        let mut reply = Self::check(text)?;
        let expected = batch.unwrap_or(0);
        if reply.replies.is_empty() && reply.is_nothing() {
            reply.replies.resize_with(expected, Self::default);
        }
        let found = reply.replies.len();
        if found != expected {
            return Err(BadReply::Replies { found, expected });
        }
        Ok(reply)
    }

    fn check(text: ReplyText) -> Result<Self, BadReply> {
        let size = text.data.as_ref().map_or(0, |data| data.get().len());
        if size > MAX_DATA {
            return Err(BadReply::Data);
        }
        let actions = text.actions.into_iter().enumerate();
        let actions = actions.map(|(index, action)| {
            action.check().map_err(|problem| BadReply::Action {
                number: index + 1,
                problem,
            })
        });
        Ok(Self {
            ack: ack_from_backend(text.ack.as_deref()).map_err(BadReply::Ack)?,
            refuse: text.refuse,
            user: text.user,
            data: text.data,
            actions: actions.collect::<Result<_, _>>()?,
            replies: text
                .replies
                .into_iter()
                .map(Self::check)
                .collect::<Result<_, _>>()?,
        })
    }

    /// Whether nothing is to be done.
    fn is_nothing(&self) -> bool {
        self.actions.is_empty() && self.data.is_none() && self.ack == OwnedArguments::default()
    }
}

impl ActionText {
    fn check(self) -> Result<Action, BadArguments> {
        Ok(match self {
            Self::Emit(emit) => {
                let arguments = from_backend(emit.args.as_deref())?;
                Action::Emit(emit, arguments)
            }
            Self::Join(rooms) => Action::Join(rooms),
            Self::Leave(rooms) => Action::Leave(rooms),
            Self::Disconnect(disconnect) => Action::Disconnect(disconnect),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_a_reply_and_so_is_what_frameworks_make_of_it() {
        for body in [
            "",
            " {} ",
            "ok",
            "OK\n",
            "\"OK\"",
            "null",
            "[]",
            "true",
            "\u{feff}{}",
        ] {
            let reply = Reply::read(body.as_bytes(), None).unwrap();
            assert!(reply.is_nothing() && reply.refuse.is_none(), "{body:?}");
            let replies = Reply::read(body.as_bytes(), Some(3)).unwrap().replies;
            assert_eq!(replies.len(), 3, "{body:?}");
        }
        for body in [
            "false",
            "no",
            "<html></html>",
            "[1]",
            "{",
            "\"refused\"",
            "7",
        ] {
            assert!(Reply::read(body.as_bytes(), None).is_err(), "{body:?}");
        }
    }

    #[test]
    fn null_is_absent_and_fields_of_a_later_version_are_left_alone() {
        let reply = br#"{"ack":null,"refuse":null,"user":null,"data":null,"actions":null,
            "replies":null,"trace":{"id":1}}"#;
        assert!(Reply::read(reply, None).unwrap().is_nothing());
        let reply = br#"{"refuse":{"message":"no","data":null,"hint":1}}"#;
        assert_eq!(
            Reply::read(reply, None).unwrap().refuse.unwrap().message,
            "no"
        );
        let reply = br#"{"actions":[{"emit":{"rooms":null,"event":"x","args":null}}]}"#;
        assert!(Reply::read(reply, None).is_ok());
    }

    #[test]
    fn an_ack_that_is_no_list_is_one_argument() {
        for (ack, arguments) in [
            (r#"{"ok":true}"#, r#"{"ok":true}"#),
            ("\"done\"", "\"done\""),
            ("0", "0"),
            ("false", "false"),
            ("[1, 2]", "1, 2"),
            ("[]", ""),
            ("null", ""),
        ] {
            let reply = format!(r#"{{"ack":{ack}}}"#);
            let reply = Reply::read(reply.as_bytes(), None).unwrap();
            assert_eq!(reply.ack.as_ref().json(), arguments, "{ack}");
        }
        let reply = Reply::read(br#"{"ack":{"$binary":"AAE="}}"#, None).unwrap();
        assert_eq!(reply.ack.as_ref().attachments(), [&[0, 1][..]]);
    }

    #[test]
    fn a_user_may_be_a_number() {
        for (user, name) in [("\"ann\"", "ann"), ("42", "42"), ("-1", "-1")] {
            let reply = format!(r#"{{"user":{user}}}"#);
            let reply = Reply::read(reply.as_bytes(), None).unwrap();
            assert_eq!(reply.user.unwrap().0, name);
        }
        for user in ["1.5", "\"\"", "true", "{}"] {
            let reply = format!(r#"{{"user":{user}}}"#);
            assert!(Reply::read(reply.as_bytes(), None).is_err(), "{user}");
        }
    }

    #[test]
    fn what_is_wrong_in_one_place_makes_the_whole_reply_wrong() {
        let problem = |reply: &str| Reply::read(reply.as_bytes(), None).unwrap_err().to_string();
        let wrong = r#"{"actions":[{"join":["r"]},{"emit":{"event":"x","args":{"a":1}}}]}"#;
        assert_eq!(problem(wrong), "action 2: arguments are a JSON array");
        let wrong = r#"{"ack":[{"$binary":"?"}],"actions":[{"join":["r"]}]}"#;
        assert_eq!(problem(wrong), "ack: the value of $binary is not base64");
    }

    #[test]
    fn a_reply_carries_actions_in_their_order() {
        let reply = Reply::read(
            br#"{"ack":[{"ok":true}, 1.0],"data":{"n":1},"actions":[
                {"emit":{"rooms":["a"],"event":"x","args":[1,{"$binary":""}]}},
                {"join":["r"]},{"leave":["q"]},{"disconnect":true}]}"#,
            None,
        );
        let reply = reply.unwrap();
        assert_eq!(reply.ack.as_ref().json(), r#"{"ok":true}, 1.0"#);
        assert!(matches!(
            reply.actions.as_slice(),
            [
                Action::Emit(..),
                Action::Join(_),
                Action::Leave(_),
                Action::Disconnect(true)
            ]
        ));
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for reply in [
            r#"{"actions":[{"explode":true}]}"#,
            r#"{"actions":[{"join":["$user:bob"]}]}"#,
            r#"{"actions":[{"emit":{"event":"disconnect"}}]}"#,
            r#"{"replies":[{}]}"#,
        ] {
            assert!(Reply::read(reply.as_bytes(), None).is_err(), "{reply}");
        }
        let large = format!(r#"{{"data":"{}"}}"#, "x".repeat(MAX_DATA));
        assert!(matches!(
            Reply::read(large.as_bytes(), None),
            Err(BadReply::Data)
        ));
    }

    #[test]
    fn a_batch_gets_one_reply_for_each_event() {
        let reply = br#"{"replies":[{"ack":[1]},{}]}"#;
        assert!(Reply::read(reply, Some(2)).is_ok());
        assert!(matches!(
            Reply::read(reply, Some(3)),
            Err(BadReply::Replies {
                found: 2,
                expected: 3
            })
        ));
    }
}
