//! Recovery: what was promised to a client is kept when nodes and Redis die. Pure: no I/O, no clock, no randomness.
//!
//! docs/recovery-design.md tells the mechanism with its diagrams, what it assumes, and the holes that the simulator
//! found.
//!
//! A namespace has one [`Store`], which puts everything in order; with Redis a script does what it does.
//! Everything else belongs to a node. A call goes out of the node's [`Writer`], and its reply comes back in.
//! What the store publishes goes to the [`Receiver`] of each node that listens, in the store's order.
//!
//! ```text
//!              publishes, sessions, claims              Call            Ordered, Heard
//!  application ──────────────────────────► Writer ─────────────► Store ───────────────► Receiver ──► sockets
//!                                            ▲                     │                       │ ▲
//!                                            └────────Reply────────┘                       │ │ Part
//!                                                                  ▲──────Span, by Reads───┘─┘
//!                                                                  └──────Span, by Reads──── Comeback
//! ```
//!
//! - [`Position`], [`Epoch`], [`Offset`], [`Pid`]: what clients show when they come back;
//! - [`Store`] and [`Call`]: the clock, the logs, the sessions and the claims;
//! - [`Writer`]: what a node tells the store, numbered, so that it can be told again;
//! - [`Receiver`]: what a node hears, in order, each once, without a hole;
//! - [`Comeback`]: a client that comes back, from its claim to what it is sent again;
//! - [`Reads`]: reads of a log that many clients share; [`Floors`]: how far all clients of a node are whole;
//! - [`Rewind`]: what a client that joins a room may see of its past; [`Rewinding`]: how it is read, up to where events
//!   come live.

#![expect(
    clippy::exhaustive_enums,
    clippy::exhaustive_structs,
    reason = "the gateway and the simulator have to match all of it"
)]

mod body;
mod call;
mod comeback;
mod floors;
mod history;
mod link;
mod log;
mod pid;
mod position;
mod reads;
mod receiver;
mod replay;
mod rewinding;
mod session;
mod store;
mod writer;

pub use call::{
    Act, Beat, Call, Done, Handled, Heard, Known, Mark, Ordered, Process, Publication, Reply,
    Request, ServerId, Sizes,
};
pub use comeback::{Comeback, Next, NotRecovered, Welcome};
pub use floors::Floors;
pub use history::{Past, PastPage, Rewind};
pub use link::{Link, Told};
pub use log::{Entry, Keep, LogName, Part, Span};
pub use pid::{BadPid, Pid, PidSecret};
pub use position::{BadOffset, Epoch, Offset, Position};
pub use reads::Reads;
pub use receiver::{Bounds, Effect, GaveUp, Receiver, State, Why};
pub use replay::{Incomplete, LogReader};
pub use rewinding::{Held, Passed, RewindLimits, RewindNext, Rewinding, Rewound, RewoundRooms};
pub use session::{Change, Claim, Claimed, Generation, NotClaimed, Open, Stay, Taken, Write};
pub use store::{Settings, Store};
pub use writer::{Overfull, Resolved, Ticket, Writer, WriterLimits};
