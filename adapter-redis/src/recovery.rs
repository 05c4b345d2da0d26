//! The store of recovery as a script in Redis, and the way to it.
//!
//! - [`Script`]: calls of a store as commands, and what comes of them. Pure, but for the script itself, in `store`;
//! - `stores`: the stores that are open, and whether this node listens to what they publish;
//! - `link`: the connection to one of them.
//!
//! This room uses `cluster` and those below. `bus` brings what the subscription does.

pub(crate) mod link;
pub(crate) mod stores;

mod replies;
mod script;

pub use replies::{Answered, NoAnswer, read_mark};
pub use script::{Asked, EncodedCall, Script};
