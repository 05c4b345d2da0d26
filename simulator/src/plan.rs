//! What a run is made of.

use std::collections::BTreeSet;

/// One run: the same plan has the same outcome.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Everything is drawn from it.
    pub seed: u64,
    /// Events that are handled before the world calms down.
    pub steps: u64,
    /// What does not go wrong.
    pub without: BTreeSet<Chaos>,
    /// A rule that is broken on purpose.
    pub planted: Option<Planted>,
    /// Whether to tell what happens.
    pub trace: bool,
}

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Chaos {
    /// A client's connection breaks.
    CutClient,
    /// All clients' connections break at once.
    CutAll,
    /// A client's connection carries nothing any more, and no end is told.
    HalfOpenClient,
    /// A node's connection for commands breaks: what was on its way may have been done or not.
    CutCommands,
    /// A node's subscription breaks.
    CutSubscription,
    /// A node's connection for commands carries nothing any more.
    StallCommands,
    /// A node's subscription carries nothing any more.
    StallSubscription,
    /// A node's subscription is slow for a while.
    SlowSubscription,
    /// A node stands still.
    Freeze,
    /// A node is killed; its clients are told by their system.
    Kill,
    /// A node's machine is gone: nobody is told.
    Vanish,
    /// A node is drained.
    Drain,
    /// Another server takes over, with everything.
    Failover,
    /// Another server takes over, without the last that was confirmed.
    LossyFailover,
    /// Another server takes over while some nodes talk to the old one.
    SplitBrain,
    /// The server restarts from its file, without the last that was confirmed.
    LossyRestart,
    /// The server restarts empty.
    EmptyRestart,
    /// The server is away for a while, and comes back as it was.
    Away,
    /// The server's clock jumps.
    ClockJump,
    /// A machine fails that has the server and a node: its clock jumps forward, its network is slow, and it is gone,
    /// when the node made no heartbeat since and was just told that something is in the log.
    MachineLost,
    /// A machine fails that has the server and a node that is new: the others hear of nothing, and it is gone when the
    /// node was just told that something is in the log. What it ever told the server is lost.
    NewMachineLost,
}

/// A rule that is broken on purpose: the checks have to find it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Planted {
    /// A node delivers to its own clients before the store has put in order.
    DeliverBeforeTheScript,
    /// A session is read, not claimed: the old owner writes on.
    FetchInsteadOfClaim,
    /// An offset has to be in a log.
    CompareByExistence,
    /// A publish is acknowledged when it waits.
    AckBeforeWritten,
    /// Live events go out while the replay is read.
    NoHold,
    /// A call that is made again is done again.
    BatchNotIdempotent,
    /// A replay brings what was before a room was joined.
    MembershipStartIgnored,
    /// A replay brings what came after a room was left.
    MembershipEndIgnored,
    /// A replay brings what excepts the client.
    ExceptIgnored,
    /// That a log is trimmed does not matter.
    TrimmingIgnored,
    /// A subscription that broke goes on as if nothing had been missed, and events do not tell their predecessors. One
    /// of the two alone is made good by the other.
    NoResync,
    /// Nobody tells a new server what he knows.
    FailoverUnnoticed,
    /// Another epoch does not matter to connected clients.
    EpochIgnored,
    /// Clients count as whole up to what was handed to their connections just now.
    FloorTooHigh,
    /// Joins do not wait for their interest.
    JoinBeforeInForce,
    /// What a client sent to its old node comes late.
    SenderNotFenced,
    /// A session is written when its client leaves in an orderly way, as elsewhere.
    WrittenAtTheEnd,
    /// A replay goes from the logs up to now, without a mark.
    NoMark,
    /// What is kept with a session is confirmed when it waits to be written.
    DataBeforeWritten,
    /// A client may come back for as long as it likes.
    SlowComeback,
    /// Who lived when another server took over is told by the clock alone, and who was silent for long acts all the
    /// same. One of the two alone is made good by the other.
    LivedByClock,
    /// A process acts although no other one knows of it.
    NewActsAtOnce,
    /// The past of a room is read without a mark.
    PastWithoutMark,
    /// Live events go out while the past of a room is read.
    PastNotHeld,
    /// A client that comes back is taken to have no more than the last event of the past that it got.
    PastTakenForAll,
    /// That a log is trimmed does not matter to those who read the past.
    PastTrimmingIgnored,
    /// Those who read the past are told that it is whole while nobody knows what a new server lacks.
    PastUnsettled,
}

impl Chaos {
    /// All of them.
    pub const ALL: [Self; 21] = [
        Self::CutClient,
        Self::CutAll,
        Self::HalfOpenClient,
        Self::CutCommands,
        Self::CutSubscription,
        Self::StallCommands,
        Self::StallSubscription,
        Self::SlowSubscription,
        Self::Freeze,
        Self::Kill,
        Self::Vanish,
        Self::Drain,
        Self::Failover,
        Self::LossyFailover,
        Self::SplitBrain,
        Self::LossyRestart,
        Self::EmptyRestart,
        Self::Away,
        Self::ClockJump,
        Self::MachineLost,
        Self::NewMachineLost,
    ];

