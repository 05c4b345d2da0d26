//! Why a node does not start.

use crate::apps::auth::KeyError;
use crate::config::Errors;
use crate::net::assets::{AdminUiDirError, ClientDirError};
use crate::net::outbound::OutboundError;
use crate::net::tls::TlsError;
use crate::net::trust::TrustError;

/// Why a node does not start.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A setting has a value that it cannot have.
    #[error(transparent)]
    Config(#[from] Errors),
    /// An address cannot be listened on.
    #[error("cannot listen on {address} ({setting}): {error}")]
    Listen {
        /// The setting that names it.
        setting: &'static str,
        /// The place, as the setting has it.
        address: Box<str>,
        /// What the operating system says.
        error: std::io::Error,
    },
    /// The client's files are not where the configuration says.
    #[error(transparent)]
    ClientDir(#[from] ClientDirError),
    /// The admin page's files are not where the configuration says.
    #[error(transparent)]
    AdminUiDir(#[from] AdminUiDirError),
    /// The certificate or its key cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The link between the nodes cannot be set up. That Redis is away now is no reason.
    #[error("redis.url: {0}")]
    Redis(String),
    /// The settings of certificates to trust cannot be fulfilled.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// A key for clients' tokens cannot be used.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The adapter that a program gave has no store for recovery.
    #[error(
        "recovery.window: the adapter that joins this node to others has no store for recovery"
    )]
    Recovery,
    /// A thread could not be started.
    #[error("cannot start a thread: {0}")]
    Thread(std::io::Error),
    /// More than one thing is wrong.
    #[error("{}", sentences(.0))]
    Several(Vec<Self>),
}

impl From<OutboundError> for StartError {
    fn from(error: OutboundError) -> Self {
        match error {
            OutboundError::Trust(error) => Self::Trust(error),
            OutboundError::Thread(error) => Self::Thread(error),
        }
    }
}

impl StartError {
    /// Whether the configuration is wrong, or a file that it names. Then the next start fails as well;
    /// a port that is taken may be free later.
    pub fn is_configuration(&self) -> bool {
        match self {
            Self::Listen { .. } | Self::Thread(_) => false,
            Self::Config(_)
            | Self::ClientDir(_)
            | Self::AdminUiDir(_)
            | Self::Tls(_)
            | Self::Redis(_)
            | Self::Trust(_)
            | Self::Key(_)
            | Self::Recovery => true,
            Self::Several(errors) => errors.iter().any(Self::is_configuration),
        }
    }

    pub(super) fn of(mut errors: Vec<Self>) -> Self {
        match errors.len() {
            1 => errors.remove(0),
            _ => Self::Several(errors),
        }
    }
}

fn sentences(errors: &[StartError]) -> String {
    let errors: Vec<_> = errors.iter().map(ToString::to_string).collect();
    errors.join("\n")
}

/// The value, or its error among the others.
pub(super) fn keep<T>(errors: &mut Vec<StartError>, result: Result<T, StartError>) -> Option<T> {
    result.map_err(|error| errors.push(error)).ok()
}
