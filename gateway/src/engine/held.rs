//! Descriptors of clients' connections.

use std::rc::Rc;

use crate::engine::shard::Shard;

/// One descriptor that is held on a shard. Dropped, it is given back. It is no larger than the handle
/// of the shard, which each task of a connection keeps anyway.
pub(crate) struct Held(Rc<Shard>);

impl Held {
    /// Holds a descriptor that was counted.
    pub(crate) fn counted(shard: &Rc<Shard>) -> Self {
        Self(Rc::clone(shard))
    }

    /// Holds one more.
    pub(crate) fn new(shard: &Rc<Shard>) -> Self {
        shard.node().descriptors().count();
        Self::counted(shard)
    }

    /// The shard that it is held on.
    pub(crate) fn shard(&self) -> &Rc<Shard> {
        &self.0
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.node().descriptors().release();
    }
}