    /// How often it is drawn, beside the others.
    pub fn weight(self) -> u32 {
        match self {
            Self::CutClient => 30,
            Self::HalfOpenClient => 15,
            Self::CutCommands | Self::CutSubscription => 8,
            Self::CutAll | Self::StallCommands | Self::StallSubscription => 4,
            Self::SlowSubscription => 15,
            Self::Freeze | Self::Kill | Self::Drain => 5,
            Self::Vanish | Self::NewMachineLost => 3,
            Self::Failover | Self::Away | Self::MachineLost => 2,
            Self::LossyFailover
            | Self::SplitBrain
            | Self::LossyRestart
            | Self::EmptyRestart
            | Self::ClockJump => 1,
        }
    }
}

impl Planted {
    /// All of them.
    pub const ALL: [Self; 27] = [
        Self::DeliverBeforeTheScript,
        Self::FetchInsteadOfClaim,
        Self::CompareByExistence,
        Self::AckBeforeWritten,
        Self::NoHold,
        Self::BatchNotIdempotent,
        Self::MembershipStartIgnored,
        Self::MembershipEndIgnored,
        Self::ExceptIgnored,
        Self::TrimmingIgnored,
        Self::NoResync,
        Self::FailoverUnnoticed,
        Self::EpochIgnored,
        Self::FloorTooHigh,
        Self::JoinBeforeInForce,
        Self::SenderNotFenced,
        Self::WrittenAtTheEnd,
        Self::NoMark,
        Self::DataBeforeWritten,
        Self::SlowComeback,
        Self::LivedByClock,
        Self::NewActsAtOnce,
        Self::PastWithoutMark,
        Self::PastNotHeld,
        Self::PastTakenForAll,
        Self::PastTrimmingIgnored,
        Self::PastUnsettled,
    ];
}

/// The sizes and settings of a run, drawn from its seed.
#[derive(Debug, Clone)]
pub struct Knobs {
    /// Nodes.
    pub nodes: usize,
    /// Clients.
    pub clients: usize,
    /// Rooms.
    pub rooms: usize,
    /// Entries that a log keeps.
    pub messages: usize,
    /// Bytes that one client is sent again.
    pub replay_bytes: usize,
    /// Bytes that a receiver holds.
    pub held_bytes: usize,
    /// Bytes of one read.
    pub read_bytes: usize,
    /// Microseconds between two faults, on average.
    pub calm: u64,
}

impl Knobs {
    /// Draws them.
    pub fn draw(rng: &mut fastrand::Rng) -> Self {
        let mut pick = |choices: &[usize]| choices[rng.usize(..choices.len())];
        Self {
            nodes: pick(&[2, 2, 3, 4]),
            clients: pick(&[4, 8, 12, 16]),
            rooms: pick(&[1, 2, 4, 6]),
            messages: pick(&[8, 40, 1000, 1000]),
            replay_bytes: pick(&[3_000, 20_000, 1_000_000, 1_000_000]),
            held_bytes: pick(&[1_000, 10_000, 1_000_000]),
            read_bytes: pick(&[300, 3_000, 100_000]),
            calm: pick(&[500_000, 1_500_000, 4_000_000]) as u64,
        }
    }
}

impl Knobs {
    /// Bytes that a log keeps.
    pub fn log_bytes(&self) -> usize {
        match self.messages >= 1000 {
            true => 10_000_000,
            false => 20_000,
        }
    }
}

/// Microseconds in a second.
pub const SECOND: u64 = 1_000_000;
/// For how long a client may be away.
pub const WINDOW: u64 = 30 * SECOND;
/// How often clients are pinged.
pub const PING_INTERVAL: u64 = 4 * SECOND;
/// How long a pong may take.
pub const PING_TIMEOUT: u64 = 3 * SECOND;
/// How often a node tells that it lives.
pub const HEARTBEAT: u64 = SECOND;
/// How long after that it counts as alive.
pub const LEASE: u64 = 4 * SECOND;
/// The same in rounds of heartbeats. What waits on a connection until it is given up may be three of them.
pub const ROUNDS: u64 = 6;
/// For how long a client may come back.
pub const COMEBACK: u64 = 5 * SECOND;
/// For how long events are held while the past of a room is read.
pub const HOLDING: u64 = 3 * SECOND;
/// How long after an event was handed to a connection it is proven that it arrived.
pub const PROVEN: u64 = PING_INTERVAL + PING_TIMEOUT + HOLDING + SECOND;
/// How far back logs reach.
pub const BACK: u64 = WINDOW + PROVEN + COMEBACK + LEASE + 10 * SECOND;
