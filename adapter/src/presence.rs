//! Who is there, as all nodes of a cluster keep it together.
//!
//! A [`Subject`] is a user or a room of a namespace. It is there while a socket of it is on some node. Each node
//! tells how many sockets of a subject it has ([`Statement`]), which says that it lives, too. One place, the [`Ledger`]
//! or a script that does the same, puts the calls in an order and decides who came first and who went last:
//!
//! ```text
//!             a node has a socket of it                the last node has none
//!   absent ------------------------------> there ------------------------------> leaving
//!      ^       event: first                  ^                                    |   |
//!      |                                     +------ a node has one again --------+   |
//!      |                                             no event                         |
//!      +--------------------------------------------- the grace is over --------------+
//!                                                     event: last
//! ```
//!
//! A node that says nothing for a lease is dead: others bury it, which is as if it had told that it has nothing.
//! A node that was buried, and lives, is told so by the answer to its next call. It takes a new name and tells
//! everything again ([`Reporter`]).
//!
//! A store that lost what it knew, or the last of it, has a new epoch: a node tells it so. All nodes tell everything
//! again within a lease, of which it makes no events; then it says `reset`.
//!
//! If nobody called for half a lease, the store was away. For a lease no node counts as dead then.
//!
//! Events wait in a queue for each [`Sink`]. One node at a time, which the store names, takes them from there and
//! tells them ([`Take`]). They are taken away after they were told, so each is told at least once.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

use crate::RecordsFuture;

mod ledger;
mod reporter;

pub use ledger::Ledger;
pub use reporter::{Reporter, ReporterSettings};

/// Most events that wait for one sink. With more, all of them give way to one `reset`.
pub const MAX_WAITING: u64 = 100_000;

/// Most subjects of dead nodes, and most that leave, that one call deals with.
pub const PART: usize = 500;

/// Most subjects that a node tells of in one call, and about how many bytes of them.
pub const MAX_TOLD: (usize, usize) = (250, 64 * 1024);

/// Most dead nodes that one answer names.
pub const MAX_DEAD: usize = 4;

/// Events are kept for a sink that asked within this time, in milliseconds.
pub const ASKED: u64 = 60 * 60 * 1000;

/// What a subject is.
#[expect(clippy::exhaustive_enums, reason = "nodes and stores handle each")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SubjectKind {
    /// A user.
    User,
    /// A room.
    Room,
    /// All sockets of a namespace; nothing is told of these.
    Sockets,
    /// Those without a user; nothing is told of these.
    Anonymous,
}

impl SubjectKind {
    fn letter(self) -> char {
        match self {
            Self::User => 'u',
            Self::Room => 'r',
            Self::Sockets => 'n',
            Self::Anonymous => 'a',
        }
    }

    /// Whether somebody is told when it comes and goes.
    #[must_use]
    pub fn is_told(self) -> bool {
        match self {
            Self::User | Self::Room => true,
            Self::Sockets | Self::Anonymous => false,
        }
    }
}

/// Something that is there, or is not. It is kept as a text: kind, length of the namespace, namespace, name.
///
/// ```
/// use adapter::presence::{SubjectKind, Subject};
///
/// let ann = Subject::new(SubjectKind::User, "/chat", "ann");
/// assert_eq!(ann.as_str(), "u5:/chatann");
/// assert_eq!(Subject::parse("u5:/chatann"), Some(ann));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Subject(Arc<str>);

impl Borrow<str> for Subject {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl Subject {
    /// That of this kind and name in a namespace.
    #[must_use]
    pub fn new(kind: SubjectKind, namespace: &str, name: &str) -> Self {
        Self(format!("{}{name}", Self::prefix(kind, namespace)).into())
    }

    /// What the texts of all of a kind in a namespace begin with.
    #[must_use]
    pub fn prefix(kind: SubjectKind, namespace: &str) -> String {
        format!("{}{}:{namespace}", kind.letter(), namespace.len())
    }

    /// `None` if no node can have written it.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        parts(text).map(|_| Self(text.into()))
    }

