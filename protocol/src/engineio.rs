//! Engine.IO of the revisions 3 and 4: packets, polling payloads and the session.
//!
//! A session gets what happened and the time, and puts out what its driver has to do:
//!
//! ```
//! use std::time::{Duration, Instant};
//!
//! use protocol::engineio::{Answer, CloseReason, Output, Poll, Session, Timing, Transport};
//!
//! let timing = Timing {
//!     ping_interval: Duration::from_secs(25),
//!     ping_timeout: Duration::from_secs(20),
//!     upgrade_timeout: Duration::from_secs(10),
//! };
//! let start = Instant::now();
//! let mut session = Session::open(start, Transport::Polling, timing);
//!
//! // A poll comes, and nothing is there for it.
//! assert_eq!(session.handle_poll(start, false), Poll::Parked);
//!
//! // 25 seconds later a ping is due.
//! let due = start + timing.ping_interval;
//! assert_eq!(session.poll_timeout(), Some(due));
//! session.handle_timeout(due);
//! let ping = Output::Ping { lateness: Duration::ZERO };
//! assert_eq!(session.poll_output(), Some(ping));
//! session.handle_poll_answered();
//!
//! // The client does not answer it.
//! session.handle_timeout(due + timing.ping_timeout);
//! let closed = Output::Closed(CloseReason::PingTimeout);
//! assert_eq!(session.poll_output(), Some(closed));
//! ```

mod close;
pub mod old_payload;
mod packet;
pub mod payload;
mod revision;
mod session;
mod timer;

pub use close::CloseReason;
pub use packet::{DecodeError, Message, Packet};
pub(crate) use packet::{base64_len, base64_packet_len, push_base64, push_base64_packet};
pub use revision::Revision;
pub use session::{Answer, Attach, Output, Poll, Post, ProbeFailure, Session, Timing, Transport};
