//! Reading the settings again while the node serves.
//!
//! ```text
//!           asked: by the program (SIGHUP), by the API, by a file that changed (`watching`)
//!   Idle ------------------------------------------------> Reading
//!    ^ ^ ^ ^                                                  |
//!    | | | |  a source cannot be read in time, or is wrong    |
//!    | | | +-- Refused: nothing changed, and why -------------+
//!    | | |                                                    | all of it is right
//!    | | |    nothing differs that a reload changes           v
//!    | | +---- Unchanged ---------------------------------- Compared
//!    | |                                                      |
//!    | |      only to say what would change                   |
//!    | +------ Rehearsed -------------------------------------+
//!    |                                                        | something differs
//!    |        every shard has the new settings                v
//!    +-------- Applied <---------------------------------- Spreading, which cannot fail
//! ```
//!
//! One task does this, so that two reloads are never mixed. Those who ask while one is under way share the
//! next one, which begins to read after they asked. A source that is not read in time holds up the next
//! reload, and nothing else.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tracing::{debug, info, warn};

use super::error::StartError;
use super::layers::{Changed, Changing};
use super::start::Server;
use super::webtransport;
use crate::config::{self, Change, CheckedConfig, Config, Contents, Listen, Sources};
use crate::count::{Asker, Label, ReloadResult};
use crate::engine::node::Node;
use crate::engine::reloads::{Asked, ReloadError, Reloaded};
use crate::net::tls::{Certificate, Files};

/// How long it may take to read everything.
const RELOAD_TIME: Duration = Duration::from_secs(10);

/// Asks for a look at the certificate's files, and is told when it is done.
pub(super) type AskRenewal = mpsc::Sender<oneshot::Sender<()>>;

/// Where the settings come from.
#[derive(Clone)]
pub(super) struct Origin {
    pub(super) sources: Arc<Sources>,
    /// Where the node listens in place of what the settings say.
    pub(super) places: (Option<Listen>, Option<Listen>),
}

/// What reloads the settings of a node.
pub(super) struct Reloader {
    pub(super) node: Arc<Node>,
    /// None if nobody told the node.
    pub(super) origin: Option<Origin>,
    /// Of each certificate.
    pub(super) renewals: Vec<AskRenewal>,
    /// What tokens and backends are asked by.
    pub(super) layers: Arc<Changing>,
    /// What was read last of the files that settings name.
    pub(super) contents: Contents,
    /// One that took too long.
    pub(super) stuck: Option<JoinHandle<Result<Ready, StartError>>>,
}

/// Settings that are right, and what is different in them.
pub(super) struct Ready {
    merged: CheckedConfig,
    layers: Changed,
    contents: Contents,
    changed: Vec<&'static str>,
    needs_restart: Vec<&'static str>,
}

impl Reloader {
    /// Reloads for those who ask, until nobody can.
    pub(super) async fn run(mut self, mut asked: mpsc::Receiver<Asked>) {
        let mut waiting = Vec::new();
        while asked.recv_many(&mut waiting, usize::MAX).await > 0 {
            let (rehearsals, others): (Vec<_>, Vec<_>) =
                waiting.drain(..).partition(|it| it.is_rehearsal);
            for together in [rehearsals, others] {
                let Some(first) = together.first() else {
                    continue;
                };
                let outcome = self.reload(first.by, first.is_rehearsal).await;
                for asker in together {
                    let _nobody_waits = asker.tell.send(outcome.clone());
                }
            }
        }
    }

    async fn reload(&mut self, by: Asker, is_rehearsal: bool) -> Result<Reloaded, ReloadError> {
        let outcome = self.attempt(is_rehearsal).await;
        if !is_rehearsal {
            self.tell(by, &outcome);
        }
        outcome
    }

