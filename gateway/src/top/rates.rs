//! What is told of a node, a room, a user.

use std::collections::HashMap;
use std::hash::Hash;

#[cfg(test)]
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::status::NodeStatus;
use super::totals::{Totals, quantile};
use super::{MAX_BUSIEST, Piece};

/// What a node says of itself and its clients, to others and by itself.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Report {
    pub(crate) node: NodeRates,
    pub(crate) rooms: Vec<RoomRates>,
    pub(crate) users: Vec<UserRates>,
    /// If it was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) status: Option<NodeStatus>,
}

/// One node. Rates are per second, and of the last seconds.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[cfg_attr(test, derive(JsonSchema))]
#[serde(default)]
pub(crate) struct NodeRates {
    pub(crate) id: String,
    pub(crate) version: String,
    /// Whether it is the one that answers.
    #[serde(rename = "self")]
    pub(crate) is_self: bool,
    /// Whether it hears the other nodes.
    pub(crate) up: bool,
    /// Whether it drains.
    pub(crate) draining: bool,
    /// Open sessions.
    pub(crate) connections: u64,
    /// Seconds that the rates are of.
    pub(crate) seconds: f64,
    /// Events of clients.
    pub(crate) events_in: f64,
    /// Events to clients, one for each recipient.
    pub(crate) events_out: f64,
    /// Sessions opened.
    pub(crate) opened: f64,
    /// Sessions closed.
    pub(crate) closed: f64,
    /// Requests refused.
    pub(crate) refused: f64,
    pub(crate) bytes_in: f64,
    pub(crate) bytes_out: f64,
    /// Processors that the process keeps busy.
    pub(crate) cpu: f64,
    /// Memory of what waits to be sent to clients.
    pub(crate) outbox_bytes: u64,
    /// From a ping to its pong: half of them take at most so long. Null if there were none.
    pub(crate) heartbeat_p50_ms: Option<f64>,
    /// 99 of 100 take at most so long.
    pub(crate) heartbeat_p99_ms: Option<f64>,
    /// Time to queue an event for its recipients on one shard.
    pub(crate) broadcast_p99_ms: Option<f64>,
    /// Time that a message takes between nodes.
    pub(crate) lag_p99_ms: Option<f64>,
}

/// One room, or a whole namespace.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(JsonSchema))]
pub(crate) struct RoomRates {
    pub(crate) namespace: String,
    /// Null: everybody in the namespace.
    pub(crate) name: Option<String>,
    /// Events per second that gateway nodes emitted to it.
    pub(crate) events: f64,
    /// Clients per second that were sent one.
    pub(crate) deliveries: f64,
}

/// One user.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(JsonSchema))]
pub(crate) struct UserRates {
    pub(crate) user: String,
    /// Events per second that the user's clients sent.
    pub(crate) events_in: f64,
    /// Events per second that they were sent.
    pub(crate) events_out: f64,
}

impl NodeRates {
    /// The rates of so many seconds.
    pub(crate) fn of(totals: &Totals, seconds: f64) -> Self {
        let per_second = |count: f64| count / seconds.max(0.001);
        let rate = |count: u64| per_second(count as f64);
        Self {
            seconds,
            events_in: rate(totals.events_in),
            events_out: rate(totals.events_out),
            opened: rate(totals.opened),
            closed: rate(totals.closed),
            refused: rate(totals.refused),
            bytes_in: rate(totals.bytes_in),
            bytes_out: rate(totals.bytes_out),
            cpu: per_second(totals.cpu.as_secs_f64()),
            heartbeat_p50_ms: quantile(&totals.heartbeats, 0.5),
            heartbeat_p99_ms: quantile(&totals.heartbeats, 0.99),
            broadcast_p99_ms: quantile(&totals.broadcasts, 0.99),
            lag_p99_ms: quantile(&totals.lag, 0.99),
            ..Self::default()
        }
    }
}