    /// What it is.
    #[must_use]
    pub fn kind(&self) -> SubjectKind {
        self.parts().0
    }

    /// Its namespace.
    #[must_use]
    pub fn namespace(&self) -> &str {
        self.parts().1
    }

    /// Its name in the namespace.
    #[must_use]
    pub fn name(&self) -> &str {
        self.parts().2
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn parts(&self) -> (SubjectKind, &str, &str) {
        parts(&self.0).unwrap_or((SubjectKind::Sockets, "", ""))
    }
}

fn parts(text: &str) -> Option<(SubjectKind, &str, &str)> {
    let kind = match text.chars().next()? {
        'u' => SubjectKind::User,
        'r' => SubjectKind::Room,
        'n' => SubjectKind::Sockets,
        'a' => SubjectKind::Anonymous,
        _ => return None,
    };
    let (length, rest) = text[1..].split_once(':')?;
    let (namespace, name) = rest.split_at_checked(length.parse().ok()?)?;
    Some((kind, namespace, name))
}

/// Who is told.
#[expect(clippy::exhaustive_enums, reason = "nodes and stores handle each")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sink {
    /// Backends, over HTTP.
    Webhook,
    /// A stream.
    Stream,
}

impl Sink {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Webhook, Self::Stream];

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Webhook => "webhook",
            Self::Stream => "stream",
        }
    }
}

/// What a node says of itself in a call.
#[expect(clippy::exhaustive_enums, reason = "stores handle each")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// It goes on.
    Goes,
    /// It begins, and will tell everything.
    New,
    /// It ends. To be called until nothing is left.
    Leaves,
}

impl Mode {
    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Goes => "goes",
            Self::New => "new",
            Self::Leaves => "leaves",
        }
    }
}

/// What a node tells.
#[expect(
    clippy::exhaustive_structs,
    reason = "its users make it, field by field"
)]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    /// The node: another name after each start, and after it was buried.
    pub node: String,
    /// Higher than in each call of this name before: what comes late is told by it.
    pub version: u64,
    /// What it says of itself.
    pub mode: Mode,
    /// The epoch that it knows; empty if it knows none.
    pub epoch: String,
    /// The highest turn of that epoch that an answer told it.
    pub seen: u64,
    /// The epoch that a store is to have that knows nothing, or has lost the last of it.
    pub candidate: String,
    /// After so many milliseconds without a call a node is dead.
    pub lease: u64,
    /// For so many milliseconds nobody is told that a subject is gone.
    pub grace: u64,
    /// Most events that may wait for one sink.
    pub most: u64,
    /// Who is told of events.
    pub sinks: Vec<Sink>,
    /// Nodes that are to be buried if they are dead, as an answer named them.
    pub dead: Vec<String>,
    /// How many sockets of subjects it has now.
    pub counts: Vec<(Subject, u64)>,
    /// The time in milliseconds in place of that of the store's clock, for tests.
    pub clock: Option<u64>,
}

/// What a store makes of a call.
#[expect(clippy::exhaustive_enums, reason = "nodes handle each")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reception {
    /// It is done.
    Known,
    /// The store knows no node of this name, or has another epoch, and took nothing from it.
    Unknown,
    /// A later call was there before; nothing is done.
    Stale,
}

impl Reception {
    /// That of a name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        match name {
            "known" => Some(Self::Known),
            "unknown" => Some(Self::Unknown),
            "stale" => Some(Self::Stale),
            _ => None,
        }
    }
}

/// The answer to a call.
#[expect(
    clippy::exhaustive_structs,
    reason = "its users make it, field by field"
)]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    /// What became of it.
    pub reception: Reception,
    /// The epoch of the store.
    pub epoch: String,
    /// How many calls there were in the epoch. A store that tells less than before has lost something.
    pub turn: u64,
    /// Events that the call led to: users that came, and went; rooms that came, and went.
    pub events: [u64; 4],
    /// How often it led to a `reset`.
    pub resets: u64,
    /// Dead nodes that are buried now.
    pub buried: u64,
    /// Events that were given up, since too many waited.
    pub dropped: u64,
    /// Of a node that leaves: subjects that it still has.
    pub left: u64,
    /// Nodes that seem to be dead, or are not wholly buried.
    pub dead: Vec<String>,
}

