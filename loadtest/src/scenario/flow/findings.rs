//! Messages that went wrong, with all that helps to find the reason.

use std::time::SystemTime;

use serde::Serialize;

use super::layout::Layout;
use super::member::Member;
use super::{Message, Receiver};
use crate::clock;

/// The first messages that went wrong.
#[derive(Debug)]
pub(crate) struct Findings {
    layout: Layout,
    found: Vec<Finding>,
}

/// One message that went wrong for one client.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Finding {
    /// How.
    pub(crate) fault: Fault,
    /// The client's number in this run.
    pub(crate) client: usize,
    /// The socket's id in the end.
    pub(crate) socket: String,
    /// The room, or `everyone`.
    pub(crate) to: String,
    /// The message's number among those.
    pub(crate) number: u32,
    /// When it was sent, as time of day (UTC).
    pub(crate) sent: String,
    /// When the server acknowledged it.
    pub(crate) acknowledged: Option<String>,
    /// From when to when the client was away when it was sent, or before it.
    pub(crate) away: Option<(String, String)>,
}

/// What can be wrong with a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Fault {
    /// It never came.
    Lost,
    /// It came again.
    Duplicated,
    /// It came behind a later one.
    OutOfOrder,
}

impl Findings {
    /// Nothing found yet.
    pub(crate) fn new(layout: Layout) -> Self {
        Self {
            layout,
            found: Vec::new(),
        }
    }

    /// Notes a message, unless there are many already.
    pub(crate) fn note(
        &mut self,
        fault: Fault,
        receiver: &Receiver,
        track: usize,
        (number, message): (u32, &Message),
    ) {
        if self.found.len() >= MOST {
            return;
        }
        let Receiver {
            client,
            streams,
            member,
        } = receiver;
        let to = match streams[track] {
            Some(stream) if stream != self.layout.everyone() => format!("r{stream}"),
            _ => "everyone".to_owned(),
        };
        self.found.push(Finding {
            fault,
            client: *client,
            socket: member.ticket.socket(),
            to,
            number,
            sent: time_of_day(message.sent),
            acknowledged: message.acked.map(time_of_day),
            away: away_at(member, message.sent),
        });
    }

    /// All of them.
    pub(crate) fn into_found(self) -> Vec<Finding> {
        self.found
    }
}

/// A run that loses everything need not say so of each message.
const MOST: usize = 1000;

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            client,
            socket,
            to,
            number,
            sent,
            ..
        } = self;
        let fault = match self.fault {
            Fault::Lost => "lost",
            Fault::Duplicated => "duplicated",
            Fault::OutOfOrder => "out of order",
        };
        write!(
            f,
            "{fault}: client {client} ({socket}), message {number} to {to}, sent {sent}"
        )?;
        match &self.acknowledged {
            Some(acknowledged) => write!(f, ", acknowledged {acknowledged}")?,
            None => write!(f, ", never acknowledged")?,
        }
        if let Some((from, until)) = &self.away {
            write!(f, "; away {from} to {until}")?;
        }
        Ok(())
    }
}

fn away_at(member: &Member, at: u64) -> Option<(String, String)> {
    let absence = member.absences.iter().rev().find(|(from, _)| *from <= at);
    let (from, until) = absence.or(member.absences.first())?;
    Some((time_of_day(*from), time_of_day(*until)))
}

/// As servers write it in their logs.
fn time_of_day(at: u64) -> String {
    let ago = std::time::Duration::from_nanos(clock::now().saturating_sub(at));
    let then = SystemTime::now() - ago;
    let since = then.duration_since(SystemTime::UNIX_EPOCH);
    show_time_of_day(since.unwrap_or_default().as_millis() as u64)
}

fn show_time_of_day(milliseconds: u64) -> String {
    let (seconds, milliseconds) = (milliseconds / 1000, milliseconds % 1000);
    let (hours, minutes) = (seconds / 3600 % 24, seconds / 60 % 60);
    format!(
        "{hours:02}:{minutes:02}:{:02}.{milliseconds:03}",
        seconds % 60
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_those_of_a_log() {
        assert_eq!(show_time_of_day(1_795_837_030_159), "03:37:10.159");
    }
}
