//! What the nodes of a cluster keep together, beside the messages that they exchange.

use std::fmt;
use std::pin::Pin;
use std::time::Duration;

/// Something that is kept under a name. Of two records of a name the one with the higher stamp counts.
#[expect(
    clippy::exhaustive_structs,
    reason = "its users make it, field by field"
)]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Its name.
    pub name: String,
    /// Each that is written has a higher one than all before it.
    pub stamp: u64,
    /// When it is over, in milliseconds since 1970 by the clock of the store; `None`: never.
    pub until: Option<u64>,
    /// What it says.
    pub body: String,
}

/// A record that is to be written. The store gives it its stamp.
#[expect(
    clippy::exhaustive_structs,
    reason = "its users make it, field by field"
)]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Draft {
    /// Its name.
    pub name: String,
    /// For how long it is kept; `None`: for ever.
    pub lasts: Option<Duration>,
    /// What it says.
    pub body: String,
    /// Its stamp has to be higher than this, too.
    pub above: u64,
}

/// How a store is.
#[expect(
    clippy::exhaustive_structs,
    reason = "its users make it, field by field"
)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RecordsMark {
    /// The stamp of the record that was written last; 0 if there is none.
    pub newest: u64,
    /// How many records it has.
    pub count: usize,
    /// Its clock, in milliseconds since 1970.
    pub now: u64,
}

/// Why a store did not do what it was asked.
#[expect(clippy::exhaustive_enums, reason = "nodes and adapters handle each")]
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecordsError {
    /// It cannot be reached, or did not say in time that it did. It may have done it.
    #[error("{0}")]
    Away(String),
    /// It refuses, and will do so again.
    #[error("{0}")]
    Refused(String),
    /// It holds as many as it may.
    #[error("no more records are kept")]
    Full,
}

/// What comes of a call of a store.
pub type RecordsFuture<T> = Pin<Box<dyn Future<Output = Result<T, RecordsError>> + Send>>;

/// The store of records that all nodes share.
pub trait Records: fmt::Debug + Send + Sync {
    /// Writes a record in place of the one of its name. Also tells the clock of the store.
    fn write(&self, draft: Draft) -> RecordsFuture<(Record, u64)>;

    /// How the store is.
    fn mark(&self) -> RecordsFuture<RecordsMark>;

    /// All records; those that are written meanwhile may be left out.
    fn read(&self) -> RecordsFuture<Vec<Record>>;

    /// Puts records back that the store lost. Those of which it has newer ones stay as they are.
    fn restore(&self, records: Vec<Record>) -> RecordsFuture<()>;

    /// Takes those of these names away that are over by the clock of the store.
    fn strike(&self, names: Vec<String>) -> RecordsFuture<()>;
}
