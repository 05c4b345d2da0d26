//! Asking for a reload, and what came of it.

use std::fmt;

use tokio::sync::{mpsc, oneshot};

use crate::count::Asker;

/// Most of those who wait for a reload that has not begun.
const MAX_WAITING: usize = 64;

/// What a reload did.
#[non_exhaustive]
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reloaded {
    /// The settings that have other values now.
    pub changed: Vec<&'static str>,
    /// The settings that have other values in the files, which count from the next start.
    pub needs_restart: Vec<&'static str>,
    /// Whether the node looked at the certificate of `tls.cert` again.
    pub certificate: bool,
}

/// Why a reload changed nothing.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReloadError {
    /// The settings are wrong, or a file that they name; each line says what. No secret is in it.
    #[error("{0}")]
    Wrong(String),
    /// A file could not be read in time.
    #[error("the files were not read within {} s", .0.as_secs())]
    Timeout(std::time::Duration),
    /// The node has no place to read settings from: its program gave it none.
    #[error("the program that runs this node gave it no files to read settings from")]
    NoSources,
    /// Too many wait for one already, or the node ends.
    #[error("the node cannot reload now")]
    Busy,
}

/// Somebody who waits for a reload.
pub(crate) struct Asked {
    pub(crate) by: Asker,
    /// Only to say what it would do.
    pub(crate) is_rehearsal: bool,
    pub(crate) tell: oneshot::Sender<Result<Reloaded, ReloadError>>,
}

/// Where to ask for a reload.
#[derive(Clone)]
pub(crate) struct Reloads(mpsc::Sender<Asked>);

impl Reloads {
    pub(crate) fn new() -> (Self, mpsc::Receiver<Asked>) {
        let (ask, asked) = mpsc::channel(MAX_WAITING);
        (Self(ask), asked)
    }

    /// Asks for a reload and waits for it. It goes on if nobody waits any more.
    pub(crate) async fn ask(&self, by: Asker, is_rehearsal: bool) -> Result<Reloaded, ReloadError> {
        let (tell, told) = oneshot::channel();
        let asked = Asked {
            by,
            is_rehearsal,
            tell,
        };
        self.0.try_send(asked).map_err(|_| ReloadError::Busy)?;
        told.await.unwrap_or(Err(ReloadError::Busy))
    }
}

impl fmt::Display for Reloaded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |names: &[&str]| match names {
            [] => "nothing".to_owned(),
            names => names.join(", "),
        };
        write!(f, "changed: {}", list(&self.changed))?;
        if !self.needs_restart.is_empty() {
            write!(f, "; needs a restart: {}", list(&self.needs_restart))?;
        }
        Ok(())
    }
}
