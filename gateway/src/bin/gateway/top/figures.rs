//! What a node answers.

use std::io;

use serde::Deserialize;

/// The answer of `GET /api/v1/top`.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Figures {
    pub(super) nodes: Vec<Node>,
    pub(super) rooms: Vec<Room>,
    pub(super) users: Vec<User>,
    pub(super) missing_nodes: Vec<String>,
    pub(super) missing_others: u64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Node {
    pub(super) id: String,
    pub(super) up: bool,
    pub(super) draining: bool,
    pub(super) connections: u64,
    pub(super) events_in: f64,
    pub(super) events_out: f64,
    pub(super) opened: f64,
    pub(super) closed: f64,
    pub(super) refused: f64,
    pub(super) bytes_in: f64,
    pub(super) bytes_out: f64,
    pub(super) cpu: f64,
    pub(super) outbox_bytes: u64,
    pub(super) heartbeat_p50_ms: Option<f64>,
    pub(super) heartbeat_p99_ms: Option<f64>,
    pub(super) broadcast_p99_ms: Option<f64>,
    pub(super) lag_p99_ms: Option<f64>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Room {
    pub(super) namespace: String,
    pub(super) name: Option<String>,
    pub(super) events: f64,
    pub(super) deliveries: f64,
}

#[derive(Debug, Deserialize)]
pub(super) struct User {
    pub(super) user: String,
    pub(super) events_in: f64,
    pub(super) events_out: f64,
}

impl Figures {
    pub(super) fn parse(answer: &str) -> io::Result<Self> {
        serde_json::from_str(answer)
            .map_err(|error| io::Error::other(format!("the answer is not understood: {error}")))
    }
}
