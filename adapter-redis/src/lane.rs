use std::sync::{Arc, Mutex};

use crate::directory::{Backoff, Directory};
use crate::link::{Link, LinkError};
use crate::route::LaneId;
use crate::servers::Endpoint;
use crate::shared::Shared;

/// What the two connections of a lane have in common.
#[derive(Clone)]
pub(crate) struct Lane {
    pub(crate) id: LaneId,
    /// The server; `None` where the directory finds it.
    pub(crate) endpoint: Option<Endpoint>,
    /// The channels that only gateway nodes use.
    pub(crate) channels: Arc<Mutex<LaneChannels>>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) directory: Arc<Directory>,
}

/// The channels of a lane that only gateway nodes use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LaneChannels {
    /// For a node's messages to itself.
    pub(crate) probe: String,
    /// All gateway nodes subscribe to it, after everything else, to be counted.
    pub(crate) presence: String,
}

impl Lane {
    /// Connects, however long it takes.
    pub(crate) async fn connect(&self, role: &str, backoff: &mut Backoff) -> (Link, Endpoint) {
        let mut is_lamented = false;
        loop {
            let limit = self.shared.config.limits.message_bytes;
            let endpoint = self.endpoint.as_ref();
            match self.directory.connect(endpoint, role, limit).await {
                Ok(connected) => return connected,
                Err(error) => {
                    if !std::mem::replace(&mut is_lamented, true) {
                        self.lament(role, "cannot connect", &error);
                    }
                    tracing::debug!(role, %error, "Redis: cannot connect");
                    // In a cluster another server may have taken over.
                    self.shared.topology_wanted.notify_one();
                    tokio::time::sleep(backoff.pause()).await;
                }
            }
        }
    }

    /// Returns when `endpoint` should not be used any more.
    pub(crate) async fn displaced(&self, endpoint: &Endpoint) -> LinkError {
        // Lanes of a fixed server go when the slots are read again.
        if self.endpoint.is_some() {
            return std::future::pending().await;
        }
        loop {
            tokio::time::sleep(self.shared.config.timing.topology * 2).await;
            if !self.directory.is_current(endpoint).await {
                return LinkError::NotMaster;
            }
        }
    }

    /// Logs what goes wrong with a connection.
    pub(crate) fn lament(&self, role: &str, what: &str, error: &LinkError) {
        let server = self.endpoint.as_ref().map(ToString::to_string);
        tracing::warn!(role, server, %error, "Redis: {what}");
    }
}
