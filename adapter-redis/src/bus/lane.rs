use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use tokio::sync::watch;

use crate::bus::shared::Shared;
use crate::bus::status::End;
use crate::link::backoff::Backoff;
use crate::link::commands::Commands;
use crate::link::connection::{Link, LinkError};
use crate::link::directory::Directory;
use crate::link::route::LaneId;
use crate::link::servers::Endpoint;

/// What the two connections of a lane have in common.
///
/// ```text
///        connected, logged in,            subscribed, and a                  peers are back,
///        it is a master                   message to oneself came            or 3 s have passed
///  away ----------------------> joined ----------------------------> up ----------------------> open
///   ^ ^ WRONGPASS, a replica ..   |                                   |                          | publishes
///   | +---------------------------+       a message to oneself is     |   BUSY, LOADING,         | what waits
///   |                             ^       executed                    v   CLUSTERDOWN ..         v
///   |                             +------------------------------- refused <---------------------+
///   |
///   +--- from each: closed, no master any more, both ends at different servers, deaf;
///        silent, and another connection can be made
/// ```
///
/// What was published waits in every state but `open`. One end that finds a server which is no master
/// any more, or hears that it is elsewhere than the other, takes the other end with it.
#[derive(Clone)]
pub(crate) struct Lane {
    pub(crate) id: LaneId,
    /// The server; `None` where the directory finds it.
    pub(crate) endpoint: Option<Endpoint>,
    /// The channels that only gateway nodes use.
    pub(crate) channels: Arc<Mutex<LaneChannels>>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) directory: Arc<Directory>,
    pub(crate) commands: Arc<Commands>,
    /// Changes when both connections have to be made anew.
    pub(crate) renewal: watch::Sender<()>,
}

/// What goes over one of the two connections.
pub(crate) trait Session {
    fn end(&self) -> End;

    /// Runs until the connection is to be given up, or is silent, or alive again.
    fn run(&mut self, silence: Silence) -> impl Future<Output = LinkError> + Send;
}

/// What a session makes of silence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Silence {
    /// Too much of it ends the session with [`LinkError::Silent`].
    Ends,
    /// There was too much of it already. The session ends with [`LinkError::Alive`] as soon as something
    /// comes.
    Tolerated,
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
    pub(crate) async fn connect(&self, end: End, backoff: &mut Backoff) -> (Link, Endpoint) {
        let mut is_logged = false;
        loop {
            let limit = self.shared.cluster.config.limits.message_bytes;
            let endpoint = self.endpoint.as_ref();
            match self.directory.connect(endpoint, end.name(), limit).await {
                Ok(connected) => return connected,
                Err(error) => {
                    if !std::mem::replace(&mut is_logged, true) {
                        self.log_failure(end, "cannot connect", &error);
                    }
                    tracing::debug!(target: "adapter_redis::lane", role = end.name(), %error, "Redis: cannot connect");
                    self.handle_failure(end, &error);
                    // In a cluster another server may have taken over.
                    self.shared.topology_wanted.notify_one();
                    tokio::time::sleep(backoff.pause()).await;
                }
            }
        }
    }

    /// Runs a session until its connection is given up: why, and the connection that replaces it, if it
    /// was made before. A silent connection is kept as long as no other can be made. A server that
    /// stands still has not lost what it was sent, and goes on with it.
    pub(crate) async fn keep(
        &self,
        session: &mut impl Session,
        endpoint: &Endpoint,
        backoff: &mut Backoff,
    ) -> (LinkError, Option<(Link, Endpoint)>) {
        let end = session.end();
        let displaced = self.displaced(endpoint);
        let mut displaced = pin!(displaced);
        loop {
            let error = tokio::select! {
                error = session.run(Silence::Ends) => error,
                error = displaced.as_mut() => error,
            };
            if !matches!(error, LinkError::Silent) {
                return (error, None);
            }
            tracing::warn!(target: "adapter_redis::lane", role = end.name(), "Redis: no sign of life");
            self.set_silent(end, true);
            let replaced = tokio::select! {
                // What came late comes first.
                biased;
                error = session.run(Silence::Tolerated) => Err(error),
                error = displaced.as_mut() => Err(error),
                connected = self.connect(end, backoff) => Ok(connected),
            };
            match replaced {
                Err(LinkError::Alive) => self.set_silent(end, false),
                Err(error) => return (error, None),
                Ok(connected) => return (LinkError::Silent, Some(connected)),
            }
        }
    }

    fn set_silent(&self, end: End, silent: bool) {
        let mut status = self.shared.status();
        status.handle_silent(self.id, end, silent, Instant::now());
        drop(status);
        self.shared.handle_status_change();
    }

    /// Returns when a connection to `endpoint` should not be used any more: there is another master,
    /// or the other end was given up.
    pub(crate) async fn displaced(&self, endpoint: &Endpoint) -> LinkError {
        let mut renewal = self.renewal.subscribe();
        let mut moved = self.shared.cluster.moved.subscribe();
        tokio::select! {
            error = self.replaced(endpoint) => error,
            // The sender is kept here.
            _ = renewal.changed() => LinkError::Renewed,
            _ = moved.changed() => LinkError::Renewed,
        }
    }

    async fn replaced(&self, endpoint: &Endpoint) -> LinkError {
        // Lanes of a fixed server go when the slots are read again.
        if self.endpoint.is_some() {
            return std::future::pending().await;
        }
        loop {
            tokio::time::sleep(self.shared.cluster.config.timing.topology * 2).await;
            if !self.directory.is_current(endpoint).await {
                let reason = "there is another one".to_owned();
                return LinkError::NotMaster(reason);
            }
        }
    }

    /// Handles that the connection of `end` was given up.
    pub(crate) fn handle_lost(&self, end: End, error: &LinkError) {
        self.log_failure(end, "connection lost", error);
        if !matches!(error, LinkError::Renewed) {
            self.handle_failure(end, error);
        }
        if matches!(
            error,
            LinkError::NotMaster(_) | LinkError::Split | LinkError::Deaf
        ) {
            self.renew();
        }
    }

    fn handle_failure(&self, end: End, error: &LinkError) {
        let mut status = self.shared.status();
        status.handle_failure(self.id, end, error.to_string());
    }

    /// Has everything connect anew, since it may be at the wrong server.
    pub(crate) fn renew(&self) {
        self.commands.forget();
        self.renewal.send_replace(());
        self.shared.cluster.renewed.send_replace(());
    }

    /// Logs what goes wrong with a connection.
    fn log_failure(&self, end: End, what: &str, error: &LinkError) {
        let server = self.endpoint.as_ref().map(ToString::to_string);
        tracing::warn!(target: "adapter_redis::lane", role = end.name(), server, %error, "Redis: {what}");
    }
}