/// A node asks for events to tell.
#[expect(
    clippy::exhaustive_structs,
    reason = "its users make it, field by field"
)]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Take {
    /// Whose.
    pub sink: Sink,
    /// Who asks.
    pub teller: String,
    /// For how long, in milliseconds, nobody else may tell; 0 gives that up.
    pub lease: u64,
    /// The first event that was told, as it was given; nothing if none was.
    pub first: String,
    /// How many were told from there on.
    pub told: usize,
    /// How many are wanted.
    pub most: usize,
    /// As in [`Statement`].
    pub clock: Option<u64>,
}

/// Events to tell.
#[expect(
    clippy::exhaustive_structs,
    reason = "its users make it, field by field"
)]
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Notices {
    /// How many wait, these among them.
    pub waiting: u64,
    /// The oldest, as texts of [`Notice`].
    pub events: Vec<String>,
}

/// What happened.
#[expect(clippy::exhaustive_enums, reason = "nodes handle each")]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// What was told is void: who is there is to be asked for.
    Reset,
    /// Nobody was there, and somebody came.
    First(Subject),
    /// Nobody is there any more.
    Last(Subject),
}

/// One event.
///
/// ```
/// use adapter::presence::{Notice, SubjectKind, Subject, What};
///
/// let event = Notice::parse("x:7:1764417600000:first:u1:/ann").unwrap();
/// assert_eq!((event.number, event.at), (7, 1764417600000));
/// assert_eq!(event.what, What::First(Subject::new(SubjectKind::User, "/", "ann")));
/// ```
#[expect(
    clippy::exhaustive_structs,
    reason = "its users make it, field by field"
)]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// The epoch of its store.
    pub epoch: String,
    /// Higher than that of each event before it in the epoch.
    pub number: u64,
    /// When, in milliseconds since 1970.
    pub at: u64,
    /// What.
    pub what: What,
}

impl Notice {
    /// `None` if no store can have written it.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.splitn(5, ':');
        let (epoch, number, at) = (parts.next()?, parts.next()?, parts.next()?);
        let (what, subject) = (parts.next()?, parts.next()?);
        Some(Self {
            epoch: epoch.to_owned(),
            number: number.parse().ok()?,
            at: at.parse().ok()?,
            what: match what {
                "reset" => What::Reset,
                "first" => What::First(Subject::parse(subject)?),
                "last" => What::Last(Subject::parse(subject)?),
                _ => return None,
            },
        })
    }
}

/// Asks who is there.
#[expect(
    clippy::exhaustive_structs,
    reason = "its users make it, field by field"
)]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lookup {
    /// Users or rooms.
    pub kind: SubjectKind,
    /// Of which namespace.
    pub namespace: String,
    /// Only those behind this name.
    pub after: Option<String>,
    /// At most so many.
    pub limit: usize,
}

/// Who is there.
#[expect(
    clippy::exhaustive_structs,
    reason = "its users make it, field by field"
)]
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Found {
    /// Names, in the order of their bytes, each with its sockets; one that is leaving has none.
    pub found: Vec<(String, u64)>,
    /// How many there are in all.
    pub count: u64,
    /// All sockets of the namespace.
    pub sockets: u64,
    /// Those without a user.
    pub anonymous: u64,
}

/// Where it is kept.
pub trait PresenceStore: fmt::Debug + Send + Sync {
    /// Takes what a node tells.
    fn call(&self, call: Statement) -> RecordsFuture<Receipt>;

    /// Gives events, and takes those away that were told. `None` if another node tells them.
    fn take(&self, take: Take) -> RecordsFuture<Option<Notices>>;

    /// Says who is there.
    fn page(&self, page: Lookup) -> RecordsFuture<Found>;
}

#[cfg(test)]
mod tests;
