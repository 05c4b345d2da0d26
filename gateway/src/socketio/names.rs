//! Names of rooms that many sockets are compared with.

use rustc_hash::FxHashSet;

use crate::socketio::namespace::different;
use crate::socketio::socket::Socket;

/// Up to so many names are looked for one by one; more are looked up in a set.
const FEW_NAMES: usize = 8;

/// Different names of rooms.
pub(crate) struct Names {
    all: Vec<String>,
    /// The same, if they are many.
    set: FxHashSet<String>,
}

impl Names {
    pub(crate) fn new(names: &[String]) -> Self {
        let all: Vec<String> = different(names).cloned().collect();
        let set = match all.len() > FEW_NAMES {
            true => all.iter().cloned().collect(),
            false => FxHashSet::default(),
        };
        Self { all, set }
    }

    pub(crate) fn all(&self) -> &[String] {
        &self.all
    }

    /// Whether a socket is in one of these rooms.
    pub(crate) fn have(&self, socket: &Socket) -> bool {
        match self.set.is_empty() {
            true => self.all.iter().any(|room| socket.has_room(room)),
            false => socket.is_in_any(&self.set),
        }
    }

    /// Whether one of `names` is among them.
    pub(crate) fn have_any(&self, names: &[String]) -> bool {
        match self.set.is_empty() {
            true => names.iter().any(|name| self.all.contains(name)),
            false => names.iter().any(|name| self.set.contains(name)),
        }
    }
}