    /// Counts what came of it, and says it in the log.
    fn tell(&self, by: Asker, outcome: &Result<Reloaded, ReloadError>) {
        let counters = &self.node.counters().reloads;
        match outcome {
            Ok(reloaded) if by == Asker::File && reloaded.changed.is_empty() => {
                counters.wait(reloaded.needs_restart.len());
                debug!(target: "gateway::reload", by = by.label(), "settings read again; {reloaded}");
            }
            Ok(reloaded) => {
                let result = match reloaded.changed.is_empty() {
                    true => ReloadResult::Unchanged,
                    false => ReloadResult::Applied,
                };
                counters.succeeded(result, reloaded.needs_restart.len());
                info!(target: "gateway::reload", by = by.label(), "settings read again; {reloaded}");
            }
            Err(ReloadError::NoSources) => {
                warn!(target: "gateway::reload", by = by.label(), "nothing reloaded: {}", ReloadError::NoSources);
            }
            Err(error) => {
                counters.failed();
                for line in error.to_string().lines() {
                    warn!(target: "gateway::reload", by = by.label(), "reload refused, nothing changed: {line}");
                }
            }
        }
    }

    async fn attempt(&mut self, is_rehearsal: bool) -> Result<Reloaded, ReloadError> {
        let certificate = !self.renewals.is_empty();
        let Some(origin) = self.origin.clone() else {
            return match self.renew().await {
                true => Ok(Reloaded {
                    certificate,
                    ..Reloaded::default()
                }),
                false => Err(ReloadError::NoSources),
            };
        };
        let ready = self.read(origin).await?;
        if !is_rehearsal {
            if ready.changed.contains(&"log.level") {
                config::log::set_level(&ready.merged.log.level);
            }
            if !ready.changed.is_empty() {
                self.layers.take_over(&ready.merged, ready.layers);
                self.contents = ready.contents;
                self.node.take_over(Arc::new(ready.merged)).await;
            }
            self.renew().await;
        }
        Ok(Reloaded {
            changed: ready.changed,
            needs_restart: ready.needs_restart,
            certificate,
        })
    }

    /// Reads everything on a thread of its own, since a file may stand still.
    async fn read(&mut self, origin: Origin) -> Result<Ready, ReloadError> {
        if self.stuck.as_ref().is_some_and(|it| !it.is_finished()) {
            return Err(ReloadError::Timeout(RELOAD_TIME));
        }
        let current = self.node.current();
        let (layers, before) = (Arc::clone(&self.layers), self.contents.clone());
        let mut reading =
            tokio::task::spawn_blocking(move || Ready::read(&origin, &current, &layers, &before));
        match tokio::time::timeout(RELOAD_TIME, &mut reading).await {
            Ok(Ok(ready)) => ready.map_err(|error| ReloadError::Wrong(error.to_string())),
            // It panicked, or the node ends.
            Ok(Err(_)) => Err(ReloadError::Busy),
            Err(_) => {
                self.stuck = Some(reading);
                Err(ReloadError::Timeout(RELOAD_TIME))
            }
        }
    }

    /// Has the certificates looked at; false if there is none.
    async fn renew(&self) -> bool {
        for renewal in &self.renewals {
            let (tell, told) = oneshot::channel();
            if renewal.send(tell).await.is_ok() {
                let _done_or_ended = told.await;
            }
        }
        !self.renewals.is_empty()
    }
}

impl Ready {
    /// Reads and checks all that the start reads and checks.
    fn read(
        origin: &Origin,
        current: &CheckedConfig,
        layers: &Changing,
        before: &Contents,
    ) -> Result<Self, StartError> {
        let mut new = Config::load(&origin.sources)?;
        let (clients, internal) = origin.places.clone();
        new.replace_places(clients, internal);
        let new = new.check()?;
        let Change {
            merged,
            mut changed,
            needs_restart,
        } = current.change_to(&new);
        // What waits for a restart may not go with what does not.
        let merged = merged.check()?;
        if let Some(files) = &merged.tls {
            Certificate::load(Files::of_clients(files))?;
        }
        let contents = Contents::read(&merged);
        for setting in contents.differ(before) {
            if !changed.contains(&setting) {
                changed.push(setting);
            }
        }
        let layers = layers.prepare(&merged)?;
        webtransport::certificate(&merged)?;
        if !needs_restart.is_empty() {
            Server::new(Config::clone(&new)).check()?;
        }
        Ok(Self {
            merged,
            layers,
            contents,
            changed,
            needs_restart,
        })
    }
}
