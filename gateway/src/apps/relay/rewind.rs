//! `join` with a second argument: the past of the rooms comes before what is new.

use adapter::recovery::{Offset, Rewind};
use protocol::socketio::Arguments;
use serde::Deserialize;
use serde_json::json;
use tracing::debug;

use super::{Entered, RelayError, answer, ask_about, enter};
use crate::recovery::HOLDING;
use crate::socketio::event::Ack;
use crate::socketio::socket::{Socket, Told};

/// Most rooms whose past is read for one join.
pub(super) const MAX_ROOMS: usize = 100;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    rewind: Option<u64>,
    after: Option<String>,
}

/// What of the past a join asks for: an object behind the rooms. Other arguments are ignored there, as elsewhere.
pub(super) fn wanted(arguments: Arguments<'_>) -> Result<Option<Rewind>, RelayError> {
    let Some(second) = arguments.iter().nth(1) else {
        return Ok(None);
    };
    if !second.trim_start().starts_with('{') {
        return Ok(None);
    }
    let wanted = serde_json::from_str(second).map_err(|_| RelayError::BadHistory)?;
    match wanted {
        Wanted {
            rewind: Some(count),
            after: None,
        } => Ok(Some(Rewind::Last(
            usize::try_from(count).unwrap_or(usize::MAX),
        ))),
        Wanted {
            rewind: None,
            after: Some(offset),
        } => {
            let offset = Offset::parse(Offset::in_log(&offset));
            let offset = offset.map_err(|_| RelayError::BadHistory)?;
            Ok(Some(Rewind::After(offset)))
        }
        Wanted { .. } => Err(RelayError::BadHistory),
    }
}

/// Joins rooms, sends their past, and acknowledges.
pub(super) async fn join(
    socket: &Socket,
    rooms: &[String],
    wants: Rewind,
    most: usize,
    ack: Option<Ack>,
) {
    match enter_with_past(socket, rooms, wants, most).await {
        Ok(told) => {
            if let Some(ack) = ack {
                let (is_whole, offset) = (told.is_whole, told.offset.to_string());
                ack.send_json(&json!({"ok": true, "complete": is_whole, "offset": offset}));
            }
        }
        Err(error) => {
            debug!(target: "gateway::relay",
                socket = %socket.id(),
                event = "join",
                reason = error.code(),
                "event refused"
            );
            answer(ack, Err(error));
        }
    }
}

async fn enter_with_past(
    socket: &Socket,
    rooms: &[String],
    wants: Rewind,
    most: usize,
) -> Result<Told, RelayError> {
    ask_about(socket, rooms).await?;
    let mut rewinds = socket.begin_rewind(rooms).ok_or(RelayError::NoHistory)?;
    let Entered { mut joined, new } = enter(socket, rooms, most)?;
    let read = async {
        (&mut joined).await;
        if joined.is_refused() {
            socket.leave_all(new.iter().map(String::as_str));
            return Err(RelayError::RefusedRoom);
        }
        rewinds.read(wants).await.ok_or(RelayError::Unavailable)
    };
    // Where it takes longer, what was held comes now, and the socket stays in the rooms as after any join.
    let told = tokio::time::timeout(HOLDING, read).await;
    told.unwrap_or(Err(RelayError::Unavailable))
}

#[cfg(test)]
mod tests {
    use adapter::recovery::{Epoch, Position};

    use super::*;

    #[test]
    fn what_is_wanted_of_the_past_is_an_object_of_one_kind() {
        let wanted = |json: &str| wanted(Arguments::from_raw(json, &[]));
        for none in [
            r#""room""#,
            r#""room",null"#,
            r#""room",5"#,
            r#""room","x",{"rewind":1}"#,
        ] {
            assert_eq!(wanted(none), Ok(None), "{none}");
        }
        assert_eq!(wanted(r#""room",{"rewind":5}"#), Ok(Some(Rewind::Last(5))));
        let offset = Offset {
            epoch: Epoch::new(0),
            position: Position::new(7),
        };
        for text in ["", "~0000000000000009"] {
            let json = format!(r#""room", {{"after":"{offset}{text}"}}"#);
            assert_eq!(wanted(&json), Ok(Some(Rewind::After(offset))));
        }
        for bad in [
            "{}",
            r#"{"rewind":-1}"#,
            r#"{"rewind":1.5}"#,
            r#"{"rewind":"5"}"#,
            r#"{"rewind":5,"after":"AAAAAAAA.0000000000000007"}"#,
            r#"{"after":"x"}"#,
            r#"{"after":7}"#,
            r#"{"rewnd":5}"#,
        ] {
            let json = format!(r#""room",{bad}"#);
            assert_eq!(wanted(&json), Err(RelayError::BadHistory), "{bad}");
        }
    }
}