impl Report {
    /// What the shards of a node have to say.
    pub(crate) fn of(node: NodeRates, pieces: Vec<Piece>) -> Self {
        let (mut rooms, mut users) = (Vec::new(), Vec::new());
        for piece in pieces {
            let counted = piece.rooms.into_iter();
            rooms.extend(
                counted.map(|(namespace, name, [events, deliveries])| RoomRates {
                    namespace,
                    name,
                    events,
                    deliveries,
                }),
            );
            let counted = piece.users.into_iter();
            users.extend(counted.map(|(user, [events_in, events_out])| UserRates {
                user,
                events_in,
                events_out,
            }));
        }
        let (rooms, users) = merged(rooms, users);
        Self {
            node,
            rooms,
            users,
            status: None,
        }
    }

    /// What the node with this name told, within bounds.
    pub(crate) fn of_other(name: String, text: &str) -> Option<Self> {
        let mut report: Self = serde_json::from_str(text).ok()?;
        report.node.id = name;
        report.node.is_self = false;
        report.status = report.status.map(NodeStatus::checked);
        Some(report)
    }
}

/// The busiest of several shards or nodes.
pub(crate) fn merged(
    rooms: Vec<RoomRates>,
    users: Vec<UserRates>,
) -> (Vec<RoomRates>, Vec<UserRates>) {
    let rooms = sums(rooms.into_iter().map(|it| {
        let rates = [it.events, it.deliveries];
        ((it.namespace, it.name), rates)
    }));
    let users = sums(
        users
            .into_iter()
            .map(|it| (it.user, [it.events_in, it.events_out])),
    );
    let rooms = rooms
        .into_iter()
        .map(|((namespace, name), rates)| RoomRates {
            namespace,
            name,
            events: rates[0],
            deliveries: rates[1],
        });
    let users = users.into_iter().map(|(user, rates)| UserRates {
        user,
        events_in: rates[0],
        events_out: rates[1],
    });
    (rooms.collect(), users.collect())
}

fn sums<K: Hash + Ord + Clone>(all: impl Iterator<Item = (K, [f64; 2])>) -> Vec<(K, [f64; 2])> {
    let mut sums: HashMap<K, [f64; 2]> = HashMap::new();
    for (key, rates) in all {
        let sum = sums.entry(key).or_default();
        *sum = [sum[0] + rates[0], sum[1] + rates[1]];
    }
    let mut sums: Vec<_> = sums.into_iter().collect();
    let total = |rates: &[f64; 2]| rates[0] + rates[1];
    sums.sort_by(|a, b| {
        total(&b.1)
            .total_cmp(&total(&a.1))
            .then_with(|| a.0.cmp(&b.0))
    });
    sums.truncate(MAX_BUSIEST);
    sums
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_room_and_user_of_several_shards_are_one() {
        let piece = |room: &str, user: &str, rate: f64| Piece {
            rooms: vec![("/".to_owned(), Some(room.to_owned()), [0.0, rate])],
            users: vec![(user.to_owned(), [rate, 0.0])],
        };
        let pieces = vec![
            piece("a", "ann", 2.0),
            piece("b", "bob", 3.0),
            piece("a", "ann", 2.0),
        ];
        let report = Report::of(NodeRates::default(), pieces);
        let rooms = report
            .rooms
            .iter()
            .map(|it| (it.name.as_deref(), it.deliveries));
        assert_eq!(
            rooms.collect::<Vec<_>>(),
            [(Some("a"), 4.0), (Some("b"), 3.0)]
        );
        let users = report.users.iter().map(|it| (&*it.user, it.events_in));
        assert_eq!(users.collect::<Vec<_>>(), [("ann", 4.0), ("bob", 3.0)]);
    }

    #[test]
    fn an_answer_has_only_the_busiest() {
        let users = (0..500).map(|number| UserRates {
            user: number.to_string(),
            events_in: f64::from(number),
            events_out: 0.0,
        });
        let (_, users) = merged(Vec::new(), users.collect());
        assert_eq!((users.len(), &*users[0].user), (MAX_BUSIEST, "499"));
    }

    #[test]
    fn a_report_of_a_later_version_is_read() {
        let text = r#"{"node":{"id":"b","later":1},"rooms":[],"users":[],"later":[]}"#;
        let report: Report = serde_json::from_str(text).unwrap();
        assert_eq!((&*report.node.id, report.node.lag_p99_ms), ("b", None));
    }
}
