//! Live traces.

use std::net::IpAddr;
use std::time::Duration;

#[cfg(test)]
use schemars::JsonSchema;

use super::error::ApiError;
use super::handle::Query;
use crate::config;
use crate::count::Code;
use crate::socketio::Gateway;
use crate::socketio::traced::Reader;
use crate::trace::{MAX_TRACES, Subject};

/// How long a trace lasts if nobody says for how long.
pub(super) const USUAL_TIME: Duration = Duration::from_secs(600);

/// The longest that a trace lasts.
pub(super) const MAX_TIME: Duration = Duration::from_secs(3600);

/// A line. Further keys say more of what happened.
#[cfg(test)]
#[derive(JsonSchema)]
#[expect(dead_code, reason = "lines are written elsewhere")]
pub(super) struct TraceLine {
    /// When it happened.
    at: String,
    /// Where it happened.
    node: String,
    /// What happened.
    what: String,
}

/// Opens a trace.
pub(super) fn open(gateway: &Gateway, query: Query) -> Result<Reader, ApiError> {
    let given = [
        query.user.map(|user| Subject::User(user.0)),
        query.socket.map(|id| Subject::Socket(id.to_string())),
        query.room.map(|room| Subject::Room(room.0)),
        query.address.map(Subject::Address),
    ];
    let mut given = given.into_iter().flatten();
    let (Some(of), None) = (given.next(), given.next()) else {
        return Err(ApiError::bad(
            "a trace is of one thing: user, socket, room or address",
        ));
    };
    let lasts = query.lasts.unwrap_or(USUAL_TIME);
    let reader = Reader::open(gateway.node(), of, query.arguments, lasts);
    reader.ok_or_else(|| {
        let message = format!("{MAX_TRACES} traces are open");
        ApiError::new(Code::TooManyRequests, message)
    })
}

/// For how long, as settings are written.
pub(super) fn read_time(text: &str) -> Result<Duration, String> {
    let time = config::duration(text)?;
    if time.is_zero() || time > MAX_TIME {
        return Err("it is not between 1ms and 1h".to_owned());
    }
    Ok(time)
}

pub(super) fn read_address(text: &str) -> Result<IpAddr, String> {
    let address: Result<IpAddr, _> = text.parse();
    address.map_err(|_| "it is no IP address".to_owned())
}
